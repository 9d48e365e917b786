//! Finds the file of an image that is a plugin.
//!
//! It is the file that the definition names, or else the only file with the plugin's name in the
//! directories where images usually have plugins. A file that is found in two of them through a
//! link is one file. Several files are an error: nothing is guessed.

use std::collections::BTreeMap;

use super::{Found, LayerFile, Rootfs, RootfsError};
use crate::bundle::FileManifest;
use crate::model::{PluginName, excerpt};

/// The directories where images usually have plugins. The directories for administrators (`/sbin`,
/// `/usr/sbin`) are not among them: iproute2 has a `bridge` there.
const DIRECTORIES: [&str; 7] =
    ["/", "/bin", "/usr/bin", "/usr/local/bin", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// The most paths that a message lists.
const SHOWN: usize = 8;

/// A plugin that is looked for.
#[derive(Debug, Clone)]
pub struct FileSearch {
    /// Its name.
    pub name: PluginName,
    /// Its path from the root, if the definition names it.
    pub path: Option<String>,
}

/// Why a plugin is not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum NotFound {
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("it has no file `{}`{}", excerpt(.path), there_is(.others, ""))]
    Missing { path: String, others: Vec<String> },
    #[error(
        "it has no file `{name}` in {}{}",
        list(DIRECTORIES.iter().copied()), there_is(.others, "; name it in `paths`")
    )]
    NotUsual { name: PluginName, others: Vec<String> },
    #[error("its path `{}` leads to `{}`, which the image does not have", excerpt(.path), excerpt(.target))]
    Dangling { path: String, target: String },
    #[error("its path `{}` is {kind}, expected a regular file", excerpt(.path))]
    NotAFile { path: String, kind: &'static str },
    #[error(
        "it has several files that could be `{name}`: {}; name one in `paths`",
        list(.found.iter().map(String::as_str))
    )]
    Several { name: PluginName, found: Vec<String> },
    #[error(
        "its file `{}` is larger than {} bytes, the limit for one file",
        excerpt(.0), FileManifest::MAX_PLUGIN_SIZE
    )]
    TooLarge(String),
}

impl FileSearch {
    /// Finds the plugin: its path without links, and its bytes.
    pub fn find(&self, rootfs: &Rootfs) -> Result<(String, LayerFile), NotFound> {
        let (path, file) = match &self.path {
            Some(path) => self.named(path, rootfs)?,
            None => self.usual(rootfs)?,
        };
        match file.size > FileManifest::MAX_PLUGIN_SIZE {
            true => Err(NotFound::TooLarge(path)),
            false => Ok((path, file)),
        }
    }

    fn named(&self, path: &str, rootfs: &Rootfs) -> Result<(String, LayerFile), NotFound> {
        let path = path.to_owned();
        match rootfs.find(&path)? {
            Found::File(path, file) => Ok((path, file)),
            Found::NotAFile(kind) => Err(NotFound::NotAFile { path, kind }),
            Found::Dangling(target) => Err(NotFound::Dangling { path, target }),
            Found::Nothing => {
                let base = path.rsplit('/').next().unwrap_or_default();
                let others = rootfs.named(base, SHOWN).collect();
                Err(NotFound::Missing { path, others })
            }
        }
    }

    fn usual(&self, rootfs: &Rootfs) -> Result<(String, LayerFile), NotFound> {
        let name = &self.name;
        let mut found = BTreeMap::new();
        for directory in DIRECTORIES {
            let path = format!("{}/{name}", directory.trim_end_matches('/'));
            if let Found::File(path, file) = rootfs.find(&path)? {
                found.insert(path, file);
            }
        }
        match (found.len(), found.pop_first()) {
            (1, Some(only)) => Ok(only),
            (0, _) | (_, None) => {
                let others = rootfs.named(name.as_str(), SHOWN).collect();
                Err(NotFound::NotUsual { name: name.clone(), others })
            }
            (_, Some((first, _))) => {
                let found = std::iter::once(first).chain(found.into_keys()).collect();
                Err(NotFound::Several { name: name.clone(), found })
            }
        }
    }
}

