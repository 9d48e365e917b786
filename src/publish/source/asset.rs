//! Opening an asset: from a path, from the cache, or from its URL.
//!
//! What is pinned is compared with the pin before anything reads it, and only what fits its pin is
//! kept. An asset without a pin is downloaded each time: nothing says that it is still the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::asset_error::AssetError;
use super::from_start::{FromStart, hash, sha512};
use super::{Evidence, Fetch, Wanted};
use crate::bundle::definition::source::{Asset, is_url, without_query};
use crate::bundle::{Artefact, Checksum, SignedEvidence};
use crate::model::{Digest, visible};
use crate::net::{Content, Download, HttpError, Url, download};

/// The most bytes of an asset.
const LIMIT: u64 = 1 << 30;

/// An asset that is to be opened, as the definition asks for it.
#[derive(Debug)]
pub(super) struct WantedAsset<'a> {
    /// What the definition says about it.
    pub(super) asset: &'a Asset,
    /// The folder of the definition.
    pub(super) folder: &'a Path,
    /// Its location, with the placeholders filled in.
    pub(super) location: &'a str,
    /// What is to be taken from it; never empty.
    pub(super) wanted: &'a [&'a Wanted],
}

/// An asset, open and hashed.
#[derive(Debug)]
pub(super) struct OpenAsset {
    pub(super) file: File,
    pub(super) artefact: Artefact,
    pub(super) checksum: Option<Checksum>,
    pub(super) signed: Option<SignedEvidence>,
}

/// Where something is.
#[derive(Debug)]
pub(super) enum AssetLocation {
    Url(Url),
    Path(PathBuf),
}

impl AssetLocation {
    /// The place of a location in a definition in `folder`.
    pub(super) fn of(location: &str, folder: &Path) -> Result<Self, HttpError> {
        if !is_url(location) {
            return Ok(Self::Path(folder.join(location)));
        }
        let url = location.parse().map_err(|_| HttpError::Url(visible(location).into_owned()))?;
        Ok(Self::Url(url))
    }
}

/// A location for messages and origins: a path as it is opened, a URL without its query, which may
/// carry a credential.
pub(super) fn shown(location: &str, folder: &Path) -> String {
    match is_url(location) {
        true => without_query(location).to_owned(),
        false => folder.join(location).display().to_string(),
    }
}

impl Fetch {
    /// The digest that the definition and the lock fix for an asset from which these are taken.
    pub(super) fn pin(
        &self,
        asset: &Asset,
        wanted: &[&Wanted],
    ) -> Result<Option<Digest>, AssetError> {
        let of_definition = wanted.iter().filter_map(|it| asset.pin(&it.platform));
        let of_lock = wanted.iter().filter_map(|it| self.pins.get(it).copied());
        only(of_definition.chain(of_lock))
    }

    /// Opens an asset; if that is asked for, also fetches the checksum file that names it and what
    /// its publisher signed.
    pub(super) fn open(&self, wanted: &WantedAsset<'_>) -> Result<OpenAsset, AssetError> {
        let pin = self.pin(wanted.asset, wanted.wanted)?;
        let (file, artefact) = match AssetLocation::of(wanted.location, wanted.folder)? {
            AssetLocation::Path(path) => {
                let file = open_path(&path)?;
                let artefact = checked(&file, pin)?;
                (file, artefact)
            }
            AssetLocation::Url(url) => self.open_url(&url, pin)?,
        };
        let sums: BTreeSet<_> = wanted.wanted.iter().filter_map(|it| self.sums.get(it)).collect();
        for expected in sums {
            let found = sha512(&file).map_err(AssetError::Read)?;
            if found != *expected {
                let expected = Box::new(*expected);
                return Err(AssetError::Sha512 { expected, found: Box::new(found) });
            }
        }
        let (checksum, signed) = match self.evidence {
            Evidence::Collect => {
                (self.checksum(wanted, &file, artefact)?, self.signed(wanted, artefact)?)
            }
            Evidence::Skip => (None, None),
        };
        Ok(OpenAsset { file, artefact, checksum, signed })
    }

