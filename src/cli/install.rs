//! `install`: the plugins of a bundle onto this node, verified, all or nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::image::OwnerArguments;
use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::proof::{Judge, Kept, PayloadSource, Place, Stop, answer, prove};
use super::report;
use super::terminal::{Exit, Failure, Terminal};
use super::termination::TerminationArguments;
use super::verify::unproven;
use crate::check::{Question, check};
use crate::model::{Code, Digest, Finding, Location, Platform, PluginName, Reference, visible};
use crate::node::{
    ExistingFiles, ForeignRule, InstallOptions, KeptPolicy, Layer, Leftovers, MAX_GENERATIONS,
    NodeError, Observed, Payload, Plan, Progress, Purpose, Reading, Record, Records, Refusal,
    RolledBack, Root, Sandbox, State, Step, apply, boot, check_apart, observe, plan, preflight,
    surroundings,
};
use crate::trust::{self, Bundle, Evidence, Policy, Proof, Strength, Verified};

/// Installs a bundle's plugins on this node, after the policy allowed it.
///
/// The files come from an image (REF) or from a directory that the bundle image staged (--from).
/// Nothing gets a plugin's name before its bytes are proven; a refusal leaves the plugin directory
/// as it was.
#[derive(Args)]
pub(super) struct Arguments {
    /// The image to install from.
    #[arg(value_name = "REF", required_unless_present = "from", conflicts_with = "from")]
    reference: Option<Reference>,
    /// A directory that `cnister stage` filled, or the mount of a bundle image.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// What proves the staged files: files that `cnister evidence` wrote, or directories of them;
    /// those of other releases are ignored.
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
    /// Only these plugins of the bundle.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<PluginName>,
    /// Plugins of the bundle that are not wanted; SKIP_CNI_BINARIES adds to them.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    skip: Vec<PluginName>,
    /// Leaves every file that is there already, whatever it is, and adds only what is missing;
    /// UPDATE_CNI_BINARIES=false says the same.
    #[arg(long)]
    no_update: bool,
    /// Removes plugins of earlier bundles that this one lacks, unless an attachment needs them.
    #[arg(long)]
    prune: bool,
    /// How many generations the node keeps to go back to, this one included.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_GENERATIONS)))]
    generations: u8,
    /// Installs the release although the node's owner went back from it.
    #[arg(long)]
    again: bool,
    /// What happens to somebody else's file with a wanted name and other bytes: keep, adopt, or
    /// adopt=NAME,...; without it, nothing is installed.
    #[arg(long, value_name = "RULE", value_parser = parse_foreign)]
    foreign: Option<ForeignRule>,
    /// What a refusal means for the node: fail, or keep the proven set that is there and say so.
    #[arg(long, value_enum, default_value_t = OnRefusal::Fail)]
    on_refusal: OnRefusal,
    #[command(flatten)]
    termination: TerminationArguments,
    /// Prints what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnRefusal {
    /// Exit code 1.
    Fail,
    /// Exit code 0 if the installed set still proves itself under the current policy.
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
}

