//! What changes a service of systemd without changing the file of its unit: drop-ins
//! (systemd.unit(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Root;
use crate::model::HostPath;

/// Where systemd looks for units, the strongest first (systemd.unit(5), "Unit File Load Path").
/// Generators make theirs at each boot.
const PLACES: [&str; 6] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// The most files that are read, and the longest of them, in bytes.
const MOST: usize = 256;
const LIMIT: usize = 64 * 1024;
/// What decides whether the program is executed, and which one (systemd.service(5),
/// systemd.exec(5)).
const DECIDING: [&str; 10] = [
    "ExecStart",
    "ExecStartPre",
    "ExecCondition",
    "Condition",
    "Assert",
    "RootDirectory",
    "RootImage",
    "ExtensionImages",
    "BindPaths",
    "SuccessExitStatus",
];

/// The drop-ins of a service.
#[derive(Debug, Default)]
pub(crate) struct DropIns {
    /// Their directories.
    pub(crate) directories: Vec<HostPath>,
    /// The files, each with the first setting in it that decides what is executed.
    pub(crate) files: BTreeMap<HostPath, Option<String>>,
}

impl DropIns {
    /// Finds those of a unit, such as `NAME.service`. What cannot be read is left out, and so is a
    /// file with the name of a stronger one, as systemd does.
    pub(crate) fn find(root: &Root, unit: &str) -> Self {
        let names = directories(unit);
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        for place in PLACES {
            for name in &names {
                let Ok(path) = format!("{place}/{name}").parse::<HostPath>() else { continue };
                let Ok(Some(directory)) = root.directory(&path) else { continue };
                let entries = directory.entries().into_iter().flatten().take(MOST);
                let names = entries.flatten().filter_map(|entry| entry.name.into_string().ok());
                for name in
                    names.filter(|name| name.ends_with(".conf") && seen.insert(name.clone()))
                {
                    let Ok(file) = format!("{path}/{name}").parse::<HostPath>() else { continue };
                    let text = read(root, file.as_str());
                    found.files.insert(file, text.as_deref().and_then(deciding).map(str::to_owned));
                }
                found.directories.push(path);
            }
        }
        found
    }
}

/// The directories of a place whose files count for a unit: its own, those of its name cut at each
/// dash, and those of all services.
fn directories(unit: &str) -> Vec<String> {
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    let cut = stem.match_indices('-').filter_map(|(dash, _)| stem.get(..=dash));
    let own = std::iter::once(stem).chain(cut).map(|name| format!("{name}.service.d"));
    own.chain(["service.d".to_owned()]).collect()
}

fn read(root: &Root, path: &str) -> Option<String> {
    let looked = root.look_up(Path::new(path)).ok()??;
    Some(String::from_utf8_lossy(&looked.read(LIMIT).ok()?).into_owned())
}

/// The first setting that decides what is executed (systemd.syntax(7)).
fn deciding(text: &str) -> Option<&str> {
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
            "etc/systemd/system/cnister-verify.service.d/a.conf",
            "run/systemd/system/cnister-verify.service.d/b.conf",
            "usr/lib/systemd/system/cnister-.service.d/c.conf",
            "etc/systemd/system/service.d/d.conf",
        ];
        let others = [
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
        assert!(found.files.values().all(|key| key.as_deref() == Some("ExecStart")));
        assert_eq!(found.directories.len(), 5);
    }
}
