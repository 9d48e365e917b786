//! Events and the effects that follow, one line each.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::check::{Installed, PluginReport};
use crate::model::{Code, Digest, Finding};
use crate::node::{Change, Found, Owner, Step};
use crate::trust::Strength;

const MINUTE: u64 = 60;

fn target(name: &str) -> PluginPath {
    PluginPath { directory: HostPath::default_bin_directory(), name: name.parse().unwrap() }
}

fn state() -> HostPath {
    "/var/lib/cnister".parse().unwrap()
}

/// A node with these plugins, and a refusal for each that is altered or missing.
fn node(plugins: &[(&str, FileState)]) -> Report {
    let installed = Installed {
        bundle: "acme".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        index: Digest::of(b""),
        strength: Some(Strength::Proven),
        rule: None,
    };
    let mut report = Report { installed: Some(installed), ..Report::default() };
    for (name, state) in plugins {
        let PluginPath { directory, name } = target(name);
        report.plugins.push(PluginReport { directory, name, state: *state, versions: None });
    }
    for path in report.altered() {
        report.findings.push(Finding::refusal(Code::DigestDrift, format!("`{path}` was altered")));
    }
    report
}

fn good() -> Report {
    node(&[("bridge", FileState::Proven)])
}

fn altered() -> Report {
    node(&[("bridge", FileState::Altered)])
}

fn checked(report: Report) -> Event {
    Event::Checked(Box::new(Ok(report)))
}

fn failed(error: NodeError) -> Event {
    Event::Checked(Box::new(Err(error)))
}

/// What came of a repair of `bridge`.
fn repaired(error: Option<NodeError>) -> Event {
    let PluginPath { directory, name } = target("bridge");
    let step = Step::Write {
        directory,
        name,
        change: Change::Repair,
        size: 6,
        before: Found::Absent,
        owner: Owner::Ours,
    };
    Event::Repaired(match error {
        None => RepairOutcome { steps: vec![step], ..RepairOutcome::default() },
        Some(error) => RepairOutcome {
            left: [target("bridge")].into(),
            errors: vec![error],
            ..RepairOutcome::default()
        },
    })
}

fn full(action: &str) -> DiskError {
    let source = std::io::Error::other("the disk is full");
    DiskError::Io { action: action.to_owned(), path: "p".to_owned(), source }
}

/// One line for an effect.
fn line(effect: &Effect) -> String {
    match effect {
        Effect::FindTrace(target) => format!("find trace of {target}"),
        Effect::WriteReady(time) => {
            format!("write ready at {}", time.duration_since(UNIX_EPOCH).unwrap().as_secs())
        }
        Effect::RemoveReady => "remove ready".to_owned(),
        Effect::Tell(Message::Report(report)) => {
            let repaired: Vec<_> = report.repaired.iter().map(ToString::to_string).collect();
            let findings: Vec<_> = report
                .findings
                .iter()
                .map(|finding| format!("{}: {}", finding.code, finding.message))
                .collect();
            let answer = if report.is_good() { "yes" } else { "no" };
            ["print".to_owned(), answer.to_owned()]
                .into_iter()
                .chain(repaired)
                .chain(findings)
                .collect::<Vec<_>>()
                .join("; ")
        }
        Effect::Tell(Message::Remark(text)) => format!("remark {}", text.trim_end()),
        Effect::Tell(Message::TerminationMessage(text)) => format!("leave {text}"),
        Effect::Publish { metrics, ready } => {
            let number = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name));
                line.map_or_else(|| "-".to_owned(), |value| value.trim().to_owned())
            };
            format!(
                "publish ready={ready} drift={} repairs={} checked={}",
                number("cnister_drift_total"),
                number("cnister_repairs_total"),
                number("cnister_last_check_timestamp_seconds"),
            )
        }
        Effect::Condition(status) => format!("condition {}", status.reason()),
        Effect::Watch(names) => {
            let names = names.iter().flat_map(|(directory, names)| {
                names.iter().map(move |name| format!("{directory}/{}", name.to_str().unwrap()))
            });
            let ours = names.filter(|name| !name.starts_with("/var/lib/cnister/"));
            format!("watch {}", ours.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
        }
        Effect::CheckReach(paths) => {
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            format!("reach {}", paths.join(" "))
        }
        Effect::Repair(targets) => {
            let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
            format!("repair {}", targets.join(" "))
        }
        Effect::Stop(Ending::Signal) => "stop".to_owned(),
        Effect::Stop(Ending::StillReady(error)) => format!("stop: {error}"),
        Effect::Stop(Ending::OutOfReach(error)) => format!("stop: {error}"),
    }
}

