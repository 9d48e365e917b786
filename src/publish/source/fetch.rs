//! What sources fetch with: the client, the cache, the digests that are fixed already, and whether
//! checksum files are looked for.

use std::collections::BTreeMap;
use std::fmt;

use super::{Cache, GoSettings, Wanted};
use crate::model::{Digest, Sha512};
use crate::net;

/// What sources fetch with.
pub struct Fetch {
    /// Downloads assets.
    pub client: net::Client,
    /// Keeps what was downloaded, by digest.
    pub cache: Cache,
    /// The digests of the assets that a lock fixes, by what is taken from them, and of what is
    /// compiled. An asset with another digest is an error. What the cache has is neither downloaded
    /// nor compiled.
    pub pins: BTreeMap<Wanted, Digest>,
    /// The digests that references of images named when they were locked: of indexes or manifests.
    pub roots: BTreeMap<Wanted, Digest>,
    /// The SHA-512 of the assets whose evidence in the lock lists that.
    pub sums: BTreeMap<Wanted, Sha512>,
    /// Whether checksum files are looked for.
    pub evidence: Evidence,
    /// Settings for compiling Go modules.
    pub go: GoSettings,
    /// Is told about each download, in a line for people.
    pub announce: Box<dyn Fn(&str) + Send + Sync>,
}

/// Whether checksum files are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// They are, and an asset that one of them contradicts is an error: for a lock.
    Collect,
    /// They are not: what is taken is pinned, or is only looked at.
    Skip,
}

impl Fetch {
    /// Fetches into `cache`, with nothing fixed and no evidence.
    pub fn new(cache: Cache) -> Self {
        let (client, pins) = (net::Client::default(), BTreeMap::new());
        let (roots, sums, evidence) = (BTreeMap::new(), BTreeMap::new(), Evidence::Skip);
        Self {
            client,
            cache,
            pins,
            roots,
            sums,
            evidence,
            go: GoSettings::default(),
            announce: Box::new(|_| ()),
        }
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, cache, pins, roots, sums, evidence, go: _, announce: _ } = self;
        let mut text = f.debug_struct("Fetch");
        text.field("client", client).field("cache", cache);
        text.field("pins", pins)
            .field("roots", roots)
            .field("sums", sums)
            .field("evidence", evidence)
            .finish_non_exhaustive()
    }
}
