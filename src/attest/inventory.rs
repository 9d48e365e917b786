//! What is known of one platform's bundle, as plain values that a caller fills in.
//!
//! Everything that may be unknown is optional. The bytes of the programs say which modules they
//! link; what programs cannot say (licences, copyright notices) is given here by a caller who read
//! the source. The writers take nothing else.

use semver::Version;

use super::copyright::Copyright;
use super::licence::Licences;
use super::party::Party;
use crate::binary::BuildInfo;
use crate::model::{BundleName, Digest, Platform, PluginName, Sha512};

/// One platform of a bundle and what is in it.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// The platform that the plugins run on.
    pub platform: Platform,
    /// The image manifest that is described.
    pub subject: Subject,
    /// When the bundle was made, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub created: u64,
    /// Who made the bundle and says so here. Checkers want an address beside the name.
    pub author: Option<Party>,
    /// Where the definition of the bundle is kept.
    pub source: Option<String>,
    /// Where the image will be found, if that is known when the document is made.
    pub location: Option<String>,
    /// The plugins, in any order.
    pub plugins: Vec<Plugin>,
    /// What is known of modules beyond what programs say. A module that no plugin links is left
    /// out; one that is linked and not listed here is of unknown licence.
    pub modules: Vec<ModuleDescription>,
}

/// The document that an SBOM is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its digest, by which it is found.
    pub digest: Digest,
    /// The digest that BSI TR-03183-2 asks for.
    pub sha512: Sha512,
    /// Its size in bytes.
    pub size: u64,
}

impl Subject {
    /// The subject with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), sha512: Sha512::of(bytes), size: bytes.len() as u64 }
    }
}

/// One plugin of the bundle.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Its name in the plugin directory.
    pub name: PluginName,
    /// Its version, as the definition or the lock says; `None` for what the program says.
    pub version: Option<String>,
    /// The digest of the file.
    pub digest: Digest,
    /// Its other digest.
    pub sha512: Sha512,
    /// Its size in bytes.
    pub size: u64,
    /// What Go's linker recorded; `None` if nothing could be read.
    pub go: Option<BuildInfo>,
    /// What is known of its source. Without a supplier, it is who publishes the main module.
    pub description: Description,
    /// Where its source is; `None` for what the path of the main module says.
    pub source: Option<String>,
    /// What it was taken from; `None` for a directory.
    pub download: Option<Download>,
    /// How well that was verified, in the lock's word.
    pub verification: Option<String>,
    /// Who compiled it.
    pub production: Production,
}

/// The file, archive or image that a plugin was taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Its address, or the name of an image.
    pub location: String,
    /// The path of the plugin in it; `None` if the plugin is all of it.
    pub member: Option<String>,
    /// The digest of what was downloaded.
    pub sha256: Option<Digest>,
    /// The other digest of it.
    pub sha512: Option<Sha512>,
}

/// Who compiled a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Production {
    /// Its publisher: it was taken as it is and analysed.
    Taken,
    /// This build.
    Built,
}

/// What programs do not say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The licences of the source.
    pub licences: Licences,
    /// The copyright notice of the source.
    pub copyright: Copyright,
    /// Who supplies it.
    pub supplier: Option<Party>,
}

/// What is known of a version of a Go module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleDescription {
    /// The path of the module, or `stdlib`.
    pub path: String,
    /// Its version, with its `v`; of `stdlib`, the Go release without `go`.
    pub version: String,
    /// What is known.
    pub description: Description,
}