/// An observer, and the seconds since it began.
struct Scene {
    observer: Observer,
    start: Instant,
    seconds: u64,
}

impl Scene {
    fn new(upkeep: Option<Upkeep>) -> Self {
        Self { observer: Observer::new(state(), upkeep), start: Instant::now(), seconds: 0 }
    }

    fn repairing() -> Self {
        Self::new(Some(Upkeep::default()))
    }

    fn observe(&mut self, event: Event) -> Vec<String> {
        let passed = Duration::from_secs(self.seconds);
        let now = Now { time: UNIX_EPOCH + passed, instant: self.start + passed };
        self.observer.observe(event, now).iter().map(line).collect()
    }

    #[track_caller]
    fn expect(&mut self, event: Event, effects: &[&str]) {
        let what = format!("{event:?}");
        assert_eq!(self.observe(event), effects, "{what}");
    }

    /// A check that leads to effects which all succeed; what it says does not matter.
    fn settle(&mut self, report: Report) {
        self.observe(checked(report));
        for event in [Event::ReadyChanged(Ok(())), Event::Watched(Ok(())), Event::Reached(None)] {
            self.observe(event);
        }
    }

    /// An altered file that is repaired again and again, until it is left alone.
    fn wear_out(&mut self) {
        for _ in 0..3 {
            self.settle(altered());
            self.observe(repaired(None));
            self.settle(good());
            self.seconds += 1;
        }
    }
}

#[test]
fn the_first_answer_is_reported_to_everyone_in_order() {
    Scene::new(None).expect(
        checked(good()),
        &[
            "write ready at 0",
            "print; yes",
            "publish ready=true drift=0 repairs=- checked=0",
            "condition Proven",
            "watch /opt/cni/bin/bridge",
            "reach /var/lib/cnister",
        ],
    );
    // The twin repairs, so it has to write there.
    Scene::repairing().expect(
        checked(good()),
        &[
            "write ready at 0",
            "print; yes",
            "publish ready=true drift=0 repairs=0 checked=0",
            "condition Proven",
            "watch /opt/cni/bin/bridge",
            "reach /opt/cni/bin /var/lib/cnister",
        ],
    );
}

#[test]
fn the_same_answer_again_is_not_printed() {
    let mut scene = Scene::new(None);
    scene.settle(good());
    scene.seconds = MINUTE;
    scene.expect(
        checked(good()),
        &[
            "write ready at 60",
            "publish ready=true drift=0 repairs=- checked=60",
            "condition Proven",
            "watch /opt/cni/bin/bridge",
            "reach /var/lib/cnister",
        ],
    );
    for event in [Event::ReadyChanged(Ok(())), Event::Watched(Ok(())), Event::Reached(None)] {
        scene.expect(event, &[]);
    }
}

#[test]
fn what_takes_the_place_of_a_plugin_is_repaired_as_an_altered_file_is() {
    for state in
        [FileState::Altered, FileState::Missing, FileState::InTheWay, FileState::Unreadable]
    {
        let mut scene = Scene::repairing();
        scene.observe(checked(node(&[("bridge", state), ("vlan", FileState::Kept)])));
        let effects = scene.observe(Event::Reached(None));
        assert_eq!(effects, ["repair /opt/cni/bin/bridge"], "{state:?}");
    }
}

