//! CNI configuration, and which plugins it needs. Pure: bytes in, needs out.
//!
//! All of it is written by others: unknown fields are none of our business, a plugin's `type` is a
//! [`PluginName`] or a problem that is reported, never a path, and nesting is walked with a list of
//! what is left to do.
//!
//! [`PluginName`]: crate::model::PluginName

mod attachment_definition;
mod cache;
mod catalogue;
mod config;

pub use attachment_definition::{AttachmentDefinition, DEFINITIONS_LIMIT, parse_definitions};
pub use cache::{CACHE_LIMIT, CacheEntry, parse_multus_cache, parse_result_cache};
pub use catalogue::{IPAM, Upstream, advice, upstream};
pub use config::{CONFIG_LIMIT, ConfigError, Form, Need, Network, Problem, Role, parse_config};
