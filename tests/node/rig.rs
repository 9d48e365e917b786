//! A node without a kubelet: a private containerd, with `crictl` making the requests of a kubelet.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::image::Image;
use crate::namespace::{self, Namespace, eventually, write_plugin};
use crate::{netns, peers};

const LIMIT: Duration = Duration::from_secs(30);

const SERVICES: &str = r#"
containerd --config "$DIR/containerd.toml" >>"$DIR/containerd.log" 2>&1 &
"#;

/// Version 2 of the format is the one that containerd 1.6 and 2.x both read.
const CONFIGURATION: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]

[debug]
  level = "warn"

[grpc]
  address = "DIRECTORY/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # A machine that withholds CAP_SYS_RESOURCE lets no process lower the score, and runc dies trying.
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#;

pub(crate) struct Rig {
    namespace: Namespace,
    attempts: Cell<u32>,
}

/// A pod sandbox, by the ID that the runtime gave it.
#[derive(Debug)]
pub(crate) struct Sandbox(String);

/// An image in the runtime.
pub(crate) struct KnownImage {
    pub(crate) id: String,
    /// The image's user, as a number.
    pub(crate) user: Option<i64>,
}

/// How a container ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) code: i64,
    pub(crate) reason: String,
    pub(crate) log: String,
}

impl Rig {
    /// Returns whether this machine has what a node needs.
    pub(crate) fn possible() -> bool {
        let own = [
            "containerd",
            "runc",
            "ctr",
            "crictl",
            "busybox",
            "cni/loopback",
            "cni/static",
            "cni/macvlan",
            "cni/bridge",
        ];
        peers::present(&[&own[..], &Namespace::PEERS, &Image::PEERS].concat())
    }

