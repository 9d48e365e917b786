//! How old a signature may be, and how old it says that it is.
//!
//! The time is the signer's own, read from payloads that an allowed key signed. This stops an
//! attacker who replays old releases, or holds back new ones, and does not have the key. It does
//! not stop one who has the key, because a signer can write any time. Reading the clock is the
//! caller's job.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::Deserialize;

use super::statement::{SIGNED_AT, SignedAt};
use crate::model::{Code, Finding, rfc3339, visible};

/// The age up to which a signature counts, in whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct MaxAge {
    hours: u64,
}

/// Why a text is not an age.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid age: expected 1 to 99999 days or hours, such as `180d` or `36h`", visible(.0))]
pub(super) struct ParseMaxAgeError(String);

/// 2026-01-01: this program did not exist before, so a clock that shows an earlier time is wrong. A
/// constant and not the time of the build, which would make builds irreproducible.
const PROGRAM: u64 = 1_767_225_600;

/// How far the clocks of a signer and of a node may differ, in seconds: a day covers every wrong
/// time zone.
const SKEW: u64 = 24 * 3600;

impl FromStr for MaxAge {
    type Err = ParseMaxAgeError;

    fn from_str(text: &str) -> Result<Self, ParseMaxAgeError> {
        let error = || ParseMaxAgeError(text.chars().take(40).collect());
        let days = text.strip_suffix('d').map(|digits| (digits, 24));
        let (digits, hours) =
            days.or(text.strip_suffix('h').map(|digits| (digits, 1))).ok_or_else(error)?;
        // What u64 would take and people do not write: a sign, leading zeros.
        let plain =
            (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || digits.starts_with('0') {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        Ok(Self { hours: number * hours })
    }
}

impl TryFrom<String> for MaxAge {
    type Error = ParseMaxAgeError;

    fn try_from(text: String) -> Result<Self, ParseMaxAgeError> {
        text.parse()
    }
}

impl fmt::Display for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&age(self.hours))
    }
}

/// Whole days from two days on, hours below.
fn age(hours: u64) -> String {
    if hours >= 48 && hours.is_multiple_of(24) {
        format!("{}d", hours / 24)
    } else {
        format!("{hours}h")
    }
}

