//! The root of a node's file system, held open: on the node itself `/`, in a container the place
//! where it is mounted.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::disk::{Directory, DiskError, FileKind, Looked, Resolve};
use crate::model::{PluginName, visible};

/// An absolute path on the node, as its owner writes it (`/opt/cni/bin`), whatever the root is
/// mounted as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

/// Why a text is not a path on the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a path on the node: absolute, at most 1024 bytes, without `.`, `..` or control characters"
)]
pub struct ParseHostPathError(String);

/// The root of a node's file system.
#[derive(Debug)]
pub struct Root {
    directory: Directory,
    resolve: Resolve,
}

impl HostPath {
    /// Where container runtimes look for plugins unless they are told otherwise.
    pub fn default_bin_directory() -> Self {
        Self("/opt/cni/bin".to_owned())
    }

    /// Where receipts, evidence and originals are kept.
    pub fn default_state_directory() -> Self {
        Self("/var/lib/cnister".to_owned())
    }

    /// Where the owner's policy lies.
    pub fn default_policy_directory() -> Self {
        Self("/etc/cnister".to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this directory or lies below it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The directory that it is in; nothing, where that is the root.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The path of an entry of this directory.
    pub(super) fn join(&self, name: &PluginName) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    /// The path from the root on.
    pub fn relative(&self) -> &Path {
        Path::new(self.0.trim_start_matches('/'))
    }
}

impl FromStr for HostPath {
    type Err = ParseHostPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let components: Vec<_> =
            text.split('/').filter(|component| !component.is_empty()).collect();
        let good = text.starts_with('/')
            && text.len() <= 1024
            && !components.is_empty()
            && components.iter().all(|component| !matches!(*component, "." | ".."))
            && visible(text) == text;
        let shown = || {
            ParseHostPathError(visible(&text.chars().take(1024).collect::<String>()).into_owned())
        };
        if good { Ok(Self(format!("/{}", components.join("/")))) } else { Err(shown()) }
    }
}

impl TryFrom<String> for HostPath {
    type Error = ParseHostPathError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Root {
    /// Opens the root. Where it is `/`, links lead where the host says; anywhere else they must
    /// stay beneath it.
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

    /// Opens a directory of the node that has to be there.
    pub fn directory_of(&self, path: &HostPath) -> Result<Directory, DiskError> {
        self.directory.descend(path.relative(), self.resolve)
    }

    /// Opens a directory of the node; `None` where there is none.
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

    /// Whether a name in a directory of the node is a link, wherever it leads: what a program that
    /// finds nothing behind it does not say.
    pub(super) fn is_link(&self, directory: &HostPath, name: impl AsRef<OsStr>) -> bool {
        let kind =
            self.directory(directory).ok().flatten().map(|directory| directory.kind_of(name));
        matches!(kind, Some(Ok(Some(FileKind::SymbolicLink))))
    }

    /// Opens a directory of the node, or the nearest one above it that is there; the last is the
    /// root itself.
    pub(super) fn nearest_directory(&self, path: &HostPath) -> Option<Directory> {
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

    /// Makes the names of a directory and of those that lead to it durable, and the names in it: a
    /// run that was interrupted may have made any of them, and what is there need not be on the
    /// disk.
    pub(super) fn make_durable(&self, path: &HostPath) -> Result<(), DiskError> {
        self.directory.sync()?;
        let mut reached = PathBuf::new();
        for component in path.relative().components() {
            reached.push(component);
            match self.directory.descend(&reached, self.resolve) {
                Ok(directory) => directory.sync()?,
                Err(error) if error.is_not_found() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes directories that [`Root::directory_or_create`] created, as far as they are empty.
    pub(super) fn remove_created(&self, created: &[PathBuf]) {
        for path in created.iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            // Somebody else may use them already, and then they stay.
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
    fn knows_what_lies_below() {
        let path = |text: &str| text.parse::<HostPath>().unwrap();
        for (outer, inner, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/b", "/a", false),
            ("/a", "/ab", false),
            ("/a/", "/a", true),
        ] {
            assert_eq!(path(outer).holds(&path(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn host_paths_are_absolute_and_plain() {
        for (text, expected) in
            [("/opt/cni/bin", "/opt/cni/bin"), ("//opt//cni/bin/", "/opt/cni/bin"), ("/a", "/a")]
        {
            assert_eq!(text.parse::<HostPath>().unwrap().to_string(), expected);
        }
        for text in ["", "/", "opt/cni", "/opt/../etc", "/opt/./cni", "/o\u{1b}pt", "/\u{202e}"] {
            assert_eq!(
                text.parse::<HostPath>(),
                Err(ParseHostPathError(visible(text).into_owned())),
                "{text}"
            );
        }
        let long = format!("/{}", "a".repeat(1024));
        assert_eq!(long.parse::<HostPath>(), Err(ParseHostPathError(long[..1024].to_owned())));
        assert!(format!("/{}", "a".repeat(1023)).parse::<HostPath>().is_ok());
    }

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
            assert!(root.is_link(&"/opt/cni".parse().unwrap(), "link"));
            std::fs::remove_file(link).unwrap();
        }
        assert_eq!(kind(&root, "/opt/cni/none"), None);
        assert!(!root.is_link(&"/opt/cni".parse().unwrap(), "none"));
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
