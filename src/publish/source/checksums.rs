//! The checksum file that names an asset: the one of the definition, or one beside the asset.
//!
//! A file that the definition names has to be there. Those beside an asset are guesses: one that is
//! missing is not an error, and one that is there and contradicts the asset is. Signatures are not
//! looked for here.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Fetch;
use super::asset::{AssetLocation, WantedAsset, shown};
use super::asset_error::AssetError;
use super::from_start::FromStart;
use crate::bundle::definition::source::is_url;
use crate::bundle::{Artefact, Checksum, ChecksumError, ChecksumFile, ChecksumKind, Sum};
use crate::model::{Sha512, Sha512Hasher};
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
        for (location, guess) in beside(wanted.location) {
            let Some(content) = self.read_checksums(&location, wanted.folder, guess)? else {
                continue;
            };
            match self.check(&location, wanted, name, content, file, artefact) {
                // A page instead of "not found", and a list of other files.
                Err(AssetError::Checksums { source: ChecksumError::Html, .. }) => {}
                Err(AssetError::Checksums { source: ChecksumError::Other { .. }, .. })
                    if guess == Guess::List => {}
                result => return result.map(Some),
            }
        }
        Ok(None)
    }

    /// Reads a checksum file; `None` if it was only a guess and is not there.
    fn read_checksums(
        &self,
        location: &str,
        folder: &Path,
        guess: Guess,
    ) -> Result<Option<Vec<u8>>, AssetError> {
        match AssetLocation::of(location, folder)? {
            AssetLocation::Url(url) => match self.fetch_checksums(&url) {
                Ok(fetched) if (200..300).contains(&fetched.head.status()) => {
                    Ok(Some(fetched.body))
                }
                // Some stores answer 403 for what is not there.
                Ok(fetched)
                    if guess != Guess::No && matches!(fetched.head.status(), 403 | 404 | 410) =>
                {
                    Ok(None)
                }
                Ok(fetched) => Err(unfetched(location, folder, fetched.refusal())),
                Err(error) => Err(unfetched(location, folder, error)),
            },
            AssetLocation::Path(path) => match read_start(&path) {
                Ok(content) => Ok(Some(content)),
                Err(error) if guess != Guess::No && error.kind() == io::ErrorKind::NotFound => {
                    Ok(None)
                }
                Err(source) => {
                    let location = shown(location, folder);
                    Err(AssetError::ReadChecksums { location, source })
                }
            },
        }
    }

    fn fetch_checksums(&self, url: &Url) -> Result<Fetched, HttpError> {
        self.client.fetch(&Request::new(Method::GET, url.clone()), ChecksumFile::LIMIT)
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

/// Whether the definition does not name a checksum file, and what it is then expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// The definition names it.
    No,
    /// Of this asset alone.
    Single,
    /// Of all assets of a release.
    List,
}

/// Where checksum files of an asset usually are.
fn beside(location: &str) -> Vec<(String, Guess)> {
    if is_url(location) && location.contains(['?', '#']) {
        return Vec::new();
    }
    let mut places: Vec<_> = [".sha256", ".sha512"]
        .iter()
        .map(|ending| (format!("{location}{ending}"), Guess::Single))
        .collect();
    let folder =
        location.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    places.push((format!("{folder}checksums.txt"), Guess::List));
    places
}

/// The last part of a location: what a checksum file calls an asset.
fn base_name(location: &str) -> Option<&str> {
    let path = match is_url(location) {
        true => location.split(['?', '#']).next().unwrap_or_default(),
        false => location,
    };
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

fn unfetched(location: &str, folder: &Path, source: HttpError) -> AssetError {
    AssetError::FetchChecksums { location: shown(location, folder), source }
}

/// The content of a file, up to one byte past the limit of checksum files.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        let mut content = Vec::new();
        File::open(path)?.take(ChecksumFile::LIMIT + 1).read_to_end(&mut content)?;
        return Ok(content);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn sha512(file: &File) -> io::Result<Sha512> {
    let mut hasher = Sha512Hasher::new(io::sink());
    io::copy(&mut FromStart::of(file), &mut hasher)?;
    Ok(hasher.finish().0)
}
