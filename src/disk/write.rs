//! Changes a directory by whole files only: each is durable before it gets its final name, so a
//! power cut leaves either the old file or the new one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, Advice, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::directory::{component, io_error};
use super::{Directory, DirectoryEntry, DiskError, FileKind};

/// Prefix of the names of unfinished files. An interrupted run leaves them behind, and the next one
/// removes them.
const TEMPORARY_PREFIX: &str = ".cnister-";

const CREATE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// Writes the file at a path that the user gave in one step; a link is replaced, and not what it
/// leads to.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let name = path.file_name().unwrap_or_default();
    Directory::open(directory_of(path))?.write_atomic(name, bytes, mode)
}

/// The directory that a path names a file in, which is `.` if it names none.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is being written under a temporary name.
#[derive(Debug)]
#[must_use = "it stays under its temporary name until it is finished and published"]
pub struct Unfinished {
    temporary: String,
    /// The file, opened for writing.
    pub file: File,
}

/// A file that is complete and durable, but still has a temporary name.
#[derive(Debug)]
#[must_use = "it stays under its temporary name until it is published"]
pub struct Prepared {
    temporary: String,
}

impl Directory {
    /// Creates a file that must not exist yet, readable only by its owner.
    pub fn create_file(&self, name: impl AsRef<OsStr>) -> Result<File, DiskError> {
        let name = component(name.as_ref())?;
        // O_EXCL also refuses a symbolic link, whatever its target.
        let handle = fs::openat(&self.handle, name, CREATE, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| io_error("create", &self.shown_path(Path::new(name)), errno))?;
        Ok(handle.into())
    }

