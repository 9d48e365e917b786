//! The decision: a policy, a name and evidence in, a verified bundle or findings out.
//!
//! This is the only place where signatures are checked. Installing, verifying, checking at boot and rendering all
//! come here with evidence of different origin.

use std::time::SystemTime;

use serde::Serialize;

use super::chain::{self, Bundle};
use super::evidence::{Evidence, EvidenceError};
use super::policy::{Authority, Mode, Policy, Rule};
use super::signature::{SignatureError, SigstoreBundle};
use super::statement::COSIGN_SIGN;
use crate::model::document::sha256;
use crate::model::{Code, Digest, Finding, Platform, Repository, visible};

/// A value whose origin was checked against a policy.
///
/// The fields are private to this file, so [`verify`] is the only way to get one. It cannot be deserialized: what a
/// node remembers is evidence, which is verified again.
#[derive(Debug)]
pub struct Verified<T> {
    value: T,
    proof: Proof,
}

/// Why a value was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Proven, or only admitted.
    pub strength: Strength,
    /// The rule that decided.
    pub rule: String,
    /// The authority of that rule whose key signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The digest that the signature covers: the index, or the platform's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Digest>,
    /// The digest of the policy's text.
    pub policy: Digest,
}

/// How much an acceptance is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// A signature by an allowed key was checked.
    Proven,
    /// A rule with `mode: warn` let it pass although nothing was proven.
    Admitted,
}

impl<T> Verified<T> {
    /// What was verified.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Why it was accepted.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// A value that nobody verified, for the tests of what comes after.
    #[cfg(test)]
    pub(crate) fn for_test(value: T) -> Self {
        let policy = Digest::of(b"test policy");
        let proof =
            Proof { strength: Strength::Proven, rule: "test".to_owned(), authority: None, signed: None, policy };
        Self { value, proof }
    }
}

/// Decides whether `policy` allows the image in `evidence` on `platform`, and walks its chain to every file.
///
/// `name` is the repository that the image was asked for under, in the words of the node's owner; without one only a
/// rule for `**` matches. `_now` is there for rules on age.
///
/// # Errors
/// The findings that refuse it, the decisive one first.
pub fn verify(
    policy: &Policy,
    name: Option<&Repository>,
    evidence: &Evidence,
    platform: &Platform,
    _now: SystemTime,
) -> Result<Verified<Bundle>, Vec<Finding>> {
    let Some(rule) = policy.rule(name) else {
        let message = match name {
            Some(name) => format!("no rule of the policy matches `{name}`"),
            None => {
                "the image was not asked for by a repository's name, and no rule of the policy matches `**`".to_owned()
            }
        };
        let hint = match name {
            Some(_) => "add a rule whose `images` match it; what no rule matches is refused",
            None => "say which repository it stands for with --as REPO",
        };
        return Err(vec![Finding::refusal(Code::NoRuleMatches, message).hint(hint)]);
    };
    if rule.deny {
        return Err(vec![Finding::refusal(Code::DeniedByRule, format!("rule `{}` denies it", rule.name()))]);
    }
    let bundle = chain::walk(evidence, platform).map_err(|finding| vec![finding])?;
    if let Some(finding) = denied(policy, &bundle) {
        return Err(vec![finding]);
    }
    check_release(rule, &bundle).map_err(|finding| vec![finding])?;

    let signatures = Signatures::read(evidence, &bundle);
    let signed = signatures.find(&rule.authorities, COSIGN_SIGN);
    let mut refusals = match signed {
        Some(_) => Vec::new(),
        None => signatures.explain(rule),
    };
    for attestation in &rule.attestations {
        if signatures.find(&rule.authorities, &attestation.predicate_type).is_none() {
            let message = format!(
                "no allowed key made the attestation `{}` that rule `{}` requires",
                visible(&attestation.name),
                rule.name()
            );
            refusals.push(
                Finding::refusal(Code::NoSignature, message).mismatch(visible(&attestation.predicate_type), "none"),
            );
        }
    }
    // The manifest of a denied release is signed, too, and anybody can list it in another index or serve it alone.
    if policy.denies_digests() && signed.is_some_and(|(_, digest)| digest == bundle.manifest) {
        let message = "the policy denies digests, and nobody signed the index: it may list what a denied release lists";
        let hint = "sign the index: cnister sign --key cosign.key REF";
        refusals.push(
            Finding::refusal(Code::IndexNotSigned, message)
                .mismatch(
                    format_args!("a signature over index {}", bundle.index),
                    format_args!("over manifest {}", bundle.manifest),
                )
                .hint(hint),
        );
    }
    let strength = match (refusals.is_empty(), rule.mode) {
        (true, _) => Strength::Proven,
        (false, Mode::Warn) => Strength::Admitted,
        (false, Mode::Enforce) => return Err(refusals),
    };
    let proof = Proof {
        strength,
        rule: rule.name().to_owned(),
        authority: signed.map(|(authority, _)| authority.name.clone()),
        signed: signed.map(|(_, digest)| digest),
        policy: policy.digest(),
    };
    Ok(Verified { value: bundle, proof })
}

