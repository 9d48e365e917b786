//! `build`: a definition becomes an image in a layout.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::report::bytes;
use super::terminal::{Exit, Failure, Terminal};
use crate::bundle::Definition;
use crate::bundle::definition::ToolChoice;
use crate::model::{Digest, Document, Location, Platform, Reference, Selector};
use crate::oci::{LayoutWriter, OciError, Sink};
use crate::publish::{BlobStore, Built, DirectoryOverride, Inputs, Sources, Tool, build};

/// Composes a bundle from its definition and writes it into a layout: no daemon, no root, no
/// registry.
///
/// The same files give the same digest, independent of user, machine and time. SOURCE_DATE_EPOCH
/// sets the time inside the image; without it, it is 1970.
#[derive(Args)]
pub(super) struct Arguments {
    /// The definition of the bundle.
    #[arg(value_name = "BUNDLE.yaml")]
    definition: PathBuf,
    /// The layout directory to write into (DIR or oci:DIR:TAG); without a tag, the bundle's version
    /// is the tag.
    #[arg(short, long, value_name = "LAYOUT", value_parser = parse_output)]
    output: Reference,
    /// Where a source's files are, in place of the definition's directory; for each source at most
    /// once.
    #[arg(long, value_name = "SOURCE=DIR")]
    directory: Vec<DirectoryOverride>,
    #[command(flatten)]
    tools: ToolArguments,
}

/// The programs that go into an image.
#[derive(Args)]
pub(super) struct ToolArguments {
    /// A static cnister for the tool layer, for each platform one; without it, the running program.
    #[arg(long, value_name = "[PLATFORM=]PATH")]
    tool: Vec<ToolPath>,
}

/// A program on disk, with the platform that its owner says it is for.
#[derive(Debug, Clone)]
struct ToolPath {
    platform: Option<Platform>,
    path: PathBuf,
}

impl FromStr for ToolPath {
    type Err = crate::model::ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((platform, path)) => {
                Ok(Self { platform: Some(platform.parse()?), path: path.into() })
            }
            None => Ok(Self { platform: None, path: text.into() }),
        }
    }
}

impl ToolArguments {
    /// Opens the programs; where none was named, the running one.
    pub(super) fn open(&self) -> Result<Vec<Tool>, Failure> {
        if self.tool.is_empty() {
            let path = std::env::current_exe().map_err(|error| {
                Failure::could_not(format!("cannot find the running program: {error}"))
            })?;
            let tool = Tool::open(&path).map_err(|error| {
                Failure::classed(error)
                    .hint("name a static build with --tool PATH (`make static` makes one), or write `tool: none`")
            })?;
            return Ok(vec![tool]);
        }
        let open = |named: &ToolPath| {
            let tool = Tool::open(&named.path).map_err(Failure::classed)?;
            match &named.platform {
                Some(platform) if *platform != tool.platform => {
                    let path = named.path.display();
                    Err(Failure::request(format!(
                        "tool `{path}` is for {}, and was named for {platform}",
                        tool.platform
                    )))
                }
                _ => Ok(tool),
            }
        };
        self.tool.iter().map(open).collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    digest: Digest,
    reference: String,
    platforms: Vec<PlatformReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlatformReport {
    platform: Platform,
    digest: Digest,
    layer_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Digest>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let path = &arguments.definition;
    let text = super::policy::read_text(path).map_err(|error| {
        Failure::could_not(format!("cannot read `{}`: {error}", path.display()))
    })?;
    let definition =
        Definition::parse(&path.display().to_string(), &text).map_err(Failure::request)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let output = output_directory(&arguments.output)?;
    let sources =
        Sources::new(&definition, folder, &arguments.directory).map_err(Failure::classed)?;
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

/// Stores the manifests and the index, and tags it.
pub(super) fn finish(
    mut layout: LayoutWriter,
    output: &Reference,
    built: &Built,
    version: &semver::Version,
) -> Result<Report, Failure> {
    for image in &built.images {
        layout.put_manifest(&image.manifest)?;
    }
    layout.put_manifest(&built.index)?;
    let tag = output
        .selector
        .tag
        .clone()
        .unwrap_or_else(|| super::image::tag_of_version(&version.to_string()));
    layout.tag(&tag, &built.index)?;
    let reference = Reference {
        location: output.location.clone(),
        selector: Selector { tag: Some(tag), digest: None },
    };
    let platforms = built.images.iter().enumerate().map(|(number, image)| {
        let files = built.files.get(number);
        PlatformReport {
            platform: image.platform.clone(),
            digest: image.manifest.digest,
            layer_bytes: layer_bytes(&image.manifest),
            plugins: files.map(|files| files.plugins.len()),
            plugin_bytes: files.map(crate::bundle::FileManifest::total_size),
            tool: files.and_then(|files| files.tool.as_ref()).map(|tool| tool.digest),
        }
    });
    Ok(Report {
        digest: built.index.digest,
        reference: reference.to_string(),
        platforms: platforms.collect(),
    })
}

fn layer_bytes(manifest: &Document) -> u64 {
    let manifest = manifest.manifest().ok();
    manifest.iter().flat_map(|manifest| manifest.layers()).map(|layer| layer.size()).sum()
}

/// The directory of the layout that a verb writes into.
pub(super) fn output_directory(output: &Reference) -> Result<&Path, Failure> {
    match &output.location {
        Location::Layout(path) => Ok(path),
        Location::Archive(_) => Err(Failure::request("a build writes into a layout directory")
            .hint("pull it into an archive afterwards: cnister pull oci:DIR -o oci-archive:FILE")),
        Location::Registry(_) => Err(Failure::request("a build writes into a layout directory")
            .hint("sign it there and push it: a registry should never see an unsigned tag")),
    }
}

/// Parses where an image is written to: a plain path is a layout directory.
pub(super) fn parse_output(text: &str) -> Result<Reference, crate::model::ParseReferenceError> {
    if text.starts_with("oci:") || text.starts_with("oci-archive:") {
        return text.parse();
    }
    if text.is_empty() {
        return Err(crate::model::ParseReferenceError::NoPath(String::new()));
    }
    Ok(Reference { location: Location::Layout(text.into()), selector: Selector::default() })
}

/// The time inside images, in seconds since 1970.
pub(super) fn epoch() -> Result<u64, Failure> {
    source_date().map(Option::unwrap_or_default)
}

/// The time that stands for now in what is made, in seconds since 1970 (reproducible-builds.org,
/// SOURCE_DATE_EPOCH).
pub(super) fn source_date() -> Result<Option<u64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|_| {
            Failure::request(format!("SOURCE_DATE_EPOCH is `{text}`, expected seconds since 1970"))
        }),
        Err(error) => Err(Failure::request(format!("SOURCE_DATE_EPOCH: {error}"))),
    }
}

impl BlobStore for LayoutWriter {
    fn store(
        &mut self,
        write: &mut dyn FnMut(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> Result<(Digest, u64), OciError> {
        LayoutWriter::store(self, write)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        for entry in &self.platforms {
            write!(f, "{}: ", entry.platform)?;
            if let (Some(plugins), Some(size)) = (entry.plugins, entry.plugin_bytes) {
                write!(f, "{plugins} plugins ({}), ", bytes(size))?;
            }
            if let Some(tool) = &entry.tool {
                write!(f, "tool {}, ", tool.short())?;
            }
            writeln!(f, "{} in layers", bytes(entry.layer_bytes))?;
        }
        writeln!(f, "built {}", self.reference)
    }
}
