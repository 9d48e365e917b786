//! Every code that `verify` refuses with and its kind; every condition, asked in all four ways.

use std::collections::BTreeSet;

use super::*;

/// What makes an image refused, and what the refusal is about.
type Refused<'a> = (&'a str, &'a dyn Fn(&mut Image), RejectionKind, &'a [Code]);

#[test]
fn every_refusal_has_its_kind() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let broken = RejectionKind::Unsound;
    let rule = RejectionKind::Untrusted;
    let sign = |image: &mut Image| image.sign(&signer, image.index_digest());
    let other = Digest::of(b"another image");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let deny = format!("deny: [\"{}\"]\n", Digest::of(b""));
    let deny_another = format!("deny: [\"{other}\"]\n");
    let cases: &[Refused<'_>] = &[
        ("    deny: true\n", &sign, RejectionKind::Denied, &[Code::DeniedByRule]),
        (&deny, &sign, RejectionKind::Denied, &[Code::DeniedByRule]),
        ("no rule", &sign, rule, &[Code::NoRuleMatches]),
        ("", &|image| image.index["layers"] = [0; 0].into(), broken, &[Code::NotTheManifest]),
        (
            "",
            &|image| image.manifest(0)["artifactType"] = "a/b".into(),
            broken,
            &[Code::NotABundle],
        ),
        (
            "",
            &|image| image.index["manifests"][1] = image.index["manifests"][0].clone(),
            broken,
            &[Code::DuplicatePlatform],
        ),
        (
            "",
            &|image| image.index["manifests"][1]["mediaType"] = media_type::INDEX.into(),
            broken,
            &[Code::NestedIndex],
        ),
        (
            "",
            &|image| image.index["manifests"][0]["platform"]["architecture"] = "s390x".into(),
            broken,
            &[Code::PlatformMissing],
        ),
        (
            "",
            &|image| image.config(0)["architecture"] = "arm64".into(),
            broken,
            &[Code::PlatformMismatch],
        ),
        ("", &|image| image.manifest(0)["layers"] = [0; 0].into(), broken, &[Code::WrongLayers]),
        (
            "",
            &|image| image.config(0)["rootfs"]["diff_ids"] = [0; 0].into(),
            broken,
            &[Code::DiffIdMismatch],
        ),
        ("", &|image| image.index["manifests"][0]["size"] = 1.into(), broken, &[Code::BrokenChain]),
        ("    bundles: [other]\n", &sign, rule, &[Code::BundleNotAllowed]),
        ("    plugins: [other]\n", &sign, rule, &[Code::PluginNotAllowed]),
        ("    minVersion: 9.0.0\n", &sign, rule, &[Code::VersionBelowFloor]),
        ("", &|_| {}, rule, &[Code::NoSignature]),
        (
            "    attestations: [{name: sbom, predicateType: spdxjson}]\n",
            &sign,
            rule,
            &[Code::NoSignature],
        ),
        ("", &|image| image.sign(&stranger, image.index_digest()), rule, &[Code::SignerNotAllowed]),
        ("", &|image| image.sign(&signer, other), rule, &[Code::OtherSubject]),
        (
            "",
            &|image| image.attest(&signer, "https://spdx.dev/Document"),
            rule,
            &[Code::NotASignature],
        ),
        ("", &|image| image.attach(b"not json"), rule, &[Code::MalformedSignature]),
        (
            "",
            &|image| image.sign(&signer, image.manifest_digest(1)),
            rule,
            &[Code::ManifestNotSigned],
        ),
        (
            &deny_another,
            &|image| image.sign(&signer, image.manifest_digest(0)),
            rule,
            &[Code::IndexNotSigned],
        ),
        (
            "    maxAge: 1d\n",
            &|image| image.sign_at(&signer, image.index_digest(), Some(1_790_000_000)),
            rule,
            &[Code::SignatureTooOld],
        ),
        (
            "    maxAge: 1d\n",
            &|image| image.sign_at(&signer, image.index_digest(), Some(1_900_000_000)),
            rule,
            &[Code::ClockSuspect],
        ),
        ("    maxAge: 1d\n", &sign, rule, &[Code::SignatureTimeUnknown]),
        // Several that are collected: in the order of the conditions.
        (
            "    maxAge: 1d\n    attestations: [{name: sbom, predicateType: spdxjson}]\n",
            &sign,
            rule,
            &[Code::NoSignature, Code::SignatureTimeUnknown],
        ),
        // A denial is said before a broken signature, and a broken chain before a denied digest.
        (&deny, &|_| {}, RejectionKind::Denied, &[Code::DeniedByRule]),
        (&deny, &|image| image.index["layers"] = [0; 0].into(), broken, &[Code::NotTheManifest]),
    ];
    let mut seen = BTreeSet::new();
    for (text, change, kind, codes) in cases {
        let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
        change(&mut image);
        image.relink();
        let repository = if *text == "no rule" { "quay.io/acme/cni" } else { "ghcr.io/acme/cni" };
        let policy = match *text {
            "no rule" => policy(&signer, ""),
            "    deny: true\n" => denying_rule(),
            text => policy(&signer, text),
        };
        let (name, platform) = (repository.parse().unwrap(), "linux/amd64".parse().unwrap());
        let verifier = Verifier { policy: &policy, name: Some(&name), platform: &platform, now };
        let rejection = verifier.verify(&image.evidence(), Presence::New).expect_err(text);
        let found: Vec<_> = rejection.findings.iter().map(|finding| finding.code).collect();
        assert_eq!((rejection.kind, found.as_slice()), (*kind, *codes), "{text}");
        seen.extend(codes.iter().copied());
    }
    // Every code that the room can refuse with is in the table; `compare_with_pin` compares with a
    // pin, and an admitted image is a warning.
    let sources = [
        include_str!("../../evaluate.rs"),
        include_str!("../../condition.rs"),
        include_str!("../../signatures.rs"),
        include_str!("../../chain.rs"),
        include_str!("../../age.rs"),
    ];
    let others = [Code::OtherRelease, Code::Unproven];
    for code in Code::ALL.iter().filter(|code| !others.contains(code)) {
        let named = format!("Code::{code:?}");
        let is_named = |source: &&str| {
            let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            source.split(&named).skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        assert_eq!(sources.iter().any(is_named), seen.contains(code), "{code}");
    }
}

