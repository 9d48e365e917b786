//! `pull`: copies an image with its signatures into a layout directory or an archive.

use std::fmt;
use std::fs::{self, File};
use std::io::BufWriter;

use clap::Args;
use serde::Serialize;

use super::image_output::parse_output;
use crate::cli::image;
use crate::cli::report::copied;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Location, Reference, Repository};
use crate::oci::{Copied, LayoutWriter, copy, write_archive};

/// Copies an image with its signatures into a layout directory or an archive.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    source: Reference,
    /// Where to store the image: a layout directory (DIR or oci:DIR:TAG) or an archive
    /// (oci-archive:FILE:TAG) [default tag: that of REF, or the image's version].
    #[arg(short, long, value_name = "LAYOUT", value_parser = parse_output)]
    output: Reference,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    output: String,
    digest: Digest,
    copied: Copied,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let opened = image::open_published(&arguments.source)?;
    let (own_name, own_version) = image::own_name(&opened.root);
    let requested =
        [&arguments.output, &arguments.source].into_iter().find_map(|it| it.selector.tag.clone());
    let tag = requested.or(own_version).unwrap_or_else(|| "latest".to_owned());
    let name = arguments.source.repository().map(Repository::to_string).or(own_name);
    let into = |path: &std::path::Path| -> Result<Copied, Failure> {
        let mut writer = LayoutWriter::create(path)?;
        if let Some(name) = name {
            writer = writer.named(name);
        }
        Ok(copy(opened.source.as_ref(), &mut writer, &opened.root, Some(&tag))?)
    };
    let copied = match &arguments.output.location {
        Location::Layout(path) => into(path)?,
        Location::Archive(path) => {
            // Via a temporary layout beside it: the archive appears complete or not at all.
            let beside = |suffix: &str| {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".cnister-{}{suffix}", std::process::id()));
                std::path::PathBuf::from(name)
            };
            let (layout, partial) = (beside(".layout"), beside(".tar"));
            let done = into(&layout).and_then(|copied| {
                let cannot = |error| {
                    Failure::could_not(format!("cannot write `{}`: {error}", path.display()))
                };
                let mut out = BufWriter::new(File::create(&partial).map_err(cannot)?);
                write_archive(&layout, &mut out)?;
                out.into_inner()
                    .map_err(|error| cannot(error.into_error()))?
                    .sync_all()
                    .map_err(cannot)?;
                fs::rename(&partial, path).map_err(cannot)?;
                Ok(copied)
            });
            drop(fs::remove_dir_all(&layout));
            if done.is_err() {
                drop(fs::remove_file(&partial));
            }
            done?
        }
        Location::Registry(_) => {
            return Err(Failure::request(format!(
                "`{}` is a registry reference",
                arguments.output
            ))
            .hint("to copy to a registry, use push"));
        }
    };
    let output = Reference {
        location: arguments.output.location.clone(),
        selector: crate::model::Selector { tag: Some(tag), digest: None },
    };
    terminal.answer(&Report { output: output.to_string(), digest: opened.root.digest, copied })?;
    Ok(Exit::Yes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        copied(f, &self.copied)?;
        writeln!(f, "pulled into {}", self.output)
    }
}
