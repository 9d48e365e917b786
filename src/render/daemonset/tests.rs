//! The manifest, as a YAML parser reads it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use semver::Version;
use serde_json::{Value, json};

use super::*;
use crate::bundle::{FileManifest, Linkage, PluginFile};
use crate::model::Repository;
use crate::model::document::descriptor;
use crate::model::{Digest, Document, media_type, visible};
use crate::render::Repair;
use crate::render::{Namespace, PinnedImage, Watching};
use crate::trust::EvidenceBuilder;
use crate::trust::{Evidence, Policy};

/// The public key of a pair whose private key was not kept.
const KEY: &str = include_str!("../../../tests/data/cosign.pub");

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
    install: Vec<String>,
    sights: Vec<Sight>,
    watching: Watching,
}

impl Given {
    fn new(policy: &str) -> Self {
        let mut builder = EvidenceBuilder::default();
        let root =
            Document::new(media_type::INDEX, br#"{"schemaVersion":2,"manifests":[]}"#.to_vec());
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
                        facts: crate::bundle::Facts::default(),
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
            install: Vec::new(),
            sights: Vec::new(),
            watching: Watching { repair: Repair::Yes, ..Watching::default() },
        }
    }

    fn daemon_set(&self) -> DaemonSet<'_> {
        let Self {
            image,
            bundles,
            evidence,
            policy,
            name,
            tool,
            namespace,
            bin_directory,
            install,
            sights,
            watching,
        } = self;
        let interval = Duration::from_secs(60);
        DaemonSet(Deployment {
            image,
            bundles,
            evidence,
            policy,
            name,
            tool,
            namespace,
            bin_directory,
            interval,
            install,
            sights,
            watching: watching.clone(),
        })
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

/// Returns the argument of a container that follows this one.
fn option<'a>(container: &'a Value, name: &str) -> &'a str {
    let arguments = container["args"].as_array().unwrap();
    let place = arguments
        .iter()
        .position(|argument| argument == name)
        .unwrap_or_else(|| panic!("no {name}"));
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
    assert_eq!(
        text,
        std::fs::read_to_string(path)?,
        "read the difference, then UPDATE_SNAPSHOTS=1"
    );
    Ok(())
}

#[test]
fn is_the_same_to_every_yaml_parser() {
    let given = Given::new(POLICY);
    let documents = given.documents();
    let kinds: Vec<_> =
        documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "ConfigMap", "ConfigMap", "DaemonSet"]);
    let names: Vec<_> =
        documents.iter().map(|document| document["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cnister", "cnister-policy", "cnister-evidence", "cnister"]);

    let key = format!("{}.json", given.evidence.root().short());
    let evidence =
        Evidence::parse(documents[2]["data"][&key].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(evidence, given.evidence);

    let pod = &documents[3]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0], json!({"name": "staged", "emptyDir": {"sizeLimit": "9Mi"}}));
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let architectures = &terms["nodeSelectorTerms"][0]["matchExpressions"][1]["values"];
    assert_eq!(*architectures, json!(["amd64", "arm64"]));

    let containers = containers(&documents);
    let images: Vec<_> =
        containers.iter().map(|container| container["image"].as_str().unwrap()).collect();
    let (image, tool) = (given.image.to_string(), given.tool.to_string());
    assert_eq!(images, [&image, &tool, &tool]);
    for container in &containers {
        let (resources, security) = (&container["resources"], &container["securityContext"]);
        assert_eq!(resources["requests"], resources["limits"]);
        assert!(
            resources["limits"]["memory"].is_string() && resources["limits"]["cpu"].is_string()
        );
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
        // However a tool splits documents, the content is the same.
        let split: Vec<_> =
            yaml.split("\n---\n").map(str::trim_end).skip(1).flat_map(read).collect();
        assert!(split == documents, "{text:?}");
        let data: BTreeMap<String, String> =
            serde_json::from_value(documents[1]["data"].clone()).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["policy.yaml"], "{text:?}");
        assert_eq!(data["policy.yaml"], given.policy.text(), "{text:?}");
        let containers = containers(&documents);
        for container in [containers[1], containers[2]] {
            let digest = Digest::of(data["policy.yaml"].as_bytes()).hex();
            assert_eq!(option(container, "--policy-sha256"), digest, "{text:?}");
            assert_eq!(option(container, "--as"), "ghcr.io/acme/cni");
            assert_eq!(option(container, "--policy"), super::POLICY);
        }
        // Printing to a terminal or a pipe does not change what was rendered.
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
    let verifier = crate::trust::Verifier {
        policy: &given.policy,
        name: Some(&given.name),
        platform: &"linux/amd64".parse().unwrap(),
        now: std::time::SystemTime::UNIX_EPOCH,
    };
    let bundle = verifier.verify(&evidence, crate::trust::Presence::New).unwrap();
    given.image = format!("ghcr.io/acme/cni:1@{}", evidence.root()).parse().unwrap();
    (given.bundles, given.evidence) = (vec![bundle], evidence);
    let yaml = given.daemon_set().to_yaml().unwrap();
    assert!(yaml.contains("# Warning: admitted by a rule with `mode: warn`;"), "{yaml}");
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
            |given, _| {
                given.tool = format!("ghcr.io/a/b:1@{}", given.evidence.root()).parse().unwrap()
            },
            RenderError::SelfCheck,
        ),
    ];
    for (change, expected) in cases {
        let mut given = given();
        change(&mut given, other);
        assert_eq!(given.daemon_set().to_yaml(), Err(expected));
    }
}