    fn open_url(&self, url: &Url, pin: Option<Digest>) -> Result<(File, Artefact), AssetError> {
        // A lock asks the origin, whatever is known already.
        if let Some(digest) = pin.filter(|_| self.evidence == Evidence::Skip)
            && let Some(file) = self.cache.find(digest)?
        {
            let size = file.metadata().map_err(AssetError::Read)?.len();
            return Ok((file, Artefact { digest, size }));
        }
        self.download_url(url, pin)
    }

    /// Opens a file of which the digest is known: what the cache has is that file.
    pub(super) fn open_pinned(
        &self,
        location: &str,
        folder: &Path,
        digest: Digest,
    ) -> Result<OpenAsset, AssetError> {
        let (file, artefact) = match AssetLocation::of(location, folder)? {
            AssetLocation::Path(path) => {
                let file = open_path(&path)?;
                let artefact = checked(&file, Some(digest))?;
                (file, artefact)
            }
            AssetLocation::Url(url) => match self.cache.find(digest)? {
                Some(file) => {
                    let size = file.metadata().map_err(AssetError::Read)?.len();
                    (file, Artefact { digest, size })
                }
                None => self.download_url(&url, Some(digest))?,
            },
        };
        Ok(OpenAsset { file, artefact, checksum: None, signed: None })
    }

    fn download_url(&self, url: &Url, pin: Option<Digest>) -> Result<(File, Artefact), AssetError> {
        (self.announce)(&format!("fetching {}", shown(url.as_str(), Path::new(""))));
        let mut file = self.cache.spool()?;
        let content = if pin.is_some() { Content::Pinned } else { Content::Unknown };
        download(&self.client, &Download { url, limit: LIMIT, content }, &mut file)?;
        let artefact = checked(&file, pin)?;
        self.cache.keep(&file, artefact.digest)?;
        Ok((file, artefact))
    }
}

/// Opens a regular file. It is asked for its kind before, since opening a FIFO would wait.
fn open_path(path: &Path) -> Result<File, AssetError> {
    let kind = fs::metadata(path).map_err(AssetError::Read)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a device, FIFO or socket" };
        return Err(AssetError::NotAFile(found));
    }
    File::open(path).map_err(AssetError::Read)
}

/// Digest and size of a file that fits its pin.
fn checked(file: &File, pin: Option<Digest>) -> Result<Artefact, AssetError> {
    if is_page(file).map_err(AssetError::Read)? {
        return Err(AssetError::Page);
    }
    let (digest, size) = hash(file, LIMIT).map_err(AssetError::Read)?;
    if size > LIMIT {
        return Err(AssetError::TooLong(LIMIT));
    }
    expect_pinned(pin, digest)?;
    Ok(Artefact { digest, size })
}

/// The only digest of these.
pub(super) fn only(digests: impl Iterator<Item = Digest>) -> Result<Option<Digest>, AssetError> {
    let mut digests: BTreeSet<Digest> = digests.collect();
    match (digests.pop_first(), digests.pop_first()) {
        (Some(one), Some(other)) => Err(AssetError::TwoPins(one, other)),
        (digest, _) => Ok(digest),
    }
}

/// Refuses what is not the pinned asset.
pub(super) fn expect_pinned(pin: Option<Digest>, found: Digest) -> Result<(), AssetError> {
    match pin {
        Some(expected) if expected != found => Err(AssetError::Digest { expected, found }),
        _ => Ok(()),
    }
}

/// Whether it is a page for browsers. No program and no archive starts with `<`, but for an archive
/// whose first member does, which has zeros after its name.
fn is_page(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    FromStart::of(file).take(512).read_to_end(&mut start)?;
    Ok(start.trim_ascii_start().starts_with(b"<") && !start.contains(&0))
}

#[cfg(test)]
mod tests;
