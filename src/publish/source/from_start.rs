//! Reading an open file from its start, without the position that all users of a handle share.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::model::{Digest, Hasher, Sha512, Sha512Hasher};

/// Reads a file from its start.
#[derive(Debug)]
pub(super) struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> FromStart<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(length as u64);
        Ok(length)
    }
}

/// The digest and size of an open file, of which at most `limit` bytes and one more are read.
pub(super) fn hash(file: &File, limit: u64) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::of(file);
    let mut buffer = vec![0; 256 * 1024];
    while hashing.size() <= limit && hashing.read(&mut buffer)? > 0 {}
    Ok(hashing.finish())
}

/// Reads a file from its start, and hashes what is read.
#[derive(Debug)]
pub(super) struct Hashing<'a> {
    input: FromStart<'a>,
    hasher: Hasher<io::Sink>,
}

impl<'a> Hashing<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { input: FromStart::of(file), hasher: Hasher::new(io::sink()) }
    }

    fn size(&self) -> u64 {
        self.input.at
    }

    /// The digest and size of what was read.
    pub(super) fn finish(self) -> (Digest, u64) {
        let (digest, size, _) = self.hasher.finish();
        (digest, size)
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        io::Write::write_all(&mut self.hasher, buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

/// The SHA-512 of a whole file.
pub(super) fn sha512(file: &File) -> io::Result<Sha512> {
    let mut hasher = Sha512Hasher::new(io::sink());
    io::copy(&mut FromStart::of(file), &mut hasher)?;
    Ok(hasher.finish().0)
}
