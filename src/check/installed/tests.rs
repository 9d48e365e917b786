//! Nodes in temporary directories, altered in every way that a check has to see.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::check::probe::Versions;
use crate::check::report::NeedReport;
use crate::model::{Digest, Severity};
use crate::node::test_support::{bundle, manifest};
use crate::node::{Original, Owner, Reason, Schema};

mod proof;

const BIN: &str = "/opt/cni/bin";

/// Something that starts like a program of this machine.
fn program(text: &str) -> Vec<u8> {
    let own = std::fs::read("/proc/self/exe").unwrap();
    [&own[..20], text.as_bytes()].concat()
}

struct Node {
    temporary: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    receipt: Receipt,
    journal: Option<Journal>,
    unfinished: Option<Verified<Bundle>>,
    refusal: Option<Refusal>,
    policy_is_the_same: bool,
}

impl Node {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let bin = temporary.path().join("opt/cni/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let files = vec![("bridge", program("bridge")), ("vlan", program("vlan"))];
        let mut installed = InstalledDirectory::default();
        for (name, bytes) in &files {
            std::fs::write(bin.join(name), bytes).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))
                .unwrap();
            let file = InstalledFile {
                digest: Digest::of(bytes),
                size: bytes.len() as u64,
                owner: Owner::Ours,
            };
            installed.files.insert(name.parse().unwrap(), file);
        }
        let list: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let verified = bundle(&list);
        let receipt = Receipt {
            schema_version: Schema,
            generation: 1,
            index: verified.value().index,
            bundle_json: Some(verified.value().manifest_json),
            platform: "linux/amd64".parse().unwrap(),
            bundle: "test".parse().unwrap(),
            version: semver::Version::new(1, 2, 3),
            repository: None,
            policy: Digest::of(b"policy"),
            strength: Strength::Proven,
            evidence: Digest::of(b"evidence"),
            directories: BTreeMap::from([(BIN.parse().unwrap(), installed)]),
        };
        let (journal, unfinished, refusal) = (None, None, None);
        let policy_is_the_same = false;
        Self { temporary, files, receipt, journal, unfinished, refusal, policy_is_the_same }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temporary.path().join("opt/cni/bin").join(name)
    }

    fn installed(&mut self) -> &mut InstalledDirectory {
        self.receipt.directories.get_mut(&BIN.parse().unwrap()).unwrap()
    }

    fn verified(&self) -> Verified<Bundle> {
        let list: Vec<_> =
            self.files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        bundle(&list)
    }

    fn examine(&self) -> Report {
        self.examine_with(&Ok(self.verified()), Occasion::Running, None)
    }

    fn examine_with(
        &self,
        verdict: &Result<Verified<Bundle>, Rejection>,
        occasion: Occasion,
        prober: Option<&Prober>,
    ) -> Report {
        let root = Root::open(self.temporary.path()).unwrap();
        let (journal, refusal) = (self.journal.as_ref(), self.refusal.as_ref());
        let unfinished = self.unfinished.as_ref();
        let memory = Memory {
            receipt: &self.receipt,
            journal,
            unfinished,
            refusal,
            policy_is_the_same: self.policy_is_the_same,
            floors: None,
            earlier: &EarlierBundles::default(),
        };
        examine(&root, &memory, verdict, &[], occasion, prober).unwrap()
    }
}

fn rejected(kind: RejectionKind, code: Code) -> Result<Verified<Bundle>, Rejection> {
    Err(Rejection { kind, findings: vec![Finding::refusal(code, "it")] })
}

