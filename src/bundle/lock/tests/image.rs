//! Entries of plugins that are in container images.

use super::*;

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: sample
version: 1.2.3
platforms: [linux/amd64, linux/arm64]
sources:
  - {name: upstream, image: \"ghcr.io/acme/whereabouts:v1\"}
plugins: [bridge, macvlan]
";

pub(super) fn locked(definition: &Definition) -> BundleLock {
    let plugins = definition.requests().into_iter().map(|((name, platform), request)| {
        let digest = Digest::of(format!("{name} {platform}").as_bytes());
        let manifest = Digest::of(platform.to_string().as_bytes());
        LockedPlugin {
            artefact: Some(Artefact { digest: manifest, size: 7 }),
            member: Some(format!("/{name}")),
            image: Some(InImage { index: Some(index()), layer: Digest::of(b"layer") }),
            module_sum: None,
            sumdb: None,
            digest,
            sha512: Sha512::of(b"content"),
            size: 7,
            linkage: Linkage::Static,
            go: None,
            facts: ProgramFacts::default(),
            license: None,
            supplier: None,
            cni_versions: None,
            level: Level::Tofu,
            checksum: None,
            signed: None,
            reproduced: None,
            name,
            platform,
            request,
        }
    });
    BundleLock::new(definition.name.clone(), plugins.collect())
}

fn index() -> Digest {
    Digest::of(b"index")
}

fn problems(text: &str, change: Edit<'_>) -> Vec<String> {
    let definition = Definition::parse("sample.yaml", text).unwrap();
    let mut lock = locked(&definition);
    change(&mut lock.plugins[0]);
    let text = lock.to_text();
    assert_eq!(BundleLock::parse("sample.lock.json", text.as_bytes()).unwrap(), lock);
    words(&lock.problems(&definition, &KeptEvidence::new()))
}

#[test]
fn an_image_has_a_manifest_for_each_platform_and_one_for_all_plugins_of_it() {
    assert_eq!(problems(DEFINITION, &|_| {}), [""; 0]);
    let other = Digest::of(b"other");
    let found = problems(DEFINITION, &|entry| entry.artefact.as_mut().unwrap().digest = other);
    let start =
        "the lock has the asset of `bridge` and `macvlan` on linux/amd64 with two digests, ";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
}

#[test]
fn an_entry_of_an_image_says_where_in_it_the_plugin_is_and_has_no_checksum_file() {
    let layer = "the evidence of `bridge` on linux/amd64 does not hold: a plugin has a layer if \
                 it is taken from an image, and only then";
    let found = problems(DEFINITION, &|entry| entry.image = None);
    assert!(found.contains(&layer.to_owned()), "{found:?}");
    let archive = DEFINITION
        .replace("image: \"ghcr.io/acme/whereabouts:v1\"", "archive: \"a-{architecture}\"");
    assert!(problems(&archive, &|_| {}).contains(&layer.to_owned()));
    let checksum = |entry: &mut LockedPlugin| {
        entry.level = Level::ChecksumSameOrigin;
        entry.checksum = Some(LockedChecksum {
            location: format!("{}.sha256", entry.request.location),
            name: "whereabouts:v1".to_owned(),
            digest: Digest::of(b""),
            sha512: None,
        });
    };
    let expected = "the evidence of `bridge` on linux/amd64 does not hold: an image has no checksum \
                    file";
    assert_eq!(problems(DEFINITION, &checksum), [expected]);
    // A directory instead of the image, as a build may be told.
    let instead = |entry: &mut LockedPlugin| {
        (entry.artefact, entry.image, entry.member) = (None, None, None);
        entry.level = Level::None;
    };
    assert_eq!(problems(DEFINITION, &instead), [""; 0]);
}

#[test]
fn a_digest_in_the_definition_is_the_one_that_is_locked() {
    let manifest = Digest::of(b"linux/amd64");
    let fixed =
        |digest: Digest| DEFINITION.replace("whereabouts:v1", &format!("whereabouts:v1@{digest}"));
    assert_eq!(problems(&fixed(index()), &|_| {}), [""; 0]);
    let other = Digest::of(b"other");
    let pins = |expected: Digest, found: Digest| {
        format!(
            "the definition pins {expected} for the asset of `bridge` on linux/amd64, the lock has {found}"
        )
    };
    let without_index = |entry: &mut LockedPlugin| entry.image.as_mut().unwrap().index = None;
    assert_eq!(problems(&fixed(index()), &without_index), [pins(index(), manifest)]);
    let found =
        problems(&fixed(index()), &|entry| entry.image.as_mut().unwrap().index = Some(other));
    assert_eq!(found, [pins(index(), other)]);
    let each = |amd64: Digest| {
        let arm64 = Digest::of(b"linux/arm64");
        let image = format!(
            "image: {{from: \"ghcr.io/acme/whereabouts:v1\", sha256: {{linux/amd64: {}, linux/arm64: {}}}}}",
            amd64.hex(),
            arm64.hex()
        );
        DEFINITION.replace("image: \"ghcr.io/acme/whereabouts:v1\"", &image)
    };
    assert_eq!(problems(&each(manifest), &|_| {}), [""; 0]);
    let found = problems(&each(other), &|_| {});
    assert_eq!(found[0], pins(other, manifest));
}

#[test]
fn says_which_layer_is_not_the_locked_one() {
    let definition = Definition::parse("sample.yaml", DEFINITION).unwrap();
    let lock = locked(&definition);
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
    let image = |layer: &[u8]| Some(InImage { index: None, layer: Digest::of(layer) });
    let differs = |member, image| entry.differs(&facts, &program, &entry.sha512, member, image);
    assert_eq!(differs(Some("/bridge"), image(b"layer")), None);
    let expected =
        format!("its layer is {}, the lock says {}", Digest::of(b"other"), Digest::of(b"layer"));
    assert_eq!(differs(Some("/bridge"), image(b"other")), Some(expected));
    let expected = "its member is /bin/bridge, the lock says /bridge";
    assert_eq!(differs(Some("/bin/bridge"), image(b"layer")).as_deref(), Some(expected));
}

#[test]
fn a_moved_tag_needs_consent_and_a_new_index_around_the_same_manifest_does_not() {
    let definition = Definition::parse("sample.yaml", DEFINITION).unwrap();
    let old = locked(&definition);
    let changed = |change: Edit<'_>| {
        let mut new = old.clone();
        change(&mut new.plugins[0]);
        let changes = LockChange::between(Some(&old), &new);
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        (change.values.join(", "), change.refusal())
    };
    let other = Digest::of(b"other");
    let (values, refusal) = changed(&|entry| entry.image.as_mut().unwrap().index = Some(other));
    assert!(values.starts_with("index ") && !values.contains(','), "{values}");
    assert_eq!(refusal, None);
    let (_, refusal) = changed(&|entry| entry.artefact.as_mut().unwrap().digest = other);
    let expected = "`bridge` on linux/amd64: upstream's bytes changed under the same location, \
                    those of the plugin did not";
    assert_eq!(refusal.as_deref(), Some(expected));
}
