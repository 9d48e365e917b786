//! `build`: a definition becomes an image in a layout.

use std::path::{Path, PathBuf};

use clap::Args;

use super::definition_input::{FetchArguments, read_definition};
use super::image_output::{ToolArguments, finish, output_directory, parse_output};
use super::source_date::epoch;
use crate::attest::environment;
use crate::bundle::definition::ToolChoice;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Party, Reference};
use crate::oci::LayoutWriter;
use crate::publish::{
    BuildError, DirectoryOverride, Inputs, LockFile, ProvenanceContext, SbomFormat, Sources, build,
    check_attachments, pins, provenances, roots, sboms, sums,
};

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
    /// Describe every platform's plugins and the modules that they link, in these formats:
    /// cyclonedx (1.6), spdx-2.3, spdx-3.0.1. The documents are stored as referrers, unsigned.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    sbom: Vec<SbomFormat>,
    /// State where every file of each platform came from (SLSA provenance v1). The statements are
    /// stored as referrers, unsigned, and include selected variables of a GitHub, GitLab or Jenkins
    /// job.
    #[arg(long)]
    provenance: bool,
    /// Who makes the bundle and describes it, instead of the definition's author: NAME,
    /// NAME <EMAIL> or NAME <URL>.
    #[arg(long, value_name = "NAME", requires = "sbom")]
    author: Option<Party>,
    #[command(flatten)]
    tools: ToolArguments,
    #[command(flatten)]
    fetch: FetchArguments,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let path = &arguments.definition;
    let (mut definition, definition_digest) = read_definition(path)?;
    definition.author = arguments.author.clone().or(definition.author);
    let lock_file = LockFile::beside(path);
    let lock = lock_file.read().map_err(Failure::classed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let output = output_directory(&arguments.output)?;
    let mut fetch = arguments.fetch.fetch(*terminal);
    fetch.pins = lock.iter().flat_map(|(lock, _)| pins(lock)).collect();
    fetch.roots = lock.iter().flat_map(|(lock, _)| roots(lock)).collect();
    fetch.sums = lock.iter().flat_map(|(lock, _)| sums(lock)).collect();
    let sources = Sources::new(&definition, folder, &arguments.directory, &fetch)
        .map_err(Failure::classed)?;
    // Before a tool is asked for, which does not help without it.
    Inputs::expect_lock(&sources, lock.is_some()).map_err(|error| refusal(error, path))?;
    let tools = match definition.tool {
        ToolChoice::Required => arguments.tools.open()?,
        ToolChoice::None => Vec::new(),
    };
    let inputs = Inputs::resolve(&sources, lock.as_ref(), &tools, epoch()?)
        .map_err(|error| refusal(error, path))?;
    if let Some(reason) = fetch.cache.refused() {
        terminal.remark(&format!("the cache is not used: {reason}"));
    }
    // From here on there is something to leave behind.
    let mut layout = LayoutWriter::create(output)?.named(format!("localhost/{}", definition.name));
    let built = build(&inputs, &layout).map_err(Failure::classed)?;
    let locked = lock.as_ref().map(|(lock, _)| lock);
    let mut attachments =
        sboms(&inputs, locked, &built.images, &arguments.sbom).map_err(Failure::classed)?;
    if arguments.provenance {
        let lock_path = lock_file.path().display().to_string();
        let context = ProvenanceContext {
            definition_name: &path.display().to_string(),
            definition: definition_digest,
            lock: locked.map(|lock| (lock_path.as_str(), lock)),
            environment: environment(|name| std::env::var(name).ok()),
        };
        let statements = provenances(&inputs, &built.images, &context);
        attachments.extend(statements.map_err(Failure::classed)?);
    }
    check_attachments(&built, &attachments).map_err(|error| {
        Failure::classed(error)
            .hint("nodes could not verify them; split the plugins into several bundles")
    })?;
    for attachment in attachments {
        attachment.store(&mut layout)?;
    }
    let report = finish(layout, &arguments.output, &built, &definition.version)?;
    terminal.answer(&report)?;
    Ok(Exit::Yes)
}

/// Why no inputs were accepted, with what to do about it.
fn refusal(error: BuildError, path: &Path) -> Failure {
    match error {
        BuildError::Gates(refusals) => {
            let details = refusals.iter().map(ToString::to_string).collect();
            let message = format!("gates of `{}` refuse plugins:", path.display());
            Failure::request(message).details(details)
        }
        BuildError::NoLock(_) => {
            Failure::classed(error).hint(format!("run `cnister lock {}`", path.display()))
        }
        BuildError::Lock(_) => {
            let hint = format!("run `cnister lock {}`, and review what it changes", path.display());
            Failure::classed(error).hint(hint)
        }
        error => Failure::classed(error),
    }
}
