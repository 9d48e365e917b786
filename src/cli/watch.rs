//! `watch`: check again and again, as the process of a container.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use signal_hook::consts::SIGTERM;

use super::check::{AskedArguments, Ready, altered};
use super::node_condition::NodeConditionArguments;
use super::terminal::{Exit, Failure, Terminal};
use super::termination::TerminationArguments;
use super::upkeep::Upkeep;
use crate::check::{FileState, Occasion, Report};
use crate::model::{HostPath, PluginPath, with_causes};
use crate::net;
use crate::node::{NodeError, RECORDS, RepairOutcome, Sandbox, known_directories};
use crate::watch::{
    ConditionStatus, Health, Job, LONGEST_INTERVAL, Lookout, Metrics, Names, ReadyFile, trace,
    watch,
};

/// Checks this node at once, whenever one of its files changed and at every interval, until SIGTERM
/// or SIGINT.
///
/// What changed is said on standard output, and `watch --ready` answers whether the last check said
/// yes: a readiness probe for containers that hold nothing but this program.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: AskedArguments,
    /// How long to wait between two checks where nothing changes, as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Writes what is missing or altered again at once, from the copies that the node keeps. A file
    /// that somebody alters again and again is left alone for some time.
    #[arg(long)]
    repair: bool,
    /// Answers /metrics, /healthz and /readyz over HTTP at this address: a loopback address, or the
    /// pod's own.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    condition: NodeConditionArguments,
    #[command(flatten)]
    termination: TerminationArguments,
    /// Asks a watch that is running under the same --root and --state-dir whether its last check
    /// said yes.
    #[arg(long)]
    ready: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let file = ReadyFile::new(&arguments.asked.ready_path())?;
    if arguments.ready {
        return Ok(if file.is_ready(SystemTime::now())? { Exit::Yes } else { Exit::No });
    }
    let node = match arguments.asked.ready(Occasion::Running, true)? {
        Ok(ready) => {
            let sandbox = arguments.sandbox(&ready);
            Arc::new(ready.confined(sandbox))
        }
        Err(finding) => {
            terminal.remark(&format!("no: {finding}"));
            leave(&arguments.termination, &format!("no: {finding}"), terminal);
            return Ok(Exit::No);
        }
    };
    let health = Arc::new(Health::new(arguments.interval, Instant::now()));
    if let Some(address) = arguments.listen {
        let health = Arc::clone(&health);
        let address = net::serve(address, move |path| health.answer(path, Instant::now()))
            .map_err(|error| Failure::could_not(format!("cannot listen at {address}: {error}")))?;
        terminal.remark(&format!("listening at http://{address}/metrics"));
    }
    let condition = arguments.condition.start(*terminal)?;
    let mut teller = Teller {
        terminal,
        file: &file,
        interval: arguments.interval,
        health: &health,
        node: &node,
        condition,
        said: None,
        last_words: None,
        checked: None,
        altered: BTreeSet::new(),
        drift: 0,
        upkeep: arguments.repair.then(Upkeep::default),
        names: Names::new(),
        blind: None,
        mute: None,
        lost: None,
    };
    let worker = Arc::clone(&node);
    let work = move |job: Job| match job {
        Job::Check => Answer::Checked(Box::new(worker.check())),
        Job::Repair(targets) => Answer::Repaired(worker.bring_back(&targets)),
    };
    watch(arguments.interval, work, |answer, lookout| teller.tell(answer, lookout))?;
    if let Some(path) = teller.lost {
        // Where that is the state directory, there is nothing that could be taken back.
        let _ = file.say_unready();
        let message =
            format!("`{path}` is out of reach: it was made or removed after this watch had begun");
        leave(
            &arguments.termination,
            &format!("error: {message}; the next watch reaches it"),
            terminal,
        );
        return Err(Failure::could_not(message)
            .hint("start the watch again; the kubelet does that by itself"));
    }
    if let Some(words) = &teller.last_words {
        leave(&arguments.termination, words, terminal);
    }
    file.say_unready()?;
    Ok(Exit::Yes)
}

impl Arguments {
    /// What a watch does beside its checks.
    fn sandbox(&self, ready: &Ready) -> Sandbox {
        let mut sandbox = Sandbox::default();
        // It says there whether the node is ready.
        sandbox.write_on(ready.root(), ready.state());
        if self.repair {
            let installed = known_directories(ready.root(), ready.state(), ready.patience());
            sandbox.write_and_move(ready.root(), installed.iter().chain([ready.state()]));
            // There a package makes the directory of plugins anew, or the first installation makes
            // it.
            let above = HostPath::default_bin_directory().parent();
            above.iter().for_each(|path| sandbox.write_existing(ready.root(), path));
        }
        sandbox.write_file(self.termination.path());
        if self.listen.is_some() {
            sandbox.listen();
        }
        if self.condition.is_asked_for() {
            sandbox.connect();
        }
        sandbox
    }
}

