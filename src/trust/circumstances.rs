//! The circumstances of a question: when it is asked, and what the image is to whoever asks.

use std::time::SystemTime;

/// What a decision depends on besides policy and evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The time.
    pub now: SystemTime,
    /// Whether something new is asked for.
    pub tenure: Tenure,
}

/// What an image is to the node that asks.
///
/// A floor and an age limit keep old releases from being brought in. What the node keeps already
/// came past them once, and a node that loses its plugins because a policy became stricter, or
/// because time passed, is worse off than one that says so. Whom the policy trusts and what it
/// denies makes no such difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// It is asked for: to be installed, rendered into a manifest, or judged. Every limit refuses.
    Wanted,
    /// The node keeps it: it is checked, repaired, or returned to. Limits on version and age warn.
    Kept,
}

impl Circumstances {
    /// Something new is asked for.
    pub fn wanted(now: SystemTime) -> Self {
        Self { now, tenure: Tenure::Wanted }
    }

    /// The node keeps the image already.
    pub fn kept(now: SystemTime) -> Self {
        Self { now, tenure: Tenure::Kept }
    }
}
