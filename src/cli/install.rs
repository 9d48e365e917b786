//! `install`: verifies a bundle and installs its plugins on this node, all or none.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::image::OwnerArguments;
use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::proof;
use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use super::termination::TerminationArguments;
use crate::check::{Question, check};
use crate::model::{
    BundleName, Code, Digest, Finding, Location, Platform, PluginName, Reference, visible,
};
use crate::node::{
    ExistingFiles, ForeignRule, InstallOptions, InstallOutcome, InstallRequest, KeptReleases,
    Leftovers, MAX_GENERATIONS, Moment, NodeError, Progress, Refusal, RolledBackRule, Root, Run,
    Sandbox, State, Step, check_overlap, exposed_file, install, refusal_obstacle,
};
use crate::trust::{self, Bundle, Policy, Proof, Verified};

/// Verifies a bundle and installs its plugins on this node.
///
/// The files come from an image (REF) or from a directory that the bundle image staged (--from). No
/// file gets a plugin's name before its content is verified; a refusal leaves the plugin directory
/// unchanged.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image to install from.
    #[arg(value_name = "REF", required_unless_present = "from", conflicts_with = "from")]
    reference: Option<Reference>,
    /// A directory that `cnister stage` filled, or a mounted bundle image.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Evidence for the staged files: files that `cnister evidence` wrote, or directories of them.
    /// Evidence of other releases is ignored.
    #[arg(long, value_name = "FILE", requires = "from")]
    evidence: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    owner: OwnerArguments,
    #[command(flatten)]
    node: NodeArguments,
    /// The plugin directories; may be repeated.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: Vec<crate::model::HostPath>,
    /// Installs only these plugins of the bundle.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<PluginName>,
    /// Plugins of the bundle to leave out; SKIP_CNI_BINARIES adds to them.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    skip: Vec<PluginName>,
    /// Leaves every existing file alone and adds only missing plugins; the same as
    /// UPDATE_CNI_BINARIES=false.
    #[arg(long)]
    no_update: bool,
    /// Removes plugins of earlier bundles that this one lacks, unless an attachment needs them.
    #[arg(long)]
    prune: bool,
    /// How many generations the node keeps for rollbacks, including this one.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_GENERATIONS)))]
    generations: u8,
    /// Installs a release that was rolled back on this node.
    #[arg(long)]
    again: bool,
    /// Replaces the installed bundle NAME with a bundle of another name or from another repository;
    /// without it, such a bundle is refused.
    #[arg(long, value_name = "NAME")]
    replace: Option<BundleName>,
    /// What to do with another installer's file of the same name but different content: keep,
    /// adopt, or adopt=NAME,...; without it, nothing is installed. A file with the same content is
    /// taken over, except with keep.
    #[arg(long, value_name = "RULE")]
    foreign: Option<ForeignRule>,
    /// What to do if the bundle is refused: fail, or keep the installed set if it still verifies.
    #[arg(long, value_enum, default_value_t = OnRefusal::Fail)]
    on_refusal: OnRefusal,
    #[command(flatten)]
    termination: TerminationArguments,
    /// Prints what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
}

/// What to do if the bundle is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnRefusal {
    /// Exit code 1.
    Fail,
    /// Exit code 0 if the installed set still verifies under the current policy.
    Keep,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    steps: Vec<Step>,
    findings: Vec<Finding>,
    #[serde(skip)]
    is_another_release: bool,
    #[serde(skip)]
    is_policy_new: bool,
    #[serde(skip)]
    is_finished: bool,
    /// Whether this is what would be done, and nothing was.
    #[serde(skip_serializing_if = "is_false")]
    is_planned: bool,
}

/// For a field that is only written where it says something.
fn is_false(value: &bool) -> bool {
    !value
}

