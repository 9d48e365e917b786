//! Reads all layers of an image, to find out whether they are still there and unaltered.

use std::io;

use super::{OciError, Source};
use crate::model::Document;

/// Reads every layer of a manifest and compares it with its descriptor; returns the number of bytes
/// read.
///
/// A signature covers digests. Only reading tells whether a registry still has the bytes of those
/// digests.
pub fn read_layers(source: &dyn Source, manifest: &Document) -> Result<u64, OciError> {
    let origin = source.origin();
    let manifest = manifest
        .manifest()
        .map_err(|source| OciError::Document { origin: origin.clone(), source })?;
    let mut read = 0;
    for layer in manifest.layers() {
        let copied = io::copy(&mut source.blob(layer)?, &mut io::sink());
        read += copied.map_err(|error| {
            OciError::from_io(error, &origin, &format!("read blob {}", layer.digest()))
        })?;
    }
    Ok(read)
}
