//! Copies a plugin from an asset to an unnamed file, and hashes it on the way.

use std::fs::File;
use std::io::{self, Read, Write};

use super::Taken;
use super::asset_error::AssetError;
use crate::bundle::Origin;
use crate::model::{Hasher, Sha512Hasher};

/// How much is read at a time.
const BUFFER: usize = 256 * 1024;

/// Copies a file of an asset to an empty file. Its origin and privileges are for the caller to fill
/// in.
pub(super) fn spool(
    file: File,
    content: &mut dyn Read,
    unreadable: impl FnOnce(io::Error) -> AssetError,
) -> Result<Taken, AssetError> {
    let mut hasher = Hasher::new(Sha512Hasher::new(file));
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let read = buffer.get(..length).unwrap_or_default();
        hasher.write_all(read).map_err(AssetError::Spool)?;
    }
    let (digest, size, inner) = hasher.finish();
    let (sha512, file) = inner.finish();
    Ok(Taken { sha512: Some(sha512), ..Taken::hashed(file, Origin::file(""), digest, size) })
}
