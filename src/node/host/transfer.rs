//! Copying one signed file: the bytes are hashed while they are written, so that what was verified
//! is what was written, even if the source changes meanwhile.

use std::io::{self, Read, Write};

use crate::bundle::PluginFile;
use crate::model::{Code, Digest, Finding, Hasher, PluginName, visible};
use crate::node::error::NodeError;

/// How much is read at once. Large enough for the hash to dominate, small enough for a container of
/// a few megabytes.
const BUFFER: usize = 256 * 1024;

/// What a file has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Its name, for messages.
    pub(crate) name: &'a PluginName,
    /// The digest of its content.
    pub(crate) digest: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl<'a> From<&'a PluginFile> for Expected<'a> {
    fn from(file: &'a PluginFile) -> Self {
        Self { name: &file.name, digest: file.digest, size: file.size }
    }
}

/// Why a copy is not the file that was signed.
#[derive(Debug)]
pub(crate) enum TransferError {
    /// The source could not be read.
    Read(io::Error),
    /// The target could not be written.
    Write(io::Error),
    /// The source is not the signed file.
    Altered(Finding),
}

impl TransferError {
    /// The same in words, about this file on its way to `target`.
    pub(crate) fn into_error(self, file: Expected<'_>, origin: &str, target: &str) -> NodeError {
        match self {
            Self::Altered(finding) => finding.into(),
            // What the system did not say, a decoder said: about signed bytes.
            Self::Read(source) if source.raw_os_error().is_none() => {
                let message = format!(
                    "`{}` in {origin} cannot be decoded: {}",
                    file.name,
                    visible(&source.to_string())
                );
                Finding::refusal(Code::FileAltered, message).into()
            }
            Self::Read(source) => NodeError::Transfer {
                action: format!("read `{}` from {origin}", file.name),
                source,
            },
            Self::Write(source) => NodeError::Transfer {
                action: format!("write `{}` in `{target}`", file.name),
                source,
            },
        }
    }
}

/// Copies one file from `source` to `target` and compares size and digest with what is expected of
/// it.
///
/// Reading stops one byte past the expected size, so that a source that grows without end is
/// noticed at once.
pub(crate) fn copy_exactly(
    file: Expected<'_>,
    origin: &str,
    source: &mut dyn Read,
    target: &mut dyn Write,
) -> Result<(), TransferError> {
    let mut hasher = Hasher::new(target);
    copy(&mut source.take(file.size.saturating_add(1)), &mut hasher)?;
    let (digest, size, _) = hasher.finish();
    match size {
        found if found > file.size => Err(altered(file, origin, &found_more(file.size))),
        found if found < file.size => Err(altered(file, origin, &format!("{found} bytes"))),
        _ if digest != file.digest => Err(altered(file, origin, &digest.to_string())),
        _ => Ok(()),
    }
}

/// The digest and size of everything `source` has.
pub(crate) fn hash(source: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new(io::sink());
    match copy(source, &mut hasher) {
        Ok(()) => {}
        Err(TransferError::Read(error) | TransferError::Write(error)) => return Err(error),
        Err(TransferError::Altered(finding)) => return Err(io::Error::other(finding.message)),
    }
    let (digest, size, _) = hasher.finish();
    Ok((digest, size))
}

/// Says that a file is not the signed one; what is found is a size or a digest.
pub(crate) fn altered_finding(file: Expected<'_>, origin: &str, found: &str) -> Finding {
    let expected = if found.starts_with("sha256:") {
        file.digest.to_string()
    } else {
        format!("{} bytes", file.size)
    };
    Finding::refusal(
        Code::FileAltered,
        format!("`{}` in {origin} is not the file that was signed", file.name),
    )
    .mismatch(expected, found)
}

fn altered(file: Expected<'_>, origin: &str, found: &str) -> TransferError {
    TransferError::Altered(altered_finding(file, origin, found))
}

fn found_more(size: u64) -> String {
    format!("more than {size} bytes")
}

/// `io::copy` without its shortcuts: they would move bytes past the hash or through calls that
/// tests cannot stop at.
pub(crate) fn copy(source: &mut dyn Read, target: &mut dyn Write) -> Result<(), TransferError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = fill(source, &mut buffer).map_err(TransferError::Read)?;
        target.write_all(buffer.get(..count).unwrap_or(&buffer)).map_err(TransferError::Write)?;
        if count < buffer.len() {
            return Ok(());
        }
    }
}

/// Fills a buffer, or as much of it as there is: few large writes cost the system less than many
/// small ones.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_support::plugin;

    #[test]
    fn copies_the_signed_bytes_and_nothing_else() {
        let file = plugin("bridge", b"bridge");
        let mut target = Vec::new();
        assert!(copy_exactly((&file).into(), "it", &mut &b"bridge"[..], &mut target).is_ok());
        assert_eq!(target, b"bridge");
        let digest = Digest::of(b"fridge");
        for (bytes, found) in [
            (&b"fridge"[..], digest.to_string()),
            (b"bridg", "5 bytes".to_owned()),
            (b"bridge!", "more than 6 bytes".to_owned()),
            (b"", "0 bytes".to_owned()),
        ] {
            let result = copy_exactly((&file).into(), "it", &mut &bytes[..], &mut io::sink());
            let Err(TransferError::Altered(finding)) = result else {
                panic!("{found}: {result:?}")
            };
            assert_eq!((finding.code, finding.found), (Code::FileAltered, Some(found)));
        }
    }

    #[test]
    fn a_source_without_end_is_left_after_one_byte_too_many() {
        let file = plugin("bridge", b"abc");
        let mut target = Vec::new();
        let result = copy_exactly((&file).into(), "it", &mut io::repeat(0), &mut target);
        assert!(matches!(result, Err(TransferError::Altered(_))), "{result:?}");
        assert_eq!(target.len(), 4);
    }

    #[test]
    fn hashes_everything_there_is() {
        assert_eq!(hash(&mut &b"abc"[..]).unwrap(), (Digest::of(b"abc"), 3));
    }
}
