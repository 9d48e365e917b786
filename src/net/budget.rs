//! How long a client waits for servers in all. Pure: measured times come in.
//!
//! Every single wait has a limit of its own, but there are many: an image has hundreds of documents
//! beside it, each may be tried four times, and a server may send a byte before each timeout.
//! Without a limit for all of it, a registry could hold an init container for ever.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The slowest transfer that is still waited for after the limit, in bytes per second.
const SLOWEST: u64 = 32 * 1024;

/// The time that a client has spent waiting, and what it got for it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: Duration,
    spent: Mutex<Spent>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    waited: Duration,
    moved: u64,
}

impl Budget {
    /// Allows `limit`, and more for what is moved at an acceptable pace.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    /// Returns the same limit, of which nothing is spent.
    pub(super) fn renewed(&self) -> Self {
        Self::new(self.limit)
    }

    /// Records a wait, and how many bytes of a body came or went in it.
    pub(super) fn spend(&self, waited: Duration, moved: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.waited = spent.waited.saturating_add(waited);
        spent.moved = spent.moved.saturating_add(moved);
    }

    /// Returns how long was waited, if that is too long.
    pub(super) fn exceeded(&self) -> Option<Duration> {
        let Spent { waited, moved } = *self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = self.limit.saturating_add(Duration::from_secs(moved / SLOWEST));
        (waited > allowed).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_waits_are_one_long_wait_and_large_bodies_take_longer() {
        let seconds = Duration::from_secs;
        // Waits in seconds, each with the bytes that were moved, and whether that is too long.
        let cases: [(&[(u64, u64)], bool); 8] = [
            (&[], false),
            (&[(600, 0)], false),
            (&[(601, 0)], true),
            (&[(300, 10), (300, 10)], false),
            (&[(300, 10), (301, 10)], true),
            // A layer of 300 MiB at 64, 33 and 31 KiB per second.
            (&[(4800, 300 << 20)], false),
            (&[(600, 0), (9310, 300 << 20)], false),
            (&[(600, 0), (9910, 300 << 20)], true),
        ];
        for (waits, expected) in cases {
            let budget = Budget::new(seconds(600));
            waits.iter().for_each(|(waited, moved)| budget.spend(seconds(*waited), *moved));
            assert_eq!(budget.exceeded().is_some(), expected, "{waits:?}");
            assert_eq!(budget.renewed().exceeded(), None);
        }
    }
}
