use super::*;

#[test]
fn extensions_name_the_next_member() {
    let long = "d/".repeat(500) + "e";
    type Parts = Vec<Vec<u8>>;
    let good: [(Parts, &str, Option<&str>); 9] = [
        (vec![long_name(&long), file("a")], &long, None),
        (vec![pax("path", &long), file("a")], &long, None),
        (vec![pax("mtime", "1.5"), file("a")], "a", None),
        (vec![pax("path", "b"), extension(b'K', b"c\0"), link(b'2', b"d")], "b", Some("c")),
        (vec![pax("linkpath", "c"), long_name("b"), link(b'1', b"d")], "b", Some("c")),
        (vec![pax("size", "1"), file("a")], "a", None),
        (vec![extension(b'x', b""), file("a")], "a", None),
        (vec![extension(b'g', &record("comment", "path=x")), file("a")], "a", None),
        (vec![extension(b'x', b"10 a=b=cd\n009 d=\xff\xfe\n"), file("a")], "a", None),
    ];
    for (mut parts, path, target) in good {
        parts.push(file("z"));
        let found = walked(&[parts.concat(), vec![0; 1024]].concat(), &ANY).unwrap();
        assert_eq!((found[0].path.as_str(), found[0].target.as_deref()), (path, target));
        assert_eq!((found[1].path.as_str(), found.len()), ("z", 2), "it is for one member only");
    }

    let x = |records: &[u8]| extension(b'x', records);
    let g = |key| extension(b'g', &record(key, "1"));
    let malformed = "is not made of pax records";
    let bad: [(Parts, &str); 32] = [
        (vec![long_name("b"), long_name("c")], "is the second of its kind for one member"),
        (vec![pax("path", "b"), pax("path", "c")], "is the second of its kind for one member"),
        (vec![pax("path", "b"), long_name("c")], "has a second name for one member"),
        (vec![long_name("b"), pax("path", "c")], "has a second name for one member"),
        (vec![extension(b'K', b"b\0"), pax("linkpath", "c")], "has a second name for one member"),
        (
            vec![x(&[record("path", "b"), record("path", "c")].concat())],
            "has a second name for one member",
        ),
        (
            vec![x(&[record("size", "1"), record("size", "1")].concat())],
            "has a second size for one member",
        ),
        (vec![pax("size", "1"), long_name("b")], "follows a pax record with a size"),
        (vec![pax("size", "1"), g("comment")], "follows a pax record with a size"),
        (vec![extension(b'L', b"b")], "has a name without an end"),
        (vec![extension(b'L', b"\0")], "has a name that is empty or has a zero byte"),
        (vec![extension(b'L', b"b\0\0")], "has a name that is empty or has a zero byte"),
        (vec![pax("path", "")], "has a name that is empty or has a zero byte"),
        (vec![pax("linkpath", "b\0c")], "has a name that is empty or has a zero byte"),
        (vec![pax("size", "")], "has a size that is not a number"),
        (vec![pax("size", "+1")], "has a size that is not a number"),
        (vec![pax("size", "1.0")], "has a size that is not a number"),
        (vec![pax("size", "9223372036854775808")], "has a size that is not a number"),
        (vec![x(b"7 a=bc\n\0")], malformed),
        (vec![x(b"8 a=bc\n")], malformed),
        (vec![x(b"6 a=bc\n")], malformed),
        (vec![x(b"+7 a=b\n")], malformed),
        (vec![x(b"3 \n")], "has a record without a key"),
        (vec![x(b"6 abc\n")], "has a record without a key"),
        (vec![x(b"6 =bc\n")], "has a record without a key"),
        (vec![g("SCHILY.xattr.security.capability")], "gives capabilities to all members"),
        (vec![g("LIBARCHIVE.xattr.security.capability")], "gives capabilities to all members"),
        (vec![pax("comment", "b\n9 path=c")], "has a record with a line break in it"),
        (vec![pax("GNU.sparse.major", "1")], "describes content that is stored in another form"),
        (vec![pax("SCHILY.realsize", "1")], "describes content that is stored in another form"),
        (vec![g("path")], "sets a name or a size for all members"),
        (vec![g("size")], "sets a name or a size for all members"),
    ];
    for (parts, reason) in bad {
        let last = parts.last().unwrap().len();
        let offset = parts.concat().len() - last;
        let bytes = [parts.concat(), file("a"), vec![0; 1024]].concat();
        assert_eq!(refusal(&bytes, &ANY), format!("the tar header at byte {offset} {reason}"));
    }
    // Directories of tar before POSIX, where a record gives them another name.
    for (name, letter, accepted) in [("a", 0, true), ("a/", b'0', true), ("a/", 0, false)] {
        let bytes = ended(&[&pax("path", "b"), &member(name, letter, b"")]);
        let reason = "is a directory by its name and a file by its type";
        let expected = (!accepted).then(|| format!("the tar header at byte 1024 {reason}"));
        assert_eq!(paths(&bytes, &FILES).err(), expected, "{name} {letter}");
    }
    for end in [0, 1, 2] {
        let bytes = [long_name("b"), vec![0; end * BLOCK]].concat();
        assert_eq!(
            refusal(&bytes, &ANY),
            "the tar header at byte 1024 is missing, although an extension describes it"
        );
    }
}

#[test]
fn a_member_has_one_size() {
    // CVE-2025-62518: a header says 0 and a record the size, and one reader takes the content for
    // headers. CVE-2026-33055: the other way around.
    let smuggled = file("evil");
    let with = |record: &str, size: u64, change: fn(&mut [u8; BLOCK])| {
        let header = header(b"a", b'0', size, change);
        ended(&[&pax("size", record), &header, &smuggled])
    };
    let length = smuggled.len() as u64;
    let other = "the tar header at byte 1024 has a different size from its pax record";
    assert_eq!(refusal(&with(&length.to_string(), 0, |_| ()), &FILES), other);
    assert_eq!(refusal(&with("0", length, |_| ()), &FILES), other);
    let blank = |block: &mut [u8; BLOCK]| block[124..136].fill(0);
    assert_eq!(refusal(&with(&length.to_string(), 0, blank), &FILES), other);
    assert_eq!(paths(&with(&length.to_string(), length, |_| ()), &FILES).unwrap(), ["a"]);

    // What writers put where the size has no room; the content is not there.
    let huge = (LARGEST_OCTAL + 1).to_string();
    let cut = "the archive is cut off at byte 3584";
    let offset = "unexpected end of file";
    for bytes in [
        with(&huge, 0, |_| ()),
        with(&huge, 0, blank),
        with(&huge, LARGEST_OCTAL, |_| ()),
        with(&huge, LARGEST_OCTAL + 1, |_| ()),
    ] {
        let nothing = |_: Member<'_>| Ok::<_, TarError>(());
        assert_eq!(walk(bytes.as_slice(), &FILES, nothing).unwrap_err().to_string(), cut);
        let TarError::Read(error) = walked(&bytes, &FILES).unwrap_err() else { panic!() };
        assert_eq!(error.to_string(), offset);
    }
    assert_eq!(refusal(&with(&huge, 7, |_| ()), &FILES), other);
    assert_eq!(refusal(&with(&LARGEST_OCTAL.to_string(), 0, |_| ()), &FILES), other);
}