fn codes(report: &Report) -> Vec<(Code, Severity)> {
    report.findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

fn conditions(report: &Report) -> Vec<(&str, FileState)> {
    report.plugins.iter().map(|plugin| (plugin.name.as_str(), plugin.state)).collect()
}

#[test]
fn a_node_as_it_was_installed_is_proven() {
    let report = Node::new().examine();
    assert!(report.is_good());
    assert_eq!(codes(&report), []);
    assert_eq!(conditions(&report), [("bridge", FileState::Proven), ("vlan", FileState::Proven)]);
    assert_eq!(report.installed.unwrap().strength, Some(Strength::Proven));
}

#[test]
fn every_change_of_a_file_is_seen() {
    type Change = fn(&Node);
    let cases: [(Change, FileState, Code); 8] = [
        (
            |node| std::fs::write(node.path("bridge"), program("fridge")).unwrap(),
            FileState::Altered,
            Code::DigestDrift,
        ),
        (
            |node| std::fs::write(node.path("bridge"), b"").unwrap(),
            FileState::Altered,
            Code::DigestDrift,
        ),
        (
            |node| {
                std::fs::set_permissions(
                    node.path("bridge"),
                    std::fs::Permissions::from_mode(0o4755),
                )
                .unwrap()
            },
            FileState::Altered,
            Code::DigestDrift,
        ),
        (
            // Of its size, and of none that is expected: a sparse file is not read.
            |node| {
                let length = std::fs::read(node.path("bridge")).unwrap().len();
                std::fs::write(node.path("bridge"), vec![0; length]).unwrap();
            },
            FileState::Altered,
            Code::DigestDrift,
        ),
        (
            |node| {
                let file = std::fs::File::options().write(true).open(node.path("bridge")).unwrap();
                file.set_len(1 << 42).unwrap();
            },
            FileState::Altered,
            Code::DigestDrift,
        ),
        (
            |node| std::fs::remove_file(node.path("bridge")).unwrap(),
            FileState::Missing,
            Code::PluginMissing,
        ),
        (
            |node| {
                std::fs::rename(node.path("bridge"), node.path("hidden")).unwrap();
                symlink("hidden", node.path("bridge")).unwrap();
            },
            FileState::InTheWay,
            Code::InTheWay,
        ),
        (
            |node| std::fs::remove_dir_all(node.temporary.path().join("opt")).unwrap(),
            FileState::Missing,
            Code::PluginMissing,
        ),
    ];
    for (number, (change, condition, code)) in cases.into_iter().enumerate() {
        let node = Node::new();
        change(&node);
        let report = node.examine();
        assert_eq!(conditions(&report)[0], ("bridge", condition), "case {number}");
        assert_eq!(codes(&report)[0], (code, Severity::Refusal), "case {number}");
        assert!(!report.is_good());
    }
}

#[test]
fn a_receipt_that_says_otherwise_is_not_believed() {
    let mut node = Node::new();
    let forged = program("forged");
    std::fs::write(node.path("bridge"), &forged).unwrap();
    let file = InstalledFile {
        digest: Digest::of(&forged),
        size: forged.len() as u64,
        owner: Owner::Ours,
    };
    node.installed().files.insert("bridge".parse().unwrap(), file.clone());
    std::fs::write(node.path("evil"), &forged).unwrap();
    std::fs::set_permissions(node.path("evil"), std::fs::Permissions::from_mode(0o755)).unwrap();
    node.installed().files.insert("evil".parse().unwrap(), file);
    let report = node.examine();
    let expected =
        [("bridge", FileState::Altered), ("evil", FileState::Mixed), ("vlan", FileState::Proven)];
    assert_eq!(conditions(&report), expected);
    assert_eq!(
        codes(&report),
        [(Code::DigestDrift, Severity::Refusal), (Code::Mixed, Severity::Refusal)]
    );
}

#[test]
fn a_receipt_cannot_hide_a_plugin_by_not_listing_it() {
    let mut node = Node::new();
    node.installed().files.remove(&"bridge".parse().unwrap());
    assert_eq!(codes(&node.examine()), [], "the signed bytes need no finding");
    std::fs::write(node.path("bridge"), program("forged")).unwrap();
    let report = node.examine();
    assert_eq!(conditions(&report), [("vlan", FileState::Proven), ("bridge", FileState::Kept)]);
    assert_eq!(codes(&report), [(Code::ForeignKept, Severity::Note)]);
    node.installed().files.clear();
    let report = node.examine();
    assert_eq!(codes(&report)[0], (Code::NotInstalled, Severity::Refusal));
    node.receipt.directories.clear();
    assert_eq!(codes(&node.examine()), [(Code::NotInstalled, Severity::Refusal)]);
}

#[test]
fn foreign_files_may_have_their_own_mode_and_not_their_own_bytes() {
    let mut node = Node::new();
    let owners = [
        Owner::Foreign,
        Owner::Adopted(Original { digest: Digest::of(b"x"), size: Some(1), mode: 0o755 }),
    ];
    for (file, owner) in node.installed().files.values_mut().zip(owners) {
        file.owner = owner;
    }
    std::fs::set_permissions(node.path("bridge"), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert!(node.examine().is_good());
    std::fs::write(node.path("bridge"), program("updated")).unwrap();
    assert_eq!(
        node.examine().findings[0].message,
        "`/opt/cni/bin/bridge` was changed by its own installer"
    );
}

#[test]
fn right_bytes_that_others_may_alter_are_refused_whoever_owns_them() {
    type Expose = fn(&std::path::Path);
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let cases: [(Expose, &str); 3] = [
        (|path| std::os::unix::fs::chown(path, Some(1000), None).unwrap(), "user 1000, mode 0755"),
        (
            |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).unwrap(),
            "mode 0775",
        ),
        (
            |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o6777)).unwrap(),
            "mode 6777",
        ),
    ];
    // Only root can give a file away.
    let root = rustix::process::geteuid().is_root();
    for (expose, found) in cases.into_iter().skip(usize::from(!root)) {
        let mut node = Node::new();
        let bytes = program("old");
        std::fs::write(node.path("old"), &bytes).unwrap();
        chmod(&node.path("old"), 0o755);
        let old = InstalledFile {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            owner: Owner::Ours,
        };
        node.installed().leftovers.insert("old".parse().unwrap(), old);
        node.installed().files.get_mut(&"vlan".parse().unwrap()).unwrap().owner = Owner::Foreign;
        assert!(node.examine().is_good(), "{found}");
        for name in ["bridge", "vlan", "old"] {
            expose(&node.path(name));
            let report = node.examine();
            let refusals: Vec<_> =
                report.findings.iter().filter(|finding| finding.is_refusal()).collect();
            let [refusal] = refusals.as_slice() else { panic!("{name} {found}: {report:?}") };
            assert_eq!(
                (refusal.code, refusal.found.as_deref()),
                (Code::DigestDrift, Some(found)),
                "{name}"
            );
            assert!(
                refusal.message.starts_with(&format!("`/opt/cni/bin/{name}`")),
                "{}",
                refusal.message
            );
            assert!(conditions(&report).contains(&(name, FileState::Altered)), "{name} {found}");
            if root {
                std::os::unix::fs::chown(node.path(name), Some(0), None).unwrap();
            }
            chmod(&node.path(name), 0o755);
        }
    }
}

