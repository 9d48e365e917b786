//! Plugins from tar archives, such as the ones that projects release.
//!
//! An archive is read once, whatever is taken from it. Members go to files without a name in the
//! temporary directory and are hashed on the way; they are handed over when the archive was read to
//! its end, and was the one that was hashed before. Which members are accepted is decided in
//! [`crate::bundle::read_members`].

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::path::Path;

use super::asset::{OpenAsset, WantedAsset, shown};
use super::asset_error::AssetError;
use super::from_start::Hashing;
use super::requested::RequestedPlugins;
use super::spool::spool;
use super::{Fetch, PluginSource, SourceError, Taken, Wanted};
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::Archive;
use crate::bundle::tar::TarError;
use crate::bundle::{FoundMember, FoundMembers, MemberError, Members, Origin, read_members};
use crate::disk::Directory;

/// How much is read at a time.
const BUFFER: usize = 256 * 1024;

/// An archive, or one per platform.
pub(super) struct ArchiveSource<'a> {
    pub(super) name: &'a SourceName,
    pub(super) folder: &'a Path,
    pub(super) archive: &'a Archive,
    pub(super) fetch: &'a Fetch,
}

impl PluginSource for ArchiveSource<'_> {
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut archives: BTreeMap<String, Vec<&Wanted>> = BTreeMap::new();
        for wanted in wanted {
            let location = self.archive.asset.location(&wanted.platform, &wanted.name);
            archives.entry(location).or_default().push(wanted);
        }
        for (location, wanted) in &archives {
            let files = self.take_from(location, wanted).map_err(|problem| {
                let location = shown(location, self.folder);
                let (asked, problem) = (RequestedPlugins::of(self.name, wanted), Box::new(problem));
                SourceError::Asset { asked, location, problem }
            })?;
            for (wanted, file) in wanted.iter().zip(files) {
                give(wanted, file)?;
            }
        }
        Ok(())
    }
}

impl ArchiveSource<'_> {
    /// The files of these plugins, in this order.
    fn take_from(&self, location: &str, wanted: &[&Wanted]) -> Result<Vec<Taken>, AssetError> {
        let (asset, folder) = (&self.archive.asset, self.folder);
        let open = self.fetch.open(&WantedAsset { asset, folder, location, wanted })?;
        let members =
            Members::new(wanted.iter().map(|Wanted { platform, name }| {
                (name.clone(), self.archive.member(platform, name))
            }));
        let temporary = &self.fetch.client.settings().temporary;
        let temporary = Directory::open(temporary).map_err(AssetError::Temporary)?;
        let mut spooled: Vec<Option<Taken>> = wanted.iter().map(|_| None).collect();
        let FoundMembers { paths, license } =
            unpack(&open, members, |numbers, FoundMember { privileges, content }| {
                let file = temporary.create_unnamed().map_err(AssetError::Temporary)?;
                let mut taken =
                    spool(file, content, |error| MemberError::Tar(TarError::Read(error)).into())?;
                taken.artefact = Some(open.artefact);
                taken.privileges = privileges;
                taken.checksum.clone_from(&open.checksum);
                for number in numbers {
                    if let Some(place) = spooled.get_mut(*number) {
                        *place = Some(taken.try_clone().map_err(AssetError::Spool)?);
                    }
                }
                Ok(())
            })?;
        let location = shown(location, folder);
        let named = spooled.into_iter().flatten().zip(paths).map(|(mut taken, path)| {
            taken.origin = Origin { location: location.clone(), member: Some(path) };
            taken.license.clone_from(&license);
            taken
        });
        Ok(named.collect())
    }
}

/// Walks the archive, and finds out whether it still is the one that was hashed.
fn unpack(
    open: &OpenAsset,
    members: Members,
    visit: impl FnMut(&[usize], FoundMember<'_>) -> Result<(), AssetError>,
) -> Result<FoundMembers, AssetError> {
    let mut input = Hashing::of(&open.file);
    let found = read_members(BufReader::with_capacity(BUFFER, &mut input), members, visit)?;
    // What the decoder left, if anything.
    io::copy(&mut input, &mut io::sink()).map_err(AssetError::Read)?;
    match input.finish() == (open.artefact.digest, open.artefact.size) {
        true => Ok(found),
        false => Err(AssetError::Changed),
    }
}

#[cfg(test)]
mod tests;
