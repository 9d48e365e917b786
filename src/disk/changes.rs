//! What changes in directories, as the kernel tells it (inotify(7)).
//!
//! It tells of names that were written, made, renamed, removed or got other rights: not of every
//! write to an open file, and not of reading.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError};

/// Tells what changes in the directories that were added.
#[derive(Debug)]
pub struct Changes {
    handle: OwnedFd,
}

/// An added directory. The same directory has the same mark, under whatever path it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(i32);

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something happened to this name.
    Name(Mark, OsString),
    /// The directory was removed, moved or unmounted, or is not looked at any more.
    Gone(Mark),
    /// More happened than the kernel remembers.
    Lost,
}

impl Changes {
    /// Begins with no directory.
    pub fn new() -> Result<Self, DiskError> {
        let handle = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Ok(Self {
            handle: handle
                .map_err(|errno| io_error("ask the kernel for changes in", "directories", errno))?,
        })
    }

    /// Adds a directory.
    pub fn add(&self, directory: &Directory) -> Result<Mark, DiskError> {
        let events = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // The kernel takes a path only; this one leads to the held directory and nowhere else.
        let path = format!("/proc/self/fd/{}", directory.handle.as_raw_fd());
        let added = inotify::add_watch(&self.handle, path, events);
        added
            .map(Mark)
            .map_err(|errno| io_error("ask the kernel for changes in", directory.shown(), errno))
    }

    /// Takes a directory out again.
    pub fn remove(&self, mark: Mark) {
        // It may be gone by itself.
        let _ = inotify::remove_watch(&self.handle, mark.0);
    }

    /// What happened since the last call; it does not wait.
    pub fn take(&self) -> Result<VecDeque<Change>, DiskError> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.handle, &mut buffer);
        let mut taken = VecDeque::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    taken.extend(classify(Mark(event.wd()), event.events(), name));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(taken),
                Err(errno) => return Err(io_error("read of changes in", "directories", errno)),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

fn classify(mark: Mark, events: ReadFlags, name: Option<&OsStr>) -> Option<Change> {
    let gone =
        ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Change::Lost);
    }
    if events.intersects(gone) {
        return Some(Change::Gone(mark));
    }
    // Without a name it is the directory's own rights, which change nothing in it.
    name.map(|name| Change::Name(mark, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tells_of_every_way_to_change_a_file_and_not_of_reading_it() {
        let temporary = tempfile::tempdir().unwrap();
        let (at, changes) = (|name: &str| temporary.path().join(name), Changes::new().unwrap());
        fs::write(at("file"), "old").unwrap();
        let mark = changes.add(&Directory::open(temporary.path()).unwrap()).unwrap();
        let last = |what: &str, expected: &[&str]| {
            let names = changes.take().unwrap().into_iter().map(|change| match change {
                Change::Name(of, name) if of == mark => name.into_string().unwrap(),
                other => panic!("{what}: {other:?}"),
            });
            assert_eq!(names.collect::<Vec<_>>(), expected, "{what}");
        };
        last("nothing", &[]);
        fs::read(at("file")).unwrap();
        last("a read", &[]);
        fs::write(at("file"), "new").unwrap();
        last("a write", &["file"]);
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)).unwrap();
        last("other rights", &["file"]);
        fs::rename(at("file"), at("moved")).unwrap();
        last("a rename", &["file", "moved"]);
        fs::hard_link(at("moved"), at("linked")).unwrap();
        last("a link", &["linked"]);
        fs::remove_file(at("linked")).unwrap();
        last("a removal", &["linked"]);
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o700)).unwrap();
        last("the directory's own rights", &[]);
    }

    #[test]
    fn a_directory_has_one_mark_until_it_is_gone() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, changes) = (temporary.path().join("bin"), Changes::new().unwrap());
        fs::create_dir(&path).unwrap();
        let add = || changes.add(&Directory::open(&path).unwrap()).unwrap();
        let first = add();
        assert_eq!(add(), first);
        fs::rename(&path, temporary.path().join("aside")).unwrap();
        assert_eq!(changes.take().unwrap(), [Change::Gone(first)]);
        fs::create_dir(&path).unwrap();
        let second = add();
        assert_ne!(second, first);
        fs::remove_dir(&path).unwrap();
        assert_eq!(
            changes.take().unwrap(),
            [Change::Gone(second), Change::Gone(second)],
            "removed, and ignored"
        );
        changes.remove(first);
        assert_eq!(changes.take().unwrap(), [Change::Gone(first)]);
        changes.remove(first);
        assert_eq!(changes.take().unwrap(), []);
    }

    #[test]
    fn tells_that_it_lost_something() {
        let name = Some(OsStr::new("bridge"));
        let cases = [
            (ReadFlags::QUEUE_OVERFLOW, Some(Change::Lost)),
            (ReadFlags::UNMOUNT, Some(Change::Gone(Mark(3)))),
            (ReadFlags::CLOSE_WRITE, Some(Change::Name(Mark(3), "bridge".into()))),
            (ReadFlags::DELETE | ReadFlags::ISDIR, Some(Change::Name(Mark(3), "bridge".into()))),
        ];
        for (events, expected) in cases {
            assert_eq!(classify(Mark(3), events, name), expected, "{events:?}");
        }
        assert_eq!(classify(Mark(3), ReadFlags::ATTRIB | ReadFlags::ISDIR, None), None);
    }
}
