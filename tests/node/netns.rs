//! A pod's network without a runtime: calls a plugin as libcni does, with the same search and error
//! messages.
//!
//! Follows `FindInPath`, `ExecPlugin` and `pluginErr` of libcni, which every runtime uses.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemonset::string;
use crate::namespace::{self, Namespace, write_plugin};
use crate::peers;
use crate::rig::text;

const BIN: &str = "/opt/cni/bin";
const NETWORK: &str = "/run/netns/pod";

pub(crate) struct PodNetwork {
    namespace: Namespace,
}

impl PodNetwork {
    /// Returns whether this machine has what a pod's network needs.
    pub(crate) fn possible() -> bool {
        peers::present(&[&["cni/static", "cni/macvlan"], &Namespace::PEERS[..]].concat())
    }

    /// Starts a node with one pod's network and the `static` plugin.
    pub(crate) fn start() -> Self {
        Self::start_in(namespace::directory())
    }

    /// The same in this directory.
    pub(crate) fn start_in(directory: TempDir) -> Self {
        let namespace = Namespace::start(directory, "ip netns add pod\n");
        let bin = namespace.node(BIN);
        fs::create_dir_all(&bin).expect("can create the plugin directory");
        write_plugin(&bin.join("static"), &peers::plugin("static"), 0o755);
        Self { namespace }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns the configuration of a macvlan on the node's uplink, as a runtime passes it to the
    /// plugin.
    pub(crate) fn macvlan() -> Value {
        json!({
            "cniVersion": "0.4.0", "name": "uplink", "type": "macvlan", "master": "uplink", "mode": "bridge",
            "ipam": {"type": "static", "addresses": [{"address": "10.99.0.2/24"}]},
        })
    }

    /// Adds the pod to a network and returns the plugin's result.
    pub(crate) fn add(&self, network: &Value) -> Result<Value, String> {
        let (printed, kind) = (self.call("ADD", network), string(&network["type"]));
        let result = printed.and_then(|text| match serde_json::from_str(&text) {
            Ok(result) => Ok(result),
            Err(_) if text.is_empty() => {
                Err("failed to unmarshal raw result: unexpected end of JSON input".to_owned())
            }
            Err(error) => Err(format!("failed to unmarshal raw result: {error}")),
        });
        result.map_err(|error| format!("plugin type=\"{kind}\" failed (add): {error}"))
    }

    /// Removes the pod from a network.
    pub(crate) fn delete(&self, network: &Value) -> Result<(), String> {
        let kind = string(&network["type"]);
        self.call("DEL", network)
            .map(drop)
            .map_err(|error| format!("plugin type=\"{kind}\" failed (delete): {error}"))
    }

    /// Adds the pod to a network and removes it again, without retrying for any reason.
    pub(crate) fn add_and_delete(&self, network: &Value) -> Result<(), String> {
        let path = format!("{BIN}/{}", string(&network["type"]));
        for verb in ["ADD", "DEL"] {
            let output = self.execute(&path, verb, network);
            if !output.status.success() {
                return Err(format!("{verb}: {}", reason(&path, &output)));
            }
        }
        Ok(())
    }

    /// Returns name, kind and address of the pod's interfaces, without `lo`.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        interfaces(&self.namespace, NETWORK)
    }

    /// Ends the node and returns what is left of it.
    pub(crate) fn stop(self) -> BTreeSet<String> {
        self.namespace.stop()
    }

    fn call(&self, verb: &str, network: &Value) -> Result<String, String> {
        let plugin = string(&network["type"]);
        let path = format!("{BIN}/{plugin}");
        // A regular file after following links; whether it is executable is not checked.
        if !self.namespace.node(&path).is_file() {
            return Err(format!("failed to find plugin \"{plugin}\" in path [{BIN}]"));
        }
        if !runs_here(&self.namespace.node(&path)) {
            return Err(format!(
                "netplugin failed with no error message: fork/exec {path}: exec format error"
            ));
        }
        // libcni retries six times, a second apart, while a process has the plugin open for
        // writing, and then treats it like a plugin that printed nothing. A test that starts a
        // process while another writes a plugin causes this.
        for _ in 0..6 {
            let output = self.execute(&path, verb, network);
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            match reason(&path, &output) {
                error if error.ends_with("text file busy") => {
                    thread::sleep(Duration::from_millis(50))
                }
                error => return Err(error),
            }
        }
        Ok(String::new())
    }

