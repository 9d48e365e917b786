//! When to retry, and after how long. Pure: randomness is passed in as a number.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The most attempts per request.
pub(super) const TRIES: u32 = 4;
/// The wait after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait. A server may ask for an hour (`Retry-After`), but a user is waiting.
const LONGEST: Duration = Duration::from_secs(30);

/// Returns whether the same request may soon get another response: too many requests, a request
/// that arrived too slowly, or a server error (RFC 9110 15.5.9 and 15.6, RFC 6585 4).
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// Returns how long to wait after the `failures`th failure.
///
/// A `Retry-After` in seconds is honored up to [`LONGEST`]; one with a date would need a clock that
/// agrees with the server's and is ignored. Otherwise the wait doubles, with up to half of it added
/// by `random`, so that clients that failed together do not retry together.
pub(super) fn wait(failures: u32, retry_after: Option<&str>, random: u64) -> Duration {
    if let Some(seconds) = retry_after.and_then(|text| text.trim().parse().ok()) {
        return Duration::from_secs(seconds).min(LONGEST);
    }
    let doubled =
        FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    between(doubled, doubled.saturating_add(doubled / 2), random).min(LONGEST)
}

/// Returns a duration from `least` to `most`, chosen by `random`.
pub(super) fn between(least: Duration, most: Duration, random: u64) -> Duration {
    let part = (random % 1024) as u32;
    least.saturating_add(most.saturating_sub(least).saturating_mul(part) / 1024)
}

/// Returns a random number, good enough to keep clients apart and not for cryptography.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_where_that_can_help() {
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
