//! `inspect`: shows what an image contains. Nothing is verified; `verify` does that.

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::bundle::{Linkage, PluginFile};
use crate::cli::report::{bytes, count};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::cli::{image, report};
use crate::model::{Platform, Reference};
use crate::oci::{Description, PlatformDescription, Source, describe};
use crate::publish::{AttachedDocument, DocumentKind, SBOM_LIMIT, SbomFormat};

/// Shows what an image contains: platforms, plugins, versions, digests, signatures, referrers.
///
/// Nothing is verified; to do that, use `verify`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Print the software bill of materials that is attached in this format: cyclonedx, spdx-2.3 or
    /// spdx-3.0.1.
    #[arg(long, value_name = "FORMAT", group = "document")]
    sbom: Option<SbomFormat>,
    /// Print the SLSA provenance that is attached.
    #[arg(long, group = "document")]
    provenance: bool,
    /// The platform whose document is printed [default: the only one].
    #[arg(long, value_name = "PLATFORM", requires = "document")]
    platform: Option<Platform>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    #[serde(flatten)]
    image: Description,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let opened = image::open_published(&arguments.reference)?;
    let image = describe(opened.source.as_ref(), &opened.root)?;
    let kind = arguments.sbom.map(DocumentKind::Sbom);
    let kind = kind.or(arguments.provenance.then_some(DocumentKind::Provenance));
    if let Some(kind) = kind {
        let document = document(arguments, kind, &image, opened.source.as_ref(), terminal)?;
        terminal.document(&document)?;
        return Ok(Exit::Yes);
    }
    terminal.answer(&Report { reference: arguments.reference.to_string(), image })?;
    Ok(Exit::Yes)
}

/// The document of this kind that is attached to one platform's manifest.
fn document(
    arguments: &Arguments,
    kind: DocumentKind,
    image: &Description,
    source: &dyn Source,
    terminal: &Terminal,
) -> Result<Vec<u8>, Failure> {
    let named = |it: &&PlatformDescription| match &arguments.platform {
        Some(platform) => it.platform.as_ref() == Some(platform),
        None => true,
    };
    let choices: Vec<_> = image.platforms.iter().filter(named).collect();
    let [chosen] = choices.as_slice() else {
        let all = image.platforms.iter().filter_map(|it| it.platform.as_ref());
        let all = all.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let message = match &arguments.platform {
            Some(platform) => format!("the image has no platform {platform}, only {all}"),
            None => format!("the image has several platforms: {all}"),
        };
        return Err(Failure::request(message).hint("choose one with --platform"));
    };
    let (what, option) = match kind {
        DocumentKind::Sbom(format) => (format!("{format} document"), format!("--sbom {format}")),
        DocumentKind::Provenance => ("provenance document".to_owned(), "--provenance".to_owned()),
    };
    let Some(AttachedDocument { bytes, is_signed, count }) = kind.find(source, &chosen.digest)?
    else {
        let digest = chosen.digest;
        let message = format!("no {what} of at most {SBOM_LIMIT} bytes is attached to {digest}");
        return Err(Failure::request(message).hint(format!("build the bundle with `{option}`")));
    };
    if count > 1 {
        terminal.remark(&format!("{count} {what}s are attached; this is the last"));
    }
    terminal.remark(match is_signed {
        true => "the document is in a signed statement; who signed it was not verified",
        false => "the document is not signed",
    });
    Ok(bytes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.image.digest)?;
        for entry in &self.image.platforms {
            let platform = entry
                .platform
                .as_ref()
                .map_or_else(|| "other platform".to_owned(), ToString::to_string);
            writeln!(f, "{platform} {} ({} in layers)", entry.digest, bytes(entry.layer_bytes))?;
            let Some(bundle) = &entry.bundle else {
                writeln!(f, "  not a bundle")?;
                continue;
            };
            let tool = bundle.tool.as_ref().map_or_else(
                || "no tool".to_owned(),
                |tool| format!("tool {}", tool.digest.short()),
            );
            writeln!(
                f,
                "  {} {}, {}, {tool}",
                bundle.name,
                bundle.version,
                count(bundle.plugins.len(), "plugin")
            )?;
            for plugin in &bundle.plugins {
                writeln!(
                    f,
                    "  {:<12} {:<8} {:>8}  {}  {}",
                    plugin.name.as_str(),
                    version(plugin),
                    bytes(plugin.size),
                    plugin.digest,
                    how_built(plugin)
                )?;
            }
            let origins = bundle.plugins.iter();
            let origins = origins.filter_map(|it| Some((&it.name, it.facts.origin.as_ref()?)));
            report::origins(f, "  ", origins)?;
        }
        for referrer in &self.image.referrers {
            let (kind, digest) = (referrer.kind(), referrer.digest.short());
            writeln!(f, "{kind} {digest} of {}", referrer.subject)?;
        }
        if !self.image.referrers.iter().any(|referrer| referrer.is_signature()) {
            writeln!(f, "no signatures")?;
        }
        Ok(())
    }
}

fn version(plugin: &PluginFile) -> &str {
    plugin.go.as_ref().and_then(|go| go.version.as_deref()).unwrap_or("-")
}

fn how_built(plugin: &PluginFile) -> String {
    let linkage = match &plugin.linkage {
        Linkage::Static => "static",
        Linkage::Dynamic { .. } => "dynamic",
    };
    match &plugin.go {
        Some(go) => format!("{linkage}, {}", go.go),
        None => linkage.to_owned(),
    }
}
