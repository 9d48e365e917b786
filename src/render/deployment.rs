//! What is deployed to nodes; every manifest, chart or unit is a view of it.
//!
//! It holds the verified bundles, the policy that decides again on every node, and the arguments
//! that the program gets there. How a container or a unit is written is up to the views. Refused
//! here: image, bundles and evidence of different releases, and the bundle image as its own
//! verifier, since a forged image would simply accept itself.

use std::time::Duration;

use super::{Namespace, PinnedImage, RenderError, Watching};
use crate::model::{HostPath, Repository};
use crate::trust::{Bundle, Evidence, Policy, Strength, Verified};

/// A deployment: one release, the policy and tool that verify it, and what nodes do with it.
#[derive(Debug)]
pub struct Deployment<'a> {
    /// The bundle image, as nodes pull it.
    pub image: &'a PinnedImage,
    /// The verified bundles, one per platform.
    pub bundles: &'a [Verified<Bundle>],
    /// The evidence for the image.
    pub evidence: &'a Evidence,
    /// The policy that allowed it, and that decides again on every node.
    pub policy: &'a Policy,
    /// The repository that the policy's rules are matched against.
    pub name: &'a Repository,
    /// The tool image. The cluster's owner pins its digest.
    pub tool: &'a PinnedImage,
    /// The namespace of all objects.
    pub namespace: &'a Namespace,
    /// Where the nodes' container runtime looks for plugins.
    pub bin_directory: &'a HostPath,
    /// The time between two checks of `watch`.
    pub interval: Duration,
    /// Additional arguments of `install`.
    pub install: &'a [String],
    /// What else `install` may read on the node, if its arguments need it.
    pub sights: &'a [Sight],
    /// What `watch` does besides checking.
    pub watching: Watching,
}

/// A directory of the node that containers may read in addition to those they work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// `/etc`, read by both containers for the configuration of container runtimes and networks.
    /// All of it, since containerd and CRI-O create the source of a mount that does not exist,
    /// whatever the kubelet does.
    Configuration,
    /// `/var/lib/cni`, read by `install` for the attachments of running pods: without it, no plugin
    /// would seem to be in use.
    Attachments,
}

impl Deployment<'_> {
    /// Returns the bundle of the first platform, after checking that everything is from one
    /// release.
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

    /// Returns the evidence as text.
    pub(super) fn evidence_text(&self) -> String {
        // Its builder only accepts text.
        String::from_utf8_lossy(&self.evidence.to_bytes()).into_owned()
    }

    /// Returns the platforms of the release, such as `linux/amd64`.
    pub(super) fn platforms(&self) -> Vec<String> {
        self.bundles.iter().map(|bundle| bundle.value().platform.to_string()).collect()
    }

    /// Returns the architectures of the release by their names in Go.
    pub(super) fn architectures(&self) -> Vec<&str> {
        self.bundles.iter().map(|bundle| bundle.value().platform.architecture()).collect()
    }

    /// Returns whether a platform was admitted without proof by a rule with `mode: warn`.
    pub(super) fn is_unproven(&self) -> bool {
        self.bundles.iter().any(|bundle| bundle.proof().strength == Strength::Admitted)
    }

    /// Returns the arguments of `install`; `paths` says where it finds its inputs.
    pub(super) fn install_arguments(&self, paths: &Paths<'_>) -> Vec<String> {
        let mut arguments: Vec<_> =
            ["install", "--from", paths.staged, "--evidence", paths.evidence]
                .map(str::to_owned)
                .into();
        arguments.extend(self.judging_arguments(paths));
        // If the new set is refused, a node keeps its installed set while that still verifies.
        arguments.extend(["--on-refusal", "keep"].map(str::to_owned));
        arguments.extend(self.install.iter().cloned());
        arguments
    }

    /// Returns the arguments of `watch`, except those that [`Watching`] adds.
    pub(super) fn watch_arguments(&self, paths: &Paths<'_>) -> Vec<String> {
        let mut arguments = vec!["watch".to_owned()];
        arguments.extend(self.judging_arguments(paths));
        // Another bundle may have taken this one's place since the pod started.
        let names = self.bundles.iter().map(|bundle| bundle.value().files.name.to_string());
        arguments.extend(names.take(1).flat_map(|name| ["--expect-bundle".to_owned(), name]));
        arguments.extend(["--interval".to_owned(), format!("{}s", self.interval.as_secs())]);
        arguments
    }

    /// Returns the arguments that `install` and `watch` share: what is verified, and by which
    /// policy.
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

    /// Returns the space for staged files in bytes: twice that of the largest platform, because
    /// `stage` may run again in the same directory and then writes new files beside the old ones.
    pub(super) fn staging_size(&self) -> u64 {
        let sizes = self.bundles.iter().map(|bundle| bundle.value().files.total_size());
        sizes.max().unwrap_or(0).saturating_mul(2)
    }
}

/// The paths of a deployment, where the program runs.
pub(super) struct Paths<'a> {
    /// The root of the node's file system.
    pub(super) root: &'a str,
    /// The directory that `stage` fills.
    pub(super) staged: &'a str,
    /// The policy file.
    pub(super) policy: &'a str,
    /// The directory of the evidence.
    pub(super) evidence: &'a str,
}
