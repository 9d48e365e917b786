//! The signatures and attestations of one image: which of them a rule's keys made, and why none of
//! them is enough.
//!
//! Who may sign is the caller's to say: every question takes the authorities of a rule. Only a
//! statement whose signature was checked answers a question. What a document says about itself is
//! used to skip it early and to explain a refusal, because anyone who may write beside an image can
//! attach what looks like a signature.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::chain::Bundle;
use super::evidence::Evidence;
use super::policy::{Authority, Rule};
use super::signature::{SignatureError, SigstoreBundle};
use super::statement::{COSIGN_SIGN, SignedAt};
use crate::model::document::sha256;
use crate::model::{Code, Digest, Finding, visible};

/// An image is signed beside it: copies that take only what its manifest names have no signature.
const UNSIGNED: &str = "sign it: cnister sign --key cosign.key REF; or copy it with its signatures \
    (cnister pull, cosign copy), which crane and skopeo leave behind";

/// The signature documents of an image, parsed once.
pub(super) struct Signatures {
    bundles: Vec<Result<SigstoreBundle, SignatureError>>,
    /// What a signature may be for: the index, and the platform's manifest.
    subjects: [Digest; 2],
    /// The manifests that the index lists, to explain a refusal.
    listed: Vec<Digest>,
}

impl Signatures {
    pub(super) fn read(evidence: &Evidence, bundle: &Bundle) -> Self {
        let index = evidence.document(&bundle.index).and_then(|document| document.index().ok());
        let listed = index.iter().flat_map(|index| index.manifests()).filter_map(sha256).collect();
        Self { bundles: parse(evidence), subjects: [bundle.index, bundle.manifest], listed }
    }

    /// The signature documents as statements about `subject` alone.
    #[cfg(test)]
    pub(super) fn about(evidence: &Evidence, subject: Digest) -> Self {
        Self { bundles: parse(evidence), subjects: [subject, subject], listed: Vec::new() }
    }

    /// The first authority that made a statement of this type about the image, and the digest that
    /// it signed.
    pub(super) fn find<'a>(
        &self,
        authorities: &'a [Authority],
        predicate_type: &str,
    ) -> Option<(&'a Authority, Digest)> {
        // The index first: it covers every platform.
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

    /// The latest time in an image signature by one of these authorities; `None` if none of their
    /// signatures has a time.
    pub(super) fn youngest(&self, authorities: &[Authority]) -> Option<&SignedAt> {
        let mut candidates: Vec<(&SignedAt, &SigstoreBundle)> = self
            .bundles
            .iter()
            .flatten()
            .filter(|bundle| bundle.claim().predicate_type == COSIGN_SIGN)
            .filter_map(|bundle| Some((self.claimed_time(bundle)?, bundle)))
            .collect();
        // The latest first: the first good signature ends the search.
        candidates.sort_by_key(|(time, _)| Reverse(*time));
        candidates
            .into_iter()
            .find(|(_, bundle)| authorities.iter().any(|it| bundle.verify(&it.key).is_some()))
            .map(|(time, _)| time)
    }

    fn claimed_time<'a>(&self, bundle: &'a SigstoreBundle) -> Option<&'a SignedAt> {
        let subjects = self.subjects.iter().filter_map(|subject| bundle.claim().subject(subject));
        subjects.filter_map(|subject| subject.signed_at.as_ref()).max()
    }

    /// Why none of the documents is the signature that the rule requires.
    pub(super) fn explain(&self, rule: &Rule) -> Vec<Finding> {
        if self.bundles.is_empty() {
            let [index, manifest] = self.subjects;
            let message = match index == manifest {
                true => format!("{index} is not signed"),
                false => format!("neither index {index} nor manifest {manifest} is signed"),
            };
            let finding = Finding::refusal(Code::NoSignature, message);
            return vec![finding.hint(UNSIGNED)];
        }
        let mut findings = Vec::new();
        let mut strangers = Vec::new();
        for bundle in &self.bundles {
            match bundle {
                Err(error) => {
                    findings.push(Finding::refusal(Code::MalformedSignature, error.to_string()));
                }
                Ok(bundle) => match signer(rule, bundle) {
                    Some(signer) => findings.push(self.explain_signed(bundle, signer)),
                    None => strangers.push(bundle),
                },
            }
        }
        for authority in &rule.authorities {
            let named = Some(authority.key.fingerprint());
            let before = strangers.len();
            strangers.retain(|bundle| bundle.named_key() != named);
            if strangers.len() < before {
                findings.push(explain_unverified(authority));
            }
        }
        if !strangers.is_empty() {
            findings.push(explain_strangers(&strangers, rule));
        }
        findings.sort_by_key(|finding| finding.code);
        findings.dedup();
        findings
    }

    /// Why a document that an allowed key signed is not the signature.
    fn explain_signed(&self, bundle: &SigstoreBundle, signer: &Authority) -> Finding {
        let claim = bundle.claim();
        let signer = visible(&signer.name);
        if claim.predicate_type != COSIGN_SIGN {
            let message = format!("an attestation by `{signer}` is not a signature");
            return Finding::refusal(Code::NotASignature, message)
                .mismatch(COSIGN_SIGN, visible(&claim.predicate_type));
        }
        let (code, message) =
            match claim.subjects.iter().any(|subject| self.listed.contains(&subject.digest)) {
                true => (
                    Code::ManifestNotSigned,
                    format!(
                        "`{signer}` signed another platform's manifest of this index, not the index"
                    ),
                ),
                false => (
                    Code::OtherSubject,
                    format!("the signature by `{signer}` is for another image"),
                ),
            };
        let [index, manifest] = self.subjects;
        let subjects: Vec<_> =
            claim.subjects.iter().take(3).map(|subject| subject.digest.to_string()).collect();
        Finding::refusal(code, message)
            .mismatch(format_args!("index {index} or manifest {manifest}"), subjects.join(", "))
    }
}

