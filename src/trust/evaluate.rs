//! The decision: a policy, a name and evidence in, a verified bundle or a rejection out.
//!
//! Installing, verifying, checking at boot and rendering all ask here, with evidence of different
//! origin: a second routine would be a second place to forget a check. Where evidence comes from,
//! and what a refusal means for a node, is the caller's business. What a rule may ask for is listed
//! in `condition.rs`; whether documents belong together is `chain.rs`.

use serde::Serialize;

use super::chain::{self, Bundle};
use super::condition::{CONDITIONS, Condition, Facts, ForKept, UnderWarn};
use super::evidence::{Evidence, EvidenceError};
#[cfg(test)]
use super::policy::Authority;
use super::policy::{Mode, Policy, Rollback};
use super::rejection::{Rejection, RejectionKind};
use super::signature::SigstoreBundle;
#[cfg(test)]
use super::signatures::Signatures;
use super::verifier::{Presence, Verifier};
use crate::model::{Code, Digest, Finding, Repository};

/// A value whose origin was checked against a policy.
///
/// The fields are private to this file, so [`Verifier::verify`] is the only way to get one. It
/// cannot be deserialized: what a node stores is evidence, which is verified again.
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

impl Proof {
    /// Who signed, and the rule that decided, for people. `root` is the digest of the image.
    pub fn summary(&self, root: Option<&Digest>) -> String {
        let signer = match &self.authority {
            Some(authority) => {
                let is_root = self.signed.is_some() && self.signed.as_ref() == root;
                let signed = if is_root { "index" } else { "manifest" };
                format!("{signed} signed by `{authority}`")
            }
            None => "unproven".to_owned(),
        };
        format!("{signer}, rule `{}`", self.rule)
    }

    /// The warning that an image was admitted and nothing about it is proven.
    pub fn warning(&self) -> Option<Finding> {
        let rule = &self.rule;
        (self.strength == Strength::Admitted).then(|| {
            let message =
                format!("rule `{rule}` has `mode: warn`: the image is admitted without proof");
            Finding::warning(Code::Unproven, message)
        })
    }
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

    /// What would have refused a new image, and only warns of a kept one. The caller reports it.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// Whether the node may install it in place of a newer version. Which version it had, only the
    /// node knows.
    pub fn rollback(&self) -> Rollback {
        self.rollback
    }

    /// A value that was not verified, for the tests of what uses one.
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

    /// The same, accepted by a rule that only warns.
    #[cfg(test)]
    pub(crate) fn admitted(mut self) -> Self {
        self.proof.strength = Strength::Admitted;
        self
    }
}

impl Verifier<'_> {
    /// Decides whether the policy allows the image in `evidence`, and walks its chain to every
    /// file.
    ///
    /// 1. Choose the rule: the first whose `images` match the name. No rule is a refusal.
    /// 2. A rule with `deny` refuses whatever the evidence says.
    /// 3. Walk the chain from the index to the digest of every file, for one platform.
    /// 4. Ask the conditions in their order. One that does not hold
    ///    - (4a) warns, if the set is kept and the condition only warns of such a set;
    ///    - (4b) ends the decision with a refusal, if it refuses under every mode;
    ///    - (4c) is collected otherwise.
    /// 5. If nothing was collected, the image is proven. Otherwise a rule with `mode: warn` admits
    ///    it, and any other rule refuses it with everything that was collected.
    ///
    /// Warnings travel with the value. A set that the node [keeps](Presence::Kept) is warned of its
    /// version and age; signer, name, chain and denials decide as for a new one.
    ///
    /// # Errors
    /// The kind of refusal, and its findings, the decisive one first.
    pub fn verify(
        &self,
        evidence: &Evidence,
        presence: Presence,
    ) -> Result<Verified<Bundle>, Rejection> {
        let Self { policy, name, platform, now } = *self;

        // 1. Choose the rule.
        let rule = policy.rule(name).ok_or_else(|| no_rule(name))?;

        // 2. A rule with `deny` refuses.
        if rule.deny {
            let message = format!("rule `{}` denies it", rule.name());
            let finding = Finding::refusal(Code::DeniedByRule, message);
            return Err(Rejection::new(RejectionKind::Denied, finding));
        }

        // 3. Walk the chain.
        let bundle = chain::walk(evidence, platform)
            .map_err(|finding| Rejection::new(RejectionKind::Unsound, finding))?;

        // 4. Ask the conditions.
        let facts = Facts::new(policy, rule, evidence, &bundle, now);
        let mut warnings = Vec::new();
        let mut collected: Option<Rejection> = None;
        for condition in CONDITIONS {
            let Condition { check, kept, warn, kind } = condition;
            let mut findings = check(&facts);
            if findings.is_empty() {
                continue;
            }
            if presence == Presence::Kept && kept == ForKept::Warn {
                // 4a. It warns.
                warnings.extend(findings.into_iter().map(Finding::into_warning));
            } else if warn == UnderWarn::Refuse {
                // 4b. It ends the decision.
                return Err(Rejection { kind, findings });
            } else {
                // 4c. It is collected.
                let rejection =
                    collected.get_or_insert_with(|| Rejection { kind, findings: Vec::new() });
                rejection.kind = rejection.kind.min(kind);
                rejection.findings.append(&mut findings);
            }
        }

        // 5. Proven, admitted or refused.
        let strength = match (collected, rule.mode) {
            (None, _) => Strength::Proven,
            (Some(_), Mode::Warn) => Strength::Admitted,
            (Some(rejection), Mode::Enforce) => return Err(rejection),
        };
        let signer = facts.signer();
        let proof = Proof {
            strength,
            rule: rule.name().to_owned(),
            authority: signer.map(|(authority, _)| authority.name.clone()),
            signed: signer.map(|(_, digest)| digest),
            policy: policy.digest(),
        };
        Ok(Verified { value: bundle, proof, warnings, rollback: rule.rollback })
    }
}

fn no_rule(name: Option<&Repository>) -> Rejection {
    let (message, hint) = match name {
        Some(name) => (
            format!("no policy rule matches `{name}`"),
            "add a rule whose `images` match it; images that no rule matches are refused",
        ),
        None => (
            "no repository name was given, and no policy rule matches `**`".to_owned(),
            "use --as REPO to name its repository",
        ),
    };
    let finding = Finding::refusal(Code::NoRuleMatches, message).hint(hint);
    Rejection::new(RejectionKind::Untrusted, finding)
}

/// Whether `key` made a statement of this type about `subject`, for comparing with images that are
/// not bundles.
#[cfg(test)]
pub(crate) fn is_signed(
    evidence: &Evidence,
    subject: Digest,
    key: super::Key,
    predicate_type: &str,
) -> bool {
    let authority = Authority { name: "test".to_owned(), key };
    Signatures::about(evidence, subject).find(&[authority], predicate_type).is_some()
}

/// The evidence file that a node keeps under this policy: what the policy asks for, and if that is
/// too long, only what keys of the policy signed.
///
/// Anyone who may write beside an image can attach what looks like a signature, and a file that is
/// too long to be read again would make every later check fail.
pub fn evidence_to_store(policy: &Policy, evidence: Evidence) -> Result<Vec<u8>, EvidenceError> {
    let needed = evidence.needed(&policy.needs(None));
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
pub fn compare_with_pin(bundle: &Verified<Bundle>, expected: &Digest) -> Option<Finding> {
    let found = bundle.value.index;
    (found != *expected).then(|| {
        Finding::refusal(
            Code::OtherRelease,
            "the image is signed, but is not the release pinned with --expect",
        )
        .mismatch(expected, found)
    })
}

#[cfg(test)]
mod tests;
