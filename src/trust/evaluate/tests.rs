//! Decisions over small images, each refusal beside what is accepted.

use std::time::{Duration, SystemTime};

use super::*;
use crate::model::media_type;
use crate::trust::test_support::{Image, Signer, policy};
use crate::trust::{Key, Statement};

mod tables;

fn ask(
    image: &Image,
    policy: &Policy,
    platform: &str,
    presence: Presence,
) -> Result<Verified<Bundle>, Rejection> {
    let name = "ghcr.io/acme/cni".parse().unwrap();
    let platform = platform.parse().unwrap();
    let verifier =
        Verifier { policy, name: Some(&name), platform: &platform, now: SystemTime::UNIX_EPOCH };
    verifier.verify(&image.evidence(), presence)
}

fn decide(image: &Image, policy: &Policy, platform: &str) -> Result<Verified<Bundle>, Vec<Code>> {
    ask(image, policy, platform, Presence::New)
        .map_err(|rejection| rejection.findings.iter().map(|finding| finding.code).collect())
}

fn codes(image: &Image, policy: &Policy, platform: &str) -> Vec<Code> {
    decide(image, policy, platform).err().unwrap_or_default()
}

#[test]
fn a_signed_index_proves_every_platform() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
    image.sign(&signer, image.index_digest());
    for platform in ["linux/amd64", "linux/arm64"] {
        let bundle = decide(&image, &policy(&signer, ""), platform).unwrap();
        assert_eq!(bundle.proof().strength, Strength::Proven);
        assert_eq!(bundle.proof().signed, Some(image.index_digest()));
        assert_eq!(bundle.value().files.platform.to_string(), platform);
    }
}

#[test]
fn a_denied_release_is_denied_in_every_wrapping() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
    for subject in [image.index_digest(), image.manifest_digest(0)] {
        image.sign(&signer, subject);
    }
    let (index, manifest) = (image.index_digest(), image.manifest_digest(0));
    let plugin = Digest::of(b"");
    let document = Digest::of(&crate::model::json::canonical(image.files(0)));
    let denying = |digest: Digest| policy(&signer, &format!("deny: [\"{digest}\"]\n"));
    for digest in [index, manifest, plugin, document] {
        assert_eq!(
            codes(&image, &denying(digest), "linux/amd64"),
            [Code::DeniedByRule],
            "{digest}"
        );
    }
    assert_eq!(codes(&image, &denying(Digest::of(b"another")), "linux/amd64"), []);
    // The same signed manifest in an unsigned index.
    image.index["annotations"] = serde_json::json!({"a": "b"});
    assert_eq!(codes(&image, &denying(manifest), "linux/amd64"), [Code::DeniedByRule]);
    assert_eq!(codes(&image, &denying(index), "linux/amd64"), [Code::IndexNotSigned]);
    assert_eq!(codes(&image, &policy(&signer, ""), "linux/amd64"), []);
}

#[test]
fn what_strangers_attach_does_not_make_evidence_too_long_to_be_read_again() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let alone = image.evidence();
    let rules = policy(&signer, "");
    assert_eq!(evidence_to_store(&rules, alone.clone()).unwrap(), alone.to_bytes());
    image.sign(&stranger, image.index_digest());
    let both = image.evidence();
    assert_eq!(
        evidence_to_store(&rules, both.clone()).unwrap(),
        both.to_bytes(),
        "the policy of tomorrow may know this key"
    );
    // A quotation mark is one byte in a signature document and up to four in the file.
    for number in 0..8 {
        let bundle = stranger.bundle(&Statement::image_signature(
            &number.to_string(),
            &image.index_digest(),
            None,
        ));
        let hint = format!(r#""hint":"{}""#, r#"\""#.repeat(40_000));
        let bundle = String::from_utf8(bundle).unwrap().replacen(r#""hint":"hint""#, &hint, 1);
        image.attach(bundle.as_bytes());
    }
    assert!(image.evidence().to_bytes().len() > Evidence::LIMIT);
    assert_eq!(evidence_to_store(&rules, image.evidence()).unwrap(), alone.to_bytes());
    assert!(Evidence::parse(&evidence_to_store(&rules, image.evidence()).unwrap()).is_ok());
}

#[test]
fn a_signed_manifest_proves_only_its_platform() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
    image.sign(&signer, image.manifest_digest(0));
    assert_eq!(codes(&image, &policy(&signer, ""), "linux/amd64"), []);
    assert_eq!(codes(&image, &policy(&signer, ""), "linux/arm64"), [Code::ManifestNotSigned]);
}

