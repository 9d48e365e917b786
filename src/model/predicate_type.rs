//! The predicate types that have a name: the URIs, and the words of cosign's `--type` for them. The
//! meaning of a predicate is decided elsewhere.

/// An SBOM in CycloneDX.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
/// An SBOM in SPDX 2.
pub const SPDX: &str = "https://spdx.dev/Document";
/// An SBOM in SPDX 3.
pub const SPDX3: &str = "https://spdx.dev/Document/v3";
/// Provenance (SLSA 1.0, provenance.md).
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// Provenance (SLSA 0.2).
pub const PROVENANCE_0_2: &str = "https://slsa.dev/provenance/v0.2";
/// A text of any kind, as cosign wraps it.
pub const CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";

const NAMES: [(&str, &str); 10] = [
    ("custom", CUSTOM),
    ("cyclonedx", CYCLONEDX),
    ("link", "https://in-toto.io/Link/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("slsaprovenance", PROVENANCE_0_2),
    ("slsaprovenance02", PROVENANCE_0_2),
    ("slsaprovenance1", PROVENANCE),
    ("spdx", SPDX),
    ("spdxjson", SPDX),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
];

/// The predicate type that cosign means by a word.
pub fn named(word: &str) -> Option<&'static str> {
    NAMES.iter().find(|(name, _)| *name == word).map(|(_, uri)| *uri)
}

/// The words, as a message lists them.
pub fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_cosign() {
        assert_eq!(named("slsaprovenance1"), Some("https://slsa.dev/provenance/v1"));
        assert_eq!((named("spdxjson"), named("spdx")), (Some(SPDX), Some(SPDX)));
        for unknown in ["", "SPDX", "cyclonedx ", CYCLONEDX] {
            assert_eq!(named(unknown), None, "{unknown}");
        }
        assert!(names().starts_with("custom, cyclonedx, link"));
    }
}
