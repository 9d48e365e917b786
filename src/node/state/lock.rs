//! The state directory, reached only through its lock, so that no one reads a receipt that is being
//! replaced.
//!
//! A directory or a record that another user may write is refused: that user could make a plugin
//! count as installed, or as foreign.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::time::Duration;

use super::journal::Journal;
use super::names::{
    EVIDENCE, GENERATIONS, JOURNAL, LOCK, ORIGINALS, READY, RECEIPT, REFUSAL, STORE,
    refuse_other_kinds,
};
use super::receipt::{RECORD_LIMIT, Receipt};
use super::refusal::Refusal;
use crate::disk::{
    Directory, DirectoryEntry, DiskError, FileKind, Lock, Ownership, Prepared, RegularFile,
};
use crate::model::{Code, Digest, Finding, HostPath, JsonError, json};
use crate::node::error::NodeError;
use crate::node::host::{Root, hash};
use crate::trust::Evidence;

pub(crate) const RECORD_MODE: u32 = 0o600;

/// The state directory of a node, not yet locked.
#[derive(Debug)]
pub struct State {
    directory: Directory,
    path: HostPath,
}

/// The state directory, locked against changes.
#[derive(Debug)]
pub struct Reading {
    pub(crate) directory: Directory,
    /// Where it is on the node.
    pub(crate) path: HostPath,
    _lock: Option<Lock>,
}

/// The state directory, locked for changes.
#[derive(Debug)]
pub struct Writing {
    reading: Reading,
}

impl State {
    /// Opens the state directory; `None` if there is none.
    ///
    /// # Errors
    /// Refused if other users may write it.
    pub fn open(root: &Root, path: &HostPath) -> Result<Option<Self>, NodeError> {
        let Some(directory) = root.directory(path)? else {
            // A link to nothing is no missing directory: none can be created there.
            root.expect_place(path)?;
            return Ok(None);
        };
        Self::check(directory, path).map(Some)
    }

    /// Opens the state directory, and creates it for its owner alone if there is none.
    ///
    /// # Errors
    /// Refused if other users may write it.
    pub fn open_or_create(root: &Root, path: &HostPath) -> Result<Self, NodeError> {
        if let Some(state) = Self::open(root, path)? {
            return Ok(state);
        }
        // Other users may pass through its parents; only the last component is private.
        if let Some((parent, _)) =
            path.as_str().rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
        {
            let parent = parent.parse().expect("the parent of a path on the node is one");
            root.directory_or_create(&parent, 0o755)?;
        }
        let (directory, _) = root.directory_or_create(path, 0o700)?;
        Self::check(directory, path)
    }

    fn check(directory: Directory, path: &HostPath) -> Result<Self, NodeError> {
        let user = rustix::process::geteuid().as_raw();
        let listed = || {
            let finding = Finding::refusal(
                Code::StateNotPrivate,
                format!("other users can write to the state directory `{path}`"),
            );
            finding
                .mismatch("no access control list", "an access control list that lets others write")
                .hint(format!("find out what wrote to it, then run: setfacl -b -k {path}"))
        };
        match private(directory.ownership()?, user, path) {
            Some(finding) => return Err(finding.into()),
            None if directory.has_list_of_writers()? => return Err(listed().into()),
            None => refuse_other_kinds(&directory)?,
        }
        Ok(Self { directory, path: path.clone() })
    }

    /// The directory itself, for files that never get a name: those need no lock.
    pub fn spool(&self) -> &Directory {
        &self.directory
    }

    /// Where it is on the node.
    pub(crate) fn path(&self) -> &HostPath {
        &self.path
    }

    /// Waits for the lock, shared with other readers.
    pub fn read(self, timeout: Duration) -> Result<Reading, NodeError> {
        let lock = Lock::shared(&self.directory, LOCK, timeout)?;
        Ok(Reading { directory: self.directory, path: self.path, _lock: lock })
    }

    /// Waits for the exclusive lock, and removes temporary files of an interrupted run.
    pub fn write(self, timeout: Duration) -> Result<Writing, NodeError> {
        let lock = Lock::exclusive(&self.directory, LOCK, timeout)?;
        self.directory.remove_temporaries()?;
        for name in [EVIDENCE, ORIGINALS, GENERATIONS, STORE] {
            if let Some(directory) = existing(self.directory.child(name))? {
                directory.remove_temporaries()?;
            }
        }
        Ok(Writing {
            reading: Reading { directory: self.directory, path: self.path, _lock: Some(lock) },
        })
    }
}

