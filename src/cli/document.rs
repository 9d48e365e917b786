//! A document passed to a verb: a file, or standard input for `-`. What it means, and whether it is
//! too long, is up to the verb.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::terminal::Failure;
use crate::model::visible;

/// Reads up to one byte past the limit, so that "exactly at the limit" and "truncated by us"
/// differ. Returns its name for messages, and its bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<(String, Vec<u8>), Failure> {
    let mut room = 0;
    let (name, source): (_, io::Result<Box<dyn Read>>) = if path == Path::new("-") {
        ("standard input".to_owned(), Ok(Box::new(io::stdin().lock())))
    } else {
        let file = File::open(path);
        // Room once, instead of a buffer that is copied each time it doubles.
        let length = file.as_ref().ok().and_then(|file| Some(file.metadata().ok()?.len()));
        room = usize::try_from(length.unwrap_or_default()).unwrap_or(limit).min(limit) + 1;
        let file = file.map(|file| Box::new(file) as Box<dyn Read>);
        (format!("`{}`", visible(&path.to_string_lossy())), file)
    };
    let mut bytes = Vec::with_capacity(room);
    let read = source.and_then(|source| source.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::could_not(format!("cannot read {name}: {error}")))?;
    Ok((name, bytes))
}
