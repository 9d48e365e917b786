//! The digests that a definition fixes for the assets of a source.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::given::{Written, text_or_fields};
use crate::model::{Digest, Platform};

/// `sha256: HEX`, or `sha256: {linux/amd64: HEX, ...}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pins {
    /// Of the only asset.
    One(Digest),
    /// Of the asset of each platform.
    Each(BTreeMap<Platform, Digest>),
}

impl Pins {
    /// The digest of a platform's asset.
    pub fn of(&self, platform: &Platform) -> Option<Digest> {
        match self {
            Self::One(digest) => Some(*digest),
            Self::Each(digests) => digests.get(platform).copied(),
        }
    }
}

/// 64 digits, as checksum files write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Hex(pub(super) Digest);

impl TryFrom<String> for Hex {
    type Error = crate::model::ParseDigestError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Digest::from_hex(&text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a SHA-256 in hex digits, or one for each platform";
        match text_or_fields::<D, BTreeMap<Platform, Hex>>(deserializer, EXPECTED)? {
            Written::Text(text) => {
                Digest::from_hex(&text).map(Self::One).map_err(de::Error::custom)
            }
            Written::Fields(digests) => {
                let digests = digests.into_iter().map(|(platform, Hex(digest))| (platform, digest));
                Ok(Self::Each(digests.collect()))
            }
        }
    }
}
