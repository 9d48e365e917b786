//! The time between two checks, as an argument.

use std::time::Duration;

use crate::watch::LONGEST_INTERVAL;

/// Parses a time as Go and systemd write it, in one unit.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = factor.and_then(|factor| number.parse::<u32>().ok()?.checked_mul(factor));
    let interval = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match interval {
        Some(interval) if !interval.is_zero() && interval <= LONGEST_INTERVAL => Ok(interval),
        _ => Err("expected a time between 1s and 24h, such as 90s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_in_one_unit() {
        for (text, expected) in [("1s", 1), ("90s", 90), ("5m", 300), ("24h", 86400)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "60",
            "1d",
            "-1s",
            "1.5h",
            "25h",
            "99999999999s",
            "4294967295h",
            "1m30s",
        ] {
            let error = "expected a time between 1s and 24h, such as 90s, 5m or 1h".to_owned();
            assert_eq!(parse_interval(text), Err(error), "{text}");
        }
    }
}
