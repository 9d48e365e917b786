mod extensions;
mod second_reader;

use std::io::Cursor;

use super::header::LARGEST_OCTAL;
use super::*;
use crate::bundle::{Encoding, EntryKind, layer};

/// Everything that any caller may accept.
const ANY: Rules = Rules {
    members: 1000,
    bytes: u64::MAX,
    kinds: &[
        Kind::File,
        Kind::HardLink,
        Kind::SymbolicLink,
        Kind::CharacterDevice,
        Kind::BlockDevice,
        Kind::Directory,
        Kind::Fifo,
        Kind::Contiguous,
    ],
    extensions: Extensions::All,
    paths: Paths::Relative,
    rest: Rest::Anything,
    extension_bytes: MAX_EXTENSIONS,
};
/// Archives of layouts, as `oci/files.rs` reads them.
const FILES: Rules =
    Rules { kinds: &[Kind::File, Kind::Directory], extensions: Extensions::OfOneMember, ..ANY };
/// Layers, as `archive.rs` reads them.
const LAYER: Rules = Rules {
    kinds: &[Kind::File, Kind::Directory],
    extensions: Extensions::Refused,
    paths: Paths::Plain,
    rest: Rest::Zeros,
    extension_bytes: MAX_EXTENSIONS,
    ..ANY
};

/// A member as it was reported, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: String,
    kind: Kind,
    target: Option<String>,
    content: Vec<u8>,
}

fn collect(found: &mut Vec<Found>, member: Member<'_>) -> Result<(), TarError> {
    let mut content = Vec::new();
    member.content.read_to_end(&mut content).map_err(TarError::Read)?;
    assert_eq!(content.len() as u64, member.size);
    let target = member.target.map(str::to_owned);
    found.push(Found { path: member.path.to_owned(), kind: member.kind, target, content });
    Ok(())
}

/// What is in an archive: the same however it is walked, and whether contents are read or not.
fn walked(bytes: &[u8], rules: &Rules) -> Result<Vec<Found>, TarError> {
    let mut found = Vec::new();
    let result = walk(bytes, rules, |member| collect(&mut found, member));

    let mut again = Vec::new();
    let seeking = walk_seekable(Cursor::new(bytes), rules, |member| collect(&mut again, member));
    assert_eq!(format!("{seeking:?} {again:?}"), format!("{result:?} {found:?}"));

    let mut placed = Vec::new();
    let jumping = walk_seekable(Cursor::new(bytes), rules, |member| {
        placed.push((member.path.to_owned(), member.offset..member.offset + member.size));
        Ok::<_, TarError>(())
    });
    match result {
        // Content that is not read is not missed before the walk goes on.
        Err(TarError::Read(_)) => assert!(matches!(jumping, Err(TarError::Cut(_))), "{jumping:?}"),
        _ => assert_eq!(format!("{jumping:?}"), format!("{result:?}")),
    }
    for (found, (path, place)) in found.iter().zip(placed) {
        let place = usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
        assert_eq!((&found.path, found.content.as_slice()), (&path, &bytes[place]));
    }
    result.map(|()| found)
}

fn paths(bytes: &[u8], rules: &Rules) -> Result<Vec<String>, String> {
    let found = walked(bytes, rules).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|found| found.path).collect())
}

fn refusal(bytes: &[u8], rules: &Rules) -> String {
    paths(bytes, rules).expect_err("refused")
}