/// The outcome of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// The plan was carried out, or nothing had to change.
    Installed,
    /// The plan was printed.
    Planned,
    /// The policy or the node does not allow it; nothing was changed.
    Refused,
    /// It was refused, and the installed set was kept.
    Kept,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let policy = match arguments.policy.load(None) {
        Ok(policy) => policy,
        Err(stop) => {
            let report = Report::refused(stop.refusal()?);
            terminal.answer(&report)?;
            return Ok(Exit::No);
        }
    };
    let node = &arguments.node;
    check_overlap(&node.state_dir, &node.policy_dir, &arguments.bin_dir).map_err(|overlap| {
        let hint = overlap.hint();
        Failure::request(overlap).hint(hint)
    })?;
    // From here on bytes from outside are read.
    let unconfined = arguments.sandbox()?.confine();
    let mut report = match attempt(arguments, &policy) {
        Ok(report) => report,
        Err(stop) => {
            let findings = arguments.refusal(stop)?;
            refuse(arguments, &policy, findings)?
        }
    };
    // Last, and after what is remembered of a refusal: it is not a reason for it.
    report.findings.extend(unconfined);
    report.findings.extend(exposed_policy(&arguments.policy)?);
    terminal.answer(&report)?;
    if report.outcome == Outcome::Kept && !report.is_planned {
        say_loudly(arguments, &report, terminal);
    }
    Ok(if report.outcome == Outcome::Refused { Exit::No } else { Exit::Yes })
}

/// Who else may change the policy that decided.
fn exposed_policy(policy: &PolicyArguments) -> Result<Vec<Finding>, Failure> {
    let here = Root::open(Path::new("/"))?;
    let files = policy.files(None);
    Ok(files.iter().flat_map(|path| exposed_file(&here, path, Moment::Install)).collect())
}

impl Arguments {
    /// What an installation changes, and what it connects to.
    fn sandbox(&self) -> Result<Sandbox, Failure> {
        let node = &self.node;
        let mut sandbox = Sandbox::default();
        if let Some(Location::Registry(_)) =
            self.reference.as_ref().map(|reference| &reference.location)
        {
            sandbox.connect();
        }
        if !self.dry_run {
            let root = node.open_root()?;
            let changed = [&node.state_dir, &node.policy_dir].into_iter().chain(&self.bin_dir);
            changed.for_each(|path| sandbox.write_on(&root, path));
            sandbox.move_files();
            sandbox.write_file(self.termination.path());
        }
        Ok(sandbox)
    }

    /// The findings against an installation. A fault of the files counts as one if the installed
    /// set may be kept: whatever they are, a node with a proven set is better off with it than with
    /// an installer that fails again and again.
    fn refusal(&self, stop: Stop) -> Result<Vec<Finding>, Failure> {
        let is_local = self.reference.as_ref().is_some_and(|reference| {
            matches!(reference.location, Location::Layout(_) | Location::Archive(_))
        });
        stop.refusal().or_else(|failure| match self.on_refusal {
            OnRefusal::Keep => {
                failure.payload_fault(is_local).map(|finding| vec![finding]).ok_or(failure)
            }
            _ => Err(failure),
        })
    }

    /// What was asked for, in the words of the command.
    fn wanted(&self) -> String {
        match (&self.reference, &self.from) {
            (Some(reference), _) => reference.to_string(),
            (None, Some(directory)) => directory.display().to_string(),
            (None, None) => String::new(),
        }
    }
}

