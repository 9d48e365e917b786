//! Reads a blob and verifies it against its descriptor: the only place that does so.
//!
//! The last bytes are returned only after size and digest were verified, so a caller that reads
//! exactly the expected number of bytes, and never reaches the end of the stream, is safe as well.

use std::io::{self, Read, Write};

use super::OciError;
use crate::model::{Digest, Hasher};
use crate::net::HttpError;

/// Verifies size and digest of what it reads. Errors are [`OciError`] inside [`io::Error`];
/// [`OciError::from_io`] extracts them.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    origin: String,
    expected: Digest,
    size: u64,
    seen: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading(Hasher<io::Sink>),
    Right,
    Wrong(Mismatch),
}

/// What is wrong with the content.
#[derive(Debug, Clone, Copy)]
enum Mismatch {
    /// Its size; one more than expected if reading stopped there.
    Size(u64),
    Digest(Digest),
}

impl<R: Read> VerifyReader<R> {
    /// Expects `size` bytes with digest `expected` from `inner`; `origin` names the place in
    /// errors.
    pub fn new(inner: R, origin: impl Into<String>, expected: Digest, size: u64) -> Self {
        let state = State::Reading(Hasher::new(io::sink()));
        Self { inner, origin: origin.into(), expected, size, seen: 0, state }
    }

    fn action(&self) -> String {
        format!("read blob {}", self.expected)
    }

    /// Reads from the place; errors name the blob and the place.
    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            // Not an error: the caller tries again.
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, OciError::from_io(error, &self.origin, &self.action())),
        })
    }

    /// Returns whether nothing follows the last expected byte.
    fn is_at_end(&mut self) -> io::Result<bool> {
        loop {
            match self.pull(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|count| count == 0),
            }
        }
    }

    /// Decides, once the expected number of bytes was read.
    fn conclude(&mut self) -> io::Result<()> {
        if !self.is_at_end()? {
            return self.refuse(Mismatch::Size(self.size.saturating_add(1)));
        }
        if let State::Reading(hasher) = std::mem::replace(&mut self.state, State::Right) {
            let (found, _, _) = hasher.finish();
            if found != self.expected {
                return self.refuse(Mismatch::Digest(found));
            }
        }
        Ok(())
    }

    fn refuse<T>(&mut self, mismatch: Mismatch) -> io::Result<T> {
        self.state = State::Wrong(mismatch);
        let (origin, expected) = (self.origin.clone(), self.expected);
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            match mismatch {
                Mismatch::Size(found) => {
                    OciError::Size { origin, digest: expected, expected: self.size, found }
                }
                Mismatch::Digest(found) => OciError::Digest { origin, expected, found },
            },
        ))
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.state {
            State::Right => return Ok(0),
            // A caller that ignores an error gets it again, not an end that looks like success.
            State::Wrong(mismatch) => return self.refuse(*mismatch),
            State::Reading(_) if buffer.is_empty() => return Ok(0),
            State::Reading(_) => {}
        }
        let missing = self.size - self.seen;
        let room =
            usize::try_from(missing).map_or(buffer.len(), |missing| missing.min(buffer.len()));
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let count = if missing == 0 { 0 } else { self.pull(buffer)? };
        if count == 0 && missing > 0 {
            return self.refuse(Mismatch::Size(self.seen));
        }
        if let State::Reading(hasher) = &mut self.state {
            hasher.write_all(buffer.get(..count).unwrap_or_default())?;
        }
        self.seen += count as u64;
        if self.seen == self.size {
            self.conclude()?;
        }
        Ok(count)
    }
}

