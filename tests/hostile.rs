//! Hostile payloads: the author of the image is the attacker, and every document agrees with its
//! layer. The policy admits everything, as if the attacker's signature were trusted; signing each
//! row would take longer than all the rest.
//!
//! The built program refuses each row with its own code, in bounded time, and the plugin directory
//! is unchanged. The rows are attacks that other unpackers were vulnerable to; the twin that is
//! accepted comes first.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cnister::model::Digest;
use forge::Forge;
use release::Release;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Scene, forge, peer, release};
use tar::EntryType;

const BIN: &str = "root/opt/cni/bin";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Far longer than any refusal takes, but finite.
const BOUND: Duration = Duration::from_secs(10);

/// A member of an archive, with the length claimed in its header.
struct Member<'a> {
    name: &'a str,
    kind: EntryType,
    content: &'a [u8],
    claims: u64,
    mode: u32,
}

fn member<'a>(name: &'a str, kind: EntryType, content: &'a [u8]) -> Member<'a> {
    Member { name, kind, content, claims: content.len() as u64, mode: 0o755 }
}

/// The bytes of consecutive members, without an end marker. Names are not checked.
fn members(list: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in list {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..member.name.len()].copy_from_slice(member.name.as_bytes());
        header.set_entry_type(member.kind);
        header.set_size(member.claims);
        header.set_mode(member.mode);
        if matches!(member.kind, EntryType::Symlink | EntryType::Link) {
            header.as_mut_bytes()[157..169].copy_from_slice(b"/etc/passwd\0");
        }
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn zstd_wide(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What a row uses as the plugin layer: the blob, its compression, and its uncompressed bytes.
struct Layer {
    blob: Vec<u8>,
    suffix: &'static str,
    plain: Vec<u8>,
}

fn plain(bytes: Vec<u8>) -> Layer {
    Layer { blob: bytes.clone(), suffix: "", plain: bytes }
}

/// Puts the layer into the image and makes every document agree with it.
fn plant(scene: &Scene, layer: &Layer) {
    drop(fs::remove_dir_all(scene.at("forged")));
    forge::copy(&scene.at("layout-a"), &scene.at("forged"));
    let forge = Forge::new(scene.at("forged"));
    let diff_id = Digest::of(&layer.plain).to_string();
    forge.manifest(|manifest| {
        let mut config = forge.read(manifest["config"]["digest"].as_str().unwrap());
        let old = config["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
        let text =
            manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"].as_str().unwrap();
        let text = text.replace(&old, &diff_id);
        config["rootfs"]["diff_ids"][0] = json!(diff_id);
        config["config"]["Labels"]["dev.cnister.bundle"] = json!(Digest::of(text.as_bytes()));
        manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"] = json!(text);
        let config = config.to_string();
        manifest["config"]["digest"] = json!(forge.store(config.as_bytes()));
        manifest["config"]["size"] = json!(config.len());
        let slot = &mut manifest["layers"][0];
        slot["mediaType"] = json!(format!("{LAYER}{}", layer.suffix));
        slot["digest"] = json!(forge.store(&layer.blob));
        slot["size"] = json!(layer.blob.len());
    });
}

const INSTALL: &str = "install --policy any.yaml --root root oci:forged:1.0.0";
const ANY: &str = "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - {name: any, images: [\"**\"], mode: warn}\n";

/// A scene with one release and a node with another installer's plugins.
fn scene() -> (Scene, Vec<u8>) {
    let scene = Scene::in_memory();
    let release = Release::unsigned(&scene, "a", "1.0.0", &["bridge"], 0);
    scene.write("any.yaml", ANY);
    scene.write(&format!("{BIN}/flannel"), "another owner's");
    scene.write(&format!("{BIN}/.hidden"), "also another owner's");
    (scene, release.files["bridge"].clone())
}

/// Every row is refused with its code, and the directory is unchanged; then the valid layer is
/// accepted.
fn refuse_all(rows: Vec<(&str, Layer, &str)>, scene: &Scene, good: &[u8]) {
    let before = scene.tree("root/opt");
    for (what, layer, code) in rows {
        plant(scene, &layer);
        // Proven bytes that an earlier row left in the local store would suffice, and the layer
        // would not be read.
        drop(fs::remove_dir_all(scene.at("root/var")));
        let started = Instant::now();
        let run = scene.run(INSTALL);
        assert!(started.elapsed() < BOUND, "{what} took {:?}", started.elapsed());
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{what}: {}", run.stdout);
        assert!(run.stdout.starts_with(&format!("no: {code}: ")), "{what}: {}", run.stdout);
        assert_eq!(scene.tree("root/opt"), before, "{what}");
    }
    plant(scene, &plain(ended(members(&[member("opt/cni/bin/bridge", EntryType::Regular, good)]))));
    drop(fs::remove_dir_all(scene.at("root/var")));
    scene.run_ok(INSTALL);
    assert_eq!(fs::read(scene.at(BIN).join("bridge")).unwrap(), good);
}

#[test]
fn entries_that_unpackers_fell_for() {
    use EntryType as T;
    let (scene, good) = scene();
    let name = "opt/cni/bin/bridge";
    let listed = || member(name, T::Regular, &good);
    let after = |more: Vec<Member<'_>>| {
        let mut all = vec![listed()];
        all.extend(more);
        plain(ended(members(&all)))
    };
    let before = |first: Vec<Member<'_>>| {
        let mut all = first;
        all.push(listed());
        plain(ended(members(&all)))
    };
    let alone = |member| plain(ended(members(&[member])));
    // A header with size 0 and a pax record with another size, and the reverse: parsers disagree on
    // which one counts.
    let smuggled = members(&[member("opt/cni/bin/evil", T::Regular, b"smuggled")]);
    let record = format!("{} size={}\n", 14, smuggled.len());
    let hidden = Member { claims: 0, ..member(name, T::Regular, &smuggled) };
    let rows = vec![
        ("a symbolic link", alone(member(name, T::Symlink, b"")), "not-a-plain-file"),
        (
            "a symbolic link beside it",
            after(vec![member("opt/cni/bin/vlan", T::Symlink, b"")]),
            "not-a-plain-file",
        ),
        (
            "a symbolic link named `.`",
            before(vec![member(".", T::Symlink, b"")]),
            "not-a-plain-file",
        ),
        (
            "a symbolic link, and a file through it",
            before(vec![member("opt/cni", T::Symlink, b"")]),
            "not-a-plain-file",
        ),
        ("a hard link", alone(member(name, T::Link, b"")), "not-a-plain-file"),
        ("a character device", alone(member(name, T::Char, b"")), "not-a-plain-file"),
        ("a block device", alone(member(name, T::Block, b"")), "not-a-plain-file"),
        ("a FIFO", alone(member(name, T::Fifo, b"")), "not-a-plain-file"),
        ("a contiguous file", alone(member(name, T::Continuous, &good)), "not-a-plain-file"),
        ("a sparse file", alone(member(name, T::GNUSparse, &good)), "not-a-plain-file"),
        ("an unknown type", alone(member(name, T::new(b'Z'), &good)), "not-a-plain-file"),
        (
            "a GNU long name",
            before(vec![member("././@LongLink", T::GNULongName, b"opt/cni/bin/evil\0")]),
            "not-a-plain-file",
        ),
        (
            "a GNU long link",
            before(vec![member("././@LongLink", T::GNULongLink, b"/etc/passwd\0")]),
            "not-a-plain-file",
        ),
        (
            "a pax path",
            before(vec![member("pax", T::XHeader, b"25 path=opt/cni/bin/evil\n")]),
            "not-a-plain-file",
        ),
        (
            "a pax path for all",
            before(vec![member("pax", T::XGlobalHeader, b"25 path=opt/cni/bin/evil\n")]),
            "not-a-plain-file",
        ),
        (
            "a pax record and a long name",
            before(vec![
                member("pax", T::XHeader, b"25 path=opt/cni/bin/evil\n"),
                member("././@LongLink", T::GNULongName, b"opt/cni/bin/vlan\0"),
            ]),
            "not-a-plain-file",
        ),
        (
            "a pax size over a size of 0",
            plain(ended(
                [members(&[member("pax", T::XHeader, record.as_bytes())]), members(&[hidden])]
                    .concat(),
            )),
            "not-a-plain-file",
        ),
        (
            "a pax size of 0 over a size",
            before(vec![member("pax", T::XHeader, b"9 size=0\n")]),
            "not-a-plain-file",
        ),
        ("a size of 0 before content", alone(Member { claims: 0, ..listed() }), "file-altered"),
        (
            "an absolute path",
            after(vec![member("/opt/cni/bin/evil", T::Regular, b"")]),
            "extra-entry",
        ),
        (
            "a parent path",
            after(vec![member("opt/cni/bin/../../../etc/cron.d/evil", T::Regular, b"")]),
            "extra-entry",
        ),
        (
            "a path that begins with `./`",
            before(vec![member("./opt/cni/bin/evil", T::Regular, b"")]),
            "extra-entry",
        ),
        ("the root directory", before(vec![member("./", T::Directory, b"")]), "extra-entry"),
        (
            "an unlisted name",
            after(vec![member("opt/cni/bin/evil", T::Regular, b"x")]),
            "extra-entry",
        ),
        (
            "another directory",
            after(vec![member("etc/cron.d/evil", T::Regular, b"x")]),
            "extra-entry",
        ),
        (
            "a name below the plugin",
            after(vec![member("opt/cni/bin/bridge/evil", T::Regular, b"x")]),
            "extra-entry",
        ),
        (
            "a name of escapes",
            after(vec![member("opt/cni/bin/\x1b[2Jevil", T::Regular, b"x")]),
            "extra-entry",
        ),
        (
            "a whiteout",
            after(vec![member("opt/cni/bin/.wh.flannel", T::Regular, b"")]),
            "extra-entry",
        ),
        (
            "an opaque whiteout",
            after(vec![member("opt/cni/bin/.wh..wh..opq", T::Regular, b"")]),
            "extra-entry",
        ),
        ("a name twice", after(vec![listed()]), "extra-entry"),
        (
            "a directory with content",
            before(vec![member("opt/cni/bin/", T::Directory, &smuggled)]),
            "extra-entry",
        ),
        ("nothing", plain(ended(Vec::new())), "missing-entry"),
        (
            "other bytes of the same length",
            alone(member(name, T::Regular, &vec![0; good.len()])),
            "file-altered",
        ),
        (
            "one byte more",
            alone(member(name, T::Regular, &[&good[..], b"x"].concat())),
            "file-altered",
        ),
        ("one byte less", alone(member(name, T::Regular, &good[1..])), "file-altered"),
    ];
    refuse_all(rows, &scene, &good);
}

#[test]
fn bytes_that_decoders_fell_for() {
    let (scene, good) = scene();
    let listed = members(&[member("opt/cni/bin/bridge", EntryType::Regular, &good)]);
    let archive = ended(listed.clone());
    let second = ended(members(&[member("opt/cni/bin/evil", EntryType::Regular, b"hidden")]));
    let huge =
        Member { claims: 1 << 40, ..member("opt/cni/bin/bridge", EntryType::Regular, &good) };
    let zeros = vec![0; 64 << 20];
    let mut wrong_sum = archive.clone();
    wrong_sum[148] ^= 1;
    let packed =
        |suffix, blob: Vec<u8>, plain: &[u8]| Layer { blob, suffix, plain: plain.to_vec() };
    let both = [&archive[..], &second].concat();
    let bomb = [&archive[..], &zeros].concat();
    let rows = vec![
        ("an end without zeros", plain(listed[..listed.len() - 100].to_vec()), "diff-id-mismatch"),
        ("half a header", plain(archive[..300].to_vec()), "diff-id-mismatch"),
        ("a wrong sum", plain(wrong_sum), "diff-id-mismatch"),
        ("a claim of a terabyte", plain(ended(members(&[huge]))), "diff-id-mismatch"),
        ("text", plain(b"not an archive at all\n".repeat(100)), "diff-id-mismatch"),
        ("bytes after the end", plain([&archive[..], b"x"].concat()), "extra-entry"),
        ("an archive after the end", plain(both.clone()), "extra-entry"),
        ("a bomb of zeros, gzip", packed("+gzip", gzip(&zeros), &zeros), "diff-id-mismatch"),
        ("a bomb of zeros, zstd", packed("+zstd", zstd_of(&zeros), &zeros), "diff-id-mismatch"),
        ("a bomb after an archive, gzip", packed("+gzip", gzip(&bomb), &bomb), "diff-id-mismatch"),
        (
            "a bomb after an archive, zstd",
            packed("+zstd", zstd_of(&bomb), &bomb),
            "diff-id-mismatch",
        ),
        ("a window of 128 MiB", packed("+zstd", zstd_wide(&zeros), &zeros), "diff-id-mismatch"),
        (
            "a hidden second member",
            packed("+gzip", [gzip(&archive), gzip(&second)].concat(), &archive),
            "extra-entry",
        ),
        (
            "a hidden second frame",
            packed("+zstd", [zstd_of(&archive), zstd_of(&second)].concat(), &archive),
            "extra-entry",
        ),
        (
            "garbage after a member",
            packed("+gzip", [&gzip(&archive)[..], b"garbage"].concat(), &archive),
            "diff-id-mismatch",
        ),
        (
            "garbage after a frame",
            packed("+zstd", [&zstd_of(&archive)[..], b"garbage"].concat(), &archive),
            "diff-id-mismatch",
        ),
        (
            "half a member",
            packed("+gzip", gzip(&archive)[..40].to_vec(), &archive),
            "diff-id-mismatch",
        ),
        (
            "half a frame",
            packed("+zstd", zstd_of(&archive)[..40].to_vec(), &archive),
            "diff-id-mismatch",
        ),
        ("gzip that is called zstd", packed("+zstd", gzip(&archive), &archive), "diff-id-mismatch"),
        (
            "an archive that is called gzip",
            packed("+gzip", archive.clone(), &archive),
            "diff-id-mismatch",
        ),
        (
            "another layer than bundle.json says",
            packed("", archive.clone(), &second),
            "diff-id-mismatch",
        ),
        ("a foreign media type", packed("+lzma", archive.clone(), &archive), "wrong-layers"),
    ];
    refuse_all(rows, &scene, &good);
}

#[test]
fn swapped_layers_are_refused() {
    let (scene, _) = scene();
    let before = scene.tree("root/opt");
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 2] = [
        // With their descriptors: bundle.json is then expected in the wrong layer.
        (|layers| layers.as_array_mut().unwrap().swap(0, 1), "broken-chain"),
        // Only the blobs: the tool's layer is where the plugins are expected.
        (
            |layers| {
                for key in ["digest", "size", "mediaType"] {
                    let (first, second) = (layers[0][key].take(), layers[1][key].take());
                    (layers[0][key], layers[1][key]) = (second, first);
                }
            },
            "extra-entry",
        ),
    ];
    for (change, code) in cases {
        drop(fs::remove_dir_all(scene.at("forged")));
        forge::copy(&scene.at("layout-a"), &scene.at("forged"));
        Forge::new(scene.at("forged")).manifest(|manifest| change(&mut manifest["layers"]));
        let run = scene.run(INSTALL);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{code}: {}", run.stdout);
        assert!(run.stdout.starts_with(&format!("no: {code}: ")), "{code}: {}", run.stdout);
        assert_eq!(scene.tree("root/opt"), before, "{code}");
    }
}