fn attempt(arguments: &Arguments, policy: &Policy) -> Result<Report, Stop> {
    let name = arguments.owner.name(arguments.reference.as_ref());
    let root = arguments.node.open_root()?;
    let platform = Platform::host();
    let mut installation = arguments.node.installation(policy, &platform);
    installation.verifier.name = name.as_ref();
    let kept = KeptReleases::read(&root, installation.state, installation.patience);
    let (bundle, evidence, files) = match (&arguments.reference, &arguments.from) {
        (Some(reference), _) => proof::of_image(reference, &installation.verifier, &kept)?,
        (None, Some(directory)) => {
            let verifier = &installation.verifier;
            proof::of_directory(directory, &arguments.evidence, verifier, &kept)?
        }
        (None, None) => {
            let failure = Failure::request("nothing to install: give a REF or --from DIR");
            return Err(failure.into());
        }
    };
    let expected = arguments.owner.expect;
    if let Some(finding) = expected.and_then(|expected| trust::compare_with_pin(&bundle, &expected))
    {
        return Err(finding.into());
    }
    // A digest that was asked for is the one that the receipt has to name.
    let reference = arguments.reference.as_ref();
    let is_pinned = expected.is_some()
        || reference.is_some_and(|reference| reference.selector.digest.is_some());
    let installed = match is_pinned {
        true => None,
        false => kept.as_installed(&installation.verifier, &bundle),
    };
    let (bundle, evidence) = installed.unwrap_or((bundle, evidence));
    let request = InstallRequest {
        bundle: &bundle,
        evidence: &trust::evidence_to_store(policy, evidence).map_err(Failure::from)?,
        policy_directory: &arguments.node.policy_dir,
        directories: &arguments.bin_dir,
        options: &options(arguments)?,
        generations: arguments.generations,
        rolled_back: match arguments.again {
            true => RolledBackRule::Install,
            false => RolledBackRule::Refuse,
        },
        replace: arguments.replace.as_ref(),
    };
    let (run, outcome) = match arguments.dry_run {
        true => (Run::Plan, Outcome::Planned),
        false => (Run::Apply, Outcome::Installed),
    };
    let installed = install(&root, &installation, &request, files, run, Progress::silent())?;
    Ok(Report::of(outcome, &bundle, installed))
}

/// The options, from arguments and from the two variables that other installers have as well.
fn options(arguments: &Arguments) -> Result<InstallOptions, Failure> {
    let mut skip: BTreeSet<_> = arguments.skip.iter().cloned().collect();
    if let Some(names) = variable("SKIP_CNI_BINARIES")? {
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.parse().map_err(|error: crate::model::ParsePluginNameError| {
                Failure::request(format!("SKIP_CNI_BINARIES: {error}"))
            })?;
            skip.insert(name);
        }
    }
    let update = match variable("UPDATE_CNI_BINARIES")?.map(|value| value.to_lowercase()).as_deref()
    {
        None | Some("" | "true" | "yes" | "1") => true,
        Some("false" | "no" | "0") => false,
        Some(other) => {
            let message =
                format!("UPDATE_CNI_BINARIES is `{}`, expected `true` or `false`", visible(other));
            return Err(Failure::request(message));
        }
    };
    Ok(InstallOptions {
        foreign: arguments.foreign.clone().unwrap_or_default(),
        only: only(&arguments.only),
        recorded: None,
        skip,
        existing: if arguments.no_update || !update {
            ExistingFiles::Leave
        } else {
            ExistingFiles::Update
        },
        leftovers: if arguments.prune { Leftovers::Prune } else { Leftovers::Keep },
    })
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error @ std::env::VarError::NotUnicode(_)) => {
            Err(Failure::request(format!("{name}: {error}")))
        }
    }
}

fn only(names: &[PluginName]) -> Option<BTreeSet<PluginName>> {
    (!names.is_empty()).then(|| names.iter().cloned().collect())
}

/// Answers no, or keeps the installed set if that is asked for and it still verifies.
fn refuse(
    arguments: &Arguments,
    policy: &Policy,
    mut findings: Vec<Finding>,
) -> Result<Report, Failure> {
    if arguments.on_refusal == OnRefusal::Fail {
        return Ok(Report::refused(findings));
    }
    let is_planned = arguments.dry_run;
    match keep_installed(arguments, policy, &findings) {
        Ok(()) => Ok(Report { outcome: Outcome::Kept, is_planned, ..Report::refused(findings) }),
        Err(stop) => {
            findings.extend(stop.refusal()?);
            Ok(Report::refused(findings))
        }
    }
}

