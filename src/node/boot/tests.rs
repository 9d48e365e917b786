//! Nodes in temporary directories that are enabled, changed by hand, and disabled.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::node::fact::Moment;
use crate::node::state::{InstalledDirectory, Schema};
use crate::trust::Strength;

const TOOL: &str = "/usr/local/libexec/cnister";
const UNIT_FILE: &str = "etc/systemd/system/cnister-verify.service";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

struct Node {
    folder: tempfile::TempDir,
    root: Root,
    receipt: Receipt,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/systemd/system")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let receipt = Receipt {
            schema_version: Schema,
            generation: 1,
            index: Digest::of(b"index"),
            bundle_json: Some(Digest::of(b"bundle.json")),
            platform: "linux/amd64".parse().unwrap(),
            bundle: "test".parse().unwrap(),
            version: semver::Version::new(1, 2, 3),
            repository: None,
            policy: Digest::of(b"policy"),
            strength: Strength::Proven,
            evidence: Digest::of(b"evidence"),
            directories: BTreeMap::from([(
                HostPath::default_bin_directory(),
                InstalledDirectory::default(),
            )]),
        };
        Self { folder, root, receipt }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn plan(
        &self,
        program: &[u8],
        tool: &str,
        on_failure: OnFailure,
    ) -> Result<Vec<BootStep>, NodeError> {
        let (tool, policy) = (host_path(tool), host_path("/etc/cnister/policy.yaml"));
        let state = HostPath::default_state_directory();
        let policy = (&policy, self.receipt.policy);
        let receipt = &self.receipt;
        enable(
            &self.root,
            &Wanted { program, tool: &tool, state: &state, policy, receipt, on_failure },
        )
    }

    /// Enables it and returns what was done.
    fn enabled(&self, program: &[u8], tool: &str, on_failure: OnFailure) -> Vec<String> {
        let steps = self.plan(program, tool, on_failure).unwrap();
        carry_out(&self.root, &steps).unwrap();
        assert_eq!(
            self.plan(program, tool, on_failure).unwrap(),
            [],
            "again there is nothing to do"
        );
        steps.iter().map(ToString::to_string).collect()
    }

    /// Disables it and returns what was done.
    fn disabled(&self) -> Vec<String> {
        let steps = disable(&self.root).unwrap();
        carry_out(&self.root, &steps).unwrap();
        assert_eq!(disable(&self.root).unwrap(), [], "again there is nothing to do");
        steps.iter().map(ToString::to_string).collect()
    }

    /// Every file and link below the root.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![self.folder.path().to_owned()];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() && !path.is_symlink() {
                    pending.push(path);
                } else {
                    found.push(
                        path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned(),
                    );
                }
            }
        }
        found.sort();
        found
    }
}

fn refused(result: Result<Vec<BootStep>, NodeError>) -> (Code, String) {
    let findings = result.expect_err("it is accepted").into_findings().unwrap();
    (findings[0].code, findings[0].message.clone())
}

#[test]
fn what_was_enabled_is_disabled_without_a_trace() {
    let node = Node::new();
    let done = node.enabled(b"program", TOOL, OnFailure::Start);
    let unit = format!("/{UNIT_FILE}");
    assert_eq!(done[0], format!("write    {TOOL} (7 bytes)"));
    assert!(done[1].starts_with(&format!("write    {unit} (")), "{done:?}");
    assert_eq!(done[2..], [format!("link     /{WANTS}/{UNIT}")]);
    assert_eq!(fs::read(node.at(TOOL)).unwrap(), b"program");
    let mode = |path: &str| fs::metadata(node.at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(TOOL), mode(UNIT_FILE)), (0o755, 0o644));
    // The link leads to the unit, and stays in the root.
    let linked = fs::read_to_string(node.at(WANTS).join(UNIT)).unwrap();
    assert!(linked.contains(&format!("\nExecStart={TOOL} check --at-boot ")), "{linked}");
    assert_eq!(
        node.disabled(),
        [
            format!("remove   /{WANTS}/{UNIT}"),
            format!("remove   {TOOL}"),
            format!("remove   {unit}")
        ]
    );
    assert_eq!(node.files(), [""; 0]);
    assert!(!node.at(WANTS).exists(), "the directory of links went with its last one");
}

