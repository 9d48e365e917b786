//! The unit under systemd's own tools, and booted by the systemd of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::support::{peer, say_skipped};
use super::{ENABLE, Node, UNIT, is_root};

/// A systemd tool that works on this machine.
fn systemd(name: &str) -> Option<PathBuf> {
    let path = peer(name)?;
    Command::new(&path)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
        .then_some(path)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let (Some(node), Some(analyze)) = (Node::enabled(), systemd("systemd-analyze")) else { return };
    // The machine's targets, and services to be ordered before.
    let units = "root/usr/lib/systemd/system";
    let targets = ["/usr/lib/systemd/system", "/lib/systemd/system"]
        .into_iter()
        .find(|path| fs::read_dir(path).is_ok());
    for entry in fs::read_dir(targets.unwrap()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if [".target", ".mount", ".slice", ".socket"].iter().any(|kind| name.ends_with(kind))
            && entry.path().is_file()
        {
            node.scene.write(&format!("{units}/{name}"), fs::read(entry.path()).unwrap());
        }
    }
    for name in ["containerd", "kubelet"] {
        let text = "[Service]\nExecStart=/usr/local/libexec/cnister\n[Install]\nWantedBy=multi-user.target\n";
        node.scene.write(&format!("{units}/{name}.service"), text);
    }
    let verify = |name: &str| {
        let mut command = node.scene.command(&analyze);
        command
            .args(["verify", "--root"])
            .arg(node.scene.at("root"))
            .arg("--man=no")
            .arg("--recursive-errors=one");
        node.scene.run_command(command.arg(name))
    };
    for more in ["", " --hold-runtime"] {
        node.run_ok(&format!("{ENABLE}{more}"));
        let run = verify("cnister-verify.service");
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
    }
    // The twin: a directive unknown to systemd is reported.
    let unit = node.unit();
    fs::write(node.scene.at(UNIT), unit.replace("ProtectHome=yes", "ProtectHomes=yes")).unwrap();
    let run = verify("cnister-verify.service");
    assert!(run.stderr.contains("ProtectHomes"), "{run:?}");
    fs::write(node.scene.at(UNIT), unit).unwrap();

    // 0 is a service without any access, 10 one with full access; the threshold is in tenths.
    let score = |threshold: &str| {
        let mut command = node.scene.command(&analyze);
        command.args(["security", "--offline=true", "--no-pager", "--threshold", threshold]);
        node.scene.run_command(command.arg(node.scene.at(UNIT)))
    };
    let run = score("8");
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("Overall exposure level for cnister-verify.service: "),
        "{}",
        run.stdout
    );
    eprintln!("{}", run.stdout.lines().last().unwrap_or_default());
    assert_ne!(score("1").code, 0, "the threshold decides");
}

#[test]
fn systemctl_sees_it_enabled_and_disables_it_as_well() {
    let (Some(node), Some(systemctl)) = (Node::new(), systemd("systemctl")) else { return };
    let systemctl = |verb: &str| {
        let mut command = node.scene.command(&systemctl);
        command.arg("--root").arg(node.scene.at("root")).args([verb, "cnister-verify.service"]);
        node.scene.run_command(&mut command)
    };
    let before = node.scene.tree("root");
    for more in ["", " --hold-runtime"] {
        node.run_ok(&format!("{ENABLE}{more}"));
        assert_eq!(systemctl("is-enabled").stdout, "enabled\n");
        let links = |node: &Node| -> BTreeSet<String> {
            let tree = node.scene.tree("root/etc/systemd/system");
            tree.into_keys().filter(|name| name.contains('/')).collect()
        };
        // The links made from the section [Install] are the same.
        let ours = links(&node);
        assert_eq!(systemctl("disable").code, 0);
        assert_eq!(systemctl("is-enabled").stdout, "disabled\n");
        assert_eq!(links(&node).len(), 0);
        assert_eq!(systemctl("enable").code, 0);
        assert_eq!(links(&node), ours);
        assert_eq!(
            node.run_ok(&format!("{ENABLE}{more}")).stdout,
            "already enabled; no file changed\n"
        );
        assert_eq!(node.run_ok("boot disable --root root").code, 0);
        let after = node.scene.tree("root");
        let left: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        assert_eq!(left, ["usr", "usr/local", "usr/local/libexec"]);
    }
}

/// Returns the system calls of a set and of the sets it includes.
fn calls_of(analyze: &PathBuf, set: &str, found: &mut BTreeSet<String>) {
    let output =
        Command::new(analyze).args(["syscall-filter", "--no-pager", set]).output().unwrap();
    for name in String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::trim) {
        if name.starts_with('@') {
            calls_of(analyze, name, found);
        } else if !name.starts_with('#') {
            found.insert(name.to_owned());
        }
    }
}