impl MaxAge {
    /// Why the most recent signature by an allowed key is too old for `rule`, if it is.
    pub(super) fn check(
        self,
        rule: &str,
        youngest: Option<&SignedAt>,
        now: SystemTime,
    ) -> Option<Finding> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signed = match youngest {
            Some(SignedAt::Seconds(signed)) => *signed,
            Some(SignedAt::Unreadable(text)) => {
                return Some(self.unknown(rule, &format!("`{}`", visible(text))));
            }
            None => return Some(self.unknown(rule, "no such annotation")),
        };
        if now < PROGRAM {
            let message = "this machine's clock shows a time before this program was written, so the age of a signature is unknown";
            return Some(
                Finding::refusal(Code::ClockSuspect, message)
                    .mismatch(format_args!("{} or later", rfc3339(PROGRAM)), rfc3339(now))
                    .hint("set the clock, or wait until it is set from the network"),
            );
        }
        if signed > now.saturating_add(SKEW) {
            let message = "a signature by an allowed key is more recent than this machine's clock";
            return Some(
                Finding::refusal(Code::ClockSuspect, message)
                    .mismatch(format_args!("at most a day after {}", rfc3339(now)), rfc3339(signed))
                    .hint(
                        "set the clock; if it is correct, the signer's clock was wrong: remove that signature and sign again",
                    ),
            );
        }
        let oldest = now.saturating_sub(self.hours.saturating_mul(3600));
        if signed >= oldest {
            return None;
        }
        let message = format!(
            "the most recent signature by an allowed key is older than rule `{rule}` allows"
        );
        let hours = (now - signed) / 3600;
        Some(
            Finding::refusal(Code::SignatureTooOld, message)
                .mismatch(
                    format_args!("at most {self} old, signed {} or later", rfc3339(oldest)),
                    format_args!(
                        "signed {}, {} old",
                        rfc3339(signed),
                        age(if hours < 48 { hours } else { hours / 24 * 24 })
                    ),
                )
                .hint("sign it again (cnister sign --key cosign.key REF), or raise `maxAge` in the policy"),
        )
    }

    fn unknown(self, rule: &str, found: &str) -> Finding {
        let message = format!(
            "rule `{rule}` has `maxAge: {self}`, but no signature by an allowed key has a time"
        );
        Finding::refusal(Code::SignatureTimeUnknown, message)
            .mismatch(format_args!("annotation `{SIGNED_AT}` in the signed payload, such as `{}`", rfc3339(PROGRAM)), found)
            .hint(format!("sign it again: cnister sign --key cosign.key REF, or cosign sign -a {SIGNED_AT}=TIME"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn reads_days_and_hours_and_writes_what_was_meant() {
        for (text, hours, written) in [
            ("180d", 4320, "180d"),
            ("36h", 36, "36h"),
            ("1h", 1, "1h"),
            ("1d", 24, "24h"),
            ("48h", 48, "2d"),
        ] {
            assert_eq!(text.parse(), Ok(MaxAge { hours }), "{text}");
            assert_eq!(MaxAge { hours }.to_string(), written);
        }
        assert_eq!("99999d".parse(), Ok(MaxAge { hours: 99_999 * 24 }));
        for text in [
            "", "d", "0d", "01d", "100000d", "180", "180D", "6m", "+1d", "-1d", "1.5d", " 1d",
            "1 d", "1d12h",
        ] {
            let error = text.parse::<MaxAge>().expect_err(text).to_string();
            assert_eq!(
                error,
                format!(
                    "`{text}` is not a valid age: expected 1 to 99999 days or hours, such as `180d` or `36h`"
                )
            );
        }
        assert!(
            "\u{1b}d"
                .parse::<MaxAge>()
                .expect_err("not a digit")
                .to_string()
                .starts_with("`\\u{1b}d`")
        );
    }

    #[test]
    fn tells_old_from_young_and_neither_by_a_wrong_clock() {
        let now = PROGRAM + 100 * DAY;
        let at = |seconds| Some(SignedAt::Seconds(seconds));
        let old = |seconds| (Code::SignatureTooOld, format!("signed {}", rfc3339(seconds)));
        let future = |seconds| (Code::ClockSuspect, rfc3339(seconds));
        for (signed, now, expected) in [
            (at(now), now, None),
            (at(now - 36 * HOUR), now, None),
            (at(now - 36 * HOUR - 1), now, Some(old(now - 36 * HOUR - 1))),
            (at(0), now, Some(old(0))),
            (at(now + DAY), now, None),
            (at(now + DAY + 1), now, Some(future(now + DAY + 1))),
            (at(253_402_300_799), now, Some(future(253_402_300_799))),
            (at(PROGRAM), PROGRAM, None),
            (at(PROGRAM - 1), PROGRAM - 1, Some((Code::ClockSuspect, rfc3339(PROGRAM - 1)))),
            (at(0), 0, Some((Code::ClockSuspect, rfc3339(0)))),
            (None, now, Some((Code::SignatureTimeUnknown, "no such annotation".to_owned()))),
            (None, 0, Some((Code::SignatureTimeUnknown, "no such annotation".to_owned()))),
            (
                Some(SignedAt::Unreadable("a\nb".to_owned())),
                now,
                Some((Code::SignatureTimeUnknown, "`a\\u{a}b`".to_owned())),
            ),
        ] {
            let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let finding = MaxAge { hours: 36 }.check("r", signed.as_ref(), clock);
            let (code, found) = expected.clone().unzip();
            assert_eq!(finding.as_ref().map(|finding| finding.code), code, "{signed:?} at {now}");
            let said = finding.map(|finding| finding.found.unwrap_or_default());
            assert!(
                said.unwrap_or_default().starts_with(&found.unwrap_or_default()),
                "{signed:?} at {now}"
            );
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let finding = MaxAge { hours: 36 }.check("r", at(0).as_ref(), before);
        assert_eq!(finding.map(|finding| finding.code), Some(Code::ClockSuspect));
    }

    #[test]
    fn says_how_old_and_what_to_do() {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(PROGRAM + 200 * DAY);
        let finding =
            MaxAge { hours: 180 * 24 }.check("r", Some(&SignedAt::Seconds(PROGRAM + HOUR)), clock);
        assert_eq!(
            finding.map(|finding| finding.to_string()).as_deref(),
            Some(
                "signature-too-old: the most recent signature by an allowed key is older than rule `r` allows
  expected: at most 180d old, signed 2026-01-21T00:00:00Z or later
  found:    signed 2026-01-01T01:00:00Z, 199d old
  hint: sign it again (cnister sign --key cosign.key REF), or raise `maxAge` in the policy"
            )
        );
    }
}