    /// Starts a node whose pods need an interface of type `macvlan`, a plugin that it does not
    /// have.
    pub(crate) fn start() -> Self {
        let directory = namespace::directory();
        let root = directory.path();
        let configuration = CONFIGURATION.replace("DIRECTORY", &root.display().to_string());
        fs::write(root.join("containerd.toml"), configuration)
            .expect("can write the configuration of containerd");
        // Without a configuration file, crictl looks for others and warns about it among the lines
        // of a container's log.
        let endpoint = format!("unix://{}/containerd.sock", root.display());
        let client =
            json!({"runtime-endpoint": endpoint, "image-endpoint": endpoint, "timeout": 30});
        fs::write(root.join("crictl.yaml"), client.to_string())
            .expect("can write the configuration of crictl");
        let bin = root.join("node/opt/cni/bin");
        let networks = root.join("node/etc/cni/net.d");
        fs::create_dir_all(&bin).expect("can create the plugin directory");
        fs::create_dir_all(&networks).expect("can create the network directory");
        // containerd 1.6 runs `loopback` for every pod; 2.x does not need it.
        for plugin in ["loopback", "static"] {
            write_plugin(&bin.join(plugin), &peers::plugin(plugin), 0o755);
        }
        let network = json!({
            "cniVersion": "0.4.0", // the newest that the plugins of Debian 12 and containerd 1.6 both know
            "name": "uplink",
            "plugins": [{
                "type": "macvlan", "master": "uplink", "mode": "bridge",
                "ipam": {"type": "static", "addresses": [{"address": "10.99.0.2/24"}]},
            }],
        });
        fs::write(networks.join("10-uplink.conflist"), network.to_string())
            .expect("can write the network");
        let pause = Image {
            name: "localhost/pause:1",
            user: "65532:65532",
            entrypoint: &["/busybox", "sleep", "2147483647"],
            files: &[(
                "busybox",
                fs::read(peers::find("busybox").expect("a peer")).expect("can read busybox"),
            )],
        };
        let archive = pause.write(&root.join("pause"));

        let rig = Self { namespace: Namespace::start(directory, SERVICES), attempts: Cell::new(0) };
        eventually("containerd is ready", LIMIT, || {
            let answer = rig.crictl(&["info"]).output().expect("can run crictl");
            let status: Value = serde_json::from_slice(&answer.stdout).ok()?;
            // containerd 2 adds a condition that is false, because this configuration has the old
            // format.
            let conditions = status["status"]["conditions"].as_array()?;
            let holds = |kind| {
                conditions
                    .iter()
                    .any(|condition| condition["type"] == kind && condition["status"] == true)
            };
            ["RuntimeReady", "NetworkReady"].into_iter().all(holds).then_some(())
        });
        rig.import(&archive, "localhost/pause");
        rig
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Imports an OCI archive to the node as `repository:tag` and as `repository@digest`.
    pub(crate) fn import(&self, archive: &Path, repository: &str) {
        // containerd 1.6 unpacks the signatures in an archive as if they were images, and fails,
        // unless told not to unpack. The runtime unpacks an image when it is first used.
        let archive = archive.to_str().expect("a path of ours");
        self.ctr(&["import", "--no-unpack", "--base-name", repository, archive]);
        // `import --digests` would give the digest of `index.json` in containerd 2, and that of the
        // image in 1.6.
        let list = self.ctr(&["list"]);
        let lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let tagged: Vec<_> = lines
            .filter(|words| words.len() > 2 && words[0].starts_with(&format!("{repository}:")))
            .map(|words| (words[0], format!("{repository}@{}", words[2])))
            .collect();
        assert!(!tagged.is_empty(), "`{archive}` names no image with a tag");
        for (name, by_digest) in &tagged {
            self.ctr(&["tag", "--force", name, by_digest]);
        }
        // The CRI plugin of containerd sees new names a moment later.
        let (name, by_digest) = &tagged[0];
        eventually(&format!("the runtime knows `{name}`"), LIMIT, || {
            self.images()
                .iter()
                .any(|image| names(image).any(|known| known == by_digest))
                .then_some(())
        });
    }

    /// Finds an image by a name that a kubelet uses: `repository:tag`, `repository@digest` or both.
    pub(crate) fn image(&self, reference: &str) -> KnownImage {
        let wanted = match reference.split_once('@') {
            Some((name, digest)) => format!("{}@{digest}", repository(name)),
            None => reference.to_owned(),
        };
        let images = self.images();
        let known: Vec<_> = images.iter().flat_map(names).collect();
        let Some(image) = images.iter().find(|image| names(image).any(|name| name == wanted))
        else {
            panic!("the node has no image `{wanted}`, only {known:?}");
        };
        let user = image["uid"]["value"].as_str().and_then(|user| user.parse().ok());
        KnownImage { id: image["id"].as_str().expect("every image has an id").to_owned(), user }
    }

    /// Returns the configuration of an ordinary pod on the node's own network.
    pub(crate) fn pod(&self, name: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "demo", "uid": name},
            "linux": {
                "cgroup_parent": format!("/{}/{name}", self.namespace.name()),
                "security_context": {"namespace_options": {"network": 0, "pid": 1}},
            },
        })
    }

    /// Starts a pod sandbox, or returns the runtime's error: what `kubectl describe pod` shows.
    pub(crate) fn run(&self, pod: &Value) -> Result<Sandbox, String> {
        let mut pod = pod.clone();
        // A failed sandbox keeps its name until it is removed, so a kubelet numbers them.
        self.attempts.set(self.attempts.get() + 1);
        pod["metadata"]["attempt"] = self.attempts.get().into();
        let id = text(
            self.crictl(&["runp", &self.file("sandbox", &pod)]).output().expect("can run crictl"),
        )?;
        Ok(Sandbox(id.trim().to_owned()))
    }

    /// Runs a container of a sandbox until it ends.
    pub(crate) fn run_to_end(&self, sandbox: &Sandbox, pod: &Value, container: &Value) -> Ended {
        let id = self.launch(sandbox, pod, container);
        let status =
            eventually(&format!("container {} ends", container["metadata"]["name"]), LIMIT, || {
                let status = self.inspect("inspect", &id)["status"].take();
                (status["state"] == "CONTAINER_EXITED").then_some(status)
            });
        Ended {
            log: self.container_log(&id),
            code: status["exitCode"].as_i64().expect("an exit code"),
            reason: status["reason"].as_str().unwrap_or_default().to_owned(),
            id,
        }
    }

    /// Starts a container of a sandbox and returns its ID.
    pub(crate) fn launch(&self, sandbox: &Sandbox, pod: &Value, container: &Value) -> String {
        let (pod, container) = (self.file("sandbox", pod), self.file("container", container));
        let create = self
            .crictl(&["create", "--no-pull", &sandbox.0, &container, &pod])
            .output()
            .expect("can run crictl");
        let id =
            text(create).unwrap_or_else(|error| panic!("crictl create: {error}")).trim().to_owned();
        let start = self.crictl(&["start", &id]).output().expect("can run crictl");
        text(start).unwrap_or_else(|error| panic!("crictl start: {error}"));
        id
    }

    /// Returns the process ID of a container in its own namespace.
    pub(crate) fn innermost_process(&self, id: &str) -> String {
        let process = self.inspect("inspect", id)["info"]["pid"].to_string();
        let status = self.namespace.command("cat").arg(format!("/proc/{process}/status")).output();
        let status = text(status.expect("can run cat")).expect("the process runs");
        let line =
            status.lines().find(|line| line.starts_with("NSpid:")).expect("Linux has it since 4.1");
        line.split_whitespace().last().expect("at least one number").to_owned()
    }

    /// Returns whether a command in a container succeeds, as in an exec probe of a kubelet.
    pub(crate) fn probe(&self, id: &str, command: &[String]) -> bool {
        let mut crictl = self.crictl(&["exec", "--sync", "--timeout", "10", id]);
        crictl.args(command).output().expect("can run crictl").status.success()
    }

    /// Sends SIGTERM to a container, SIGKILL a second later, and returns the exit code.
    pub(crate) fn stop_within_a_second(&self, id: &str) -> i64 {
        text(self.crictl(&["stop", "--timeout", "1", id]).output().expect("can run crictl"))
            .unwrap_or_else(|error| panic!("crictl stop: {error}"));
        self.inspect("inspect", id)["status"]["exitCode"].as_i64().expect("an exit code")
    }

    /// Returns the output of `crictl inspect` or `inspectp` for a container or sandbox.
    pub(crate) fn inspect(&self, verb: &str, id: &str) -> Value {
        let answer = self.crictl(&[verb, "--output", "json", id]).output().expect("can run crictl");
        serde_json::from_str(&text(answer).unwrap_or_else(|error| panic!("crictl {verb}: {error}")))
            .expect("crictl prints JSON")
    }

    /// Returns the output of a container, both streams.
    pub(crate) fn container_log(&self, id: &str) -> String {
        let Output { status, stdout, stderr } =
            self.crictl(&["logs", id]).output().expect("can run crictl");
        assert!(status.success(), "crictl logs: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    }

    /// Returns name, kind and address of the interfaces in a sandbox's network, without `lo`.
    pub(crate) fn interfaces(&self, sandbox: &Sandbox) -> Vec<String> {
        let description = self.inspect("inspectp", &sandbox.0);
        let namespaces = description["info"]["runtimeSpec"]["linux"]["namespaces"]
            .as_array()
            .expect("namespaces");
        let network = namespaces
            .iter()
            .find(|namespace| namespace["type"] == "network")
            .expect("a network of its own");
        netns::interfaces(&self.namespace, network["path"].as_str().expect("a path"))
    }

    /// Stops a sandbox, its containers and its network, or returns the runtime's error.
    pub(crate) fn remove(&self, sandbox: &Sandbox) -> Result<(), String> {
        text(self.crictl(&["stopp", &sandbox.0]).output().expect("can run crictl"))?;
        text(self.crictl(&["rmp", &sandbox.0]).output().expect("can run crictl")).map(drop)
    }

    /// Returns every sandbox of the runtime, including those that never ran.
    pub(crate) fn sandboxes(&self) -> Vec<Sandbox> {
        let list = text(self.crictl(&["pods", "--quiet"]).output().expect("can run crictl"))
            .expect("crictl lists sandboxes");
        list.lines().map(|id| Sandbox(id.to_owned())).collect()
    }

    /// Ends the node and returns what is left of it.
    pub(crate) fn stop(self) -> BTreeSet<String> {
        self.namespace.stop()
    }

    fn images(&self) -> Vec<Value> {
        let answer = self.crictl(&["images", "--output", "json"]).output().expect("can run crictl");
        let mut list: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        list["images"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    fn crictl(&self, arguments: &[&str]) -> Command {
        let mut command = client("crictl");
        command.arg("--config").arg(self.namespace.directory().join("crictl.yaml")).args(arguments);
        command
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        let address = self.namespace.directory().join("containerd.sock");
        let mut command = client("ctr");
        command
            .arg("--address")
            .arg(address)
            .args(["--namespace", "k8s.io", "images"])
            .args(arguments);
        text(command.output().expect("can run ctr"))
            .unwrap_or_else(|error| panic!("ctr {arguments:?}: {error}"))
    }

    /// Runs an image as `ctr run` does, without a pod or a kubelet, and returns its output.
    pub(crate) fn run_image(&self, name: &str, arguments: &[&str]) -> String {
        let address = self.namespace.directory().join("containerd.sock");
        // On the node: `ctr` itself creates the pipes for the container's output.
        let mut command = self.namespace.command(peers::find("ctr").expect("looked for before"));
        command.arg("--address").arg(address).args([
            "--namespace",
            "k8s.io",
            "run",
            "--rm",
            "--net-host",
            name,
            "once",
        ]);
        text(command.args(arguments).output().expect("can run ctr"))
            .unwrap_or_else(|error| panic!("ctr run: {error}"))
    }

    fn file(&self, kind: &str, value: &Value) -> String {
        let path = self.namespace.directory().join(format!("{kind}.json"));
        fs::write(&path, value.to_string()).expect("can write a file for crictl");
        path.display().to_string()
    }
}

/// Returns a client of containerd; its socket is a path, so clients run outside the node.
fn client(program: &str) -> Command {
    let mut command = Command::new(peers::find(program).unwrap_or_else(|| program.into()));
    command.env("PATH", peers::search_path());
    command
}

/// Returns the output of a command, or its error.
pub(crate) fn text(output: Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // crictl logs the error twice, the last time as `time=… level=fatal msg="…"` with escaped
    // quotes.
    let message = String::from_utf8_lossy(&output.stderr);
    let last = message.trim().lines().last().unwrap_or("no reason given");
    let reason = last.split_once("level=fatal msg=\"").and_then(|(_, rest)| rest.strip_suffix('"'));
    Err(reason.map_or_else(|| last.to_owned(), |reason| reason.replace("\\\"", "\"")))
}

fn names(image: &Value) -> impl Iterator<Item = &str> {
    ["repoTags", "repoDigests"]
        .into_iter()
        .filter_map(|list| image[list].as_array())
        .flatten()
        .filter_map(Value::as_str)
}

/// Returns a name without its tag; a colon before the last slash belongs to a port.
fn repository(name: &str) -> &str {
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}
