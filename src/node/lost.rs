//! Signs that something was installed on a node that has no receipt.
//!
//! A node whose records were deleted differs from one where nothing was ever installed: its plugins
//! still run for pods, but nothing checks them. The policy, the floors and the unit of the check at
//! boot outlive the receipt. An uninstallation leaves them as well, and records in the floors that
//! it took place.

use super::boot;
use super::error::NodeError;
use super::host::Root;
use super::state::{Floors, Reading, not_installed};
use crate::model::{Code, Finding, HostPath};

/// The file that every installation leaves in the policy directory.
const POLICY: &str = "policy.yaml";

/// The answer of a node that has no receipt: nothing was installed, or the records of it are gone.
/// `state` is `None` if there is no state directory.
pub fn without_receipt(
    root: &Root,
    state: Option<&Reading>,
    policy: &HostPath,
) -> Result<Finding, NodeError> {
    let floors = state.map(Reading::floors).transpose()?.flatten();
    // An installation that was interrupted before its receipt is finished by the next one.
    let unfinished = state.map(Reading::journal).transpose()?.flatten().is_some();
    if unfinished || floors.as_ref().is_some_and(|floors| floors.uninstalled) {
        return Ok(not_installed());
    }
    let mut signs = Vec::new();
    if let Some(state) = state {
        let had = |floors: &Floors| !floors.bundles.is_empty();
        signs.extend(floors.is_some_and(|floors| had(&floors)).then_some("its newest version"));
        signs.extend((!state.history()?.is_empty()).then_some("an earlier generation"));
    }
    let directory = root.directory(policy).ok().flatten();
    let kept = directory.and_then(|directory| directory.kind_of(POLICY).ok().flatten());
    signs.extend(kept.map(|_| "its policy"));
    signs.extend(boot::is_enabled(root).then_some("the unit that checks it at boot"));
    if signs.is_empty() {
        return Ok(not_installed());
    }
    let message = "a bundle was installed here, and its records are gone";
    let hint = "find out what deleted them, then install again: plugins with the signed content are taken over";
    let finding = Finding::refusal(Code::RecordsLost, message);
    Ok(finding.mismatch("the receipt", format_args!("only {}", signs.join(", "))).hint(hint))
}
