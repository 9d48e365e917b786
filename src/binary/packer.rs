//! Programs that unpack themselves when they are started.
//!
//! The headers of such a file describe the unpacker: the program inside, its build information and
//! its linkage cannot be read. Only UPX is recognized; a modified UPX is not.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::read_at::Range;
use super::{Elf, ReadAt};

/// A packer of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Packer {
    /// UPX (upx.github.io).
    Upx,
}

/// The mark that UPX writes before and after the packed program (`UPX_MAGIC_LE32` in UPX's
/// `conf.h`).
const MAGIC: &[u8] = b"UPX!";
/// How many bytes at either end of a file are searched: the first mark follows the segments, of
/// which a packed program has three, and the last one is 36 bytes before the end.
const SEARCHED: u64 = 4096;

impl Packer {
    /// The packer that made a program, if it is a known one.
    pub fn of<F: ReadAt>(elf: &Elf<F>) -> io::Result<Option<Self>> {
        for section in ["UPX0", "UPX1", "UPX2"] {
            if elf.section(section)?.is_some() {
                return Ok(Some(Self::Upx));
            }
        }
        let file: &dyn ReadAt = elf.file();
        let whole = Range { offset: 0, size: file.size() };
        let limit = usize::try_from(SEARCHED).unwrap_or_default();
        for part in [whole, whole.after(whole.size.saturating_sub(SEARCHED))] {
            let bytes = part.read(file, limit)?;
            if bytes.windows(MAGIC.len()).any(|window| window == MAGIC) {
                return Ok(Some(Self::Upx));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upx => "UPX",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::Sample;

    fn of(bytes: &[u8]) -> Option<Packer> {
        Packer::of(&Elf::parse(bytes).unwrap()).unwrap()
    }

    #[test]
    fn knows_upx_by_its_marks() {
        let plain = Sample::default().bytes();
        assert_eq!(of(&plain), None);
        let marked = Sample { code: b"\x90\x90UPX!".to_vec(), ..Sample::default() };
        assert_eq!(of(&marked.bytes()), Some(Packer::Upx));
        for (after, expected) in [(36, Some(Packer::Upx)), (5000, None)] {
            let mut bytes = [plain.clone(), vec![b'.'; 10_000], MAGIC.to_vec()].concat();
            bytes.resize(bytes.len() + after, b'.');
            assert_eq!(of(&bytes), expected, "{after}");
        }
    }

    #[test]
    fn knows_upx_by_its_sections() {
        let mut bytes = Sample { go: Some(vec![0; 16]), ..Sample::default() }.bytes();
        let names = bytes.windows(14).position(|window| window == b".go.buildinfo\0").unwrap();
        bytes[names..names + 5].copy_from_slice(b"UPX0\0");
        assert_eq!(of(&bytes), Some(Packer::Upx));
    }
}
