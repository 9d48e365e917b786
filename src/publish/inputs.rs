//! Everything that a build takes in, found and judged before anything is written.
//!
//! A build that is refused leaves nothing behind: whatever can be refused is refused here, and
//! [`build`](super::build()) starts from the result. This module writes nothing itself; [`Plugin`]
//! determines what a file is.

use std::collections::BTreeMap;

use super::error::BuildError;
use super::lock::{described, entry, unlocked};
use super::source::{Cache, Plugin, SourceError, Sources, Tool};
use crate::bundle::definition::ToolChoice;
use crate::bundle::gate::judge;
use crate::bundle::lock::{BundleLock, KeptEvidence, LockError, LockedPlugin};
use crate::bundle::{Definition, FileManifest, layer};
use crate::model::{Digest, Platform, media_type};

/// The inputs of a build.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub(super) definition: &'a Definition,
    pub(super) platforms: Vec<PlatformInputs<'a>>,
    pub(super) epoch: u64,
    /// Has layers that were composed before.
    pub(super) cache: &'a Cache,
}

/// Those of one platform.
#[derive(Debug)]
pub(super) struct PlatformInputs<'a> {
    pub(super) platform: &'a Platform,
    /// Sorted by name.
    pub(super) plugins: Vec<Plugin>,
    pub(super) tool: Option<&'a Tool>,
}

impl<'a> Inputs<'a> {
    /// Refuses sources of which a build takes only what a lock pins, if there is no lock.
    pub fn expect_lock(sources: &Sources<'_>, is_locked: bool) -> Result<(), BuildError> {
        match sources.to_lock() {
            Some(source) if !is_locked => Err(BuildError::NoLock(source.clone())),
            _ => Ok(()),
        }
    }

    /// Takes in what the definition of `sources` asks for. `tools` are what there is: the
    /// definition decides whether one is used, and those of other platforms are left alone. `epoch`
    /// is the time inside the image. Where there is a lock, nothing is taken that it does not pin;
    /// without one, only the files of directories are taken.
    pub fn resolve(
        sources: &Sources<'a>,
        lock: Option<&(BundleLock, KeptEvidence)>,
        tools: &'a [Tool],
        epoch: u64,
    ) -> Result<Self, BuildError> {
        let definition = sources.definition();
        Self::expect_lock(sources, lock.is_some())?;
        let tools = definition.platforms.iter().map(|platform| match definition.tool {
            ToolChoice::Required => tool_of(platform, tools).map(Some),
            ToolChoice::None => Ok(None),
        });
        if let Some((lock, kept)) = lock {
            let problems = lock.problems(definition, kept);
            if !problems.is_empty() {
                return Err(BuildError::Lock(problems));
            }
        }
        // Before the plugins, which take a while.
        let tools: Vec<Option<&Tool>> = tools.collect::<Result<_, _>>()?;
        let mut taken = sources.take()?;
        let entries = match lock {
            Some((lock, _)) => {
                let problems = unlocked_plugins(lock, &taken)?;
                if !problems.is_empty() {
                    return Err(BuildError::Lock(problems));
                }
                lock.clone()
            }
            None => unlocked_entries(definition, &taken)?,
        };
        let refusals = judge(&definition.gates, &entries.plugins.iter().collect::<Vec<_>>());
        if !refusals.is_empty() {
            return Err(BuildError::Gates(refusals));
        }
        state_facts(definition, &entries, &mut taken);
        let mut platforms = Vec::new();
        for (platform, tool) in definition.platforms.iter().zip(tools) {
            let plugins = taken.remove(platform).unwrap_or_default();
            let inputs = PlatformInputs { platform, plugins, tool };
            inputs.check(definition, epoch)?;
            platforms.push(inputs);
        }
        Ok(Self { definition, platforms, epoch, cache: sources.cache() })
    }
}

