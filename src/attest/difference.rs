//! The differences between two bundles, for a reviewer: in a terminal, in a pull request, or as
//! JSON. Pure.
//!
//! What is not known on one side is not compared. Programs that differ in the same way on several
//! platforms are shown once, and a module that several programs link is shown once. Everything that
//! is printed may have been written by an attacker: characters that a terminal acts on are escaped,
//! and Markdown has all of it in code spans, where nothing is a link, a mention or a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde::Serialize;

use super::contents::{ContainedPlugin, Contents, Side};
use crate::bundle::PluginOrigin;
use crate::model::{Platform, PluginName, size_in_words, visible};

/// The differences between two bundles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The bundle of before.
    pub old: Side,
    /// The bundle of after.
    pub new: Side,
    /// The plugins that differ, sorted by name and platform.
    pub plugins: Vec<PluginDifference>,
    /// The modules that differ in the plugins that both have, sorted by path.
    pub modules: Vec<ModuleDifference>,
}

/// The differences of one plugin for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginDifference {
    /// The plugin.
    pub name: PluginName,
    /// Its platform.
    pub platform: Platform,
    /// Whether it was added, removed or changed.
    pub kind: DifferenceKind,
    /// The values that differ; all values of one that was added or removed.
    pub values: Vec<ValueDifference>,
}

/// Whether a plugin was added, removed or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Only the new bundle has it.
    Added,
    /// Only the old bundle has it.
    Removed,
    /// Both have it, with other bytes or described otherwise.
    Changed,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ValueDifference {
    /// `version` (what the program says), `release` (what the definition says), `origin`, `level`,
    /// `revision`, `CNI` (the versions of its specification), `licence`, `toolchain`, `package`,
    /// `linkage`, `size` in bytes, or `digest`.
    pub what: &'static str,
    /// Before; `None` for a plugin that was added, or if the program does not say it.
    pub old: Option<String>,
    /// After; `None` for a plugin that was removed, or if the program does not say it.
    pub new: Option<String>,
}

/// A module that differs in the same way in some plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleDifference {
    /// The path of the module, or `stdlib`.
    pub path: String,
    /// The version before; `None` if it was not linked.
    pub old: Option<String>,
    /// The version after; `None` if it is not linked any more.
    pub new: Option<String>,
    /// The plugins that link it, on any platform.
    pub plugins: BTreeSet<PluginName>,
}

impl Difference {
    /// The changes from `old` to `new`.
    pub fn between(old: &Contents, new: &Contents) -> Self {
        let keys: BTreeSet<_> = old.plugins.keys().chain(new.plugins.keys()).collect();
        let mut plugins = Vec::new();
        let mut modules: BTreeMap<_, BTreeSet<PluginName>> = BTreeMap::new();
        for key in keys {
            let (before, after) = (old.plugins.get(key), new.plugins.get(key));
            let values = values(before, after);
            if !values.is_empty() {
                let kind = match (before, after) {
                    (None, _) => DifferenceKind::Added,
                    (_, None) => DifferenceKind::Removed,
                    _ => DifferenceKind::Changed,
                };
                let (name, platform) = key.clone();
                plugins.push(PluginDifference { name, platform, kind, values });
            }
            let linked =
                |plugin: Option<&ContainedPlugin>| plugin.and_then(|it| it.modules.clone());
            let (Some(before), Some(after)) = (linked(before), linked(after)) else { continue };
            let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for path in paths {
                let (old, new) = (before.get(path).cloned(), after.get(path).cloned());
                if old != new {
                    modules.entry((path.clone(), old, new)).or_default().insert(key.0.clone());
                }
            }
        }
        let modules = modules.into_iter().map(|((path, old, new), plugins)| ModuleDifference {
            path,
            old,
            new,
            plugins,
        });
        Self { old: old.side.clone(), new: new.side.clone(), plugins, modules: modules.collect() }
    }

