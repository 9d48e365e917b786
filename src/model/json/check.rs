//! The first reading of a document: keys and counts, without keeping a value.
//!
//! It takes eight bytes for each key of the objects that are open, whatever the document holds, so
//! that what a stranger sends is measured before anything is built from it.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::outline::{Outline, Spelling, folded};
use crate::model::visible;

/// Checks that no object of a document has two keys of one name, or a field in another spelling
/// than its outline has, and that at most `limit` of its values are kept.
pub(super) fn check(bytes: &[u8], outline: Outline, limit: usize) -> serde_json::Result<()> {
    loop {
        let mut state = State::new(limit);
        let Some(hash) = run(bytes, outline, &mut state)? else { return Ok(()) };
        // Two keys of one hash: read again with the keys of that hash, to name them and their
        // place. If they are different keys, the next hasher tells them apart.
        state.sought = Some(hash);
        state.values = 0;
        run(bytes, outline, &mut state)?;
    }
}

/// Checks that at most `limit` values of a document are kept by a reader that takes the last of
/// several equal keys.
pub(super) fn count(bytes: &[u8], limit: usize) -> serde_json::Result<()> {
    let mut state = State { compares: false, ..State::new(limit) };
    run(bytes, Outline::Any, &mut state).map(drop)
}

/// Reads the document once. Returns the hash of two keys of one object, if there are such.
fn run(bytes: &[u8], outline: Outline, state: &mut State) -> serde_json::Result<Option<u64>> {
    state.repeated = None;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match (Node { outline, state: &mut *state }).deserialize(&mut reader) {
        Err(_) if state.repeated.is_some() => Ok(state.repeated),
        result => result.and_then(|()| reader.end()).map(|()| None),
    }
}

struct State {
    /// With random keys each time, so that no document can have keys that collide.
    hasher: RandomState,
    /// The hashes of the keys of all objects that are open.
    keys: Vec<u64>,
    values: usize,
    limit: usize,
    /// Whether equal keys are looked for.
    compares: bool,
    /// In the second reading, the hash whose keys are compared.
    sought: Option<u64>,
    /// A hash that one object has twice.
    repeated: Option<u64>,
}

impl State {
    fn new(limit: usize) -> Self {
        let (hasher, keys) = (RandomState::new(), Vec::new());
        Self { hasher, keys, values: 0, limit, compares: true, sought: None, repeated: None }
    }

    /// Counts a value, if it is kept.
    fn count<E: Error>(&mut self, outline: Outline) -> Result<(), E> {
        if matches!(outline, Outline::Ignored) {
            return Ok(());
        }
        self.values += 1;
        if self.values > self.limit {
            return Err(E::custom(format_args!("more than {} values", self.limit)));
        }
        Ok(())
    }

    /// Looks for two equal hashes from `start` on, where the keys of the innermost object are.
    fn leave_object(&mut self, start: usize) {
        let keys = self.keys.get_mut(start..).unwrap_or_default();
        keys.sort_unstable();
        let pair = keys.array_windows().find(|[one, other]| one == other);
        self.repeated = pair.map(|[hash, _]| *hash);
        self.keys.truncate(start);
    }
}

/// A value at a place of the outline.
struct Node<'a> {
    outline: Outline,
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let outline = match self.outline {
            Outline::List(of_entries) => *of_entries,
            Outline::Ignored => Outline::Ignored,
            _ => Outline::Any,
        };
        while let Some(()) = seq.next_element_seed(Node { outline, state: &mut *self.state })? {
            self.state.count(outline)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.state.keys.len();
        let mut sought = Vec::new();
        loop {
            let key = Key { outline: self.outline, state: &mut *self.state, sought: &mut sought };
            let Some(outline) = map.next_key_seed(key)? else { break };
            self.state.count(outline)?;
            map.next_value_seed(Node { outline, state: &mut *self.state })?;
        }
        self.state.leave_object(start);
        match self.state.repeated {
            Some(_) if self.state.sought.is_none() => Err(A::Error::custom("a repeated key")),
            _ => Ok(()),
        }
    }
}

/// A key of an object with an outline; returns the outline of its value.
struct Key<'a> {
    outline: Outline,
    state: &'a mut State,
    /// The keys of this object that have the sought hash.
    sought: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Outline;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outline, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Outline, E> {
        let value = match self.outline {
            Outline::Fields(fields) => match (fields.exactly(key), fields.spelled(key)) {
                (Some(value), _) => value,
                (None, Some((name, _))) if fields.spelling == Spelling::Refused => {
                    return Err(E::custom(format_args!(
                        "the key `{}` is another spelling of `{name}`",
                        visible(key)
                    )));
                }
                (None, Some((_, value))) => value,
                (None, None) => fields.others,
            },
            Outline::Map(of_entries) => *of_entries,
            Outline::Ignored => Outline::Ignored,
            Outline::Any | Outline::List(_) => Outline::Any,
        };
        if !self.state.compares {
            return Ok(value);
        }
        let hash = self.hash(key);
        self.state.keys.push(hash);
        if self.state.sought == Some(hash) {
            if let Some(before) = self.sought.iter().find(|before| self.is_same(before, key)) {
                return Err(E::custom(repeated(before, key)));
            }
            self.sought.push(key.to_owned());
        }
        Ok(value)
    }
}

impl Key<'_> {
    fn hash(&self, key: &str) -> u64 {
        let mut hasher = self.state.hasher.build_hasher();
        match self.outline {
            Outline::Fields(_) => folded(key).for_each(|c| hasher.write_u32(c.into())),
            _ => hasher.write(key.as_bytes()),
        }
        hasher.finish()
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        match self.outline {
            Outline::Fields(_) => folded(one).eq(folded(other)),
            _ => one == other,
        }
    }
}

fn repeated(before: &str, key: &str) -> String {
    let shown = visible(key);
    match before == key {
        true => format!("the key `{shown}` appears twice"),
        false => format!(
            "the keys `{}` and `{shown}` are the same key to other readers",
            visible(before)
        ),
    }
}
