//! Reading, against a registry with every known fault.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::fault_registry::FaultRegistry;
use super::*;
use crate::net::Settings;
use crate::net::test_server::Reply;

const HTML: &str = "<!DOCTYPE html><html><body>Sign in</body></html>";

/// Opens the repository of a registry, through a client that never waits.
pub(super) fn open(server: &FaultRegistry) -> Registry {
    let settings = Settings {
        idle_timeout: Duration::from_millis(500),
        pause: Arc::new(|_| {}),
        ..Settings::default()
    };
    Registry::with_client(server.repository(), Client::new(settings)).unwrap()
}

fn by_tag(tag: &str) -> Selector {
    Selector { tag: Some(tag.to_owned()), digest: None }
}

fn by_digest(digest: Digest) -> Selector {
    Selector { tag: Some("any".to_owned()), digest: Some(digest) }
}

pub(super) fn index(fields: Value) -> Vec<u8> {
    let mut index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
    index.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::to_vec(&index).unwrap()
}

pub(super) fn referrer(subject: &Digest, name: &str) -> Document {
    let empty = document::descriptor("application/vnd.oci.empty.v1+json", Digest::of(b"{}"), 2);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": empty, "layers": [empty],
        "subject": document::descriptor(INDEX, *subject, 9), "annotations": { "name": name },
    });
    Document::new(MANIFEST, serde_json::to_vec(&manifest).unwrap())
}

pub(super) fn fails<T>(result: Result<T, OciError>) -> String {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error.to_string(),
    }
}

pub(super) fn digests(descriptors: &[Descriptor]) -> Vec<Digest> {
    let mut digests: Vec<Digest> =
        descriptors.iter().map(|it| document::sha256(it).unwrap()).collect();
    digests.sort();
    digests
}

#[test]
fn fetches_a_manifest_by_tag_and_by_digest() {
    let server = FaultRegistry::start();
    let bytes = index(json!({}));
    let digest = server.store_tagged("v1", INDEX, &bytes);
    let registry = open(&server);
    let document = Document::new(INDEX, bytes);
    assert_eq!(registry.manifest(&by_tag("v1")).unwrap(), document);
    assert_eq!(registry.manifest(&by_digest(digest)).unwrap(), document);
    assert_eq!(server.lines(), ["GET manifests/v1".to_owned(), format!("GET manifests/{digest}")]);
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(server.received()[0].header("accept"), Some(accept));
}

#[test]
fn takes_the_media_type_from_the_document_if_the_server_sends_none() {
    let server = FaultRegistry::start();
    for (sent, inside, expected) in [
        ("application/json", json!({}), INDEX),
        ("", json!({}), INDEX),
        ("application/json", json!({ "mediaType": null }), "application/json"),
        (MANIFEST, json!({}), MANIFEST),
    ] {
        server.store_tagged("v1", sent, &index(inside));
        assert_eq!(open(&server).manifest(&by_tag("v1")).unwrap().media_type, expected, "{sent}");
    }
}

#[test]
fn says_what_is_wrong_with_a_response() {
    let bytes = index(json!({}));
    let digest = Digest::of(&bytes);
    let other = Digest::of(b"other");
    let json_error =
        |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"\u001b]it is so"}}]}}"#);
    let server = FaultRegistry::start();
    let (host, registry) = (server.host(), open(&server));
    let url = format!("http://{host}/v2/acme/cni/manifests/v1");
    let cases = [
        (
            Reply::new(401, json_error("UNAUTHORIZED")),
            format!(
                "registry `{host}` requires authentication, which this version does not support"
            ),
        ),
        (
            Reply::new(404, json_error("MANIFEST_UNKNOWN")),
            format!("{host}/acme/cni has no tag `v1`"),
        ),
        (
            Reply::new(403, json_error("DENIED")),
            format!("GET `{url}` returned status 403: \\u{{1b}}]it is so (DENIED)"),
        ),
        (Reply::new(403, HTML), format!("GET `{url}` returned status 403: an HTML page")),
        (
            Reply::new(200, HTML),
            format!(
                "registry answered with HTML instead of a manifest (status 200); is `{host}` \
                 behind a login page?"
            ),
        ),
        (Reply::new(304, ""), format!("GET `{url}` returned status 304")),
        (
            Reply::new(200, bytes.clone()).with("Docker-Content-Digest", other.to_string()),
            format!(
                "{host}/acme/cni says in `Docker-Content-Digest` that a document has digest \
                 {other}; it has {digest}"
            ),
        ),
        (
            Reply::new(200, vec![b' '; MANIFEST_LIMIT + 1]),
            format!("the response from `{url}` is longer than 4194304 bytes"),
        ),
        (Reply::Silence, format!("`{url}` did not answer in time")),
        (
            Reply::new(302, "").with("Location", "ftp://a.example/"),
            format!("`{url}` redirects to `ftp://a.example/`, which is neither HTTPS nor HTTP"),
        ),
    ];
    for (reply, expected) in cases {
        server.fault("manifests/v1", reply.clone());
        assert_eq!(fails(registry.manifest(&by_tag("v1"))), expected, "{reply:?}");
    }
    // The twin: nothing is wrong.
    server.store_tagged("v1", INDEX, &bytes);
    assert_eq!(registry.manifest(&by_tag("v1")).unwrap().digest, digest);
}

