//! A watch at work: carries out what the observer decides, one effect after another, and returns
//! what came of each.
//!
//! Nothing is decided here, and nothing is printed: messages are handed to the caller.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use super::event_loop::{self, Job, LoopEvent, Next};
use super::health::Health;
use super::installers::{Trace, installer_of};
use super::lookout::Lookout;
use super::memory::Stamps;
use super::node_condition::ConditionStatus;
use super::observer::{Effect, Ending, Event, Message, Now, Observer};
use super::ready::ReadyFile;
use super::upkeep::Upkeep;
use crate::check::{NodeCheck, PluginReport};
use crate::disk::{DiskError, Stamp};
use crate::model::{HostPath, Platform, PluginPath};
use crate::node::{Root, Sandbox, bring_back};

/// A watch of one node, as its user wants it.
#[derive(Debug)]
pub struct Watch<'a> {
    /// What is checked; this process is confined to what a watch of it needs.
    pub node: Arc<NodeCheck>,
    /// The longest time between two checks.
    pub interval: Duration,
    /// Whether altered files are repaired.
    pub repair: bool,
    /// The file that a readiness probe reads.
    pub ready: &'a ReadyFile,
    /// What the HTTP server answers.
    pub health: &'a Health,
    /// Who writes the node's condition, if one is kept.
    pub condition: Option<Sender<ConditionStatus>>,
}

impl Watch<'_> {
    /// Watches until SIGTERM or SIGINT comes, or until nothing more can be done; `tell` gets what
    /// there is to read.
    ///
    /// # Errors
    /// If signals cannot be listened for, or a thread cannot be started.
    pub fn run(self, tell: &mut dyn FnMut(Message)) -> io::Result<Ending> {
        let upkeep = self.repair.then(Upkeep::default);
        let mut known = BTreeSet::new();
        let mut driver = Driver {
            observer: Observer::new(self.node.state.clone(), upkeep),
            watch: &self,
            tell,
            next: Next::Wait,
            ending: None,
        };
        let node = Arc::clone(&self.node);
        event_loop::watch(
            self.interval,
            move |job| work(&node, &mut known, job),
            |event, lookout| driver.react(event, lookout),
        )?;
        Ok(driver.ending.unwrap_or(Ending::Signal))
    }
}

/// What came of a job.
struct Done {
    /// What the known files were before a check. Taken before it: what changes while they are read
    /// is another file at the next one.
    stamps: Option<Stamps>,
    event: Event,
}

/// Does a job, on the worker thread; `known` are the files of the last answer.
fn work(node: &NodeCheck, known: &mut BTreeSet<PluginPath>, job: Job) -> Done {
    match job {
        Job::Check => {
            let stamps =
                known.iter().filter_map(|path| Some((path.clone(), stamp(&node.root, path)?)));
            let stamps = Some(stamps.collect());
            let answer = node.check();
            if let Ok(report) = &answer {
                *known = report.plugins.iter().map(PluginReport::path).collect();
            }
            Done { stamps, event: Event::Checked(Box::new(answer)) }
        }
        Job::Repair(targets) => {
            let platform = Platform::host();
            let installation = node.installation(&platform);
            let event = Event::Repaired(bring_back(&node.root, &installation, &targets));
            Done { stamps: None, event }
        }
    }
}

/// What cannot be inspected is the check's to say.
fn stamp(root: &Root, path: &PluginPath) -> Option<Stamp> {
    root.directory(&path.directory).ok()??.stamp_of(path.name.as_str()).ok()?
}

struct Driver<'a> {
    observer: Observer,
    watch: &'a Watch<'a>,
    tell: &'a mut dyn FnMut(Message),
    /// What the loop does next.
    next: Next,
    ending: Option<Ending>,
}

impl Driver<'_> {
    fn react(&mut self, event: LoopEvent<Done>, lookout: &mut Lookout) -> Next {
        let event = match event {
            LoopEvent::Answer(Done { stamps, event }) => {
                if let Some(stamps) = stamps {
                    self.follow(Event::Stamped(stamps, lookout.take_reported()), lookout);
                }
                event
            }
            LoopEvent::Signal => Event::Signal,
        };
        self.follow(event, lookout);
        std::mem::replace(&mut self.next, Next::Wait)
    }

    /// Carries out what follows from an event; what comes of an effect is observed before the next
    /// one.
    fn follow(&mut self, event: Event, lookout: &mut Lookout) {
        let now = Now { time: SystemTime::now(), instant: Instant::now() };
        for effect in self.observer.observe(event, now) {
            if let Some(event) = self.carry_out(effect, lookout) {
                self.follow(event, lookout);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, lookout: &mut Lookout) -> Option<Event> {
        let Watch { node, interval, ready, health, condition, .. } = self.watch;
        match effect {
            Effect::FindTrace(target) => {
                let trace = find_trace(&node.root, &target).ok().flatten();
                return Some(Event::TraceFound(target, trace));
            }
            Effect::WriteReady(now) => {
                return Some(Event::ReadyChanged(ready.write(now, *interval)));
            }
            Effect::RemoveReady => return Some(Event::ReadyChanged(ready.remove())),
            Effect::Tell(message) => (self.tell)(message),
            Effect::Publish { metrics, ready } => health.checked(metrics, ready, Instant::now()),
            Effect::Condition(status) => {
                if let Some(condition) = condition {
                    // If its thread has ended, no one is left to tell.
                    let _ = condition.send(status);
                }
            }
            Effect::Watch(names) => {
                return Some(Event::Watched(lookout.watch(&node.root, &names)));
            }
            Effect::CheckReach(paths) => {
                return Some(Event::Reached(out_of_reach(&node.root, paths)));
            }
            Effect::Repair(targets) => self.next = Next::Repair(targets),
            Effect::Stop(ending) => (self.next, self.ending) = (Next::Stop, Some(ending)),
        }
        None
    }
}

fn out_of_reach(root: &Root, paths: BTreeSet<HostPath>) -> Option<HostPath> {
    paths.into_iter().find(|path| Sandbox::lacks(root, path))
}

/// The most names that are searched for a trace of an installer.
const TRACED: usize = 4096;

/// Searches the names beside a file for a trace of who wrote it.
fn find_trace(root: &Root, target: &PluginPath) -> Result<Option<Trace>, DiskError> {
    let Some(directory) = root.directory(&target.directory)? else { return Ok(None) };
    let entries = directory.entries()?.take(TRACED).collect::<Result<Vec<_>, _>>()?;
    let names = entries.iter().filter_map(|entry| entry.name.to_str());
    Ok(installer_of(target.name.as_str(), names))
}
