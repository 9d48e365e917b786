//! `evidence`: what proves an image, in one file.

use std::path::PathBuf;
use std::{fmt, fs};

use clap::Args;
use serde::Serialize;

use super::image;
use super::policy::load_policy;
use super::report::bytes;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Platform, Reference, visible};
use crate::oci::{CollectError, Platforms, collect};
use crate::trust::{COSIGN_SIGN, Evidence, EvidenceError, Needs};

/// Writes what proves an image into one file: its signatures, and every document down to the files'
/// digests.
///
/// With the file, `install` and `check` repeat the whole proof without a registry. It proves
/// itself, so it may travel any way: a ConfigMap, a download, the bundle itself.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Only this platform; without it, every platform that the index lists.
    #[arg(long)]
    platform: Option<Platform>,
    /// The policy whose attestations are taken along; without it, signatures only.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    file: PathBuf,
    bytes: u64,
    signatures: usize,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let needs = match &arguments.policy {
        Some(path) => load_policy(path)?.needs(),
        None => Needs { predicate_types: [COSIGN_SIGN.to_owned()].into() },
    };
    let opened = image::open(&arguments.reference)?;
    let platforms = Platforms::asked(arguments.platform.as_ref());
    let too_long = |length: usize| {
        let (found, limit) = (bytes(length as u64), bytes(Evidence::LIMIT as u64));
        Failure::request(format!("the evidence is {found} long, a ConfigMap holds {limit}"))
            .hint("write one file a platform with --platform")
    };
    let evidence = match collect(opened.source.as_ref(), &opened.root, platforms, &needs) {
        Ok(evidence) => evidence.needed(&needs),
        Err(CollectError::Evidence(EvidenceError::TooLong { found })) => {
            return Err(too_long(found));
        }
        Err(error) => return Err(error.into()),
    };
    let text = evidence.to_bytes();
    if text.len() > Evidence::LIMIT {
        return Err(too_long(text.len()));
    }
    fs::write(&arguments.output, &text).map_err(|error| {
        Failure::could_not(format!("cannot write `{}`: {error}", arguments.output.display()))
    })?;
    if evidence.signatures().is_empty() {
        terminal.remark("warning: the image has no signature, so the file proves nothing");
    }
    terminal.answer(&Report {
        digest: evidence.root(),
        file: arguments.output.clone(),
        bytes: text.len() as u64,
        signatures: evidence.signatures().len(),
    })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        let file = self.file.to_string_lossy();
        writeln!(f, "{}: {}, {} signatures", visible(&file), bytes(self.bytes), self.signatures)
    }
}
