//! Software bills of materials of what a build made: one document for each platform and format,
//! stored as an unsigned referrer of the platform's manifest.
//!
//! What a document says is decided in [`crate::attest`]; here an inventory is filled from the
//! plugins that were packed, the definition and the lock.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::attachment::Attachment;
use super::inputs::{Inputs, PlatformInputs};
use super::parallel;
use super::source::{Plugin, SourceError};
use crate::attest::{
    self, Copyright, Description, Download, Inventory, Licences, Production, Subject,
};
use crate::bundle::definition::Source;
use crate::bundle::definition::source::{Request, SourceDescription, published};
use crate::bundle::lock::{BundleLock, LockedPlugin};
use crate::bundle::{FoundLicense, Image};
use crate::model::json::{Limits, Outline};
use crate::model::{Document, json as canonical, predicate_type};

/// A format of software bills of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SbomFormat {
    /// CycloneDX 1.6.
    CycloneDx,
    /// SPDX 2.3.
    Spdx23,
    /// SPDX 3.0.1.
    Spdx3,
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `cyclonedx`, `spdx-2.3` or `spdx-3.0.1`")]
pub struct ParseSbomFormatError;

/// The longest document that is read, in bytes.
pub const SBOM_LIMIT: usize = 4 << 20;

impl SbomFormat {
    const ALL: [Self; 3] = [Self::CycloneDx, Self::Spdx23, Self::Spdx3];

    /// The media type of a document, which is the `artifactType` of its referrer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "application/vnd.cyclonedx+json",
            Self::Spdx23 | Self::Spdx3 => "application/spdx+json",
        }
    }

    /// What a statement with such a document claims.
    pub(super) fn predicate_type(self) -> &'static str {
        match self {
            Self::CycloneDx => predicate_type::CYCLONEDX,
            Self::Spdx23 => predicate_type::SPDX,
            Self::Spdx3 => predicate_type::SPDX3,
        }
    }

    /// The name that tools give the file when they fetch it.
    fn title(self) -> &'static str {
        match self {
            Self::CycloneDx => "sbom.cdx.json",
            Self::Spdx23 => "sbom.spdx.json",
            Self::Spdx3 => "sbom.spdx3.json",
        }
    }

    /// The format of a document, if it is one of these.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        // As many values as the longest document can have.
        let limits = Limits { bytes: SBOM_LIMIT, values: SBOM_LIMIT / 8 };
        let document: Value = canonical::parse_as("SBOM", bytes, limits, Outline::Any).ok()?;
        let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("bomFormat") == "CycloneDX" {
            return Some(Self::CycloneDx);
        }
        if text("spdxVersion") == "SPDX-2.3" {
            return Some(Self::Spdx23);
        }
        text("@context").contains("/3.0.1/").then_some(Self::Spdx3)
    }

    fn write(self, inventory: &Inventory) -> Vec<u8> {
        match self {
            Self::CycloneDx => attest::cyclonedx(inventory),
            Self::Spdx23 => attest::spdx23(inventory),
            Self::Spdx3 => attest::spdx3(inventory),
        }
    }
}

impl fmt::Display for SbomFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CycloneDx => "cyclonedx",
            Self::Spdx23 => "spdx-2.3",
            Self::Spdx3 => "spdx-3.0.1",
        })
    }
}

impl FromStr for SbomFormat {
    type Err = ParseSbomFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |format: &Self| format.to_string() == text;
        Self::ALL.into_iter().find(named).ok_or(ParseSbomFormatError)
    }
}

