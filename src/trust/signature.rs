//! Sigstore bundles and the keys that verify them: the only file of this module that names the
//! sigstore crates.
//!
//! A bundle made offline with a key (`cosign sign --key`, and cnister's own) has neither a log entry
//! nor a timestamp. The sigstore crates refuse such bundles as a whole. So the cryptography is
//! theirs, and the rule is ours: one DSSE signature by a key that the policy names. Which key that
//! may be, and what a signed statement is worth, is decided by `signatures.rs` and `condition.rs`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sigstore_verify::crypto::{VerificationKey, validate_raw_public_key};
use sigstore_verify::types::bundle::{MediaType, SignatureContent, VerificationMaterialContent};
use sigstore_verify::types::{Bundle as SigstoreTypesBundle, DerPublicKey, DsseEnvelope};

use super::statement::{Statement, StatementError, pae};
use crate::model::{Digest, JsonError, json, media_type, visible};

/// A public key that a policy trusts: P-256 (recommended), P-384, Ed25519 or RSA.
pub struct Key {
    key: VerificationKey,
    spki: Vec<u8>,
}

/// Why a text is not a public key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A private key instead of a public one.
    #[error("this is a private key; a policy needs the public one (cosign.pub)")]
    Private,
    /// More than one key: readers may differ in which one they use.
    #[error("the file contains more than one PEM block; name each key as an authority of its own")]
    Several,
    /// Not a PEM file with the label `PUBLIC KEY`, or an unsupported kind of key.
    #[error("not a supported PEM public key (P-256, P-384, Ed25519, RSA): {0}")]
    Unsupported(String),
}

/// A parsed Sigstore bundle of an image: version 0.3, with one DSSE envelope that holds an in-toto
/// statement.
#[derive(Debug)]
pub struct SigstoreBundle {
    envelope: DsseEnvelope,
    /// Where it says that its key is found.
    hint: Option<String>,
    statement: Statement,
}

/// Why bytes are not a supported Sigstore bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("not a Sigstore bundle: {0}")]
    Bundle(String),
    #[error("a Sigstore bundle before version 0.3 is not accepted for images")]
    Version,
    #[error("the bundle signs a message, expected a DSSE envelope")]
    Message,
    #[error("the envelope has payload type `{0}`, expected `application/vnd.in-toto+json`")]
    PayloadType(String),
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl Key {
    /// Parses a PEM public key (SubjectPublicKeyInfo, RFC 5280 4.1), as `cosign.pub` is.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        // A reader of the first of several keys and a reader of the last would trust different
        // signers.
        if pem.matches("-----BEGIN ").count() > 1 {
            return Err(KeyError::Several);
        }
        let unsupported = |error: &dyn std::fmt::Display| {
            KeyError::Unsupported(visible(&error.to_string()).into_owned())
        };
        let der = DerPublicKey::from_pem(pem).map_err(|error| unsupported(&error))?;
        let key = VerificationKey::from_spki(&der).map_err(|error| unsupported(&error))?;
        // A key that can never verify anything is an error now, not at the first signature.
        validate_raw_public_key(key.scheme(), key.as_bytes())
            .map_err(|error| unsupported(&error))?;
        Ok(Self { key, spki: der.as_bytes().to_vec() })
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo: how findings name it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

impl SigstoreBundle {
    /// Parses a bundle. Nothing in it is trusted before [`SigstoreBundle::verify`] says so.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        // The strict reader first: two readers of one bundle must not see two payloads.
        let _: serde::de::IgnoredAny =
            json::parse("Sigstore bundle", bytes, media_type::SIGSTORE_BUNDLE_LIMIT)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|error| SignatureError::Bundle(error.to_string()))?;
        let bundle = SigstoreTypesBundle::from_json(text)
            .map_err(|error| SignatureError::Bundle(visible(&error.to_string()).into_owned()))?;
        if bundle.media_type != MediaType::Bundle0_3 {
            return Err(SignatureError::Version);
        }
        let SignatureContent::DsseEnvelope(envelope) = bundle.content else {
            return Err(SignatureError::Message);
        };
        if envelope.payload_type != media_type::IN_TOTO {
            return Err(SignatureError::PayloadType(visible(&envelope.payload_type).into_owned()));
        }
        let hint = match bundle.verification_material.content {
            VerificationMaterialContent::PublicKey(key) => Some(key.hint),
            _ => None,
        };
        let statement = Statement::parse(envelope.payload.as_bytes())?;
        Ok(Self { envelope, hint, statement })
    }

    /// What the bundle claims, if `key` signed it.
    pub(super) fn verify(&self, key: &Key) -> Option<&Statement> {
        let signed = pae(&self.envelope.payload_type, self.envelope.payload.as_bytes());
        key.key.verify(signed, &self.envelope.signature.sig).is_ok().then_some(&self.statement)
    }

    /// The [fingerprint](Key::fingerprint) of the key that the bundle says it was signed with, if
    /// it says so as cosign does: for a report, never for a decision.
    pub(super) fn named_key(&self) -> Option<Digest> {
        let bytes = STANDARD.decode(self.hint.as_ref()?).ok()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest::from_hex(&hex).ok()
    }

    /// What the bundle claims, no matter who signed it: for a report, never for a decision.
    pub fn claim(&self) -> &Statement {
        &self.statement
    }

    /// What the bundle in `bytes` claims, if it is one: for a report, never for a decision.
    pub fn claim_of(bytes: &[u8]) -> Option<Statement> {
        Self::parse(bytes).ok().map(|bundle| bundle.statement)
    }
}

/// Writes a bundle in cosign v3's shape for a key without log or timestamp (Sigstore
/// protobuf-specs, `Bundle`).
#[cfg(any(test, feature = "publish"))]
pub(crate) fn write_bundle(payload: &[u8], signature: &[u8], key_hint: &str) -> Vec<u8> {
    let base64 = |bytes| STANDARD.encode(bytes);
    json::canonical(&serde_json::json!({
        "mediaType": media_type::SIGSTORE_BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": key_hint } },
        "dsseEnvelope": {
            "payload": base64(payload),
            "payloadType": media_type::IN_TOTO,
            "signatures": [{ "sig": base64(signature) }],
        },
    }))
}
