//! `completions`: shell completion scripts.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::terminal::{Exit, Failure};

/// Prints a completion script for a shell.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, program: &mut Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, program, "cnister", &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Yes),
    }
}
