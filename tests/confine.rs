//! What the verbs on a node give up before they read a byte of untrusted input: access to files,
//! the network, processes.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use release::Release;
use support::{Run, Scene, peer, registries, release};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];

fn scene() -> Scene {
    let scene = Scene::in_memory();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    // Where runtimes keep the records of attachments.
    fs::create_dir_all(scene.at("root/var/lib/cni")).unwrap();
    scene
}

/// Runs the program under strace; `None` if it is not installed. The trace is the file `trace` in
/// the scene.
fn traced(scene: &Scene, options: &[&str], words: &str) -> Option<Run> {
    let mut command = scene.command(peer("strace")?);
    command
        .args(["-f", "-qq", "-y", "-o", "trace"])
        .args(options)
        .arg(env!("CARGO_BIN_EXE_cnister"));
    Some(scene.run_command(command.args(words.split(' '))))
}

fn trace(scene: &Scene) -> Vec<String> {
    fs::read_to_string(scene.at("trace")).unwrap().lines().map(str::to_owned).collect()
}

const INSTALL: &str =
    "install --key cosign.pub --root root --from staged-a --evidence evidence-a.json";

/// Returns the paths below `root` that were written, created or removed in a trace, without the
/// random part of their names.
fn changed(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| !line.contains(" = -1 ")) {
        found.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    found
}

#[test]
fn verbs_that_only_answer_change_nothing_whatever_they_are_made_to_do() {
    let scene = scene();
    scene.run_ok(INSTALL);
    let calls = "--trace=mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,symlink,symlinkat,link,linkat";
    for words in
        ["check --root root", "status --root root", "check --root root --at-boot --no-closure"]
    {
        let Some(run) = traced(&scene, &[calls], words) else { return };
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        assert_eq!(changed(&trace(&scene)), [""; 0], "{words}");
    }
    // The twin.
    assert_eq!(traced(&scene, &[calls], "uninstall --root root").unwrap().code, 0);
    assert!(changed(&trace(&scene)).len() >= NAMES.len());
}

#[test]
fn every_verb_that_changes_a_node_may() {
    let scene = scene();
    Release::new(&scene, "b", "1.1.0", &NAMES, 7);
    let second = INSTALL.replace("-a", "-b");
    for words in [
        &format!("{INSTALL} --bin-dir /opt/other/bin"),
        &second,
        "rollback --root root --dry-run",
        "rollback --root root",
        "rollback --root root",
        "gc --root root --generations 1",
        "status --root root",
        "check --root root --repair --textfile cnister.prom",
    ] {
        let run = scene.run_ok(words);
        assert!(!run.stdout.contains("not-confined"), "{words}: {}", run.stdout);
    }
    assert!(scene.at("cnister.prom").exists());
    scene.write("root/opt/cni/bin/bridge", "altered");
    let run = scene.run_ok("check --root root --repair");
    assert!(run.stdout.contains("opt/cni/bin/bridge"), "{}", run.stdout);
    scene.run_ok("uninstall --root root --dry-run");
    scene.run_ok("uninstall --root root");
    assert_eq!(scene.tree("root").iter().filter(|(path, _)| path.contains("bin/")).count(), 0);
}

