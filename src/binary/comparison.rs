//! How two builds of one program differ: what Go's linker recorded in each, and their sections.
//!
//! It explains two programs that should be the same and are not; whether they are the same is
//! decided by their digests. Both may be hostile: sections are compared in pieces, and a table that
//! claims more bytes than its file has is not followed, so that each file is read three times at
//! most. Texts are cut and hold nothing that would write over a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use serde::Serialize;

use super::buildinfo::text;
use super::read_at::{Range, ReadAt};
use super::{BuildInfo, Elf, GoModule};
use crate::model::excerpt;

/// The sections that say how a program was built, and that nothing of it depends on.
const BUILD_INFORMATION: [&str; 3] = [".go.buildinfo", ".note.go.buildid", ".note.gnu.build-id"];
/// The section with the path of every source file, in programs that are linked at a fixed address.
const PATHS: &str = ".gopclntab";
/// The most bytes of it that are searched for paths.
const MOST_PATH_BYTES: usize = 32 << 20;
/// The most paths that are compared, and the longest one.
const MOST_PATHS: usize = 16 * 1024;
const LONGEST_PATH: usize = 512;
/// The most sections that are compared; Go's linker writes about 30.
const MOST_SECTIONS: usize = 256;
/// The most modules that are listed; the rest are counted.
const MOST_MODULES: usize = 8;
/// The header of a note and its owner, `Go` or `GNU` (ELF gABI, "Note Section").
const NOTE: usize = 16;
/// The longest build ID that is shown.
const LONGEST_ID: usize = 256;

/// How a published program and one that was built again differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Values that the linker recorded.
    pub values: Vec<DifferingValue>,
    /// Sections that are not in both, or have other bytes.
    pub sections: Vec<DifferingSection>,
    /// Whether bytes differ that are in no section: in headers, or in a file whose sections cannot
    /// be compared.
    pub outside_sections: bool,
    /// The size of each file in bytes, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sizes: Option<[u64; 2]>,
}

/// A value that the linker recorded differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferingValue {
    /// Such as "Go version" or "build setting -tags".
    pub name: String,
    /// The value in the published program; `None` if it has none.
    pub published: Option<String>,
    /// The value in the program that was built again.
    pub rebuilt: Option<String>,
}

/// A section that differs, with its size in bytes; `None` where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferingSection {
    /// Its name.
    pub name: String,
    /// Its size in the published program.
    pub published: Option<u64>,
    /// Its size in the program that was built again.
    pub rebuilt: Option<u64>,
}

impl Comparison {
    /// Compares two programs.
    pub fn of<A: ReadAt, B: ReadAt>(published: &Elf<A>, rebuilt: &Elf<B>) -> io::Result<Self> {
        let (one, two) = (published.file(), rebuilt.file());
        let mut values = Values::default();
        values.of_build(BuildInfo::of(published)?.as_ref(), BuildInfo::of(rebuilt)?.as_ref());
        let sections =
            (published.named_sections(MOST_SECTIONS)?, rebuilt.named_sections(MOST_SECTIONS)?);
        let (mut differing, mut excused) = (Vec::new(), Vec::new());
        if let (Some(of_published), Some(of_rebuilt)) = &sections {
            for (name, [published, rebuilt]) in paired(of_published, of_rebuilt) {
                let ranges = published.zip(rebuilt);
                let is_same = match ranges {
                    Some((a, b)) => a.size == b.size && is_equal(one, a, two, b)?,
                    None => false,
                };
                if is_same {
                    continue;
                }
                if name == PATHS {
                    values.of_paths(&source_files(one, published)?, &source_files(two, rebuilt)?);
                }
                if let Some((name, show)) = build_id(&name) {
                    values.add(
                        name,
                        shown_id(one, published, show)?,
                        shown_id(two, rebuilt, show)?,
                    );
                }
                if let Some((a, _)) = ranges.filter(|(a, b)| a == b)
                    && BUILD_INFORMATION.contains(&name.as_str())
                {
                    excused.push(a);
                }
                let size = |range: Option<Range>| range.map(|range| range.size);
                let (published, rebuilt) = (size(published), size(rebuilt));
                differing.push(DifferingSection { name, published, rebuilt });
            }
        }
        let sizes = Some([one.size(), two.size()]).filter(|[one, two]| one != two);
        // Where other sections differ, what is beside them has moved.
        let is_explained = differing.len() > excused.len();
        let outside_sections = !is_explained && (sizes.is_some() || has_other(one, two, &excused)?);
        Ok(Self { values: values.0, sections: differing, outside_sections, sizes })
    }

