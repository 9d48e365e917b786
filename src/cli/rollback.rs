//! `rollback`: returns to an earlier generation, from the node's own copies.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{BundleName, Code, Digest, Finding, Platform};
use crate::node::{
    Leftovers, MAX_GENERATIONS, Progress, Receipt, Restored, RollbackOptions, Run, Step, boot,
    roll_back,
};

/// Returns to the previous generation, offline.
///
/// Its plugins come from the node's own copies, and its evidence is verified under the current
/// policy. The release that was rolled back is not installed again until `install --again` asks for
/// it or another release is installed. A second rollback returns to it.
#[derive(Args)]
pub(super) struct Arguments {
    /// The number of the generation, as `cnister status` shows it [default: the previous one].
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,
    /// Removes plugins that the earlier generation lacks, unless an attachment needs them.
    #[arg(long)]
    prune: bool,
    /// How many generations the node keeps from now on, including the installed one [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_GENERATIONS)))]
    generations: Option<u8>,
    /// Prints what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Release>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Release>,
    steps: Vec<Step>,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    RolledBack,
    Planned,
    Refused,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Release {
    generation: u64,
    bundle: BundleName,
    version: semver::Version,
    index: Digest,
}

impl From<&Receipt> for Release {
    fn from(receipt: &Receipt) -> Self {
        let Receipt { generation, bundle, version, index, .. } = receipt;
        Self {
            generation: *generation,
            bundle: bundle.clone(),
            version: version.clone(),
            index: *index,
        }
    }
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut report = match attempt(arguments) {
        Ok(report) => report,
        Err(stop) => Report::refused(stop.refusal()?),
    };
    let missing = report.findings.iter().position(|finding| finding.code == Code::NotInstalled);
    if let Some(number) = missing
        && let Some(lost) = lost_records(arguments)?
    {
        report.findings.splice(number..=number, [lost]);
    }
    terminal.answer(&report)?;
    Ok(if report.outcome == Outcome::Refused { Exit::No } else { Exit::Yes })
}

fn lost_records(arguments: &Arguments) -> Result<Option<Finding>, Failure> {
    let root = arguments.node.open_root()?;
    Ok(arguments.node.lost_records(&root)?)
}

fn attempt(arguments: &Arguments) -> Result<Report, Stop> {
    let policy = arguments.policy.load(Some(&|| arguments.node.kept_policy()))?;
    let root = arguments.node.open_root()?;
    let unconfined = arguments.node.sandbox(&root, arguments.dry_run).confine();
    let in_use = if arguments.prune { NodeArguments::in_use(&root)? } else { Default::default() };
    let platform = Platform::host();
    let installation = arguments.node.installation(&policy, &platform);
    let options = RollbackOptions {
        number: arguments.to,
        leftovers: if arguments.prune { Leftovers::Prune } else { Leftovers::Keep },
        in_use: &in_use,
        generations: arguments.generations.unwrap_or(MAX_GENERATIONS),
    };
    let (run, outcome) = match arguments.dry_run {
        true => (Run::Plan, Outcome::Planned),
        false => (Run::Apply, Outcome::RolledBack),
    };
    let mut report = match roll_back(&root, &installation, &options, run, Progress::silent()) {
        Ok(restored) => {
            let outdated = boot::outdated(&root, &restored.after);
            let mut report = Report::of(outcome, restored);
            report.findings.extend(outdated);
            report
        }
        Err(error) => Report::refused(Stop::from(error).refusal()?),
    };
    report.findings.extend(unconfined);
    Ok(report)
}

impl Report {
    fn of(outcome: Outcome, restored: Restored) -> Self {
        let Restored { before, after, steps, notes } = restored;
        let (from, to) = (Some(Release::from(&before)), Some(Release::from(&after)));
        Self { outcome, from, to, steps, findings: notes }
    }

    /// What a rollback did, in one line.
    fn done(&self) -> String {
        let index = |release: &Option<Release>| release.as_ref().map(|release| release.index);
        let what = match &self.from {
            // The installation of another release had not come to its receipt.
            Some(from) if index(&self.to) == Some(from.index) => {
                format!("back at {} {}", from.bundle, from.version)
            }
            Some(from) => format!("rolled back from {} {}", from.bundle, from.version),
            None => "rolled back".to_owned(),
        };
        let is_only_written = !self.steps.iter().any(|step| matches!(step, Step::Remove { .. }));
        match report::changed(&self.steps) {
            Some(_) if is_only_written => what,
            Some(changed) => format!("{what}; {changed}"),
            None => format!("{what}; no plugin changed"),
        }
    }

    fn refused(findings: Vec<Finding>) -> Self {
        Self { outcome: Outcome::Refused, from: None, to: None, steps: Vec::new(), findings }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(to) = &self.to {
            writeln!(f, "{}", to.index)?;
            writeln!(f, "{} {}, generation {}", to.bundle, to.version, to.generation)?;
        }
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        report::findings(f, &self.findings)?;
        match self.outcome {
            Outcome::RolledBack => writeln!(f, "{}", self.done()),
            Outcome::Planned => writeln!(f, "planned; nothing was done"),
            Outcome::Refused => writeln!(f, "refused; nothing was changed"),
        }
    }
}
