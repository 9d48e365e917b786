//! Resolves a path as a program would whose root is a held directory: links are followed, and none
//! leaves it.
//!
//! This is how a runtime or the kernel finds its files, so it tells what they would find. It does
//! not make the bytes any more trustworthy, and nothing is written through a resolved path.
//!
//! Links are resolved here and not by the kernel, because callers need to know where each of them
//! leads, and because kernels before 5.6 cannot confine links to a directory. Only directories are
//! opened on the way, so a FIFO cannot block the lookup and a device does not notice it. Magic
//! links of /proc that have no path lead nowhere.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError, FileKind, Ownership, RegularFile};

/// The most links in one lookup, the same as the kernel's limit (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The most components in one lookup, including those of link targets.
const MAX_COMPONENTS: usize = 1024;

/// How often a lookup is retried because a directory was replaced under it.
const ATTEMPTS: usize = 16;

const STEP: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a path resolved to.
#[derive(Debug)]
pub struct Looked {
    /// The path from the root after all links were followed.
    pub path: PathBuf,
    /// Whether any link was followed.
    pub linked: bool,
    /// What is at the path; `None` if nothing is, although the directory that would contain it
    /// exists.
    pub target: Option<Target>,
    /// Every directory on the way, starting with the root, with links resolved; without the last
    /// component.
    pub passed: Vec<Passed>,
    parent: OwnedFd,
    name: OsString,
    shown: String,
}

/// What is at the end of a path; never a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Never [`FileKind::SymbolicLink`].
    pub kind: FileKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// The size in bytes.
    pub size: u64,
    identity: Identity,
}

/// Device and inode: what identifies a file.
type Identity = (u64, u64);

/// A directory on the way to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The path from the root, with links resolved.
    pub path: PathBuf,
    /// Who may change it.
    pub ownership: Ownership,
}

/// The directories passed so far: the root, and each directory below it.
struct Way {
    steps: Vec<(OwnedFd, Passed)>,
}

impl Directory {
    /// Resolves an absolute path with this directory as the root, following links; `None` if a
    /// directory on the way is missing or is not a directory.
    ///
    /// # Errors
    /// If a system call fails, links form a loop ([`DiskError::is_endless`]), or directories are
    /// replaced during every attempt.
    pub fn look_up(&self, path: &Path) -> Result<Option<Looked>, DiskError> {
        let shown = self.shown_path(path.strip_prefix("/").unwrap_or(path));
        // Another process may replace a directory by a link, which does not mean that nothing is
        // there.
        let mut walked = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            walked = self.walk(path, &shown);
            if !matches!(walked, Err(Errno::AGAIN)) {
                break;
            }
        }
        match walked {
            Ok(looked) => Ok(looked),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(io_error("look up", &shown, errno)),
        }
    }

    fn walk(&self, path: &Path, shown: &str) -> rustix::io::Result<Option<Looked>> {
        let mut way = Way::start(self)?;
        let mut pending = components(path.as_os_str());
        let (mut links, mut count) = (0_usize, 0_usize);
        loop {
            let Some(name) = pending.pop_front() else {
                // The path ends at the root, or in `..`: a directory that was already passed.
                return way.end(links > 0, shown).map(Some);
            };
            count += 1;
            if count > MAX_COMPONENTS {
                return Err(Errno::NAMETOOLONG);
            }
            if name == ".." {
                way.climb();
                continue;
            }
            let parent = way.here()?;
            let stat = match fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) if pending.is_empty() => {
                    return way.looked(name, links > 0, None, shown).map(Some);
                }
                Err(errno) => return Err(errno),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = match fs::readlinkat(parent, &name, Vec::new()) {
                    // No longer the link that it was a moment ago.
                    Err(Errno::INVAL) => return Err(Errno::AGAIN),
                    target => target?.into_bytes(),
                };
                if target.starts_with(b"/") {
                    way.steps.truncate(1);
                }
                let mut ahead = components(OsStr::from_bytes(&target));
                ahead.append(&mut pending);
                pending = ahead;
            } else if pending.is_empty() {
                return way.looked(name, links > 0, Some(Target::new(&stat)), shown).map(Some);
            } else {
                way.enter(&name, Target::new(&stat))?;
            }
        }
    }
}

