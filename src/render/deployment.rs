//! What is deployed to nodes, said once: every manifest, chart or unit is a view of it.
//!
//! It holds what was verified, the policy that decides again on every node, and the arguments with
//! which the program runs there. How a container or a unit is written is the views' matter. Image,
//! bundles and evidence of different releases are refused here, and so is a bundle image as its own
//! verifier: a forged image would simply accept itself.

use std::time::Duration;

use super::{Namespace, PinnedImage, RenderError, Watching};
use crate::model::{HostPath, Repository};
use crate::trust::{Bundle, Evidence, Policy, Strength, Verified};

/// What is deployed: one release, who judges it, and what nodes do with it.
#[derive(Debug)]
pub struct Deployment<'a> {
    /// The bundle image, where nodes pull it.
    pub image: &'a PinnedImage,
    /// What was verified of it: one bundle for every platform that nodes may have.
    pub bundles: &'a [Verified<Bundle>],
    /// What proves it.
    pub evidence: &'a Evidence,
    /// The policy that allowed it, and that decides again on every node.
    pub policy: &'a Policy,
    /// The repository that the policy's rules are matched against.
    pub name: &'a Repository,
    /// The tool image. Its digest is the word of the cluster's owner.
    pub tool: &'a PinnedImage,
    /// The namespace of everything.
    pub namespace: &'a Namespace,
    /// Where the nodes' container runtime looks for plugins.
    pub bin_directory: &'a HostPath,
    /// How long `watch` waits between two checks.
    pub interval: Duration,
    /// Further arguments of `install`.
    pub install: &'a [String],
    /// What `install` may see of the node besides, where its arguments need it.
    pub sights: &'a [Sight],
    /// What `watch` does besides checking.
    pub watching: Watching,
}

/// A directory of the node that containers may read besides what they work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// `/etc`, for the configuration of container runtimes and networks, by both containers. A
    /// single directory in it would be created where a node lacks it: containerd and CRI-O make
    /// what a mount lacks, whatever the kubelet does.
    Configuration,
    /// `/var/lib/cni`, for the attachments of running pods, by `install`: without it, every plugin
    /// would seem to be free.
    Attachments,
}

impl Deployment<'_> {
    /// The bundle of the first platform, once everything is known to be of one release.
    pub(super) fn release(&self) -> Result<&Verified<Bundle>, RenderError> {
        let first = self.bundles.first().ok_or(RenderError::NoPlatform)?;
        let expected = self.image.digest();
        let verified = self.bundles.iter().map(|bundle| bundle.value().index);
        if let Some(found) = verified.chain([self.evidence.root()]).find(|found| *found != expected)
        {
            return Err(RenderError::OtherRelease { expected, found });
        }
        if self.tool.digest() == expected {
            return Err(RenderError::SelfCheck);
        }
        Ok(first)
    }

    /// The evidence as text.
    pub(super) fn evidence_text(&self) -> String {
        // Its builder takes nothing but text.
        String::from_utf8_lossy(&self.evidence.to_bytes()).into_owned()
    }

    /// The platforms of the release, as `linux/amd64`.
    pub(super) fn platforms(&self) -> Vec<String> {
        self.bundles.iter().map(|bundle| bundle.value().platform.to_string()).collect()
    }

    /// The architectures of the release in Go's words.
    pub(super) fn architectures(&self) -> Vec<&str> {
        self.bundles.iter().map(|bundle| bundle.value().platform.architecture()).collect()
    }

    /// Whether a rule with `mode: warn` let a platform pass although nothing was proven.
    pub(super) fn is_unproven(&self) -> bool {
        self.bundles.iter().any(|bundle| bundle.proof().strength == Strength::Admitted)
    }

    /// The arguments of `install`; `paths` says where it finds things.
    pub(super) fn install_arguments(&self, paths: &Paths<'_>) -> Vec<String> {
        let mut arguments: Vec<_> =
            ["install", "--from", paths.staged, "--evidence", paths.evidence]
                .map(str::to_owned)
                .into();
        arguments.extend(self.judging_arguments(paths));
        // A node whose present set still verifies keeps it if the new one is refused.
        arguments.extend(["--on-refusal", "keep"].map(str::to_owned));
        arguments.extend(self.install.iter().cloned());
        arguments
    }

    /// The arguments of `watch`, without those that [`Watching`] adds.
    pub(super) fn watch_arguments(&self, paths: &Paths<'_>) -> Vec<String> {
        let mut arguments = vec!["watch".to_owned()];
        arguments.extend(self.judging_arguments(paths));
        arguments.extend(["--interval".to_owned(), format!("{}s", self.interval.as_secs())]);
        arguments
    }

    /// Who judges, and what: the same arguments for `install` and `watch`.
    fn judging_arguments(&self, paths: &Paths<'_>) -> Vec<String> {
        let (policy, name) = (self.policy.digest().hex(), self.name.to_string());
        let pairs = [
            ["--policy", paths.policy],
            ["--policy-sha256", &policy],
            ["--as", &name],
            ["--root", paths.root],
            ["--bin-dir", self.bin_directory.as_str()],
        ];
        pairs.as_flattened().iter().map(|word| (*word).to_owned()).collect()
    }

    /// The room for staged files in bytes: twice the largest platform's, because `stage` may run
    /// again in the same directory and writes beside them.
    pub(super) fn staging_size(&self) -> u64 {
        let sizes = self.bundles.iter().map(|bundle| bundle.value().files.total_size());
        sizes.max().unwrap_or(0).saturating_mul(2)
    }
}

/// Where the program finds things where it runs.
pub(super) struct Paths<'a> {
    /// The root of the node's file system.
    pub(super) root: &'a str,
    /// The directory that `stage` fills.
    pub(super) staged: &'a str,
    /// The policy's file.
    pub(super) policy: &'a str,
    /// The directory with the evidence.
    pub(super) evidence: &'a str,
}
