//! `push`: copies an image with its signatures to a registry.

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::cli::image;
use crate::cli::report::copied;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Reference};
use crate::oci::{Copied, Registry, copy};

/// Copies an image with its signatures to a registry; the tag is written last.
///
/// Plain HTTP is only used for registries on loopback; all others need TLS.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image: oci:DIR:TAG, oci-archive:FILE, or one in another registry.
    #[arg(value_name = "REF")]
    source: Reference,
    /// The target.
    #[arg(value_name = "HOST/PATH:TAG")]
    target: Reference,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    target: String,
    digest: Digest,
    copied: Copied,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let Some(target) = arguments.target.as_registry() else {
        return Err(Failure::request(format!(
            "`{}` is not a registry reference",
            arguments.target
        ))
        .hint("to copy into a layout or an archive, use pull"));
    };
    let opened = image::open_published(&arguments.source)?;
    if let Some(pinned) = target.selector.digest.filter(|pinned| *pinned != opened.root.digest) {
        return Err(Failure::request(format!(
            "the image has digest {}, but the target pins {pinned}",
            opened.root.digest
        )));
    }
    let mut sink = Registry::new(target.repository.clone())?;
    let copied =
        copy(opened.source.as_ref(), &mut sink, &opened.root, target.selector.tag.as_deref())?;
    terminal.answer(&Report { target: target.to_string(), digest: opened.root.digest, copied })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        copied(f, &self.copied)?;
        writeln!(f, "pushed {}", self.target)
    }
}