/// What became of a job.
enum Answer {
    Checked(Box<Result<Report, NodeError>>),
    Repaired(RepairOutcome),
}

/// Says what checks found, wherever somebody may look.
struct Teller<'a> {
    terminal: &'a Terminal,
    file: &'a ReadyFile,
    interval: Duration,
    health: &'a Health,
    node: &'a Ready,
    condition: Option<Sender<ConditionStatus>>,
    said: Option<String>,
    /// What is to be said at the end, where the last check did not say yes.
    last_words: Option<String>,
    checked: Option<SystemTime>,
    /// What the last check that came to an answer found altered or gone.
    altered: BTreeSet<PluginPath>,
    /// How often a file was found so.
    drift: u64,
    /// What is done about it, where it is repaired.
    upkeep: Option<Upkeep>,
    names: Names,
    /// Why changes are not seen.
    blind: Option<String>,
    /// Why nobody is told whether the node is ready.
    mute: Option<String>,
    /// What has to be written and is out of reach for as long as this process runs.
    lost: Option<HostPath>,
}

impl Teller<'_> {
    fn tell(&mut self, answer: Answer, lookout: &mut Lookout) -> BTreeSet<PluginPath> {
        let mut answer = match (answer, &mut self.upkeep) {
            (Answer::Checked(answer), _) => *answer,
            (Answer::Repaired(brought), upkeep) => {
                if let Some(upkeep) = upkeep {
                    upkeep.done(brought, Instant::now());
                }
                // A check follows.
                return BTreeSet::new();
            }
        };
        let now = SystemTime::now();
        let repair = match (&mut answer, &mut self.upkeep) {
            (Ok(report), Some(upkeep)) => upkeep.decide(self.node.root(), report, Instant::now()),
            _ => BTreeSet::new(),
        };
        let (good, text) = match &answer {
            Ok(report) => (report.is_good() && !report.wanted_is_missing(), report.to_string()),
            Err(error) => (false, format!("error: {}\n", with_causes(error))),
        };
        self.say_ready(good, now);
        let has_news = answer.as_ref().is_ok_and(|report| !report.repaired.is_empty());
        // A log that repeats itself every minute is not read.
        if has_news || self.said.as_ref() != Some(&text) {
            let answered = match &answer {
                Ok(report) => self.terminal.answer(report),
                Err(_) => {
                    self.terminal.remark(&text);
                    Ok(())
                }
            };
            if answered.is_err() {
                self.terminal.remark("warning: cannot write to standard output");
            }
        }
        self.last_words = (!good).then(|| last_words(&answer, &text));
        // What was repaired is said once.
        self.said = Some(match &answer {
            Ok(report) if has_news => Report { repaired: Vec::new(), ..report.clone() }.to_string(),
            _ => text,
        });
        if let Ok(report) = &answer {
            self.checked = Some(now);
            self.count(report);
            self.names = self.names_of(report);
        }
        let repairs = self.upkeep.as_ref().map(Upkeep::count);
        let metrics = Metrics {
            report: answer.as_ref().ok(),
            checked: self.checked,
            drift: Some(self.drift),
            repairs,
        };
        self.health.checked(metrics.text(), good, Instant::now());
        if let Some(condition) = &self.condition {
            // Where its thread has ended, there is nobody to tell.
            let _ = condition.send(ConditionStatus::of(answer.as_ref()));
        }
        let blind = lookout
            .look_after(self.node.root(), &self.names)
            .err()
            .map(|error| with_causes(&error));
        if let Some(error) = blind.as_ref().filter(|error| self.blind.as_ref() != Some(error)) {
            self.terminal
                .remark(&format!("warning: changes are seen at the next interval only: {error}"));
        }
        self.blind = blind;
        self.lost = self.out_of_reach(answer.as_ref().ok());
        if self.lost.is_some() {
            // The way out is the one of every end of a watch.
            if let Err(error) = signal_hook::low_level::raise(SIGTERM) {
                self.terminal.remark(&format!("warning: cannot end this watch: {error}"));
            }
            return BTreeSet::new();
        }
        repair
    }

    /// The first directory that is to be written and cannot be by this process: of the state
    /// always, of plugins where they are repaired.
    fn out_of_reach(&self, report: Option<&Report>) -> Option<HostPath> {
        let plugins =
            report.filter(|_| self.upkeep.is_some()).into_iter().flat_map(|report| &report.plugins);
        let ours = plugins
            .filter(|plugin| plugin.condition != FileState::Kept)
            .map(|plugin| &plugin.directory);
        let paths: BTreeSet<_> = ours.chain([self.node.state()]).collect();
        paths.into_iter().find(|path| Sandbox::lacks(self.node.root(), path)).cloned()
    }

    fn say_ready(&mut self, good: bool, now: SystemTime) {
        let said =
            if good { self.file.say_ready(now, self.interval) } else { self.file.say_unready() };
        let mute = said.err().map(|error| with_causes(&error));
        if let Some(error) = mute.as_ref().filter(|error| self.mute.as_ref() != Some(error)) {
            self.terminal
                .remark(&format!("warning: cannot say whether the node is ready: {error}"));
        }
        self.mute = mute;
    }

    /// Counts what was good before and is not any more, and says who may have been at it.
    fn count(&mut self, report: &Report) {
        let altered = altered(report);
        for target in altered.difference(&self.altered) {
            self.drift = self.drift.saturating_add(1);
            if let Ok(Some(trace)) = trace(self.node.root(), target) {
                let (name, installer) = (trace.name, trace.installer);
                self.terminal.remark(&format!(
                    "note: beside `{target}` is `{name}`, as {installer} leaves it"
                ));
            }
        }
        self.altered = altered;
    }

    /// The files of the installation, and the records of it: another installer's files are not ours
    /// to look after.
    fn names_of(&self, report: &Report) -> Names {
        let mut names = Names::new();
        let held = |directory: &_, name: &_| {
            let mut held = self.upkeep.iter().flat_map(Upkeep::held);
            held.any(|target| target.directory == *directory && target.name == *name)
        };
        for plugin in report.plugins.iter().filter(|plugin| plugin.condition != FileState::Kept) {
            if held(&plugin.directory, &plugin.name) {
                continue;
            }
            names.entry(plugin.directory.clone()).or_default().insert(plugin.name.as_str().into());
        }
        names.entry(self.node.state().clone()).or_default().extend(RECORDS.map(Into::into));
        names
    }
}

