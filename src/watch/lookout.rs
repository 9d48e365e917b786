//! Watching the files of an installation between two checks.
//!
//! Only changes of these names count. Two installers that watch whole directories trigger each
//! other endlessly (istio/istio#46048). What a change leads to is the event loop's decision.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use crate::disk::{Change, Changes, DiskError, Mark};
use crate::model::HostPath;
use crate::node::Root;

/// Directories on the node, each with the names in it that matter.
pub(crate) type Names = BTreeMap<HostPath, BTreeSet<OsString>>;

/// Watches names in directories.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    changes: Option<Changes>,
    known: BTreeMap<Mark, BTreeSet<OsString>>,
    /// The directories behind the marks.
    places: BTreeMap<Mark, BTreeSet<HostPath>>,
    /// What the paths of these directories are made of: an exchanged parent leads elsewhere.
    parents: BTreeMap<Mark, BTreeSet<OsString>>,
    /// What may have changed since the last call that asked.
    reported: Names,
    has_new: bool,
}

impl Lookout {
    /// Watches these names from now on, and no others. A directory that does not exist is left out,
    /// and one that was replaced is found again: call this after each check.
    ///
    /// # Errors
    /// If a limit of the kernel is reached. Until the next call, nothing is watched.
    pub(crate) fn watch(&mut self, root: &Root, names: &Names) -> Result<(), DiskError> {
        let result = self.update(root, names);
        if result.is_err() {
            self.forget();
        }
        result
    }

    fn forget(&mut self) {
        self.report_all();
        *self = Self {
            reported: std::mem::take(&mut self.reported),
            has_new: self.has_new,
            ..Self::default()
        };
    }

    /// Of anything that is watched, a change may have been lost.
    fn report_all(&mut self) {
        for (mark, names) in &self.known {
            for path in self.places.get(mark).into_iter().flatten() {
                self.reported.entry(path.clone()).or_default().extend(names.iter().cloned());
            }
        }
    }

    fn update(&mut self, root: &Root, names: &Names) -> Result<(), DiskError> {
        let changes = match self.changes.take() {
            Some(changes) => changes,
            None => Changes::new()?,
        };
        let mut known: BTreeMap<Mark, BTreeSet<OsString>> = BTreeMap::new();
        let mut places: BTreeMap<Mark, BTreeSet<HostPath>> = BTreeMap::new();
        for (path, names) in names {
            let Some(directory) = root.directory(path)? else { continue };
            let mark = changes.add(&directory)?;
            let before = self.known.get(&mark);
            let new = names.iter().filter(|name| before.is_none_or(|it| !it.contains(*name)));
            let new: BTreeSet<_> = new.cloned().collect();
            if !new.is_empty() {
                self.has_new = true;
                // Of a change before, no report comes.
                self.reported.entry(path.clone()).or_default().extend(new);
            }
            places.entry(mark).or_default().insert(path.clone());
            known.entry(mark).or_default().extend(names.iter().cloned());
        }
        let parents = add_parents(root, names.keys(), &changes)?;
        let before = self.known.keys().chain(self.parents.keys());
        for mark in before.filter(|mark| !known.contains_key(mark) && !parents.contains_key(mark)) {
            changes.remove(*mark);
        }
        *self = Self { changes: Some(changes), known, places, parents, ..std::mem::take(self) };
        Ok(())
    }

