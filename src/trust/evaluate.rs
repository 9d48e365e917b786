//! The decision: a policy, a name and evidence in, a verified bundle or findings out.
//!
//! This is the only place where signatures are checked. Installing, verifying, checking at boot and
//! rendering all come here with evidence of different origin.

use std::cmp::Reverse;

use serde::Serialize;

use super::chain::{self, Bundle};
use super::evidence::{Evidence, EvidenceError};
use super::policy::{Authority, Mode, Policy, Rollback, Rule};
use super::signature::{SignatureError, SigstoreBundle};
use super::statement::{COSIGN_SIGN, SignedAt};
use super::verifier::{Presence, Verifier};
use crate::model::document::sha256;
use crate::model::{Code, Digest, Finding, visible};

/// A value whose origin was checked against a policy.
///
/// The fields are private to this file, so [`Verifier::verify`] is the only way to get one. It cannot be
/// deserialized: what a node remembers is evidence, which is verified again.
#[derive(Debug)]
pub struct Verified<T> {
    value: T,
    proof: Proof,
    warnings: Vec<Finding>,
    rollback: Rollback,
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

    /// What would have refused an image that the node does not keep yet: the callers' to show.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// Whether the node may take it in place of a newer version, which only the node knows about.
    pub fn rollback(&self) -> Rollback {
        self.rollback
    }

    /// A value that nobody verified, for the tests of what comes after.
    #[cfg(test)]
    pub(crate) fn for_test(value: T) -> Self {
        let policy = Digest::of(b"test policy");
        let proof = Proof {
            strength: Strength::Proven,
            rule: "test".to_owned(),
            authority: None,
            signed: None,
            policy,
        };
        Self { value, proof, warnings: Vec::new(), rollback: Rollback::Allowed }
    }
}

impl Verifier<'_> {
    /// Decides whether the policy allows the image in `evidence`, and walks its chain to every file.
    ///
    /// For a bundle that the node [keeps](Presence::Kept), a version below the rule's floor and a
    /// signature beyond its age are warnings that the value carries; who signed it, its name, its chain
    /// and what the policy denies decide as always.
    ///
    /// # Errors
    /// The findings that refuse it, the decisive one first.
    pub fn verify(
        &self,
        evidence: &Evidence,
        presence: Presence,
    ) -> Result<Verified<Bundle>, Vec<Finding>> {
        let Self { policy, name, platform, now } = *self;
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
            return Err(vec![Finding::refusal(
                Code::DeniedByRule,
                format!("rule `{}` denies it", rule.name()),
            )]);
        }
        let bundle = chain::walk(evidence, platform).map_err(|finding| vec![finding])?;
        if let Some(finding) = denied(policy, &bundle) {
            return Err(vec![finding]);
        }
        check_name(rule, &bundle).map_err(|finding| vec![finding])?;
        let mut warnings = Vec::new();
        match (check_version(rule, &bundle), presence) {
            (None, _) => {}
            (Some(finding), Presence::New) => return Err(vec![finding]),
            (Some(finding), Presence::Kept) => warnings.push(finding.into_warning()),
        }

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
                    Finding::refusal(Code::NoSignature, message)
                        .mismatch(visible(&attestation.predicate_type), "none"),
                );
            }
        }
        // Without any signature there is no age to speak of.
        let too_old = rule.max_age.filter(|_| signed.is_some()).and_then(|max_age| {
            max_age.check(rule.name(), signatures.youngest(&rule.authorities), now)
        });
        match (too_old, presence) {
            (None, _) => {}
            (Some(finding), Presence::New) => refusals.push(finding),
            (Some(finding), Presence::Kept) => warnings.push(finding.into_warning()),
        }
        // The manifest of a denied release is signed, too, and anybody can list it in another index or
        // serve it alone.
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
        Ok(Verified { value: bundle, proof, warnings, rollback: rule.rollback })
    }
}

