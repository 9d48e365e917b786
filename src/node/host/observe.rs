//! Observing a node: every wanted name in every plugin directory, and the records of the state
//! directory.
//!
//! Nothing is decided or changed here; the plan compares what was observed with what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::attachments::Attachments;
use super::file::{Found, Sizes, find_all};
use crate::bundle::PluginFile;
use crate::disk::Directory;
use crate::disk::Root;
use crate::model::{Code, Digest, Finding, HostPath, PluginName};
use crate::node::error::NodeError;
use crate::node::state::{Floors, History, Journal, Reading, Receipt};

/// The name of the directory that holds unfinished files. A runtime calls any file of a plugin
/// directory, hidden names included; a directory it cannot.
pub(crate) const STAGING: &str = ".cnister";

/// What is on a node.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The plugin directories, in the order they were asked for.
    pub directories: Vec<ObservedDirectory>,
    /// The receipt; `None` if nothing is installed.
    pub receipt: Option<Receipt>,
    /// The journal of an interrupted installation.
    pub journal: Option<Journal>,
    /// The earlier generations that are kept.
    pub history: History,
    /// The plugins of earlier bundles in the receipt that a kept generation has, by plugin
    /// directory. Whether it still proves them is not asked.
    pub restorable: BTreeMap<HostPath, BTreeSet<PluginName>>,
    /// What the node accepted so far.
    pub floors: Floors,
    /// The originals that are kept, according to their names.
    pub originals: BTreeSet<Digest>,
    /// The attachments that need plugins: a plugin in use is not removed.
    pub in_use: Attachments,
}

impl Observed {
    /// Reads the originals that may be put back, and takes those for lost that were altered.
    pub fn examine_originals(&mut self, state: &Reading) -> Result<(), NodeError> {
        let recorded = self.receipt.iter().flat_map(|receipt| receipt.directories.values());
        let files = recorded.flat_map(|known| known.files.values().chain(known.leftovers.values()));
        let recorded = files.filter_map(|file| file.owner.original());
        let journal = self.journal.iter().flat_map(|journal| &journal.entries);
        let journaled = journal.filter_map(|entry| entry.original.as_ref());
        let named = recorded.chain(journaled).map(|original| original.digest);
        let named = named.filter(|digest| self.originals.contains(digest)).collect();
        let altered = state.originals_altered(&named)?;
        self.originals.retain(|digest| !altered.contains(digest));
        Ok(())
    }
}

/// One plugin directory.
#[derive(Debug, Clone)]
pub struct ObservedDirectory {
    /// The path of the directory on the node.
    pub path: HostPath,
    /// Whether it exists.
    pub exists: bool,
    /// Whether this process can give names to files in it; true if it does not exist.
    pub writable: bool,
    /// The names that cannot be replaced although it may be written.
    pub held: BTreeSet<PluginName>,
    /// Whether an interrupted installation left its staging directory.
    pub unfinished: bool,
    /// What has each name that matters.
    pub entries: BTreeMap<PluginName, Found>,
}

impl ObservedDirectory {
    /// What has this name.
    pub(crate) fn found(&self, name: &PluginName) -> Found {
        self.entries.get(name).cloned().unwrap_or(Found::Absent)
    }
}

/// Observes the plugins of `wanted` and all installed ones in every directory of `paths`, and the
/// records of the state directory; `state` is `None` if there is no state directory yet.
///
/// A file is read if it has a size that bundle, receipt, journal or an original gives it; another
/// installer's file also if `foreign` says so.
pub fn observe(
    root: &Root,
    state: Option<&Reading>,
    paths: &[HostPath],
    wanted: &[PluginFile],
    foreign: ForeignFiles,
) -> Result<Observed, NodeError> {
    let receipt = state.map(Reading::receipt).transpose()?.flatten();
    let journal = state.map(Reading::journal).transpose()?.flatten();
    let mut restorable = BTreeMap::<HostPath, BTreeSet<PluginName>>::new();
    let history = state.map(|state| {
        state.history_seen(|past| {
            for (path, directory) in receipt.iter().flat_map(|receipt| &receipt.directories) {
                let left = directory.leftovers.iter();
                let had = left.filter(|(name, file)| past.has(path, name, file));
                restorable
                    .entry(path.clone())
                    .or_default()
                    .extend(had.map(|(name, _)| name.clone()));
            }
        })
    });
    let history = history.transpose()?.unwrap_or_default();
    let mut directories = Vec::new();
    for path in paths.iter().collect::<BTreeSet<_>>() {
        let mut names = BTreeMap::<PluginName, Sizes>::new();
        for file in wanted {
            names.entry(file.name.clone()).or_default().add(file.size);
        }
        for entry in journal.iter().flat_map(|journal| journal.entries_of(path)) {
            let sizes = names.entry(entry.name.clone()).or_default();
            sizes.add(entry.size);
            entry.original.iter().for_each(|original| sizes.add_original(original));
        }
        let recorded = receipt.iter().filter_map(|receipt| receipt.directories.get(path));
        for (name, file) in recorded.flat_map(|known| known.files.iter().chain(&known.leftovers)) {
            let sizes = names.entry(name.clone()).or_default();
            sizes.add(file.size);
            file.owner.original().iter().for_each(|original| sizes.add_original(original));
        }
        if foreign == ForeignFiles::Read {
            let is_ours = |name| {
                let known = receipt.as_ref().and_then(|receipt| receipt.file(path, name));
                known.is_some_and(|file| file.owner.is_ours())
            };
            for (_, sizes) in names.iter_mut().filter(|(name, _)| !is_ours(name)) {
                *sizes = Sizes::Any;
            }
        }
        directories.push(observe_directory(root, path, names)?);
    }
    let originals = state.map(Reading::originals_kept).transpose()?.unwrap_or_default();
    let mut floors = state.map(Reading::floors).transpose()?.flatten().unwrap_or_default();
    floors.end_exceptions(receipt.as_ref());
    Ok(Observed {
        directories,
        receipt,
        journal,
        history,
        restorable,
        floors,
        originals,
        in_use: Attachments::default(),
    })
}

