//! The cause, from what a text says and what the node has, and what to do about it. Pure.
//!
//! The same words of a runtime can have several causes; the node decides between them. If it
//! cannot, a cause that says so is named instead of a guess.

mod actions;

use super::cause::Cause;
use super::explained::{Explained, OnNode};
use super::look::{Content, FileFacts, NamedEntry, Seen};
use super::symptom::{Complaint, Phase, Refused, Symptom};
use crate::check::report::FileState;
use crate::check::report::Report;
use crate::cni::{IPAM, OLDEST, advice, upstream};
use crate::disk::FileKind;
use crate::model::HostPath;
use crate::model::PluginName;

/// What the node has under the name of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Suspect {
    pub(crate) name: PluginName,
    /// What each of the owner's directories has, in order.
    pub(crate) seen: Vec<Seen>,
}

/// Names the cause. `suspects` starts with the plugin that the symptom is about, if its name is
/// valid.
pub(crate) fn judge(
    symptom: &Symptom,
    suspects: &[Suspect],
    checked: Option<&Report>,
) -> Explained {
    let node = Node { suspects, checked };
    let verdict = node.verdict(symptom);
    let guessed = verdict.plugin.is_some();
    let plugin = verdict.plugin.clone().or_else(|| symptom.subject().map(str::to_owned));
    let called_by = symptom.blamed.clone().filter(|blamed| Some(blamed) != plugin.as_ref());
    let called_by = called_by.filter(|_| verdict.cause != Cause::PluginNameInvalid);
    let mut actions = verdict.actions(symptom, &node, plugin.as_deref());
    if actions.is_empty() {
        // The text names no plugin that an action could be about.
        actions.push("compare the plugins with what was signed: cnister check".to_owned());
    }
    let (wanted_version, supported_versions) = match &symptom.complaint {
        Complaint::Versions { wanted, supported } => {
            let wanted = if wanted.is_empty() { OLDEST } else { wanted };
            (Some(wanted.to_owned()), supported.clone())
        }
        _ => (None, Vec::new()),
    };
    let mut message = verdict.message;
    if let (Some(plugin), Some(caller)) = (&plugin, &called_by) {
        message.push_str(&blame(plugin, caller, guessed));
    }
    let blocks = symptom.phases.contains(&Phase::Delete) && verdict.cause != Cause::NoLongerSo;
    let effect =
        "pods that use it cannot be deleted either: they stay Terminating until this is fixed";
    Explained {
        cause: verdict.cause,
        message,
        on_node: node.shown(plugin.as_deref()),
        plugin,
        called_by,
        phases: symptom.phases.iter().copied().collect(),
        networks: symptom.networks.iter().cloned().collect(),
        searched: symptom.searched(),
        wanted_version,
        supported_versions,
        times: symptom.times,
        effect: blocks.then(|| effect.to_owned()),
        actions,
    }
}

/// How the cause relates to the plugin that the text blames.
fn blame(plugin: &str, caller: &str, guessed: bool) -> String {
    if guessed {
        return format!(
            "; this explains the failure of `{caller}` if its configuration has `{plugin}` as its `ipam`"
        );
    }
    let role = if IPAM.contains(&plugin) { "its IPAM plugin" } else { "a plugin that it calls" };
    format!("; the error names `{caller}`, which will work once `{plugin}`, {role}, does")
}

struct Verdict {
    cause: Cause,
    message: String,
    /// The plugin that caused it, if that is not the one that the symptom is about.
    plugin: Option<String>,
}

fn verdict(cause: Cause, message: impl Into<String>) -> Verdict {
    Verdict { cause, message: message.into(), plugin: None }
}

impl Symptom {
    /// The plugin that it is about, as the text has it.
    pub(crate) fn subject(&self) -> Option<&str> {
        match &self.complaint {
            Complaint::NotFound { plugin, .. } | Complaint::BadName { plugin } => Some(plugin),
            Complaint::NotStarted { path, .. } => path.rsplit('/').next(),
            _ => self.blamed.as_deref(),
        }
    }

    /// The directories that the text names.
    fn searched(&self) -> Vec<String> {
        match &self.complaint {
            Complaint::NotFound { directories, .. } => directories.clone(),
            Complaint::NotStarted { path, .. } => path
                .rsplit_once('/')
                .map(|(directory, _)| directory.to_owned())
                .into_iter()
                .collect(),
            Complaint::NoConfiguration { directory } => directory.iter().cloned().collect(),
            Complaint::BrokenConfiguration { file } => file
                .rsplit_once('/')
                .map(|(directory, _)| directory.to_owned())
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }
}

struct Node<'a> {
    suspects: &'a [Suspect],
    checked: Option<&'a Report>,
}

