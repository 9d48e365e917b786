//! A plan and a node; what needs mounts or other rights is tested with the built program.

use std::os::unix::fs::symlink;

use super::*;
use crate::disk::Attributes;
use crate::model::Digest;
use crate::node::host::{Observed, ObservedDirectory};
use crate::node::plan::{ForeignRule, InstallOptions, plan};
use crate::node::test_support;
use crate::trust::{Bundle, Verified};

const MUSL: &str = "/lib/ld-musl-x86_64.so.1";

fn node(directories: &[&str]) -> (tempfile::TempDir, Root) {
    let temporary = tempfile::tempdir().unwrap();
    for path in directories {
        std::fs::create_dir_all(temporary.path().join(path)).unwrap();
    }
    let root = Root::open(temporary.path()).unwrap();
    (temporary, root)
}

/// A bundle of two plugins, the second of which is linked dynamically.
fn bundle() -> Verified<Bundle> {
    let mut files = test_support::manifest(&[("bridge", b"new"), ("vlan", b"new")]);
    files.plugins[1].linkage = Linkage::Dynamic { interpreter: MUSL.to_owned() };
    test_support::bundle_of(files)
}

/// The findings before this bundle is installed on a node where nothing is observed but these
/// files.
fn messages(root: &Root, entries: &[(&str, Found)]) -> Vec<String> {
    said_by(root, entries, ForeignRule::Adopt)
}

fn said_by(root: &Root, entries: &[(&str, Found)], foreign: ForeignRule) -> Vec<String> {
    let bundle = bundle();
    let entries =
        entries.iter().map(|(name, found)| (name.parse().unwrap(), found.clone())).collect();
    let path = HostPath::default_bin_directory();
    let directories = vec![ObservedDirectory {
        path,
        exists: true,
        writable: true,
        held: BTreeSet::new(),
        unfinished: false,
        entries,
    }];
    let observed = Observed { directories, ..Observed::default() };
    let options = InstallOptions { foreign, ..InstallOptions::default() };
    let plan = plan(&bundle, &observed, &options).unwrap();
    let records =
        Records { directory: &HostPath::default_state_directory(), documents: 1000, spool: 0 };
    preflight(root, &plan, None, &records, FREE_SPACE)
        .iter()
        .map(|it| format!("{:?} {}: {}", it.severity, it.code, it.message))
        .collect()
}

#[test]
fn a_part_of_a_node_says_nothing_about_interpreters() {
    assert_eq!(messages(&node(&["opt/cni/bin"]).1, &[]), Vec::<String>::new());
}

#[test]
fn an_interpreter_is_looked_up_as_the_kernel_does_it() {
    let missing = [format!(
        "Refusal interpreter-missing: this node has no `{MUSL}`, which `vlan` needs to run"
    )];
    let (temporary, root) = node(&["usr/lib"]);
    assert_eq!(messages(&root, &[]), missing);
    symlink("usr/lib", temporary.path().join("lib")).unwrap();
    symlink("/usr/lib/libc.so", temporary.path().join("usr/lib/ld-musl-x86_64.so.1")).unwrap();
    assert_eq!(messages(&root, &[]), missing, "it leads nowhere");
    std::fs::create_dir(temporary.path().join("usr/lib/libc.so")).unwrap();
    assert_eq!(messages(&root, &[]), missing, "it is a directory");
    std::fs::remove_dir(temporary.path().join("usr/lib/libc.so")).unwrap();
    std::fs::write(temporary.path().join("usr/lib/libc.so"), "").unwrap();
    assert_eq!(messages(&root, &[]), Vec::<String>::new());
    // A plugin that is not written was asked for its version, or will be.
    std::fs::remove_file(temporary.path().join("usr/lib/libc.so")).unwrap();
    let there = Found::Regular {
        digest: Digest::of(b"new"),
        size: 3,
        mode: 0o755,
        stranger: None,
        attributes: Attributes::default(),
    };
    assert_eq!(said_by(&root, &[("vlan", there.clone())], ForeignRule::Keep), [""; 0]);
    assert_eq!(messages(&root, &[("vlan", there)]), missing, "one that is taken over is written");
}

