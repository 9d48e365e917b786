use super::*;

/// What the `tar` crate, which follows every extension, makes of an archive.
fn second_reader(bytes: &[u8]) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(io::Error::other)?;
        let path = path.trim_start_matches("./");
        let links = kind.is_hard_link() || kind.is_symlink();
        let target = entry.link_name_bytes().filter(|_| links);
        let target = target.map(|target| String::from_utf8(target.into_owned()).unwrap());
        let path = if kind.is_dir() { path.strip_suffix('/').unwrap_or(path) } else { path };
        let kind = ANY.kinds.iter().find(|ours| ours.letter().as_bytes() == [kind.as_byte()]);
        found.push(Found { path: path.to_owned(), kind: *kind.unwrap(), target, content });
    }
    Ok(found)
}

#[test]
fn what_is_accepted_is_what_the_tar_crate_reads() {
    let records = [record("path", "second"), record("mtime", "1.5"), record("size", "1")].concat();
    let parts = [
        member("d/", b'5', b""),
        long_name("d/first"),
        file("a"),
        extension(b'x', &records),
        file("b"),
        extension(b'K', b"target\0"),
        link(b'2', b"e"),
        header(b"name", b'0', 0, |block| block[345..351].copy_from_slice(b"prefix")),
    ];
    let bytes = ended(&[&parts.concat()]);
    assert_eq!(walked(&bytes, &ANY).unwrap(), second_reader(&bytes).unwrap());

    // Each byte that either reader looks at, changed, and the sums of the headers corrected.
    let within = [0..8, 124..136, 148..165, 257..265, 345..352, 508..576];
    let mut accepted = 0;
    let mut start = 0;
    for part in &parts {
        for place in within.iter().cloned().flatten().filter(|place| *place < part.len()) {
            for value in [0, b' ', b'0', b'1', b'7', b'/', b'=', b'\n', b'x', b'L', 0x80, 0xff] {
                let mut altered = bytes.clone();
                altered[start + place] = value;
                if !(148..156).contains(&place) {
                    let block = &mut altered[start..start + BLOCK];
                    let mut again = tar::Header::new_old();
                    again.as_mut_bytes().copy_from_slice(block);
                    again.set_cksum();
                    block.copy_from_slice(again.as_bytes());
                }
                let mut found = Vec::new();
                if walk(altered.as_slice(), &ANY, |member| collect(&mut found, member)).is_ok() {
                    accepted += 1;
                    match second_reader(&altered) {
                        Ok(second) => assert_eq!(found, second, "{start}+{place} became {value}"),
                        Err(error) => panic!("{start}+{place} became {value}: {error}"),
                    }
                }
            }
        }
        start += part.len();
    }
    assert!(accepted > 1000, "{accepted}");
}
