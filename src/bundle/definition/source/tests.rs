//! Sources as people write them, and what is asked of them.

mod image;
mod signed;

use super::*;
use crate::bundle::Definition;
use crate::model::Digest;

#[test]
fn says_which_keys_there_are_and_which_were_found() {
    for (all, found, expected) in [
        (&["directory"][..], &[][..], "a source must have exactly one of `directory`; found none"),
        (
            &["directory", "archive", "image"],
            &["directory", "image"],
            "a source must have exactly one of `directory`, `archive` or `image`; found `directory` and `image`",
        ),
    ] {
        assert_eq!(not_one(all, found), expected);
    }
}

/// A definition of these plugins from a source with this key and value, on line 7 and behind column
/// 24 of it.
fn definition(source: &str, platforms: &str, plugins: &str) -> Result<Definition, String> {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\n\
         platforms: [{platforms}]\nsources:\n  - {{name: upstream, {source}}}\nplugins: [{plugins}]\n"
    );
    Definition::parse("it.yaml", &text).map_err(|error| error.to_string())
}

const TWO: &str = "linux/amd64, linux/arm64";
const BOTH: &str = "bridge, flannel";
const URL: &str = "https://dl.example/{version}/cni-{architecture}-{version}.tgz";

fn request(source: &str, platform: &str, plugin: &str) -> Request {
    let platform = platform.parse().unwrap();
    let definition = definition(source, TWO, BOTH).unwrap();
    definition.sources[0].kind.request(&platform, &plugin.parse().unwrap())
}

fn expected(kind: &str, location: &str, member: Option<&str>, version: Option<&str>) -> Request {
    Request {
        kind: kind.to_owned(),
        location: location.to_owned(),
        member: member.map(str::to_owned),
        version: version.map(str::to_owned),
        checksums: None,
        signature: None,
        provenance: None,
        key: None,
        build: None,
    }
}

#[test]
fn a_request_is_what_the_definition_asks_for_with_the_placeholders_filled_in() {
    let archive = format!(
        "archive: {{from: \"{URL}\", version: v1.9.1, members: {{flannel: \"./flannel-{{architecture}}\"}}}}"
    );
    let location = "https://dl.example/v1.9.1/cni-arm64-v1.9.1.tgz";
    for (source, plugin, expected) in [
        (
            archive.as_str(),
            "flannel",
            expected("archive", location, Some("./flannel-arm64"), Some("v1.9.1")),
        ),
        (&archive, "bridge", expected("archive", location, None, Some("v1.9.1"))),
        (
            "archive: \"cni-{architecture}.tar\"",
            "bridge",
            expected("archive", "cni-arm64.tar", None, None),
        ),
        (
            "file: \"https://dl.example/{plugin}-{architecture}\"",
            "flannel",
            expected("file", "https://dl.example/flannel-arm64", None, None),
        ),
        (
            "file: {from: \"{plugin}-{architecture}\", version: 1.10}",
            "bridge",
            expected("file", "bridge-arm64", None, Some("1.10")),
        ),
        (
            "directory: \"cni-{architecture}\"",
            "bridge",
            expected("directory", "cni-arm64", None, None),
        ),
    ] {
        assert_eq!(request(source, "linux/arm64", plugin), expected, "{source}");
    }
    let request = request(&archive, "linux/arm64", "flannel");
    let json = serde_json::json!({
        "kind": "archive",
        "location": location,
        "member": "./flannel-arm64",
        "version": "v1.9.1",
    });
    assert_eq!(serde_json::to_value(&request).unwrap(), json);
    assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
}

#[test]
fn a_definition_may_fix_the_digest_of_each_asset() {
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let source = format!(
        "archive: {{from: \"a-{{architecture}}\", sha256: {{linux/amd64: {}, linux/arm64: {}}}}}",
        one.hex(),
        two.hex()
    );
    let definition = |source: &str, platforms: &str| definition(source, platforms, "bridge");
    let both = definition(&source, TWO).unwrap();
    let asset = both.sources[0].kind.asset().unwrap();
    assert_eq!(asset.pin(&"linux/amd64".parse().unwrap()), Some(one));
    assert_eq!(asset.pin(&"linux/arm64".parse().unwrap()), Some(two));
    assert!(definition(&source, "linux/amd64").is_ok(), "fewer platforms than digests");
    assert_eq!(
        definition(&source, "linux/amd64, linux/s390x").expect_err("not pinned"),
        "it.yaml:7:5: `sha256` has no digest for linux/s390x"
    );
    let single = format!("archive: {{from: \"a-{{architecture}}\", sha256: {}}}", one.hex());
    assert_eq!(
        definition(&single, TWO).expect_err("one for two"),
        "it.yaml:7:5: each platform has an asset of its own: write `sha256: {PLATFORM: …}`"
    );
    let single = definition(&single, "linux/amd64").unwrap();
    let asset = single.sources[0].kind.asset().unwrap();
    assert_eq!(asset.pin(&"linux/amd64".parse().unwrap()), Some(one));
}

