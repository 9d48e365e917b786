//! Plugins of an earlier bundle that stayed, and the generation that proves them.
//!
//! The receipt lists them without a proof: the installed bundle does not have them. A node that
//! still keeps their generation has its evidence, which is verified again under today's policy.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::lock::Reading;
use super::receipt::Receipt;
use crate::model::{HostPath, PluginName};
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

impl Reading {
    /// The kept generations that prove what the receipt lists of an earlier bundle, the newest
    /// first; each plugin counts to one of them.
    pub(crate) fn earlier(
        &self,
        receipt: &Receipt,
        verifier: &Verifier<'_>,
    ) -> Result<Vec<Earlier>, NodeError> {
        let mut left: BTreeMap<_, _> = receipt
            .directories
            .iter()
            .map(|(path, directory)| (path, directory.leftovers.clone()))
            .collect();
        let mut found = Vec::new();
        if left.values().all(BTreeMap::is_empty) {
            return Ok(found);
        }
        for past in self.history()?.receipts {
            let mut plugins = BTreeMap::<HostPath, BTreeSet<PluginName>>::new();
            for (path, files) in &left {
                let had = past.directories.get(*path).map(|directory| &directory.files);
                let is_of = |(name, file): &(&PluginName, &super::InstalledFile)| {
                    had.and_then(|had| had.get(*name)).is_some_and(|had| had.digest == file.digest)
                };
                let names: BTreeSet<_> =
                    files.iter().filter(is_of).map(|(name, _)| name.clone()).collect();
                if !names.is_empty() {
                    plugins.insert((*path).clone(), names);
                }
            }
            if plugins.is_empty() {
                continue;
            }
            let Ok(bundle) = Claim::of(&past).verdict(self, verifier)? else { continue };
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
            found.push(Earlier { bundle, plugins });
        }
        Ok(found)
    }
}