    /// Whether all that differs is the information about the build: the same code from the same
    /// source. It is not the same program.
    pub fn is_build_information(&self) -> bool {
        let is_known =
            |section: &DifferingSection| BUILD_INFORMATION.contains(&section.name.as_str());
        self.sizes.is_none()
            && !self.outside_sections
            && !self.sections.is_empty()
            && self.sections.iter().all(is_known)
    }

    /// The differences, one line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        if let Some([published, rebuilt]) = self.sizes {
            lines.push(format!("size: {published} bytes published, {rebuilt} bytes rebuilt"));
        }
        lines.extend(self.sections.iter().map(ToString::to_string));
        if self.outside_sections {
            lines.push("bytes that are in no section differ".to_owned());
        }
        if self.is_build_information() {
            lines.push("equal but for build information".to_owned());
        }
        lines
    }
}

/// "Go version: go1.26.7 published, go1.26.8 rebuilt"
impl fmt::Display for DifferingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| match value {
            Some(value) => format!("`{value}`"),
            None => "none".to_owned(),
        };
        let (published, rebuilt) = (shown(&self.published), shown(&self.rebuilt));
        write!(f, "{}: {published} published, {rebuilt} rebuilt", self.name)
    }
}

/// "section .text: 497585 bytes published, 497601 bytes rebuilt"
impl fmt::Display for DifferingSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, published, rebuilt } = self;
        let shown = |size: Option<u64>| match size {
            Some(size) => format!("{size} bytes"),
            None => "none".to_owned(),
        };
        match published == rebuilt {
            true => write!(f, "section {name}: other content, {} in both", shown(*published)),
            false => {
                let (published, rebuilt) = (shown(*published), shown(*rebuilt));
                write!(f, "section {name}: {published} published, {rebuilt} rebuilt")
            }
        }
    }
}

/// Values that differ.
#[derive(Debug, Default)]
struct Values(Vec<DifferingValue>);

impl Values {
    fn add(&mut self, name: &str, published: Option<String>, rebuilt: Option<String>) {
        if published != rebuilt {
            let (published, rebuilt) = from_difference(published, rebuilt);
            self.0.push(DifferingValue { name: name.to_owned(), published, rebuilt });
        }
    }

    fn of_build(&mut self, published: Option<&BuildInfo>, rebuilt: Option<&BuildInfo>) {
        let (Some(one), Some(two)) = (published, rebuilt) else {
            let go = |info: Option<&BuildInfo>| info.map(|info| info.go.clone());
            return self.add("Go build information", go(published), go(rebuilt));
        };
        self.add("Go version", Some(one.go.clone()), Some(two.go.clone()));
        self.add("main package", Some(one.path.clone()), Some(two.path.clone()));
        type OfModule = fn(&GoModule) -> Option<String>;
        let of_main = |info: &BuildInfo, value: OfModule| info.main.as_ref().and_then(value);
        let main: [(&str, OfModule); 4] = [
            ("main module", |main| Some(main.path.clone())),
            ("version of the main module", |main| main.version.clone()),
            ("sum of the main module", |main| main.sum.clone()),
            ("replacement of the main module", replacement),
        ];
        for (name, value) in main {
            self.add(name, of_main(one, value), of_main(two, value));
        }
        let keys: BTreeSet<&String> = one.settings.keys().chain(two.settings.keys()).collect();
        for key in keys {
            let value = |info: &BuildInfo| info.settings.get(key).cloned();
            self.add(&format!("build setting {key}"), value(one), value(two));
        }
        self.of_modules(&one.modules, &two.modules);
    }

    /// The first source file of each that the other does not have.
    fn of_paths(&mut self, published: &BTreeSet<String>, rebuilt: &BTreeSet<String>) {
        let one = published.difference(rebuilt).next().cloned();
        let two = rebuilt.difference(published).next().cloned();
        self.add("path of a source file", one, two);
    }

    fn of_modules(&mut self, published: &[GoModule], rebuilt: &[GoModule]) {
        let by_path = |modules: &[GoModule]| -> BTreeMap<String, String> {
            modules.iter().map(|module| (module.path.clone(), linked(module))).collect()
        };
        let (one, two) = (by_path(published), by_path(rebuilt));
        let paths: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
        let mut differing = paths.into_iter().filter(|path| one.get(*path) != two.get(*path));
        for path in differing.by_ref().take(MOST_MODULES) {
            self.add(&format!("module {path}"), one.get(path).cloned(), two.get(path).cloned());
        }
        let others = differing.count();
        if others > 0 {
            let count = |modules: &[GoModule]| Some(format!("{} modules", modules.len()));
            let name = format!("{others} other modules, of which there are");
            let (published, rebuilt) = (count(published), count(rebuilt));
            self.0.push(DifferingValue { name, published, rebuilt });
        }
    }
}

