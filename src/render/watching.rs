//! The long-running container: what it does besides checking, and the permissions that each of
//! these needs.

use super::container::{Container, Mount};
use super::{NAME, Namespace, PinnedImage, yaml};
use crate::watch::ConditionName;

/// Where the kubelet mounts the token of a service account, and where `watch` looks for it.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The address of the metrics. The pod uses the node's network, and no one outside the node should
/// reach them.
const LISTEN: &str = "127.0.0.1:9464";

/// What the long-running container does besides checking.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// Whether it restores altered plugins.
    pub repair: Repair,
    /// Whether it serves metrics for Prometheus on the node.
    pub metrics: bool,
    /// The condition of the node object that it maintains; the only reason for a pod to get a
    /// token.
    pub condition: Option<ConditionName>,
}

/// Whether altered plugins are restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repair {
    /// They are only reported, and the container cannot write plugins.
    #[default]
    No,
    /// They are restored at once.
    Yes,
}

impl Watching {
    /// Returns the mount of the plugin directory.
    pub(super) fn plugins(&self, path: &str) -> Mount {
        match self.repair {
            Repair::Yes => Mount::writable("plugins", path),
            Repair::No => Mount::readonly("plugins", path),
        }
    }

    /// Returns the grace period in seconds: a repair that has started must be able to finish.
    pub(super) fn grace(&self) -> u32 {
        match self.repair {
            Repair::Yes => 30,
            Repair::No => 5,
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.repair == Repair::Yes {
            arguments.push("--repair".to_owned());
        }
        if self.metrics {
            arguments.extend(["--listen", LISTEN].map(str::to_owned));
        }
        if let Some(condition) = &self.condition {
            arguments.extend(["--node-condition".to_owned(), condition.to_string()]);
        }
        arguments
    }

    /// Renders the container; `arguments`, `probe` and `mounts` are the ones it always has.
    pub(super) fn container(
        &self,
        tool: &PinnedImage,
        arguments: Vec<String>,
        probe: String,
        mounts: Vec<Mount>,
    ) -> String {
        let mut container =
            Container { name: "watch", image: tool, arguments, user: 0, extra: probe, mounts };
        container.arguments.extend(self.arguments());
        if self.condition.is_some() {
            container.extra.push_str(
                "          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
",
            );
            container.mounts.push(Mount::readonly("account", ACCOUNT));
        }
        container.to_yaml()
    }

    /// Renders the lines of the pod that name its service account.
    pub(super) fn account(&self) -> String {
        self.condition.iter().map(|_| format!("      serviceAccountName: {NAME}\n")).collect()
    }

    /// Renders the volume of the token. It is not mounted into the whole pod: `stage` runs
    /// unverified code and gets no token.
    pub(super) fn volume(&self) -> &'static str {
        match self.condition {
            None => "",
            Some(_) => {
                "        - name: account
          projected:
            defaultMode: 256 # 0400
            sources:
              - serviceAccountToken:
                  path: token
                  expirationSeconds: 3600
              - configMap:
                  name: kube-root-ca.crt
                  items:
                    - key: ca.crt
                      path: ca.crt
"
            }
        }
    }

    /// Renders the objects that grant the service account its single permission.
    pub(super) fn documents(&self, namespace: &Namespace) -> Vec<String> {
        let Some(condition) = &self.condition else { return Vec::new() };
        let (namespace, role) = (namespace.to_string(), format!("{NAME}:{namespace}"));
        let (role, quoted) = (yaml::quoted(&role), yaml::quoted(&namespace));
        vec![
            format!(
                "\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {NAME}
  namespace: {quoted}
  labels:
    app.kubernetes.io/name: {NAME}
automountServiceAccountToken: false
"
            ),
            format!(
                "\
# Allows writing the condition {condition}. RBAC cannot limit this to a node or a condition: a
# holder of the token can write the status of every node. Only the container `watch` gets it.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {role}
  labels:
    app.kubernetes.io/name: {NAME}
rules:
  - apiGroups: [\"\"]
    resources: [nodes/status]
    verbs: [patch]
",
            ),
            format!(
                "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {role}
  labels:
    app.kubernetes.io/name: {NAME}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {role}
subjects:
  - kind: ServiceAccount
    name: {NAME}
    namespace: {quoted}
"
            ),
        ]
    }
}
