//! `sign`: a signature over an image, stored beside it.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::policy::read_text;
use super::terminal::{Exit, Failure, Terminal};
use super::{image, password};
use crate::model::{Digest, Location, Reference};
use crate::oci::{LayoutWriter, Registry, Sink};
use crate::publish::keys::{KeyError, KeyFile};
use crate::publish::sign::{Signed, sign};

/// Signs an image with a key: its index and every platform's manifest.
///
/// The signatures are Sigstore bundles in cosign v3's shape, stored as referrers; `cosign verify --key` reads them.
/// The password of the key comes from COSIGN_PASSWORD or is asked for.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image, in a layout or a registry.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The private key, as `keygen` and cosign write it.
    #[arg(long, value_name = "COSIGN.KEY")]
    key: PathBuf,
    /// The repository that the signed statement names, where the image lies in a layout.
    #[arg(long = "as", value_name = "REPO")]
    name: Option<crate::model::Repository>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    signatures: Vec<Signed>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let reference = &arguments.reference;
    let opened = image::open(reference)?;
    let mut sink: Box<dyn Sink> = match &reference.location {
        Location::Layout(path) => Box::new(LayoutWriter::create(path)?),
        Location::Registry(repository) => Box::new(Registry::new(repository.clone())?),
        Location::Archive(_) => {
            return Err(Failure::request("an archive cannot be changed")
                .hint("pull it into a layout, sign that, and pull the layout into an archive again"));
        }
    };
    let pem = read_text(&arguments.key)
        .map_err(|error| Failure::could_not(format!("cannot read `{}`: {error}", arguments.key.display())))?;
    // The same file and the same password will not do later either.
    let cannot_use = |error: KeyError| Failure::request(format!("cannot use `{}`: {error}", arguments.key.display()));
    let key = match KeyFile::parse(pem.as_bytes()).map_err(cannot_use)? {
        KeyFile::Plain(key) => key,
        KeyFile::Encrypted(file) => {
            file.decrypt(password::ask("password of the private key: ")?.as_bytes()).map_err(cannot_use)?
        }
    };
    let name = arguments
        .name
        .as_ref()
        .or(reference.repository())
        .map_or_else(|| "localhost/layout".to_owned(), ToString::to_string);
    let created = rfc3339(SystemTime::now());
    let signatures = sign(&key, opened.source.as_ref(), sink.as_mut(), &opened.root, &name, &created)?;
    terminal.answer(&Report { digest: opened.root.digest, signatures })?;
    Ok(Exit::Yes)
}

/// A time in UTC to the second, as annotations carry it (RFC 3339).
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
    crate::model::rfc3339(seconds)
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
