//! Symptoms: the errors of CNI runtimes and libraries that a text contains. Pure.
//!
//! The messages are libcni's (`pkg/invoke`, `libcni/api.go`), with what containerd, CRI-O, the
//! kubelet, Multus and `cnitool` put around them. Anyone who can write an event can write such a
//! text, so every step is linear in its length, and names, lists and errors have limits. What
//! caused an error is `judge`'s decision.

mod lines;

use std::collections::BTreeSet;

use serde::Serialize;

use self::lines::plain;
use crate::model::visible;

/// The longest text that is read, in bytes: some thousand events.
pub const TEXT_LIMIT: usize = 1024 * 1024;
/// The highest number of different symptoms that are reported.
pub const MOST_SYMPTOMS: usize = 16;
/// The most directories, versions and networks that are taken from one message.
const MOST_WORDS: usize = 16;
/// The longest name, path or version that is repeated, in bytes. Longer ones are cut, and then name
/// nothing.
const LONGEST_WORD: usize = 1024;

/// What a text says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Symptoms {
    /// The known errors, in order, each once.
    pub known: Vec<Symptom>,
    /// How many errors were left out.
    pub more: usize,
    /// The plugins that failed for an unknown reason.
    pub unknown: BTreeSet<String>,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// What the runtime or library complains about.
    pub complaint: Complaint,
    /// The plugin that the message blames.
    pub blamed: Option<String>,
    /// What the runtime was doing.
    pub phases: BTreeSet<Phase>,
    /// The networks that Multus names.
    pub networks: BTreeSet<String>,
    /// How many times the text says so.
    pub times: usize,
}

/// What an error says. Control characters are escaped in every text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// `failed to find plugin "NAME" in path [DIR …]`.
    NotFound {
        /// The name that was searched for.
        plugin: String,
        /// The directories that were searched.
        directories: Vec<String>,
    },
    /// `fork/exec PATH: REASON`.
    NotStarted {
        /// The path of the program, with visible characters only.
        path: String,
        /// The error of execve(2).
        reason: Refused,
    },
    /// `signal: segmentation fault`.
    Crashed,
    /// It ended otherwise than well and printed no answer: a panic, a signal, or only the end as
    /// libcni before 0.8 says it.
    Ended {
        /// How, as what the plugin did.
        how: &'static str,
    },
    /// `exec: already started`, which is what is left of ETXTBSY after libcni tried again.
    Busy,
    /// `failed to unmarshal raw result: unexpected end of JSON input`.
    Silent,
    /// `incompatible CNI versions; config is "X", plugin supports [Y …]`, or `plugin T does not
    /// support config version "X"`.
    Versions {
        /// The configuration's; empty if it has none.
        wanted: String,
        /// The plugin's, if the message names them.
        supported: Vec<String>,
    },
    /// `failed to create KIND: operation not supported`, and the same about bridges, veth pairs,
    /// VRFs and ifb devices.
    Driver {
        /// The kind of interface.
        kind: String,
    },
    /// `Link not found`.
    NoLink {
        /// The interface, if the message names it.
        name: Option<String>,
    },
    /// `cni plugin not initialized` and the like.
    NoConfiguration {
        /// The directory that was searched.
        directory: Option<String>,
    },
    /// `invalid plugin name: NAME`.
    BadName {
        /// The text that is not a valid name, with visible characters only.
        plugin: String,
    },
}

/// Why the kernel did not start a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// EACCES.
    Permission,
    /// ENOEXEC.
    Format,
    /// ENOENT.
    NoSuchFile,
    /// ETXTBSY.
    Busy,
}

/// What a runtime was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A pod starts.
    Add,
    /// A pod ends.
    Delete,
    /// A pod's network is checked.
    Check,
    /// The runtime asks whether the network is ready.
    Status,
}

impl Phase {
    /// The word that libcni uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Check => "check",
            Self::Status => "status",
        }
    }
}

