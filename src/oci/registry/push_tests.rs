//! Pushing, against a registry with every known fault.

use std::io::Read;

use serde_json::{Value, json};

use super::fault_registry::FaultRegistry;
use super::tests::{digests, fails, index, open, referrer};
use super::*;
use crate::net::test_server::Reply;
use crate::oci::Sink;

/// Content that must not be read.
struct Untouched;

impl Read for Untouched {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("the blob is there already")
    }
}

fn blob(content: &[u8]) -> Descriptor {
    document::descriptor("a/b", Digest::of(content), content.len() as u64)
}

fn list(server: &FaultRegistry, subject: &Digest) -> Value {
    let state = server.state();
    let digest = state.tags[&subject.referrers_tag()];
    serde_json::from_slice(&state.manifests[&digest].1).unwrap()
}

#[test]
fn pushes_a_blob_once() {
    let server = FaultRegistry::start();
    let mut registry = open(&server);
    // One that fits in memory, one that does not, and an empty one.
    for content in [b"configuration".to_vec(), b"a layer".repeat(500_000), Vec::new()] {
        let (descriptor, digest) = (blob(&content), Digest::of(&content));
        registry.put_blob(&descriptor, &mut content.as_slice()).unwrap();
        assert!(server.state().blobs[&digest] == content);
        assert!(registry.has_blob(&descriptor).unwrap());
        registry.put_blob(&descriptor, &mut Untouched).unwrap();
        let head = format!("HEAD blobs/{digest}");
        let put = format!("PUT uploads/1?_state=a%2Fb&digest=sha256%3A{}", digest.hex());
        let lines = server.lines();
        assert_eq!(lines[lines.len() - 5..], [&head, "POST blobs/uploads/", &put, &head, &head]);
        let length = content.len().to_string();
        assert_eq!(
            server.received()[lines.len() - 3].header("content-length"),
            Some(length.as_str())
        );
    }
}

#[test]
fn asks_once_whether_a_blob_is_there() {
    let server = FaultRegistry::start();
    let mut registry = open(&server);
    assert!(!registry.has_blob(&blob(b"x")).unwrap());
    registry.put_blob(&blob(b"x"), &mut b"x".as_slice()).unwrap();
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("HEAD")).count(), 1);
}

#[test]
fn sends_only_what_the_descriptor_names() {
    let server = FaultRegistry::start();
    let digest = Digest::of(b"expected");
    let place = "the blob to push";
    let cases = [
        (
            "altered!",
            format!(
                "blob {digest} in {place} is altered: its content has digest {}",
                Digest::of(b"altered!")
            ),
        ),
        ("short", format!("blob {digest} in {place} is 5 bytes, its descriptor says 8")),
        ("much too long", format!("blob {digest} in {place} is 9 bytes, its descriptor says 8")),
    ];
    for (content, expected) in cases {
        assert_eq!(
            fails(open(&server).put_blob(&blob(b"expected"), &mut content.as_bytes())),
            expected
        );
    }
    assert!(server.lines().iter().all(|line| line.starts_with("HEAD")));
}

#[test]
fn restarts_an_upload_after_a_transient_fault() {
    for content in [b"small".to_vec(), vec![b'x'; 2_000_000]] {
        for what in ["POST", "PUT"] {
            for reply in
                [Reply::new(503, ""), Reply::new(429, "").with("Retry-After", "1"), Reply::HangUp]
            {
                let server = FaultRegistry::start();
                server.fault(what, reply.clone());
                open(&server).put_blob(&blob(&content), &mut content.as_slice()).unwrap();
                assert!(server.state().blobs[&Digest::of(&content)] == content, "{what} {reply:?}");
                let posts = server.lines().iter().filter(|line| line.starts_with("POST")).count();
                assert_eq!(posts, 2, "{what} {reply:?}");
            }
        }
    }
}