#[test]
fn what_is_not_the_wanted_signature_is_refused_with_its_own_code() {
    let (signer, other) = (Signer::new(), Signer::new());
    type Attach = fn(&mut Image, &Signer, &Signer);
    let cases: [(Attach, &[Code]); 7] = [
        (|_, _, _| {}, &[Code::NoSignature]),
        (|image, _, other| image.sign(other, image.index_digest()), &[Code::SignerNotAllowed]),
        (
            |image, signer, _| image.sign(signer, Digest::of(b"another image")),
            &[Code::OtherSubject],
        ),
        (
            |image, signer, _| image.attest(signer, "https://spdx.dev/Document"),
            &[Code::NotASignature],
        ),
        (|image, _, _| image.attach(b"not json"), &[Code::MalformedSignature]),
        (|image, signer, _| image.sign_altered(signer), &[Code::SignerNotAllowed]),
        (
            |image, signer, other| {
                image.attach(b"{}");
                image.sign(other, image.index_digest());
                image.sign(signer, image.index_digest());
            },
            &[],
        ),
    ];
    for (number, (attach, expected)) in cases.into_iter().enumerate() {
        let mut image = Image::of(&["linux/amd64"]);
        attach(&mut image, &signer, &other);
        assert_eq!(codes(&image, &policy(&signer, ""), "linux/amd64"), expected, "case {number}");
    }
}

#[test]
fn a_signature_that_names_an_allowed_key_is_not_said_to_be_by_another() {
    let (signer, other) = (Signer::new(), Signer::new());
    let key = |signer: &Signer| Key::parse(&signer.public_pem()).unwrap().fingerprint();
    // By another key, or by the right one with another hash: neither verifies.
    for (named, by, message, found) in [
        (&signer, &other, "no signature that names `k` is valid", "made with another hash"),
        (&other, &other, "rule `test` does not allow the signer", "it names key sha256:"),
    ] {
        let mut image = Image::of(&["linux/amd64"]);
        let payload = Statement::image_signature("a", &image.index_digest(), None);
        let bundle = by.bundle_naming(&payload, key(named));
        image.attach(&bundle);
        let rejection = ask(&image, &policy(&signer, ""), "linux/amd64", Presence::New);
        let rejection = rejection.expect_err("refused");
        let [finding] = rejection.findings.as_slice() else { panic!("{:?}", rejection.findings) };
        assert_eq!((finding.code, finding.message.as_str()), (Code::SignerNotAllowed, message));
        assert!(finding.found.as_ref().unwrap().contains(found), "{finding:?}");
        let expected = format!("k ({})", key(&signer));
        assert!(finding.expected.as_ref().unwrap().contains(&expected), "{finding:?}");
    }
}

