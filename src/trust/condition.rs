//! What a policy asks of an image whose chain is sound: one list of conditions, in the order in
//! which they are checked.
//!
//! A new condition is one entry here, with its function below. The entry says what a condition
//! means for a set that the node keeps, and under `mode: warn`; [`Verifier::verify`] does the rest,
//! and relies on the order: what refuses under every mode comes before what `mode: warn` admits.
//!
//! [`Verifier::verify`]: super::Verifier::verify

use std::cell::OnceCell;
use std::time::SystemTime;

use super::chain::Bundle;
use super::evidence::Evidence;
use super::policy::{Authority, Policy, Rule};
use super::rejection::RejectionKind;
use super::signatures::Signatures;
use super::statement::COSIGN_SIGN;
use crate::model::{Code, Digest, Finding, visible};

/// One condition.
pub(super) struct Condition {
    /// Returns refusals, or an empty list if the condition holds.
    pub(super) check: fn(&Facts<'_>) -> Vec<Finding>,
    /// What it means for a set that the node keeps.
    pub(super) kept: ForKept,
    /// What it means under `mode: warn`.
    pub(super) warn: UnderWarn,
    /// What a refusal by it is about.
    pub(super) kind: RejectionKind,
}

/// What a condition means for a set that the node [keeps](super::Presence::Kept).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForKept {
    /// It refuses, as it does for a new set.
    Refuse,
    /// It warns: a node that loses its plugins because they became old is worse off than one that
    /// reports it.
    Warn,
}

/// What a condition means under `mode: warn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnderWarn {
    /// It refuses, and no later condition is asked.
    Refuse,
    /// The image is admitted, and called unproven.
    Admit,
}

/// Every condition, in the order in which it is asked.
pub(super) const CONDITIONS: [Condition; 8] = [
    Condition {
        check: denied_digest,
        kept: ForKept::Refuse,
        warn: UnderWarn::Refuse,
        kind: RejectionKind::Denied,
    },
    Condition {
        check: bundle_name,
        kept: ForKept::Refuse,
        warn: UnderWarn::Refuse,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: plugin_names,
        kept: ForKept::Refuse,
        warn: UnderWarn::Refuse,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: min_version,
        kept: ForKept::Warn,
        warn: UnderWarn::Refuse,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: signature,
        kept: ForKept::Refuse,
        warn: UnderWarn::Admit,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: attestations,
        kept: ForKept::Refuse,
        warn: UnderWarn::Admit,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: max_age,
        kept: ForKept::Warn,
        warn: UnderWarn::Admit,
        kind: RejectionKind::Untrusted,
    },
    Condition {
        check: signed_index,
        kept: ForKept::Refuse,
        warn: UnderWarn::Admit,
        kind: RejectionKind::Untrusted,
    },
];

/// What conditions are asked about.
pub(super) struct Facts<'a> {
    policy: &'a Policy,
    rule: &'a Rule,
    evidence: &'a Evidence,
    bundle: &'a Bundle,
    now: SystemTime,
    signatures: OnceCell<Signatures>,
    signer: OnceCell<Option<(&'a Authority, Digest)>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        rule: &'a Rule,
        evidence: &'a Evidence,
        bundle: &'a Bundle,
        now: SystemTime,
    ) -> Self {
        let (signatures, signer) = (OnceCell::new(), OnceCell::new());
        Self { policy, rule, evidence, bundle, now, signatures, signer }
    }

    /// The signature documents, parsed when the first condition asks for them: documents
    /// that strangers attached cost nothing if the name is refused already.
    fn signatures(&self) -> &Signatures {
        self.signatures.get_or_init(|| Signatures::read(self.evidence, self.bundle))
    }

    /// The authority of the rule that signed the image, and the digest that it signed.
    pub(super) fn signer(&self) -> Option<(&'a Authority, Digest)> {
        *self.signer.get_or_init(|| self.signatures().find(&self.rule.authorities, COSIGN_SIGN))
    }
}

/// No digest of the chain is denied, from the release down to single files.
fn denied_digest(facts: &Facts<'_>) -> Vec<Finding> {
    let bundle = facts.bundle;
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
    let denied = documents.chain(files).find(|(_, digest)| facts.policy.denies(digest));
    let Some((what, digest)) = denied else { return Vec::new() };
    vec![Finding::refusal(Code::DeniedByRule, format!("the policy denies {what} {digest}"))]
}