    /// Creates a file without a name, which vanishes when it is closed.
    pub fn create_unnamed(&self) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match fs::openat(&self.handle, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(handle) => Ok(handle.into()),
            // NFS and some older file systems.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let name = temporary_name(self)?;
                let file = self.create_file(&name)?;
                self.remove(&name)?;
                Ok(file)
            }
            Err(errno) => Err(io_error("create a file in", self.shown(), errno)),
        }
    }

    /// Gives a file of [`Directory::create_unnamed`] a name in one step, replacing an entry of that
    /// name. It does not become durable: that is for files that are verified when they are read.
    pub fn name_unnamed(&self, file: &File, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        let name = component(name.as_ref())?;
        let temporary = temporary_name(self)?;
        // linkat(2): without privileges, this is how a file of O_TMPFILE gets a name.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::linkat(fs::CWD, path, &self.handle, &temporary, AtFlags::SYMLINK_FOLLOW)
            .map_err(|errno| io_error("name a file in", self.shown(), errno))?;
        let named = self.rename(&temporary, self, name);
        if named.is_err() {
            let _ = self.remove(&temporary);
        }
        named
    }

    /// Writes a file under `name` in one step: no reader, and no power cut, ever sees half of it.
    pub fn write_atomic(
        &self,
        name: impl AsRef<OsStr>,
        bytes: &[u8],
        mode: u32,
    ) -> Result<(), DiskError> {
        let name = name.as_ref();
        let shown = self.shown_path(Path::new(name));
        self.replace_with(name, mode, |file| {
            file.write_all(bytes).map_err(|error| io_error("write", &shown, error))
        })
    }

    /// Writes what `fill` produces to a file under `name` in one step; leaves nothing behind if
    /// `fill` fails.
    pub fn replace_with<E: From<DiskError>>(
        &self,
        name: impl AsRef<OsStr>,
        mode: u32,
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = component(name.as_ref())?;
        let prepared = self.prepare_with(mode, fill)?;
        Ok(self.publish(prepared, name)?)
    }

    /// Writes a file that gets its name later; giving it the name needs no further space on the
    /// disk.
    pub fn prepare(&self, bytes: &[u8], mode: u32) -> Result<Prepared, DiskError> {
        self.prepare_with(mode, |file| {
            file.write_all(bytes).map_err(|error| io_error("write a file in", self.shown(), error))
        })
    }

    fn prepare_with<E: From<DiskError>>(
        &self,
        mode: u32,
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Prepared, E> {
        let mut unfinished = self.begin()?;
        if let Err(error) = fill(&mut unfinished.file) {
            // The first error is the one that matters; the next run removes the leftover.
            let _ = self.remove(&unfinished.temporary);
            return Err(error);
        }
        Ok(self.complete(unfinished, mode)?)
    }

    /// Creates a file under a temporary name, readable only by its owner. The caller finishes or
    /// removes it, or else the next [`Directory::remove_temporaries`] does.
    pub fn begin(&self) -> Result<Unfinished, DiskError> {
        let temporary = temporary_name(self)?;
        let file = self.create_file(&temporary)?;
        Ok(Unfinished { temporary, file })
    }

    /// Removes a file that will not be finished, as far as possible; the next run removes what is
    /// left of it.
    pub(crate) fn discard(&self, unfinished: &Unfinished) {
        let _ = self.remove(&unfinished.temporary);
    }

    /// Sets the mode of a written file, makes it durable and closes it; removes it if that fails.
    pub fn complete(&self, unfinished: Unfinished, mode: u32) -> Result<Prepared, DiskError> {
        let Unfinished { temporary, file } = unfinished;
        let finished = self.finish(&temporary, file, mode);
        if finished.is_err() {
            let _ = self.remove(&temporary);
        }
        finished.map(|()| Prepared { temporary })
    }

    /// Gives a prepared file its name in one step and makes the name durable.
    pub fn publish(&self, prepared: Prepared, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        self.name(prepared, name)?;
        self.sync()
    }

    /// Gives a prepared file its name in one step; the name becomes durable when the directory is
    /// synced.
    pub fn name(&self, prepared: Prepared, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        let named = self.rename(&prepared.temporary, self, name);
        if named.is_err() {
            let _ = self.remove(&prepared.temporary);
        }
        named
    }

    /// Sets the mode of a written file, makes it durable and closes it; `name` is only for
    /// messages.
    pub fn finish(&self, name: impl AsRef<OsStr>, file: File, mode: u32) -> Result<(), DiskError> {
        let shown = || self.shown_path(Path::new(name.as_ref()));
        fs::fchmod(&file, Mode::from_raw_mode(mode))
            .map_err(|errno| io_error("set the mode of", &shown(), errno))?;
        file.sync_all().map_err(|error| io_error("sync", &shown(), error))
    }

    /// Renames an entry, replacing any entry with the new name.
    pub fn rename(
        &self,
        from: impl AsRef<OsStr>,
        directory: &Directory,
        to: impl AsRef<OsStr>,
    ) -> Result<(), DiskError> {
        let (from, to) = (component(from.as_ref())?, component(to.as_ref())?);
        fs::renameat(&self.handle, from, &directory.handle, to).map_err(|errno| {
            let action = format!("rename `{}` to", self.shown_path(Path::new(from)));
            io_error(action, &directory.shown_path(Path::new(to)), errno)
        })
    }

    /// Removes an entry that is not a directory; succeeds if it does not exist.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        self.unlink(name.as_ref(), AtFlags::empty())
    }

    /// Removes an empty directory; succeeds if it does not exist.
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        self.unlink(name.as_ref(), AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<(), DiskError> {
        let name = component(name)?;
        match fs::unlinkat(&self.handle, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io_error("remove", &self.shown_path(Path::new(name)), errno)),
        }
    }

    /// Removes the temporary files that an interrupted run left behind.
    pub fn remove_temporaries(&self) -> Result<(), DiskError> {
        self.remove_each(DirectoryEntry::is_temporary, |_| {})
    }

    /// Removes each of these entries, none of which may be a directory; `before` is told its name
    /// before.
    ///
    /// They are taken some hundred at a time: others may have filled the directory with more names
    /// than fit into memory.
    pub fn remove_each(
        &self,
        mut is_one: impl FnMut(&DirectoryEntry) -> bool,
        mut before: impl FnMut(&OsStr),
    ) -> Result<(), DiskError> {
        const AT_ONCE: usize = 512;
        loop {
            let mut names = Vec::new();
            for entry in self.entries()? {
                let entry = entry?;
                if is_one(&entry) {
                    names.push(entry.name);
                }
                if names.len() == AT_ONCE {
                    break;
                }
            }
            for name in &names {
                before(name);
                self.remove(name)?;
            }
            if names.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Makes the names in the directory durable.
    pub fn sync(&self) -> Result<(), DiskError> {
        fs::fsync(&self.handle).map_err(|errno| io_error("sync", self.shown(), errno))
    }
}

impl DirectoryEntry {
    /// Whether it is a file that an interrupted run left unfinished. A directory never is.
    pub(crate) fn is_temporary(&self) -> bool {
        self.kind != FileKind::Directory
            && self.name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes())
    }
}

/// Asks the system to start writing the bytes from `from` to `to` to the disk, without waiting, so
/// that the final sync has less left to do. Only a hint, so it cannot fail.
pub fn start_writing(file: &File, from: u64, to: u64) {
    // "Not needed" starts writing and drops only what is already on the disk; sync_file_range is
    // not in rustix.
    let length = std::num::NonZeroU64::new(to.saturating_sub(from));
    let _ = length.map(|length| fs::fadvise(file, from, Some(length), Advice::DontNeed));
}

