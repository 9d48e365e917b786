//! Decoding in a second thread, a few blocks ahead of the writer of what was decoded.

use std::io::{self, Read, Write};
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// How much is decoded at once, in bytes.
const BLOCK: usize = 128 * 1024;
/// How many blocks there are. They go round, so this is all the memory that it takes.
const BLOCKS: usize = 4;

/// Decoded bytes. Dropping it ends the thread.
pub(in crate::bundle) struct Ahead {
    full: Receiver<io::Result<Block>>,
    empty: Sender<Block>,
    block: Block,
    /// How much of the block was read.
    read: usize,
}

#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    length: usize,
}

impl Ahead {
    /// Starts the thread, which ends at the end of `decoder` or with its first error. All that it
    /// decodes is also written to `tally`, which it returns.
    pub(in crate::bundle) fn start<'scope, 'env, T: Write + Send + 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        decoder: impl Read + Send + 'scope,
        tally: T,
    ) -> io::Result<(Self, ScopedJoinHandle<'scope, T>)> {
        let (fill, full) = channel();
        let (empty, use_again) = channel();
        for _ in 1..BLOCKS {
            // It cannot fail: the other end is here.
            let _ = empty.send(Block::default());
        }
        let decode = move || decode(decoder, tally, &fill, &use_again);
        let thread = Builder::new().name("decode".to_owned()).spawn_scoped(scope, decode)?;
        Ok((Self { full, empty, block: Block::default(), read: 0 }, thread))
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.block.length {
            let Ok(next) = self.full.recv() else { return Ok(0) };
            let used = mem::replace(&mut self.block, next?);
            self.read = 0;
            // It is not taken after the last block.
            let _ = self.empty.send(used);
        }
        let mut rest = self.block.bytes.get(self.read..self.block.length).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

fn decode<T: Write>(
    mut decoder: impl Read,
    mut tally: T,
    full: &Sender<io::Result<Block>>,
    empty: &Receiver<Block>,
) -> T {
    // Either end of this is also the end if there is no reader left.
    while let Ok(mut block) = empty.recv() {
        block.bytes.resize(BLOCK, 0);
        let read = fill(&mut decoder, &mut block, &mut tally);
        let filled = block.length > 0 && full.send(Ok(block)).is_ok();
        if let Err(error) = read {
            let _ = full.send(Err(error));
            break;
        }
        if !filled {
            break;
        }
    }
    tally
}

/// Fills a block, or as much of it as there is.
fn fill(decoder: &mut impl Read, block: &mut Block, tally: &mut impl Write) -> io::Result<()> {
    block.length = 0;
    while let Some(rest) = block.bytes.get_mut(block.length..).filter(|rest| !rest.is_empty()) {
        match decoder.read(rest) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                tally.write_all(rest.get(..count).unwrap_or_default())?;
                block.length += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Hasher};

    type Summary = (Digest, u64);

    /// Everything that comes through, the error at the end if there is one, and the summary.
    fn through(decoder: impl Read + Send) -> (Vec<u8>, Option<String>, Summary) {
        std::thread::scope(|scope| {
            let (mut ahead, tally) = Ahead::start(scope, decoder, Hasher::new(io::sink())).unwrap();
            let mut bytes = Vec::new();
            let error = ahead.read_to_end(&mut bytes).err().map(|error| error.to_string());
            let (digest, size, _) = tally.join().unwrap().finish();
            (bytes, error, (digest, size))
        })
    }

    fn sample(length: usize) -> Vec<u8> {
        (0_u8..251).cycle().take(length).collect()
    }

    /// Fails where it would end, once with an error that means `try again`.
    struct Broken(bool);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            match mem::replace(&mut self.0, true) {
                false => Err(io::ErrorKind::Interrupted.into()),
                true => Err(io::Error::other("broken")),
            }
        }
    }

    #[test]
    fn every_byte_comes_through_and_is_hashed() {
        let lengths = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK * BLOCKS, BLOCK * BLOCKS * 3 + 5];
        for bytes in lengths.map(sample) {
            let (found, error, summary) = through(bytes.as_slice());
            assert!(found == bytes && error.is_none(), "{}: {error:?}", bytes.len());
            assert_eq!(summary, (Digest::of(&bytes), bytes.len() as u64));
        }
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it() {
        for bytes in [0, 7, BLOCK, BLOCK + 7].map(sample) {
            let (found, error, _) = through(bytes.as_slice().chain(Broken(false)));
            assert!(found == bytes, "{}", bytes.len());
            assert_eq!(error.as_deref(), Some("broken"));
        }
    }

    #[test]
    fn a_reader_that_stops_ends_an_endless_decoder() {
        for read in [0, 1, BLOCK * BLOCKS] {
            let (_, size, _) = std::thread::scope(|scope| {
                let (mut ahead, tally) =
                    Ahead::start(scope, io::repeat(0), Hasher::new(io::sink())).unwrap();
                ahead.read_exact(&mut vec![1; read]).unwrap();
                drop(ahead);
                tally.join().unwrap().finish()
            });
            assert!(
                size <= (read + BLOCK * (BLOCKS + 1)) as u64,
                "{size} bytes were decoded for {read}"
            );
        }
    }
}
