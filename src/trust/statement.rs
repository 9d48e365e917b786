//! in-toto statements and the bytes that a DSSE signature covers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::model::{Digest, JsonError, json, media_type};

/// The predicate type of an image signature (cosign v3).
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The most subjects that one statement may have, as in sigstore-go.
const MAX_SUBJECTS: usize = 1024;

/// An in-toto statement, reduced to what decides (in-toto attestation framework, spec/v1/statement.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What kind of claim it makes.
    pub predicate_type: String,
    /// The SHA-256 digests that it speaks of.
    pub subjects: Vec<Digest>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<WireSubject>,
}

#[derive(Deserialize)]
struct WireSubject {
    digest: BTreeMap<String, String>,
}

/// Why a payload is not a statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("statement has type `{0}`, expected `https://in-toto.io/Statement/v1` or `v0.1`")]
    Type(String),
    #[error("statement has {0} subjects, the limit is {MAX_SUBJECTS}")]
    Subjects(usize),
}

impl Statement {
    /// Parses a statement that was signed. cosign writes version 1 for signatures and 0.1 for attestations.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let wire: Wire = json::parse("statement", payload, media_type::SIGSTORE_BUNDLE_LIMIT)?;
        if !matches!(wire.kind.as_str(), "https://in-toto.io/Statement/v1" | "https://in-toto.io/Statement/v0.1") {
            return Err(StatementError::Type(crate::model::visible(&wire.kind).into_owned()));
        }
        if wire.subject.len() > MAX_SUBJECTS {
            return Err(StatementError::Subjects(wire.subject.len()));
        }
        let digest = |subject: &WireSubject| Digest::from_hex(subject.digest.get("sha256")?).ok();
        let subjects = wire.subject.iter().filter_map(digest).collect();
        Ok(Self { predicate_type: wire.predicate_type, subjects })
    }

    /// The payload that signs an image the way cosign v3 does.
    ///
    /// `name` is the repository, where there is one. cosign writes none, but sigstore-python reads no statement
    /// without it; `predicate` is there for the same reason.
    pub fn image_signature(name: &str, digest: &Digest) -> Vec<u8> {
        json::canonical(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": name, "digest": { "sha256": digest.hex() } }],
            "predicateType": COSIGN_SIGN,
            "predicate": {},
        }))
    }
}

/// The bytes that a DSSE signature covers (DSSE protocol, "Signature Definition").
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_example_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn reads_the_signature_that_it_writes() {
        for (name, image) in [("ghcr.io/acme/cni", b"image"), ("", b"other"), ("\"\\\n\u{1b}ü", b"third")] {
            let digest = Digest::of(image);
            let statement = Statement::parse(&Statement::image_signature(name, &digest)).unwrap();
            assert_eq!(statement, Statement { predicate_type: COSIGN_SIGN.to_owned(), subjects: vec![digest] });
        }
    }

    #[test]
    fn reads_what_cosign_writes_without_name_and_predicate() {
        let digest = Digest::of(b"image");
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"x","subject":[{{"digest":{{"sha256":"{}"}}}}]}}"#,
            digest.hex()
        );
        assert_eq!(Statement::parse(text.as_bytes()).unwrap().subjects, [digest]);
    }

    #[test]
    fn refuses_other_types_and_repeated_keys() {
        let good = String::from_utf8(Statement::image_signature("a", &Digest::of(b""))).unwrap();
        let other = good.replace("Statement/v1", "Statement/v2");
        assert!(matches!(Statement::parse(other.as_bytes()), Err(StatementError::Type(_))));
        let twice = good.replace("\"predicate\":{}", "\"predicate\":{},\"predicate\":{}");
        assert!(matches!(Statement::parse(twice.as_bytes()), Err(StatementError::Json(_))));
        let many = vec![json!({"digest": {}}); 1025];
        let many = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": many});
        assert!(matches!(Statement::parse(many.to_string().as_bytes()), Err(StatementError::Subjects(1025))));
    }
}
