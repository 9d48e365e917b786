//! ELF programs: which platform one runs on, and how it finds its libraries.
//!
//! Only what those two questions need is read (System V gABI, chapters 4 and 5), in ranges whose
//! length is bounded here and not by the file. A file whose segments or sections are past its end
//! is refused: that is what an interrupted download looks like.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::error::{ElfError, ReadElfError};
use super::header::{Encoding, Header, Size, Table};
use super::read_at::{Range, ReadAt};
use crate::model::{Platform, visible};

/// How a program finds its libraries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

impl fmt::Display for Linkage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => f.write_str("static"),
            Self::Dynamic { interpreter } => write!(f, "dynamic ({interpreter})"),
        }
    }
}

/// A program for one of the platforms that plugins run on.
#[derive(Debug, Clone)]
pub struct Elf<F> {
    file: F,
    platform: Platform,
    linkage: Linkage,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    /// Which of the sections holds their names.
    names: usize,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    range: Range,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    name: u32,
    range: Range,
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
/// The most bytes of a section's name that are read.
const LONGEST_NAME: usize = 64;
/// The longest table: its length has 16 bits, and no entry is longer than 64 bytes.
const LONGEST_TABLE: usize = 65535 * 64;

impl<'a> Elf<&'a [u8]> {
    /// Parses the headers of a program that is in memory.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        Self::read(bytes).map_err(|error| match error {
            ReadElfError::Elf(error) => error,
            // A slice fails only past its end, with which every range was compared.
            ReadElfError::Read(_) => ElfError::OUTSIDE,
        })
    }

    /// How much of a program names its platform.
    pub const HEADER: usize = 64;

    /// The platform that the first [`Elf::HEADER`] bytes of a program name; nothing else of it is
    /// looked at.
    pub fn platform_in(header: &[u8]) -> Result<Platform, ElfError> {
        Header::parse(header, header.len() as u64)?.platform()
    }
}

