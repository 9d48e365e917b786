//! The default manifest: a DaemonSet of its own that installs a bundle on every node and watches it
//! there.
//!
//! Two images, and neither is the other's witness. `stage` runs the bundle image, without any
//! right, and copies its files into a directory of the pod; `install` runs the tool image and
//! copies from there what the policy allows.

use std::time::Duration;

use super::config_map::config_map;
use super::container::{Container, Mount};
use super::{NAME, Namespace, PinnedImage, RenderError, Watching, yaml};
use crate::model::{HostPath, Repository};
use crate::trust::{Bundle, Evidence, Policy, Strength, Verified};

/// Where the node's directories are mounted.
const ROOT: &str = "/host";
/// Where `stage` leaves files for `install`.
const STAGED: &str = "/staged";
/// Where the policy is mounted.
const POLICY: &str = "/cnister/policy/policy.yaml";
/// The key of the policy in its ConfigMap.
const POLICY_KEY: &str = "policy.yaml";
/// Where the evidence is mounted.
const EVIDENCE: &str = "/cnister/evidence";
/// The program in the tool image. An image without a shell has nothing else that a probe could run.
const PROGRAM: &str = "/usr/bin/cnister";

/// What a DaemonSet is made from.
#[derive(Debug)]
pub struct DaemonSet<'a> {
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
    /// How long `watch` waits between two looks.
    pub interval: Duration,
    /// Further arguments of `install`.
    pub install: &'a [String],
    /// What `install` may see of the node besides, where its arguments need it.
    pub sights: &'a [Sight],
    /// What `watch` does besides looking.
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

impl Sight {
    fn volume(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Configuration => ("configuration", "/etc", "Directory"),
            Self::Attachments => ("attachments", "/var/lib/cni", "DirectoryOrCreate"),
        }
    }

    fn mount(self) -> Mount {
        let (name, path, _) = self.volume();
        Mount::readonly(name, &format!("{ROOT}{path}"))
    }
}

