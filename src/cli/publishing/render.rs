//! `render`: verifies an image and prints the manifest that installs it on every node.
//!
//! The manifest itself is made in `render`, from what was verified here.

use std::fmt;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;

use crate::cli::image::{self, Image, OwnerArguments};
use crate::cli::interval::parse_interval;
use crate::cli::policy::PolicyArguments;
use crate::cli::report;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{
    Digest, Finding, HostPath, Platform, PluginName, Reference, RegistryReference, Repository,
};
use crate::node::{ForeignRule, MAX_GENERATIONS, ParseForeignRuleError};
use crate::oci::{Platforms, collect};
use crate::render::{
    DaemonSet, Deployment, Namespace, PinnedImage, RenderError, Repair, Sight, Watching,
};
use crate::trust::{self, Bundle, Evidence, Policy, Presence, Verified, Verifier};
use crate::watch::ConditionName;

/// Verifies an image and prints a Kubernetes manifest that installs it on every node.
///
/// The manifest contains the policy and the evidence for the image, so that nodes verify it again
/// without a registry. An image that the policy does not allow is not rendered.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image, with its tag.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The image of cnister that verifies and installs on nodes. You pin its digest; it is never
    /// taken from the bundle it verifies.
    #[arg(long, value_name = "REPO:TAG@sha256:DIGEST")]
    tool_image: PinnedImage,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    owner: OwnerArguments,
    /// The plugin directory of the nodes' container runtime.
    #[arg(long, value_name = "DIR", default_value_t = HostPath::default_bin_directory())]
    bin_dir: HostPath,
    /// The namespace of all objects in the manifest.
    #[arg(long, value_name = "NAME", default_value = "cnister")]
    namespace: Namespace,
    /// The time between two checks of the installed files, such as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Installs only on nodes of this platform; may be repeated [default: all platforms of the
    /// index].
    #[arg(long)]
    platform: Vec<Platform>,
    #[command(flatten)]
    installing: InstallingArguments,
    #[command(flatten)]
    watching: WatchingArguments,
}

/// What nodes do when they install.
#[derive(Args)]
struct InstallingArguments {
    /// Plugins of the bundle that are not installed.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    skip: Vec<PluginName>,
    /// What to do with another installer's file of the same name but different content: keep,
    /// adopt, or adopt=NAME,...
    #[arg(long, value_name = "RULE", value_parser = foreign_rule)]
    foreign: Option<String>,
    /// Removes plugins of earlier bundles that are not in this one, unless an attachment needs
    /// them; mounts the node's /var/lib/cni into the pod.
    #[arg(long)]
    prune: bool,
    /// How many generations nodes keep for rollbacks, including the installed one [default: 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_GENERATIONS)))]
    generations: Option<u8>,
    /// Also checks that the node's container runtime finds the installed plugins; mounts the node's
    /// /etc into the pod.
    #[arg(long)]
    see_runtime: bool,
}

/// What nodes do after the installation.
#[derive(Args)]
struct WatchingArguments {
    /// Only reports altered plugins instead of restoring them immediately.
    #[arg(long)]
    no_repair: bool,
    /// Serves /metrics, /healthz and /readyz at 127.0.0.1:9464 on each node.
    #[arg(long)]
    metrics: bool,
    /// Maintains a condition of this type in each node object; the watch gets a token that may
    /// patch nodes/status.
    #[arg(long, value_name = "TYPE")]
    node_condition: Option<ConditionName>,
}

impl InstallingArguments {
    fn arguments(&self) -> Vec<String> {
        let skip: Vec<_> = self.skip.iter().map(PluginName::as_str).collect();
        let skip = (!skip.is_empty()).then(|| skip.join(","));
        let pairs = [
            ("--skip", skip),
            ("--foreign", self.foreign.clone()),
            ("--generations", self.generations.map(|n| n.to_string())),
        ];
        let mut arguments: Vec<_> = pairs
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value?]))
            .flatten()
            .collect();
        arguments.extend(self.prune.then(|| "--prune".to_owned()));
        arguments
    }

    fn sights(&self) -> Vec<Sight> {
        let sights = [(self.see_runtime, Sight::Configuration), (self.prune, Sight::Attachments)];
        sights.into_iter().filter_map(|(wanted, sight)| wanted.then_some(sight)).collect()
    }
}