fn parse(evidence: &Evidence) -> Vec<Result<SigstoreBundle, SignatureError>> {
    evidence.signatures().iter().map(|entry| SigstoreBundle::parse(&entry.bytes)).collect()
}

fn signer<'a>(rule: &'a Rule, bundle: &SigstoreBundle) -> Option<&'a Authority> {
    rule.authorities.iter().find(|authority| bundle.verify(&authority.key).is_some())
}

/// Why a signature does not count that names an allowed key, and that this key did not make as it
/// has to be made. Anyone can name a key, so that none of this is sure.
fn explain_unverified(authority: &Authority) -> Finding {
    let (name, key) = (visible(&authority.name), authority.key.fingerprint());
    let ways = authority.key.ways();
    let found = match ways.is_empty() {
        true => "an invalid signature that names this key: altered, or made with another key",
        false => {
            "an invalid signature that names this key: made with another hash or format, altered, \
             or made with another key"
        }
    };
    let message = format!("no signature that names `{name}` is valid");
    Finding::refusal(Code::SignerNotAllowed, message)
        .mismatch(format_args!("a signature{ways} by {name} ({key})"), found)
        .hint(
            "sign again with this key: cosign sign --key FILE REF (for P-256 also cnister sign \
             --key FILE REF)",
        )
}

/// One finding for all signatures that no key of the rule made: anyone can attach hundreds.
fn explain_strangers(bundles: &[&SigstoreBundle], rule: &Rule) -> Finding {
    let allowed: Vec<_> = rule
        .authorities
        .iter()
        .map(|authority| format!("{} ({})", visible(&authority.name), authority.key.fingerprint()))
        .collect();
    let rule = rule.name();
    // What such a document says is not proven, but it helps to find the right key.
    let named: BTreeSet<_> = bundles.iter().filter_map(|bundle| bundle.named_key()).collect();
    let named = named.first().filter(|_| named.len() == 1);
    let found = match (bundles.len(), named) {
        (1, None) => format!("a signature that no key of rule `{rule}` made"),
        (1, Some(key)) => {
            format!("a signature that no key of rule `{rule}` made; it names key {key}")
        }
        (count, None) => format!("{count} signatures that no key of rule `{rule}` made"),
        (count, Some(key)) => {
            format!("{count} signatures that no key of rule `{rule}` made; they name key {key}")
        }
    };
    Finding::refusal(Code::SignerNotAllowed, format!("rule `{rule}` does not allow the signer"))
        .mismatch(format_args!("a signature by {}", allowed.join(" or ")), found)
}
