//! Signatures and keys in definitions.

use super::*;

fn key(path: &str) -> Result<KeyContent, String> {
    match path {
        "keys/acme.pub" => {
            Ok(KeyContent { pem: "acme".to_owned(), fingerprint: Digest::of(b"acme") })
        }
        other => Err(format!("no {other}")),
    }
}

#[test]
fn a_signature_is_part_of_the_request_with_the_fingerprint_of_its_key() {
    let source = "file: {from: \"https://dl.example/{plugin}-{architecture}\", version: v1, \
        key: keys/acme.pub, signature: \"https://sig.example/{version}/{plugin}-{architecture}.sig\", \
        provenance: \"{plugin}.intoto.jsonl\"}";
    let mut definition = definition(source, TWO, BOTH).unwrap();
    let request = |definition: &Definition| {
        let platform = "linux/arm64".parse().unwrap();
        definition.sources[0].kind.request(&platform, &"flannel".parse().unwrap())
    };
    assert_eq!(request(&definition).key, None, "its file was not read");
    definition.read_keys(key).unwrap();
    let found = request(&definition);
    let expected = Request {
        signature: Some("https://sig.example/v1/flannel-arm64.sig".to_owned()),
        provenance: Some("flannel.intoto.jsonl".to_owned()),
        key: Some(Digest::of(b"acme")),
        ..expected("file", "https://dl.example/flannel-arm64", None, Some("v1"))
    };
    assert_eq!(found, expected);
    assert_eq!(
        found.to_string(),
        format!(
            "file `https://dl.example/flannel-arm64`, version `v1`, signature \
             `https://sig.example/v1/flannel-arm64.sig`, provenance `flannel.intoto.jsonl`, key {}",
            Digest::of(b"acme")
        )
    );
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(serde_json::from_value::<Request>(json).unwrap(), found);
    let mut directory = found.clone();
    directory.make_directory();
    assert_eq!((directory.signature, directory.provenance, directory.key), (None, None, None));
    let failed = definition.read_keys(|path| Err::<KeyContent, _>(path.to_owned()));
    assert_eq!(failed, Err("keys/acme.pub".to_owned()));
}

#[test]
fn names_what_of_a_signature_does_not_fit_together() {
    const KEYLESS: &str = "keyless identities are not supported yet: name the publisher's key";
    let one = |source: &str| definition(source, "linux/amd64", "bridge");
    for (source, words) in [
        ("archive: {from: a, key: k}", "`key` verifies nothing: write `signature` or `provenance`"),
        ("archive: {from: a, signature: s}", "are verified with a key: write `key`"),
        ("file: {from: a, provenance: p}", "are verified with a key: write `key`"),
        ("file: {from: a, key: k}", "`key` verifies nothing"),
        ("archive: {from: a, key: \"https://a/k\", signature: s}", "is not the path of a key"),
        ("archive: {from: a, key: \"\", signature: s}", "`` is not the path of a key"),
        ("archive: {from: a, key: k, signature: \"{arch}\"}", "has a brace that is not part of"),
        ("archive: {from: a, key: k, signature: }", "the value is missing"),
        (
            "archive: {from: a, key: k, signature: \"{version}.sig\"}",
            "`{version}` is used and there is no version",
        ),
        (
            "file: {from: a, key: k, provenance: \"{version}.jsonl\"}",
            "`{version}` is used and there is no version",
        ),
        ("archive: {from: a, identity: {issuer: i}}", KEYLESS),
        ("file: {from: a, identity: me@example.com}", KEYLESS),
        ("image: {from: \"ghcr.io/a/b:v1\", identity: me@example.com}", KEYLESS),
        ("image: {from: \"ghcr.io/a/b:v1\", signature: s}", "unknown field `signature`"),
        ("image: {from: \"ghcr.io/a/b:v1\", key: \"oci://k\"}", "is not the path of a key"),
    ] {
        let error = one(source).expect_err(source);
        assert!(error.contains(words), "{source}\n{error}\n{words}");
    }
    for source in [
        "archive: {from: a, key: k, signature: s}",
        "file: {from: a, key: ../k, provenance: p}",
        "archive: {from: a, version: v1, key: k, signature: \"{version}.sig\", provenance: p}",
        "image: {from: \"ghcr.io/a/b:v1\", key: k}",
    ] {
        assert!(one(source).is_ok(), "{source}");
    }
}