/// Whether `key` made a statement of this type about `subject`: for comparing with images that are
/// no bundles.
#[cfg(test)]
pub(crate) fn is_signed(
    evidence: &Evidence,
    subject: Digest,
    key: super::Key,
    predicate_type: &str,
) -> bool {
    let bundles =
        evidence.signatures().iter().map(|entry| SigstoreBundle::parse(&entry.bytes)).collect();
    let signatures = Signatures { bundles, subjects: [subject, subject], listed: Vec::new() };
    let authority = Authority { name: "test".to_owned(), key };
    signatures.find(&[authority], predicate_type).is_some()
}

/// The evidence file that a node keeps under this policy: what the policy asks for, and where that
/// is too long, what keys of the policy signed. Anybody who may write beside an image can attach
/// what looks like a signature, and a file that is too long to be read again would turn every later
/// check into a failure.
pub fn keep(policy: &Policy, evidence: Evidence) -> Result<Vec<u8>, EvidenceError> {
    let needed = evidence.needed(&policy.needs());
    let bytes = needed.to_bytes();
    if bytes.len() <= Evidence::LIMIT {
        return Ok(bytes);
    }
    let signed = |bundle: SigstoreBundle| policy.keys().any(|key| bundle.verify(key).is_some());
    let bytes = needed
        .filtered(|document| SigstoreBundle::parse(&document.bytes).is_ok_and(signed))
        .to_bytes();
    if bytes.len() <= Evidence::LIMIT {
        Ok(bytes)
    } else {
        Err(EvidenceError::TooLong { found: bytes.len() })
    }
}

/// Compares a verified bundle with the release that its owner pinned.
pub fn expect(bundle: &Verified<Bundle>, expected: &Digest) -> Option<Finding> {
    let found = bundle.value.index;
    (found != *expected).then(|| {
        Finding::refusal(
            Code::OtherRelease,
            "the image is signed, and it is not the release that was asked for",
        )
        .mismatch(expected, found)
    })
}

/// The first digest of the chain that the policy denies, from the release down to single files.
fn denied(policy: &Policy, bundle: &Bundle) -> Option<Finding> {
    let documents = [
        ("index", bundle.index),
        ("manifest", bundle.manifest),
        ("bundle.json", bundle.manifest_json),
    ];
    let documents = documents.into_iter().map(|(what, digest)| (what.to_owned(), digest));
    let files = bundle
        .files
        .plugins
        .iter()
        .map(|plugin| (format!("plugin `{}`,", plugin.name), plugin.digest));
    let (what, digest) = documents.chain(files).find(|(_, digest)| policy.denies(digest))?;
    Some(Finding::refusal(Code::DeniedByRule, format!("the policy denies {what} {digest}")))
}

/// Whether the rule accepts bundles of this name.
fn check_name(rule: &Rule, bundle: &Bundle) -> Result<(), Finding> {
    let name = &bundle.files.name;
    if rule.bundles.is_empty() || rule.bundles.contains(name) {
        return Ok(());
    }
    let allowed: Vec<_> = rule.bundles.iter().map(ToString::to_string).collect();
    let message = format!("rule `{}` does not accept a bundle of this name", rule.name());
    Err(Finding::refusal(Code::BundleNotAllowed, message).mismatch(allowed.join(", "), name))
}

