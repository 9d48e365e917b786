//! The verbs that make, sign and hand on images. A node's build has none of them.

mod attest;
mod build;
mod cache;
mod completions;
mod definition_input;
mod diff;
mod evidence;
mod image_output;
mod init;
mod inspect;
mod keygen;
mod lock;
mod new_file;
mod password;
mod pull;
mod push;
mod render;
mod report;
mod sign;
mod signer;
mod source_date;
mod tool_image;

use clap::{Command, Subcommand};

use super::terminal::{Exit, Failure, Terminal};

/// The numbers put `verify`, which nodes have as well, before what is done with a verified image:
/// it has number 9.
#[derive(Subcommand)]
pub(super) enum Verb {
    #[command(display_order = 0)]
    Init(init::Arguments),
    #[command(display_order = 1)]
    Keygen(keygen::Arguments),
    #[command(display_order = 2)]
    Lock(lock::Arguments),
    #[command(display_order = 3)]
    Build(build::Arguments),
    #[command(display_order = 4)]
    ToolImage(tool_image::Arguments),
    #[command(display_order = 5)]
    Sign(sign::Arguments),
    #[command(display_order = 6)]
    Attest(attest::Arguments),
    #[command(display_order = 7)]
    Push(push::Arguments),
    #[command(display_order = 8)]
    Pull(pull::Arguments),
    #[command(display_order = 10)]
    Inspect(inspect::Arguments),
    #[command(display_order = 11)]
    Diff(diff::Arguments),
    #[command(display_order = 12)]
    Report(Box<report::Arguments>),
    #[command(display_order = 13)]
    Evidence(evidence::Arguments),
    #[command(display_order = 14)]
    Render(Box<render::Arguments>),
    #[command(display_order = 10)]
    Cache(cache::Arguments),
    #[command(display_order = 100)]
    Completions(completions::Arguments),
}

impl Verb {
    /// Runs the verb; `program` is the whole command line, for completions.
    pub(super) fn run(self, program: &mut Command, terminal: &Terminal) -> Result<Exit, Failure> {
        match self {
            Self::Init(arguments) => init::run(&arguments, terminal),
            Self::Keygen(arguments) => keygen::run(&arguments, terminal),
            Self::Lock(arguments) => lock::run(&arguments, terminal),
            Self::Build(arguments) => build::run(&arguments, terminal),
            Self::ToolImage(arguments) => tool_image::run(&arguments, terminal),
            Self::Sign(arguments) => sign::run(&arguments, terminal),
            Self::Attest(arguments) => attest::run(&arguments, terminal),
            Self::Push(arguments) => push::run(&arguments, terminal),
            Self::Pull(arguments) => pull::run(&arguments, terminal),
            Self::Inspect(arguments) => inspect::run(&arguments, terminal),
            Self::Diff(arguments) => diff::run(&arguments, terminal),
            Self::Report(arguments) => report::run(&arguments, terminal),
            Self::Evidence(arguments) => evidence::run(&arguments, terminal),
            Self::Render(arguments) => render::run(&arguments, terminal),
            Self::Cache(arguments) => cache::run(&arguments, terminal),
            Self::Completions(arguments) => completions::run(&arguments, program),
        }
    }
}
