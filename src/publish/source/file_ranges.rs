//! An open file, for the readers of formats: they read ranges of it, wherever its position is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::binary::ReadAt;

/// A file that does not change, and its size.
#[derive(Debug, Clone, Copy)]
pub(in crate::publish) struct FileRanges<'a> {
    pub(in crate::publish) file: &'a File,
    pub(in crate::publish) size: u64,
}

impl ReadAt for FileRanges<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