#[test]
fn says_why_a_blob_is_not_accepted() {
    let server = FaultRegistry::start();
    let host = server.host();
    let posted = format!("POST `http://{host}/v2/acme/cni/blobs/uploads/` returned status");
    let put = format!("PUT `http://{host}/v2/acme/cni/uploads/1` returned status");
    let credentials =
        format!("registry `{host}` requires authentication, which this version does not support");
    let page = format!(
        "registry answered with HTML instead of an upload confirmation (status 200); is `{host}` \
         behind a login page?"
    );
    let denied = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
    let cases = [
        ("HEAD", Reply::new(401, ""), credentials.clone()),
        ("POST", Reply::new(401, ""), credentials),
        ("POST", Reply::new(403, denied), format!("{posted} 403: no (DENIED)")),
        ("POST", Reply::new(200, "<html>"), page.clone()),
        ("POST", Reply::new(201, ""), format!("{posted} 201")),
        (
            "POST",
            Reply::new(202, ""),
            format!(
                "`http://{host}/v2/acme/cni/blobs/uploads/` returned status 202 without a \
                 `Location` header"
            ),
        ),
        (
            "POST",
            Reply::new(202, "").with("Location", "http://10.1.2.3/x?secret"),
            "`http://10.1.2.3/x` is plain HTTP to another machine, expected https".to_owned(),
        ),
        (
            "PUT",
            Reply::new(413, "too large").with("Content-Type", "text/plain"),
            format!("{put} 413: too large"),
        ),
        ("PUT", Reply::new(202, ""), format!("{put} 202")),
        ("PUT", Reply::new(200, "<html>"), page),
    ];
    for (what, reply, expected) in cases {
        server.fault(what, reply.clone());
        assert_eq!(
            fails(open(&server).put_blob(&blob(b"x"), &mut b"x".as_slice())),
            expected,
            "{reply:?}"
        );
    }
    assert!(server.state().blobs.is_empty());
}

#[test]
fn puts_a_manifest_by_digest_and_then_its_tag() {
    let server = FaultRegistry::start();
    let document = Document::new(INDEX, index(json!({})));
    let mut registry = open(&server);
    registry.put_manifest(&document).unwrap();
    registry.tag("v1", &document).unwrap();
    assert_eq!(
        server.lines(),
        [format!("PUT manifests/{}", document.digest), "PUT manifests/v1".to_owned()]
    );
    for request in server.received() {
        assert_eq!((request.header("content-type"), &request.body), (Some(INDEX), &document.bytes));
    }
    let selector = Selector { tag: Some("v1".to_owned()), digest: None };
    assert_eq!(registry.manifest(&selector).unwrap(), document);
}

#[test]
fn a_manifest_must_arrive_as_it_was_sent() {
    let server = FaultRegistry::start();
    let document = Document::new(INDEX, index(json!({})));
    let (host, digest, other) = (server.host(), document.digest, Digest::of(b"other"));
    let url = format!("http://{host}/v2/acme/cni/manifests/{digest}");
    let unknown =
        r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
    let cases = [
        (
            Reply::new(201, "").with("Docker-Content-Digest", other.to_string()),
            format!(
                "{host}/acme/cni says in `Docker-Content-Digest` that a document has digest \
                 {other}; it has {digest}"
            ),
        ),
        (
            Reply::new(400, unknown),
            format!(
                "PUT `{url}` returned status 400: blob unknown to registry (MANIFEST_BLOB_UNKNOWN)"
            ),
        ),
        (Reply::new(200, ""), format!("PUT `{url}` returned status 200")),
    ];
    for (reply, expected) in cases {
        server.fault("PUT", reply.clone());
        assert_eq!(fails(open(&server).put_manifest(&document)), expected, "{reply:?}");
    }
}

#[test]
fn leaves_the_list_to_a_registry_that_maintains_one() {
    let server = FaultRegistry::start();
    server.state().referrers_api = true;
    let subject = Digest::of(b"subject");
    let referrers = [referrer(&subject, "a"), referrer(&subject, "b")];
    let mut registry = open(&server);
    registry.put_referrers(&subject, &referrers).unwrap();
    registry.put_referrers(&subject, &referrers).unwrap();
    // Whether the registry maintains a list is asked once; whether ours are in it, twice each time.
    let (put, get) = (
        |n: usize| format!("PUT manifests/{}", referrers[n].digest),
        || format!("GET referrers/{subject}"),
    );
    assert_eq!(server.lines(), [put(0), put(1), get(), get(), get(), put(0), put(1), get(), get()]);
    let mut expected = [referrers[0].digest, referrers[1].digest];
    expected.sort();
    assert_eq!(digests(&registry.referrers(&subject).unwrap()), expected);
}

