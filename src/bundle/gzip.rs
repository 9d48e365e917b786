//! The gzip stream of a layer (RFC 1952), around zlib-rs itself.
//!
//! flate2 is not used: the encoder behind it depends on the features that all crates of a build
//! enable together. The same source produced different bytes when a dependency of the tests enabled
//! the C library.

use std::io::{self, Write};

use zlib_rs::{Deflate, DeflateFlush, Status, crc32::crc32};

/// As zlib calls it: the usual balance. Level 9 saves 2 % and takes three times as long.
pub(super) const LEVEL: i32 = 6;

/// Magic, method 8 (deflate), no flags, no time, no hint of the level, and 255 for the operating
/// system: the builder's does not belong in the layer.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses what is written to it. The bytes depend on how the input is cut into writes.
pub(super) struct Encoder<W> {
    deflate: Deflate,
    buffer: Vec<u8>,
    crc: u32,
    output: W,
}

impl<W: Write> Encoder<W> {
    /// Starts a stream.
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&HEADER)?;
        Ok(Self {
            deflate: Deflate::new(LEVEL, false, 15),
            buffer: vec![0; 64 * 1024],
            crc: 0,
            output,
        })
    }

    /// Ends the stream and returns the writer behind.
    pub(super) fn finish(mut self) -> io::Result<W> {
        while self.step(&[], DeflateFlush::Finish)?.1 != Status::StreamEnd {}
        // The size modulo 2^32, as the format has it.
        let size = self.deflate.total_in() & u64::from(u32::MAX);
        self.output.write_all(&self.crc.to_le_bytes())?;
        self.output.write_all(size.to_le_bytes().get(..4).unwrap_or_default())?;
        Ok(self.output)
    }

    /// Compresses some of `input`: how much of it, and how that went.
    fn step(&mut self, input: &[u8], flush: DeflateFlush) -> io::Result<(usize, Status)> {
        let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self
            .deflate
            .compress(input, &mut self.buffer, flush)
            .map_err(|e| io::Error::other(e.as_str()))?;
        let length =
            |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let written = length(before_out, self.deflate.total_out());
        self.output.write_all(self.buffer.get(..written).unwrap_or_default())?;
        Ok((length(before_in, self.deflate.total_in()), status))
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (taken, _) = self.step(bytes, DeflateFlush::NoFlush)?;
        self.crc = crc32(self.crc, bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Does nothing: a flush in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
