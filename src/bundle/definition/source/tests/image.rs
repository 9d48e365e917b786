//! Images as people write them.

use super::*;

const TAGGED: &str = "ghcr.io/acme/whereabouts:v1";

#[test]
fn an_image_is_for_all_platforms_and_a_path_may_be_given() {
    for (source, plugin, expected) in [
        (
            format!("image: \"{TAGGED}\""),
            "bridge",
            expected("image", TAGGED, None, None),
        ),
        (
            "image: {from: \"ghcr.io/acme/{plugin}:{version}\", version: v1, paths: {flannel: \"/{plugin}-{architecture}\"}}".to_owned(),
            "flannel",
            expected("image", "ghcr.io/acme/flannel:v1", Some("/flannel-arm64"), Some("v1")),
        ),
        (
            "image: \"oci:layout-{architecture}:v1\"".to_owned(),
            "bridge",
            expected("image", "oci:layout-arm64:v1", None, None),
        ),
    ] {
        assert_eq!(request(&source, "linux/arm64", plugin), expected, "{source}");
    }
    let request = request(&format!("image: \"{TAGGED}\""), "linux/arm64", "bridge");
    assert_eq!(request.to_string(), format!("image `{TAGGED}`"));
    assert!(request.is_image() && request.has_asset());
}

#[test]
fn an_image_may_be_fixed_by_the_digests_of_its_manifests() {
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let from = format!("image: {{from: \"{TAGGED}\", sha256: ");
    let both = format!("{from}{{linux/amd64: {}, linux/arm64: {}}}}}", one.hex(), two.hex());
    let both = definition(&both, TWO, "bridge").unwrap();
    let asset = both.sources[0].kind.asset().unwrap();
    assert_eq!(asset.pin(&"linux/amd64".parse().unwrap()), Some(one));
    assert_eq!(asset.pin(&"linux/arm64".parse().unwrap()), Some(two));
    let single = format!("{from}{}}}", one.hex());
    assert!(definition(&single, "linux/amd64", "bridge").is_ok());
    let error = definition(&single, TWO, "bridge").expect_err("one for two");
    assert!(error.starts_with("it.yaml:7:5: each platform has a manifest of its own: "), "{error}");
    let reference = format!("image: \"{TAGGED}@{one}\"");
    assert!(definition(&reference, TWO, "bridge").is_ok());
}

#[test]
fn names_what_is_not_an_image() {
    for (value, words) in [
        ("", "the reference of an image, or `from` with other fields"),
        ("whereabouts", "`whereabouts` does not name a registry; write `HOST/PATH:TAG`, `oci:"),
        ("\"docker://ghcr.io/acme/x\"", "is neither a path nor an https or http URL"),
        ("\"https://ghcr.io/acme/x\"", "`https:` is not a valid host name"),
        ("\"ghcr.io/Acme/x\"", "`Acme/x` is not a valid repository path"),
        ("\"ghcr.io/acme/x:a:b\"", "is not a valid"),
        ("\"ghcr.io/acme/x@sha256:00\"", "has 2 hex digits, expected 64"),
        ("\"oci:\"", "`oci:` has no path"),
        ("\"ghcr.io/acme/x:{version}\"", "`{version}` is used and there is no version"),
        ("{from: ghcr.io/a/b, members: {bridge: a}}", "unknown field `members`"),
        ("{from: ghcr.io/a/b, checksums: a}", "unknown field `checksums`"),
        ("{from: ghcr.io/a/b, paths: {bridge: bin/bridge}}", "is not a path in an image"),
        ("{from: ghcr.io/a/b, paths: {bridge: /../bridge}}", "is not a path in an image"),
        (
            "{from: ghcr.io/a/b, paths: {other: /a}}",
            "it.yaml:7:5: `paths` has `other`, which is not a plugin of this source",
        ),
        (
            "{from: ghcr.io/a/b, paths: {bridge: \"/{version}\"}}",
            "`{version}` is used and there is no version",
        ),
        (
            "{from: ghcr.io/a/b, sha256: {linux/arm64: HEX}}",
            "it.yaml:7:5: `sha256` has no digest for linux/amd64",
        ),
        (
            "{from: \"ghcr.io/a/{plugin}\", sha256: HEX}",
            "it.yaml:7:5: `{plugin}` makes several images, and `sha256` is for one",
        ),
    ] {
        let source = format!("image: {}", value.replace("HEX", &Digest::of(b"").hex()));
        let error = definition(&source, "linux/amd64", BOTH).expect_err(value);
        assert!(error.contains(words), "{value}\n{error}\n{words}");
    }
    for value in [TAGGED, "ghcr.io/acme/x", "oci-archive:a.tar", "localhost:5000/a/b:c"] {
        assert!(definition(&format!("image: \"{value}\""), TWO, BOTH).is_ok(), "{value}");
    }
}
