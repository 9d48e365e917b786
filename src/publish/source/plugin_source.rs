//! What every kind of source does.

use super::error::SourceError;
use super::taken::Taken;
use super::wanted::Wanted;

/// A place that plugins come from.
pub trait PluginSource {
    /// Hands over every wanted file once, in any order, or says why one is not to be had. All of a
    /// source are asked for together: an archive is read once, an image fetched once.
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError>;
}
