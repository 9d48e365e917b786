//! A source: a place that plugins come from, as the definition names it.
//!
//! The key that a source has determines its kind. All kinds are listed in one table; the parser,
//! its messages and the schema are derived from it. Whether the files exist is for
//! `publish::source` to find out.

mod archive;
mod asset;
mod beside;
mod description;
mod directory;
mod file;
mod given;
mod go;
mod image;
mod name;
mod pattern;
mod pins;
mod request;
mod signed;

use given::given;
pub(super) use given::parsed;
use serde::Deserialize;
use serde_json::Value;

use crate::model::yaml::alternatives;
use crate::model::{Licence, Party, Platform, PluginName};

pub use archive::Archive;
pub use asset::Asset;
pub use beside::{Guess, base_name, checksums_beside, published, without_query};
pub use description::SourceDescription;
pub(super) use description::check_url;
pub use directory::{DirectoryPattern, ParseDirectoryError};
pub use file::BareFile;
pub use go::{
    BuildDirectory, BuildTag, GoModule, GoRelease, GoRequest, LinkerFlags, ModulePath,
    ModuleVersion, PackagePattern, Packages, ParseFlagError, ParseModuleError, ParseRecipeError,
    Recipe, RecipeRequest, RecipeSource, VariableName, VariableValue, VendoredArchive,
};
pub use image::UpstreamImage;
pub use name::{ParseSourceNameError, SourceName};
pub(super) use pattern::ARCHITECTURE;
pub use pattern::{LocationPattern, MemberPattern, ParsePatternError, UpstreamVersion, is_url};
pub use pins::Pins;
pub use request::Request;
pub use signed::{KeyContent, PublicKey, Signed};

/// The key of a source that is a directory.
const DIRECTORY: &str = "directory";
/// The key of a source that is a container image.
const IMAGE: &str = "image";

/// A place that plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the definition and the command line call it.
    pub name: SourceName,
    /// The kind, with the value of its key.
    pub kind: SourceKind,
    /// The version of what is in a directory.
    pub version: Option<UpstreamVersion>,
    /// The description of its plugins in SBOMs.
    pub description: SourceDescription,
}

/// Makes everything that lists the kinds of sources. A row is a variant with the type of its value,
/// the key that chooses it, and how a sentence names one. The type is parsed by `Deserialize`, and
/// has `differs_by_platform(&self) -> bool`, `check(&self, &[Platform], &[&PluginName])` and
/// `schema() -> Value`.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($value:ty) $key:ident $article:literal)+) => {
        /// What a source is.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum SourceKind {
            $($(#[$doc])* $variant($value),)+
        }

        /// A source as it was written: it may have none of the keys, or several.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct RawSource {
            pub(super) name: SourceName,
            #[serde(default, deserialize_with = "given")]
            version: Option<UpstreamVersion>,
            #[serde(default, deserialize_with = "parsed")]
            license: Option<Licence>,
            #[serde(default, deserialize_with = "given")]
            copyright: Option<String>,
            #[serde(default, deserialize_with = "parsed")]
            supplier: Option<Party>,
            #[serde(default, deserialize_with = "given")]
            repository: Option<String>,
            #[serde(default, deserialize_with = "given")]
            download: Option<String>,
            $(#[serde(default, deserialize_with = "given")] $key: Option<Box<$value>>,)+
        }

        /// Every kind, in the order of the documentation.
        pub(super) const KINDS: &[Kind] = &[
            $(Kind { key: stringify!($key), article: $article, schema: <$value>::schema },)+
        ];

        impl RawSource {
            fn kinds(&self) -> Vec<SourceKind> {
                let kinds = [$(self.$key.as_deref().cloned().map(SourceKind::$variant),)+];
                kinds.into_iter().flatten().collect()
            }
        }

        impl SourceKind {
            /// Whether it has other files for another platform.
            pub fn differs_by_platform(&self) -> bool {
                match self { $(Self::$variant(value) => value.differs_by_platform(),)+ }
            }

            /// Refuses what does not fit together: `plugins` are those of the source.
            pub(super) fn check(
                &self,
                platforms: &[Platform],
                plugins: &[&PluginName],
            ) -> Result<(), String> {
                match self { $(Self::$variant(value) => value.check(platforms, plugins),)+ }
            }

            /// The key that chooses it, and how a sentence names one.
            pub(super) fn words(&self) -> (&'static str, &'static str) {
                match self { $(Self::$variant(_) => (stringify!($key), $article),)+ }
            }
        }
    };
}

