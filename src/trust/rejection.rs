//! What a refusal is about: a denial, documents that prove nothing, or missing trust.
//!
//! Readers get findings. A caller that has to treat refusals differently asks for the kind, so that
//! no other module keeps a list of finding codes. The check before boot does: a policy that changed
//! while a node was away must not keep the node down, a denial must.

use crate::model::Finding;

/// Why evidence was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What the refusal is about.
    pub kind: RejectionKind,
    /// What was found, the decisive finding first; every one refuses.
    pub findings: Vec<Finding>,
}

/// What a refusal is about. Of several kinds, the first in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectionKind {
    /// The policy denies the image: a rule with `deny`, or a denied digest.
    Denied,
    /// The documents do not prove anything: evidence is missing, the chain is broken, or it is for
    /// another platform. No policy could accept them.
    Unsound,
    /// The documents are sound, and the policy does not accept them: no rule matches, or a
    /// condition of the rule does not hold. Under another policy they may have been accepted.
    Untrusted,
}

impl Rejection {
    /// A rejection with one finding.
    pub(crate) fn new(kind: RejectionKind, finding: Finding) -> Self {
        Self { kind, findings: vec![finding] }
    }
}

impl From<Rejection> for Vec<Finding> {
    fn from(rejection: Rejection) -> Self {
        rejection.findings
    }
}
