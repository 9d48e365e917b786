//! Go sources as people write them: what is asked for, and what no definition can say.

use super::*;
use crate::bundle::Definition;
use crate::bundle::definition::source::{Request, SourceKind};

const GO: &str = "module: example.com/cni, version: v1.9.1, toolchain: 1.26.8";

/// A definition with a source of these fields, on line 7.
fn definition(fields: &str, plugins: &str) -> Result<Definition, String> {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\n\
         platforms: [linux/amd64, linux/arm64]\nsources:\n  - {{name: own, go: {{{fields}}}}}\n\
         plugins: [{plugins}]\n"
    );
    Definition::parse("it.yaml", &text).map_err(|error| error.to_string())
}

fn request(fields: &str, plugin: &str) -> Request {
    let definition = definition(fields, plugin).unwrap();
    definition.sources[0].kind.request(&"linux/arm64".parse().unwrap(), &plugin.parse().unwrap())
}

#[test]
fn a_request_has_everything_that_the_result_depends_on() {
    let fields = format!(
        "{GO}, packages: \"./plugins/{{plugin}}\", tags: [netgo, a.b, netgo], strip: true, sumdb: off, \
         variables: {{example.com/cni/pkg/version.Version: \"{{version}} of us\", main.x: \"\"}}"
    );
    let request = request(&fields, "macvlan");
    let json = serde_json::json!({
        "kind": "go",
        "location": "example.com/cni",
        "member": "example.com/cni/plugins/macvlan",
        "version": "v1.9.1",
        "build": {
            "toolchain": "go1.26.8",
            "tags": ["a.b", "netgo"],
            "variables": {"example.com/cni/pkg/version.Version": "v1.9.1 of us", "main.x": ""},
            "strip": true,
            "withoutSumdb": true,
        },
    });
    assert_eq!(serde_json::to_value(&request).unwrap(), json);
    assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
    assert_eq!(
        request.to_string(),
        "go `example.com/cni`, version `v1.9.1`, member `example.com/cni/plugins/macvlan`, \
         compiled by go1.26.8 -tags=a.b,netgo -s -w \
         -X example.com/cni/pkg/version.Version=v1.9.1 of us -X main.x=, without checksum database"
    );
}

#[test]
fn a_package_is_one_of_the_module() {
    for (packages, plugin, expected) in [
        (".", "own", "example.com/cni"),
        ("./cmd/own", "own", "example.com/cni/cmd/own"),
        ("cmd/own", "own", "example.com/cni/cmd/own"),
        ("\"./cmd/cni-{plugin}/v2\"", "host-local", "example.com/cni/cmd/cni-host-local/v2"),
        ("{own: ./cmd/main}", "own", "example.com/cni/cmd/main"),
    ] {
        let request = request(&format!("{GO}, packages: {packages}"), plugin);
        assert_eq!(request.member.as_deref(), Some(expected), "{packages}");
    }
    let both = definition(&format!("{GO}, packages: \"./{{plugin}}\""), "bridge, macvlan").unwrap();
    let SourceKind::Go(module) = &both.sources[0].kind else { panic!("not a Go module") };
    assert!(module.has_sumdb());
    assert_eq!(module.package(&"macvlan".parse().unwrap()), "example.com/cni/macvlan");
}

#[test]
fn versions_that_stay_the_same_are_accepted() {
    for version in [
        "v1.9.1",
        "v2.0.0-rc.1",
        "v0.0.0-20260219120000-0123456789ab",
        "v1.2.4-0.20260219120000-0123456789ab",
        "v4.3.0+incompatible",
    ] {
        version.parse::<ModuleVersion>().expect(version);
    }
    for version in [
        "latest",
        "main",
        "v1",
        "v1.9",
        "1.9.1",
        "v1.9.1+meta",
        "",
        "upgrade",
        "v1.9.1@x",
        "-v1.0.0",
    ] {
        let error = version.parse::<ModuleVersion>().expect_err(version).to_string();
        assert!(error.contains("is not the version of a module"), "{error}");
    }
    for release in ["1.26.8", "1.27", "1.27rc1", "1.30beta2"] {
        assert_eq!(release.parse::<GoRelease>().unwrap().to_string(), format!("go{release}"));
    }
    for release in ["go1.26.8", "2.0", "1.", "1.26.8.1", "1.26rc", "1.26.8-x", "local", "1.26 x"] {
        release.parse::<GoRelease>().expect_err(release);
    }
}

