//! Signed OCI images of CNI plugins, from the build to the node.
//!
//! Modules are ordered; each imports only from those above it (`tests/modules.rs` checks that).
//! Those before `disk`, and `render`, are pure: bytes, values and the time in, values out.
//! ARCHITECTURE.md says what each of them holds.

pub mod model;

pub mod binary;

pub mod bundle;

#[cfg(feature = "publish")]
pub mod attest;

pub mod cni;

pub mod trust;

pub mod disk;

pub mod net;

pub mod oci;

pub mod node;

pub mod check;

pub mod watch;

#[cfg(feature = "publish")]
pub mod publish;

#[cfg(feature = "publish")]
pub mod render;

pub mod cli;
