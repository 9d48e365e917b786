//! `sign`: signs an image and stores the signatures beside it.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::password;
use super::source_date::source_date;
use crate::cli::image;
use crate::cli::policy::{cannot_read, read_text};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Location, Reference, parse_rfc3339, rfc3339};
use crate::oci::{LayoutWriter, Registry, Sink};
use crate::publish::keys::{KeyError, KeyFile};
use crate::publish::sign::{Signed, sign};

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
    /// The private key file, as written by `keygen` or cosign.
    #[arg(long, value_name = "COSIGN.KEY")]
    key: PathBuf,
    /// The repository named in the signed statement, for an image in a layout.
    #[arg(long = "as", value_name = "REPO")]
    name: Option<crate::model::Repository>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    signed_at: String,
    signatures: Vec<Signed>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let reference = &arguments.reference;
    let opened = image::open_published(reference)?;
    let mut sink: Box<dyn Sink> = match &opened.location {
        Location::Layout(path) => Box::new(LayoutWriter::open(path)?),
        Location::Registry(repository) => Box::new(Registry::new(repository.clone())?),
        Location::Archive(_) => {
            return Err(Failure::request("signatures cannot be added to an archive").hint(
                "pull it into a layout, sign the layout, and pull that into an archive again",
            ));
        }
    };
    let pem = read_text(&arguments.key).map_err(|error| cannot_read(&arguments.key, &error))?;
    // The same file and password will not work later either.
    let cannot_use = |error: KeyError| {
        Failure::request(format!("cannot use `{}`: {error}", arguments.key.display()))
    };
    let key = match KeyFile::parse(pem.as_bytes()).map_err(cannot_use)? {
        KeyFile::Plain(key) => key,
        KeyFile::Encrypted(file) => file
            .decrypt(password::ask("Enter password for private key: ")?.as_bytes())
            .map_err(cannot_use)?,
    };
    let name = arguments
        .name
        .as_ref()
        .or(reference.repository())
        .map_or_else(|| "localhost/layout".to_owned(), ToString::to_string);
    let seconds = signed_at(terminal)?;
    let signatures =
        sign(&key, opened.source.as_ref(), sink.as_mut(), &opened.root, &name, seconds)?;
    terminal.answer(&Report {
        digest: opened.root.digest,
        signed_at: rfc3339(seconds),
        signatures,
    })?;
    Ok(Exit::Yes)
}

/// Returns the time of the signatures, in seconds since 1970.
fn signed_at(terminal: &Terminal) -> Result<u64, Failure> {
    let Some(seconds) = source_date()? else {
        // A clock before 1970 needs no case of its own: every policy with an age limit also refuses
        // 1970.
        return Ok(SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()));
    };
    let text = rfc3339(seconds);
    if parse_rfc3339(&text).is_none() {
        return Err(Failure::request(format!(
            "SOURCE_DATE_EPOCH is `{seconds}`, after the year 9999"
        )));
    }
    terminal.remark(&format!(
        "signature time from SOURCE_DATE_EPOCH: {text}; unset it to use the current time"
    ));
    Ok(seconds)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        for signed in &self.signatures {
            let what = if signed.subject == self.digest { "index" } else { "manifest" };
            writeln!(f, "signed {what} {}, signature {}", signed.subject, signed.referrer.short())?;
        }
        Ok(())
    }
}
