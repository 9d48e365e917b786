//! The check at boot, with the static node build: the unit under systemd's own tools, its command
//! as written in it, and everything that can be wrong when a node boots.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;
#[path = "boot/systemd.rs"]
mod systemd;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cnister::model::Digest;
use release::Release;
use support::{Run, Scene, node_binary, peer, release, say_skipped, snapshot};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];
const TOOL: &str = "root/usr/local/libexec/cnister";
const UNIT: &str = "root/etc/systemd/system/cnister-verify.service";
const POLICY: &str = "root/etc/cnister/policy.yaml";
const ENABLE: &str = "boot enable --root root";

/// A node with an installed release, and the static node build.
struct Node {
    scene: Scene,
    program: PathBuf,
}

impl Node {
    fn new() -> Option<Self> {
        let program = node_binary()?;
        let scene = Scene::new();
        let release = Release::new(&scene, "a", "1.0.0", &NAMES, 0);
        fs::create_dir_all(scene.at("root/etc/systemd/system")).unwrap();
        // Without this directory, a removal is refused, since no attachment can be seen.
        fs::create_dir_all(scene.at("root/var/lib/cni")).unwrap();
        scene.run_ok(&release.install_args());
        Some(Self { scene, program })
    }

    fn enabled() -> Option<Self> {
        let node = Self::new()?;
        node.run_ok(ENABLE);
        Some(node)
    }

    /// Runs the static program; only that one can be enabled.
    fn run(&self, words: &str) -> Run {
        self.scene.run_command(self.scene.command(&self.program).args(words.split(' ')))
    }

    fn run_ok(&self, words: &str) -> Run {
        let run = self.run(words);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{words}\n{}", run.stdout);
        run
    }

    fn unit(&self) -> String {
        fs::read_to_string(self.scene.at(UNIT)).unwrap()
    }

    /// What the unit runs.
    fn command(&self) -> String {
        let unit = self.unit();
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().to_owned()
    }

    /// Runs a command line of the unit on the node, in the node's root; `around` is prepended.
    fn boot(&self, around: &[&str], words: &str) -> Run {
        let mut command = self.scene.command(around.first().unwrap_or(&"chroot"));
        if !around.is_empty() {
            command.args(&around[1..]).arg("chroot");
        }
        self.scene
            .run_command(command.arg("root").args(words.split(' ')).args(["--format", "json"]))
    }
}

/// Returns the exit code and the findings that refuse or warn.
fn answer(run: &Run) -> (i32, Vec<String>) {
    let report: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |finding: &serde_json::Value| {
        format!("{} {}", finding["severity"].as_str().unwrap(), finding["code"].as_str().unwrap())
    };
    (run.code, findings.map(text).collect())
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        say_skipped("only root may do this");
    }
    root
}

#[test]
fn the_unit_is_as_it_was_reviewed() {
    let Some(node) = Node::enabled() else { return };
    snapshot("boot-unit.txt", &node.unit());
    node.run_ok(&format!("{ENABLE} --hold-runtime --tool /opt/cnister/bin/cnister"));
    snapshot("boot-unit-hold.txt", &node.unit());
    assert!(
        !node.scene.at(TOOL).exists() && node.scene.at("root/opt/cnister/bin/cnister").exists()
    );
}

#[test]
fn the_command_of_the_unit_succeeds_and_needs_nothing() {
    let Some(node) = Node::enabled() else { return };
    if !is_root() {
        return;
    }
    let yes = (0, Vec::new());
    let command = node.command();
    assert_eq!(answer(&node.boot(&[], &command)), yes);
    let before = node.scene.tree("root");
    for around in [
        &["unshare", "--net"][..],
        &["setpriv", "--inh-caps=-all", "--bounding-set=-all,+sys_chroot"],
        &[
            "unshare",
            "--mount",
            "sh",
            "-ec",
            "mount --bind root root; mount -o remount,ro,bind root; exec \"$@\"",
            "sh",
        ],
    ] {
        assert_eq!(answer(&node.boot(around, &command)), yes, "{around:?}");
    }
    assert_eq!(node.scene.tree("root"), before);
}