/// Refuses a directory that another user may change.
fn private(ownership: Ownership, user: u32, path: &HostPath) -> Option<Finding> {
    let Ownership { uid, mode, .. } = ownership;
    if uid != 0 && uid != user {
        let message = format!("state directory `{path}` belongs to another user");
        let finding = Finding::refusal(Code::StateNotPrivate, message);
        return Some(finding.mismatch(format_args!("user {user}"), format_args!("user {uid}")));
    }
    (mode & 0o022 != 0).then(|| {
        Finding::refusal(
            Code::StateNotPrivate,
            format!("other users can write to the state directory `{path}`"),
        )
        .mismatch("mode 0700", format_args!("mode {mode:04o}"))
        .hint(format!("find out what wrote to it, then run: chmod 0700 {path}"))
    })
}

impl Reading {
    /// The receipt; `None` if nothing is installed.
    pub fn receipt(&self) -> Result<Option<Receipt>, NodeError> {
        self.record(RECEIPT, Receipt::parse)
    }

    /// The journal of an interrupted installation.
    pub fn journal(&self) -> Result<Option<Journal>, NodeError> {
        self.record(JOURNAL, Journal::parse)
    }

    /// What was refused since the last success.
    pub fn refusal(&self) -> Result<Option<Refusal>, NodeError> {
        self.record(REFUSAL, Refusal::parse)
    }

    /// The bytes of a stored evidence file. Its name proves nothing.
    pub fn evidence(&self, digest: &Digest) -> Result<Option<Vec<u8>>, NodeError> {
        let Some(directory) = self.evidence_directory()? else { return Ok(None) };
        read_evidence(&directory, digest)
    }

    /// The directory of the evidence files; `None` if there is none.
    pub(super) fn evidence_directory(&self) -> Result<Option<Directory>, NodeError> {
        existing(self.directory.child(EVIDENCE)).map_err(Into::into)
    }

    /// Whether evidence of any installation is kept.
    pub fn has_evidence(&self) -> Result<bool, NodeError> {
        let Some(directory) = existing(self.directory.child(EVIDENCE))? else { return Ok(false) };
        Ok(directory.entries()?.next().transpose()?.is_some())
    }

    /// The directory of the files that were replaced, each under the digits of its digest; `None`
    /// if there is none.
    pub(crate) fn kept_originals(&self) -> Result<Option<Directory>, NodeError> {
        existing(self.directory.child(ORIGINALS)).map_err(Into::into)
    }

    /// The digests of the originals that are kept, in the words of their names.
    pub(crate) fn originals_kept(&self) -> Result<BTreeSet<Digest>, NodeError> {
        let Some(directory) = self.kept_originals()? else { return Ok(BTreeSet::new()) };
        let mut kept = BTreeSet::new();
        for entry in directory.entries()? {
            kept.extend(entry?.name.to_str().and_then(|name| Digest::from_hex(name).ok()));
        }
        Ok(kept)
    }

    /// Which of these originals are lost although something has their names: it is not a file, or
    /// it has other bytes. One that cannot be read now may be intact.
    pub(crate) fn originals_altered(
        &self,
        names: &BTreeSet<Digest>,
    ) -> Result<BTreeSet<Digest>, NodeError> {
        let mut altered = BTreeSet::new();
        let Some(directory) = existing(self.directory.child(ORIGINALS))? else {
            return Ok(altered);
        };
        for digest in names {
            let is_altered = match directory.open_file(digest.hex()) {
                Ok(mut kept) => hash(&mut kept.file).is_ok_and(|(found, _)| found != *digest),
                Err(error) => matches!(error, DiskError::NotRegular { .. }),
            };
            if is_altered {
                altered.insert(*digest);
            }
        }
        Ok(altered)
    }

    pub(crate) fn record<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, JsonError>,
    ) -> Result<Option<T>, NodeError> {
        read_record(&self.directory, name, parse)
    }
}

impl Deref for Writing {
    type Target = Reading;
    fn deref(&self) -> &Reading {
        &self.reading
    }
}

impl Writing {
    /// Writes a receipt under a temporary name; `None` if the present one is the same.
    pub fn prepare_receipt(&self, receipt: &Receipt) -> Result<Option<Prepared>, NodeError> {
        if self.receipt().ok().flatten().as_ref() == Some(receipt) {
            return Ok(None);
        }
        Ok(Some(self.directory.prepare(json::readable(receipt).as_bytes(), RECORD_MODE)?))
    }

