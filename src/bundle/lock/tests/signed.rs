//! Levels that follow from what a publisher signed. Here the verifier only compares words: that of
//! `trust` has its own tests.

use super::*;
use crate::bundle::SignedAsset;
use crate::bundle::definition::source::KeyContent;

const SIGNED: &str = "{from: \"https://example.com/cni-{architecture}-{version}.tgz\", \
    version: v1.9.1, key: acme.pub, signature: \"{plugin}-{architecture}.sig\", \
    provenance: \"https://example.com/{version}.intoto.jsonl\"}";

fn verify(asset: &SignedAsset<'_>) -> Result<(), String> {
    let SignedAsset { key, fingerprint, claim, evidence, subjects, is_image } = asset;
    assert_eq!((*key, *fingerprint), ("the key", Digest::of(b"the key")));
    let subjects: Vec<_> = subjects.iter().map(Digest::short).collect();
    let expected = format!("{claim:?} {} {is_image}", subjects.join(" "));
    match *evidence == expected.as_bytes() {
        true => Ok(()),
        false => Err(format!("it is no {expected}")),
    }
}

fn defined(text: &str) -> Definition {
    let mut definition = Definition::parse("sample.yaml", text).unwrap();
    let key = |path: &str| {
        assert_eq!(path, "acme.pub");
        Ok::<_, ()>(KeyContent { pem: "the key".to_owned(), fingerprint: Digest::of(b"the key") })
    };
    definition.read_keys(key).unwrap();
    definition
}

/// A definition of archives with these fields.
fn archives(fields: &str) -> Definition {
    let archive =
        "{from: \"https://example.com/cni-{architecture}-{version}.tgz\", version: v1.9.1}";
    defined(&DEFINITION.replace(archive, fields))
}

/// A lock in which everything is signed, and what it keeps.
fn signed() -> (Definition, BundleLock, KeptEvidence) {
    let definition = archives(SIGNED);
    let (mut lock, checksums) = locked(&definition);
    let mut kept = KeptEvidence::verified_by(verify);
    checksums.iter().for_each(|(digest, content)| kept.insert(*digest, content.clone()));
    for entry in &mut lock.plugins {
        let asset = entry.artefact.unwrap().digest.short();
        entry.signed = Some(LockedSigned {
            key: kept.keep(b"the key"),
            signature: Some(kept.keep(format!("Signature {asset} false").as_bytes())),
            provenance: Some(kept.keep(format!("Provenance {asset} false").as_bytes())),
        });
        entry.level = Level::Provenance;
    }
    (definition, lock, kept)
}

