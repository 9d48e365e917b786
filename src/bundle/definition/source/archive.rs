//! An archive of plugins, as a definition writes it: `archive: URL`, or with its fields.
//!
//! Checked here is whether the fields fit together; the archive is read by `publish::source`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::asset::Asset;
use super::given::{Written, given, text_or_fields};
use super::go::Recipe;
use super::pattern::{ARCHITECTURE, LocationPattern, MemberPattern, UpstreamVersion, VERSION};
use super::pins::Pins;
use super::signed::{NoIdentity, PublicKey, Signed};
use crate::model::{Platform, PluginName};

/// A tar archive, plain or compressed with gzip or zstd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub asset: Asset,
    /// The members of the plugins whose file has another name.
    pub members: BTreeMap<PluginName, MemberPattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    from: LocationPattern,
    #[serde(default, deserialize_with = "given")]
    version: Option<UpstreamVersion>,
    #[serde(default, deserialize_with = "given")]
    sha256: Option<Pins>,
    #[serde(default)]
    members: BTreeMap<PluginName, MemberPattern>,
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

impl Archive {
    /// The path of a plugin's member, if the definition gives it.
    pub fn member(&self, platform: &Platform, plugin: &PluginName) -> Option<String> {
        let pattern = self.members.get(plugin)?;
        Some(pattern.fill(self.asset.filling(platform, plugin)))
    }

    /// Whether it has other files for another platform.
    pub fn differs_by_platform(&self) -> bool {
        self.asset.differs_by_platform() || self.members.values().any(|it| it.has(ARCHITECTURE))
    }

    pub(super) fn check(
        &self,
        platforms: &[Platform],
        plugins: &[&PluginName],
    ) -> Result<(), String> {
        if let Some(name) = self.members.keys().find(|name| !plugins.contains(name)) {
            return Err(format!("`members` has `{name}`, which is not a plugin of this source"));
        }
        self.asset.check(platforms, plugins, self.members.values().any(|it| it.has(VERSION)))
    }

    pub(super) fn schema() -> Value {
        let mut fields = Asset::schema("archive");
        if let Some(fields) = fields.as_object_mut() {
            let members = json!({
                "description":
                    "The path in the archive, for each plugin whose file has another name than the \
                     plugin or is further down than in one directory.",
                "type": "object",
                "additionalProperties": { "type": "string", "minLength": 1 },
            });
            fields.insert("members".to_owned(), members);
            Signed::add_schema(fields, "archive");
        }
        let description = "The URL or path of a tar archive, plain or compressed with gzip or \
                           zstd, or the same with more fields.";
        Asset::schema_of_value(description.to_owned(), &fields)
    }
}

impl<'de> Deserialize<'de> for Archive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a URL or path, or `from` with other fields";
        match text_or_fields(deserializer, EXPECTED)? {
            Written::Text(text) => {
                let asset = Asset::at(&text).map_err(de::Error::custom)?;
                Ok(Self { asset, members: BTreeMap::new() })
            }
            Written::Fields(fields) => {
                let Fields { from, version, sha256, members, checksums, reproduce, .. } = fields;
                let signed = Signed::of(fields.key, fields.signature, fields.provenance)
                    .map_err(de::Error::custom)?;
                Ok(Self {
                    asset: Asset { from, version, sha256, checksums, signed, reproduce },
                    members,
                })
            }
        }
    }
}
