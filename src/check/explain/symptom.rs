//! Symptoms: the errors of CNI runtimes and libraries that a text contains. Pure.
//!
//! The messages are libcni's (`pkg/invoke`, `libcni/api.go`), with what containerd, CRI-O, the
//! kubelet, Multus and `cnitool` put around them. Anyone who can write an event can write such a
//! text, so every step is linear in its length, and names, lists and errors have limits. What
//! caused an error is `judge`'s decision.

mod complaint;
mod context;
mod lines;
mod mark;

use std::collections::BTreeSet;

pub use self::complaint::{Complaint, Phase, Refused};
use self::context::{Change, Context};
use self::lines::{decode, plain};
use self::mark::{MOST_WORDS, Read, marks};

/// The longest text that is read, in bytes: some thousand events.
pub const TEXT_LIMIT: usize = 1024 * 1024;
/// The highest number of different symptoms that are reported.
pub const MOST_SYMPTOMS: usize = 16;

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

impl Symptoms {
    /// Reads a text: events, log lines, `kubectl describe` output. Bytes that are neither UTF-8 nor
    /// UTF-16 are replaced.
    pub fn read(text: &[u8]) -> Self {
        Self::read_some(text, &|_, _| true)
    }

    /// Reads a text, and keeps the errors that are about a plugin by their complaint and by what
    /// the message blames. What is blamed for another error failed for an unknown reason.
    pub(super) fn read_some(text: &[u8], is_about_plugin: IsAboutPlugin<'_>) -> Self {
        let text = plain(&decode(text));
        let mut reader = Reader { found: Self::default(), is_about_plugin };
        text.split('\n').for_each(|line| reader.read_line(line));
        reader.found
    }
}

type IsAboutPlugin<'a> = &'a dyn Fn(&Complaint, Option<&str>) -> bool;

struct Reader<'a> {
    found: Symptoms,
    is_about_plugin: IsAboutPlugin<'a>,
}

impl Reader<'_> {
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
                Read::Another => self.not_understood(std::mem::take(&mut context).blamed),
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
        let unknown = &mut self.found.unknown;
        unknown.extend(plugin.filter(|_| unknown.len() < MOST_SYMPTOMS));
    }

    fn add(&mut self, complaint: Complaint, context: Context) {
        let blamed = match complaint {
            // No plugin was called yet.
            Complaint::NoConfiguration { .. } | Complaint::BrokenConfiguration { .. } => None,
            _ => context.blamed,
        };
        // Before the limit, so that others take no place from a plugin's.
        if !(self.is_about_plugin)(&complaint, blamed.as_deref()) {
            return self.not_understood(blamed);
        }
        let Symptoms { known, more, .. } = &mut self.found;
        let same = known
            .iter_mut()
            .find(|known| known.blamed == blamed && known.complaint.is_same(&complaint));
        if let Some(known) = same {
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
        } else if known.len() < MOST_SYMPTOMS {
            let (phases, networks) =
                (context.phase.into_iter().collect(), context.network.into_iter().collect());
            known.push(Symptom { complaint, blamed, phases, networks, times: 1 });
        } else {
            *more += 1;
        }
    }
}

#[cfg(test)]
mod tests;