    /// Returns whether something is watched now that was not at the last call: it may have changed
    /// just before.
    pub(crate) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.has_new)
    }

    /// Returns the watched names of which a change was reported since the last call, and those that
    /// are watched since then.
    pub(crate) fn take_reported(&mut self) -> Names {
        std::mem::take(&mut self.reported)
    }

    /// Takes the reported changes, and returns whether one may concern a watched name.
    pub(crate) fn take(&mut self) -> bool {
        let (mut matters, mut is_lost) = (false, false);
        let Some(changes) = &self.changes else { return false };
        let Ok(taken) = changes.take() else {
            // The next check watches everything again.
            self.forget();
            return true;
        };
        for change in taken {
            let (mark, names) = match change {
                Change::Lost => {
                    is_lost = true;
                    continue;
                }
                Change::Name(mark, name)
                    if self.parents.get(&mark).is_some_and(|names| names.contains(&name)) =>
                {
                    is_lost = true;
                    (mark, None)
                }
                Change::Name(mark, name) => {
                    let is_ours = self.known.get(&mark).is_some_and(|names| names.contains(&name));
                    (mark, is_ours.then(|| BTreeSet::from([name])))
                }
                Change::Gone(mark) => {
                    // The kernel would still report changes of a directory that was moved away.
                    changes.remove(mark);
                    is_lost |= self.parents.remove(&mark).is_some();
                    (mark, self.known.remove(&mark))
                }
            };
            let Some(names) = names else { continue };
            matters = true;
            for path in self.places.get(&mark).into_iter().flatten() {
                self.reported.entry(path.clone()).or_default().extend(names.iter().cloned());
            }
        }
        if is_lost {
            self.report_all();
        }
        matters || is_lost
    }

    /// A handle that becomes readable when something happens.
    pub(crate) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }
}

