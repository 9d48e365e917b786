//! Staging the plugins: their bytes go into the staging directories, and into the local store on
//! the way.
//!
//! A file is written without execute bits and gets its mode when size and digest are the signed
//! ones, so that unproven bytes cannot be executed under any name. No file gets its final name
//! here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use super::action::{Action, Progress};
use super::directory::PluginDirectory;
use crate::binary::{Elf, ElfError};
use crate::bundle::PluginFile;
use crate::disk::{Directory, give_label, start_writing};
use crate::model::{Code, Finding, Platform, PluginName};
use crate::node::error::NodeError;
use crate::node::host::copy_exactly;
use crate::node::payload::Payload;
use crate::node::plan::{PLUGIN_MODE, Plan, Step};
use crate::node::state::{COPY_MODE, Reading, Stored, Writing};
use crate::trust::Bundle;

/// How many bytes of a file may wait in memory to be written: they count against the memory limit
/// of the container.
const UNWRITTEN: u64 = 8 * 1024 * 1024;
/// After how many bytes the disk starts to write, while more is decoded.
const START: u64 = 1024 * 1024;

/// Writes every plugin that changes to the staging directories. Plugins that the local store has
/// are taken from there; the others come from `payload`, and the store gets a copy of each.
pub(super) fn stage(
    directories: &[PluginDirectory<'_>],
    state: &Writing,
    bundle: &Bundle,
    payload: &mut dyn Payload,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    let changes = directories.iter().flat_map(|directory| &directory.changes);
    let wanted: BTreeSet<PluginName> =
        changes.filter(|change| change.is_write()).map(|change| change.name.clone()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let store = state.store_or_create()?;
    let mut stored = Stored::open(state)?;
    let staging = Staging { directories, platform: &bundle.platform, progress };
    let held = stored.holds(&bundle.files, &wanted)?;
    let mut missing = wanted.clone();
    if !held.is_empty() {
        stored.deliver(&bundle.files, &held, &mut |file, origin, source| {
            missing.remove(&file.name);
            staging.write(file, origin, source, None)
        })?;
    }
    let others: BTreeSet<_> = wanted.difference(&held).cloned().collect();
    if !others.is_empty() {
        payload.deliver(&bundle.files, &others, &mut |file, origin, source| {
            missing.remove(&file.name);
            staging.write(file, origin, source, Some(&store))
        })?;
    }
    // An interrupted run may have named copies and no more.
    store.sync()?;
    match missing.first() {
        Some(name) => {
            let message = format!("`{name}` is missing from what was to be installed");
            Err(Finding::refusal(Code::MissingEntry, message).into())
        }
        None => Ok(()),
    }
}

/// Reads what [`stage`] would write, as far as it is at hand, and refuses what that would be
/// refused for. It writes nothing. Without a payload, only the node's own copies are read.
pub(super) fn compare(
    state: Option<&Reading>,
    plan: &Plan<'_>,
    payload: Option<&mut dyn Payload>,
) -> Result<(), NodeError> {
    let mut stored = state.map(Stored::open).transpose()?.unwrap_or_default();
    let written = plan.steps().iter().filter_map(|step| match step {
        Step::Write { name, .. } => Some(name.clone()),
        _ => None,
    });
    let wanted: BTreeSet<_> = written.collect();
    let bundle = plan.bundle();
    let held = stored.holds(&bundle.files, &wanted)?;
    let others: BTreeSet<_> = wanted.difference(&held).cloned().collect();
    let mut take = |file: &PluginFile, origin: &str, source: &mut dyn Read| {
        let mut copies = Copies::of(Vec::new());
        copy_exactly(file.into(), origin, source, &mut copies)
            .map_err(|error| error.into_error(file.into(), origin, ""))?;
        check_machine(&file.name, &bundle.platform, &copies.start)
    };
    stored.deliver(&bundle.files, &held, &mut take)?;
    if let Some(payload) = payload.filter(|_| !others.is_empty()) {
        payload.deliver(&bundle.files, &others, &mut take)?;
    }
    Ok(())
}

struct Staging<'a> {
    directories: &'a [PluginDirectory<'a>],
    platform: &'a Platform,
    progress: Progress<'a>,
}

