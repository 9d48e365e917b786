//! An open directory and the files that are reached from it. A path that leaves the directory, by
//! `..` or by a symbolic link, is refused, except where the caller asks for the host's own view.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{DiskError, FileKind};
use crate::model::visible;

/// A directory that is held open.
#[derive(Debug)]
pub struct Directory {
    pub(super) handle: OwnedFd,
    /// The path it was opened by, only for messages.
    shown: String,
}

/// How symbolic links in a path are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// Only links that stay beneath the starting directory.
    Beneath,
    /// As any program of the host follows them; correct only if the starting directory is the
    /// host's own `/`.
    Host,
}

impl From<Directory> for OwnedFd {
    fn from(directory: Directory) -> Self {
        directory.handle
    }
}

/// One entry of a directory listing.
#[derive(Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// One component, never `.` or `..`.
    pub name: OsString,
    /// The entry's own kind: links are not followed.
    pub kind: FileKind,
}

/// Owner and permissions of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Numeric user ID.
    pub uid: u32,
    /// Numeric group ID.
    pub gid: u32,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
}

/// A regular file that was opened once; everything asked or read later is about this same file.
#[derive(Debug)]
pub struct RegularFile {
    /// The file, open for reading.
    pub file: File,
    /// In bytes, when it was opened.
    pub size: u64,
    /// Permission bits, including set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Number of hard links.
    pub links: u64,
    /// Numeric ID of the owner.
    pub uid: u32,
    /// Numeric ID of the group.
    pub gid: u32,
    /// The path it was opened by, only for messages.
    pub shown: String,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directory {
    /// Opens a directory by a path that the user gave; links are followed.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let shown = visible(&path.to_string_lossy()).into_owned();
        let handle = fs::openat(fs::CWD, path, DIRECTORY, Mode::empty())
            .map_err(|errno| io_error("open directory", &shown, errno))?;
        Ok(Self { handle, shown })
    }

    pub(super) fn of(handle: OwnedFd, shown: String) -> Self {
        Self { handle, shown }
    }

    /// Returns its path, only for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Opens the directory at a relative path of any number of components.
    pub fn descend(&self, path: &Path, resolve: Resolve) -> Result<Self, DiskError> {
        let shown = self.shown_path(path);
        match self.open_directory(path, resolve) {
            Ok(handle) => Ok(Self { handle, shown }),
            // ELOOP: a magic link of /proc, or a loop of links.
            Err(Errno::XDEV | Errno::LOOP) => Err(DiskError::Escapes {
                path: visible(&path.to_string_lossy()).into_owned(),
                root: self.shown.clone(),
            }),
            Err(errno) => match self.first_not_directory(path, resolve, errno) {
                Some(error) => Err(error),
                None => Err(io_error("open directory", &shown, errno)),
            },
        }
    }

    /// Returns what is in the way, if a directory could not be opened because something on its path
    /// is none.
    fn first_not_directory(
        &self,
        path: &Path,
        resolve: Resolve,
        errno: Errno,
    ) -> Option<DiskError> {
        if errno != Errno::NOTDIR {
            return None;
        }
        let (mut parent, mut reached) =
            (self.open_directory(Path::new("."), resolve).ok()?, PathBuf::new());
        for component in path.components() {
            reached.push(component);
            match self.open_directory(&reached, resolve) {
                Ok(handle) => parent = handle,
                Err(_) => {
                    let parent = Self::of(parent, self.shown.clone());
                    let kind = parent.kind_of(component).ok().flatten()?;
                    return Some(DiskError::NotDirectory { path: self.shown_path(&reached), kind });
                }
            }
        }
        None
    }