/// What became of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// The plan was carried out, or there was nothing to do.
    Installed,
    /// The plan was printed.
    Planned,
    /// The policy or the node does not allow it; nothing was changed.
    Refused,
    /// It was refused, and the proven set that was there stays.
    Kept,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let policy = match arguments.policy.load(None)? {
        Ok(policy) => policy,
        Err(finding) => return refuse(arguments, None, vec![finding], None, terminal),
    };
    check_paths(arguments)?;
    // From here on bytes from outside are read.
    let unconfined = sandbox(arguments)?.confine();
    match attempt(arguments, &policy) {
        Ok(mut report) => {
            report.findings.extend(unconfined);
            terminal.answer(&report)?;
            Ok(Exit::Yes)
        }
        Err(Stop::Refused(findings)) => {
            refuse(arguments, Some(&policy), findings, unconfined, terminal)
        }
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// What an installation changes, and what it connects to.
fn sandbox(arguments: &Arguments) -> Result<Sandbox, Failure> {
    let node = &arguments.node;
    let mut sandbox = Sandbox::default();
    if let Some(Location::Registry(_)) =
        arguments.reference.as_ref().map(|reference| &reference.location)
    {
        sandbox.connect();
    }
    if !arguments.dry_run {
        let root = node.open_root()?;
        let changed = [&node.state_dir, &node.policy_dir].into_iter().chain(&arguments.bin_dir);
        changed.for_each(|path| sandbox.write_on(&root, path));
        sandbox.move_files();
        sandbox.write_file(arguments.termination.path());
    }
    Ok(sandbox)
}

fn attempt(arguments: &Arguments, policy: &Policy) -> Result<Report, Stop> {
    let name = arguments.owner.name(arguments.reference.as_ref());
    let root = arguments.node.open_root()?;
    let judge = Judge {
        policy,
        name: name.as_ref(),
        now: SystemTime::now(),
        kept: kept_releases(&root, &arguments.node),
    };
    let place = Place {
        reference: arguments.reference.as_ref(),
        directory: arguments.from.as_deref(),
        evidence: &arguments.evidence,
    };
    let (source, bundle, evidence) = prove(&place, &judge)?;
    if let Some(finding) =
        arguments.owner.expect.and_then(|expected| trust::expect(&bundle, &expected))
    {
        return Err(Stop::Refused(vec![finding]));
    }
    check_apart(&root, &arguments.node.state_dir, &arguments.bin_dir, []).map_err(answer)?;
    let options = options(arguments)?;
    let kept = trust::keep(policy, evidence)?;
    let layer = &bundle.value().plugin_layer;
    let records = Records {
        directory: &arguments.node.state_dir,
        documents: [kept.len(), policy.text().len()]
            .iter()
            .fold(0, |sum, length| sum + *length as u64),
        // What claims to be longer than its files is refused when it is fetched.
        spool: if matches!(source, PayloadSource::Image(_)) {
            layer.size().min(bundle.value().files.total_size())
        } else {
            0
        },
    };
    let request =
        Request { arguments, root: &root, bundle: &bundle, options: &options, records: &records };
    let open = || State::open_or_create(&root, &arguments.node.state_dir);
    if arguments.dry_run {
        let state = State::open(&root, &arguments.node.state_dir).map_err(answer)?;
        let reading =
            state.map(|state| state.read(arguments.node.patience())).transpose().map_err(answer)?;
        return Ok(request.consider(reading.as_ref())?.report(Outcome::Planned, &request));
    }
    let spool = open().map_err(answer)?;
    let mut payload: Box<dyn Payload + '_> = match source {
        PayloadSource::Image(ref image) => {
            let mut layer = Layer::new(image.source.as_ref(), layer, spool.spool());
            let reading =
                open().and_then(|state| state.read(arguments.node.patience())).map_err(answer)?;
            if is_news(&reading, bundle.value()).map_err(answer)? {
                // Before the lock is taken: a slow registry shall not keep a check or a boot
                // waiting. And what can be said without the layer is said without it.
                request.consider(Some(&reading))?;
                drop(reading);
                layer.fetch(&bundle.value().files).map_err(answer)?;
            }
            Box::new(layer)
        }
        PayloadSource::Directory(staged) => Box::new(staged),
    };
    let writing =
        open().and_then(|state| state.write(arguments.node.patience())).map_err(answer)?;
    let considered = request.consider(Some(&writing))?;
    let record = Record {
        evidence: &kept,
        policy: Some(KeptPolicy { text: policy.text(), directory: &arguments.node.policy_dir }),
        generations: arguments.generations,
        repository: name.as_ref(),
        purpose: Purpose::Install,
        rollback: None,
    };
    let receipt =
        apply(&root, &writing, &considered.plan, payload.as_mut(), &record, Progress::silent())
            .map_err(answer)?;
    let mut report = considered.report(Outcome::Installed, &request);
    report.findings.extend(boot::outdated(&root, &receipt));
    Ok(report)
}

/// What is asked of a node.
struct Request<'a> {
    arguments: &'a Arguments,
    root: &'a Root,
    bundle: &'a Verified<Bundle>,
    options: &'a InstallOptions,
    records: &'a Records<'a>,
}

/// What a node says to it.
struct Considered<'a> {
    plan: Plan<'a>,
    foreseen: Vec<Finding>,
}