    /// Whether both have the same plugins.
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.modules.is_empty()
    }

    /// As GitHub Flavored Markdown, for a pull request or the summary of a job.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    fn write_markdown(&self, f: &mut String) -> fmt::Result {
        writeln!(f, "### {} → {}\n", code(&title(&self.old)), code(&title(&self.new)))?;
        if self.is_empty() {
            return writeln!(f, "No difference.");
        }
        if !self.plugins.is_empty() {
            writeln!(f, "| plugin | platforms | change | values |\n| --- | --- | --- | --- |")?;
        }
        for group in self.groups() {
            let values: Vec<_> = group
                .values
                .iter()
                .map(|value| {
                    let (old, new) = value.shown();
                    match (old, new) {
                        (Some(old), Some(new)) => {
                            format!("{} {} → {}", value.what, code(&old), code(&new))
                        }
                        (one, other) => {
                            let only = one.or(other).unwrap_or_else(|| "none".to_owned());
                            format!("{} {}", value.what, code(&only))
                        }
                    }
                })
                .collect();
            let platforms: Vec<_> =
                group.platforms.iter().map(|it| code(&it.to_string())).collect();
            writeln!(
                f,
                "| {} | {} | {} | {} |",
                code(group.name.as_str()),
                platforms.join(", "),
                group.kind.word(),
                values.join("<br>")
            )?;
        }
        if !self.modules.is_empty() {
            writeln!(f, "\n| module | before | after | plugins |\n| --- | --- | --- | --- |")?;
        }
        for module in &self.modules {
            let version = |version: &Option<String>| match version {
                Some(version) => code(version),
                None => "not linked".to_owned(),
            };
            writeln!(
                f,
                "| {} | {} | {} | {} |",
                code(&module.path),
                version(&module.old),
                version(&module.new),
                code(&PluginName::list(module.plugins.iter(), SHOWN))
            )?;
        }
        Ok(())
    }

    /// The plugins, those together that differ in the same way on several platforms.
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for plugin in &self.plugins {
            let same = groups.iter_mut().find(|group| {
                group.name == &plugin.name && group.kind == plugin.kind && {
                    let (a, b) = (group.values.iter(), plugin.values.iter());
                    a.filter(|it| !it.is_of_platform()).eq(b.filter(|it| !it.is_of_platform()))
                }
            });
            match same {
                Some(group) => group.add(plugin),
                None => groups.push(Group {
                    name: &plugin.name,
                    kind: plugin.kind,
                    platforms: vec![&plugin.platform],
                    values: plugin.values.clone(),
                }),
            }
        }
        groups
    }
}

/// A plugin that differs in the same way on these platforms.
struct Group<'a> {
    name: &'a PluginName,
    kind: DifferenceKind,
    platforms: Vec<&'a Platform>,
    values: Vec<ValueDifference>,
}

impl<'a> Group<'a> {
    /// Adds a platform: sizes are added up, and there is no one digest any more.
    fn add(&mut self, other: &'a PluginDifference) {
        self.platforms.push(&other.platform);
        self.values.retain(|value| value.what != DIGEST);
        let size = |values: &[ValueDifference]| values.iter().find(|it| it.what == SIZE).cloned();
        let Some(more) = size(&other.values) else { return };
        match self.values.iter_mut().find(|value| value.what == SIZE) {
            Some(sum) => {
                sum.old = add(sum.old.take(), more.old);
                sum.new = add(sum.new.take(), more.new);
            }
            None => self.values.push(more),
        }
    }
}

fn add(sum: Option<String>, more: Option<String>) -> Option<String> {
    let number = |text: &String| text.parse::<u64>().ok();
    Some(number(&sum?)?.saturating_add(number(&more?)?).to_string())
}

/// Of how many plugins that link a module the names are shown.
const SHOWN: usize = 4;
const SIZE: &str = "size";
const DIGEST: &str = "digest";

