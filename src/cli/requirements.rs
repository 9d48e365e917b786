//! What a check covers besides the installed files: which CNI configurations must have their
//! plugins on this node, and where they are read. [`crate::check::check_requirements`] determines
//! what they need.

use std::path::PathBuf;

use clap::Args;

use super::document;
use super::terminal::Failure;
use crate::check::Configurations;
use crate::cni::DEFINITIONS_LIMIT;
use crate::model::HostPath;

/// The configurations that the node must satisfy.
#[derive(Args)]
pub(super) struct RequirementsArguments {
    /// A directory with CNI configuration whose plugins must be on this node; may be repeated.
    /// Without it, the existing directories of this node's runtimes and of Multus are read: a file
    /// that a runtime uses can fail the check, any other only causes a warning. At boot, these
    /// directories only cause warnings; one given with this option can fail the check.
    #[arg(long, value_name = "DIR")]
    conf_dir: Vec<HostPath>,
    /// NetworkAttachmentDefinitions whose plugins must be on this node, as printed by `kubectl get
    /// net-attach-def -A -o json`; `-` is standard input; may be repeated.
    #[arg(long, value_name = "FILE")]
    nad: Vec<PathBuf>,
    /// A directory that the runtime searches for plugins, in its order; may be repeated [default:
    /// those that the runtimes of this node are configured with, or else where plugins were
    /// installed].
    #[arg(long, value_name = "DIR")]
    cni_path: Vec<HostPath>,
    /// Does not check what CNI configuration needs.
    #[arg(long, conflicts_with_all = ["conf_dir", "nad", "cni_path"])]
    no_closure: bool,
    /// Also checks whether another mount namespace shows the same plugins, given its root:
    /// /proc/PID/root of the Multus daemon, which searches for plugins in its own pod. With this
    /// option, no plugin is executed.
    #[arg(long, value_name = "PROC_ROOT")]
    pub(super) view: Option<PathBuf>,
}

impl RequirementsArguments {
    /// Reads the given files; `None` if nothing is asked.
    pub(super) fn configurations(&self) -> Result<Option<Configurations>, Failure> {
        if self.no_closure {
            return Ok(None);
        }
        let usual = self.conf_dir.is_empty();
        let definitions = self
            .nad
            .iter()
            .map(|path| document::read(path, DEFINITIONS_LIMIT))
            .collect::<Result<_, _>>()?;
        let (directories, search) = (self.conf_dir.clone(), self.cni_path.clone());
        Ok(Some(Configurations { directories, usual, definitions, search }))
    }
}
