//! `verify`: an image against a policy.

use std::fmt;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::image::{self, OwnerArguments};
use super::policy::PolicyArguments;
use super::report;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{Code, Digest, Finding, Platform, Reference};
use crate::oci::{Platforms, collect};
use crate::trust::{self, Proof, Strength};

/// Asks whether a policy allows an image (check asks about this node).
///
/// Walks the chain from the signature over the index (or a platform's manifest) to the digest of every plugin file.
/// What no rule of the policy names is refused.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    owner: OwnerArguments,
    /// Only this platform; without it, every platform that the index lists.
    #[arg(long)]
    platform: Option<Platform>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    digest: Digest,
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
    proof: Proof,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let policy = arguments.policy.load(None)?;
    let opened = image::open(&arguments.reference)?;
    let mut report = Report {
        reference: arguments.reference.to_string(),
        digest: opened.root.digest,
        verified: false,
        platforms: Vec::new(),
        findings: Vec::new(),
    };
    match policy {
        Err(finding) => report.findings.push(finding),
        Ok(policy) => {
            let wanted = arguments.platform.as_ref().map_or(Platforms::All, Platforms::One);
            let evidence = collect(opened.source.as_ref(), &opened.root, wanted, &policy.needs())?;
            let name = arguments.owner.name(Some(&arguments.reference));
            let mut platforms = match &arguments.platform {
                Some(platform) => vec![platform.clone()],
                None => image::platforms(&opened.root),
            };
            if platforms.is_empty() {
                // A lone manifest, or an index that lists nothing we know: the chain itself says what is wrong.
                platforms.push(Platform::host());
            }
            for platform in platforms {
                let decided = trust::verify(&policy, name.as_ref(), &evidence, &platform, SystemTime::now());
                report.platforms.push(match decided {
                    Ok(bundle) => {
                        let other = arguments.owner.expect.and_then(|expected| trust::expect(&bundle, &expected));
                        let files = &bundle.value().files;
                        let accepted = Accepted {
                            bundle: files.name.to_string(),
                            version: files.version.to_string(),
                            plugins: files.plugins.len(),
                            proof: bundle.proof().clone(),
                        };
                        let mut findings: Vec<_> = other.into_iter().collect();
                        if bundle.proof().strength == Strength::Admitted {
                            findings.push(unproven(&bundle.proof().rule));
                        }
                        let accepted = findings.iter().all(|finding| !finding.is_refusal()).then_some(accepted);
                        PlatformReport { platform, accepted, findings }
                    }
                    Err(findings) => PlatformReport { platform, accepted: None, findings },
                });
            }
            report.verified = report.platforms.iter().all(|platform| platform.accepted.is_some());
        }
    }
    terminal.answer(&report)?;
    Ok(if report.verified { Exit::Yes } else { Exit::No })
}

/// The warning that follows an image admitted without proof.
pub(super) fn unproven(rule: &str) -> Finding {
    Finding::warning(Code::Unproven, format!("rule `{rule}` only warns: the image is admitted and nothing was proven"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        report::findings(f, &self.findings)?;
        for entry in &self.platforms {
            match &entry.accepted {
                Some(accepted) => {
                    let signer = match (&accepted.proof.authority, &accepted.proof.signed) {
                        (Some(authority), Some(signed)) if *signed == self.digest => {
                            format!("index signed by `{authority}`")
                        }
                        (Some(authority), _) => format!("manifest signed by `{authority}`"),
                        (None, _) => "unproven".to_owned(),
                    };
                    writeln!(
                        f,
                        "yes: {} {} for {}, {} plugins, {signer}, rule `{}`",
                        accepted.bundle, accepted.version, entry.platform, accepted.plugins, accepted.proof.rule
                    )?;
                }
                None => writeln!(f, "refused for {}", entry.platform)?,
            }
            report::findings(f, &entry.findings)?;
        }
        Ok(())
    }
}
