//! What changes a service of systemd without changing the file of its unit: drop-ins
//! (systemd.unit(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Directory, FileKind, Root};
use crate::model::{HostPath, visible};

/// Where systemd looks for units, the strongest first (systemd.unit(5), "Unit File Load Path").
/// Generators make theirs at each boot.
pub(crate) const UNIT_PLACES: [&str; 6] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// The most names of a directory that are read, and the longest file, in bytes.
const MOST: usize = 256;
const LIMIT: usize = 64 * 1024;
/// What decides whether the program is executed, which one, and when it has succeeded
/// (systemd.service(5), systemd.exec(5)).
const DECIDING: [&str; 14] = [
    "ExecStart",
    "ExecStartPre",
    "ExecCondition",
    "Condition",
    "Assert",
    "Type",
    "RootDirectory",
    "RootImage",
    "ExtensionImages",
    "ExtensionDirectories",
    "MountImages",
    "BindPaths",
    "BindReadOnlyPaths",
    "SuccessExitStatus",
];

/// The drop-ins of a service.
#[derive(Debug, Default)]
pub(crate) struct DropIns {
    /// Their directories.
    pub(crate) directories: Vec<HostPath>,
    /// The files that count.
    pub(crate) files: BTreeMap<HostPath, DropIn>,
    /// The directories whose files are not all known, and why.
    pub(crate) unknown: BTreeMap<HostPath, String>,
}

/// What a drop-in does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DropIn {
    /// It leaves what is executed as it is.
    Harmless,
    /// The first setting in it that decides what is executed.
    Deciding(String),
    /// It is unknown, for this reason.
    Unreadable(String),
}

impl DropIns {
    /// Finds those of a unit, such as `NAME.service`. A file with the name of a stronger one is
    /// left out, as systemd does.
    pub(crate) fn find(root: &Root, unit: &str) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let own = own_directories(unit);
        let own = UNIT_PLACES
            .iter()
            .flat_map(|place| own.iter().map(move |name| format!("{place}/{name}")));
        // Wherever it is, a file for one service is stronger than one for all.
        let of_all = UNIT_PLACES.iter().map(|place| format!("{place}/service.d"));
        for path in own.chain(of_all) {
            let Ok(path) = path.parse::<HostPath>() else { continue };
            match root.directory(&path) {
                Ok(Some(directory)) => found.add(root, path, &directory, &mut seen),
                Ok(None) => {}
                Err(error) => drop(found.unknown.insert(path, error.with_cause())),
            }
        }
        found
    }

    fn add(
        &mut self,
        root: &Root,
        path: HostPath,
        directory: &Directory,
        seen: &mut BTreeSet<String>,
    ) {
        let (names, mut unknown) = names(directory);
        for name in names.into_iter().filter(|name| seen.insert(name.clone())) {
            match format!("{path}/{name}").parse::<HostPath>() {
                Ok(file) => {
                    let drop_in = DropIn::read(root, &file);
                    self.files.insert(file, drop_in);
                }
                Err(error) => unknown = Some(error.to_string()),
            }
        }
        self.unknown.extend(unknown.map(|reason| (path.clone(), reason)));
        self.directories.push(path);
    }
}

/// The names of the drop-ins in a directory, and why these may not be all.
fn names(directory: &Directory) -> (Vec<String>, Option<String>) {
    let (mut names, mut unknown) = (Vec::new(), None);
    let entries = match directory.entries() {
        Ok(entries) => entries,
        Err(error) => return (names, Some(error.with_cause())),
    };
    for (number, entry) in entries.enumerate() {
        if number == MOST {
            return (names, Some(format!("it contains more than {MOST} names")));
        }
        match entry.map(|entry| entry.name.into_string()) {
            Ok(Ok(name)) => names.extend(Some(name).filter(|name| name.ends_with(".conf"))),
            Ok(Err(name)) if name.as_encoded_bytes().ends_with(b".conf") => {
                unknown =
                    Some(format!("the name `{}` is not UTF-8", visible(&name.to_string_lossy())));
            }
            Ok(Err(_)) => {}
            Err(error) => return (names, Some(error.with_cause())),
        }
    }
    (names, unknown)
}