#[test]
fn a_file_that_was_good_before_is_counted_once_and_searched_for_a_trace() {
    let mut scene = Scene::new(None);
    scene.settle(good());
    scene.expect(
        checked(altered()),
        &[
            "remove ready",
            "print; no; digest-drift: `/opt/cni/bin/bridge` was altered",
            "find trace of /opt/cni/bin/bridge",
            "publish ready=false drift=1 repairs=- checked=0",
            "condition DigestDrift",
            "watch /opt/cni/bin/bridge",
            "reach /var/lib/cnister",
        ],
    );
    let trace = Trace { name: "bridge.old".to_owned(), installer: "dropgz (Azure)" };
    let note =
        "remark note: `bridge.old` beside `/opt/cni/bin/bridge` is typical of dropgz (Azure)";
    scene.expect(Event::TraceFound(target("bridge"), None), &[]);
    scene.expect(Event::TraceFound(target("bridge"), Some(trace)), &[note]);
    let again = scene.observe(checked(altered()));
    assert_eq!(again[..2], ["remove ready", "publish ready=false drift=1 repairs=- checked=0"]);
    scene.settle(good());
    let again = scene.observe(checked(altered()));
    assert!(again.contains(&"publish ready=false drift=2 repairs=- checked=0".to_owned()));
}

#[test]
fn a_repair_begins_when_the_directories_can_be_reached_and_is_reported_once() {
    let mut scene = Scene::repairing();
    scene.settle(good());
    scene.observe(checked(altered()));
    scene.expect(Event::Reached(None), &["repair /opt/cni/bin/bridge"]);
    scene.expect(Event::Reached(None), &[]);
    scene.expect(repaired(None), &[]);
    let told = scene.observe(checked(good()));
    assert_eq!(
        told[..3],
        [
            "write ready at 0",
            "print; yes; repair   /opt/cni/bin/bridge (6 bytes)",
            "publish ready=true drift=1 repairs=1 checked=0",
        ]
    );
    let told = scene.observe(checked(good()));
    assert_eq!(told[1], "publish ready=true drift=1 repairs=1 checked=0", "it is told once");
}

#[test]
fn a_repair_that_fails_is_reported_with_the_answer_until_there_is_nothing_to_repair() {
    let mut scene = Scene::repairing();
    scene.settle(altered());
    let error = Finding::refusal(Code::NoCopy, "there is no copy").into();
    scene.expect(repaired(Some(error)), &[]);
    let told = scene.observe(checked(altered()));
    let expected =
        "print; no; digest-drift: `/opt/cni/bin/bridge` was altered; no-copy: there is no copy";
    assert_eq!(told[1], expected);
    scene.expect(Event::Reached(None), &[]);
    // What is not a finding is put into words.
    scene.expect(repaired(Some(NodeError::Stopped)), &[]);
    let told = scene.observe(checked(altered()));
    let expected = "print; no; digest-drift: `/opt/cni/bin/bridge` was altered; \
                    not-repaired: the node was not repaired: stopped; the next run finishes it";
    assert_eq!(told[1], expected);
    scene.seconds = MINUTE;
    scene.observe(checked(altered()));
    scene.expect(Event::Reached(None), &["repair /opt/cni/bin/bridge"]);
    let told = scene.observe(checked(good()));
    assert_eq!(told[1], "print; yes");
}

