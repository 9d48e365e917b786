//! What today's policy and clock mean to everything that asks them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::forge::Forge;
use super::release::Release;
use super::support::{Run, Scene};
use super::{node, of_release};

const DAY: u64 = 24 * 3600;

/// A reason to judge the same bytes differently today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    KeyRemoved,
    Denied,
    TooOld,
    ClockAt1970,
}

/// A question about a node or a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Install,
    InstallPresent,
    InstallEarlier,
    Check,
    Boot,
    Repair,
    RepairAtBoot,
    Rollback,
    Verify,
    Render,
}

impl Verb {
    fn words(self) -> &'static str {
        match self {
            Self::Install => "install --policy today.yaml --root root oci:layout-c",
            Self::InstallPresent => "install --policy today.yaml --root root oci:layout-b",
            Self::InstallEarlier => "install --policy today.yaml --root root oci:layout-a",
            Self::Check => "check --policy today.yaml --root root --no-probe",
            Self::Boot => "check --policy today.yaml --root root --at-boot",
            Self::Repair => "check --policy today.yaml --root root --no-probe --repair",
            Self::RepairAtBoot => "check --policy today.yaml --root root --at-boot --repair",
            Self::Rollback => "rollback --policy today.yaml --root root",
            Self::Verify => "verify --policy today.yaml oci:layout-c",
            Self::Render => {
                "render --policy today.yaml oci:layout-c:1.2.0 --as ghcr.io/acme/cni --tool-image \
                 ghcr.io/acme/cnister:0.1.0@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            }
        }
    }

    fn repairs(self) -> bool {
        matches!(self, Self::Repair | Self::RepairAtBoot)
    }
}

/// The expected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Exit code 1, and nothing changes.
    No,
    /// Exit code 0 and a warning; the request is carried out.
    Warning,
}

