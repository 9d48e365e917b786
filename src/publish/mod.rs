//! Making images: the sources of a bundle, the build, keys, what is attached and signed.
//!
//! It reads files and writes to a store; what the files become is decided in [`crate::bundle`].

mod ask;
mod attached_document;
mod attachment;
mod blob_store;
mod build;
mod contents;
mod error;
mod evidence_size;
mod first;
mod inputs;
pub mod keys;
mod layers;
mod lock;
mod parallel;
mod predicate_type;
mod predicates;
mod provenance;
mod reproduce;
mod sbom;
pub mod sign;
mod signer;
mod source;

pub use ask::{Asker, Unasked, ask_all};
pub use attached_document::{AttachedDocument, DocumentKind};
pub use attachment::Attachment;
pub use blob_store::BlobStore;
pub use build::{Built, build, build_tool};
pub use contents::{ContainedImage, ContentsError};
pub use error::BuildError;
pub use evidence_size::{EvidenceSizeError, check_attachments};
pub use first::{FirstFiles, FirstSource};
pub use inputs::Inputs;
pub use lock::{LockFile, LockFileError, NewLock, lock, pins, roots, sums};
pub use predicate_type::{ParsePredicateTypeError, PredicateFormError, PredicateType};
pub use predicates::PredicateError;
pub use provenance::{ProvenanceContext, provenances};
pub use reproduce::{Reproduction, reproduce};
pub use sbom::{ParseSbomFormatError, SBOM_LIMIT, SbomFormat, sboms};
pub use signer::Signer;
pub use source::{
    AssetError, Cache, CacheError, DirectoryOverride, Evidence, Fetch, GoError, GoProxy,
    GoSettings, ImageError, ParseOverrideError, ParseProxyError, Plugin, PluginSource, Pruned,
    ROOM_COMMAND, RequestedPlugins, SourceError, Sources, Taken, Tool, Wanted, enter_room,
};