#[test]
fn what_changed_is_replaced() {
    let node = Node::new();
    node.enabled(b"program", TOOL, OnFailure::Start);
    // A new program, and a unit that records it.
    let done = node.enabled(b"newer program", TOOL, OnFailure::Start);
    assert_eq!(done.len(), 2, "{done:?}");
    // Held, and no longer.
    let done = node.enabled(b"newer program", TOOL, OnFailure::Hold);
    assert_eq!(done.iter().filter(|step| step.starts_with("link ")).count(), RUNTIMES.len());
    assert!(node.at("etc/systemd/system/kubelet.service.requires").join(UNIT).exists());
    fs::create_dir_all(node.at("etc/systemd/system/kubelet.service.requires/other.service"))
        .unwrap();
    let done = node.enabled(b"newer program", TOOL, OnFailure::Start);
    assert_eq!(done.iter().filter(|step| step.starts_with("remove ")).count(), RUNTIMES.len());
    assert!(
        node.at("etc/systemd/system/kubelet.service.requires/other.service").exists(),
        "another program's stays"
    );
    assert!(!node.at("etc/systemd/system/containerd.service.requires").exists());
    // At another place.
    let done = node.enabled(b"newer program", "/opt/cnister/bin/cnister", OnFailure::Start);
    assert_eq!(done.last(), Some(&format!("remove   {TOOL}")));
    // Another policy is another unit.
    let mut node = node;
    node.receipt.policy = Digest::of(b"another policy");
    assert_eq!(
        node.enabled(b"newer program", "/opt/cnister/bin/cnister", OnFailure::Start).len(),
        1
    );
}

#[test]
fn an_interruption_between_any_two_steps_is_finished_by_the_next_run() {
    let all = Node::new().plan(b"program", TOOL, OnFailure::Hold).unwrap().len();
    for done in 0..=all {
        let node = Node::new();
        let steps = node.plan(b"program", TOOL, OnFailure::Hold).unwrap();
        carry_out(&node.root, &steps[..done]).unwrap();
        assert_eq!(node.enabled(b"program", TOOL, OnFailure::Hold).len(), all - done);
        let steps = disable(&node.root).unwrap();
        assert_eq!(steps.len(), all);
        carry_out(&node.root, &steps[..done]).unwrap();
        assert_eq!(node.disabled().len(), all - done);
        assert_eq!(node.files(), [""; 0]);
    }
}

/// What is changed, how, and what the refusal names.
type Change<'a> = (&'a str, &'a dyn Fn(&Node), &'a str);

#[test]
fn what_was_changed_by_hand_is_left_alone() {
    let changes: &[Change<'_>] = &[
        ("the unit", &|node| fs::write(node.at(UNIT_FILE), "[Service]\n").unwrap(), UNIT_FILE),
        (
            "a line of the unit",
            &|node| {
                let text = fs::read_to_string(node.at(UNIT_FILE)).unwrap();
                fs::write(node.at(UNIT_FILE), text.replace("--at-boot", "--help")).unwrap();
            },
            UNIT_FILE,
        ),
        (
            "a unit that is masked",
            &|node| {
                fs::remove_file(node.at(UNIT_FILE)).unwrap();
                symlink("/dev/null", node.at(UNIT_FILE)).unwrap();
            },
            UNIT_FILE,
        ),
        (
            "the link",
            &|node| {
                fs::remove_file(node.at(WANTS).join(UNIT)).unwrap();
                symlink("../other.service", node.at(WANTS).join(UNIT)).unwrap();
            },
            WANTS,
        ),
        (
            "a file for a link",
            &|node| {
                fs::remove_file(node.at(WANTS).join(UNIT)).unwrap();
                fs::write(node.at(WANTS).join(UNIT), "").unwrap();
            },
            WANTS,
        ),
    ];
    for (what, change, named) in changes {
        let node = Node::new();
        node.enabled(b"program", TOOL, OnFailure::Start);
        change(&node);
        let before = node.files();
        for result in [disable(&node.root), node.plan(b"program", TOOL, OnFailure::Start)] {
            let (code, message) = refused(result);
            assert!(
                code == Code::BootAltered && message.contains(named),
                "{what}: {code} {message}"
            );
        }
        assert_eq!(node.files(), before, "{what}");
    }
    // The program: it is not taken back, and not replaced.
    let node = Node::new();
    node.enabled(b"program", TOOL, OnFailure::Start);
    fs::write(node.at(TOOL), "another").unwrap();
    assert_eq!(
        refused(disable(&node.root)),
        (Code::BootAltered, format!("`{TOOL}` is not what `boot enable` wrote"))
    );
    let replaced = node.plan(b"program", TOOL, OnFailure::Start);
    assert_eq!(refused(replaced), (Code::ToolPlace, format!("`{TOOL}` is a different program")));
    // Its twin that `systemctl enable` would leave is ours as well.
    fs::write(node.at(TOOL), "program").unwrap();
    fs::remove_file(node.at(WANTS).join(UNIT)).unwrap();
    symlink(format!("/{UNIT_FILE}"), node.at(WANTS).join(UNIT)).unwrap();
    assert_eq!(node.plan(b"program", TOOL, OnFailure::Start).unwrap(), []);
    assert_eq!(node.disabled().len(), 3);
}

