//! A lock that holds, and every way in which one does not.

mod image;
mod reproduced;
mod signed;

use super::*;
use crate::model::Sha512;

type Damage<'a> = &'a dyn Fn(&mut LockedPlugin, &mut KeptEvidence);
type Edit<'a> = &'a dyn Fn(&mut LockedPlugin);

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: sample
version: 1.2.3
platforms: [linux/amd64, linux/arm64]
sources:
  - name: upstream
    archive: {from: \"https://example.com/cni-{architecture}-{version}.tgz\", version: v1.9.1}
plugins: [bridge, macvlan]
";

fn definition() -> Definition {
    Definition::parse("sample.yaml", DEFINITION).unwrap()
}

/// A lock with one checksum file for every archive.
fn locked(definition: &Definition) -> (BundleLock, KeptEvidence) {
    let mut kept = KeptEvidence::new();
    let plugins = definition.requests().into_iter().map(|((name, platform), request)| {
        let asset = Digest::of(request.location.as_bytes());
        let file = request.location.rsplit('/').next().unwrap().to_owned();
        let sums = format!("{}  {file}\n", asset.hex()).into_bytes();
        let digest = Digest::of(&sums);
        kept.insert(digest, sums);
        let bytes = format!("{name} {platform}");
        LockedPlugin {
            artefact: Some(Artefact { digest: asset, size: 7 }),
            member: Some(name.to_string()),
            image: None,
            module_sum: None,
            sumdb: None,
            digest: Digest::of(bytes.as_bytes()),
            sha512: Sha512::of(bytes.as_bytes()),
            size: bytes.len() as u64,
            linkage: Linkage::Static,
            go: None,
            facts: ProgramFacts::default(),
            license: None,
            supplier: None,
            cni_versions: None,
            level: Level::ChecksumSameOrigin,
            checksum: Some(LockedChecksum {
                location: format!("{}.sha256", request.location),
                name: file,
                digest,
                sha512: None,
            }),
            signed: None,
            reproduced: None,
            name,
            platform,
            request,
        }
    });
    (BundleLock::new(definition.name.clone(), plugins.collect()), kept)
}

fn words(problems: &[LockError]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn is_read_as_it_was_written() {
    let (lock, _) = locked(&definition());
    let text = lock.to_text();
    assert_eq!(BundleLock::parse("sample.lock.json", text.as_bytes()).unwrap(), lock);
    assert_eq!(text, lock.to_text());
    let keys: Vec<_> =
        lock.plugins.iter().map(|it| format!("{} {}", it.name, it.platform)).collect();
    assert_eq!(
        keys,
        ["bridge linux/amd64", "bridge linux/arm64", "macvlan linux/amd64", "macvlan linux/arm64"]
    );
}

#[test]
fn what_is_no_lock_is_refused() {
    let (lock, _) = locked(&definition());
    let text = lock.to_text();
    let error =
        |text: &str| BundleLock::parse("it.lock.json", text.as_bytes()).unwrap_err().to_string();
    for (changed, expected) in [
        (text.replace("\"BundleLock\"", "\"Bundle\""), "unknown variant `Bundle`"),
        (text.replace("dev/v1\"", "dev/v2\""), "unknown variant `cnister.dev/v2`"),
        (text.replacen("\"size\"", "\"bytes\"", 1), "unknown field `bytes`"),
        (text.replacen("sha512:", "sha256:", 1), "is not a SHA-512"),
        (text.replacen("checksum-same-origin", "seen", 1), "unknown variant `seen`"),
        (text.replacen("linux/arm64", "linux/amd64", 1), "two entries for `bridge` on linux/amd64"),
        (text.replacen("\"name\"", "\"kind\"", 1), "the key `kind` appears twice"),
        (String::new(), "`it.lock.json` is not valid"),
    ] {
        assert!(changed != text, "{expected}");
        assert!(error(&changed).contains(expected), "{expected}: {}", error(&changed));
    }
    let long = " ".repeat(BundleLock::LIMIT + 1);
    assert!(error(&long).contains("the limit is"), "{}", error(&long));
}

#[test]
fn holds_as_long_as_the_requests_are_the_same() {
    let (lock, kept) = locked(&definition());
    for (from, to, expected) in [
        ("", "", &[][..]),
        ("plugins: [bridge, macvlan]", "plugins: [macvlan, bridge] # a comment", &[]),
        ("version: 1.2.3", "version: 2.0.0\ncompression: best\ntool: none", &[]),
        ("name: upstream", "name: other", &[]),
        (
            "name: sample",
            "name: another",
            &["the lock is of the bundle `sample`, the definition is of `another`"],
        ),
        (
            "[bridge, macvlan]",
            "[bridge, macvlan, tap]",
            &[
                "the lock has no entry for `tap` on linux/amd64",
                "the lock has no entry for `tap` on linux/arm64",
            ],
        ),
        (
            ", linux/arm64",
            "",
            &[
                "the lock has an entry for `bridge` on linux/arm64, the definition does not",
                "the lock has an entry for `macvlan` on linux/arm64, the definition does not",
            ],
        ),
        (
            "version: v1.9.1}",
            "version: v1.9.1, members: {bridge: bin/bridge}}",
            &[
                "`bridge` on linux/amd64 was locked for archive `https://example.com/cni-amd64-v1.9.1.tgz`, version `v1.9.1`, the definition asks for archive `https://example.com/cni-amd64-v1.9.1.tgz`, version `v1.9.1`, member `bin/bridge`",
                "`bridge` on linux/arm64 was locked for archive `https://example.com/cni-arm64-v1.9.1.tgz`, version `v1.9.1`, the definition asks for archive `https://example.com/cni-arm64-v1.9.1.tgz`, version `v1.9.1`, member `bin/bridge`",
            ],
        ),
    ] {
        let text = DEFINITION.replacen(from, to, 1);
        let definition = Definition::parse("sample.yaml", &text).unwrap();
        assert_eq!(words(&lock.stale(&definition)), expected, "{to}");
    }
    assert_eq!(words(&lock.unsupported(&kept)), [""; 0]);
}

#[test]
fn a_level_is_what_the_kept_evidence_gives() {
    let (lock, kept) = locked(&definition());
    let problems = |change: &dyn Fn(&mut LockedPlugin, &mut KeptEvidence)| {
        let (mut lock, mut kept) = (lock.clone(), kept.clone());
        change(&mut lock.plugins[0], &mut kept);
        words(&lock.unsupported(&kept))
    };
    let says = |said: &str, computed: &str| {
        vec![format!(
            "the lock says `{said}` of `bridge` on linux/amd64, the kept evidence gives `{computed}`"
        )]
    };
    assert_eq!(problems(&|_, _| {}), [""; 0]);
    assert_eq!(
        problems(&|entry, _| entry.level = Level::ChecksumIndependent),
        says("checksum-independent", "checksum-same-origin")
    );
    assert_eq!(problems(&|entry, _| entry.checksum = None), says("checksum-same-origin", "tofu"));
    assert_eq!(
        problems(&|entry, _| (entry.artefact, entry.checksum) = (None, None)),
        says("checksum-same-origin", "none")
    );
    // Another host counts if the definition names it.
    let elsewhere = "https://other.example.org/sums";
    assert_eq!(
        problems(&|entry, _| {
            entry.request.checksums = Some(elsewhere.to_owned());
            entry.checksum.as_mut().unwrap().location = elsewhere.to_owned();
        }),
        says("checksum-same-origin", "checksum-independent")
    );
    let cases: [(Damage<'_>, &str); 7] = [
        (&|_, kept| kept.clear(), "the checksum file sha256:"),
        (
            &|entry, _| entry.artefact = Some(Artefact { digest: Digest::of(b"other"), size: 7 }),
            "says sha256:",
        ),
        (&|entry, _| entry.checksum.as_mut().unwrap().name = "other.tgz".to_owned(), "other.tgz"),
        (
            &|entry, _| {
                entry.level = Level::ChecksumIndependent;
                entry.checksum.as_mut().unwrap().location = elsewhere.to_owned();
            },
            "is not the checksum of",
        ),
        (&|entry, _| entry.request.kind = "directory".to_owned(), "is not taken from an asset"),
        (&|entry, _| entry.artefact = None, "there is no asset that the checksum file could name"),
        (
            &|entry, kept| {
                let sums = format!("{}  cni-amd64-v1.9.1.tgz\n", Sha512::of(b"asset").hex());
                let digest = Digest::of(sums.as_bytes());
                kept.insert(digest, sums.into_bytes());
                entry.checksum.as_mut().unwrap().digest = digest;
            },
            "says sha512:",
        ),
    ];
    for (change, expected) in cases {
        let found = problems(change);
        let start = "the evidence of `bridge` on linux/amd64 does not hold: ";
        assert!(!found.is_empty() && found[0].starts_with(start), "{found:?}");
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
    let sha512 = problems(&|entry, kept| {
        let sums = format!("{}  cni-amd64-v1.9.1.tgz\n", Sha512::of(b"asset").hex());
        let digest = Digest::of(sums.as_bytes());
        kept.insert(digest, sums.into_bytes());
        let checksum = entry.checksum.as_mut().unwrap();
        (checksum.digest, checksum.sha512) = (digest, Some(Sha512::of(b"asset")));
    });
    assert_eq!(sha512, [""; 0]);
}

#[test]
fn says_what_of_a_plugin_is_not_what_is_locked() {
    let (lock, _) = locked(&definition());
    let entry = &lock.plugins[0];
    let facts = PluginFile {
        name: entry.name.clone(),
        digest: entry.digest,
        size: entry.size,
        linkage: Linkage::Static,
        go: None,
        facts: crate::bundle::Facts::default(),
    };
    let program = ProgramFacts::default();
    let differs = |facts: &PluginFile| entry.differs(facts, &program, &entry.sha512, None, None);
    let of_member = |member| entry.differs(&facts, &program, &entry.sha512, Some(member), None);
    assert_eq!(differs(&facts), None);
    assert_eq!(of_member("bridge"), None);
    let other = Digest::of(b"other");
    let go = GoBuild { go: "go1.26.3".to_owned(), path: "a/b".to_owned(), version: None };
    let interpreter = "/lib/ld.so".to_owned();
    for (facts, expected) in [
        (
            PluginFile { digest: other, ..facts.clone() },
            format!("its digest is {other}, the lock says {}", entry.digest),
        ),
        (PluginFile { size: 1, ..facts.clone() }, "its size is 1, the lock says 18".to_owned()),
        (
            PluginFile { linkage: Linkage::Dynamic { interpreter }, ..facts.clone() },
            "its linkage is dynamic (/lib/ld.so), the lock says static".to_owned(),
        ),
        (
            PluginFile { go: Some(go), ..facts.clone() },
            "its Go build information is go1.26.3 a/b of no version, the lock says none".to_owned(),
        ),
    ] {
        assert_eq!(differs(&facts), Some(expected));
    }
    let expected = "its member is bin/bridge, the lock says bridge".to_owned();
    assert_eq!(of_member("bin/bridge"), Some(expected));
    let sha512 = entry.differs(&facts, &program, &Sha512::of(b"other"), None, None).unwrap();
    assert!(sha512.starts_with("its SHA-512 is "), "{sha512}");
    let program = ProgramFacts { module: Some("example.com/a".to_owned()), ..program };
    assert_eq!(
        entry.differs(&facts, &program, &entry.sha512, None, None),
        Some("its main module is example.com/a, the lock says none".to_owned())
    );
}

#[test]
fn a_change_of_bytes_under_one_version_and_a_level_that_falls_need_consent() {
    let (old, _) = locked(&definition());
    let change = |change: &dyn Fn(&mut LockedPlugin)| {
        let mut new = old.clone();
        change(&mut new.plugins[0]);
        let changes = LockChange::between(Some(&old), &new);
        changes.iter().map(|it| (it.to_string(), it.refusal())).collect::<Vec<_>>()
    };
    let other = Digest::of(b"other");
    assert_eq!(change(&|_| {}), []);
    let cases: [(Edit<'_>, Option<&str>); 6] = [
        (&|it| it.digest = other, Some("upstream's bytes changed under the same version `v1.9.1`")),
        (
            &|it| it.artefact = Some(Artefact { digest: other, size: 7 }),
            Some(
                "upstream's bytes changed under the same version `v1.9.1`, those of the plugin did not",
            ),
        ),
        (&|it| it.level = Level::Tofu, Some("its level falls from checksum-same-origin to tofu")),
        (&|it| it.level = Level::ChecksumIndependent, None),
        (&|it| (it.request.version, it.digest) = (Some("v1.9.2".to_owned()), other), None),
        (
            &|it| {
                (it.request.version, it.level) = (Some("v1.9.2".to_owned()), Level::None);
            },
            Some("its level falls from checksum-same-origin to none"),
        ),
    ];
    for (what, expected) in cases {
        let changes = change(what);
        assert_eq!(changes.len(), 1, "{changes:?}");
        let expected = expected.map(|reason| format!("`bridge` on linux/amd64: {reason}"));
        assert_eq!(changes[0].1, expected);
    }
    let text = &change(&|it| it.size = 1)[0].0;
    assert_eq!(text, "  ~ bridge linux/amd64: size 18 -> 1");
    // The user's own files are what they are.
    let mut directory = old.clone();
    for entry in &mut directory.plugins {
        (entry.artefact, entry.checksum, entry.level) = (None, None, Level::None);
    }
    let mut after = directory.clone();
    after.plugins[0].digest = other;
    assert_eq!(LockChange::between(Some(&directory), &after)[0].refusal(), None);
}

#[test]
fn plugins_that_come_and_go_are_named() {
    let (all, _) = locked(&definition());
    let some = BundleLock { plugins: all.plugins[1..].to_vec(), ..all.clone() };
    let lines = |old: Option<&BundleLock>, new: &BundleLock| -> Vec<String> {
        LockChange::between(old, new).iter().map(ToString::to_string).collect()
    };
    let added = format!(
        "  + bridge linux/amd64: version v1.9.1, digest {}, toolchain unknown, level checksum-same-origin",
        &all.plugins[0].digest.hex()[..12]
    );
    assert_eq!(lines(Some(&some), &all), [added]);
    assert_eq!(lines(Some(&all), &some), ["  - bridge linux/amd64"]);
    assert_eq!(lines(None, &all).len(), 4);
}

#[test]
fn one_asset_has_one_digest_and_the_one_that_the_definition_fixes() {
    let (mut lock, _) = locked(&definition());
    let locked_digest = lock.plugins[0].artefact.unwrap().digest;
    let other = Digest::of(b"other");
    let pinned = format!(
        "version: v1.9.1, sha256: {{linux/amd64: {}, linux/arm64: {}}}}}",
        other.hex(),
        lock.plugins[1].artefact.unwrap().digest.hex()
    );
    let text = DEFINITION.replacen("version: v1.9.1}", &pinned, 1);
    let definition = Definition::parse("sample.yaml", &text).unwrap();
    let said = |name: &str| {
        format!(
            "the definition pins {other} for the asset of `{name}` on linux/amd64, the lock has {locked_digest}"
        )
    };
    assert_eq!(words(&lock.stale(&definition)), [said("bridge"), said("macvlan")]);
    lock.plugins[2].artefact = Some(Artefact { digest: other, size: 7 });
    assert_eq!(
        words(&lock.stale(&self::definition())),
        [format!(
            "the lock has the asset of `bridge` and `macvlan` on linux/amd64 with two digests, {locked_digest} and {other}"
        )]
    );
}

#[test]
fn no_value_from_outside_makes_a_line_of_its_own_or_shows_a_credential() {
    let (old, _) = locked(&definition());
    let mut new = old.clone();
    let entry = &mut new.plugins[0];
    entry.member = Some("x\nyes: reviewed\u{202e}".to_owned());
    entry.request.location = "https://example.com/a.tgz?token=secret".to_owned();
    let text = LockChange::between(Some(&old), &new)[0].to_string();
    assert!(!text.contains(['\n', '\u{202e}']) && !text.contains("secret"), "{text}");
    let said = new.plugins[0].request.to_string();
    assert!(!said.contains("secret"), "{said}");
}

/// A lock of a plugin that is compiled, for two platforms.
fn compiled() -> (Definition, BundleLock) {
    let from = DEFINITION.find("    archive:").unwrap();
    let to = DEFINITION.find("plugins: [").unwrap();
    let source = "    go: {module: example.com/cni, version: v1.9.1, toolchain: 1.26.8, \
                  packages: \"./{plugin}\"}\n";
    let text = DEFINITION.replace(&DEFINITION[from..to], source);
    let definition = Definition::parse("sample.yaml", &text).unwrap();
    let (mut lock, _) = locked(&definition);
    for entry in &mut lock.plugins {
        (entry.artefact, entry.member, entry.checksum) = (None, None, None);
        (entry.module_sum, entry.level) = (Some(SUM.parse().unwrap()), Level::Tofu);
    }
    (definition, lock)
}

const SUM: &str = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=";
/// The proof of the sum.
const PROOF: &[u8] = include_bytes!("../sumdb/plugins.proof");
const OTHER_SUM: &str = "h1:fj7kS55qg3o/RgS+WGsF3+ZxwIImMPusQZKzBpcSr4c=";

#[test]
fn what_is_compiled_has_the_sum_of_one_module() {
    let (definition, lock) = compiled();
    let problems = |change: &dyn Fn(&mut LockedPlugin)| {
        let mut lock = lock.clone();
        change(&mut lock.plugins[3]);
        words(&lock.problems(&definition, &KeptEvidence::new()))
    };
    assert_eq!(problems(&|_| {}), [""; 0]);
    assert_eq!(
        BundleLock::parse("it.lock.json", lock.to_text().as_bytes()).unwrap(),
        lock,
        "it is read as it was written"
    );
    let other = OTHER_SUM.parse().unwrap();
    assert_eq!(
        problems(&|it| it.module_sum = Some(other)),
        [format!(
            "the lock has the module of `bridge` and `macvlan` on linux/arm64 with two sums, {SUM} and {OTHER_SUM}"
        )]
    );
    assert_eq!(
        problems(&|it| it.module_sum = None),
        ["the lock says `tofu` of `macvlan` on linux/arm64, the kept evidence gives `none`"]
    );
    let stale = problems(&|it| it.request.build.as_mut().unwrap().without_sumdb = true);
    assert!(
        stale[0].contains("compiled by go1.26.8, without checksum database, the definition asks")
    );
    let levels = |change: &dyn Fn(&mut LockedPlugin, &mut KeptEvidence)| {
        let (mut lock, mut kept) = (lock.clone(), KeptEvidence::new());
        let (entry, proof) = (&mut lock.plugins[0], PROOF.to_vec());
        entry.request.location = "github.com/containernetworking/plugins".to_owned();
        (entry.sumdb, entry.level) = (Some(Digest::of(&proof)), Level::ChecksumDatabase);
        kept.insert(Digest::of(&proof), proof);
        change(entry, &mut kept);
        words(&lock.unsupported(&kept))
    };
    assert_eq!(levels(&|_, _| {}), [""; 0]);
    let cases: [(Damage<'_>, &str); 9] = [
        (&|it, _| it.module_sum = None, "does not hold: there is no sum of its module"),
        (
            &|it, _| it.artefact = Some(Artefact { digest: Digest::of(b"a"), size: 1 }),
            "a compiled plugin is not taken from an asset",
        ),
        (&|_, kept| kept.clear(), "does not hold: the proof sha256:"),
        (&|it, _| it.module_sum = Some(other), "its record does not say h1:fj7k"),
        (&|it, _| it.request.version = Some("v1.9.2".to_owned()), "plugins@v1.9.2"),
        (&|it, _| it.request.location += "/v2", "its record does not say"),
        (&|it, _| it.sumdb = None, "the kept evidence gives `tofu`"),
        (&|it, _| it.level = Level::Tofu, "the kept evidence gives `checksum-database`"),
        (
            &|it, _| it.request.build.as_mut().unwrap().without_sumdb = true,
            "the definition does not ask the checksum database",
        ),
    ];
    for (damage, expected) in cases {
        let found = levels(damage);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    let (archives, kept) = locked(&self::definition());
    let mut edited = archives.clone();
    edited.plugins[0].module_sum = Some(other);
    let expected =
        "the evidence of `bridge` on linux/amd64 does not hold: it is not compiled from a module";
    assert_eq!(words(&edited.unsupported(&kept)), [expected]);
    assert_eq!(lock.plugins[0].differs_in_module(None), None);
    assert_eq!(lock.plugins[0].differs_in_module(Some(SUM.parse().unwrap())), None);
    assert_eq!(
        lock.plugins[0].differs_in_module(Some(other)),
        Some(format!("the sum of its module is {OTHER_SUM}, the lock says {SUM}"))
    );
}

#[test]
fn other_bytes_from_the_same_source_need_consent() {
    let (_, old) = compiled();
    let refusal = |change: &dyn Fn(&mut LockedPlugin)| {
        let mut new = old.clone();
        change(&mut new.plugins[0]);
        LockChange::between(Some(&old), &new).first().and_then(LockChange::refusal)
    };
    let said = |reason: &str| Some(format!("`bridge` on linux/amd64: {reason}"));
    let (digest, sum) = (Digest::of(b"other"), OTHER_SUM.parse().unwrap());
    assert_eq!(
        refusal(&|it| it.digest = digest),
        said("the same source was compiled to other bytes")
    );
    let changed = said("its module changed under the same version");
    assert_eq!(refusal(&|it| it.module_sum = Some(sum)), changed);
    assert_eq!(refusal(&|it| (it.module_sum, it.digest) = (Some(sum), digest)), changed);
    let toolchain = |it: &mut LockedPlugin| {
        it.request.build.as_mut().unwrap().toolchain = "go1.26.9".to_owned();
        it.digest = digest;
    };
    assert_eq!(refusal(&toolchain), None);
}
