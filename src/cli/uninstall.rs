//! `uninstall`: removes everything that was installed, and restores adopted files.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::node::NodeArguments;
use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{Code, Finding, HostPath};
use crate::node::{
    Force, ForeignFiles, NodeError, Progress, Reading, Root, Sandbox, State, Step, Uninstallation,
    boot, foresee_uninstallation, observe, state_obstacle, uninstall,
};

/// Removes everything that was installed and restores adopted files.
///
/// Adopted files are restored without set-user-ID bits; plugins that another installer changed
/// since stay. The policy and the record of accepted versions stay. If a pod still needs a plugin,
/// nothing is done: without the plugin the pod could not be deleted.
#[derive(Args)]
pub(super) struct Arguments {
    /// Plugin directories of an installation that was interrupted before it wrote a receipt; may be
    /// repeated.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: Vec<HostPath>,
    /// Removes plugins even if pods need them, or if the files that they replaced are lost.
    #[arg(long)]
    force: bool,
    /// Prints what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: Outcome,
    steps: Vec<Step>,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Uninstalled,
    NothingInstalled,
    Planned,
    Refused,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let root = arguments.node.open_root()?;
    let unconfined = arguments.sandbox(&root).confine();
    let attempted = attempt(arguments, &root).and_then(|report| match report.outcome {
        Outcome::NothingInstalled => unless_lost(arguments, &root, report),
        _ => Ok(report),
    });
    let mut report = match attempted {
        Ok(report) => report,
        Err(error) => Report {
            outcome: Outcome::Refused,
            steps: Vec::new(),
            findings: Stop::from(error).refusal()?,
        },
    };
    if report.outcome != Outcome::Refused {
        report.findings.extend(boot::left_over(&root));
    }
    report.findings.extend(unconfined);
    terminal.answer(&report)?;
    Ok(if report.outcome == Outcome::Refused { Exit::No } else { Exit::Yes })
}

impl Arguments {
    fn sandbox(&self, root: &Root) -> Sandbox {
        let mut sandbox = self.node.sandbox(root, self.dry_run);
        if !self.dry_run {
            self.bin_dir.iter().for_each(|path| sandbox.write_on(root, path));
        }
        sandbox
    }
}

fn attempt(arguments: &Arguments, root: &Root) -> Result<Report, NodeError> {
    let state = State::open(root, &arguments.node.state_dir).map_err(NodeError::before_changes)?;
    let Some(state) = state else {
        let (steps, findings) = (Vec::new(), Vec::new());
        return Ok(Report { outcome: Outcome::NothingInstalled, steps, findings });
    };
    if let Some(finding) = state_obstacle(root, &arguments.node.state_dir) {
        return Err(finding.into());
    }
    if arguments.dry_run {
        let reading = state.read(arguments.node.patience()).map_err(NodeError::before_changes)?;
        let Some(uninstallation) = decide(arguments, root, &reading)? else {
            return nothing_installed(&reading);
        };
        foresee_uninstallation(root, &reading, &uninstallation)?;
        return Ok(Report::of(Outcome::Planned, &uninstallation));
    }
    let writing = state.write(arguments.node.patience()).map_err(NodeError::before_changes)?;
    let Some(uninstallation) = decide(arguments, root, &writing)? else {
        // What removed the receipt may have been stopped before that was durable, and this says
        // that it is gone.
        writing.settle()?;
        return nothing_installed(&writing);
    };
    uninstall(root, &writing, &uninstallation, Progress::silent())?;
    Ok(Report::of(Outcome::Uninstalled, &uninstallation))
}

/// Refuses where something was installed and nothing says what.
fn unless_lost(arguments: &Arguments, root: &Root, report: Report) -> Result<Report, NodeError> {
    arguments.node.lost_records(root)?.map_or(Ok(report), |lost| Err(lost.into()))
}

fn nothing_installed(state: &Reading) -> Result<Report, NodeError> {
    let findings = state.has_evidence()?.then(without_receipt).into_iter().collect();
    Ok(Report { outcome: Outcome::NothingInstalled, steps: Vec::new(), findings })
}

fn without_receipt() -> Finding {
    let message = "there is no receipt, but the state directory contains evidence of an installation: was the receipt deleted?";
    let hint = "the plugin directories stay as they are; install again, then uninstall";
    Finding::warning(Code::NotInstalled, message).hint(hint)
}

/// Decides what goes; `None` if nothing is installed.
fn decide(
    arguments: &Arguments,
    root: &Root,
    state: &Reading,
) -> Result<Option<Uninstallation>, NodeError> {
    let receipt = state.receipt()?;
    if receipt.is_none() && state.journal()?.is_none() {
        // Stopped before the journal: nothing has a plugin's name, and a directory may hold what
        // was begun.
        let observed = observe(root, Some(state), &arguments.bin_dir, &[], ForeignFiles::Leave)?;
        if !observed.directories.iter().any(|directory| directory.unfinished) {
            return Ok(None);
        }
        return Ok(Some(Uninstallation::decide(&observed, Force::No)?));
    }
    let mut paths: Vec<HostPath> =
        receipt.iter().flat_map(|receipt| receipt.directories.keys()).cloned().collect();
    paths.extend(arguments.bin_dir.iter().cloned());
    let mut observed = observe(root, Some(state), &paths, &[], ForeignFiles::Leave)?;
    observed.in_use = NodeArguments::in_use(root)?;
    let force = if arguments.force { Force::Yes } else { Force::No };
    if force == Force::Yes {
        observed.examine_originals(state)?;
    }
    Ok(Some(Uninstallation::decide(&observed, force)?))
}

impl Report {
    fn of(outcome: Outcome, uninstallation: &Uninstallation) -> Self {
        Self {
            outcome,
            steps: uninstallation.steps().to_vec(),
            findings: uninstallation.notes().to_vec(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        report::findings(f, &self.findings)?;
        f.write_str(match (self.outcome, report::changed(&self.steps)) {
            (Outcome::Uninstalled, Some(_)) => "uninstalled\n",
            (Outcome::Uninstalled, None) => "uninstalled; no plugin changed\n",
            (Outcome::NothingInstalled, _) => "nothing is installed; no file changed\n",
            (Outcome::Planned, _) => "planned; nothing was done\n",
            (Outcome::Refused, _) => "refused; nothing was changed\n",
        })
    }
}
