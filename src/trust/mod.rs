//! Whether a policy allows an image: policies, signatures, evidence, and the one routine that
//! decides.
//!
//! Pure: bytes, a policy, a name, a platform and the time in; a [`Verified`] bundle or a
//! [`Rejection`] out. Nothing here opens a file or uses the network: collecting evidence is the job
//! of `oci`, keeping it that of `node`. No other module checks a signature, so that there is one
//! place that can be wrong about one.

mod age;
mod chain;
mod choices;
mod condition;
mod ed25519;
mod evaluate;
mod evidence;
mod fields;
mod glob;
mod policy;
mod rejection;
mod signature;
mod signatures;
#[cfg(any(test, feature = "publish"))]
mod simple_signing;
mod statement;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(any(test, feature = "publish"))]
mod upstream;
mod verifier;

pub use chain::{Bundle, check_layer};
#[cfg(test)]
pub(crate) use evaluate::is_signed;
pub use evaluate::{Proof, Strength, Verified, compare_with_pin, evidence_to_store};
pub use evidence::{Evidence, EvidenceBuilder, EvidenceError, Needs, SignatureDocument};
pub use policy::{Mode, Policy, PolicyError, Rollback, Rule};
pub use rejection::{Rejection, RejectionKind};
#[cfg(any(test, feature = "publish"))]
pub(crate) use signature::write_bundle;
pub use signature::{Key, KeyError, SigstoreBundle};
#[cfg(any(test, feature = "publish"))]
pub use simple_signing::{SIMPLE_SIGNING_LIMIT, SimpleSigning};
pub use statement::{COSIGN_SIGN, SIGNED_AT, SignedAt, Statement, Subject, pae};
#[cfg(any(test, feature = "publish"))]
pub use upstream::verify_upstream;
pub use verifier::{Presence, Verifier};
