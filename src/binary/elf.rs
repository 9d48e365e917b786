//! ELF headers: which platform a program runs on, and how it finds its libraries.
//!
//! Only what those two questions need is read (System V gABI, chapters 4 and 5). A file whose
//! segments or sections lie past its end is refused: that is what an interrupted download looks
//! like.

use serde::{Deserialize, Serialize};

use crate::model::{Platform, visible};

/// How a program finds its libraries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Linkage {
    /// It needs no interpreter.
    Static,
    /// It is started by this interpreter, which the node must have.
    Dynamic {
        /// The path in the ELF header's `PT_INTERP`.
        interpreter: String,
    },
}

/// A program for one of the platforms that plugins run on.
#[derive(Debug, Clone)]
pub struct Elf<'a> {
    file: File<'a>,
    platform: Platform,
    linkage: Linkage,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

/// Why bytes are not a program that a node could run. Each text follows "`NAME`" or "it".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Something else.
    #[error("is not an ELF program: it {0}")]
    NotElf(&'static str),
    /// A cut-off file.
    #[error("is cut short: {part} ends at byte {end}, the file has {size}")]
    Truncated {
        /// What lies past the end.
        part: &'static str,
        /// Where it would end.
        end: u64,
        /// The size of the file.
        size: u64,
    },
    /// A header that contradicts itself or the specification.
    #[error("has a malformed ELF header: {0}")]
    Malformed(&'static str),
    /// ELF, but nothing that can be started.
    #[error("is {0}, expected a program")]
    Kind(&'static str),
    /// An architecture that no platform of ours has.
    #[error(
        "is built for ELF machine {machine} ({bits}-bit, {order}-endian), which is none of the supported platforms"
    )]
    Machine {
        /// The header's `e_machine`.
        machine: u16,
        /// 32 or 64.
        bits: u8,
        /// `little` or `big`.
        order: &'static str,
    },
    /// The architecture of another platform.
    #[error("is built for {found}, expected {expected}")]
    Platform {
        /// The platform that was asked for.
        expected: Platform,
        /// The platform of the file.
        found: Platform,
    },
}

/// The bytes, and how numbers are written in them.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    name: u32,
    offset: u64,
    size: u64,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const DT_NEEDED: u64 = 1;
const SHT_NOBITS: u32 = 8;
/// Linux reads at most this much of `PT_INTERP` (`PATH_MAX`).
const LONGEST_INTERPRETER: usize = 4096;

impl<'a> Elf<'a> {
    /// Parses the headers of a program.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let file = File::open(bytes)?;
        match file.header(16, Size::Two)? {
            2 | 3 => {}
            1 => return Err(ElfError::Kind("an object file")),
            4 => return Err(ElfError::Kind("a core dump")),
            _ => return Err(ElfError::Kind("an ELF file of an unknown type")),
        }
        let platform = file.named_platform()?;
        let segments = file.segments()?;
        let sections = file.sections()?;
        let linkage = file.linkage(&segments)?;
        Ok(Self { file, platform, linkage, segments, sections })
    }

    /// How much of a program names its platform.
    pub const HEADER: usize = 64;

    /// The platform that the first [`Elf::HEADER`] bytes of a program name; nothing else of it is
    /// looked at.
    pub fn platform_in(header: &[u8]) -> Result<Platform, ElfError> {
        let file = File::open(header)?;
        file.named_platform()
    }

    /// The platform it runs on.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// How it finds its libraries.
    pub fn linkage(&self) -> &Linkage {
        &self.linkage
    }

    /// Refuses a program of another platform.
    pub fn expect_platform(&self, expected: &Platform) -> Result<(), ElfError> {
        if self.platform == *expected {
            return Ok(());
        }
        Err(ElfError::Platform { expected: expected.clone(), found: self.platform.clone() })
    }

    /// The content of the section of this name, from its first offset that is a multiple of 16.
    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.file.number(self.file.names_index(), Size::Two)?;
        let names = self.sections.get(usize::try_from(names).ok()?)?;
        let names = self.file.range(names.offset, names.size)?;
        let named = |section: &&Section| {
            let text = usize::try_from(section.name).ok().and_then(|start| names.get(start..));
            text.and_then(|text| text.strip_prefix(name.as_bytes()))
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        let section = self.sections.iter().find(named)?;
        self.file.aligned(section.offset, section.size)
    }

    /// The content of the first segment that is loaded writable and not executable, from its first
    /// offset that is a multiple of 16.
    pub(super) fn data(&self) -> Option<&'a [u8]> {
        let data =
            |segment: &&Segment| segment.kind == PT_LOAD && segment.flags & (PF_W | PF_X) == PF_W;
        let segment = self.segments.iter().find(data)?;
        self.file.aligned(segment.offset, segment.size)
    }
}

