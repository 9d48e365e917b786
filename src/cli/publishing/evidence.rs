//! `evidence`: writes what proves an image to a single file. Whether that suffices is up to a
//! policy.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Serialize;

use crate::cli::image;
use crate::cli::policy::load_policy;
use crate::cli::report::{bytes, count};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Platform, Reference, visible};
use crate::oci::{CollectError, Platforms, collect};
use crate::trust::{Evidence, EvidenceError, Needs};

/// Writes what proves an image to a single file: its signatures, and all documents down to the
/// digests of the plugin files.
///
/// With this file, `install` and `check` verify the image again without a registry. The file itself
/// is verified whenever it is read, so it can be distributed in any way: in a ConfigMap, as a
/// download, in the bundle.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Includes only this platform [default: all platforms of the index].
    #[arg(long)]
    platform: Option<Platform>,
    /// Includes the attestations that this policy requires [default: signatures only].
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
        Some(path) => load_policy(path)?.needs(arguments.reference.repository()),
        None => Needs::signatures(),
    };
    let opened = image::open_published(&arguments.reference)?;
    let platforms = Platforms::requested(arguments.platform.as_ref());
    let too_long = |length: usize| {
        let (found, limit) = (bytes(length as u64), bytes(Evidence::LIMIT as u64));
        Failure::request(format!(
            "the evidence is {found} long, the limit of a ConfigMap is {limit}"
        ))
        .hint("use --platform to write one file per platform")
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
    write(&arguments.output, &text).map_err(|error| {
        Failure::could_not(format!("cannot write `{}`: {error}", arguments.output.display()))
    })?;
    if evidence.signatures().is_empty() {
        terminal.remark("warning: the image is not signed, so the file proves nothing");
    }
    terminal.answer(&Report {
        digest: evidence.root(),
        file: arguments.output.clone(),
        bytes: text.len() as u64,
        signatures: evidence.signatures().len(),
    })?;
    Ok(Exit::Yes)
}

/// Writes a file. A FIFO without a reader is an error, and not waited for.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(flags);
    let mut file = options.open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    file.write_all(bytes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        let file = self.file.to_string_lossy();
        let signatures = count(self.signatures, "signature");
        writeln!(f, "{}: {}, {signatures}", visible(&file), bytes(self.bytes))
    }
}