#[test]
fn a_place_where_the_program_cannot_be_is_refused() {
    let node = Node::new();
    let bin = HostPath::default_bin_directory();
    fs::create_dir_all(node.at("/usr/local/libexec/directory")).unwrap();
    symlink("/proc/self/mem", node.at("/usr/local/libexec/link")).unwrap();
    fs::write(node.at("/usr/local/libexec/taken"), "other").unwrap();
    for (tool, expected) in [
        (
            "/opt/cni/bin/cnister",
            format!(
                "`/opt/cni/bin/cnister` is inside the plugin directory `{bin}`, where a runtime calls any file"
            ),
        ),
        (
            "/opt/cni/bin/x/cnister",
            format!(
                "`/opt/cni/bin/x/cnister` is inside the plugin directory `{bin}`, where a runtime calls any file"
            ),
        ),
        (
            "/var/lib/cnister/bin",
            "`/var/lib/cnister/bin` is not a valid path for a program".to_owned(),
        ),
        ("/cnister", "`/cnister` is not a valid path for a program".to_owned()),
        (
            "/usr/local/libexec/directory",
            "`/usr/local/libexec/directory` is a directory".to_owned(),
        ),
        ("/usr/local/libexec/link", "`/usr/local/libexec/link` is a symbolic link".to_owned()),
        (
            "/usr/local/libexec/taken",
            "`/usr/local/libexec/taken` is a different program".to_owned(),
        ),
        (
            "/home/cnister/bin",
            "`/home/cnister/bin` is below `/home`, which is hidden from the unit".to_owned(),
        ),
    ] {
        assert_eq!(
            refused(node.plan(b"program", tool, OnFailure::Start)),
            (Code::ToolPlace, expected)
        );
    }
    assert!(node.plan(b"program", "/opt/cni/cnister", OnFailure::Start).is_ok());
    // The very bytes, with a mode that does not run.
    fs::write(node.at("/usr/local/libexec/taken"), "program").unwrap();
    assert_eq!(node.enabled(b"program", "/usr/local/libexec/taken", OnFailure::Start).len(), 3);
}

#[test]
fn a_node_without_systemd_is_reported() {
    let node = Node::new();
    fs::remove_dir(node.at("etc/systemd/system")).unwrap();
    let expected = (Code::NoSystemd, "there is no `/etc/systemd/system`".to_owned());
    assert_eq!(refused(node.plan(b"program", TOOL, OnFailure::Start)), expected);
    assert_eq!(refused(disable(&node.root)), expected);
}

#[test]
fn a_unit_that_pins_something_else_is_reported_until_it_is_enabled_again() {
    let mut node = Node::new();
    assert_eq!(
        (outdated(&node.root, &node.receipt), left_over(&node.root)),
        (None, None),
        "nothing is enabled"
    );
    node.enabled(b"program", TOOL, OnFailure::Start);
    assert_eq!(outdated(&node.root, &node.receipt), None);
    assert_eq!(left_over(&node.root).map(|finding| finding.code), Some(Code::BootOutdated));
    let same = node.receipt.clone();
    let message = |receipt: &Receipt| outdated(&node.root, receipt).map(|finding| finding.message);
    let pins = |what: &str| Some(format!("the check at boot pins {what} than what is installed"));
    let changed = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = same.clone();
        change(&mut receipt);
        message(&receipt)
    };
    assert_eq!(
        changed(&|receipt| receipt.policy = Digest::of(b"other")),
        pins("a different policy")
    );
    assert_eq!(
        changed(&|receipt| receipt.bundle = "other".parse().unwrap()),
        pins("a different bundle")
    );
    assert_eq!(changed(&|receipt| receipt.directories.clear()), pins("different directories"));
    assert_eq!(changed(&|receipt| receipt.index = Digest::of(b"another release")), None);
    node.receipt.policy = Digest::of(b"other");
    node.enabled(b"program", TOOL, OnFailure::Start);
    assert_eq!(outdated(&node.root, &node.receipt), None);
    // What was changed by hand stays.
    fs::write(node.at(UNIT_FILE), "[Service]\n").unwrap();
    assert_eq!(outdated(&node.root, &same), None);
    let unknown = "whether the check at boot is still enabled is unknown: refused: `/etc/systemd/system/cnister-verify.service` is not what `boot enable` wrote";
    assert_eq!(left_over(&node.root).map(|finding| finding.message), Some(unknown.to_owned()));
}

