//! The phrases that mean something, and what is read from the words around them.

use std::sync::LazyLock;

use super::complaint::{Complaint, Phase, Refused};
use super::context::{Change, Context};
use crate::model::visible;

/// The most directories, versions and networks that are taken from one message.
pub(super) const MOST_WORDS: usize = 16;
/// The longest name, path or version that is repeated, in bytes. Longer ones are cut, and then name
/// nothing.
pub(super) const LONGEST_WORD: usize = 1024;

/// A phrase that means something, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The beginning of what has nothing to do with what comes before.
    Another,
    PluginType,
    Delegate,
    Adding,
    Removing,
    Checking,
    Asking,
    Network,
    Failed,
    NotFound,
    Exec,
    AlreadyStarted,
    Signal,
    Ended(&'static str),
    Silent,
    Versions,
    Unsupported,
    NotSupported,
    NoLink,
    NotInitialized,
    NoNetworks,
    NoNetworkOfName,
    BrokenFile,
    NoLibraryVersion,
    NoLibrary,
    BadName,
}

pub(super) const MARKS: &[(&str, Mark)] = &[
    // What the kubelet says of other errors, when several are on one line.
    ("probe failed", Mark::Another),
    ("probe errored", Mark::Another),
    ("ostStartHook", Mark::Another),
    ("reStopHook", Mark::Another),
    ("Failed to create pod sandbox: ", Mark::Another),
    ("failed to create containerd task", Mark::Another),
    ("failed to start sandbox container", Mark::Another),
    ("network is not ready: ", Mark::Another),
    ("plugin type=\"", Mark::PluginType),
    ("error in invoke Delegate ", Mark::Delegate),
    ("failed to setup network for sandbox", Mark::Adding),
    ("failed to set up pod", Mark::Adding),
    ("failed to create pod network sandbox", Mark::Adding),
    ("failed to destroy network for sandbox", Mark::Removing),
    ("failed to teardown pod", Mark::Removing),
    ("Error deleting network", Mark::Removing),
    ("error invoking ConflistAdd", Mark::Adding),
    ("error invoking DelegateAdd", Mark::Adding),
    ("error invoking ConflistDel", Mark::Removing),
    ("error invoking DelegateDel", Mark::Removing),
    ("error invoking ConflistCheck", Mark::Checking),
    ("error invoking DelegateCheck", Mark::Checking),
    ("etwork plugin returns error: ", Mark::Asking),
    ("NetworkReady=false", Mark::Asking),
    ("error adding container to network \"", Mark::Network),
    ("error deleting container from network \"", Mark::Network),
    ("netplugin failed", Mark::Failed),
    ("failed to find plugin \"", Mark::NotFound),
    ("fork/exec ", Mark::Exec),
    ("exec: already started", Mark::AlreadyStarted),
    ("signal: ", Mark::Signal),
    // What a program in Go, Rust or C prints before it ends, wherever in its output.
    ("panic: ", Mark::Ended("panicked")),
    ("panicked at ", Mark::Ended("panicked")),
    ("fatal error: ", Mark::Ended(FATAL)),
    ("unexpected fault address", Mark::Ended(FATAL)),
    ("[signal SIG", Mark::Ended(FATAL)),
    ("terminate called ", Mark::Ended("aborted")),
    ("stack smashing detected", Mark::Ended("aborted")),
    (": version `", Mark::NoLibraryVersion),
    (": version \'", Mark::NoLibraryVersion),
    ("error while loading shared libraries: ", Mark::NoLibrary),
    ("Error loading shared library ", Mark::NoLibrary),
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
    ("no CNI configuration file in ", Mark::NoNetworks),
    ("no CNI network config found in ", Mark::NoNetworks),
    ("no network available in the name ", Mark::NoNetworkOfName),
    ("failed to load CNI config list file ", Mark::BrokenFile),
    ("failed to load CNI config file ", Mark::BrokenFile),
    ("failed to convert CNI config file ", Mark::BrokenFile),
    ("Error loading CNI conflist file ", Mark::BrokenFile),
    ("Error loading CNI config list file ", Mark::BrokenFile),
    ("Error loading CNI config file ", Mark::BrokenFile),
    ("Error converting CNI config file ", Mark::BrokenFile),
    ("network type not found in ", Mark::BrokenFile),
    ("CNI config list in config file ", Mark::BrokenFile),
    ("invalid plugin name: ", Mark::BadName),
];
/// What a program in Go says of an error that it cannot recover from.
const FATAL: &str = "crashed with a fatal error of its runtime";
/// How a program ended, by the words of Go for a signal.
const SIGNALS: [(&str, &str); 10] = [
    ("killed", "was killed"),
    ("aborted", "aborted"),
    ("bus error", "crashed with a bus error"),
    ("illegal instruction", "crashed with an illegal instruction"),
    ("floating point exception", "crashed with an arithmetic error"),
    ("bad system call", "was ended for a system call that it may not use"),
    ("trace/breakpoint trap", "crashed at a trap"),
    ("terminated", "was terminated"),
    ("hangup", "was ended by a hangup"),
    ("interrupt", "was interrupted"),
];
/// What is known of a plugin that ended with an error and said nothing.
pub(super) const ENDED: &str =
    "ended with an error and printed nothing, as after a crash, a panic or when it is killed";

/// The phrases by their first byte: a text is read once, and not once for each of them.
static BY_FIRST_BYTE: LazyLock<Vec<Vec<(&str, Mark)>>> = LazyLock::new(|| {
    let starting_with = |byte: u8| {
        MARKS.iter().copied().filter(move |(words, _)| words.as_bytes().first() == Some(&byte))
    };
    (0..=u8::MAX).map(|byte| starting_with(byte).collect()).collect()
});

