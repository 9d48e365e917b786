//! `tool-image`: an image that contains only cnister, which the owner of a cluster pins by digest.

use clap::Args;

use super::image_output::{ToolArguments, finish, output_directory, parse_output};
use super::source_date::epoch;
use crate::bundle::Encoding;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::Reference;
use crate::oci::LayoutWriter;
use crate::publish::build_tool;

/// Builds an image that contains only cnister, which nodes run to install and check bundles.
///
/// The verifier is never taken from the bundle it verifies; `render` pins this image by digest.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The layout directory to write to (DIR or oci:DIR:TAG) [default tag: this version].
    #[arg(short, long, value_name = "LAYOUT", value_parser = parse_output)]
    output: Reference,
    #[command(flatten)]
    tools: ToolArguments,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let version = semver::Version::parse(env!("CARGO_PKG_VERSION"))?;
    let output = output_directory(&arguments.output)?;
    let (tools, epoch) = (arguments.tools.open()?, epoch()?);
    let layout = LayoutWriter::create(output)?.named("localhost/cnister".to_owned());
    let built = build_tool(&version, &tools, Encoding::Best, epoch, &layout)?;
    terminal.answer(&finish(layout, &arguments.output, &built, &version)?)?;
    Ok(Exit::Yes)
}
