//! Breaks a plugin in every known way, lets a real libcni report it, and has the report explained.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::namespace::{self, Namespace};
use crate::{peers, support};

const PLUGINS: [&str; 4] = ["macvlan", "static", "ipvlan", "host-device"];
/// Debian's plugins are linked to libc and support CNI 1.0.0.
const DEBIAN: &str = "/usr/lib/cni/macvlan";

/// What is broken, and the expected explanation.
struct Row {
    /// Shell commands that break it.
    breaks: &'static str,
    verb: &'static str,
    /// The expected error of libcni, without its context.
    says: &'static str,
    cause: &'static str,
    plugin: Option<&'static str>,
    called_by: Option<&'static str>,
}

const fn row(
    breaks: &'static str,
    says: &'static str,
    cause: &'static str,
    plugin: &'static str,
    called_by: Option<&'static str>,
) -> Row {
    Row { breaks, verb: "add", says, cause, plugin: Some(plugin), called_by }
}

const NOT_FOUND: &str = r#"failed to find plugin "macvlan" in path [/opt/cni/bin]"#;
const DENIED: &str = "fork/exec /opt/cni/bin/macvlan: permission denied";
const FORMAT: &str = "fork/exec /opt/cni/bin/macvlan: exec format error";
const NO_FILE: &str = "fork/exec /opt/cni/bin/macvlan: no such file or directory";
const SILENT: &str = "failed to unmarshal raw result: unexpected end of JSON input";
const CRASHED: &str = "netplugin failed with no error message: signal: segmentation fault";
const BUSY: &str = "netplugin failed with no error message: exec: already started";

const ROWS: &[Row] = &[
    row("rm macvlan", NOT_FOUND, "plugin-absent", "macvlan", None),
    row("ln -sf /nowhere/macvlan macvlan", NOT_FOUND, "link-dangling", "macvlan", None),
    row("rm macvlan; mkdir macvlan", NOT_FOUND, "plugin-is-directory", "macvlan", None),
    row("rm macvlan; mkfifo macvlan", NOT_FOUND, "plugin-not-a-file", "macvlan", None),
    row("ln -sf /opt/cni macvlan", NOT_FOUND, "plugin-not-a-file", "macvlan", None),
    Row { verb: "del", ..row("rm macvlan", NOT_FOUND, "plugin-absent", "macvlan", None) },
    Row {
        verb: "check",
        ..row(
            "cnitool add net /run/netns/row; rm macvlan",
            NOT_FOUND,
            "plugin-absent",
            "macvlan",
            None,
        )
    },
    row("chmod 0644 macvlan", DENIED, "not-executable", "macvlan", None),
    row(
        "mount -t tmpfs -o noexec tmpfs /opt/cni/bin; copy",
        DENIED,
        "mount-noexec",
        "macvlan",
        None,
    ),
    row(": > macvlan", FORMAT, "plugin-empty", "macvlan", None),
    // e_machine: AArch64 on amd64, and an unassigned one.
    row(
        r"printf '\267' | dd of=macvlan bs=1 seek=18 conv=notrunc",
        FORMAT,
        "wrong-machine",
        "macvlan",
        None,
    ),
    row(
        r"printf '\376\376' | dd of=macvlan bs=1 seek=18 conv=notrunc",
        FORMAT,
        "wrong-machine",
        "macvlan",
        None,
    ),
    row("echo hello > macvlan", FORMAT, "not-a-program", "macvlan", None),
    row("truncate -s 4 macvlan", FORMAT, "plugin-truncated", "macvlan", None),
    row("truncate -s 1000 macvlan", CRASHED, "plugin-truncated", "macvlan", None),
    row("truncate -s 1800000 macvlan", CRASHED, "plugin-truncated", "macvlan", None),
    row(r"printf '#!/nowhere/sh\n' > macvlan", NO_FILE, "interpreter-missing", "macvlan", None),
    row(r"printf '#!/bin/sh\nexit 0\n' > macvlan", SILENT, "not-a-plugin", "macvlan", None),
    row("exec 9>>macvlan", BUSY, "still-being-written", "macvlan", None),
    row(
        "rm static",
        r#"failed to find plugin "static" in path [/opt/cni/bin]"#,
        "plugin-absent",
        "static",
        Some("macvlan"),
    ),
    row(
        "chmod 0644 static",
        "fork/exec /opt/cni/bin/static: permission denied",
        "not-executable",
        "static",
        Some("macvlan"),
    ),
    row(
        ": > static",
        "fork/exec /opt/cni/bin/static: exec format error",
        "plugin-empty",
        "static",
        Some("macvlan"),
    ),
    row("truncate -s 10000 static", CRASHED, "plugin-truncated", "static", Some("macvlan")),
    row(
        r"printf '#!/bin/sh\nexit 0\n' > static",
        SILENT,
        "not-a-plugin",
        "static",
        Some("macvlan"),
    ),
    row(
        "edit s/1.0.0/9.1.0/",
        r#"incompatible CNI versions; config is "9.1.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#,
        "incompatible-versions",
        "macvlan",
        None,
    ),
    row("edit s/uplink/eth9/", "Link not found", "link-not-found", "macvlan", None),
    row(
        "edit 's/\"type\":\"macvlan\"/\"type\":\"host-device\",\"device\":\"eth9\"/'",
        "failed to find host device: Link not found",
        "link-not-found",
        "host-device",
        None,
    ),
    row(
        "edit 's/\"macvlan\"/\"..\\/macvlan\"/'",
        "invalid plugin name: ../macvlan",
        "plugin-name-invalid",
        "../macvlan",
        None,
    ),
    Row {
        plugin: None,
        ..row(
            "rm /etc/cni/net.d/*",
            "no net configurations found in /etc/cni/net.d",
            "no-configuration",
            "",
            None,
        )
    },
];