    /// Replaces `receipt.json` with the prepared file.
    pub fn publish_receipt(&self, prepared: Prepared) -> Result<(), NodeError> {
        self.directory.publish(prepared, RECEIPT).map_err(Into::into)
    }

    /// Removes what was prepared and will not be published.
    pub fn discard_prepared(&self) -> Result<(), NodeError> {
        self.directory.remove_temporaries().map_err(Into::into)
    }

    /// Records what is about to be installed.
    pub fn write_journal(&self, journal: &Journal) -> Result<(), NodeError> {
        self.write_record(JOURNAL, json::readable(journal))
    }

    /// Removes `journal.json`, if there is one.
    pub fn remove_journal(&self) -> Result<(), NodeError> {
        self.remove_record(JOURNAL)
    }

    /// Records that a release was wanted and refused; the next success removes the record.
    pub fn write_refusal(&self, refusal: &Refusal) -> Result<(), NodeError> {
        self.write_record(REFUSAL, json::readable(refusal))
    }

    /// Removes the record of a refusal.
    pub fn remove_refusal(&self) -> Result<(), NodeError> {
        self.remove_record(REFUSAL)
    }

    /// Removes every record except those that outlive an uninstallation: the floors and the lock.
    /// The receipt goes last: while it exists, the next run knows what is left to do.
    pub(crate) fn forget_installation(&self) -> Result<(), NodeError> {
        let none = BTreeSet::new();
        self.keep_only_copies(&BTreeSet::new())?;
        self.keep_only_evidence(&none)?;
        self.keep_only_originals(&none)?;
        self.remove_generations()?;
        for name in [STORE, EVIDENCE, ORIGINALS, GENERATIONS] {
            match self.directory.remove_directory(name) {
                // A directory in it is not this program's.
                Err(DiskError::Io { source, .. })
                    if source.kind() == ErrorKind::DirectoryNotEmpty => {}
                removed => removed?,
            }
        }
        self.remove_rolled_back()?;
        self.record_uninstallation()?;
        // Once the receipt is gone, no run looks for the rest: its removal has to be durable
        // before.
        self.directory.sync()?;
        for name in [REFUSAL, READY, JOURNAL, RECEIPT] {
            self.remove_record(name)?;
        }
        Ok(())
    }

    /// Makes durable what an interrupted run removed or named.
    pub fn settle(&self) -> Result<(), NodeError> {
        self.directory.sync().map_err(Into::into)
    }

    /// Keeps an evidence file under its digest.
    pub fn write_evidence(&self, bytes: &[u8]) -> Result<Digest, NodeError> {
        let digest = Digest::of(bytes);
        let directory = self.subdirectory(EVIDENCE)?;
        let is_kept = match self.evidence(&digest) {
            Ok(kept) => kept.is_some_and(|kept| kept == bytes),
            // Whatever has its name is replaced.
            Err(NodeError::Disk(error)) if error.of_one_file().is_some() => false,
            Err(error) => return Err(error),
        };
        if !is_kept {
            directory.write_atomic(evidence_name(&digest), bytes, 0o600)?;
        } else {
            // A run that was interrupted may have given it its name, and no more.
            directory.sync()?;
        }
        Ok(digest)
    }

    /// Removes every evidence file but these; returns how many bytes that freed.
    pub fn keep_only_evidence(&self, digests: &BTreeSet<Digest>) -> Result<u64, NodeError> {
        let Some(directory) = existing(self.directory.child(EVIDENCE))? else { return Ok(0) };
        remove_others(&directory, |name| {
            let hex = name.strip_suffix(".json").unwrap_or_default();
            Digest::from_hex(hex).is_ok_and(|digest| digests.contains(&digest))
        })
    }

    /// Removes every original but these; returns how many bytes that freed.
    pub fn keep_only_originals(&self, digests: &BTreeSet<Digest>) -> Result<u64, NodeError> {
        let Some(directory) = existing(self.directory.child(ORIGINALS))? else { return Ok(0) };
        remove_others(&directory, |name| is_digest_of(name, digests))
    }

    /// The directory of the files that were replaced, each under the digits of its digest.
    pub fn originals(&self) -> Result<Directory, NodeError> {
        self.subdirectory(ORIGINALS)
    }

