//! Files that are read in ranges, so that nothing large has to be held in memory.
//!
//! This module opens nothing: a slice can be read, and a caller implements [`ReadAt`] for an open
//! file. The reader of each format decides how long a range may be.

use std::io;

/// A file of a known size that is read in ranges.
pub trait ReadAt {
    /// How many bytes there are; nothing past them is asked for.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on; fails if there are fewer.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        match rest.and_then(|rest| rest.get(..buffer.len())) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}

/// A part of a file that is known to be inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Range {
    /// The largest piece that a long range is read in; a multiple of everything that is looked for
    /// in pieces (16 bytes), so that nothing is cut in two.
    pub(super) const PIECE: usize = 64 * 1024;

    /// The part of a file, if the whole of it is there.
    pub(super) fn of(file: &dyn ReadAt, offset: u64, size: u64) -> Option<Self> {
        (offset.checked_add(size)? <= file.size()).then_some(Self { offset, size })
    }

    /// Its bytes, up to `limit` of them.
    pub(super) fn read(self, file: &dyn ReadAt, limit: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.size).map_or(limit, |size| size.min(limit));
        let mut bytes = vec![0; length];
        if length > 0 {
            file.read_at(self.offset, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// What is left of it after its first `length` bytes.
    pub(super) fn after(self, length: u64) -> Self {
        let length = length.min(self.size);
        Self { offset: self.offset.saturating_add(length), size: self.size - length }
    }

    /// The pieces that make up the range, each with its distance from the start.
    pub(super) fn pieces(self) -> impl Iterator<Item = (u64, Self)> {
        let starts = (0..self.size).step_by(Self::PIECE);
        starts.map(move |start| {
            let rest = self.after(start);
            (start, Self { size: rest.size.min(Self::PIECE as u64), ..rest })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_up_to_its_end() {
        let file = b"abcdef".as_slice();
        let read = |offset, length| {
            let mut buffer = vec![0; length];
            file.read_at(offset, &mut buffer).map(|()| buffer).map_err(|error| error.kind())
        };
        assert_eq!(read(2, 4), Ok(b"cdef".to_vec()));
        assert_eq!(read(6, 0), Ok(Vec::new()));
        for (offset, length) in [(2, 5), (7, 0), (u64::MAX, 1)] {
            assert_eq!(read(offset, length), Err(io::ErrorKind::UnexpectedEof), "{offset}");
        }
        assert_eq!(Range::of(&file, 2, 4), Some(Range { offset: 2, size: 4 }));
        for (offset, size) in [(2, 5), (7, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(Range::of(&file, offset, size), None, "{offset}");
        }
    }

    #[test]
    fn the_pieces_of_a_range_are_the_range() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let file = bytes.as_slice();
        for (offset, size) in [(3, 0), (3, 1), (3, 65_536), (3, 65_537), (0, 200_000)] {
            let range = Range::of(&file, offset, size).unwrap();
            let mut found = Vec::new();
            for (start, piece) in range.pieces() {
                assert_eq!(start, found.len() as u64);
                assert!(piece.size <= 65_536 && start.is_multiple_of(16));
                found.extend(piece.read(&file, usize::MAX).unwrap());
            }
            assert_eq!(found, range.read(&file, usize::MAX).unwrap());
            assert_eq!(found.len() as u64, size);
        }
    }
}
