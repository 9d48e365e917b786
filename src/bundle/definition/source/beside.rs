//! Where checksum files of an asset usually are, and what they call it.
//!
//! A lock accepts evidence from these places and from the one that the definition names, so that no
//! edited lock can claim another one.

use super::pattern::is_url;

/// Whether the definition does not name a checksum file, and what it is then expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// The definition names it.
    No,
    /// Of this asset alone.
    Single,
    /// Of all assets of a release.
    List,
}

/// The places beside an asset.
pub fn checksums_beside(location: &str) -> Vec<(String, Guess)> {
    if is_url(location) && location.contains(['?', '#']) {
        return Vec::new();
    }
    let mut places: Vec<_> = [".sha256", ".sha512"]
        .iter()
        .map(|ending| (format!("{location}{ending}"), Guess::Single))
        .collect();
    let folder =
        location.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    places.push((format!("{folder}checksums.txt"), Guess::List));
    places
}

/// The last part of a location: what a checksum file calls an asset.
pub fn base_name(location: &str) -> Option<&str> {
    without_query(location).rsplit('/').next().filter(|name| !name.is_empty())
}

/// A location as others may see it: without the query of a URL, which may carry a credential, and
/// without the directories of this machine.
pub fn published(location: &str) -> &str {
    let is_layout = ["oci:", "oci-archive:"].iter().any(|form| location.starts_with(form));
    match is_layout || location.starts_with('/') {
        true => base_name(location).unwrap_or_default(),
        false => without_query(location),
    }
}

/// A location without the query of a URL, which may carry a credential.
pub fn without_query(location: &str) -> &str {
    match is_url(location) {
        true => location.split(['?', '#']).next().unwrap_or_default(),
        false => location,
    }
}