#[test]
fn what_is_no_longer_trusted_is_told_apart_and_boots_unless_it_is_denied() {
    let mut node = Node::new();
    let untrusted = (RejectionKind::Untrusted, Code::SignerNotAllowed);
    let unsound = (RejectionKind::Unsound, Code::NoEvidence);
    let denied = (RejectionKind::Denied, Code::DeniedByRule);
    let cases = [
        (untrusted, Occasion::Running, Severity::Refusal),
        (untrusted, Occasion::Boot, Severity::Warning),
        (unsound, Occasion::Running, Severity::Refusal),
        (unsound, Occasion::Boot, Severity::Refusal),
        (denied, Occasion::Running, Severity::Refusal),
        (denied, Occasion::Boot, Severity::Refusal),
    ];
    for ((kind, code), occasion, severity) in cases {
        let report = node.examine_with(&rejected(kind, code), occasion, None);
        assert_eq!(
            codes(&report),
            [(Code::NoLongerTrusted, severity), (code, severity)],
            "{code} {occasion:?}"
        );
        assert_eq!(
            conditions(&report),
            [("bridge", FileState::Unverified), ("vlan", FileState::Unverified)]
        );
        assert_eq!(report.installed.unwrap().strength, None);
        // What the policy of the installation does not accept was never trusted.
        node.policy_is_the_same = true;
        let report = node.examine_with(&rejected(kind, code), occasion, None);
        node.policy_is_the_same = false;
        assert_eq!(
            codes(&report),
            [(Code::NoLongerTrusted, Severity::Refusal), (code, Severity::Refusal)],
            "{code} {occasion:?}, by the same policy"
        );
    }
    // Altered is altered, trusted or not.
    std::fs::write(node.path("bridge"), b"other").unwrap();
    let report = node.examine_with(&rejected(untrusted.0, untrusted.1), Occasion::Boot, None);
    assert_eq!(codes(&report)[0], (Code::DigestDrift, Severity::Refusal));
}