impl Node<'_> {
    fn verdict(&self, symptom: &Symptom) -> Verdict {
        let subject = symptom
            .subject()
            .map_or_else(|| "the plugin".to_owned(), |plugin| format!("`{plugin}`"));
        let subject = subject.as_str();
        match &symptom.complaint {
            Complaint::NotFound { plugin, .. } => self.not_found(plugin, &symptom.searched()),
            Complaint::NotStarted { path, reason } => {
                self.not_started(path, *reason, &symptom.searched())
            }
            Complaint::Crashed => self.crashed(subject, "crashed with a segmentation fault"),
            Complaint::Ended { how } => self.crashed(subject, how),
            Complaint::Busy => still_written(subject),
            Complaint::Silent => self.silent(subject),
            Complaint::Versions { wanted, supported } => {
                let spoken = supported.last().map_or_else(String::new, |last| {
                    format!(", which supports versions up to {last}")
                });
                let wanted = match wanted.as_str() {
                    "" => {
                        format!("the configuration has no cniVersion, which means {OLDEST}, and it")
                    }
                    wanted => format!("the configuration's cniVersion {wanted}"),
                };
                let message = format!(
                    "{wanted} is not supported by {subject}, or by a plugin that it called{spoken}"
                );
                verdict(Cause::IncompatibleVersions, message)
            }
            Complaint::Driver { kind } => verdict(
                Cause::DriverMissing,
                format!("this kernel has no driver for `{kind}` interfaces"),
            ),
            Complaint::NoLink { name } => {
                let message = match name {
                    Some(name) => format!(
                        "the interface `{name}` does not exist on the node (or in the pod, if `linkInContainer` is set)"
                    ),
                    None => "an interface that the plugin looked for is not on the node, or not in the pod"
                        .to_owned(),
                };
                verdict(Cause::LinkNotFound, message)
            }
            Complaint::BrokenConfiguration { file } => verdict(
                Cause::ConfigurationInvalid,
                format!("the runtime cannot load the network configuration `{file}`"),
            ),
            Complaint::NoLibrary { wanted } => verdict(
                Cause::LibraryMissing,
                format!(
                    "{subject}, or a plugin that it called, needs `{wanted}`, which this system lacks"
                ),
            ),
            Complaint::NoConfiguration { directory } => {
                let place =
                    directory.as_ref().map_or_else(String::new, |path| format!(" in `{path}`"));
                verdict(
                    Cause::NoConfiguration,
                    format!("the runtime has no network configuration that it can use{place}"),
                )
            }
            Complaint::BadName { plugin } => bad_name(plugin),
        }
    }

    fn not_found(&self, plugin: &str, searched: &[String]) -> Verdict {
        let Some(suspect) = self.suspects.first() else { return bad_name(plugin) };
        let (inside, outside): (Vec<&Seen>, Vec<&Seen>) = suspect
            .seen
            .iter()
            .partition(|seen| searched.is_empty() || names(searched, &seen.directory));
        let usable = |seen: &&&Seen| {
            matches!(
                seen.entry,
                NamedEntry::File(_) | NamedEntry::Link(Some(FileKind::Regular | FileKind::Unknown))
            )
        };
        let at = |seen: &Seen| format!("`{}/{plugin}`", seen.directory);
        if let Some(seen) = inside.iter().find(usable) {
            return match seen.entry {
                NamedEntry::File(_) => {
                    verdict(Cause::NoLongerSo, format!("{} exists now", at(seen)))
                }
                _ => verdict(
                    Cause::LinkUnseen,
                    format!(
                        "{} is a symbolic link that leads to a file here, but did not for the runtime",
                        at(seen)
                    ),
                ),
            };
        }
        for seen in &inside {
            return match &seen.entry {
                NamedEntry::Absent
                | NamedEntry::File(_)
                | NamedEntry::Link(Some(FileKind::Regular | FileKind::Unknown)) => continue,
                NamedEntry::Link(None) => verdict(
                    Cause::LinkDangling,
                    format!("{} is a dangling symbolic link", at(seen)),
                ),
                NamedEntry::Link(Some(kind)) => verdict(
                    Cause::PluginNotAFile,
                    format!("{} is a symbolic link to {kind}", at(seen)),
                ),
                NamedEntry::Other(kind) => in_the_way(&at(seen), *kind),
                NamedEntry::Unreadable(reason) => verdict(Cause::PluginNotFound, reason.clone()),
            };
        }
        if let Some(seen) = outside.iter().find(usable) {
            let message =
                format!("{} exists, but the runtime only searches {}", at(seen), list(searched));
            return verdict(Cause::PluginElsewhere, message);
        }
        if inside.is_empty() {
            let message = format!("the runtime did not find `{plugin}` in {}", list(searched));
            return verdict(Cause::PluginNotFound, message);
        }
        let places: Vec<_> = inside.iter().map(|seen| seen.directory.to_string()).collect();
        verdict(Cause::PluginAbsent, format!("there is no `{plugin}` in {}", list(&places)))
    }

    fn not_started(&self, path: &str, reason: Refused, searched: &[String]) -> Verdict {
        let mut seen = self.suspects.first().into_iter().flat_map(|suspect| &suspect.seen);
        let entry = seen.find(|seen| names(searched, &seen.directory)).map(|seen| &seen.entry);
        let what = format!("`{path}`");
        let undecided = |why: &str| match reason {
            Refused::Permission => verdict(
                Cause::PermissionDenied,
                format!("the kernel does not allow {what} to be executed{why}"),
            ),
            Refused::Format => verdict(
                Cause::ExecFormat,
                format!("the kernel does not recognise {what} as a program{why}"),
            ),
            Refused::NoSuchFile => verdict(
                Cause::ExecNoSuchFile,
                format!("{what} or its interpreter did not exist when it was started{why}"),
            ),
            Refused::Busy => still_written(&what),
        };
        match entry {
            None => undecided(", and its directory is not among those inspected here"),
            Some(NamedEntry::Unreadable(reason)) => undecided(&format!("; {reason}")),
            Some(NamedEntry::Absent) => {
                verdict(Cause::PluginAbsent, format!("{what} no longer exists"))
            }
            Some(NamedEntry::Link(None)) => {
                verdict(Cause::LinkDangling, format!("{what} is a dangling symbolic link"))
            }
            Some(NamedEntry::Link(Some(_))) => {
                undecided("; it is a symbolic link, whose target is not inspected")
            }
            Some(NamedEntry::Other(kind)) => in_the_way(&what, *kind),
            Some(NamedEntry::File(file)) => {
                self.refused(&what, reason, file).unwrap_or_else(|| undecided(""))
            }
        }
    }

    fn refused(&self, what: &str, reason: Refused, file: &FileFacts) -> Option<Verdict> {
        let fixed = || verdict(Cause::NoLongerSo, format!("{what} can be started now"));
        Some(match (reason, file.content.as_ref()) {
            (Refused::Busy, _) => return None,
            (Refused::Permission, _) if file.mode & 0o111 == 0 => {
                let message = format!(
                    "the mode of {what} is {:04o}, which allows no one to execute it",
                    file.mode
                );
                verdict(Cause::NotExecutable, message)
            }
            (Refused::Permission, _) if file.noexec => verdict(
                Cause::MountNoexec,
                format!("{what} is on a file system that is mounted noexec"),
            ),
            (Refused::Permission, _) => return None,
            (Refused::Format, Some(Content::Empty)) => {
                verdict(Cause::PluginEmpty, format!("{what} is an empty file"))
            }
            (Refused::Format, Some(Content::OtherMachine(reason))) => {
                verdict(Cause::WrongMachine, format!("{what} {reason}"))
            }
            (Refused::Format, Some(Content::NoProgram(reason))) => {
                verdict(Cause::NotAProgram, format!("{what} {reason}"))
            }
            (Refused::Format | Refused::NoSuchFile, Some(Content::Truncated(reason))) => {
                verdict(Cause::PluginTruncated, format!("{what} {reason}"))
            }
            (Refused::NoSuchFile, Some(content)) => match content {
                Content::Program { missing_interpreter: Some(path) }
                | Content::Script { missing_interpreter: Some(path) } => {
                    let message = format!("{what} exists, but its interpreter `{path}` does not");
                    verdict(Cause::InterpreterMissing, message)
                }
                _ => fixed(),
            },
            (Refused::Format, Some(Content::Program { .. } | Content::Script { .. })) => fixed(),
            (_, None | Some(Content::TooLong)) => return None,
        })
    }

    fn crashed(&self, subject: &str, how: &str) -> Verdict {
        let broken = self.files().find_map(|(name, path, file)| match &file.content {
            Some(Content::Truncated(reason)) => {
                Some((name, verdict(Cause::PluginTruncated, format!("`{path}` {reason}"))))
            }
            _ if self.state(name) == Some(FileState::Altered) => Some((
                name,
                verdict(
                    Cause::PluginAltered,
                    format!("`{path}` is not the plugin that was installed"),
                ),
            )),
            _ => None,
        });
        match broken {
            Some((name, verdict)) => Verdict { plugin: Some(name.to_string()), ..verdict },
            None => verdict(
                Cause::PluginCrashed,
                format!("{subject}, or a plugin that it called, {how}"),
            ),
        }
    }

    fn silent(&self, subject: &str) -> Verdict {
        let script =
            self.files().find(|(_, _, file)| matches!(file.content, Some(Content::Script { .. })));
        if let Some((name, path, _)) = script {
            let verdict =
                verdict(Cause::NotAPlugin, format!("`{path}` is a script and printed no result"));
            return Verdict { plugin: Some(name.to_string()), ..verdict };
        }
        let state = self.suspects.first().and_then(|suspect| self.state(&suspect.name));
        match state {
            Some(FileState::Proven | FileState::Unproven) => still_written(subject),
            Some(FileState::Altered) => verdict(
                Cause::PluginAltered,
                format!("{subject} printed nothing and is not what was installed"),
            ),
            _ => verdict(
                Cause::SilentPlugin,
                format!(
                    "{subject}, or a plugin that it called, printed nothing: it was open for writing when it was started, or it is not a plugin"
                ),
            ),
        }
    }

    /// The file of each suspect that a runtime finds first.
    fn files(&self) -> impl Iterator<Item = (&PluginName, String, &FileFacts)> {
        self.suspects.iter().flat_map(|suspect| {
            let mut files = suspect.seen.iter().filter_map(|seen| match &seen.entry {
                NamedEntry::File(file) => {
                    Some((&suspect.name, format!("{}/{}", seen.directory, suspect.name), file))
                }
                _ => None,
            });
            files.next()
        })
    }

    /// What the check of this node says about a plugin, in whichever directory.
    fn state(&self, name: &PluginName) -> Option<FileState> {
        let mut plugins = self.checked.into_iter().flat_map(|report| &report.plugins);
        plugins.find(|plugin| plugin.name == *name).map(|plugin| plugin.state)
    }

    /// What the check of this node says about a plugin in this directory.
    fn state_in(&self, directory: &HostPath, name: &PluginName) -> Option<FileState> {
        let mut plugins = self.checked.into_iter().flat_map(|report| &report.plugins);
        plugins
            .find(|plugin| plugin.name == *name && plugin.directory == *directory)
            .map(|plugin| plugin.state)
    }

    /// What the node has under the name of the plugin that the verdict is about.
    fn shown(&self, plugin: Option<&str>) -> Vec<OnNode> {
        let suspect = self.suspects.iter().find(|suspect| Some(suspect.name.as_str()) == plugin);
        let seen = suspect
            .into_iter()
            .flat_map(|suspect| suspect.seen.iter().map(move |seen| (&suspect.name, seen)));
        seen.map(|(name, seen)| OnNode {
            directory: seen.directory.clone(),
            found: seen.entry.to_string(),
            state: self.state_in(&seen.directory, name),
        })
        .collect()
    }

    /// How to install or restore a plugin.
    fn cure(&self, plugin: &PluginName) -> String {
        let installed = self.checked.and_then(|report| report.installed.as_ref());
        match (installed, self.state(plugin)) {
            (Some(_), Some(FileState::Kept)) => format!(
                "`{plugin}` belongs to another installer: run that one again, or take the file over with `cnister install --foreign adopt={plugin}`"
            ),
            (Some(_), Some(FileState::Proven | FileState::Unproven)) => {
                format!("the installed `{plugin}` is the one that was signed: try again")
            }
            (Some(installed), Some(_)) => format!(
                "`{plugin}` is part of the installed bundle `{} {}`: run `cnister check --repair`, which needs no network, or the same `cnister install` again",
                installed.bundle, installed.version
            ),
            (Some(installed), None) => format!(
                "the installed bundle `{} {}` does not contain `{plugin}`: {}",
                installed.bundle,
                installed.version,
                advice(plugin)
            ),
            (None, _) => {
                let known = upstream(plugin)
                    .map_or_else(String::new, |upstream| format!("; it {upstream}"));
                format!("install a bundle that contains `{plugin}` (`cnister install`){known}")
            }
        }
    }
}

fn still_written(plugin: &str) -> Verdict {
    let message =
        format!("{plugin}, or a plugin that it called, was open for writing when it was started");
    verdict(Cause::StillBeingWritten, message)
}

fn bad_name(plugin: &str) -> Verdict {
    verdict(Cause::PluginNameInvalid, format!("`{plugin}` is not a valid plugin name"))
}

fn in_the_way(what: &str, kind: FileKind) -> Verdict {
    let cause =
        if kind == FileKind::Directory { Cause::PluginIsDirectory } else { Cause::PluginNotAFile };
    verdict(cause, format!("{what} is {kind}"))
}

/// Whether one of these texts is this directory.
fn names(searched: &[String], directory: &HostPath) -> bool {
    searched.iter().any(|text| text.parse().as_ref() == Ok(directory))
}

fn list(directories: &[String]) -> String {
    let quoted: Vec<_> = directories.iter().map(|directory| format!("`{directory}`")).collect();
    if quoted.is_empty() { "the directories it searches".to_owned() } else { quoted.join(", ") }
}