/// Validates the rule as `install` does, and keeps its text.
fn foreign_rule(text: &str) -> Result<String, ParseForeignRuleError> {
    text.parse::<ForeignRule>().map(|_| text.to_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    digest: Digest,
    verified: bool,
    platforms: Vec<PlatformReport>,
    findings: Vec<Finding>,
    /// YAML for `kubectl apply -f -`.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlatformReport {
    platform: Platform,
    findings: Vec<Finding>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let pulled = pulled(&arguments.reference, &arguments.owner)?;
    let policy = match arguments.policy.load(None) {
        Ok(policy) => Ok(policy),
        Err(stop) => Err(stop.refusal()?),
    };
    let opened = image::open_published(&arguments.reference)?;
    let mut report = Report {
        reference: arguments.reference.to_string(),
        digest: opened.root.digest,
        verified: false,
        platforms: Vec::new(),
        findings: Vec::new(),
        manifest: None,
    };
    match policy {
        Err(findings) => report.findings = findings,
        Ok(policy) => {
            let platforms = match arguments.platform.as_slice() {
                [] => Platforms::All,
                some => Platforms::Only(some),
            };
            let needs = policy.needs(arguments.owner.name(Some(&arguments.reference)).as_ref());
            let evidence = collect(opened.source.as_ref(), &opened.root, platforms, &needs)?;
            let bundles = verify(arguments, &policy, &opened, &evidence, &mut report.platforms);
            let findings = report.platforms.iter().flat_map(|platform| &platform.findings);
            report.verified = !findings.clone().any(Finding::is_refusal);
            if report.verified {
                // Standard output gets only the manifest; warnings go to standard error.
                for finding in findings {
                    terminal.remark(&format!("warning: {finding}"));
                }
                let evidence = evidence.needed(&needs);
                report.manifest = Some(manifest(arguments, &policy, pulled, &evidence, &bundles)?);
            }
        }
    }
    if report.manifest.is_some() || terminal.is_json() {
        terminal.answer(&report)?;
    } else {
        // Standard output may be redirected to a file that will be applied.
        terminal.remark(&report.to_string());
    }
    Ok(if report.verified { Exit::Yes } else { Exit::No })
}

/// Returns where nodes pull the image: its own repository, or for a layout the one given by `--as`.
fn pulled(reference: &Reference, owner: &OwnerArguments) -> Result<RegistryReference, Failure> {
    let repository = reference.repository().or(owner.name.as_ref()).cloned().ok_or_else(|| {
        Failure::request(format!("nodes cannot pull `{reference}`"))
            .hint("use --as REPO to name the repository that it is pushed to")
    })?;
    if reference.selector.tag.is_none() {
        return Err(Failure::request(format!(
            "`{reference}` has no tag, which update bots need in the manifest"
        ))
        .hint("add the tag: REF:TAG or REF:TAG@sha256:DIGEST"));
    }
    Ok(RegistryReference { repository, selector: reference.selector.clone() })
}

/// Verifies every requested platform and reports on each.
fn verify(
    arguments: &Arguments,
    policy: &Policy,
    opened: &Image,
    evidence: &Evidence,
    reports: &mut Vec<PlatformReport>,
) -> Vec<Verified<Bundle>> {
    let name = arguments.owner.name(Some(&arguments.reference));
    let mut platforms = arguments.platform.clone();
    if platforms.is_empty() {
        platforms = image::platforms(&opened.root);
    }
    if platforms.is_empty() {
        // A single manifest, or an index without known platforms: verification says what is wrong.
        platforms.push(Platform::host());
    }
    platforms.sort();
    platforms.dedup();
    let now = SystemTime::now();
    let mut bundles = Vec::new();
    for platform in platforms {
        let verifier = Verifier { policy, name: name.as_ref(), platform: &platform, now };
        let findings = match verifier.verify(evidence, Presence::New) {
            Ok(bundle) => {
                let other = arguments
                    .owner
                    .expect
                    .and_then(|expected| trust::compare_with_pin(&bundle, &expected));
                let warning = bundle.proof().warning();
                bundles.push(bundle);
                other.into_iter().chain(warning).collect()
            }
            Err(rejection) => rejection.findings,
        };
        reports.push(PlatformReport { platform, findings });
    }
    bundles
}

fn manifest(
    arguments: &Arguments,
    policy: &Policy,
    pulled: RegistryReference,
    evidence: &Evidence,
    bundles: &[Verified<Bundle>],
) -> Result<String, Failure> {
    let name: Repository =
        arguments.owner.name.clone().unwrap_or_else(|| pulled.repository.clone());
    let image = PinnedImage::new(pulled, evidence.root())
        .ok_or("the reference has no tag")
        .map_err(Failure::request)?;
    let daemon_set = DaemonSet(Deployment {
        image: &image,
        bundles,
        evidence,
        policy,
        name: &name,
        tool: &arguments.tool_image,
        namespace: &arguments.namespace,
        bin_directory: &arguments.bin_dir,
        interval: arguments.interval,
        install: &arguments.installing.arguments(),
        sights: &arguments.installing.sights(),
        watching: Watching {
            repair: if arguments.watching.no_repair { Repair::No } else { Repair::Yes },
            metrics: arguments.watching.metrics,
            condition: arguments.watching.node_condition.clone(),
        },
    });
    daemon_set.to_yaml().map_err(|error| match error {
        RenderError::SelfCheck => Failure::request(error).hint(
            "build an image that contains only the tool with \
                tool-image, push it, and use that one",
        ),
        RenderError::TooLong { .. } => Failure::request(error).hint(
            "use --platform to render fewer platforms, and render the others into another \
             --namespace",
        ),
        RenderError::NoPlatform | RenderError::OtherRelease { .. } => Failure::request(error),
        RenderError::Compression { .. } => Failure::could_not(error),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(manifest) = &self.manifest {
            return f.write_str(manifest);
        }
        writeln!(f, "{}", self.digest)?;
        report::findings(f, &self.findings)?;
        for platform in &self.platforms {
            if platform.findings.iter().any(Finding::is_refusal) {
                writeln!(f, "refused for {}; nothing is rendered", platform.platform)?;
            }
            report::findings(f, &platform.findings)?;
        }
        Ok(())
    }
}