impl Staging<'_> {
    /// Writes one plugin to the staging directory of every directory that gets it, and to `store`.
    fn write(
        &self,
        file: &PluginFile,
        origin: &str,
        source: &mut dyn Read,
        store: Option<&Directory>,
    ) -> Result<(), NodeError> {
        self.progress.announce(Action::Stage(file.name.clone()))?;
        let directories: Vec<_> =
            self.directories.iter().filter(|directory| directory.writes(&file.name)).collect();
        let mut files = directories
            .iter()
            .map(|directory| directory.staging.create_file(file.name.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut copy = store.map(Directory::begin).transpose()?;
        files.extend(copy.as_ref().map(|copy| copy.file.try_clone()).transpose().map_err(
            |source| NodeError::Transfer {
                action: format!("copy `{}` to the local store", file.name),
                source,
            },
        )?);
        let mut copies = Copies::of(files);
        let path = directories.first().map_or("", |directory| directory.path.as_str());
        let copied = copy_exactly(file.into(), origin, source, &mut copies)
            .map_err(|error| error.into_error(file.into(), origin, path));
        copies.start_writing();
        let checked = copied.and_then(|()| check_machine(&file.name, self.platform, &copies.start));
        if let Err(error) = checked {
            // The staging directories are removed as a whole.
            store.zip(copy).iter().for_each(|(store, copy)| store.discard(copy));
            return Err(error);
        }
        for (directory, copy) in directories.iter().zip(copies.files) {
            if let Some(label) = directory.bin.label() {
                give_label(&copy, &label);
            }
            // Closed before it gets its name: a file that is open for writing cannot be executed.
            directory.staging.finish(file.name.as_str(), copy, PLUGIN_MODE)?;
        }
        if let (Some(store), Some(copy)) = (store, copy.take()) {
            store.name(store.complete(copy, COPY_MODE)?, file.digest.hex())?;
        }
        Ok(())
    }
}

/// Refuses a program for another machine: the signer made a mistake, and the kernel would only say
/// "exec format error" when a pod needs the plugin.
fn check_machine(name: &PluginName, expected: &Platform, start: &[u8]) -> Result<(), NodeError> {
    let found = match Elf::platform_in(start) {
        Ok(found) if found == *expected => return Ok(()),
        Ok(found) => found.to_string(),
        Err(error @ ElfError::Machine { .. }) => error.to_string(),
        // Not a program: the probe reports it, and no one executes it before.
        Err(_) => return Ok(()),
    };
    let message = format!("`{name}` is a program for another machine");
    let finding = Finding::refusal(Code::PlatformMismatch, message).mismatch(expected, found);
    Err(finding.hint("build the bundle again from plugins for this platform").into())
}

/// The copies of one file in several directories, written at once.
struct Copies {
    files: Vec<File>,
    /// How many bytes each file has, how many of them the disk was told to write, and how many are
    /// on it.
    written: u64,
    started: u64,
    synced: u64,
    /// The first bytes, which name the machine that the program is for.
    start: Vec<u8>,
}

impl Copies {
    fn of(files: Vec<File>) -> Self {
        Self { files, written: 0, started: 0, synced: 0, start: Vec::new() }
    }

    fn start_writing(&mut self) {
        self.files.iter().for_each(|file| start_writing(file, self.started, self.written));
        self.started = self.written;
    }
}

impl Write for Copies {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.iter_mut().try_for_each(|file| file.write_all(bytes))?;
        let missing = Elf::HEADER.saturating_sub(self.start.len());
        self.start.extend(bytes.iter().take(missing));
        self.written += bytes.len() as u64;
        if self.written - self.started >= START {
            self.start_writing();
        }
        if self.written - self.synced >= UNWRITTEN {
            self.synced = self.written;
            self.files.iter().try_for_each(File::sync_data)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
