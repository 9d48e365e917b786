//! The default manifest: a DaemonSet that installs a bundle on every node and keeps checking it
//! there.
//!
//! It uses two images, so that neither vouches for itself. `stage` runs the bundle image, without
//! any privileges, and copies its files to a volume of the pod. `install` runs the tool image and
//! copies from there only what the policy allows.

use super::config_map::{compressed_config_map, config_map};
use super::container::{Container, Mount};
use super::deployment::{Deployment, Paths, Sight};
use super::{NAME, RenderError, yaml};
use crate::model::HostPath;
use crate::trust::{Bundle, Verified};

/// Where the node's directories are mounted.
const ROOT: &str = "/host";
/// Where `stage` puts files for `install`.
const STAGED: &str = "/staged";
/// Where the policy is mounted.
const POLICY: &str = "/cnister/policy/policy.yaml";
/// The policy's key in its ConfigMap.
const POLICY_KEY: &str = "policy.yaml";
/// Where the evidence is mounted.
const EVIDENCE: &str = "/cnister/evidence";
/// The program in the tool image. An image without a shell has nothing else that a probe could run.
const PROGRAM: &str = "/usr/bin/cnister";

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

/// A deployment as a manifest for `kubectl apply`.
#[derive(Debug)]
pub struct DaemonSet<'a>(pub Deployment<'a>);

/// The paths in the pod.
const PATHS: Paths<'static> =
    Paths { root: ROOT, staged: STAGED, policy: POLICY, evidence: EVIDENCE };

impl DaemonSet<'_> {
    /// Renders a Namespace, two ConfigMaps and the DaemonSet; equal input gives equal text.
    pub fn to_yaml(&self) -> Result<String, RenderError> {
        let first = self.0.release()?;
        let expected = self.0.image.digest();
        let mut documents = vec![
            config_map(self.0.namespace, "policy", POLICY_KEY, self.0.policy.text())?,
            self.evidence(&format!("{}.json", expected.short()))?,
        ];
        documents.extend(self.0.watching.documents(self.0.namespace));
        documents.push(self.daemon_set());
        if !self.0.namespace.is_of_kubernetes() {
            documents.insert(0, self.namespace_object());
        }
        Ok(format!("{}{}", self.heading(first), documents.join("---\n")))
    }

    /// As text, which can be reviewed, if that is not too long.
    fn evidence(&self, key: &str) -> Result<String, RenderError> {
        let (namespace, kind, text) = (self.0.namespace, "evidence", self.0.evidence_text());
        match config_map(namespace, kind, key, &text) {
            Err(RenderError::TooLong { .. }) => compressed_config_map(namespace, kind, key, &text),
            rendered => rendered,
        }
    }

    fn heading(&self, first: &Verified<Bundle>) -> String {
        let (image, tool, namespace) = (self.0.image, self.0.tool, self.0.namespace);
        let files = &first.value().files;
        let warning = if self.0.is_unproven() {
            "#\n# Warning: admitted by a rule with `mode: warn`; nothing about it was proven.\n"
        } else {
            ""
        };
        format!(
            "\
# The CNI plugins of {name} {version} for {platforms}. Generated, after the image was verified, by
#   cnister render {image} --tool-image {tool}
# Do not edit; render it again. Every node verifies the image again before it installs anything.
# Apply with
#   kubectl apply -f FILE && kubectl -n {namespace} rollout status daemonset/{NAME}
{warning}---
",
            name = files.name,
            version = files.version,
            platforms = self.0.platforms().join(", "),
        )
    }

    fn namespace_object(&self) -> String {
        let namespace = yaml::quoted(&self.0.namespace.to_string());
        format!(
            "\
# Pods here use directories and the network of their node, which only the level `privileged`
# allows. No container is privileged or has any capability.
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
        let architectures: Vec<_> = self.0.architectures().into_iter().map(yaml::quoted).collect();
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
            namespace = yaml::quoted(&self.0.namespace.to_string()),
            architectures = architectures.join(", "),
            stage = self.stage(),
            install = self.install(),
            watch = self.watch(),
            size_limit = self.0.staging_size().div_ceil(1024 * 1024).max(1),
            grace = self.0.watching.grace(),
            account = self.0.watching.account(),
            account_volume = self.0.watching.volume(),
            sights = self.0.sights.iter().map(|sight| sight_volume(*sight)).collect::<String>(),
            plugins = yaml::quoted(self.0.bin_directory.as_str()),
            state = yaml::quoted(HostPath::default_state_directory().as_str()),
            owner = yaml::quoted(HostPath::default_policy_directory().as_str()),
        )
    }

    /// Copies the bundle's files out of its image. This runs unverified code, so it may do nothing
    /// else.
    fn stage(&self) -> String {
        Container {
            name: "stage",
            image: self.0.image,
            arguments: vec!["stage".to_owned(), STAGED.to_owned()],
            user: 65532,
            extra: String::new(),
            mounts: vec![Mount::writable("staged", STAGED)],
        }
        .to_yaml()
    }

    /// Installs what the policy allows. If it refuses and the node's installed set still verifies,
    /// that set is kept.
    fn install(&self) -> String {
        let mut mounts = vec![
            Mount::readonly("staged", STAGED),
            policy_mount(),
            Mount::readonly("evidence", EVIDENCE),
            Mount::writable("plugins", &on_host(self.0.bin_directory)),
            Mount::writable("state", &on_host(&HostPath::default_state_directory())),
        ];
        mounts.extend(self.0.sights.iter().map(|sight| sight.mount()));
        // Must follow the mount of the node's /etc, which contains it.
        mounts.push(Mount::writable("owner", &on_host(&HostPath::default_policy_directory())));
        Container {
            name: "install",
            image: self.0.tool,
            arguments: self.0.install_arguments(&PATHS),
            user: 0,
            extra: String::new(),
            mounts,
        }
        .to_yaml()
    }

    /// Keeps checking the installed set until the pod ends.
    fn watch(&self) -> String {
        let mut mounts = vec![
            policy_mount(),
            self.0.watching.plugins(&on_host(self.0.bin_directory)),
            Mount::writable("state", &on_host(&HostPath::default_state_directory())),
        ];
        let configuration = self.0.sights.iter().filter(|sight| **sight == Sight::Configuration);
        mounts.extend(configuration.map(|sight| sight.mount()));
        let arguments = self.0.watch_arguments(&PATHS);
        self.0.watching.container(self.0.tool, arguments, readiness(), mounts)
    }
}

fn sight_volume(sight: Sight) -> String {
    let (name, path, kind) = sight.volume();
    format!(
        "        - name: {name}\n          hostPath:\n            path: {path}\n            type: {kind}\n"
    )
}

/// The readiness probe: whether the node has the wanted set and it verifies, as `watch` last
/// reported.
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

/// The policy as it was when the pod started. If it changed under a running pod, whose arguments
/// pin the digest of the old one, all nodes would become unready at the start of a rollout instead
/// of step by step.
fn policy_mount() -> Mount {
    Mount::file("policy", POLICY, POLICY_KEY)
}

/// Returns where a directory of the node is mounted.
fn on_host(path: &HostPath) -> String {
    format!("{ROOT}{path}")
}

#[cfg(test)]
mod tests;
