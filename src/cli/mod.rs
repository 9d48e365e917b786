//! The command line: arguments in, one report out. Only this module knows about the terminal.
//!
//! One file per verb holds its arguments, what it runs, and its report. A report is one
//! serializable value; the text for people and the JSON are two views of it. Names from outside are
//! escaped before they are printed, so that no image or file can send control characters to the
//! terminal. Verbs decide nothing about images or nodes; the other modules do.

mod boot;
mod check;
mod document;
mod explain;
mod gc;
mod image;
mod install;
mod interval;
mod node;
mod node_check;
mod node_condition;
mod policy;
mod proof;
#[cfg(feature = "publish")]
mod publishing;
mod report;
mod requirements;
mod rollback;
mod stage;
mod status;
mod stop;
mod terminal;
mod termination;
mod uninstall;
mod verdict;
mod verify;
mod watch;

use std::process::ExitCode;

#[cfg(feature = "publish")]
use clap::CommandFactory;
use clap::{Parser, Subcommand};

use crate::check::probe;
#[cfg(feature = "publish")]
use crate::publish::{ROOM_COMMAND, enter_room};
use terminal::{Exit, Failure, Format, Terminal};

/// Signed OCI images of CNI plugins: composed in CI, verified and installed on nodes.
///
/// `verify` is about an image, `check` about this node. A REF is a layout directory (oci:DIR:TAG),
/// an archive (oci-archive:FILE) or a registry reference (HOST/PATH:TAG); append @sha256:... to pin
/// the digest.
#[derive(Parser)]
#[command(name = "cnister", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 yes, 1 no, 2 invalid request, 3 failed or unknown")]
struct Cli {
    /// Output format: `human` (text) or `json` (a single document).
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, hide_possible_values = true)]
    format: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[cfg(feature = "publish")]
    #[command(flatten)]
    Publishing(publishing::Verb),
    #[command(display_order = 9)]
    Verify(verify::Arguments),
    Stage(stage::Arguments),
    Install(install::Arguments),
    Rollback(rollback::Arguments),
    Uninstall(uninstall::Arguments),
    Status(status::Arguments),
    Gc(gc::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Watch(watch::Arguments),
    Boot(boot::Arguments),
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    // Comes first: this process is about to become a plugin and needs nothing of what follows.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == probe::COMMAND) {
        return probe::run_confined(std::env::args_os().nth(2));
    }
    #[cfg(feature = "publish")]
    if std::env::args_os().nth(1).is_some_and(|verb| verb == ROOM_COMMAND) {
        return enter_room(std::env::args_os().skip(2));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; a usage error is exit code 2, as in clap.
            let exit = if error.use_stderr() { Exit::Request } else { Exit::Yes };
            drop(error.print());
            return exit.into();
        }
    };
    let terminal = Terminal::new(cli.format);
    #[cfg(feature = "publish")]
    if cli.format == Format::Markdown && !cli.verb.has_markdown() {
        let failure = Failure::request("only `diff` has a report in Markdown");
        return terminal.failure(&failure.hint("use `--format human` or `--format json`")).into();
    }
    match cli.verb.run(&terminal) {
        Ok(exit) => exit.into(),
        Err(failure) => terminal.failure(&failure).into(),
    }
}

impl Verb {
    #[cfg(feature = "publish")]
    fn has_markdown(&self) -> bool {
        matches!(self, Self::Publishing(publishing::Verb::Diff(_)))
    }

    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        match self {
            #[cfg(feature = "publish")]
            Self::Publishing(verb) => verb.run(&mut Cli::command(), terminal),
            Self::Verify(arguments) => verify::run(&arguments, terminal),
            Self::Stage(arguments) => stage::run(&arguments, terminal),
            Self::Install(arguments) => install::run(&arguments, terminal),
            Self::Rollback(arguments) => rollback::run(&arguments, terminal),
            Self::Uninstall(arguments) => uninstall::run(&arguments, terminal),
            Self::Status(arguments) => status::run(&arguments, terminal),
            Self::Gc(arguments) => gc::run(&arguments, terminal),
            Self::Check(arguments) => check::run(&arguments, terminal),
            Self::Explain(arguments) => explain::run(&arguments, terminal),
            Self::Watch(arguments) => watch::run(&arguments, terminal),
            Self::Boot(arguments) => boot::run(&arguments, terminal),
        }
    }
}