#[test]
fn without_landlock_the_verbs_do_their_work_and_say_so() {
    let scene = scene();
    if traced(&scene, &["--trace=none"], INSTALL).is_none() {
        return;
    }
    fs::create_dir(scene.at("staged")).unwrap();
    let absent =
        "this kernel has no Landlock, which needs Linux 5.13, or a system call filter hides it";
    let off = "Landlock is disabled in this kernel";
    let moving = "this kernel's Landlock cannot allow moving files, which needs Linux 5.19";
    for (fault, reason) in [
        ("landlock_create_ruleset:error=ENOSYS", absent),
        ("landlock_create_ruleset:error=EPERM", absent),
        ("landlock_create_ruleset:error=EOPNOTSUPP", off),
        ("landlock_restrict_self:error=E2BIG", "Argument list too long"),
    ] {
        for words in [
            INSTALL,
            "check --root root",
            "check --root root --at-boot",
            "stage --image image-a staged",
        ] {
            // The twin is `run_ok` below, without the fault.
            let run = traced(&scene, &[&format!("--inject={fault}")], words).unwrap();
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{words} {fault}: {}", run.stdout);
            let note = run
                .stdout
                .lines()
                .find(|line| line.starts_with("note: not-confined: "))
                .unwrap_or_default();
            let reason = if words == INSTALL && fault.contains("create") { moving } else { reason };
            assert!(note.contains(reason), "{words} {fault}: {}", run.stdout);
            assert_eq!(
                trace(&scene).iter().filter(|line| line.ends_with("(INJECTED)")).count().min(1),
                1,
                "{fault}"
            );
            assert!(!scene.run_ok(words).stdout.contains("not-confined"), "{words}");
        }
    }
    // As with the first version of Landlock, which cannot allow renames between directories: a
    // check makes none.
    let first = ["--inject=landlock_create_ruleset:retval=1:when=1"];
    let run = traced(&scene, &first, INSTALL).unwrap();
    assert!(run.code == 0 && run.stdout.contains(moving), "{run:?}");
    let run = traced(&scene, &first, "check --root root").unwrap();
    assert!(run.code == 0 && !run.stdout.contains("not-confined"), "{run:?}");
}

