//! Layers as listings, and what their image has.

use super::*;

/// An entry as it is written in these tests: `d` for a directory, `f` for a file, `l TARGET`,
/// `h TARGET`, `c` for a device.
type Layer<'a> = &'a [(&'a str, &'a str)];

fn rootfs(layers: &[Layer<'_>]) -> Result<Rootfs, RootfsError> {
    let mut rootfs = Rootfs::default();
    for layer in layers {
        for (member, (path, what)) in layer.iter().enumerate() {
            let entry = match (what.split_at(1), what.get(2..).unwrap_or_default()) {
                (("d", _), _) => RootfsEntry::Directory,
                (("f", _), _) => RootfsEntry::File(member, 1),
                (("l", _), target) => RootfsEntry::SymbolicLink(target),
                (("h", _), target) => RootfsEntry::HardLink(target),
                _ => RootfsEntry::Other(Kind::CharacterDevice),
            };
            rootfs.add(path, entry)?;
        }
        rootfs.end_layer();
    }
    Ok(rootfs)
}

/// What a path is: `PATH LAYER.MEMBER` of a file, or the words for anything else.
fn found(layers: &[Layer<'_>], path: &str) -> String {
    let found = rootfs(layers).and_then(|rootfs| rootfs.find(path));
    match found {
        Ok(Found::File(path, LayerFile { layer, member, .. })) => {
            format!("{path} {layer}.{member}")
        }
        Ok(Found::NotAFile(kind)) => kind.to_owned(),
        Ok(Found::Nothing) => "nothing".to_owned(),
        Ok(Found::Dangling(target)) => format!("dangling {target}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_upper_layer_counts_and_whiteouts_hide_what_is_below() {
    const BASE: Layer<'_> = &[("usr", "d"), ("usr/bin/x", "f"), ("usr/bin/y", "f"), ("z", "f")];
    for (upper, path, expected) in [
        (&[][..], "/usr/bin/x", "/usr/bin/x 0.1"),
        (&[("usr/bin/x", "f")], "/usr/bin/x", "/usr/bin/x 1.0"),
        (&[("usr/bin/.wh.x", "f")], "/usr/bin/x", "nothing"),
        (&[("usr/bin/.wh.x", "f")], "/usr/bin/y", "/usr/bin/y 0.2"),
        (&[("usr/bin/.wh.xx", "f")], "/usr/bin/x", "/usr/bin/x 0.1"),
        (&[("usr/.wh.bin", "f")], "/usr/bin/x", "nothing"),
        (&[(".wh.usr", "f")], "/usr/bin/x", "nothing"),
        (&[(".wh.usr", "f")], "/z", "/z 0.3"),
        (&[("usr/bin/.wh..wh..opq", "f")], "/usr/bin/x", "nothing"),
        (&[(".wh..wh..opq", "f")], "/z", "nothing"),
        (&[("usr/.wh..wh..opq", "f")], "/z", "/z 0.3"),
        (&[("usr/bin/.wh.x", "f"), ("usr/bin/.wh.y", "f")], "/usr/bin", "a directory"),
        (&[("usr/bin/.wh..wh..opq", "f")], "/usr/bin/../../z", "/z 0.3"),
        // Files of the same layer stay, wherever the whiteout is.
        (&[("usr/bin/x", "f"), ("usr/bin/.wh..wh..opq", "f")], "/usr/bin/x", "/usr/bin/x 1.0"),
        (&[("usr/bin/.wh..wh..opq", "f"), ("usr/bin/x", "f")], "/usr/bin/x", "/usr/bin/x 1.1"),
        (&[("usr/bin/x", "f"), ("usr/bin/.wh.x", "f")], "/usr/bin/x", "/usr/bin/x 1.0"),
        (&[("usr/bin/x", "f"), ("usr/.wh.bin", "f")], "/usr/bin/y", "nothing"),
        (&[("usr/bin/x", "f"), ("usr/.wh.bin", "f")], "/usr/bin/x", "/usr/bin/x 1.0"),
        // A directory stays one, anything else takes the place of what was there.
        (&[("usr/bin", "d")], "/usr/bin/x", "/usr/bin/x 0.1"),
        (&[("usr/bin", "f")], "/usr/bin/x", "nothing"),
        (&[("usr", "l z")], "/usr", "/z 0.3"),
        (&[("usr/bin/x", "d")], "/usr/bin/x", "a directory"),
        (&[("usr/bin/x", "c")], "/usr/bin/x", "a character device"),
        (&[("z", "d"), ("z/x", "f")], "/z/x", "/z/x 1.1"),
        // What AUFS stored for itself hides nothing.
        (&[("usr/bin/.wh..wh.x", "f")], "/usr/bin/x", "/usr/bin/x 0.1"),
    ] {
        assert_eq!(found(&[BASE, upper], path), expected, "{upper:?} {path}");
    }
    for (name, expected) in [
        (".wh.", "`usr/.wh.` is not a valid whiteout"),
        (".wh..", "`usr/.wh..` is not a valid whiteout"),
        (".wh...", "`usr/.wh...` is not a valid whiteout"),
        (".wh....", "/z 0.3"),
    ] {
        let entry = format!("usr/{name}");
        assert_eq!(found(&[BASE, &[(entry.as_str(), "f")]], "/z"), expected);
    }
    let through = "the path `z` goes through `z`, which is not a directory";
    assert_eq!(found(&[BASE, &[("z/x", "f")]], "/z"), through);
}

#[test]
fn links_are_resolved_inside_the_image() {
    const BASE: Layer<'_> = &[
        ("usr/bin/x", "f"),
        ("bin", "l usr/bin"),
        ("absolute", "l /usr/bin/x"),
        ("up", "l ../../../usr/bin/x"),
        ("out", "l /../../etc/passwd"),
        ("a/b/relative", "l ../../usr/./bin//x"),
        ("a/b/through", "l /bin/../bin/x"),
        ("self", "l self"),
        ("root", "l /"),
        ("dangling", "l /none/x"),
        ("directory", "l usr"),
        ("dev/null", "c"),
        ("into", "l dev/null"),
        ("through-a-file", "l usr/bin/x/y"),
    ];
    for (path, expected) in [
        ("/bin/x", "/usr/bin/x 0.0"),
        ("bin/x", "/usr/bin/x 0.0"),
        ("/absolute", "/usr/bin/x 0.0"),
        ("/up", "/usr/bin/x 0.0"),
        ("/root/root/bin/x", "/usr/bin/x 0.0"),
        ("/a/b/relative", "/usr/bin/x 0.0"),
        ("/a/b/through", "/usr/bin/x 0.0"),
        ("/out", "dangling /etc/passwd"),
        ("/dangling", "dangling /none/x"),
        ("/self", "the path `/self` goes through more than 40 symbolic links"),
        ("/directory", "a directory"),
        ("/usr", "a directory"),
        ("/", "a directory"),
        ("/into", "a character device"),
        ("/through-a-file", "nothing"),
        ("/usr/bin/x/y", "nothing"),
        ("/none", "nothing"),
    ] {
        assert_eq!(found(&[BASE], path), expected, "{path}");
    }
}

#[test]
fn entries_go_where_their_directory_leads() {
    const BASE: Layer<'_> =
        &[("usr/bin/x", "f"), ("bin", "l usr/bin"), ("new", "l /not/there"), ("loop", "l loop")];
    for (upper, path, expected) in [
        (&[("bin/x", "f")][..], "/usr/bin/x", "/usr/bin/x 1.0"),
        (&[("bin/.wh.x", "f")], "/usr/bin/x", "nothing"),
        (&[("bin/.wh..wh..opq", "f")], "/usr/bin/x", "nothing"),
        (&[("bin", "d"), ("bin/x", "f")], "/usr/bin/x", "/usr/bin/x 0.0"),
        (&[("bin", "d"), ("bin/x", "f")], "/bin/x", "/bin/x 1.1"),
        (&[(".wh.bin", "f")], "/usr/bin/x", "/usr/bin/x 0.0"),
        (&[(".wh.bin", "f")], "/bin/x", "nothing"),
        (&[("new/x", "f")], "/not/there/x", "/not/there/x 1.0"),
        (&[("loop/x", "f")], "/bin/x", "the path `loop` goes through more than 40 symbolic links"),
    ] {
        assert_eq!(found(&[BASE, upper], path), expected, "{upper:?} {path}");
    }
}

#[test]
fn a_hard_link_is_the_file_that_it_names() {
    const BASE: Layer<'_> = &[("usr/bin/x", "f"), ("bin", "l usr/bin"), ("dev/null", "c")];
    for (upper, path, expected) in [
        (&[("y", "h usr/bin/x")][..], "/y", "/y 0.0"),
        (&[("y", "h ./bin/x")], "/y", "/y 0.0"),
        (&[("y", "h /../usr/bin/x")], "/y", "/y 0.0"),
        // It outlives the name, and does not follow what becomes of it.
        (&[("y", "h usr/bin/x"), ("usr/bin/.wh.x", "f")], "/y", "/y 0.0"),
        (&[("y", "h usr/bin/x"), ("usr/bin/x", "f")], "/y", "/y 0.0"),
        (&[("y", "h usr/bin/x"), ("z", "h y")], "/z", "/z 0.0"),
        // To a symbolic link, it is one.
        (&[("c", "h bin")], "/c/x", "/usr/bin/x 0.0"),
        (&[("y", "h dev/null")], "/y", "a character device"),
        (&[("y", "h none")], "/y", "a hard link to nothing"),
        (&[("y", "h usr")], "/y", "a hard link to nothing"),
        (&[("y", "h z"), ("z", "f")], "/y", "a hard link to nothing"),
        (&[("y", "h usr/bin/x/z")], "/y", "a hard link to nothing"),
        (&[("y", "h none")], "/usr/bin/x", "/usr/bin/x 0.0"),
    ] {
        assert_eq!(found(&[BASE, upper], path), expected, "{upper:?} {path}");
    }
}

#[test]
fn what_an_entry_costs_is_limited() {
    let long = "a".repeat(MAX_PATH - 2);
    let to_long = format!("l {long}");
    let base: Layer<'_> = &[("d", to_long.as_str())];
    assert_eq!(found(&[base, &[("d/x", "f")]], "/d/x"), format!("/{long}/x 1.0"));
    let error = found(&[base, &[("d/xy", "f")]], "/d/x");
    assert!(error.ends_with("is longer than 1024 bytes"), "{error}");
    let mut rootfs = Rootfs::default();
    for number in 0..MAX_ENTRIES {
        rootfs.add(&format!("{number}"), RootfsEntry::Directory).unwrap();
    }
    assert_eq!(rootfs.add("x", RootfsEntry::Directory), Err(RootfsError::TooMany));
    // An opaque directory is seen again and again, behind other names.
    let mut rootfs = Rootfs::default();
    for number in 0..10_000 {
        rootfs.add(&format!("d/{number}"), RootfsEntry::Directory).unwrap();
        rootfs.add(&format!("{number}"), RootfsEntry::SymbolicLink("d")).unwrap();
    }
    let failed = (0..10_000)
        .map(|number| rootfs.add(&format!("{number}/.wh..wh..opq"), RootfsEntry::File(0, 0)))
        .enumerate()
        .find_map(|(number, result)| Some((number, result.err()?)));
    assert!(matches!(failed, Some((701.., RootfsError::TooMuchWork))), "{failed:?}");
}