#[test]
fn a_manifest_must_have_the_requested_digest() {
    let server = FaultRegistry::start();
    let bytes = index(json!({}));
    let expected = Digest::of(b"what was signed");
    // Two lies: the right digest claimed for other bytes, and no claim at all.
    for claim in [Some(expected), None] {
        let reply = Reply::new(200, bytes.clone());
        let reply = claim
            .iter()
            .fold(reply, |reply, it| reply.with("Docker-Content-Digest", it.to_string()));
        server.fault("manifests", reply);
        let message = fails(open(&server).manifest(&by_digest(expected)));
        let (found, host) = (Digest::of(&bytes), server.host());
        let expected = match claim {
            Some(_) => format!(
                "{host}/acme/cni says in `Docker-Content-Digest` that a document has digest \
                 {expected}; it has {found}"
            ),
            None => format!(
                "blob {expected} in {host}/acme/cni is altered: its content has digest {found}"
            ),
        };
        assert_eq!(message, expected);
    }
}

#[test]
fn waits_for_transient_faults_to_pass() {
    for reply in [
        Reply::new(500, ""),
        Reply::new(503, HTML),
        Reply::new(429, "").with("Retry-After", "1"),
        Reply::CutOff { body: index(json!({})) },
        Reply::HangUp,
    ] {
        let server = FaultRegistry::start();
        let digest = server.store_tagged("v1", INDEX, &index(json!({})));
        server.fault("manifests", reply.clone());
        server.fault("manifests", reply.clone());
        assert_eq!(open(&server).manifest(&by_tag("v1")).unwrap().digest, digest, "{reply:?}");
        assert_eq!(server.lines().len(), 3, "{reply:?}");
    }
}

#[test]
fn a_blob_is_checked_while_it_is_read() {
    let content = b"a layer".repeat(10_000);
    let descriptor = document::descriptor("a/b", Digest::of(&content), content.len() as u64);
    let altered = [b"b", &content[1..]].concat();
    let elsewhere = FaultRegistry::start();
    let server = FaultRegistry::start();
    let (host, digest) = (server.host(), Digest::of(&content));
    let url = format!("http://{host}/v2/acme/cni/blobs/{digest}");
    let target = format!("http://{}/v2/acme/cni/blobs/{digest}", elsewhere.host());
    elsewhere.state().blobs.insert(digest, content.clone());
    let cases = [
        (Reply::new(200, content.clone()), Ok(())),
        (Reply::new(307, "").with("Location", target), Ok(())),
        (
            Reply::new(200, altered.clone()),
            Err(format!(
                "blob {digest} in {host}/acme/cni is altered: its content has digest {}",
                Digest::of(&altered)
            )),
        ),
        (
            Reply::new(200, content[1..].to_vec()),
            Err(format!(
                "blob {digest} in {host}/acme/cni is 69999 bytes, its descriptor says 70000"
            )),
        ),
        (
            Reply::new(200, HTML).with("Content-Type", "text/html; charset=utf-8"),
            Err(format!(
                "registry answered with HTML instead of a blob (status 200); is `{host}` behind a \
                 login page?"
            )),
        ),
        (Reply::CutOff { body: content.clone() }, Err(format!("lost the connection to `{url}`"))),
        (Reply::Silence, Err(format!("`{url}` did not answer in time"))),
        (Reply::new(404, ""), Err(format!("{host}/acme/cni has no blob {digest}"))),
        (
            Reply::new(401, ""),
            Err(format!(
                "registry `{host}` requires authentication, which this version does not support"
            )),
        ),
        (Reply::new(403, ""), Err(format!("GET `{url}` returned status 403"))),
    ];
    let registry = open(&server);
    for (reply, expected) in cases {
        server.fault("blobs", reply);
        let mut read = Vec::new();
        let result = registry.blob(&descriptor).and_then(|mut blob| {
            blob.read_to_end(&mut read)
                .map_err(|error| OciError::from_io(error, "nowhere", "nothing"))
        });
        assert_eq!(result.map(drop).map_err(|error| error.to_string()), expected);
        assert!(expected.is_err() || read == content);
    }
}