kinds! {
    /// A directory of this machine.
    Directory(DirectoryPattern) directory "a directory"
    /// A tar archive.
    Archive(Archive) archive "an archive"
    /// A program that is published as it is.
    File(BareFile) file "a file"
    /// Files of a container image.
    Image(UpstreamImage) image "an image"
    /// A Go module whose packages are compiled.
    Go(GoModule) go "a Go module"
}

impl SourceKind {
    /// What is asked for one plugin on one platform.
    pub fn request(&self, platform: &Platform, plugin: &PluginName) -> Request {
        let (key, _) = self.words();
        let (location, member) = match self {
            Self::Directory(pattern) => (pattern.of(platform), None),
            Self::Archive(archive) => {
                (archive.asset.location(platform, plugin), archive.member(platform, plugin))
            }
            Self::File(file) => (file.asset.location(platform, plugin), None),
            Self::Image(image) => {
                (image.asset.location(platform, plugin), image.path(platform, plugin))
            }
            Self::Go(module) => (module.module.to_string(), Some(module.package(plugin))),
        };
        let (version, build) = match self {
            Self::Go(module) => (Some(module.version.to_string()), Some(module.request())),
            _ => (self.asset().and_then(Asset::version), None),
        };
        let asset = self.asset();
        let content = asset.and_then(Asset::key).and_then(|key| key.content.as_ref());
        Request {
            kind: key.to_owned(),
            location,
            member,
            version,
            checksums: asset.and_then(|asset| asset.checksums(platform, plugin)),
            signature: asset.and_then(|asset| asset.signature(platform, plugin)),
            provenance: asset.and_then(|asset| asset.provenance(platform, plugin)),
            key: content.map(|content| content.fingerprint),
            build,
        }
    }

    /// Whether a build takes from it only what a lock pins: all but the user's own files.
    pub fn needs_lock(&self) -> bool {
        !matches!(self, Self::Directory(_))
    }

    /// The key that its publisher signs with, to put in what is read of it.
    pub(in crate::bundle::definition) fn key_mut(&mut self) -> Option<&mut PublicKey> {
        let asset = match self {
            Self::Directory(_) | Self::Go(_) => return None,
            Self::Archive(archive) => &mut archive.asset,
            Self::File(file) => &mut file.asset,
            Self::Image(image) => &mut image.asset,
        };
        asset.signed.as_mut().map(|signed| &mut signed.key)
    }

    /// The asset that it is or is in; `None` for what is on this machine already or is compiled.
    pub fn asset(&self) -> Option<&Asset> {
        match self {
            Self::Directory(_) | Self::Go(_) => None,
            Self::Archive(archive) => Some(&archive.asset),
            Self::File(file) => Some(&file.asset),
            Self::Image(image) => Some(&image.asset),
        }
    }
}

/// A row of the table: what messages and the schema say of a kind.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) key: &'static str,
    pub(super) article: &'static str,
    /// The JSON schema of the value behind the key.
    pub(super) schema: fn() -> Value,
}

impl RawSource {
    /// What it means, if it has exactly one of the keys.
    pub(super) fn check(&self) -> Result<Source, String> {
        let kinds = self.kinds();
        match kinds.as_slice() {
            [kind] => self.source(kind),
            _ => {
                let all: Vec<&str> = KINDS.iter().map(|kind| kind.key).collect();
                let found: Vec<&str> = kinds.iter().map(|kind| kind.words().0).collect();
                Err(not_one(&all, &found))
            }
        }
    }
}

impl RawSource {
    fn source(&self, kind: &SourceKind) -> Result<Source, String> {
        let Self { name, version, license, copyright, supplier, .. } = self.clone();
        let (repository, download) = (self.repository.clone(), self.download.clone());
        let (key, _) = kind.words();
        let is_directory = matches!(kind, SourceKind::Directory(_));
        if version.is_some() && !is_directory {
            return Err(format!(
                "the version belongs into `{key}`: write `{{from: …, version: …}}`"
            ));
        }
        if download.is_some() && !is_directory {
            return Err(format!("`download` is for directories: `{key}` says where it is"));
        }
        let description = SourceDescription { license, copyright, supplier, repository, download };
        description.check()?;
        Ok(Source { name, kind: kind.clone(), version, description })
    }
}

fn not_one(all: &[&str], found: &[&str]) -> String {
    let quoted: Vec<String> = found.iter().map(|key| format!("`{key}`")).collect();
    let found = if found.is_empty() { "none".to_owned() } else { quoted.join(" and ") };
    format!("a source must have exactly one of {}; found {found}", alternatives(all))
}

#[cfg(test)]
mod tests;