/// Yields the components of a path, without empty ones and `.`.
fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

impl Way {
    fn start(root: &Directory) -> rustix::io::Result<Self> {
        let handle = fs::openat(&root.handle, ".", STEP, Mode::empty())?;
        let ownership = Ownership::of(&fs::fstat(&handle)?);
        Ok(Self { steps: vec![(handle, Passed { path: PathBuf::from("/"), ownership })] })
    }

    fn here(&self) -> rustix::io::Result<&OwnedFd> {
        self.steps.last().map(|(handle, _)| handle).ok_or(Errno::NOENT)
    }

    /// The parent of the root is the root.
    fn climb(&mut self) {
        if self.steps.len() > 1 {
            self.steps.pop();
        }
    }

    fn enter(&mut self, name: &OsStr, seen: Target) -> rustix::io::Result<()> {
        let handle = match fs::openat(self.here()?, name, STEP, Mode::empty()) {
            // No longer the directory that it was a moment ago.
            Err(Errno::NOTDIR) if seen.kind == FileKind::Directory => return Err(Errno::AGAIN),
            opened => opened?,
        };
        let ownership = Ownership::of(&fs::fstat(&handle)?);
        let path =
            self.steps.last().map_or_else(PathBuf::new, |(_, passed)| passed.path.join(name));
        self.steps.push((handle, Passed { path, ownership }));
        Ok(())
    }

    /// Returns the directory that was reached last.
    fn end(mut self, linked: bool, shown: &str) -> rustix::io::Result<Looked> {
        let target = Target::new(&fs::fstat(self.here()?)?);
        let name =
            self.steps.last().and_then(|(_, passed)| passed.path.file_name().map(OsStr::to_owned));
        if name.is_some() {
            self.steps.pop();
        }
        self.looked(name.unwrap_or_else(|| OsString::from(".")), linked, Some(target), shown)
    }

    fn looked(
        mut self,
        name: OsString,
        linked: bool,
        target: Option<Target>,
        shown: &str,
    ) -> rustix::io::Result<Looked> {
        let passed: Vec<_> = self.steps.iter().map(|(_, passed)| passed.clone()).collect();
        let (parent, Passed { path, .. }) = self.steps.pop().ok_or(Errno::NOENT)?;
        let path = if name == "." { path } else { path.join(&name) };
        Ok(Looked { path, linked, target, passed, parent, name, shown: shown.to_owned() })
    }
}

impl Target {
    fn new(stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let kind = FileType::from_raw_mode(stat.st_mode).into();
        Self { kind, mode: stat.st_mode & 0o7777, size, identity: (stat.st_dev, stat.st_ino) }
    }
}

impl Looked {
    /// Returns its kind, if it exists.
    pub fn kind(&self) -> Option<FileKind> {
        self.target.map(|target| target.kind)
    }

