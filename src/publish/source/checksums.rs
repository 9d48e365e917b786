//! The checksum file that names an asset: the one of the definition, or one beside the asset.
//!
//! A file that the definition names has to be there. Those beside an asset are guesses: one that is
//! missing is not an error, and one that is there and contradicts the asset is. Signatures are in
//! [`super::signed`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Fetch;
use super::asset::{AssetLocation, WantedAsset, shown};
use super::asset_error::AssetError;
use super::from_start::sha512;
use crate::bundle::definition::source::{Guess, base_name, checksums_beside};
use crate::bundle::{Artefact, Checksum, ChecksumError, ChecksumFile, ChecksumKind, Sum};
use crate::net::{Fetched, HttpError, Method, Request, Url};

impl Fetch {
    /// The checksum file that names an asset with the digest that it has.
    pub(super) fn checksum(
        &self,
        wanted: &WantedAsset<'_>,
        file: &File,
        artefact: Artefact,
    ) -> Result<Option<Checksum>, AssetError> {
        let Some(name) = base_name(wanted.location) else { return Ok(None) };
        let [first, ..] = wanted.wanted else { return Ok(None) };
        if let Some(location) = wanted.asset.checksums(&first.platform, &first.name) {
            let found = self.read_checksums(&location, wanted.folder, Guess::No)?;
            let content = found.unwrap_or_default();
            return self.check(&location, wanted, name, content, file, artefact).map(Some);
        }
        // All of them: one that contradicts another is an error.
        let mut first = None;
        for (location, guess) in checksums_beside(wanted.location) {
            let Some(content) = self.read_checksums(&location, wanted.folder, guess)? else {
                continue;
            };
            match self.check(&location, wanted, name, content, file, artefact) {
                // A page instead of "not found", and a list of other files.
                Err(AssetError::Checksums { source: ChecksumError::Html, .. }) => {}
                Err(AssetError::Checksums { source: ChecksumError::Other { .. }, .. })
                    if guess == Guess::List => {}
                result => {
                    let checksum = result?;
                    first.get_or_insert(checksum);
                }
            }
        }
        Ok(first)
    }

    /// Reads a checksum file; `None` if it was only a guess and is not there.
    fn read_checksums(
        &self,
        location: &str,
        folder: &Path,
        guess: Guess,
    ) -> Result<Option<Vec<u8>>, AssetError> {
        self.read_beside("checksum file", location, folder, guess, ChecksumFile::LIMIT)
    }

    /// Reads a file that says something of an asset; `None` if it was only a guess and is not
    /// there. Of a file that is longer than the limit, one byte more is read.
    pub(super) fn read_beside(
        &self,
        what: &'static str,
        location: &str,
        folder: &Path,
        guess: Guess,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, AssetError> {
        let unfetched =
            |source| AssetError::FetchBeside { what, location: shown(location, folder), source };
        match AssetLocation::of(location, folder)? {
            AssetLocation::Url(url) => match self.fetch_beside(&url, limit) {
                Ok(fetched) if (200..300).contains(&fetched.head.status()) => {
                    Ok(Some(fetched.body))
                }
                // Some stores answer 403 for what is not there.
                Ok(fetched)
                    if guess != Guess::No && matches!(fetched.head.status(), 403 | 404 | 410) =>
                {
                    Ok(None)
                }
                // Beside a pinned asset that comes over plain HTTP.
                Err(HttpError::Insecure { .. }) if guess != Guess::No => Ok(None),
                Ok(fetched) => Err(unfetched(fetched.refusal())),
                Err(error) => Err(unfetched(error)),
            },
            AssetLocation::Path(path) => match read_start(&path, limit) {
                Ok(content) => Ok(Some(content)),
                Err(error) if guess != Guess::No && error.kind() == io::ErrorKind::NotFound => {
                    Ok(None)
                }
                Err(source) => {
                    let location = shown(location, folder);
                    Err(AssetError::ReadBeside { what, location, source })
                }
            },
        }
    }

    fn fetch_beside(&self, url: &Url, limit: u64) -> Result<Fetched, HttpError> {
        self.client.fetch(&Request::new(Method::GET, url.clone()), limit)
    }

    /// Compares an asset with what a checksum file says about it.
    fn check(
        &self,
        location: &str,
        wanted: &WantedAsset<'_>,
        name: &str,
        content: Vec<u8>,
        file: &File,
        artefact: Artefact,
    ) -> Result<Checksum, AssetError> {
        let location_shown = shown(location, wanted.folder);
        let failed = |source| AssetError::Checksums { location: location_shown.clone(), source };
        let sum = ChecksumFile::parse(&content).and_then(|it| it.sum_of(name)).map_err(failed)?;
        let found = match sum.kind() {
            ChecksumKind::Sha256 => Sum::Sha256(artefact.digest),
            ChecksumKind::Sha512 => Sum::Sha512(sha512(file).map_err(AssetError::Read)?),
        };
        sum.check(name, found).map_err(failed)?;
        let location = location.to_owned();
        Ok(Checksum { location, name: name.to_owned(), sum, content })
    }
}

/// The content of a file, up to one byte past the limit.
fn read_start(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        let mut content = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
        return Ok(content);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}
