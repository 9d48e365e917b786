//! What Go's linker records in every program: the Go release, the main package, the main module's
//! version.
//!
//! The format is that of Go's `debug/buildinfo`. Only the inline form (Go 1.18 and later) is read;
//! the pointer form before it belongs to releases that no longer get fixes.

use std::io;

use serde::{Deserialize, Serialize};

use super::Elf;
use super::read_at::{Range, ReadAt};
use crate::model::visible;

/// What Go's linker records in a binary (Go's `debug/buildinfo`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GoBuild {
    /// The Go release, as `go1.26.8`.
    pub go: String,
    /// The path of the main package.
    pub path: String,
    /// The version of the main module, if it was known; `(devel)` is not a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The header before the two strings.
const HEADER: usize = 32;
/// The bit of the flags that says that the strings follow the header.
const INLINE: u8 = 2;
/// The most bytes of module information that are read; a program with two thousand modules has a
/// quarter of that.
const LONGEST_MODINFO: usize = 1 << 20;
/// The most bytes of a length: three groups of seven bits hold every length that is accepted.
const LONGEST_LENGTH: usize = 3;
/// The longest release, path or version that is taken; all three are printed and signed.
const LONGEST_TEXT: usize = 512;

/// The most bytes from the magic on that are read.
const LONGEST: usize = HEADER + LONGEST_LENGTH + LONGEST_TEXT + LONGEST_LENGTH + LONGEST_MODINFO;
/// The most places with the magic that are tried: each may be read up to [`LONGEST`], and a file
/// could have it on every sixteenth byte. Go's linker writes one, at the start of its section.
const MOST_PLACES: usize = 32;

impl GoBuild {
    /// Reads what the linker recorded, or `None` if it recorded nothing that can be read in
    /// full.
    pub fn of<F: ReadAt>(elf: &Elf<F>) -> io::Result<Option<Self>> {
        find(elf, Self::parse)
    }

    /// Parses the bytes from the magic on.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let recorded = Recorded::parse(bytes)?;
        let (mut path, mut version) = (None, None);
        for line in recorded.modinfo.lines() {
            let mut fields = line.split('\t');
            match fields.next() {
                Some("path") => path = Some(text(fields.next()?.as_bytes())?),
                Some("mod") => version = Some(text(fields.nth(1)?.as_bytes())?),
                _ => {}
            }
        }
        let version = version.filter(|version| is_version(version));
        Some(Self { go: recorded.go, path: path.filter(|path| !path.is_empty())?, version })
    }
}

/// Whether the version of a module says which one it is.
pub(super) fn is_version(text: &str) -> bool {
    !text.is_empty() && text != "(devel)"
}

/// Finds the first place with the magic where `parse` finds something.
pub(super) fn find<F: ReadAt, T>(
    elf: &Elf<F>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    // The name of the section survives `strip`; a packer may have dropped the table of sections.
    let data: Option<Range> = elf.section(".go.buildinfo")?.or_else(|| elf.data());
    let Some(data) = data else { return Ok(None) };
    let file: &dyn ReadAt = elf.file();
    let mut places = 0;
    for (start, piece) in data.pieces() {
        // A Go tool that reads build information has the magic among its own strings, but not on a
        // multiple of 16.
        for (index, chunk) in (0_u64..).zip(piece.read(file, Range::PIECE)?.chunks(16)) {
            if !chunk.starts_with(MAGIC) {
                continue;
            }
            let bytes = data.after(start + 16 * index).read(file, LONGEST)?;
            if let Some(found) = parse(&bytes) {
                return Ok(Some(found));
            }
            places += 1;
            if places == MOST_PLACES {
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// The two texts that the linker writes behind the magic.
pub(super) struct Recorded<'a> {
    /// The Go release.
    pub(super) go: String,
    /// Lines of fields that are separated by tabs.
    pub(super) modinfo: &'a str,
}

impl<'a> Recorded<'a> {
    /// Parses the bytes from the magic on.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER).filter(|header| header.starts_with(MAGIC))?;
        if header.get(15)? & INLINE == 0 {
            return None;
        }
        let (version, rest) = string(bytes.get(HEADER..)?, LONGEST_TEXT)?;
        let go = text(version).filter(|go| go.starts_with("go") || go.starts_with("devel"))?;
        let (modinfo, _) = string(rest, LONGEST_MODINFO)?;
        // Sixteen bytes before and after, which the linker searches for; without them there is no
        // information.
        let framed =
            modinfo.len() >= 33 && modinfo.get(modinfo.len().checked_sub(17)?) == Some(&b'\n');
        let modinfo = framed.then(|| modinfo.get(16..modinfo.len().checked_sub(16)?)).flatten()?;
        Some(Self { go, modinfo: std::str::from_utf8(modinfo).ok()? })
    }
}

/// Splits a length (unsigned varint) and that many bytes from the front.
fn string(bytes: &[u8], longest: usize) -> Option<(&[u8], &[u8])> {
    let mut length: usize = 0;
    for (index, byte) in bytes.iter().take(LONGEST_LENGTH).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = bytes.get(index + 1..)?;
            return if length > longest { None } else { rest.split_at_checked(length) };
        }
    }
    None
}