    /// Returns whether it exists and is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == Some(FileKind::Directory)
    }

    /// Returns whether it exists and is a regular file.
    pub fn is_regular(&self) -> bool {
        self.kind() == Some(FileKind::Regular)
    }

    /// Opens the directory that the path leads to.
    pub fn directory(&self) -> Result<Directory, DiskError> {
        let failed = |errno| io_error("open directory", &self.shown, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = fs::openat(&self.parent, &self.name, flags, Mode::empty()).map_err(failed)?;
        self.expect_same(&fs::fstat(&handle).map_err(failed)?).map_err(failed)?;
        Ok(Directory::of(handle, self.shown.clone()))
    }

    /// Opens the directory only to ask about it, for which no right to read it is needed.
    pub fn inspect(&self) -> Result<Directory, DiskError> {
        let failed = |errno| io_error("inspect", &self.shown, errno);
        let handle = fs::openat(&self.parent, &self.name, STEP, Mode::empty()).map_err(failed)?;
        self.expect_same(&fs::fstat(&handle).map_err(failed)?).map_err(failed)?;
        Ok(Directory::of(handle, self.shown.clone()))
    }

    /// Opens the regular file; nothing of another kind is opened.
    pub fn open(&self) -> Result<RegularFile, DiskError> {
        let failed = |errno| io_error("open", &self.shown, errno);
        match self.kind() {
            None => return Err(failed(Errno::NOENT)),
            Some(FileKind::Regular) => {}
            Some(kind) => return Err(DiskError::NotRegular { path: self.shown.clone(), kind }),
        }
        let handle = fs::openat(&self.parent, &self.name, RegularFile::FLAGS, Mode::empty())
            .map_err(failed)?;
        self.expect_same(&fs::fstat(&handle).map_err(failed)?).map_err(failed)?;
        RegularFile::of(handle.into(), self.shown.clone())
    }

    /// Reads a small regular file as a whole.
    pub fn read(&self, limit: usize) -> Result<Vec<u8>, DiskError> {
        self.open()?.read(limit)
    }

    /// Fails if something else was put in its place between lookup and opening.
    fn expect_same(&self, opened: &Stat) -> rustix::io::Result<()> {
        let seen = self.target.map(|target| target.identity);
        if seen == Some(Target::new(opened).identity) { Ok(()) } else { Err(Errno::AGAIN) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A root with links as distributions have them, and some that are broken.
    fn root() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let at = |path: &str| temporary.path().join(path);
        std::fs::create_dir_all(at("usr/lib/cni")).unwrap();
        std::fs::write(at("usr/lib/cni/bridge"), b"bytes").unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink("/usr/lib/cni/bridge", at("usr/lib/absolute")).unwrap();
        symlink("../../../../../usr/lib", at("usr/climbing")).unwrap();
        symlink("endless", at("endless")).unwrap();
        symlink("/gone", at("dangling")).unwrap();
        // Exists on this machine, but not in this root.
        symlink("/etc/passwd", at("outside")).unwrap();
        symlink("../../../../../../../../etc/passwd", at("usr/outside")).unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    #[test]
    fn finds_what_a_program_of_the_node_would_find() {
        let (_temporary, root) = root();
        let regular = Some(FileKind::Regular);
        let directory = Some(FileKind::Directory);
        for (path, expected) in [
            ("/usr/lib/cni/bridge", Some(("/usr/lib/cni/bridge", false, regular))),
            ("/lib/cni/bridge", Some(("/usr/lib/cni/bridge", true, regular))),
            ("/lib/absolute", Some(("/usr/lib/cni/bridge", true, regular))),
            ("/usr/climbing/cni/bridge", Some(("/usr/lib/cni/bridge", true, regular))),
            ("//usr/./lib/../lib/cni/", Some(("/usr/lib/cni", false, directory))),
            ("/lib/cni/..", Some(("/usr/lib", true, directory))),
            ("/", Some(("/", false, directory))),
            ("/..", Some(("/", false, directory))),
            ("/lib/cni/none", Some(("/usr/lib/cni/none", true, None))),
            ("/dangling", Some(("/gone", true, None))),
            ("/gone/none", None),
            ("/outside", None),
            ("/usr/outside", None),
            ("/usr/lib/cni/bridge/none", None),
        ] {
            let looked = root.look_up(Path::new(path)).unwrap();
            let found = looked
                .as_ref()
                .map(|found| (found.path.to_str().unwrap(), found.linked, found.kind()));
            assert_eq!(found, expected, "{path}");
        }
        let error = root.look_up(Path::new("/endless")).expect_err("a loop");
        assert!(error.is_endless() && !error.is_not_found());
        assert_eq!(error.to_string(), format!("cannot look up `{}/endless`", root.shown()));
        let deep = "/a/..".repeat(MAX_COMPONENTS);
        assert!(
            root.look_up(Path::new(&format!("/usr{}", deep.replace('a', "lib")))).is_err(),
            "too many components"
        );
    }

    #[test]
    fn reads_through_links_and_up_to_the_limit() {
        let (temporary, root) = root();
        let look = |path: &str| root.look_up(Path::new(path)).unwrap().unwrap();
        assert_eq!(look("/lib/absolute").read(5).unwrap(), b"bytes");
        let error = look("/lib/absolute").read(4).expect_err("five bytes").to_string();
        assert_eq!(error, format!("`{}/lib/absolute` is longer than 4 bytes", root.shown()));
        let error = look("/lib").read(4).expect_err("a directory").to_string();
        assert_eq!(
            error,
            format!("`{}/lib` is a directory, expected a regular file", root.shown())
        );
        fs::mkfifoat(fs::CWD, temporary.path().join("fifo"), Mode::RWXU).unwrap();
        let error = look("/fifo").read(4).expect_err("a FIFO").to_string();
        assert_eq!(error, format!("`{}/fifo` is a FIFO, expected a regular file", root.shown()));
        symlink("fifo", temporary.path().join("to-fifo")).unwrap();
        assert_eq!(look("/to-fifo").kind(), Some(FileKind::Fifo));
        let error = look("/to-fifo").open().expect_err("a link to a FIFO");
        assert!(matches!(error, DiskError::NotRegular { kind: FileKind::Fifo, .. }), "{error}");
        assert_eq!(look("/lib/cni").directory().unwrap().read("bridge", 5).unwrap(), b"bytes");
    }

    #[test]
    fn does_not_open_what_replaced_a_file_after_the_lookup() {
        let (temporary, root) = root();
        let at = |path: &str| temporary.path().join(path);
        let look = |path: &str| root.look_up(Path::new(path)).unwrap().unwrap();
        let (file, directory) = (look("/lib/cni/bridge"), look("/usr/lib/cni"));
        assert!(file.open().is_ok() && directory.directory().is_ok());
        // The old file is kept, so that its inode number is not reused.
        std::fs::rename(at("usr/lib/cni/bridge"), at("usr/lib/cni/before")).unwrap();
        std::fs::write(at("usr/lib/cni/bridge"), b"other").unwrap();
        let again = format!(
            "cannot open `{}/lib/cni/bridge`: {}",
            root.shown(),
            std::io::Error::from(Errno::AGAIN)
        );
        assert_eq!(file.open().expect_err("another file").with_cause(), again);
        std::fs::remove_file(at("usr/lib/cni/bridge")).unwrap();
        assert!(file.open().expect_err("nothing").is_not_found());
        fs::mkfifoat(fs::CWD, at("usr/lib/cni/bridge"), Mode::RWXU).unwrap();
        assert_eq!(file.open().expect_err("a FIFO").with_cause(), again);
        std::fs::remove_file(at("usr/lib/cni/bridge")).unwrap();
        symlink("before", at("usr/lib/cni/bridge")).unwrap();
        assert!(file.open().expect_err("a link to the very file").is_endless());
        std::fs::rename(at("usr/lib/cni"), at("usr/lib/before")).unwrap();
        assert!(directory.directory().expect_err("nothing").is_not_found());
        std::fs::create_dir(at("usr/lib/cni")).unwrap();
        let again =
            again.replace("/lib/cni/bridge", "/usr/lib/cni").replace("open `", "open directory `");
        assert_eq!(directory.directory().expect_err("another directory").with_cause(), again);
    }

    #[test]
    fn a_directory_replaced_during_the_lookup_is_not_missing() {
        let (temporary, root) = root();
        std::fs::create_dir(temporary.path().join("bin")).unwrap();
        std::fs::write(temporary.path().join("bin/bridge"), b"bytes").unwrap();
        symlink("usr/lib/cni", temporary.path().join("other")).unwrap();
        let again = std::io::Error::from(Errno::AGAIN).to_string();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let path = |name: &str| temporary.path().join(name);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let exchange = fs::RenameFlags::EXCHANGE;
                    fs::renameat_with(fs::CWD, path("bin"), fs::CWD, path("other"), exchange)
                        .unwrap();
                }
            });
            let missing = (0..20_000).filter(|_| match root.look_up(Path::new("/bin/bridge")) {
                Ok(looked) => !looked.is_some_and(|looked| looked.is_regular()),
                Err(error) => !error.with_cause().ends_with(&again),
            });
            let missing = missing.count();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(missing, 0);
        });
    }

    #[test]
    fn says_who_may_change_each_directory_on_the_way() {
        let (temporary, root) = root();
        let open = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(temporary.path().join("usr/lib"), open).unwrap();
        let looked = root.look_up(Path::new("/lib/cni")).unwrap().unwrap();
        let passed: Vec<_> =
            looked.passed.iter().map(|it| (it.path.to_str().unwrap(), it.ownership.mode)).collect();
        assert_eq!(passed.get(1..), Some(&[("/usr", 0o755), ("/usr/lib", 0o1777)][..]));
        assert_eq!(passed.first().map(|it| it.0), Some("/"));
    }
}