#[test]
fn names_what_does_not_fit_together() {
    for (source, words) in [
        ("archive: ", "a URL or path, or `from` with other fields"),
        ("archive: \"\"", "the URL or path is empty"),
        ("archive: [a]", "expected a URL or path, or `from` with other fields"),
        ("archive: \"a-{arch}\"", "has a brace that is not part of"),
        ("archive: {version: v1}", "field `from` is missing"),
        (
            "archive: {from: a, member: b}",
            "unknown field `member`, expected `from`, `version`, `sha256`, `members`, `checksums`, `key`, `signature`, `provenance`, `identity` or `reproduce`",
        ),
        (
            "file: {from: a, members: {bridge: a}}",
            "unknown field `members`, expected `from`, `version`, `sha256`, `checksums`, `key`, `signature`, `provenance`, `identity` or `reproduce`",
        ),
        ("archive: {from: a, from: b}", "the key `from` appears twice"),
        ("archive: {from: a, version: }", "the value is missing"),
        ("archive: {from: a, version: a/b}", "`a/b` is not a valid upstream version"),
        ("archive: {from: a, sha256: \"00\"}", "digest `00` has 2 hex digits, expected 64"),
        ("archive: {from: a, sha256: {linux/mips: 00}}", "`linux/mips` is not a supported"),
        ("archive: {from: a, sha256: {linux/amd64: 00}}", "digest `00` has 2 hex digits"),
        ("archive: {from: a, members: {../x: a}}", "plugin name `../x`"),
        ("archive: {from: a, members: {bridge: ../a}}", "`../a` is not a path inside an archive"),
        (
            "archive: {from: a, members: {other: a}}",
            "it.yaml:7:5: `members` has `other`, which is not a plugin of this source",
        ),
        ("archive: {from: a, members: {bridge: a, bridge: b}}", "the key `bridge` appears twice"),
        ("archive: \"{version}.tgz\"", "it.yaml:7:5: `{version}` is used and there is no version"),
        (
            "archive: {from: a, members: {bridge: \"b-{version}\"}}",
            "it.yaml:7:5: `{version}` is used and there is no version",
        ),
        (
            "file: a",
            "it.yaml:7:5: `file` is one asset and cannot be both `bridge` and `flannel`: write `{plugin}` into it",
        ),
        (
            "archive: a, file: b",
            "exactly one of `directory`, `archive`, `file`, `image` or `go`; found `archive` and `file`",
        ),
    ] {
        let error = definition(source, "linux/amd64", BOTH).expect_err(source);
        assert!(error.contains(words), "{source}\n{error}\n{words}");
    }
    let pinned = format!("file: {{from: \"{{plugin}}\", sha256: {}}}", Digest::of(b"").hex());
    assert_eq!(
        definition(&pinned, "linux/amd64", BOTH).expect_err("two assets"),
        "it.yaml:7:5: `{plugin}` makes several assets, and `sha256` is for one"
    );
    assert!(definition(&pinned, "linux/amd64", "bridge").is_ok());
    for (source, key, article) in
        [("archive: a", "archive", "an archive"), ("file: a", "file", "a file")]
    {
        assert_eq!(
            definition(source, TWO, "bridge").expect_err("several platforms"),
            format!(
                "it.yaml:7:5: several platforms need {article} each: write `{{architecture}}` into `{key}`"
            )
        );
        assert!(definition(source, "linux/amd64", "bridge").is_ok(), "{source}");
    }
    // One archive with the programs of all platforms.
    let source = "archive: {from: a, members: {bridge: \"bridge-{architecture}\"}}";
    assert!(definition(source, TWO, "bridge").is_ok());
}
