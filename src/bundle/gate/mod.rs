//! Gates: whether the plugins of a bundle meet the requirements of its definition.
//!
//! Lock entries and gates in, refusals out; nothing is opened or executed here. An entry has the
//! facts that were read from a plugin's bytes, so `lock`, `lock --check` and `build` judge by the
//! same facts; a build has compared them with the bytes that it packs. The package, version and
//! toolchain that a program records are believed: gates find a wrong file, not a forged one. A gate
//! that cannot be decided refuses, with its reason. All refusals are collected before any is
//! reported, so that they can be fixed together.

mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::definition::Gate;
use super::lock::LockedPlugin;
use crate::model::{Platform, PluginName, visible};
use decide::{No, decide};

/// Plugins that a gate refuses for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRefusal {
    /// The key of the gate.
    pub gate: &'static str,
    /// The plugins, in their order.
    pub plugins: Vec<PluginName>,
    /// The platform that they are for.
    pub platform: Platform,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub action: String,
}

/// Everything that these gates refuse, by gate.
pub fn judge(gates: &[Gate], entries: &[&LockedPlugin]) -> Vec<GateRefusal> {
    let usual = usual_toolchain(entries);
    let mut refusals = Vec::new();
    for gate in gates {
        for entry in entries {
            if let Err(no) = decide(gate, entry, usual) {
                add(&mut refusals, gate.key(), entry, no);
            }
        }
    }
    refusals
}

/// Adds a plugin to those that are refused for the same reason.
fn add(refusals: &mut Vec<GateRefusal>, gate: &'static str, entry: &LockedPlugin, no: No) {
    let (name, platform) = (entry.name.clone(), entry.platform.clone());
    let No { found, action } = no;
    let same = refusals.iter_mut().rev().find(|it| {
        it.gate == gate && it.platform == platform && it.found == found && it.action == action
    });
    match same {
        Some(refusal) => refusal.plugins.push(name),
        None => refusals.push(GateRefusal { gate, plugins: vec![name], platform, found, action }),
    }
}

/// The toolchain of most plugins, of several the one that is last in their order.
fn usual_toolchain<'a>(entries: &[&'a LockedPlugin]) -> Option<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for go in entries.iter().filter_map(|entry| entry.go.as_ref()) {
        *counts.entry(&go.go).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(go, count)| (*count, *go)).map(|(go, _)| go)
}

/// "gate `static` refuses `bridge`, `tap` on linux/amd64: linked dynamically; build them with …"
impl fmt::Display for GateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, plugins, platform, found, action } = self;
        let names: Vec<String> = plugins.iter().map(|name| format!("`{name}`")).collect();
        write!(f, "gate `{gate}` refuses {} on {platform}: ", names.join(", "))?;
        write!(f, "{}; {}", visible(found), visible(action))
    }
}
