//! Installations in temporary directories: whole, and refused half-way.

mod interruption_tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::bundle::FileManifest;
use crate::model::{Code, Digest, PluginName};
use crate::node::apply::KeptPolicy;
use crate::node::host::{ForeignFiles, Observed, STAGING, observe};
use crate::node::payload::{Staged, Take};
use crate::node::plan::{ForeignRule, InstallOptions, Leftovers, plan};
use crate::node::state::{Original, Owner, Refusal, Schema, State};
use crate::node::test_support::{bundle, manifest, stage_files};

/// Hears of every action, and may remember it.
type Observer<'a> = dyn FnMut(&Action) -> ControlFlow<()> + 'a;
type Files<'a> = &'a [(&'a str, &'a [u8])];

const OLD: Files<'_> =
    &[("bridge", b"old bridge"), ("host-local", b"host-local"), ("vlan", b"old vlan")];
const NEW: Files<'_> = &[
    ("bridge", b"new bridge"),
    ("host-local", b"host-local"),
    ("tap", b"new tap"),
    ("vlan", b"vlan"),
];
const EVIDENCE: &[u8] = b"the evidence";

/// A node in a temporary directory, and a staged directory beside it.
struct Node {
    temporary: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("host")).unwrap();
        Self { temporary }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.temporary.path().join("host").join(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path("opt/cni/bin")).unwrap();
        let path = self.path("opt/cni/bin").join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn root(&self) -> Root {
        Root::open(&self.path("")).unwrap()
    }

    fn observe(&self, files: Files<'_>) -> Observed {
        let (root, path) = (self.root(), HostPath::default_state_directory());
        let state =
            State::open(&root, &path).unwrap().map(|state| state.read(Duration::ZERO).unwrap());
        observe(
            &root,
            state.as_ref(),
            &[HostPath::default_bin_directory()],
            &manifest(files).plugins,
            ForeignFiles::Read,
        )
        .unwrap()
    }

    fn install(&self, files: Files<'_>) -> Result<Receipt, NodeError> {
        self.install_with(files, &InstallOptions::default(), &mut |_| ControlFlow::Continue(()))
    }

    fn install_with(
        &self,
        files: Files<'_>,
        options: &InstallOptions,
        observer: &mut Observer<'_>,
    ) -> Result<Receipt, NodeError> {
        let staged = self.temporary.path().join("staged");
        let _ = std::fs::remove_dir_all(&staged);
        stage_files(&staged, &manifest(files), files);
        self.install_from(files, options, &mut Staged::open(&staged).unwrap(), observer)
    }

    fn install_from(
        &self,
        files: Files<'_>,
        options: &InstallOptions,
        payload: &mut dyn Payload,
        observer: &mut Observer<'_>,
    ) -> Result<Receipt, NodeError> {
        let (root, verified) = (self.root(), bundle(files));
        let state = State::open_or_create(&root, &HostPath::default_state_directory())?
            .write(Duration::ZERO)?;
        let observed = observe(
            &root,
            Some(&state),
            &[HostPath::default_bin_directory()],
            &verified.value().files.plugins,
            options.foreign_files(),
        )?;
        let plan = plan(&verified, &observed, options).map_err(NodeError::Refused)?;
        let record = Record {
            evidence: EVIDENCE,
            policy: Some(KeptPolicy {
                text: "the policy\n",
                directory: &HostPath::default_policy_directory(),
            }),
            generations: 2,
            repository: None,
            purpose: Purpose::Install,
            rollback: None,
        };
        let observer = RefCell::new(observer);
        let observe = |action: &Action| (*observer.borrow_mut())(action);
        let applied = apply(&root, &state, &plan, payload, &record, Progress::new(&observe));
        applied.map(|applied| applied.receipt)
    }

    /// Everything in the plugin directory, with content and mode.
    fn bin(&self) -> BTreeMap<String, (Vec<u8>, u32)> {
        let Ok(entries) = std::fs::read_dir(self.path("opt/cni/bin")) else {
            return BTreeMap::new();
        };
        let entries = entries.map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            (
                entry.file_name().into_string().unwrap(),
                (std::fs::read(entry.path()).unwrap_or_default(), mode),
            )
        });
        entries.collect()
    }
}

