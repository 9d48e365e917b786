//! `attest`: signs a predicate about an image and stores the attestation beside it.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::signer::{SignerArguments, open_sink, signed_at};
use crate::cli::document;
use crate::cli::image;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Reference, rfc3339, visible};
use crate::publish::sign::{Signed, attest};
use crate::publish::{PredicateType, Signer};

/// Signs a predicate about an image: an SBOM, provenance, or any other document.
///
/// The attestation is an in-toto statement about the digest of REF in a Sigstore bundle, stored as
/// a referrer, as `cosign attest` writes it; `cosign verify-attestation --key` and the
/// `attestations` of a policy accept it. The document is not compared with the image: the signer
/// vouches for it. `sign --attest` signs the documents that `build` stored, after comparing them.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image, in a layout or a registry: its index, or one platform's manifest by digest.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The type of the document: a URI, or one of cosign's words custom, cyclonedx, link, openvex,
    /// slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, spdxjson, vuln.
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: PredicateType,
    /// The document, a JSON object; with the type `custom`, any text. `-` for standard input.
    #[arg(long, value_name = "FILE")]
    predicate: PathBuf,
    #[command(flatten)]
    signer: SignerArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    signed_at: String,
    #[serde(flatten)]
    attestation: Signed,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let (name, bytes) = document::read(&arguments.predicate, PredicateType::LIMIT)?;
    let signed_at = signed_at(terminal)?;
    let kind = &arguments.predicate_type;
    let predicate = kind
        .predicate(&bytes, signed_at)
        .map_err(|error| Failure::request(format!("{name} is not signed: {error}")))?;
    let opened = image::open_published(&arguments.reference)?;
    let mut sink = open_sink(&opened)?;
    let signer = Signer {
        key: &arguments.signer.open_key()?,
        name: &arguments.signer.repository(&arguments.reference),
        signed_at,
    };
    let (source, sink) = (opened.source.as_ref(), sink.as_mut());
    let attestation = attest(&signer, source, sink, &opened.root, kind.uri(), &predicate)
        .map_err(Failure::classed)?;
    terminal.answer(&Report {
        digest: opened.root.digest,
        signed_at: rfc3339(signed_at),
        attestation,
    })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signed { subject, referrer, predicate_type } = &self.attestation;
        let kind = visible(predicate_type.as_deref().unwrap_or_default());
        writeln!(f, "{}", self.digest)?;
        writeln!(f, "attested {kind} of {subject}, attestation {}", referrer.short())
    }
}