fn temporary_name(directory: &Directory) -> Result<String, DiskError> {
    let mut bytes = [0_u8; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| io_error("choose a temporary name in", directory.shown(), errno))?;
    Ok(format!("{TEMPORARY_PREFIX}{:016x}", u64::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn held() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    fn names(directory: &Directory) -> Vec<String> {
        let mut names: Vec<_> = directory
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().name.into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let (temporary, directory) = held();
        directory.write_atomic("file", b"one", 0o600).unwrap();
        directory.write_atomic("file", b"two", 0o644).unwrap();
        assert_eq!(directory.read("file", 10).unwrap(), b"two");
        let mode = std::fs::metadata(temporary.path().join("file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(names(&directory), ["file"]);
    }

    #[test]
    fn keeps_the_old_file_when_the_new_one_fails_half_way() {
        let (_temporary, directory) = held();
        directory.write_atomic("file", b"one", 0o600).unwrap();
        let failed = directory.replace_with("file", 0o600, |file| {
            file.write_all(b"t").unwrap();
            Err(DiskError::Name { name: "broken off".to_owned() })
        });
        assert_eq!(failed.expect_err("fill failed").to_string(), "`broken off` is not a file name");
        assert_eq!(directory.read("file", 10).unwrap(), b"one");
        assert_eq!(names(&directory), ["file"]);
    }

    #[test]
    fn an_unnamed_file_gets_a_name_once_it_is_complete() {
        let (temporary, directory) = held();
        let mut file = directory.create_unnamed().unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(names(&directory), Vec::<String>::new());
        directory.write_atomic("precious", b"old", 0o600).unwrap();
        symlink("precious", temporary.path().join("file")).unwrap();
        directory.name_unnamed(&file, "file").unwrap();
        assert_eq!(directory.read("file", 10).unwrap(), b"new");
        assert_eq!(directory.read("precious", 10).unwrap(), b"old");
        assert_eq!(names(&directory), ["file", "precious"]);
        directory.name_unnamed(&file, "..").expect_err("not a name");
        // One that was removed has no name either, and cannot get one again.
        let file = directory.create_file("removed").unwrap();
        directory.remove("removed").unwrap();
        directory.name_unnamed(&file, "again").expect_err("removed");
        assert_eq!(names(&directory), ["file", "precious"]);
    }

    #[test]
    fn replaces_a_link_rather_than_what_it_leads_to() {
        let (temporary, directory) = held();
        std::fs::write(temporary.path().join("precious"), b"old").unwrap();
        symlink("precious", temporary.path().join("file")).unwrap();
        directory.write_atomic("file", b"new", 0o600).unwrap();
        assert_eq!(directory.read("precious", 10).unwrap(), b"old");
        let error = directory.create_file("file").expect_err("it is there").to_string();
        assert_eq!(error, format!("cannot create `{}/file`", directory.shown()));
    }

    #[test]
    fn an_unnamed_file_has_no_name() {
        let (_temporary, directory) = held();
        let mut file = directory.create_unnamed().unwrap();
        file.write_all(b"spooled").unwrap();
        assert_eq!(names(&directory), Vec::<String>::new());
    }

    #[test]
    fn removes_what_an_interrupted_run_left_and_nothing_else() {
        let (temporary, directory) = held();
        for name in [".cnister-0123", "file", ".other"] {
            std::fs::write(temporary.path().join(name), b"").unwrap();
        }
        directory.remove_temporaries().unwrap();
        assert_eq!(names(&directory), [".other", "file"]);
        directory.remove("file").unwrap();
        directory.remove("file").unwrap();
        assert_eq!(names(&directory), [".other"]);
    }

    #[test]
    fn removes_more_entries_than_it_holds_at_once_and_no_other() {
        let (temporary, directory) = held();
        for number in 0..1500 {
            std::fs::write(temporary.path().join(format!("stale-{number}")), b"").unwrap();
        }
        std::fs::write(temporary.path().join("file"), b"").unwrap();
        let mut told = 0;
        let is_stale = |entry: &DirectoryEntry| entry.name.as_bytes().starts_with(b"stale-");
        directory.remove_each(is_stale, |_| told += 1).unwrap();
        assert_eq!((names(&directory), told), (vec!["file".to_owned()], 1500));
    }

    #[test]
    fn a_failed_rename_names_both_sides() {
        let (temporary, directory) = held();
        std::fs::create_dir(temporary.path().join("taken")).unwrap();
        directory.write_atomic("file", b"", 0o600).unwrap();
        let error =
            directory.rename("file", &directory, "taken").expect_err("a directory").to_string();
        let root = directory.shown();
        assert_eq!(error, format!("cannot rename `{root}/file` to `{root}/taken`"));
    }
}
