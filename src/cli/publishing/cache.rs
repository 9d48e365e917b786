//! `cache`: manages the downloads and compiled modules that all bundles share.

use std::fmt;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::definition_input::CacheArgument;
use crate::cli::report::{bytes, count};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::publish::Pruned;

/// Manages the files that `lock` and `build` keep for all bundles: downloads, plugins, layers.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Prune(PruneArguments),
}

/// Removes all kept files that no running cnister uses: downloads, plugins, layers.
///
/// Leftovers of interrupted runs are also removed. A later build fetches or compiles what it needs
/// again, and compares it with its lock.
#[derive(Args)]
struct PruneArguments {
    #[command(flatten)]
    cache: CacheArgument,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Pruned);

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let Action::Prune(PruneArguments { cache }) = &arguments.action;
    let pruned = cache.cache().prune().map_err(Failure::classed)?;
    terminal.answer(&Report(pruned))?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pruned { removed, freed_bytes, in_use } = self.0;
        write!(f, "{} removed, {} freed", count(removed, "file"), bytes(freed_bytes))?;
        match in_use {
            0 => Ok(()),
            _ => write!(f, "; {} in use", count(in_use, "file")),
        }
    }
}
