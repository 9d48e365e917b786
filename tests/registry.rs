//! The registry client against real registries.
//!
//! distribution 2.8 does not list referrers, so the client does; olareg lists them, and can be told
//! not to. A registry that is not installed is skipped with a line on stdout, unless
//! `CNISTER_REQUIRE_PEERS=1`.

#![cfg(feature = "publish")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cnister::model::media_type::{CONFIG, EMPTY, INDEX, LAYER, MANIFEST, SIGSTORE_BUNDLE};
use cnister::model::{Digest, Document, Selector, document, json};
use cnister::oci::{Registry, Sink, Source};
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

/// A registry that runs until it is dropped.
struct Server {
    child: Child,
    host: String,
    _storage: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reports that a test was skipped, or fails if it must not be.
fn skip(what: &str) {
    assert!(
        std::env::var_os("CNISTER_REQUIRE_PEERS").is_none_or(|it| it != "1"),
        "{what} is not installed"
    );
    println!("skipped: {what} is not installed");
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn peer(name: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/cnister/peers"));
    let file =
        std::env::var_os("CNISTER_PEERS").map(PathBuf::from).or_else(home)?.join("bin").join(name);
    file.is_file().then_some(file)
}

fn distribution(program: &Path) -> Server {
    let storage = tempfile::tempdir().unwrap();
    let configuration = storage.path().join("configuration.yml");
    let root = storage.path().join("data");
    let text = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {root:?}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n"
    );
    std::fs::write(&configuration, text).unwrap();
    let mut child = Command::new(program)
        .arg("serve")
        .arg(&configuration)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let host = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended");
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split('"').next().unwrap().to_owned();
        }
    };
    // A full pipe would block it.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Server { child, host, _storage: storage }
}

fn olareg(program: &Path, api: bool) -> Server {
    let storage = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new(program)
        .args(["serve", "--addr", "127.0.0.1", "--port", &address.port().to_string()])
        .arg(format!("--api-referrer={api}"))
        .arg("--dir")
        .arg(storage.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, host: address.to_string(), _storage: storage };
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the registry does not listen");
        std::thread::yield_now();
    }
    server
}

fn registry(server: &Server, path: &str) -> Registry {
    Registry::new(format!("{}/{path}", server.host).parse().unwrap()).unwrap()
}

fn push(registry: &mut Registry, media_type: &str, content: &[u8]) -> Descriptor {
    let descriptor = document::descriptor(media_type, Digest::of(content), content.len() as u64);
    if !registry.has_blob(&descriptor).unwrap() {
        registry.put_blob(&descriptor, &mut &*content).unwrap();
    }
    assert!(registry.has_blob(&descriptor).unwrap());
    descriptor
}

fn read(registry: &Registry, descriptor: &Descriptor) -> Vec<u8> {
    let mut content = Vec::new();
    registry.blob(descriptor).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn manifest(fields: &Value) -> Document {
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST });
    manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Document::new(MANIFEST, json::canonical(&manifest))
}

fn index(manifests: &[&Document]) -> Document {
    let manifests: Vec<Descriptor> = manifests.iter().map(|it| it.descriptor()).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    Document::new(INDEX, json::canonical(&index))
}

fn referrer(registry: &mut Registry, subject: &Document, name: &str) -> Document {
    let config = push(registry, EMPTY, b"{}");
    let layer = push(registry, SIGSTORE_BUNDLE, name.as_bytes());
    manifest(&json!({
        "artifactType": SIGSTORE_BUNDLE, "config": config, "layers": [layer], "subject": subject.descriptor(),
        "annotations": { "name": name },
    }))
}

/// Name, type and digest of each, sorted by name.
fn shown(referrers: &[Descriptor]) -> Vec<(String, String, String)> {
    let shown = |it: &Descriptor| {
        let name = it
            .annotations()
            .as_ref()
            .and_then(|them| them.get("name"))
            .cloned()
            .unwrap_or_default();
        let kind = it.artifact_type().as_ref().map(ToString::to_string).unwrap_or_default();
        (name, kind, it.digest().to_string())
    };
    let mut all: Vec<_> = referrers.iter().map(shown).collect();
    all.sort();
    all
}

