//! `check`: this node against what was signed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::report;
use super::requirements::RequirementsArguments;
use super::terminal::{Exit, Failure, Terminal};
use crate::check::probe::Prober;
use crate::check::{
    FileState, Occasion, Question, Report, check, check_requirements, compare_view,
};
use crate::disk::Directory;
use crate::model::{BundleName, Code, Finding, HostPath, Platform, PluginPath, Repository, with_causes};
use crate::node::{
    Installation, NodeError, RepairOutcome, Root, Sandbox, State, Step, bring_back,
    known_directories, repair,
};
use crate::trust::{Policy, Verifier};
use crate::watch::Metrics;

/// How many plugins that configurations need a text for people names.
const NAMES_SHOWN: usize = 40;

/// Asks whether this node still has what was signed (verify asks about an image).
///
/// Every installed file is hashed again and the whole proof repeated offline, from the evidence
/// that the installation kept. Then each proven plugin is asked for its VERSION, without rights and
/// without a network, and every plugin that CNI configuration needs is looked for where the runtime
/// would.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) asked: AskedArguments,
    /// Does not ask the plugins for their VERSION.
    #[arg(long)]
    no_probe: bool,
    /// For the boot, before the runtime starts: nothing is executed, and only what is altered,
    /// missing or denied answers no.
    #[arg(long)]
    at_boot: bool,
    /// Writes what is missing or altered again, from the copies that the node keeps, and asks once
    /// more.
    #[arg(long)]
    repair: bool,
    /// Also writes the answer as numbers for Prometheus, for the textfile collector of its node
    /// exporter (*.prom).
    #[arg(long, value_name = "FILE", value_parser = parse_textfile)]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    requirements: RequirementsArguments,
}

/// What is checked.
#[derive(Args)]
pub(super) struct AskedArguments {
    #[command(flatten)]
    policy: PolicyArguments,
    /// The repository that the policy's rules are matched against; without it, the one that install
    /// used.
    #[arg(long = "as", value_name = "REPO")]
    name: Option<Repository>,
    /// The name of the bundle that has to be the installed one.
    #[arg(long, value_name = "NAME")]
    expect_bundle: Option<BundleName>,
    #[command(flatten)]
    node: NodeArguments,
    /// Plugin directories that must be among those installed; may be repeated.
    #[arg(long, value_name = "DIR")]
    bin_dir: Vec<HostPath>,
}

/// Everything that a check needs, so that the watch can repeat it.
pub(super) struct Ready {
    root: Root,
    policy: Policy,
    name: Option<Repository>,
    bundle: Option<BundleName>,
    state: HostPath,
    directories: Vec<HostPath>,
    occasion: Occasion,
    prober: Option<Prober>,
    patience: Duration,
    unconfined: Option<Finding>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let occasion = if arguments.at_boot { Occasion::Boot } else { Occasion::Running };
    let closure = &arguments.requirements;
    let probe = !(arguments.no_probe || arguments.at_boot || closure.view.is_some());
    let answer = match arguments.asked.ready(occasion, probe)? {
        Ok(ready) => {
            // Before this process is confined: then it may not look at others any more.
            let view = closure.view.as_deref().map(Root::open).transpose()?;
            let sandbox = arguments.sandbox(&ready);
            ready.confined(sandbox).answer(arguments, occasion, view.as_ref())
        }
        Err(finding) => Ok(Report::no(vec![finding])),
    };
    if let Some(path) = &arguments.textfile {
        write_textfile(path, answer.as_ref().ok())?;
    }
    let report = answer?;
    terminal.answer(&report)?;
    Ok(if report.is_good() { Exit::Yes } else { Exit::No })
}

impl Arguments {
    /// What is written beside the answer.
    fn sandbox(&self, ready: &Ready) -> Sandbox {
        let mut sandbox = Sandbox::default();
        if self.repair {
            let installed = known_directories(&ready.root, &ready.state, ready.patience);
            sandbox.write_and_move(&ready.root, installed.iter().chain([&ready.state]));
        }
        if let Some(path) = &self.textfile {
            sandbox.write(directory_of(path));
        }
        sandbox
    }
}

