//! `keygen`: a key pair in cosign's format. An existing file is never overwritten.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::new_file::{NewFile, write_new};
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
    write_new([
        NewFile { path: &private_key, content: &encrypted, mode: 0o600 },
        NewFile { path: &public_key, content: &public_pem, mode: 0o644 },
    ])?;
    let fingerprint = crate::trust::Key::parse(&public_pem)?.fingerprint().to_string();
    terminal.answer(&Report { private_key, public_key, fingerprint })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [private, public] =
            [&self.private_key, &self.public_key].map(|path| path.to_string_lossy());
        writeln!(f, "private key: {} (encrypted)", visible(&private))?;
        writeln!(f, "public key:  {} ({})", visible(&public), self.fingerprint)
    }
}
