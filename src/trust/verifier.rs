//! What a decision depends on besides the evidence: the policy, the name that its rules are matched
//! against, the platform, and the time.
//!
//! All four come from the node's owner or from the node. None is ever taken from evidence or from
//! an archive: a bundle that could name the rule that judges it, or the time, could choose to be
//! accepted. Deciding is the job of [`Verifier::verify`], in `evaluate.rs`.

use std::time::SystemTime;

use super::policy::Policy;
use crate::model::{Platform, Repository};

/// Everything that a decision depends on besides the evidence.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    /// The policy of the node's owner.
    pub policy: &'a Policy,
    /// The repository that the image is from, as the node's owner named it. If `None`, only a rule
    /// for `**` matches.
    pub name: Option<&'a Repository>,
    /// The platform whose manifest is wanted.
    pub platform: &'a Platform,
    /// The time that age rules are applied at.
    pub now: SystemTime,
}

/// Whether a release is new to the node that asks.
///
/// A version floor and an age limit stop old releases from being installed. What the node keeps has
/// passed them before, and a node that loses its plugins because a policy became stricter, or
/// because time passed, is worse off than one that reports it. Signers and denials make no such
/// difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is to be installed, rendered into a manifest, or judged. Every limit refuses.
    New,
    /// The node keeps it: it is checked, repaired, or rolled back to. Limits on version and age
    /// warn.
    Kept,
}
