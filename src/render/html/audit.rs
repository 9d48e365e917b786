//! What is said of an image on its page, as plain values that a caller fills in.

use crate::attest::Contents;
use crate::model::{Digest, Platform};

/// What the page is about.
#[derive(Debug)]
pub struct Audit {
    /// The plugins, with modules as far as they were read.
    pub contents: Contents,
    /// What is attached to the image.
    pub attached: Vec<AttachedReferrer>,
    /// What a policy or a key says; `None` if none was given.
    pub judgement: Option<Judgement>,
}

/// What refers to the image or to one of its manifests, as it describes itself.
#[derive(Debug)]
pub struct AttachedReferrer {
    /// What it claims to be: a signature, or the type of its predicate or artefact.
    pub kind: String,
    /// Its digest.
    pub digest: Digest,
    /// What it refers to.
    pub subject: Digest,
}

/// What a policy or a key says of the image.
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
