//! The default manifest: a DaemonSet of its own that installs a bundle on every node and watches it there.
//!
//! Two images, and neither is the other's witness. `stage` runs the bundle image, without any right, and copies its
//! files into a directory of the pod; `install` runs the tool image and copies from there what the policy allows.

use std::time::Duration;

use super::config_map::config_map;
use super::container::{Container, Mount};
use super::{NAME, Namespace, PinnedImage, RenderError, yaml};
use crate::model::Repository;
use crate::node::HostPath;
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
}

impl DaemonSet<'_> {
    /// Writes the manifest: a Namespace, two ConfigMaps and the DaemonSet, the same for the same input.
    pub fn to_yaml(&self) -> Result<String, RenderError> {
        let first = self.bundles.first().ok_or(RenderError::NoPlatform)?;
        let expected = self.image.digest();
        let verified = self.bundles.iter().map(|bundle| bundle.value().index);
        if let Some(found) = verified.chain([self.evidence.root()]).find(|found| *found != expected) {
            return Err(RenderError::OtherRelease { expected, found });
        }
        if self.tool.digest() == expected {
            return Err(RenderError::SelfCheck);
        }
        // Evidence is text: its builder takes nothing else.
        let evidence = String::from_utf8_lossy(&self.evidence.to_bytes()).into_owned();
        let mut documents = vec![
            config_map(self.namespace, "policy", POLICY_KEY, self.policy.text())?,
            config_map(self.namespace, "evidence", &format!("{}.json", expected.short()), &evidence)?,
            self.daemon_set(),
        ];
        if !self.namespace.is_of_kubernetes() {
            documents.insert(0, self.namespace_object());
        }
        Ok(format!("{}{}", self.heading(first), documents.join("---\n")))
    }

    fn heading(&self, first: &Verified<Bundle>) -> String {
        let (image, tool, namespace) = (self.image, self.tool, self.namespace);
        let files = &first.value().files;
        let platforms: Vec<_> = self.bundles.iter().map(|bundle| bundle.value().platform.to_string()).collect();
        let warning = match self.bundles.iter().find(|bundle| bundle.proof().strength == Strength::Admitted) {
            Some(_) => "#\n# Warning: a rule with `mode: warn` let it pass; nothing about it was proven.\n",
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
      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: system-node-critical
      terminationGracePeriodSeconds: 5
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
",
            namespace = yaml::quoted(&self.namespace.to_string()),
            architectures = self.architectures().join(", "),
            stage = self.stage(),
            install = self.install(),
            watch = self.watch(),
            size_limit = self.size_limit(),
            plugins = yaml::quoted(self.bin_directory.as_str()),
            state = yaml::quoted(HostPath::default_state_directory().as_str()),
            owner = yaml::quoted(HostPath::default_policy_directory().as_str()),
        )
    }

    /// Copies the bundle's files out of its image: code that nobody has verified yet, so it may do nothing else.
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

    /// Installs what the policy allows. Where it refuses and the set on the node still proves itself, that set stays.
    fn install(&self) -> String {
        let mut arguments = vec!["install".to_owned()];
        arguments.extend(["--from", STAGED, "--evidence", EVIDENCE].map(str::to_owned));
        arguments.extend(self.shared_arguments());
        arguments.extend(["--on-refusal", "keep"].map(str::to_owned));
        Container {
            name: "install",
            image: self.tool,
            arguments,
            user: 0,
            extra: String::new(),
            mounts: vec![
                Mount::readonly("staged", STAGED),
                policy_mount(),
                Mount::readonly("evidence", EVIDENCE),
                Mount::writable("plugins", &on_host(self.bin_directory)),
                Mount::writable("state", &on_host(&HostPath::default_state_directory())),
                Mount::writable("owner", &on_host(&HostPath::default_policy_directory())),
            ],
        }
        .to_yaml()
    }

    /// Looks after the installed set until the pod ends.
    fn watch(&self) -> String {
        let mut arguments = vec!["watch".to_owned()];
        arguments.extend(self.shared_arguments());
        arguments.extend(["--interval".to_owned(), format!("{}s", self.interval.as_secs())]);
        Container {
            name: "watch",
            image: self.tool,
            arguments,
            user: 0,
            extra: readiness(),
            mounts: vec![
                policy_mount(),
                Mount::readonly("plugins", &on_host(self.bin_directory)),
                Mount::writable("state", &on_host(&HostPath::default_state_directory())),
            ],
        }
        .to_yaml()
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
        self.bundles.iter().map(|bundle| yaml::quoted(bundle.value().platform.architecture())).collect()
    }

    /// Twice the largest platform's files in MiB: `stage` may run again in the same directory and writes beside them.
    fn size_limit(&self) -> u64 {
        let largest = self.bundles.iter().map(|bundle| bundle.value().files.total_size()).max().unwrap_or(0);
        largest.saturating_mul(2).div_ceil(1024 * 1024).max(1)
    }
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

