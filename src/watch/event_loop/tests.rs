//! The loop with a scripted or a real worker. No test waits for an interval to pass.

use std::cell::RefCell;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::model::HostPath;
use crate::node::Root;
use crate::watch::lookout::Names;
use crate::watch::repairs::Repairs;

const LONG: Duration = Duration::from_secs(3600);

fn target(name: &str) -> PluginPath {
    PluginPath { directory: HostPath::default_bin_directory(), name: name.parse().unwrap() }
}

/// Both ends of the socket that reports a signal.
fn signals() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn checks_until_it_is_stopped_and_tells_each_answer() {
    let (reader, mut writer) = signals();
    let mut count = 0;
    let worker = Worker::start(move |job| {
        assert_eq!(job, Job::Check);
        count += 1;
        count
    });
    let mut events = Vec::new();
    run(Duration::ZERO, &reader, worker.unwrap(), |answer, _| {
        let LoopEvent::Answer(answer) = answer else { return Next::Stop };
        events.push(answer);
        if answer == 3 {
            writer.write_all(&[0]).unwrap();
        }
        Next::Wait
    })
    .unwrap();
    assert_eq!(events[..3], [1, 2, 3]);
    assert!(events.len() == 3, "a signal is heard before the next answer: {events:?}");
}

/// Stops the loop after 30 seconds, so that a test fails instead of hanging.
fn stop_in_any_case(signals: &UnixStream) {
    let mut signals = signals.try_clone().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(30));
        let _ = signals.write_all(&[0]);
    });
}

/// A worker whose answers the test gives, and the jobs it gets.
fn scripted() -> (Worker<u8>, Receiver<Job>, Sender<u8>, UnixStream) {
    let ((jobs, todo), (sender, answers)) = (mpsc::channel(), mpsc::channel());
    let (bell, rope) = UnixStream::pair().unwrap();
    (Worker { jobs, answers, bell }, todo, sender, rope)
}

#[test]
fn a_signal_is_heard_while_a_check_is_under_way() {
    let (reader, mut writer) = signals();
    let (worker, todo, _sender, _rope) = scripted();
    writer.write_all(&[0]).unwrap();
    run(LONG, &reader, worker, |event, _| {
        assert_eq!(event, LoopEvent::Signal, "nothing was answered");
        Next::Wait
    })
    .unwrap();
    assert_eq!(todo.try_iter().collect::<Vec<_>>(), [Job::Check]);
}

#[test]
fn a_repair_that_is_under_way_is_waited_for() {
    let (reader, writer) = signals();
    let writer = RefCell::new(writer);
    let (worker, todo, sender, rope) = scripted();
    let answer = |answer: u8| {
        sender.send(answer).unwrap();
        (&rope).write_all(&[1]).unwrap();
    };
    answer(1);
    let mut events = Vec::new();
    run(LONG, &reader, worker, |said, _| {
        events.push(said.clone());
        if said == LoopEvent::Answer(1) {
            // The signal comes first, the answer of the repair later.
            writer.borrow_mut().write_all(&[0]).unwrap();
            answer(2);
        }
        Next::Repair([target("bridge")].into())
    })
    .unwrap();
    assert_eq!(events, [LoopEvent::Answer(1), LoopEvent::Answer(2), LoopEvent::Signal]);
    assert_eq!(
        todo.try_iter().collect::<Vec<_>>(),
        [Job::Check, Job::Repair([target("bridge")].into())]
    );
}

#[test]
fn a_check_follows_a_repair_and_not_another_repair() {
    let (reader, mut writer) = signals();
    stop_in_any_case(&writer);
    let (sender, jobs) = mpsc::channel();
    let worker = Worker::start(move |job| sender.send(job).unwrap());
    let mut events = 0;
    run(LONG, &reader, worker.unwrap(), |_, _| {
        events += 1;
        if events == 4 {
            writer.write_all(&[0]).unwrap();
        }
        // Altered again each time.
        Next::Repair([target("bridge")].into())
    })
    .unwrap();
    let repair = || Job::Repair([target("bridge")].into());
    assert_eq!(
        jobs.try_iter().take(4).collect::<Vec<_>>(),
        [Job::Check, repair(), Job::Check, repair()]
    );
}

