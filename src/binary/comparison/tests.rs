//! Two programs that differ in one thing each.

use super::*;
use crate::binary::sample::{Sample, go_build_info};
use crate::binary::watched::Watched;

const LINES: &str = "path\texample.com/cni/bridge\nmod\texample.com/cni\tv1.2.3\th1:a=\n\
    dep\texample.com/a\tv1.0.0\th1:b=\nbuild\t-ldflags=\"-s -w\"\nbuild\tGOARCH=amd64\n";

fn program(release: &str, lines: &str) -> Vec<u8> {
    Sample { go: Some(go_build_info(release, lines)), ..Sample::default() }.bytes()
}

fn lines(published: &[u8], rebuilt: &[u8]) -> Vec<String> {
    let (one, two) = (Elf::parse(published).unwrap(), Elf::parse(rebuilt).unwrap());
    Comparison::of(&one, &two).unwrap().lines()
}

#[test]
fn names_what_the_linker_recorded_differently() {
    let same = program("go1.26.3", LINES);
    assert_eq!(lines(&same, &same), [""; 0]);
    let all_but = "equal but for build information";
    let section = "section .go.buildinfo: other content, ";
    for (from, to, expected) in [
        ("", "", "Go version: `go1.26.3` published, `go1.26.4` rebuilt"),
        (
            "cni/bridge",
            "cni/brandy",
            "main package: `example.com/cni/bridge` published, `example.com/cni/brandy` rebuilt",
        ),
        (
            "mod\texample.com/cni",
            "mod\texample.com/net",
            "main module: `example.com/cni` published, `example.com/net` rebuilt",
        ),
        ("v1.2.3", "v1.2.4", "version of the main module: `v1.2.3` published, `v1.2.4` rebuilt"),
        ("h1:a=", "h1:c=", "sum of the main module: `h1:a=` published, `h1:c=` rebuilt"),
        ("-s -w", "-s -v", "build setting -ldflags: `-s -w` published, `-s -v` rebuilt"),
        (
            "v1.0.0",
            "v1.0.1",
            "module example.com/a: `v1.0.0 h1:b=` published, `v1.0.1 h1:b=` rebuilt",
        ),
    ] {
        let release = if from.is_empty() { "go1.26.4" } else { "go1.26.3" };
        let found = lines(&same, &program(release, &LINES.replace(from, to)));
        assert_eq!(found[0], expected);
        assert!(found[1].starts_with(section), "{found:?}");
        assert_eq!(found[2..], [all_but], "{expected}");
    }
}

#[test]
fn what_only_one_of_them_has_is_none_in_the_other() {
    let one = program("go1.26.3", LINES);
    let two = program("go1.26.3", &LINES.replace("build\tGOARCH=amd64\n", "build\t-tags=netgo\n"));
    let found = lines(&one, &two);
    assert_eq!(found[0], "build setting -tags: none published, `netgo` rebuilt");
    assert_eq!(found[1], "build setting GOARCH: `amd64` published, none rebuilt");
    let plain = Sample { go: Some(vec![0; 64]), ..Sample::default() }.bytes();
    assert_eq!(lines(&plain, &one)[0], "Go build information: none published, `go1.26.3` rebuilt");
}

#[test]
fn long_values_are_shown_from_where_they_differ() {
    let flags =
        |end: &str| format!("path\tp\nbuild\t-ldflags=\"{} {end}\"\n", "-X a.b=c ".repeat(100));
    let found = lines(&program("go1.26.3", &flags("-s")), &program("go1.26.3", &flags("-w")));
    let start = "build setting -ldflags: `…";
    assert!(found[0].starts_with(start) && found[0].len() < 200, "{}", found[0]);
    assert!(found[0].contains("-s` published, `…") && found[0].ends_with("-w` rebuilt"));
}

#[test]
fn modules_are_listed_up_to_a_limit() {
    let with = |version: &str| {
        let modules: String =
            (0..20).map(|at| format!("dep\ta.b/m{at:02}\t{version}\t\n")).collect();
        program("go1.26.3", &format!("path\tp\n{modules}"))
    };
    let found = lines(&with("v1.0.0"), &with("v1.0.1"));
    assert_eq!(found[7], "module a.b/m07: `v1.0.0` published, `v1.0.1` rebuilt");
    let rest = "12 other modules, of which there are: `20 modules` published, `20 modules` rebuilt";
    assert_eq!(found[8], rest);
}

