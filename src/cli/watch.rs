//! `watch`: check again and again, as the process of a container.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::check::AskedArguments;
use super::terminal::{Exit, Failure, Terminal, with_causes};
use crate::node::{NodeError, Occasion, ReadyFile, Report, watch};

/// Checks this node at once and then at every interval, until SIGTERM or SIGINT.
///
/// What changed is said on standard output, and `watch --ready` answers whether the last check said yes: a readiness
/// probe for containers that hold nothing but this program.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: AskedArguments,
    /// How long to wait between two checks, as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Asks a watch that is running under the same --root and --state-dir whether its last check said yes.
    #[arg(long)]
    ready: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let file = ReadyFile::new(&arguments.asked.ready_path())?;
    if arguments.ready {
        return Ok(if file.is_ready(SystemTime::now())? { Exit::Yes } else { Exit::No });
    }
    let ready = match arguments.asked.ready(Occasion::Running, true)? {
        Ok(ready) => ready,
        Err(finding) => {
            terminal.remark(&format!("no: {finding}"));
            return Ok(Exit::No);
        }
    };
    let interval = arguments.interval;
    let mut before = None;
    let tell = |checked: Result<Report, NodeError>| {
        let now = SystemTime::now();
        let (good, text) = match &checked {
            Ok(report) => (report.is_good() && !report.wanted_is_missing(), report.to_string()),
            Err(error) => (false, format!("error: {}\n", with_causes(error))),
        };
        let said = if good { file.say_ready(now, interval) } else { file.say_unready() };
        if let Err(error) = said {
            terminal.remark(&format!("warning: cannot say whether the node is ready: {}", with_causes(&error)));
        }
        // A log that repeats itself every minute is not read.
        if before.as_ref() != Some(&text) {
            let answered = match &checked {
                Ok(report) => terminal.answer(report),
                Err(_) => {
                    terminal.remark(&text);
                    Ok(())
                }
            };
            if answered.is_err() {
                terminal.remark("warning: cannot write to standard output");
            }
            before = Some(text);
        }
    };
    watch(interval, move || ready.check(), tell)?;
    file.say_unready()?;
    Ok(Exit::Yes)
}

/// Reads a time as Go and systemd write it, in one unit.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = factor.and_then(|factor| number.parse::<u32>().ok()?.checked_mul(factor));
    match seconds {
        Some(seconds @ 1..=86400) => Ok(Duration::from_secs(seconds.into())),
        _ => Err("write a time between 1s and 24h as 90s, 5m or 1h".to_owned()),
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
        for text in ["", "s", "0s", "60", "1d", "-1s", "1.5h", "25h", "99999999999s", "4294967295h", "1m30s"] {
            let error = "write a time between 1s and 24h as 90s, 5m or 1h".to_owned();
            assert_eq!(parse_interval(text), Err(error), "{text}");
        }
    }
}
