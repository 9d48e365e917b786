//! Archives as projects release them, and as no one should.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use crate::binary::sample::Sample;
use crate::bundle::FileManifest;
use crate::model::{Digest, ErrorClass, PluginName, Sha512};
use crate::publish::source::tests::{defined, no_fetch, taken};
use crate::publish::source::{Cache, Evidence, Fetch, Plugin};

const FILE: u8 = b'0';

/// A member as an attacker would write it: nothing is checked but the sum of its header.
fn member(name: &str, letter: u8, content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64;
    let mut bytes = header(name, letter, size);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn header(name: &str, letter: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[156] = letter;
    if matches!(letter, b'1' | b'2') {
        header.as_mut_bytes()[157..163].copy_from_slice(b"bridge");
    }
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while format!("{length}{rest}").len() != length {
        length += 1;
    }
    member("pax", b'x', format!("{length}{rest}").as_bytes())
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_with(window: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The plugins from an archive beside the definition, or the words of the refusal.
fn from_archive(bytes: &[u8], plugins: &str) -> Result<Vec<Plugin>, (String, ErrorClass)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cni.tgz"), bytes).unwrap();
    let definition = defined("archive: cni.tgz", "linux/amd64", plugins);
    let mut fetch = no_fetch();
    let temporary = tempfile::tempdir().unwrap();
    fetch.client = crate::net::Client::new(crate::net::Settings {
        temporary: temporary.path().to_owned(),
        ..Default::default()
    });
    let result = taken(&definition, folder.path(), &fetch);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing has a name");
    result.map_err(|(words, class)| {
        let start = format!("` from `{}`: ", folder.path().join("cni.tgz").display());
        (words.replace(&start, "`: "), class)
    })
}

#[test]
fn takes_plugins_from_archives_whatever_compresses_them() {
    let (bridge, macvlan) = (Sample::named("bridge"), Sample::named("macvlan"));
    let plain = archive(&[
        member("./", b'5', b""),
        member("./LICENSE", FILE, b"text"),
        member("./macvlan", FILE, &macvlan),
        member("./bridge", FILE, &bridge),
        member("./link", b'2', b""),
    ]);
    let (first, second) = plain.split_at(1024);
    for bytes in [
        plain.clone(),
        gzip(&plain),
        [gzip(first), gzip(second)].concat(),
        zstd_with(23, &plain),
        zstd_with(27, &plain),
        [zstd_with(20, first), zstd_with(20, second)].concat(),
    ] {
        let plugins = from_archive(&bytes, "bridge, macvlan").unwrap();
        for (plugin, content) in plugins.iter().zip([&bridge, &macvlan]) {
            let taken = plugin.taken();
            assert_eq!(plugin.facts.digest, Digest::of(content));
            assert_eq!(plugin.sha512(), Sha512::of(content));
            assert_eq!(taken.origin().member.as_deref(), Some(plugin.facts.name.as_str()));
            let artefact = taken.artefact().unwrap();
            assert_eq!((artefact.digest, artefact.size), (Digest::of(&bytes), bytes.len() as u64));
            let mut packed = Vec::new();
            plugin.entry("x").content.read_to_end(&mut packed).unwrap();
            assert!(packed == *content);
        }
    }
}

#[test]
fn what_was_unpacked_is_kept_for_builds_and_not_for_locks() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = gzip(&archive(&[
        member("./bridge", FILE, &Sample::named("bridge")),
        member("./macvlan", FILE, &Sample::named("macvlan")),
    ]));
    fs::write(folder.path().join("cni.tgz"), &bytes).unwrap();
    let mut fetch = no_fetch();
    fetch.cache = Cache::at(folder.path().join("cache"));
    let definition = defined("archive: cni.tgz", "linux/amd64", "bridge, macvlan");
    let take = |fetch: &Fetch| {
        let plugins = taken(&definition, folder.path(), fetch).unwrap();
        let seen = plugins.into_iter().map(|plugin| {
            let member = plugin.taken().origin().member.clone().unwrap();
            (plugin.facts.digest, plugin.sha512(), member, plugin.taken().artefact())
        });
        seen.collect::<Vec<_>>()
    };
    let unpacked = take(&no_fetch());
    for _ in 0..2 {
        assert_eq!(take(&fetch), unpacked);
    }
    // What a damaged file is taken for: nothing.
    let kept = folder.path().join("cache/sha256").join(unpacked[0].0.hex());
    fs::write(&kept, b"other").unwrap();
    assert_eq!(take(&fetch), unpacked);
    assert_eq!(fs::read(&kept).unwrap(), Sample::named("bridge"));

    // A note is what a build goes by, and it is one for these bytes and these plugins alone.
    let wanted: Vec<(PluginName, Option<String>)> =
        ["bridge", "macvlan"].map(|name| (name.parse().unwrap(), None)).into();
    let forged = [1, 0].map(|number: usize| {
        let (digest, _, path, _) = &unpacked[number];
        serde_json::json!({"path": path, "digest": digest, "privileges": ["set-user-id"]})
    });
    let note = serde_json::json!({"members": forged, "license": null});
    fetch.cache.keep_note("members", &(Digest::of(&bytes), &wanted), &note);
    let digests = |fetch: &Fetch| take(fetch).into_iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(digests(&fetch), [unpacked[1].0, unpacked[0].0]);
    fetch.evidence = Evidence::Collect;
    assert_eq!(take(&fetch), unpacked);
}

#[test]
fn a_member_may_have_another_name_and_be_two_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let content = Sample::named("flannel");
    let directory = format!("{}/", "d".repeat(60));
    let members = [
        member(&format!("{directory}flannel-amd64"), FILE, &content),
        pax("path", &format!("{directory}{}", "long".repeat(40))),
        member("short", FILE, &content),
    ];
    fs::write(folder.path().join("a.tar"), archive(&members)).unwrap();
    let long = format!("{directory}{}", "long".repeat(40));
    let source = format!(
        "archive: {{from: a.tar, members: {{flannel: \"{directory}flannel-{{architecture}}\", \
         other: \"{directory}flannel-amd64\", long: \"./{long}\"}}}}"
    );
    let definition = defined(&source, "linux/amd64", "flannel, other, long");
    let plugins = taken(&definition, folder.path(), &no_fetch()).unwrap();
    let found: Vec<_> = plugins
        .iter()
        .map(|it| (it.facts.name.as_str(), it.taken().origin().member.clone().unwrap()))
        .collect();
    let flannel = format!("{directory}flannel-amd64");
    assert_eq!(found, [("flannel", flannel.clone()), ("long", long), ("other", flannel)]);
    assert!(plugins.iter().all(|plugin| plugin.facts.digest == Digest::of(&content)));
}