#[test]
fn the_caller_can_stop_it_and_hears_of_no_signal_then() {
    let (reader, mut writer) = signals();
    let (sender, jobs) = mpsc::channel();
    let worker = Worker::start(move |job| sender.send(job).unwrap());
    let mut events = Vec::new();
    run(Duration::ZERO, &reader, worker.unwrap(), |answer, _| {
        writer.write_all(&[0]).unwrap();
        events.push(answer);
        Next::Stop
    })
    .unwrap();
    assert_eq!(events, [LoopEvent::Answer(())]);
    assert_eq!(jobs.try_iter().collect::<Vec<_>>(), [Job::Check]);
}

#[test]
fn repairs_pause_if_another_installer_never_does() {
    let (reader, mut writer) = signals();
    stop_in_any_case(&writer);
    let is_good = Arc::new(AtomicBool::new(false));
    let node = Arc::clone(&is_good);
    let worker = Worker::start(move |job| match job {
        Job::Check => Some(node.load(Ordering::SeqCst)),
        Job::Repair(_) => {
            node.store(true, Ordering::SeqCst);
            None
        }
    });
    let (mut repairs, mut now, mut done) = (Repairs::default(), Instant::now(), Vec::new());
    run(Duration::ZERO, &reader, worker.unwrap(), |is_fine, _| {
        let LoopEvent::Answer(is_fine) = is_fine else { return Next::Stop };
        let mut repair = BTreeSet::new();
        match is_fine {
            // The other installer writes at once.
            None => {
                repairs.repaired(&target("bridge"), now);
                is_good.store(false, Ordering::SeqCst);
            }
            Some(true) => panic!("it never stays good"),
            Some(false) => {
                now += Duration::from_secs(60);
                repair = repairs.decide([target("bridge")], now).repair;
                done.push(repair.len());
            }
        }
        if done.len() == 10 {
            writer.write_all(&[0]).unwrap();
        }
        if repair.is_empty() { Next::Wait } else { Next::Repair(repair) }
    })
    .unwrap();
    assert_eq!(done, [1, 1, 1, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_change_of_our_files_leads_to_a_check_and_one_of_others_does_not() {
    let (reader, mut writer) = signals();
    stop_in_any_case(&writer);
    let temporary = tempfile::tempdir().unwrap();
    let root = Root::open(temporary.path()).unwrap();
    let bin = temporary.path().join("opt/cni/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let names: Names =
        [(HostPath::default_bin_directory(), [OsString::from("bridge")].into())].into();
    let seen = {
        let bin = bin.clone();
        Worker::start(move |_| bin.join("bridge").exists())
    };
    let mut events = Vec::new();
    run(LONG, &reader, seen.unwrap(), |seen, lookout| {
        let LoopEvent::Answer(seen) = seen else { return Next::Stop };
        events.push(seen);
        lookout.watch(&root, &names).unwrap();
        match events.len() {
            // It was not watched during the first check, so there is a second one without a
            // change.
            1 => std::fs::write(bin.join("other"), "").unwrap(),
            2 => std::fs::write(bin.join("bridge"), "").unwrap(),
            _ => writer.write_all(&[0]).unwrap(),
        }
        Next::Wait
    })
    .unwrap();
    assert_eq!(events, [false, false, true]);
}

#[test]
fn a_worker_that_ends_is_an_error() {
    let (reader, _writer) = signals();
    let (worker, _todo, _, rope) = scripted();
    drop(rope);
    let error = run(LONG, &reader, worker, |_, _| Next::Wait).expect_err("it is gone");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_real_signal_is_heard() {
    let reader = listen().unwrap();
    let (bell, _rope) = UnixStream::pair().unwrap();
    signal_hook::low_level::raise(SIGTERM).unwrap();
    let heard = hear(&reader, &bell, None, Some(Duration::from_secs(10))).unwrap();
    assert_eq!(heard, Heard { signal: true, answer: false, change: false });
}