#[derive(Clone, Copy)]
enum Size {
    Two,
    Four,
    /// Eight bytes in a 64-bit file, four in a 32-bit one.
    Word,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf(looks_like(bytes)));
        }
        let byte = |at: usize| {
            bytes.get(at).copied().ok_or(ElfError::Truncated {
                part: "its header",
                end: 52,
                size: bytes.len() as u64,
            })
        };
        let wide = match byte(4)? {
            1 => false,
            2 => true,
            _ => return Err(ElfError::Malformed("the class is neither 32-bit nor 64-bit")),
        };
        let big = match byte(5)? {
            1 => false,
            2 => true,
            _ => {
                return Err(ElfError::Malformed("the byte order is neither little nor big endian"));
            }
        };
        if byte(6)? != 1 {
            return Err(ElfError::Malformed("the version is not 1"));
        }
        let file = Self { bytes, wide, big };
        file.require("its header", 0, if wide { 64 } else { 52 })?;
        Ok(file)
    }

    fn named_platform(&self) -> Result<Platform, ElfError> {
        let machine = u16::try_from(self.header(18, Size::Two)?).unwrap_or_default();
        self.platform(machine).ok_or(ElfError::Machine {
            machine,
            bits: if self.wide { 64 } else { 32 },
            order: if self.big { "big" } else { "little" },
        })
    }

    /// The platform, where machine, width and byte order agree on one: `e_machine` 21 is big-endian
    /// ppc64 as well.
    fn platform(&self, machine: u16) -> Option<Platform> {
        let platform = Platform::of_elf_machine(machine)?;
        let (wide, big) = (platform.architecture() != "arm", platform.architecture() == "s390x");
        (self.wide == wide && self.big == big).then_some(platform)
    }

    /// Checks that `size` bytes from `offset` are in the file.
    fn require(&self, part: &'static str, offset: u64, size: u64) -> Result<(), ElfError> {
        let end = offset.saturating_add(size);
        let size = self.bytes.len() as u64;
        if end > size { Err(ElfError::Truncated { part, end, size }) } else { Ok(()) }
    }

    fn range(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let end = usize::try_from(offset.checked_add(size)?).ok()?;
        self.bytes.get(usize::try_from(offset).ok()?..end)
    }

    fn aligned(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = offset.checked_next_multiple_of(16)?;
        self.range(start, size.checked_sub(start.checked_sub(offset)?)?)
    }

    fn number(&self, at: u64, size: Size) -> Option<u64> {
        let width = match size {
            Size::Two => 2,
            Size::Four => 4,
            Size::Word if self.wide => 8,
            Size::Word => 4,
        };
        let bytes = self.range(at, width)?;
        let append = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, append)
        } else {
            bytes.iter().rev().fold(0, append)
        })
    }

    /// A number whose place is inside what [`File::require`] has checked.
    fn header(&self, at: u64, size: Size) -> Result<u64, ElfError> {
        self.number(at, size).ok_or(ElfError::Malformed("a field lies outside of the file"))
    }

    fn half(&self, at: u64) -> Result<u32, ElfError> {
        Ok(u32::try_from(self.header(at, Size::Four)?).unwrap_or_default())
    }

    /// Where `e_shstrndx` is.
    fn names_index(&self) -> u64 {
        if self.wide { 62 } else { 50 }
    }

    /// The place of each entry of a table, after checking that the whole table is in the file.
    fn table(
        &self,
        part: &'static str,
        (offset, count): (u64, u64),
        (found, expected): (u64, u64),
    ) -> Result<impl Iterator<Item = u64>, ElfError> {
        if count > 0 && found != expected {
            return Err(ElfError::Malformed("a table has entries of an unexpected size"));
        }
        self.require(part, offset, count.saturating_mul(expected))?;
        Ok((0..count).map(move |index| offset.saturating_add(index.saturating_mul(expected))))
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        let (start, entry_size, count, size) =
            if self.wide { (32, 54, 56, 56) } else { (28, 42, 44, 32) };
        let (start, count) = (self.header(start, Size::Word)?, self.header(count, Size::Two)?);
        if count == 0xffff {
            return Err(ElfError::Malformed("it has more than 65534 segments"));
        }
        let mut segments = Vec::new();
        for at in self.table(
            "its table of segments",
            (start, count),
            (self.header(entry_size, Size::Two)?, size),
        )? {
            let (flags, offset, file_size) = if self.wide { (4, 8, 32) } else { (24, 4, 16) };
            let segment = Segment {
                kind: self.half(at)?,
                flags: self.half(at.saturating_add(flags))?,
                offset: self.header(at.saturating_add(offset), Size::Word)?,
                size: self.header(at.saturating_add(file_size), Size::Word)?,
            };
            self.require("a segment", segment.offset, segment.size)?;
            segments.push(segment);
        }
        Ok(segments)
    }

    fn sections(&self) -> Result<Vec<Section>, ElfError> {
        let (start, entry_size, count, size) =
            if self.wide { (40, 58, 60, 64) } else { (32, 46, 48, 40) };
        let (start, count) = (self.header(start, Size::Word)?, self.header(count, Size::Two)?);
        if start == 0 {
            return Ok(Vec::new());
        }
        if count == 0 {
            return Err(ElfError::Malformed("it has more than 65279 sections"));
        }
        let mut sections = Vec::new();
        for at in self.table(
            "its table of sections",
            (start, count),
            (self.header(entry_size, Size::Two)?, size),
        )? {
            let (offset, file_size) = if self.wide { (24, 32) } else { (16, 20) };
            let section = Section {
                name: self.half(at)?,
                offset: self.header(at.saturating_add(offset), Size::Word)?,
                size: self.header(at.saturating_add(file_size), Size::Word)?,
            };
            // A section without content (`.bss`) may say any size.
            if self.half(at.saturating_add(4))? == SHT_NOBITS {
                sections.push(Section { size: 0, ..section });
                continue;
            }
            self.require("a section", section.offset, section.size)?;
            sections.push(section);
        }
        Ok(sections)
    }

    fn linkage(&self, segments: &[Segment]) -> Result<Linkage, ElfError> {
        if !segments.iter().any(|segment| segment.kind == PT_LOAD) {
            return Err(ElfError::Kind("an ELF file with nothing to load"));
        }
        let content = |kind| {
            let segment = segments.iter().find(move |segment| segment.kind == kind)?;
            self.range(segment.offset, segment.size).map(|content| (segment, content))
        };
        if let Some((_, content)) = content(PT_INTERP) {
            let malformed =
                ElfError::Malformed("the path of its interpreter is not a printable absolute path");
            let path = content.strip_suffix(&[0]).filter(|path| path.len() < LONGEST_INTERPRETER);
            let path = path.and_then(|path| std::str::from_utf8(path).ok());
            let path = path.filter(|path| {
                path.starts_with('/') && visible(path) == *path && !path.contains('\0')
            });
            return path
                .map(|path| Linkage::Dynamic { interpreter: path.to_owned() })
                .ok_or(malformed);
        }
        // Without an interpreter nobody would load what it needs: a shared library, not a static
        // program.
        if let Some((segment, content)) = content(PT_DYNAMIC) {
            let width = if self.wide { 16 } else { 8 };
            let tags = (0..content.len() as u64 / width)
                .map(|index| {
                    self.number(
                        segment.offset.saturating_add(index.saturating_mul(width)),
                        Size::Word,
                    )
                })
                .take_while(|tag| *tag != Some(0));
            if tags.flatten().any(|tag| tag == DT_NEEDED) {
                return Err(ElfError::Kind("a shared library"));
            }
        }
        let entry = self.header(24, Size::Word)?;
        if entry == 0 { Err(ElfError::Kind("a shared library")) } else { Ok(Linkage::Static) }
    }
}