#[test]
fn what_a_boot_refuses_and_what_it_only_warns_about() {
    let Some(node) = Node::enabled() else { return };
    if !is_root() {
        return;
    }
    let command = node.command();
    let pinned = fs::read_to_string(node.scene.at(POLICY)).unwrap();
    let index =
        support::digest_of(&node.scene.run_ok("install --key cosign.pub --root root oci:layout-a"));
    let no = |code: &str| (1, vec![format!("refusal {code}")]);
    let with_policy = |text: &str| {
        fs::write(node.scene.at(POLICY), text).unwrap();
        command.replace(&Digest::of(pinned.as_bytes()).hex(), &Digest::of(text.as_bytes()).hex())
    };

    // The policy differs from the one in the unit.
    let denied = format!("{pinned}deny: [\"{index}\"]\n");
    with_policy(&denied);
    assert_eq!(answer(&node.boot(&[], &command)), no("policy-digest"));
    // The owner denied the bundle, and pinned that policy.
    let expected =
        (1, ["no-longer-trusted", "denied-by-rule"].map(|code| format!("refusal {code}")).to_vec());
    assert_eq!(answer(&node.boot(&[], &with_policy(&denied))), expected);
    // The owner retired the key while the node was off; it still boots.
    node.scene.run_ok("keygen --output-key-prefix other");
    let other = fs::read_to_string(node.scene.at("other.pub")).unwrap();
    let known = fs::read_to_string(node.scene.at("cosign.pub")).unwrap();
    let line = |key: &str, n: usize| key.lines().nth(n).unwrap().to_owned();
    let retired = pinned
        .replace(&line(&known, 1), &line(&other, 1))
        .replace(&line(&known, 2), &line(&other, 2));
    assert_ne!(retired, pinned);
    let expected = (
        0,
        ["no-longer-trusted", "signer-not-allowed"].map(|code| format!("warning {code}")).to_vec(),
    );
    assert_eq!(answer(&node.boot(&[], &with_policy(&retired))), expected);
    // Enabling again pins the new policy, and reports the same.
    let enabled = node.run_ok(ENABLE).stdout;
    assert!(enabled.contains("\nwarning: no-longer-trusted: "), "{enabled}");
    assert_eq!(answer(&node.boot(&[], &node.command())), expected);
    let command = with_policy(&pinned);
    assert_eq!(answer(&node.boot(&[], &command)), (0, Vec::new()));

    // Another bundle than the one in the unit.
    let other = command.replace("--expect-bundle test", "--expect-bundle other");
    assert_eq!(answer(&node.boot(&[], &other)), no("other-bundle"));
    // A plugin was altered or is missing.
    let bridge = node.scene.at("root/opt/cni/bin/bridge");
    let bytes = fs::read(&bridge).unwrap();
    fs::write(&bridge, "altered").unwrap();
    assert_eq!(answer(&node.boot(&[], &command)), (0, Vec::new()), "and comes back");
    assert_eq!(fs::read(&bridge).unwrap(), bytes);
    fs::remove_file(&bridge).unwrap();
    assert_eq!(answer(&node.boot(&[], &command)), (0, Vec::new()));
    assert_eq!(fs::read(&bridge).unwrap(), bytes);
    // Without copies to restore it from.
    fs::remove_dir_all(node.scene.at("root/var/lib/cnister/store")).unwrap();
    fs::write(&bridge, "altered").unwrap();
    let without = |code: &str| (1, vec![format!("refusal {code}"), "refusal no-copy".to_owned()]);
    assert_eq!(answer(&node.boot(&[], &command)), without("digest-drift"));
    fs::remove_file(&bridge).unwrap();
    assert_eq!(answer(&node.boot(&[], &command)), without("plugin-missing"));
    node.scene.write("root/opt/cni/bin/bridge", bytes);
    drop(Command::new("chmod").arg("755").arg(&bridge).status());
    assert_eq!(answer(&node.boot(&[], &command)), (0, Vec::new()));
    // A directory in the unit is not one that was installed to.
    let more = format!("{command} --bin-dir /usr/lib/cni");
    assert_eq!(answer(&node.boot(&[], &more)), no("not-installed"));
    // There is no receipt.
    fs::remove_file(node.scene.at("root/var/lib/cnister/receipt.json")).unwrap();
    assert_eq!(answer(&node.boot(&[], &command)), no("records-lost"));
    fs::remove_dir_all(node.scene.at("root/var/lib/cnister")).unwrap();
    assert_eq!(answer(&node.boot(&[], &command)), no("records-lost"));
}

