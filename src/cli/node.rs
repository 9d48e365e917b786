//! The node that a verb works on.

use std::path::PathBuf;

use clap::Args;

use super::terminal::Failure;
use crate::node::{HostPath, Root};

/// Which node, and where it keeps what.
#[derive(Args)]
pub(super) struct NodeArguments {
    /// The node's root directory, where it is not this process's own: a mount in a container, or an image being made.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Where the receipt and the evidence are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cnister")]
    pub(super) state_dir: HostPath,
    /// Where the policy is kept that later checks go by.
    #[arg(long, value_name = "DIR", default_value = "/etc/cnister")]
    pub(super) policy_dir: HostPath,
}

impl NodeArguments {
    /// Opens the root.
    pub(super) fn open_root(&self) -> Result<Root, Failure> {
        Ok(Root::open(&self.root)?)
    }

    /// Where the watch says whether the node is ready: `ready` in the state directory.
    pub(super) fn ready_path(&self) -> PathBuf {
        self.root.join(self.state_dir.relative()).join("ready")
    }

    /// The policy that the last installation left: `policy.yaml` in the policy directory.
    pub(super) fn kept_policy(&self) -> PathBuf {
        self.root.join(self.policy_dir.relative()).join("policy.yaml")
    }
}
