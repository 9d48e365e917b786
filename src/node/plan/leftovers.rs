//! Deciding how plugins of an earlier bundle are brought back beside the installed one.
//!
//! Pure. The bundle is that of a kept generation, which today's policy accepts; the receipt stays
//! that of the installed release.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Decision, decide};
use super::options::{ForeignRule, InstallOptions};
use super::{Plan, Step};
use crate::model::{Finding, HostPath, PluginName};
use crate::node::host::Observed;
use crate::node::state::Receipt;
use crate::trust::{Bundle, Verified};

/// Decides how these plugins of an earlier bundle get their bytes again.
///
/// # Errors
/// The findings that refuse it; nothing is to be done then.
pub(crate) fn plan_leftovers<'v>(
    bundle: &'v Verified<Bundle>,
    wanted: &BTreeMap<HostPath, BTreeSet<PluginName>>,
    observed: &Observed,
    present: &Receipt,
) -> Result<Plan<'v>, Vec<Finding>> {
    let options = InstallOptions { foreign: ForeignRule::Stay, ..InstallOptions::default() };
    let (mut steps, mut refusals, mut receipt) = (Vec::new(), Vec::new(), present.clone());
    for directory in &observed.directories {
        let Some(names) = wanted.get(&directory.path) else { continue };
        let files = bundle.value().files.plugins.iter().filter(|file| names.contains(&file.name));
        for file in files {
            match decide(directory, file, observed, &options, false) {
                Decision::Step(step) | Decision::Leave(step, _) => steps.push(step),
                // What cannot give way stays, and its finding with it.
                Decision::Keep(..) => {}
                Decision::Refuse(finding) => refusals.push(finding),
            }
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    for step in &steps {
        if let Step::Write { directory, name, owner, .. } = step
            && let Some(known) = receipt.directories.get_mut(directory)
            && let Some(file) = known.leftovers.get_mut(name)
        {
            file.owner = owner.clone();
        }
    }
    Ok(Plan {
        bundle,
        steps,
        notes: Vec::new(),
        interrupted: false,
        generation: present.generation,
        carried: BTreeMap::new(),
        superseded: Vec::new(),
        receipt: Some(receipt),
    })
}
