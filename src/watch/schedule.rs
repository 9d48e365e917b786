//! When the next check is due. Pure: the time comes in.
//!
//! Changes come in bursts, and one check covers a burst. The event loop starts the check.

use std::time::{Duration, Instant};

/// How long no further change may come before a check begins: an installer renames a dozen files
/// one after another.
const QUIET: Duration = Duration::from_millis(200);
/// How long a change waits at most, however many follow: a program that writes without end must not
/// prevent checks.
const LONGEST: Duration = Duration::from_secs(2);

/// The times that decide when the next check is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval: Duration,
    /// When the next check is due if nothing changes.
    regular: Instant,
    /// The times of the first and the last change that no check covers yet.
    changes: Option<(Instant, Instant)>,
    running: bool,
}

impl Schedule {
    /// Creates a schedule whose first check is due at once.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, regular: now, changes: None, running: false }
    }

    /// Records that files changed at `now`.
    pub(crate) fn changed(&mut self, now: Instant) {
        let first = self.changes.map_or(now, |(first, _)| first);
        self.changes = Some((first, now));
    }

    /// Records that a check begins: it covers every change so far, and none that comes during it.
    pub(crate) fn begin(&mut self) {
        (self.changes, self.running) = (None, true);
    }

    /// Records that the check ended.
    pub(crate) fn end(&mut self, now: Instant) {
        (self.regular, self.running) = (now + self.interval, false);
    }

    /// How long to wait until a check is due; `None` while one is running.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let hurried = self.changes.map(|(first, last)| (last + QUIET).min(first + LONGEST));
        let due = hurried.map_or(self.regular, |hurried| hurried.min(self.regular));
        (!self.running).then(|| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A schedule whose first check ended at `start`, with a minute between two checks.
    fn idle(start: Instant) -> Schedule {
        let mut schedule = Schedule::new(after(60_000), start);
        assert_eq!(schedule.wait(start), Some(Duration::ZERO), "the first is due at once");
        schedule.begin();
        assert_eq!(schedule.wait(start), None, "one is running");
        schedule.end(start);
        schedule
    }

    #[test]
    fn a_change_is_checked_after_a_quiet_moment_and_within_two_seconds() {
        let start = Instant::now();
        // The times of changes, the time now, and how long to wait from then.
        let every = |step: usize| (1000..3000).step_by(step).collect::<Vec<u64>>();
        let cases: &[(Vec<u64>, u64, u64)] = &[
            (vec![], 0, 60_000),
            (vec![], 59_999, 1),
            (vec![], 60_001, 0),
            (vec![1000], 1000, 200),
            (vec![1000], 1100, 100),
            (vec![1000], 5000, 0),
            (vec![1000, 1150], 1150, 200),
            (vec![1000, 1150, 1300, 1450], 1500, 150),
            (every(100), 2900, 100),
            (every(1), 2999, 1),
            (every(1), 3000, 0),
            // The regular check comes first.
            (vec![59_900], 59_900, 100),
        ];
        for (changes, now, wait) in cases {
            let mut schedule = idle(start);
            changes.iter().for_each(|at| schedule.changed(start + after(*at)));
            assert_eq!(schedule.wait(start + after(*now)), Some(after(*wait)), "{changes:?} {now}");
        }
    }

    #[test]
    fn a_change_during_a_check_is_not_lost() {
        let start = Instant::now();
        let mut schedule = idle(start);
        schedule.changed(start + after(1000));
        schedule.begin();
        schedule.changed(start + after(1300));
        assert_eq!(schedule.wait(start + after(1400)), None);
        schedule.end(start + after(1400));
        assert_eq!(schedule.wait(start + after(1400)), Some(after(100)));
        schedule.begin();
        schedule.end(start + after(1600));
        assert_eq!(schedule.wait(start + after(1600)), Some(after(60_000)), "one check for both");
    }
}