#[test]
fn module_paths_are_those_of_go() {
    for path in ["github.com/containernetworking/plugins", "example.com", "a.b/C/v2", "x.io/~a_b"] {
        path.parse::<ModulePath>().expect(path);
    }
    for path in [
        "",
        "cni",
        "-a.b/c",
        "a.b/-c",
        "a.b//c",
        "a.b/",
        "/a.b",
        "a.b/..",
        "a.b/../c",
        "a.b/...",
        "a.b/c@v1",
        "https://a.b/c",
        "a.b/c d",
        "A.b/c",
        "a.b/.c",
        "a.b/c.",
        "./a.b",
        "a.b/x\u{e4}",
    ] {
        path.parse::<ModulePath>().expect_err(path);
    }
}

#[test]
fn no_definition_can_name_a_flag_or_a_program() {
    let packages = "packages: \"./{plugin}\"";
    for (fields, words) in [
        ("flags: [-toolexec=/bin/sh]", "unknown field `flags`"),
        ("ldflags: -extld=/bin/sh", "unknown field `ldflags`"),
        ("environment: {GOFLAGS: -toolexec=/bin/sh}", "unknown field `environment`"),
        ("toolchain: /bin/sh", "the key `toolchain` appears twice"),
        ("tags: [\"a -toolexec=/bin/sh\"]", "is not a build tag"),
        ("tags: [\"a,b\"]", "is not a build tag"),
        ("tags: [\"\"]", "is not a build tag"),
        ("variables: {main.a: \"b' -extld=/bin/sh '\"}", "is not a value for a variable"),
        ("variables: {main.a: \"b\\\" -extld=/bin/sh\"}", "is not a value for a variable"),
        ("variables: {main.a: \"a\\nb\"}", "is not a value for a variable"),
        ("variables: {main.a: \"{plugin}\"}", "is not a value for a variable"),
        ("variables: {\"-extld.a\": b}", "is not a variable"),
        ("variables: {\"main.a=b -extld.c\": d}", "is not a variable"),
        ("variables: {main: b}", "is not a variable"),
        ("strip: -extld", "expected `true` or `false`"),
        ("sumdb: none", "unknown value `none`, expected `off`"),
        ("sumdb: ", "unknown value `~`, expected `off`"),
        ("proxy: direct", "unknown field `proxy`"),
    ] {
        let error =
            definition(&format!("{GO}, {packages}, {fields}"), "macvlan").expect_err(fields);
        assert!(error.contains(words), "{fields}\n{error}");
    }
    for path in [
        "../other",
        "./../other",
        "/etc",
        "-x",
        "./-x",
        "a/...",
        "./a@latest",
        "a b",
        "{version}",
        "",
    ] {
        let error = definition(&format!("{GO}, packages: \"{path}\""), "macvlan").expect_err(path);
        assert!(error.contains("is not a package of the module"), "{path}: {error}");
    }
}

#[test]
fn packages_and_plugins_fit_together() {
    for (fields, plugins, expected) in [
        (
            "packages: ./cmd",
            "bridge, macvlan",
            "`packages` is one package and cannot be several plugins: write `{plugin}` into it",
        ),
        ("packages: {bridge: ./a}", "bridge, macvlan", "`packages` has no package for `macvlan`"),
        (
            "packages: {bridge: ./a, tap: ./b}",
            "bridge",
            "`packages` has `tap`, which is not a plugin of this source",
        ),
        (
            "packages: \"./{plugin}\"",
            "a...b",
            "the package of `a...b` must not have `...` in its path",
        ),
    ] {
        let error = definition(&format!("{GO}, {fields}"), plugins).expect_err(fields);
        assert_eq!(error, format!("it.yaml:7:5: {expected}"));
    }
    let error = definition("module: example.com/cni, version: v1.9.1, packages: .", "own");
    assert!(error.expect_err("no toolchain").contains("field `toolchain` is missing"));
}
