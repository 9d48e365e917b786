//! Assets from a server and from the cache, their pins, and the checksum files beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::binary::sample::Sample;
use crate::bundle::{ChecksumKind, Definition, Sum};
use crate::model::{ErrorClass, Sha512};
use crate::net::test_server::{Received, Reply, TestServer};
use crate::net::{Client, Settings};
use crate::publish::source::tests::{defined, taken};
use crate::publish::source::{Cache, Plugin};

/// A folder for the definition and the cache, and a way to fetch that does not wait.
struct Scene {
    folder: tempfile::TempDir,
    fetch: Fetch,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let mut fetch = Fetch::new(Cache::at(folder.path().join("cache")));
    fetch.client = Client::new(Settings { pause: Arc::new(|_| ()), ..Settings::default() });
    Scene { folder, fetch }
}

impl Scene {
    fn take(&self, definition: &Definition) -> Result<Plugin, (String, ErrorClass)> {
        taken(definition, self.folder.path(), &self.fetch).map(|mut all| all.pop().unwrap())
    }

    /// The names in the cache.
    fn cached(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("cache/sha256"));
        let names = files.into_iter().flatten().map(|it| it.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    fn pin(&mut self, digest: Digest) {
        let wanted =
            Wanted { platform: "linux/amd64".parse().unwrap(), name: "bridge".parse().unwrap() };
        self.fetch.pins.insert(wanted, digest);
    }
}

/// A server with these files; everything else is not found.
fn serving(files: &[(&str, &[u8])]) -> TestServer {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
    TestServer::start(move |request: &Received| match files.get(&request.target) {
        Some(content) => Reply::new(200, content.clone()),
        None => Reply::new(404, ""),
    })
}

fn file_at(server: &TestServer, more: &str) -> Definition {
    let source = format!("file: {{from: \"{}\"{more}}}", server.url("/v1/bridge-amd64"));
    defined(&source, "linux/amd64", "bridge")
}

#[test]
fn what_is_not_pinned_is_asked_for_each_time_and_what_is_pinned_once() {
    let content = Sample::named("bridge");
    let server = serving(&[("/v1/bridge-amd64", &content)]);
    let mut scene = scene();
    let definition = file_at(&server, "");
    for times in 1..=2 {
        let plugin = scene.take(&definition).unwrap();
        assert_eq!(plugin.facts.digest, Digest::of(&content));
        let size = content.len() as u64;
        let artefact = Artefact { digest: Digest::of(&content), size };
        assert_eq!(plugin.taken().artefact(), Some(artefact));
        assert_eq!(plugin.taken().origin().location, server.url("/v1/bridge-amd64").as_str());
        assert_eq!(server.received().len(), times);
    }
    assert_eq!(scene.cached(), [Digest::of(&content).hex()]);
    scene.pin(Digest::of(&content));
    scene.take(&definition).unwrap();
    let pinned = file_at(&server, &format!(", sha256: {}", Digest::of(&content).hex()));
    scene.take(&pinned).unwrap();
    assert_eq!(server.received().len(), 2, "from the cache");
    // A damaged file is as good as none.
    let path = scene.folder.path().join("cache/sha256").join(Digest::of(&content).hex());
    fs::write(path, &content[1..]).unwrap();
    scene.take(&pinned).unwrap();
    assert_eq!(server.received().len(), 3);
    scene.take(&pinned).unwrap();
    assert_eq!(server.received().len(), 3);
}

#[test]
fn an_asset_with_another_digest_is_refused_and_not_kept() {
    let (content, other) = (Sample::named("bridge"), Digest::of(b"other"));
    let server = serving(&[("/v1/bridge-amd64", &content)]);
    let mut scene = scene();
    let start = format!(
        "cannot take `bridge` for linux/amd64 (source `upstream`) from `{}`: ",
        server.url("/v1/bridge-amd64")
    );
    let refused = (
        format!("{start}it is {}, and {other} is pinned", Digest::of(&content)),
        ErrorClass::Request,
    );
    let definition = file_at(&server, &format!(", sha256: {}", other.hex()));
    assert_eq!(scene.take(&definition).expect_err("pinned"), refused);
    scene.pin(other);
    assert_eq!(scene.take(&file_at(&server, "")).expect_err("pinned"), refused);
    let definition = file_at(&server, &format!(", sha256: {}", Digest::of(&content).hex()));
    let (error, _) = scene.take(&definition).expect_err("two pins");
    let (mut one, mut two) = (other, Digest::of(&content));
    if one > two {
        std::mem::swap(&mut one, &mut two);
    }
    assert_eq!(error, format!("{start}two digests are pinned for it: {one} and {two}"));
    assert_eq!(scene.cached(), Vec::<String>::new());
    // Beside the definition as well.
    fs::write(scene.folder.path().join("bridge"), &content).unwrap();
    let local = |sha256: Digest| {
        let source = format!("file: {{from: bridge, sha256: {}}}", sha256.hex());
        defined(&source, "linux/amd64", "bridge")
    };
    scene.fetch.pins.clear();
    scene.take(&local(other)).expect_err("pinned");
    scene.take(&local(Digest::of(&content))).unwrap();
    assert_eq!(scene.cached(), Vec::<String>::new(), "what is here is not copied");
}

#[test]
fn says_what_a_server_did() {
    let content = Sample::named("bridge");
    let server = TestServer::start(move |request: &Received| match request.target.as_str() {
        "/gone?token=secret" => Reply::new(404, "Not Found").with("Content-Type", "text/plain"),
        "/broken" => Reply::new(500, ""),
        "/loop" => Reply::new(302, "").with("Location", "/loop"),
        "/login" => Reply::new(200, "<html>").with("Content-Type", "text/html"),
        "/away" => Reply::new(302, "").with("Location", "http://192.0.2.1/x"),
        "/cut" => Reply::CutOff { body: content.clone() },
        "/moved" => Reply::new(302, "").with("Location", "/there"),
        _ => Reply::new(200, content.clone()),
    });
    let scene = scene();
    let at = |path: &str| {
        let source = format!("file: \"{}\"", server.url(path));
        defined(&source, "linux/amd64", "bridge")
    };
    let url = |path: &str| server.url(path).to_string();
    for (path, words, class) in [
        (
            "/gone?token=secret",
            format!("GET `{}` returned status 404", url("/gone")),
            ErrorClass::CouldNot,
        ),
        ("/broken", format!("GET `{}` returned status 500", url("/broken")), ErrorClass::CouldNot),
        ("/loop", "past the limit of 10 redirects".to_owned(), ErrorClass::CouldNot),
        (
            "/login",
            "it is an HTML or XML page, not the asset: is it behind a login?".to_owned(),
            ErrorClass::Request,
        ),
        ("/away", "is plain HTTP to another machine".to_owned(), ErrorClass::Request),
        ("/cut", format!("lost the connection to `{}`", url("/cut")), ErrorClass::CouldNot),
    ] {
        let (error, found) = scene.take(&at(path)).expect_err(path);
        assert!(error.contains(&words) && !error.contains("secret"), "{path}: {error}");
        assert!(error.starts_with("cannot take `bridge` for linux/amd64 (source `upstream`)"));
        assert_eq!(found, class, "{error}");
    }
    let gone = server.lines().iter().filter(|line| line.starts_with("GET /gone")).count();
    assert_eq!((gone, scene.cached().len()), (1, 0), "asked once, and nothing is kept");
    for path in ["/moved", "/there"] {
        scene.take(&at(path)).unwrap();
    }
    let (error, _) =
        scene.take(&defined("file: \"https://[/x\"", "linux/amd64", "bridge")).expect_err("no URL");
    assert!(error.ends_with("`https://[/x` is not an http or https URL"), "{error}");
}

#[test]
fn a_checksum_file_beside_an_asset_is_found_and_has_to_be_right() {
    let content = Sample::named("bridge");
    let (digest, hex) = (Digest::of(&content), Digest::of(&content).hex());
    let (other, sha512) = (Digest::of(b"other").hex(), Sha512::of(&content));
    let line = |hex: &str, name: &str| format!("{hex}  {name}\n").into_bytes();
    let asset = ("/v1/bridge-amd64", content.as_slice());
    let (mine, wrong) = (line(&hex, "bridge-amd64"), line(&other, "bridge-amd64"));
    let (of_another, long) = (line(&hex, "macvlan"), line(&sha512.hex(), "./bridge-amd64"));
    let twice = [mine.clone(), mine.clone()].concat();
    let (single, list) = ("/v1/bridge-amd64.sha256", "/v1/checksums.txt");
    let double = "/v1/bridge-amd64.sha512";
    let sum = Sum::Sha256(digest);
    for (file, accepted) in [
        (None, Ok(None)),
        (Some((single, mine.clone())), Ok(Some(sum))),
        (Some((single, hex.clone().into_bytes())), Ok(Some(sum))),
        (Some((double, long)), Ok(Some(Sum::Sha512(sha512)))),
        (Some((list, mine.clone())), Ok(Some(sum))),
        (Some((list, of_another.clone())), Ok(None)),
        (Some((single, b"<html>not found</html>".to_vec())), Ok(None)),
        (Some((single, of_another)), Err("has no line for `bridge-amd64`, only for `macvlan`")),
        (Some((single, twice)), Err("has two lines for `bridge-amd64`")),
        (Some((single, wrong.clone())), Err("it says `bridge-amd64` is sha256:")),
        (Some((list, wrong)), Err("it says `bridge-amd64` is sha256:")),
        (Some((single, b"nothing".to_vec())), Err("line 1 is not a checksum: `nothing`")),
    ] {
        let files = [Some(asset), file.as_ref().map(|(path, text)| (*path, text.as_slice()))];
        let server = serving(&files.into_iter().flatten().collect::<Vec<_>>());
        let mut scene = scene();
        scene.fetch.evidence = Evidence::Collect;
        match (scene.take(&file_at(&server, "")), accepted) {
            (Ok(plugin), Ok(expected)) => {
                let found = plugin.taken().checksum().cloned();
                assert_eq!(found.as_ref().map(|it| it.sum), expected, "{file:?}");
                if let (Some(found), Some((path, content))) = (found, file) {
                    assert_eq!(found.location, server.url(path).as_str());
                    assert_eq!(found.content, content);
                    assert_eq!(found.name, "bridge-amd64");
                }
            }
            (Err((error, class)), Err(words)) => {
                assert!(
                    error.contains(words) && error.contains("the checksum file `http"),
                    "{error}"
                );
                assert_eq!(class, ErrorClass::Request);
            }
            (found, expected) => panic!("{file:?}: {found:?}, expected {expected:?}"),
        }
    }
    // Where nothing is looked for, nothing is asked for.
    let server = serving(&[asset]);
    scene().take(&file_at(&server, "")).unwrap();
    assert_eq!(server.lines(), ["GET /v1/bridge-amd64"]);
}

#[test]
fn a_checksum_file_that_is_named_has_to_be_there_and_may_be_elsewhere() {
    let content = Sample::named("bridge");
    let line = format!("{}  bridge-amd64\n", Digest::of(&content).hex()).into_bytes();
    let server = serving(&[("/v1/bridge-amd64", &content), ("/sums/amd64", &line)]);
    let mut scene = scene();
    scene.fetch.evidence = Evidence::Collect;
    let named = |url: &str| file_at(&server, &format!(", checksums: \"{url}\""));
    let pattern = format!("http://{}/sums/{{architecture}}", server.host());
    let amd64 = server.url("/sums/amd64").to_string();
    let plugin = scene.take(&named(&pattern)).unwrap();
    let found = plugin.taken().checksum().unwrap();
    assert_eq!((found.sum.kind(), &found.location), (ChecksumKind::Sha256, &amd64));
    // The same server by another name.
    let elsewhere = server.url("/sums/amd64").as_str().replace("127.0.0.1", "localhost");
    let plugin = scene.take(&named(&elsewhere)).unwrap();
    assert_eq!(plugin.taken().checksum().unwrap().location, elsewhere);
    fs::write(scene.folder.path().join("sums"), &line).unwrap();
    // As the definition writes it, wherever the definition is.
    assert_eq!(scene.take(&named("sums")).unwrap().taken().checksum().unwrap().location, "sums");
    for (missing, words) in [
        (server.url("/sums/none").to_string(), "cannot be fetched: GET"),
        ("none".to_owned(), "cannot be read: No such file"),
    ] {
        let (error, class) = scene.take(&named(&missing)).expect_err("not there");
        assert!(error.contains(words), "{error}");
        assert_eq!(class, ErrorClass::CouldNot);
    }
}

#[test]
fn plain_http_to_another_machine_needs_a_pin() {
    let scene = scene();
    let source = "file: \"http://192.0.2.1/bridge\"";
    let (error, class) = scene.take(&defined(source, "linux/amd64", "bridge")).expect_err("plain");
    assert!(error.contains("is plain HTTP to another machine, expected https"), "{error}");
    assert_eq!(class, ErrorClass::Request);
}

#[test]
fn a_cache_that_cannot_be_used_is_said() {
    let content = Sample::named("bridge");
    let server = serving(&[("/v1/bridge-amd64", &content)]);
    let mut scene = scene();
    scene.fetch.cache = Cache::of_user(None, None);
    let (error, class) = scene.take(&file_at(&server, "")).expect_err("no cache");
    assert!(error.contains("there is no directory for the cache"), "{error}");
    assert_eq!((class, server.received().len()), (ErrorClass::CouldNot, 0));
}
