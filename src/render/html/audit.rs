//! The data of a page about an image, as plain values that a caller fills in.

use crate::attest::Contents;
use crate::model::{Digest, Platform};

/// The image of the page.
#[derive(Debug)]
pub struct Audit {
    /// The plugins, with their modules if they were read.
    pub contents: Contents,
    /// The documents attached to the image.
    pub attached: Vec<AttachedReferrer>,
    /// The verdict of a policy or a key; `None` if none was given.
    pub judgement: Option<Judgement>,
}

/// A document that refers to the image or to one of its manifests, as it describes itself.
#[derive(Debug)]
pub struct AttachedReferrer {
    /// Its claimed kind: a signature, or the type of its predicate or artefact.
    pub kind: String,
    /// Its digest.
    pub digest: Digest,
    /// The digest that it refers to.
    pub subject: Digest,
}

/// The verdict of a policy or a key on the image.
#[derive(Debug)]
pub struct Judgement {
    /// The policy or key, as the user named it.
    pub by: String,
    /// Each platform, with the words of the proof or the findings that refuse it.
    pub platforms: Vec<(Platform, Result<String, Vec<String>>)>,
}

impl Judgement {
    /// Whether every platform is allowed.
    pub fn is_yes(&self) -> bool {
        !self.platforms.is_empty() && self.platforms.iter().all(|(_, proof)| proof.is_ok())
    }
}
