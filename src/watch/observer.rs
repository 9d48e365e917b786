//! What a watch does about each event: what it reports and to whom, what it repairs, and when it
//! stops. Pure: events and the time come in, effects go out.
//!
//! [`Observer::observe`] answers one [`Event`] with [`Effect`]s in the order in which they are
//! carried out. It carries out none itself: the driver does, and brings back what came of each as
//! an event before the next one, since the answer depends on it. A check leads to a repair only
//! after it is known that this process can still write there.
//!
//! When a check is due is the schedule's decision, and when a file is left alone that of
//! `repairs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use super::installers::Trace;
use super::lookout::Names;
use super::memory::{Memory, Stamps};
use super::metrics::Metrics;
use super::node_condition::ConditionStatus;
use super::repairs::Held;
use super::upkeep::{Upkeep, add_paused};
use crate::check::{FileState, Report};
use crate::disk::DiskError;
use crate::model::{HostPath, PluginPath, with_causes};
use crate::node::{NodeError, RECORDS, RepairOutcome};

/// The time, by both clocks: one for files and people, and one that cannot be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) time: SystemTime,
    pub(crate) instant: Instant,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// What the files of the last answer were before the check that has ended, and the names of
    /// which the kernel reported a change since the one before; [`Event::Checked`] follows.
    Stamped(Stamps, Names),
    /// A check ended.
    Checked(Box<Result<Report, NodeError>>),
    /// A repair ended; a check follows.
    Repaired(RepairOutcome),
    /// What [`Effect::FindTrace`] found: what another installer left beside a file.
    TraceFound(PluginPath, Option<Trace>),
    /// The ready file was written or removed, or could not be.
    ReadyChanged(Result<(), DiskError>),
    /// The kernel reports changes of the names, or does not.
    Watched(Result<(), DiskError>),
    /// The first directory, if any, that this process cannot write and its successor could.
    Reached(Option<HostPath>),
    /// A signal says to stop.
    Signal,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Find out what another installer left beside this file: [`Event::TraceFound`].
    FindTrace(PluginPath),
    /// Say in the ready file that the answer at this time was yes: [`Event::ReadyChanged`].
    WriteReady(SystemTime),
    /// Remove the ready file: [`Event::ReadyChanged`].
    RemoveReady,
    Tell(Message),
    /// What the HTTP server answers from now on.
    Publish {
        metrics: String,
        ready: bool,
    },
    /// What the node's condition says from now on.
    Condition(ConditionStatus),
    /// Have the kernel report changes of these names, and of no others: [`Event::Watched`].
    Watch(Names),
    /// Find out whether this process can write these directories: [`Event::Reached`].
    CheckReach(BTreeSet<HostPath>),
    Repair(BTreeSet<PluginPath>),
    Stop(Ending),
}

/// Text for the people who run the watch.
#[derive(Debug)]
pub enum Message {
    /// The answer of a check.
    Report(Box<Report>),
    /// A line besides the answers.
    Remark(String),
    /// The message that the pod's status shows after this process has ended.
    TerminationMessage(String),
}

/// Why a watch ended.
#[derive(Debug)]
pub enum Ending {
    /// A signal came.
    Signal,
    /// A signal came, and the ready file could not be removed.
    StillReady(DiskError),
    /// This process can no longer do its work, but a new one can.
    OutOfReach(OutOfReach),
}

/// A directory that this process cannot write, however long it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is out of reach: it was created or removed after this watch had started")]
pub struct OutOfReach(pub HostPath);

/// The state of a watch between two events.
#[derive(Debug)]
pub(crate) struct Observer {
    state: HostPath,
    /// What is repaired, if anything is.
    upkeep: Option<Upkeep>,
    /// An answer that waits for the traces of files that are left alone.
    waiting: Option<Waiting>,
    /// What the last check decided to repair, if it can be reached.
    repair: BTreeSet<PluginPath>,
    /// The last text that was printed: a log that repeats itself every minute is not read.
    printed: Option<String>,
    /// What is left for the pod's status, if the last answer was not yes.
    termination_message: Option<String>,
    /// When a check last completed.
    checked: Option<SystemTime>,
    /// What that check found altered or missing.
    altered: BTreeSet<PluginPath>,
    /// How many times a file was found so.
    drift: u64,
    names: Names,
    /// What the files were when they were judged.
    memory: Memory,
    /// Why the kernel does not report changes.
    watch_error: Option<String>,
    /// Why the ready file is not up to date.
    ready_error: Option<String>,
    /// Why the watch is about to end.
    ending: Option<Ending>,
}

#[derive(Debug)]
struct Waiting {
    answer: Result<Report, NodeError>,
    held: BTreeMap<PluginPath, Held>,
    traces: BTreeMap<PluginPath, Option<Trace>>,
}

