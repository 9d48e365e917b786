//! The container that stays: what it does besides looking, and the rights that each of that takes.

use super::container::{Container, Mount};
use super::{NAME, Namespace, PinnedImage, yaml};
use crate::watch::ConditionName;

/// Where the kubelet puts the account of a pod that has one, and where `watch` looks for it.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where numbers are answered: the network is the node's, and nobody outside of it shall reach
/// them.
const LISTEN: &str = "127.0.0.1:9464";

/// What the container that stays does besides looking.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// Whether it brings back what was altered.
    pub repair: Repair,
    /// Whether it answers the node with numbers for Prometheus.
    pub metrics: bool,
    /// The condition of the node object that it keeps; the only thing for which a pod gets a token.
    pub condition: Option<ConditionName>,
}

/// Whether altered plugins are brought back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repair {
    /// They are only told about, and the container cannot write plugins.
    #[default]
    No,
    /// At once.
    Yes,
}

impl Watching {
    /// The mount of the plugin directory.
    pub(super) fn plugins(&self, path: &str) -> Mount {
        match self.repair {
            Repair::Yes => Mount::writable("plugins", path),
            Repair::No => Mount::readonly("plugins", path),
        }
    }

    /// How many seconds it may take to end: a repair that was begun is brought to its end.
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

    /// The container; `arguments`, `probe` and `mounts` are what it has in any case.
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

    /// The lines of the pod that name its account.
    pub(super) fn account(&self) -> String {
        self.condition.iter().map(|_| format!("      serviceAccountName: {NAME}\n")).collect()
    }

    /// The volume with the account. The pod does not mount it by itself: `stage` runs what nobody
    /// has verified yet, and gets no token.
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

    /// The objects that give the account its one right.
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
# To write the condition {condition}. No rule of RBAC says which node or which condition: who has the token can write the
# status of every node. Only the container `watch` gets it.
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
