//! Plugins that are published as they are, without an archive around them.

use std::path::Path;

use super::asset::{WantedAsset, shown};
use super::requested::RequestedPlugins;
use super::{Fetch, PluginSource, SourceError, Taken, Wanted};
use crate::bundle::Origin;
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::BareFile;

/// A bare asset for each platform and plugin.
pub(super) struct FileSource<'a> {
    pub(super) name: &'a SourceName,
    pub(super) folder: &'a Path,
    pub(super) file: &'a BareFile,
    pub(super) fetch: &'a Fetch,
}

impl FileSource<'_> {
    fn open(&self, wanted: &Wanted) -> Result<Taken, SourceError> {
        let (asset, folder) = (&self.file.asset, self.folder);
        let location = asset.location(&wanted.platform, &wanted.name);
        let place = shown(&location, folder);
        let asked = WantedAsset { asset, folder, location: &location, wanted: &[wanted] };
        let open = self.fetch.open(&asked).map_err(|problem| SourceError::Asset {
            asked: RequestedPlugins::of(self.name, &[wanted]),
            location: place.clone(),
            problem: Box::new(problem),
        })?;
        let mut taken = Taken::of_digest(open.file, Origin::file(place), open.artefact.digest)?;
        taken.artefact = Some(open.artefact);
        taken.checksum = open.checksum;
        taken.signed = open.signed;
        Ok(taken)
    }
}

impl PluginSource for FileSource<'_> {
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        wanted.iter().try_for_each(|wanted| give(wanted, self.open(wanted)?))
    }
}
