//! What the keys of a document's objects mean, place by place.
//!
//! Go's `encoding/json` ignores the case of a field's name, and of two spellings in one object the
//! last one counts; protobuf's JSON has a second spelling with underscores. A document that such a
//! program also reads has an outline, which says where keys are the names of fields, so that only
//! one spelling is accepted. An outline also says what is not kept.

/// What a place in a document holds.
#[derive(Debug, Clone, Copy)]
pub enum Outline {
    /// A value of any kind. Keys are data: two that differ in case are two keys.
    Any,
    /// A value that no reader keeps, of any length.
    Ignored,
    /// An object whose keys are the names of fields.
    Fields(&'static Fields),
    /// A list of such places.
    List(&'static Outline),
    /// An object whose keys are data.
    Map(&'static Outline),
}

/// The fields of an object.
#[derive(Debug)]
pub struct Fields {
    /// The fields that some reader of the document knows, with their values.
    pub known: &'static [(&'static str, Outline)],
    /// What a field that is not known holds.
    pub others: Outline,
    /// What another spelling of a known field is, if it is the only one in its object.
    pub spelling: Spelling,
}

/// What a field's name in another spelling is, without the name itself beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// An error: this program does not read such a field, and others do.
    Refused,
    /// The field: this program reads it as Go does.
    Read,
}

impl Fields {
    /// Fields of which only the exact names are accepted; what is not known is not kept.
    pub const fn exact(known: &'static [(&'static str, Outline)]) -> Self {
        Self { known, others: Outline::Ignored, spelling: Spelling::Refused }
    }

    /// The field with this exact name.
    pub(super) fn exactly(&self, key: &str) -> Option<Outline> {
        self.known.iter().find(|(name, _)| *name == key).map(|(_, outline)| *outline)
    }

    /// The field that another reader takes this key for.
    pub(super) fn spelled(&self, key: &str) -> Option<(&'static str, Outline)> {
        self.known.iter().find(|(name, _)| folded(name).eq(folded(key))).copied()
    }
}

/// A key without what the readers in question do not distinguish: the case of letters, the two
/// characters that Unicode folds into ASCII (`ſ` and the Kelvin sign; `foldRune` in Go's
/// `encoding/json/fold.go`), and underscores (protobuf's JSON has `media_type` for `mediaType`).
pub(super) fn folded(key: &str) -> impl Iterator<Item = char> {
    key.chars().filter(|c| *c != '_').map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    })
}
