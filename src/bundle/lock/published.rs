//! The part of a lock entry that is published in `bundle.json`.

use super::LockedPlugin;
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::published;
use crate::bundle::{Facts, PluginOrigin};
use crate::model::visible;

impl LockedPlugin {
    /// The facts of a plugin from this source, which a lock does not name. Nothing in them is of
    /// the machine that builds the bundle: a directory is named by its source alone.
    pub fn published(&self, source: Option<&SourceName>) -> Facts {
        let request = &self.request;
        let is_published = request.is_fetched();
        let shown = |text: &String| visible(text).into_owned();
        let location = visible(published(&request.location)).into_owned();
        let origin = PluginOrigin {
            kind: request.kind.clone(),
            source: source.map(ToString::to_string),
            location: is_published.then_some(location),
            member: self.member.as_ref().map(shown),
            version: request.version.as_ref().filter(|_| is_published).map(shown),
            level: self.level.to_string(),
        };
        Facts {
            origin: Some(origin),
            cni_versions: self.cni_versions.iter().flat_map(|it| it.supported.clone()).collect(),
            vcs: self.facts.revision(),
            license: self.licence().map(|licence| visible(licence).into_owned()),
        }
    }
}