/// The rule accepts bundles of this name.
fn bundle_name(facts: &Facts<'_>) -> Vec<Finding> {
    let (rule, name) = (facts.rule, &facts.bundle.files.name);
    if rule.bundles.is_empty() || rule.bundles.contains(name) {
        return Vec::new();
    }
    let allowed: Vec<_> = rule.bundles.iter().map(ToString::to_string).collect();
    let message = format!("rule `{}` does not accept a bundle of this name", rule.name());
    vec![Finding::refusal(Code::BundleNotAllowed, message).mismatch(allowed.join(", "), name)]
}

/// The rule accepts plugins of these names: every signer of a node could bring a `loopback`
/// otherwise.
fn plugin_names(facts: &Facts<'_>) -> Vec<Finding> {
    let (rule, files) = (facts.rule, &facts.bundle.files);
    if rule.plugins.is_empty() {
        return Vec::new();
    }
    let others = files.plugins.iter().filter(|file| !rule.plugins.contains(&file.name));
    others
        .map(|file| {
            let message =
                format!("rule `{}` does not accept a plugin `{}`", rule.name(), file.name);
            let hint = format!("add `{}` to `plugins` in the rule to allow it", file.name);
            Finding::refusal(Code::PluginNotAllowed, message).hint(hint)
        })
        .collect()
}

/// The version is not below the rule's floor. Build metadata does not count (SemVer 2.0.0, 10):
/// the author of a rebuilt old release chooses it.
fn min_version(facts: &Facts<'_>) -> Vec<Finding> {
    let (rule, files) = (facts.rule, &facts.bundle.files);
    let Some(floor) =
        rule.min_version.as_ref().filter(|floor| files.version.cmp_precedence(floor).is_lt())
    else {
        return Vec::new();
    };
    let message = format!("bundle `{}` is older than rule `{}` allows", files.name, rule.name());
    let finding = Finding::refusal(Code::VersionBelowFloor, message)
        .mismatch(format_args!("{floor} or newer"), &files.version)
        .hint(format!("`minVersion: {}` in the policy would allow it", files.version));
    vec![finding]
}

/// A key of the rule signed the index, or the platform's manifest.
fn signature(facts: &Facts<'_>) -> Vec<Finding> {
    match facts.signer() {
        Some(_) => Vec::new(),
        None => facts.signatures().explain(facts.rule),
    }
}

/// A key of the rule made each attestation that the rule requires.
fn attestations(facts: &Facts<'_>) -> Vec<Finding> {
    let rule = facts.rule;
    let missing = rule.attestations.iter().filter(|attestation| {
        facts.signatures().find(&rule.authorities, &attestation.predicate_type).is_none()
    });
    missing
        .map(|attestation| {
            let message = format!(
                "no allowed key made the attestation `{}` that rule `{}` requires",
                visible(&attestation.name),
                rule.name()
            );
            Finding::refusal(Code::NoSignature, message)
                .mismatch(visible(&attestation.predicate_type), "none")
        })
        .collect()
}

/// The most recent signature is not older than the rule allows. Without a signature, there is no
/// age.
fn max_age(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(max_age) = facts.rule.max_age.filter(|_| facts.signer().is_some()) else {
        return Vec::new();
    };
    let youngest = facts.signatures().youngest(&facts.rule.authorities);
    max_age.check(facts.rule.name(), youngest, facts.now).into_iter().collect()
}

/// If the policy denies digests, the index itself is signed. The manifest of a denied release is
/// signed as well, and anyone can list it in another index, or serve it alone.
fn signed_index(facts: &Facts<'_>) -> Vec<Finding> {
    let bundle = facts.bundle;
    let only_manifest = facts.signer().is_some_and(|(_, digest)| digest == bundle.manifest);
    if !(only_manifest && facts.policy.denies_digests()) {
        return Vec::new();
    }
    let message = "the policy denies digests, so the index itself must be signed: an unsigned index could re-list a denied release";
    let finding = Finding::refusal(Code::IndexNotSigned, message)
        .mismatch(
            format_args!("a signature over index {}", bundle.index),
            format_args!("over manifest {}", bundle.manifest),
        )
        .hint("sign the index: cnister sign --key cosign.key REF");
    vec![finding]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_under_every_mode_is_asked_before_what_a_warning_rule_admits() {
        let is_sorted = CONDITIONS.is_sorted_by_key(|condition| condition.warn == UnderWarn::Admit);
        assert!(is_sorted, "a condition that ends the list comes after one that is collected");
    }
}