/// The plugins of each platform.
type TakenPlugins = BTreeMap<Platform, Vec<Plugin>>;

fn each(taken: &TakenPlugins) -> impl Iterator<Item = (&Platform, &Plugin)> {
    taken
        .iter()
        .flat_map(|(platform, plugins)| plugins.iter().map(move |plugin| (platform, plugin)))
}

/// Everything that is not what the lock says.
fn unlocked_plugins(
    lock: &BundleLock,
    taken: &TakenPlugins,
) -> Result<Vec<LockError>, SourceError> {
    let found = each(taken).map(|(platform, plugin)| unlocked(lock, platform, plugin));
    found.filter_map(Result::transpose).collect()
}

/// What a lock would say of plugins that are all from directories of this machine. Whatever the
/// definition says of them, nothing is known of their origin.
fn unlocked_entries(
    definition: &Definition,
    taken: &TakenPlugins,
) -> Result<BundleLock, SourceError> {
    let requests = definition.requests();
    let entries = each(taken).filter_map(|(platform, plugin)| {
        let request = requests.get(&(plugin.facts.name.clone(), platform.clone()))?.clone();
        Some(entry(platform, request, plugin, None, &KeptEvidence::new()))
    });
    let of_directory = |mut entry: LockedPlugin| {
        entry.request.make_directory();
        described(entry, definition)
    };
    let entries = entries.map(|entry| entry.map(of_directory)).collect::<Result<_, _>>()?;
    Ok(BundleLock::new(definition.name.clone(), entries))
}

/// Writes into the facts of each plugin what is known of its origin.
fn state_facts(definition: &Definition, entries: &BundleLock, taken: &mut TakenPlugins) {
    for (platform, plugins) in taken {
        for plugin in plugins {
            let name = &plugin.facts.name;
            let source = definition.plugins.iter().find(|wanted| wanted.name == *name);
            let entry = entries.entry(platform, name);
            if let (Some(source), Some(entry)) = (source, entry) {
                plugin.facts.facts = entry.published(Some(&source.source));
            }
        }
    }
}

impl PlatformInputs<'_> {
    /// What the file manifest is going to be, once the plugin layer is written.
    pub(super) fn file_manifest(&self, definition: &Definition, diff_id: Digest) -> FileManifest {
        FileManifest {
            media_type: media_type::BUNDLE.to_owned(),
            name: definition.name.clone(),
            version: definition.version.clone(),
            platform: self.platform.clone(),
            diff_id,
            plugins: self.plugins.iter().map(|plugin| plugin.facts.clone()).collect(),
            tool: self.tool.map(|tool| tool.facts.clone()),
        }
    }

    /// Refuses what no layer could hold and no node would accept. Nothing of that depends on which
    /// digest the layer gets.
    fn check(&self, definition: &Definition, epoch: u64) -> Result<(), BuildError> {
        let platform = || self.platform.clone();
        layer::check_time(epoch)
            .map_err(|source| BuildError::Layer { platform: platform(), source })?;
        let files = self.file_manifest(definition, Digest::of(b""));
        FileManifest::parse(&files.to_bytes())
            .map_err(|source| BuildError::Manifest { platform: platform(), source })?;
        Ok(())
    }
}

/// The only tool of a platform.
pub(super) fn tool_of<'a>(platform: &Platform, tools: &'a [Tool]) -> Result<&'a Tool, BuildError> {
    let mut matching = tools.iter().filter(|tool| tool.platform == *platform);
    match (matching.next(), matching.next()) {
        (Some(tool), None) => Ok(tool),
        (Some(_), Some(_)) => Err(BuildError::TwoTools(platform.clone())),
        (None, _) => {
            let found: Vec<_> = tools.iter().map(|tool| tool.platform.to_string()).collect();
            let found = if found.is_empty() { "none at all".to_owned() } else { found.join(", ") };
            Err(BuildError::NoTool { platform: platform.clone(), found })
        }
    }
}