/// The findings that say no, on one line.
fn last_words(answer: &Result<Report, NodeError>, text: &str) -> String {
    let Ok(report) = answer else { return text.trim_end().to_owned() };
    let refusals = report.findings.iter().filter(|finding| finding.is_refusal());
    let lines: Vec<_> =
        refusals.map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
    format!("no: {}", lines.join("; "))
}

fn leave(termination: &TerminationArguments, text: &str, terminal: &Terminal) {
    if let Err(error) = termination.leave(text) {
        terminal.remark(&format!("warning: cannot leave a message for the pod's status: {error}"));
    }
}

/// Reads the address to listen at; one that everybody reaches is none.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write an address and a port as 127.0.0.1:9464 or [::1]:9464".to_owned())?;
    let ip: IpAddr = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        let hint = "name a loopback address, or the pod's own from `status.podIP`";
        return Err(format!("{ip} is no address of this machine alone; {hint}"));
    }
    Ok(address)
}

/// Reads a time as Go and systemd write it, in one unit.
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
            let error = "write a time between 1s and 24h as 90s, 5m or 1h".to_owned();
            assert_eq!(parse_interval(text), Err(error), "{text}");
        }
    }

    #[test]
    fn listens_at_one_address_of_this_machine() {
        for text in
            ["127.0.0.1:9464", "127.0.0.2:0", "[::1]:9464", "10.244.1.7:9464", "[fd00::7]:1"]
        {
            assert_eq!(parse_listen(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        let hint = "name a loopback address, or the pod's own from `status.podIP`";
        for (text, ip) in [
            ("0.0.0.0:9464", "0.0.0.0"),
            ("[::]:9464", "::"),
            ("[::ffff:0.0.0.0]:9464", "0.0.0.0"),
            ("224.0.0.1:1", "224.0.0.1"),
        ] {
            let error = format!("{ip} is no address of this machine alone; {hint}");
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
        for text in
            ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "*:9464", "127.0.0.1:99999"]
        {
            let error = "write an address and a port as 127.0.0.1:9464 or [::1]:9464".to_owned();
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
    }
}