#[test]
fn enabling_is_refused_with_what_can_be_done() {
    let Some(node) = Node::new() else { return };
    let refused = |words: &str, code: &str, hint: &str| {
        let before = node.scene.tree("root");
        let run = node.run(words);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{words}: {}", run.stdout);
        let starts = run.stdout.starts_with(&format!("no: {code}: "));
        assert!(
            starts
                && run.stdout.contains(hint)
                && run.stdout.ends_with("\nrefused; nothing was changed\n"),
            "{}",
            run.stdout
        );
        assert_eq!(node.scene.tree("root"), before, "{words}");
    };
    let zeros = "0".repeat(64);
    refused(&format!("{ENABLE} --policy-sha256 {zeros}"), "policy-digest", "");
    refused(
        &format!("{ENABLE} --tool /opt/cni/bin/cnister"),
        "tool-place",
        "hint: choose another path with --tool",
    );
    // A build that needs libraries.
    let run = node.scene.run(ENABLE);
    assert!(run.code == 1 && run.stdout.starts_with("no: tool-not-static: "), "{run:?}");
    // First planned, then done.
    let before = node.scene.tree("root");
    let planned = node.run_ok(&format!("{ENABLE} --dry-run")).stdout;
    assert_eq!(node.scene.tree("root"), before);
    let enabled = node.run_ok(ENABLE).stdout;
    assert_eq!(
        planned.lines().take(3).collect::<Vec<_>>(),
        enabled.lines().take(3).collect::<Vec<_>>()
    );
    assert!(
        enabled.ends_with(
            "\nenabled; takes effect at the next boot, or now with: systemctl daemon-reload\n"
        ),
        "{enabled}"
    );
    assert_eq!(node.run_ok(ENABLE).stdout, "already enabled; no file changed\n");
    let pinned = Digest::of(&fs::read(node.scene.at(POLICY)).unwrap()).hex();
    assert_eq!(
        node.run_ok(&format!("{ENABLE} --policy-sha256 {pinned}")).stdout,
        "already enabled; no file changed\n"
    );
    assert!(
        node.run_ok("boot disable --root root --dry-run")
            .stdout
            .ends_with("\nplanned; nothing was done\n")
    );
    let disabled = node.run_ok("boot disable --root root").stdout;
    assert_eq!(disabled.matches("\n  remove ").count() + 1, 3, "{disabled}");
    assert_eq!(
        node.run_ok("boot disable --root root").stdout,
        "already disabled; no file changed\n"
    );
    // What would be refused at the next boot.
    node.scene.write("root/opt/cni/bin/bridge", "altered");
    refused(ENABLE, "digest-drift", "");
    fs::remove_file(node.scene.at("root/var/lib/cnister/receipt.json")).unwrap();
    refused(ENABLE, "records-lost", "");
    fs::remove_file(node.scene.at(POLICY)).unwrap();
    refused(ENABLE, "not-installed", "hint: install a bundle first");
    fs::remove_dir_all(node.scene.at("root/etc/systemd")).unwrap();
    let run = node.run("boot disable --root root");
    assert!(run.code == 1 && run.stdout.starts_with("no: no-systemd: "), "{run:?}");
}

