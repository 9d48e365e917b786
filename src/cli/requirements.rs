//! What a check asks beside the installed files: the CNI configuration whose plugins must be here,
//! and where it is read. What it needs, [`crate::check::close`] decides.

use std::path::PathBuf;

use clap::Args;

use super::document;
use super::terminal::Failure;
use crate::check::Configurations;
use crate::cni::DEFINITIONS_LIMIT;
use crate::model::HostPath;

/// What the node is used for.
#[derive(Args)]
pub(super) struct RequirementsArguments {
    /// Directories with CNI configuration whose plugins must be here; may be repeated. Without it,
    /// /etc/cni/net.d and /etc/cni/multus/net.d, where they exist. At boot these two only warn, and
    /// what is named decides.
    #[arg(long, value_name = "DIR")]
    conf_dir: Vec<HostPath>,
    /// NetworkAttachmentDefinitions whose plugins must be here, as `kubectl get net-attach-def -A
    /// -o json` prints them; `-` is standard input; may be repeated.
    #[arg(long, value_name = "FILE")]
    nad: Vec<PathBuf>,
    /// Where the runtime looks for plugins, in its order; may be repeated. Without it, where
    /// plugins were installed.
    #[arg(long, value_name = "DIR")]
    cni_path: Vec<HostPath>,
    /// Does not ask what CNI configuration needs.
    #[arg(long, conflicts_with_all = ["conf_dir", "nad", "cni_path"])]
    no_closure: bool,
    /// Also asks whether another mount namespace shows the same plugins, by its root:
    /// /proc/PID/root of the Multus daemon, which looks for plugins in its own pod. Nothing is
    /// executed then.
    #[arg(long, value_name = "PROC_ROOT")]
    pub(super) view: Option<PathBuf>,
}

impl RequirementsArguments {
    /// Reads what was named; `None` where nothing is asked.
    pub(super) fn configurations(&self) -> Result<Option<Configurations>, Failure> {
        if self.no_closure {
            return Ok(None);
        }
        let usual =
            if self.conf_dir.is_empty() { Configurations::usual_directories() } else { Vec::new() };
        let definitions = self
            .nad
            .iter()
            .map(|path| document::read(path, DEFINITIONS_LIMIT))
            .collect::<Result<_, _>>()?;
        let (directories, search) = (self.conf_dir.clone(), self.cni_path.clone());
        Ok(Some(Configurations { directories, usual, definitions, search }))
    }
}
