//! Reads the layers of an image: first their listing, then the wanted files.
//!
//! The compression of a layer is recognized by its first bytes. Each layer is read twice, so that
//! no content is kept: first for its names, then for the wanted members. The caller checks the
//! digest of a layer before. All bytes of an image, decompressed, are limited
//! together: a bomb costs seconds and no memory.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::{Rootfs, RootfsEntry, RootfsError};
use crate::bundle::compression::UPSTREAM_WINDOW_LOG;
use crate::bundle::tar::{Extensions, Kind, Member, Paths, Rest, Rules, Stop, TarError, walk};
use crate::bundle::{Compression, FoundMember, Privilege};

/// The most layers of an image: as many as overlayfs can put on top of each other in containerd.
pub const MAX_LAYERS: usize = 127;
/// The most bytes of all layers of an image, decompressed. Images of plugins have at most two GB.
const MAX_BYTES: u64 = 8 << 30;

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum LayerError {
    #[error(transparent)]
    Tar(TarError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("its layers are longer than {MAX_BYTES} bytes in all")]
    TooLong,
    #[error("a layer changed while it was read")]
    Changed,
}

/// The files that are wanted of one layer, by the number of the member.
pub type LayerFiles<T> = BTreeMap<usize, T>;

/// What a layer may have: whatever can be in a file system. Names that lead out, and what two
/// readers of tar read differently, make the whole image untrustworthy.
fn rules(bytes: u64) -> Rules {
    Rules {
        members: super::MAX_ENTRIES,
        bytes,
        kinds: Kind::OF_FILES,
        extensions: Extensions::All,
        paths: Paths::Rooted,
        rest: Rest::Zeros,
        // Some builders write the times of every file as pax records.
        extension_bytes: 32 << 20,
    }
}

/// Adds what a layer lists to a file system, as its next layer. `read` is how many bytes the layers
/// below had.
pub fn list_layer(
    input: impl BufRead + Send,
    rootfs: &mut Rootfs,
    read: &mut u64,
) -> Result<(), LayerError> {
    let mut number = 0;
    walk_layer(input, read, |member| {
        let entry = match (member.kind, member.target) {
            (Kind::File, _) => RootfsEntry::File(number, member.size),
            (Kind::Directory, _) => RootfsEntry::Directory,
            (Kind::SymbolicLink, target) => RootfsEntry::SymbolicLink(target.unwrap_or_default()),
            (Kind::HardLink, target) => RootfsEntry::HardLink(target.unwrap_or_default()),
            (kind, _) => RootfsEntry::Other(kind),
        };
        number += 1;
        rootfs.add(member.path, entry).map_err(LayerError::from)
    })?;
    rootfs.end_layer();
    Ok(())
}

/// Calls `visit` with each wanted member of a layer, which must read all of its content.
pub fn take_files<T, E: From<LayerError>>(
    input: impl BufRead + Send,
    mut wanted: LayerFiles<T>,
    mut visit: impl FnMut(T, FoundMember<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut number = 0;
    walk_layer(input, &mut 0, |member| {
        let visitor = wanted.remove(&number);
        number += 1;
        let privileges = Privilege::of(member.mode, member.capabilities);
        let found = FoundMember { privileges, content: member.content };
        visitor.map_or(Ok(()), |it| visit(it, found))
    })?;
    match wanted.is_empty() {
        true => Ok(()),
        false => Err(LayerError::Changed.into()),
    }
}

impl From<TarError> for LayerError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::TooLong(_) => Self::TooLong,
            error => Self::Tar(error),
        }
    }
}

/// Walks a layer, plain or compressed with gzip or zstd, to its end; adds its length to `read`.
fn walk_layer<E: From<LayerError>>(
    mut input: impl BufRead + Send,
    read: &mut u64,
    mut visit: impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let unreadable = |error| LayerError::from(TarError::Read(error));
    let compression = Compression::of_magic(input.fill_buf().map_err(unreadable)?);
    let decoder = compression.decoder_up_to(UPSTREAM_WINDOW_LOG, input).map_err(unreadable)?;
    let mut counted = Counted { input: decoder, count: 0 };
    let rules = rules(MAX_BYTES.saturating_sub(*read));
    let walked = walk(&mut counted, &rules, |member| visit(member).map_err(Stop::Visitor));
    *read = read.saturating_add(counted.count);
    walked.map_err(Stop::into_error::<LayerError>)
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.count = self.count.saturating_add(length as u64);
        Ok(length)
    }
}