    /// Opens the directory at a relative path and creates its missing components; returns the
    /// created paths, outermost first.
    pub fn descend_or_create(
        &self,
        path: &Path,
        mode: u32,
        resolve: Resolve,
    ) -> Result<(Self, Vec<PathBuf>), DiskError> {
        let mut created = Vec::new();
        let mut reached = PathBuf::new();
        for component in path.components() {
            reached.push(component);
            match self.descend(&reached, resolve) {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
                Ok(_) => continue,
            }
            let (parent, Component::Normal(name)) = (reached.parent(), component) else {
                return Err(DiskError::Name {
                    name: visible(&path.to_string_lossy()).into_owned(),
                });
            };
            let opened = parent.filter(|parent| !parent.as_os_str().is_empty());
            let opened = opened.map(|parent| self.descend(parent, resolve)).transpose()?;
            let parent = opened.as_ref().unwrap_or(self);
            match parent.create_child(name, mode) {
                Ok(_) => created.push(reached.clone()),
                // Another process was faster; treat what it created like anything that was there
                // before.
                Err(error) if error.is_there_already() => {
                    parent.refuse_dangling(name, &self.shown_path(&reached))?;
                }
                Err(error) => return Err(error),
            }
            parent.sync()?;
        }
        Ok((self.descend(path, resolve)?, created))
    }

    /// Refuses a path at which [`Directory::descend_or_create`] could not create a directory, since
    /// something else is there. It creates nothing.
    pub fn expect_place(&self, path: &Path, resolve: Resolve) -> Result<(), DiskError> {
        let (mut reached, mut parent) = (PathBuf::new(), None);
        for name in path.components() {
            reached.push(name);
            match self.descend(&reached, resolve) {
                Ok(directory) => parent = Some(directory),
                Err(error) if error.is_not_found() => {
                    let parent = parent.as_ref().unwrap_or(self);
                    return parent.refuse_dangling(name.as_os_str(), &self.shown_path(&reached));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses a link that leads to nothing: no directory can be created in its place.
    fn refuse_dangling(&self, name: &OsStr, shown: &str) -> Result<(), DiskError> {
        match self.kind_of(name)? {
            Some(kind @ FileKind::SymbolicLink) => {
                Err(DiskError::NotDirectory { path: shown.to_owned(), kind })
            }
            _ => Ok(()),
        }
    }

    /// Opens a directory directly inside this one; a link to a directory is refused.
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self, DiskError> {
        let name = component(name.as_ref())?;
        let shown = self.shown_path(Path::new(name));
        match fs::openat(&self.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => Ok(Self { handle, shown }),
            Err(errno) => Err(match self.kind_of(name) {
                Ok(Some(kind)) if kind != FileKind::Directory => {
                    DiskError::NotDirectory { path: shown, kind }
                }
                _ => io_error("open directory", &shown, errno),
            }),
        }
    }

    /// Creates a directory directly inside this one, with exactly this mode whatever the umask is.
    pub fn create_child(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self, DiskError> {
        let name = component(name.as_ref())?;
        let mode = Mode::from_raw_mode(mode);
        let failed = |errno| io_error("create directory", &self.shown_path(Path::new(name)), errno);
        // Created with the requested mode at once: after an interruption between the two calls,
        // nothing would widen it later.
        fs::mkdirat(&self.handle, name, mode).map_err(failed)?;
        let opened = self.child(name).and_then(|child| {
            fs::fchmod(&child.handle, mode).map_err(failed)?;
            Ok(child)
        });
        if opened.is_err() {
            let _ = self.remove_directory(name);
        }
        opened
    }

    /// Lists the entries lazily, so that a caller can stop at the first unwanted one.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<DirectoryEntry, DiskError>> + '_, DiskError> {
        let failed = |errno| io_error("list", &self.shown, errno);
        let listing = Dir::read_from(&self.handle).map_err(failed)?;
        let entries = listing.filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(failed(errno))),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                return None;
            }
            let kind = match entry.file_type() {
                // Some file systems leave the kind out of the listing.
                FileType::Unknown => match self.kind_of(name) {
                    Ok(kind) => kind?,
                    Err(error) => return Some(Err(error)),
                },
                known => known.into(),
            };
            Some(Ok(DirectoryEntry { name: name.to_owned(), kind }))
        });
        Ok(entries)
    }