#[test]
fn pushes_again_what_the_registry_forgot_to_list() {
    let subject = Digest::of(b"subject");
    let referrers = [referrer(&subject, "a"), referrer(&subject, "b")];
    for (forgets, expected) in [(0, Ok(2)), (1, Ok(3)), (2, Ok(4)), (4, Ok(6)), (100, Err(20))] {
        let server = FaultRegistry::start();
        (server.state().referrers_api, server.state().forgets) = (true, forgets);
        let result = open(&server).put_referrers(&subject, &referrers);
        let lost = format!(
            "the list of referrers of {subject} in {}/acme/cni still lacks entries after 10 writes",
            server.host()
        );
        assert_eq!(
            result.map_err(|error| error.to_string()),
            expected.map(drop).map_err(|_: usize| lost),
            "{forgets}"
        );
        let pushes = server.lines().iter().filter(|line| line.starts_with("PUT")).count();
        assert_eq!(pushes, expected.unwrap_or_else(|pushes| pushes), "{forgets}");
    }
}

#[test]
fn maintains_the_list_if_the_registry_does_not() {
    let subject = Digest::of(b"subject");
    let referrers = [referrer(&subject, "a"), referrer(&subject, "b")];
    // The second registry only claims to do so.
    for subject_header in [false, true] {
        let server = FaultRegistry::start();
        server.state().subject_header = subject_header;
        open(&server).put_referrers(&subject, &referrers).unwrap();
        let entries: Vec<Value> = ["a", "b"]
            .iter()
            .zip(&referrers)
            .map(|(name, it)| {
                json!({
                    "mediaType": MANIFEST, "digest": it.digest, "size": it.bytes.len(),
                    "artifactType": "a/b", "annotations": { "name": name },
                })
            })
            .collect();
        let expected = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        assert_eq!(list(&server, &subject), expected);
        // One write for both, and none if they are listed.
        let put = format!("PUT manifests/{}", subject.referrers_tag());
        open(&server).put_referrers(&subject, &referrers).unwrap();
        assert_eq!(server.lines().iter().filter(|line| **line == put).count(), 1);
        let mut expected = [referrers[0].digest, referrers[1].digest];
        expected.sort();
        assert_eq!(digests(&open(&server).referrers(&subject).unwrap()), expected);
    }
}

#[test]
fn writes_the_list_again_after_another_client_overwrote_it() {
    let server = FaultRegistry::start();
    let subject = Digest::of(b"subject");
    let tag = subject.referrers_tag();
    let stranger = |n: u64| json!({ "mediaType": MANIFEST, "digest": Digest::of(&n.to_le_bytes()), "size": n, "new": true });
    let foreign = |n: u64| json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [stranger(n)], "kept": n });
    server.store_tagged(&tag, INDEX, foreign(0).to_string().as_bytes());
    server.state().intruders = (1..4).map(foreign).collect();
    let ours = referrer(&subject, "a");
    open(&server).put_referrers(&subject, std::slice::from_ref(&ours)).unwrap();
    let list = list(&server, &subject);
    assert_eq!((&list["kept"], &list["manifests"][0]), (&json!(3), &stranger(3)));
    assert_eq!(list["manifests"][1]["digest"], json!(ours.digest));
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
    let put = format!("PUT manifests/{tag}");
    assert_eq!(server.lines().iter().filter(|line| **line == put).count(), 4);
}

#[test]
fn reports_an_error_if_the_list_never_persists() {
    let server = FaultRegistry::start();
    let subject = Digest::of(b"subject");
    let foreign = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
    server.state().intruders = vec![foreign; 10];
    let error = open(&server)
        .put_referrers(&subject, &[referrer(&subject, "a")])
        .expect_err("it is never kept");
    let expected = format!(
        "the list of referrers of {subject} in {}/acme/cni still lacks entries after 10 writes",
        server.host()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.hint(), Some("try again when no one else is attaching to the same image"));
}

#[test]
fn reads_the_list_again_before_it_writes_it_again() {
    let server = FaultRegistry::start();
    let subject = Digest::of(b"subject");
    let tag = subject.referrers_tag();
    let put = "PUT manifests/sha256-";
    server.fault(put, Reply::new(500, ""));
    server.fault(put, Reply::HangUp);
    open(&server).put_referrers(&subject, &[referrer(&subject, "a")]).unwrap();
    // Two more reads, to see whether it persists.
    let verbs = ["GET", "PUT", "GET", "PUT", "GET", "PUT", "GET", "GET"];
    let of_tag: Vec<String> =
        server.lines().into_iter().filter(|line| line.contains(&tag)).collect();
    assert_eq!(of_tag, verbs.map(|verb| format!("{verb} manifests/{tag}")));
    assert_eq!(list(&server, &subject)["manifests"].as_array().unwrap().len(), 1);
    for _ in 0..10 {
        server.fault(put, Reply::new(500, ""));
    }
    let message = fails(open(&server).put_referrers(&subject, &[referrer(&subject, "b")]));
    let url = format!("http://{}/v2/acme/cni/manifests/{tag}", server.host());
    assert_eq!(message, format!("PUT `{url}` returned status 500"));
}

