//! What is behind a path for a process whose root this directory is: every link is followed, as that process would
//! follow it, and none leaves the directory, because for that process there is nothing outside.
//!
//! Looking opens nothing: neither a FIFO nor a device notices it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError, FileKind, Resolve};
use crate::model::visible;

/// What is behind a path.
#[derive(Debug)]
pub struct Followed {
    /// What it is; never a link.
    pub kind: FileKind,
    /// The permission bits.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The path, for messages.
    pub shown: String,
    identity: (u64, u64),
}

impl Directory {
    /// Looks at what is behind a relative path; `None` where there is nothing, or a link leads to nothing.
    pub fn follow(&self, path: &Path, resolve: Resolve) -> Result<Option<Followed>, DiskError> {
        let shown = self.shown_path(path);
        match self.open_followed(path, OFlags::PATH, resolve) {
            Ok(handle) => {
                let stat = fs::fstat(&handle).map_err(|errno| io_error("look at", &shown, errno))?;
                Ok(Some(Followed::new(&stat, shown)))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(self.follow_error("look at", path, &shown, errno)),
        }
    }

    /// Opens the regular file behind a relative path.
    pub fn open_behind(&self, path: &Path, resolve: Resolve) -> Result<(File, Followed), DiskError> {
        let shown = self.shown_path(path);
        let failed = |errno| self.follow_error("open", path, &shown, errno);
        let seen = self.follow(path, resolve)?.ok_or_else(|| failed(Errno::NOENT))?;
        if seen.kind != FileKind::Regular {
            return Err(DiskError::NotRegular { path: shown, kind: seen.kind });
        }
        let handle = self.open_followed(path, OFlags::RDONLY | OFlags::NONBLOCK, resolve).map_err(failed)?;
        let stat = fs::fstat(&handle).map_err(failed)?;
        // Somebody put another file there between the two calls, maybe one that is not regular.
        let opened = Followed::new(&stat, shown.clone());
        if opened.identity != seen.identity {
            return Err(failed(Errno::AGAIN));
        }
        Ok((handle.into(), opened))
    }

    /// Reads the small regular file behind a relative path whole.
    pub fn read_behind(&self, path: &Path, limit: usize, resolve: Resolve) -> Result<Vec<u8>, DiskError> {
        let (file, Followed { shown, .. }) = self.open_behind(path, resolve)?;
        let mut bytes = Vec::new();
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|source: io::Error| DiskError::Io { action: "read".to_owned(), path: shown.clone(), source })?;
        if bytes.len() > limit {
            return Err(DiskError::TooLong { path: shown, limit: limit as u64 });
        }
        Ok(bytes)
    }

    fn open_followed(&self, path: &Path, flags: OFlags, resolve: Resolve) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if resolve == Resolve::Host {
            return fs::openat(&self.handle, path, flags, Mode::empty());
        }
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: somebody renamed a directory meanwhile, and the kernel could not tell whether a `..` escaped.
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..16 {
            opened = fs::openat2(&self.handle, path, flags, Mode::empty(), how);
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        match opened {
            Err(Errno::NOSYS) => self.open_without_links(path, flags),
            opened => opened,
        }
    }

    /// The same for kernels before 5.6, which cannot follow a link without leaving: no link is followed.
    fn open_without_links(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let name = path.file_name().ok_or(Errno::XDEV)?;
        let parent = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.open_by_steps(parent)?,
            None => self.open_by_steps(Path::new("."))?,
        };
        let stat = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Errno::XDEV);
        }
        fs::openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    fn follow_error(&self, action: &str, path: &Path, shown: &str, errno: Errno) -> DiskError {
        match errno {
            // ELOOP: a link of /proc that leads anywhere, or links without an end.
            Errno::XDEV | Errno::LOOP => DiskError::Escapes {
                path: visible(&path.to_string_lossy()).into_owned(),
                root: self.shown().to_owned(),
            },
            errno => io_error(action, shown, errno),
        }
    }
}

impl Followed {
    fn new(stat: &Stat, shown: String) -> Self {
        let identity = (stat.st_dev, stat.st_ino);
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        Self { kind: FileType::from_raw_mode(stat.st_mode).into(), mode: stat.st_mode & 0o7777, size, shown, identity }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn follows_links_as_a_process_with_this_root() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let path = |name: &str| temporary.path().join(name);
        std::fs::create_dir_all(path("opt/bin")).unwrap();
        std::fs::create_dir_all(path("data")).unwrap();
        std::fs::write(path("data/real"), b"content").unwrap();
        for (target, name) in [
            ("/data/real", "opt/bin/absolute"),
            ("../../data/real", "opt/bin/relative"),
            // For a process with this root, `..` of the root is the root.
            ("../../../../../../data/real", "opt/bin/above"),
            ("/etc/passwd", "opt/bin/outside"),
            ("nothing", "opt/bin/dangling"),
            ("loop", "opt/bin/loop"),
            ("/data", "opt/bin/folder"),
        ] {
            symlink(target, path(name)).unwrap();
        }
        let look = |name: &str| directory.follow(&Path::new("opt/bin").join(name), Resolve::Beneath);
        for name in ["absolute", "relative", "above", "folder/real"] {
            let found = look(name).unwrap().unwrap();
            assert_eq!((found.kind, found.size), (FileKind::Regular, 7), "{name}");
            let bytes = directory.read_behind(&Path::new("opt/bin").join(name), 7, Resolve::Beneath).unwrap();
            assert_eq!(bytes, b"content");
        }
        // `/etc/passwd` is on this machine and not in this root.
        for name in ["outside", "dangling", "none", "absolute/below"] {
            assert!(look(name).unwrap().is_none(), "{name}");
        }
        assert_eq!(look("folder").unwrap().unwrap().kind, FileKind::Directory);
        let error = look("loop").expect_err("without an end").to_string();
        assert_eq!(error.replace(temporary.path().to_str().unwrap(), "ROOT"), "`opt/bin/loop` leads out of `ROOT`");
        let error = directory.read_behind(Path::new("data/real"), 6, Resolve::Beneath).expect_err("seven bytes");
        assert!(error.to_string().ends_with("real` is longer than 6 bytes"), "{error}");
    }

    #[test]
    fn opens_nothing_that_is_no_regular_file() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        fs::mkfifoat(fs::CWD, temporary.path().join("fifo"), Mode::RWXU).unwrap();
        symlink("fifo", temporary.path().join("link")).unwrap();
        for name in ["fifo", "link"] {
            assert_eq!(directory.follow(Path::new(name), Resolve::Beneath).unwrap().unwrap().kind, FileKind::Fifo);
            let error = directory.open_behind(Path::new(name), Resolve::Beneath).map(drop).expect_err(name);
            assert!(matches!(error, DiskError::NotRegular { kind: FileKind::Fifo, .. }), "{error}");
        }
    }

    #[test]
    fn follows_no_link_where_the_kernel_cannot_tell() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        std::fs::create_dir(temporary.path().join("bin")).unwrap();
        std::fs::write(temporary.path().join("bin/file"), b"").unwrap();
        symlink("file", temporary.path().join("bin/link")).unwrap();
        let open = |name: &str| directory.open_without_links(Path::new(name), OFlags::PATH).map(drop);
        assert_eq!(open("bin/file"), Ok(()));
        assert_eq!(open("bin/link"), Err(Errno::XDEV));
        assert_eq!(open("bin/none"), Err(Errno::NOENT));
    }
}
