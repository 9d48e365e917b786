//! What the watch remembers of the files that it judged, to report changes that the kernel did not.
//! Pure: stamps and reports come in.
//!
//! The kernel reports no write through a memory mapping, and none by a name in another directory.
//! Every check reads every file, so this decides nothing: it says why a change was not found
//! sooner.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use super::lookout::Names;
use crate::disk::Stamp;
use crate::model::PluginPath;

/// What each file was when it was judged; files that are not there are left out.
pub(crate) type Stamps = BTreeMap<PluginPath, Stamp>;

/// What is remembered between two checks.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    judged: Stamps,
    /// What was reported until the check before: also a change that came after its stamps, which
    /// only those of the next one show.
    heard: Names,
}

impl Memory {
    /// Remembers what files were just before a check, and returns those that changed since the one
    /// before although no change was reported, neither since then nor during it. Only of `watched`
    /// names would one have been.
    pub(crate) fn judge(
        &mut self,
        stamps: Stamps,
        reported: &Names,
        watched: &Names,
    ) -> BTreeSet<PluginPath> {
        let before = std::mem::take(&mut self.judged);
        self.judged = stamps.into_iter().filter(|(path, _)| has(watched, path)).collect();
        let heard = std::mem::replace(&mut self.heard, reported.clone());
        let differing = self
            .judged
            .iter()
            .filter(|(path, stamp)| before.get(path).is_some_and(|before| before != *stamp));
        let unreported = differing
            .map(|(path, _)| path)
            .filter(|path| !has(reported, path) && !has(&heard, path));
        unreported.cloned().collect()
    }
}

fn has(names: &Names, path: &PluginPath) -> bool {
    let name: &OsStr = path.name.as_str().as_ref();
    names.get(&path.directory).is_some_and(|names| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Directory;
    use crate::model::HostPath;

    fn names(names: &[&str]) -> Names {
        let names: BTreeSet<_> = names.iter().map(Into::into).collect();
        [(HostPath::default_bin_directory(), names)].into()
    }

    #[test]
    fn a_change_is_told_once_if_it_was_watched_for_and_not_reported() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let stamp = |name: &str| {
            std::fs::write(temporary.path().join(name), name).unwrap();
            directory.stamp_of(name).unwrap().unwrap()
        };
        let path = |name: &str| PluginPath {
            directory: HostPath::default_bin_directory(),
            name: name.parse().unwrap(),
        };
        let (old, new) = (stamp("old"), stamp("new"));
        let stamps = |bridge, vlan: Option<Stamp>| {
            let vlan = vlan.map(|stamp| (path("vlan"), stamp));
            Stamps::from_iter([(path("bridge"), bridge)].into_iter().chain(vlan))
        };
        let (both, none) = (["bridge", "vlan"], [""; 0]);
        // What they are, what was reported, what is watched, and what is told.
        type Step<'a> = (Stamps, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
        let steps: [Step<'_>; 14] = [
            (stamps(old, Some(old)), &none, &both, &none),
            (stamps(old, Some(old)), &none, &both, &none),
            (stamps(new, Some(old)), &none, &both, &["bridge"]),
            (stamps(new, Some(old)), &none, &both, &none),
            (stamps(old, Some(new)), &["bridge"], &both, &["vlan"]),
            // One that is gone or was not there is the answer's to say.
            (stamps(old, None), &none, &both, &none),
            (stamps(old, Some(old)), &none, &both, &none),
            // One that is left alone is not watched.
            (stamps(old, Some(new)), &none, &["bridge"], &none),
            (stamps(old, Some(old)), &none, &both, &none),
            // One that changed while a check ran was reported with that one, and differs at the
            // next.
            (stamps(old, Some(old)), &["bridge"], &both, &none),
            (stamps(new, Some(old)), &none, &both, &none),
            (stamps(old, Some(old)), &none, &both, &["bridge"]),
            (stamps(new, Some(old)), &["bridge"], &both, &none),
            (stamps(new, Some(new)), &none, &both, &["vlan"]),
        ];
        let mut memory = Memory::default();
        for (step, (stamps, reported, watched, expected)) in steps.into_iter().enumerate() {
            let found = memory.judge(stamps, &names(reported), &names(watched));
            let expected: BTreeSet<_> = expected.iter().map(|name| path(name)).collect();
            assert_eq!(found, expected, "step {step}");
        }
    }
}
