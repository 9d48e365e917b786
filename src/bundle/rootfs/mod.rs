//! The file system of a container image: its layers on top of each other, as an abstract listing.
//!
//! [`Rootfs::add`] takes the entries of the layers, the lowest layer first, and treats them as
//! container runtimes do (image-spec, layer.md): an entry replaces what is at its path, `.wh.NAME`
//! hides NAME of the layers below, `.wh..wh..opq` hides everything of them in its directory, a hard
//! link is the file that it names. Symbolic links are resolved inside the image, for entries as for
//! what is looked up: an absolute target starts at the root of the image, and `..` at its root
//! stays there, as in a container. No path therefore leads out of the image, and nothing is opened
//! here: a found file is a member of a layer, by number.
//!
//! The layers come from the network: memory and work for their entries are limited.

mod layer;
mod search;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::tar::Kind;
use crate::model::excerpt;

pub use layer::{LayerError, LayerFiles, MAX_LAYERS, list_layer, take_files};
pub use search::{FileSearch, NotFound};

/// The files of an image.
#[derive(Debug)]
pub struct Rootfs {
    /// By path from the root, without a slash at the start. A directory that no entry names is
    /// there if something is in it.
    nodes: BTreeMap<String, Node>,
    /// The number of the layer that is being added.
    layer: usize,
    entries: usize,
    /// How many more steps may be taken.
    steps: Cell<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    what: What,
    /// The layer whose entry it is.
    layer: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Directory,
    File(LayerFile),
    SymbolicLink(String),
    Other(Kind),
    /// A hard link to what is not there.
    Broken,
}

/// A regular file, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerFile {
    /// The number of the layer, from 0 for the lowest.
    pub layer: usize,
    /// The number of the member in that layer, from 0.
    pub member: usize,
    /// Its size in bytes.
    pub size: u64,
}

/// An entry of a layer.
#[derive(Debug, Clone, Copy)]
pub enum RootfsEntry<'a> {
    /// A regular file: the number of the member in its layer, and its size in bytes.
    File(usize, u64),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    SymbolicLink(&'a str),
    /// A hard link to this path from the root.
    HardLink(&'a str),
    /// A device or FIFO.
    Other(Kind),
}

/// The file at a path of an image, once all links are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file, with its path without links.
    File(String, LayerFile),
    /// Something else, with its article.
    NotAFile(&'static str),
    /// Nothing.
    Nothing,
    /// A link that leads to nothing, with the path that it leads to.
    Dangling(String),
}

/// Why layers are not the file system of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum RootfsError {
    #[error("its layers have more than {MAX_ENTRIES} entries")]
    TooMany,
    #[error("its links and whiteouts take too many steps to follow")]
    TooMuchWork,
    #[error("the path `{}` is longer than {MAX_PATH} bytes", excerpt(.0))]
    TooLong(String),
    #[error("the path `{}` goes through `{}`, which is not a directory", excerpt(.0), excerpt(.1))]
    NotADirectory(String, String),
    #[error("the path `{}` goes through more than {MAX_LINKS} symbolic links", excerpt(.0))]
    Loop(String),
    #[error("`{}` is not a valid whiteout", excerpt(.0))]
    Whiteout(String),
}

/// The most entries of all layers. Images of whole distributions have some 50,000.
const MAX_ENTRIES: usize = 200_000;
/// The longest path in bytes, links resolved: an entry may be short and behind a link to a long
/// path, and each one is kept.
const MAX_PATH: usize = 1024;
/// As many links as Linux follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The most steps, each to a part of a path or to an entry that is hidden. An image of 50,000
/// entries takes half a million.
const MAX_STEPS: u64 = 8_000_000;

/// The prefix of whiteouts (image-spec, layer.md, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// The whiteout of everything in its directory.
const OPAQUE: &str = ".wh..wh..opq";

impl Default for Rootfs {
    fn default() -> Self {
        let (nodes, steps) = (BTreeMap::new(), Cell::new(MAX_STEPS));
        Self { nodes, layer: 0, entries: 0, steps }
    }
}

