//! What a registry has revealed during a push, so that it is not asked twice.

use std::collections::BTreeSet;

use crate::model::Digest;

/// What a registry has revealed during a push.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Blobs that it did not have when asked.
    pub(super) absent: BTreeSet<Digest>,
    /// Whether it lists referrers itself.
    pub(super) lists_referrers: Option<bool>,
}