/// What the rule's floor says against the version.
fn check_version(rule: &Rule, bundle: &Bundle) -> Option<Finding> {
    let files = &bundle.files;
    let floor = rule.min_version.as_ref().filter(|floor| files.version < **floor)?;
    let message = format!("bundle `{}` is older than rule `{}` allows", files.name, rule.name());
    let finding = Finding::refusal(Code::VersionBelowFloor, message)
        .mismatch(format_args!("{floor} or newer"), &files.version)
        .hint(format!("`minVersion: {}` in the policy would allow it", files.version));
    Some(finding)
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
        let bundles =
            evidence.signatures().iter().map(|entry| SigstoreBundle::parse(&entry.bytes)).collect();
        let index = evidence.document(&bundle.index).and_then(|document| document.index().ok());
        let listed = index.iter().flat_map(|index| index.manifests()).filter_map(sha256).collect();
        Self { bundles, subjects: [bundle.index, bundle.manifest], listed }
    }

    /// The first authority that made a statement of this type about the image, and what it signed.
    fn find<'a>(
        &self,
        authorities: &'a [Authority],
        predicate_type: &str,
    ) -> Option<(&'a Authority, Digest)> {
        // The index first: it speaks for every platform.
        self.subjects.into_iter().find_map(|subject| {
            let claims = |bundle: &&SigstoreBundle| {
                // Cheap questions first: a public-key operation costs more than a comparison.
                let claim = bundle.claim();
                claim.predicate_type == predicate_type && claim.subject(&subject).is_some()
            };
            let candidates: Vec<_> = self.bundles.iter().flatten().filter(claims).collect();
            let signed = |authority: &&Authority| {
                candidates.iter().any(|bundle| bundle.verify(&authority.key).is_some())
            };
            authorities.iter().find(signed).map(|authority| (authority, subject))
        })
    }

    /// When the youngest image signature by one of these authorities says that it was made; nothing
    /// if none says it.
    fn youngest(&self, authorities: &[Authority]) -> Option<&SignedAt> {
        let said = |bundle| {
            let claim = SigstoreBundle::claim(bundle);
            let times = self
                .subjects
                .iter()
                .filter_map(|subject| claim.subject(subject)?.signed_at.as_ref());
            Some((times.max().filter(|_| claim.predicate_type == COSIGN_SIGN)?, bundle))
        };
        let mut candidates: Vec<_> = self.bundles.iter().flatten().filter_map(said).collect();
        // The youngest first: the first good signature ends the search.
        candidates.sort_by_key(|(said, _)| Reverse(*said));
        let allowed =
            |bundle: &SigstoreBundle| authorities.iter().any(|it| bundle.verify(&it.key).is_some());
        candidates.into_iter().find(|(_, bundle)| allowed(bundle)).map(|(said, _)| said)
    }

    /// Why none of the documents is the signature that the rule wants.
    fn explain(&self, rule: &Rule) -> Vec<Finding> {
        let [index, manifest] = self.subjects;
        let of_image = if index == manifest {
            format!("{index}")
        } else {
            format!("index {index} or manifest {manifest}")
        };
        let hint = "sign it: cnister sign --key cosign.key REF";
        if self.bundles.is_empty() {
            let message = format!("nobody signed {of_image}");
            return vec![Finding::refusal(Code::NoSignature, message).hint(hint)];
        }
        let mut findings: Vec<Finding> =
            self.bundles.iter().map(|bundle| self.explain_one(bundle, rule)).collect();
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
        let signer =
            rule.authorities.iter().find(|authority| bundle.verify(&authority.key).is_some());
        let Some(signer) = signer else {
            let keys: Vec<_> = rule
                .authorities
                .iter()
                .map(|authority| {
                    format!("{} ({})", visible(&authority.name), authority.key.fingerprint())
                })
                .collect();
            let message = format!("rule `{}` does not allow the signer", rule.name());
            return Finding::refusal(Code::SignerNotAllowed, message).mismatch(
                format_args!("a signature by {}", keys.join(" or ")),
                "a signature by none of them",
            );
        };
        let signer = visible(&signer.name);
        if claim.predicate_type != COSIGN_SIGN {
            return Finding::refusal(
                Code::NotASignature,
                format!("an attestation by `{signer}` is not a signature"),
            )
            .mismatch(COSIGN_SIGN, visible(&claim.predicate_type));
        }
        let [index, manifest] = self.subjects;
        let expected = format!("index {index} or manifest {manifest}");
        let subjects: Vec<_> =
            claim.subjects.iter().take(3).map(|subject| subject.digest.to_string()).collect();
        if claim.subjects.iter().any(|subject| self.listed.contains(&subject.digest)) {
            let message = format!(
                "`{signer}` signed another platform's manifest of this index, not the index"
            );
            return Finding::refusal(Code::ManifestNotSigned, message)
                .mismatch(expected, subjects.join(", "));
        }
        let message = format!("a signature by `{signer}` speaks of another image");
        Finding::refusal(Code::OtherSubject, message).mismatch(expected, subjects.join(", "))
    }
}

#[cfg(test)]
mod tests;