    /// Returns whether it has no entries.
    pub fn is_empty(&self) -> Result<bool, DiskError> {
        self.entries()?.next().transpose().map(|first| first.is_none())
    }

    /// Returns the kind of an entry without following links; `None` if it does not exist.
    pub fn kind_of(&self, name: impl AsRef<OsStr>) -> Result<Option<FileKind>, DiskError> {
        let name = component(name.as_ref())?;
        match fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode).into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error("inspect", &self.shown_path(Path::new(name)), errno)),
        }
    }

    /// Opens a regular file directly inside this directory.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<RegularFile, DiskError> {
        let name = component(name.as_ref())?;
        let shown = self.shown_path(Path::new(name));
        let file: File = match fs::openat(&self.handle, name, RegularFile::FLAGS, Mode::empty()) {
            Ok(handle) => handle.into(),
            Err(Errno::LOOP) => {
                return Err(DiskError::NotRegular { path: shown, kind: FileKind::SymbolicLink });
            }
            // A socket, or a device without a driver.
            Err(Errno::NXIO | Errno::NODEV) => {
                let kind = self.kind_of(name)?.unwrap_or(FileKind::Unknown);
                return Err(DiskError::NotRegular { path: shown, kind });
            }
            // Something else than a file that this process may not open is still something else.
            Err(errno) => {
                return Err(match self.kind_of(name) {
                    Ok(Some(kind)) if kind != FileKind::Regular => {
                        DiskError::NotRegular { path: shown, kind }
                    }
                    _ => io_error("open", &shown, errno),
                });
            }
        };
        RegularFile::of(file, shown)
    }

    /// Reads a small file as a whole.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: usize) -> Result<Vec<u8>, DiskError> {
        self.open_file(name)?.read(limit)
    }

    /// Reads a small file in this directory or below it as a whole; links that leave the directory
    /// are refused.
    pub fn read_below(&self, path: &Path, limit: usize) -> Result<Vec<u8>, DiskError> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.descend(parent, Resolve::Beneath)?.read(name, limit),
            None => self.read(name, limit),
        }
    }

    /// Returns its owner and permissions.
    pub fn ownership(&self) -> Result<Ownership, DiskError> {
        let stat =
            fs::fstat(&self.handle).map_err(|errno| io_error("inspect", &self.shown, errno))?;
        Ok(Ownership::of(&stat))
    }

    /// Returns whether both are the same directory, whatever paths they were opened by.
    pub fn is_same(&self, other: &Self) -> Result<bool, DiskError> {
        let identity = |directory: &Self| {
            let stat = fs::fstat(&directory.handle)
                .map_err(|errno| io_error("inspect", &directory.shown, errno))?;
            Ok((stat.st_dev, stat.st_ino))
        };
        Ok(identity(self)? == identity(other)?)
    }

    pub(super) fn shown_path(&self, path: &Path) -> String {
        let path = path.to_string_lossy();
        let separator = if self.shown.ends_with('/') { "" } else { "/" };
        format!("{}{separator}{}", self.shown, visible(&path))
    }

    fn open_directory(&self, path: &Path, resolve: Resolve) -> rustix::io::Result<OwnedFd> {
        if resolve == Resolve::Host {
            return fs::openat(&self.handle, path, DIRECTORY, Mode::empty());
        }
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a directory was renamed meanwhile, and the kernel could not tell whether a `..`
        // escaped.
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..16 {
            opened = fs::openat2(&self.handle, path, DIRECTORY, Mode::empty(), flags);
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        match opened {
            Err(Errno::NOSYS) => self.open_by_steps(path),
            opened => opened,
        }
    }

    /// The same for kernels before 5.6, which lack openat2: one component at a time, refusing every
    /// link.
    fn open_by_steps(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let mut reached = fs::openat(&self.handle, ".", DIRECTORY, Mode::empty())?;
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => {
                    let opened =
                        fs::openat(&reached, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
                    reached = match opened {
                        Err(Errno::NOTDIR) if is_link(&reached, name) => return Err(Errno::XDEV),
                        opened => opened?,
                    };
                }
                _ => return Err(Errno::XDEV),
            }
        }
        Ok(reached)
    }
}