/// The policy as it was when the pod started: exchanged under a pod whose arguments name the digest of the old one, it
/// would make all nodes unready at the start of a rollout, and the rollout would no longer go step by step.
fn policy_mount() -> Mount {
    Mount::file("policy", POLICY, POLICY_KEY)
}

/// Where a directory of the node is mounted.
fn on_host(path: &HostPath) -> String {
    format!("{ROOT}{path}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use semver::Version;
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::{FileManifest, Linkage, PluginFile};
    use crate::model::document::descriptor;
    use crate::model::{Digest, Document, media_type, visible};
    use crate::trust::EvidenceBuilder;

    /// The public key of a pair that nobody kept.
    const KEY: &str = include_str!("../../tests/data/cosign.pub");

    const POLICY: &str = r#"# Who may sign the plugins of our nodes.
apiVersion: cnister.dev/v1
kind: Policy

rules:
  - name: plugins # the only ones
    images: ["ghcr.io/acme/cni"]
    authorities: [{name: ci, key: {file: cosign.pub}}]
"#;

    /// Everything that a [`DaemonSet`] borrows.
    struct Given {
        image: PinnedImage,
        bundles: Vec<Verified<Bundle>>,
        evidence: Evidence,
        policy: Policy,
        name: Repository,
        tool: PinnedImage,
        namespace: Namespace,
        bin_directory: HostPath,
    }

    impl Given {
        fn new(policy: &str) -> Self {
            let mut builder = EvidenceBuilder::default();
            let root = Document::new(media_type::INDEX, br#"{"schemaVersion":2,"manifests":[]}"#.to_vec());
            let index = root.digest;
            builder.document(root);
            let bundle = |platform: &str, size| {
                Verified::for_test(Bundle {
                    index,
                    platform: platform.parse().unwrap(),
                    manifest: Digest::of(b"manifest"),
                    manifest_json: Digest::of(b"bundle.json"),
                    plugin_layer: descriptor(media_type::LAYER, Digest::of(b"layer"), 5),
                    files: FileManifest {
                        media_type: media_type::BUNDLE.to_owned(),
                        name: "standard".parse().unwrap(),
                        version: Version::new(1, 9, 1),
                        platform: platform.parse().unwrap(),
                        diff_id: Digest::of(b"layer"),
                        plugins: vec![PluginFile {
                            name: "macvlan".parse().unwrap(),
                            digest: Digest::of(b"macvlan"),
                            size,
                            linkage: Linkage::Static,
                            go: None,
                        }],
                        tool: None,
                    },
                })
            };
            Self {
                image: format!("ghcr.io/acme/cni:1.9.1@{index}").parse().unwrap(),
                bundles: vec![bundle("linux/amd64", 4_500_000), bundle("linux/arm64", 4_000_000)],
                evidence: builder.finish(index).unwrap(),
                policy: Policy::parse("policy.yaml", policy, &mut |_| Ok(KEY.to_owned())).unwrap(),
                name: "ghcr.io/acme/cni".parse().unwrap(),
                tool: format!("ghcr.io/acme/cnister:0.1.0@{}", Digest::of(b"tool")).parse().unwrap(),
                namespace: "cnister".parse().unwrap(),
                bin_directory: HostPath::default_bin_directory(),
            }
        }

        fn daemon_set(&self) -> DaemonSet<'_> {
            let Self { image, bundles, evidence, policy, name, tool, namespace, bin_directory } = self;
            let interval = Duration::from_secs(60);
            DaemonSet { image, bundles, evidence, policy, name, tool, namespace, bin_directory, interval }
        }

        fn documents(&self) -> Vec<Value> {
            read(&self.daemon_set().to_yaml().unwrap())
        }
    }

    fn read(yaml: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    fn containers(documents: &[Value]) -> Vec<&Value> {
        let pod = &documents.last().unwrap()["spec"]["template"]["spec"];
        ["initContainers", "containers"].iter().flat_map(|list| pod[list].as_array().unwrap()).collect()
    }

    /// The word after a word among a container's arguments.
    fn option<'a>(container: &'a Value, name: &str) -> &'a str {
        let arguments = container["args"].as_array().unwrap();
        let place = arguments.iter().position(|argument| argument == name).unwrap_or_else(|| panic!("no {name}"));
        arguments[place + 1].as_str().unwrap()
    }

    #[test]
    fn writes_the_manifest_of_the_golden_file() -> io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/daemonset.yaml");
        let given = Given::new(POLICY);
        let text = given.daemon_set().to_yaml().unwrap();
        assert_eq!(text, given.daemon_set().to_yaml().unwrap());
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(path, &text)?;
        }
        assert_eq!(text, std::fs::read_to_string(path)?, "read the difference, then UPDATE_SNAPSHOTS=1");
        Ok(())
    }

    #[test]
    fn says_the_same_to_a_yaml_reader() {
        let given = Given::new(POLICY);
        let documents = given.documents();
        let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Namespace", "ConfigMap", "ConfigMap", "DaemonSet"]);
        let names: Vec<_> = documents.iter().map(|document| document["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["cnister", "cnister-policy", "cnister-evidence", "cnister"]);

        let key = format!("{}.json", given.evidence.root().short());
        let evidence = Evidence::parse(documents[2]["data"][&key].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(evidence, given.evidence);

        let pod = &documents[3]["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][0], json!({"name": "staged", "emptyDir": {"sizeLimit": "9Mi"}}));
        let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let architectures = &terms["nodeSelectorTerms"][0]["matchExpressions"][1]["values"];
        assert_eq!(*architectures, json!(["amd64", "arm64"]));

        let containers = containers(&documents);
        let images: Vec<_> = containers.iter().map(|container| container["image"].as_str().unwrap()).collect();
        let (image, tool) = (given.image.to_string(), given.tool.to_string());
        assert_eq!(images, [&image, &tool, &tool]);
        for container in &containers {
            let (resources, security) = (&container["resources"], &container["securityContext"]);
            assert_eq!(resources["requests"], resources["limits"]);
            assert!(resources["limits"]["memory"].is_string() && resources["limits"]["cpu"].is_string());
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["runAsUser"], security["runAsGroup"]);
        }
        assert_eq!(containers[0]["volumeMounts"], json!([{"name": "staged", "mountPath": "/staged"}]));
    }

    #[test]
    fn nodes_demand_the_policy_that_they_are_given() {
        let with_key = POLICY.replace("{file: cosign.pub}", &format!("{{data: {}}}", json!(KEY)));
        let cases = [
            POLICY.to_owned(),
            with_key.clone(),
            with_key.trim_end().to_owned(),
            with_key.clone() + "\n\n",
            with_key.replace('\n', "\r\n"),
            format!("\n  \n{with_key}"),
            format!("---\n{with_key}"),
            with_key.clone() + "# {{ .Values }} \u{2028} \u{85} \u{202e}\n",
            with_key.clone() + "#\ttabs and spaces \t \n",
            with_key.clone() + "    # ---\n...\n",
            with_key.replace("the only ones", "kind: Secret"),
        ];
        for text in cases {
            let given = Given::new(&text);
            let yaml = given.daemon_set().to_yaml().unwrap();
            let documents = read(&yaml);
            assert_eq!(documents.len(), 4, "{text:?}");
            // However a tool takes documents apart, it reads the same.
            let split: Vec<_> = yaml.split("\n---\n").map(str::trim_end).skip(1).flat_map(read).collect();
            assert!(split == documents, "{text:?}");
            let data: BTreeMap<String, String> = serde_json::from_value(documents[1]["data"].clone()).unwrap();
            assert_eq!(data.keys().collect::<Vec<_>>(), ["policy.yaml"], "{text:?}");
            assert_eq!(data["policy.yaml"], given.policy.text(), "{text:?}");
            let containers = containers(&documents);
            for container in [containers[1], containers[2]] {
                let digest = Digest::of(data["policy.yaml"].as_bytes()).hex();
                assert_eq!(option(container, "--policy-sha256"), digest, "{text:?}");
                assert_eq!(option(container, "--as"), "ghcr.io/acme/cni");
                assert_eq!(option(container, "--policy"), super::POLICY);
            }
            // What is printed to a terminal, or through a pipe, is what was rendered.
            assert!(yaml.lines().all(|line| visible(line) == line), "{text:?}");
        }
    }

    #[test]
    fn a_path_is_text_and_nothing_more() {
        let mut given = Given::new(POLICY);
        given.bin_directory = "/opt/a b: {c} # \"d\" \\ - 'e' $(HOME)".parse().unwrap();
        let documents = given.documents();
        let path = given.bin_directory.as_str();
        let pod = &documents[3]["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][3]["hostPath"], json!({"path": path, "type": "DirectoryOrCreate"}));
        let containers = containers(&documents);
        assert_eq!(option(containers[1], "--bin-dir"), path.replace('$', "$$"));
        assert_eq!(containers[1]["volumeMounts"][3]["mountPath"], format!("/host{path}"));
    }

    #[test]
    fn a_namespace_of_kubernetes_keeps_its_labels() {
        for (name, expected) in [("kube-system", 3), ("default", 3), ("cni", 4)] {
            let mut given = Given::new(POLICY);
            given.namespace = name.parse().unwrap();
            let documents = given.documents();
            assert_eq!(documents.len(), expected, "{name}");
            let last = &documents[expected - 1]["metadata"];
            assert_eq!(last["namespace"], name);
        }
    }

    #[test]
    fn says_when_nothing_was_proven() {
        let text = POLICY.replace("    authorities", "    mode: warn\n    authorities");
        let mut given = Given::new(&text);
        assert!(!given.daemon_set().to_yaml().unwrap().contains("Warning"));
        let mut image = crate::trust::test_support::Image::of(&["linux/amd64"]);
        image.relink();
        let evidence = image.evidence();
        let circumstances = crate::trust::Circumstances::wanted(std::time::SystemTime::UNIX_EPOCH);
        let platform = "linux/amd64".parse().unwrap();
        let bundle =
            crate::trust::verify(&given.policy, Some(&given.name), &evidence, &platform, &circumstances).unwrap();
        given.image = format!("ghcr.io/acme/cni:1@{}", evidence.root()).parse().unwrap();
        (given.bundles, given.evidence) = (vec![bundle], evidence);
        let yaml = given.daemon_set().to_yaml().unwrap();
        assert!(yaml.contains("# Warning: a rule with `mode: warn` let it pass"), "{yaml}");
        assert!(read(&yaml).len() == 4);
    }

    #[test]
    fn refuses_what_no_node_could_install() {
        let other = Digest::of(b"other");
        let given = || Given::new(POLICY);
        let root = given().evidence.root();
        type Change = fn(&mut Given, Digest);
        let cases: [(Change, RenderError); 4] = [
            (|given, _| given.bundles.clear(), RenderError::NoPlatform),
            (
                |given, other| given.image = format!("ghcr.io/a/b:1@{other}").parse().unwrap(),
                RenderError::OtherRelease { expected: other, found: root },
            ),
            (
                |given, other| {
                    let mut bundle = given.bundles[1].value().clone();
                    bundle.index = other;
                    given.bundles[1] = Verified::for_test(bundle);
                },
                RenderError::OtherRelease { expected: root, found: other },
            ),
            (
                |given, _| given.tool = format!("ghcr.io/a/b:1@{}", given.evidence.root()).parse().unwrap(),
                RenderError::SelfCheck,
            ),
        ];
        for (change, expected) in cases {
            let mut given = given();
            change(&mut given, other);
            assert_eq!(given.daemon_set().to_yaml(), Err(expected));
        }
    }
}