#[test]
fn grants_nothing_that_was_not_requested() {
    let writable = |container: &Value| -> Vec<String> {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        mounts
            .filter(|mount| mount["readOnly"] != true)
            .map(|mount| mount["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut given = Given::new(POLICY);
    given.watching = Watching::default();
    let plain = given.documents();
    let watch = containers(&plain)[2];
    assert_eq!(writable(watch), ["state"], "a watch that does not repair writes no plugin");
    let pod = &plain[3]["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 5);
    for field in ["serviceAccountName", "hostPID"] {
        assert_eq!(pod[field], Value::Null);
    }
    assert_eq!((&watch["env"], pod["volumes"].as_array().unwrap().len()), (&Value::Null, 6));

    given.watching = Watching {
        repair: Repair::Yes,
        metrics: true,
        condition: Some("CniPluginsVerified".parse().unwrap()),
    };
    given.install = ["--prune", "--skip", "$(HOME)"].map(str::to_owned).to_vec();
    given.sights = vec![Sight::Configuration, Sight::Attachments];
    let documents = given.documents();
    let kinds: Vec<_> =
        documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    let added = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
    assert_eq!(
        kinds,
        [&["Namespace", "ConfigMap", "ConfigMap"][..], &added, &["DaemonSet"]].concat()
    );
    assert_eq!(
        documents[4]["rules"],
        json!([{"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]}])
    );
    assert_eq!(
        documents[4]["metadata"]["name"], "cnister:cnister",
        "two namespaces do not share a role"
    );
    assert_eq!(documents[5]["roleRef"]["name"], documents[4]["metadata"]["name"]);
    let account = json!([{"kind": "ServiceAccount", "name": "cnister", "namespace": "cnister"}]);
    assert_eq!(documents[5]["subjects"], account);
    let pod = &documents[6]["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["serviceAccountName"], &pod["automountServiceAccountToken"]),
        (&"cnister".into(), &false.into())
    );
    let containers = containers(&documents);
    let mounted = |name: &str| {
        let has = |container: &&&Value| {
            container["volumeMounts"].as_array().unwrap().iter().any(|mount| mount["name"] == name)
        };
        containers
            .iter()
            .filter(has)
            .map(|container| container["name"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(mounted("account"), ["watch"], "unverified code gets no token");
    assert_eq!(mounted("configuration"), ["install", "watch"]);
    assert_eq!(mounted("attachments"), ["install"]);
    assert_eq!(writable(containers[0]), ["staged"]);
    assert_eq!(writable(containers[1]), ["plugins", "state", "owner"]);
    assert_eq!(writable(containers[2]), ["plugins", "state"]);
    let last: Vec<_> =
        containers[2]["args"].as_array().unwrap().iter().rev().take(5).rev().collect();
    assert_eq!(
        last,
        ["--repair", "--listen", "127.0.0.1:9464", "--node-condition", "CniPluginsVerified"]
    );
    assert_eq!(option(containers[1], "--skip"), "$$(HOME)");
    assert_eq!(containers[2]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
}
