//! `bundle.json`: every file of one platform's bundle, with its digest.
//!
//! It is the last link of the chain: the image's configuration names its digest in the label
//! [`crate::model::media_type::BUNDLE_LABEL`], and it names the digest of every file.

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::binary::{GoBuild, Linkage};
use crate::model::json::{Fields, Limits, Outline, Spelling};
use crate::model::{BundleName, Digest, JsonError, Platform, PluginName, json, media_type};

/// The parsed `bundle.json` of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileManifest {
    /// Always `application/vnd.cnister.bundle.v1+json`.
    pub media_type: String,
    /// The bundle's name; policies may list the names they accept.
    pub name: BundleName,
    /// The bundle's version; policies may set a floor.
    pub version: Version,
    /// The platform that the files run on.
    pub platform: Platform,
    /// The digest of the uncompressed plugin layer: the first of the configuration's
    /// `rootfs.diff_ids`.
    pub diff_id: Digest,
    /// The plugins, sorted by name, at least one.
    pub plugins: Vec<PluginFile>,
    /// The program in the tool layer; `None` if the layer has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolFile>,
}

/// One plugin file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginFile {
    /// Its name in the plugin directory.
    pub name: PluginName,
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it is linked.
    pub linkage: Linkage,
    /// What the Go linker recorded in it; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<GoBuild>,
    /// What is said about it and decides nothing; fields of later releases are ignored.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
}

/// The static `cnister` of the tool layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFile {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why bytes are not a `bundle.json`.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON that this is.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another format or version.
    #[error("bundle.json has media type `{0}`, expected `application/vnd.cnister.bundle.v1+json`")]
    MediaType(String),
    /// The list of plugins is empty.
    #[error("bundle.json lists no plugin")]
    Empty,
    /// More than any plugin set has.
    #[error("bundle.json lists {0} plugins, the limit is {limit}", limit = FileManifest::MAX_PLUGINS)]
    TooMany(usize),
    /// Two plugins have this name.
    #[error("bundle.json lists `{0}` twice")]
    Repeated(PluginName),
    /// A text that would write over a terminal.
    #[error("bundle.json has a control character in what it says about `{0}`")]
    Unprintable(PluginName),
    /// A file larger than any plugin.
    #[error("bundle.json says `{name}` is {size} bytes, the limit is {limit}", limit = FileManifest::MAX_PLUGIN_SIZE)]
    TooLarge {
        /// The plugin with that size.
        name: PluginName,
        /// The size it claims.
        size: u64,
    },
}

/// Only in the facts of a plugin is there anything that is not kept.
const OUTLINE: Outline = Outline::Fields(&Fields {
    known: &[("plugins", Outline::List(&PLUGIN))],
    others: Outline::Any,
    spelling: Spelling::Refused,
});
const PLUGIN: Outline = Outline::Fields(&Fields {
    known: &[("facts", Facts::OUTLINE)],
    others: Outline::Any,
    spelling: Spelling::Refused,
});

impl FileManifest {
    /// The most plugins in one bundle; upstream has 18.
    pub const MAX_PLUGINS: usize = 256;
    /// The largest plugin, in bytes. The largest in the field is some 60 MB; a claim beyond this
    /// fills a disk.
    pub const MAX_PLUGIN_SIZE: u64 = 1 << 30;