#[test]
fn a_read_only_usr_is_reported_with_another_place() {
    let (Some(node), Some(unshare)) = (Node::new(), peer("unshare")) else { return };
    if !is_root() {
        return;
    }
    fs::create_dir_all(node.scene.at("root/usr/local/libexec")).unwrap();
    fs::create_dir_all(node.scene.at("root/opt/noexec")).unwrap();
    let script = "mount --bind root/usr root/usr; mount -o remount,ro,bind root/usr; \
                  mount -t tmpfs -o noexec none root/opt/noexec; exec \"$@\"";
    let run_in_namespace = |words: &str| {
        let mut command = node.scene.command(&unshare);
        command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&node.program);
        node.scene.run_command(command.args(words.split(' ')))
    };
    let run = run_in_namespace(ENABLE);
    let expected = "no: tool-place: `/usr/local/libexec/cnister` is on a file system that is mounted read-only\n  \
                    hint: choose another path with --tool, for example /opt/cnister/bin/cnister\n\
                    refused; nothing was changed\n";
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, expected, ""));
    let run = run_in_namespace(&format!("{ENABLE} --tool /opt/noexec/cnister"));
    assert!(
        run.code == 1 && run.stdout.contains("where nothing can be executed (noexec)"),
        "{run:?}"
    );
    assert_eq!(run_in_namespace(&format!("{ENABLE} --tool /opt/cnister/bin/cnister")).code, 0);
}

#[test]
fn the_job_of_the_documentation_enables_it_with_the_mounts_that_it_has() {
    let (Some(node), Some(unshare)) = (Node::new(), peer("unshare")) else { return };
    if !is_root() {
        return;
    }
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/boot.md")).unwrap();
    let between =
        |start: &str, end: &str| page.split_once(start).unwrap().1.split_once(end).unwrap().0;
    let pinned = Digest::of(&fs::read(node.scene.at(POLICY)).unwrap()).hex();
    let arguments = between("args: [", "]").replace("HEX", &pinned);
    // The container contains only the program and these mounts.
    let mut script = String::from("mkdir -p box; mount -t tmpfs none box\n");
    let mut mounts = 0;
    for line in page.lines().filter(|line| line.contains("mountPath: ")) {
        let inside = line.split_once("mountPath: ").unwrap().1.split([',', '}']).next().unwrap();
        let outside = format!("root{}", inside.strip_prefix("/host").unwrap());
        let read_only = if line.contains("readOnly: true") {
            format!("mount -o remount,ro,bind box{inside}\n")
        } else {
            String::new()
        };
        script += &format!(
            "mkdir -p {outside} box{inside}; mount --bind {outside} box{inside}\n{read_only}"
        );
        mounts += 1;
    }
    assert_eq!(mounts, 5);
    script += "mkdir -p box/bin box/proc; cp \"$1\" box/bin/cnister; mount -t proc proc box/proc\n\
               mount -o remount,ro box; shift; exec setpriv --inh-caps=-all --bounding-set=-all,+sys_chroot \
               chroot box /bin/cnister \"$@\"\n";
    let mut command = node.scene.command(unshare);
    command.args(["--mount", "--pid", "--fork", "sh", "-ec", &script, "sh"]).arg(&node.program);
    let run = node.scene.run_command(command.args(arguments.split(", ")));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(answer(&node.boot(&[], &node.command())), (0, Vec::new()));
}

#[test]
fn a_policy_other_than_the_pinned_one_is_reported_at_installation() {
    let Some(node) = Node::enabled() else { return };
    let words = "install --root root --from staged-a --evidence evidence-a.json";
    let told = |run: &Run| run.stdout.contains("\nwarning: boot-outdated: ");
    assert!(!told(&node.run_ok(&format!("{words} --key cosign.pub"))));
    let policy = fs::read_to_string(node.scene.at(POLICY)).unwrap();
    node.scene.write("next.yaml", format!("{policy}# The next one.\n"));
    let run = node.run_ok(&format!("{words} --policy next.yaml"));
    assert!(
        told(&run) && run.stdout.contains("hint: run `cnister boot enable` again"),
        "{}",
        run.stdout
    );
    assert!(told(&node.run_ok("check --root root --no-probe")));
    assert!(!told(&node.run_ok(ENABLE)));
    assert!(!told(&node.run_ok("check --root root --no-probe")));
    let run = node.run_ok("uninstall --root root");
    assert!(
        told(&run) && run.stdout.contains("hint: run `cnister boot disable`"),
        "{}",
        run.stdout
    );
    node.run_ok("boot disable --root root");
    assert!(!told(&node.run_ok("uninstall --root root")));
}
