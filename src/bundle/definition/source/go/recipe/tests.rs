//! Recipes as people write them: what is built again, and what no definition can say.

use super::*;
use crate::bundle::Definition;

const SHA256: &str = "0f5c2b0c5a7b7d9d5f0c6f1f7d8a4e3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f";
const SUM: &str = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=";

/// A definition of `macvlan` from an asset of a version with this recipe, on line 7.
fn definition(kind: &str, recipe: &str) -> Result<Definition, String> {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\n\
         platforms: [linux/arm64]\nsources:\n  - {{name: own, {kind}: {{from: \"oci:a/b\", \
         version: v1.9.1, reproduce: {{{recipe}}}}}}}\nplugins: [macvlan]\n"
    );
    let text = if kind == "image" { text } else { text.replace("oci:a/b", "a/b") };
    Definition::parse("it.yaml", &text).map_err(|error| error.to_string())
}

fn vendored(more: &str) -> String {
    format!(
        "vendored: {{from: \"https://dl.example/{{version}}.tgz?t=1\", sha256: {SHA256}, \
         toolchain: 1.26.8, packages: \"./plugins/{{plugin}}\"{more}}}"
    )
}

fn module(more: &str) -> String {
    format!(
        "go: {{module: example.com/cni, version: v1.9.1, toolchain: 1.26.8, packages: .{more}}}"
    )
}

#[test]
fn a_request_has_everything_that_the_program_depends_on() {
    let more = ", inside: \"plugins-{version}\", tags: [netgo], strip: true, \
                variables: {main.v: \"{version}\"}";
    let recipe = format!("{}, directory: /opt/src, goroot: /usr/local/go", vendored(more));
    let json = serde_json::json!({
        "location": "https://dl.example/v1.9.1.tgz?t=1",
        "package": "./plugins/macvlan",
        "sha256": format!("sha256:{SHA256}"),
        "inside": "plugins-v1.9.1",
        "directory": "/opt/src",
        "goroot": "/usr/local/go",
        "build": {"toolchain": "go1.26.8", "tags": ["netgo"], "variables": {"main.v": "v1.9.1"},
            "strip": true},
    });
    for kind in ["archive", "file", "image"] {
        let recipes = definition(kind, &recipe).unwrap().recipes();
        let (key, found) = recipes.first_key_value().unwrap();
        assert_eq!((key.0.as_str(), key.1.to_string()), ("macvlan", "linux/arm64".to_owned()));
        assert_eq!(serde_json::to_value(found).unwrap(), json);
        assert_eq!(&serde_json::from_value::<RecipeRequest>(json.clone()).unwrap(), found);
        assert!(!found.is_trimmed());
        assert_eq!(
            found.to_string(),
            format!(
                "`https://dl.example/v1.9.1.tgz`, package `./plugins/macvlan`, sha256:{SHA256}, \
                 inside `plugins-v1.9.1`, in `/opt/src`, GOROOT `/usr/local/go`, by go1.26.8 \
                 -tags=netgo -s -w -X main.v=v1.9.1"
            )
        );
    }
    let recipe = format!("{}, sum: \"{SUM}\"", module(", sumdb: off"));
    let recipes = definition("archive", &recipe).unwrap().recipes();
    let found = recipes.into_values().next().unwrap();
    assert!(found.is_trimmed());
    let expected = format!(
        "`example.com/cni@v1.9.1`, package `example.com/cni`, {SUM}, with -trimpath, by go1.26.8, \
         without checksum database"
    );
    assert_eq!(found.to_string(), expected);
}

#[test]
fn a_recipe_has_one_source_that_is_pinned() {
    let both = format!("{}, {}", module(""), vendored(""));
    for (recipe, expected) in [
        (module(""), None),
        (vendored(""), None),
        (String::new(), Some("must have exactly one of `go` or `vendored`; found none")),
        (both, Some("must have exactly one of `go` or `vendored`; found both")),
        (module(", sumdb: off"), Some("pin it with `sum`")),
        (format!("{}, sum: \"{SUM}\"", module(", sumdb: off")), None),
        (format!("{}, sum: \"{SUM}\"", module("")), Some("`sum` is only for a module with")),
        (format!("{}, sum: \"{SUM}\"", vendored("")), Some("`sum` is only for a module with")),
        (format!("{}, sum: h1:x", module(", sumdb: off")), Some("is not the sum of a module")),
        (vendored("").replace(SHA256, "0f5c"), Some("digest")),
        (
            vendored("").replace(&format!("sha256: {SHA256}, "), ""),
            Some("field `sha256` is missing"),
        ),
        (
            vendored("").replace("{version}", "{architecture}"),
            Some("`{architecture}` makes several archives"),
        ),
        (vendored("").replace("{version}", "{plugin}"), Some("`{plugin}` makes several archives")),
        (vendored(", inside: \"{plugin}\""), Some("`{plugin}` makes several archives")),
        (vendored(", inside: \"../x\""), Some("is not a path inside an archive")),
        (vendored(", inside: plugins"), None),
        (
            vendored("").replace("./plugins/{plugin}", "./.../x"),
            Some("is not a package of the module"),
        ),
        (
            vendored("").replace("\"./plugins/{plugin}\"", "{tap: ./a}"),
            Some("`reproduce`: `packages` has `tap`"),
        ),
        (vendored(", flags: -toolexec=x"), Some("unknown field `flags`")),
        (format!("{}, flags: -toolexec=x", vendored("")), Some("unknown field `flags`")),
        (format!("{}, environment: {{CC: x}}", vendored("")), Some("unknown field `environment`")),
        (vendored(", sumdb: off"), Some("unknown field `sumdb`")),
    ] {
        let found = definition("archive", &recipe);
        match expected {
            None => assert!(found.is_ok(), "{recipe}: {found:?}"),
            Some(expected) => {
                let found = found.expect_err(expected);
                assert!(found.contains(expected), "{found}");
            }
        }
    }
}

#[test]
fn linker_flags_are_a_closed_list_and_stay_as_they_are_written() {
    let with = |flags: &str| format!("{}, ldflags: {flags:?}", vendored(", tags: [b, a]"));
    for text in [
        "-s -w",
        "-w  -s -buildid=",
        "-extldflags -static -X a.b/c.D=v1",
        "-extldflags '-static' -X 'main.a=b c' \"-X=main.c=d=e\"",
        "-extldflags=-static -X main.v={version}",
    ] {
        let recipes = definition("archive", &with(text)).unwrap().recipes();
        let found = recipes.into_values().next().unwrap().build;
        assert_eq!(found.ldflags, Some(text.replace("{version}", "v1.9.1")));
        assert_eq!(found.tags, ["b", "a"], "the linker records their order");
    }
    for text in [
        "-extld=/bin/sh",
        "-extld /bin/sh",
        "-extldflags",
        "-extldflags -Wl,-x",
        "-extldflags '-static -B/tmp'",
        "-linkmode=external",
        "-X",
        "-X main",
        "-X -extld=x",
        "-X main.a='b' -o=x",
        "-s -toolexec=x",
        "x",
        "-X main.a=$(x)",
        "-s\n-w",
        "--s",
    ] {
        let refused = definition("archive", &with(text)).expect_err(text);
        assert!(refused.contains("is not a text of linker flags"), "{refused}");
    }
    for more in [", strip: true", ", variables: {main.v: a}"] {
        for source in [vendored(more), module(more)] {
            let refused = definition("archive", &format!("{source}, ldflags: -s"));
            assert!(
                refused.is_err_and(|it| it.contains("`ldflags` is the whole text")),
                "{source}"
            );
        }
    }
    let flags = format!("{}, ldflags: \"-X main.v={{version}}\"", module(""));
    let recipes = definition("archive", &flags).unwrap().recipes();
    let found = recipes.into_values().next().unwrap();
    assert!(found.to_string().ends_with("by go1.26.8 -ldflags=\"-X main.v=v1.9.1\""), "{found}");
}

#[test]
fn a_placeholder_needs_the_version_of_the_source() {
    for (recipe, is_used) in [
        (vendored(""), true),
        (vendored(", variables: {main.v: \"{version}\"}").replace("/{version}", "/v"), true),
        (vendored(", inside: \"v{version}\"").replace("/{version}", "/v"), true),
        (
            format!(
                "{}, ldflags: \"-X main.v={{version}}\"",
                vendored("").replace("/{version}", "/v")
            ),
            true,
        ),
        (vendored(", variables: {main.v: v1}").replace("/{version}", "/v"), false),
    ] {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\n\
             platforms: [linux/arm64]\nsources:\n  - {{name: own, archive: {{from: a, \
             reproduce: {{{recipe}}}}}}}\nplugins: [macvlan]\n"
        );
        let found = Definition::parse("it.yaml", &text).map_err(|error| error.to_string());
        let expected = "`reproduce`: `{version}` is used and its source has no `version`";
        assert_eq!(found.is_err_and(|it| it.contains(expected)), is_used, "{recipe}");
    }
}

#[test]
fn a_directory_is_an_absolute_path_and_nothing_else() {
    for text in ["/src", "/opt/src", "/home/runner/.cache/go+1@v1_a~b", "/go/src/example.com/cni"] {
        assert!(text.parse::<BuildDirectory>().is_ok(), "{text}");
    }
    let long = format!("/{}", "a".repeat(256));
    for text in [
        "", "/", "src", "/src/", "//src", "/a/../b", "/a/./b", "/a b", "/a\nb", "/a:b", "/a=b",
        "/\u{e4}", &long,
    ] {
        let found = text.parse::<BuildDirectory>();
        assert_eq!(found, Err(ParseRecipeError::Directory(excerpt(text))));
    }
    let recipe = format!("{}, goroot: /usr/local/go", vendored(""));
    let refused = definition("archive", &recipe).expect_err("no directory");
    assert!(
        refused.contains("`goroot` has no effect with -trimpath: add `directory`"),
        "{refused}"
    );
    let recipe = format!("{recipe}, directory: /src");
    assert!(definition("archive", &recipe).is_ok());
}