    pub(crate) fn subdirectory(&self, name: &str) -> Result<Directory, NodeError> {
        if let Some(directory) = existing(self.directory.child(name))? {
            return Ok(directory);
        }
        let directory = self.directory.create_child(name, 0o700)?;
        self.directory.sync()?;
        Ok(directory)
    }

    pub(crate) fn write_record(&self, name: &str, text: String) -> Result<(), NodeError> {
        self.directory.write_atomic(name, text.as_bytes(), RECORD_MODE).map_err(Into::into)
    }

    pub(crate) fn remove_record(&self, name: &str) -> Result<(), NodeError> {
        if self.directory.kind_of(name)?.is_some() {
            self.directory.remove(name)?;
            self.directory.sync()?;
        }
        Ok(())
    }
}

/// The bytes of an evidence file.
pub(super) fn read_evidence(
    directory: &Directory,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, NodeError> {
    existing(directory.read(evidence_name(digest), Evidence::LIMIT)).map_err(Into::into)
}

fn evidence_name(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}

/// Reads a record that only its owner can have written.
pub(crate) fn read_record<T>(
    directory: &Directory,
    name: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, JsonError>,
) -> Result<Option<T>, NodeError> {
    let opened = match directory.open_file(name) {
        // As bad as a file with other content, and as certain.
        Err(error @ DiskError::NotRegular { .. }) => {
            let finding = Finding::refusal(Code::StateDamaged, error.to_string());
            return Err(finding
                .hint("find out what put it there, remove it, and install again")
                .into());
        }
        opened => existing(opened)?,
    };
    let Some(opened) = opened else { return Ok(None) };
    let is_listed = opened.attributes()?.writers;
    let RegularFile { file, uid, mode, shown: path, .. } = opened;
    // The mode of such a file shows the mask of its list as the rights of the group.
    if is_listed {
        let message = format!("other users can write to the state file `{path}`");
        let finding = Finding::refusal(Code::StateNotPrivate, message)
            .mismatch("no access control list", "an access control list that lets others write")
            .hint(format!("find out what wrote to it, then run: setfacl -b {path}"));
        return Err(finding.into());
    }
    let user = rustix::process::geteuid().as_raw();
    if (uid != 0 && uid != user) || mode & 0o022 != 0 {
        let message = format!("other users can write to the state file `{path}`");
        let finding = Finding::refusal(Code::StateNotPrivate, message)
            .mismatch(
                format_args!("user {user}, mode 0600"),
                format_args!("user {uid}, mode {mode:04o}"),
            )
            .hint("find out what wrote it, remove it, and install again");
        return Err(finding.into());
    }
    let mut bytes = Vec::new();
    // One byte past the limit: the parser says how long is too long.
    let read = file.take(RECORD_LIMIT as u64 + 1).read_to_end(&mut bytes);
    if let Err(source) = read {
        return Err(DiskError::Io { action: "read".to_owned(), path, source }.into());
    }
    parse(&bytes).map(Some).map_err(|source| NodeError::Record { path, source })
}

/// Whether a name is the digits of one of these digests.
pub(super) fn is_digest_of(name: &str, digests: &BTreeSet<Digest>) -> bool {
    Digest::from_hex(name).is_ok_and(|digest| digests.contains(&digest))
}

/// Removes every entry of a directory but these names and but directories, which this program does
/// not make there; returns how many bytes that freed.
pub(crate) fn remove_others(
    directory: &Directory,
    is_kept: impl Fn(&str) -> bool,
) -> Result<u64, NodeError> {
    let mut freed = 0;
    let is_stale = |DirectoryEntry { name, kind }: &DirectoryEntry| {
        *kind != FileKind::Directory && !name.to_str().is_some_and(&is_kept)
    };
    // Anything but a file is foreign, and is reported when its name is needed.
    let count = |name: &OsStr| freed += directory.open_file(name).map_or(0, |file| file.size);
    directory.remove_each(is_stale, count)?;
    Ok(freed)
}

/// Turns "there is none" into `None`.
pub(crate) fn existing<T>(result: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every plugin directory that the receipt or an earlier generation names.
///
/// Empty if the records cannot be read, or are locked for longer than `patience`: what is wrong
/// with them is reported by the verb that needs them, and it does nothing then.
pub fn known_directories(root: &Root, state: &HostPath, patience: Duration) -> BTreeSet<HostPath> {
    let opened = State::open(root, state).ok().flatten();
    let Some(reading) = opened.and_then(|state| state.read(patience).ok()) else {
        return BTreeSet::new();
    };
    let mut known = BTreeSet::new();
    let mut add = |receipt: &Receipt| known.extend(receipt.directories.keys().cloned());
    let _ = reading.history_seen(&mut add);
    reading.receipt().ok().flatten().iter().for_each(add);
    known
}

/// The answer of a node that has no receipt.
pub(crate) fn not_installed() -> Finding {
    Finding::refusal(
        Code::NotInstalled,
        "there is no receipt: nothing was installed here, or it was deleted",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::receipt::Schema;
    use super::super::refusal::Reason;
    use super::*;

    fn path() -> HostPath {
        HostPath::default_state_directory()
    }

    fn writing(temporary: &tempfile::TempDir) -> Writing {
        let root = Root::open(temporary.path()).unwrap();
        State::open_or_create(&root, &path()).unwrap().write(Duration::ZERO).unwrap()
    }

    #[test]
    fn a_new_state_directory_is_for_its_owner_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        assert!(State::open(&root, &path()).unwrap().is_none());
        drop(writing(&temporary));
        let mode = |name: &str| {
            std::fs::metadata(temporary.path().join(name)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("var/lib"), mode("var/lib/cnister")), (0o755, 0o700));
    }

    #[test]
    fn a_state_directory_that_others_may_write_is_refused() {
        let finding = |uid, mode| {
            private(Ownership { uid, gid: 0, mode }, 1000, &path()).map(|finding| finding.found)
        };
        assert_eq!(finding(1000, 0o700), None);
        assert_eq!(finding(0, 0o755), None);
        assert_eq!(finding(1001, 0o700), Some(Some("user 1001".to_owned())));
        assert_eq!(finding(1000, 0o770), Some(Some("mode 0770".to_owned())));
        assert_eq!(finding(1000, 0o1777), Some(Some("mode 1777".to_owned())));

        let temporary = tempfile::tempdir().unwrap();
        drop(writing(&temporary));
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(temporary.path().join("var/lib/cnister"), open).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let findings = State::open(&root, &path()).expect_err("mode 0777").into_findings().unwrap();
        assert_eq!(findings[0].code, Code::StateNotPrivate);
    }

    #[test]
    fn records_come_back_and_go() {
        let temporary = tempfile::tempdir().unwrap();
        let state = writing(&temporary);
        let reasons = vec![Reason { code: "c".to_owned(), message: "m".to_owned() }];
        let refusal = Refusal { schema_version: Schema, wanted: "it".to_owned(), reasons };
        assert_eq!(state.refusal().unwrap(), None);
        state.write_refusal(&refusal).unwrap();
        assert_eq!(state.refusal().unwrap(), Some(refusal));
        state.remove_refusal().unwrap();
        assert_eq!(state.refusal().unwrap(), None);
        assert_eq!(state.receipt().unwrap(), None);
        std::fs::write(temporary.path().join("var/lib/cnister/receipt.json"), b"{}").unwrap();
        let error = state.receipt().expect_err("an empty object").to_string();
        assert!(
            error.contains("/receipt.json` cannot be used: receipt is not valid: missing field"),
            "{error}"
        );
    }

    #[test]
    fn evidence_is_kept_under_its_digest() {
        let temporary = tempfile::tempdir().unwrap();
        let state = writing(&temporary);
        let (old, new) =
            (state.write_evidence(b"old").unwrap(), state.write_evidence(b"new").unwrap());
        assert_eq!(state.evidence(&old).unwrap(), Some(b"old".to_vec()));
        assert_eq!(state.keep_only_evidence(&BTreeSet::from([new])).unwrap(), 3);
        assert_eq!(
            (state.evidence(&old).unwrap(), state.evidence(&new).unwrap()),
            (None, Some(b"new".to_vec()))
        );
    }

    #[test]
    fn readers_and_writers_exclude_each_other() {
        let temporary = tempfile::tempdir().unwrap();
        let state = writing(&temporary);
        let root = Root::open(temporary.path()).unwrap();
        let open = || State::open(&root, &path()).unwrap().unwrap();
        assert!(matches!(
            open().read(Duration::ZERO),
            Err(NodeError::Disk(DiskError::Locked { .. }))
        ));
        drop(state);
        let _reading = open().read(Duration::ZERO).unwrap();
        assert!(matches!(
            open().write(Duration::ZERO),
            Err(NodeError::Disk(DiskError::Locked { .. }))
        ));
        assert!(open().read(Duration::ZERO).is_ok());
    }
}