impl Symptoms {
    /// Reads a text: events, log lines, `kubectl describe` output. Bytes that are not UTF-8 are
    /// replaced.
    pub fn read(text: &[u8]) -> Self {
        let text = plain(&String::from_utf8_lossy(text));
        let mut symptoms = Self::default();
        text.split('\n').for_each(|line| symptoms.read_line(line));
        symptoms
    }

    fn read_line(&mut self, line: &str) {
        let mut context = Context::default();
        for (at, mark) in marks(line) {
            let Some((before, from)) = line.split_at_checked(at) else { continue };
            match mark.read(before, from, &context) {
                Read::Nothing => {}
                Read::Context(change) => {
                    let before = context.change(change);
                    self.not_understood(before);
                }
                Read::Complaint(complaint) => self.add(complaint, std::mem::take(&mut context)),
                Read::Blaming(plugin, complaint) => {
                    let before = context.change(Change::Plugin(plugin, None));
                    self.not_understood(before);
                    self.add(complaint, std::mem::take(&mut context));
                }
            }
        }
        self.not_understood(context.blamed);
    }

    fn not_understood(&mut self, plugin: Option<String>) {
        self.unknown.extend(plugin.filter(|_| self.unknown.len() < MOST_SYMPTOMS));
    }

    fn add(&mut self, complaint: Complaint, context: Context) {
        let blamed = match complaint {
            // No plugin was called yet.
            Complaint::NoConfiguration { .. } => None,
            _ => context.blamed,
        };
        let known = self
            .known
            .iter_mut()
            .find(|known| known.blamed == blamed && known.complaint.is_same(&complaint));
        if let Some(known) = known {
            known.times += 1;
            known.phases.extend(context.phase);
            known.networks.extend(context.network.filter(|_| known.networks.len() < MOST_WORDS));
            if let (
                Complaint::NoConfiguration { directory },
                Complaint::NoConfiguration { directory: Some(said) },
            ) = (&mut known.complaint, complaint)
            {
                directory.get_or_insert(said);
            }
        } else if self.known.len() < MOST_SYMPTOMS {
            let (phases, networks) =
                (context.phase.into_iter().collect(), context.network.into_iter().collect());
            self.known.push(Symptom { complaint, blamed, phases, networks, times: 1 });
        } else {
            self.more += 1;
        }
    }
}

impl Complaint {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            // One message says it twice, with and without the directory.
            (
                Self::NoConfiguration { directory: here },
                Self::NoConfiguration { directory: there },
            ) => here.is_none() || there.is_none() || here == there,
            _ => self == other,
        }
    }
}

/// What a message said before its actual error.
#[derive(Debug, Clone, Default)]
struct Context {
    blamed: Option<String>,
    phase: Option<Phase>,
    network: Option<String>,
    /// A plugin ended with an error.
    failed: bool,
}

enum Change {
    Plugin(String, Option<Phase>),
    Phase(Phase),
    Network(String),
    Failed,
}

impl Context {
    fn is_empty(&self) -> bool {
        self.blamed.is_none() && self.phase.is_none() && self.network.is_none() && !self.failed
    }

    /// Goes one message deeper; returns the plugin that was blamed before, unless that is a
    /// wrapper.
    fn change(&mut self, change: Change) -> Option<String> {
        match change {
            // Multus reports its delegates as a runtime reports Multus: the innermost plugin is
            // meant.
            Change::Plugin(plugin, phase) => {
                let before = self.blamed.replace(plugin);
                self.phase = phase.or(self.phase);
                return before
                    .filter(|before| !is_wrapper(before) && self.blamed.as_ref() != Some(before));
            }
            Change::Phase(phase) => self.phase = Some(phase),
            Change::Network(network) => {
                self.network = Some(network);
                // What follows is about one of the delegates.
                self.blamed = self.blamed.take().filter(|blamed| !is_wrapper(blamed));
            }
            Change::Failed => self.failed = true,
        }
        None
    }
}

/// Whether a plugin only calls others.
fn is_wrapper(plugin: &str) -> bool {
    matches!(plugin, "multus" | "multus-shim")
}

