//! The statement that a program was reproduced: what it is worth, and when it is worth nothing.

use super::*;
use crate::bundle::definition::source::RecipeRequest;

const SHA256: &str = "0f5c2b0c5a7b7d9d5f0c6f1f7d8a4e3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f";
const SUM: &str = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=";

/// The definition with this recipe.
fn with(recipe: &str) -> Definition {
    let text = DEFINITION.replace("v1.9.1}", &format!("v1.9.1, reproduce: {{{recipe}}}}}"));
    Definition::parse("sample.yaml", &text).unwrap()
}

fn vendored(toolchain: &str) -> Definition {
    with(&format!(
        "vendored: {{from: a, sha256: {SHA256}, toolchain: {toolchain}, packages: \"{{plugin}}\"}}"
    ))
}

fn module(more: &str) -> Definition {
    let go = "module: example.com/cni, version: v1.9.1, toolchain: 1.26.8";
    with(&format!("go: {{{go}, packages: \"{{plugin}}\"{more}"))
}

/// The lock of a definition in which everything was reproduced, from a module with this sum.
fn reproduced(definition: &Definition, sum: Option<&str>) -> (BundleLock, KeptEvidence) {
    let (mut lock, kept) = locked(definition);
    let recipes = definition.recipes();
    for entry in &mut lock.plugins {
        let recipe = recipes[&(entry.name.clone(), entry.platform.clone())].clone();
        let module_sum = sum.map(|sum| sum.parse().unwrap());
        let statement = Reproduced { recipe, module_sum, digest: entry.digest };
        *entry = LockedPlugin { reproduced: Some(statement), ..entry.clone() }.with_level(&kept);
    }
    (lock, kept)
}

#[test]
fn is_the_highest_level() {
    for (definition, sum) in [
        (vendored("1.26.8"), None),
        (module("}"), Some(SUM)),
        (module(&format!(", sumdb: off}}, sum: \"{SUM}\"")), Some(SUM)),
    ] {
        let (lock, kept) = reproduced(&definition, sum);
        assert!(lock.plugins.iter().all(|entry| entry.level == Level::Reproduced));
        assert_eq!(Level::ALL.last(), Some(&Level::Reproduced));
        assert_eq!(words(&lock.problems(&definition, &kept)), [""; 0]);
        let text = lock.to_text();
        assert_eq!(BundleLock::parse("sample.lock.json", text.as_bytes()).unwrap(), lock);
    }
}

#[test]
fn is_only_about_the_recipe_and_the_bytes_that_it_names() {
    let definition = vendored("1.26.8");
    let (lock, kept) = reproduced(&definition, None);
    // Another recipe, and none.
    let found = words(&lock.problems(&vendored("1.26.9"), &kept));
    let recipe = |release: &str| {
        format!("`a`, package `./bridge`, sha256:{SHA256}, with -trimpath, by go{release}")
    };
    let expected = format!(
        "`bridge` on linux/amd64 was reproduced from {}, the definition has {}",
        recipe("1.26.8"),
        recipe("1.26.9")
    );
    assert_eq!((found.len(), found[0].as_str()), (4, expected.as_str()));
    let found = words(&lock.problems(&super::definition(), &kept));
    assert!(found[0].ends_with("the definition has no recipe"), "{found:?}");
    // An edited lock: a level without a statement, and a statement about other bytes.
    let edited = |edit: Edit<'_>| {
        let mut lock = lock.clone();
        edit(&mut lock.plugins[0]);
        words(&lock.problems(&definition, &kept))
    };
    let other = Digest::of(b"other");
    let digest = lock.plugins[0].digest;
    for (edit, expected) in [
        (
            &(|entry: &mut LockedPlugin| entry.reproduced = None) as Edit<'_>,
            "the lock says `reproduced` of `bridge` on linux/amd64, the kept evidence gives \
             `checksum-same-origin`"
                .to_owned(),
        ),
        (
            &|entry| entry.level = Level::ChecksumSameOrigin,
            "the lock says `checksum-same-origin` of `bridge` on linux/amd64, the kept evidence \
             gives `reproduced`"
                .to_owned(),
        ),
        (
            &|entry| entry.digest = other,
            format!(
                "the evidence of `bridge` on linux/amd64 does not hold: it was reproduced as \
                 {digest}, and the lock pins {other}"
            ),
        ),
        (
            &|entry| (entry.artefact, entry.checksum) = (None, None),
            "the evidence of `bridge` on linux/amd64 does not hold: a plugin that is not taken \
             from an asset is not reproduced"
                .to_owned(),
        ),
        (
            &|entry| entry.checksum.as_mut().unwrap().name = "x".to_owned(),
            "the evidence of `bridge` on linux/amd64 does not hold: `x` in `https://example.com/\
             cni-amd64-v1.9.1.tgz.sha256` is not the checksum of `https://example.com/\
             cni-amd64-v1.9.1.tgz` that the definition names"
                .to_owned(),
        ),
    ] {
        assert_eq!(edited(edit), [expected]);
    }
}

#[test]
fn comes_from_a_source_that_is_pinned() {
    let other = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlB=".replace("NlB", "NlE");
    let pinned = module(&format!(", sumdb: off}}, sum: \"{SUM}\""));
    for (definition, sum) in
        [(&module("}"), None), (&pinned, None), (&pinned, Some(other.as_str()))]
    {
        let (lock, kept) = reproduced(definition, sum);
        assert!(lock.plugins.iter().all(|entry| entry.level == Level::None));
        let found = words(&lock.problems(definition, &kept));
        let expected = "it was reproduced from a source that is not pinned";
        assert!(found[0].ends_with(expected), "{found:?}");
    }
}

#[test]
fn stays_while_nothing_changes() {
    let definition = vendored("1.26.8");
    let (lock, kept) = reproduced(&definition, None);
    let old = &lock.plugins[0];
    let key = (old.name.clone(), old.platform.clone());
    let recipe = definition.recipes().remove(&key);
    let fresh = LockedPlugin { reproduced: None, ..old.clone() }.with_level(&kept);
    assert_eq!(fresh.level, Level::ChecksumSameOrigin);
    let again = |entry: &LockedPlugin, recipe: Option<&RecipeRequest>| {
        entry.clone().with_statement_of(Some(old), recipe, &kept)
    };
    assert_eq!(&again(&fresh, recipe.as_ref()), old);
    let other = vendored("1.26.9").recipes().remove(&key);
    assert_eq!(again(&fresh, other.as_ref()), fresh);
    assert_eq!(again(&fresh, None), fresh);
    let changed = LockedPlugin { digest: Digest::of(b"other"), ..fresh };
    assert_eq!(again(&changed, recipe.as_ref()), changed);
    // A level that falls needs consent, and the statement is shown.
    let mut without = lock.clone();
    without.plugins[0] = LockedPlugin { reproduced: None, ..old.clone() }.with_level(&kept);
    let change = &LockChange::between(Some(&lock), &without)[0];
    let expected = "its level falls from reproduced to checksum-same-origin";
    assert_eq!(change.needs_consent.as_deref(), Some(expected));
    assert!(change.to_string().contains("reproduced from `a`, package"), "{change}");
}
