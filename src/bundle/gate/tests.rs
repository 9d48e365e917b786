//! Every gate with a plugin that it refuses and the nearest one that it accepts.

use super::*;
use crate::binary::{GoBuild, Linkage, Packer};
use crate::bundle::definition::Definition;
use crate::bundle::definition::source::GoRequest;
use crate::bundle::lock::{CniAnswer, HowAsked, Level, ProgramFacts};
use crate::bundle::{Artefact, Privilege};
use crate::model::{Digest, Sha512};

type Change = fn(&mut LockedPlugin);

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: sample
version: 1.2.3
platforms: [linux/amd64]
sources:
  - name: upstream
    archive: {from: \"https://example.com/cni-{version}.tgz\", version: v1.9.1}
plugins: [macvlan]
gates: GATES
";

fn gates(text: &str) -> Vec<Gate> {
    let text = DEFINITION.replace("GATES", text);
    Definition::parse("sample.yaml", &text).unwrap().gates
}

/// How a plugin is compiled, with the checksum database or without it.
fn compiled(without_sumdb: bool) -> GoRequest {
    GoRequest {
        toolchain: "go1.26.8".to_owned(),
        tags: Vec::new(),
        variables: [].into(),
        strip: false,
        ldflags: None,
        without_sumdb,
    }
}

/// A plugin that every gate accepts.
fn good() -> LockedPlugin {
    let definition = Definition::parse("it", &DEFINITION.replace("GATES", "{}")).unwrap();
    let ((name, platform), request) = definition.requests().pop_first().unwrap();
    LockedPlugin {
        name,
        platform,
        request,
        artefact: Some(Artefact { digest: Digest::of(b"asset"), size: 7 }),
        member: Some("./macvlan".to_owned()),
        image: None,
        module_sum: None,
        sumdb: None,
        digest: Digest::of(b"macvlan"),
        sha512: Sha512::of(b"macvlan"),
        size: 7,
        linkage: Linkage::Static,
        go: Some(GoBuild {
            go: "go1.24.3".to_owned(),
            path: "example.com/plugins/main/macvlan".to_owned(),
            version: Some("v1.9.1".to_owned()),
        }),
        facts: ProgramFacts {
            module: Some("example.com/plugins".to_owned()),
            kubernetes_client: Some("v0.30.2".to_owned()),
            ..ProgramFacts::default()
        },
        license: None,
        supplier: None,
        cni_versions: Some(CniAnswer {
            supported: vec!["0.4.0".to_owned(), "1.0.0".to_owned()],
            asked: HowAsked::Native,
        }),
        level: Level::ChecksumSameOrigin,
        checksum: None,
        signed: None,
        reproduced: None,
    }
}

fn build(entry: &mut LockedPlugin) -> &mut GoBuild {
    entry.go.as_mut().unwrap()
}

const ALL: &str = "{static: true, minGo: \"1.24\", oneToolchain: true, versionMatches: true, \
    mainPackage: true, noDevel: true, noPacker: true, allowSetId: [], cniVersion: 1.0.0, \
    kubernetes: \">=1.28, <1.31\", minLevel: checksum-same-origin}";

#[test]
fn each_gate_accepts_the_good_and_refuses_its_opposite() {
    let good = good();
    assert_eq!(judge(&gates(ALL), &[&good]), []);
    assert_eq!(gates(ALL).len(), 11);
    let unknown: Change = |it| it.go = None;
    let cases: [(&str, Change, &str); 39] = [
        (
            "{static: true}",
            |it| it.linkage = Linkage::Dynamic { interpreter: "/lib/ld.so".to_owned() },
            "linked dynamically, needs `/lib/ld.so`; use a build with CGO_ENABLED=0",
        ),
        ("{minGo: \"1.24\"}", |it| build(it).go = "go1.24rc1".to_owned(), "built with go1.24rc1; "),
        ("{minGo: \"1.24\"}", |it| build(it).go = "go1.9".to_owned(), "built with go1.9; "),
        (
            "{minGo: \"1.24\"}",
            |it| build(it).go = "devel go1.27-a".to_owned(),
            "built with `devel go1.27-a`, which is not a release of Go; use a build with Go 1.24",
        ),
        ("{minGo: \"1.24\"}", unknown, "no readable Go build information; "),
        ("{oneToolchain: true}", unknown, "no readable Go build information; "),
        (
            "{versionMatches: true}",
            |it| build(it).version = Some("v1.9.0".to_owned()),
            "records version v1.9.0, expected v1.9.1; check which release",
        ),
        ("{versionMatches: true}", |it| build(it).version = None, "records no version"),
        ("{versionMatches: true}", unknown, "records no version, expected v1.9.1"),
        (
            "{versionMatches: true}",
            |it| it.request.version = None,
            "its source has no version to compare with; give the source a `version`",
        ),
        (
            "{mainPackage: true}",
            |it| build(it).path = "example.com/plugins/main/ipvlan".to_owned(),
            "its main package is `example.com/plugins/main/ipvlan`; if it is the right one, write",
        ),
        (
            "{mainPackage: {macvlan: example.com/a}}",
            |_| (),
            "its main package is `example.com/plugins/main/macvlan`, expected `example.com/a`",
        ),
        ("{mainPackage: true}", unknown, "no readable Go build information; "),
        (
            "{noDevel: true}",
            |it| build(it).version = None,
            "its main module has no version, or `(devel)`; use a build of a released version",
        ),
        ("{noDevel: true}", unknown, "no readable Go build information; "),
        ("{noPacker: true}", |it| it.facts.packer = Some(Packer::Upx), "packed with UPX; use the"),
        (
            "{noDevel: true}",
            |it| (it.go, it.facts.packer) = (None, Some(Packer::Upx)),
            "no readable Go build information: packed with UPX; ",
        ),
        (
            "{allowSetId: []}",
            |it| it.facts.privileges = Privilege::of(0o6755, true),
            "its file has the set-user-ID bit, the set-group-ID bit, file capabilities in the",
        ),
        (
            "{cniVersion: 1.1.0}",
            |_| (),
            "supports CNI 0.4.0, 1.0.0; use a version that supports CNI 1.1.0",
        ),
        (
            "{cniVersion: 1.0.0}",
            |it| it.cni_versions = None,
            "its CNI versions are unknown: it was not asked; run `cnister lock` where it can be",
        ),
        (
            "{kubernetes: \">=1.31\"}",
            |_| (),
            "links the client of Kubernetes 1.30.2; use a version",
        ),
        (
            "{kubernetes: \">=1.28\"}",
            |it| it.facts.kubernetes_client = Some("v11.0.0+incompatible".to_owned()),
            "links k8s.io/client-go `v11.0.0+incompatible`, which is not a known release; ",
        ),
        (
            "{kubernetes: \">=1.28\"}",
            |it| it.facts.kubernetes_client = Some("unknown".to_owned()),
            "links k8s.io/client-go `unknown`, which is not a known release; ",
        ),
        (
            "{kubernetes: \">=1.28\"}",
            |it| it.facts.module = None,
            "the modules that it links are unknown; use a version for Kubernetes >=1.28",
        ),
        (
            "{minLevel: checksum-same-origin}",
            |it| it.level = Level::Tofu,
            "its origin is verified as `tofu`, expected `checksum-same-origin`; name the publisher",
        ),
        ("{minLevel: tofu}", |it| it.level = Level::None, "its origin is verified as `none`, exp"),
        (
            "{minLevel: checksum-independent}",
            |it| it.level = Level::None,
            "its origin is verified as `none`, expected `checksum-independent`; use a source of",
        ),
        (
            "{minLevel: checksum-independent}",
            |it| it.level = Level::ChecksumSameOrigin,
            "its origin is verified as `checksum-same-origin`, expected `checksum-independent`; \
             name a checksum file on another host with `checksums`",
        ),
        (
            "{minLevel: reproduced}",
            |it| it.level = Level::ChecksumIndependent,
            "its origin is verified as `checksum-independent`, expected `reproduced`; write a \
             recipe (`reproduce`) into its source, and run `cnister lock --reproduce`",
        ),
        (
            "{minLevel: reproduced}",
            |it| (it.level, it.request.kind) = (Level::None, "directory".to_owned()),
            "its origin is verified as `none`, expected `reproduced`; take it from the archive, \
             file or image that is published",
        ),
        (
            "{minLevel: checksum-database}",
            |it| it.level = Level::ChecksumIndependent,
            "its origin is verified as `checksum-independent`, expected `checksum-database`; compile \
             it from its Go module",
        ),
        (
            "{minLevel: checksum-same-origin}",
            |it| (it.level, it.request.kind) = (Level::Tofu, "image".to_owned()),
            "its origin is verified as `tofu`, expected `checksum-same-origin`; use an archive \
             or a file that has a checksum file",
        ),
        (
            "{minLevel: signed}",
            |it| it.level = Level::ChecksumDatabase,
            "its origin is verified as `checksum-database`, expected `signed`; name its publisher's \
             `key` and `signature`",
        ),
        (
            "{minLevel: provenance}",
            |it| it.level = Level::Signed,
            "its origin is verified as `signed`, expected `provenance`; name the `key` and \
             `provenance`",
        ),
        (
            "{minLevel: signed}",
            |it| (it.level, it.request.kind) = (Level::Tofu, "image".to_owned()),
            "its origin is verified as `tofu`, expected `signed`; name its publisher's `key`",
        ),
        (
            "{minLevel: provenance}",
            |it| (it.level, it.request.kind) = (Level::Signed, "image".to_owned()),
            "its origin is verified as `signed`, expected `provenance`; name the `key` that signs",
        ),
        (
            "{minLevel: signed}",
            |it| (it.level, it.request.build) = (Level::ChecksumDatabase, Some(compiled(false))),
            "its origin is verified as `checksum-database`, expected `signed`; use an asset that its",
        ),
        (
            "{minLevel: checksum-database}",
            |it| (it.level, it.request.build) = (Level::Tofu, Some(compiled(true))),
            "its origin is verified as `tofu`, expected `checksum-database`; remove `sumdb: off` from",
        ),
        (
            "{minLevel: checksum-same-origin}",
            |it| (it.level, it.request.build) = (Level::Tofu, Some(compiled(false))),
            "its origin is verified as `tofu`, expected `checksum-same-origin`; run `cnister lock` \
             where the checksum database can be reached",
        ),
    ];
    for (text, change, expected) in cases {
        let mut entry = good.clone();
        change(&mut entry);
        let refusals = judge(&gates(text), &[&entry]);
        let [refusal] = refusals.as_slice() else { panic!("{text}: {refusals:?}") };
        let words = refusal.to_string();
        let gate = refusal.gate;
        assert!(text.contains(gate), "{text}: {words}");
        let start = format!("gate `{gate}` refuses `macvlan` on linux/amd64: {expected}");
        assert!(words.starts_with(&start), "{words}");
        // Without the gate, nothing is wrong with it.
        let others: Vec<Gate> = gates("{}");
        assert_eq!(judge(&others, &[&entry]), []);
    }
}

#[test]
fn each_gate_accepts_what_is_nearly_refused() {
    let cases: [(&str, Change); 14] = [
        ("{static: false}", |it| it.linkage = Linkage::Dynamic { interpreter: "/l".to_owned() }),
        ("{minGo: \"1.24\"}", |it| build(it).go = "go1.24".to_owned()),
        ("{minGo: \"1.24rc1\"}", |it| build(it).go = "go1.24rc1 X:boringcrypto".to_owned()),
        // By the linker's flag alone, and as another project writes it.
        ("{versionMatches: true}", |it| {
            build(it).version = None;
            it.facts.linked_versions.insert("a.Version".to_owned(), "1.9.1".to_owned());
        }),
        ("{versionMatches: true}", |it| build(it).version = Some("v1.9.1+incompatible".to_owned())),
        ("{mainPackage: true}", |it| build(it).path = "example.com/macvlan/v2".to_owned()),
        ("{mainPackage: true}", |it| build(it).path = "macvlan".to_owned()),
        ("{mainPackage: {macvlan: example.com/cni}}", |it| {
            build(it).path = "example.com/cni".to_owned();
        }),
        ("{allowSetId: [macvlan]}", |it| it.facts.privileges = Privilege::of(0o4755, true)),
        ("{cniVersion: 0.4.0}", |_| ()),
        ("{kubernetes: \">=1.31\"}", |it| it.facts.kubernetes_client = None),
        ("{kubernetes: \"1.30.2\"}", |_| ()),
        ("{minLevel: tofu}", |it| it.level = Level::ChecksumIndependent),
        ("{minLevel: signed}", |it| it.level = Level::Provenance),
    ];
    for (text, change) in cases {
        let mut entry = good();
        change(&mut entry);
        assert_eq!(judge(&gates(text), &[&entry]), [], "{text}");
    }
}

#[test]
fn every_plugin_and_gate_that_failed_is_named_at_once() {
    let named = |name: &str, platform: &str, go: &str| {
        let mut entry = good();
        entry.name = name.parse().unwrap();
        entry.platform = platform.parse().unwrap();
        build(&mut entry).go = go.to_owned();
        entry
    };
    let entries = [
        named("bridge", "linux/amd64", "go1.24.3"),
        named("bridge", "linux/arm64", "go1.22.1"),
        named("macvlan", "linux/amd64", "go1.24.3"),
        named("macvlan", "linux/arm64", "go1.22.1"),
        named("tap", "linux/amd64", "go1.24.3"),
    ];
    let entries: Vec<&LockedPlugin> = entries.iter().collect();
    let gates = gates("{minGo: \"1.24\", oneToolchain: true, cniVersion: 1.1.0}");
    let words: Vec<String> = judge(&gates, &entries).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "gate `minGo` refuses `bridge`, `macvlan` on linux/arm64: built with go1.22.1; use a \
             build with Go 1.24 or later",
            "gate `oneToolchain` refuses `bridge`, `macvlan` on linux/arm64: built with go1.22.1, \
             most others with go1.24.3; use builds with the same release of Go",
            "gate `cniVersion` refuses `bridge`, `macvlan`, `tap` on linux/amd64: supports CNI \
             0.4.0, 1.0.0; use a version that supports CNI 1.1.0",
            "gate `cniVersion` refuses `bridge`, `macvlan` on linux/arm64: supports CNI 0.4.0, \
             1.0.0; use a version that supports CNI 1.1.0",
        ]
    );
    // Of one that differs from one, the later is expected.
    let toolchain = self::gates("{oneToolchain: true}");
    let refusals = judge(&toolchain, &entries[..2]);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].found.starts_with("built with go1.22.1"), "{refusals:?}");
}

#[test]
fn a_refusal_shows_no_control_characters() {
    let mut entry = good();
    build(&mut entry).path = "a/\u{1b}[2J".to_owned();
    let words = judge(&gates("{mainPackage: true}"), &[&entry])[0].to_string();
    assert!(!words.contains('\u{1b}'), "{words}");
}
