//! A request body that can be sent again: bytes in memory, or an unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::retry;

/// The most that is kept in memory, in bytes. Configurations, signatures and SBOMs are smaller;
/// layers are not.
const IN_MEMORY: u64 = 1024 * 1024;

/// A request body. A request may be sent more than once, so its body can be read again from the
/// start.
#[derive(Debug, Clone)]
pub struct Body(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Bytes(Vec<u8>),
    File { file: Arc<File>, size: u64 },
}

impl Body {
    /// Wraps bytes that are in memory already.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes))
    }

    /// Reads `content` to its end. More than 1 MiB goes to an unnamed file in `directory`, which
    /// vanishes with the body. The caller limits the length of `content`.
    pub fn spool(content: &mut dyn Read, directory: &Path) -> io::Result<Self> {
        let mut start = Vec::new();
        content.take(IN_MEMORY).read_to_end(&mut start)?;
        if (start.len() as u64) < IN_MEMORY {
            return Ok(Self(Kind::Bytes(start)));
        }
        let mut file = nameless(directory)?;
        file.write_all(&start)?;
        let size = start.len() as u64 + io::copy(content, &mut file)?;
        Ok(Self(Kind::File { file: Arc::new(file), size }))
    }

    /// Returns its length in bytes.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::File { size, .. } => *size,
        }
    }

    /// Returns a reader from the start of the body, for one request.
    pub(super) fn to_request(&self) -> reqwest::blocking::Body {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.clone().into(),
            Kind::File { file, size } => reqwest::blocking::Body::sized(
                FromStart { file: Arc::clone(file), offset: 0 },
                *size,
            ),
        }
    }
}

/// Opens an unnamed file, so that nothing is left behind whatever happens.
fn nameless(directory: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(file) => Ok(file.into()),
        // overlayfs before Linux 6.2 and some network file systems have no O_TMPFILE.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => unlinked(directory),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file and removes its name.
fn unlinked(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".cnister-{:016x}", retry::random()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Reads a file from its start without moving the offset, which its other readers share.
struct FromStart {
    file: Arc<File>,
    offset: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(body: &Body) -> Vec<u8> {
        match &body.0 {
            Kind::Bytes(bytes) => bytes.clone(),
            Kind::File { file, .. } => {
                let mut bytes = Vec::new();
                FromStart { file: Arc::clone(file), offset: 0 }.read_to_end(&mut bytes).unwrap();
                bytes
            }
        }
    }

    #[test]
    fn keeps_little_in_memory_and_leaves_no_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let limit = usize::try_from(IN_MEMORY).unwrap();
        for (size, in_memory) in
            [(0, true), (limit - 1, true), (limit, false), (limit + 1, false), (3 * limit, false)]
        {
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            let body = Body::spool(&mut bytes.as_slice(), directory.path()).unwrap();
            assert_eq!(matches!(body.0, Kind::Bytes(_)), in_memory, "{size}");
            assert_eq!(body.size(), size as u64);
            // Twice: each request reads from the start.
            assert!(content(&body) == bytes && content(&body) == bytes, "{size}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{size}");
        }
    }

    #[test]
    fn removes_the_name_if_a_file_needs_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = unlinked(directory.path()).unwrap();
        file.write_all(b"abc").unwrap();
        let body = Body(Kind::File { file: Arc::new(file), size: 3 });
        assert_eq!(content(&body), b"abc");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn passes_on_why_the_content_cannot_be_read() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is on fire"))
            }
        }
        let error = Body::spool(&mut Broken, Path::new("/")).expect_err("a broken reader");
        assert_eq!(error.to_string(), "the disk is on fire");
    }
}
