//! Which altered files are repaired now, and which are left alone because another program keeps
//! writing them. Pure: the time comes in.
//!
//! Two installers that each restore their own bytes would never stop, and in each round a pod may
//! get either. The repair itself is `node`'s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::model::PluginPath;

/// How many repairs of one file within [`WINDOW`] are made before it is left alone.
const MOST: usize = 3;
/// How long a repair is remembered.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// How long a file is left alone the first time; it doubles each time.
const FIRST: Duration = Duration::from_secs(5 * 60);
/// How long to wait after a repair that failed: its cause rarely goes away by itself.
const RETRY: Duration = Duration::from_secs(60);
/// How long a file is left alone at most, and how long it has to stay good until its history is
/// forgotten.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What to do about altered files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) repair: BTreeSet<PluginPath>,
    /// These are left alone, and reported.
    pub(crate) held: BTreeMap<PluginPath, Held>,
}

/// Why and until when a file is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// How often it was repaired so far.
    pub(crate) times: u32,
    /// How long it is left alone, from the decision on.
    pub(crate) pause: Duration,
    /// When it may be repaired again.
    pub(crate) until: Instant,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, minutes) = (self.times, self.pause.as_secs() / 60);
        write!(
            f,
            "was repaired {times} times and altered again; it is left alone for {minutes} minutes"
        )
    }
}

/// The history of repairs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repairs {
    files: BTreeMap<PluginPath, RepairHistory>,
}

#[derive(Debug, Clone, Default)]
struct RepairHistory {
    /// The repairs within the window, oldest first, since the file was last left alone.
    recent: VecDeque<Instant>,
    last: Option<Instant>,
    times: u32,
    held: Option<Held>,
    /// When a repair that failed may be tried again.
    retry: Option<Instant>,
    /// How many times it was left alone since it last stayed good.
    rounds: u32,
}

impl Repairs {
    /// Decides about files that are altered or missing now. One whose repair failed within the last
    /// minute is neither repaired nor held.
    pub(crate) fn decide(
        &mut self,
        altered: impl IntoIterator<Item = PluginPath>,
        now: Instant,
    ) -> Decision {
        let mut decision = Decision::default();
        for target in altered {
            let past = self.files.entry(target.clone()).or_default();
            match past.hold(now) {
                None if past.retry.is_some_and(|retry| now < retry) => {}
                Some(held) => {
                    decision.held.insert(target, held);
                }
                None => {
                    decision.repair.insert(target);
                }
            }
        }
        decision
    }

    /// Remembers that this file was repaired.
    pub(crate) fn repaired(&mut self, target: &PluginPath, now: Instant) {
        let past = self.files.entry(target.clone()).or_default();
        past.recent.push_back(now);
        past.last = Some(now);
        past.retry = None;
        past.times = past.times.saturating_add(1);
    }

    /// Remembers that this file could not be repaired.
    pub(crate) fn failed(&mut self, target: &PluginPath, now: Instant) {
        self.files.entry(target.clone()).or_default().retry = Some(now + RETRY);
    }
}