impl Observer {
    /// A watch that begins now, of a node with this state directory; `upkeep` if it repairs.
    pub(crate) fn new(state: HostPath, upkeep: Option<Upkeep>) -> Self {
        Self {
            state,
            upkeep,
            waiting: None,
            repair: BTreeSet::new(),
            printed: None,
            termination_message: None,
            checked: None,
            altered: BTreeSet::new(),
            drift: 0,
            names: Names::new(),
            memory: Memory::default(),
            watch_error: None,
            ready_error: None,
            ending: None,
        }
    }

    /// Decides what follows from an event.
    pub(crate) fn observe(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Stamped(stamps, reported) => {
                // What could not be watched was warned of.
                let nothing = Names::new();
                let watched = if self.watch_error.is_some() { &nothing } else { &self.names };
                let unreported = self.memory.judge(stamps, &reported, watched);
                unreported.iter().map(unheard).collect()
            }
            Event::Checked(answer) => self.decide(*answer, now),
            Event::Repaired(outcome) => {
                if let Some(upkeep) = &mut self.upkeep {
                    upkeep.done(outcome, now.instant);
                }
                Vec::new()
            }
            Event::TraceFound(target, trace) => self.trace_found(target, trace, now),
            Event::ReadyChanged(result) => self.ready_changed(result),
            Event::Watched(result) => self.watched(result),
            Event::Reached(lost) => self.reached(lost),
            Event::Signal => {
                self.ending = Some(Ending::Signal);
                let message = self
                    .termination_message
                    .take()
                    .map(Message::TerminationMessage)
                    .map(Effect::Tell);
                message.into_iter().chain([Effect::RemoveReady]).collect()
            }
        }
    }

    /// Decides about repairs; the answer can be told as soon as it is known who may have written
    /// the files that are left alone.
    fn decide(&mut self, mut answer: Result<Report, NodeError>, now: Now) -> Vec<Effect> {
        let decision = match (&mut answer, &mut self.upkeep) {
            (Ok(report), Some(upkeep)) => upkeep.decide(report, now.instant),
            _ => Default::default(),
        };
        self.repair = decision.repair;
        let waiting = Waiting { answer, held: decision.held, traces: BTreeMap::new() };
        if waiting.held.is_empty() {
            return self.tell(waiting, now);
        }
        let effects = waiting.held.keys().cloned().map(Effect::FindTrace).collect();
        self.waiting = Some(waiting);
        effects
    }

    fn trace_found(&mut self, target: PluginPath, trace: Option<Trace>, now: Now) -> Vec<Effect> {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.traces.insert(target, trace);
            if waiting.traces.len() == waiting.held.len() {
                return self.tell(waiting, now);
            }
            self.waiting = Some(waiting);
            return Vec::new();
        }
        let note = trace.map(|Trace { name, installer }| {
            remark(format!("note: `{name}` beside `{target}` is typical of {installer}"))
        });
        note.into_iter().collect()
    }

    /// Reports the answer in all places: output, readiness, metrics and condition.
    fn tell(&mut self, waiting: Waiting, now: Now) -> Vec<Effect> {
        let Waiting { mut answer, held, traces } = waiting;
        if let (Ok(report), Some(_)) = (&mut answer, &self.upkeep) {
            add_paused(report, &held, &traces);
        }
        let ready =
            answer.as_ref().is_ok_and(|report| report.is_good() && !report.wanted_is_missing());
        let mut effects =
            vec![if ready { Effect::WriteReady(now.time) } else { Effect::RemoveReady }];
        effects.extend(self.news(&answer, ready));
        if let Ok(report) = &answer {
            self.checked = Some(now.time);
            effects.extend(self.count(report));
            self.names = self.names_of(report);
        }
        let metrics = Metrics {
            report: answer.as_ref().ok(),
            checked: self.checked,
            drift: Some(self.drift),
            repairs: self.upkeep.as_ref().map(Upkeep::count),
        };
        effects.push(Effect::Publish { metrics: metrics.text(), ready });
        effects.push(Effect::Condition(ConditionStatus::of(answer.as_ref())));
        effects.push(Effect::Watch(self.names.clone()));
        effects.push(Effect::CheckReach(self.written(answer.as_ref().ok())));
        effects
    }

    /// Prints the answer if it is not the one that was printed last.
    fn news(&mut self, answer: &Result<Report, NodeError>, ready: bool) -> Option<Effect> {
        let text = match answer {
            Ok(report) => report.to_string(),
            Err(error) => format!("error: {}\n", with_causes(error)),
        };
        self.termination_message = (!ready).then(|| termination_message(answer, &text));
        let repaired = answer.as_ref().ok().filter(|report| !report.repaired.is_empty());
        let is_news = repaired.is_some() || self.printed.as_ref() != Some(&text);
        let news = is_news.then(|| match answer {
            Ok(report) => Effect::Tell(Message::Report(Box::new(report.clone()))),
            Err(_) => remark(text.clone()),
        });
        // What was repaired is printed once.
        self.printed = Some(match repaired {
            Some(report) => {
                let drift = Vec::new();
                Report { repaired: Vec::new(), drift, ..report.clone() }.to_string()
            }
            None => text,
        });
        news
    }

    /// Counts what was good before and is not any more, and finds out who may have written it.
    fn count(&mut self, report: &Report) -> Vec<Effect> {
        let altered = report.altered();
        let new: Vec<_> = altered.difference(&self.altered).cloned().collect();
        self.drift = self.drift.saturating_add(new.len() as u64);
        self.altered = altered;
        new.into_iter().map(Effect::FindTrace).collect()
    }

    /// The files of the installation, and the records of it. Another installer's files are not
    /// watched, and neither is what is left alone.
    fn names_of(&self, report: &Report) -> Names {
        let mut names = Names::new();
        for plugin in report.plugins.iter().filter(|plugin| plugin.state != FileState::Kept) {
            if !self.upkeep.as_ref().is_some_and(|upkeep| upkeep.is_held(&plugin.path())) {
                let directory = names.entry(plugin.directory.clone()).or_default();
                directory.insert(plugin.name.as_str().into());
            }
        }
        names.entry(self.state.clone()).or_default().extend(RECORDS.map(Into::into));
        names
    }

    /// The directories that this process has to write: the state directory always, those of
    /// plugins if they are repaired.
    fn written(&self, report: Option<&Report>) -> BTreeSet<HostPath> {
        let plugins = report.filter(|_| self.upkeep.is_some()).map(|report| &report.plugins);
        let ours = plugins.into_iter().flatten().filter(|plugin| plugin.state != FileState::Kept);
        ours.map(|plugin| &plugin.directory).chain([&self.state]).cloned().collect()
    }

    fn ready_changed(&mut self, result: Result<(), DiskError>) -> Vec<Effect> {
        match (self.ending.take(), result) {
            (None, result) => new_warning(
                &mut self.ready_error,
                result,
                "cannot report whether the node is ready",
            ),
            (Some(Ending::Signal), Err(error)) => {
                vec![Effect::Stop(Ending::StillReady(error))]
            }
            // If that is the state directory, there is no file that could be removed.
            (Some(Ending::OutOfReach(lost)), _) => {
                let message = format!("error: {lost}; a new watch can reach it");
                vec![
                    Effect::Tell(Message::TerminationMessage(message)),
                    Effect::Stop(Ending::OutOfReach(lost)),
                ]
            }
            (Some(ending), _) => vec![Effect::Stop(ending)],
        }
    }

    fn watched(&mut self, result: Result<(), DiskError>) -> Vec<Effect> {
        let what = "changes will not be noticed until the next interval";
        new_warning(&mut self.watch_error, result, what)
    }

    fn reached(&mut self, lost: Option<HostPath>) -> Vec<Effect> {
        let repair = std::mem::take(&mut self.repair);
        match lost {
            Some(path) => {
                self.ending = Some(Ending::OutOfReach(OutOfReach(path)));
                vec![Effect::RemoveReady]
            }
            None if repair.is_empty() => Vec::new(),
            None => vec![Effect::Repair(repair)],
        }
    }
}

/// Says why a change was not found sooner; what is wrong with the file, if anything, says the
/// answer.
fn unheard(path: &PluginPath) -> Effect {
    remark(format!(
        "note: `{path}` was changed, and the kernel did not report it (for example a write through a \
         memory mapping or a hard link); it was checked again"
    ))
}

fn remark(text: String) -> Effect {
    Effect::Tell(Message::Remark(text))
}

/// Warns of an error unless it is the one of last time.
fn new_warning(
    last: &mut Option<String>,
    result: Result<(), DiskError>,
    what: &str,
) -> Vec<Effect> {
    let error = result.err().map(|error| with_causes(&error));
    let new = error.as_ref().filter(|error| last.as_ref() != Some(error));
    let effects =
        new.map(|error| remark(format!("warning: {what}: {error}"))).into_iter().collect();
    *last = error;
    effects
}

/// The findings that say no, on one line.
fn termination_message(answer: &Result<Report, NodeError>, text: &str) -> String {
    let Ok(report) = answer else { return text.trim_end().to_owned() };
    let refusals = report.findings.iter().filter(|finding| finding.is_refusal());
    let lines: Vec<_> =
        refusals.map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
    format!("no: {}", lines.join("; "))
}

#[cfg(test)]
mod tests;