fn denying_rule() -> Policy {
    let text = "apiVersion: cnister.dev/v1\nkind: Policy\nrules: [{name: r, images: [\"**\"], deny: true}]\n";
    Policy::parse("deny.yaml", text, &mut |_| panic!("no key to read")).unwrap()
}

#[test]
fn each_condition_means_what_its_entry_says() {
    use Outcome::{Admitted, Refused, Warned};
    let signer = Signer::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let sign = |image: &mut Image| image.sign(&signer, image.index_digest());
    let sign_manifest = |image: &mut Image| image.sign(&signer, image.manifest_digest(0));
    type Change<'a> = &'a dyn Fn(&mut Image);
    // Enforced for a new set and for a kept one, then the same under `mode: warn`.
    let cases: [(&str, &str, Change<'_>, [Outcome; 4]); 8] = [
        ("", "deny: [\"DIGEST\"]\n", &sign, [Refused; 4]),
        ("    bundles: [other]\n", "", &sign, [Refused; 4]),
        ("    plugins: [other]\n", "", &sign, [Refused; 4]),
        ("    minVersion: 9.0.0\n", "", &sign, [Refused, Warned, Refused, Warned]),
        ("", "", &|_| {}, [Refused, Refused, Admitted, Admitted]),
        (
            "    attestations: [{name: sbom, predicateType: spdxjson}]\n",
            "",
            &sign,
            [Refused, Refused, Admitted, Admitted],
        ),
        ("    maxAge: 1d\n", "", &sign, [Refused, Warned, Admitted, Warned]),
        ("", "deny: [\"OTHER\"]\n", &sign_manifest, [Refused, Refused, Admitted, Admitted]),
    ];
    assert_eq!(cases.len(), CONDITIONS.len());
    for (condition, deny, change, expected) in cases {
        let mut image = Image::of(&["linux/amd64"]);
        change(&mut image);
        let deny = deny
            .replace("DIGEST", &image.index_digest().to_string())
            .replace("OTHER", &Digest::of(b"other").to_string());
        let (name, platform) =
            ("ghcr.io/acme/cni".parse().unwrap(), "linux/amd64".parse().unwrap());
        let asked = ["", "    mode: warn\n"]
            .into_iter()
            .flat_map(|mode| [(mode, Presence::New), (mode, Presence::Kept)]);
        for ((mode, presence), expected) in asked.zip(expected) {
            let policy = policy(&signer, &format!("{condition}{mode}{deny}"));
            let verifier =
                Verifier { policy: &policy, name: Some(&name), platform: &platform, now };
            let found = match verifier.verify(&image.evidence(), presence) {
                Err(_) => Refused,
                Ok(bundle) if bundle.proof().strength == Strength::Admitted => Admitted,
                Ok(bundle) if !bundle.warnings().is_empty() => Warned,
                Ok(_) => panic!("{condition}{deny}{mode} {presence:?}: holds"),
            };
            assert_eq!(found, expected, "{condition}{deny}{mode} {presence:?}");
        }
    }
}

/// What becomes of an image for which a condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Refused,
    Admitted,
    Warned,
}
