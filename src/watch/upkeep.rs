//! What a watch does about altered files: which it brings back, what it says of those that it does
//! not.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Instant;

use super::check::not_repaired;
use crate::check::{FileState, Report};
use crate::model::{Code, Finding, PluginPath};
use crate::node::{RepairOutcome, Root, Step};
use crate::watch::{Held, Repairs, trace};

/// What is remembered of repairs between two checks.
#[derive(Default)]
pub(super) struct Upkeep {
    repairs: Repairs,
    /// What was written since the last check.
    steps: Vec<Step>,
    /// Why something was not, as long as it is so.
    failures: Vec<Finding>,
    count: u64,
    held: BTreeSet<PluginPath>,
}

impl Upkeep {
    /// How often a file was written.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What is left alone: what happens to it is no reason for another check.
    pub(super) fn held(&self) -> &BTreeSet<PluginPath> {
        &self.held
    }

    /// Decides what is brought back, and adds to the report what was, and what will not be.
    pub(super) fn decide(
        &mut self,
        root: &Root,
        report: &mut Report,
        now: Instant,
    ) -> BTreeSet<PluginPath> {
        report.repaired = std::mem::take(&mut self.steps);
        let wanted = wanted(report);
        if wanted.is_empty() {
            self.failures.clear();
        }
        report.findings.extend(self.failures.iter().cloned());
        let decision = self.repairs.decide(wanted, now);
        report
            .findings
            .extend(decision.held.iter().map(|(target, held)| paused(root, target, held)));
        report.findings.sort_by_key(|finding| Reverse(finding.severity));
        self.held = decision.held.into_keys().collect();
        decision.repair
    }

    /// Remembers what became of it.
    pub(super) fn done(&mut self, brought: RepairOutcome, now: Instant) {
        for step in &brought.steps {
            if let Step::Write { directory, name, .. } = step {
                self.repairs.repaired(
                    &PluginPath { directory: directory.clone(), name: name.clone() },
                    now,
                );
                self.count = self.count.saturating_add(1);
            }
        }
        for target in &brought.left {
            self.repairs.failed(target, now);
        }
        self.steps.extend(brought.steps);
        self.failures = brought.errors.into_iter().flat_map(not_repaired).collect();
        self.failures.dedup();
    }
}

/// What there is to bring back. Nothing of a set that is not trusted any more, and nothing while
/// another release is half installed: its installer runs again.
fn wanted(report: &Report) -> BTreeSet<PluginPath> {
    let Some(installed) =
        report.installed.as_ref().filter(|installed| installed.strength.is_some())
    else {
        return BTreeSet::new();
    };
    let ours = |condition| match report.interrupted {
        None => matches!(condition, FileState::Altered | FileState::Missing),
        // An interrupted repair is finished, whatever it had done.
        Some(release) if release == installed.index => {
            !matches!(condition, FileState::Kept | FileState::Mixed | FileState::InTheWay)
        }
        Some(_) => false,
    };
    let plugins = report.plugins.iter().filter(|plugin| ours(plugin.condition));
    plugins
        .map(|plugin| PluginPath { directory: plugin.directory.clone(), name: plugin.name.clone() })
        .collect()
}

fn paused(root: &Root, target: &PluginPath, held: &Held) -> Finding {
    let whose = match trace(root, target) {
        Ok(Some(trace)) => {
            format!("; beside it is `{}`, as {} leaves it", trace.name, trace.installer)
        }
        _ => String::new(),
    };
    let message = format!("`{target}` {held}{whose}");
    Finding::warning(Code::RepairPaused, message).hint(format!(
        "let one installer write it: turn off the other, or leave `{}` to it with --skip",
        target.name
    ))
}
