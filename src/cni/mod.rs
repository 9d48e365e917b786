//! CNI configuration, and which plugins it needs. Pure: bytes in, needs out.
//!
//! All of it is written by others. Unknown fields are ignored. A plugin's `type` is either a
//! [`PluginName`] or a reported problem, and never becomes a path (CVE-2021-20206). Nesting is
//! walked with an explicit stack, so that a deep document cannot overflow ours. `check` and `node`
//! find and read the files.
//!
//! [`PluginName`]: crate::model::PluginName

mod attachment_definition;
mod cache;
mod catalogue;
mod config;
mod fields;
pub mod runtime;

pub use attachment_definition::{
    AttachmentDefinition, DEFINITIONS_LIMIT, each_definition, parse_definitions,
};
pub use cache::{CACHE_LIMIT, CacheEntry, parse_multus_cache, parse_result_cache};
pub use catalogue::{IPAM, MULTUS_DIRECTORIES, Upstream, advice, is_multus, upstream};
pub use config::{
    CONFIG_LIMIT, ConfigError, Form, MultusDirectories, Need, Network, OLDEST, Problem, Role,
    is_older, parse_config, parse_plugin,
};
