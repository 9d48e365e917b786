//! Parses one header block of a tar archive (POSIX.1-2017, pax, "ustar Interchange Format"; GNU
//! tar, "Basic Tar Format").
//!
//! It returns name, kind, size and link target as they are written; the walk decides which are
//! accepted. It refuses headers that readers understand differently: a number with other characters
//! in its field, a size that some readers truncate to 64 bits, and a name prefix that only some
//! readers use.

use crate::model::visible;

/// One block of a tar archive.
pub(super) const BLOCK: usize = 512;
/// The largest number in eleven octal digits and a terminator.
pub(super) const LARGEST_OCTAL: u64 = 0o777_7777_7777;
/// The largest accepted size: readers in other languages use signed numbers.
pub(super) const LARGEST_SIZE: u64 = i64::MAX as u64;

/// The kind of an entry, from the letter in its header (`typeflag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `0`, or the zero byte of tar before POSIX.
    File,
    /// `1`
    HardLink,
    /// `2`
    SymbolicLink,
    /// `3`
    CharacterDevice,
    /// `4`
    BlockDevice,
    /// `5`
    Directory,
    /// `6`
    Fifo,
    /// `7`, a file that is to be stored contiguously.
    Contiguous,
    /// `S`, a GNU sparse file: its content is stored without the holes.
    Sparse,
    /// `L`, GNU tar's long name for the next member.
    LongName,
    /// `K`, GNU tar's long link target for the next member.
    LongLink,
    /// `x`, the pax records of the next member.
    Records,
    /// `g`, pax records for all following members.
    GlobalRecords,
    /// A type flag that no rule accepts.
    Other(u8),
}

impl Kind {
    /// The kinds of what can be in a file system.
    pub const OF_FILES: &[Self] = &[
        Self::File,
        Self::HardLink,
        Self::SymbolicLink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Directory,
        Self::Fifo,
    ];

    fn of(letter: u8) -> Self {
        match letter {
            b'0' | 0 => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::SymbolicLink,
            b'3' => Self::CharacterDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'7' => Self::Contiguous,
            b'S' => Self::Sparse,
            b'L' => Self::LongName,
            b'K' => Self::LongLink,
            b'x' => Self::Records,
            b'g' => Self::GlobalRecords,
            other => Self::Other(other),
        }
    }

    /// Returns the letter for a message; control characters are escaped.
    pub fn letter(self) -> String {
        let letter = match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::SymbolicLink => b'2',
            Self::CharacterDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
            Self::Contiguous => b'7',
            Self::Sparse => b'S',
            Self::LongName => b'L',
            Self::LongLink => b'K',
            Self::Records => b'x',
            Self::GlobalRecords => b'g',
            Self::Other(letter) => letter,
        };
        visible(&char::from(letter).to_string()).into_owned()
    }

    /// Returns its name with an article, for a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::HardLink => "a hard link",
            Self::SymbolicLink => "a symbolic link",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Contiguous => "a contiguous file",
            Self::Sparse => "a sparse file",
            Self::LongName => "a GNU long name",
            Self::LongLink => "a GNU long link target",
            Self::Records => "a pax record",
            Self::GlobalRecords => "a global pax record",
            Self::Other(_) => "an entry of an unknown type",
        }
    }

    /// Whether its size must be 0: some readers skip its content, others take it for the next
    /// header.
    pub(super) fn is_bare(self) -> bool {
        matches!(
            self,
            Self::HardLink
                | Self::SymbolicLink
                | Self::CharacterDevice
                | Self::BlockDevice
                | Self::Directory
                | Self::Fifo
        )
    }

    /// Whether it describes other members.
    pub(super) fn is_extension(self) -> bool {
        matches!(self, Self::LongName | Self::LongLink | Self::Records | Self::GlobalRecords)
    }
}

/// A parsed header block.
pub(super) struct Header {
    /// The name with its prefix.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// `None` if the field is blank, which is valid if a pax record has the size.
    pub(super) size: Option<u64>,
    /// The permission bits (`mode`), 0 if the field is blank.
    pub(super) mode: u32,
    /// The link target; usually empty for other kinds.
    pub(super) link: Vec<u8>,
    /// Whether it is a directory as tar wrote them before POSIX: type 0, and a name that ends with
    /// a slash.
    pub(super) is_old_directory: bool,
}

impl Header {
    /// Parses a block that is not all zeros. The error is a phrase that begins with a verb.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        if !is_header(block) {
            return Err("has a wrong checksum");
        }
        let kind = Kind::of(field::<1>(block, 156)[0]);
        let size = number(field::<12>(block, 124))?;
        let mode = mode(field::<8>(block, 100));
        let format = Format::of(block)?;
        check_numbers(block)?;
        if format == Format::Old && kind.is_extension() {
            return Err("has a type that its format does not have");
        }
        let name = text(field::<100>(block, 0));
        let prefix = match format {
            Format::Posix => text(field::<155>(block, 345)),
            Format::Gnu | Format::Old => &[],
        };
        let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
        let is_old_directory = field::<1>(block, 156) == &[0] && path.ends_with(b"/");
        let link = text(field::<100>(block, 157)).to_vec();
        Ok(Self { path, kind, size, mode, link, is_old_directory })
    }
}