/// Watches the parents of these directories for the names that lead to them. Of a link among them,
/// the link itself is watched, and not what leads to its target.
fn add_parents<'a>(
    root: &Root,
    paths: impl Iterator<Item = &'a HostPath>,
    changes: &Changes,
) -> Result<BTreeMap<Mark, BTreeSet<OsString>>, DiskError> {
    let mut parents: BTreeMap<Mark, BTreeSet<OsString>> = BTreeMap::new();
    for path in paths {
        let mut path = Some(path.clone());
        while let Some(child) = path.take() {
            path = child.parent();
            let mark = match &path {
                None => Some(changes.add(root.top())?),
                Some(parent) => {
                    root.directory(parent)?.map(|parent| changes.add(&parent)).transpose()?
                }
            };
            let name = child.relative().file_name().map(ToOwned::to_owned);
            mark.into_iter().for_each(|mark| parents.entry(mark).or_default().extend(name.clone()));
        }
    }
    Ok(parents)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(names: &[&str]) -> Names {
        [(HostPath::default_bin_directory(), names.iter().map(OsString::from).collect())].into()
    }

    #[test]
    fn only_what_happens_to_our_names_matters() {
        let temporary = tempfile::tempdir().unwrap();
        let bin = temporary.path().join("opt/cni/bin");
        fs::create_dir_all(&bin).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let mut lookout = Lookout::default();
        assert!(lookout.handle().is_none() && !lookout.take());
        let ours = names(&["bridge", "vlan"]);
        lookout.watch(&root, &ours).unwrap();
        assert!(lookout.take_new() && !lookout.take_new());
        for (name, expected) in
            [("bridge", true), ("cilium-cni", false), (".bridge.new", false), ("vlan", true)]
        {
            fs::write(bin.join(name), "new").unwrap();
            assert_eq!(lookout.take(), expected, "{name}");
        }
        lookout.watch(&root, &names(&["bridge"])).unwrap();
        fs::remove_file(bin.join("vlan")).unwrap();
        assert!(!lookout.take_new() && !lookout.take(), "one name less");
        lookout.watch(&root, &ours).unwrap();
        assert!(lookout.take_new(), "one name more");
        lookout.watch(&root, &Names::new()).unwrap();
        fs::remove_file(bin.join("bridge")).unwrap();
        assert!(!lookout.take_new() && !lookout.take(), "no directory");
    }

    #[test]
    fn says_of_which_names_a_change_was_reported() {
        let temporary = tempfile::tempdir().unwrap();
        let bin = temporary.path().join("opt/cni/bin");
        fs::create_dir_all(&bin).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let mut lookout = Lookout::default();
        let reported = |lookout: &mut Lookout, expected: &[&str]| {
            lookout.take();
            let expected = if expected.is_empty() { Names::new() } else { names(expected) };
            assert_eq!(lookout.take_reported(), expected);
        };
        lookout.watch(&root, &names(&["bridge"])).unwrap();
        reported(&mut lookout, &["bridge"]);
        reported(&mut lookout, &[]);
        fs::write(bin.join("other"), "").unwrap();
        reported(&mut lookout, &[]);
        fs::write(bin.join("bridge"), "").unwrap();
        reported(&mut lookout, &["bridge"]);
        // Before it was watched, it may have changed.
        lookout.watch(&root, &names(&["bridge", "vlan"])).unwrap();
        reported(&mut lookout, &["vlan"]);
        fs::remove_dir_all(&bin).unwrap();
        reported(&mut lookout, &["bridge", "vlan"]);
        fs::create_dir(&bin).unwrap();
        lookout.watch(&root, &names(&["bridge", "vlan"])).unwrap();
        reported(&mut lookout, &["bridge", "vlan"]);
        // As after an error: what was watched may have changed since the last report.
        lookout.forget();
        reported(&mut lookout, &["bridge", "vlan"]);
    }

    #[test]
    fn all_may_have_changed_if_the_kernel_lost_a_report() {
        let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let queue: usize = queue.trim().parse().unwrap();
        if queue > 1 << 16 {
            return eprintln!("skipped: the kernel keeps {queue} reports");
        }
        let temporary = tempfile::tempdir().unwrap();
        let bin = temporary.path().join("opt/cni/bin");
        fs::create_dir_all(&bin).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let mut lookout = Lookout::default();
        let ours = names(&["bridge", "vlan"]);
        lookout.watch(&root, &ours).unwrap();
        lookout.take_reported();
        // At least one report of each; two of the same in a row would be one.
        for name in ["a", "b"].iter().cycle().take(queue + 1) {
            fs::write(bin.join(name), "").unwrap();
        }
        assert!(lookout.take());
        assert_eq!(lookout.take_reported(), ours);
        assert!(!lookout.take());
    }

    #[test]
    fn a_directory_that_is_replaced_is_watched_again() {
        let temporary = tempfile::tempdir().unwrap();
        let (cni, aside) = (temporary.path().join("opt/cni"), temporary.path().join("aside"));
        let root = Root::open(temporary.path()).unwrap();
        let mut lookout = Lookout::default();
        let ours = names(&["bridge"]);
        lookout.watch(&root, &ours).unwrap();
        assert!(!lookout.take_new(), "there is no directory");
        fs::create_dir_all(cni.join("bin")).unwrap();
        lookout.watch(&root, &ours).unwrap();
        assert!(lookout.take_new());

        fs::rename(cni.join("bin"), &aside).unwrap();
        assert!(lookout.take(), "it was moved");
        fs::write(aside.join("bridge"), "elsewhere").unwrap();
        assert!(!lookout.take(), "it is not ours any more");
        fs::create_dir(cni.join("bin")).unwrap();
        lookout.watch(&root, &ours).unwrap();
        assert!(lookout.take_new());
        fs::write(cni.join("bin/bridge"), "here").unwrap();
        assert!(lookout.take());

        fs::remove_dir_all(&cni).unwrap();
        assert!(lookout.take(), "it was removed");
        assert!(!lookout.take());
        // Only a parent is exchanged: the path now leads to another directory than the known one.
        for parent in ["opt/cni", "opt"] {
            let parent = temporary.path().join(parent);
            fs::create_dir_all(cni.join("bin")).unwrap();
            lookout.watch(&root, &ours).unwrap();
            lookout.take();
            lookout.take_reported();
            fs::create_dir_all(temporary.path().join("opt/other")).unwrap();
            assert!(!lookout.take(), "another name beside it");
            fs::rename(&parent, temporary.path().join("old")).unwrap();
            assert!(lookout.take(), "{parent:?}");
            assert_eq!(lookout.take_reported(), ours);
            fs::create_dir_all(cni.join("bin")).unwrap();
            lookout.watch(&root, &ours).unwrap();
            assert!(lookout.take_new());
            fs::remove_dir_all(temporary.path().join("old")).unwrap();
        }
    }
}
