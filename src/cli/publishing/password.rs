//! The password of a key file: from COSIGN_PASSWORD, as with cosign, or typed at the terminal.

use std::io::{self, BufRead, Write};

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};

use crate::cli::terminal::Failure;

/// Asks once for a password, or takes it from `COSIGN_PASSWORD`.
pub(super) fn ask(prompt: &str) -> Result<String, Failure> {
    if let Some(password) = from_environment() {
        return Ok(password);
    }
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Err(Failure::request(
            "a password is required, but standard input is not a terminal",
        )
        .hint("set COSIGN_PASSWORD; it may be empty"));
    }
    read_hidden(prompt)
        .map_err(|error| Failure::could_not(format!("cannot read the password: {error}")))
}

/// Asks twice for a new password, or takes it from `COSIGN_PASSWORD`.
pub(super) fn ask_new() -> Result<String, Failure> {
    let first = ask("Enter password for private key: ")?;
    if from_environment().is_none() && first != ask("Enter password for private key again: ")? {
        return Err(Failure::request("the passwords do not match"));
    }
    Ok(first)
}

fn from_environment() -> Option<String> {
    std::env::var("COSIGN_PASSWORD").ok()
}

/// Reads a line with the terminal's echo turned off, and restores it also after an error.
fn read_hidden(prompt: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    let mut err = io::stderr();
    err.write_all(prompt.as_bytes())?;
    err.flush()?;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