#[test]
fn bits_that_are_dropped_are_reported() {
    let (_temporary, root) = node(&["opt/cni/bin"]);
    let theirs = |mode, attributes| Found::Regular {
        digest: Digest::of(b"theirs"),
        size: 6,
        mode,
        stranger: None,
        attributes,
    };
    for (mode, expected) in [(0o4755, true), (0o2755, true), (0o755, false), (0o1755, false)] {
        let note =
            "Note setuid-dropped: `/opt/cni/bin/bridge` ran with the rights of its owner or group"
                .to_owned();
        let expected: Vec<_> = expected.then_some(note).into_iter().collect();
        assert_eq!(
            messages(&root, &[("bridge", theirs(mode, Attributes::default()))]),
            expected,
            "{mode:o}"
        );
    }
    let capable = theirs(0o755, Attributes { capabilities: true, writers: false });
    let note = "Note setuid-dropped: `/opt/cni/bin/bridge` gave capabilities to whoever ran it";
    assert_eq!(messages(&root, &[("bridge", capable)]), [note]);
}

#[test]
fn what_has_the_name_of_the_staging_directory_is_looked_into() {
    let (temporary, root) = node(&["opt/cni/bin"]);
    let staging = temporary.path().join("opt/cni/bin/.cnister");
    let message = || {
        let step = Step::CleanUp { directory: HostPath::default_bin_directory() };
        obstacles(&root, std::slice::from_ref(&step)).pop().map(|finding| finding.to_string())
    };
    let expected = "in-the-way: `/opt/cni/bin/.cnister/inner` is a directory\n  expected: files of an interrupted \
                    installation\n  found:    a directory\n  hint: cnister did not create it: move `/opt/cni/bin/.cnister` away";
    assert_eq!(message(), None);
    std::fs::write(&staging, "a file").unwrap();
    assert_eq!(message(), None, "it is removed");
    std::fs::remove_file(&staging).unwrap();
    std::fs::create_dir(&staging).unwrap();
    for file in ["bridge", "another file"] {
        std::fs::write(staging.join(file), "").unwrap();
    }
    symlink("/", staging.join("link")).unwrap();
    assert_eq!(message(), None);
    std::fs::create_dir(staging.join("inner")).unwrap();
    assert_eq!(message().as_deref(), Some(expected));
}

/// A file system with room for so many bytes and files.
fn system(device: u64, room: u64, names: u64) -> FileSystem {
    let (room, names) = (Some(room), Some(names));
    FileSystem { device, read_only: false, no_execute: false, block: 4096, room, names }
}

#[test]
fn room_is_counted_for_each_file_system() {
    let (_temporary, root) = node(&["opt/cni/bin"]);
    let target = |system| {
        let found = WriteTarget::find(&root, &HostPath::default_bin_directory()).unwrap();
        WriteTarget { system, ..found }
    };
    let (bin, state) = (HostPath::default_bin_directory(), HostPath::default_state_directory());
    let findings = |systems: [FileSystem; 2]| {
        let mut needs = SpaceNeeds::beside(SLACK, NAMES);
        // A file takes whole blocks.
        needs.add(&bin, &target(systems[0]), [1, 4096, 4097]);
        needs.add(&state, &target(systems[1]), [1]);
        needs.findings("").map(|it| (it.message, it.found.unwrap())).collect::<Vec<_>>()
    };
    let no = |what: &str, paths: &str, found: &str| {
        let message = format!("not enough space for {what} on the file system of {paths}");
        (message, found.to_owned())
    };
    let (two, one) = (4 * 4096 + SLACK, 4096 + SLACK);
    assert_eq!(findings([system(1, two, 11), system(2, one, 9)]), []);
    let bytes = format!("{two} bytes");
    let few = format!("{} bytes", two - 1);
    assert_eq!(
        findings([system(1, two - 1, 11), system(2, one, 9)]),
        [no(&bytes, "`/opt/cni/bin`", &few)]
    );
    assert_eq!(
        findings([system(1, two, 11), system(2, one, 8)]),
        [no("9 files", "`/var/lib/cnister`", "8 files")]
    );
    let both = "`/opt/cni/bin` and `/var/lib/cnister`";
    let shared = system(1, 5 * 4096 + SLACK, 12);
    assert_eq!(findings([shared, shared]), []);
    let shared = system(1, 5 * 4096 + SLACK - 1, 12);
    assert_eq!(findings([shared, shared]), [no("53248 bytes", both, "53247 bytes")]);
    // What does not count its room has enough, and what cannot be written has none to speak of.
    let unlimited = FileSystem { room: None, names: None, ..system(1, 0, 0) };
    let read_only = FileSystem { read_only: true, ..system(2, 0, 0) };
    assert_eq!(findings([unlimited, read_only]), []);
}
