//! Tar: however an archive is walked, its members are the same, and they are within the archive and
//! the limits; what is accepted looks the same to another reader.
#![no_main]

use std::io::{Cursor, Read};

use cnister::bundle::tar::{
    Extensions, Kind, MAX_EXTENSIONS, Member, Paths, Rest, Rules, TarError, walk, walk_seekable,
};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

const ANY: Rules = Rules {
    members: 100,
    bytes: 1 << 20,
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
const FILES: &[Kind] = &[Kind::File, Kind::Directory];

/// Path, letter, target and content of a member.
type Found = (String, String, Option<String>, Vec<u8>);

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let bytes = &if choice & 0x80 == 0 { bytes.to_vec() } else { summed(bytes) }[..];
    let rules = match (choice & 0x7f) % 3 {
        0 => ANY,
        1 => Rules { kinds: FILES, extensions: Extensions::OfOneMember, ..ANY },
        _ => Rules {
            kinds: FILES,
            extensions: Extensions::Refused,
            paths: Paths::Plain,
            rest: Rest::Zeros,
            ..ANY
        },
    };
    let mut read = Vec::new();
    let result = walk(bytes, &rules, |member| collect(&mut read, &rules, member));
    let mut placed = Vec::new();
    let jumped = walk_seekable(Cursor::new(bytes), &rules, |member| {
        placed.push((member.path.to_owned(), member.offset, member.size));
        Ok::<_, TarError>(())
    });
    for (found, (path, offset, size)) in read.iter().zip(&placed) {
        let start = usize::try_from(*offset).expect("it was read");
        let end = start + usize::try_from(*size).expect("it was read");
        assert_eq!((&found.0, &found.3[..]), (path, &bytes[start..end]));
    }
    assert_eq!(result.is_ok(), jumped.is_ok());
    match result {
        Err(error) => check_words(&error),
        Ok(()) => {
            assert_eq!(read.len(), placed.len());
            assert_eq!(read, second_reader(bytes));
        }
    }
});

/// The same bytes, where each block that may be a header has a right sum: no mutation finds one.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    bytes
}

fn collect(found: &mut Vec<Found>, rules: &Rules, member: Member<'_>) -> Result<(), TarError> {
    assert!(rules.kinds.contains(&member.kind) && member.offset + member.size <= rules.bytes);
    assert!(found.len() < rules.members);
    let root = member.path.is_empty() && member.kind == Kind::Directory;
    assert!(root || member.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
    let mut content = Vec::new();
    member.content.read_to_end(&mut content).map_err(TarError::Read)?;
    assert_eq!(content.len() as u64, member.size);
    let target = member.target.map(str::to_owned);
    found.push((member.path.to_owned(), member.kind.letter(), target, content));
    Ok(())
}

/// What the `tar` crate, which follows every extension, makes of an archive.
fn second_reader(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes).entries().expect("was read before") {
        let mut entry = entry.expect("was read before");
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("was read before");
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./");
        let path = match kind {
            tar::EntryType::Directory if path == "." => "",
            tar::EntryType::Directory => path.strip_suffix('/').unwrap_or(path),
            _ => path,
        };
        let target = entry.link_name_bytes().filter(|_| kind.is_hard_link() || kind.is_symlink());
        let target = target.map(|target| String::from_utf8_lossy(&target).into_owned());
        let letter = char::from(kind.as_byte()).to_string();
        found.push((path.to_owned(), letter, target, content));
    }
    found
}
