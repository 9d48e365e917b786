//! What a check asks beside the installed files: the CNI configuration whose plugins must be here, and where it is read.
//! What it needs, [`crate::node::close`] decides.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::terminal::Failure;
use crate::model::visible;
use crate::node::cni::DEFINITIONS_LIMIT;
use crate::node::{Configurations, HostPath};

/// What the node is used for.
#[derive(Args)]
pub(super) struct ClosureArguments {
    /// Directories with CNI configuration whose plugins must be here; may be repeated. Without it, /etc/cni/net.d and
    /// /etc/cni/multus/net.d, where they exist. At boot these two only warn, and what is named decides.
    #[arg(long, value_name = "DIR")]
    conf_dir: Vec<HostPath>,
    /// NetworkAttachmentDefinitions whose plugins must be here, as `kubectl get net-attach-def -A -o json` prints them;
    /// `-` is standard input; may be repeated.
    #[arg(long, value_name = "FILE")]
    nad: Vec<PathBuf>,
    /// Where the runtime looks for plugins, in its order; may be repeated. Without it, where plugins were installed.
    #[arg(long, value_name = "DIR")]
    cni_path: Vec<HostPath>,
    /// Does not ask what CNI configuration needs.
    #[arg(long, conflicts_with_all = ["conf_dir", "nad", "cni_path"])]
    no_closure: bool,
    /// Also asks whether another mount namespace shows the same plugins, by its root: /proc/PID/root of the Multus
    /// daemon, which looks for plugins in its own pod. Nothing is executed then.
    #[arg(long, value_name = "PROC_ROOT")]
    pub(super) view: Option<PathBuf>,
}

impl ClosureArguments {
    /// Reads what was named; `None` where nothing is asked.
    pub(super) fn configurations(&self) -> Result<Option<Configurations>, Failure> {
        if self.no_closure {
            return Ok(None);
        }
        let usual = if self.conf_dir.is_empty() { Configurations::usual_directories() } else { Vec::new() };
        let definitions = self.nad.iter().map(|path| read_definitions(path)).collect::<Result<_, _>>()?;
        let (directories, search) = (self.conf_dir.clone(), self.cni_path.clone());
        Ok(Some(Configurations { directories, usual, definitions, search }))
    }
}

/// Reads one document, or standard input; its name for messages, and its bytes.
fn read_definitions(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    // One byte past the limit: what is too long is said to be.
    let limit = DEFINITIONS_LIMIT as u64 + 1;
    if path == Path::new("-") {
        let name = "standard input".to_owned();
        let read = io::stdin().lock().take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Failure::could_not(format!("cannot read {name}: {error}")))?;
        return Ok((name, bytes));
    }
    let name = format!("`{}`", visible(&path.to_string_lossy()));
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::could_not(format!("cannot read {name}: {error}")))?;
    Ok((name, bytes))
}
