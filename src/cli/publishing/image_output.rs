//! Writing an image into a layout: the programs that go into it, where it is written, and the
//! report about it. `build` and `tool-image` share it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use crate::cli::report::{bytes, count};
use crate::cli::terminal::Failure;
use crate::model::{Digest, Document, Location, Platform, Reference, Selector};
use crate::oci::{LayoutWriter, OciError, Sink, by_its_names};
use crate::publish::{BlobStore, Built, Tool};

/// The programs that go into an image.
#[derive(Args)]
pub(super) struct ToolArguments {
    /// A static cnister for the tool layer, one per platform [default: the running program].
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
    /// Opens the given programs, or the running one if none was given.
    pub(super) fn open(&self) -> Result<Vec<Tool>, Failure> {
        if self.tool.is_empty() {
            let path = std::env::current_exe().map_err(|error| {
                Failure::could_not(format!("cannot find the running program: {error}"))
            })?;
            let tool = Tool::open(&path).map_err(|error| {
                Failure::classed(error)
                    .hint("give a static build with --tool PATH (`make static` makes one), or write `tool: none`")
            })?;
            return Ok(vec![tool]);
        }
        let open = |named: &ToolPath| {
            let tool = Tool::open(&named.path).map_err(Failure::classed)?;
            match &named.platform {
                Some(platform) if *platform != tool.platform => {
                    let path = named.path.display();
                    Err(Failure::request(format!(
                        "tool `{path}` is for {}, but was given for {platform}",
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
        .unwrap_or_else(|| crate::cli::image::tag_of_version(&version.to_string()));
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
        Location::Archive(_) => Err(Failure::request(
            "a build can only be written to a layout directory",
        )
        .hint("pull it into an archive afterwards: cnister pull oci:DIR -o oci-archive:FILE")),
        Location::Registry(_) => {
            Err(Failure::request("a build can only be written to a layout directory")
                .hint("sign it there and push it: a registry should never see an unsigned tag"))
        }
    }
}

/// Parses where an image is written to: a plain path is a layout directory, and any other form is
/// what it is where an image is read.
pub(super) fn parse_output(text: &str) -> Result<Reference, crate::model::ParseReferenceError> {
    if text.starts_with("oci:") || text.starts_with("oci-archive:") {
        return text.parse().map(|reference| by_its_names(&reference));
    }
    if text.is_empty() {
        return Err(crate::model::ParseReferenceError::NoPath(String::new()));
    }
    Ok(Reference { location: Location::Layout(text.into()), selector: Selector::default() })
}

impl BlobStore for LayoutWriter {
    fn store(
        &self,
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
                write!(f, "{} ({}), ", count(plugins, "plugin"), bytes(size))?;
            }
            if let Some(tool) = &entry.tool {
                write!(f, "tool {}, ", tool.short())?;
            }
            writeln!(f, "{} in layers", bytes(entry.layer_bytes))?;
        }
        writeln!(f, "built {}", self.reference)
    }
}