#[test]
fn a_file_that_is_left_alone_is_not_watched_and_its_answer_waits_for_the_trace() {
    let mut scene = Scene::repairing();
    scene.wear_out();
    scene.expect(checked(altered()), &["find trace of /opt/cni/bin/bridge"]);
    let trace = Trace { name: "bridge.old".to_owned(), installer: "dropgz (Azure)" };
    scene.expect(
        Event::TraceFound(target("bridge"), Some(trace)),
        &[
            "remove ready",
            "print; no; digest-drift: `/opt/cni/bin/bridge` was altered; \
             repair-paused: `/opt/cni/bin/bridge` was repaired 3 times and altered again; it is left \
             alone for 5 minutes; `bridge.old` beside it is typical of dropgz (Azure)",
            "find trace of /opt/cni/bin/bridge",
            "publish ready=false drift=4 repairs=3 checked=3",
            "condition DigestDrift",
            "watch",
            "reach /opt/cni/bin /var/lib/cnister",
        ],
    );
    scene.expect(Event::Reached(None), &[]);
    // Two of them: the answer waits for both.
    let both = node(&[("bridge", FileState::Altered), ("vlan", FileState::Missing)]);
    let mut scene = Scene::repairing();
    scene.wear_out();
    let upkeep = scene.observer.upkeep.as_mut().unwrap();
    for _ in 0..3 {
        let PluginPath { directory, name } = target("vlan");
        let (change, before, owner) = (Change::New, Found::Absent, Owner::Ours);
        let step = Step::Write { directory, name, change, size: 4, before, owner };
        upkeep.done(RepairOutcome { steps: vec![step], ..Default::default() }, scene.start);
    }
    let traces = ["find trace of /opt/cni/bin/bridge", "find trace of /opt/cni/bin/vlan"];
    scene.expect(checked(both), &traces);
    scene.expect(Event::TraceFound(target("bridge"), None), &[]);
    let told = scene.observe(Event::TraceFound(target("vlan"), None));
    assert_eq!(told[0], "remove ready");
}

#[test]
fn what_fails_besides_the_check_is_warned_of_once() {
    let mut scene = Scene::new(None);
    let blind = "remark warning: changes will not be noticed until the next interval: cannot open `p`: the disk is full";
    let mute = "remark warning: cannot report whether the node is ready: cannot write `p`: the disk is full";
    for (event, warning) in [
        ((|action| Event::Watched(Err(full(action)))) as fn(&str) -> Event, blind),
        (|action| Event::ReadyChanged(Err(full(action))), mute),
    ] {
        let action = if warning == blind { "open" } else { "write" };
        scene.expect(event(action), &[warning]);
        scene.expect(event(action), &[]);
        scene.expect(event("rename"), &[&warning.replace(action, "rename")]);
        scene.expect(event(action), &[warning]);
    }
    scene.expect(Event::Watched(Ok(())), &[]);
    scene.expect(Event::ReadyChanged(Ok(())), &[]);
    // It is news again.
    scene.expect(Event::Watched(Err(full("open"))), &[blind]);
    scene.expect(Event::ReadyChanged(Err(full("write"))), &[mute]);
}

#[test]
fn a_change_is_not_the_kernels_to_report_while_nothing_is_watched() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = crate::disk::Directory::open(temporary.path()).unwrap();
    let stamped = |content: &str| {
        std::fs::write(temporary.path().join("bridge"), content).unwrap();
        let stamp = directory.stamp_of("bridge").unwrap().unwrap();
        Event::Stamped([(target("bridge"), stamp)].into(), Names::new())
    };
    let note = "remark note: `/opt/cni/bin/bridge` was changed, and the kernel did not report it \
                (for example a write through a memory mapping or a hard link); it was checked again";
    for (is_watched, expected) in [(true, &[note][..]), (false, &[])] {
        let mut scene = Scene::new(None);
        scene.settle(good());
        if !is_watched {
            scene.observe(Event::Watched(Err(full("open"))));
        }
        scene.expect(stamped(""), &[]);
        scene.expect(stamped("1"), expected);
        // What was not watched is not compared with what is.
        scene.observe(Event::Watched(Ok(())));
        scene.expect(stamped("12"), expected);
        scene.expect(stamped("123"), &[note]);
    }
}

