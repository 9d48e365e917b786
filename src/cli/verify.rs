//! `verify`: checks an image against a policy, and that its layers are unaltered.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::image::{self, OwnerArguments};
use super::policy::PolicyArguments;
use super::report;
use super::terminal::{Exit, Failure, Terminal};
use super::verdict::{Verdict, judge};
use crate::model::{Digest, Finding, Platform, Reference};
use crate::oci::{CollectError, read_layers};
use crate::trust::{Policy, Proof};

/// Verifies that a policy allows an image (to check this node, use check).
///
/// Follows the chain from the signature of the index (or of a platform's manifest) to the digest of
/// every plugin file. An image that matches no rule of the policy is refused.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    owner: OwnerArguments,
    /// Verifies only this platform [default: all platforms of the index].
    #[arg(long)]
    platform: Option<Platform>,
    /// Does not read the layers; only signatures and documents are verified, as with cosign.
    #[arg(long)]
    no_layers: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    verified: bool,
    platforms: Vec<PlatformReport>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlatformReport {
    platform: Platform,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    bundle: String,
    version: String,
    plugins: usize,
    /// Total size of the layers in bytes, if they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_bytes: Option<u64>,
    proof: Proof,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let reference = arguments.reference.to_string();
    let mut report = Report {
        reference,
        digest: None,
        verified: false,
        platforms: Vec::new(),
        findings: Vec::new(),
    };
    let policy = arguments.policy.load(None);
    if let Err(stop) = policy.and_then(|policy| Ok(decide(arguments, &policy, &mut report)?)) {
        report.findings.extend(stop.refusal()?);
    }
    report.verified =
        report.findings.is_empty() && report.platforms.iter().all(|entry| entry.accepted.is_some());
    terminal.answer(&report)?;
    Ok(if report.verified { Exit::Yes } else { Exit::No })
}

/// Verifies every requested platform.
fn decide(arguments: &Arguments, policy: &Policy, report: &mut Report) -> Result<(), CollectError> {
    let Arguments { reference, owner, platform, .. } = arguments;
    let opened = image::open(reference)?;
    report.digest = Some(opened.root.digest);
    let (evidence, verdicts) = judge(&opened, reference, policy, owner, platform.as_ref())?;
    for mut verdict in verdicts {
        let bundle = verdict.bundle.as_ref();
        let manifest = bundle.and_then(|bundle| evidence.document(&bundle.value().manifest));
        let layer_bytes = match manifest.filter(|_| !arguments.no_layers) {
            Some(manifest) => match read_layers(opened.source.as_ref(), manifest) {
                Ok(read) => Some(read),
                Err(error) => {
                    verdict.findings.push(error.finding().ok_or(error)?);
                    None
                }
            },
            None => None,
        };
        let accepted = verdict.allowed().map(|bundle| {
            let files = &bundle.value().files;
            Accepted {
                bundle: files.name.to_string(),
                version: files.version.to_string(),
                plugins: files.plugins.len(),
                layer_bytes,
                proof: bundle.proof().clone(),
            }
        });
        let Verdict { platform, findings, .. } = verdict;
        report.platforms.push(PlatformReport { platform, accepted, findings });
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.as_ref();
        if let Some(digest) = digest {
            writeln!(f, "{digest}")?;
        }
        report::findings(f, &self.findings)?;
        for entry in &self.platforms {
            match &entry.accepted {
                Some(accepted) => {
                    let layers = accepted
                        .layer_bytes
                        .map_or_else(String::new, |read| format!(" in {}", report::bytes(read)));
                    writeln!(
                        f,
                        "yes: {} {} for {}, {}{layers}, {}",
                        accepted.bundle,
                        accepted.version,
                        entry.platform,
                        report::count(accepted.plugins, "plugin"),
                        accepted.proof.summary(digest)
                    )?;
                }
                None => writeln!(f, "refused for {}", entry.platform)?,
            }
            report::findings(f, &entry.findings)?;
        }
        Ok(())
    }
}