/// A phrase that means something, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    PluginType,
    Delegate,
    Adding,
    Removing,
    Asking,
    Network,
    Failed,
    NotFound,
    Exec,
    AlreadyStarted,
    Crashed,
    Ended(&'static str),
    Silent,
    Versions,
    Unsupported,
    NotSupported,
    NoLink,
    NotInitialized,
    NoNetworks,
    BadName,
}

const MARKS: &[(&str, Mark)] = &[
    ("plugin type=\"", Mark::PluginType),
    ("error in invoke Delegate ", Mark::Delegate),
    ("failed to setup network for sandbox", Mark::Adding),
    ("failed to set up pod", Mark::Adding),
    ("failed to create pod network sandbox", Mark::Adding),
    ("failed to destroy network for sandbox", Mark::Removing),
    ("failed to teardown pod", Mark::Removing),
    ("Error deleting network", Mark::Removing),
    ("etwork plugin returns error: ", Mark::Asking),
    ("NetworkReady=false", Mark::Asking),
    ("error adding container to network \"", Mark::Network),
    ("netplugin failed", Mark::Failed),
    ("failed to find plugin \"", Mark::NotFound),
    ("fork/exec ", Mark::Exec),
    ("exec: already started", Mark::AlreadyStarted),
    ("signal: segmentation fault", Mark::Crashed),
    ("signal: killed", Mark::Ended("was killed")),
    ("signal: aborted", Mark::Ended("aborted")),
    ("signal: bus error", Mark::Ended("crashed with a bus error")),
    ("signal: illegal instruction", Mark::Ended("crashed with an illegal instruction")),
    ("netplugin failed: \"panic: ", Mark::Ended("panicked")),
    ("netplugin failed with no error message: exit status", Mark::Ended(ENDED)),
    // libcni before 0.8 parses the empty output of a plugin that ended with an error.
    ("error parsing its diagnostic message \"\": unexpected end of JSON input", Mark::Ended(ENDED)),
    ("failed to unmarshal raw result: unexpected end of JSON input", Mark::Silent),
    ("incompatible CNI versions; config is \"", Mark::Versions),
    (" does not support config version \"", Mark::Unsupported),
    (": operation not supported", Mark::NotSupported),
    ("Link ", Mark::NoLink),
    ("cni plugin not initialized", Mark::NotInitialized),
    ("cni config uninitialized", Mark::NotInitialized),
    ("no networks found in ", Mark::NoNetworks),
    ("No networks found in ", Mark::NoNetworks),
    ("no valid networks found in ", Mark::NoNetworks),
    ("no network config found in ", Mark::NoNetworks),
    ("no net configurations found in ", Mark::NoNetworks),
    ("no net configuration with name \"", Mark::NoNetworks),
    ("No CNI configuration file in ", Mark::NoNetworks),
    ("invalid plugin name: ", Mark::BadName),
];
/// What is known of a plugin that ended with an error and said nothing.
const ENDED: &str =
    "ended with an error and printed nothing, as after a crash, a panic or when it is killed";

/// Every phrase of a line, in order.
fn marks(line: &str) -> Vec<(usize, Mark)> {
    let mut marks: Vec<_> = MARKS
        .iter()
        .flat_map(|(words, mark)| line.match_indices(*words).map(|(at, _)| (at, *mark)))
        .collect();
    marks.sort_by_key(|(at, _)| *at);
    marks
}

enum Read {
    Nothing,
    Context(Change),
    Complaint(Complaint),
    /// A complaint that names the plugin itself.
    Blaming(String, Complaint),
}