/// The version and sum of a module, and what is linked in its place.
fn linked(module: &GoModule) -> String {
    let version = module.version.clone().unwrap_or_else(|| "of no version".to_owned());
    let parts = [Some(version), module.sum.clone(), replacement(module)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn replacement(module: &GoModule) -> Option<String> {
    let other = module.replacement.as_ref()?;
    let parts = [Some("=>"), Some(&other.path), other.version.as_deref(), other.sum.as_deref()];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// Two values from shortly before the place where they differ, if they are long.
fn from_difference(one: Option<String>, two: Option<String>) -> (Option<String>, Option<String>) {
    const BEFORE: usize = 40;
    let (a, b) = (one.as_deref().unwrap_or_default(), two.as_deref().unwrap_or_default());
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let cut = |text: String| {
        let start = text.floor_char_boundary(common.saturating_sub(BEFORE));
        match text.get(start..) {
            Some(rest) if start > 0 && text.len() > 2 * BEFORE => format!("…{}", excerpt(rest)),
            _ => excerpt(&text),
        }
    };
    (one.map(cut), two.map(cut))
}

/// The sections of both files by their name; of several with one name, the first is compared with
/// the first.
fn paired(
    published: &[(String, Range)],
    rebuilt: &[(String, Range)],
) -> Vec<(String, [Option<Range>; 2])> {
    let mut pairs: Vec<(String, [Option<Range>; 2])> =
        published.iter().map(|(name, range)| (name.clone(), [Some(*range), None])).collect();
    for (name, range) in rebuilt {
        match pairs.iter_mut().find(|(known, [_, two])| known == name && two.is_none()) {
            Some((_, [_, two])) => *two = Some(*range),
            None => pairs.push((name.clone(), [None, Some(*range)])),
        }
    }
    pairs
}

/// How a build ID is written into its section.
type Show = fn(&[u8]) -> Option<String>;

/// The name of the build ID that a section has.
fn build_id(section: &str) -> Option<(&'static str, Show)> {
    match section {
        ".note.go.buildid" => Some(("Go build ID", text)),
        ".note.gnu.build-id" => {
            Some(("GNU build ID", |id| Some(id.iter().map(|byte| format!("{byte:02x}")).collect())))
        }
        _ => None,
    }
}

fn shown_id(file: &dyn ReadAt, note: Option<Range>, show: Show) -> io::Result<Option<String>> {
    let Some(note) = note else { return Ok(None) };
    let id = note.after(NOTE as u64).read(file, LONGEST_ID)?;
    let end = id.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(id.get(..end).and_then(show))
}

/// The paths of Go files in the table that the runtime names functions from. Each ends with a zero.
fn source_files(file: &dyn ReadAt, range: Option<Range>) -> io::Result<BTreeSet<String>> {
    let (mut paths, mut current) = (BTreeSet::new(), Vec::new());
    let Some(range) = range else { return Ok(paths) };
    for (_, piece) in range.pieces().take(MOST_PATH_BYTES / Range::PIECE) {
        for byte in piece.read(file, Range::PIECE)? {
            match byte {
                0 => {
                    let path = text(&current).filter(|path| path.ends_with(".go"));
                    if paths.len() < MOST_PATHS {
                        paths.extend(path);
                    }
                    current.clear();
                }
                _ if current.len() <= LONGEST_PATH => current.push(byte),
                _ => {}
            }
        }
    }
    Ok(paths)
}

/// Whether two ranges of one size have the same bytes.
fn is_equal(one: &dyn ReadAt, a: Range, two: &dyn ReadAt, b: Range) -> io::Result<bool> {
    for ((_, a), (_, b)) in a.pieces().zip(b.pieces()) {
        if a.read(one, Range::PIECE)? != b.read(two, Range::PIECE)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two files of one size differ outside of these ranges.
fn has_other(one: &dyn ReadAt, two: &dyn ReadAt, excused: &[Range]) -> io::Result<bool> {
    let whole = Range { offset: 0, size: one.size() };
    for (start, piece) in whole.pieces() {
        let (a, b) = (piece.read(one, Range::PIECE)?, piece.read(two, Range::PIECE)?);
        let differing = (start..).zip(a.iter().zip(&b)).filter(|(_, (a, b))| a != b);
        for (at, _) in differing {
            let is_inside =
                |range: &Range| at.checked_sub(range.offset).is_some_and(|it| it < range.size);
            if !excused.iter().any(is_inside) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
