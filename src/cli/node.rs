//! The node that a verb works on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::policy::{classify, load_policy};
use super::stop::Stop;
use super::terminal::Failure;
use crate::check::{Occasion, Question};
use crate::disk::DiskError;
use crate::model::{Code, Finding, HostPath, Platform};
use crate::node::{
    Attachments, CacheDirectories, Installation, NodeError, Root, Sandbox, attachments,
    known_directories,
};
use crate::trust::{Policy, Verifier};

/// The file in the policy directory.
const POLICY: &str = "policy.yaml";

/// Which node, and where it keeps what.
#[derive(Args)]
pub(super) struct NodeArguments {
    /// The node's root directory, where it is not this process's own: a mount in a container, or an
    /// image being made.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Where the receipt and the evidence are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cnister")]
    pub(super) state_dir: HostPath,
    /// Where the policy is kept that later checks go by.
    #[arg(long, value_name = "DIR", default_value = "/etc/cnister")]
    pub(super) policy_dir: HostPath,
    /// How many seconds to wait for another cnister that is at work on the node.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=3600))]
    lock_timeout: u64,
}

impl NodeArguments {
    /// How long to wait for the lock of the state directory.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.lock_timeout)
    }

    /// What is installed, judged by this policy at the present time.
    pub(super) fn installation<'a>(
        &'a self,
        policy: &'a Policy,
        platform: &'a Platform,
    ) -> Installation<'a> {
        Installation {
            state: &self.state_dir,
            patience: self.patience(),
            verifier: Verifier { policy, name: None, platform, now: SystemTime::now() },
        }
    }

    /// What a verb asks about it that asks nothing special: as it is now, by its own names, and
    /// nothing is executed.
    pub(super) fn question<'a>(
        &'a self,
        policy: &'a Policy,
        platform: &'a Platform,
    ) -> Question<'a> {
        Question {
            installation: self.installation(policy, platform),
            bundle: None,
            directories: &[],
            occasion: Occasion::Running,
            prober: None,
        }
    }

    /// The policy that installations leave, as a path on the node.
    pub(super) fn policy_path(&self) -> HostPath {
        format!("{}/{POLICY}", self.policy_dir)
            .parse()
            .expect("a file in a directory of the node is on the node")
    }

    /// Opens the root.
    pub(super) fn open_root(&self) -> Result<Root, Failure> {
        Ok(self.root()?)
    }

    /// Opens the root.
    pub(super) fn root(&self) -> Result<Root, DiskError> {
        Root::open(&self.root)
    }

    /// Who needs which plugin.
    pub(super) fn in_use(root: &Root) -> Result<Attachments, NodeError> {
        attachments(root, &CacheDirectories::default())
    }

    /// What a verb changes that brings something back or takes it away; to plan that, it takes the
    /// lock.
    pub(super) fn sandbox(&self, root: &Root, dry_run: bool) -> Sandbox {
        let mut sandbox = Sandbox::default();
        if dry_run {
            sandbox.write_on(root, &self.state_dir);
        } else {
            let installed = known_directories(root, &self.state_dir, self.patience());
            sandbox.write_and_move(root, installed.iter().chain([&self.state_dir]));
        }
        sandbox
    }

    /// Where the watch says whether the node is ready: `ready` in the state directory.
    pub(super) fn ready_path(&self) -> PathBuf {
        self.root.join(self.state_dir.relative()).join("ready")
    }

    /// The policy that the last installation left: `policy.yaml` in the policy directory. Of
    /// another root it is read inside that root, as everything there is; on the host itself links
    /// lead where the host says.
    pub(super) fn kept_policy(&self) -> Result<Policy, Stop> {
        let path = self.root.join(self.policy_dir.relative()).join(POLICY);
        let is_host = self.open_root()?.is_host();
        let policy = match is_host {
            true => path.exists().then(|| load_policy(&path)).transpose()?,
            false => self.read_kept_policy()?,
        };
        // Every installation leaves its policy there; without one, nothing was installed.
        policy.ok_or_else(|| {
            let message =
                format!("there is no `{}`, which every installation leaves", path.display());
            let hint =
                "install something, or name the policy with --policy FILE or --key COSIGN.PUB";
            Finding::refusal(Code::NotInstalled, message).hint(hint).into()
        })
    }

    fn read_kept_policy(&self) -> Result<Option<Policy>, Stop> {
        let root = Root::open(&self.root)?;
        let Some(directory) = root.directory(&self.policy_dir)? else { return Ok(None) };
        let shown = format!("{}/{POLICY}", directory.shown());
        let bytes = match directory.read(POLICY, Policy::LIMIT) {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::request(format!("`{shown}` is not UTF-8 text")))?;
        let mut read = |name: &str| {
            let bytes = directory
                .read_below(Path::new(name), Policy::LIMIT)
                .map_err(std::io::Error::other)?;
            String::from_utf8(bytes).map_err(std::io::Error::other)
        };
        Ok(Some(Policy::parse(&shown, &text, &mut read).map_err(classify)?))
    }
}
