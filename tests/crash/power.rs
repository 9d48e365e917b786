//! A small model of a disk: the states that a power cut can leave after each call of a recorded
//! run.
//!
//! It promises no more than POSIX does. Only fsync of a file makes its bytes and its mode durable;
//! before that, a power cut may leave the old content, a part of what was written, zeros of its
//! length, or all of it. Only fsync of a directory makes names in it durable; before that, each
//! change of a directory may have reached the disk or not, in any order, as long as changes of one
//! name stay in order. A rename within a directory is one change. A rename between directories is
//! two, and the file may be visible in both, but never in none: every journaling file system
//! guarantees that, and nodes do not use ext2. Disks that lose or corrupt what they reported as
//! durable are not modelled.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::trace::Call;

/// An inode's number.
type Id = usize;
/// A name in a directory.
type Entry = (Id, String);

/// The disk of a node during a run.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// The path that the run uses for the root of the node.
    root: PathBuf,
    inodes: Vec<Inode>,
    now: BTreeMap<Entry, Id>,
    durable: BTreeMap<Entry, Id>,
    pending: Vec<Edit>,
    edits: usize,
    /// The offset of the next write to a file: no process has a file open for writing twice.
    offsets: BTreeMap<Id, usize>,
}

#[derive(Debug, Clone)]
struct Inode {
    kind: Kind,
    now: Content,
    durable: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Directory,
    Link,
    File,
}

/// The content of an inode: the bytes of a file, or the target of a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) bytes: Rc<Vec<u8>>,
    pub(super) mode: u32,
}

/// A change of a directory that may not have reached the disk.
#[derive(Debug, Clone)]
struct Edit {
    number: usize,
    directory: Id,
    names: Vec<(String, Option<Id>)>,
    /// Edits that reach the disk before this one.
    needs: Vec<usize>,
}

/// What is found after a power cut: every path below the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct State(pub(super) BTreeMap<String, Found>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Found {
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) content: Content,
}

/// Pseudorandom numbers that are the same in every run (Steele, Lea, Flood: SplitMix).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % end.max(1)
    }
}

impl Disk {
    /// Reads the disk as it is. Everything on it counts as durable.
    pub(super) fn read(root: &Path) -> Self {
        let content = Content { bytes: Rc::default(), mode: 0o755 };
        let top = Inode { kind: Kind::Directory, now: content.clone(), durable: content };
        let mut disk = Self {
            root: root.to_owned(),
            inodes: vec![top],
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            edits: 0,
            offsets: BTreeMap::new(),
        };
        disk.read_below(root, 0);
        disk.durable.clone_from(&disk.now);
        disk
    }

