//! Images as projects publish them, and as no one should.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::binary::sample::Sample;
use crate::model::ErrorClass;
use crate::model::media_type::{CONFIG, DOCKER_CONFIG, DOCKER_MANIFEST, LAYER, MANIFEST};
use crate::publish::source::tests::{defined, no_fetch, taken};

/// A member as an attacker would write it: nothing is checked but the sum of its header.
fn member(name: &str, letter: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[156] = letter;
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    member(name, b'0', "", content)
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(name, b'2', target, b"")
}

fn layer(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// The names of media types.
struct Types {
    index: &'static str,
    manifest: &'static str,
    config: &'static str,
    layer: &'static str,
}

const OCI: Types = Types { index: INDEX, manifest: MANIFEST, config: CONFIG, layer: LAYER };
const DOCKER: Types = Types {
    index: DOCKER_INDEX,
    manifest: DOCKER_MANIFEST,
    config: DOCKER_CONFIG,
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

/// A layout in the directory `layout`, which images are put into.
struct Made {
    folder: tempfile::TempDir,
    types: Types,
}

impl Made {
    fn new(types: Types) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("layout/blobs/sha256")).unwrap();
        let made = Self { folder, types };
        made.write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        made
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join("layout").join(name), content).unwrap();
    }

    /// Stores a blob; its descriptor.
    fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(content);
        self.write(&format!("blobs/sha256/{}", digest.hex()), content);
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    /// Stores the image of an architecture; its descriptor.
    fn image(&self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let layers: Vec<_> =
            layers.iter().map(|layer| self.blob(self.types.layer, layer)).collect();
        self.image_of(architecture, &json!(layers))
    }

    fn image_of(&self, architecture: &str, layers: &Value) -> Value {
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": []}});
        let config = self.blob(self.types.config, config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": self.types.manifest,
            "config": config, "layers": layers});
        let mut entry = self.blob(self.types.manifest, manifest.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    }

    /// Makes an index of these images the only image of the layout; its digest.
    fn index(&self, images: &[Value]) -> String {
        let index = json!({"schemaVersion": 2, "mediaType": self.types.index, "manifests": images});
        self.only(&self.blob(self.types.index, index.to_string().as_bytes()))
    }

    /// Makes this the only image of the layout; its digest.
    fn only(&self, entry: &Value) -> String {
        let mut entry = entry.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        self.write("index.json", index.to_string());
        entry["digest"].as_str().unwrap().to_owned()
    }

    /// What is taken: the content of each plugin, with its origin; or the words of the refusal.
    fn take(&self, source: &str, platforms: &str, plugins: &str) -> Result<Vec<String>, String> {
        self.take_with(&no_fetch(), source, platforms, plugins)
    }

    fn take_with(
        &self,
        fetch: &Fetch,
        source: &str,
        platforms: &str,
        plugins: &str,
    ) -> Result<Vec<String>, String> {
        let definition = defined(source, platforms, plugins);
        let plugins = taken(&definition, self.folder.path(), fetch).map_err(|(error, class)| {
            assert_eq!(class, ErrorClass::Request, "{error}");
            error
        })?;
        let words = plugins.iter().map(|plugin| {
            let member = plugin.taken().origin().member.clone().unwrap();
            format!("{} {member}", plugin.facts.digest)
        });
        Ok(words.collect())
    }
}

const SOURCE: &str = "image: \"oci:layout:v1\"";

fn program() -> Vec<u8> {
    Sample::named("bridge")
}

/// What is taken of an image of these layers, at this path if one is given.
fn take(layers: &[Vec<u8>], path: &str) -> Result<String, String> {
    let made = Made::new(OCI);
    made.index(&[made.image("amd64", layers)]);
    let source = match path {
        "" => SOURCE.to_owned(),
        path => format!("image: {{from: \"oci:layout:v1\", paths: {{bridge: \"{path}\"}}}}"),
    };
    let found = made.take(&source, "linux/amd64", "bridge")?;
    let expected = Digest::of(&program()).to_string();
    let (digest, member) = found[0].split_once(' ').unwrap();
    assert_eq!(digest, expected);
    Ok(member.to_owned())
}