impl Ownership {
    pub(super) fn of(stat: &fs::Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 }
    }
}

impl RegularFile {
    /// Never blocks (as opening a FIFO would), never follows a link, and is closed on exec.
    pub(super) const FLAGS: OFlags =
        OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

    /// Wraps a file opened with [`RegularFile::FLAGS`]; anything but a regular file is refused.
    pub(super) fn of(file: File, shown: String) -> Result<Self, DiskError> {
        let metadata = file.metadata().map_err(|error| io_error("inspect", &shown, error))?;
        if !metadata.is_file() {
            let kind = FileType::from_raw_mode(metadata.mode()).into();
            return Err(DiskError::NotRegular { path: shown, kind });
        }
        let (size, mode) = (metadata.size(), metadata.mode() & 0o7777);
        let (uid, gid) = (metadata.uid(), metadata.gid());
        Ok(Self { file, size, mode, links: metadata.nlink(), uid, gid, shown })
    }

    /// Reads it as a whole, up to `limit` bytes.
    pub(super) fn read(self, limit: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
        let read = self.file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| io_error("read", &self.shown, error))?;
        if bytes.len() > limit {
            return Err(DiskError::TooLong { path: self.shown, limit: limit as u64 });
        }
        Ok(bytes)
    }
}

fn is_link(directory: &OwnedFd, name: &OsStr) -> bool {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Checks that a name is a single component of a path.
pub fn component(name: &OsStr) -> Result<&OsStr, DiskError> {
    let bytes = name.as_bytes();
    let good = !bytes.is_empty()
        && bytes != b"."
        && bytes != b".."
        && !bytes.contains(&b'/')
        && !bytes.contains(&0);
    if good {
        Ok(name)
    } else {
        Err(DiskError::Name { name: visible(&name.to_string_lossy()).into_owned() })
    }
}

pub(super) fn io_error(
    action: impl Into<String>,
    path: &str,
    errno: impl Into<io::Error>,
) -> DiskError {
    DiskError::Io { action: action.into(), path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn held() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    fn text(error: &DiskError, root: &tempfile::TempDir) -> String {
        error.to_string().replace(root.path().to_str().unwrap(), "ROOT")
    }

    #[test]
    fn several_may_create_the_same_directories_at_once() {
        let (_temporary, directory) = held();
        for round in 0..50 {
            let path = format!("{round}/a/b/c/d");
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        directory
                            .descend_or_create(Path::new(&path), 0o755, Resolve::Beneath)
                            .unwrap()
                    });
                }
            });
        }
    }

    #[test]
    fn follows_links_that_stay_and_refuses_those_that_leave() {
        let (temporary, directory) = held();
        std::fs::create_dir_all(temporary.path().join("var/cni")).unwrap();
        symlink("var/cni", temporary.path().join("inside")).unwrap();
        symlink("../..", temporary.path().join("var/above")).unwrap();
        symlink("/usr", temporary.path().join("absolute")).unwrap();
        symlink("loop", temporary.path().join("loop")).unwrap();
        for path in ["inside", "var/cni", "var/../var/cni"] {
            assert!(directory.descend(Path::new(path), Resolve::Beneath).is_ok(), "{path}");
        }
        for path in ["var/above", "absolute", "absolute/bin", "loop", ".."] {
            let error = directory.descend(Path::new(path), Resolve::Beneath).expect_err(path);
            assert_eq!(text(&error, &temporary), format!("`{path}` leads out of `ROOT`"));
            assert_eq!(
                error.finding().map(|finding| finding.code),
                Some(crate::model::Code::PathEscapes)
            );
        }
        assert!(directory.descend(Path::new("absolute/bin"), Resolve::Host).is_ok());
    }

    #[test]
    fn refuses_every_link_if_the_kernel_lacks_openat2() {
        let (temporary, directory) = held();
        std::fs::create_dir_all(temporary.path().join("var/cni")).unwrap();
        symlink("var/cni", temporary.path().join("inside")).unwrap();
        assert!(directory.open_by_steps(Path::new("var/cni")).is_ok());
        assert_eq!(directory.open_by_steps(Path::new("inside")).map(drop), Err(Errno::XDEV));
        assert_eq!(directory.open_by_steps(Path::new("var/..")).map(drop), Err(Errno::XDEV));
        assert_eq!(directory.open_by_steps(Path::new("none")).map(drop), Err(Errno::NOENT));
    }

    #[test]
    fn creates_what_is_missing_with_the_mode_that_was_asked_for() {
        let (temporary, directory) = held();
        std::fs::create_dir(temporary.path().join("opt")).unwrap();
        let (made, created) =
            directory.descend_or_create(Path::new("opt/cni/bin"), 0o755, Resolve::Beneath).unwrap();
        assert_eq!(created, [Path::new("opt/cni"), Path::new("opt/cni/bin")]);
        assert_eq!(made.ownership().unwrap().mode, 0o755);
        let (_, created) =
            directory.descend_or_create(Path::new("opt/cni/bin"), 0o700, Resolve::Beneath).unwrap();
        assert_eq!(created, Vec::<PathBuf>::new());
        symlink("../../elsewhere", temporary.path().join("opt/out")).unwrap();
        let error = directory
            .descend_or_create(Path::new("opt/out/bin"), 0o755, Resolve::Beneath)
            .expect_err("escapes");
        assert_eq!(text(&error, &temporary), "`opt/out` leads out of `ROOT`");
    }

    #[test]
    fn opens_regular_files_and_nothing_else() {
        let (temporary, directory) = held();
        let path = |name: &str| temporary.path().join(name);
        std::fs::write(path("file"), b"content").unwrap();
        std::fs::hard_link(path("file"), path("again")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        symlink("file", path("link")).unwrap();
        fs::mkfifoat(fs::CWD, path("fifo"), Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();

        let file = directory.open_file("file").unwrap();
        assert_eq!((file.size, file.links), (7, 2));
        for (name, kind) in [
            ("directory", "a directory"),
            ("link", "a symbolic link"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
        ] {
            let error = directory.open_file(name).expect_err(name);
            assert_eq!(
                text(&error, &temporary),
                format!("`ROOT/{name}` is {kind}, expected a regular file")
            );
        }
        assert!(directory.open_file("none").expect_err("absent").is_not_found());
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            let error = directory.open_file(name).expect_err(name);
            assert_eq!(error.to_string(), format!("`{name}` is not a file name"));
        }
    }

    #[test]
    fn reads_up_to_the_limit_and_not_past_it() {
        let (temporary, directory) = held();
        std::fs::write(temporary.path().join("file"), b"1234").unwrap();
        assert_eq!(directory.read("file", 4).unwrap(), b"1234");
        let error = directory.read("file", 3).expect_err("four bytes");
        assert_eq!(text(&error, &temporary), "`ROOT/file` is longer than 3 bytes");
    }

    #[test]
    fn lists_lazily_and_says_what_each_entry_is() {
        let (temporary, directory) = held();
        std::fs::create_dir(temporary.path().join("a")).unwrap();
        symlink("a", temporary.path().join("b")).unwrap();
        let mut entries: Vec<_> = directory.entries().unwrap().map(Result::unwrap).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(
            entries,
            [
                DirectoryEntry { name: "a".into(), kind: FileKind::Directory },
                DirectoryEntry { name: "b".into(), kind: FileKind::SymbolicLink },
            ]
        );
    }
}
