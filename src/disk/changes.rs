//! Notices changes in directories, as the kernel reports them (inotify(7)).
//!
//! Reports names that were written, created, renamed, removed or given other permissions or
//! attributes. Reads are not reported, and the kernel does not report what is written through a
//! memory mapping, nor what is written by another name of the file that is not in a watched
//! directory, so a watcher of plugins has to check them at intervals as well.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError};

/// Watches the directories that were added.
#[derive(Debug)]
pub struct Changes {
    handle: OwnedFd,
}

/// A watched directory. The same directory always has the same mark, whatever path it was opened
/// by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(i32);

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This name was changed in some way.
    Name(Mark, OsString),
    /// The directory was removed, moved or unmounted, or is no longer watched.
    Gone(Mark),
    /// The kernel's queue overflowed, and changes were lost.
    Lost,
}

impl Changes {
    /// Starts without any directory.
    pub fn new() -> Result<Self, DiskError> {
        let handle = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Ok(Self {
            handle: handle
                .map_err(|errno| io_error("watch for changes in", "directories", errno))?,
        })
    }

    /// Starts watching a directory.
    pub fn add(&self, directory: &Directory) -> Result<Mark, DiskError> {
        let events = WatchFlags::ATTRIB
            // Also while the file stays open: a writer may never close it.
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // The kernel takes only a path; this one leads to the held directory and nowhere else.
        let path = format!("/proc/self/fd/{}", directory.handle.as_raw_fd());
        let added = inotify::add_watch(&self.handle, path, events);
        added.map(Mark).map_err(|errno| io_error("watch for changes in", directory.shown(), errno))
    }

    /// Stops watching a directory.
    pub fn remove(&self, mark: Mark) {
        // The kernel may have removed the watch already.
        let _ = inotify::remove_watch(&self.handle, mark.0);
    }

    /// Returns what happened since the last call, without waiting.
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
                Err(errno) => return Err(io_error("read changes in", "directories", errno)),
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
    // An event without a name is about the directory's own permissions, which change nothing in it.
    name.map(|name| Change::Name(mark, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn reports_every_kind_of_change_and_no_reads() {
        let temporary = tempfile::tempdir().unwrap();
        let (at, changes) = (|name: &str| temporary.path().join(name), Changes::new().unwrap());
        fs::write(at("file"), "old").unwrap();
        let mark = changes.add(&Directory::open(temporary.path()).unwrap()).unwrap();
        let last = |what: &str, expected: &[&str]| {
            let names = changes.take().unwrap().into_iter().map(|change| match change {
                Change::Name(of, name) if of == mark => name.into_string().unwrap(),
                other => panic!("{what}: {other:?}"),
            });
            let mut names: Vec<_> = names.collect();
            // A write is several events: truncated, written, closed.
            names.dedup();
            assert_eq!(names, expected, "{what}");
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
    fn reports_writes_to_a_file_that_stays_open() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("bridge");
        fs::write(&path, "signed").unwrap();
        // Opened before anyone watches.
        let mut open = fs::File::options().write(true).open(&path).unwrap();
        let changes = Changes::new().unwrap();
        let mark = changes.add(&Directory::open(temporary.path()).unwrap()).unwrap();
        let heard = |what: &str| {
            let taken = changes.take().unwrap();
            assert!(!taken.is_empty(), "{what}");
            for change in taken {
                assert_eq!(change, Change::Name(mark, "bridge".into()), "{what}");
            }
        };
        open.write_all(b"forged").unwrap();
        heard("a write");
        open.set_len(3).unwrap();
        heard("another length");
        open.write_all_at(b"x", 1).unwrap();
        heard("a write at an offset");
        open.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        heard("another time");
        rustix::fs::fsetxattr(&open, "user.a", b"b", rustix::fs::XattrFlags::empty()).unwrap();
        heard("an attribute");
        open.set_permissions(fs::Permissions::from_mode(0o777)).unwrap();
        heard("a mode");
        drop(open);
        heard("closed");
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
    fn reports_that_changes_were_lost() {
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