    fn read_below(&mut self, folder: &Path, directory: Id) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let metadata = path.symlink_metadata().unwrap();
            let (kind, bytes) = if metadata.is_dir() {
                (Kind::Directory, Vec::new())
            } else if metadata.is_symlink() {
                (Kind::Link, fs::read_link(&path).unwrap().to_str().unwrap().into())
            } else {
                (Kind::File, fs::read(&path).unwrap())
            };
            let id = self.inode(kind, bytes, metadata.permissions().mode() & 0o7777);
            self.now.insert((directory, entry.file_name().into_string().unwrap()), id);
            if kind == Kind::Directory {
                self.read_below(&path, id);
            }
        }
    }

    fn inode(&mut self, kind: Kind, bytes: Vec<u8>, mode: u32) -> Id {
        let content = Content { bytes: Rc::new(bytes), mode };
        self.inodes.push(Inode { kind, now: content.clone(), durable: content });
        self.inodes.len() - 1
    }

    /// Applies a call; returns whether it changed anything.
    pub(super) fn apply(&mut self, call: &Call) -> bool {
        let (Some(result), false) = (call.result, call.lied) else { return false };
        match call.name.as_str() {
            "openat" | "openat2" => return self.open(call),
            "write" | "pwrite64" => {
                let Some(id) = self.find(call.descriptor(0).1) else { return false };
                let offset = if call.name == "write" { self.offset(id) } else { call.number(3) };
                self.put(id, offset, &call.text(1)[..usize::try_from(result).unwrap()]);
            }
            "copy_file_range" => {
                let (from, to) = (call.descriptor(0).1, call.descriptor(2).1);
                let Some(id) = self.find(to) else { return false };
                // A program that copies a file copies all of it from the beginning, so both offsets
                // are the same.
                let (offset, count) = (self.offset(id), usize::try_from(result).unwrap());
                let bytes = fs::read(from).unwrap();
                self.put(id, offset, &bytes[offset..offset + count]);
            }
            "lseek" => {
                let Some(id) = self.find(call.descriptor(0).1) else { return false };
                self.offsets.insert(id, usize::try_from(result).unwrap());
                return false;
            }
            "ftruncate" => {
                let Some(id) = self.find(call.descriptor(0).1) else { return false };
                Rc::make_mut(&mut self.inodes[id].now.bytes).resize(call.number(1), 0);
            }
            "fchmod" => {
                let Some(id) = self.find(call.descriptor(0).1) else { return false };
                self.inodes[id].now.mode = u32::try_from(call.number(1)).unwrap();
            }
            "fsync" | "fdatasync" => {
                let Some(id) = self.find(call.descriptor(0).1) else { return false };
                return self.sync(id, call.name == "fsync");
            }
            "mkdirat" => {
                let Some((directory, name)) = self.entry(&call.path(0)) else { return false };
                let id = self.inode(
                    Kind::Directory,
                    Vec::new(),
                    u32::try_from(call.number(2)).unwrap() & !0o022,
                );
                self.edit(directory, vec![(name, Some(id))], &[]);
            }
            "unlinkat" => {
                let Some((directory, name)) = self.entry(&call.path(0)) else { return false };
                self.edit(directory, vec![(name, None)], &[]);
            }
            "renameat" | "renameat2" => {
                let from = self.entry(&call.path(0));
                let (Some((old, from)), Some((new, to))) = (from, self.entry(&call.path(2))) else {
                    panic!("renamed in or out of the node: {call:?}")
                };
                let id = self.now[&(old, from.clone())];
                if old == new {
                    self.edit(new, vec![(from, None), (to, Some(id))], &[]);
                } else {
                    let added = self.edit(new, vec![(to, Some(id))], &[]);
                    self.edit(old, vec![(from, None)], &[added]);
                }
            }
            // Owners and times are not promised to be durable, and reads change nothing.
            "fchown" | "utimensat" | "ioctl" => return false,
            _ => {
                let inside = call
                    .arguments
                    .iter()
                    .any(|argument| format!("{argument:?}").contains(self.shown()));
                assert!(!inside, "the model does not know {call:?}");
                return false;
            }
        }
        true
    }

    fn shown(&self) -> &str {
        self.root.to_str().unwrap()
    }

    fn open(&mut self, call: &Call) -> bool {
        let flags = call.word(2);
        // A file without a name is gone after a power cut.
        if flags.contains("O_TMPFILE") {
            return false;
        }
        let Some((directory, name)) = self.entry(&call.path(0)) else { return false };
        let present = self.now.get(&(directory, name.clone()));
        if let (Some(id), true) = (present, flags.contains("O_WRONLY") || flags.contains("O_RDWR"))
        {
            self.offsets.insert(*id, 0);
        }
        match present {
            Some(id) if flags.contains("O_TRUNC") => {
                Rc::make_mut(&mut self.inodes[*id].now.bytes).clear()
            }
            None if flags.contains("O_CREAT") => {
                let id = self.inode(
                    Kind::File,
                    Vec::new(),
                    u32::try_from(call.number(3)).unwrap() & !0o022,
                );
                self.edit(directory, vec![(name, Some(id))], &[]);
            }
            _ => return false,
        }
        true
    }

    fn offset(&self, id: Id) -> usize {
        self.offsets.get(&id).copied().unwrap_or_default()
    }

    fn put(&mut self, id: Id, offset: usize, bytes: &[u8]) {
        let file = Rc::make_mut(&mut self.inodes[id].now.bytes);
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.offsets.insert(id, offset + bytes.len());
    }

    /// Returns the directory and the name in it that a path leads to; `None` if it is not on the
    /// node.
    fn entry(&self, path: &str) -> Option<Entry> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?.to_str()?;
        let (folders, name) = below.rsplit_once('/').unwrap_or(("", below));
        let mut directory = 0;
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            directory = *self.now.get(&(directory, folder.to_owned()))?;
        }
        (!name.is_empty() && name != ".").then(|| (directory, name.to_owned()))
    }

    fn find(&self, path: &str) -> Option<Id> {
        if Path::new(path) == self.root {
            return Some(0);
        }
        self.now.get(&self.entry(path)?).copied()
    }

    fn edit(&mut self, directory: Id, names: Vec<(String, Option<Id>)>, after: &[usize]) -> usize {
        let mut needs = after.to_vec();
        for (name, id) in &names {
            let same = |edit: &&Edit| {
                edit.directory == directory && edit.names.iter().any(|(other, _)| other == name)
            };
            needs.extend(self.pending.iter().filter(same).map(|edit| edit.number));
            set(&mut self.now, directory, name, *id);
        }
        self.edits += 1;
        self.pending.push(Edit { number: self.edits, directory, names, needs });
        self.edits
    }

    /// Makes a file, or the names in a directory, durable; returns whether anything was not.
    fn sync(&mut self, id: Id, with_mode: bool) -> bool {
        let inode = &mut self.inodes[id];
        let was_durable = inode.now == inode.durable;
        inode.durable.bytes = inode.now.bytes.clone();
        if with_mode {
            inode.durable.mode = inode.now.mode;
        }
        let mut done: BTreeSet<_> = self
            .pending
            .iter()
            .filter(|edit| edit.directory == id)
            .map(|edit| edit.number)
            .collect();
        // What an edit depends on comes before it.
        for edit in self.pending.iter().rev() {
            if done.contains(&edit.number) {
                done.extend(&edit.needs);
            }
        }
        for edit in self.pending.extract_if(.., |edit| done.contains(&edit.number)) {
            edit.names
                .iter()
                .for_each(|(name, id)| set(&mut self.durable, edit.directory, name, *id));
        }
        !(was_durable && done.is_empty())
    }

    /// Returns the state after a power cut that keeps only what must be kept.
    pub(super) fn durable(&self) -> State {
        let mut state = State::default();
        self.walk(&self.durable, 0, "", &mut state);
        state
    }

    /// Returns what is visible as long as there is power.
    pub(super) fn now(&self) -> State {
        let mut state = State::default();
        self.walk(&self.now, 0, "", &mut state);
        for found in state.0.values_mut() {
            found.content = self.inodes[found.id].now.clone();
        }
        state
    }

    /// Returns the states that a power cut may leave now: all of them, or, if there are more than
    /// about `limit`, the extremes and a selection that is the same in every run.
    pub(super) fn after_power_cut(&self, limit: usize, random: &mut Random) -> Vec<State> {
        let mut states = Vec::new();
        for chosen in self.choices(limit, random) {
            let mut names = self.durable.clone();
            for edit in self.pending.iter().filter(|edit| chosen.contains(&edit.number)) {
                edit.names.iter().for_each(|(name, id)| set(&mut names, edit.directory, name, *id));
            }
            self.with_contents(&names, random, &mut states);
        }
        states
    }

    /// Sets of edits that reached the disk; each contains what its members depend on.
    fn choices(&self, limit: usize, random: &mut Random) -> Vec<BTreeSet<usize>> {
        let mut all = vec![BTreeSet::new()];
        for edit in &self.pending {
            let with: Vec<_> = all
                .iter()
                .filter(|chosen| self.is_ready(edit, chosen))
                .map(|chosen| chosen.iter().copied().chain([edit.number]).collect())
                .collect();
            all.extend(with);
            if all.len() > limit {
                return self.some_choices(limit, random);
            }
        }
        all
    }

    fn some_choices(&self, limit: usize, random: &mut Random) -> Vec<BTreeSet<usize>> {
        let closed = |wanted: &dyn Fn(&Edit) -> bool| {
            let mut chosen = BTreeSet::new();
            for edit in &self.pending {
                if wanted(edit) && self.is_ready(edit, &chosen) {
                    chosen.insert(edit.number);
                }
            }
            chosen
        };
        let mut choices = vec![BTreeSet::new(), closed(&|_| true)];
        for one in &self.pending {
            // All but this one and those that depend on it; this one and its dependencies; those
            // before it.
            choices.push(closed(&|edit| edit.number != one.number));
            let mut needed: BTreeSet<_> = [one.number].into();
            for edit in self.pending.iter().rev() {
                if needed.contains(&edit.number) {
                    needed.extend(&edit.needs);
                }
            }
            choices.push(closed(&|edit| needed.contains(&edit.number)));
            choices.push(closed(&|edit| edit.number < one.number));
        }
        while choices.len() < limit {
            let bits: BTreeSet<_> = self
                .pending
                .iter()
                .map(|edit| edit.number)
                .filter(|_| random.below(2) == 1)
                .collect();
            choices.push(closed(&|edit| bits.contains(&edit.number)));
        }
        choices
    }

    /// Returns whether everything that an edit depends on is chosen or durable.
    fn is_ready(&self, edit: &Edit, chosen: &BTreeSet<usize>) -> bool {
        let is_pending = |number: &usize| self.pending.iter().any(|edit| edit.number == *number);
        edit.needs.iter().all(|need| chosen.contains(need) || !is_pending(need))
    }

    /// Returns the trees of these names with every content that their files may have, or a
    /// selection of them.
    fn with_contents(
        &self,
        names: &BTreeMap<Entry, Id>,
        random: &mut Random,
        states: &mut Vec<State>,
    ) {
        let mut tree = State::default();
        self.walk(names, 0, "", &mut tree);
        let ids: BTreeSet<_> = tree.0.values().map(|found| found.id).collect();
        let options: Vec<_> = ids
            .into_iter()
            .filter(|id| self.inodes[*id].now != self.inodes[*id].durable)
            .map(|id| (id, self.inodes[id].options()))
            .collect();
        let count =
            options.iter().fold(1_usize, |count, (_, options)| count.saturating_mul(options.len()));
        for number in 0..count.min(32) {
            let mut digits = number;
            let mut state = tree.clone();
            for (id, options) in &options {
                // In order if there are few; otherwise none, all, and random ones.
                let which = match (count <= 32, number) {
                    (true, _) => digits % options.len(),
                    (false, 0) => 0,
                    (false, 1) => options.len() - 1,
                    _ => random.below(options.len()),
                };
                digits /= options.len();
                for found in state.0.values_mut().filter(|found| found.id == *id) {
                    found.content = options[which].clone();
                }
            }
            states.push(state);
        }
    }

    fn walk(&self, names: &BTreeMap<Entry, Id>, directory: Id, path: &str, tree: &mut State) {
        for ((_, name), id) in
            names.range((directory, String::new())..(directory + 1, String::new()))
        {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let Inode { kind, durable, .. } = &self.inodes[*id];
            if *kind == Kind::Directory {
                self.walk(names, *id, &path, tree);
            }
            tree.0.insert(path, Found { id: *id, kind: *kind, content: durable.clone() });
        }
    }
}