/// An image with two platforms and two signatures is copied to a registry and back, unchanged.
fn keeps_an_image_and_its_referrers(server: &Server) {
    let mut registry = registry(server, "acme/cni");
    let tag = Selector { tag: Some("v1".to_owned()), digest: None };
    let missing = registry.manifest(&tag).expect_err("nothing was pushed").to_string();
    assert_eq!(missing, format!("{}/acme/cni has no tag `v1`", server.host));
    // More than is kept in memory, and without repetition within a window.
    let blob: Vec<u8> = (0..100_000_u64)
        .flat_map(|n| *Digest::of(&n.to_le_bytes()).hex().as_bytes().first_chunk::<40>().unwrap())
        .collect();
    let layer = push(&mut registry, LAYER, &blob);
    let images: Vec<Document> = ["amd64", "arm64"]
        .iter()
        .map(|architecture| {
            let text = format!(r#"{{"architecture":"{architecture}","os":"linux"}}"#);
            let config = push(&mut registry, CONFIG, text.as_bytes());
            manifest(&json!({ "config": config, "layers": [layer] }))
        })
        .collect();
    let image = index(&images.iter().collect::<Vec<_>>());
    for document in images.iter().chain([&image]) {
        registry.put_manifest(document).unwrap();
    }
    assert_eq!(registry.referrers(&image.digest).unwrap(), []);
    let referrers = [referrer(&mut registry, &image, "a"), referrer(&mut registry, &image, "b")];
    registry.put_referrers(&image.digest, &referrers).unwrap();
    registry.tag("v1", &image).unwrap();

    let other = self::registry(server, "acme/cni");
    assert_eq!(other.manifest(&tag).unwrap(), image);
    for document in images.iter().chain(&referrers) {
        let selector = Selector { tag: None, digest: Some(document.digest) };
        assert_eq!(other.manifest(&selector).unwrap(), *document);
    }
    assert!(read(&other, &layer) == blob);
    let expected: Vec<_> = ["a", "b"]
        .iter()
        .zip(&referrers)
        .map(|(name, it)| ((*name).to_owned(), SIGSTORE_BUNDLE.to_owned(), it.digest.to_string()))
        .collect();
    assert_eq!(shown(&other.referrers(&image.digest).unwrap()), expected);
}

/// Eight clients that attach to one image at the same time lose nothing.
fn keeps_the_referrers_of_eight_writers(server: &Server) {
    let mut first = registry(server, "acme/contended");
    let config = push(&mut first, CONFIG, b"{}");
    let image = manifest(&json!({ "config": config, "layers": [config] }));
    first.put_manifest(&image).unwrap();
    let referrers: Vec<Document> =
        (0..8).map(|n| referrer(&mut first, &image, &n.to_string())).collect();
    let together = Barrier::new(referrers.len());
    std::thread::scope(|scope| {
        for referrer in &referrers {
            scope.spawn(|| {
                let mut registry = registry(server, "acme/contended");
                together.wait();
                registry.put_referrers(&image.digest, std::slice::from_ref(referrer)).unwrap();
            });
        }
    });
    let expected: Vec<_> = referrers
        .iter()
        .enumerate()
        .map(|(n, it)| (n.to_string(), SIGSTORE_BUNDLE.to_owned(), it.digest.to_string()))
        .collect();
    assert_eq!(shown(&first.referrers(&image.digest).unwrap()), expected);
}

#[test]
fn distribution_keeps_what_is_pushed() {
    let Some(program) = on_path("docker-registry") else { return skip("docker-registry") };
    let server = distribution(&program);
    keeps_an_image_and_its_referrers(&server);
    keeps_the_referrers_of_eight_writers(&server);
}

#[test]
fn olareg_keeps_what_is_pushed() {
    let Some(program) = peer("olareg") else { return skip("olareg") };
    for api in [true, false] {
        let server = olareg(&program, api);
        keeps_an_image_and_its_referrers(&server);
        keeps_the_referrers_of_eight_writers(&server);
    }
}