/// Replaces the file in one step: the collector reads it at any moment.
fn write_textfile(path: &Path, report: Option<&Report>) -> Result<(), Failure> {
    let checked = report.map(|_| SystemTime::now());
    let text = Metrics { report, checked, drift: None, repairs: None }.text();
    let name = path.file_name().unwrap_or_default();
    Ok(Directory::open(directory_of(path))?.write_atomic(name, text.as_bytes(), 0o644)?)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The collector reads no other names.
fn parse_textfile(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension == "prom" => Ok(path),
        _ => Err("the collector reads files whose names end in .prom".to_owned()),
    }
}

impl AskedArguments {
    /// Opens what a check needs; a policy that is not the one asked for is a finding.
    pub(super) fn ready(
        &self,
        occasion: Occasion,
        probe: bool,
    ) -> Result<Result<Ready, Finding>, Failure> {
        let policy = match self.policy.load(Some(&|| self.node.kept_policy()))? {
            Ok(policy) => policy,
            Err(finding) => return Ok(Err(finding)),
        };
        let root = self.node.open_root()?;
        let prober = probe.then(|| Prober::this_program(root.is_host()));
        let (name, state, directories) =
            (self.name.clone(), self.node.state_dir.clone(), self.bin_dir.clone());
        let (bundle, patience) = (self.expect_bundle.clone(), self.node.patience());
        Ok(Ok(Ready {
            root,
            policy,
            name,
            bundle,
            state,
            directories,
            occasion,
            prober,
            patience,
            unconfined: None,
        }))
    }

    /// Where the watch says whether the node is ready.
    pub(super) fn ready_path(&self) -> PathBuf {
        self.node.ready_path()
    }
}

impl Ready {
    /// Everything that was asked, in one answer.
    fn answer(
        &self,
        arguments: &Arguments,
        occasion: Occasion,
        view: Option<&Root>,
    ) -> Result<Report, Failure> {
        let configurations = arguments.requirements.configurations()?;
        let mut report = match self.check()? {
            report if !arguments.repair || report.is_good() && !self.is_unfinished()? => report,
            report => self.repair(report)?,
        };
        if let Some(configurations) = &configurations {
            check_requirements(&self.root, configurations, occasion, &mut report);
        }
        if let Some(view) = view {
            compare_view(&self.root, view, &mut report)?;
        }
        Ok(report)
    }

    /// The root of the node.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// How long to wait for another one that is at work on the node.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Where the receipt and the evidence are kept.
    pub(super) fn state(&self) -> &HostPath {
        &self.state
    }

    /// Gives up, for this whole process, what neither a check nor `reach` needs.
    pub(super) fn confined(mut self, mut sandbox: Sandbox) -> Self {
        if self.prober.is_some() {
            sandbox.probe();
        }
        self.unconfined = sandbox.confine();
        self
    }

    /// Checks the node as it is now.
    pub(super) fn check(&self) -> Result<Report, NodeError> {
        let mut report = self.ask()?;
        report.findings.extend(self.unconfined.clone());
        Ok(report)
    }

    /// Whether what is installed was being written again when that was interrupted, as a repair
    /// does.
    fn is_unfinished(&self) -> Result<bool, NodeError> {
        let Some(state) = State::open(&self.root, &self.state)? else { return Ok(false) };
        let reading = state.read(self.patience)?;
        let journal = reading.journal()?.map(|journal| journal.index);
        Ok(journal.is_some() && journal == reading.receipt()?.map(|receipt| receipt.index))
    }

    /// Brings back what `report` found missing or altered, and checks again.
    ///
    /// A node that cannot be repaired is not worse than before: why is added to what was found.
    pub(super) fn repair(&self, mut report: Report) -> Result<Report, NodeError> {
        let mut brought = RepairOutcome::default();
        match repair(&self.root, &self.installation(&Platform::host()), None) {
            Ok(restored) => brought.steps = restored.steps,
            Err(error) => {
                let altered = altered(&report);
                // One that cannot be repaired keeps no other from being.
                match matches!(error, NodeError::Refused(_)) && !altered.is_empty() {
                    true => brought = self.bring_back(&altered),
                    false => brought.errors.push(error),
                }
            }
        }
        brought.steps.retain(|step| matches!(step, Step::Write { .. }));
        if brought.errors.is_empty() || !brought.steps.is_empty() {
            report = Report { repaired: brought.steps, ..self.check()? };
        }
        for finding in brought.errors.into_iter().flat_map(not_repaired) {
            // What keeps a repair from being made is often what was found; at boot that decides
            // only now.
            let is_same = |found: &&mut Finding| {
                (found.code, &found.message) == (finding.code, &finding.message)
            };
            match report.findings.iter_mut().find(is_same) {
                Some(found) => found.severity = found.severity.max(finding.severity),
                None if finding.code == Code::NotInstalled => {}
                None => report.findings.push(finding),
            }
        }
        Ok(report)
    }

