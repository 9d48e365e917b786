//! The CNI version that plugins are called with.

use serde_json::{Map, Value};

use super::lookup::{field, is_spelling, text};
use crate::model::visible;

/// The newest CNI version that a runtime chooses from a list of versions.
const NEWEST: [u64; 3] = [1, 1, 0];
/// The version of a configuration whose `cniVersion` is missing or empty (libcni, `validatePlugin`;
/// the plugins' `ConfigDecoder`).
pub const OLDEST: &str = "0.1.0";

/// Returns the version that libcni calls the plugins of a list with: the newest supported one of
/// those listed. Both keys count only under their exact names (`NetworkConfFromBytes`).
pub(super) fn version_of_list(object: &Map<String, Value>) -> String {
    let single = text(object.get("cniVersion")).filter(|text| !text.is_empty());
    let Some(listed) = object.get("cniVersions").and_then(Value::as_array) else {
        return shown(single);
    };
    let numbered = |text: &str| Some((numbers(text)?, text.to_owned()));
    let known = listed.iter().filter_map(Value::as_str).chain(single).filter_map(numbered);
    let newest = known.filter(|(version, _)| *version <= NEWEST).max().map(|(_, text)| text);
    // A version that is still unknown is passed to the plugins if it is the only one.
    shown(newest.as_deref().or(single))
}

/// Returns the version that libcni calls a single plugin with.
pub(super) fn version_of_plugin(object: &Map<String, Value>) -> String {
    shown(text(field(object, "cniVersion")))
}

/// Returns the version that a plugin of a list reads in its own configuration instead of the
/// list's. libcni adds the list's as `cniVersion` and writes the keys in order; of a key in two
/// spellings Go takes the last one.
pub(super) fn overriding_version(object: &Map<String, Value>) -> Option<String> {
    let later = |key: &String| key.as_str() > "cniVersion" && is_spelling(key, "cniVersion");
    let (_, value) = object.iter().find(|(key, _)| later(key))?;
    text(Some(value)).map(|text| shown(Some(text)))
}

/// A version as a message and a comparison have it.
fn shown(version: Option<&str>) -> String {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return OLDEST.to_owned();
    };
    visible(&version.chars().take(32).collect::<String>()).into_owned()
}

/// Whether libcni can parse a version; an empty one means 0.1.0.
pub(super) fn is_version(text: &str) -> bool {
    numbers(text).is_some()
}

/// Parses a version such as `0.3.1`, or `1.0` as libcni reads it.
fn numbers(text: &str) -> Option<[u64; 3]> {
    if text.is_empty() {
        return Some([0, 1, 0]);
    }
    // Leading zeros could make a version a megabyte long, and each plugin of a list would get a
    // copy.
    if text.len() > 32 {
        return None;
    }
    let mut parts = text.split('.');
    let mut number = |missing: Option<u64>| parts.next().map_or(missing, |part| part.parse().ok());
    let version = [number(None)?, number(Some(0))?, number(Some(0))?];
    parts.next().is_none().then_some(version)
}

/// Whether a CNI version comes before another; no version that is not a number does.
pub fn is_older(version: &str, other: &str) -> bool {
    numbers(version).zip(numbers(other)).is_some_and(|(version, other)| version < other)
}
