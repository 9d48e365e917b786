//! A check that repairs: `check --repair`.
//!
//! How often a file is repaired is not limited here: that is the watch's job, which repeats.

use super::upkeep::not_repaired;
use crate::check::{NodeCheck, Report};
use crate::model::{Code, Finding, Platform};
use crate::node::{NodeError, RepairOutcome, Step, bring_back, repair};

/// Checks the node; if the answer is no, or a repair was interrupted, restores what is missing or
/// altered and checks again.
///
/// A node that cannot be repaired is no worse than before: the reason is added to what was found.
///
/// # Errors
/// If the node cannot be checked.
pub fn check_and_repair(node: &NodeCheck) -> Result<Report, NodeError> {
    let mut report = node.check()?;
    if report.is_good() && !node.is_unfinished()? {
        return Ok(report);
    }
    let mut outcome = repair_all(node, &report);
    outcome.steps.retain(|step| matches!(step, Step::Write { .. }));
    if outcome.errors.is_empty() || !outcome.steps.is_empty() {
        let drift = report.drift_of(&outcome.steps);
        report = Report { drift, repaired: outcome.steps, ..node.check()? };
    }
    for finding in outcome.errors.into_iter().flat_map(not_repaired) {
        add(&mut report, finding);
    }
    Ok(report)
}

/// Repairs everything in one run; if a file prevents that, each altered file by itself, so that
/// one that cannot be repaired does not keep the others from it.
fn repair_all(node: &NodeCheck, report: &Report) -> RepairOutcome {
    let platform = Platform::host();
    let installation = node.installation(&platform);
    match repair(&node.root, &installation, None) {
        Ok(restored) => RepairOutcome { steps: restored.steps, ..RepairOutcome::default() },
        Err(error) => {
            let altered = report.altered();
            let of_files = matches!(error, NodeError::Refused(_) | NodeError::InTheMiddle(_));
            match of_files && !altered.is_empty() {
                true => bring_back(&node.root, &installation, &altered),
                false => RepairOutcome { errors: vec![error], ..RepairOutcome::default() },
            }
        }
    }
}

/// Adds why a repair was not made. Often that was found by the check already; at boot it decides
/// only now, so the more severe of the two counts.
fn add(report: &mut Report, finding: Finding) {
    let known = report
        .findings
        .iter_mut()
        .find(|known| (known.code, &known.message) == (finding.code, &finding.message));
    match known {
        Some(known) => known.severity = known.severity.max(finding.severity),
        None if finding.code == Code::NotInstalled => {}
        None => report.findings.push(finding),
    }
}
