//! Reads a DaemonSet as a kubelet does, and translates it for the container runtime interface.
//!
//! A field that this file does not know is an error: a security setting that was lost here would
//! make a test worthless.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::rig::{KnownImage, Rig};
use crate::volume::{self, Volume};

/// The paths that a kubelet hides from containers, and those it makes read-only.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const POD_FIELDS: [&str; 17] = [
    "automountServiceAccountToken",
    "containers",
    "dnsPolicy",
    "enableServiceLinks",
    "hostNetwork",
    "hostPID",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "affinity",
    "priorityClassName",
    "restartPolicy",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
];
const CONTAINER_FIELDS: [&str; 17] = [
    "args",
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "workingDir",
];

/// A DaemonSet and the ConfigMaps rendered with it.
pub(crate) struct DaemonSet {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// `spec.template.spec`
    pub(crate) pod: Value,
    pub(crate) config_maps: BTreeMap<String, Value>,
}

/// One pod of a DaemonSet on one node, with its volumes created.
pub(crate) struct Pod<'a> {
    set: &'a DaemonSet,
    node: &'a Namespace,
    directory: PathBuf,
    volumes: BTreeMap<String, Volume>,
}

/// Reads the output of `render`: documents of which one is a DaemonSet.
pub(crate) fn parse(yaml: &str) -> DaemonSet {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).expect("the rendered text is YAML");
    let of_kind = |kind: &'static str| {
        documents.iter().filter(move |document| document["kind"] == kind).cloned()
    };
    let mut sets: Vec<_> = of_kind("DaemonSet").collect();
    assert_eq!(sets.len(), 1, "the rendered text holds one DaemonSet");
    let mut set = sets.remove(0);
    let pod = set["spec"]["template"]["spec"].take();
    only(&pod, &POD_FIELDS);
    DaemonSet {
        name: string(&set["metadata"]["name"]),
        namespace: string(&set["metadata"]["namespace"]),
        pod,
        config_maps: of_kind("ConfigMap")
            .map(|map| (string(&map["metadata"]["name"]), map))
            .collect(),
    }
}

impl DaemonSet {
    /// Creates the volumes of a pod with this `uid` on a node.
    pub(crate) fn place<'a>(&'a self, rig: &'a Rig, uid: &str) -> Pod<'a> {
        let directory = Path::new("/var/lib/kubelet/pods").join(uid);
        let node = rig.namespace();
        let volumes = volume::make(node, &directory, self);
        Pod { set: self, node, directory, volumes }
    }