/// The refusal of an image of these layers, after what all have in common.
fn refusal(layers: &[Vec<u8>], path: &str) -> String {
    let error = take(layers, path).expect_err(path);
    let start = "cannot take `bridge` for linux/amd64 (source `upstream`) from `oci:layout:v1`: ";
    error.strip_prefix(start).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a_plugin_is_taken_from_the_layers_however_they_are_compressed() {
    let plain = layer(&[file("opt/cni/bin/bridge", &program())]);
    let base = layer(&[file("opt/cni/bin/bridge", b"older"), file("etc/x", b"x")]);
    let frames =
        [zstd(&plain[..1024]), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec(), zstd(&plain[1024..])];
    for top in [
        plain.clone(),
        gzip(&plain),
        zstd(&plain),
        // As eStargz and zstd:chunked are: several members, and frames that are skipped.
        [gzip(&plain[..1024]), gzip(&plain[1024..])].concat(),
        frames.concat(),
    ] {
        assert_eq!(take(&[gzip(&base), top], "").as_deref(), Ok("/opt/cni/bin/bridge"));
    }
}

#[test]
fn a_plugin_is_what_a_container_would_execute() {
    let program = program();
    let base = [
        member("usr/bin", b'5', "", b""),
        file("usr/bin/bridge", &program),
        link("bin", "usr/bin"),
        link("absolute", "/usr/bin/bridge"),
        link("above", "../../../usr/bin/bridge"),
    ];
    let base = layer(&base);
    let text = b"something else";
    for (upper, path, expected) in [
        (vec![], "", "/usr/bin/bridge"),
        (vec![], "/bin/bridge", "/usr/bin/bridge"),
        (vec![], "/absolute", "/usr/bin/bridge"),
        (vec![], "/above", "/usr/bin/bridge"),
        (vec![member("linked", b'1', "bin/bridge", b"")], "/linked", "/linked"),
        (vec![file("usr/bin/.wh.other", b"")], "", "/usr/bin/bridge"),
        (vec![file("/ko-app/bridge", &program)], "/ko-app/bridge", "/ko-app/bridge"),
        (vec![file("./bridge", &program), file("bin/.wh.bridge", b"")], "", "/bridge"),
    ] {
        let layers = [base.clone(), layer(&upper)];
        assert_eq!(take(&layers, path).as_deref(), Ok(expected), "{path}");
    }
    for (upper, path, expected) in [
        (vec![file("usr/bin/bridge", text)], "", "is not an ELF program"),
        (vec![file("bin/bridge", text)], "", "is not an ELF program"),
        (vec![file("usr/bin/.wh.bridge", b"")], "", "it has no file `bridge` in `/`, `/bin`, "),
        (
            vec![file("usr/bin/.wh..wh..opq", b"")],
            "/bin/bridge",
            "its path `/bin/bridge` leads to `/usr/bin/bridge`, which the",
        ),
        (vec![file("linked/bridge", &program)], "/none", "it has no file `/none`"),
        (vec![], "/whereabouts", "it has no file `/whereabouts`"),
        (vec![], "/nowhere/bridge", "it has no file `/nowhere/bridge`; it has `/usr/bin/bridge`"),
        (vec![], "/usr/bin", "its path `/usr/bin` is a directory, expected a regular file"),
        (
            vec![member("null", b'3', "", b"")],
            "/null",
            "its path `/null` is a character device, expected a regular file",
        ),
        (
            vec![link("out", "../../etc/passwd")],
            "/out",
            "its path `/out` leads to `/etc/passwd`, which the image does not have",
        ),
        (
            vec![link("out", "/proc/self/exe")],
            "/out",
            "its path `/out` leads to `/proc/self/exe`, which the image does not have",
        ),
        (
            vec![member("linked", b'1', "../../../etc/passwd", b"")],
            "/linked",
            "its path `/linked` is a hard link to nothing, expected a regular file",
        ),
        (
            vec![link("a", "b"), link("b", "a")],
            "/a",
            "the path `/a` goes through more than 40 symbolic links",
        ),
        (
            vec![file("bridge", &program)],
            "",
            "it has several files that could be `bridge`: `/bridge`, `/usr/bin/bridge`; name one in",
        ),
    ] {
        let layers = [base.clone(), layer(&upper)];
        let found = take(&layers, path).expect_err(expected);
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_layer_that_is_not_one_is_refused() {
    let good = layer(&[file("bridge", &program())]);
    let compressed = gzip(&good);
    let of = |members: &[Vec<u8>]| [good.clone(), layer(members)];
    let mut bomb = member("zeros", b'0', "", b"");
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&bomb[..512]);
    header.set_size(9 << 30);
    header.set_cksum();
    bomb.copy_from_slice(header.as_bytes());
    for (layers, expected) in [
        (vec![compressed[..compressed.len() / 2].to_vec()], "the archive cannot be read: "),
        (vec![good[..900].to_vec()], "the archive is cut off at byte 900"),
        (vec![b"<html>".repeat(200)], "it does not start with a tar header"),
        (vec![good.clone(), gzip(&bomb)], "its layers are longer than 8589934592 bytes in all"),
        (of(&[file("../bridge", b"")]).to_vec(), "entry `../bridge`: it is not a"),
        (of(&[file("a", b""), file("a", b"")]).to_vec(), "entry `a` appears twice"),
        (of(&[file("usr/.wh..", b"")]).to_vec(), "`usr/.wh..` is not a valid whiteout"),
        (
            of(&[file("bridge/x", b"")]).to_vec(),
            "the path `bridge` goes through `bridge`, which is",
        ),
        (of(&[member("s", b'S', "", b"")]).to_vec(), "entry `s` is a sparse file"),
    ] {
        let last = Digest::of(layers.last().unwrap());
        let found = refusal(&layers, "");
        let start = format!("cannot read its layer {last}: {expected}");
        assert!(found.starts_with(&start), "{start}: {found}");
    }
    assert!(take(&of(&[file("a", b"")]), "").is_ok());
    let many = vec![good.clone(); 128];
    assert_eq!(refusal(&many, ""), "it has more than 127 layers");
    assert!(take(&many[1..], "").is_ok());
}

#[test]
fn a_blob_with_other_bytes_is_refused() {
    let good = layer(&[file("bridge", &program())]);
    let made = Made::new(OCI);
    let image = made.image("amd64", std::slice::from_ref(&good));
    made.index(std::slice::from_ref(&image));
    assert!(made.take(SOURCE, "linux/amd64", "bridge").is_ok());
    let path = format!("blobs/sha256/{}", Digest::of(&good).hex());
    let mut other = good.clone();
    other[600] ^= 1;
    for (content, expected) in [
        (other, " is altered: its content has digest sha256:"),
        (good[..1000].to_vec(), " is 1000 bytes, its descriptor says "),
        ([good.clone(), vec![0]].concat(), "its descriptor says "),
    ] {
        made.write(&path, content);
        let error = made.take(SOURCE, "linux/amd64", "bridge").expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    fs::remove_file(made.folder.path().join("layout").join(&path)).unwrap();
    let definition = defined(SOURCE, "linux/amd64", "bridge");
    let (error, class) = taken(&definition, made.folder.path(), &no_fetch()).expect_err("gone");
    assert_eq!(class, ErrorClass::CouldNot, "{error}");
    made.write(&path, &good);
    // A manifest or an index that is not what its digest says.
    let digest = image["digest"].as_str().unwrap().replace("sha256:", "");
    made.write(&format!("blobs/sha256/{digest}"), "{}");
    let error = made.take(SOURCE, "linux/amd64", "bridge").expect_err("altered");
    assert!(error.contains(" is altered: its content has digest "), "{error}");
}

#[test]
fn the_platform_is_chosen_and_attestations_are_not_images() {
    let arm = |content: &[u8]| layer(&[file("bridge", content)]);
    let programs = [(62, "amd64"), (183, "arm64")];
    let contents = programs.map(|(machine, _)| Sample { machine, ..Sample::default() }.bytes());
    for types in [OCI, DOCKER] {
        let made = Made::new(types);
        let images: Vec<Value> = programs
            .iter()
            .zip(&contents)
            .map(|((_, architecture), content)| made.image(architecture, &[gzip(&arm(content))]))
            .collect();
        let mut attestation = made.image("amd64", &[gzip(b"not a layer")]);
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let mut annotated = made.image("amd64", &[gzip(b"nor this")]);
        annotated["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        let mut windows = made.image("amd64", &[gzip(b"nor this one")]);
        windows["platform"]["os"] = json!("windows");
        let mut variant = made.image("amd64", &[gzip(b"or that")]);
        variant["platform"]["variant"] = json!("v3");
        let all = [&[attestation, annotated, windows, variant], images.as_slice()].concat();
        let index = made.index(&all);
        let both = "linux/amd64, linux/arm64";
        let expected: Vec<String> =
            contents.iter().map(|it| format!("{} /bridge", Digest::of(it))).collect();
        assert_eq!(made.take(SOURCE, both, "bridge").unwrap(), expected);
        let pinned = format!("image: \"oci:layout:v1@{index}\"");
        assert_eq!(made.take(&pinned, both, "bridge").unwrap(), expected);
        let error = made.take(SOURCE, "linux/s390x", "bridge").expect_err("no such platform");
        let words = "it is not for linux/s390x, only for windows/amd64, linux/amd64/v3, \
                     linux/amd64, linux/arm64";
        assert!(error.ends_with(words), "{error}");
        // A manifest alone is for the platform of its configuration.
        let arm64 = made.only(&images[1]);
        assert_eq!(made.take(SOURCE, "linux/arm64", "bridge").unwrap(), expected[1..]);
        let error = made.take(SOURCE, "linux/amd64", "bridge").expect_err("for arm64");
        assert!(error.ends_with("it is not for linux/amd64, only for linux/arm64"), "{error}");
        // Its digest can be fixed, and one of another image is refused.
        let hex = |digest: &str| digest.replace("sha256:", "");
        let fixed = |digest: &str| {
            format!("image: {{from: \"oci:layout:v1\", sha256: {{linux/arm64: {}}}}}", hex(digest))
        };
        assert!(made.take(&fixed(&arm64), "linux/arm64", "bridge").is_ok());
        made.index(&all);
        assert!(made.take(&fixed(&arm64), "linux/arm64", "bridge").is_ok());
        let other = images[0]["digest"].as_str().unwrap();
        let error = made.take(&fixed(other), "linux/arm64", "bridge").expect_err("another");
        assert!(error.contains("it is not for linux/arm64, only for linux/amd64"), "{error}");
    }
}

#[test]
fn a_lock_refuses_a_manifest_that_is_not_the_pinned_one() {
    let made = Made::new(OCI);
    let image = made.image("amd64", &[layer(&[file("bridge", &program())])]);
    let other = made.image("amd64", &[layer(&[file("bridge", &program()), file("x", b"")])]);
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().replace("sha256:", "");
    let source = format!("image: {{from: \"oci:layout:v1\", sha256: {}}}", digest(&image));
    let fetch = Fetch { evidence: Evidence::Collect, ..no_fetch() };
    for (entry, is_good) in [(&image, true), (&other, false)] {
        made.index(std::slice::from_ref(entry));
        for alone in [false, true] {
            if alone {
                made.only(entry);
            }
            let found = made.take_with(&fetch, &source, "linux/amd64", "bridge");
            let expected = format!(
                "cannot take `bridge` for linux/amd64 (source `upstream`) from `oci:layout:v1`: \
                 it is sha256:{}, and sha256:{} is pinned",
                digest(&other),
                digest(&image)
            );
            match is_good {
                true => assert!(found.is_ok(), "{found:?}"),
                false => assert_eq!(found, Err(expected)),
            }
        }
    }
}

#[test]
fn what_is_not_an_image_is_refused() {
    let made = Made::new(OCI);
    let good = made.blob(LAYER, &layer(&[file("bridge", &program())]));
    let error = |layers: &Value| {
        made.index(&[made.image_of("amd64", layers)]);
        made.take(SOURCE, "linux/amd64", "bridge")
            .map_err(|error| error.split("`oci:layout:v1`: ").nth(1).unwrap().to_owned())
    };
    assert!(error(&json!([good])).is_ok());
    let mut foreign = good.clone();
    foreign["mediaType"] = json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    let found = error(&json!([good, foreign])).expect_err("foreign");
    assert!(found.ends_with(".nondistributable.v1.tar+gzip`, expected a tar archive"), "{found}");
    let mut large = good.clone();
    large["size"] = json!((2_u64 << 30) + 1);
    let found = error(&json!([large])).expect_err("large");
    assert!(
        found.ends_with("its layers are 2147483649 bytes long in all, the limit is 2147483648"),
        "{found}"
    );
    let found = error(&json!([])).expect_err("empty");
    assert!(found.starts_with("it has no file `bridge` in `/`"), "{found}");
    // An artifact has another configuration.
    let artifact = Made::new(Types { config: "application/vnd.example.config+json", ..OCI });
    artifact.index(&[artifact.image("amd64", &[layer(&[file("bridge", &program())])])]);
    let found = artifact.take(SOURCE, "linux/amd64", "bridge").expect_err("an artifact");
    let words = "it is not a container image: its configuration has media type \
                 `application/vnd.example.config+json`";
    assert!(found.ends_with(words), "{found}");
}

#[test]
fn two_plugins_can_be_one_file_and_one_image_is_read_once() {
    let made = Made::new(OCI);
    let content = program();
    let layers = [layer(&[file("all", &content), file("bin/vlan", &content)])];
    made.index(&[made.image("amd64", &layers)]);
    let source = "image: {from: \"oci:layout:v1\", paths: {bridge: /all, tap: \"/{plugin}\"}}";
    let error = made.take(source, "linux/amd64", "bridge, tap, vlan").expect_err("no tap");
    let start = "cannot take `bridge`, `tap`, `vlan` for linux/amd64 (source `upstream`) from ";
    assert!(error.starts_with(start) && error.ends_with("it has no file `/tap`"), "{error}");
    let source = source.replace("/{plugin}", "/all");
    let found = made.take(&source, "linux/amd64", "bridge, tap, vlan").unwrap();
    let digest = Digest::of(&content);
    assert_eq!(found, ["/all", "/all", "/bin/vlan"].map(|path| format!("{digest} {path}")));
}

#[test]
fn an_archive_of_a_layout_is_one_and_a_missing_place_is_not() {
    let made = Made::new(OCI);
    made.index(&[made.image("amd64", &[layer(&[file("bridge", &program())])])]);
    let folder = made.folder.path();
    let packed = std::process::Command::new("tar")
        .args(["-C", "layout", "-cf", "image.tar", "."])
        .current_dir(folder)
        .status();
    assert!(packed.unwrap().success());
    assert!(made.take("image: \"oci-archive:image.tar:v1\"", "linux/amd64", "bridge").is_ok());
    assert!(made.take("image: \"oci:layout\"", "linux/amd64", "bridge").is_ok());
    for (source, expected) in [
        ("image: \"oci:nowhere:v1\"", "nowhere"),
        ("image: \"oci:layout:v2\"", "has no tag `v2`; it has :v1"),
    ] {
        let definition = defined(source, "linux/amd64", "bridge");
        let (error, _) = taken(&definition, Path::new(folder), &no_fetch()).expect_err(source);
        assert!(error.contains(expected), "{error}");
    }
}
