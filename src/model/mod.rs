//! The types that everything else is written in: digests, references, platforms, names, documents
//! and findings.
//!
//! Nothing here opens a file or uses the network. Each type is parsed once, where input enters the
//! program, and needs no further check: a [`PluginName`] is safe to create in a directory, a
//! [`Digest`] has 64 digits, a [`Finding`] has a stable code.

mod digest;
pub mod document;
mod error_class;
mod finding;
mod host_path;
pub mod image_fields;
pub mod json;
#[cfg(any(feature = "publish", test))]
pub(crate) mod licence;
pub mod media_type;
#[cfg(any(feature = "publish", test))]
pub(crate) mod party;
mod platform;
mod plugin_name;
pub mod predicate_type;
mod reference;
mod sha512;
mod text;
#[cfg(test)]
pub(crate) mod text_schema;
mod time;
#[cfg(any(feature = "publish", test))]
pub(crate) mod uri;
pub mod yaml;

pub use digest::{Digest, Hasher, ParseDigestError};
pub use document::{Document, DocumentError};
pub use error_class::{Classed, ErrorClass};
pub use finding::{Code, Finding, Severity};
pub use host_path::{HostPath, ParseHostPathError, PluginPath};
pub use json::JsonError;
#[cfg(any(feature = "publish", test))]
pub use licence::{Licence, Licences, ParseLicenceError};
#[cfg(any(feature = "publish", test))]
pub use party::{Party, PartyError};
pub use platform::{ParsePlatformError, Platform};
pub use plugin_name::{ParsePluginNameError, PluginName};
pub(crate) use reference::{HTTPS, other_names, parse_port};
pub use reference::{
    Location, ParseReferenceError, Reference, RegistryReference, Repository, Selector,
};
pub use sha512::{ParseSha512Error, Sha512, Sha512Hasher};
pub use text::{
    BundleName, ParseBundleNameError, and_others, excerpt, size_in_words, text_of, visible,
    with_causes,
};
pub use time::{parse_rfc3339, rfc3339};
pub use yaml::YamlError;
