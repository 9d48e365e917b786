//! A document passed to a verb: a file, or standard input for `-`. What it means, and whether it is
//! too long, is up to the verb.

use std::io::{self, Read};
use std::path::Path;

use super::terminal::Failure;
use crate::disk::open_input;
use crate::model::visible;

/// Reads up to one byte past the limit, so that "exactly at the limit" and "truncated by us"
/// differ. Returns its name for messages, and its bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<(String, Vec<u8>), Failure> {
    let mut room = 0;
    let (name, source): (_, io::Result<Box<dyn Read>>) = if path == Path::new("-") {
        ("standard input".to_owned(), Ok(Box::new(io::stdin().lock())))
    } else {
        let source = open_input(path).map(|(file, length)| {
            // Room once, instead of a buffer that is copied each time it doubles.
            room = usize::try_from(length).unwrap_or(limit).min(limit) + 1;
            file
        });
        (format!("`{}`", visible(&path.to_string_lossy())), source)
    };
    let mut bytes = Vec::with_capacity(room);
    let read = source.and_then(|source| source.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::of_reading(&name, &error))?;
    Ok((name, bytes))
}