#[test]
fn an_interrupted_installation_and_a_refused_one_are_reported() {
    let mut node = Node::new();
    let newer = program("newer");
    std::fs::write(node.path("bridge"), &newer).unwrap();
    let mut next = node.receipt.clone();
    let files = &mut next.directories.get_mut(&BIN.parse().unwrap()).unwrap().files;
    let file = files.get_mut(&"bridge".parse().unwrap()).unwrap();
    (file.digest, file.size) = (Digest::of(&newer), newer.len() as u64);
    node.journal = Some(Journal::of(&next));
    let reasons =
        vec![Reason { code: "no-signature".to_owned(), message: "it is not signed".to_owned() }];
    node.refusal =
        Some(Refusal { schema_version: Schema, wanted: "ghcr.io/acme/cni:v2".to_owned(), reasons });
    for (occasion, severity) in
        [(Occasion::Running, Severity::Refusal), (Occasion::Boot, Severity::Warning)]
    {
        // The journal alone proves nothing.
        node.unfinished = None;
        let report = node.examine_with(&Ok(node.verified()), occasion, None);
        assert_eq!(codes(&report)[2], (Code::DigestDrift, severity));
        assert_eq!(
            conditions(&report),
            [("bridge", FileState::Unverified), ("vlan", FileState::Proven)]
        );
        node.unfinished = Some(bundle(&[("bridge", &newer)]));
        let report = node.examine_with(&Ok(node.verified()), occasion, None);
        assert_eq!(
            codes(&report),
            [(Code::InterruptedInstall, severity), (Code::WantedNotInstalled, severity)]
        );
        assert_eq!(
            conditions(&report),
            [("bridge", FileState::Interrupted), ("vlan", FileState::Proven)]
        );
        assert_eq!(
            report.findings[1].message,
            "the wanted release `ghcr.io/acme/cni:v2` was refused (no-signature)"
        );
    }
}

#[test]
fn what_is_not_of_the_bundle_is_reported() {
    let mut node = Node::new();
    let file =
        |bytes: &[u8]| InstalledFile { digest: Digest::of(bytes), size: 3, owner: Owner::Ours };
    let installed = node.installed();
    installed.kept.insert("loopback".parse().unwrap());
    for name in ["old", "changed", "deleted"] {
        installed.leftovers.insert(name.parse().unwrap(), file(b"old"));
    }
    std::fs::write(node.path("old"), b"old").unwrap();
    std::fs::write(node.path("changed"), b"new").unwrap();
    std::fs::write(node.path("loopback"), b"theirs").unwrap();
    let report = node.examine();
    assert!(!report.is_good());
    assert_eq!(
        codes(&report),
        [
            (Code::DigestDrift, Severity::Refusal),
            (Code::ForeignUnproven, Severity::Warning),
            (Code::Mixed, Severity::Note),
            (Code::Mixed, Severity::Note),
            (Code::ForeignKept, Severity::Note)
        ]
    );
    let others =
        [("changed", FileState::Altered), ("old", FileState::Mixed), ("loopback", FileState::Kept)];
    assert_eq!(conditions(&report)[2..], others);
    std::fs::remove_file(node.path("loopback")).unwrap();
    assert!(
        codes(&node.examine()).contains(&(Code::PluginMissing, Severity::Refusal)),
        "left to another, and gone"
    );
}

#[test]
fn a_leftover_that_the_bundle_has_in_its_own_way_has_to_be_there() {
    let mut node = Node::new();
    for name in ["bridge", "vlan"] {
        let file = InstalledFile { digest: Digest::of(b"old"), size: 3, owner: Owner::Ours };
        node.installed().files.remove(&name.parse().unwrap());
        node.installed().leftovers.insert(name.parse().unwrap(), file);
        std::fs::write(node.path(name), b"old").unwrap();
    }
    assert_eq!(codes(&node.examine()), [(Code::Mixed, Severity::Note); 2]);
    std::fs::remove_file(node.path("bridge")).unwrap();
    for occasion in [Occasion::Running, Occasion::Boot] {
        let report = node.examine_with(&Ok(node.verified()), occasion, None);
        assert_eq!(
            codes(&report),
            [(Code::PluginMissing, Severity::Refusal), (Code::Mixed, Severity::Note)]
        );
        assert_eq!(
            conditions(&report),
            [("bridge", FileState::Missing), ("vlan", FileState::Mixed)]
        );
    }
}

/// A prober that never starts the plugin, and answers with its bytes.
fn scripted() -> Prober {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/probe/prober.sh");
    Prober::new(script, Duration::from_secs(20), true)
}

fn versions(report: &Report) -> Vec<Option<Vec<String>>> {
    report
        .plugins
        .iter()
        .map(|plugin| plugin.versions.clone().map(|versions| versions.supported))
        .collect()
}