/// Keeps the installed set if it verifies under this policy, and records that something else was
/// wanted; a dry run only finds out whether that can be recorded.
fn keep_installed(
    arguments: &Arguments,
    policy: &Policy,
    findings: &[Finding],
) -> Result<(), Stop> {
    let root = arguments.node.open_root()?;
    let (platform, patience) = (Platform::host(), arguments.node.patience());
    // By its own name: what is installed may have come under another one than what is wanted now.
    let question =
        Question { directories: &arguments.bin_dir, ..arguments.node.question(policy, &platform) };
    let against = check(&root, &question).map_err(Failure::from)?.against_keeping();
    if !against.is_empty() {
        return Err(against.into());
    }
    if let Some(finding) = refusal_obstacle(&root, &arguments.node.state_dir, patience)? {
        return Err(finding.into());
    }
    if arguments.dry_run {
        return Ok(());
    }
    let state = State::open_or_create(&root, &arguments.node.state_dir);
    let writing = state.and_then(|state| state.write(patience));
    let refusal = Refusal::of(&arguments.wanted(), findings);
    let written = writing.and_then(|writing| writing.write_refusal(&refusal));
    Ok(written.map_err(NodeError::before_changes)?)
}

/// Says on standard error and in the status of the pod that the wanted release is not installed:
/// the verb succeeds, so no one would read its log.
fn say_loudly(arguments: &Arguments, report: &Report, terminal: &Terminal) {
    let loud = "warning: the wanted release is NOT installed; the installed plugins were kept";
    terminal.remark(loud);
    let reasons: Vec<_> = report
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.code, finding.message))
        .collect();
    drop(arguments.termination.leave(&format!("{loud}; {}", reasons.join("; "))));
}

impl Report {
    fn of(outcome: Outcome, bundle: &Verified<Bundle>, installed: InstallOutcome) -> Self {
        let (value, proof) = (bundle.value(), bundle.proof());
        let InstallOutcome { steps, notes: mut findings, about_node, .. } = installed;
        if findings.iter().all(|finding| finding.code != Code::Unproven) {
            findings.extend(proof.warning());
        }
        findings.extend(about_node);
        Self {
            outcome,
            index: Some(value.index),
            bundle: Some(value.files.name.to_string()),
            version: Some(value.files.version.to_string()),
            platform: Some(value.platform.clone()),
            proof: Some(proof.clone()),
            steps,
            findings,
            is_another_release: installed.is_another_release,
            is_policy_new: installed.is_policy_new,
            is_finished: installed.is_finished,
            is_planned: false,
        }
    }

    fn refused(findings: Vec<Finding>) -> Self {
        Self {
            outcome: Outcome::Refused,
            index: None,
            bundle: None,
            version: None,
            platform: None,
            proof: None,
            steps: Vec::new(),
            findings,
            is_another_release: false,
            is_policy_new: false,
            is_finished: false,
            is_planned: false,
        }
    }

    /// What an installation did, in one line.
    fn done(&self) -> String {
        let is_only_written = !self.steps.iter().any(|step| matches!(step, Step::Remove { .. }));
        match report::changed(&self.steps) {
            Some(_) if is_only_written => "installed".to_owned(),
            Some(changed) => format!("installed; {changed}"),
            None if self.is_another_release => "release recorded; no file changed".to_owned(),
            None if self.is_policy_new => "policy recorded; no plugin changed".to_owned(),
            None if self.is_finished => {
                "finished an interrupted installation; no plugin changed".to_owned()
            }
            None => "already up to date; no file changed".to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = &self.index {
            writeln!(f, "{index}")?;
        }
        if let (Some(bundle), Some(version), Some(platform)) =
            (&self.bundle, &self.version, &self.platform)
        {
            let signer = self.proof.as_ref().and_then(|proof| proof.authority.as_deref());
            let signer = signer
                .map_or_else(|| "unproven".to_owned(), |signer| format!("signed by `{signer}`"));
            writeln!(f, "{bundle} {version} for {platform}, {signer}")?;
        }
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        report::findings(f, &self.findings)?;
        match self.outcome {
            Outcome::Installed => writeln!(f, "{}", self.done()),
            Outcome::Planned => writeln!(f, "planned; nothing was done"),
            Outcome::Refused => writeln!(f, "refused; nothing was changed"),
            Outcome::Kept if self.is_planned => {
                writeln!(f, "refused; the installed plugins would be kept")
            }
            Outcome::Kept => writeln!(f, "refused; the installed plugins were kept"),
        }
    }
}
