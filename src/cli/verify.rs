//! `verify`: checks an image against a policy, and that its layers are unaltered.

use std::fmt;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::image::{self, OwnerArguments};
use super::policy::PolicyArguments;
use super::report;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Finding, Platform, Reference};
use crate::oci::{CollectError, Platforms, collect, read_layers};
use crate::trust::{self, Policy, Presence, Proof, Verifier};

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
    let opened = image::open(&arguments.reference)?;
    report.digest = Some(opened.root.digest);
    let wanted = Platforms::requested(arguments.platform.as_ref());
    let name = arguments.owner.name(Some(&arguments.reference));
    let needs = policy.needs(name.as_ref());
    let evidence = collect(opened.source.as_ref(), &opened.root, wanted, &needs)?;
    let mut platforms = match &arguments.platform {
        Some(platform) => vec![platform.clone()],
        None => image::platforms(&opened.root),
    };
    if platforms.is_empty() {
        // A single manifest, or an index without known platforms: verification says what is wrong.
        platforms.push(Platform::host());
    }
    for platform in platforms {
        let verifier =
            Verifier { policy, name: name.as_ref(), platform: &platform, now: SystemTime::now() };
        let decided = verifier.verify(&evidence, Presence::New);
        report.platforms.push(match decided {
            Ok(bundle) => {
                let mut findings: Vec<_> = arguments
                    .owner
                    .expect
                    .and_then(|expected| trust::compare_with_pin(&bundle, &expected))
                    .into_iter()
                    .collect();
                findings.extend(bundle.proof().warning());
                let layer_bytes = match evidence.document(&bundle.value().manifest) {
                    Some(manifest) if !arguments.no_layers => {
                        match read_layers(opened.source.as_ref(), manifest) {
                            Ok(read) => Some(read),
                            Err(error) => {
                                findings.push(error.finding().ok_or(error)?);
                                None
                            }
                        }
                    }
                    _ => None,
                };
                let files = &bundle.value().files;
                let accepted = Accepted {
                    bundle: files.name.to_string(),
                    version: files.version.to_string(),
                    plugins: files.plugins.len(),
                    layer_bytes,
                    proof: bundle.proof().clone(),
                };
                let accepted =
                    findings.iter().all(|finding| !finding.is_refusal()).then_some(accepted);
                PlatformReport { platform, accepted, findings }
            }
            Err(rejection) => {
                PlatformReport { platform, accepted: None, findings: rejection.findings }
            }
        });
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(digest) = &self.digest {
            writeln!(f, "{digest}")?;
        }
        report::findings(f, &self.findings)?;
        for entry in &self.platforms {
            match &entry.accepted {
                Some(accepted) => {
                    let signer = match (&accepted.proof.authority, &accepted.proof.signed) {
                        (Some(authority), Some(signed)) if Some(*signed) == self.digest => {
                            format!("index signed by `{authority}`")
                        }
                        (Some(authority), _) => format!("manifest signed by `{authority}`"),
                        (None, _) => "unproven".to_owned(),
                    };
                    let layers = accepted
                        .layer_bytes
                        .map_or_else(String::new, |read| format!(" in {}", report::bytes(read)));
                    writeln!(
                        f,
                        "yes: {} {} for {}, {}{layers}, {signer}, rule `{}`",
                        accepted.bundle,
                        accepted.version,
                        entry.platform,
                        report::count(accepted.plugins, "plugin"),
                        accepted.proof.rule
                    )?;
                }
                None => writeln!(f, "refused for {}", entry.platform)?,
            }
            report::findings(f, &entry.findings)?;
        }
        Ok(())
    }
}
