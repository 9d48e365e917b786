//! A reader that knows what it should read.

use std::io::{self, Read};

use super::OciError;
use crate::model::{Digest, Hasher};

/// Passes on the bytes of a blob and fails where they are not the ones its descriptor names.
///
/// The failure is an [`OciError`] inside the [`io::Error`]; [`OciError::from_io`] takes it out again.
pub struct VerifyReader<R> {
    inner: R,
    origin: String,
    digest: Digest,
    size: u64,
    read: u64,
    hasher: Option<Hasher<io::Sink>>,
}

impl<R: Read> VerifyReader<R> {
    /// Expects `size` bytes with this digest from `inner`; `origin` names the place in errors.
    pub fn new(inner: R, origin: String, digest: Digest, size: u64) -> Self {
        Self { inner, origin, digest, size, read: 0, hasher: Some(Hasher::new(io::sink())) }
    }

    fn size_error(&self, found: u64) -> io::Error {
        let (origin, digest) = (self.origin.clone(), self.digest);
        io::Error::new(io::ErrorKind::InvalidData, OciError::Size { origin, digest, expected: self.size, found })
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        if self.read > self.size {
            return Err(self.size_error(self.read));
        }
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                io::Write::write_all(hasher, buffer.get(..count).unwrap_or_default())?;
            }
            return Ok(count);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.read < self.size {
            return Err(self.size_error(self.read));
        }
        // The end, and the end only once: reading on after it stays at the end.
        if let Some(hasher) = self.hasher.take() {
            let (found, _, _) = hasher.finish();
            if found != self.digest {
                let (origin, expected) = (self.origin.clone(), self.digest);
                return Err(io::Error::new(io::ErrorKind::InvalidData, OciError::Digest { origin, expected, found }));
            }
        }
        Ok(0)
    }
}

impl OciError {
    /// Takes the error of a [`VerifyReader`] out of an [`io::Error`]; any other becomes [`OciError::Io`].
    pub fn from_io(error: io::Error, origin: &str, action: &str) -> Self {
        error.downcast::<Self>().unwrap_or_else(|source| Self::Io {
            origin: origin.to_owned(),
            action: action.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], digest: Digest, size: u64) -> Result<Vec<u8>, String> {
        let mut read = Vec::new();
        VerifyReader::new(bytes, "here".to_owned(), digest, size)
            .read_to_end(&mut read)
            .map(|_| read)
            .map_err(|error| OciError::from_io(error, "here", "read").to_string())
    }

    #[test]
    fn gives_the_bytes_of_its_digest_and_no_others() {
        let digest = Digest::of(b"abc");
        assert_eq!(read(b"abc", digest, 3), Ok(b"abc".to_vec()));
        assert_eq!(read(b"", Digest::of(b""), 0), Ok(Vec::new()));
        let size = |found| format!("blob {digest} in here is {found} bytes, its descriptor says 3");
        assert_eq!(read(b"ab", digest, 3), Err(size(2)));
        assert_eq!(read(b"abcd", digest, 3), Err(size(4)));
        let altered = format!("blob {digest} in here is altered: its content has digest {}", Digest::of(b"abd"));
        assert_eq!(read(b"abd", digest, 3), Err(altered));
    }
}