#[test]
fn only_proven_plugins_are_asked() {
    let node = Node::new();
    let answer = |name: &str| Some(vec![name.to_owned()]);
    let prober = scripted();
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&prober));
    assert_eq!(versions(&report), [answer("bridge"), answer("vlan")]);
    let remembered = prober.answer(&Digest::of(&node.files[0].1));
    assert_eq!(
        remembered.map(|versions| versions.supported),
        answer("bridge"),
        "for the next check"
    );

    std::fs::write(node.path("bridge"), program("canary")).unwrap();
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&scripted()));
    assert_eq!(versions(&report), [None, answer("vlan")]);

    let untrusted = rejected(RejectionKind::Untrusted, Code::SignerNotAllowed);
    let report = node.examine_with(&untrusted, Occasion::Running, Some(&scripted()));
    assert_eq!(versions(&report), [None, None]);
}

#[test]
fn a_plugin_that_does_not_answer_is_a_finding() {
    let mut node = Node::new();
    node.files[1].1 = program("not \"JSON");
    std::fs::write(node.path("vlan"), &node.files[1].1).unwrap();
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&scripted()));
    assert_eq!(codes(&report), [(Code::ProbeFailed, Severity::Refusal)]);
    let absent = Prober::new(node.temporary.path().join("absent"), Duration::from_secs(1), true);
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&absent));
    assert_eq!(codes(&report), [(Code::ProbeSkipped, Severity::Note)]);
    assert!(
        report.findings[0].message.contains("and 1 other: each cannot be started"),
        "{report:?}"
    );
}

#[test]
fn bytes_that_answered_are_not_asked_again() {
    let node = Node::new();
    // This prober cannot ask; it knows one answer, and one of a plugin that was removed.
    let prober = Prober::new(node.temporary.path().join("absent"), Duration::from_secs(1), true);
    let answer = Versions { supported: vec!["1.0.0".to_owned()] };
    let (bridge, gone) = (Digest::of(&node.files[0].1), Digest::of(b"gone"));
    prober.remember(bridge, answer.clone());
    prober.remember(gone, answer.clone());
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&prober));
    assert_eq!(versions(&report), [Some(answer.supported.clone()), None]);
    assert_eq!(codes(&report), [(Code::ProbeSkipped, Severity::Note)]);
    assert_eq!((prober.answer(&bridge), prober.answer(&gone)), (Some(answer), None));

    // Other bytes have no answer.
    std::fs::write(node.path("bridge"), program("canary")).unwrap();
    let report = node.examine_with(&Ok(node.verified()), Occasion::Running, Some(&prober));
    assert_eq!(versions(&report), [None, None]);
}

#[test]
fn a_directory_that_nothing_was_installed_in_is_reported() {
    let node = Node::new();
    let root = Root::open(node.temporary.path()).unwrap();
    let memory = Memory {
        receipt: &node.receipt,
        journal: None,
        unfinished: None,
        refusal: None,
        policy_is_the_same: false,
        floors: None,
        earlier: &EarlierBundles::default(),
    };
    let directories = [BIN, "/usr/lib/cni"].map(|path| path.parse().unwrap());
    let report =
        examine(&root, &memory, &Ok(node.verified()), &directories, Occasion::Boot, None).unwrap();
    assert_eq!(report.findings[0].message, "nothing was installed in `/usr/lib/cni`");
    assert!(!report.is_good());
}

#[test]
fn a_report_serializes_as_its_sample() {
    let mut node = Node::new();
    std::fs::write(node.path("bridge"), b"fridge").unwrap();
    node.files = vec![("bridge", b"bridge".to_vec()), ("vlan", b"vlan".to_vec())];
    node.receipt.index = Digest::of(&manifest(&[]).to_bytes());
    std::fs::write(node.path("vlan"), b"vlan").unwrap();
    let mut report = node.examine();
    report.plugins[1].versions =
        Some(Versions { supported: vec!["0.4.0".to_owned(), "1.0.0".to_owned()] });
    report.needs.push(NeedReport {
        plugin: "vlan".parse().unwrap(),
        role: crate::cni::Role::Main,
        configuration: "demo/tagged".to_owned(),
        cni_version: "1.0.0".to_owned(),
        found_in: Some(HostPath::default_bin_directory()),
    });
    let sample = include_str!("../../../tests/data/check.json");
    assert_eq!(crate::model::json::readable(&report), sample);
}