/// If the kernel has no ipvlan.
const NO_DRIVER: Row = row(
    "edit 's/\"macvlan\"/\"ipvlan\"/; s/\"bridge\"/\"l2\"/'",
    "failed to create ipvlan: operation not supported",
    "driver-missing",
    "ipvlan",
    None,
);

/// With Debian's plugin, which is older and linked to libc.
const OF_DEBIAN: [Row; 3] = [
    row(
        "sed 's#/lib64/ld-linux-x86-64.so.2#/lib64/ld-linux-x86-64.so.X#' /usr/lib/cni/macvlan > macvlan",
        NO_FILE,
        "interpreter-missing",
        "macvlan",
        None,
    ),
    row(
        "cp /usr/lib/cni/macvlan macvlan; edit s/1.0.0/1.1.0/",
        r#"incompatible CNI versions; config is "1.1.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0"]"#,
        "incompatible-versions",
        "macvlan",
        None,
    ),
    // The older one is the IPAM plugin, and the text does not say so.
    row(
        "cp /usr/lib/cni/static static; edit s/1.0.0/1.1.0/",
        r#"plugin type="macvlan" failed (add): incompatible CNI versions; config is "1.1.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0"]"#,
        "incompatible-versions",
        "macvlan",
        None,
    ),
];

/// A new node for each row: what one row leaves behind would cause the error of the next.
const SCRIPT: &str = r#"
copy() { for name in $PLUGINS; do cp "$FROM/$name" /opt/cni/bin/; done; }
edit() { sed -i "$1" /etc/cni/net.d/net.conflist; }
export CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d
umount /opt/cni/bin 2> /dev/null
rm -rf /opt/cni/bin /etc/cni/net.d /var/lib/cni/results
mkdir -p /opt/cni/bin /etc/cni/net.d
cd /opt/cni/bin
copy
cat > /etc/cni/net.d/net.conflist
ip netns add row
{ eval "$BREAKS"; } > /dev/null 2>&1
cnitool "$VERB" net /run/netns/row 2>&1
code=$?
ip netns del row
exit $code
"#;

const NETWORK: &str = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"macvlan","master":"uplink","mode":"bridge",
"ipam":{"type":"static","addresses":[{"address":"10.99.0.2/24"}]}}]}"#;

#[test]
fn every_way_to_break_a_plugin_is_named_from_the_text_of_a_real_runtime() {
    let plugins: Vec<_> = PLUGINS.iter().map(|name| format!("cni/{name}")).collect();
    let plugins: Vec<_> = plugins.iter().map(String::as_str).collect();
    if !peers::present(&[&plugins[..], &["cnitool"], &Namespace::PEERS[..]].concat()) {
        return;
    }
    let node = Namespace::start(namespace::directory(), "");
    let good = Row { breaks: ":", ..row("", "", "", "", None) };
    assert!(run(&node, &good).status.success(), "nothing is broken");
    for row in ROWS {
        check(&node, row, &run(&node, row));
    }
    let output = run(&node, &NO_DRIVER);
    if output.status.success() {
        support::say_skipped("this kernel has ipvlan");
    } else {
        check(&node, &NO_DRIVER, &output);
    }
    if cfg!(target_arch = "x86_64") && Path::new(DEBIAN).exists() {
        for row in &OF_DEBIAN {
            check(&node, row, &run(&node, row));
        }
    } else {
        support::say_skipped("Debian's plugins are not installed");
    }
    assert_eq!(node.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
}

/// Breaks the node and adds the pod to its network.
fn run(node: &Namespace, row: &Row) -> Output {
    let mut command = node.command("sh");
    let from = peers::find("cni/macvlan").expect("it was there above");
    command
        .args(["-uc", SCRIPT])
        .env("BREAKS", row.breaks)
        .env("VERB", row.verb)
        .env("PLUGINS", PLUGINS.join(" "));
    command.env("FROM", from.parent().expect("a directory"));
    feed(&mut command, NETWORK.as_bytes())
}

/// Has the text explained on the node, while it is broken.
fn check(node: &Namespace, row: &Row, said: &Output) {
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(!said.status.success() && text.contains(row.says), "{}: {text}", row.breaks);
    let cause = only_cause(node, &text);
    let found = (cause["cause"].as_str(), cause["plugin"].as_str(), cause["calledBy"].as_str());
    assert_eq!(
        found,
        (Some(row.cause), row.plugin, row.called_by),
        "{}: {text}\n{cause}",
        row.breaks
    );
    assert_ne!(cause["actions"], Value::Array(Vec::new()), "{}: {cause}", row.breaks);
    // Once from cobra, and once from `main`.
    assert_eq!(cause["times"], 2, "{text}");
    assert_eq!(cause["effect"].is_string(), row.verb == "del", "{cause}");
}

/// Has a text explained on a node, and returns the only cause.
pub(crate) fn only_cause(node: &Namespace, text: &str) -> Value {
    let mut command = node.command(env!("CARGO_BIN_EXE_cnister"));
    let output = feed(command.args(["--format", "json", "explain"]), text.as_bytes());
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(output.status.code(), Some(0), "{text}\n{report}");
    let [cause] = report["causes"].as_array().expect("a list").as_slice() else {
        panic!("not one cause of {text}: {report}");
    };
    cause.clone()
}

fn feed(command: &mut std::process::Command, input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("can run nsenter");
    child
        .stdin
        .take()
        .expect("stdin was piped above")
        .write_all(input)
        .expect("it reads its input");
    child.wait_with_output().expect("can wait for it")
}
