//! Who owns a file, according to receipt and journal.
//!
//! Pure. `decide` decides what follows from it.

use crate::model::{Digest, HostPath, PluginName};
use crate::node::host::Observed;
use crate::node::state::Owner;

/// Who owns a file of the receipt that is this program's, where its content is not known.
pub(super) fn recorded_as_ours(
    observed: &Observed,
    directory: &HostPath,
    name: &PluginName,
) -> Option<Owner> {
    known_owner(observed, directory, name, None).filter(Owner::is_ours)
}

/// Who owns a file, according to receipt and journal. A file that only the journal lists is ours if
/// it has the content that the journal names.
pub(super) fn known_owner(
    observed: &Observed,
    directory: &HostPath,
    name: &PluginName,
    digest: Option<Digest>,
) -> Option<Owner> {
    let journaled = observed
        .journal
        .iter()
        .flat_map(|journal| journal.entries_of(directory))
        .find(|entry| entry.name == *name && digest.is_some_and(|digest| digest == entry.digest))
        .map(|entry| Owner::of(entry.original.clone()));
    let recorded = observed.receipt.as_ref().and_then(|receipt| receipt.file(directory, name));
    journaled.or_else(|| recorded.map(|file| file.owner.clone()))
}

/// Who owns a name if no content says so: this program, if receipt or journal list the name as its
/// own.
pub(super) fn owner_by_name(
    observed: &Observed,
    directory: &HostPath,
    name: &PluginName,
) -> Option<Owner> {
    let recorded = observed.receipt.as_ref().and_then(|receipt| receipt.file(directory, name));
    if let Some(file) = recorded {
        return Some(file.owner.clone()).filter(Owner::is_ours);
    }
    let mut entries = observed.journal.iter().flat_map(|journal| journal.entries_of(directory));
    entries.find(|entry| entry.name == *name).map(|entry| Owner::of(entry.original.clone()))
}