/// A text that may be printed and signed.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= LONGEST_TEXT && visible(text) == text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::{Sample, go_build_info};
    use crate::binary::watched::Watched;

    const MODINFO: &str =
        "path\texample.com/cni/bridge\nmod\texample.com/cni\tv1.2.3\th1:a=\ndep\tb\tv1\t\n";

    fn expected() -> GoBuild {
        GoBuild {
            go: "go1.26.3".into(),
            path: "example.com/cni/bridge".into(),
            version: Some("v1.2.3".into()),
        }
    }

    fn of(sample: &Sample) -> Option<GoBuild> {
        let bytes = sample.bytes();
        GoBuild::of(&Elf::parse(&bytes).expect("a sample is a program")).expect("a slice")
    }

    #[test]
    fn reads_it_from_the_section_and_without_one() {
        let go = Some(go_build_info("go1.26.3", MODINFO));
        for sample in [
            Sample { go: go.clone(), ..Sample::default() },
            Sample { go: go.clone(), wide: false, machine: 40, ..Sample::default() },
            Sample { go: go.clone(), big: true, machine: 22, ..Sample::default() },
            Sample { go: go.clone(), sections: false, ..Sample::default() },
        ] {
            assert_eq!(of(&sample), Some(expected()), "{sample:?}");
        }
        assert_eq!(of(&Sample::default()), None);
    }

    #[test]
    fn takes_no_text_for_a_version_that_is_none() {
        for (line, version) in [
            ("mod\texample.com/cni\t(devel)\t\n", None),
            ("mod\texample.com/cni\t\t\n", None),
            ("", None),
            ("mod\texample.com/cni\tv1.9.1+dirty\t\n", Some("v1.9.1+dirty")),
        ] {
            let parsed = GoBuild::parse(&go_build_info(
                "devel go1.27-abc",
                &format!("path\tp\n{line}build\ta=b\n"),
            ));
            let expected = GoBuild {
                go: "devel go1.27-abc".into(),
                path: "p".into(),
                version: version.map(str::to_owned),
            };
            assert_eq!(parsed, Some(expected), "{line:?}");
        }
    }

    #[test]
    fn refuses_what_must_not_be_printed_or_is_not_whole() {
        let long = format!("path\t{}\n", "p".repeat(513));
        let good = "path\tp\n";
        for (version, modinfo) in [
            ("go1.2\u{1b}[2J", good),
            ("go1.2\u{202e}", good),
            ("1.26", good),
            ("go1.26", "path\tp\u{7}\n"),
            ("go1.26", "path\tp\nmod\tm\tv1\u{200b}\t\n"),
            ("go1.26", "build\ta=b\n"),
            ("go1.26", "path\t\n"),
            ("go1.26", "path\tp"),
            ("go1.26", &long),
        ] {
            assert_eq!(
                GoBuild::parse(&go_build_info(version, modinfo)),
                None,
                "{version:?} {modinfo:?}"
            );
        }
        let whole = go_build_info("go1.26", good);
        for length in 0..whole.len() {
            assert_eq!(GoBuild::parse(&whole[..length]), None, "{length}");
        }
        assert!(GoBuild::parse(&whole).is_some());
    }

    #[test]
    fn refuses_the_pointer_form_and_lengths_past_the_limit() {
        let mut pointers = go_build_info("go1.17", "path\tp\n");
        pointers[15] = 0;
        assert_eq!(GoBuild::parse(&pointers), None);
        for length in [
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".as_slice(),
            b"\xff\xff\x7f",
            b"\x80\x80\x80\x00",
        ] {
            let mut bytes = go_build_info("go1.26", "path\tp\n");
            bytes.truncate(HEADER);
            bytes.extend_from_slice(length);
            assert_eq!(GoBuild::parse(&bytes), None, "{length:?}");
        }
    }

    #[test]
    fn passes_over_the_magic_where_it_is_a_string() {
        let mut decoy = b"\0\0\0\0\0\0\0\0".to_vec();
        decoy.extend_from_slice(&go_build_info("go1.1", "path\tdecoy\n"));
        decoy.resize(decoy.len().next_multiple_of(16), 0);
        decoy.extend_from_slice(b"\xff Go buildinf:\x08\0");
        decoy.resize(decoy.len().next_multiple_of(16), 0);
        decoy.extend_from_slice(&go_build_info("go1.26.3", MODINFO));
        assert_eq!(of(&Sample { go: Some(decoy), ..Sample::default() }), Some(expected()));
    }

    #[test]
    fn finds_it_behind_the_first_piece() {
        for distance in [Range::PIECE - 16, Range::PIECE, 3 * Range::PIECE - 16] {
            let mut go = vec![0; distance];
            go.extend_from_slice(&go_build_info("go1.26.3", MODINFO));
            let sample = Sample { go: Some(go), sections: false, ..Sample::default() };
            assert_eq!(of(&sample), Some(expected()), "{distance}");
        }
    }

    #[test]
    fn a_file_full_of_beginnings_is_not_read_again_and_again() {
        // Each beginning claims the longest module information; none of it is framed.
        let mut beginning = go_build_info("go1.26", "");
        beginning.truncate(HEADER + 7);
        beginning.extend_from_slice(b"\x80\x80\x40");
        beginning.resize(beginning.len().next_multiple_of(16), 0);
        let sample = Sample { go: Some(beginning.repeat(50_000)), ..Sample::default() };
        let bytes = sample.bytes();
        let file = Watched::new(&bytes, bytes.len() as u64);
        assert_eq!(GoBuild::of(&Elf::read(&file).unwrap()).unwrap(), None);
        assert_eq!(file.longest(), LONGEST);
        assert!(file.total() < (MOST_PLACES + 1) * LONGEST, "{}", file.total());

        // A few beginnings before the right one are passed over.
        for (before, found) in [(MOST_PLACES - 1, Some(expected())), (MOST_PLACES, None)] {
            let go = [beginning.repeat(before), go_build_info("go1.26.3", MODINFO)].concat();
            assert_eq!(of(&Sample { go: Some(go), ..Sample::default() }), found, "{before}");
        }
    }
}