    /// Brings back these files, as far as that is possible.
    pub(super) fn bring_back(&self, targets: &BTreeSet<PluginPath>) -> RepairOutcome {
        bring_back(&self.root, &self.installation(&Platform::host()), targets)
    }

    fn ask(&self) -> Result<Report, NodeError> {
        let platform = Platform::host();
        let question = Question {
            installation: self.installation(&platform),
            bundle: self.bundle.as_ref(),
            directories: &self.directories,
            occasion: self.occasion,
            prober: self.prober.as_ref(),
        };
        check(&self.root, &question)
    }

    fn installation<'a>(&'a self, platform: &'a Platform) -> Installation<'a> {
        let verifier = Verifier {
            policy: &self.policy,
            name: self.name.as_ref(),
            platform,
            now: SystemTime::now(),
        };
        Installation { state: &self.state, patience: self.patience, verifier }
    }
}

/// The installed files that are not there as they were installed.
pub(super) fn altered(report: &Report) -> BTreeSet<PluginPath> {
    let altered = report.plugins.iter().filter(|plugin| {
        matches!(plugin.condition, FileState::Altered | FileState::Missing | FileState::InTheWay)
    });
    altered
        .map(|plugin| PluginPath { directory: plugin.directory.clone(), name: plugin.name.clone() })
        .collect()
}

/// Why the node was not repaired.
pub(super) fn not_repaired(error: NodeError) -> Vec<Finding> {
    error.into_findings().unwrap_or_else(|error| {
        let message = format!("the node was not repaired: {}", with_causes(&error));
        vec![Finding::refusal(Code::NotRepaired, message)]
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(installed) = &self.installed {
            writeln!(f, "{}", installed.index)?;
            let rule = installed
                .rule
                .as_deref()
                .map_or_else(String::new, |rule| format!(", rule `{rule}`"));
            writeln!(f, "{} {}{rule}", installed.bundle, installed.version)?;
        }
        for plugin in &self.plugins {
            let condition = match plugin.condition {
                FileState::Proven => "proven",
                FileState::Unproven => "unproven",
                FileState::Unverified => "unverified",
                FileState::Altered => "ALTERED",
                FileState::Missing => "MISSING",
                FileState::InTheWay => "IN THE WAY",
                FileState::Interrupted => "interrupted",
                FileState::Mixed => "mixed",
                FileState::Kept => "kept",
            };
            write!(f, "  {condition:<11} {}/{}", plugin.directory, plugin.name)?;
            match &plugin.versions {
                Some(versions) => writeln!(f, "  speaks CNI {}", versions.supported.join(", "))?,
                None => writeln!(f)?,
            }
        }
        for step in &self.repaired {
            writeln!(f, "  {step}")?;
        }
        if !self.needs.is_empty() {
            let distinct = |names: BTreeSet<_>| names.into_iter().collect::<Vec<&str>>();
            let users =
                distinct(self.needs.iter().map(|need| need.configuration.as_str()).collect());
            let plugins = distinct(self.needs.iter().map(|need| need.plugin.as_str()).collect());
            let users = match users.as_slice() {
                [user] => format!("`{user}` needs"),
                users => format!("{} configurations need", users.len()),
            };
            let (first, others) = plugins.split_at(plugins.len().min(NAMES_SHOWN));
            let others = if others.is_empty() {
                String::new()
            } else {
                format!(" and {} others", others.len())
            };
            writeln!(f, "  {users} {}{others}", first.join(", "))?;
        }
        report::findings(f, &self.findings)?;
        f.write_str(match (self.is_good(), self.is_proven()) {
            (true, true) => "yes: every installed file is the one that was signed\n",
            (true, false) => "yes, although not every file is proven: read the lines above\n",
            (false, _) => "no\n",
        })
    }
}