type Row = (Matter, &'static str, [(Verb, Answer); 10]);

/// Every question for every reason, and the code of the finding that answers it.
///
/// Only a denial stops a boot. A new release must be recent, and an installed one only causes a
/// warning. A repair and a rollback install nothing that today's policy does not accept.
const TABLE: [Row; 4] = {
    use Answer::{No, Warning};
    use Verb::*;
    [
        (
            Matter::KeyRemoved,
            "signer-not-allowed",
            [
                (Install, No),
                (InstallPresent, No),
                (InstallEarlier, No),
                (Check, No),
                (Boot, Warning),
                (Repair, No),
                (RepairAtBoot, No),
                (Rollback, No),
                (Verify, No),
                (Render, No),
            ],
        ),
        (
            Matter::Denied,
            "denied-by-rule",
            [
                (Install, No),
                (InstallPresent, No),
                (InstallEarlier, No),
                (Check, No),
                (Boot, No),
                (Repair, No),
                (RepairAtBoot, No),
                (Rollback, No),
                (Verify, No),
                (Render, No),
            ],
        ),
        (
            Matter::TooOld,
            "signature-too-old",
            [
                (Install, No),
                (InstallPresent, Warning),
                (InstallEarlier, No),
                (Check, Warning),
                (Boot, Warning),
                (Repair, Warning),
                (RepairAtBoot, Warning),
                (Rollback, Warning),
                (Verify, No),
                (Render, No),
            ],
        ),
        (
            Matter::ClockAt1970,
            "clock-suspect",
            [
                (Install, No),
                (InstallPresent, Warning),
                (InstallEarlier, No),
                (Check, Warning),
                (Boot, Warning),
                (Repair, Warning),
                (RepairAtBoot, Warning),
                (Rollback, Warning),
                (Verify, No),
                (Render, No),
            ],
        ),
    ]
};

/// Builds three releases, signed that long ago, and a node that has the first two.
fn prepare(scene: &Scene, days: u64) -> (Release, Release) {
    scene.run_ok("keygen");
    scene.run_ok("keygen --output-key-prefix other");
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - days * DAY;
    let release = |name, version, plugins: &[&'static str]| {
        let release = Release::unsigned(scene, name, version, plugins, 0);
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        command.args(["sign", "--key", "cosign.key", &format!("oci:layout-{name}")]);
        let run = scene.run_command(command.env("SOURCE_DATE_EPOCH", then.to_string()));
        assert_eq!(run.code, 0, "{}", run.stderr);
        release
    };
    let first = release("a", "1.0.0", &["bridge", "host-local", "macvlan"]);
    let second = release("b", "1.1.0", &["bridge", "macvlan", "vlan"]);
    release("c", "1.2.0", &["bridge", "macvlan"]);
    node::new(scene);
    scene.run_ok(&first.install_from_layout_args());
    scene.run_ok(&second.install_from_layout_args());
    node::keep_as(scene, "before");
    (first, second)
}

fn policy(scene: &Scene, matter: Matter) {
    let key = if matter == Matter::KeyRemoved { "other.pub" } else { "cosign.pub" };
    let more = match matter {
        Matter::KeyRemoved => String::new(),
        Matter::Denied => {
            let index = |name: &str| Forge::new(scene.at(&format!("layout-{name}"))).tagged();
            format!("deny: [\"{}\", \"{}\", \"{}\"]\n", index("a"), index("b"), index("c"))
        }
        Matter::TooOld | Matter::ClockAt1970 => "    maxAge: 180d\n".to_owned(),
    };
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: today\n    images: [\"**\"]\n    \
         authorities: [{{name: us, key: {{file: {key}}}}}]\n{more}"
    );
    scene.write("today.yaml", text);
}

/// A library that makes the clock start again for one process. Only root can set the real one, and
/// for every process. A machine that links this test has a `cc`.
fn clock(scene: &Scene) -> PathBuf {
    let source = "#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
         int clock_gettime(clockid_t clock, struct timespec *now) {\n\
         int result = syscall(SYS_clock_gettime, clock, now);\n\
         if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec = 42;\n\
         return result;\n}\n";
    let (source, library) = (scene.write("clock.c", source), scene.at("clock.so"));
    let status = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    assert!(status.unwrap().success());
    library
}

fn ask(scene: &Scene, verb: Verb, clock: Option<&PathBuf>) -> Run {
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command.args(verb.words().split(' '));
    if let Some(library) = clock {
        command.env("LD_PRELOAD", library);
    }
    scene.run_command(&mut command)
}

#[test]
fn key_denial_age_and_clock_are_answered_as_designed_by_everything_that_asks() {
    for (matter, code, answers) in TABLE {
        let scene = Scene::in_memory();
        let (first, second) = prepare(&scene, if matter == Matter::TooOld { 200 } else { 0 });
        let library = (matter == Matter::ClockAt1970).then(|| clock(&scene));
        policy(&scene, matter);
        for (verb, answer) in answers {
            node::bring_back(&scene, "before");
            if verb.repairs() {
                fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
                fs::remove_file(scene.at(node::BIN).join("vlan")).unwrap();
            }
            let before = scene.tree("root");
            let run = ask(&scene, verb, library.as_ref());
            // A refused `render` says so beside the manifest that it does not print.
            let answered = format!("{}{}", run.stdout, run.stderr);
            let what = format!("{matter:?}, {verb:?}: {answered}");
            let severity = if answer == Answer::No { "no" } else { "warning" };
            assert!(
                answered.contains(&format!("{severity}: {code}: ")),
                "{severity} {code}: {what}"
            );
            let others = TABLE.iter().map(|(_, other, _)| *other).filter(|other| *other != code);
            for other in others {
                assert!(!answered.contains(&format!("{other}: ")), "{other}: {what}");
            }
            if library.is_some() {
                assert!(answered.contains("1970-01-01T00:00:42Z"), "{what}");
            }
            match answer {
                Answer::No => {
                    assert_eq!(run.code, 1, "{what}");
                    node::assert_same(&before, &scene.tree("root"), &what);
                }
                Answer::Warning => {
                    assert_eq!(run.code, 0, "{what}");
                    let expected = if verb == Verb::Rollback { &first } else { &second };
                    assert_eq!(of_release(&scene, expected).len(), 3, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_same_questions_without_such_a_matter_are_answered_with_yes() {
    let scene = Scene::in_memory();
    prepare(&scene, 0);
    policy(&scene, Matter::TooOld);
    for (verb, _) in TABLE[0].2 {
        node::bring_back(&scene, "before");
        if verb.repairs() {
            fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
        }
        let run = ask(&scene, verb, None);
        assert_eq!(run.code, 0, "{verb:?}: {}{}", run.stdout, run.stderr);
        for (_, code, _) in TABLE {
            assert!(!run.stdout.contains(code), "{verb:?}: {}", run.stdout);
        }
    }
}
