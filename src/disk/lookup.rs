//! Looking a path up as a program would whose root is a held directory: links are followed, and none leaves it.
//!
//! A runtime or the kernel finds its files like this, so what they would find is looked for like this. The bytes are
//! not trusted more for it. Links are resolved here and not by the kernel, because it matters where each of them led.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError, FileKind, Ownership};

/// The most links on one way; the kernel has the same limit.
const MAX_LINKS: usize = 40;
/// The most components on one way, those of links included.
const MAX_COMPONENTS: usize = 1024;

const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Never blocks (a FIFO would) and never follows a link that took the place of what was looked at.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a path led to.
#[derive(Debug)]
pub struct Looked {
    /// Where it is, from the root, after every link.
    pub path: PathBuf,
    /// Whether a link was followed.
    pub linked: bool,
    /// What it is.
    pub kind: LookedKind,
    /// Every directory on the way, the root first and links resolved, without the last component.
    pub passed: Vec<Passed>,
    parent: OwnedFd,
    name: OsString,
    shown: String,
}

/// What stands at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedKind {
    /// Nothing, although the directory is there where it would be.
    Absent,
    /// Something.
    Present(FileKind),
}

/// A directory that was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Where it is, from the root.
    pub path: PathBuf,
    /// Who may change it.
    pub ownership: Ownership,
}

/// The way so far: the root, and each directory below it.
struct Way {
    steps: Vec<(OwnedFd, Passed)>,
}

impl Directory {
    /// Looks an absolute path up with this directory as the root, following links; `None` where a directory on the way
    /// is missing or no directory.
    ///
    /// # Errors
    /// Where the system refuses, or links lead on without an end.
    pub fn look_up(&self, path: &Path) -> Result<Option<Looked>, DiskError> {
        let shown = self.shown_path(path.strip_prefix("/").unwrap_or(path));
        match self.walk(path, &shown) {
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
                // The path ends in the root, or in a `..`: a directory that was passed.
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
                    return way.looked(name, links > 0, LookedKind::Absent, shown).map(Some);
                }
                Err(errno) => return Err(errno),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = fs::readlinkat(parent, &name, Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    way.steps.truncate(1);
                }
                let mut ahead = components(OsStr::from_bytes(&target));
                ahead.append(&mut pending);
                pending = ahead;
            } else if pending.is_empty() {
                return way.looked(name, links > 0, LookedKind::Present(kind.into()), shown).map(Some);
            } else {
                way.enter(&name)?;
            }
        }
    }
}

/// The components of a path that mean something.
fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(|part| OsString::from_vec(part.to_vec())).collect()
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

    /// Above the root there is the root.
    fn climb(&mut self) {
        if self.steps.len() > 1 {
            self.steps.pop();
        }
    }

    fn enter(&mut self, name: &OsStr) -> rustix::io::Result<()> {
        let handle = fs::openat(self.here()?, name, STEP, Mode::empty())?;
        let ownership = Ownership::of(&fs::fstat(&handle)?);
        let path = self.steps.last().map_or_else(PathBuf::new, |(_, passed)| passed.path.join(name));
        self.steps.push((handle, Passed { path, ownership }));
        Ok(())
    }

    /// The directory that was reached last.
    fn end(mut self, linked: bool, shown: &str) -> rustix::io::Result<Looked> {
        let name = self.steps.last().and_then(|(_, passed)| passed.path.file_name().map(OsStr::to_owned));
        let Some(name) = name else {
            return self.looked(OsString::from("."), linked, LookedKind::Present(FileKind::Directory), shown);
        };
        self.steps.pop();
        self.looked(name, linked, LookedKind::Present(FileKind::Directory), shown)
    }

    fn looked(mut self, name: OsString, linked: bool, kind: LookedKind, shown: &str) -> rustix::io::Result<Looked> {
        let passed: Vec<_> = self.steps.iter().map(|(_, passed)| passed.clone()).collect();
        let (parent, Passed { path, .. }) = self.steps.pop().ok_or(Errno::NOENT)?;
        let path = if name == "." { path } else { path.join(&name) };
        Ok(Looked { path, linked, kind, passed, parent, name, shown: shown.to_owned() })
    }
}