#[test]
fn asks_for_blobs_by_sha256_only() {
    let server = FaultRegistry::start();
    let sha512: oci_spec::image::Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let descriptor = Descriptor::new("a/b".into(), 2_u64, sha512.clone());
    let expected = format!("{}/acme/cni has no blob {sha512}", server.host());
    assert_eq!(fails(open(&server).blob(&descriptor).map(drop)), expected);
}

#[test]
fn reads_referrers_page_by_page() {
    let subject = Digest::of(b"subject");
    for page in [0, 1, 2, 5] {
        let server = FaultRegistry::start();
        let mut expected: Vec<Digest> = (0..5)
            .map(|n| server.store(MANIFEST, &referrer(&subject, &n.to_string()).bytes))
            .collect();
        server.store(MANIFEST, &referrer(&Digest::of(b"another"), "x").bytes);
        expected.sort();
        (server.state().referrers_api, server.state().page) = (true, page);
        assert_eq!(digests(&open(&server).referrers(&subject).unwrap()), expected, "{page}");
        assert_eq!(
            server.lines().len(),
            if page == 0 { 1 } else { 5_usize.div_ceil(page) },
            "{page}"
        );
    }
}

#[test]
fn a_list_of_referrers_has_an_end() {
    let subject = Digest::of(b"subject");
    let server = FaultRegistry::start();
    (server.state().referrers_api, server.state().endless) = (true, true);
    let expected = format!("{}/acme/cni lists more than 256 referrers of {subject}", server.host());
    assert_eq!(fails(open(&server).referrers(&subject)), expected);
    assert_eq!(server.lines().len(), 32);
    let server = FaultRegistry::start();
    let expected = format!("{}/acme/cni lists more than 256 referrers of {subject}", server.host());
    for n in 0..257 {
        server.store(MANIFEST, &referrer(&subject, &n.to_string()).bytes);
    }
    for page in [0, 200] {
        (server.state().referrers_api, server.state().page) = (true, page);
        assert_eq!(fails(open(&server).referrers(&subject)), expected, "{page}");
    }
    // Exactly the limit is accepted.
    let last = *server.state().manifests.keys().next().unwrap();
    server.state().manifests.remove(&last);
    assert_eq!(open(&server).referrers(&subject).unwrap().len(), 256);
}

#[test]
fn a_node_reads_shorter_documents_than_a_registry_may_have() {
    let server = FaultRegistry::start();
    let long = |length: usize| index(json!({ "annotations": { "a": "x".repeat(length) } }));
    let (subject, limit) = (Digest::of(b"subject"), 4096);
    let digest = server.store(INDEX, &long(limit));
    assert!(open(&server).manifest(&by_digest(digest)).is_ok());
    let error = fails(open(&server).limited(limit).manifest(&by_digest(digest)));
    assert!(error.contains("4096"), "{error}");
    let short = server.store(INDEX, &long(1000));
    assert!(open(&server).limited(limit).manifest(&by_digest(short)).is_ok());
    // Pages that are short, and a list that is not.
    for n in 0..40 {
        server.store(MANIFEST, &referrer(&subject, &n.to_string()).bytes);
    }
    (server.state().referrers_api, server.state().page) = (true, 4);
    assert_eq!(open(&server).referrers(&subject).unwrap().len(), 40);
    let expected = format!(
        "{}/acme/cni lists the referrers of {subject} in more than 4096 bytes",
        server.host()
    );
    assert_eq!(fails(open(&server).limited(limit).referrers(&subject)), expected);
}

