//! Plugins that respond, that misbehave, and that are not what was proven, called by the built
//! program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cnister::bundle::{Linkage, PluginFile};
use cnister::check::probe::{ProbeResult, Prober};
use cnister::model::{Code, Digest};

const PATIENCE: Duration = Duration::from_secs(5);

fn prober(patience: Duration) -> Prober {
    Prober::new(env!("CARGO_BIN_EXE_cnister"), patience, true)
}

/// The test plugin, compiled once.
fn plugin() -> &'static [u8] {
    static PLUGIN: OnceLock<Vec<u8>> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = directory.path().join("plugin");
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/probe/plugin.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let flags = ["--edition=2024", "-Copt-level=s", "-Cstrip=symbols", "-o"];
        let status =
            Command::new(rustc).args(flags).arg(&output).arg(source).status().expect("a compiler");
        assert!(status.success(), "{status}");
        std::fs::read(output).expect("the compiled plugin")
    })
}

fn behaving(behaviour: &str) -> Vec<u8> {
    [plugin(), b"\n", behaviour.as_bytes()].concat()
}

fn listed(bytes: &[u8]) -> PluginFile {
    PluginFile {
        name: "bridge".parse().expect("a plugin name"),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        linkage: Linkage::Static,
        go: None,
        facts: cnister::bundle::Facts::default(),
    }
}

fn ask(bytes: &[u8], patience: Duration) -> ProbeResult {
    prober(patience)
        .ask(&listed(bytes), "a test", &mut &bytes[..])
        .expect("bytes in memory can be read")
}

#[test]
fn a_plugin_that_answers_is_heard() {
    let ProbeResult::Answer(versions) = ask(&behaving("answer"), PATIENCE) else {
        panic!("no answer")
    };
    assert_eq!(versions.supported, ["0.4.0", "1.0.0"]);
}

#[test]
fn a_plugin_runs_with_nothing_it_could_misuse() {
    let ProbeResult::Answer(versions) = ask(&behaving("situation"), PATIENCE) else {
        panic!("no answer")
    };
    let hex = versions.supported.concat();
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let text = String::from_utf8(bytes.collect()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], r#"{"cniVersion":"1.0.0"}"#);
    assert_eq!(lines[1], "CNI_COMMAND=VERSION");
    if rustix::process::geteuid().is_root() {
        assert_eq!(lines[2], "uid=65534");
    }
    assert_eq!(lines[3], "nnp=1");
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        assert_eq!(lines[4], "seccomp=2");
        assert_eq!(lines[5], "socket=Some(1) pair=Some(1)");
    }
    // As many as any child of this test inherits, and none of ours.
    let others = Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    assert_eq!(
        lines[6],
        format!("descriptors={}", others.split(|byte| *byte == b'\n').count() - 1)
    );
}

#[test]
fn a_plugin_cannot_write_to_a_file() {
    let canary = Path::new("/dev/shm/cnister-probe-canary");
    let _ = std::fs::remove_file(canary);
    let asked = ask(&behaving("write"), PATIENCE);
    let written = std::fs::read(canary).unwrap_or_default();
    let _ = std::fs::remove_file(canary);
    let ProbeResult::Failed(reason) = asked else { panic!("{asked:?}") };
    // The call is refused; without a filter for this architecture, the time limit ends it.
    assert!(
        reason.starts_with("does not answer like a CNI plugin")
            || reason == "was killed by signal 25",
        "{reason}"
    );
    assert_eq!(written, b"");
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn a_plugin_changes_no_name_and_leaves_no_process() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Path::new("/dev/shm/cnister-probe-misuse");
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("file"), b"content").unwrap();
    // As if set by the plugin itself, since in a container all processes may belong to root.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(folder.join("file"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let asked = ask(&behaving("misuse"), PATIENCE);
    let left: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let content = std::fs::read(folder.join("file")).unwrap_or_default();
    let _ = std::fs::remove_dir_all(folder);
    let ProbeResult::Answer(versions) = asked else { panic!("{asked:?}") };
    let expected = [
        "create-1",
        "truncate-1",
        "remove-1",
        "rename-1",
        "link-1",
        "directory-1",
        "mode-1",
        "process-1",
        "thread-0",
        "read-0",
    ];
    assert_eq!(versions.supported, expected);
    assert_eq!((left, content), (vec!["file".into()], b"content".to_vec()));
}

#[test]
fn a_plugin_that_misbehaves_is_ended() {
    let soon = Duration::from_millis(300);
    for (behaviour, patience, expected) in [
        ("flood", PATIENCE, "printed more than 65536 bytes"),
        ("hang", soon, "did not answer in time"),
        ("fail", PATIENCE, "exited with code 7"),
        ("abort", PATIENCE, "was killed by signal 6"),
    ] {
        let start = Instant::now();
        assert_eq!(
            ask(&behaving(behaviour), patience),
            ProbeResult::Failed(expected.to_owned()),
            "{behaviour}"
        );
        assert!(start.elapsed() < PATIENCE, "{behaviour}: {:?}", start.elapsed());
    }
    let ProbeResult::Failed(reason) = ask(&behaving("close and hang"), soon) else {
        panic!("it answered")
    };
    assert_eq!(reason, "was killed by signal 9");
}

#[test]
fn bytes_that_were_not_proven_are_never_executed() {
    let directory = tempfile::tempdir().unwrap();
    let canary = directory.path().join("canary");
    let script = format!("#!/bin/sh\ntouch {}\n", canary.display());
    let proven = behaving("answer");
    for altered in [script.as_bytes(), &behaving("answer!")[..], &proven[..100]] {
        let asked = prober(PATIENCE).ask(&listed(&proven), "a test", &mut &altered[..]).unwrap();
        let ProbeResult::Altered(finding) = asked else { panic!("{asked:?}") };
        assert_eq!(finding.code, Code::FileAltered);
    }
    // Not even a signed script: it has no path that its interpreter could open.
    let signed = ask(script.as_bytes(), PATIENCE);
    assert!(matches!(signed, ProbeResult::Failed(_)), "{signed:?}");
    assert!(!canary.exists());
}

#[test]
fn a_file_that_is_not_a_program_for_this_machine_is_not_executed() {
    let mut other = behaving("answer");
    // The ELF header's machine: m68k, for which no plugins are released.
    other[18..20].copy_from_slice(&4_u16.to_ne_bytes());
    for bytes in [&b"not a program"[..], b"", b"\x7fELF", b"#!/bin/sh\n", &other] {
        assert_eq!(
            ask(bytes, PATIENCE),
            ProbeResult::Failed("is not a program for this machine".to_owned())
        );
    }
}

#[test]
fn the_plugins_of_a_distribution_answer() {
    // Old and dynamically linked, if they are installed at all.
    let Ok(entries) = std::fs::read_dir("/usr/lib/cni") else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let ProbeResult::Answer(versions) = ask(&bytes, PATIENCE) else {
            panic!("{path:?}: {:?}", ask(&bytes, PATIENCE))
        };
        assert!(
            versions.supported.iter().any(|version| version == "0.4.0"),
            "{path:?}: {versions:?}"
        );
    }
}
