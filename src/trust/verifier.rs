//! Who decides, and for what: the policy, the name that its rules are matched with, the platform,
//! and the time.
//!
//! The four travel together from the node's owner to [`Verifier::verify`]. None of them is ever
//! taken from evidence or from an archive: a bundle that could say which rule it is judged by, or
//! what time it is, would choose its own judge.

use std::time::SystemTime;

use super::policy::Policy;
use crate::model::{Platform, Repository};

/// Everything that a decision depends on besides the evidence.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    /// The policy of the node's owner.
    pub policy: &'a Policy,
    /// The repository that the image was asked for under, in the words of the node's owner; if
    /// `None`, only a rule for `**` matches.
    pub name: Option<&'a Repository>,
    /// The platform whose manifest is wanted.
    pub platform: &'a Platform,
    /// The time that age rules are applied at.
    pub now: SystemTime,
}

/// What a release is to the node that asks.
///
/// A version floor and an age limit keep old releases from being brought in. What the node keeps
/// already passed them once, and a node that loses its plugins because a policy became stricter, or
/// because time passed, is worse off than one that reports it. Whom the policy trusts and what it
/// denies makes no such difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is asked for: to be installed, rendered into a manifest, or judged. Every limit refuses.
    New,
    /// The node keeps it: it is checked, repaired, or rolled back to. Limits on version and age
    /// warn.
    Kept,
}