#[derive(PartialEq, Eq)]
enum Format {
    Posix,
    Gnu,
    /// V7, which has no magic number.
    Old,
}

impl Format {
    /// Returns the format of a header. Readers differ in how much of the magic number they compare
    /// before they use the prefix of the name, so a prefix in any other format is refused.
    fn of(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        let format = match field::<8>(block, 257) {
            b"ustar\x0000" => Self::Posix,
            b"ustar  \0" => Self::Gnu,
            _ => Self::Old,
        };
        // The trailer of star's format, in which the prefix is shorter.
        let star = field::<4>(block, 508) == b"tar\0";
        let has_prefix = field::<1>(block, 345) != &[0];
        if has_prefix && (format != Self::Posix || star) {
            return Err("has a name with two readings");
        }
        Ok(format)
    }
}

/// The permission bits, without the type of the file that some writers put above them.
fn mode(field: &[u8; 8]) -> u32 {
    // What is not a number is refused by `check_numbers`, but for GNU's base-256, of which the last
    // bytes are the lowest ones.
    let [.., high, low] = *field;
    let binary = || (u64::from(high) << 8) | u64::from(low);
    let number = match field.first() {
        Some(0x80 | 0xff) => binary(),
        _ => number(field).ok().flatten().unwrap_or_default(),
    };
    u32::try_from(number & 0o7777).unwrap_or_default()
}

/// Checks the numeric fields that are not used: Python's `tarfile` treats a header with an invalid
/// number as the end of the archive.
fn check_numbers(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let (mode, uid, gid, mtime) = (100..108, 108..116, 116..124, 136..148);
    let (major, minor) = (329..337, 337..345);
    for place in [mode, uid, gid, mtime, major, minor] {
        let field = block.get(place).unwrap_or_default();
        // Unlike a size, these may be negative.
        if !matches!(field.first(), Some(0x80 | 0xff)) {
            number(field)?;
        }
    }
    Ok(())
}

/// Whether the checksum of a block is right.
fn is_header(block: &[u8; BLOCK]) -> bool {
    number(field::<8>(block, 148)).ok().flatten() == Some(checksum(block))
}

/// Why a block cannot be the first of an archive; `None` if it can.
pub(super) fn not_tar(block: &[u8; BLOCK]) -> Option<&'static str> {
    match block {
        _ if is_header(block) => None,
        _ => other_format(block).or(Some("it does not start with a tar header")),
    }
}

/// What bytes are that begin like something else, however short they are.
pub(super) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x1f, 0x8b, ..] => "it is compressed with gzip",
        [0x1f, 0x9d, ..] => "it is compressed with compress",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "it is compressed with xz",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => "it is compressed with bzip2",
        [0x04, 0x22, 0x4d, 0x18, ..] => "it is compressed with lz4",
        [0x5d, 0, 0, ..] => "it is compressed with lzma",
        [b'L', b'Z', b'I', b'P', ..] => "it is compressed with lzip",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive",
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => "it is a 7z archive",
        _ => return None,
    })
}

/// The sum of all bytes, with spaces in the checksum field.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(block) - sum(field::<8>(block, 148)) + 8 * u64::from(b' ')
}

/// The field at an offset, which is a constant of the format.
fn field<const LENGTH: usize>(block: &[u8; BLOCK], offset: usize) -> &[u8; LENGTH] {
    let rest = block.get(offset..).and_then(|rest| rest.first_chunk());
    rest.expect("fields are within the block")
}

/// The text of a field, up to the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number in a field, octal or GNU's base-256; `None` if the field is blank.
fn number(field: &[u8]) -> Result<Option<u64>, &'static str> {
    let (first, rest) = field.split_first().unwrap_or((&0, &[]));
    if first & 0x80 != 0 {
        return base_256(*first, rest).map(Some);
    }
    // Readers differ in which signs, other blanks and trailing characters they skip.
    let blanks = field.iter().take_while(|byte| **byte == b' ').count();
    let digits = field.get(blanks..).unwrap_or_default();
    let end = digits.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(digits.len());
    let (digits, end) = digits.split_at_checked(end).unwrap_or_default();
    if !end.iter().all(|byte| matches!(byte, b' ' | 0)) {
        return Err("has a number with invalid characters");
    }
    // At most twelve digits: it fits.
    let value = |digits: &[u8]| digits.iter().fold(0, |sum, byte| sum * 8 + u64::from(byte - b'0'));
    Ok((!digits.is_empty()).then(|| value(digits)))
}

/// A big-endian number in all bits but the first.
fn base_256(first: u8, rest: &[u8]) -> Result<u64, &'static str> {
    let too_large = "has a number that is negative or too large";
    let (high, low) = rest.split_at_checked(rest.len().saturating_sub(8)).unwrap_or_default();
    if first != 0x80 || high.iter().any(|byte| *byte != 0) {
        return Err(too_large);
    }
    let value = low.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    if value <= LARGEST_SIZE { Ok(value) } else { Err(too_large) }
}