#[test]
fn a_drop_in_is_judged_like_the_unit_and_one_that_changes_the_check_is_told() {
    let told = |node: &Node| {
        let findings = exposed(&node.root, Moment::Running);
        let lines = findings.iter().map(|finding| (finding.code, finding.is_refusal()));
        lines.collect::<Vec<_>>()
    };
    let altered = (Code::BootAltered, false);
    let writable = (Code::WritableByOthers, true);
    let own = "etc/systemd/system/cnister-verify.service.d";
    for (path, text, file_mode, directory_mode, expected) in [
        (own, "[Service]\nTimeoutStartSec=300\n", 0o644, 0o755, &[][..]),
        (own, "[Service]\nExecStart=\nExecStart=/bin/true\n", 0o644, 0o755, &[altered]),
        (
            "usr/lib/systemd/system/cnister-verify.service.d",
            "ExecCondition=x",
            0o644,
            0o755,
            &[altered],
        ),
        ("run/systemd/system/cnister-.service.d", "ConditionHost=x", 0o644, 0o755, &[altered]),
        (own, "", 0o666, 0o755, &[writable]),
        ("run/systemd/system/cnister-verify.service.d", "", 0o620, 0o755, &[]),
        ("usr/lib/systemd/system/service.d", "", 0o662, 0o755, &[writable]),
        (own, "ExecStart=/bin/true", 0o666, 0o755, &[writable, altered]),
        // Whoever may add a file there: once for the one that is there, once for itself.
        (own, "", 0o644, 0o777, &[writable, writable]),
        ("etc/systemd/system/cnister-other.service.d", "ExecStart=/bin/true", 0o666, 0o777, &[]),
    ] {
        let node = Node::new();
        let file = node.at(path).join("more.conf");
        fs::create_dir_all(node.at(path)).unwrap();
        fs::write(&file, text).unwrap();
        let chmod =
            |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        chmod(file, file_mode);
        chmod(node.at(path), directory_mode);
        assert_eq!(told(&node), [], "{path}: nothing is enabled");
        node.enabled(b"program", TOOL, OnFailure::Start);
        assert_eq!(told(&node), expected, "{path} {text:?} {file_mode:o} {directory_mode:o}");
        // No other user's file holds up a boot.
        assert!(!exposed(&node.root, Moment::Boot).iter().any(Finding::is_refusal), "{path}");
    }
}

/// What is done to a node, what is said of it then, and how many findings say so.
type Silenced<'a> = (&'a str, &'a dyn Fn(&Node), &'a str, usize);