#[test]
fn believes_that_a_list_is_gone_only_if_it_stays_gone() {
    let server = FaultRegistry::start();
    let subject = Digest::of(b"subject");
    server.store_tagged(&subject.referrers_tag(), INDEX, &index(json!({})));
    for (known, absences, expected) in
        [(false, 0, true), (false, 1, false), (true, 3, true), (true, 4, false)]
    {
        for _ in 0..absences {
            server.fault("GET manifests", Reply::new(404, ""));
        }
        let tagged = open(&server).fetch_tagged(&subject, known).unwrap();
        assert_eq!(matches!(tagged, Tagged::Index(_)), expected, "{known} {absences}");
        assert_eq!(server.state().faults.len(), 0, "{known} {absences}");
    }
}

#[test]
fn pushes_to_a_registry_that_forbids_to_read_what_is_not_there() {
    let server = FaultRegistry::start();
    let subject = server.store(INDEX, &index(json!({})));
    let ours = referrer(&subject, "a");
    server.fault("GET manifests", Reply::new(403, ""));
    open(&server).put_referrers(&subject, std::slice::from_ref(&ours)).unwrap();
    let digests = list(&server, &subject)["manifests"].as_array().unwrap().len();
    assert_eq!(digests, 1);
    server.fault("HEAD", Reply::new(403, ""));
    open(&server).put_blob(&blob(b"x"), &mut b"x".as_slice()).unwrap();
    // Where writing is forbidden as well, that is the error.
    let server = FaultRegistry::start();
    let tag = subject.referrers_tag();
    server.fault("GET manifests", Reply::new(403, ""));
    server.fault("PUT manifests/sha256-", Reply::new(403, ""));
    let url = format!("http://{}/v2/acme/cni/manifests/{tag}", server.host());
    let expected = format!("PUT `{url}` returned status 403");
    assert_eq!(fails(open(&server).put_referrers(&subject, &[ours])), expected);
}

#[test]
fn writes_no_list_if_its_tag_is_something_else() {
    let server = FaultRegistry::start();
    let subject = server.store(INDEX, &index(json!({})));
    let tag = subject.referrers_tag();
    let ours = [referrer(&subject, "a")];
    let refused = |found: &str| {
        let host = server.host();
        format!(
            "{host}/acme/cni cannot list the referrers of {subject}: its tag `{tag}` is {found}, \
             expected an image index"
        )
    };
    server.state().digest_tags = true;
    let error = open(&server).put_referrers(&subject, &ours).expect_err("GitLab");
    assert_eq!(error.to_string(), refused("the image itself"));
    assert_eq!(
        error.hint(),
        Some("delete that tag; if the registry reserves it, push to another registry")
    );
    server.state().digest_tags = false;
    server.store_tagged(&tag, MANIFEST, b"{}");
    assert_eq!(
        fails(open(&server).put_referrers(&subject, &ours)),
        refused(&format!("`{MANIFEST}`"))
    );
    server.store_tagged(&tag, INDEX, br#"{"schemaVersion":2}"#);
    assert_eq!(
        fails(open(&server).put_referrers(&subject, &ours)),
        refused("an index without `manifests`")
    );
    let put = format!("PUT manifests/{tag}");
    assert!(!server.lines().contains(&put));
}

#[test]
fn pushes_no_referrer_of_another_subject() {
    let server = FaultRegistry::start();
    let subject = Digest::of(b"subject");
    let stranger = referrer(&Digest::of(b"other"), "a");
    let expected = format!("manifest {} does not have {subject} as its subject", stranger.digest);
    assert_eq!(
        fails(open(&server).put_referrers(&subject, &[referrer(&subject, "b"), stranger])),
        expected
    );
    assert_eq!(server.lines(), [""; 0]);
    open(&server).put_referrers(&subject, &[]).unwrap();
    assert_eq!(server.lines(), [""; 0]);
}