fn expected(files: Files<'_>) -> BTreeMap<String, (Vec<u8>, u32)> {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), (bytes.to_vec(), 0o755))).collect()
}

fn go_on(_: &Action) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn installs_a_bundle_on_an_empty_node() {
    let node = Node::new();
    let receipt = node.install(OLD).unwrap();
    assert_eq!(node.bin(), expected(OLD));
    assert_eq!(node.observe(OLD).receipt, Some(receipt.clone()));
    assert_eq!(receipt.evidence, Digest::of(EVIDENCE));
    let evidence = format!("var/lib/cnister/evidence/{}.json", receipt.evidence.hex());
    assert_eq!(std::fs::read(node.path(&evidence)).unwrap(), EVIDENCE);
    assert_eq!(std::fs::read(node.path("etc/cnister/policy.yaml")).unwrap(), b"the policy\n");
    assert!(!node.path("var/lib/cnister/journal.json").exists());
}

#[test]
fn a_second_run_has_nothing_to_do_and_writes_nothing() {
    let node = Node::new();
    node.install(OLD).unwrap();
    let stamps = || {
        [
            "opt/cni/bin",
            "opt/cni/bin/bridge",
            "etc/cnister",
            "var/lib/cnister",
            "var/lib/cnister/evidence",
        ]
        .map(|path| node.path(path))
        .map(|path| std::fs::metadata(path).unwrap())
        .map(|metadata| {
            (metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.mtime_nsec())
        })
    };
    let before = stamps();
    let verified = bundle(OLD);
    assert!(
        plan(&verified, &node.observe(OLD), &InstallOptions::default()).unwrap().changes_nothing()
    );
    let mut actions = Vec::new();
    node.install_with(OLD, &InstallOptions::default(), &mut |action| {
        actions.push(action.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(stamps(), before);
    use Action::{Collect, Done, Forget, WriteEvidence, WritePolicy, WriteReceipt};
    assert_eq!(actions, [WriteEvidence, WriteReceipt, WritePolicy, Collect, Forget, Done]);
}

#[test]
fn what_has_the_signed_bytes_is_written_again_and_comes_back_as_it_was() {
    use std::os::unix::fs::FileExt;
    let node = Node::new();
    for (name, bytes) in OLD {
        node.put(name, bytes);
    }
    let bridge = node.path("opt/cni/bin/bridge");
    std::fs::set_permissions(&bridge, std::fs::Permissions::from_mode(0o555)).unwrap();
    let before = node.bin();
    let writer = std::fs::File::options().write(true).open(&bridge).unwrap();
    std::fs::hard_link(&bridge, node.path("second name")).unwrap();
    let receipt = node.install(OLD).unwrap();
    let files = &receipt.directories[&HostPath::default_bin_directory()].files;
    assert!(files.values().all(|file| file.owner.original().is_some()), "{files:?}");
    // A second name and an open descriptor are of the old file.
    writer.write_all_at(b"altered", 0).unwrap();
    assert_eq!(node.bin(), expected(OLD));
    assert_eq!(std::fs::metadata(&bridge).unwrap().nlink(), 1);
    // An upgrade is what it is with files of our own.
    node.install(NEW).unwrap();
    node.install(OLD).unwrap();
    assert!(
        plan(&bundle(OLD), &node.observe(OLD), &InstallOptions::default())
            .unwrap()
            .changes_nothing()
    );
    let root = node.root();
    let state = State::open(&root, &HostPath::default_state_directory()).unwrap().unwrap();
    let observed = node.observe(OLD);
    let all = crate::node::plan::Uninstallation::decide(&observed, Default::default()).unwrap();
    let writing = state.write(Duration::ZERO).unwrap();
    crate::node::apply::uninstall(&root, &writing, &all, Progress::silent()).unwrap();
    let left = node.bin();
    assert_eq!(before, left.into_iter().filter(|(name, _)| name != "tap").collect());
}

#[test]
fn matching_files_of_another_installer_are_enough_if_they_stay() {
    let node = Node::new();
    for (name, bytes) in OLD {
        node.put(name, bytes);
    }
    let before = std::fs::metadata(node.path("opt/cni/bin")).unwrap();
    let keep = InstallOptions { foreign: ForeignRule::Keep, ..InstallOptions::default() };
    let receipt = node.install_with(OLD, &keep, &mut go_on).unwrap();
    let after = std::fs::metadata(node.path("opt/cni/bin")).unwrap();
    // Nothing was created there, not even for a moment: it may be read-only.
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    let files = &receipt.directories[&HostPath::default_bin_directory()].files;
    assert!(files.values().all(|file| file.owner == Owner::Foreign), "{files:?}");
}

#[test]
fn an_upgrade_replaces_repairs_and_leaves_the_rest() {
    let node = Node::new();
    node.install(OLD).unwrap();
    node.put("vlan", b"altered");
    node.put("other", b"another installer's");
    let inode = |name: &str| std::fs::metadata(node.path("opt/cni/bin").join(name)).unwrap().ino();
    let before = (inode("host-local"), inode("other"));
    node.install(NEW).unwrap();
    let mut wanted = expected(NEW);
    wanted.insert("other".to_owned(), (b"another installer's".to_vec(), 0o755));
    assert_eq!(node.bin(), wanted);
    assert_eq!((inode("host-local"), inode("other")), before);
}

#[test]
fn a_foreign_file_stops_everything_and_is_adopted_on_request() {
    let node = Node::new();
    node.put("bridge", b"theirs");
    let before = node.bin();
    let findings = node.install(NEW).expect_err("foreign").into_findings().unwrap();
    assert_eq!(
        findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
        [Code::ForeignFile]
    );
    assert_eq!(node.bin(), before);

    let options = InstallOptions { foreign: ForeignRule::Adopt, ..InstallOptions::default() };
    let receipt = node.install_with(NEW, &options, &mut go_on).unwrap();
    assert_eq!(node.bin(), expected(NEW));
    let theirs = Original { digest: Digest::of(b"theirs"), size: Some(6), mode: 0o755 };
    let bridge =
        &receipt.directories[&HostPath::default_bin_directory()].files[&"bridge".parse().unwrap()];
    assert_eq!(bridge.owner, Owner::Adopted(theirs.clone()));
    let original = format!("var/lib/cnister/originals/{}", theirs.digest.hex());
    assert_eq!(std::fs::read(node.path(&original)).unwrap(), b"theirs");

    let receipt = node.install(OLD).unwrap();
    let bridge =
        &receipt.directories[&HostPath::default_bin_directory()].files[&"bridge".parse().unwrap()];
    assert_eq!(bridge.owner, Owner::Adopted(theirs), "what was there first is remembered");
}

#[test]
fn a_success_forgets_an_earlier_refusal() {
    let node = Node::new();
    let state = State::open_or_create(&node.root(), &HostPath::default_state_directory()).unwrap();
    let refusal = Refusal { schema_version: Schema, wanted: "it".to_owned(), reasons: Vec::new() };
    state.write(Duration::ZERO).unwrap().write_refusal(&refusal).unwrap();
    node.install(OLD).unwrap();
    assert!(!node.path("var/lib/cnister/refusal.json").exists());
}

/// A payload that goes wrong at its second file.
struct Broken(fn(&mut Take<'_>, &FileManifest) -> Result<(), NodeError>);

impl Payload for Broken {
    fn deliver(
        &mut self,
        files: &FileManifest,
        _: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        take(&files.plugins[0], "a test", &mut &b"new bridge"[..])?;
        (self.0)(take, files)
    }
}

/// Some bytes, and then an error of the system.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(rustix::io::Errno::IO.into());
        }
        let count = buffer.len().min(self.0);
        buffer[..count].fill(b'x');
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn a_payload_that_fails_half_way_leaves_the_directory_as_it_was() {
    let cases: [(&str, Broken, &str); 5] = [
        (
            "altered",
            Broken(|take, files| take(&files.plugins[2], "a test", &mut &b"bad tap"[..])),
            "is not the file that was signed",
        ),
        (
            "cut off",
            Broken(|take, files| take(&files.plugins[2], "a test", &mut &b"new"[..])),
            "is not the file that was signed",
        ),
        (
            "growing",
            Broken(|take, files| take(&files.plugins[2], "a test", &mut io::repeat(b'x'))),
            "is not the file that was signed",
        ),
        (
            "failing",
            Broken(|take, files| take(&files.plugins[2], "a test", &mut Failing(3))),
            "cannot read `tap` from a test",
        ),
        (
            "short of a file",
            Broken(|_, _| Ok(())),
            "`tap` is missing from what was to be installed",
        ),
    ];
    for (what, mut payload, expected) in cases {
        let node = Node::new();
        node.install(OLD).unwrap();
        node.put("other", b"another installer's");
        let before = node.bin();
        let error = node
            .install_from(NEW, &InstallOptions::default(), &mut payload, &mut go_on)
            .expect_err(what)
            .to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(node.bin(), before, "{what}");
        assert!(!node.path("var/lib/cnister/journal.json").exists(), "{what}");
    }
    let node = Node::new();
    let mut payload = Broken(|_, _| Ok(()));
    let error = node
        .install_from(NEW, &InstallOptions::default(), &mut payload, &mut go_on)
        .expect_err("nothing is delivered");
    assert_eq!(error.to_string(), "refused: `host-local` is missing from what was to be installed");
    assert!(!node.path("opt").exists(), "directories that were created for nothing are gone");
}

/// A reader that looks at the file it is copied to.
struct Watching<'a> {
    node: &'a Node,
    bytes: &'a [u8],
    modes: Vec<u32>,
}

impl Read for Watching<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let staged = std::fs::metadata(self.node.path("opt/cni/bin/.cnister/bridge"))?;
        self.modes.push(staged.permissions().mode() & 0o7777);
        let count = self.bytes.len().min(2);
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

impl Payload for Watching<'_> {
    fn deliver(
        &mut self,
        files: &FileManifest,
        _: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        take(&files.plugins[0], "a test", self)
    }
}

#[test]
fn a_file_cannot_be_executed_before_all_of_it_is_right() {
    let node = Node::new();
    let mut payload = Watching { node: &node, bytes: b"bridge", modes: Vec::new() };
    node.install_from(
        &[("bridge", b"bridge")],
        &InstallOptions::default(),
        &mut payload,
        &mut go_on,
    )
    .unwrap();
    assert_eq!(payload.modes, [0o600; 4]);
    assert_eq!(node.bin()["bridge"], (b"bridge".to_vec(), 0o755));
}

#[test]
fn what_another_installer_writes_meanwhile_is_not_overwritten() {
    let node = Node::new();
    node.install(OLD).unwrap();
    let mut interfere = |action: &Action| {
        if *action == Action::Stage("vlan".parse().unwrap()) {
            node.put("tap", b"theirs, just now");
        }
        ControlFlow::Continue(())
    };
    let findings = node
        .install_with(NEW, &InstallOptions::default(), &mut interfere)
        .expect_err("tap appeared")
        .into_findings()
        .unwrap();
    assert_eq!(findings[0].message, "`/opt/cni/bin/tap` changed while it was being replaced");
    let mut wanted = expected(OLD);
    wanted.insert("tap".to_owned(), (b"theirs, just now".to_vec(), 0o755));
    assert_eq!(node.bin(), wanted);
}

#[test]
fn a_staging_name_that_is_taken_is_not_followed() {
    let node = Node::new();
    node.put("unrelated", b"");
    std::fs::create_dir(node.path("precious")).unwrap();
    std::fs::write(node.path("precious/file"), b"kept").unwrap();
    symlink(node.path("precious"), node.path("opt/cni/bin/.cnister")).unwrap();
    node.install(OLD).unwrap();
    assert!(!node.path("opt/cni/bin/.cnister").exists(), "the link is removed");
    assert_eq!(std::fs::read(node.path("precious/file")).unwrap(), b"kept");
}

#[test]
fn a_link_that_leads_out_of_the_root_is_refused() {
    let node = Node::new();
    let outside = node.temporary.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir_all(node.path("opt/cni")).unwrap();
    symlink(&outside, node.path("opt/cni/bin")).unwrap();
    let findings = node.install(OLD).expect_err("escapes").into_findings().unwrap();
    assert_eq!(findings[0].code, Code::PathEscapes);
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn one_payload_fills_several_directories() {
    let node = Node::new();
    let staged = node.temporary.path().join("staged");
    stage_files(&staged, &manifest(NEW), NEW);
    let (root, verified) = (node.root(), bundle(NEW));
    let state = State::open_or_create(&root, &HostPath::default_state_directory()).unwrap();
    let state = state.write(Duration::ZERO).unwrap();
    let paths = ["/opt/cni/bin", "/usr/lib/cni"].map(|path| path.parse().unwrap());
    let observed =
        observe(&root, Some(&state), &paths, &verified.value().files.plugins, ForeignFiles::Read)
            .unwrap();
    let plan = plan(&verified, &observed, &InstallOptions::default()).unwrap();
    let policy_directory = HostPath::default_policy_directory();
    let record = Record {
        evidence: EVIDENCE,
        policy: Some(KeptPolicy { text: "p", directory: &policy_directory }),
        generations: 2,
        repository: None,
        purpose: Purpose::Install,
        rollback: None,
    };
    let mut payload = Staged::open(&staged).unwrap();
    let applied = apply(&root, &state, &plan, &mut payload, &record, Progress::silent());
    let receipt = applied.unwrap().receipt;
    assert_eq!(receipt.directories.len(), 2);
    let read = |path: &str| std::fs::read(node.path(path)).unwrap();
    assert_eq!(
        (read("opt/cni/bin/tap"), read("usr/lib/cni/tap")),
        (b"new tap".to_vec(), b"new tap".to_vec())
    );
    assert!(!node.path("usr/lib/cni/.cnister").exists());
}

/// The first bytes of a 64-bit little-endian program for an ELF machine.
fn program(machine: u8) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    (header[16], header[18]) = (2, machine);
    header
}

#[test]
fn a_program_for_another_machine_never_gets_its_name() {
    let node = Node::new();
    node.put("flannel", b"another installer's");
    let before = node.bin();
    let found = |machine| {
        let findings = node
            .install(&[("bridge", &program(machine))])
            .map_err(|error| error.into_findings().unwrap());
        findings.map(drop).map_err(|mut findings| (findings.remove(0).code, node.bin()))
    };
    // AArch64, and a machine that no CNI plugin is built for.
    for machine in [183, 1] {
        assert_eq!(found(machine), Err((Code::PlatformMismatch, before.clone())), "{machine}");
    }
    assert_eq!(found(62), Ok(()));
}

#[test]
fn a_plugin_gets_the_label_of_its_directory_before_its_name() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let node = Node::new();
    node.put("flannel", b"another installer's");
    let bin = node.path("opt/cni/bin");
    let label = b"system_u:object_r:container_file_t:s0\0";
    // Only root may, and not every file system keeps labels.
    if setxattr(&bin, "security.selinux", label, XattrFlags::empty()).is_err() {
        return;
    }
    let label_of = |path: &std::path::Path| {
        let mut found = vec![0; 100];
        let length = getxattr(path, "security.selinux", found.as_mut_slice()).ok()?;
        found.truncate(length);
        Some(found)
    };
    let mut seen = Vec::new();
    node.install_with(NEW, &InstallOptions::default(), &mut |action| {
        if let Action::Publish(_, name) = action {
            seen.push(label_of(&bin.join(STAGING).join(name.as_str())));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, vec![Some(label.to_vec()); NEW.len()]);
    assert_eq!(label_of(&bin.join("flannel")), None, "what is not ours is left alone");
}