impl Mark {
    /// Reads a phrase; `from` starts with it.
    fn read(self, before: &str, from: &str, context: &Context) -> Read {
        let complaint = match self {
            Self::PluginType => return plugin_type(from).map_or(Read::Nothing, Read::Context),
            Self::Delegate => return delegate(from).map_or(Read::Nothing, Read::Context),
            Self::Adding => return Read::Context(Change::Phase(Phase::Add)),
            Self::Removing => return Read::Context(Change::Phase(Phase::Delete)),
            Self::Asking => return Read::Context(Change::Phase(Phase::Status)),
            Self::Network => {
                return quoted(from)
                    .map_or(Read::Nothing, |(name, _)| Read::Context(Change::Network(name)));
            }
            Self::Failed => return Read::Context(Change::Failed),
            Self::NotFound => not_found(from),
            Self::Exec => not_started(from).filter(|_| !context.is_empty()),
            Self::AlreadyStarted => Some(Complaint::Busy).filter(|_| context.failed),
            Self::Crashed => Some(Complaint::Crashed).filter(|_| context.failed),
            Self::Ended(how) => Some(Complaint::Ended { how })
                .filter(|_| context.failed || from.starts_with("netplugin failed")),
            Self::Silent => Some(Complaint::Silent),
            Self::Versions => versions(from),
            Self::Unsupported => return unsupported(before, from).unwrap_or(Read::Nothing),
            Self::NotSupported => driver(before),
            // Any program that uses netlink says so: only within a runtime's message it is about a
            // plugin.
            Self::NoLink => no_link(before, from)
                .filter(|_| !context.is_empty() || matches!(before.trim(), "" | "Error:")),
            Self::NotInitialized => Some(Complaint::NoConfiguration { directory: None }),
            Self::NoNetworks => Some(Complaint::NoConfiguration { directory: directory(from) }),
            Self::BadName => bad_name(from),
        };
        complaint.map_or(Read::Nothing, Read::Complaint)
    }
}

/// `plugin type="T" failed (add): `, with `name="N"` before `failed` if a whole list failed.
fn plugin_type(from: &str) -> Option<Change> {
    let (plugin, rest) = quoted(from)?;
    let rest = match rest.strip_prefix(" name=\"") {
        Some(_) => quoted(rest)?.1,
        None => rest,
    };
    let (phase, _) = start(rest.strip_prefix(" failed (")?, 16).split_once(')')?;
    let phase = match phase {
        "add" => Some(Phase::Add),
        "delete" => Some(Phase::Delete),
        "check" => Some(Phase::Check),
        "status" => Some(Phase::Status),
        _ => None,
    };
    Some(Change::Plugin(plugin, phase))
}

/// `error in invoke Delegate add - "T": `, as Multus 3 says it.
fn delegate(from: &str) -> Option<Change> {
    let rest = from.strip_prefix("error in invoke Delegate ")?;
    let (phase, rest) = if let Some(rest) = rest.strip_prefix("add - ") {
        (Phase::Add, rest)
    } else {
        (Phase::Delete, rest.strip_prefix("del - ")?)
    };
    let (plugin, _) = if rest.starts_with('"') { quoted(rest)? } else { return None };
    Some(Change::Plugin(plugin, Some(phase)))
}

fn not_found(from: &str) -> Option<Complaint> {
    let (plugin, rest) = quoted(from)?;
    let directories = rest.strip_prefix(" in path [").map(words).unwrap_or_default();
    Some(Complaint::NotFound { plugin, directories })
}

fn not_started(from: &str) -> Option<Complaint> {
    const REASONS: [(&str, Refused); 4] = [
        ("permission denied", Refused::Permission),
        ("exec format error", Refused::Format),
        ("no such file or directory", Refused::NoSuchFile),
        ("text file busy", Refused::Busy),
    ];
    let rest = from.strip_prefix("fork/exec ")?;
    let (path, why) = start(rest, LONGEST_WORD).split_once(": ")?;
    let why = rest.get(rest.len().min(path.len() + 2)..).unwrap_or(why);
    let (_, reason) = REASONS.into_iter().find(|(words, _)| why.starts_with(words))?;
    Some(Complaint::NotStarted { path: visible(path).into_owned(), reason })
}

fn versions(from: &str) -> Option<Complaint> {
    let (wanted, rest) = quoted(from)?;
    let supported = words(rest.strip_prefix(", plugin supports [")?);
    let supported = supported.iter().map(|version| version.trim_matches('"').to_owned()).collect();
    Some(Complaint::Versions { wanted, supported })
}

