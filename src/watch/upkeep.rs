//! What the watch does about altered files: which it repairs, and what it says about those that it
//! does not. Pure: reports, outcomes, traces and the time come in.
//!
//! `repairs` decides how often is too often. A set that the current policy does not accept is
//! reported and never restored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::installers::Trace;
use super::repairs::{Decision, Held, Repairs};
use crate::check::{FileState, Report};
use crate::model::{Code, Finding, PluginPath, with_causes};
use crate::node::{NodeError, RepairOutcome, Step};

/// What the watch remembers about repairs between two checks.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    repairs: Repairs,
    /// What was written since the last check.
    steps: Vec<Step>,
    /// What that check found.
    found: Report,
    /// Why something was not, as long as there is something to repair.
    failures: Vec<Finding>,
    count: u64,
    held: BTreeSet<PluginPath>,
}

impl Upkeep {
    /// How many times a file was restored.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether the file is left alone; a change of it does not lead to another check.
    pub(crate) fn is_held(&self, target: &PluginPath) -> bool {
        self.held.contains(target)
    }

    /// Decides what is repaired, and adds to the report what was, and what could not be.
    pub(crate) fn decide(&mut self, report: &mut Report, now: Instant) -> Decision {
        report.repaired = std::mem::take(&mut self.steps);
        report.drift = self.found.drift_of(&report.repaired);
        self.found = Report::no(report.findings.clone());
        let wanted = wanted(report);
        if wanted.is_empty() {
            self.failures.clear();
        }
        report.findings.extend(self.failures.iter().cloned());
        let decision = self.repairs.decide(wanted, now);
        self.held = decision.held.keys().cloned().collect();
        decision
    }

    /// Remembers the outcome of a repair.
    pub(crate) fn done(&mut self, outcome: RepairOutcome, now: Instant) {
        for step in &outcome.steps {
            if let Step::Write { directory, name, .. } = step {
                let target = PluginPath { directory: directory.clone(), name: name.clone() };
                self.repairs.repaired(&target, now);
                self.count = self.count.saturating_add(1);
            }
        }
        for target in &outcome.left {
            self.repairs.failed(target, now);
        }
        self.steps.extend(outcome.steps);
        self.failures = outcome.errors.into_iter().flat_map(not_repaired).collect();
        self.failures.dedup();
    }
}

/// Adds to the report which files are left alone, and who may have written them.
pub(crate) fn add_paused(
    report: &mut Report,
    held: &BTreeMap<PluginPath, Held>,
    traces: &BTreeMap<PluginPath, Option<Trace>>,
) {
    for (target, held) in held {
        report.findings.push(paused(target, held, traces.get(target).and_then(Option::as_ref)));
    }
    report.findings.sort_by_key(|finding| Reverse(finding.severity));
}

/// Why the node was not repaired.
pub(crate) fn not_repaired(error: NodeError) -> Vec<Finding> {
    error.into_findings().unwrap_or_else(|error| {
        let message = format!("the node was not repaired: {}", with_causes(&error));
        vec![Finding::refusal(Code::NotRepaired, message)]
    })
}

/// The files to repair: none of a set that is no longer trusted, and none while another release is
/// half installed, since its installation is to be run again.
fn wanted(report: &Report) -> BTreeSet<PluginPath> {
    let Some(installed) =
        report.installed.as_ref().filter(|installed| installed.strength.is_some())
    else {
        return BTreeSet::new();
    };
    let plugins = report.plugins.iter().filter(|plugin| match report.interrupted {
        None => plugin.state.is_drift(),
        // An interrupted repair is completed, whatever it had written.
        Some(release) if release == installed.index => {
            !matches!(plugin.state, FileState::Kept | FileState::Mixed)
        }
        Some(_) => false,
    });
    plugins.map(crate::check::PluginReport::path).collect()
}

fn paused(target: &PluginPath, held: &Held, trace: Option<&Trace>) -> Finding {
    let trace_note = trace.map_or_else(String::new, |trace| {
        format!("; `{}` beside it is typical of {}", trace.name, trace.installer)
    });
    Finding::warning(Code::RepairPaused, format!("`{target}` {held}{trace_note}")).hint(format!(
        "let one installer write it: turn off the other, or leave `{}` to it with --skip",
        target.name
    ))
}
