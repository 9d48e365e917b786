//! A check that can be repeated: it owns everything that it needs.
//!
//! [`Question`] borrows its parts, but the watch repeats its check on a thread of its own. The
//! clock is read for each check, because evidence that a policy accepts today can be too old
//! tomorrow.
//!
//! Nothing on the node is changed here; repairs are the job of `watch` and `node`.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::installed::{Question, check};
use super::probe::Prober;
use super::report::{Occasion, Report};
use crate::model::{BundleName, Finding, HostPath, Platform, Repository};
use crate::node::{Installation, NodeError, Root, Sandbox, State, exposed_file};
use crate::trust::{Policy, Verifier};

/// Everything that a check of one node needs.
#[derive(Debug)]
pub struct NodeCheck {
    /// The root of the node that is checked.
    pub root: Root,
    /// The policy that decides.
    pub policy: Policy,
    /// The files that the policy was read from: its own and those of its keys, as absolute paths of
    /// this process. Empty if a digest says which policy it is.
    pub policy_files: Vec<PathBuf>,
    /// The repository that the policy's rules are matched against; if `None`, the one that the
    /// receipt names.
    pub name: Option<Repository>,
    /// The bundle that has to be the installed one, if its owner says so.
    pub bundle: Option<BundleName>,
    /// Where the receipt and the evidence are kept.
    pub state: HostPath,
    /// Where installations leave the policy.
    pub policy_directory: HostPath,
    /// Plugin directories that must have been installed to, besides those that were.
    pub directories: Vec<HostPath>,
    /// What the answer is for.
    pub occasion: Occasion,
    /// How proven plugins are asked for their versions; if `None`, they are not.
    pub prober: Option<Prober>,
    /// How long to wait for another cnister that holds the lock.
    pub patience: Duration,
    /// Why this process could not confine itself; every report says so.
    pub unconfined: Option<Finding>,
}

impl NodeCheck {
    /// Gives up, for this whole process, what neither a check nor `sandbox` needs.
    #[must_use]
    pub fn confined(mut self, mut sandbox: Sandbox) -> Self {
        if self.prober.is_some() {
            sandbox.probe();
        }
        self.unconfined = sandbox.confine();
        self
    }

    /// Checks the node as it is now.
    ///
    /// # Errors
    /// If something could not be found out; what is wrong with the node is in the report.
    pub fn check(&self) -> Result<Report, NodeError> {
        let platform = Platform::host();
        let question = Question {
            installation: self.installation(&platform),
            bundle: self.bundle.as_ref(),
            policy_directory: &self.policy_directory,
            directories: &self.directories,
            occasion: self.occasion,
            prober: self.prober.as_ref(),
        };
        let mut report = check(&self.root, &question)?;
        if !self.policy_files.is_empty() {
            let here = Root::open(Path::new("/"))?;
            let exposed = self
                .policy_files
                .iter()
                .flat_map(|path| exposed_file(&here, path, self.occasion.into()));
            report.findings.extend(exposed);
            report.findings.sort_by_key(|finding| Reverse(finding.severity));
        }
        report.findings.extend(self.unconfined.clone());
        Ok(report)
    }

    /// What is installed, and who judges it now.
    pub fn installation<'a>(&'a self, platform: &'a Platform) -> Installation<'a> {
        let verifier = Verifier {
            policy: &self.policy,
            name: self.name.as_ref(),
            platform,
            now: SystemTime::now(),
        };
        Installation { state: &self.state, patience: self.patience, verifier }
    }

    /// Whether a run was interrupted that wrote the installed release again, as a repair does.
    ///
    /// # Errors
    /// If the state directory cannot be read.
    pub fn is_unfinished(&self) -> Result<bool, NodeError> {
        let Some(state) = State::open(&self.root, &self.state)? else { return Ok(false) };
        let reading = state.read(self.patience)?;
        let journal = reading.journal()?.map(|journal| journal.index);
        Ok(journal.is_some() && journal == reading.receipt()?.map(|receipt| receipt.index))
    }
}
