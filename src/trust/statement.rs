//! in-toto statements and the bytes that a DSSE signature covers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{Digest, JsonError, json, media_type, parse_rfc3339, rfc3339};

/// The predicate type of an image signature (cosign v3).
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The annotation of a signature's subject that says when it was signed, like
/// `2026-01-31T12:00:00Z`.
///
/// It stands in the signed payload, where `cosign sign -a` writes, too; annotations of the referrer
/// are nobody's word.
pub const SIGNED_AT: &str = "dev.cnister.signed-at";

/// The most subjects that one statement may have, as in sigstore-go.
const MAX_SUBJECTS: usize = 1024;

/// An in-toto statement, reduced to what decides (in-toto attestation framework,
/// spec/v1/statement.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What kind of claim it makes.
    pub predicate_type: String,
    /// What it speaks of, as far as that has a SHA-256 digest.
    pub subjects: Vec<Subject>,
}

/// One thing that a statement speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its digest.
    pub digest: Digest,
    /// When the signer says that it signed it, if it does.
    pub signed_at: Option<SignedAt>,
}

/// A signer's word about its time. What can be read is greater than what cannot, a later time than
/// an earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedAt {
    /// Something else than a time in UTC to the second; the start of it, for words in a finding.
    Unreadable(String),
    /// Seconds since 1970.
    Seconds(u64),
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
    // Of any shape: what others write beside our annotation is not ours to judge.
    #[serde(default)]
    annotations: Value,
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
    /// Parses a statement that was signed. cosign writes version 1 for signatures and 0.1 for
    /// attestations.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let wire: Wire = json::parse("statement", payload, media_type::SIGSTORE_BUNDLE_LIMIT)?;
        if !matches!(
            wire.kind.as_str(),
            "https://in-toto.io/Statement/v1" | "https://in-toto.io/Statement/v0.1"
        ) {
            return Err(StatementError::Type(crate::model::visible(&wire.kind).into_owned()));
        }
        if wire.subject.len() > MAX_SUBJECTS {
            return Err(StatementError::Subjects(wire.subject.len()));
        }
        let subject = |subject: &WireSubject| {
            let digest = Digest::from_hex(subject.digest.get("sha256")?).ok()?;
            Some(Subject {
                digest,
                signed_at: subject.annotations.get(SIGNED_AT).map(SignedAt::of),
            })
        };
        let subjects = wire.subject.iter().filter_map(subject).collect();
        Ok(Self { predicate_type: wire.predicate_type, subjects })
    }

    /// What it says about this digest; where it says several things, the one that helps the least.
    pub(super) fn subject(&self, digest: &Digest) -> Option<&Subject> {
        self.subjects
            .iter()
            .filter(|subject| subject.digest == *digest)
            .min_by_key(|subject| &subject.signed_at)
    }

    /// The payload that signs an image the way cosign v3 does, at `signed_at` (seconds since 1970).
    ///
    /// `name` is the repository, where there is one. cosign writes none, but sigstore-python reads
    /// no statement without it; `predicate` is there for the same reason.
    pub fn image_signature(name: &str, digest: &Digest, signed_at: Option<u64>) -> Vec<u8> {
        let mut subject =
            BTreeMap::from([("name", json!(name)), ("digest", json!({ "sha256": digest.hex() }))]);
        if let Some(seconds) = signed_at {
            subject.insert("annotations", json!({ SIGNED_AT: rfc3339(seconds) }));
        }
        json::canonical(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": COSIGN_SIGN,
            "predicate": {},
        }))
    }
}

impl SignedAt {
    /// The most characters of an unreadable time that are repeated.
    const SHOWN: usize = 40;

    fn of(value: &Value) -> Self {
        match value.as_str().map(|text| (text, parse_rfc3339(text))) {
            Some((_, Some(seconds))) => Self::Seconds(seconds),
            Some((text, None)) => Self::Unreadable(text.chars().take(Self::SHOWN).collect()),
            None => Self::Unreadable(value.to_string().chars().take(Self::SHOWN).collect()),
        }
    }
}

