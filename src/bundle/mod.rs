//! What a bundle is made of: the definition that people write, the manifest of its files, its
//! layers, and the documents of its image.

pub mod archive;
#[cfg(any(feature = "publish", test))]
mod artefact;
#[cfg(any(feature = "publish", test))]
mod checksum;
#[cfg(any(feature = "publish", test))]
pub mod compose;
#[cfg(any(feature = "publish", test))]
mod composition;
mod compression;
#[cfg(any(feature = "publish", test))]
pub mod definition;
#[cfg(any(feature = "publish", test))]
mod encoder;
mod facts;
#[cfg(any(feature = "publish", test))]
pub mod gate;
#[cfg(any(feature = "publish", test))]
mod gzip;
#[cfg(any(feature = "publish", test))]
pub mod layer;
#[cfg(any(feature = "publish", test))]
mod license_files;
#[cfg(any(feature = "publish", test))]
pub mod lock;
mod manifest;
#[cfg(any(feature = "publish", test))]
mod members;
#[cfg(any(feature = "publish", test))]
mod module_sum;
#[cfg(any(feature = "publish", test))]
mod origin;
#[cfg(any(feature = "publish", test))]
mod privileges;
#[cfg(any(feature = "publish", test))]
pub mod rootfs;
#[cfg(any(feature = "publish", test))]
mod signed_asset;
#[cfg(any(feature = "publish", test))]
mod source_files;
#[cfg(any(feature = "publish", test))]
mod sumdb;
pub mod tar;

pub use crate::binary::{GoBuild, Linkage};
pub use archive::{ArchiveEntry, ArchiveError};
#[cfg(any(feature = "publish", test))]
pub use artefact::{Artefact, Checksum, CompiledModule, InImage};
#[cfg(any(feature = "publish", test))]
pub use checksum::{ChecksumError, ChecksumFile, ChecksumKind, Sum};
#[cfg(any(feature = "publish", test))]
pub use compose::Image;
#[cfg(any(feature = "publish", test))]
pub use composition::composition;
pub use compression::Compression;
#[cfg(any(feature = "publish", test))]
pub use definition::Definition;
#[cfg(any(feature = "publish", test))]
pub use encoder::Encoding;
pub use facts::{Facts, PluginOrigin, Revision};
#[cfg(any(feature = "publish", test))]
pub use layer::{Entry, EntryKind, Layer, LayerError};
#[cfg(any(feature = "publish", test))]
pub use license_files::{FoundLicense, LONGEST_LICENSE, LicenseFiles};
pub use manifest::{FileManifest, ManifestError, PluginFile, ToolFile};
#[cfg(any(feature = "publish", test))]
pub use members::{FoundMember, FoundMembers, MemberError, Members, read_members};
#[cfg(any(feature = "publish", test))]
pub use module_sum::{ModuleSum, ParseModuleSumError};
#[cfg(any(feature = "publish", test))]
pub use origin::Origin;
#[cfg(any(feature = "publish", test))]
pub use privileges::Privilege;
#[cfg(any(feature = "publish", test))]
pub use signed_asset::{Claim, SignedAsset, SignedEvidence, VerifySigned};
#[cfg(any(feature = "publish", test))]
pub use source_files::{SourceFilesError, read_source_files};
#[cfg(any(feature = "publish", test))]
pub use sumdb::{SUM_DATABASE, SumProof, SumProofError};
