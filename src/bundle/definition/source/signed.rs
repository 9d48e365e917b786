//! The signatures of an asset's publisher and the key for them, as a definition writes them.
//!
//! Only the fields are checked here. The key is a file beside the definition: whoever reads the
//! definition reads it, and puts its text and fingerprint in. Without them, no lock answers the
//! definition. Keyless identities are refused by name: a definition that asks for one must not be
//! taken for one that asks for nothing.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value, json};

use super::pattern::{LocationPattern, is_url};
use crate::model::{Digest, visible};

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key.
    pub key: PublicKey,
    /// The URL or path of a signature of the asset.
    pub signature: Option<LocationPattern>,
    /// The URL or path of its provenance.
    pub provenance: Option<LocationPattern>,
}

/// The public key of a publisher: the path of a PEM file, relative to the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The path, as it is written.
    pub path: String,
    /// What is in the file, once it was read.
    pub content: Option<KeyContent>,
}

/// A public key that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyContent {
    /// The text of the file.
    pub pem: String,
    /// The digest of the key.
    pub fingerprint: Digest,
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        if path.is_empty() || visible(&path) != path || is_url(&path) {
            let message = format!("`{}` is not the path of a key", visible(&path));
            return Err(de::Error::custom(message));
        }
        Ok(Self { path, content: None })
    }
}

/// The place of an identity, which no version accepts yet.
#[derive(Debug, Default)]
pub(super) struct NoIdentity;

impl<'de> Deserialize<'de> for NoIdentity {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        let message = "keyless identities are not supported yet: name the publisher's key with \
                       `key`";
        Err(de::Error::custom(message))
    }
}

impl Signed {
    /// What the fields of a file or an archive mean.
    pub(super) fn of(
        key: Option<PublicKey>,
        signature: Option<LocationPattern>,
        provenance: Option<LocationPattern>,
    ) -> Result<Option<Box<Self>>, &'static str> {
        let is_used = signature.is_some() || provenance.is_some();
        match key {
            Some(key) if is_used => Ok(Some(Box::new(Self { key, signature, provenance }))),
            Some(_) => Err("`key` verifies nothing: write `signature` or `provenance`"),
            None if is_used => {
                Err("`signature` and `provenance` are verified with a key: write `key`")
            }
            None => Ok(None),
        }
    }

    /// Adds the fields of a file or an archive to a schema; `what` is a noun.
    pub(super) fn add_schema(fields: &mut Map<String, Value>, what: &str) {
        let text = |description: String| json!({ "description": description, "type": "string", "minLength": 1 });
        let signature = format!(
            "The URL or path of a signature of the {what} by `key`: in base64, as `cosign \
             sign-blob` prints it, or a Sigstore bundle."
        );
        let provenance = format!(
            "The URL or path of the SLSA provenance (v0.2 or v1) of the {what}, signed by `key`: a \
             DSSE envelope, a Sigstore bundle, or several, one per line."
        );
        fields.insert("signature".to_owned(), text(signature));
        fields.insert("provenance".to_owned(), text(provenance));
        Self::add_key_schema(
            fields,
            "The publisher's public key, for `signature` and \
             `provenance`: the path of a PEM file, relative to this file.",
        );
    }

    /// Adds the field of the key to a schema.
    pub(super) fn add_key_schema(fields: &mut Map<String, Value>, description: &str) {
        let key = json!({ "description": description, "type": "string", "minLength": 1 });
        fields.insert("key".to_owned(), key);
    }
}