impl OciError {
    /// Returns the error of reading a blob: the one that a [`VerifyReader`] or the HTTP client put
    /// into `error`, or else a failure of `action` at `origin`.
    pub fn from_io(error: io::Error, origin: &str, action: &str) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(inner) => return inner,
            Err(error) => error,
        };
        match error.downcast::<HttpError>() {
            Ok(source) => Self::Http { source },
            Err(source) => {
                Self::Io { origin: origin.to_owned(), action: action.to_owned(), source }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"the content of a blob";

    /// Returns its content in pieces of one size, with an interruption before each and an error
    /// after the last.
    struct Pieces<'a> {
        content: &'a [u8],
        piece: usize,
        interrupted: bool,
        end: Option<io::ErrorKind>,
    }

    impl<'a> Pieces<'a> {
        fn new(content: &'a [u8], piece: usize) -> Self {
            Self { content, piece, interrupted: false, end: None }
        }
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if let (true, Some(kind)) = (self.content.is_empty(), self.end) {
                return Err(kind.into());
            }
            let piece = self.piece.min(self.content.len());
            (&self.content[..piece])
                .read(buffer)
                .inspect(|count| self.content = &self.content[*count..])
        }
    }

    fn read_all(mut reader: impl Read) -> Result<Vec<u8>, OciError> {
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(OciError::from_io(error, "nowhere", "do nothing")),
        }
    }

    fn verify<R: Read>(inner: R, expected: &[u8]) -> VerifyReader<R> {
        VerifyReader::new(inner, "a test", Digest::of(expected), expected.len() as u64)
    }

    #[test]
    fn gives_what_its_descriptor_promises() {
        for content in [CONTENT, b""] {
            for piece in [1, 2, 7, 100] {
                let bytes = read_all(verify(Pieces::new(content, piece), content)).unwrap();
                assert_eq!(bytes, content, "{piece}");
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        let digest = Digest::of(CONTENT);
        let altered = b"the content of a blub";
        let cases: [(&[u8], &[u8], String); 7] = [
            (
                altered,
                CONTENT,
                format!(
                    "blob {digest} in a test is altered: its content has digest {}",
                    Digest::of(altered)
                ),
            ),
            (
                &CONTENT[..20],
                CONTENT,
                format!("blob {digest} in a test is 20 bytes, its descriptor says 21"),
            ),
            (b"", CONTENT, format!("blob {digest} in a test is 0 bytes, its descriptor says 21")),
            (
                b"the content of a blob!",
                CONTENT,
                format!("blob {digest} in a test is 22 bytes, its descriptor says 21"),
            ),
            // However long it is, one byte too many is noticed.
            (
                &[b'x'; 10_000],
                CONTENT,
                format!("blob {digest} in a test is 22 bytes, its descriptor says 21"),
            ),
            (
                b"x",
                b"",
                format!("blob {} in a test is 1 bytes, its descriptor says 0", Digest::of(b"")),
            ),
            (
                b"y",
                b"x",
                format!(
                    "blob {} in a test is altered: its content has digest {}",
                    Digest::of(b"x"),
                    Digest::of(b"y")
                ),
            ),
        ];
        for (content, expected, message) in cases {
            for piece in [1, 7, 100_000] {
                let error =
                    read_all(verify(Pieces::new(content, piece), expected)).expect_err(&message);
                assert_eq!(error.to_string(), message, "{piece}");
            }
        }
    }

    #[test]
    fn the_last_bytes_come_only_after_verification() {
        let altered = b"the content of a blub";
        let mut reader = verify(altered.as_slice(), CONTENT);
        let mut exactly = vec![0; CONTENT.len()];
        let error = reader.read_exact(&mut exactly).expect_err("it is altered");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // The same if the caller continues reading.
        assert_eq!(reader.read(&mut exactly).expect_err("still").to_string(), error.to_string());
        let mut reader = verify(CONTENT, CONTENT);
        reader.read_exact(&mut exactly).unwrap();
        assert_eq!(exactly, CONTENT);
        assert_eq!(reader.read(&mut exactly).unwrap(), 0);
    }

    #[test]
    fn an_empty_blob_is_checked_too() {
        let mut reader = VerifyReader::new(io::empty(), "a test", Digest::of(b"x"), 0);
        let error = reader.read(&mut [0; 8]).expect_err("another digest");
        let (expected, found) = (Digest::of(b"x"), Digest::of(b""));
        assert_eq!(
            error.to_string(),
            format!("blob {expected} in a test is altered: its content has digest {found}")
        );
    }

    #[test]
    fn reads_no_more_than_one_byte_too_many() {
        let mut source: &[u8] = &[b'x'; 10_000];
        read_all(verify(&mut source, CONTENT)).expect_err("too long");
        assert_eq!(source.len(), 10_000 - CONTENT.len() - 1);
    }

    #[test]
    fn keeps_the_error_of_the_place() {
        let end = Some(io::ErrorKind::ConnectionReset);
        let error = read_all(verify(Pieces { end, ..Pieces::new(&CONTENT[..3], 2) }, CONTENT))
            .expect_err("reset");
        assert!(
            matches!(&error, OciError::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionReset),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!("cannot read blob {} in a test", Digest::of(CONTENT))
        );
        // Nested readers give one error.
        let twice = read_all(verify(verify(b"x".as_slice(), b"y"), b"y")).expect_err("altered");
        assert!(matches!(twice, OciError::Digest { .. }), "{twice:?}");
        let url = || HttpError::Url("x".to_owned());
        let error = OciError::from_io(io::Error::other(url()), "a test", "read");
        assert_eq!(error.to_string(), url().to_string());
        assert!(matches!(error, OciError::Http { .. }), "{error:?}");
    }
}