/// The values that differ.
fn values(old: Option<&ContainedPlugin>, new: Option<&ContainedPlugin>) -> Vec<ValueDifference> {
    type Read = fn(&ContainedPlugin) -> Option<String>;
    /// Whether an absent value is unknown, instead of none.
    const UNKNOWN: bool = true;
    let reads: [(&'static str, bool, Read); 12] = [
        ("version", !UNKNOWN, |it| it.go.as_ref().and_then(|go| go.version.clone())),
        ("release", UNKNOWN, |it| it.release().map(str::to_owned)),
        ("origin", UNKNOWN, |it| it.facts.origin.as_ref().map(origin)),
        ("level", UNKNOWN, |it| it.facts.origin.as_ref().map(|it| it.level.clone())),
        ("revision", UNKNOWN, |it| it.facts.vcs.as_ref()?.revision.clone()),
        ("CNI", UNKNOWN, |it| {
            let versions = &it.facts.cni_versions;
            (!versions.is_empty()).then(|| versions.join(", "))
        }),
        ("licence", UNKNOWN, |it| it.facts.license.clone()),
        ("toolchain", !UNKNOWN, |it| it.go.as_ref().map(|go| go.go.clone())),
        ("package", !UNKNOWN, |it| it.go.as_ref().map(|go| go.path.clone())),
        ("linkage", !UNKNOWN, |it| Some(it.linkage.to_string())),
        (SIZE, !UNKNOWN, |it| Some(it.size.to_string())),
        (DIGEST, !UNKNOWN, |it| Some(it.digest.to_string())),
    ];
    let both = reads.into_iter().filter_map(|(what, unknown, read)| {
        let of = |plugin: Option<&ContainedPlugin>| plugin.and_then(read);
        let value = ValueDifference { what, old: of(old), new: of(new) };
        let is_known = old.is_none()
            || new.is_none()
            || !unknown
            || (value.old.is_some() && value.new.is_some());
        (is_known && value.old != value.new).then_some(value)
    });
    both.collect()
}

/// Where a plugin came from. Its version is a value of its own.
fn origin(origin: &PluginOrigin) -> String {
    let location = origin.location.as_deref().unwrap_or(&origin.kind);
    match &origin.member {
        Some(member) => format!("{location} ({member})"),
        None => location.to_owned(),
    }
}

impl DifferenceKind {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

impl ValueDifference {
    /// Whether it differs from platform to platform although nothing else does.
    fn is_of_platform(&self) -> bool {
        [SIZE, DIGEST].contains(&self.what)
    }

    /// Both values as people read them: sizes with a unit, digests as long as needed.
    fn shown(&self) -> (Option<String>, Option<String>) {
        let shown = |text: &Option<String>| {
            let text = text.as_ref()?;
            Some(match self.what {
                SIZE => {
                    text.parse::<u64>().map_or_else(|_| text.clone(), |it| size_in_words(it, 2))
                }
                DIGEST => text.chars().take("sha256:".len() + 12).collect(),
                _ => text.clone(),
            })
        };
        (shown(&self.old), shown(&self.new))
    }
}

/// The name of a side.
fn title(side: &Side) -> String {
    let version = side.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{}{version} ({})", side.name, side.from)
}

/// A code span, in a table as well. Nothing in it is more than text: a backtick would end the span,
/// and a bar the cell, so both are written as escapes.
fn code(text: &str) -> String {
    let text = visible(text).replace('`', "\\u{60}").replace('|', "\\u{7c}");
    format!("`{}`", if text.trim().is_empty() { "none" } else { text.as_str() })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "no difference");
        }
        writeln!(f, "--- {}\n+++ {}", visible(&title(&self.old)), visible(&title(&self.new)))?;
        for group in self.groups() {
            let platforms: Vec<_> = group.platforms.iter().map(ToString::to_string).collect();
            writeln!(f, "{} {} ({})", group.kind.sign(), group.name, platforms.join(", "))?;
            for value in &group.values {
                let (old, new) = value.shown();
                let none = || "none".to_owned();
                let line = match group.kind {
                    DifferenceKind::Added => new.unwrap_or_else(none),
                    DifferenceKind::Removed => old.unwrap_or_else(none),
                    DifferenceKind::Changed => {
                        format!("{} -> {}", old.unwrap_or_else(none), new.unwrap_or_else(none))
                    }
                };
                writeln!(f, "    {:<9} {}", value.what, visible(&line))?;
            }
        }
        for module in &self.modules {
            let plugins = PluginName::list(module.plugins.iter(), SHOWN);
            let (sign, version) = match (&module.old, &module.new) {
                (Some(old), Some(new)) => ('~', format!("{old} -> {new}")),
                (None, Some(new)) => ('+', new.clone()),
                (old, None) => ('-', old.clone().unwrap_or_default()),
            };
            let path = visible(&module.path);
            writeln!(f, "{sign} module {path} {} ({plugins})", visible(&version))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