/// The bytes that a DSSE signature covers (DSSE protocol, "Signature Definition").
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
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
        for (name, image, signed_at) in [
            ("ghcr.io/acme/cni", b"image", None),
            ("", b"other", Some(0)),
            ("\"\\\n\u{1b}ü", b"third", Some(1_769_860_800)),
        ] {
            let digest = Digest::of(image);
            let statement =
                Statement::parse(&Statement::image_signature(name, &digest, signed_at)).unwrap();
            let subject = Subject { digest, signed_at: signed_at.map(SignedAt::Seconds) };
            assert_eq!(statement.subject(&digest), Some(&subject));
            assert_eq!(
                statement,
                Statement { predicate_type: COSIGN_SIGN.to_owned(), subjects: vec![subject] }
            );
        }
    }

    #[test]
    fn reads_a_time_where_cosign_writes_annotations_and_nowhere_else() {
        let digest = Digest::of(b"image");
        let long = format!("\"{}\"", "9".repeat(100));
        let unreadable = |text: &str| Some(SignedAt::Unreadable(text.to_owned()));
        for (subject, expected) in [
            (
                r#""annotations":{"dev.cnister.signed-at":"2026-01-31T12:00:00Z","a":1}"#,
                Some(SignedAt::Seconds(1_769_860_800)),
            ),
            (r#""annotations":{"dev.cnister.signed-at":"yesterday"}"#, unreadable("yesterday")),
            (r#""annotations":{"dev.cnister.signed-at":1769860800}"#, unreadable("1769860800")),
            (r#""annotations":{"dev.cnister.signed-at":null}"#, unreadable("null")),
            (
                &format!(r#""annotations":{{"dev.cnister.signed-at":{long}}}"#),
                unreadable(&"9".repeat(40)),
            ),
            (r#""annotations":{"org.opencontainers.image.created":"2026-01-31T12:00:00Z"}"#, None),
            (r#""annotations":null"#, None),
            (r#""annotations":["dev.cnister.signed-at"]"#, None),
            (r#""dev.cnister.signed-at":"2026-01-31T12:00:00Z""#, None),
        ] {
            let text = format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","dev.cnister.signed-at":"2026-01-31T12:00:00Z","subject":[{{"digest":{{"sha256":"{}"}},{subject}}}]}}"#,
                digest.hex()
            );
            let statement = Statement::parse(text.as_bytes()).unwrap();
            assert_eq!(statement.subject(&digest).unwrap().signed_at, expected, "{subject}");
        }
    }

    #[test]
    fn a_subject_with_two_times_has_the_worse() {
        let digest = Digest::of(b"image");
        let subject = |signed_at| Subject { digest, signed_at };
        let [none, unreadable] = [None, Some(SignedAt::Unreadable("later".to_owned()))];
        let [early, late] = [1, 2].map(|seconds| Some(SignedAt::Seconds(seconds)));
        for (one, other) in [(&early, &late), (&unreadable, &early), (&none, &unreadable)] {
            for subjects in [[one, other], [other, one]] {
                let subjects = subjects.map(|signed_at| subject(signed_at.clone())).to_vec();
                let statement = Statement { predicate_type: COSIGN_SIGN.to_owned(), subjects };
                assert_eq!(&statement.subject(&digest).unwrap().signed_at, one);
            }
        }
    }

    #[test]
    fn reads_what_cosign_writes_without_name_and_predicate() {
        let digest = Digest::of(b"image");
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"x","subject":[{{"digest":{{"sha256":"{}"}}}}]}}"#,
            digest.hex()
        );
        assert_eq!(
            Statement::parse(text.as_bytes()).unwrap().subjects,
            [Subject { digest, signed_at: None }]
        );
    }

    #[test]
    fn refuses_other_types_and_repeated_keys() {
        let good =
            String::from_utf8(Statement::image_signature("a", &Digest::of(b""), None)).unwrap();
        let other = good.replace("Statement/v1", "Statement/v2");
        assert!(matches!(Statement::parse(other.as_bytes()), Err(StatementError::Type(_))));
        let twice = good.replace("\"predicate\":{}", "\"predicate\":{},\"predicate\":{}");
        assert!(matches!(Statement::parse(twice.as_bytes()), Err(StatementError::Json(_))));
        let many = vec![json!({"digest": {}}); 1025];
        let many = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": many});
        assert!(matches!(
            Statement::parse(many.to_string().as_bytes()),
            Err(StatementError::Subjects(1025))
        ));
    }
}
