//! The root of a node's file system, held open: `/` on the node itself, or its mount point in a
//! container.
//!
//! Every path of a node is opened beneath it, so that a link on the node cannot lead out of the
//! mount and into the container's own file system.

use std::path::{Path, PathBuf};

use super::{Directory, DiskError, FileKind, Looked, Resolve};
use crate::model::{HostPath, visible};

/// Where a complete node has its libraries. A root with none of them is only part of a node.
const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr/lib"];

/// The root of a node's file system.
#[derive(Debug)]
pub struct Root {
    directory: Directory,
    resolve: Resolve,
}

impl Root {
    /// Opens the root. If it is `/`, links lead where the host says; otherwise they must stay
    /// beneath it.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let resolve = if path == Path::new("/") { Resolve::Host } else { Resolve::Beneath };
        Ok(Self { directory: Directory::open(path)?, resolve })
    }

    /// Whether the node's programs see the same files at the same paths as this process.
    pub fn is_host(&self) -> bool {
        self.resolve == Resolve::Host
    }

    /// The path it was opened by, for messages.
    pub fn shown(&self) -> &str {
        self.directory.shown()
    }

    /// The root itself.
    pub(crate) fn top(&self) -> &Directory {
        &self.directory
    }

    /// Opens a directory of the node that has to be there.
    pub fn directory_of(&self, path: &HostPath) -> Result<Directory, DiskError> {
        self.directory.descend(path.relative(), self.resolve)
    }

    /// Opens a directory of the node; `None` if there is none.
    pub fn directory(&self, path: &HostPath) -> Result<Option<Directory>, DiskError> {
        match self.directory_of(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks a path up as the node's own programs would: links lead where they lead there, and none
    /// leaves the root.
    pub fn look_up(&self, path: impl AsRef<Path>) -> Result<Option<Looked>, DiskError> {
        self.directory.look_up(path.as_ref())
    }

    /// Whether it is the root of a whole node, and not one in a container that has only some of the
    /// node's directories mounted. What a whole node does not have here, it does not have.
    pub(crate) fn is_whole(&self) -> bool {
        LIBRARIES.iter().any(|path| {
            self.look_up(path).is_ok_and(|looked| looked.is_some_and(|it| it.is_directory()))
        })
    }

    /// Whether a path is that of a link, wherever it leads: what a program that finds nothing
    /// behind it does not say.
    pub(crate) fn is_link(&self, path: impl AsRef<Path>) -> bool {
        let (Some(parent), Some(name)) = (path.as_ref().parent(), path.as_ref().file_name()) else {
            return false;
        };
        let parent = self.look_up(parent).ok().flatten();
        let directory = parent.and_then(|parent| parent.directory().ok());
        let kind = directory.map(|directory| directory.kind_of(name));
        matches!(kind, Some(Ok(Some(FileKind::SymbolicLink))))
    }

    /// Reads a small file as a whole; links lead where the node says. Nothing but a regular file is
    /// opened: a FIFO would be waited for.
    ///
    /// # Errors
    /// If it is longer than `limit` bytes, a link to nothing, or [`DiskError::is_not_found`].
    pub fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, DiskError> {
        let shown = || visible(&path.to_string_lossy()).into_owned();
        let leads_nowhere =
            || DiskError::NotRegular { path: shown(), kind: FileKind::SymbolicLink };
        match self.look_up(path) {
            Ok(Some(looked)) if looked.target.is_some() => looked.read(limit),
            Err(error) if error.is_endless() => Err(leads_nowhere()),
            Err(error) => Err(error),
            Ok(_) if self.is_link(path) => Err(leads_nowhere()),
            Ok(_) => {
                let source = std::io::ErrorKind::NotFound.into();
                Err(DiskError::Io { action: "open".to_owned(), path: shown(), source })
            }
        }
    }

    /// Opens a directory of the node, or the nearest one above it that is there; the last is the
    /// root itself.
    pub(crate) fn nearest_directory(&self, path: &HostPath) -> Option<Directory> {
        let ancestors = path.relative().ancestors().filter(|path| !path.as_os_str().is_empty());
        for path in ancestors.chain([Path::new(".")]) {
            match self.directory.descend(path, self.resolve) {
                Err(error) if error.is_not_found() => {}
                found => return found.ok(),
            }
        }
        None
    }

    /// Opens a directory of the node and creates what is missing of it; returns what it created,
    /// outermost first.
    pub fn directory_or_create(
        &self,
        path: &HostPath,
        mode: u32,
    ) -> Result<(Directory, Vec<PathBuf>), DiskError> {
        self.directory.descend_or_create(path.relative(), mode, self.resolve)
    }

    /// Refuses a path at which no directory can be created because something else is there, as
    /// [`Root::directory_or_create`] does. It creates nothing.
    pub(crate) fn expect_place(&self, path: &HostPath) -> Result<(), DiskError> {
        self.directory.expect_place(path.relative(), self.resolve)
    }

    /// Makes the names of a directory and of those that lead to it durable, and the names in it: a
    /// run that was interrupted may have made any of them, and what is there need not be on the
    /// disk.
    pub(crate) fn make_durable(&self, path: &HostPath) -> Result<(), DiskError> {
        self.directory.sync()?;
        let mut reached = PathBuf::new();
        for component in path.relative().components() {
            reached.push(component);
            match self.directory.descend(&reached, self.resolve) {
                Ok(directory) => directory.sync()?,
                // What is not there, or no directory, has no names.
                Err(error) if error.is_not_found() || error.finding().is_some() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes directories that [`Root::directory_or_create`] created, unless they are in use.
    pub(crate) fn remove_created(&self, created: &[PathBuf]) {
        for path in created.iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            // One that another program uses already is not empty, and stays.
            let _ = self
                .directory
                .descend(parent, self.resolve)
                .and_then(|parent| parent.remove_directory(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_links_lead_to_inside_the_root() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("opt/cni")).unwrap();
        std::fs::write(temporary.path().join("opt/file"), "").unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let cases = [
            ("/opt/file", Some(FileKind::Regular)),
            ("/opt/cni", Some(FileKind::Directory)),
            ("../file", Some(FileKind::Regular)),
            // There on this machine, and not on the node.
            ("/etc/passwd", None),
            ("../../../../../../../../etc/passwd", None),
            ("/proc/self/exe", None),
            ("/opt/file/x", None),
        ];
        let kind =
            |root: &Root, path: &str| root.look_up(path).unwrap().and_then(|looked| looked.kind());
        for (target, expected) in cases {
            let link = temporary.path().join("opt/cni/link");
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(kind(&root, "/opt/cni/link"), expected, "{target}");
            assert!(root.is_link("/opt/cni/link"));
            std::fs::remove_file(link).unwrap();
        }
        assert_eq!(kind(&root, "/opt/cni/none"), None);
        assert!(!root.is_link("/opt/cni/none") && !root.is_link("/none/link"));
        let host = Root::open(Path::new("/")).unwrap();
        assert_eq!(kind(&host, "/etc/passwd"), Some(FileKind::Regular));
        assert_eq!(kind(&host, "/etc/passwd/x"), None);
    }

    #[test]
    fn finds_creates_and_takes_back_directories() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir(temporary.path().join("opt")).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        assert!(!root.is_host());
        let path = HostPath::default_bin_directory();
        assert!(root.directory(&path).unwrap().is_none());
        let (_, created) = root.directory_or_create(&path, 0o755).unwrap();
        assert!(root.directory(&path).unwrap().is_some());
        root.remove_created(&created);
        assert!(temporary.path().join("opt").is_dir());
        assert!(!temporary.path().join("opt/cni").exists());
    }
}