/// Whether the files of other installers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignFiles {
    /// They are: one is adopted, or the finding says what it is.
    Read,
    /// They are not: they stay, whatever they are.
    Leave,
}

/// Refuses two names for one plugin directory, and a plugin directory that is the state directory:
/// what is staged, kept or cleaned up under one name would be removed under the other. A name in
/// `recorded` is one that was installed to, and what is there would look foreign under another one.
/// It changes nothing.
pub fn check_apart<'a>(
    root: &Root,
    state: &HostPath,
    paths: &'a [HostPath],
    recorded: impl IntoIterator<Item = &'a HostPath>,
) -> Result<(), NodeError> {
    let state = root.directory(state)?;
    let mut known: Vec<(&HostPath, Directory)> = Vec::new();
    let recorded: BTreeSet<_> = recorded.into_iter().collect();
    for path in recorded.iter().copied().filter(|path| !paths.contains(path)) {
        known.extend(root.directory(path)?.map(|directory| (path, directory)));
    }
    for path in paths.iter().collect::<BTreeSet<_>>() {
        let Some(directory) = root.directory(path)? else { continue };
        if state.as_ref().map(|state| state.is_same(&directory)).transpose()?.unwrap_or(false) {
            let message = format!("plugin directory `{path}` is the state directory");
            return Err(Finding::refusal(Code::InTheWay, message).into());
        }
        for (other, seen) in &known {
            let is_asked = paths.contains(other);
            // Two that were recorded became one later, and stay what they are.
            if seen.is_same(&directory)? && (is_asked || !recorded.contains(path)) {
                let message = format!("`{other}` and `{path}` are the same plugin directory");
                let hint = match is_asked {
                    true => "give only one of them as --bin-dir".to_owned(),
                    false => format!("use --bin-dir {other}, where it is installed"),
                };
                return Err(Finding::refusal(Code::InTheWay, message).hint(hint).into());
            }
        }
        known.push((path, directory));
    }
    Ok(())
}

