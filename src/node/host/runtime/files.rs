//! The files of a runtime's configuration: read one by one, found by patterns and in directories,
//! and reported if they cannot be read.

use std::path::{Path, PathBuf};

use super::pattern::matches;
use super::{FILE_LIMIT, MAX_FILES};
use crate::cni::runtime::RuntimeConfigError;
use crate::disk::{DiskError, Looked, Root};
use crate::model::{Code, Finding, visible};

/// The most names of a directory, or of a pattern, that are read.
pub(super) const MAX_NAMES: usize = 4096;

/// Reads files of a node; what cannot be read is a finding.
pub(super) struct Reader<'a> {
    pub(super) root: &'a Root,
    pub(super) findings: Vec<Finding>,
}

impl Reader<'_> {
    /// Reads one file; `None` if it does not exist.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        match self.root.read(path, FILE_LIMIT) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.with_cause()),
        }
    }

    /// The files that an import names. As in containerd, only one with a `*` is a pattern.
    pub(super) fn expand(&mut self, path: &Path) -> Vec<PathBuf> {
        let path = clean(path);
        let text = path.to_string_lossy().into_owned();
        if !text.contains('*') {
            return vec![path];
        }
        // Each part of the path is matched with the names of a directory (`filepath.Glob`).
        let mut found = vec![PathBuf::from("/")];
        for part in path.components().skip(1) {
            let part = part.as_os_str().to_string_lossy().into_owned();
            if !part.contains(['*', '?', '[', '\\']) {
                found.iter_mut().for_each(|directory| directory.push(&part));
                continue;
            }
            let mut below = Vec::new();
            for directory in found {
                let names = self.names(&directory).into_iter();
                let names = names.filter(|name| matches(&part, name));
                below.extend(names.map(|name| directory.join(name)));
                if below.len() > MAX_NAMES {
                    self.cannot(&path, &format!("it matches more than {MAX_NAMES} names"));
                    return Vec::new();
                }
            }
            found = below;
        }
        found.retain(|path| self.is_there(path));
        found
    }

    /// Whether a path leads to something, or is a link that should.
    fn is_there(&self, path: &Path) -> bool {
        match self.root.look_up(path) {
            Ok(looked) => looked.is_some_and(|looked| looked.target.is_some() || looked.linked),
            // What it is, reading it tells.
            Err(_) => true,
        }
    }

    /// Every file below a directory, in the order of their names; links to directories are not
    /// followed.
    pub(super) fn below(&mut self, directory: &Path) -> Vec<PathBuf> {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let mut pending = vec![directory.to_owned()];
        while let Some(path) = pending.pop() {
            looked_at += 1;
            if found.len() == MAX_FILES || looked_at > MAX_NAMES {
                self.cannot(directory, &format!("it contains more than {MAX_FILES} files"));
                break;
            }
            let is_directory = path == directory
                || self
                    .root
                    .look_up(&path)
                    .ok()
                    .flatten()
                    .is_some_and(|at| at.is_directory() && !at.linked);
            if is_directory {
                let inside: Vec<_> =
                    self.names(&path).into_iter().map(|name| path.join(name)).collect();
                pending.extend(inside.into_iter().rev());
            } else {
                found.push(path);
            }
        }
        found
    }

    /// The names in a directory, in order; none if it does not exist. Of more than are read, which
    /// come first is unknown.
    pub(super) fn names(&mut self, path: &Path) -> Vec<String> {
        let (mut names, is_all) = self.list(path).unwrap_or_else(|error| {
            self.cannot(path, &error.with_cause());
            (Vec::new(), true)
        });
        if !is_all {
            self.cannot(path, &format!("it contains more than {MAX_NAMES} names"));
        }
        names.sort();
        names
    }

    /// The first names that a directory lists, and whether these are all.
    fn list(&self, path: &Path) -> Result<(Vec<String>, bool), DiskError> {
        let looked = self.root.look_up(path)?.filter(Looked::is_directory);
        let Some(looked) = looked else { return Ok((Vec::new(), true)) };
        let directory = looked.directory()?;
        let mut names = Vec::new();
        for (number, entry) in directory.entries()?.enumerate() {
            if number == MAX_NAMES {
                return Ok((names, false));
            }
            names.extend(entry?.name.into_string());
        }
        Ok((names, true))
    }

    pub(super) fn cannot(&mut self, path: &Path, reason: &str) {
        let path = path.to_string_lossy();
        let message = format!(
            "cannot determine where a runtime searches for plugins: `{}`: {reason}",
            visible(&path)
        );
        self.findings.push(Finding::warning(Code::RuntimeConfigUnreadable, message));
    }

    pub(super) fn not_understood(&mut self, path: &Path, error: &RuntimeConfigError) {
        self.cannot(path, &error.to_string());
    }
}

/// A path without `.`, and with each `..` taken back by name, as Go's `filepath.Clean` does it.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => cleaned.push(name),
            std::path::Component::ParentDir => drop(cleaned.pop()),
            _ => {}
        }
    }
    cleaned
}
