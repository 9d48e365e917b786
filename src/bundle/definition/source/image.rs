//! A container image, as a definition writes it: `image: REFERENCE`, or with its fields.
//!
//! Only the reference and the combination of fields are checked here; `publish::source` reads the
//! image. A reference may name a registry, a layout or an archive, and one that ends in
//! a digest fixes the image. `sha256` fixes the manifests of platforms.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::asset::Asset;
use super::given::{Written, given, text_or_fields};
use super::go::Recipe;
use super::pattern::{
    ARCHITECTURE, ImagePathPattern, LocationPattern, PLUGIN, UpstreamVersion, VERSION,
};
use super::pins::Pins;
use super::signed::{NoIdentity, PublicKey, Signed};
use crate::model::{Platform, PluginName, Reference};

/// Plugins in a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamImage {
    /// Where it is; the digests are those of its manifests.
    pub asset: Asset,
    /// The paths in the image of the plugins that are not where images usually have them.
    pub paths: BTreeMap<PluginName, ImagePathPattern>,
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
    paths: BTreeMap<PluginName, ImagePathPattern>,
    #[serde(default, deserialize_with = "given")]
    key: Option<PublicKey>,
    #[serde(default, rename = "identity")]
    _identity: NoIdentity,
    #[serde(default, deserialize_with = "given")]
    reproduce: Option<Box<Recipe>>,
}

impl UpstreamImage {
    /// The path of a plugin in the image, if the definition gives it.
    pub fn path(&self, platform: &Platform, plugin: &PluginName) -> Option<String> {
        let pattern = self.paths.get(plugin)?;
        Some(pattern.fill(self.asset.filling(platform, plugin)))
    }

    /// Whether it has other files for another platform: one image is for several.
    pub fn differs_by_platform(&self) -> bool {
        true
    }

    pub(super) fn check(
        &self,
        platforms: &[Platform],
        plugins: &[&PluginName],
    ) -> Result<(), String> {
        if let Some(name) = self.paths.keys().find(|name| !plugins.contains(name)) {
            return Err(format!("`paths` has `{name}`, which is not a plugin of this source"));
        }
        match &self.asset.sha256 {
            Some(Pins::One(_)) if platforms.len() > 1 => {
                return Err("each platform has a manifest of its own: write \
                            `sha256: {PLATFORM: …}`, or the digest of the index behind the \
                            reference (`@sha256:…`)"
                    .to_owned());
            }
            Some(_) if plugins.len() > 1 && self.asset.from.has(PLUGIN) => {
                return Err(format!("`{PLUGIN}` makes several images, and `sha256` is for one"));
            }
            _ => {}
        }
        self.asset.check(platforms, plugins, self.paths.values().any(|it| it.has(VERSION)))?;
        for platform in platforms {
            for plugin in plugins {
                let location = self.asset.location(platform, plugin);
                location.parse::<Reference>().map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    pub(super) fn schema() -> Value {
        let mut fields = Asset::schema("image");
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("checksums");
            let mut describe = |key: &str, text: String| {
                if let Some(field) = fields.get_mut(key) {
                    field["description"] = json!(text);
                }
            };
            describe(
                "from",
                format!(
                    "The image: `HOST/PATH:TAG`, `oci:DIR:TAG` or `oci-archive:FILE:TAG`; a \
                     relative path is relative to this file. Append `@sha256:…` to pin the image. \
                     `{ARCHITECTURE}` stands for the architecture of each platform \
                     (amd64), `{VERSION}` for `version`, `{PLUGIN}` for the name of the plugin."
                ),
            );
            describe(
                "sha256",
                "The SHA-256 of the manifest of the platform, or one for each platform.".to_owned(),
            );
            let paths = json!({
                "description":
                    "The path in the image, for each plugin that is not the only file of its name \
                     in the directories where images usually have plugins.",
                "type": "object",
                "additionalProperties": { "type": "string", "pattern": "^/" },
            });
            fields.insert("paths".to_owned(), paths);
            Signed::add_key_schema(
                fields,
                "The publisher's public key: the path of a PEM file, relative to this file. The \
                 image must have a signature of cosign or SLSA provenance by this key.",
            );
        }
        let description = "A container image in a registry, a layout or an archive, or the same \
                           with more fields.";
        Asset::schema_of_value(description.to_owned(), &fields)
    }
}

impl<'de> Deserialize<'de> for UpstreamImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "the reference of an image, or `from` with other fields";
        match text_or_fields(deserializer, EXPECTED)? {
            Written::Text(text) => {
                let asset = Asset::at(&text).map_err(de::Error::custom)?;
                Ok(Self { asset, paths: BTreeMap::new() })
            }
            Written::Fields(Fields { from, version, sha256, paths, key, reproduce, .. }) => {
                let signed =
                    key.map(|key| Box::new(Signed { key, signature: None, provenance: None }));
                Ok(Self {
                    asset: Asset { from, version, sha256, checksums: None, signed, reproduce },
                    paths,
                })
            }
        }
    }
}
