//! Which container runtimes a node has, and where their configuration makes them look for plugins.
//!
//! The formats are parsed by `cni::runtime`; `read` knows which files there are, and `files` reads
//! them under the node's root. They are the owner's and advice only: what cannot be read is a
//! warning, never a failure.

mod compare;
mod files;
mod pattern;
mod read;

pub(crate) use compare::{PlacedPlugin, PlacedPlugins, compare};
pub use read::runtimes;

use crate::model::{Finding, HostPath};

/// The most that one configuration file may have, in bytes; those in the field have some ten
/// thousand.
const FILE_LIMIT: usize = 1 << 18;
/// The most files that one runtime's configuration may consist of.
const MAX_FILES: usize = 64;
/// Where runtimes look unless they are told otherwise.
const DEFAULT_BIN: &str = "/opt/cni/bin";
const DEFAULT_CONFIGURATION: &str = "/etc/cni/net.d";

/// One container runtime of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// What it is called.
    pub name: &'static str,
    /// The first file of its configuration.
    pub config: HostPath,
    /// Where it looks for plugins, in order: the first file of a name is the one it calls.
    pub bin_dirs: Vec<HostPath>,
    /// Where it looks for network configurations.
    pub conf_dir: HostPath,
    /// Which of those it takes.
    pub networks: Networks,
}

/// Which files of its configuration directory a runtime takes, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// The first so many, and none if one of them cannot be used: containerd's `max_conf_num`
    /// (go-cni, `loadFromConfDir`), whose 0 is `usize::MAX` here.
    First(usize),
    /// The first that can be used and has this name, or the first if no name is given: CRI-O's
    /// `cni_default_network` (ocicni, `loadNetworks`).
    Usable(Option<String>),
}

/// The runtimes of a node whose configuration could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtimes {
    /// Those that are configured, and not told to leave pods alone.
    pub found: Vec<Runtime>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}
