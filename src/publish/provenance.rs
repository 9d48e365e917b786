//! SLSA provenance of a build: one unsigned statement for each platform's manifest,
//! stored as its referrer.
//!
//! [`crate::attest`] decides its content; the inputs are collected here from the build, the
//! definition and the lock. The statement names the manifest, so that one that was moved to another
//! image is noticed when it is signed.

use std::collections::{BTreeMap, BTreeSet};

use super::attachment::Attachment;
use super::inputs::Inputs;
use super::sbom::inventory;
use super::source::SourceError;
use crate::attest::{BuildInputs, InputFile, provenance};
use crate::bundle::Image;
use crate::bundle::definition::source::{base_name, published};
use crate::bundle::lock::BundleLock;
use crate::model::{Digest, media_type, predicate_type};
use crate::trust::Statement;

/// The content of provenance beside the inputs.
#[derive(Debug)]
pub struct ProvenanceContext<'a> {
    /// The file name of the definition; directories of the machine are left out.
    pub definition_name: &'a str,
    /// The digest of its text.
    pub definition: Digest,
    /// The path of the lock that was used, and what it is.
    pub lock: Option<(&'a str, &'a BundleLock)>,
    /// The variables of the job.
    pub environment: BTreeMap<&'static str, String>,
}

/// States of every image of a build where it came from.
pub fn provenances(
    inputs: &Inputs<'_>,
    images: &[Image],
    context: &ProvenanceContext<'_>,
) -> Result<Vec<Attachment>, SourceError> {
    let lock = context.lock.map(|(_, lock)| lock);
    let mut statements = Vec::new();
    for (platform, image) in inputs.platforms.iter().zip(images) {
        let inventory = inventory(inputs, platform, lock, &image.manifest)?;
        let locked = lock.iter().flat_map(|lock| &lock.plugins);
        let of_platform = locked.filter(|entry| entry.platform == *platform.platform);
        let checksums: BTreeSet<InputFile> = of_platform
            .filter_map(|entry| entry.checksum.as_ref())
            .map(|it| InputFile { location: published(&it.location).to_owned(), digest: it.digest })
            .collect();
        let build = BuildInputs {
            definition: file(context.definition_name, context.definition),
            // The text that `lock` writes, whatever white space the file has.
            lock: context
                .lock
                .map(|(path, lock)| file(path, Digest::of(lock.to_text().as_bytes()))),
            checksums: checksums.into_iter().collect(),
            tool: platform.tool.map(|tool| tool.facts.digest),
            environment: context.environment.clone(),
        };
        let predicate = provenance(&inventory, &build);
        let digest = image.manifest.digest;
        statements.push(Attachment {
            subject: image.manifest.descriptor(),
            artifact_type: media_type::IN_TOTO,
            title: "provenance.intoto.json",
            predicate_type: predicate_type::PROVENANCE,
            created: inputs.epoch,
            bytes: Statement::attestation(
                inputs.definition.name.as_str(),
                &digest,
                None,
                predicate_type::PROVENANCE,
                &predicate,
            ),
        });
    }
    Ok(statements)
}

fn file(path: &str, digest: Digest) -> InputFile {
    InputFile { location: base_name(path).unwrap_or(path).to_owned(), digest }
}
