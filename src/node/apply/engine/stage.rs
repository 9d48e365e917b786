//! The bytes: into the staging directories, and into the local store on the way.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use super::Run;
use crate::binary::Elf;
use crate::bundle::PluginFile;
use crate::disk::{Directory, give_label, start_writing};
use crate::model::{Code, Finding, PluginName};
use crate::node::apply::action::Action;
use crate::node::apply::machine::check_machine;
use crate::node::error::NodeError;
use crate::node::host::{Expected, TransferError, copy_exactly};
use crate::node::payload::Payload;
use crate::node::plan::PLUGIN_MODE;
use crate::node::state::{COPY_MODE, Receipt, Stored};

/// How much of a file may wait in memory to be written: what does not, counts against the
/// container's limit.
const UNWRITTEN: u64 = 8 * 1024 * 1024;
/// After how much the disk starts to write, while more is decoded.
const START: u64 = 1024 * 1024;

impl Run<'_, '_> {
    /// Writes every file under its staging name, and gives it its mode when it is the signed one.
    /// What the local store has is not fetched again, and what it has not is put there on the way.
    pub(crate) fn stage(&mut self, payload: &mut dyn Payload) -> Result<(), NodeError> {
        let writes = self.targets.iter().flat_map(|target| &target.writes);
        let wanted: BTreeSet<PluginName> = writes.map(|write| write.name.clone()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let store = self.state.store_or_create()?;
        let mut stored = Stored::open(self.state)?;
        let files = &self.plan.bundle().files;
        let held = stored.holds(files, &wanted)?;
        let mut missing = wanted.clone();
        if !held.is_empty() {
            stored.deliver(files, &held, &mut |file, origin, source| {
                missing.remove(&file.name);
                self.stage_one(file, origin, source, None)
            })?;
        }
        let others: BTreeSet<_> = wanted.difference(&held).cloned().collect();
        if !others.is_empty() {
            payload.deliver(files, &others, &mut |file, origin, source| {
                missing.remove(&file.name);
                self.stage_one(file, origin, source, Some(&store))
            })?;
        }
        // Also those that an interrupted run has put there.
        store.sync()?;
        match missing.first() {
            Some(name) => {
                let message = format!("`{name}` was not delivered");
                Err(Finding::refusal(Code::MissingEntry, message).into())
            }
            None => Ok(()),
        }
    }

    fn stage_one(
        &mut self,
        file: &PluginFile,
        origin: &str,
        source: &mut dyn Read,
        store: Option<&Directory>,
    ) -> Result<(), NodeError> {
        self.announce(Action::Stage(file.name.clone()))?;
        let targets = self.targets.iter();
        let targets: Vec<_> = targets
            .filter(|target| target.writes.iter().any(|write| *write.name == file.name))
            .collect();
        let staged = targets.iter().map(|target| target.staging.create_file(file.name.as_str()));
        let mut files = staged.collect::<Result<Vec<_>, _>>()?;
        let mut copy = store.map(Directory::begin).transpose()?;
        files.extend(copy.as_ref().map(|copy| copy.file.try_clone()).transpose().map_err(
            |source| NodeError::Transfer {
                action: format!("copy `{}` to the local store", file.name),
                source,
            },
        )?);
        let mut copies = Copies { files, written: 0, started: 0, synced: 0, start: Vec::new() };
        let path = targets.first().map_or("", |target| target.path.as_str());
        copy_exactly(file.into(), origin, source, &mut copies)
            .map_err(|error| error.into_error(file.into(), origin, path))?;
        copies.start_writing();
        check_machine(&file.name, &self.plan.bundle().platform, &copies.start)?;
        for (target, copy) in targets.iter().zip(copies.files) {
            if let Some(label) = target.bin.label() {
                give_label(&copy, &label);
            }
            // Closed before it gets its name: a file that is open for writing cannot be executed.
            target.staging.finish(file.name.as_str(), copy, PLUGIN_MODE)?;
        }
        if let (Some(store), Some(copy)) = (store, copy.take()) {
            store.name(store.complete(copy, COPY_MODE)?, file.digest.hex())?;
        }
        Ok(())
    }

    /// Copies what is installed already and has no copy: another installer's with the signed bytes,
    /// or installed by an earlier version, or the store was lost.
    pub(crate) fn keep_copies(&mut self, receipt: &Receipt) -> Result<(), NodeError> {
        let mut added = None;
        for (path, directory) in &receipt.directories {
            let files = directory.files.iter().map(|(name, file)| (file.digest, file.size, name));
            let missing = self.state.without_copy(files)?;
            let written = |name: &PluginName| {
                let mut targets = self.targets.iter().filter(|target| target.path == path);
                targets.any(|target| target.writes.iter().any(|write| write.name == name))
            };
            let missing: Vec<_> = missing.into_iter().filter(|name| !written(name)).collect();
            let Some(bin) =
                (!missing.is_empty()).then(|| self.root.directory(path)).transpose()?.flatten()
            else {
                continue;
            };
            let store = self.state.store_or_create()?;
            for (name, file) in
                missing.into_iter().filter_map(|name| directory.files.get_key_value(name))
            {
                self.announce(Action::KeepCopy(name.clone()))?;
                let Ok(mut opened) = bin.open_file(name.as_str()) else { continue };
                let expected = Expected { name, digest: file.digest, size: file.size };
                let mut copy = store.begin()?;
                let origin = format!("`{path}`");
                match copy_exactly(expected, &origin, &mut opened.file, &mut copy.file) {
                    // A repair of other files leaves it as it is; what was begun is collected at
                    // the end.
                    Err(TransferError::Altered(_)) => continue,
                    copied => copied
                        .map_err(|error| error.into_error(expected, &origin, "the local store"))?,
                }
                store.name(store.complete(copy, COPY_MODE)?, file.digest.hex())?;
            }
            added = Some(store);
        }
        added.map_or(Ok(()), |store| store.sync().map_err(Into::into))
    }
}

/// The copies of one file in several directories, written at once.
struct Copies {
    files: Vec<File>,
    /// How many bytes each has, how many of these the disk was told of, and how many are on it.
    written: u64,
    started: u64,
    synced: u64,
    /// The first bytes, which say what machine the program is for.
    start: Vec<u8>,
}

impl Copies {
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