/// Describes every image of a build, in each of these formats.
pub fn sboms(
    inputs: &Inputs<'_>,
    lock: Option<&BundleLock>,
    images: &[Image],
    formats: &[SbomFormat],
) -> Result<Vec<Attachment>, SourceError> {
    if formats.is_empty() {
        return Ok(Vec::new());
    }
    let sboms = parallel::each(inputs.platforms.iter().zip(images), |(platform, image)| {
        let inventory = inventory(inputs, platform, lock, &image.manifest)?;
        let documents = formats.iter().map(|format| Attachment {
            subject: image.manifest.descriptor(),
            artifact_type: format.media_type(),
            title: format.title(),
            predicate_type: format.predicate_type(),
            created: inputs.epoch,
            bytes: format.write(&inventory),
        });
        Ok::<_, SourceError>(documents.collect::<Vec<_>>())
    })?;
    Ok(sboms.into_iter().flatten().collect())
}

pub(super) fn inventory(
    inputs: &Inputs<'_>,
    platform: &PlatformInputs<'_>,
    lock: Option<&BundleLock>,
    manifest: &Document,
) -> Result<Inventory, SourceError> {
    let definition = inputs.definition;
    let requests = definition.requests();
    let plugins = platform.plugins.iter().map(|plugin| {
        let key = (plugin.facts.name.clone(), platform.platform.clone());
        let entry = lock.and_then(|lock| lock.entry(platform.platform, &plugin.facts.name));
        let source = definition.source_of(&plugin.facts.name);
        describe(plugin, requests.get(&key), source, entry)
    });
    Ok(Inventory {
        name: definition.name.clone(),
        version: definition.version.clone(),
        platform: platform.platform.clone(),
        subject: Subject::of(&manifest.bytes),
        created: inputs.epoch,
        author: definition.author.clone(),
        source: definition.repository.clone(),
        location: definition.image.as_ref().map(|image| format!("oci://{image}")),
        plugins: plugins.collect::<Result<_, _>>()?,
        modules: Vec::new(),
    })
}

fn describe(
    plugin: &Plugin,
    request: Option<&Request>,
    source: Option<&Source>,
    entry: Option<&LockedPlugin>,
) -> Result<attest::Plugin, SourceError> {
    let (facts, taken) = (&plugin.facts, plugin.taken());
    let download = taken.artefact().zip(request).map(|(artefact, request)| Download {
        location: published(&request.location).to_owned(),
        member: taken.origin().member.clone(),
        sha256: Some(artefact.digest),
        sha512: None,
    });
    // Of what was unpacked, only the address is known.
    let unpacked = source.and_then(|it| it.description.download.clone());
    let download = download.or_else(|| {
        let (member, sha256, sha512) = (Some(facts.name.to_string()), None, None);
        unpacked.map(|location| Download { location, member, sha256, sha512 })
    });
    // Of what was compiled before, only the lock knows.
    let found = taken.license().or_else(|| entry?.facts.license.as_ref());
    Ok(attest::Plugin {
        name: facts.name.clone(),
        version: request.and_then(|request| request.version.clone()),
        digest: facts.digest,
        sha512: plugin.sha512(),
        size: facts.size,
        go: plugin.build_info()?,
        description: description(source.map(|it| &it.description), found),
        source: source.and_then(|it| it.description.repository.clone()),
        download,
        verification: entry.map(|entry| entry.level.to_string()),
        production: match entry.and_then(|entry| entry.module_sum) {
            Some(_) => Production::Built,
            None => Production::Taken,
        },
    })
}

/// What is known of a plugin's source: what the definition says, whose author has read it, else
/// what its own files say.
fn description(said: Option<&SourceDescription>, found: Option<&FoundLicense>) -> Description {
    let license = said.and_then(|said| said.license.clone());
    let license = license.or_else(|| found?.expression.parse().ok());
    let notice = said.and_then(|said| said.copyright.clone());
    let notice = notice.or_else(|| {
        let notices = &found?.copyright;
        (!notices.is_empty()).then(|| notices.join("\n"))
    });
    Description {
        licences: license.map(Licences::both).unwrap_or_default(),
        copyright: notice.map(Copyright::Notice).unwrap_or_default(),
        supplier: said.and_then(|said| said.supplier.clone()),
    }
}
