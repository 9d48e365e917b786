//! What an error says, and what the runtime was doing.

use serde::Serialize;

/// What an error says. Control characters are escaped in every text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// `failed to find plugin "NAME" in path [DIR …]`.
    NotFound {
        /// The name that was searched for.
        plugin: String,
        /// The directories that were searched.
        directories: Vec<String>,
    },
    /// `fork/exec PATH: REASON`.
    NotStarted {
        /// The path of the program, with visible characters only.
        path: String,
        /// The error of execve(2).
        reason: Refused,
    },
    /// `signal: segmentation fault`.
    Crashed,
    /// It ended otherwise than well and printed no answer: a panic, a signal, or only the end as
    /// libcni before 0.8 says it.
    Ended {
        /// How, as what the plugin did.
        how: &'static str,
    },
    /// `exec: already started`, which is what is left of ETXTBSY after libcni tried again.
    Busy,
    /// `failed to unmarshal raw result: unexpected end of JSON input`.
    Silent,
    /// `incompatible CNI versions; config is "X", plugin supports [Y …]`, or `plugin T does not
    /// support config version "X"`.
    Versions {
        /// The configuration's; empty if it has none.
        wanted: String,
        /// The plugin's, if the message names them.
        supported: Vec<String>,
    },
    /// `failed to create KIND: operation not supported`, and the same about bridges, veth pairs,
    /// VRFs and ifb devices.
    Driver {
        /// The kind of interface.
        kind: String,
    },
    /// `Link not found`.
    NoLink {
        /// The interface, if the message names it.
        name: Option<String>,
    },
    /// `cni plugin not initialized` and the like.
    NoConfiguration {
        /// The directory that was searched.
        directory: Option<String>,
    },
    /// `failed to load CNI config list file FILE`, and the same of CRI-O and Multus.
    BrokenConfiguration {
        /// The file.
        file: String,
    },
    /// A library, or a version of it, that the plugin needs and the system lacks.
    NoLibrary {
        /// As the dynamic linker names it.
        wanted: String,
    },
    /// `invalid plugin name: NAME`.
    BadName {
        /// The text that is not a valid name, with visible characters only.
        plugin: String,
    },
}

/// Why the kernel did not start a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// EACCES.
    Permission,
    /// ENOEXEC.
    Format,
    /// ENOENT.
    NoSuchFile,
    /// ETXTBSY.
    Busy,
}

/// What a runtime was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A pod starts.
    Add,
    /// A pod ends.
    Delete,
    /// A pod's network is checked.
    Check,
    /// The runtime asks whether the network is ready.
    Status,
}

impl Phase {
    /// The word that libcni uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Check => "check",
            Self::Status => "status",
        }
    }
}

impl Complaint {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            // One message says it twice, with and without the directory.
            (
                Self::NoConfiguration { directory: here },
                Self::NoConfiguration { directory: there },
            ) => here.is_none() || there.is_none() || here == there,
            _ => self == other,
        }
    }
}