    /// Parses the bytes of a `bundle.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let limits = Limits::typed(media_type::DOCUMENT_LIMIT);
        let manifest: Self = json::parse_as("bundle.json", bytes, limits, OUTLINE)?;
        if manifest.media_type != media_type::BUNDLE {
            return Err(ManifestError::MediaType(
                crate::model::visible(&manifest.media_type).into_owned(),
            ));
        }
        match manifest.plugins.len() {
            0 => return Err(ManifestError::Empty),
            found if found > Self::MAX_PLUGINS => return Err(ManifestError::TooMany(found)),
            _ => {}
        }
        let mut seen = BTreeSet::new();
        for plugin in &manifest.plugins {
            if !seen.insert(&plugin.name) {
                return Err(ManifestError::Repeated(plugin.name.clone()));
            }
            if plugin.size > Self::MAX_PLUGIN_SIZE {
                return Err(ManifestError::TooLarge {
                    name: plugin.name.clone(),
                    size: plugin.size,
                });
            }
            if plugin.texts().any(|text| text.contains(char::is_control)) {
                return Err(ManifestError::Unprintable(plugin.name.clone()));
            }
        }
        Ok(manifest)
    }

    /// The bytes that are signed: sorted keys, no white space.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::canonical(self)
    }

    /// The plugin of this name, where the bundle has it.
    pub fn plugin(&self, name: &PluginName) -> Option<&PluginFile> {
        self.plugins.iter().find(|plugin| plugin.name == *name)
    }

    /// The bytes of all plugins together.
    pub fn total_size(&self) -> u64 {
        self.plugins.iter().fold(0, |sum, plugin| sum.saturating_add(plugin.size))
    }
}