#[test]
fn modes_in_an_archive_are_ignored() {
    let (scene, good) = scene();
    for mode in [0o4755, 0o2777, 0, 0o7777] {
        let listed = Member { mode, ..member("opt/cni/bin/bridge", EntryType::Regular, &good) };
        plant(&scene, &plain(ended(members(&[listed]))));
        drop(fs::remove_file(scene.at(BIN).join("bridge")));
        drop(fs::remove_dir_all(scene.at("root/var")));
        scene.run_ok(INSTALL);
        let found =
            fs::metadata(scene.at(BIN).join("bridge")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, 0o755, "{mode:o}");
    }
}

/// Runs an installation that is stopped after reading the first part of a staged file, changes that
/// file, and continues it. Nothing here depends on timing.
fn change_while_it_is_read(
    scene: &Scene,
    words: &str,
    change: impl FnOnce(),
) -> Option<(i32, String)> {
    let strace = peer("strace")?;
    drop(fs::remove_file(scene.at("trace")));
    let mut command: Command = scene.command(strace);
    command.args([
        "-f",
        "-qq",
        "-o",
        "trace",
        "-e",
        "trace=read",
        "-e",
        "inject=read:signal=SIGSTOP:when=1",
        "-P",
    ]);
    command
        .arg(scene.at("staged-a/opt/cni/bin/bridge"))
        .arg(env!("CARGO_BIN_EXE_cnister"))
        .args(words.split(' '));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + BOUND;
    let stopped = loop {
        let trace = fs::read_to_string(scene.at("trace")).unwrap_or_default();
        let line =
            trace.lines().find(|line| line.contains("stopped by SIGSTOP")).map(str::to_owned);
        if let Some(line) = line {
            break line;
        }
        assert!(Instant::now() < deadline, "it was never stopped:\n{trace}");
        std::thread::yield_now();
    };
    change();
    let process = stopped.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(process).unwrap(), Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn a_staged_file_that_changes_while_it_is_read_is_refused() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge"], 600_000);
    scene.write(&format!("{BIN}/flannel"), "another owner's");
    let before = scene.tree("root/opt");
    let path = scene.at("staged-a/opt/cni/bin/bridge");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let good = release.files["bridge"].clone();
    let words = release.install_args();
    type Change = fn(&std::path::Path, &[u8]);
    let cases: [(&str, Change, &str); 4] = [
        (
            "grows",
            |path, good| fs::write(path, [good, b"x"].concat()).unwrap(),
            "more than 600000 bytes",
        ),
        (
            "shrinks",
            |path, _| {
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(300_000).unwrap()
            },
            "300000 bytes",
        ),
        (
            "changes its end",
            |path, good| {
                use std::os::unix::fs::FileExt;
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(b"!", good.len() as u64 - 1).unwrap();
            },
            "sha256:",
        ),
        (
            "grows without end",
            |path, _| {
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 42).unwrap()
            },
            "more than 600000 bytes",
        ),
    ];
    for (what, change, found) in cases {
        fs::write(&path, &good).unwrap();
        let started = Instant::now();
        let Some((code, said)) = change_while_it_is_read(&scene, &words, || change(&path, &good))
        else {
            return;
        };
        assert!(started.elapsed() < 2 * BOUND, "{what} took {:?}", started.elapsed());
        assert_eq!(code, 1, "{what}: {said}");
        assert!(
            said.starts_with("no: file-altered: ")
                && said.contains(&format!("\n  found:    {found}")),
            "{what}: {said}"
        );
        assert_eq!(scene.tree("root/opt"), before, "{what}");
    }
    fs::write(&path, &good).unwrap();
    // A file that is removed meanwhile is still the one that was opened.
    let (code, said) =
        change_while_it_is_read(&scene, &words, || fs::remove_file(&path).unwrap()).unwrap();
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read(scene.at(BIN).join("bridge")).unwrap(), good);
}