/// Whether `key` made a statement of this type about `subject`: for comparing with images that are no bundles.
#[cfg(test)]
pub(crate) fn is_signed(evidence: &Evidence, subject: Digest, key: super::Key, predicate_type: &str) -> bool {
    let bundles = evidence.signatures().iter().map(|entry| SigstoreBundle::parse(&entry.bytes)).collect();
    let signatures = Signatures { bundles, subjects: [subject, subject], listed: Vec::new() };
    let authority = Authority { name: "test".to_owned(), key };
    signatures.find(&[authority], predicate_type).is_some()
}

/// The evidence file that a node keeps under this policy: what the policy asks for, and where that is too long, what
/// keys of the policy signed. Anybody who may write beside an image can attach what looks like a signature, and a file
/// that is too long to be read again would turn every later check into a failure.
pub fn keep(policy: &Policy, evidence: Evidence) -> Result<Vec<u8>, EvidenceError> {
    let needed = evidence.needed(&policy.needs());
    let bytes = needed.to_bytes();
    if bytes.len() <= Evidence::LIMIT {
        return Ok(bytes);
    }
    let signed = |bundle: SigstoreBundle| policy.keys().any(|key| bundle.verify(key).is_some());
    let bytes = needed.filtered(|document| SigstoreBundle::parse(&document.bytes).is_ok_and(signed)).to_bytes();
    if bytes.len() <= Evidence::LIMIT { Ok(bytes) } else { Err(EvidenceError::TooLong { found: bytes.len() }) }
}

/// Compares a verified bundle with the release that its owner pinned.
pub fn expect(bundle: &Verified<Bundle>, expected: &Digest) -> Option<Finding> {
    let found = bundle.value.index;
    (found != *expected).then(|| {
        Finding::refusal(Code::OtherRelease, "the image is signed, and it is not the release that was asked for")
            .mismatch(expected, found)
    })
}

/// The first digest of the chain that the policy denies, from the release down to single files.
fn denied(policy: &Policy, bundle: &Bundle) -> Option<Finding> {
    let documents = [("index", bundle.index), ("manifest", bundle.manifest), ("bundle.json", bundle.manifest_json)];
    let documents = documents.into_iter().map(|(what, digest)| (what.to_owned(), digest));
    let files = bundle.files.plugins.iter().map(|plugin| (format!("plugin `{}`,", plugin.name), plugin.digest));
    let (what, digest) = documents.chain(files).find(|(_, digest)| policy.denies(digest))?;
    Some(Finding::refusal(Code::DeniedByRule, format!("the policy denies {what} {digest}")))
}

fn check_release(rule: &Rule, bundle: &Bundle) -> Result<(), Finding> {
    let files = &bundle.files;
    if !rule.bundles.is_empty() && !rule.bundles.contains(&files.name) {
        let allowed: Vec<_> = rule.bundles.iter().map(ToString::to_string).collect();
        let message = format!("rule `{}` does not accept a bundle of this name", rule.name());
        return Err(Finding::refusal(Code::BundleNotAllowed, message).mismatch(allowed.join(", "), &files.name));
    }
    match &rule.min_version {
        Some(floor) if files.version < *floor => {
            let message = format!("bundle `{}` is older than rule `{}` allows", files.name, rule.name());
            Err(Finding::refusal(Code::VersionBelowFloor, message)
                .mismatch(format_args!("{floor} or newer"), &files.version)
                .hint(format!("`minVersion: {}` in the policy would allow it", files.version)))
        }
        _ => Ok(()),
    }
}