#[test]
fn a_broken_chain_is_refused_even_if_it_is_signed() {
    let signer = Signer::new();
    type Change = fn(&mut Image);
    let cases: [(Change, Code); 26] = [
        (
            |image| image.index["manifests"][1] = image.index["manifests"][0].clone(),
            Code::DuplicatePlatform,
        ),
        (
            |image| image.index["manifests"][1]["mediaType"] = media_type::INDEX.into(),
            Code::NestedIndex,
        ),
        (
            |image| image.index["manifests"][0]["platform"]["architecture"] = "s390x".into(),
            Code::PlatformMissing,
        ),
        (|image| image.index["layers"] = serde_json::json!([]), Code::NotTheManifest),
        (|image| image.index["manifests"][0]["size"] = 1.into(), Code::BrokenChain),
        (|image| image.manifest(0)["artifactType"] = "text/plain".into(), Code::NotABundle),
        (|image| image.manifest(0)["manifests"] = serde_json::json!([]), Code::NotTheManifest),
        (
            |image| {
                let layer = image.manifest(0)["layers"][1].clone();
                image.manifest(0)["layers"].as_array_mut().unwrap().push(layer);
            },
            Code::WrongLayers,
        ),
        // What no node could unpack.
        (
            |image| layer_of(image)["mediaType"] = "application/octet-stream".into(),
            Code::WrongLayers,
        ),
        (
            |image| {
                let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
                layer_of(image)["mediaType"] = kind.into();
            },
            Code::WrongLayers,
        ),
        (
            |image| {
                let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
                layer_of(image)["mediaType"] = kind.into();
            },
            Code::WrongLayers,
        ),
        (
            |image| {
                layer_of(image)["mediaType"] = "APPLICATION/VND.OCI.IMAGE.LAYER.V1.TAR+ZSTD".into()
            },
            Code::WrongLayers,
        ),
        (
            |image| layer_of(image)["mediaType"] = format!("{}+xz", media_type::LAYER).into(),
            Code::WrongLayers,
        ),
        (|image| layer_of(image)["size"] = (1_u64 << 40).into(), Code::DiffIdMismatch),
        (|image| image.config(0)["architecture"] = "arm64".into(), Code::PlatformMismatch),
        (
            |image| image.config(0)["rootfs"]["diff_ids"][0] = Digest::of(b"x").to_string().into(),
            Code::DiffIdMismatch,
        ),
        (
            |image| image.config(0)["rootfs"]["diff_ids"] = serde_json::json!([]),
            Code::DiffIdMismatch,
        ),
        (|image| image.config(0)["config"]["Labels"] = serde_json::json!({}), Code::NotABundle),
        (
            |image| {
                image.config(0)["config"]["Labels"][media_type::BUNDLE_LABEL] =
                    Digest::of(b"x").to_string().into()
            },
            Code::BrokenChain,
        ),
        (|image| image.files(0)["platform"] = "linux/arm64".into(), Code::PlatformMismatch),
        // What Go's JSON reads as another image.
        (|image| image.index["Manifests"] = serde_json::json!([]), Code::NotTheManifest),
        (|image| image.manifest(0)["Layers"] = serde_json::json!([]), Code::NotTheManifest),
        (|image| image.config(0)["RootFS"] = serde_json::json!({}), Code::BrokenChain),
        (|image| image.config(0)["config"]["labels"] = serde_json::json!({}), Code::BrokenChain),
        (|image| image.config(0)["rootfs"]["DiffIDs"] = 1.into(), Code::BrokenChain),
        (|image| image.files(0)["Platform"] = "linux/arm64".into(), Code::BrokenChain),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
        change(&mut image);
        image.relink();
        image.sign(&signer, image.index_digest());
        assert_eq!(codes(&image, &policy(&signer, ""), "linux/amd64"), [expected], "case {number}");
    }
}

fn layer_of(image: &mut Image) -> &mut serde_json::Value {
    &mut image.manifest(0)["layers"][0]
}

#[test]
fn rules_limit_name_version_and_digest() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let denied = format!("deny: [\"{}\"]\n", image.index_digest());
    for (rule, expected) in [
        ("    bundles: [test]\n", &[][..]),
        ("    bundles: [other]\n", &[Code::BundleNotAllowed]),
        ("    minVersion: 1.2.3\n", &[]),
        ("    minVersion: 1.2.4\n", &[Code::VersionBelowFloor]),
        ("    attestations: [{name: sbom, predicateType: spdxjson}]\n", &[Code::NoSignature]),
        (denied.as_str(), &[Code::DeniedByRule]),
    ] {
        assert_eq!(codes(&image, &policy(&signer, rule), "linux/amd64"), expected, "{rule}");
    }
    image.attest(&signer, "https://spdx.dev/Document");
    let sbom = policy(&signer, "    attestations: [{name: sbom, predicateType: spdxjson}]\n");
    assert_eq!(codes(&image, &sbom, "linux/amd64"), []);
    let pinned = decide(&image, &sbom, "linux/amd64").unwrap();
    assert_eq!(compare_with_pin(&pinned, &image.index_digest()), None);
    assert_eq!(
        compare_with_pin(&pinned, &image.manifest_digest(0)).map(|finding| finding.code),
        Some(Code::OtherRelease)
    );
}