impl DaemonSet<'_> {
    /// Writes the manifest: a Namespace, two ConfigMaps and the DaemonSet, the same for the same
    /// input.
    pub fn to_yaml(&self) -> Result<String, RenderError> {
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
        // Evidence is text: its builder takes nothing else.
        let evidence = String::from_utf8_lossy(&self.evidence.to_bytes()).into_owned();
        let mut documents = vec![
            config_map(self.namespace, "policy", POLICY_KEY, self.policy.text())?,
            config_map(
                self.namespace,
                "evidence",
                &format!("{}.json", expected.short()),
                &evidence,
            )?,
        ];
        documents.extend(self.watching.documents(self.namespace));
        documents.push(self.daemon_set());
        if !self.namespace.is_of_kubernetes() {
            documents.insert(0, self.namespace_object());
        }
        Ok(format!("{}{}", self.heading(first), documents.join("---\n")))
    }

    fn heading(&self, first: &Verified<Bundle>) -> String {
        let (image, tool, namespace) = (self.image, self.tool, self.namespace);
        let files = &first.value().files;
        let platforms: Vec<_> =
            self.bundles.iter().map(|bundle| bundle.value().platform.to_string()).collect();
        let warning = match self
            .bundles
            .iter()
            .find(|bundle| bundle.proof().strength == Strength::Admitted)
        {
            Some(_) => {
                "#\n# Warning: a rule with `mode: warn` let it pass; nothing about it was proven.\n"
            }
            None => "",
        };
        format!(
            "\
# The CNI plugins of {name} {version} for {platforms}. Written, after the image was verified, by
#   cnister render {image} --tool-image {tool}
# Render again instead of editing. Every node verifies the image once more before anything is installed. Apply with
#   kubectl apply -f FILE && kubectl -n {namespace} rollout status daemonset/{NAME}
{warning}---
",
            name = files.name,
            version = files.version,
            platforms = platforms.join(", "),
        )
    }

    fn namespace_object(&self) -> String {
        let namespace = yaml::quoted(&self.namespace.to_string());
        format!(
            "\
# Pods here use directories and the network of their node, which only the level `privileged` allows. No container is
# privileged, and none has a capability.
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    app.kubernetes.io/name: {NAME}
    pod-security.kubernetes.io/enforce: privileged
    pod-security.kubernetes.io/audit: privileged
    pod-security.kubernetes.io/warn: privileged
"
        )
    }

    fn daemon_set(&self) -> String {
        format!(
            "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {NAME}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: {NAME}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: {NAME}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 10%
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {NAME}
    spec:
      # A pod network may need the plugins that this pod brings.
      hostNetwork: true
      dnsPolicy: Default
{account}      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: system-node-critical
      terminationGracePeriodSeconds: {grace}
      tolerations:
        - operator: Exists
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              - matchExpressions:
                  - key: kubernetes.io/os
                    operator: In
                    values: [linux]
                  - key: kubernetes.io/arch
                    operator: In
                    values: [{architectures}]
      initContainers:
{stage}{install}      containers:
{watch}      volumes:
        - name: staged
          emptyDir:
            sizeLimit: {size_limit}Mi
        - name: policy
          configMap:
            name: {NAME}-policy
            defaultMode: 292 # 0444
        - name: evidence
          configMap:
            name: {NAME}-evidence
            defaultMode: 292 # 0444
        - name: plugins
          hostPath:
            path: {plugins}
            type: DirectoryOrCreate
        - name: state
          hostPath:
            path: {state}
            type: DirectoryOrCreate
        - name: owner
          hostPath:
            path: {owner}
            type: DirectoryOrCreate
{sights}{account_volume}",
            namespace = yaml::quoted(&self.namespace.to_string()),
            architectures = self.architectures().join(", "),
            stage = self.stage(),
            install = self.install(),
            watch = self.watch(),
            size_limit = self.size_limit(),
            grace = self.watching.grace(),
            account = self.watching.account(),
            account_volume = self.watching.volume(),
            sights = self.sights.iter().map(|sight| sight_volume(*sight)).collect::<String>(),
            plugins = yaml::quoted(self.bin_directory.as_str()),
            state = yaml::quoted(HostPath::default_state_directory().as_str()),
            owner = yaml::quoted(HostPath::default_policy_directory().as_str()),
        )
    }

    /// Copies the bundle's files out of its image: code that nobody has verified yet, so it may do
    /// nothing else.
    fn stage(&self) -> String {
        Container {
            name: "stage",
            image: self.image,
            arguments: vec!["stage".to_owned(), STAGED.to_owned()],
            user: 65532,
            extra: String::new(),
            mounts: vec![Mount::writable("staged", STAGED)],
        }
        .to_yaml()
    }

    /// Installs what the policy allows. Where it refuses and the set on the node still proves
    /// itself, that set stays.
    fn install(&self) -> String {
        let mut arguments = vec!["install".to_owned()];
        arguments.extend(["--from", STAGED, "--evidence", EVIDENCE].map(str::to_owned));
        arguments.extend(self.shared_arguments());
        arguments.extend(["--on-refusal", "keep"].map(str::to_owned));
        arguments.extend(self.install.iter().cloned());
        let mut mounts = vec![
            Mount::readonly("staged", STAGED),
            policy_mount(),
            Mount::readonly("evidence", EVIDENCE),
            Mount::writable("plugins", &on_host(self.bin_directory)),
            Mount::writable("state", &on_host(&HostPath::default_state_directory())),
        ];
        mounts.extend(self.sights.iter().map(|sight| sight.mount()));
        // Below the node's /etc, where that is mounted.
        mounts.push(Mount::writable("owner", &on_host(&HostPath::default_policy_directory())));
        Container {
            name: "install",
            image: self.tool,
            arguments,
            user: 0,
            extra: String::new(),
            mounts,
        }
        .to_yaml()
    }

    /// Looks after the installed set until the pod ends.
    fn watch(&self) -> String {
        let mut arguments = vec!["watch".to_owned()];
        arguments.extend(self.shared_arguments());
        arguments.extend(["--interval".to_owned(), format!("{}s", self.interval.as_secs())]);
        let mut mounts = vec![
            policy_mount(),
            self.watching.plugins(&on_host(self.bin_directory)),
            Mount::writable("state", &on_host(&HostPath::default_state_directory())),
        ];
        let configuration = self.sights.iter().filter(|sight| **sight == Sight::Configuration);
        mounts.extend(configuration.map(|sight| sight.mount()));
        self.watching.container(self.tool, arguments, readiness(), mounts)
    }

    /// What decides, and about what: the same words for `install` and `watch`.
    fn shared_arguments(&self) -> Vec<String> {
        let policy = self.policy.digest().hex();
        let name = self.name.to_string();
        let pairs = [
            ["--policy", POLICY],
            ["--policy-sha256", &policy],
            ["--as", &name],
            ["--root", ROOT],
            ["--bin-dir", self.bin_directory.as_str()],
        ];
        pairs.as_flattened().iter().map(|word| (*word).to_owned()).collect()
    }

    fn architectures(&self) -> Vec<String> {
        self.bundles
            .iter()
            .map(|bundle| yaml::quoted(bundle.value().platform.architecture()))
            .collect()
    }

    /// Twice the largest platform's files in MiB: `stage` may run again in the same directory and
    /// writes beside them.
    fn size_limit(&self) -> u64 {
        let largest =
            self.bundles.iter().map(|bundle| bundle.value().files.total_size()).max().unwrap_or(0);
        largest.saturating_mul(2).div_ceil(1024 * 1024).max(1)
    }
}

fn sight_volume(sight: Sight) -> String {
    let (name, path, kind) = sight.volume();
    format!(
        "        - name: {name}\n          hostPath:\n            path: {path}\n            type: {kind}\n"
    )
}

/// Whether the set on the node is the wanted one and proves itself, as `watch` last said.
fn readiness() -> String {
    let command = [PROGRAM, "watch", "--ready", "--root", ROOT].map(yaml::quoted).join(", ");
    format!(
        "          readinessProbe:
            exec:
              command: [{command}]
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 1
"
    )
}

/// The policy as it was when the pod started: exchanged under a pod whose arguments name the digest
/// of the old one, it would make all nodes unready at the start of a rollout, and the rollout would
/// no longer go step by step.
fn policy_mount() -> Mount {
    Mount::file("policy", POLICY, POLICY_KEY)
}

/// Where a directory of the node is mounted.
fn on_host(path: &HostPath) -> String {
    format!("{ROOT}{path}")
}

#[cfg(test)]
mod tests;