    fn execute(&self, path: &str, verb: &str, network: &Value) -> Output {
        let mut command = self.namespace.command(path);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "pod")
            .env("CNI_NETNS", NETWORK)
            .env("CNI_IFNAME", "net1");
        command
            .env("CNI_PATH", BIN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("can run nsenter");
        // A program that is not a plugin may end without reading this.
        let _ = child
            .stdin
            .take()
            .expect("stdin was piped above")
            .write_all(network.to_string().as_bytes());
        child.wait_with_output().expect("can wait for the plugin")
    }
}

/// Returns `name kind address` of the interfaces in a network namespace, without `lo`.
pub(crate) fn interfaces(node: &Namespace, network: &str) -> Vec<String> {
    let mut command = node.command("nsenter");
    command.arg(format!("--net={network}")).args(["ip", "-details", "-json", "address", "show"]);
    let links: Value = serde_json::from_str(
        &text(command.output().expect("can run nsenter")).expect("ip lists addresses"),
    )
    .expect("ip prints JSON");
    let field = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let links =
        links.as_array().expect("a list").iter().filter(|link| link["link_type"] != "loopback");
    // A machine may create an `ifb0` or `sit0` in every new namespace; only links that are up
    // count.
    let links = links
        .filter(|link| link["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP"))));
    links
        .map(|link| {
            let kind = &link["linkinfo"]["info_kind"];
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            let address = addresses
                .filter(|address| address["family"] == "inet")
                .map(|address| field(&address["local"]));
            [field(&link["ifname"]), field(kind)]
                .into_iter()
                .chain(address)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Returns whether the kernel could execute an executable file: a script, or a program for this
/// architecture.
///
/// A runtime learns that from `execve`. `nsenter` cannot tell: it passes to a shell what the kernel
/// refuses.
fn runs_here(path: &Path) -> bool {
    let Ok(content) = fs::read(path) else { return true };
    let own = fs::read("/proc/self/exe").expect("a process can read itself");
    let may_execute =
        path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
    let same = |range: Range<usize>| {
        content.get(range.clone()).is_some_and(|bytes| Some(bytes) == own.get(range))
    };
    // Magic and class, then the machine.
    !may_execute || content.starts_with(b"#!") || same(0..5) && same(18..20)
}

/// Returns libcni's text for a plugin that failed.
fn reason(path: &str, output: &Output) -> String {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ended = match (output.status.signal(), output.status.code()) {
        (Some(11), _) => "signal: segmentation fault".to_owned(),
        (Some(signal), _) => format!("signal: {signal}"),
        (None, code) => format!("exit status {}", code.unwrap_or_default()),
    };
    // `nsenter` reports here what a runtime itself would report as a failed `execve`.
    let refused = stderr
        .strip_prefix("nsenter: failed to execute ")
        .and_then(|rest| rest.trim().rsplit_once(": "));
    if let Some((_, error)) = refused {
        return format!(
            "netplugin failed with no error message: fork/exec {path}: {}",
            error.to_lowercase()
        );
    }
    if stdout.is_empty() && stderr.is_empty() {
        return format!("netplugin failed with no error message: {ended}");
    }
    if stdout.is_empty() {
        return format!("netplugin failed: {stderr:?}: {ended}");
    }
    let Ok(error) = serde_json::from_str::<Value>(&stdout) else {
        return format!("netplugin failed but error parsing its diagnostic message {stdout:?}");
    };
    let message = error["msg"].as_str().unwrap_or_default();
    match error["details"].as_str() {
        None | Some("") => message.to_owned(),
        Some(details) => format!("{message}; {details}"),
    }
}
