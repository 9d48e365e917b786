//! Asking plugins for their CNI versions while a lock is made.
//!
//! This is the only place where composing a bundle executes a plugin: a build executes none, or the
//! digest of a bundle would depend on the programs of the build machine. A plugin is asked as a
//! node asks it ([`crate::check::probe`]), confined and with an empty environment, once: an answer
//! that is locked for the same bytes is kept. Only bytes that are about to be locked are executed,
//! and only if their origin is verified as far as the definition demands. Plugins for another
//! processor need qemu-user. The versions of a plugin that cannot be asked stay unknown, and a gate
//! on them refuses it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::lock::NewLock;
use super::source::Plugin;
use crate::bundle::Definition;
use crate::bundle::definition::Gate;
use crate::bundle::lock::{BundleLock, CniAnswer, HowAsked, Level, LockedPlugin};
use crate::check::probe::{ProbeResult, Prober};
use crate::model::{Platform, PluginName, with_causes};

/// How long an answer may take; an emulator needs a tenth of it on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks plugins.
#[derive(Debug)]
pub struct Asker {
    prober: Prober,
    /// Where emulators are looked for.
    folders: Vec<PathBuf>,
}

/// Plugins of one platform that were not asked, or gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// Their platform.
    pub platform: Platform,
    /// Why; it continues "it".
    pub reason: String,
    /// The plugins.
    pub plugins: Vec<PluginName>,
}

/// Writes into a new lock what its plugins answer, or answered before. Returns those of which
/// nothing is known; without an asker, no plugin is executed and none is returned.
pub fn ask_all(
    asker: Option<&Asker>,
    definition: &Definition,
    new: &mut NewLock,
    old: Option<&BundleLock>,
) -> Vec<Unasked> {
    let least = least_level(definition);
    let mut unasked = BTreeMap::<(Platform, String), Vec<PluginName>>::new();
    for entry in &mut new.lock.plugins {
        if entry.cni_versions.is_none() {
            entry.cni_versions = old.and_then(|old| answer_before(old, entry));
        }
        let plugins = new.taken.get(&entry.platform);
        let plugin = plugins.and_then(|all| all.iter().find(|it| it.facts.name == entry.name));
        let plugin = plugin.filter(|_| entry.cni_versions.is_none());
        let (Some(asker), Some(plugin)) = (asker, plugin) else { continue };
        let answer = match entry.level < least {
            true => Err(format!("is verified as `{}` only", entry.level)),
            false => asker.ask(&entry.platform, plugin),
        };
        match answer {
            Ok(answer) => entry.cni_versions = Some(answer),
            Err(reason) => {
                let key = (entry.platform.clone(), reason);
                unasked.entry(key).or_default().push(entry.name.clone());
            }
        }
    }
    let unasked = unasked.into_iter();
    unasked.map(|((platform, reason), plugins)| Unasked { platform, reason, plugins }).collect()
}

impl Asker {
    /// Plugins are asked by this program, started again. `folders` are searched for emulators.
    pub fn this_program(folders: Vec<PathBuf>) -> Self {
        Self { prober: Prober::new("/proc/self/exe", PATIENCE, true), folders }
    }

    /// The answer of a plugin, or why there is none.
    fn ask(&self, platform: &Platform, plugin: &Plugin) -> Result<CniAnswer, String> {
        let emulator = match *platform == Platform::host() {
            true => None,
            false => match self.emulator(platform) {
                Some(emulator) => Some(emulator),
                None => {
                    let name = emulator_name(platform);
                    return Err(format!("cannot be executed here: `{name}` is not installed"));
                }
            },
        };
        let origin = plugin.taken().origin().to_string();
        let mut content = plugin.entry("").content;
        let asked = if emulator.is_some() { HowAsked::Qemu } else { HowAsked::Native };
        let result =
            self.prober.ask_with(emulator.as_deref(), &plugin.facts, &origin, &mut content);
        match result {
            Ok(ProbeResult::Answer(versions)) => {
                Ok(CniAnswer { supported: versions.supported, asked })
            }
            Ok(ProbeResult::Failed(reason) | ProbeResult::Skipped(reason)) => Err(reason),
            // A build will find the same.
            Ok(ProbeResult::Altered(_)) => Err("changed while it was read".to_owned()),
            Err(error) => Err(format!("could not be asked: {}", with_causes(&error))),
        }
    }

    /// The program that executes plugins of another platform.
    fn emulator(&self, platform: &Platform) -> Option<PathBuf> {
        let name = emulator_name(platform);
        let names = [format!("{name}-static"), name];
        let paths = names.iter().flat_map(|name| self.folders.iter().map(move |it| it.join(name)));
        let is_there = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file());
        paths.filter(|path| path.is_absolute()).find(is_there)
    }
}

/// The name of qemu-user for a platform, in the words of qemu.
fn emulator_name(platform: &Platform) -> String {
    let architecture = match platform.architecture() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    format!("qemu-{architecture}")
}

/// How far the origin of a plugin must be verified before it is executed.
fn least_level(definition: &Definition) -> Level {
    let least = definition.gates.iter().find_map(|gate| match gate {
        Gate::MinLevel(level) => Some(*level),
        _ => None,
    });
    least.unwrap_or(Level::None)
}

/// What a lock has as the answer of the same bytes.
fn answer_before(old: &BundleLock, entry: &LockedPlugin) -> Option<CniAnswer> {
    let before = old.entry(&entry.platform, &entry.name)?;
    before.cni_versions.clone().filter(|_| before.digest == entry.digest)
}

/// "`bridge`, `tap` for linux/arm64: cannot be executed here: `qemu-aarch64` is not installed"
impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.plugins.iter().map(|name| format!("`{name}`")).collect();
        let Self { platform, reason, .. } = self;
        write!(f, "CNI versions of {} on {platform} are unknown: it {reason}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulators_have_the_names_that_qemu_gives_them() {
        let names: Vec<String> = Platform::all().map(|platform| emulator_name(&platform)).collect();
        let mut expected = vec!["x86_64", "aarch64", "arm", "ppc64le", "riscv64", "s390x"];
        expected.sort_unstable();
        let mut found: Vec<_> =
            names.iter().filter_map(|name| name.strip_prefix("qemu-")).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_emulator_is_found_by_its_name_and_never_relative_to_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let platform: Platform = "linux/s390x".parse().unwrap();
        let asker = |folders: &[&str]| {
            let folders = folders.iter().map(PathBuf::from).collect();
            Asker::this_program(folders).emulator(&platform)
        };
        let here = folder.path().to_str().unwrap();
        assert_eq!(asker(&[here]), None);
        fs::create_dir(folder.path().join("qemu-s390x-static")).unwrap();
        assert_eq!(asker(&[here]), None);
        fs::write(folder.path().join("qemu-s390x"), "").unwrap();
        assert_eq!(asker(&["", "/nowhere", here]), Some(folder.path().join("qemu-s390x")));
        assert_eq!(asker(&["", "."]), None);
    }
}