impl PluginFile {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let go = self
            .go
            .iter()
            .flat_map(|go| [Some(go.go.as_str()), Some(go.path.as_str()), go.version.as_deref()]);
        let interpreter = match &self.linkage {
            Linkage::Static => None,
            Linkage::Dynamic { interpreter } => Some(interpreter.as_str()),
        };
        go.chain([interpreter]).flatten().chain(self.facts.texts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::facts::{PluginOrigin, Revision};

    fn sample() -> FileManifest {
        FileManifest {
            media_type: media_type::BUNDLE.to_owned(),
            name: "debian".parse().unwrap(),
            version: Version::new(1, 1, 1),
            platform: "linux/amd64".parse().unwrap(),
            diff_id: Digest::of(b"layer"),
            plugins: vec![PluginFile {
                name: "bridge".parse().unwrap(),
                digest: Digest::of(b"bridge"),
                size: 6,
                linkage: Linkage::Dynamic { interpreter: "/lib64/ld-linux-x86-64.so.2".to_owned() },
                go: Some(GoBuild {
                    go: "go1.19.8".to_owned(),
                    path: "p/main/bridge".to_owned(),
                    version: None,
                }),
                facts: Facts::default(),
            }],
            tool: Some(ToolFile { digest: Digest::of(b"tool"), size: 4 }),
        }
    }

    fn facts() -> Facts {
        Facts {
            origin: Some(PluginOrigin {
                kind: "archive".to_owned(),
                source: Some("upstream".to_owned()),
                location: Some("https://example.com/cni.tgz".to_owned()),
                member: Some("./bridge".to_owned()),
                version: Some("v1.9.1".to_owned()),
                level: "tofu".to_owned(),
            }),
            cni_versions: vec!["0.4.0".to_owned(), "1.0.0".to_owned()],
            vcs: Some(Revision {
                system: "git".to_owned(),
                revision: Some("0123".to_owned()),
                time: Some("2026-02-19T00:00:00Z".to_owned()),
                modified: Some(false),
            }),
            license: Some("Apache-2.0".to_owned()),
        }
    }

    /// Facts are all that a later release may add to: an older reader knows the rest, or refuses.
    #[test]
    fn facts_of_a_later_release_are_passed_over() {
        let mut manifest = sample();
        manifest.plugins[0].facts = facts();
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        let long = format!("\"kind\":\"archive\",\"later\":[{}0]", "0,".repeat(20_000));
        for (from, to) in [
            ("\"cniVersions\":", "\"later\":{\"a\":[1,null]},\"cniVersions\":"),
            ("\"kind\":\"archive\"", long.as_str()),
            ("\"system\":\"git\"", "\"system\":\"git\",\"tag\":\"v1\""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert_eq!(FileManifest::parse(changed.as_bytes()).unwrap(), manifest, "{to:.40}");
        }
        let later = text.replace("\"tofu\"", "\"beyond-doubt\"");
        let origin = FileManifest::parse(later.as_bytes()).unwrap().plugins[0].facts.origin.clone();
        assert_eq!(origin.unwrap().level, "beyond-doubt");
        let before = sample();
        let text = String::from_utf8(before.to_bytes()).unwrap();
        assert!(!text.contains("facts"), "{text}");
        assert_eq!(FileManifest::parse(text.as_bytes()).unwrap(), before);
    }

    #[test]
    fn facts_are_as_strict_in_what_they_know() {
        let mut manifest = sample();
        manifest.plugins[0].facts = facts();
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        for (from, to, expected) in [
            ("\"level\":\"tofu\",", "", "missing field `level`"),
            ("\"level\":\"tofu\"", "\"level\":7", "invalid type: integer"),
            ("\"level\":", "\"Level\":\"none\",\"level\":", "another spelling of `level`"),
            ("\"kind\":", "\"later\":1,\"later\":2,\"kind\":", "the key `later` appears twice"),
            ("upstream", "a\\u001b[2J", "a control character"),
            ("0123", "\\n", "a control character"),
            ("\"0.4.0\"", "\"\\u0007\"", "a control character"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            let error = FileManifest::parse(changed.as_bytes()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        type Change = fn(&mut FileManifest);
        let changes: [Change; 7] = [
            |_| {},
            |m| m.tool = None,
            |m| m.plugins[0].facts = facts(),
            |m| m.plugins[0].linkage = Linkage::Static,
            |m| m.plugins[0].go = None,
            |m| {
                let go = m.plugins[0].go.as_mut().unwrap();
                (go.go, go.version) = ("devel go1.27-\"\\ü".to_owned(), Some("v1.2.3".to_owned()));
            },
            |m| {
                m.version = "1.2.3-rc.1+build.5".parse().unwrap();
                m.plugins[0].size = FileManifest::MAX_PLUGIN_SIZE;
                m.plugins.push(PluginFile {
                    name: "a".parse().unwrap(),
                    size: 0,
                    ..m.plugins[0].clone()
                });
            },
        ];
        for change in changes {
            let mut manifest = sample();
            change(&mut manifest);
            let bytes = manifest.to_bytes();
            assert_eq!(FileManifest::parse(&bytes).unwrap(), manifest);
            assert_eq!(FileManifest::parse(&bytes).unwrap().to_bytes(), bytes);
        }
    }

    #[test]
    fn rejects_what_must_not_be_installed() {
        type Change = fn(&mut FileManifest);
        let cases: [(Change, &str); 6] = [
            (|m| m.media_type = "text/plain".to_owned(), "has media type `text/plain`"),
            (|m| m.plugins.clear(), "lists no plugin"),
            (|m| m.plugins.push(m.plugins[0].clone()), "lists `bridge` twice"),
            (
                |m| m.plugins = vec![m.plugins[0].clone(); 257],
                "lists 257 plugins, the limit is 256",
            ),
            (|m| m.plugins[0].size = u64::MAX, "the limit is 1073741824"),
            (
                |m| m.plugins[0].linkage = Linkage::Dynamic { interpreter: "\u{1b}".to_owned() },
                "a control character",
            ),
        ];
        for (change, expected) in cases {
            let mut manifest = sample();
            change(&mut manifest);
            let error = FileManifest::parse(&manifest.to_bytes()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn rejects_names_and_fields_that_are_not_ours() {
        let text = String::from_utf8(sample().to_bytes()).unwrap();
        for (from, to, expected) in [
            ("\"name\":\"bridge\"", "\"name\":\"../bridge\"", "contains `/`"),
            ("\"size\":6", "\"size\":6,\"mode\":4755", "unknown field `mode`"),
            ("\"size\":6", "\"size\":6,\"size\":7", "the key `size` appears twice"),
        ] {
            let changed = text.replace(from, to);
            let error = FileManifest::parse(changed.as_bytes()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
