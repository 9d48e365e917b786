//! Where a build puts the blobs of an image.

use std::io::{self, Write};

use crate::model::Digest;
use crate::oci::OciError;

/// A place for blobs whose digest is known only when they are written. Several may be written at
/// once.
pub trait BlobStore: Sync {
    /// Calls `write` once and keeps what it writes under its digest; returns the digest and the
    /// size. Where `write` fails, nothing is kept.
    fn store(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(Digest, u64), OciError>;
}
