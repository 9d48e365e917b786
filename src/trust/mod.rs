//! Who may say what a node runs: policies, signatures, evidence, and the one routine that decides.
//!
//! Pure: bytes, a policy and the circumstances in, a [`Verified`] bundle or findings out. Nothing
//! here opens a file, and no other module looks at a signature.

mod age;
mod chain;
mod evaluate;
mod evidence;
mod glob;
mod policy;
mod signature;
mod statement;
#[cfg(test)]
pub(crate) mod test_support;
mod verifier;

pub use chain::Bundle;
#[cfg(test)]
pub(crate) use evaluate::is_signed;
pub use evaluate::{Proof, Strength, Verified, expect, keep};
pub use evidence::{Evidence, EvidenceBuilder, EvidenceError, Needs, SignatureDocument};
pub use policy::{Mode, Policy, PolicyError, Rollback, Rule};
#[cfg(any(test, feature = "publish"))]
pub(crate) use signature::write_bundle;
pub use signature::{Key, KeyError, SigstoreBundle};
pub use statement::{COSIGN_SIGN, SIGNED_AT, SignedAt, Statement, Subject, pae};
pub use verifier::{Presence, Verifier};
