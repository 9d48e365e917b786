//! The node that a verb works on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::policy::classify;
use super::stop::Stop;
use super::terminal::Failure;
use crate::check::{Occasion, Question};
use crate::disk::{Directory, DiskError};
use crate::model::{Code, Finding, HostPath, Platform, text_of};
use crate::node::{
    Attachments, CacheDirectories, Installation, NodeError, Reading, Root, Sandbox, State,
    attachments, known_directories, without_receipt,
};
use crate::trust::{Policy, Verifier};

/// The file in the policy directory.
const POLICY: &str = "policy.yaml";

/// Which node, and where it keeps what.
#[derive(Args)]
pub(super) struct NodeArguments {
    /// The node's root directory, if it is not that of this process: a mount in a container, or an
    /// image being built.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The state directory, with the receipt and the evidence.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cnister")]
    pub(super) state_dir: HostPath,
    /// The directory of the policy that later checks use.
    #[arg(long, value_name = "DIR", default_value = "/etc/cnister")]
    pub(super) policy_dir: HostPath,
    /// How many seconds to wait for another cnister that is running on the node.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=3600))]
    lock_timeout: u64,
}

impl NodeArguments {
    /// The finding for a node whose records are gone; `None` if it has a receipt or never had one.
    pub(super) fn lost_records(&self, root: &Root) -> Result<Option<Finding>, NodeError> {
        let reading = State::open(root, &self.state_dir)?
            .map(|state| state.read(self.patience()))
            .transpose()?;
        if reading.as_ref().map(Reading::receipt).transpose()?.flatten().is_some() {
            return Ok(None);
        }
        let finding = without_receipt(root, reading.as_ref(), &self.policy_dir)?;
        Ok(Some(finding).filter(|finding| finding.code == Code::RecordsLost))
    }

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

    /// The default question about the node: its present state, by its own names, without executing
    /// a plugin.
    pub(super) fn question<'a>(
        &'a self,
        policy: &'a Policy,
        platform: &'a Platform,
    ) -> Question<'a> {
        Question {
            installation: self.installation(policy, platform),
            bundle: None,
            policy_directory: &self.policy_dir,
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

    /// What a rollback or an uninstallation may write; a dry run only takes the lock.
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

    /// Where that policy is, as a path of this process.
    pub(super) fn kept_policy_path(&self) -> PathBuf {
        self.root.join(self.policy_dir.relative()).join(POLICY)
    }

    /// The policy that the last installation left: `policy.yaml` in the policy directory. Under
    /// another root it is read inside that root; on the host itself links lead where the host says.
    pub(super) fn kept_policy(&self) -> Result<Policy, Stop> {
        let root = self.open_root()?;
        root.expect_place(&self.policy_dir)?;
        let policy = match root.directory(&self.policy_dir)? {
            Some(directory) => self.read_kept_policy(&root, &directory)?,
            None => None,
        };
        // Every installation leaves its policy there; without one, nothing was installed.
        policy.ok_or_else(|| {
            let message = format!(
                "`{}` does not exist, although every installation writes it",
                self.kept_policy_path().display()
            );
            let hint =
                "install a bundle first, or give the policy with --policy FILE or --key COSIGN.PUB";
            Finding::refusal(Code::NotInstalled, message).hint(hint).into()
        })
    }

    fn read_kept_policy(&self, root: &Root, directory: &Directory) -> Result<Option<Policy>, Stop> {
        let shown = format!("{}/{POLICY}", directory.shown());
        let read = |name: &str| match root.is_host() {
            true => root.read(&Path::new(self.policy_dir.as_str()).join(name), Policy::LIMIT),
            false => directory.read_below(Path::new(name), Policy::LIMIT),
        };
        let bytes = match read(POLICY) {
            Err(error) if error.is_not_found() => return Ok(None),
            // As certain as other content that is no policy.
            Err(error @ DiskError::TooLong { .. }) => return Err(Failure::request(error).into()),
            read => read?,
        };
        let text = text_of(bytes)
            .map_err(|reason| Failure::request(format!("cannot read `{shown}`: {reason}")))?;
        let mut read_key = |name: &str| {
            text_of(read(name)?)
                .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
        };
        Ok(Some(Policy::parse(&shown, &text, &mut read_key).map_err(classify)?))
    }
}
