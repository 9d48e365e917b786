//! What is checked on a node: the arguments of `check` and `watch`.

use std::path::PathBuf;

use clap::Args;

use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::stop::Stop;
use crate::check::probe::Prober;
use crate::check::{NodeCheck, Occasion};
use crate::model::{BundleName, HostPath, Repository};

/// Which node is checked, and by what.
#[derive(Args)]
pub(super) struct NodeCheckArguments {
    #[command(flatten)]
    policy: PolicyArguments,
    /// The repository that the policy's rules are matched against [default: the one used by
    /// install].
    #[arg(long = "as", value_name = "REPO")]
    name: Option<Repository>,
    /// Refuses any installed bundle with another name.
    #[arg(long, value_name = "NAME")]
    expect_bundle: Option<BundleName>,
    #[command(flatten)]
    node: NodeArguments,
    /// A plugin directory that the installation must include; may be repeated.
    #[arg(long, value_name = "DIR")]
    bin_dir: Vec<HostPath>,
}

impl NodeCheckArguments {
    /// Opens what a check needs. Another policy than the pinned one is refused.
    pub(super) fn open(&self, occasion: Occasion, probe: bool) -> Result<NodeCheck, Stop> {
        let policy = self.policy.load(Some(&|| self.node.kept_policy()))?;
        let root = self.node.open_root()?;
        let prober = probe.then(|| Prober::this_program(root.is_host()));
        Ok(NodeCheck {
            root,
            policy_files: self.policy.files(Some(self.node.kept_policy_path())),
            policy,
            name: self.name.clone(),
            bundle: self.expect_bundle.clone(),
            state: self.node.state_dir.clone(),
            policy_directory: self.node.policy_dir.clone(),
            directories: self.bin_dir.clone(),
            occasion,
            prober,
            patience: self.node.patience(),
            unconfined: None,
        })
    }

    /// The ready file of the watch.
    pub(super) fn ready_path(&self) -> PathBuf {
        self.node.ready_path()
    }
}