/// What a file that is not ELF most likely is.
fn looks_like(bytes: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 13] = [
        (b"#!", "is a script (it starts with `#!`)"),
        (b"\x1f\x8b", "is gzip-compressed"),
        (b"\x28\xb5\x2f\xfd", "is zstd-compressed"),
        (b"\xfd7zXZ\0", "is xz-compressed"),
        (b"BZh", "is bzip2-compressed"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"!<arch>\n", "is an `ar` archive (a .deb or a static library)"),
        (b"MZ", "is a Windows program"),
        (b"\xcf\xfa\xed\xfe", "is a macOS program"),
        (b"\xca\xfe\xba\xbe", "is a macOS program"),
        (b"version https://git-lfs", "is a git-lfs pointer; fetch the file behind it"),
        (b"<", "starts like HTML; was an error page downloaded?"),
        (b"{", "starts like JSON; was an error answer downloaded?"),
    ];
    if bytes.is_empty() {
        return "is empty";
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "is a tar archive";
    }
    if bytes.iter().take(512).all(|byte| *byte == 0) {
        return "holds nothing but zero bytes";
    }
    known
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
        .map_or("does not start with `\\x7fELF`", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::Sample;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn knows_the_platforms_that_plugins_run_on() {
        let cases = [
            ("linux/amd64", Sample { machine: 62, ..Sample::default() }),
            ("linux/arm64", Sample { machine: 183, ..Sample::default() }),
            ("linux/riscv64", Sample { machine: 243, ..Sample::default() }),
            ("linux/ppc64le", Sample { machine: 21, ..Sample::default() }),
            ("linux/s390x", Sample { machine: 22, big: true, ..Sample::default() }),
            ("linux/arm", Sample { machine: 40, wide: false, ..Sample::default() }),
        ];
        for (expected, sample) in cases {
            let bytes = sample.bytes();
            let elf = Elf::parse(&bytes).expect(expected);
            assert_eq!(elf.platform(), &platform(expected));
            assert_eq!(elf.expect_platform(&platform(expected)), Ok(()));
            assert_eq!(elf.linkage(), &Linkage::Static);
        }
    }

    #[test]
    fn refuses_the_architectures_that_share_a_machine_number() {
        let cases = [
            (
                Sample { machine: 21, big: true, ..Sample::default() },
                "machine 21 (64-bit, big-endian)",
            ),
            (
                Sample { machine: 62, wide: false, ..Sample::default() },
                "machine 62 (32-bit, little-endian)",
            ),
            (
                Sample { machine: 8, big: true, wide: false, ..Sample::default() },
                "machine 8 (32-bit, big-endian)",
            ),
        ];
        for (sample, expected) in cases {
            let error = Elf::parse(&sample.bytes()).expect_err(expected).to_string();
            assert_eq!(
                error,
                format!("is built for ELF {expected}, which is none of the supported platforms")
            );
        }
    }

    #[test]
    fn names_both_platforms_of_a_mismatch() {
        let bytes = Sample { machine: 183, ..Sample::default() }.bytes();
        let error = Elf::parse(&bytes)
            .unwrap()
            .expect_platform(&platform("linux/amd64"))
            .expect_err("arm64");
        assert_eq!(error.to_string(), "is built for linux/arm64, expected linux/amd64");
    }

    #[test]
    fn reads_the_interpreter() {
        let interpreter = "/lib64/ld-linux-x86-64.so.2";
        for (wide, machine) in [(true, 62), (false, 40)] {
            let sample = Sample {
                wide,
                machine,
                interpreter: Some(interpreter.into()),
                kind: 3,
                ..Sample::default()
            };
            let expected = Linkage::Dynamic { interpreter: interpreter.to_owned() };
            assert_eq!(Elf::parse(&sample.bytes()).unwrap().linkage(), &expected);
        }
        for path in [
            "lib/ld.so",
            "/lib/\u{1b}[2J",
            "/lib/\u{202e}",
            "/a\0b",
            &format!("/{}", "a".repeat(4096)),
        ] {
            let sample = Sample { interpreter: Some(path.into()), ..Sample::default() };
            let expected =
                ElfError::Malformed("the path of its interpreter is not a printable absolute path");
            assert_eq!(Elf::parse(&sample.bytes()).expect_err(path), expected);
        }
    }

    #[test]
    fn tells_a_static_program_from_a_library() {
        let position_independent =
            Sample { kind: 3, dynamic: Some(vec![21, 0]), ..Sample::default() };
        assert_eq!(Elf::parse(&position_independent.bytes()).unwrap().linkage(), &Linkage::Static);
        for sample in [
            Sample { kind: 3, dynamic: Some(vec![21, DT_NEEDED, 0]), ..Sample::default() },
            Sample { kind: 3, entry: 0, ..Sample::default() },
        ] {
            assert_eq!(Elf::parse(&sample.bytes()).err(), Some(ElfError::Kind("a shared library")));
        }
        // What follows the end of the dynamic section is not read.
        let after_end = Sample { kind: 3, dynamic: Some(vec![0, DT_NEEDED]), ..Sample::default() };
        assert_eq!(Elf::parse(&after_end.bytes()).unwrap().linkage(), &Linkage::Static);
    }

    #[test]
    fn says_what_a_file_looks_like_that_is_not_a_program() {
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 8] = [
            (b"", "is not an ELF program: it is empty"),
            (b"#!/bin/sh\nexec x\n", "is not an ELF program: it is a script (it starts with `#!`)"),
            (b"\x1f\x8b\x08", "is not an ELF program: it is gzip-compressed"),
            (
                b"<html>",
                "is not an ELF program: it starts like HTML; was an error page downloaded?",
            ),
            (&tar, "is not an ELF program: it is a tar archive"),
            (&[0; 64], "is not an ELF program: it holds nothing but zero bytes"),
            (b"\x7fEL", "is not an ELF program: it does not start with `\\x7fELF`"),
            (
                &Sample { kind: 1, ..Sample::default() }.bytes(),
                "is an object file, expected a program",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Elf::parse(bytes).expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn refuses_a_file_cut_at_any_byte() {
        for sample in [Sample::default(), Sample { wide: false, machine: 40, ..Sample::default() }]
        {
            let sample =
                Sample { interpreter: Some("/ld".into()), go: Some(b"content".to_vec()), ..sample };
            let whole = sample.bytes();
            assert!(Elf::parse(&whole).is_ok());
            for length in 0..whole.len() {
                let error = Elf::parse(&whole[..length]).expect_err("cut");
                let expected = match length {
                    0..4 => matches!(error, ElfError::NotElf(_)),
                    _ => matches!(error, ElfError::Truncated { size, .. } if size == length as u64),
                };
                assert!(expected, "{length}: {error:?}");
            }
        }
    }

    #[test]
    fn survives_random_bytes() {
        // xorshift64: the same bytes on every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        for round in 0..4000_u16 {
            let round = round.to_le_bytes()[0];
            let mut bytes: Vec<u8> = (0..300).map(|_| random()).collect();
            bytes[..7].copy_from_slice(&[
                0x7f,
                b'E',
                b'L',
                b'F',
                1 + (round & 1),
                1 + (round >> 1 & 1),
                1,
            ]);
            // Small numbers, so that some offsets and counts are inside of the file.
            bytes.iter_mut().skip(7).for_each(|byte| *byte &= random());
            if let Ok(elf) = Elf::parse(&bytes) {
                let _ = (elf.section(".go.buildinfo"), elf.data());
            }
        }
    }

    #[test]
    fn survives_every_single_byte_changed() {
        let sample =
            Sample { interpreter: Some("/ld".into()), dynamic: Some(vec![0]), ..Sample::default() };
        for sample in [sample.clone(), Sample { wide: false, machine: 40, ..sample }] {
            let mut bytes = sample.bytes();
            for at in 0..bytes.len() {
                let before = bytes[at];
                for value in [0, 1, 0x7f, 0x80, 0xff, before ^ 1] {
                    bytes[at] = value;
                    if let Ok(elf) = Elf::parse(&bytes) {
                        let _ = (elf.section(".go.buildinfo"), elf.data());
                    }
                }
                bytes[at] = before;
            }
        }
    }
}
