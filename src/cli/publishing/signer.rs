//! Arguments that `sign` and `attest` share: the key, the name and the time in statements, and the
//! place where signatures are stored.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::password;
use super::source_date::source_date;
use crate::cli::image::Image;
use crate::cli::policy::{cannot_read, read_text};
use crate::cli::terminal::{Failure, Terminal};
use crate::model::{Location, Reference, Repository, parse_rfc3339, rfc3339};
use crate::oci::{LayoutWriter, Registry, Sink};
use crate::publish::keys::{KeyError, KeyFile, SigningKey};

/// Who signs, and under which name.
#[derive(Args)]
pub(super) struct SignerArguments {
    /// The private key file, as written by `keygen` or cosign.
    #[arg(long, value_name = "COSIGN.KEY")]
    key: PathBuf,
    /// The repository named in the signed statement, for an image in a layout.
    #[arg(long = "as", value_name = "REPO")]
    name: Option<Repository>,
}

impl SignerArguments {
    /// Opens the key; asks for its password if it is not in COSIGN_PASSWORD.
    pub(super) fn open_key(&self) -> Result<SigningKey, Failure> {
        let pem = read_text(&self.key).map_err(|error| cannot_read(&self.key, &error))?;
        // The same file and password will not work later either.
        let cannot_use = |error: KeyError| {
            Failure::request(format!("cannot use `{}`: {error}", self.key.display()))
        };
        match KeyFile::parse(pem.as_bytes()).map_err(cannot_use)? {
            KeyFile::Plain(key) => Ok(key),
            KeyFile::Encrypted(file) => file
                .decrypt(password::ask("Enter password for private key: ")?.as_bytes())
                .map_err(cannot_use),
        }
    }

    /// The repository that statements name.
    pub(super) fn repository(&self, reference: &Reference) -> String {
        let name = self.name.as_ref().or(reference.repository());
        name.map_or_else(|| "localhost/layout".to_owned(), ToString::to_string)
    }
}

/// Where the signatures of an image are stored: beside it.
pub(super) fn open_sink(image: &Image) -> Result<Box<dyn Sink>, Failure> {
    Ok(match &image.location {
        Location::Layout(path) => Box::new(LayoutWriter::open(path)?),
        Location::Registry(repository) => Box::new(Registry::new(repository.clone())?),
        Location::Archive(_) => {
            return Err(Failure::request("signatures cannot be added to an archive").hint(
                "pull it into a layout, sign the layout, and pull that into an archive again",
            ));
        }
    })
}

/// Returns the time of the signatures, in seconds since 1970.
pub(super) fn signed_at(terminal: &Terminal) -> Result<u64, Failure> {
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