    pub(crate) fn init_containers(&self) -> &[Value] {
        self.pod["initContainers"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn containers(&self) -> &[Value] {
        self.pod["containers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Returns the command of the long-running container's readiness probe.
    pub(crate) fn readiness_probe(&self) -> Vec<String> {
        let words = self.containers()[0]["readinessProbe"]["exec"]["command"].as_array();
        words.expect("a probe that runs a command").iter().map(string).collect()
    }

    /// Replaces only the policy in its ConfigMap, as anyone with access to it can.
    pub(crate) fn exchange_policy(&mut self, text: &str) {
        self.config_maps.get_mut("cnister-policy").expect("render writes it")["data"]["policy.yaml"] =
            text.into();
    }

    /// Replaces the policy as the owner of a cluster does, including the digest in the arguments.
    pub(crate) fn replace_policy(&mut self, text: &str) {
        self.exchange_policy(text);
        let hex = cnister::model::Digest::of(text.as_bytes()).hex();
        for list in ["initContainers", "containers"] {
            for container in self.pod[list].as_array_mut().into_iter().flatten() {
                let arguments =
                    container["args"].as_array_mut().expect("every container has arguments");
                if let Some(place) =
                    arguments.iter().position(|argument| argument == "--policy-sha256")
                {
                    arguments[place + 1] = hex.as_str().into();
                }
            }
        }
    }

    /// Returns whether every container's requests equal its limits, so that the node evicts this
    /// pod last.
    pub(crate) fn guaranteed(&self) -> bool {
        self.init_containers().iter().chain(self.containers()).all(|container| {
            let resources = &container["resources"];
            ["cpu", "memory"].into_iter().all(|resource| {
                let (limit, request) =
                    (&resources["limits"][resource], &resources["requests"][resource]);
                !limit.is_null() && (request.is_null() || request == limit)
            })
        })
    }
}

impl Pod<'_> {
    /// Returns the sandbox as `crictl runp` reads it.
    pub(crate) fn sandbox(&self) -> Value {
        json!({
            "metadata": {"name": self.set.name, "namespace": self.set.namespace, "uid": self.uid()},
            // runc refuses a hostname if the pod shares the node's.
            "hostname": if self.set.pod["hostNetwork"] == true { "" } else { &self.set.name },
            "log_directory": self.logs(),
            "linux": {
                "cgroup_parent": format!("/{}/{}", self.node.name(), self.uid()),
                "security_context": {"namespace_options": self.namespaces(), "seccomp": {"profile_type": 0}},
            },
        })
    }

    /// Returns a container as `crictl create` reads it.
    pub(crate) fn container(&self, container: &Value, image: &KnownImage) -> Value {
        only(container, &CONTAINER_FIELDS);
        let name = string(&container["name"]);
        fs::create_dir_all(self.logs().join(&name)).expect("can create the log directory");
        let environment = self.environment(container);
        let words = |field: &str| -> Vec<String> {
            let words = container[field].as_array().into_iter().flatten();
            words.map(|word| expand(&string(word), &environment)).collect()
        };
        json!({
            "metadata": {"name": name},
            "image": {"image": image.id, "user_specified_image": container["image"]},
            "command": words("command"),
            "args": words("args"),
            "working_dir": container["workingDir"].as_str().unwrap_or_default(),
            "envs": environment.iter().map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>(),
            "mounts": self.mounts(container),
            "log_path": format!("{name}/0.log"),
            "linux": {
                "resources": resources(container, self.set.guaranteed()),
                "security_context": self.security(container, image),
            },
        })
    }

    fn uid(&self) -> String {
        self.directory
            .file_name()
            .expect("the directory is named for the pod")
            .to_string_lossy()
            .into_owned()
    }

    fn logs(&self) -> PathBuf {
        self.node.directory().join("logs").join(self.uid())
    }

    fn termination_file(&self, container: &Value) -> PathBuf {
        self.directory.join("containers").join(string(&container["name"])).join("termination")
    }

    fn namespaces(&self) -> Value {
        let of_node =
            |field: &str, otherwise: i32| if self.set.pod[field] == true { 2 } else { otherwise };
        // 0 is the pod's, 1 the container's, 2 the node's.
        json!({"network": of_node("hostNetwork", 0), "pid": of_node("hostPID", 1), "ipc": 0})
    }

    fn mounts(&self, container: &Value) -> Vec<Value> {
        let requested = container["volumeMounts"].as_array().into_iter().flatten().map(|mount| {
            only(mount, &["name", "mountPath", "readOnly", "subPath"]);
            let name = string(&mount["name"]);
            let volume =
                self.volumes.get(&name).unwrap_or_else(|| panic!("no volume is named `{name}`"));
            let path = mount["subPath"]
                .as_str()
                .map_or_else(|| volume.path.clone(), |below| volume.path.join(below));
            let readonly = volume.readonly || mount["readOnly"] == true;
            json!({"host_path": path, "container_path": mount["mountPath"], "readonly": readonly})
        });
        let termination = self.termination_file(container);
        let outside = self.node.node(&termination);
        fs::create_dir_all(outside.parent().expect("below the pod"))
            .expect("can create a directory");
        fs::write(&outside, "").expect("can create the termination message");
        fs::set_permissions(&outside, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .expect("can change a mode");
        let path = container["terminationMessagePath"].as_str().unwrap_or("/dev/termination-log");
        let own = json!({"host_path": termination, "container_path": path, "readonly": false});
        requested.chain([own]).collect()
    }

    fn environment(&self, container: &Value) -> BTreeMap<String, String> {
        let variables = container["env"].as_array().into_iter().flatten();
        let value = |variable: &Value| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str()
        {
            Some("spec.nodeName") => "node".to_owned(),
            Some("metadata.name") => self.set.name.clone(),
            Some("metadata.namespace") => self.set.namespace.clone(),
            Some("metadata.uid") => self.uid(),
            Some(other) => panic!("this test knows no field `{other}`"),
            None => string(&variable["value"]),
        };
        variables.map(|variable| (string(&variable["name"]), value(variable))).collect()
    }

    fn security(&self, container: &Value, image: &KnownImage) -> Value {
        let (own, shared) = (&container["securityContext"], &self.set.pod["securityContext"]);
        only(
            own,
            &[
                "allowPrivilegeEscalation",
                "capabilities",
                "privileged",
                "readOnlyRootFilesystem",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seLinuxOptions",
                "seccompProfile",
            ],
        );
        only(shared, &["runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile"]);
        let setting = |field: &str| own.get(field).or_else(|| shared.get(field));
        let number = |value: &Value| {
            value.as_i64().unwrap_or_else(|| panic!("a user is a whole number, not {value}"))
        };
        // Without `runAsUser` a kubelet uses the image's user and ignores its group.
        let user = setting("runAsUser")
            .map(number)
            .or(image.user)
            .expect("the image names its user by number");
        assert!(
            user != 0 || setting("runAsNonRoot").is_none_or(|value| value == false),
            "container has runAsNonRoot and image will run as root"
        );
        let seccomp = match setting("seccompProfile").and_then(|profile| profile["type"].as_str()) {
            Some("RuntimeDefault") => 0,
            Some("Unconfined") | None => 1,
            Some(other) => panic!("this test knows no seccomp profile of type `{other}`"),
        };
        let mut security = json!({
            "namespace_options": self.namespaces(),
            "run_as_user": {"value": user},
            "privileged": own["privileged"] == true,
            "readonly_rootfs": own["readOnlyRootFilesystem"] == true,
            "no_new_privs": own["allowPrivilegeEscalation"] == false,
            "capabilities": {
                "add_capabilities": own["capabilities"]["add"],
                "drop_capabilities": own["capabilities"]["drop"],
            },
            "seccomp": {"profile_type": seccomp},
            "masked_paths": MASKED,
            "readonly_paths": READONLY,
        });
        if let Some(label) = own.get("seLinuxOptions") {
            only(label, &["level", "role", "type", "user"]);
            security["selinux_options"] = label.clone();
        }
        if let Some(group) = setting("runAsGroup") {
            security["run_as_group"] = json!({"value": group});
        }
        security
    }
}

/// Panics if there is a field that the list lacks.
pub(crate) fn only(value: &Value, known: &[&str]) {
    let unknown =
        value.as_object().into_iter().flatten().find(|(field, _)| !known.contains(&field.as_str()));
    assert!(unknown.is_none(), "this test does not know {unknown:?}");
}

/// Returns the text, or reports what was found instead.
pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}")).to_owned()
}

/// Returns CPU and memory as a kubelet computes them.
fn resources(container: &Value, guaranteed: bool) -> Value {
    let quantity = |kind: &str, resource: &str| match &container["resources"][kind][resource] {
        Value::Null => None,
        Value::Number(number) => Some(number.to_string()),
        other => Some(string(other)),
    };
    let cpu = quantity("limits", "cpu").as_deref().map(milli);
    let request = quantity("requests", "cpu").as_deref().map(milli).or(cpu).unwrap_or(0);
    json!({
        "cpu_period": 100_000,
        "cpu_quota": cpu.map_or(0, |milli| (milli * 100).max(1000)),
        "cpu_shares": (request * 1024 / 1000).max(2),
        "memory_limit_in_bytes": quantity("limits", "memory").as_deref().map_or(0, bytes),
        "oom_score_adj": if guaranteed { -997 } else { 999 },
    })
}

fn milli(quantity: &str) -> u64 {
    let number = |text: &str| {
        text.parse::<u64>()
            .unwrap_or_else(|_| panic!("this test cannot read the quantity `{quantity}`"))
    };
    quantity.strip_suffix('m').map_or_else(|| number(quantity) * 1000, number)
}

fn bytes(quantity: &str) -> u64 {
    let (number, unit) = quantity
        .split_at(quantity.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(quantity.len()));
    let factor = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => panic!("this test cannot read the quantity `{quantity}`"),
    };
    number
        .parse::<u64>()
        .unwrap_or_else(|_| panic!("this test cannot read the quantity `{quantity}`"))
        * factor
}

/// Replaces `$(NAME)` as a kubelet does in commands and arguments; `$$` is a `$`.
fn expand(word: &str, environment: &BTreeMap<String, String>) -> String {
    let replace = |word: &str| {
        environment
            .iter()
            .fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
    };
    word.split("$$").map(replace).collect::<Vec<_>>().join("$")
}

#[test]
fn reads_quantities_as_kubernetes_writes_them() {
    for (text, expected) in
        [("0", 0), ("128", 128), ("32Mi", 33_554_432), ("1Gi", 1_073_741_824), ("5M", 5_000_000)]
    {
        assert_eq!(bytes(text), expected, "{text}");
    }
    for (text, expected) in [("2", 2000), ("100m", 100)] {
        assert_eq!(milli(text), expected, "{text}");
    }
}

#[test]
fn replaces_variables_as_a_kubelet_does() {
    let environment = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
    for (text, expected) in [("$(A)-$(B)", "x-$(B)"), ("$$(A) $$", "$(A) $")] {
        assert_eq!(expand(text, &environment), expected, "{text}");
    }
}

#[test]
#[should_panic(expected = "this test does not know Some((\"hostUsers\"")]
fn refuses_a_pod_with_a_setting_it_would_lose() {
    let yaml = "kind: DaemonSet\nmetadata: {name: a, namespace: b}\nspec: {template: {spec: {hostUsers: false}}}\n";
    parse(yaml);
}
