//! `build`: a definition becomes an image in a layout.

use std::path::{Path, PathBuf};

use clap::Args;

use super::image_output::{ToolArguments, finish, output_directory, parse_output};
use super::source_date::epoch;
use crate::bundle::Definition;
use crate::bundle::definition::ToolChoice;
use crate::cli::policy::{cannot_read, read_text};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::Reference;
use crate::oci::LayoutWriter;
use crate::publish::{Cache, DirectoryOverride, Fetch, Inputs, Sources, build};

/// Composes a bundle from its definition and writes it into a layout: no daemon, no root, no
/// registry.
///
/// The same files give the same digest, independent of user, machine and time. SOURCE_DATE_EPOCH
/// sets the time inside the image; without it, it is 1970.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The definition of the bundle.
    #[arg(value_name = "BUNDLE.yaml")]
    definition: PathBuf,
    /// The layout directory to write into (DIR or oci:DIR:TAG); without a tag, the bundle's version
    /// is the tag.
    #[arg(short, long, value_name = "LAYOUT", value_parser = parse_output)]
    output: Reference,
    /// The directory of a source, instead of the one in the definition; at most once per source.
    #[arg(long, value_name = "SOURCE=DIR")]
    directory: Vec<DirectoryOverride>,
    #[command(flatten)]
    tools: ToolArguments,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let path = &arguments.definition;
    let text = read_text(path).map_err(|error| cannot_read(path, &error))?;
    let definition =
        Definition::parse(&path.display().to_string(), &text).map_err(Failure::request)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let output = output_directory(&arguments.output)?;
    let user = |name| std::env::var_os(name);
    let mut fetch = Fetch::new(Cache::of_user(user("XDG_CACHE_HOME"), user("HOME")));
    let terminal = *terminal;
    fetch.announce = Box::new(move |line| terminal.remark(line));
    let sources = Sources::new(&definition, folder, &arguments.directory, &fetch)
        .map_err(Failure::classed)?;
    let tools = match definition.tool {
        ToolChoice::Required => arguments.tools.open()?,
        ToolChoice::None => Vec::new(),
    };
    let inputs = Inputs::resolve(&sources, &tools, epoch()?).map_err(Failure::classed)?;
    // From here on there is something to leave behind.
    let mut layout = LayoutWriter::create(output)?.named(format!("localhost/{}", definition.name));
    let built = build(&inputs, &mut layout).map_err(Failure::classed)?;
    let report = finish(layout, &arguments.output, &built, &definition.version)?;
    terminal.answer(&report)?;
    Ok(Exit::Yes)
}