/// Each hostile archive, with the smallest change that makes it acceptable.
#[test]
fn refuses_what_readers_read_differently_and_what_leads_out() {
    let bridge = Sample::named("bridge");
    let file = |name: &str| member(name, FILE, &bridge);
    let whole = archive(&[file("bridge")]);
    let gzipped = gzip(&whole);
    let (cut, garbage) = (&gzipped[..gzipped.len() - 9], [&gzipped[..], b"garbage"].concat());
    let mut flipped = gzipped.clone();
    let sum = flipped.len() - 8;
    flipped[sum] ^= 1;
    let frame = zstd_with(20, &whole);
    let size = bridge.len().to_string();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>, &str)> = vec![
        (
            "a parent path",
            archive(&[file("../bridge"), file("bridge")]),
            archive(&[file("a/bridge2"), file("bridge")]),
            "entry `../bridge`: it is not a relative path of plain names",
        ),
        (
            "a parent path further on",
            archive(&[file("bridge"), file("a/../../x")]),
            archive(&[file("bridge"), file("a/x")]),
            "entry `a/../../x`: it is not a relative path of plain names",
        ),
        (
            "an absolute path",
            archive(&[file("/bridge")]),
            archive(&[file("bridge")]),
            "entry `/bridge`: it is not a relative path of plain names",
        ),
        (
            "a symbolic link",
            archive(&[member("bridge", b'2', b"")]),
            archive(&[member("link", b'2', b""), file("bridge")]),
            "its member `bridge` is a symbolic link, expected a regular file",
        ),
        (
            "a hard link",
            archive(&[file("a"), member("bridge", b'1', b"")]),
            archive(&[file("bridge"), member("a", b'1', b"")]),
            "its member `bridge` is a hard link, expected a regular file",
        ),
        (
            "a device",
            archive(&[member("bridge", b'3', b"")]),
            archive(&[member("null", b'3', b""), file("bridge")]),
            "its member `bridge` is a character device, expected a regular file",
        ),
        (
            "a name twice",
            archive(&[file("bridge"), file("./bridge")]),
            archive(&[file("bridge"), file("./other")]),
            "entry `bridge` appears twice",
        ),
        (
            "a directory and a file of one name",
            archive(&[member("bridge", b'5', b""), file("bridge")]),
            archive(&[member("a", b'5', b""), file("bridge")]),
            "entry `bridge` appears twice",
        ),
        (
            "two candidates",
            archive(&[file("one/bridge"), file("two/bridge")]),
            archive(&[file("one/bridge"), file("two/deeper/bridge")]),
            "it has several members that could be `bridge`: `one/bridge`, `two/bridge`; name one in `members`",
        ),
        (
            "another name",
            archive(&[file("bridge-amd64")]),
            archive(&[file("cni/bridge")]),
            "it has no member `bridge`; it has `bridge-amd64`",
        ),
        (
            "a size in pax that the header contradicts (CVE-2025-62518)",
            archive(&[pax("size", &size), header("bridge", FILE, 0), file("inner")]),
            archive(&[pax("size", &size), file("bridge")]),
            "has a different size from its pax record",
        ),
        (
            "the opposite (CVE-2026-33055)",
            archive(&[pax("size", "0"), file("bridge")]),
            archive(&[pax("mtime", "0"), file("bridge")]),
            "has a different size from its pax record",
        ),
        (
            "a sparse file",
            archive(&[member("bridge", b'S', &bridge)]),
            archive(&[file("bridge")]),
            "entry `bridge` is a sparse file, which is not accepted",
        ),
        (
            "a cut archive",
            whole[..whole.len() - 2048].to_vec(),
            whole[..whole.len() - 1024].to_vec(),
            "the archive cannot be read: ",
        ),
        ("cut gzip", cut.to_vec(), gzipped.clone(), "the archive cannot be read: "),
        ("gzip with a wrong sum", flipped, gzipped.clone(), "the archive cannot be read: "),
        ("gzip with garbage", garbage, gzipped.clone(), "the archive cannot be read: "),
        (
            "zstd with garbage",
            [&frame[..], b"garbage"].concat(),
            frame.clone(),
            "the archive cannot be read: ",
        ),
        (
            "a zstd window of 256 MiB",
            zstd_with(28, &whole),
            zstd_with(27, &whole),
            "the archive cannot be read: ",
        ),
        (
            "bytes behind the end",
            [&whole[..], b"x"].concat(),
            [&whole[..], &[0; 512]].concat(),
            "the archive continues after its end",
        ),
        (
            "another format",
            b"\xfd7zXZ\0 and so on".to_vec(),
            whole.clone(),
            "it is compressed with xz",
        ),
        ("gzip of something else", gzip(b"text"), gzipped, "the archive is cut off at byte 4"),
        (
            "a page",
            b"\n<!DOCTYPE html><title>Sign in</title>".to_vec(),
            archive(&[file("<bridge"), file("bridge")]),
            "it is an HTML or XML page, not the asset: is it behind a login?",
        ),
        ("nothing", Vec::new(), whole.clone(), "it has no member `bridge`; it has no files"),
        (
            "no program",
            archive(&[member("bridge", FILE, b"#!/bin/sh\n")]),
            whole.clone(),
            "is not an ELF program",
        ),
    ];
    for (name, refused, accepted, words) in cases {
        let (error, class) = from_archive(&refused, "bridge").expect_err(name);
        assert!(error.contains(words), "{name}: {error}");
        assert!(
            name.starts_with("no program")
                || error.contains("`bridge` for linux/amd64 (source `upstream`)"),
            "{error}"
        );
        assert_eq!(class, ErrorClass::Request, "{name}: {error}");
        if let Err((error, _)) = from_archive(&accepted, "bridge") {
            panic!("the twin of {name}: {error}");
        }
    }
}