/// The directories of a place whose files count for this unit and not for all services: its own,
/// and those of its name cut at each dash.
fn own_directories(unit: &str) -> Vec<String> {
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    let cut = stem.match_indices('-').filter_map(|(dash, _)| stem.get(..=dash));
    std::iter::once(stem).chain(cut).map(|name| format!("{name}.service.d")).collect()
}

impl DropIn {
    fn read(root: &Root, path: &HostPath) -> Self {
        let text = match root.look_up(path) {
            Ok(Some(looked)) => match looked.kind() {
                // A link to nothing is skipped, and one to /dev/null hides weaker files.
                None => return Self::Harmless,
                Some(FileKind::Device) if looked.path == Path::new("/dev/null") => {
                    return Self::Harmless;
                }
                Some(_) => looked.read(LIMIT),
            },
            Ok(None) => return Self::Harmless,
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => match deciding(&String::from_utf8_lossy(&text)) {
                Some(setting) => Self::Deciding(visible(setting).into_owned()),
                None => Self::Harmless,
            },
            Err(error) => Self::Unreadable(error.with_cause()),
        }
    }
}

/// The first setting of a drop-in that decides what is executed (systemd.syntax(7)).
pub fn deciding(text: &str) -> Option<&str> {
    let mut continues = false;
    text.lines().find_map(|line| {
        let line = line.trim();
        // A comment within a continued line does not end it.
        if line.starts_with(['#', ';']) {
            return None;
        }
        let is_setting = !std::mem::replace(&mut continues, line.ends_with('\\'));
        let key = line.split_once('=').filter(|_| is_setting)?.0.trim_end();
        let decides = |known: &str| match known {
            "Condition" | "Assert" => key.starts_with(known),
            known => key == known,
        };
        DECIDING.into_iter().any(decides).then_some(key)
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn finds_what_decides_what_is_executed() {
        for (text, expected) in [
            ("[Service]\nExecStart=\nExecStart=/bin/true\n", Some("ExecStart")),
            ("[Service]\n  ExecStart = /bin/true", Some("ExecStart")),
            ("[Unit]\nConditionPathExists=/never\n", Some("ConditionPathExists")),
            ("[Unit]\nAssertFirstBoot=yes", Some("AssertFirstBoot")),
            ("[Service]\r\nExecCondition=/bin/false\r\n", Some("ExecCondition")),
            ("[Service]\nRootDirectory=/other", Some("RootDirectory")),
            ("[Service]\nType=exec", Some("Type")),
            ("[Service]\nBindReadOnlyPaths=/bin/true:/usr/bin/x", Some("BindReadOnlyPaths")),
            ("[Service]\nMountImages=/x:/usr", Some("MountImages")),
            ("[Service]\nExtensionDirectories=/x", Some("ExtensionDirectories")),
            ("[Service]\nTypeX=exec\nMemoryMax=1G", None),
            ("[Service]\nEnvironment=A=b\\\n# note\nExecStart=/x\n", None),
            ("[Service]\nEnvironment=A=b\\\nc\nExecStart=/x\n", Some("ExecStart")),
            ("[Service]\nTimeoutStartSec=300\n", None),
            ("[Service]\n#ExecStart=/bin/true\n;ExecStart=/bin/true\n", None),
            ("[Service]\nexecstart=/bin/true\nExecStartPost=/bin/true", None),
            ("", None),
        ] {
            assert_eq!(deciding(text), expected, "{text:?}");
        }
    }

    #[test]
    fn finds_drop_ins_where_systemd_does() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        assert!(DropIns::find(&root, "cnister-verify.service").files.is_empty());
        let ours = [
            // The one for all services is hidden, although its place is stronger.
            "run/systemd/system/cnister-verify.service.d/x.conf",
            "etc/systemd/system/cnister-verify.service.d/a.conf",
            "run/systemd/system/cnister-verify.service.d/b.conf",
            "usr/lib/systemd/system/cnister-.service.d/c.conf",
            "etc/systemd/system/service.d/d.conf",
        ];
        let others = [
            "etc/systemd/system/service.d/x.conf",
            // Hidden by the one in /etc.
            "usr/lib/systemd/system/cnister-verify.service.d/a.conf",
            "etc/systemd/system/cnister-verify.service.d/README",
            "etc/systemd/system/cnister-other.service.d/e.conf",
        ];
        for path in ours.iter().chain(&others) {
            let path = temporary.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "[Service]\nExecStart=/bin/true\n").unwrap();
        }
        let found = DropIns::find(&root, "cnister-verify.service");
        let mut expected: Vec<_> = ours.iter().map(|path| format!("/{path}")).collect();
        expected.sort();
        let paths: Vec<_> = found.files.keys().map(ToString::to_string).collect();
        assert_eq!(paths, expected);
        let deciding = DropIn::Deciding("ExecStart".to_owned());
        assert!(found.files.values().all(|drop_in| *drop_in == deciding));
        assert_eq!((found.directories.len(), found.unknown.len()), (5, 0));
    }

    #[test]
    fn says_of_which_drop_in_it_does_not_know_what_it_does() {
        let own = "etc/systemd/system/cnister-verify.service.d";
        let unreadable =
            |path: &str, reason: &str| vec![(format!("/{own}/{path}"), reason.to_owned())];
        type Case<'a> = (&'a dyn Fn(&Path), Vec<(String, String)>);
        let cases: [Case<'_>; 8] = [
            (&|own| std::fs::write(own.join("a.conf"), vec![b'#'; LIMIT]).unwrap(), vec![]),
            (
                &|own| std::fs::write(own.join("a.conf"), vec![b'#'; LIMIT + 1]).unwrap(),
                unreadable("a.conf", "is longer than 65536 bytes"),
            ),
            (
                &|own| std::fs::create_dir(own.join("a.conf")).unwrap(),
                unreadable("a.conf", "is a directory"),
            ),
            (&|own| symlink("a.conf", own.join("a.conf")).unwrap(), {
                unreadable("a.conf", "Too many levels of symbolic links")
            }),
            // Skipped, and one that hides weaker files.
            (&|own| symlink("/none", own.join("a.conf")).unwrap(), vec![]),
            (
                &|own| {
                    for number in 0..=MOST {
                        std::fs::write(own.join(number.to_string()), "").unwrap();
                    }
                },
                unreadable("", "it contains more than 256 names"),
            ),
            (
                &|own| std::fs::write(own.join(OsStr::from_bytes(b"\xff.conf")), "").unwrap(),
                unreadable("", "the name `\u{fffd}.conf` is not UTF-8"),
            ),
            (
                &|own| std::fs::write(own.join("a\n.conf"), "").unwrap(),
                unreadable("", "is not a valid path on the node"),
            ),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            let temporary = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(temporary.path().join(own)).unwrap();
            change(&temporary.path().join(own));
            let root = Root::open(temporary.path()).unwrap();
            let found = DropIns::find(&root, "cnister-verify.service");
            let of_files = found.files.iter().filter_map(|(path, drop_in)| match drop_in {
                DropIn::Unreadable(reason) => Some((path.to_string(), reason)),
                _ => None,
            });
            let of_directories =
                found.unknown.iter().map(|(path, reason)| (format!("{path}/"), reason));
            let told: Vec<_> = of_files.chain(of_directories).collect();
            assert_eq!(told.len(), expected.len(), "{number}: {told:?}");
            for ((path, reason), (expected_path, expected)) in told.iter().zip(&expected) {
                assert!(path == expected_path && reason.contains(expected), "{number}: {told:?}");
            }
        }
    }
}