#[test]
fn the_check_makes_no_system_call_that_the_unit_refuses() {
    let (Some(node), Some(analyze), Some(strace)) =
        (Node::enabled(), systemd("systemd-analyze"), peer("strace"))
    else {
        return;
    };
    if !is_root() {
        return;
    }
    let mut allowed = BTreeSet::new();
    for line in node
        .unit()
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter=").map(str::to_owned))
    {
        let (refuse, words) =
            line.strip_prefix('~').map_or((false, line.as_str()), |words| (true, words));
        for word in words.split(' ') {
            let mut calls = BTreeSet::new();
            match word.starts_with('@') {
                true => calls_of(&analyze, word, &mut calls),
                false => drop(calls.insert(word.to_owned())),
            }
            match refuse {
                true => allowed.retain(|call| !calls.contains(call)),
                false => allowed.extend(calls),
            }
        }
    }
    assert!(
        allowed.contains("openat") && !allowed.contains("socket") && !allowed.contains("chown"),
        "{allowed:?}"
    );
    let command = node.command();
    // Altered, so that everything is inspected, and repaired.
    node.scene.write("root/opt/cni/bin/bridge", "altered");
    let run = node.boot(&["strace", "-f", "-qq", "-o", "trace"], &command);
    assert_eq!(run.code, 0, "{run:?}");
    assert_ne!(fs::read(node.scene.at("root/opt/cni/bin/bridge")).unwrap(), b"altered");
    drop(strace);
    let trace = fs::read_to_string(node.scene.at("trace")).unwrap();
    // Only what follows the start of the program; the trace before it is of chroot.
    let ours = trace.rsplit_once("execve(\"/usr/local/libexec/cnister\"").unwrap().1;
    let names = ours
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    let made: BTreeSet<_> = names
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(made.len() > 10, "{made:?}");
    let refused: Vec<_> = made.iter().filter(|name| !allowed.contains(**name)).collect();
    assert_eq!(refused, [""; 0].iter().collect::<Vec<_>>(), "of {made:?}");
}

/// Boots the machine's systemd on the node; returns what it reports about the unit afterwards, and
/// whether the kubelet was started.
fn boot_with_systemd(node: &Node) -> (String, bool) {
    let units = "root/etc/systemd/system";
    let unit = |name: &str, text: &str| drop(node.scene.write(&format!("{units}/{name}"), text));
    unit(
        "kubelet.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo started >/out/kubelet'\n",
    );
    unit("cnister-verify.service.d/out.conf", "[Service]\nStandardOutput=file:/out/answer\n");
    unit("test.target", "[Unit]\nWants=cnister-verify.service kubelet.service done.service\n");
    unit(
        "done.service",
        "[Unit]\nAfter=cnister-verify.service kubelet.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'systemctl show \
         cnister-verify.service -p ActiveState -p Result -p ExecMainStatus >/out/state'\n\
         ExecStartPost=/bin/systemctl --no-block exit 0\n",
    );
    drop(fs::remove_dir_all(node.scene.at("out")));
    fs::create_dir(node.scene.at("out")).unwrap();
    let mut command = node.scene.command("timeout");
    command.args([
        "--kill-after=5",
        "60",
        "bash",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/systemd.sh"),
    ]);
    let run = node.scene.run_command(command.arg(node.scene.at("root")).arg(node.scene.at("out")));
    let state =
        fs::read_to_string(node.scene.at("out/state")).unwrap_or_else(|_| panic!("{run:?}"));
    let answer = fs::read_to_string(node.scene.at("out/answer")).unwrap();
    assert!(
        answer.contains("test 1.0.0, rule `key`") && !answer.contains("not-confined"),
        "{answer}"
    );
    let mut state: Vec<_> = state.lines().collect();
    state.sort_unstable();
    (state.join(" "), node.scene.at("out/kubelet").exists())
}

#[test]
fn a_node_boots_with_the_unit_in_its_sandbox() {
    let (Some(node), Some(_)) = (Node::new(), peer("unshare")) else { return };
    let namespaces =
        Command::new("unshare").args(["--mount", "--pid", "--fork", "--cgroup", "true"]).status();
    let groups = PathBuf::from("/sys/fs/cgroup/systemd/cgroup.procs").exists();
    if !is_root() || !groups || !namespaces.is_ok_and(|status| status.success()) {
        return say_skipped(
            "systemd cannot be started here: it needs namespaces and its own hierarchy of control groups",
        );
    }
    let (bridge, enable) = (
        node.scene.at("root/opt/cni/bin/bridge"),
        format!("{ENABLE} --tool /opt/cnister/bin/cnister"),
    );
    let good = fs::read(&bridge).unwrap();
    let yes = "ActiveState=active ExecMainStatus=0 Result=success".to_owned();
    let no = "ActiveState=failed ExecMainStatus=1 Result=exit-code".to_owned();
    let store = node.scene.at("root/var/lib/cnister/store");
    let copies = node.scene.at("copies");
    for (more, starts) in [("", true), (" --hold-runtime", false)] {
        node.run_ok(&format!("{enable}{more}"));
        fs::write(&bridge, &good).unwrap();
        assert_eq!(boot_with_systemd(&node), (yes.clone(), true), "{more}");
        fs::write(&bridge, "altered").unwrap();
        assert_eq!(boot_with_systemd(&node), (yes.clone(), true), "repaired{more}");
        assert_eq!(fs::read(&bridge).unwrap(), good);
        // Without copies nothing can be restored.
        fs::rename(&store, &copies).unwrap();
        fs::write(&bridge, "altered").unwrap();
        assert_eq!(boot_with_systemd(&node), (no.clone(), starts), "{more}");
        fs::rename(&copies, &store).unwrap();
        fs::write(&bridge, &good).unwrap();
    }
}