#[test]
fn reads_the_tag_if_there_is_no_referrers_api() {
    let subject = Digest::of(b"subject");
    for status in [400, 404, 405, 406] {
        let server = FaultRegistry::start();
        server.fault("referrers", Reply::new(status, "no"));
        assert_eq!(open(&server).referrers(&subject).unwrap(), [], "{status}");
        let entry = document::descriptor(MANIFEST, Digest::of(b"x"), 1);
        server.store_tagged(
            &subject.referrers_tag(),
            INDEX,
            &index(json!({ "manifests": [entry] })),
        );
        server.fault("referrers", Reply::new(status, "no"));
        assert_eq!(open(&server).referrers(&subject).unwrap(), [entry], "{status}");
    }
}

#[test]
fn reads_the_tag_if_the_answer_is_no_list() {
    let typed = |body: &str, media_type| Reply::new(200, body).with("Content-Type", media_type);
    let subject = Digest::of(b"subject");
    let entry = document::descriptor(MANIFEST, Digest::of(b"x"), 1);
    let list = index(json!({ "manifests": [entry] }));
    let server = FaultRegistry::start();
    for reply in [
        Reply::new(200, HTML),
        typed(HTML, "text/html"),
        typed(HTML, INDEX),
        typed("{}", "application/json"),
        typed("", "text/plain"),
        typed("not JSON", "application/json"),
        typed(&json!({ "mediaType": MANIFEST }).to_string(), MANIFEST),
    ] {
        server.fault("referrers", reply.clone());
        assert_eq!(open(&server).referrers(&subject).unwrap(), [], "{reply:?}");
    }
    let bare = json!({ "schemaVersion": 2, "mediaType": INDEX }).to_string();
    let null = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": null }).to_string();
    let docker = String::from_utf8(index(json!({}))).unwrap();
    let no_lists = [
        typed("{}", INDEX),
        typed("", INDEX),
        typed("\n", INDEX),
        typed("null", INDEX),
        typed(&bare, INDEX),
        typed(&null, INDEX),
        typed(&null, "application/json"),
        typed(r#"{"manifests":null,"annotations":null}"#, INDEX),
        typed(&docker, DOCKER_INDEX),
        typed(&docker, DOCKER_MANIFEST),
    ];
    for reply in &no_lists {
        server.fault("referrers", reply.clone());
        assert_eq!(open(&server).referrers(&subject).unwrap(), [], "{reply:?}");
    }
    server.store_tagged(&subject.referrers_tag(), INDEX, &list);
    for reply in
        [typed(HTML, "text/html"), typed("{}", "application/json")].into_iter().chain(no_lists)
    {
        server.fault("referrers", reply.clone());
        assert_eq!(
            open(&server).referrers(&subject).unwrap(),
            std::slice::from_ref(&entry),
            "{reply:?}"
        );
    }
    // A page under every address is not an answer.
    for what in ["referrers", "manifests"] {
        server.fault(what, typed(HTML, "text/html"));
    }
    let host = server.host();
    let page = format!(
        "registry answered with HTML instead of a manifest (status 200); is `{host}` behind a \
         login page?"
    );
    assert_eq!(fails(open(&server).referrers(&subject)), page);
    // A list is one, whatever the header says, and a broken one is not none.
    let other = document::descriptor(MANIFEST, Digest::of(b"y"), 1);
    let listed = index(json!({ "mediaType": INDEX, "manifests": [other] }));
    server.fault("referrers", Reply::new(200, listed).with("Content-Type", "application/json"));
    assert_eq!(open(&server).referrers(&subject).unwrap(), [other]);
    for broken in ["{", "[]", r#"{"layers":[]}"#, r#"{"manifests":{}}"#] {
        server.fault("referrers", typed(broken, INDEX));
        assert!(open(&server).referrers(&subject).is_err(), "{broken}");
    }
    // The same of the list under the tag, which other clients write.
    for (list, expected) in
        [(null.as_str(), true), (bare.as_str(), true), (r#"{"layers":[]}"#, false)]
    {
        server.store_tagged(&subject.referrers_tag(), INDEX, list.as_bytes());
        server.fault("referrers", Reply::new(404, ""));
        assert_eq!(open(&server).referrers(&subject).ok(), expected.then(Vec::new), "{list}");
    }
}

#[test]
fn a_page_without_entries_does_not_end_a_list() {
    let subject = Digest::of(b"subject");
    let entry = document::descriptor(MANIFEST, Digest::of(b"x"), 1);
    let (null, full) = (json!({ "manifests": null }), json!({ "manifests": [entry] }));
    for (first, second) in [(&null, &full), (&full, &null)] {
        let server = FaultRegistry::start();
        let next = format!("</v2/acme/cni/referrers/{subject}?n=2>; rel=\"next\"");
        let reply = |page: &Value| Reply::new(200, index(page.clone())).with("Content-Type", INDEX);
        server.fault("referrers", reply(first).with("Link", next));
        server.fault("referrers", reply(second));
        assert_eq!(open(&server).referrers(&subject).unwrap(), std::slice::from_ref(&entry));
    }
}

#[test]
fn reads_the_tag_if_the_list_of_referrers_is_forbidden() {
    let subject = Digest::of(b"subject");
    let server = FaultRegistry::start();
    let entry = document::descriptor(MANIFEST, Digest::of(b"x"), 1);
    let list = index(json!({ "manifests": [entry] }));
    // Without the tag, nothing is known, whatever is said about it.
    for tag in [404, 403] {
        server.fault("referrers", Reply::new(403, ""));
        server.fault("manifests", Reply::new(tag, ""));
        let error = fails(open(&server).referrers(&subject));
        assert!(error.ends_with("returned status 403"), "{tag}: {error}");
    }
    server.store_tagged(&subject.referrers_tag(), INDEX, &list);
    for body in ["", HTML, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#] {
        server.fault("referrers", Reply::new(403, body));
        assert_eq!(open(&server).referrers(&subject).unwrap(), std::slice::from_ref(&entry));
    }
}

#[test]
fn not_knowing_is_not_having_none() {
    let subject = Digest::of(b"subject");
    let server = FaultRegistry::start();
    let (host, tag) = (server.host(), subject.referrers_tag());
    let (api, by_tag) = (
        format!("http://{host}/v2/acme/cni/referrers/{subject}"),
        format!("http://{host}/v2/acme/cni/manifests/{tag}"),
    );
    let credentials =
        format!("registry `{host}` requires authentication, which this version does not support");
    for (what, url) in [("referrers", &api), ("manifests", &by_tag)] {
        let cases = [
            (1, Reply::new(401, ""), credentials.clone()),
            (1, Reply::new(403, ""), format!("GET `{url}` returned status 403")),
            (4, Reply::new(429, ""), format!("GET `{url}` returned status 429")),
            (4, Reply::new(500, ""), format!("GET `{url}` returned status 500")),
            (1, Reply::Silence, format!("`{url}` did not answer in time")),
        ];
        for (times, reply, expected) in cases {
            for _ in 0..times {
                server.fault(what, reply.clone());
            }
            assert_eq!(fails(open(&server).referrers(&subject)), expected);
            assert_eq!(server.state().faults.len(), 0);
        }
    }
    // A tag that holds an image is not an empty list, but one that was being written is read again.
    let manifest = referrer(&subject, "x");
    server.store_tagged(&tag, MANIFEST, &manifest.bytes);
    let expected = format!(
        "{host}/acme/cni cannot list the referrers of {subject}: its tag `{tag}` is `{MANIFEST}`, \
         expected an image index"
    );
    assert_eq!(fails(open(&server).referrers(&subject)), expected);
    server.store_tagged(&tag, INDEX, &index(json!({})));
    server.fault("manifests", Reply::new(200, manifest.bytes).with("Content-Type", MANIFEST));
    assert_eq!(open(&server).referrers(&subject).unwrap(), []);
}

#[test]
fn a_tag_that_is_the_image_itself_lists_nothing() {
    let server = FaultRegistry::start();
    let subject = server.store(INDEX, &index(json!({})));
    server.state().digest_tags = true;
    assert_eq!(open(&server).referrers(&subject).unwrap(), []);
}

#[test]
fn finds_the_api_of_docker_hub() {
    for (name, expected) in [
        ("docker.io/library/alpine", "https://registry-1.docker.io/v2/library/alpine/manifests/v1"),
        ("registry.example:8443/a", "https://registry.example:8443/v2/a/manifests/v1"),
        ("localhost:5000/a/b", "http://localhost:5000/v2/a/b/manifests/v1"),
        ("[::1]:5000/a", "http://[::1]:5000/v2/a/manifests/v1"),
    ] {
        let registry = Registry::new(name.parse().unwrap()).unwrap();
        assert_eq!(
            (registry.url("manifests/v1").as_str(), registry.origin().as_str()),
            (expected, name)
        );
    }
}
