//! An asset of a source: a file from a URL or a path, or an image, perhaps another one for each
//! platform.
//!
//! What `archive`, `file` and `image` have in common: where the asset is, which upstream version it
//! belongs to, the digests that the definition fixes, and the checksum file that names it. Whether
//! the asset is there is for `publish::source` to find out.

use serde_json::{Value, json};

use super::go::{Recipe, RecipeRequest};
use super::pattern::{
    ARCHITECTURE, Filling, LocationPattern, PLUGIN, ParsePatternError, UpstreamVersion, VERSION,
};
use super::pins::Pins;
use super::signed::{PublicKey, Signed};
use crate::model::{Digest, Platform, PluginName};

/// Where an asset is, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The URL or path, or the reference of an image.
    pub from: LocationPattern,
    /// The upstream version, which is put in for `{version}`.
    pub version: Option<UpstreamVersion>,
    /// The digests that the definition fixes.
    pub sha256: Option<Pins>,
    /// The URL or path of the checksum file; without it, those beside the asset are looked for.
    pub checksums: Option<LocationPattern>,
    /// What its publisher signs; of an image, only the key is written.
    pub signed: Option<Box<Signed>>,
    /// How the programs in it were built.
    pub reproduce: Option<Box<Recipe>>,
}

impl Asset {
    /// The asset of which nothing is written but where it is.
    pub(super) fn at(location: &str) -> Result<Self, ParsePatternError> {
        Ok(Self {
            from: location.parse()?,
            version: None,
            sha256: None,
            checksums: None,
            signed: None,
            reproduce: None,
        })
    }

    /// Where the asset of a plugin is.
    pub fn location(&self, platform: &Platform, plugin: &PluginName) -> String {
        self.from.fill(self.filling(platform, plugin))
    }

    /// Where its checksum file is, if the definition names one.
    pub fn checksums(&self, platform: &Platform, plugin: &PluginName) -> Option<String> {
        self.checksums.as_ref().map(|pattern| pattern.fill(self.filling(platform, plugin)))
    }

    /// Where its signature is, if the definition names one.
    pub fn signature(&self, platform: &Platform, plugin: &PluginName) -> Option<String> {
        let pattern = self.signed.as_ref()?.signature.as_ref()?;
        Some(pattern.fill(self.filling(platform, plugin)))
    }

    /// Where its provenance is, if the definition names it.
    pub fn provenance(&self, platform: &Platform, plugin: &PluginName) -> Option<String> {
        let pattern = self.signed.as_ref()?.provenance.as_ref()?;
        Some(pattern.fill(self.filling(platform, plugin)))
    }

    /// The key that its publisher signs with.
    pub fn key(&self) -> Option<&PublicKey> {
        self.signed.as_ref().map(|signed| &signed.key)
    }

    /// The digest that the definition fixes for a platform's asset.
    pub fn pin(&self, platform: &Platform) -> Option<Digest> {
        self.sha256.as_ref()?.of(platform)
    }

    /// How the program of a plugin was built, if the definition says it.
    pub fn recipe(&self, platform: &Platform, plugin: &PluginName) -> Option<RecipeRequest> {
        let recipe = self.reproduce.as_ref()?;
        Some(recipe.request(self.version.as_ref(), platform, plugin))
    }

    /// The upstream version, as text.
    pub fn version(&self) -> Option<String> {
        self.version.as_ref().map(|version| version.as_str().to_owned())
    }

    pub(super) fn differs_by_platform(&self) -> bool {
        self.from.has(ARCHITECTURE)
    }

    pub(super) fn filling<'a>(
        &'a self,
        platform: &'a Platform,
        plugin: &'a PluginName,
    ) -> Filling<'a> {
        Filling { platform, version: self.version.as_ref(), plugin }
    }

    /// Refuses what does not fit together; `uses_version` is about the source's other patterns.
    pub(super) fn check(
        &self,
        platforms: &[Platform],
        plugins: &[&PluginName],
        uses_version: bool,
    ) -> Result<(), String> {
        if let Some(recipe) = &self.reproduce {
            recipe.check(self.version.as_ref(), plugins)?;
        }
        let signed = self.signed.as_ref();
        let signature = signed.and_then(|signed| signed.signature.as_ref());
        let provenance = signed.and_then(|signed| signed.provenance.as_ref());
        let patterns = [Some(&self.from), self.checksums.as_ref(), signature, provenance];
        let used = uses_version || patterns.iter().flatten().any(|it| it.has(VERSION));
        if used && self.version.is_none() {
            return Err(format!(
                "`{VERSION}` is used and there is no version: write `{{from: …, version: …}}`"
            ));
        }
        match &self.sha256 {
            Some(Pins::One(_)) if platforms.len() > 1 && self.differs_by_platform() => {
                Err("each platform has an asset of its own: write `sha256: {PLATFORM: …}`"
                    .to_owned())
            }
            Some(pins) => match platforms.iter().find(|platform| pins.of(platform).is_none()) {
                Some(missing) => Err(format!("`sha256` has no digest for {missing}")),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The schema of the fields that every kind of asset has; `what` is a noun.
    pub(super) fn schema(what: &str) -> Value {
        let hex = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
        json!({
            "from": {
                "description": format!(
                    "The URL or path of the {what}; a relative path is relative to this file. \
                     `{ARCHITECTURE}` stands for the architecture of each platform (amd64), \
                     `{VERSION}` for `version`, `{PLUGIN}` for the name of the plugin."
                ),
                "type": "string",
                "minLength": 1,
            },
            "version": {
                "description": format!("The upstream version, as its URLs have it; `{VERSION}`."),
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$",
            },
            "sha256": {
                "description": format!("The SHA-256 of the {what}, or one for each platform."),
                "anyOf": [
                    hex,
                    { "type": "object", "minProperties": 1, "additionalProperties": hex },
                ],
            },
            "checksums": {
                "description": format!(
                    "The URL or path of the checksum file that names the {what}. Without it, \
                     `.sha256`, `.sha512` and `checksums.txt` beside the {what} are looked for."
                ),
                "type": "string",
                "minLength": 1,
            },
            "reproduce": { "$ref": "#/definitions/recipe" },
        })
    }

    /// The schema of a value that is a plain location or has these fields.
    pub(super) fn schema_of_value(description: String, properties: &Value) -> Value {
        json!({
            "description": description,
            "anyOf": [
                { "type": "string", "minLength": 1 },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["from"],
                    "properties": properties,
                },
            ],
        })
    }
}