#[test]
fn what_the_node_keeps_is_warned_of_a_floor_and_refused_for_all_else() {
    let (signer, other) = (Signer::new(), Signer::new());
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let denied = format!("deny: [\"{}\"]\n", image.index_digest());
    let ask = |policy: &Policy, presence| {
        let codes =
            |findings: &[Finding]| findings.iter().map(|finding| finding.code).collect::<Vec<_>>();
        ask(&image, policy, "linux/amd64", presence)
            .map(|bundle| {
                assert!(!bundle.warnings().iter().any(Finding::is_refusal));
                assert_eq!(bundle.proof().strength, Strength::Proven);
                codes(bundle.warnings())
            })
            .map_err(|rejection| codes(&rejection.findings))
    };
    let refused = |code| (Err(vec![code]), Err(vec![code]));
    for (signer, rule, (wanted, kept)) in [
        (&signer, "    minVersion: 1.2.3\n", (Ok(vec![]), Ok(vec![]))),
        (
            &signer,
            "    minVersion: 1.2.4\n",
            (Err(vec![Code::VersionBelowFloor]), Ok(vec![Code::VersionBelowFloor])),
        ),
        (&signer, "    minVersion: 1.2.4\n    bundles: [other]\n", refused(Code::BundleNotAllowed)),
        (&signer, denied.as_str(), refused(Code::DeniedByRule)),
        (
            &signer,
            "    attestations: [{name: sbom, predicateType: spdxjson}]\n",
            refused(Code::NoSignature),
        ),
        (&other, "", refused(Code::SignerNotAllowed)),
    ] {
        let policy = policy(signer, rule);
        assert_eq!(ask(&policy, Presence::New), wanted, "{rule}");
        assert_eq!(ask(&policy, Presence::Kept), kept, "{rule}");
    }
}

