//! in-toto statements and the bytes that a DSSE signature covers.
//!
//! A statement says which digests it is for, and when it was signed. Whether the signature is valid
//! is not known here: that is the job of `signature.rs`. If a subject is listed twice, the less
//! favourable time counts, so that a statement cannot be read in two ways.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::json::Limits;
use crate::model::{Digest, JsonError, json, media_type, parse_rfc3339, rfc3339};

/// The predicate type of an image signature (cosign v3).
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The annotation of a signature's subject that says when it was signed, like
/// `2026-01-31T12:00:00Z`.
///
/// It is in the signed payload, where `cosign sign -a` also writes. Annotations of the referrer are
/// not signed, and not read.
pub const SIGNED_AT: &str = "dev.cnister.signed-at";

/// The most subjects that one statement may have, as in sigstore-go.
const MAX_SUBJECTS: usize = 1024;

/// The parts of an in-toto statement that decide (in-toto attestation framework,
/// spec/v1/statement.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What kind of claim it makes.
    pub predicate_type: String,
    /// What it is for; subjects without a SHA-256 digest are left out.
    pub subjects: Vec<Subject>,
}

/// One thing that a statement is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The digest of an index, a manifest or another artifact.
    pub digest: Digest,
    /// When it was signed, if the signer says so.
    pub signed_at: Option<SignedAt>,
}

/// When something was signed, as the signer says. A readable time is greater than an unreadable
/// one, and a later time greater than an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedAt {
    /// Not a time in UTC to the second; the start of the text, for a finding.
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
    // Of any shape: other annotations are ignored.
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
        let limits = Limits::typed(media_type::SIGSTORE_BUNDLE_LIMIT);
        let wire: Wire = json::parse_as("statement", payload, limits, super::fields::STATEMENT)?;
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

    /// The subject with this digest; of several, the one with the least favourable time.
    pub(super) fn subject(&self, digest: &Digest) -> Option<&Subject> {
        self.subjects
            .iter()
            .filter(|subject| subject.digest == *digest)
            .min_by_key(|subject| &subject.signed_at)
    }

    /// The payload that signs an image the way cosign v3 does, at `signed_at` (seconds since 1970).
    ///
    /// `name` is the repository, or empty. cosign writes no name, but sigstore-python requires one;
    /// it also requires `predicate`.
    pub fn image_signature(name: &str, digest: &Digest, signed_at: Option<u64>) -> Vec<u8> {
        Self::attestation(name, digest, signed_at, COSIGN_SIGN, &json!({}))
    }

    /// The payload with a predicate about an image. cosign reads it as it reads its own, which are
    /// of version 0.1.
    pub fn attestation(
        name: &str,
        digest: &Digest,
        signed_at: Option<u64>,
        predicate_type: &str,
        predicate: &Value,
    ) -> Vec<u8> {
        let mut subject =
            BTreeMap::from([("name", json!(name)), ("digest", json!({ "sha256": digest.hex() }))]);
        if let Some(seconds) = signed_at {
            subject.insert("annotations", json!({ SIGNED_AT: rfc3339(seconds) }));
        }
        json::canonical(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": predicate_type,
            "predicate": predicate,
        }))
    }
}

impl SignedAt {
    /// How many characters of an unreadable time a finding repeats.
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
        for (field, other) in [
            (r#""subject""#, r#""Subject":[],"subject""#),
            (r#""predicateType""#, r#""predicatetype":"x","predicateType""#),
            (r#""_type""#, r#""type":"x","_type""#),
            (r#""digest""#, r#""dige\u017ft":{},"digest""#),
        ] {
            let error = Statement::parse(good.replace(field, other).as_bytes()).expect_err(other);
            assert!(error.to_string().contains("is another spelling of"), "{error}");
        }
        let predicate = good.replace(r#""predicate":{}"#, r#""predicate":{"A":1,"a":2}"#);
        assert!(Statement::parse(predicate.as_bytes()).is_ok());
        let many = vec![json!({"digest": {}}); 1025];
        let many = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": many});
        assert!(matches!(
            Statement::parse(many.to_string().as_bytes()),
            Err(StatementError::Subjects(1025))
        ));
    }
}