impl Inode {
    /// The contents that may be found: first the durable one, last everything that was written.
    fn options(&self) -> Vec<Content> {
        let (old, new) = (&self.durable.bytes, &self.now.bytes);
        let half = new.len() / 2;
        let over = new[..half].iter().chain(old.iter().skip(half)).copied().collect();
        let bodies = [old.to_vec(), vec![0; new.len()], new[..half].to_vec(), over, new.to_vec()];
        let mut options: Vec<Content> = Vec::new();
        for bytes in bodies {
            for mode in [self.durable.mode, self.now.mode] {
                let content = Content { bytes: Rc::new(bytes.clone()), mode };
                if !options.contains(&content) {
                    options.push(content);
                }
            }
        }
        options
    }
}

fn set(names: &mut BTreeMap<Entry, Id>, directory: Id, name: &str, id: Option<Id>) {
    match id {
        Some(id) => drop(names.insert((directory, name.to_owned()), id)),
        None => drop(names.remove(&(directory, name.to_owned()))),
    }
}

impl State {
    /// A number that other states do not have.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, found) in &self.0 {
            (path, found.kind, &found.content).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Creates this state in a directory.
    pub(super) fn materialize(&self, root: &Path) {
        drop(fs::remove_dir_all(root));
        fs::create_dir(root).unwrap();
        let mut seen: BTreeMap<Id, PathBuf> = BTreeMap::new();
        for (path, Found { id, kind, content }) in &self.0 {
            let path = root.join(path);
            match (kind, seen.get(id)) {
                // The modes on these disks let the owner write.
                (Kind::Directory, _) => {
                    fs::DirBuilder::new().mode(content.mode).create(&path).unwrap()
                }
                (Kind::Link, _) => {
                    symlink(String::from_utf8(content.bytes.to_vec()).unwrap(), &path).unwrap()
                }
                (Kind::File, Some(other)) => fs::hard_link(other, &path).unwrap(),
                (Kind::File, None) => {
                    fs::write(&path, &**content.bytes).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(content.mode)).unwrap();
                    seen.insert(*id, path);
                }
            }
        }
    }
}