impl Looked {
    /// Whether it is there and a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == LookedKind::Present(FileKind::Directory)
    }

    /// Whether it is there and a regular file.
    pub fn is_regular(&self) -> bool {
        self.kind == LookedKind::Present(FileKind::Regular)
    }

    /// Opens the directory.
    pub fn directory(&self) -> Result<Directory, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = fs::openat(&self.parent, &self.name, flags, Mode::empty())
            .map_err(|errno| io_error("open directory", &self.shown, errno))?;
        Ok(Directory::of(handle, self.shown.clone()))
    }

    /// Opens the regular file.
    pub fn open(&self) -> Result<File, DiskError> {
        let LookedKind::Present(kind) = self.kind else {
            return Err(io_error("open", &self.shown, Errno::NOENT));
        };
        let not_regular = |kind| DiskError::NotRegular { path: self.shown.clone(), kind };
        if kind != FileKind::Regular {
            return Err(not_regular(kind));
        }
        let file: File = fs::openat(&self.parent, &self.name, FILE, Mode::empty())
            .map_err(|errno| io_error("open", &self.shown, errno))?
            .into();
        // Something else may have taken its place meanwhile.
        let is_file = file.metadata().map_err(|error| io_error("look at", &self.shown, error))?.is_file();
        if is_file { Ok(file) } else { Err(not_regular(FileKind::Unknown)) }
    }

    /// Reads a small regular file whole.
    pub fn read(&self, limit: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
        let read = self.open()?.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| io_error("read", &self.shown, error))?;
        if bytes.len() > limit {
            return Err(DiskError::TooLong { path: self.shown.clone(), limit: limit as u64 });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A root with links as distributions have them, and some that lead nowhere.
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
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    #[test]
    fn finds_what_a_program_of_the_node_would_find() {
        let (_temporary, root) = root();
        let regular = LookedKind::Present(FileKind::Regular);
        let directory = LookedKind::Present(FileKind::Directory);
        for (path, expected) in [
            ("/usr/lib/cni/bridge", Some(("/usr/lib/cni/bridge", false, regular))),
            ("/lib/cni/bridge", Some(("/usr/lib/cni/bridge", true, regular))),
            ("/lib/absolute", Some(("/usr/lib/cni/bridge", true, regular))),
            ("/usr/climbing/cni/bridge", Some(("/usr/lib/cni/bridge", true, regular))),
            ("//usr/./lib/../lib/cni/", Some(("/usr/lib/cni", false, directory))),
            ("/lib/cni/..", Some(("/usr/lib", true, directory))),
            ("/", Some(("/", false, directory))),
            ("/..", Some(("/", false, directory))),
            ("/lib/cni/none", Some(("/usr/lib/cni/none", true, LookedKind::Absent))),
            ("/dangling", Some(("/gone", true, LookedKind::Absent))),
            ("/gone/none", None),
            ("/usr/lib/cni/bridge/none", None),
        ] {
            let looked = root.look_up(Path::new(path)).unwrap();
            let found = looked.as_ref().map(|found| (found.path.to_str().unwrap(), found.linked, found.kind));
            assert_eq!(found, expected, "{path}");
        }
        let error = root.look_up(Path::new("/endless")).expect_err("a loop").to_string();
        assert_eq!(error, format!("cannot look up `{}/endless`", root.shown()));
        let deep = "/a/..".repeat(MAX_COMPONENTS);
        assert!(root.look_up(Path::new(&format!("/usr{}", deep.replace('a', "lib")))).is_err(), "too many components");
    }

    #[test]
    fn reads_through_links_and_up_to_the_limit() {
        let (temporary, root) = root();
        let look = |path: &str| root.look_up(Path::new(path)).unwrap().unwrap();
        assert_eq!(look("/lib/absolute").read(5).unwrap(), b"bytes");
        let error = look("/lib/absolute").read(4).expect_err("five bytes").to_string();
        assert_eq!(error, format!("`{}/lib/absolute` is longer than 4 bytes", root.shown()));
        let error = look("/lib").read(4).expect_err("a directory").to_string();
        assert_eq!(error, format!("`{}/lib` is a directory, expected a regular file", root.shown()));
        fs::mkfifoat(fs::CWD, temporary.path().join("fifo"), Mode::RWXU).unwrap();
        let error = look("/fifo").read(4).expect_err("a FIFO").to_string();
        assert_eq!(error, format!("`{}/fifo` is a FIFO, expected a regular file", root.shown()));
        assert_eq!(look("/lib/cni").directory().unwrap().read("bridge", 5).unwrap(), b"bytes");
    }

    #[test]
    fn says_who_may_change_each_directory_on_the_way() {
        let (temporary, root) = root();
        let open = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(temporary.path().join("usr/lib"), open).unwrap();
        let looked = root.look_up(Path::new("/lib/cni")).unwrap().unwrap();
        let passed: Vec<_> = looked.passed.iter().map(|it| (it.path.to_str().unwrap(), it.ownership.mode)).collect();
        assert_eq!(passed.get(1..), Some(&[("/usr", 0o755), ("/usr/lib", 0o1777)][..]));
        assert_eq!(passed.first().map(|it| it.0), Some("/"));
    }
}
