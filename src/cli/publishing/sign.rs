//! `sign`: signs an image and stores the signatures beside it.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::signer::{SignerArguments, open_sink, signed_at};
use crate::cli::image;
use crate::cli::report::count;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Reference, rfc3339, visible};
use crate::publish::Signer;
use crate::publish::sign::{Scope, SignError, SignOutcome, Signed, sign};

/// Signs an image with a key: its index and every platform's manifest.
///
/// The signatures are Sigstore bundles in the format of cosign v3, stored as referrers; `cosign
/// verify --key` accepts them. The password of the key is read from COSIGN_PASSWORD, or prompted
/// for. Each signature records its time (now, or SOURCE_DATE_EPOCH), which a policy's maxAge is
/// compared with; signing again renews it.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image, in a layout or a registry.
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    signer: SignerArguments,
    /// Also sign the SBOMs and the provenance that `build` stored beside the image, as
    /// attestations. If one of them is about another image or other files, nothing is signed.
    #[arg(long)]
    attest: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    signed_at: String,
    signatures: Vec<Signed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attestations: Vec<Signed>,
    /// Attestations of this key that were there before.
    #[serde(rename = "knownAttestations", skip_serializing_if = "is_zero")]
    known: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let opened = image::open_published(&arguments.reference)?;
    let mut sink = open_sink(&opened)?;
    let signer = Signer {
        key: &arguments.signer.open_key()?,
        name: &arguments.signer.repository(&arguments.reference),
        signed_at: signed_at(terminal)?,
    };
    let scope = if arguments.attest { Scope::WithPredicates } else { Scope::Image };
    let SignOutcome { signed, known } =
        sign(&signer, opened.source.as_ref(), sink.as_mut(), &opened.root, scope).map_err(
            |error| {
                let nothing = matches!(error, SignError::NothingAttached(_));
                let failure = Failure::classed(error);
                match nothing {
                    true => failure.hint("build the bundle with --sbom cyclonedx --provenance"),
                    false => failure,
                }
            },
        )?;
    let (signatures, attestations) =
        signed.into_iter().partition(|signed| signed.predicate_type.is_none());
    terminal.answer(&Report {
        digest: opened.root.digest,
        signed_at: rfc3339(signer.signed_at),
        signatures,
        attestations,
        known,
    })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        for Signed { subject, referrer, .. } in &self.signatures {
            let what = if *subject == self.digest { "index" } else { "manifest" };
            writeln!(f, "signed {what} {subject}, signature {}", referrer.short())?;
        }
        for Signed { subject, referrer, predicate_type } in &self.attestations {
            let kind = visible(predicate_type.as_deref().unwrap_or_default());
            writeln!(f, "attested {kind} of {subject}, attestation {}", referrer.short())?;
        }
        if self.known > 0 {
            let known = count(self.known, "attestation");
            writeln!(f, "{known} by this key already present")?;
        }
        Ok(())
    }
}
