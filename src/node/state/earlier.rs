//! Plugins of an earlier bundle that stayed, and the generation that proves them.
//!
//! The receipt lists them without a proof: the installed bundle does not have them. A node that
//! still keeps their generation has its evidence, which is verified again under today's policy.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::generation::FIND_OUT;
use super::lock::Reading;
use super::receipt::Receipt;
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::error::NodeError;
use crate::trust::{Bundle, Verified, Verifier};

/// A kept generation that today's policy accepts, and the plugins that are still there of it.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// The bundle of the earlier generation, verified again.
    pub(crate) bundle: Verified<Bundle>,
    /// The names, by plugin directory.
    pub(crate) plugins: BTreeMap<HostPath, BTreeSet<PluginName>>,
}

impl Earlier {
    /// The bundle among these that proves a plugin which an installation left.
    pub(crate) fn of<'a>(
        all: &'a [Self],
        directory: &HostPath,
        name: &PluginName,
    ) -> Option<&'a Verified<Bundle>> {
        let has = |names: &BTreeSet<PluginName>| names.contains(name);
        let mut known = all.iter().filter(|one| one.plugins.get(directory).is_some_and(has));
        known.next().map(|one| &one.bundle)
    }
}

/// What the generations of a node prove of earlier bundles.
#[derive(Debug, Default)]
pub(crate) struct EarlierBundles {
    /// The generations that prove something, the youngest first.
    pub(crate) proven: Vec<Earlier>,
    /// Why a generation could not be asked: its receipt or its evidence cannot be read.
    pub(crate) unknown: Vec<Finding>,
}

impl Reading {
    /// The kept generations that prove what the receipt lists of an earlier bundle; each plugin
    /// counts to one of them.
    pub(crate) fn earlier(
        &self,
        receipt: &Receipt,
        verifier: &Verifier<'_>,
    ) -> Result<EarlierBundles, NodeError> {
        let mut left: BTreeMap<_, _> = receipt
            .directories
            .iter()
            .map(|(path, directory)| (path, directory.leftovers.clone()))
            .collect();
        let past = self.history()?;
        let mut found = EarlierBundles { proven: Vec::new(), unknown: past.unknown().collect() };
        if left.values().all(BTreeMap::is_empty) {
            return Ok(found);
        }
        for number in past.generations.iter().map(|past| past.number) {
            // One that was read a moment ago.
            let Some(past) = self.generation(number)? else { continue };
            let mut plugins = BTreeMap::<HostPath, BTreeSet<PluginName>>::new();
            for (path, files) in &left {
                let names: BTreeSet<_> = files
                    .iter()
                    .filter(|(name, file)| past.has(path, name, file))
                    .map(|(name, _)| name.clone())
                    .collect();
                if !names.is_empty() {
                    plugins.insert((*path).clone(), names);
                }
            }
            if plugins.is_empty() {
                continue;
            }
            let bundle = match Claim::of(&past).verdict(self, verifier) {
                Ok(Ok(bundle)) => bundle,
                Ok(Err(_)) => continue,
                Err(NodeError::Disk(error)) => {
                    let reason = error.of_one_file().ok_or(error)?;
                    let message =
                        format!("the evidence of generation {number} cannot be read: {reason}");
                    let finding = Finding::warning(Code::Unreadable, message);
                    found.unknown.push(finding.hint(FIND_OUT));
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (path, names) in &mut plugins {
                let Some(files) = left.get_mut(path) else { continue };
                // What the receipts say is not what was signed.
                names.retain(|name| {
                    let signed = bundle.value().files.plugin(name).map(|plugin| plugin.digest);
                    let recorded = files.get(name).map(|file| file.digest);
                    signed.is_some() && signed == recorded
                });
                files.retain(|name, _| !names.contains(name));
            }
            found.proven.push(Earlier { bundle, plugins });
        }
        Ok(found)
    }
}