impl RepairHistory {
    fn hold(&mut self, now: Instant) -> Option<Held> {
        if let Some(held) = self.held.filter(|held| now < held.until) {
            return Some(held);
        }
        let busy = self.last.max(self.held.map(|held| held.until));
        if busy.is_some_and(|busy| now.saturating_duration_since(busy) > LONGEST) {
            *self = Self::default();
        }
        self.recent.retain(|at| now.saturating_duration_since(*at) <= WINDOW);
        // After it was left alone once, one repair is enough to leave it alone again.
        let allowed = if self.rounds == 0 { MOST } else { 1 };
        if self.recent.len() < allowed {
            return None;
        }
        let pause =
            FIRST.saturating_mul(1_u32.checked_shl(self.rounds).unwrap_or(u32::MAX)).min(LONGEST);
        self.rounds = self.rounds.saturating_add(1);
        self.recent.clear();
        self.held = Some(Held { times: self.times, pause, until: now + pause });
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostPath;

    fn target(name: &str) -> PluginPath {
        PluginPath { directory: HostPath::default_bin_directory(), name: name.parse().unwrap() }
    }

    const MINUTE: u64 = 60;

    /// What is done about a file that is altered at these seconds: `None` if it is repaired,
    /// otherwise how long it is left alone, in minutes.
    fn follow(seconds: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        let (start, mut repairs, file) = (Instant::now(), Repairs::default(), target("bridge"));
        let mut done = Vec::new();
        for at in seconds {
            let now = start + Duration::from_secs(at);
            let decision = repairs.decide([file.clone()], now);
            assert_eq!(decision.repair.len() + decision.held.len(), 1, "at {at}");
            match decision.held.get(&file) {
                Some(held) => done.push(Some(held.pause.as_secs() / MINUTE)),
                None => {
                    repairs.repaired(&file, now);
                    done.push(None);
                }
            }
        }
        done
    }

    #[test]
    fn a_file_that_is_altered_repeatedly_is_left_alone_for_longer_each_time() {
        // Altered every minute, for six hours.
        let done = follow((0..360).map(|minute| minute * MINUTE));
        let mut rounds: Vec<(Option<u64>, usize)> = Vec::new();
        for pause in done {
            match rounds.last_mut() {
                Some((last, count)) if *last == pause => *count += 1,
                _ => rounds.push((pause, 1)),
            }
        }
        let expected = [
            (None, 3),
            (Some(5), 5),
            (None, 1),
            (Some(10), 10),
            (None, 1),
            (Some(20), 20),
            (None, 1),
            (Some(40), 40),
            (None, 1),
            (Some(60), 60),
            (None, 1),
            (Some(60), 60),
            (None, 1),
            (Some(60), 60),
            (None, 1),
            (Some(60), 60),
            (None, 1),
            (Some(60), 34),
        ];
        assert_eq!(rounds, expected);
    }

    #[test]
    fn what_is_altered_occasionally_is_repaired_each_time() {
        let cases: [(&[u64], &[Option<u64>]); 5] = [
            (&[0, 1, 2], &[None, None, None]),
            (&[0, 1, 2, 3], &[None, None, None, Some(5)]),
            // The first is ten minutes old, and then older.
            (&[0, 300, 500, 600], &[None, None, None, Some(5)]),
            (&[0, 300, 500, 601], &[None, None, None, None]),
            // Good for more than an hour since it was left alone, until second 303.
            (&[0, 1, 2, 3, 3904, 3905, 3906], &[None, None, None, Some(5), None, None, None]),
        ];
        for (at, expected) in cases {
            assert_eq!(follow(at.iter().copied()), expected, "{at:?}");
        }
        // The twin: good for an hour and not more.
        let done = follow([0, 1, 2, 3, 3903, 3904]);
        assert_eq!(done, [None, None, None, Some(5), None, Some(10)]);
    }

    #[test]
    fn what_could_not_be_repaired_is_tried_again_after_a_minute() {
        let (start, mut repairs, file) = (Instant::now(), Repairs::default(), target("bridge"));
        let decide = |second, repairs: &mut Repairs| {
            let decision =
                repairs.decide([file.clone(), target("vlan")], start + Duration::from_secs(second));
            assert_eq!(decision.held, BTreeMap::new());
            decision.repair.contains(&file)
        };
        assert!(decide(0, &mut repairs));
        repairs.failed(&target("bridge"), start);
        let tried = [0, 59, 60, 61].map(|second| decide(second, &mut repairs));
        assert_eq!(tried, [false, false, true, true]);
        // A repair that succeeds ends the wait.
        repairs.failed(&target("bridge"), start + Duration::from_secs(61));
        repairs.repaired(&target("bridge"), start + Duration::from_secs(62));
        assert!(decide(62, &mut repairs));
    }

    #[test]
    fn each_file_is_decided_for_itself() {
        let (now, mut repairs) = (Instant::now(), Repairs::default());
        for _ in 0..3 {
            repairs.repaired(&target("bridge"), now);
        }
        let decision = repairs.decide([target("bridge"), target("vlan")], now);
        assert_eq!(decision.repair, [target("vlan")].into());
        let pause = Duration::from_secs(300);
        assert_eq!(
            decision.held,
            [(target("bridge"), Held { times: 3, pause, until: now + pause })].into()
        );
        let said =
            decision.held.iter().map(|(file, held)| format!("`{file}` {held}")).collect::<String>();
        let expected = "`/opt/cni/bin/bridge` was repaired 3 times and altered again; it is left alone for 5 minutes";
        assert_eq!(said, expected);
        assert_eq!(repairs.decide([], now), Decision::default());
    }
}
