//! The contents of a bundle, by plugin and platform, so that two bundles can be compared. Pure.
//!
//! They are read from a `bundle.json`, which describes an image, or from a lock, which describes a
//! future image. Whether a signature covers them is the job of `trust`. Neither document lists
//! modules; a caller that has the bytes of a plugin adds them.

use std::collections::BTreeMap;

use semver::Version;
use serde::Serialize;

use crate::binary::{BuildInfo, GoBuild, Linkage};
use crate::bundle::lock::BundleLock;
use crate::bundle::{Facts, FileManifest};
use crate::model::{BundleName, Digest, Platform, PluginName};

/// The contents of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// What it is and what it was read from.
    pub side: Side,
    /// Its plugins.
    pub plugins: BTreeMap<(PluginName, Platform), ContainedPlugin>,
}

/// One of two bundles that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The reference or file, as the user wrote it.
    pub from: String,
    /// The name of the bundle.
    pub name: BundleName,
    /// The version of the bundle; a lock has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The digest of the image; a lock has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// One plugin for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainedPlugin {
    /// The digest of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it is linked.
    pub linkage: Linkage,
    /// The build information of the main package, from Go's linker.
    pub go: Option<GoBuild>,
    /// Its origin and the revision it was built from, if known.
    pub facts: Facts,
    /// The linked modules and their versions, the standard library among them; `None` if no one
    /// read the program.
    pub modules: Option<BTreeMap<String, String>>,
}

impl Contents {
    /// Nothing yet.
    pub fn new(side: Side) -> Self {
        Self { side, plugins: BTreeMap::new() }
    }

    /// Adds the plugins of one platform of an image.
    pub fn add(&mut self, files: &FileManifest) {
        for file in &files.plugins {
            let plugin = ContainedPlugin {
                digest: file.digest,
                size: file.size,
                linkage: file.linkage.clone(),
                go: file.go.clone(),
                facts: file.facts.clone(),
                modules: None,
            };
            self.plugins.insert((file.name.clone(), files.platform.clone()), plugin);
        }
    }

    /// The contents of a lock; `from` is the user's name for it.
    pub fn of_lock(from: String, lock: &BundleLock) -> Self {
        let side = Side { from, name: lock.name.clone(), version: None, digest: None };
        let plugins = lock.plugins.iter().map(|entry| {
            let plugin = ContainedPlugin {
                digest: entry.digest,
                size: entry.size,
                linkage: entry.linkage.clone(),
                go: entry.go.clone(),
                facts: entry.published(None),
                modules: None,
            };
            ((entry.name.clone(), entry.platform.clone()), plugin)
        });
        Self { side, plugins: plugins.collect() }
    }
}

impl ContainedPlugin {
    /// Adds what the program links.
    pub fn set_modules(&mut self, info: Option<&BuildInfo>) {
        let Some(info) = info else { return };
        let modules = info.modules.iter().map(|module| {
            let version =
                |version: &Option<String>| version.as_deref().unwrap_or("of no version").to_owned();
            let replaced = module.replacement.as_ref().map(|it| {
                format!(
                    "{}, replaced by {} {}",
                    version(&module.version),
                    it.path,
                    version(&it.version)
                )
            });
            (module.path.clone(), replaced.unwrap_or_else(|| version(&module.version)))
        });
        let library = info.go_version().map(|version| ("stdlib".to_owned(), version.to_owned()));
        self.modules = Some(modules.chain(library).collect());
    }

    /// The upstream version that the definition names.
    pub fn release(&self) -> Option<&str> {
        self.facts.origin.as_ref()?.version.as_deref()
    }
}