/// A header as an attacker would write it: nothing is checked but the sum.
fn header(name: &[u8], letter: u8, size: u64, change: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.as_mut_bytes()[156] = letter;
    header.set_size(size);
    change(header.as_mut_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn member(name: &str, letter: u8, content: &[u8]) -> Vec<u8> {
    let header = header(name.as_bytes(), letter, content.len() as u64, |_| ());
    [header, padded(content.to_vec())].concat()
}

fn file(name: &str) -> Vec<u8> {
    member(name, b'0', name.as_bytes())
}

fn link(letter: u8, target: &[u8]) -> Vec<u8> {
    header(b"a", letter, 0, |block| block[157..157 + target.len()].copy_from_slice(target))
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits);
    format!("{}{rest}", rest.len() + length.unwrap()).into_bytes()
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    extension(b'x', &record(key, value))
}

fn extension(letter: u8, content: &[u8]) -> Vec<u8> {
    [header(b"extension", letter, content.len() as u64, |_| ()), padded(content.to_vec())].concat()
}

fn long_name(name: &str) -> Vec<u8> {
    extension(b'L', format!("{name}\0").as_bytes())
}

fn ended(parts: &[&[u8]]) -> Vec<u8> {
    [parts.concat(), vec![0; 2 * BLOCK]].concat()
}

#[test]
fn every_kind_is_reported_or_refused() {
    let cases = [
        (0, Kind::File, "a file"),
        (b'0', Kind::File, "a file"),
        (b'1', Kind::HardLink, "a hard link"),
        (b'2', Kind::SymbolicLink, "a symbolic link"),
        (b'3', Kind::CharacterDevice, "a character device"),
        (b'4', Kind::BlockDevice, "a block device"),
        (b'5', Kind::Directory, "a directory"),
        (b'6', Kind::Fifo, "a FIFO"),
        (b'7', Kind::Contiguous, "a contiguous file"),
    ];
    for (letter, kind, name) in cases {
        let bytes = ended(&[&link(letter, b"../b")]);
        let target = matches!(letter, b'1' | b'2').then(|| "../b".to_owned());
        let found = Found { path: "a".to_owned(), kind, target, content: Vec::new() };
        assert_eq!(walked(&bytes, &ANY).unwrap(), [found]);
        let others: Vec<_> = ANY.kinds.iter().copied().filter(|other| *other != kind).collect();
        let rules = Rules { kinds: others.leak(), ..ANY };
        assert_eq!(refusal(&bytes, &rules), format!("entry `a` is {name}, which is not accepted"));

        let bytes =
            ended(&[&header(b"a", letter, 7, |block| block[157] = b'b'), b"content", &[0; 505]]);
        match kind {
            Kind::File | Kind::Contiguous => assert_eq!(walked(&bytes, &ANY).unwrap().len(), 1),
            _ => assert_eq!(refusal(&bytes, &ANY), format!("entry `a` is {name} with content")),
        }
    }
    for (letter, name) in [
        (b'S', "a sparse file"),
        (b'D', "an entry of an unknown type"),
        (b'X', "an entry of an unknown type"),
        (0x1b, "an entry of an unknown type"),
    ] {
        let bytes = ended(&[&member("a", letter, b"")]);
        assert_eq!(refusal(&bytes, &ANY), format!("entry `a` is {name}, which is not accepted"));
    }
    for (letter, refused) in [(b'L', &LAYER), (b'K', &LAYER), (b'x', &LAYER), (b'g', &FILES)] {
        let bytes = ended(&[&extension(letter, &record("comment", "b")), &file("a")]);
        let error = refusal(&bytes, refused);
        assert!(error.starts_with("entry `extension` is a "), "{error}");
    }
    for target in [b"".as_slice(), b"\xff"] {
        let expected = "the tar header at byte 0 has no target of the link in UTF-8";
        assert_eq!(refusal(&ended(&[&link(b'2', target)]), &ANY), expected);
    }
}

#[test]
fn letters_are_shown_in_messages_as_they_can_be_seen() {
    assert_eq!(Kind::Other(b'Z').letter(), "Z");
    assert_eq!(Kind::Other(0x1b).letter(), "\\u{1b}");
    assert_eq!(Kind::File.letter(), "0");
}

#[test]
fn numbers_are_octal_or_base_256_and_nothing_else() {
    let bytes = |field: &[u8]| {
        let field = field.to_vec();
        let set = move |block: &mut [u8; BLOCK]| block[124..136].copy_from_slice(&field);
        ended(&[&header(b"a", b'0', 0, set), &padded(b"7777777".to_vec())])
    };
    for good in [
        b"00000000007\0",
        b"00000000007 ",
        b"          7\0",
        b"7\0\0\0\0\0\0\0\0\0\0\0",
        b"7 \0 \0\0\0\0\0\0\0\0",
        b"000000000007",
        b"\x80\0\0\0\0\0\0\0\0\0\0\x07",
    ] {
        assert_eq!(walked(&bytes(good), &LAYER).unwrap()[0].content, b"7777777", "{good:?}");
    }
    let (other, large) = (
        "the tar header at byte 0 has a number with invalid characters",
        "the tar header at byte 0 has a number that is negative or too large",
    );
    for (bad, expected) in [
        (b"0000000000+7", other),
        (b"00000000008\0", other),
        (b"7\09\0\0\0\0\0\0\0\0\0", other),
        (b"7 7\0\0\0\0\0\0\0\0\0", other),
        (b"-0000000007\0", other),
        (b"0x000000007\0", other),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", large),
        (b"\x80\0\0\x01\0\0\0\0\0\0\0\x07", large),
        (b"\x81\0\0\0\0\0\0\0\0\0\0\x07", large),
        (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", large),
        (b"            ", "the tar header at byte 0 has no size"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0", "the tar header at byte 0 has no size"),
    ] {
        assert_eq!(refusal(&bytes(bad), &LAYER), expected, "{bad:?}");
    }
    let largest = bytes(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(walked(&largest, &FILES).unwrap_err().to_string().split(' ').next(), Some("the"));
}

#[test]
fn numbers_that_are_not_used_are_numbers() {
    let with = |offset: usize, field: &[u8]| {
        let field = field.to_vec();
        let set = move |block: &mut [u8; BLOCK]| {
            block[136..148].fill(0);
            block[offset..offset + field.len()].copy_from_slice(&field);
        };
        ended(&[&header(b"a", b'0', 0, set)])
    };
    for offset in [100, 108, 116, 136, 329, 337] {
        for good in [b"0000644\0", b"        ", b"\0\0\0\0\0\0\0\0"] {
            assert!(walked(&with(offset, good), &LAYER).is_ok(), "{offset} {good:?}");
        }
        for (bad, reason) in [
            (b"0000844\0", "has a number with invalid characters"),
            (b"\x81\0\0\0\0\0\0\0", "has a number that is negative or too large"),
        ] {
            let expected = format!("the tar header at byte 0 {reason}");
            assert_eq!(refusal(&with(offset, bad), &LAYER), expected, "{offset}");
        }
    }
    // A time before 1970, and an owner of more than 21 bits.
    assert!(walked(&with(136, &[0xff; 12]), &LAYER).is_ok());
    assert!(walked(&with(108, b"\x80\0\0\0\xff\xff\xff\xff"), &LAYER).is_ok());
}

#[test]
fn a_name_has_one_reading() {
    let named = |name: &[u8], prefix: &[u8], change: fn(&mut [u8; BLOCK])| {
        ended(&[&header(name, b'0', 0, |block| {
            block[345..345 + prefix.len()].copy_from_slice(prefix);
            change(block);
        })])
    };
    let gnu = |block: &mut [u8; BLOCK]| block[257..265].copy_from_slice(b"ustar  \0");
    let old = |block: &mut [u8; BLOCK]| block[257..265].fill(0);
    let other = |block: &mut [u8; BLOCK]| block[263] = b'1';
    let star = |block: &mut [u8; BLOCK]| block[508..].copy_from_slice(b"tar\0");
    let same = |_: &mut [u8; BLOCK]| ();
    for change in [same, gnu, old, other, star] {
        assert_eq!(paths(&named(b"a", b"", change), &LAYER), Ok(vec!["a".to_owned()]));
    }
    assert_eq!(paths(&named(b"a\0b", b"", same), &LAYER), Ok(vec!["a".to_owned()]));
    assert_eq!(paths(&named(b"b", b"a", same), &LAYER), Ok(vec!["a/b".to_owned()]));
    assert_eq!(
        paths(&named(&[b'b'; 100], &[b'a'; 155], same), &FILES),
        Ok(vec![format!("{}/{}", "a".repeat(155), "b".repeat(100))])
    );
    for change in [gnu, old, other, star] {
        assert_eq!(
            refusal(&named(b"b", b"a", change), &LAYER),
            "the tar header at byte 0 has a name with two readings"
        );
    }
    let bytes = ended(&[&header(b"a", b'L', 0, old), &file("a")]);
    assert_eq!(
        refusal(&bytes, &ANY),
        "the tar header at byte 0 has a type that its format does not have"
    );
}

#[test]
fn paths_are_plain_or_relative() {
    let reason = |path: &str, reason: &str| Err(format!("entry `{path}`: {reason}"));
    let relative = "it is not a relative path of plain names";
    type Path<'a> = Result<&'a str, String>;
    let cases: [(&[u8], u8, Path<'_>, Path<'_>); 15] = [
        (b"a/b", b'0', Ok("a/b"), Ok("a/b")),
        (b"a/b/", b'5', Ok("a/b"), Ok("a/b")),
        (b"a/b", b'5', Ok("a/b"), Ok("a/b")),
        (b"./a", b'0', reason("./a", relative), Ok("a")),
        (b"././a/", b'5', reason("././a/", relative), Ok("a")),
        (b"./", b'5', reason("./", relative), Ok("")),
        (b".", b'5', reason(".", relative), Ok("")),
        (b".", b'0', reason(".", relative), reason(".", relative)),
        (b"", b'0', reason("", relative), reason("", relative)),
        (b"a/", b'0', reason("a/", relative), reason("a/", relative)),
        (b"a//", b'5', reason("a//", relative), reason("a//", relative)),
        (b"/a", b'0', reason("/a", relative), reason("/a", relative)),
        (b"a/../b", b'5', reason("a/../b", relative), reason("a/../b", relative)),
        (
            "\u{e4}".as_bytes(),
            b'0',
            reason("\u{e4}", "it has a character other than printable ASCII"),
            Ok("\u{e4}"),
        ),
        (
            b"\xff",
            b'0',
            reason("\u{fffd}", "it has a character other than printable ASCII"),
            reason("\u{fffd}", "it is not UTF-8"),
        ),
    ];
    for (name, letter, as_plain, as_relative) in cases {
        let bytes = ended(&[&header(name, letter, 0, |_| ())]);
        let owned = |path: Path<'_>| path.map(|path| vec![path.to_owned()]);
        assert_eq!(paths(&bytes, &LAYER), owned(as_plain), "{name:?}");
        assert_eq!(paths(&bytes, &FILES), owned(as_relative), "{name:?}");
    }
    for (length, expected) in [(99, Ok(1)), (100, Err("it is longer than 99 bytes"))] {
        let name = "a".repeat(length);
        let found = paths(&ended(&[&file(&name)]), &LAYER).map(|paths| paths.len());
        assert_eq!(found, expected.map_err(|reason| format!("entry `{name}`: {reason}")));
    }
}

#[test]
fn a_path_is_there_once() {
    let directory = member("a/", b'5', b"");
    let cases = [
        (vec![file("a"), file("b")], None, None),
        (vec![file("a"), file("a")], Some("a"), Some("a")),
        (vec![file("a"), directory.clone()], Some("a"), Some("a")),
        (vec![directory.clone(), file("a")], Some("a"), Some("a")),
        (vec![directory.clone(), directory.clone()], Some("a"), None),
        (vec![directory, file("a/b")], None, None),
    ];
    for (members, of_layer, of_files) in cases {
        let bytes = [members.concat(), vec![0; 1024]].concat();
        for (rules, expected) in [(&LAYER, of_layer), (&FILES, of_files)] {
            let twice = expected.map(|path| format!("entry `{path}` appears twice"));
            assert_eq!(paths(&bytes, rules).err(), twice);
        }
    }
    let bytes = ended(&[&file("./a"), &file("a")]);
    assert_eq!(refusal(&bytes, &FILES), "entry `a` appears twice");
    let bytes = ended(&[&file("b"), &long_name("b"), &file("a")]);
    assert_eq!(refusal(&bytes, &FILES), "entry `b` appears twice");
}

#[test]
fn stops_at_each_limit_and_not_before() {
    let three = ended(&[&file("a"), &file("b"), &file("c")]);
    for (members, refused) in [(3, false), (2, true), (0, true)] {
        let rules = Rules { members, ..LAYER };
        let error = refused.then(|| format!("the archive has more than {members} entries"));
        assert_eq!(paths(&three, &rules).err(), error);
    }
    // Records for all count as members, since nothing else bounds them.
    let global = extension(b'g', b"");
    let bytes = ended(&[&global, &global, &file("a")]);
    assert!(walked(&bytes, &Rules { members: 3, ..ANY }).is_ok());
    assert!(matches!(walked(&bytes, &Rules { members: 2, ..ANY }), Err(TarError::TooMany(2))));

    let length = three.len() as u64;
    for bytes in [0, 1, 511, 512, 513, 1024, length - 1024, length - 512, length - 1, length] {
        let error = (bytes < length).then(|| format!("the archive is longer than {bytes} bytes"));
        assert_eq!(paths(&three, &Rules { bytes, ..LAYER }).err(), error);
    }
    let zeros = vec![0; 300 * 1024];
    for (bytes, refused) in [(300 * 1024, false), (300 * 1024 - 1, true)] {
        assert_eq!(walked(&zeros, &Rules { bytes, ..LAYER }).is_err(), refused);
    }

    let name = |length: usize| extension(b'L', &[vec![b'n'; length - 1], vec![0]].concat());
    let limit = 64 * 1024;
    assert!(walked(&ended(&[&name(limit), &file("a")]), &FILES).is_ok());
    assert_eq!(
        refusal(&ended(&[&name(limit + 1), &file("a")]), &FILES),
        "the tar header at byte 0 has 65537 bytes of records, the limit is 65536"
    );
    // One that only claims to be long costs no memory.
    let claims = ended(&[&header(b"a", b'x', 1 << 40, |_| ()), &file("a")]);
    assert!(matches!(
        walked(&claims, &FILES),
        Err(TarError::Extension { size: 0x100_0000_0000, .. })
    ));

    let numbered = |number: usize| {
        let comment = record("comment", &"c".repeat(limit - 15));
        assert_eq!(comment.len(), limit);
        [extension(b'x', &comment), file(&number.to_string())].concat()
    };
    let most: Vec<_> = (0..16).map(numbered).collect();
    assert_eq!(walked(&ended(&[&most.concat()]), &FILES).unwrap().len(), 16);
    let over = ended(&[&most.concat(), &extension(b'x', b"5 a=\n"), &file("z")]);
    assert_eq!(
        refusal(&over, &FILES),
        format!(
            "the tar header at byte {} has 1048581 bytes of records, the limit is 1048576",
            most.concat().len()
        )
    );
}

#[test]
fn what_ends_an_archive() {
    let one = file("a");
    let zeros = |blocks: usize| vec![0; blocks * BLOCK];
    let partly = [&[0; 100][..], b"x", &[0; 411]].concat();
    // The bytes after the member, and whether a layer and an archive of a layout may end so.
    let cases = [
        (Vec::new(), true, true),
        (zeros(1), true, true),
        (zeros(2), true, true),
        (zeros(200), true, true),
        (vec![0; 700], true, true),
        ([zeros(1), b"x".to_vec()].concat(), false, false),
        ([zeros(1), file("b")].concat(), false, false),
        ([zeros(1), partly.clone()].concat(), false, false),
        ([zeros(2), b"x".to_vec()].concat(), false, true),
        ([zeros(2), file("b")].concat(), false, true),
        ([zeros(200), partly].concat(), false, true),
    ];
    for (rest, layer, files) in cases {
        let bytes = [one.clone(), rest].concat();
        for (rules, accepted) in [(&LAYER, layer), (&FILES, files)] {
            let expected = if accepted {
                Ok(vec!["a".to_owned()])
            } else {
                Err("the archive continues after its end".to_owned())
            };
            assert_eq!(paths(&bytes, rules), expected, "{} bytes", bytes.len());
        }
    }
    assert_eq!(paths(b"", &LAYER), Ok(Vec::new()));
    for (bytes, expected) in [
        (&b"text\n".repeat(200)[..], "it does not start with a tar header"),
        (&[&b"\x1f\x8b\x08"[..], &[7; 600]].concat(), "it is compressed with gzip"),
        (&[&b"\x28\xb5\x2f\xfd"[..], &[7; 600]].concat(), "it is compressed with zstd"),
        (&[&b"\xfd7zXZ\0"[..], &[7; 600]].concat(), "it is compressed with xz"),
        (&[&b"BZh91AY&SY"[..], &[7; 600]].concat(), "it is compressed with bzip2"),
        (&[&b"\x04\x22\x4d\x18"[..], &[7; 600]].concat(), "it is compressed with lz4"),
        (&[&b"\x5d\0\0\x80\0"[..], &[7; 600]].concat(), "it is compressed with lzma"),
        (&[&b"\x1f\x9d\x90"[..], &[7; 600]].concat(), "it is compressed with compress"),
        (&[&b"LZIP\x01"[..], &[7; 600]].concat(), "it is compressed with lzip"),
        // However short it is.
        (b"PK\x03\x04 and a little more", "it is a zip archive"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive"),
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"text", "the archive is cut off at byte 4"),
        (
            &[one, b"text\n".repeat(200)].concat(),
            "the tar header at byte 1024 has a wrong checksum",
        ),
    ] {
        assert_eq!(refusal(bytes, &LAYER), expected);
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_never_a_shorter_one() {
    let parts = [
        long_name("first"),
        file("a"),
        pax("path", "second"),
        file("b"),
        member("c", b'0', &[7; 513]),
    ];
    let bytes = ended(&[&parts.concat()]);
    let whole = walked(&bytes, &FILES).unwrap();
    // Where a member ends, a cut-off archive looks like one without blocks of zeros.
    let mut ends = vec![0];
    for part in [&parts[..2], &parts[..4], &parts[..5]] {
        ends.push(part.concat().len());
    }
    let contents = parts.concat().len();
    for length in 0..bytes.len() {
        let cut = walked(&bytes[..length], &FILES);
        if let Some(members) = ends.iter().position(|end| *end == length) {
            assert_eq!(cut.unwrap(), whole[..members], "{length}");
        } else if length >= contents {
            assert_eq!(
                cut.is_ok(),
                (length - contents).is_multiple_of(BLOCK) || length > contents + BLOCK
            );
        } else {
            match cut.unwrap_err() {
                TarError::Cut(at) => assert_eq!(at, length as u64),
                TarError::Read(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
                TarError::Header { reason, .. } => assert!(reason.contains("missing"), "{length}"),
                error => panic!("{length}: {error}"),
            }
        }
    }
}

/// Gives one byte at a time, is interrupted before each, and fails at its end.
struct Reluctant<'a>(&'a [u8], bool);

impl Read for Reluctant<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(1);
        match self.0.read(&mut buffer[..length])? {
            0 if length > 0 => Err(io::Error::other("broken")),
            read => Ok(read),
        }
    }
}

#[test]
fn an_input_that_fails_is_not_an_archive_that_ends() {
    let bytes = ended(&[&long_name("b"), &file("a"), &file("c")]);
    let mut found = Vec::new();
    walk(Reluctant(&bytes, false), &FILES, |member| collect(&mut found, member)).unwrap();
    assert_eq!(found, walked(&bytes, &FILES).unwrap());
    for length in [0, 100, 512, 514, 1024, 1600, bytes.len() - 1024, bytes.len() - 1] {
        let nothing = |_: Member<'_>| Ok::<_, TarError>(());
        let error = walk(Reluctant(&bytes[..length], false), &FILES, nothing).unwrap_err();
        assert_eq!(io::Error::from(error).to_string(), "broken", "{length}");
    }
}

#[test]
fn the_callers_error_ends_the_walk() {
    let bytes = ended(&[&file("a"), &file("b")]);
    let mut calls = 0;
    let result = walk(bytes.as_slice(), &LAYER, |_| {
        calls += 1;
        Err(TarError::TooMany(42))
    });
    assert!(matches!(result, Err(TarError::TooMany(42))) && calls == 1);
}

#[test]
fn reads_back_what_the_layer_writer_writes() {
    let contents: Vec<Vec<u8>> = [0, 1, 511, 512, 513, 70_000].map(|length| vec![7; length]).into();
    let entries = contents.iter().enumerate().map(|(number, content)| {
        layer::Entry::of_bytes(format!("opt/{number}/file"), EntryKind::Program, content)
    });
    let mut bytes = Vec::new();
    layer::write(entries.collect(), Encoding::None, LARGEST_OCTAL, &mut bytes).unwrap();
    for rules in [LAYER, FILES, ANY] {
        let found = walked(&bytes, &rules).unwrap();
        let (files, directories): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.kind == Kind::File);
        assert_eq!(files.into_iter().map(|file| file.content).collect::<Vec<_>>(), contents);
        assert_eq!(directories.len(), 1 + contents.len());
    }
}