#[test]
fn other_code_is_never_only_build_information() {
    let one = Sample { code: vec![0x90; 3], ..Sample::default() }.bytes();
    let two = Sample { code: vec![0x90, 0x91, 0x90], ..Sample::default() }.bytes();
    // The code of a sample is in no section.
    assert_eq!(lines(&one, &two), ["bytes that are in no section differ"]);
    let longer = Sample { code: vec![0x90; 30], ..Sample::default() }.bytes();
    let found = lines(&one, &longer);
    assert!(found[0].starts_with("size: "), "{found:?}");
    assert_eq!(found[1..], ["bytes that are in no section differ"]);
    // Nor with other build information beside it.
    let go = |release: &str| Some(go_build_info(release, LINES));
    let one = Sample { go: go("go1.26.3"), ..Sample::default() }.bytes();
    let two = Sample { go: go("go1.26.4"), code: vec![0x91; 3], ..Sample::default() }.bytes();
    let found = lines(&one, &two);
    assert!(found.contains(&"bytes that are in no section differ".to_owned()), "{found:?}");
    assert!(!found.iter().any(|line| line.starts_with("equal but")), "{found:?}");
    // Without a table of sections, nothing says what build information is.
    let bare =
        |release: &str| Sample { go: go(release), sections: false, ..Sample::default() }.bytes();
    let found = lines(&bare("go1.26.3"), &bare("go1.26.4"));
    assert_eq!(found[1..], ["bytes that are in no section differ"]);
}

#[test]
fn a_section_that_only_one_has_is_named() {
    let one = program("go1.26.3", LINES);
    let bytes = |name: &[u8; 13]| {
        let at = one.windows(13).position(|it| it == b".go.buildinfo").unwrap();
        let mut other = one.clone();
        other[at..at + 13].copy_from_slice(name);
        other
    };
    let found = lines(&one, &bytes(b".go.\x1b[2Jnfo\0\0"));
    assert!(
        found.iter().any(|it| it.starts_with("section .go.\\u{1b}[2Jnfo: none published, ")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|it| it.starts_with("section .go.buildinfo: ") && it.ends_with("none rebuilt"))
    );
}

#[test]
fn build_ids_are_shown() {
    let note = |owner: &[u8; 4], id: &[u8]| {
        [&[4, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0], &owner[..], id].concat()
    };
    let file = [note(b"Go\0\0", b"abc/def\0"), note(b"GNU\0", &[0xab, 0x01])].concat();
    let file = file.as_slice();
    let of = |section: &str, offset: u64, size: u64| {
        let (_, show) = build_id(section).unwrap();
        shown_id(&file, Range::of(&file, offset, size), show).unwrap()
    };
    assert_eq!(of(".note.go.buildid", 0, 24).as_deref(), Some("abc/def"));
    assert_eq!(of(".note.gnu.build-id", 24, 18).as_deref(), Some("ab01"));
    assert_eq!(of(".note.go.buildid", 0, 3).as_deref(), Some(""));
    assert!(build_id(".text").is_none());
}

#[test]
fn paths_of_source_files_are_found() {
    let long = format!("{}.go", "a".repeat(600));
    let table =
        format!("\u{1}\0/src/a.go\0main.main\0/src/a.go\0{long}\0/src/\u{1b}.go\0b/b.go\0/cut.go");
    let of = |table: &str| {
        let file = table.as_bytes();
        source_files(&file, Range::of(&file, 0, table.len() as u64)).unwrap()
    };
    assert_eq!(of(&table).into_iter().collect::<Vec<_>>(), ["/src/a.go", "b/b.go"]);
    let far = format!("{}\0/far.go\0", "x".repeat(3 * Range::PIECE - 3));
    assert_eq!(of(&far).into_iter().collect::<Vec<_>>(), ["/far.go"]);
    let mut values = Values::default();
    values.of_paths(&of(&table), &of("/other/a.go\0b/b.go\0"));
    let expected = "path of a source file: `/src/a.go` published, `/other/a.go` rebuilt";
    assert_eq!(values.0[0].to_string(), expected);
    let many: String = (0..20_000).map(|number| format!("{number}.go\0")).collect();
    assert_eq!(of(&many).len(), MOST_PATHS);
}

#[test]
fn a_table_that_claims_the_file_again_and_again_is_not_followed() {
    // The largest table: every section is the whole file.
    let mut bytes = Sample::default().bytes();
    let (count, start) = (60_000_u64, bytes.len() as u64);
    let size = start + count * 64;
    for _ in 0..count {
        let mut section = [0; 64];
        section[4] = 1;
        section[32..40].copy_from_slice(&size.to_le_bytes());
        bytes.extend(section);
    }
    bytes[40..48].copy_from_slice(&start.to_le_bytes());
    bytes[60..62].copy_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
    let file = Watched::new(&bytes, size);
    let elf = Elf::read(&file).unwrap();
    let comparison = Comparison::of(&elf, &elf).unwrap();
    assert_eq!(comparison.lines(), [""; 0]);
    assert!(file.total() as u64 <= 8 * size, "{} of {size}", file.total());
    // Few sections, each the whole file.
    bytes[60..62].copy_from_slice(&200_u16.to_le_bytes());
    let file = Watched::new(&bytes, size);
    let elf = Elf::read(&file).unwrap();
    assert_eq!(elf.named_sections(MOST_SECTIONS).unwrap(), None);
}