/// Observes these names in one plugin directory; files of other sizes are not read.
pub(crate) fn observe_directory(
    root: &Root,
    path: &HostPath,
    names: BTreeMap<PluginName, Sizes>,
) -> Result<ObservedDirectory, NodeError> {
    let Some(directory) = root.directory(path)? else {
        let entries = names.into_keys().map(|name| (name, Found::Absent)).collect();
        return Ok(ObservedDirectory {
            path: path.clone(),
            exists: false,
            writable: true,
            held: BTreeSet::new(),
            unfinished: false,
            entries,
        });
    };
    let unfinished = directory.kind_of(STAGING)?.is_some();
    let read_only = directory.file_system().is_ok_and(|system| system.read_only);
    let is_held = directory.hold().is_ok_and(|hold| hold.is_some());
    let held = names
        .keys()
        .filter(|name| directory.hold_of(name.as_str()).is_ok_and(|hold| hold.is_some()));
    Ok(ObservedDirectory {
        path: path.clone(),
        exists: true,
        writable: !read_only && !is_held && directory.is_writable().unwrap_or(true),
        held: held.cloned().collect(),
        unfinished,
        entries: find_all(&directory, names)?,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::file::Obstacle;
    use super::*;
    use crate::disk::{Attributes, FileKind};
    use crate::node::test_support::manifest;

    #[test]
    fn says_what_lets_others_alter_a_plugin_or_have_the_rights_of_root() {
        let cases = [
            (0o755, None, None),
            (0o555, None, None),
            (0o1700, None, None),
            (0o775, None, Some("mode 0775")),
            (0o757, None, Some("mode 0757")),
            (0o4755, None, Some("mode 4755")),
            (0o2755, None, Some("mode 2755")),
            (0o755, Some(1000), Some("user 1000, mode 0755")),
        ];
        for (mode, stranger, expected) in cases {
            let (digest, attributes) = (Digest::of(b""), Attributes::default());
            let found = Found::Regular { digest, size: 0, mode, stranger, attributes };
            assert_eq!(found.exposed().as_deref(), expected, "{mode:o} {stranger:?}");
        }
        let with = |capabilities, writers, stranger| {
            let (digest, attributes) = (Digest::of(b""), Attributes { capabilities, writers });
            Found::Regular { digest, size: 0, mode: 0o755, stranger, attributes }.exposed()
        };
        let list = "an access control list that lets others write";
        for (found, expected) in [
            (with(true, false, None), "mode 0755, file capabilities".to_owned()),
            (with(false, true, None), format!("mode 0755, {list}")),
            (with(true, true, Some(7)), format!("user 7, mode 0755, file capabilities, {list}")),
        ] {
            assert_eq!(found, Some(expected));
        }
        assert_eq!(
            (Found::Absent.exposed(), Found::Other(Obstacle::Kind(FileKind::Directory)).exposed()),
            (None, None)
        );
    }

    #[test]
    fn sees_what_has_each_wanted_name() {
        let temporary = tempfile::tempdir().unwrap();
        let bin = temporary.path().join("opt/cni/bin");
        std::fs::create_dir_all(bin.join("ptp")).unwrap();
        std::fs::write(bin.join("bridge"), b"bytes").unwrap();
        std::fs::set_permissions(bin.join("bridge"), std::fs::Permissions::from_mode(0o4711))
            .unwrap();
        symlink("bridge", bin.join("vlan")).unwrap();
        std::fs::write(bin.join("unwanted"), b"").unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let files = manifest(&[("bridge", b""), ("macvlan", b""), ("ptp", b""), ("vlan", b"")]);
        let paths =
            ["/opt/cni/bin", "/usr/lib/cni", "/opt/cni/bin"].map(|path| path.parse().unwrap());

        let observed = observe(&root, None, &paths, &files.plugins, ForeignFiles::Read).unwrap();
        let [opt, usr] = observed.directories.as_slice() else { panic!("{observed:?}") };
        let entries: Vec<_> =
            opt.entries.iter().map(|(name, found)| (name.as_str(), found.clone())).collect();
        assert_eq!(
            entries,
            [
                (
                    "bridge",
                    Found::Regular {
                        digest: Digest::of(b"bytes"),
                        size: 5,
                        mode: 0o4711,
                        stranger: None,
                        attributes: Attributes::default()
                    }
                ),
                ("macvlan", Found::Absent),
                ("ptp", Found::Other(Obstacle::EmptyDirectory)),
                ("vlan", Found::Other(Obstacle::Link("bridge".into()))),
            ]
        );
        assert_eq!((opt.exists, usr.exists), (true, false));
        assert!(usr.entries.values().all(|found| *found == Found::Absent));
    }

    #[test]
    fn knows_two_names_of_one_directory() {
        let temporary = tempfile::tempdir().unwrap();
        for directory in ["a", "c", "state"] {
            std::fs::create_dir(temporary.path().join(directory)).unwrap();
        }
        symlink("a", temporary.path().join("b")).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let paths = |names: &[&str]| {
            names.iter().map(|name| name.parse().unwrap()).collect::<Vec<HostPath>>()
        };
        let cases: [(&[&str], &[&str], Option<&str>); 8] = [
            (&["/a", "/c", "/none"], &["/a", "/gone"], None),
            (&["/a", "/a"], &[], None),
            (&["/a", "/b"], &[], Some("give only one of them as --bin-dir")),
            (&["/b"], &["/a"], Some("use --bin-dir /a, where it is installed")),
            (&["/b", "/c"], &["/a", "/c"], Some("use --bin-dir /a, where it is installed")),
            (&["/a", "/b"], &["/a"], Some("give only one of them as --bin-dir")),
            // They became one after both were installed to.
            (&["/b"], &["/a", "/b"], None),
            (&["/a", "/b"], &["/a", "/b"], Some("give only one of them as --bin-dir")),
        ];
        let state = "/state".parse().unwrap();
        for (asked, recorded, expected) in cases {
            let answer = check_apart(&root, &state, &paths(asked), &paths(recorded));
            let hint = answer.err().and_then(|error| error.into_findings().unwrap().remove(0).hint);
            assert_eq!(hint.as_deref(), expected, "{asked:?} {recorded:?}");
        }
    }
}