fn list<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    paths.map(|path| format!("`{}`", excerpt(path))).collect::<Vec<_>>().join(", ")
}

/// The files of this name elsewhere, for a message.
fn there_is(found: &[String], then: &str) -> String {
    match found.is_empty() {
        true => String::new(),
        false => format!("; it has {}{then}", list(found.iter().map(String::as_str))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::rootfs::RootfsEntry;

    /// Where `bridge` (at this path) is in an image of these files, or the words of the refusal.
    fn found(path: Option<&str>, files: &[(&str, RootfsEntry<'_>)]) -> String {
        let mut rootfs = Rootfs::default();
        for (path, entry) in files {
            rootfs.add(path, *entry).unwrap();
        }
        let name = "bridge".parse().unwrap();
        let found = FileSearch { name, path: path.map(str::to_owned) }.find(&rootfs);
        found.map_or_else(|error| error.to_string(), |(path, _)| path)
    }

    #[test]
    fn a_plugin_is_what_is_named_or_the_only_file_in_the_usual_directories() {
        let file = |path| (path, RootfsEntry::File(0, 1));
        let link = |path, target| (path, RootfsEntry::SymbolicLink(target));
        for (path, files, expected) in [
            (None, &[file("bridge")][..], "/bridge"),
            (None, &[file("usr/bin/bridge"), link("bin", "usr/bin")], "/usr/bin/bridge"),
            (
                None,
                &[link("bridge", "/opt/cni/bin/bridge"), file("opt/cni/bin/bridge")],
                "/opt/cni/bin/bridge",
            ),
            (None, &[file("opt/cni/bin/bridge"), file("sbin/bridge")], "/opt/cni/bin/bridge"),
            (None, &[("bridge", RootfsEntry::Directory), file("bin/bridge")], "/bin/bridge"),
            (Some("/sbin/bridge"), &[file("bridge"), file("sbin/bridge")], "/sbin/bridge"),
            (Some("/x"), &[link("x", "bridge"), file("bridge")], "/bridge"),
        ] {
            assert_eq!(found(path, files), expected, "{files:?}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        let file = |path| (path, RootfsEntry::File(0, 1));
        let usual = "it has no file `bridge` in `/`, `/bin`, `/usr/bin`, `/usr/local/bin`, \
                     `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`";
        let elsewhere = format!("{usual}; it has `/sbin/bridge`; name it in `paths`");
        let large = RootfsEntry::File(0, FileManifest::MAX_PLUGIN_SIZE + 1);
        let too_large = format!(
            "its file `/bridge` is larger than {} bytes, the limit for one file",
            FileManifest::MAX_PLUGIN_SIZE
        );
        for (path, files, expected) in [
            (None, &[file("bridge2")][..], usual),
            (None, &[file("sbin/bridge")], &elsewhere),
            (
                None,
                &[file("bridge"), file("bin/bridge")],
                "it has several files that could be `bridge`: `/bin/bridge`, `/bridge`; name one in `paths`",
            ),
            (Some("/x"), &[file("bridge")], "it has no file `/x`"),
            (Some("/bin/x"), &[file("usr/x")], "it has no file `/bin/x`; it has `/usr/x`"),
            (
                Some("/x"),
                &[("x", RootfsEntry::Directory)],
                "its path `/x` is a directory, expected a regular file",
            ),
            (
                Some("/x"),
                &[("x", RootfsEntry::SymbolicLink("/etc/passwd"))],
                "its path `/x` leads to `/etc/passwd`, which the image does not have",
            ),
            (None, &[("bridge", large)], &too_large),
        ] {
            assert_eq!(found(path, files), expected, "{files:?}");
        }
    }
}