#[test]
fn what_is_announced_too_large_is_not_unpacked() {
    let size = FileManifest::MAX_PLUGIN_SIZE + 1;
    let (error, _) = from_archive(&header("bridge", FILE, size), "bridge").expect_err("large");
    let expected = "its member `bridge` is larger than 1073741824 bytes, the limit for one file";
    assert!(error.ends_with(expected), "{error}");
    let (error, _) = from_archive(&header("other", FILE, 8 << 30), "bridge").expect_err("larger");
    assert!(error.ends_with("the archive is longer than 4294967296 bytes"), "{error}");
}

#[test]
fn all_that_is_asked_of_an_archive_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let definition = defined(
        "archive: {from: nothing, members: {a: \"{architecture}\", b: b, c: c, d: d, e: e}}",
        "linux/amd64, linux/arm64",
        "a, b, c, d, e",
    );
    let (error, class) = taken(&definition, folder.path(), &no_fetch()).expect_err("not there");
    let expected = format!(
        "cannot take `a`, `b`, `c` and 2 others for linux/amd64, linux/arm64 (source `upstream`) \
         from `{}`: cannot read it: No such file or directory (os error 2)",
        folder.path().join("nothing").display()
    );
    assert_eq!((error, class), (expected, ErrorClass::CouldNot));
}

/// What the tools of the system make of real plugins, as upstream's release script does.
#[test]
fn reads_what_tar_and_its_compressors_write() {
    let plugins = Path::new("/usr/lib/cni");
    if !plugins.join("bridge").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = ["bridge", "host-local", "macvlan"];
    for (name, options) in [
        ("a.tar", "-cf"),
        ("a.tgz", "-czf"),
        ("pax.tgz", "--format=pax -czf"),
        ("v7.tar", "--format=v7 -cf"),
    ] {
        let script = format!(
            "tar -C {} {options} {name} ./bridge ./host-local ./macvlan",
            plugins.display()
        );
        run(folder.path(), &script);
    }
    run(
        folder.path(),
        "command -v zstd >/dev/null || exit 0; zstd -q --long=27 a.tar -o a.tar.zst",
    );
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let definition = defined(&format!("archive: {name}"), "linux/amd64", &list.join(", "));
        let found = taken(&definition, folder.path(), &no_fetch()).unwrap();
        for (plugin, name) in found.iter().zip(list) {
            let content = fs::read(plugins.join(name)).unwrap();
            assert_eq!(plugin.facts.digest, Digest::of(&content), "{name}");
        }
    }
}

fn run(folder: &Path, script: &str) {
    let mut command = std::process::Command::new("sh");
    assert!(command.args(["-c", script]).current_dir(folder).status().unwrap().success());
}