#[test]
fn what_is_signed_gives_the_level_and_all_of_it_has_to_hold() {
    let (definition, lock, kept) = signed();
    assert_eq!(words(&lock.problems(&definition, &kept)), [""; 0]);
    // The key, and what it signed of two platforms' assets, beside two checksum files.
    assert_eq!(lock.evidence().len(), 1 + 4 + 2);
    let text = lock.to_text();
    assert_eq!(BundleLock::parse("sample.lock.json", text.as_bytes()).unwrap(), lock);
    let problems = |change: Damage<'_>| {
        let (mut lock, mut kept) = (lock.clone(), kept.clone());
        change(&mut lock.plugins[0], &mut kept);
        words(&lock.unsupported(&kept))
    };
    let other = Digest::of(b"other");
    let cases: [(Damage<'_>, &str); 11] = [
        (&|it, _| it.level = Level::Signed, "the kept evidence gives `provenance`"),
        (&|it, _| it.signed = None, "nothing is kept that the key sha256:"),
        (&|it, _| it.signed.as_mut().unwrap().provenance = None, "is not what the definition asks"),
        (&|it, _| it.signed.as_mut().unwrap().signature = None, "is not what the definition asks"),
        (&|it, _| it.request.signature = None, "is not what the definition asks"),
        (&|it, _| it.request.key = None, "the definition names no key, and the lock has one"),
        (
            &|it, _| it.signed.as_mut().unwrap().key = other,
            "the key sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa is not kept",
        ),
        (
            &|it, _| it.signed.as_mut().unwrap().signature = Some(other),
            "the signature sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa is not kept",
        ),
        (
            &|it, _| {
                let signed = it.signed.as_mut().unwrap();
                signed.signature = signed.provenance;
            },
            "it is no Signature",
        ),
        (
            &|it, _| {
                it.artefact = Some(Artefact { digest: Digest::of(b"other"), size: 7 });
                it.checksum = None;
            },
            "it is no Signature",
        ),
        (&|it, _| (it.artefact, it.checksum) = (None, None), "names no key, and the lock has one"),
    ];
    for (change, expected) in cases {
        let found = problems(change);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    // A signature alone is less.
    let found = problems(&|it, _| {
        it.request.provenance = None;
        it.signed.as_mut().unwrap().provenance = None;
        it.level = Level::Signed;
    });
    assert_eq!(found, [""; 0]);
    // Where nothing verifies, nothing holds.
    let mut elsewhere = KeptEvidence::new();
    kept.iter().for_each(|(digest, content)| elsewhere.insert(*digest, content.clone()));
    let found = words(&lock.unsupported(&elsewhere));
    assert!(found.len() == 4 && found[0].contains("no signature can be verified"), "{found:?}");
}

#[test]
fn another_key_makes_a_lock_stale_and_a_level_that_falls_needs_consent() {
    let (definition, lock, _) = signed();
    let mut other = definition.clone();
    let key = |_: &str| {
        Ok::<_, ()>(KeyContent { pem: "other".to_owned(), fingerprint: Digest::of(b"other") })
    };
    other.read_keys(key).unwrap();
    let found = words(&lock.stale(&other));
    let expected = format!(
        "provenance `https://example.com/v1.9.1.intoto.jsonl`, key {}",
        Digest::of(b"the key")
    );
    assert!(found.len() == 4 && found[0].contains(&expected), "{found:?}");
    // A key that was not read is not the same as none.
    let unread = Definition::parse(
        "sample.yaml",
        &DEFINITION.replace(
            "{from: \"https://example.com/cni-{architecture}-{version}.tgz\", version: v1.9.1}",
            SIGNED,
        ),
    )
    .unwrap();
    assert_eq!(lock.stale(&unread).len(), 4);
    for (level, before) in [(Level::Signed, "provenance"), (Level::Tofu, "provenance")] {
        let mut new = lock.clone();
        new.plugins[0].level = level;
        let refusal = LockChange::between(Some(&lock), &new)[0].refusal();
        let expected = format!("`bridge` on linux/amd64: its level falls from {before} to {level}");
        assert_eq!(refusal, Some(expected));
        assert_eq!(LockChange::between(Some(&new), &lock)[0].refusal(), None);
    }
}

#[test]
fn of_an_image_its_manifest_or_its_index_is_signed() {
    let text = "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\n\
        platforms: [linux/amd64]\nsources:\n  - name: upstream\n    \
        image: {from: \"ghcr.io/acme/cni:v1\", key: acme.pub}\nplugins: [bridge]\n";
    let definition = defined(text);
    let mut lock = image::locked(&definition);
    let mut kept = KeptEvidence::verified_by(verify);
    let [entry] = lock.plugins.as_mut_slice() else { panic!("one plugin") };
    let (manifest, index) = (entry.artefact.unwrap().digest, entry.image.unwrap().index.unwrap());
    let found = entry.clone().with_level(&kept).level;
    assert_eq!(found, Level::None);
    entry.signed =
        Some(LockedSigned { key: kept.keep(b"the key"), signature: None, provenance: None });
    assert_eq!(entry.clone().with_level(&kept).level, Level::None);
    let subjects = format!("{} {}", manifest.short(), index.short());
    let signature = kept.keep(format!("Signature {subjects} true").as_bytes());
    let provenance = kept.keep(format!("Provenance {subjects} true").as_bytes());
    for (signature, provenance, expected) in [
        (Some(signature), None, Level::Signed),
        (None, Some(provenance), Level::Provenance),
        (Some(signature), Some(provenance), Level::Provenance),
        (Some(provenance), None, Level::None),
    ] {
        let signed = entry.signed.as_mut().unwrap();
        (signed.signature, signed.provenance) = (signature, provenance);
        assert_eq!(entry.clone().with_level(&kept).level, expected);
    }
}
