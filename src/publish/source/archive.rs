//! Plugins from tar archives, such as the ones that projects release.
//!
//! An archive is read once, whatever is taken from it, and several archives at once. Members go to
//! files without a name and are hashed on the way; they are handed over when the archive was read
//! to its end, and was the one that was hashed before. Then they are kept in the cache, so that a
//! build from the same bytes unpacks nothing. Which members are accepted is decided in
//! [`crate::bundle::read_members`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::asset::{OpenAsset, WantedAsset, shown};
use super::asset_error::AssetError;
use super::from_start::Hashing;
use super::requested::RequestedPlugins;
use super::spool::spool;
use super::{Evidence, Fetch, PluginSource, SourceError, Taken, Wanted};
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::Archive;
use crate::bundle::tar::TarError;
use crate::bundle::{
    FoundLicense, FoundMember, FoundMembers, MemberError, Members, Origin, Privilege, read_members,
};
use crate::disk::Directory;
use crate::model::{Digest, PluginName};
use crate::publish::parallel;

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
        let failed = |location: &str, wanted: &[&Wanted], problem| {
            let location = shown(location, self.folder);
            let (asked, problem) = (RequestedPlugins::of(self.name, wanted), Box::new(problem));
            SourceError::Asset { asked, location, problem }
        };
        // Downloads come one after the other.
        let mut opened = Vec::new();
        for (location, wanted) in &archives {
            let (asset, folder) = (&self.archive.asset, self.folder);
            let open = self.fetch.open(&WantedAsset { asset, folder, location, wanted });
            opened.push((location, wanted, open.map_err(|error| failed(location, wanted, error))?));
        }
        let taken = parallel::each(opened, |(location, wanted, open)| {
            let files = self.take_from(&open, location, wanted);
            Ok((wanted, files.map_err(|error| failed(location, wanted, error))?))
        })?;
        for (wanted, files) in taken {
            for (wanted, file) in wanted.iter().zip(files) {
                give(wanted, file)?;
            }
        }
        Ok(())
    }
}

/// The note about the members that were taken from an archive.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KnownMembers {
    members: Vec<KnownMember>,
    license: Option<FoundLicense>,
}

/// One of them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KnownMember {
    path: String,
    digest: Digest,
    privileges: BTreeSet<Privilege>,
}

/// The topic of the notes.
const TOPIC: &str = "members";

impl ArchiveSource<'_> {
    /// The files of these plugins, in this order.
    fn take_from(
        &self,
        open: &OpenAsset,
        location: &str,
        wanted: &[&Wanted],
    ) -> Result<Vec<Taken>, AssetError> {
        let members = wanted
            .iter()
            .map(|Wanted { platform, name }| (name.clone(), self.archive.member(platform, name)));
        let members: Vec<_> = members.collect();
        // Which members of these bytes are meant does not change, and they were unpacked before.
        let subject = (open.artefact.digest, &members);
        let mut files = match self.find(&subject, wanted.len()) {
            Some(files) => files,
            None => {
                let files = self.unpack(open, &members)?;
                self.keep(&subject, &files);
                files
            }
        };
        for file in &mut files {
            file.origin.location = shown(location, self.folder);
            file.artefact = Some(open.artefact);
            file.checksum.clone_from(&open.checksum);
            file.signed.clone_from(&open.signed);
        }
        Ok(files)
    }

    /// The files that were unpacked before, each hashed just now. A lock unpacks them again.
    fn find(&self, subject: &impl Serialize, count: usize) -> Option<Vec<Taken>> {
        if self.fetch.evidence == Evidence::Collect {
            return None;
        }
        let known: KnownMembers = self.fetch.cache.note(TOPIC, subject)?;
        let license = known.license;
        let files = known.members.into_iter().map(|KnownMember { path, digest, privileges }| {
            let file = self.fetch.cache.find(digest).ok()??;
            let origin = Origin { location: String::new(), member: Some(path) };
            let taken = Taken::of_digest(file, origin, digest).ok()?;
            Some(Taken { privileges, license: license.clone(), ..taken })
        });
        files.collect::<Option<Vec<_>>>().filter(|files| files.len() == count)
    }

    /// Keeps unpacked files in the cache, if that is possible.
    fn keep(&self, subject: &impl Serialize, files: &[Taken]) {
        let cache = &self.fetch.cache;
        let known = files.iter().map(|file| {
            cache.keep(&file.file, file.digest).ok()?;
            let (path, privileges) = (file.origin.member.clone()?, file.privileges.clone());
            Some(KnownMember { path, digest: file.digest, privileges })
        });
        if let Some(members) = known.collect::<Option<Vec<_>>>() {
            let license = files.first().and_then(|file| file.license.clone());
            cache.keep_note(TOPIC, subject, &KnownMembers { members, license });
        }
    }

    fn unpack(
        &self,
        open: &OpenAsset,
        members: &[(PluginName, Option<String>)],
    ) -> Result<Vec<Taken>, AssetError> {
        let temporary = &self.fetch.client.settings().temporary;
        let temporary = Directory::open(temporary).map_err(AssetError::Temporary)?;
        // In the cache, a file can be kept without being copied.
        let create = || match self.fetch.cache.spool() {
            Ok(file) => Ok(file),
            Err(_) => temporary.create_unnamed().map_err(AssetError::Temporary),
        };
        let mut spooled: Vec<Option<Taken>> = members.iter().map(|_| None).collect();
        let members = Members::new(members.iter().cloned());
        let found = walk(open, members, |numbers, FoundMember { privileges, content }| {
            let mut taken =
                spool(create()?, content, |error| MemberError::Tar(TarError::Read(error)).into())?;
            taken.privileges = privileges;
            for number in numbers {
                if let Some(place) = spooled.get_mut(*number) {
                    *place = Some(taken.try_clone().map_err(AssetError::Spool)?);
                }
            }
            Ok(())
        })?;
        let named = spooled.into_iter().flatten().zip(found.paths).map(|(mut taken, path)| {
            taken.origin.member = Some(path);
            taken.license.clone_from(&found.license);
            taken
        });
        Ok(named.collect())
    }
}

/// Walks the archive, and finds out whether it still is the one that was hashed.
fn walk(
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
