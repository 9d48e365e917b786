//! What is said about a bundle for auditors and reviewers: software bills of materials, provenance,
//! and what differs between two bundles ([`Difference`]).
//!
//! One [`Inventory`] of one platform's plugins, three writers of SBOMs: [`cyclonedx`] (1.6),
//! [`spdx23`] and [`spdx3`] (3.0.1), and one of SLSA [`provenance`]. All of it is pure: the time is
//! a value, the identifiers of a document follow from its content, and equal inventories have equal
//! bytes. What is not known is said to be unknown in the words of each format; nothing is looked up
//! or guessed. [`Described`] reads what such a document is about.
//!
//! An inventory repeats what programs say of themselves. Collecting it, signing a document and
//! attaching it to an image are the jobs of `publish` and `oci`.

mod component;
mod contents;
mod copyright;
mod cyclonedx;
mod described;
mod difference;
mod inventory;
mod module_path;
mod provenance;
mod purl;
#[cfg(test)]
mod sample;
mod spdx23;
mod spdx3;

use crate::model::{licence, party, uri};

pub use crate::model::{Licence, Licences, ParseLicenceError, Party, PartyError};
pub use contents::{ContainedPlugin, Contents, Side};
pub use copyright::Copyright;
pub use cyclonedx::cyclonedx;
pub use described::{Described, DescribedError, PredicateKind};
pub use difference::{
    Difference, DifferenceKind, ModuleDifference, PluginDifference, ValueDifference,
};
pub use inventory::{
    Description, Download, Inventory, ModuleDescription, Plugin, Production, Subject,
};
pub use provenance::{
    BUILD_TYPE, BuildInputs, InputFile, SELF_ATTESTED, environment, provenance, signed_by,
};
pub use spdx3::spdx3;
pub use spdx23::spdx23;
