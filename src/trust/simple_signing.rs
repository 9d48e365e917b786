//! Signatures of images as cosign 2 stores them: a payload that names the image, and a signature of
//! the payload (cosign, SIGNATURE_SPEC.md, "Simple Signing").
//!
//! In a registry they are a layer and its annotation; a lock keeps both in one file. Nothing in the
//! payload counts before its signature was verified, and of it only the digest of the image: the
//! name in it is where the image was signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::signature::Key;
use crate::model::json::{Limits, Outline};
use crate::model::{Digest, JsonError, excerpt, json};

/// The longest payload, in bytes.
pub const SIMPLE_SIGNING_LIMIT: usize = 64 * 1024;
/// The payload twice, in base64, and the signature.
const LIMITS: Limits = Limits { bytes: 4 * SIMPLE_SIGNING_LIMIT, values: 16 };
const TYPE: &str = "cosign container image signature";

/// A payload with its signature, as a lock keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimpleSigning {
    /// The payload, in base64.
    payload: String,
    /// The signature of the payload, in base64.
    signature: String,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// Why a signature of cosign 2 does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum SimpleSigningError {
    #[error("its payload or signature is not base64")]
    Base64,
    #[error("it is not signed by the key {0}")]
    Key(Digest),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("its payload is a `{0}`, expected `{TYPE}`")]
    Type(String),
}

impl SimpleSigning {
    /// Of a layer and its annotation, which is base64.
    pub fn new(payload: &[u8], signature: &str) -> Self {
        Self { payload: STANDARD.encode(payload), signature: signature.to_owned() }
    }

    /// Reads a kept file; `None` if it is something else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        json::parse_as("signature", bytes, LIMITS, Outline::Any).ok()
    }

    /// The file that is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::canonical(self)
    }

    /// The image that `key` signed.
    pub(super) fn verify(&self, key: &Key) -> Result<Digest, SimpleSigningError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| SimpleSigningError::Base64);
        let (payload, signature) = (decode(&self.payload)?, decode(&self.signature)?);
        if !key.has_signed_bytes(&payload, signature) {
            return Err(SimpleSigningError::Key(key.fingerprint()));
        }
        let limits = Limits { bytes: SIMPLE_SIGNING_LIMIT, values: 1024 };
        let payload: Payload = json::parse_as("payload", &payload, limits, Outline::Any)?;
        match payload.critical.kind == TYPE {
            true => Ok(payload.critical.image.digest),
            false => Err(SimpleSigningError::Type(excerpt(&payload.critical.kind))),
        }
    }
}
