//! A file that records how it was read, for tests.

use std::cell::RefCell;
use std::io;

use super::ReadAt;

/// A file of zeros after its first bytes, which remembers how it was read.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    start: &'a [u8],
    size: u64,
    reads: RefCell<Vec<usize>>,
    most_reads: usize,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(start: &'a [u8], size: u64) -> Self {
        Self { start, size, reads: RefCell::default(), most_reads: usize::MAX }
    }

    /// A file that fails after this many reads.
    pub(crate) fn failing_after(start: &'a [u8], most_reads: usize) -> Self {
        Self { most_reads, ..Self::new(start, start.len() as u64) }
    }

    /// The length of the longest read.
    pub(crate) fn longest(&self) -> usize {
        self.reads.borrow().iter().copied().max().unwrap_or_default()
    }

    /// How many bytes were read.
    pub(crate) fn total(&self) -> usize {
        self.reads.borrow().iter().sum()
    }
}

impl ReadAt for &Watched<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(offset + buffer.len() as u64 <= self.size, "past the end");
        if self.reads.borrow().len() == self.most_reads {
            return Err(io::Error::other("unplugged"));
        }
        self.reads.borrow_mut().push(buffer.len());
        for (byte, at) in buffer.iter_mut().zip(offset..) {
            *byte = self.start.get(usize::try_from(at).unwrap()).copied().unwrap_or_default();
        }
        Ok(())
    }
}
