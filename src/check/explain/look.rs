//! Inspecting a node: what its plugin directories have under one name.
//!
//! Only the directories that the owner named are searched, under a name that is one component of a
//! path. Nothing is executed, no link is followed to open a file, and a FIFO does not block. What
//! the result means is `judge`'s decision.

use std::io::Read;

use crate::binary::{Elf, ElfError, Linkage};
use crate::disk::{Directory, DiskError, FileKind, RegularFile};
use crate::model::{HostPath, Platform, PluginName, visible};
use crate::node::Root;

/// The largest file whose content is inspected, in bytes; the largest known plugins have a few tens
/// of megabytes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// How much of a script Linux reads for its interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;

/// What one plugin directory has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The plugin directory.
    pub(crate) directory: HostPath,
    /// What is there.
    pub(crate) entry: NamedEntry,
}

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedEntry {
    /// Nothing; the directory itself may be missing.
    Absent,
    /// A symbolic link, with what it leads to.
    Link(Option<FileKind>),
    /// Something that is neither a link nor a regular file.
    Other(FileKind),
    /// A regular file.
    File(FileFacts),
    /// Unknown, for this reason.
    Unreadable(String),
}

/// What decides whether the kernel executes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// Whether its file system is mounted noexec, as this process sees it.
    pub(crate) noexec: bool,
    /// What its bytes are, if that was asked.
    pub(crate) content: Option<Content>,
}

/// What the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing.
    Empty,
    /// A program for this node.
    Program {
        /// The path of its interpreter, if it needs one that is missing.
        missing_interpreter: Option<String>,
    },
    /// A program for another platform, in words.
    OtherMachine(String),
    /// A truncated program, in words.
    Truncated(String),
    /// A script.
    Script {
        /// The path of its interpreter, if it needs one that is missing.
        missing_interpreter: Option<String>,
    },
    /// Something else, in words.
    NoProgram(String),
    /// Longer than what is inspected.
    TooLong,
}

/// How closely a file is inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closeness {
    /// Its name, mode and mount.
    Entry,
    /// Also its bytes.
    Content,
}

/// Inspects one name in each directory.
pub(crate) fn look(
    root: &Root,
    directories: &[HostPath],
    name: &PluginName,
    closeness: Closeness,
) -> Vec<Seen> {
    directories
        .iter()
        .map(|path| Seen {
            directory: path.clone(),
            entry: entry(root, path, name, closeness)
                .unwrap_or_else(|error| NamedEntry::Unreadable(error.with_cause())),
        })
        .collect()
}

fn entry(
    root: &Root,
    path: &HostPath,
    name: &PluginName,
    closeness: Closeness,
) -> Result<NamedEntry, DiskError> {
    let Some(directory) = root.directory(path)? else { return Ok(NamedEntry::Absent) };
    match directory.kind_of(name.as_str())? {
        None => Ok(NamedEntry::Absent),
        Some(FileKind::SymbolicLink) => Ok(NamedEntry::Link(behind(root, &path.join(name))?)),
        Some(FileKind::Regular) => file(root, &directory, name, closeness),
        Some(kind) => Ok(NamedEntry::Other(kind)),
    }
}

/// What a path leads to; `None` if links lead nowhere or in a circle.
fn behind(root: &Root, path: &HostPath) -> Result<Option<FileKind>, DiskError> {
    match root.look_up(path) {
        Ok(looked) => Ok(looked.and_then(|looked| looked.kind())),
        Err(error) if error.is_endless() => Ok(None),
        Err(error) => Err(error),
    }
}

fn file(
    root: &Root,
    directory: &Directory,
    name: &PluginName,
    closeness: Closeness,
) -> Result<NamedEntry, DiskError> {
    let opened = match directory.open_file(name.as_str()) {
        Ok(opened) => opened,
        // It was replaced meanwhile.
        Err(DiskError::NotRegular { kind, .. }) => return Ok(NamedEntry::Other(kind)),
        Err(error) if error.is_not_found() => return Ok(NamedEntry::Absent),
        Err(error) => return Err(error),
    };
    let content =
        if closeness == Closeness::Content { Some(content(root, &opened)?) } else { None };
    Ok(NamedEntry::File(FileFacts {
        size: opened.size,
        mode: opened.mode,
        noexec: opened.file_system()?.no_execute,
        content,
    }))
}

fn content(root: &Root, opened: &RegularFile) -> Result<Content, DiskError> {
    if opened.size > MOST_BYTES {
        return Ok(Content::TooLong);
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    (&opened.file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(|source| DiskError::Io {
        action: "read".to_owned(),
        path: opened.shown.clone(),
        source,
    })?;
    if bytes.is_empty() {
        return Ok(Content::Empty);
    }
    if let Some(interpreter) = script(&bytes) {
        return Ok(Content::Script { missing_interpreter: missing(root, &interpreter)? });
    }
    Ok(match Elf::parse(&bytes) {
        Ok(elf) => match (elf.expect_platform(&Platform::host()), elf.linkage()) {
            (Err(error), _) => Content::OtherMachine(error.to_string()),
            (Ok(()), Linkage::Static) => Content::Program { missing_interpreter: None },
            (Ok(()), Linkage::Dynamic { interpreter }) => {
                Content::Program { missing_interpreter: missing(root, interpreter)? }
            }
        },
        Err(error @ ElfError::Truncated { .. }) => Content::Truncated(error.to_string()),
        Err(error @ ElfError::Machine { .. }) => Content::OtherMachine(error.to_string()),
        Err(error) => Content::NoProgram(error.to_string()),
    })
}

/// The interpreter of a script (`execve(2)`).
fn script(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = line.get(..SCRIPT_LINE).unwrap_or(line);
    let line =
        String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default())
            .into_owned();
    line.split_whitespace().next().map(str::to_owned)
}

/// The interpreter, if the node does not have it. A file of a plugin directory names it, so nothing
/// is opened: only what the path leads to is found out.
fn missing(root: &Root, interpreter: &str) -> Result<Option<String>, DiskError> {
    let there = match interpreter.parse() {
        Ok(path) => behind(root, &path)?.is_some(),
        Err(_) => false,
    };
    Ok((!there).then(|| visible(interpreter).into_owned()))
}
