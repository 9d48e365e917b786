//! When to try again, and after how long. Pure: randomness comes in as a number.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How often a request is sent at most.
pub(super) const TRIES: u32 = 4;
/// The wait after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait. A server may ask for an hour (`Retry-After`), but somebody is waiting for us.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether the same request may be answered differently in a moment: too many requests, a request
/// that came too slowly, or a fault of the server (RFC 9110 15.5.9 and 15.6, RFC 6585 4).
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// How long to wait after the `failures`th failure.
///
/// A `Retry-After` in seconds decides, up to [`LONGEST`]; one with a date needs a clock that agrees
/// with the server's and is not used. Otherwise the wait doubles, plus up to half of it by
/// `random`, so that many clients that failed together do not come back together.
pub(super) fn wait(failures: u32, retry_after: Option<&str>, random: u64) -> Duration {
    if let Some(seconds) = retry_after.and_then(|text| text.trim().parse().ok()) {
        return Duration::from_secs(seconds).min(LONGEST);
    }
    let doubled =
        FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    between(doubled, doubled.saturating_add(doubled / 2), random).min(LONGEST)
}

/// A duration from `least` to `most`, by `random`.
pub(super) fn between(least: Duration, most: Duration, random: u64) -> Duration {
    let part = (random % 1024) as u32;
    least.saturating_add(most.saturating_sub(least).saturating_mul(part) / 1024)
}

/// A random number, good enough to keep clients apart and for nothing else.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_again_where_it_can_help() {
        for (status, expected) in [
            (200, false),
            (307, false),
            (401, false),
            (404, false),
            (408, true),
            (416, false),
            (429, true),
            (503, true),
        ] {
            assert_eq!(is_transient(status), expected, "{status}");
        }
    }

    #[test]
    fn waits_as_long_as_the_server_asks_up_to_half_a_minute() {
        let milliseconds = Duration::from_millis;
        let cases = [
            (1, None, 0, milliseconds(500)),
            (2, None, 0, milliseconds(1000)),
            (3, None, 0, milliseconds(2000)),
            (3, None, 512, milliseconds(2500)),
            (40, None, 0, LONGEST),
            (1, Some("7"), 1023, milliseconds(7000)),
            (1, Some(" 0 "), 1023, milliseconds(0)),
            (1, Some("3600"), 0, LONGEST),
            (1, Some("Wed, 21 Oct 2015 07:28:00 GMT"), 0, milliseconds(500)),
            (1, Some("-1"), 0, milliseconds(500)),
        ];
        for (failures, retry_after, random, expected) in cases {
            assert_eq!(wait(failures, retry_after, random), expected, "{failures} {retry_after:?}");
        }
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }
}