#[test]
fn a_refusal_is_the_same_if_nothing_was_confined() {
    let scene = scene();
    scene.run_ok(INSTALL);
    scene.write("root/opt/cni/bin/bridge", "altered");
    let words = "--format json check --root root --no-probe";
    let confined = scene.run(words);
    let Some(run) = traced(&scene, &["--inject=landlock_create_ruleset:error=ENOSYS"], words)
    else {
        return;
    };
    assert_eq!((confined.code, run.code), (1, 1));
    let codes = |run: &Run| -> Vec<_> {
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        findings.map(|finding| format!("{} {}", finding["severity"], finding["code"])).collect()
    };
    assert_eq!(codes(&confined), [r#""refusal" "digest-drift""#]);
    assert_eq!(codes(&run), [r#""refusal" "digest-drift""#, r#""note" "not-confined""#]);
    // Not being confined is not a reason to refuse, and no refusal is recorded.
    scene.run_ok(INSTALL);
    let words = "install --key cosign.pub --root root --from staged-a --evidence evidence-a.json --expect \
                 sha256:0000000000000000000000000000000000000000000000000000000000000000 --on-refusal keep";
    let run = traced(&scene, &["--inject=landlock_create_ruleset:error=ENOSYS"], words).unwrap();
    assert!(run.code == 0 && run.stdout.contains("\nnote: not-confined: "), "{run:?}");
    let remembered = fs::read_to_string(scene.at("root/var/lib/cnister/refusal.json")).unwrap();
    assert!(
        remembered.contains("other-release") && !remembered.contains("not-confined"),
        "{remembered}"
    );
}

#[test]
fn no_capability_is_needed_to_be_confined() {
    let scene = scene();
    let Some(setpriv) = peer("setpriv") else { return };
    if !rustix::process::geteuid().is_root() {
        return support::say_skipped("only root has capabilities to drop");
    }
    for words in [INSTALL, "check --root root", "check --root root --at-boot"] {
        let mut command = scene.command(&setpriv);
        command.args(["--inh-caps=-all", "--bounding-set=-all", env!("CARGO_BIN_EXE_cnister")]);
        let run = scene.run_command(command.args(words.split(' ')));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{words}: {}", run.stdout);
        assert!(
            !run.stdout.contains("not-confined") && !run.stdout.contains("probe-skipped"),
            "{}",
            run.stdout
        );
    }
}

/// Returns the processes and programs of a trace, in order: `process`, or the executed path.
fn started(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        let text = line.split_once(' ').map_or("", |(_, text)| text.trim_start());
        let is = |names: &[&str]| names.iter().any(|name| text.starts_with(&format!("{name}(")));
        if is(&["fork", "vfork"]) || (is(&["clone", "clone3"]) && !text.contains("CLONE_THREAD")) {
            found.push("process".to_owned());
        } else if is(&["execve", "execveat"]) {
            found.push(text.split('"').nth(1).unwrap_or_default().to_owned());
        }
    }
    found
}

const STARTS: &str = "--trace=execve,execveat,clone,clone3,?fork,?vfork,landlock_restrict_self";

#[test]
fn nothing_is_started_but_the_probes_and_they_are_confined_before() {
    let scene = scene();
    let Some(run) = traced(&scene, &[STARTS], INSTALL) else { return };
    assert_eq!(run.code, 0, "{}", run.stderr);
    let program = env!("CARGO_BIN_EXE_cnister");
    assert_eq!(started(&trace(&scene)), [program]);
    for words in ["check --root root --no-probe", "check --root root --at-boot"] {
        assert_eq!(traced(&scene, &[STARTS], words).unwrap().code, 0);
        assert_eq!(started(&trace(&scene)), [program]);
    }
    assert_eq!(traced(&scene, &[STARTS], "check --root root").unwrap().code, 0);
    let lines = trace(&scene);
    let one = |path: &str| {
        if path.starts_with("/proc/self/fd/") { "the plugin".to_owned() } else { path.to_owned() }
    };
    let found: Vec<_> = started(&lines).iter().map(|path| one(path)).collect();
    // The plugins differ, so each is executed: this program again, which becomes the plugin.
    let probe = ["process", "/proc/self/exe", "the plugin"].map(str::to_owned);
    let expected: Vec<_> = std::iter::once(program.to_owned())
        .chain([probe.clone(), probe.clone(), probe].concat())
        .collect();
    assert_eq!(found, expected);
    let confined = lines
        .iter()
        .position(|line| line.contains("landlock_restrict_self") && line.ends_with(" = 0"));
    let threads = lines.iter().position(|line| line.contains("clone"));
    assert!(confined.unwrap() < threads.unwrap(), "confined before there is a second thread");
}

#[test]
fn every_descriptor_is_closed_where_a_program_starts() {
    let scene = scene();
    let calls = "--trace=openat,openat2,?open,?creat,socket,?pipe,pipe2,memfd_create,?dup,?dup2,dup3,fcntl,\
                 ?epoll_create,epoll_create1,?eventfd,eventfd2,accept4,?accept,?inotify_init,inotify_init1,execve";
    let server = registries::docker_registry(scene.path());
    let mut runs = vec![INSTALL.to_owned(), "check --root root".to_owned()];
    if let Some(server) = &server {
        scene.run_ok(&format!("push oci:layout-a {}/cni:1", server.host));
        runs.push(format!("install --key cosign.pub --root other {}/cni:1", server.host));
        fs::create_dir(scene.at("other")).unwrap();
    }
    for words in runs {
        let Some(run) = traced(&scene, &[calls], &words) else { return };
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        let lines = trace(&scene);
        let main = lines[0].split(' ').next().unwrap().to_owned();
        let mut seen = 0;
        // A probe is this program until it executes another; the descriptors it duplicates are its
        // three streams. An installation starts no process, so all lines are from our threads.
        let ours = |line: &&String| words.starts_with("install") || line.starts_with(&main);
        // A call interrupted by another thread's is split over two lines.
        let mut begun = BTreeMap::new();
        for line in lines.iter().filter(ours) {
            let (thread, text) = line.split_once(' ').unwrap();
            let text = match (text.split_once(" <unfinished"), text.split_once(" resumed>")) {
                (Some((begin, _)), _) => {
                    begun.insert(thread, begin.trim_start());
                    continue;
                }
                (None, Some((_, end))) => format!("{}{end}", begun.remove(thread).unwrap()),
                (None, None) => text.trim_start().to_owned(),
            };
            let makes = !text.starts_with("execve(")
                && !text.starts_with("---")
                && (!text.starts_with("fcntl(") || text.contains("F_DUPFD"))
                && !text.contains(" = -1 ");
            if makes {
                seen += 1;
                assert!(text.contains("CLOEXEC"), "{words}: {text}");
            }
        }
        assert!(seen > 10, "{words}: {seen} calls");
    }
}