impl<'a> Request<'a> {
    /// Looks at the node and decides what is to be done; it changes nothing.
    fn consider(&self, state: Option<&Reading>) -> Result<Considered<'a>, Stop> {
        let Self { arguments, root, bundle, .. } = *self;
        let mut observed = observe(root, state, &arguments.bin_dir, &bundle.value().files.plugins)
            .map_err(answer)?;
        let recorded = observed.receipt.iter().flat_map(|receipt| receipt.directories.keys());
        check_apart(root, &arguments.node.state_dir, &arguments.bin_dir, recorded)
            .map_err(answer)?;
        if arguments.prune {
            observed.in_use = NodeArguments::in_use(root).map_err(answer)?;
        }
        let rolled_back = state.map(Reading::rolled_back).transpose().map_err(answer)?.flatten();
        if let Some(finding) =
            rolled_back.and_then(|record| unwanted(&record, bundle, &observed, arguments))
        {
            return Err(Stop::Refused(vec![finding]));
        }
        let plan = plan(bundle, &observed, self.options).map_err(Stop::Refused)?;
        if plan.leaves_nothing() {
            let message = "every plugin of the bundle is left out: nothing would be left that could be checked";
            let hint = "skip fewer plugins, or remove what is there with `cnister uninstall`";
            return Err(Stop::Refused(vec![
                Finding::refusal(Code::NothingWanted, message).hint(hint),
            ]));
        }
        let foreseen = preflight(root, &plan, state, self.records);
        if foreseen.iter().any(Finding::is_refusal) {
            return Err(Stop::Refused(foreseen));
        }
        Ok(Considered { plan, foreseen })
    }
}

impl Considered<'_> {
    fn report(self, outcome: Outcome, request: &Request<'_>) -> Report {
        let mut report = report(outcome, request.bundle, &self.plan);
        report.findings.extend(self.foreseen);
        report.findings.extend(surroundings(
            request.root,
            &self.plan,
            &request.arguments.node.state_dir,
        ));
        report
    }
}

/// What the node keeps. A state that cannot be read keeps nothing; what is wrong with it is said
/// when the installation needs it.
fn kept_releases(root: &Root, node: &NodeArguments) -> Kept {
    let read = || -> Result<Kept, NodeError> {
        let Some(state) = State::open(root, &node.state_dir)? else { return Ok(Kept::default()) };
        let reading = state.read(node.patience())?;
        let (present, past) = (reading.receipt()?, reading.past()?);
        let mut kept = Kept::default();
        for receipt in present.iter().chain(&past.receipts) {
            kept.indexes.insert(receipt.index);
            let bytes = reading.evidence(&receipt.evidence).ok().flatten();
            kept.evidence.extend(bytes.and_then(|bytes| Evidence::parse(&bytes).ok()));
        }
        Ok(kept)
    };
    read().unwrap_or_default()
}

/// Whether it is another release than the present one, and one whose files the node does not have.
/// Nothing depends on the answer but when the layer is fetched.
fn is_news(reading: &Reading, bundle: &Bundle) -> Result<bool, NodeError> {
    if reading.receipt().ok().flatten().is_some_and(|receipt| receipt.index == bundle.index) {
        return Ok(false);
    }
    let files = bundle.files.plugins.iter().map(|file| (file.digest, file.size, &file.name));
    Ok(!reading.without_copy(files)?.is_empty())
}

/// A runtime calls any file of a plugin directory, and the state directory is swept: neither may
/// lie in the other.
fn check_paths(arguments: &Arguments) -> Result<(), Failure> {
    let (state, policy) = (&arguments.node.state_dir, &arguments.node.policy_dir);
    for bin in &arguments.bin_dir {
        if bin.holds(state) || state.holds(bin) {
            let message = format!(
                "the state directory `{state}` and the plugin directory `{bin}` lie in each other"
            );
            return Err(Failure::request(message).hint("name another one with --state-dir"));
        }
        if bin.holds(policy) {
            let message =
                format!("the policy directory `{policy}` lies in the plugin directory `{bin}`");
            return Err(Failure::request(message).hint("name another one with --policy-dir"));
        }
    }
    Ok(())
}

/// Why a release that its owner went back from is not installed again; nothing, where it is another
/// one, is there already, or is asked for again.
fn unwanted(
    record: &RolledBack,
    bundle: &Verified<Bundle>,
    observed: &Observed,
    arguments: &Arguments,
) -> Option<Finding> {
    let index = bundle.value().index;
    let present = observed.receipt.as_ref().map(|receipt| receipt.index);
    if arguments.again || !record.releases.contains(&index) || present == Some(index) {
        return None;
    }
    let files = &bundle.value().files;
    let message = format!("the owner of this node went back from {} {}", files.name, files.version);
    let finding = Finding::refusal(Code::RolledBack, message)
        .hint("install another release, or this one with --again");
    Some(match present {
        Some(present) => finding.mismatch(
            format_args!("any release but {index}"),
            format_args!("{present} is installed"),
        ),
        None => finding,
    })
}