impl Rootfs {
    /// Ends a layer: what follows is of the one above it.
    pub fn end_layer(&mut self) {
        self.layer += 1;
    }

    /// Adds an entry of the layer, in the order of the layer. `path` is relative to the root, and
    /// empty for the root itself.
    pub fn add(&mut self, path: &str, entry: RootfsEntry<'_>) -> Result<(), RootfsError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(RootfsError::TooMany);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        // The root, or a directory that has another entry.
        if matches!(name, "" | "." | "..") {
            return Ok(());
        }
        let directory = self.directory(parent)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // A directory stays if nothing is left in it.
            if !directory.is_empty() && self.is_directory(&directory) {
                let node = Node { what: What::Directory, layer: self.layer };
                self.nodes.entry(directory.clone()).or_insert(node);
            }
            return match hidden {
                _ if name == OPAQUE => self.hide(&directory),
                // What AUFS stored for itself.
                _ if hidden.starts_with(WHITEOUT) => Ok(()),
                // They would hide the directory that they are in, or the one above it.
                "" | "." | ".." => Err(RootfsError::Whiteout(path.to_owned())),
                _ => {
                    let at = join(&directory, hidden)?;
                    self.hide(&at)?;
                    if self.nodes.get(&at).is_some_and(|node| node.layer < self.layer) {
                        self.nodes.remove(&at);
                    }
                    Ok(())
                }
            };
        }
        let at = join(&directory, name)?;
        let what = match entry {
            RootfsEntry::File(member, size) => {
                What::File(LayerFile { layer: self.layer, member, size })
            }
            RootfsEntry::Directory => What::Directory,
            RootfsEntry::SymbolicLink(target) => What::SymbolicLink(target.to_owned()),
            RootfsEntry::HardLink(target) => self.linked(target)?,
            RootfsEntry::Other(kind) => What::Other(kind),
        };
        // A directory stays what it is if it is listed again; anything else takes its place.
        if what != What::Directory {
            self.clear(&at, |_| true)?;
        }
        self.nodes.insert(at, Node { what, layer: self.layer });
        Ok(())
    }

    /// What a path is, from the root of the image; all links are followed.
    pub fn find(&self, path: &str) -> Result<Found, RootfsError> {
        let (at, followed) = match self.walk(path, Last::Followed, Missing::Ends) {
            Ok(walked) => walked,
            Err(RootfsError::NotADirectory(..)) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match self.nodes.get(&at).map(|node| &node.what) {
            Some(What::File(file)) => Found::File(format!("/{at}"), *file),
            Some(What::Directory) => Found::NotAFile("a directory"),
            Some(What::Other(kind)) => Found::NotAFile(kind.name()),
            Some(What::Broken) => Found::NotAFile("a hard link to nothing"),
            Some(What::SymbolicLink(_)) => Found::NotAFile("a symbolic link"),
            None if self.is_directory(&at) => Found::NotAFile("a directory"),
            None if followed => Found::Dangling(format!("/{at}")),
            None => Found::Nothing,
        })
    }

    /// The paths of the regular files with this name, at most `limit`.
    pub fn named<'a>(&'a self, name: &'a str, limit: usize) -> impl Iterator<Item = String> + 'a {
        let files = self.nodes.iter().filter(move |(path, node)| {
            let base = path.rsplit('/').next().unwrap_or_default();
            matches!(node.what, What::File(_)) && base == name
        });
        files.take(limit).map(|(path, _)| format!("/{path}"))
    }

    /// The path without links of the directory of an entry, which need not be there.
    fn directory(&self, path: &str) -> Result<String, RootfsError> {
        let (at, _) = self.walk(path, Last::Followed, Missing::Made)?;
        match self.nodes.get(&at).map(|node| &node.what) {
            None | Some(What::Directory) => Ok(at),
            Some(_) => Err(RootfsError::NotADirectory(path.to_owned(), at)),
        }
    }

    /// What a hard link to this path is. A link to a symbolic link is one itself.
    fn linked(&self, target: &str) -> Result<What, RootfsError> {
        let (at, _) = match self.walk(target, Last::Taken, Missing::Ends) {
            Err(RootfsError::NotADirectory(..)) => return Ok(What::Broken),
            result => result?,
        };
        Ok(match self.nodes.get(&at).map(|node| &node.what) {
            None | Some(What::Directory) => What::Broken,
            Some(what) => what.clone(),
        })
    }

    /// Follows a path from the root. Returns where it leads, and whether the last step was a link.
    fn walk<'a>(
        &'a self,
        path: &'a str,
        last: Last,
        missing: Missing,
    ) -> Result<(String, bool), RootfsError> {
        let mut at = String::new();
        // The parts that are left, the next one last.
        let mut rest: Vec<&str> = parts(path).rev().collect();
        let (mut links, mut followed) = (0, false);
        while let Some(part) = rest.pop() {
            self.step(1)?;
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let next = join(&at, part)?;
            match self.nodes.get(&next).map(|node| &node.what) {
                Some(What::SymbolicLink(target)) if last == Last::Followed || !rest.is_empty() => {
                    links += 1;
                    followed = true;
                    if links > MAX_LINKS {
                        return Err(RootfsError::Loop(path.to_owned()));
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    self.step(target.len() as u64 / 16)?;
                    rest.extend(parts(target).rev());
                }
                Some(What::Directory) => at = next,
                None if missing == Missing::Made || self.is_directory(&next) => at = next,
                // What is not there has nothing in it.
                None => {
                    at = rest.into_iter().rev().try_fold(next, |at, part| join(&at, part))?;
                    return Ok((at, followed));
                }
                Some(_) if rest.is_empty() => at = next,
                Some(_) => return Err(RootfsError::NotADirectory(path.to_owned(), next)),
            }
        }
        Ok((at, followed))
    }

    /// Whether something is in a directory that no entry names; the root is always there.
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.below(path).next().is_some()
    }

    /// The files below a path, which may be the root.
    fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Node)> + use<'a> {
        self.nodes.range::<String, _>(range_below(path))
    }

    /// Removes what lower layers have below a path.
    fn hide(&mut self, path: &str) -> Result<(), RootfsError> {
        let layer = self.layer;
        self.clear(path, |node| node.layer < layer)
    }

    /// Removes what is below a path and of this kind.
    fn clear(&mut self, path: &str, is_it: impl Fn(&Node) -> bool) -> Result<(), RootfsError> {
        let mut seen = 0;
        let removed = self.nodes.extract_if(range_below(path), |_, node| {
            seen += 1;
            is_it(node)
        });
        removed.for_each(drop);
        self.step(seen)
    }

    fn step(&self, count: u64) -> Result<(), RootfsError> {
        let left = self.steps.get().checked_sub(count).ok_or(RootfsError::TooMuchWork)?;
        self.steps.set(left);
        Ok(())
    }
}

/// How a symbolic link at the end of a path is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Followed,
    Taken,
}

/// How a missing part of a path is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The path leads nowhere.
    Ends,
    /// It is a directory that an unpacker makes.
    Made,
}

/// The paths that are below this one, which may be the root.
fn range_below(path: &str) -> (Bound<String>, Bound<String>) {
    match path.is_empty() {
        true => (Bound::Unbounded, Bound::Unbounded),
        // `0` is the character after the slash.
        false => (Bound::Included(format!("{path}/")), Bound::Excluded(format!("{path}0"))),
    }
}

/// The parts of a path that mean something.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

fn join(directory: &str, name: &str) -> Result<String, RootfsError> {
    let path = match directory.is_empty() {
        true => name.to_owned(),
        // Without room to grow: each path may be kept.
        false => [directory, "/", name].concat(),
    };
    match path.len() > MAX_PATH {
        true => Err(RootfsError::TooLong(path)),
        false => Ok(path),
    }
}

#[cfg(test)]
mod tests;