/// The signature documents of an image, parsed once.
struct Signatures {
    bundles: Vec<Result<SigstoreBundle, SignatureError>>,
    /// What a signature may speak of: the index, and the platform's manifest.
    subjects: [Digest; 2],
    /// The manifests of the index, for the words of a refusal.
    listed: Vec<Digest>,
}

impl Signatures {
    fn read(evidence: &Evidence, bundle: &Bundle) -> Self {
        let bundles = evidence.signatures().iter().map(|entry| SigstoreBundle::parse(&entry.bytes)).collect();
        let index = evidence.document(&bundle.index).and_then(|document| document.index().ok());
        let listed = index.iter().flat_map(|index| index.manifests()).filter_map(sha256).collect();
        Self { bundles, subjects: [bundle.index, bundle.manifest], listed }
    }

    /// The first authority that made a statement of this type about the image, and what it signed.
    fn find<'a>(&self, authorities: &'a [Authority], predicate_type: &str) -> Option<(&'a Authority, Digest)> {
        // The index first: it speaks for every platform.
        self.subjects.into_iter().find_map(|subject| {
            let claims = |bundle: &&SigstoreBundle| {
                // Cheap questions first: a public-key operation costs more than a comparison.
                let claim = bundle.claim();
                claim.predicate_type == predicate_type && claim.subjects.contains(&subject)
            };
            let candidates: Vec<_> = self.bundles.iter().flatten().filter(claims).collect();
            let signed =
                |authority: &&Authority| candidates.iter().any(|bundle| bundle.verify(&authority.key).is_some());
            authorities.iter().find(signed).map(|authority| (authority, subject))
        })
    }

    /// Why none of the documents is the signature that the rule wants.
    fn explain(&self, rule: &Rule) -> Vec<Finding> {
        let [index, manifest] = self.subjects;
        let of_image =
            if index == manifest { format!("{index}") } else { format!("index {index} or manifest {manifest}") };
        let hint = "sign it: cnister sign --key cosign.key REF";
        if self.bundles.is_empty() {
            let message = format!("nobody signed {of_image}");
            return vec![Finding::refusal(Code::NoSignature, message).hint(hint)];
        }
        let mut findings: Vec<Finding> = self.bundles.iter().map(|bundle| self.explain_one(bundle, rule)).collect();
        findings.sort_by_key(|finding| finding.code);
        findings.dedup();
        findings
    }

    fn explain_one(&self, bundle: &Result<SigstoreBundle, SignatureError>, rule: &Rule) -> Finding {
        let bundle = match bundle {
            Ok(bundle) => bundle,
            Err(error) => return Finding::refusal(Code::MalformedSignature, error.to_string()),
        };
        let claim = bundle.claim();
        let signer = rule.authorities.iter().find(|authority| bundle.verify(&authority.key).is_some());
        let Some(signer) = signer else {
            let keys: Vec<_> = rule
                .authorities
                .iter()
                .map(|authority| format!("{} ({})", visible(&authority.name), authority.key.fingerprint()))
                .collect();
            let message = format!("rule `{}` does not allow the signer", rule.name());
            return Finding::refusal(Code::SignerNotAllowed, message)
                .mismatch(format_args!("a signature by {}", keys.join(" or ")), "a signature by none of them");
        };
        let signer = visible(&signer.name);
        if claim.predicate_type != COSIGN_SIGN {
            return Finding::refusal(Code::NotASignature, format!("an attestation by `{signer}` is not a signature"))
                .mismatch(COSIGN_SIGN, visible(&claim.predicate_type));
        }
        let [index, manifest] = self.subjects;
        let expected = format!("index {index} or manifest {manifest}");
        let subjects: Vec<_> = claim.subjects.iter().take(3).map(ToString::to_string).collect();
        if claim.subjects.iter().any(|subject| self.listed.contains(subject)) {
            let message = format!("`{signer}` signed another platform's manifest of this index, not the index");
            return Finding::refusal(Code::ManifestNotSigned, message).mismatch(expected, subjects.join(", "));
        }
        let message = format!("a signature by `{signer}` speaks of another image");
        Finding::refusal(Code::OtherSubject, message).mismatch(expected, subjects.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::media_type;
    use crate::trust::Statement;
    use crate::trust::test_support::{Image, Signer, policy};

    fn decide(image: &Image, policy: &Policy, platform: &str) -> Result<Verified<Bundle>, Vec<Code>> {
        let name = "ghcr.io/acme/cni".parse().unwrap();
        verify(policy, Some(&name), &image.evidence(), &platform.parse().unwrap(), SystemTime::UNIX_EPOCH)
            .map_err(|findings| findings.iter().map(|finding| finding.code).collect())
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
            assert_eq!(codes(&image, &denying(digest), "linux/amd64"), [Code::DeniedByRule], "{digest}");
        }
        assert_eq!(codes(&image, &denying(Digest::of(b"another")), "linux/amd64"), []);
        // The same signed manifest in an index that nobody signed.
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
        assert_eq!(keep(&rules, alone.clone()).unwrap(), alone.to_bytes());
        image.sign(&stranger, image.index_digest());
        let both = image.evidence();
        assert_eq!(keep(&rules, both.clone()).unwrap(), both.to_bytes(), "the policy of tomorrow may know this key");
        // A quotation mark is one byte in a signature document and up to four in the file.
        for number in 0..8 {
            let mut bundle = stranger.bundle(&Statement::image_signature(&number.to_string(), &image.index_digest()));
            bundle.splice(1..1, format!(r#""x":"{}","#, r#"\""#.repeat(40_000)).into_bytes());
            image.attach(&bundle);
        }
        assert!(image.evidence().to_bytes().len() > Evidence::LIMIT);
        assert_eq!(keep(&rules, image.evidence()).unwrap(), alone.to_bytes());
        assert!(Evidence::parse(&keep(&rules, image.evidence()).unwrap()).is_ok());
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
            (|image, signer, _| image.sign(signer, Digest::of(b"another image")), &[Code::OtherSubject]),
            (|image, signer, _| image.attest(signer, "https://spdx.dev/Document"), &[Code::NotASignature]),
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
    fn a_broken_chain_is_refused_whoever_signed_it() {
        let signer = Signer::new();
        type Change = fn(&mut Image);
        let cases: [(Change, Code); 14] = [
            (|image| image.index["manifests"][1] = image.index["manifests"][0].clone(), Code::DuplicatePlatform),
            (|image| image.index["manifests"][1]["mediaType"] = media_type::INDEX.into(), Code::NestedIndex),
            (|image| image.index["manifests"][0]["platform"]["architecture"] = "s390x".into(), Code::PlatformMissing),
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
            (|image| image.config(0)["architecture"] = "arm64".into(), Code::PlatformMismatch),
            (
                |image| image.config(0)["rootfs"]["diff_ids"][0] = Digest::of(b"x").to_string().into(),
                Code::DiffIdMismatch,
            ),
            (|image| image.config(0)["rootfs"]["diff_ids"] = serde_json::json!([]), Code::DiffIdMismatch),
            (|image| image.config(0)["config"]["Labels"] = serde_json::json!({}), Code::NotABundle),
            (
                |image| {
                    image.config(0)["config"]["Labels"][media_type::BUNDLE_LABEL] = Digest::of(b"x").to_string().into()
                },
                Code::BrokenChain,
            ),
            (|image| image.files(0)["platform"] = "linux/arm64".into(), Code::PlatformMismatch),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            let mut image = Image::of(&["linux/amd64", "linux/arm64"]);
            change(&mut image);
            image.relink();
            image.sign(&signer, image.index_digest());
            assert_eq!(codes(&image, &policy(&signer, ""), "linux/amd64"), [expected], "case {number}");
        }
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
        assert_eq!(expect(&pinned, &image.index_digest()), None);
        assert_eq!(expect(&pinned, &image.manifest_digest(0)).map(|finding| finding.code), Some(Code::OtherRelease));
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
            verify(policy, None, &image.evidence(), &"linux/amd64".parse().unwrap(), SystemTime::UNIX_EPOCH)
                .map_err(|findings| findings[0].code)
                .map(|bundle| bundle.proof().rule.clone())
        };
        assert_eq!(decide(&policy(&signer, "")), Err(Code::NoRuleMatches));
        assert_eq!(decide(&Policy::of_key("cosign.pub", &signer.public_pem()).unwrap()), Ok("key".to_owned()));
    }
}
