//! Files that must not exist yet. `init` and `keygen` share it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cli::terminal::Failure;
use crate::model::visible;

/// A file to be written.
pub(super) struct NewFile<'a> {
    pub(super) path: &'a Path,
    pub(super) content: &'a str,
    /// Its permissions; the umask of the process takes some away.
    pub(super) mode: u32,
}

/// Writes both files or none. An existing file is not touched.
pub(super) fn write_new(files: [NewFile<'_>; 2]) -> Result<(), Failure> {
    let [first, second] = &files;
    first.write()?;
    second.write().inspect_err(|_| drop(fs::remove_file(first.path)))
}

impl NewFile<'_> {
    fn write(&self) -> Result<(), Failure> {
        let Self { path, content, mode } = *self;
        let create = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
                .inspect_err(|_| drop(fs::remove_file(path)))
        };
        create().map_err(|error| {
            let path = path.to_string_lossy();
            Failure::could_not(format!("cannot write `{}`: {error}", visible(&path)))
        })
    }
}