/// `plugin T does not support config version "X"`, as libcni says when it validates a list.
fn unsupported(before: &str, from: &str) -> Option<Read> {
    let plugin = end(before, 128).rsplit_once("plugin ")?.1.trim_matches('"');
    let is_name = !plugin.is_empty() && !plugin.contains([' ', '"']);
    let (wanted, _) = quoted(from)?;
    let complaint = Complaint::Versions { wanted, supported: Vec::new() };
    is_name.then(|| Read::Blaming(visible(plugin).into_owned(), complaint))
}

/// The kind of interface that the kernel cannot make, from what comes before `: operation not
/// supported` in the messages of the reference plugins.
fn driver(before: &str) -> Option<Complaint> {
    let before = end(before, 256);
    let is_kind = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let last = before.rsplit(": ").next()?;
    let kind = if let Some((_, kind)) = before.rsplit_once("failed to create ")
        && is_kind(kind)
    {
        kind
    } else if before.contains("failed to create bridge \"") && last.starts_with("could not add \"")
    {
        "bridge"
    } else if last.ends_with("failed to make veth pair") {
        "veth"
    } else if last.starts_with("could not add VRF ") {
        "vrf"
    } else if last.ends_with("adding link") {
        // The bandwidth plugin's.
        "ifb"
    } else {
        return None;
    };
    Some(Complaint::Driver { kind: kind.to_owned() })
}

/// `Link not found`, or `Link NAME not found` as older plugins have it.
fn no_link(before: &str, from: &str) -> Option<Complaint> {
    let rest = start(from.strip_prefix("Link ")?, 64);
    if rest.starts_with("not found") {
        return Some(Complaint::NoLink { name: name_before(before) });
    }
    let (name, rest) = rest.split_once(' ')?;
    let name = name.trim_matches('"');
    rest.starts_with("not found")
        .then(|| Complaint::NoLink { name: Some(visible(name).into_owned()) })
}

/// The name of `WORD "NAME": ` at the end, if the word says that it is an interface: networks,
/// pods and sandboxes are named in the same way.
fn name_before(before: &str) -> Option<String> {
    const WORDS: [&str; 9] =
        ["lookup", "master", "link", "interface", "device", "parent", "bridge", "get", "find"];
    let before = end(before.strip_suffix("\": ")?, 128);
    let (word, name) = before.rsplit_once('"')?;
    let word = word.trim_end().rsplit(' ').next()?;
    (!name.is_empty() && WORDS.contains(&word)).then(|| visible(name).into_owned())
}

fn directory(from: &str) -> Option<String> {
    let (_, rest) = start(from, LONGEST_WORD).split_once(" in ")?;
    let end = rest.find([' ', '"', ',', ';', ')']).unwrap_or(rest.len());
    let path = rest.get(..end)?.trim_end_matches(['.', ':', '/']);
    path.starts_with('/').then(|| visible(path).into_owned())
}

fn bad_name(from: &str) -> Option<Complaint> {
    let rest = start(from.strip_prefix("invalid plugin name: ")?, LONGEST_WORD);
    let plugin = rest.split([' ', '"']).next()?;
    (!plugin.is_empty()).then(|| Complaint::BadName { plugin: visible(plugin).into_owned() })
}

/// The first text in quotation marks, and what follows it.
fn quoted(from: &str) -> Option<(String, &str)> {
    let (_, rest) = start(from, LONGEST_WORD).split_once('"')?;
    let (text, _) = rest.split_once('"')?;
    let after = from.len().checked_sub(from.split_once('"')?.1.len())? + text.len() + 1;
    Some((visible(text).into_owned(), from.get(after..)?))
}

/// The words before `]`.
fn words(from: &str) -> Vec<String> {
    let list = start(from, 4 * LONGEST_WORD).split(']').next().unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    for word in list.split(' ').filter(|word| !word.is_empty()).take(MOST_WORDS) {
        let word = visible(start(word, LONGEST_WORD)).into_owned();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// At most so many bytes from the start.
fn start(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// At most so many bytes before the end.
fn end(text: &str, limit: usize) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(limit))..).unwrap_or(text)
}

#[cfg(test)]
mod tests;