#[test]
fn a_check_at_boot_that_was_switched_off_is_told_until_the_hint_is_followed() {
    let remove = |node: &Node, path: &str| fs::remove_file(node.at(path)).unwrap();
    let link = |node: &Node, path: &str, target: &str| {
        remove(node, path);
        symlink(target, node.at(path)).unwrap();
    };
    let wanted = format!("{WANTS}/{UNIT}");
    let required = "etc/systemd/system/kubelet.service.requires/cnister-verify.service";
    let unit_altered = format!("`/{UNIT_FILE}` is not what `boot enable` wrote");
    let program = format!("the program of the check at boot, `{TOOL}`, is not what");
    let link_missing = format!("`/{wanted}` is missing: the check at boot is not started");
    let not_a_link = format!("`/{wanted}` is not a link to `/{UNIT_FILE}`");
    let gone = "the check at boot was enabled, and its unit is gone";
    let changes: &[Silenced<'_>] = &[
        ("a masked unit", &|node| link(node, UNIT_FILE, "/dev/null"), &unit_altered, 1),
        ("an empty unit", &|node| fs::write(node.at(UNIT_FILE), "").unwrap(), &unit_altered, 1),
        ("a dangling unit", &|node| link(node, UNIT_FILE, "none"), &unit_altered, 1),
        (
            "a unit that is no text",
            &|node| fs::write(node.at(UNIT_FILE), b"\xff").unwrap(),
            &unit_altered,
            1,
        ),
        (
            "another command",
            &|node| {
                let text = fs::read_to_string(node.at(UNIT_FILE)).unwrap();
                fs::write(node.at(UNIT_FILE), text.replace("--at-boot", "--help")).unwrap();
            },
            &unit_altered,
            1,
        ),
        ("no unit", &|node| remove(node, UNIT_FILE), gone, 1),
        ("no link", &|node| remove(node, &wanted), &link_missing, 1),
        (
            "no directory of links",
            &|node| fs::remove_dir_all(node.at(WANTS)).unwrap(),
            &link_missing,
            1,
        ),
        ("a link to nothing", &|node| link(node, &wanted, "../none.service"), &not_a_link, 1),
        ("a link to a mask", &|node| link(node, &wanted, "/dev/null"), &not_a_link, 1),
        (
            "a file for a link",
            &|node| {
                remove(node, &wanted);
                fs::write(node.at(&wanted), "").unwrap();
            },
            &not_a_link,
            1,
        ),
        (
            "a held runtime is not held",
            &|node| remove(node, required),
            "kubelet.service.requires",
            1,
        ),
        (
            "a mask in a stronger place",
            &|node| {
                fs::create_dir_all(node.at("etc/systemd/system.control")).unwrap();
                let mask = node.at("etc/systemd/system.control/cnister-verify.service");
                symlink("/dev/null", mask).unwrap();
            },
            "unit `/etc/systemd/system.control/cnister-verify.service` takes the place of",
            1,
        ),
        ("no program", &|node| remove(node, TOOL), &program, 1),
        ("another program", &|node| fs::write(node.at(TOOL), "other").unwrap(), &program, 1),
        ("an empty program", &|node| fs::write(node.at(TOOL), "").unwrap(), &program, 1),
        ("a program that is a link", &|node| link(node, TOOL, "/bin/true"), &program, 1),
        (
            "a program that does not run",
            &|node| fs::set_permissions(node.at(TOOL), fs::Permissions::from_mode(0o644)).unwrap(),
            &program,
            1,
        ),
        (
            "neither link nor program",
            &|node| {
                remove(node, &wanted);
                remove(node, TOOL);
            },
            &link_missing,
            2,
        ),
        (
            "nothing: the link that `systemctl enable` makes",
            &|node| link(node, &wanted, &format!("/{UNIT_FILE}")),
            "",
            0,
        ),
    ];
    for (what, change, expected, count) in changes {
        let node = Node::new();
        node.enabled(b"program", TOOL, OnFailure::Hold);
        assert_eq!(exposed(&node.root, Moment::Running), [], "{what}");
        change(&node);
        let told = exposed(&node.root, Moment::Running);
        assert_eq!(told.len(), *count, "{what}: {told:?}");
        for moment in [Moment::Install, Moment::Boot] {
            assert_eq!(exposed(&node.root, moment), told, "{what}");
        }
        for finding in &told {
            assert!(
                finding.code == Code::BootAltered && !finding.is_refusal(),
                "{what}: {finding:?}"
            );
            let hint = finding.hint.as_deref().unwrap();
            if let Some((_, command)) = hint.split_once("rm ") {
                remove(&node, command.split_once(" && ").unwrap().0);
            } else {
                assert_eq!(hint, "run `cnister boot enable` again", "{what}");
            }
        }
        assert!(told.first().is_none_or(|it| it.message.contains(expected)), "{what}: {told:?}");
        carry_out(&node.root, &node.plan(b"program", TOOL, OnFailure::Hold).unwrap()).unwrap();
        assert_eq!(exposed(&node.root, Moment::Running), [], "{what}");
        // What was never enabled, or was disabled, is not missed.
        node.disabled();
        assert_eq!(exposed(&node.root, Moment::Running), [], "{what}");
    }
}

#[test]
fn directories_in_which_others_can_switch_the_check_off_are_told() {
    for (path, mode, count) in [
        ("etc/systemd/system", 0o777, 1),
        ("etc/systemd/system", 0o1777, 1),
        (WANTS, 0o777, 1),
        (WANTS, 0o1777, 1),
        ("etc/systemd/system/kubelet.service.requires", 0o777, 1),
        ("etc/systemd/system/other.target.wants", 0o777, 0),
        (WANTS, 0o755, 0),
    ] {
        let node = Node::new();
        node.enabled(b"program", TOOL, OnFailure::Hold);
        fs::create_dir_all(node.at(path)).unwrap();
        fs::set_permissions(node.at(path), fs::Permissions::from_mode(mode)).unwrap();
        let told = exposed(&node.root, Moment::Running);
        assert_eq!(told.len(), count, "{path} {mode:o}: {told:?}");
        let is_one = |it: &Finding| {
            it.code == Code::WritableByOthers
                && it
                    .hint
                    .as_deref()
                    .is_some_and(|hint| hint.ends_with(&format!("chmod go-w /{path}")))
        };
        assert!(told.iter().all(|it| it.is_refusal() && is_one(it)), "{path} {mode:o}: {told:?}");
        carry_out(&node.root, &disable(&node.root).unwrap()).unwrap();
        assert_eq!(exposed(&node.root, Moment::Running), [], "{path} {mode:o}");
    }
}