#[test]
fn the_youngest_signature_by_an_allowed_key_is_the_age_of_an_image() {
    const DAY: u64 = 24 * 3600;
    let now = 1_800_000_000;
    let (signer, stranger) = (Signer::new(), Signer::new());
    let rules = policy(&signer, "    maxAge: 30d\n");
    let (young, old) = (Some(now - 29 * DAY), Some(now - 31 * DAY));
    let other = Digest::of(b"another image");
    type Attach<'a> = &'a dyn Fn(&mut Image);
    let cases: [(&str, Attach<'_>, Option<Code>); 11] = [
        ("young", &|image| image.sign_at(&signer, image.index_digest(), young), None),
        (
            "old",
            &|image| image.sign_at(&signer, image.index_digest(), old),
            Some(Code::SignatureTooOld),
        ),
        (
            "no time",
            &|image| image.sign(&signer, image.index_digest()),
            Some(Code::SignatureTimeUnknown),
        ),
        (
            "signed again",
            &|image| {
                [young, None, old]
                    .into_iter()
                    .for_each(|at| image.sign_at(&signer, image.index_digest(), at))
            },
            None,
        ),
        (
            "the manifest signed again",
            &|image| {
                image.sign_at(&signer, image.index_digest(), old);
                image.sign_at(&signer, image.manifest_digest(0), young);
            },
            None,
        ),
        (
            "another platform's manifest signed again",
            &|image| {
                image.sign_at(&signer, image.index_digest(), old);
                image.sign_at(&signer, image.manifest_digest(1), young);
            },
            Some(Code::SignatureTooOld),
        ),
        (
            "signed again by a stranger",
            &|image| {
                image.sign_at(&signer, image.index_digest(), old);
                image.sign_at(&stranger, image.index_digest(), young);
            },
            Some(Code::SignatureTooOld),
        ),
        (
            "another image signed later",
            &|image| {
                image.sign_at(&signer, image.index_digest(), old);
                image.sign_at(&signer, other, young);
            },
            Some(Code::SignatureTooOld),
        ),
        (
            "attested later",
            &|image| {
                image.sign_at(&signer, image.index_digest(), old);
                image.attest_at(&signer, "https://spdx.dev/Document", young);
            },
            Some(Code::SignatureTooOld),
        ),
        (
            "signed tomorrow, by a stranger who is not asked",
            &|image| {
                image.sign_at(&signer, image.index_digest(), young);
                image.sign_at(&stranger, image.index_digest(), Some(now + 9 * DAY));
            },
            None,
        ),
        (
            "signed next week",
            &|image| {
                [young, Some(now + 9 * DAY)]
                    .into_iter()
                    .for_each(|at| image.sign_at(&signer, image.index_digest(), at))
            },
            Some(Code::ClockSuspect),
        ),
    ];
    for (what, attach, code) in cases {
        let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
        attach(&mut image);
        let ask = |policy: &Policy, presence| {
            let name = "ghcr.io/acme/cni".parse().unwrap();
            let platform = "linux/amd64".parse().unwrap();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let verifier = Verifier { policy, name: Some(&name), platform: &platform, now };
            verifier.verify(&image.evidence(), presence)
        };
        let codes =
            |findings: &[Finding]| findings.iter().map(|finding| finding.code).collect::<Vec<_>>();
        let wanted =
            ask(&rules, Presence::New).map(drop).map_err(|rejection| codes(&rejection.findings));
        assert_eq!(wanted, code.map_or(Ok(()), |code| Err(vec![code])), "{what}");
        let kept = ask(&rules, Presence::Kept).unwrap();
        assert_eq!(codes(kept.warnings()), code.into_iter().collect::<Vec<_>>(), "{what}");
        assert!(!kept.warnings().iter().any(Finding::is_refusal), "{what}");
        // A rule without a limit asks for no time and for no clock.
        assert_eq!(
            codes(ask(&policy(&signer, ""), Presence::New).unwrap().warnings()),
            [],
            "{what}"
        );
        let admitted =
            ask(&policy(&signer, "    maxAge: 30d\n    mode: warn\n"), Presence::New).unwrap();
        let expected = if code.is_some() { Strength::Admitted } else { Strength::Proven };
        assert_eq!(admitted.proof().strength, expected, "{what}");
    }
    let unsigned = Image::of(&["linux/amd64"]);
    assert_eq!(codes(&unsigned, &rules, "linux/amd64"), [Code::NoSignature]);
}

#[test]
fn a_rule_says_whether_a_node_may_go_back() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    for (rule, expected) in [
        ("", Rollback::Allowed),
        ("    rollback: allowed\n", Rollback::Allowed),
        ("    rollback: monotonic\n", Rollback::Monotonic),
    ] {
        assert_eq!(
            decide(&image, &policy(&signer, rule), "linux/amd64").unwrap().rollback(),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn a_warning_rule_admits_and_never_proves() {
    let signer = Signer::new();
    let image = Image::of(&["linux/amd64"]);
    let bundle = decide(&image, &policy(&signer, "    mode: warn\n"), "linux/amd64").unwrap();
    assert_eq!((bundle.proof().strength, bundle.proof().signed), (Strength::Admitted, None));
}

#[test]
fn only_everything_matches_an_image_without_a_name() {
    let signer = Signer::new();
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let decide = |policy: &Policy| {
        let platform = "linux/amd64".parse().unwrap();
        let verifier =
            Verifier { policy, name: None, platform: &platform, now: SystemTime::UNIX_EPOCH };
        verifier
            .verify(&image.evidence(), Presence::New)
            .map_err(|rejection| rejection.findings[0].code)
            .map(|bundle| bundle.proof().rule.clone())
    };
    assert_eq!(decide(&policy(&signer, "")), Err(Code::NoRuleMatches));
    assert_eq!(
        decide(&Policy::of_key("cosign.pub", &signer.public_pem()).unwrap()),
        Ok("key".to_owned())
    );
}
