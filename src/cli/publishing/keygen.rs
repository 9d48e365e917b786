//! `keygen`: a key pair in cosign's format. An existing file is never overwritten.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::password;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::visible;
use crate::publish::keys::SigningKey;

/// Generates a P-256 key pair in cosign's format: PREFIX.key (encrypted) and PREFIX.pub.
///
/// The password is read from COSIGN_PASSWORD, or prompted for. `cosign sign --key` accepts the
/// private key, `cosign verify --key` the public one.
#[derive(Args)]
#[command(visible_alias = "generate-key-pair")]
pub(in crate::cli) struct Arguments {
    /// Prefix of the two file names; may contain a directory.
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    private_key: PathBuf,
    public_key: PathBuf,
    fingerprint: String,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let name = |suffix| PathBuf::from(format!("{}.{suffix}", arguments.output_key_prefix));
    let (private_key, public_key) = (name("key"), name("pub"));
    for path in [&private_key, &public_key] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Failure::request(format!(
                "`{}` already exists; keys are never overwritten",
                path.display()
            ))
            .hint("choose another name with --output-key-prefix"));
        }
    }
    let key = SigningKey::generate()?;
    let public_pem = key.public_pem()?;
    let encrypted = key.encrypt(password::ask_new()?.as_bytes())?;
    write(&private_key, encrypted.as_bytes(), 0o600)?;
    write(&public_key, public_pem.as_bytes(), 0o644)
        .inspect_err(|_| drop(fs::remove_file(&private_key)))?;
    let fingerprint = crate::trust::Key::parse(&public_pem)?.fingerprint().to_string();
    terminal.answer(&Report { private_key, public_key, fingerprint })?;
    Ok(Exit::Yes)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write()
        .map_err(|error| Failure::could_not(format!("cannot write `{}`: {error}", path.display())))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [private, public] =
            [&self.private_key, &self.public_key].map(|path| path.to_string_lossy());
        writeln!(f, "private key: {} (encrypted)", visible(&private))?;
        writeln!(f, "public key:  {} ({})", visible(&public), self.fingerprint)
    }
}
