//! A bare asset, as a definition writes it: `file: URL`, or with its fields.
//!
//! One asset is one plugin, so that a source of several plugins has `{plugin}` in its location.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::asset::Asset;
use super::given::{Written, given, text_or_fields};
use super::go::Recipe;
use super::pattern::{LocationPattern, PLUGIN, UpstreamVersion};
use super::pins::Pins;
use super::signed::{NoIdentity, PublicKey, Signed};
use crate::model::{Platform, PluginName};

/// A program that is published as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareFile {
    /// Where it is.
    pub asset: Asset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    from: LocationPattern,
    #[serde(default, deserialize_with = "given")]
    version: Option<UpstreamVersion>,
    #[serde(default, deserialize_with = "given")]
    sha256: Option<Pins>,
    #[serde(default, deserialize_with = "given")]
    checksums: Option<LocationPattern>,
    #[serde(default, deserialize_with = "given")]
    key: Option<PublicKey>,
    #[serde(default, deserialize_with = "given")]
    signature: Option<LocationPattern>,
    #[serde(default, deserialize_with = "given")]
    provenance: Option<LocationPattern>,
    #[serde(default, rename = "identity")]
    _identity: NoIdentity,
    #[serde(default, deserialize_with = "given")]
    reproduce: Option<Box<Recipe>>,
}

impl BareFile {
    /// Whether it is another file for another platform.
    pub fn differs_by_platform(&self) -> bool {
        self.asset.differs_by_platform()
    }

    pub(super) fn check(
        &self,
        platforms: &[Platform],
        plugins: &[&PluginName],
    ) -> Result<(), String> {
        if let [first, second, ..] = plugins {
            if !self.asset.from.has(PLUGIN) {
                return Err(format!(
                    "`file` is one asset and cannot be both `{first}` and `{second}`: write \
                     `{PLUGIN}` into it"
                ));
            }
            if self.asset.sha256.is_some() {
                return Err(format!("`{PLUGIN}` makes several assets, and `sha256` is for one"));
            }
        }
        self.asset.check(platforms, plugins, false)
    }

    pub(super) fn schema() -> Value {
        let description = "The URL or path of a program that is a plugin, or the same with more \
                           fields.";
        let mut fields = Asset::schema("program");
        if let Some(fields) = fields.as_object_mut() {
            Signed::add_schema(fields, "program");
        }
        Asset::schema_of_value(description.to_owned(), &fields)
    }
}

impl<'de> Deserialize<'de> for BareFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a URL or path, or `from` with other fields";
        match text_or_fields(deserializer, EXPECTED)? {
            Written::Text(text) => Ok(Self { asset: Asset::at(&text).map_err(de::Error::custom)? }),
            Written::Fields(fields) => {
                let Fields { from, version, sha256, checksums, reproduce, .. } = fields;
                let signed = Signed::of(fields.key, fields.signature, fields.provenance)
                    .map_err(de::Error::custom)?;
                Ok(Self { asset: Asset { from, version, sha256, checksums, signed, reproduce } })
            }
        }
    }
}