/// What its owner wants, in arguments and in the two variables that other installers have, too.
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

fn report(outcome: Outcome, bundle: &Verified<Bundle>, plan: &Plan<'_>) -> Report {
    let value = bundle.value();
    let mut findings: Vec<Finding> = plan.notes().to_vec();
    if bundle.proof().strength == Strength::Admitted
        && findings.iter().all(|finding| finding.code != Code::Unproven)
    {
        findings.push(unproven(&bundle.proof().rule));
    }
    Report {
        outcome,
        index: Some(value.index),
        bundle: Some(value.files.name.to_string()),
        version: Some(value.files.version.to_string()),
        platform: Some(value.platform.clone()),
        proof: Some(bundle.proof().clone()),
        steps: plan.steps().to_vec(),
        findings,
    }
}

/// Answers no, or keeps what still proves itself.
fn refuse(
    arguments: &Arguments,
    policy: Option<&Policy>,
    mut findings: Vec<Finding>,
    unconfined: Option<Finding>,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let mut outcome = Outcome::Refused;
    if let (OnRefusal::Keep, Some(policy), false) =
        (arguments.on_refusal, policy, arguments.dry_run)
    {
        match keep(arguments, policy, &findings)? {
            None => outcome = Outcome::Kept,
            Some(more) => findings.extend(more),
        }
    }
    // Last, and after what is remembered of the refusal: it is no reason for it.
    findings.extend(unconfined);
    let report = Report {
        outcome,
        index: None,
        bundle: None,
        version: None,
        platform: None,
        proof: None,
        steps: Vec::new(),
        findings,
    };
    terminal.answer(&report)?;
    if outcome == Outcome::Kept {
        let loud =
            "warning: what was wanted is NOT installed; the proven plugins that were there stay";
        terminal.remark(loud);
        let reasons: Vec<_> = report
            .findings
            .iter()
            .map(|finding| format!("{}: {}", finding.code, finding.message))
            .collect();
        // It ends well, so nobody would look at its log.
        drop(arguments.termination.leave(&format!("{loud}; {}", reasons.join("; "))));
        return Ok(Exit::Yes);
    }
    Ok(Exit::No)
}

/// Looks whether the installed set proves itself under this policy, and remembers that something
/// else was wanted. Returns what is wrong with the installed set, if something is.
fn keep(
    arguments: &Arguments,
    policy: &Policy,
    findings: &[Finding],
) -> Result<Option<Vec<Finding>>, Failure> {
    let root = arguments.node.open_root()?;
    let platform = Platform::host();
    // By its own name: what is installed may have come under another one than what is wanted now.
    let question =
        Question { directories: &arguments.bin_dir, ..arguments.node.question(policy, &platform) };
    let wrong = check(&root, &question)?.against_keeping();
    if !wrong.is_empty() {
        return Ok(Some(wrong));
    }
    let writing = State::open_or_create(&root, &arguments.node.state_dir)?
        .write(arguments.node.patience())?;
    let wanted = match (&arguments.reference, &arguments.from) {
        (Some(reference), _) => reference.to_string(),
        (None, Some(directory)) => directory.display().to_string(),
        (None, None) => String::new(),
    };
    writing.write_refusal(&Refusal::of(&wanted, findings))?;
    Ok(None)
}

pub(super) fn parse_foreign(text: &str) -> Result<ForeignRule, String> {
    match text.split_once('=') {
        None if text == "keep" => Ok(ForeignRule::Keep),
        None if text == "adopt" => Ok(ForeignRule::Adopt),
        Some(("adopt", names)) => {
            let names = names.split(',').map(str::parse).collect::<Result<_, _>>();
            names
                .map(ForeignRule::AdoptNamed)
                .map_err(|error: crate::model::ParsePluginNameError| error.to_string())
        }
        _ => Err("expected `keep`, `adopt` or `adopt=NAME,...`".to_owned()),
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
        let last = match self.outcome {
            Outcome::Installed
                if self.steps.iter().any(|step| matches!(step, Step::Write { .. })) =>
            {
                "installed"
            }
            Outcome::Installed => "installed; there was nothing to do",
            Outcome::Planned => "planned; nothing was done",
            Outcome::Refused => "refused; nothing was changed",
            Outcome::Kept => "refused; the proven plugins that were there stay",
        };
        writeln!(f, "{last}")
    }
}