impl<F: ReadAt> Elf<F> {
    /// Reads the headers of a program: a few KiB of most. The longest range that is held at a time
    /// is a table of 4 MiB.
    pub fn read(file: F) -> Result<Self, ReadElfError> {
        let start = Range { offset: 0, size: file.size() }.read(&file, Header::START)?;
        let header = Header::parse(&start, file.size())?;
        match header.kind {
            2 | 3 => {}
            1 => return Err(ElfError::Kind("an object file").into()),
            4 => return Err(ElfError::Kind("a core dump").into()),
            _ => return Err(ElfError::Kind("an ELF file of an unknown type").into()),
        }
        let platform = header.platform()?;
        let segments = segments(&file, &header)?;
        let sections = sections(&file, &header)?;
        let linkage = linkage(&file, &header, &segments)?;
        Ok(Self { file, platform, linkage, segments, sections, names: header.names.into() })
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

    /// The file that was read.
    pub(super) fn file(&self) -> &dyn ReadAt {
        &self.file
    }

    /// The content of the section of this name, from its first offset that is a multiple of 16.
    pub(super) fn section(&self, name: &str) -> io::Result<Option<Range>> {
        let Some(names) = self.sections.get(self.names).map(|names| names.range) else {
            return Ok(None);
        };
        let wanted = [name.as_bytes(), b"\0"].concat();
        for section in &self.sections {
            let found = names.after(section.name.into()).read(&self.file, wanted.len())?;
            if found == wanted {
                return Ok(self.aligned(section.range));
            }
        }
        Ok(None)
    }

    /// The content of the first segment that is loaded writable and not executable, from its first
    /// offset that is a multiple of 16.
    pub(super) fn data(&self) -> Option<Range> {
        let data =
            |segment: &&Segment| segment.kind == PT_LOAD && segment.flags & (PF_W | PF_X) == PF_W;
        let segment = self.segments.iter().find(data)?;
        self.aligned(segment.range)
    }

    /// Every section with its name, in their order; `None` if there are more than `most` of them,
    /// or if they claim more bytes than the file has.
    pub(super) fn named_sections(&self, most: usize) -> io::Result<Option<Vec<(String, Range)>>> {
        let claimed: u64 =
            self.sections.iter().map(|it| it.range.size).fold(0, u64::saturating_add);
        let names = self.sections.get(self.names).map(|names| names.range);
        let Some(names) = names else { return Ok(None) };
        if self.sections.len() > most || claimed > self.file.size() {
            return Ok(None);
        }
        let named = self.sections.iter().map(|section| {
            let name = names.after(section.name.into()).read(&self.file, LONGEST_NAME)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok((visible(&String::from_utf8_lossy(name)).into_owned(), section.range))
        });
        named.collect::<io::Result<_>>().map(Some)
    }

    fn aligned(&self, range: Range) -> Option<Range> {
        let start = range.offset.checked_next_multiple_of(16)?;
        let before = start.checked_sub(range.offset)?;
        Range::of(&self.file, start, range.size.checked_sub(before)?)
    }
}

fn segments(file: &dyn ReadAt, header: &Header) -> Result<Vec<Segment>, ReadElfError> {
    let encoding = header.encoding;
    if header.segments.count == u16::MAX {
        return Err(ElfError::Malformed("it has more than 65534 segments").into());
    }
    let (length, flags, offset, size) =
        if encoding.wide { (56, 4, 8, 32) } else { (32, 24, 4, 16) };
    let table = table(file, "its table of segments", header.segments, length)?;
    let segment = |entry: &[u8]| {
        let offset = encoding.field(entry, offset, Size::Word)?;
        let size = encoding.field(entry, size, Size::Word)?;
        Ok(Segment {
            kind: encoding.half(entry, 0)?,
            flags: encoding.half(entry, flags)?,
            range: part(file, "a segment", offset, size)?,
        })
    };
    table.chunks_exact(length.into()).map(segment).collect()
}

fn sections(file: &dyn ReadAt, header: &Header) -> Result<Vec<Section>, ReadElfError> {
    let encoding = header.encoding;
    if header.sections.offset == 0 {
        return Ok(Vec::new());
    }
    if header.sections.count == 0 {
        return Err(ElfError::Malformed("it has more than 65279 sections").into());
    }
    let (length, offset, size) = if encoding.wide { (64, 24, 32) } else { (40, 16, 20) };
    let table = table(file, "its table of sections", header.sections, length)?;
    let section = |entry: &[u8]| {
        let offset = encoding.field(entry, offset, Size::Word)?;
        let size = encoding.field(entry, size, Size::Word)?;
        // A section without content (`.bss`) may say any place and size.
        let range = if encoding.half(entry, 4)? == SHT_NOBITS {
            Range { offset, size: 0 }
        } else {
            part(file, "a section", offset, size)?
        };
        Ok(Section { name: encoding.half(entry, 0)?, range })
    };
    table.chunks_exact(length.into()).map(section).collect()
}

/// The bytes of a table, after checking that the whole of it is in the file.
fn table(
    file: &dyn ReadAt,
    name: &'static str,
    Table { offset, entry_size, count }: Table,
    expected: u16,
) -> Result<Vec<u8>, ReadElfError> {
    if count > 0 && entry_size != expected {
        return Err(ElfError::Malformed("a table has entries of an unexpected size").into());
    }
    let size = u64::from(count) * u64::from(expected);
    Ok(part(file, name, offset, size)?.read(file, LONGEST_TABLE)?)
}

/// A part of the file that its header or a table names.
fn part(file: &dyn ReadAt, part: &'static str, offset: u64, size: u64) -> Result<Range, ElfError> {
    let end = offset.saturating_add(size);
    Range::of(file, offset, size).ok_or(ElfError::Truncated { part, end, size: file.size() })
}

fn linkage(
    file: &dyn ReadAt,
    header: &Header,
    segments: &[Segment],
) -> Result<Linkage, ReadElfError> {
    let find = |kind| segments.iter().find(|segment| segment.kind == kind);
    if find(PT_LOAD).is_none() {
        return Err(ElfError::Kind("an ELF file with nothing to load").into());
    }
    if let Some(segment) = find(PT_INTERP) {
        // One byte past the limit, so that a path that is too long is not taken for a shorter one.
        let content = segment.range.read(file, LONGEST_INTERPRETER + 1)?;
        let interpreter = interpreter(&content).ok_or(ElfError::Malformed(
            "the path of its interpreter is not a printable absolute path",
        ))?;
        return Ok(Linkage::Dynamic { interpreter: interpreter.to_owned() });
    }
    // Without an interpreter nothing would load what it needs: a shared library, not a static
    // program.
    let needs = match find(PT_DYNAMIC) {
        Some(segment) => needs_library(file, header.encoding, segment.range)?,
        None => false,
    };
    if needs || header.entry == 0 {
        return Err(ElfError::Kind("a shared library").into());
    }
    Ok(Linkage::Static)
}

/// The path in `PT_INTERP`, if it is one that may be printed and signed.
fn interpreter(content: &[u8]) -> Option<&str> {
    let path = content.strip_suffix(&[0]).filter(|path| path.len() < LONGEST_INTERPRETER)?;
    let path = std::str::from_utf8(path).ok()?;
    let good = path.starts_with('/') && visible(path) == path && !path.contains('\0');
    good.then_some(path)
}

/// Whether a dynamic section names a library; what follows its end is not looked at.
fn needs_library(file: &dyn ReadAt, encoding: Encoding, range: Range) -> io::Result<bool> {
    let width = if encoding.wide { 16 } else { 8 };
    for (_, piece) in range.pieces() {
        for entry in piece.read(file, Range::PIECE)?.chunks_exact(width) {
            match encoding.number(entry, 0, Size::Word) {
                Some(0) => return Ok(false),
                Some(DT_NEEDED) => return Ok(true),
                _ => {}
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::Sample;
    use crate::binary::watched::Watched;

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
        let longest = format!("/{}", "a".repeat(4094));
        let sample = Sample { interpreter: Some(longest.clone()), ..Sample::default() };
        let expected = Linkage::Dynamic { interpreter: longest };
        assert_eq!(Elf::parse(&sample.bytes()).unwrap().linkage(), &expected);
    }

    #[test]
    fn tells_a_static_program_from_a_library() {
        let position_independent =
            Sample { kind: 3, dynamic: Some(vec![21, 0]), ..Sample::default() };
        assert_eq!(Elf::parse(&position_independent.bytes()).unwrap().linkage(), &Linkage::Static);
        for sample in [
            Sample { kind: 3, dynamic: Some(vec![21, DT_NEEDED, 0]), ..Sample::default() },
            Sample { kind: 3, entry: false, ..Sample::default() },
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
            (&[0; 64], "is not an ELF program: it contains only zero bytes"),
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
    fn reads_headers_and_tables_alone() {
        let sample = Sample {
            interpreter: Some("/ld".into()),
            dynamic: Some(vec![21, DT_NEEDED]),
            ..Sample::default()
        };
        let start = sample.bytes();
        let file = Watched::new(&start, 1 << 30);
        assert!(matches!(Elf::read(&file).unwrap().linkage(), Linkage::Dynamic { .. }));
        assert!(file.total() < 2048, "{} bytes of 1 GiB were read", file.total());

        // Two tables as long as a header can claim, over a file of zeros.
        let mut start = Sample::default().bytes();
        start.truncate(64);
        start[56..58].copy_from_slice(&[0xfe, 0xff]);
        start[60..62].copy_from_slice(&[0xff, 0xff]);
        let file = Watched::new(&start, 1 << 30);
        let error = Elf::read(&file).expect_err("nothing to load").to_string();
        assert_eq!(error, "is an ELF file with nothing to load, expected a program");
        assert!(file.longest() <= LONGEST_TABLE, "{}", file.longest());
        assert!(file.total() < 9 << 20, "{}", file.total());
    }

    #[test]
    fn a_dynamic_section_of_any_length_is_read_in_pieces() {
        for (last, expected) in
            [(0, Ok(Linkage::Static)), (DT_NEEDED, Err("is a shared library, expected a program"))]
        {
            let tags = [vec![21; 20_000], vec![last]].concat();
            let bytes = Sample { kind: 3, dynamic: Some(tags), ..Sample::default() }.bytes();
            let file = Watched::new(&bytes, bytes.len() as u64);
            let found = Elf::read(&file).map(|elf| elf.linkage().clone());
            assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
            assert_eq!(file.longest(), Range::PIECE);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_called_a_bad_program() {
        let bytes = Sample { go: Some(b"content".to_vec()), ..Sample::default() }.bytes();
        for reads in 0..3 {
            let file = Watched::failing_after(&bytes, reads);
            match Elf::read(&file) {
                Err(ReadElfError::Read(error)) => assert_eq!(error.to_string(), "unplugged"),
                other => panic!("{reads}: {other:?}"),
            }
        }
        let file = Watched::failing_after(&bytes, 3);
        let elf = Elf::read(&file).unwrap();
        assert_eq!(elf.section(".go.buildinfo").expect_err("names").to_string(), "unplugged");
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
                let _ = (elf.section(".go.buildinfo").unwrap(), elf.data());
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
                        let _ = (elf.section(".go.buildinfo").unwrap(), elf.data());
                    }
                }
                bytes[at] = before;
            }
        }
    }
}