#[test]
fn a_check_that_fails_is_reported_once_and_what_was_watched_stays_watched() {
    let mut scene = Scene::new(None);
    scene.settle(good());
    scene.seconds = MINUTE;
    let told = [
        "remove ready",
        "remark error: stopped; the next run finishes it",
        "publish ready=false drift=0 repairs=- checked=0",
        "condition CheckFailed",
        "watch /opt/cni/bin/bridge",
        "reach /var/lib/cnister",
    ];
    scene.expect(failed(NodeError::Stopped), &told);
    let again: Vec<_> = told.into_iter().filter(|line| !line.starts_with("remark")).collect();
    scene.expect(failed(NodeError::Stopped), &again);
    let told = scene.observe(checked(good()));
    assert_eq!(told[1], "print; yes");
}

#[test]
fn a_directory_out_of_reach_stops_the_watch_instead_of_a_repair() {
    for removed in [Ok(()), Err(full("remove"))] {
        let mut scene = Scene::repairing();
        scene.observe(checked(altered()));
        scene.expect(Event::Reached(Some("/b".parse().unwrap())), &["remove ready"]);
        let lost = "`/b` is out of reach: it was created or removed after this watch had started";
        scene.expect(
            Event::ReadyChanged(removed),
            &[&format!("leave error: {lost}; a new watch can reach it"), &format!("stop: {lost}")],
        );
    }
}

#[test]
fn a_directory_that_was_removed_behind_a_mount_counts_if_its_plugins_are_repaired() {
    let kept = || node(&[("bridge", FileState::Missing), ("tap", FileState::Kept)]);
    let reach = |mut scene: Scene| scene.observe(checked(kept())).pop().unwrap();
    assert_eq!(reach(Scene::repairing()), "reach /opt/cni/bin /var/lib/cnister");
    assert_eq!(reach(Scene::new(None)), "reach /var/lib/cnister");
    // Another installer's files alone are never written.
    let told = Scene::repairing().observe(checked(node(&[("tap", FileState::Kept)])));
    assert_eq!(told[told.len() - 2..], ["watch", "reach /var/lib/cnister"]);
}

#[test]
fn a_first_installation_is_heard_and_watched() {
    let mut scene = Scene::new(None);
    let finding = Finding::refusal(Code::NotInstalled, "there is no receipt");
    scene.expect(
        checked(Report::no(vec![finding])),
        &[
            "remove ready",
            "print; no; not-installed: there is no receipt",
            "publish ready=false drift=0 repairs=- checked=0",
            "condition NotInstalled",
            // The records of the state directory, which an installation writes.
            "watch",
            "reach /var/lib/cnister",
        ],
    );
    let told = scene.observe(checked(good()));
    assert_eq!(told[..2], ["write ready at 0", "print; yes"]);
    assert!(told.contains(&"watch /opt/cni/bin/bridge".to_owned()));
}

#[test]
fn a_signal_takes_the_ready_file_back_and_leaves_why_the_last_check_said_no() {
    let mut scene = Scene::new(None);
    scene.settle(good());
    scene.expect(Event::Signal, &["remove ready"]);
    scene.expect(Event::ReadyChanged(Ok(())), &["stop"]);

    let mut scene = Scene::new(None);
    scene.settle(altered());
    let words = "leave no: digest-drift: `/opt/cni/bin/bridge` was altered";
    scene.expect(Event::Signal, &[words, "remove ready"]);
    scene.expect(Event::ReadyChanged(Err(full("remove"))), &["stop: cannot remove `p`"]);

    let mut scene = Scene::new(None);
    scene.observe(failed(NodeError::Stopped));
    let words = "leave error: stopped; the next run finishes it";
    scene.expect(Event::Signal, &[words, "remove ready"]);
}

#[test]
fn a_release_that_is_wanted_and_was_refused_is_not_ready_and_proven() {
    let mut report = good();
    report.findings.push(Finding::refusal(Code::WantedNotInstalled, "b was refused"));
    let told = Scene::new(None).observe(checked(report));
    assert_eq!(told[0], "remove ready");
    assert_eq!(told[3], "condition WantedNotInstalled");
}