/// Every phrase of a line, in order. They are not collected: one is longer than its words may be.
pub(super) fn marks(line: &str) -> impl Iterator<Item = (usize, Mark)> {
    line.bytes().enumerate().flat_map(move |(at, byte)| {
        let phrases = BY_FIRST_BYTE.get(usize::from(byte)).map_or(&[][..], Vec::as_slice);
        let rest = line.as_bytes().get(at..).unwrap_or_default();
        phrases
            .iter()
            .filter(move |(words, _)| rest.starts_with(words.as_bytes()))
            .map(move |(_, mark)| (at, *mark))
    })
}

pub(super) enum Read {
    Nothing,
    /// What was said before is about something else.
    Another,
    Context(Change),
    Complaint(Complaint),
    /// A complaint that names the plugin itself.
    Blaming(String, Complaint),
}

impl Mark {
    /// Reads a phrase; `from` starts with it.
    pub(super) fn read(self, before: &str, from: &str, context: &Context) -> Read {
        let complaint = match self {
            Self::Another => return Read::Another,
            Self::PluginType => return plugin_type(from).map_or(Read::Nothing, Read::Context),
            Self::Delegate => return delegate(from).map_or(Read::Nothing, Read::Context),
            Self::Adding => return Read::Context(Change::Phase(Phase::Add)),
            Self::Removing => return Read::Context(Change::Phase(Phase::Delete)),
            Self::Checking => return Read::Context(Change::Phase(Phase::Check)),
            Self::Asking => return Read::Context(Change::Phase(Phase::Status)),
            Self::Network => {
                return quoted(from)
                    .map_or(Read::Nothing, |(name, _)| Read::Context(Change::Network(name)));
            }
            Self::Failed => return Read::Context(Change::Failed),
            Self::NotFound => not_found(from),
            Self::Exec => not_started(from).filter(|_| !context.is_empty()),
            Self::AlreadyStarted => Some(Complaint::Busy).filter(|_| context.failed),
            Self::Signal => Some(signal(from)).filter(|_| context.failed),
            // The signal that follows says more.
            Self::Ended(FATAL)
                if context.failed && start(from, LONGEST_WORD).contains(": signal: ") =>
            {
                None
            }
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
            Self::NoNetworkOfName => {
                let directory = start(from, LONGEST_WORD).split_once(" dir ").and_then(path);
                Some(Complaint::NoConfiguration { directory })
            }
            Self::BrokenFile => broken_file(from),
            Self::NoLibraryVersion => library_version(from).filter(|_| context.failed),
            Self::NoLibrary => library(from).filter(|_| context.failed),
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

/// The name of `WORD "NAME": ` at the end, if the words say that it is an interface of the node.
/// Networks, pods and sandboxes are named in the same way, and `failed to lookup "eth0"` and
/// `failed to get "eth0"` name the pod's (containernetworking/plugins, `ConfigureIface` and
/// `tuning`).
fn name_before(before: &str) -> Option<String> {
    const WORDS: [&str; 6] =
        ["lookup master", "could not lookup", "parent", "device", "bridge", "link"];
    let before = end(before.strip_suffix("\": ")?, 128);
    let (words, name) = before.rsplit_once('"')?;
    let is_said = WORDS.iter().any(|word| words.trim_end().ends_with(word));
    (!name.is_empty() && is_said).then(|| visible(name).into_owned())
}

/// How a program ended that got a signal: `signal: killed`.
fn signal(from: &str) -> Complaint {
    let words = from.strip_prefix("signal: ").unwrap_or(from);
    if words.starts_with("segmentation fault") {
        return Complaint::Crashed;
    }
    let known = SIGNALS.iter().find(|(name, _)| words.starts_with(name));
    Complaint::Ended { how: known.map_or("was ended by a signal", |(_, how)| how) }
}

/// `WORDS FILE: REASON`.
fn broken_file(from: &str) -> Option<Complaint> {
    let from = start(from, LONGEST_WORD);
    let file = path(from.split_at_checked(from.find(" /")?)?)?;
    Some(Complaint::BrokenConfiguration { file })
}

/// ``: version `GLIBC_2.34' not found``.
fn library_version(from: &str) -> Option<Complaint> {
    let name = start(from.strip_prefix(": version ")?.get(1..)?, 64);
    let (wanted, rest) = name.split_once('\'')?;
    let wanted = visible(wanted).into_owned();
    rest.starts_with(" not found").then_some(Complaint::NoLibrary { wanted })
}

/// `error while loading shared libraries: libx.so.1: cannot open …`.
fn library(from: &str) -> Option<Complaint> {
    let words = ["error while loading shared libraries: ", "Error loading shared library "];
    let rest = words.iter().find_map(|words| from.strip_prefix(words))?;
    let (wanted, _) = start(rest, 256).split_once(':')?;
    (!wanted.is_empty()).then(|| Complaint::NoLibrary { wanted: visible(wanted).into_owned() })
}

fn directory(from: &str) -> Option<String> {
    start(from, LONGEST_WORD).split_once(" in ").and_then(path)
}

/// The absolute path that the second of two texts starts with.
fn path((_, rest): (&str, &str)) -> Option<String> {
    let rest = rest.trim_start();
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
pub(super) fn start(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// At most so many bytes before the end.
fn end(text: &str, limit: usize) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(limit))..).unwrap_or(text)
}
