//! Why a file cannot be taken in.
//!
//! One type for all kinds of sources and the tool: most of what can be wrong is wrong with the file
//! and not with where it came from. Each error names the file as its [`Origin`] does, and says
//! whether the request is wrong or could not be done ([`Classed`]).

use std::io;
use std::path::PathBuf;

use super::Wanted;
use super::asset_error::AssetError;
use super::go::GoError;
use super::requested::RequestedPlugins;
use crate::binary::ElfError;
use crate::bundle::definition::SourceName;
use crate::bundle::{FileManifest, Origin};
use crate::model::{Classed, ErrorClass, PluginName};

/// Why a file cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A word about a source that the definition does not have.
    #[error("the definition has no source `{name}`, only {choices}")]
    NoSource {
        /// The name given with `--directory`.
        name: SourceName,
        /// The sources there are.
        choices: String,
    },
    /// One directory where each platform needs its own.
    #[error("`{0}` is one directory for several platforms; write `{{architecture}}` into it")]
    OneDirectory(String),
    /// A directory that is not there.
    #[error("cannot read the directory `{}` of the source `{name}`", .directory.display())]
    Directory {
        /// The name of the source.
        name: SourceName,
        /// The path of the directory on this machine.
        directory: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A plugin that is not there.
    #[error("`{place}` has no plugin `{name}`{}", hint(.name, .found))]
    Missing {
        /// The plugin that was looked for.
        name: PluginName,
        /// Where it was looked for.
        place: String,
        /// The names of the plugins that the source has.
        found: Vec<String>,
    },
    /// A link to nothing.
    #[error("{origin} is a dangling symbolic link{}", .target.as_ref().map_or_else(String::new, |target| format!(": `{}` does not exist", target.display())))]
    Dangling {
        /// The path of the link.
        origin: Origin,
        /// What it names, as it is written.
        target: Option<PathBuf>,
    },
    /// Something other than a file.
    #[error("{origin} is {found}, expected a regular file")]
    NotAFile {
        /// The file.
        origin: Origin,
        /// The kind of file that was found, with its article.
        found: &'static str,
    },
    /// A link that leads out of the source: what it holds was not put there for this bundle.
    #[error("{origin} is a link to `{}`, outside its source's directory", .target.display())]
    LeavesDirectory {
        /// The path of the link.
        origin: Origin,
        /// The path that the link leads to.
        target: PathBuf,
    },
    /// A file larger than a node accepts.
    #[error("{origin} is larger than {limit} bytes, the limit for one file", limit = FileManifest::MAX_PLUGIN_SIZE)]
    TooLarge {
        /// The file.
        origin: Origin,
    },
    /// A file that no node of the platform could run.
    #[error("{origin} {problem}")]
    Program {
        /// The file.
        origin: Origin,
        /// What is wrong with it.
        problem: ElfError,
    },
    /// A tool that needs files which its image does not have.
    #[error(
        "the tool {origin} is linked dynamically (it needs `{interpreter}`), expected a static program"
    )]
    NotStatic {
        /// The file.
        origin: Origin,
        /// The interpreter that it asks for.
        interpreter: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {origin}")]
    Read {
        /// The file.
        origin: Origin,
        /// The error of the system.
        source: io::Error,
    },
    /// A file with other bytes than a moment before.
    #[error("{origin} was changed while it was read")]
    Changed {
        /// The file.
        origin: Origin,
    },
    /// An archive or bare file that cannot be used.
    #[error("cannot take {asked} from `{location}`")]
    Asset {
        /// What was asked for.
        asked: RequestedPlugins,
        /// The path, or the URL without its query.
        location: String,
        /// What is wrong.
        #[source]
        problem: Box<AssetError>,
    },
    /// A module that cannot be compiled.
    #[error("cannot compile {asked} from `{module}`")]
    Go {
        /// What was asked for.
        asked: RequestedPlugins,
        /// The path of the module and its version.
        module: String,
        /// What is wrong.
        #[source]
        problem: Box<GoError>,
    },
    /// A kind of source that does not do what [`PluginSource`](super::PluginSource) says.
    #[error("the source `{name}` is broken: `{}` for {} {fault}", .wanted.name, .wanted.platform)]
    Broken {
        /// The source.
        name: SourceName,
        /// What it was asked for.
        wanted: Wanted,
        /// What the source did wrong, as a predicate.
        fault: &'static str,
    },
}

impl SourceError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Asset { problem, location, .. } => problem.hint(location),
            _ => None,
        }
    }
}

/// What a file is decides; that it could not be read does not.
impl Classed for SourceError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Directory { source, .. } | Self::Read { source, .. } => source.class(),
            Self::Asset { problem, .. } => problem.class(),
            Self::Go { problem, .. } => problem.class(),
            Self::Broken { .. } | Self::Changed { .. } => ErrorClass::CouldNot,
            Self::NoSource { .. }
            | Self::OneDirectory(_)
            | Self::Missing { .. }
            | Self::Dangling { .. }
            | Self::NotAFile { .. }
            | Self::LeavesDirectory { .. }
            | Self::TooLarge { .. }
            | Self::Program { .. }
            | Self::NotStatic { .. } => ErrorClass::Request,
        }
    }
}

/// What the reader may have meant: a name that is nearly the one asked for, else all there are.
fn hint(name: &PluginName, found: &[String]) -> String {
    let near: Vec<&String> = found.iter().filter(|other| is_near(name.as_str(), other)).collect();
    let listed = if near.is_empty() { found.iter().collect() } else { near.clone() };
    let text =
        listed.iter().take(24).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match listed.len() {
        0 => "; it contains no plugins".to_owned(),
        _ if !near.is_empty() => format!("; it has {text}"),
        count if count > 24 => format!("; it has {text} and {} more", count - 24),
        _ => format!("; it has {text}"),
    }
}

/// Whether two names differ in one or two letters, or one starts with the other (`flannel`,
/// `flannel-amd64`).
fn is_near(name: &str, other: &str) -> bool {
    if name.starts_with(other) || other.starts_with(name) {
        return true;
    }
    // `ptp`, `sbr` and `vrf` are two letters apart, and a typo for another is unlikely.
    let limit = if name.len() < 5 { 1 } else { 2 };
    // The row of Levenshtein's matrix for each prefix of `name`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in name.bytes().enumerate() {
        let mut next = vec![index + 1];
        for ((b, diagonal), above) in other.bytes().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= limit)
}
