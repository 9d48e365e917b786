//! The loop of the watch: a check when something changed and at every interval, until a signal
//! comes.
//!
//! One thread does the jobs. The caller's thread waits for its answers, for signals and for changes
//! of files at the same time, so nothing runs while nothing happens, and a signal is handled in the
//! middle of a check. The kernel applies no default action of a signal to PID 1, which the only
//! process of a container is; without a handler, SIGTERM would do nothing.
//!
//! What an answer means is the caller's decision.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::lookout::Lookout;
use super::schedule::Schedule;
use crate::model::PluginPath;

/// What the worker thread does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Checks the node, and changes nothing.
    Check,
    /// Repairs these files; a check follows.
    Repair(BTreeSet<PluginPath>),
}

/// What the loop tells its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoopEvent<R> {
    /// What came of a job.
    Answer(R),
    /// A signal says to stop; no event follows it.
    Signal,
}

/// What the loop does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Waits until the next check is due.
    Wait,
    /// Repairs these files, unless the answer is the one of a repair; a check follows.
    Repair(BTreeSet<PluginPath>),
    /// The loop ends.
    Stop,
}

/// Checks at once, whenever the lookout reports a change, and `interval` after each check, until
/// SIGTERM or SIGINT comes or `handle` says to stop. `handle` gets each answer and the signal, and
/// says what to watch from then on.
///
/// A check that is under way when the signal comes is abandoned; a repair is waited for.
///
/// # Errors
/// If signals cannot be listened for, or a thread cannot be started.
pub(crate) fn watch<R: Send + 'static>(
    interval: Duration,
    work: impl FnMut(Job) -> R + Send + 'static,
    handle: impl FnMut(LoopEvent<R>, &mut Lookout) -> Next,
) -> io::Result<()> {
    let signals = listen()?;
    let worker = Worker::start(work)?;
    run(interval, &signals, worker, handle)
}

/// Returns a socket that becomes readable when a signal comes.
fn listen() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

/// A thread that does one job after another.
struct Worker<R> {
    jobs: Sender<Job>,
    answers: Receiver<R>,
    /// Receives one byte per answer, and is closed when the thread ends.
    bell: UnixStream,
}

impl<R: Send + 'static> Worker<R> {
    fn start(mut work: impl FnMut(Job) -> R + Send + 'static) -> io::Result<Self> {
        let ((jobs, todo), (sender, answers)) = (mpsc::channel::<Job>(), mpsc::channel());
        let (bell, mut rope) = UnixStream::pair()?;
        let work = move || {
            while let Ok(job) = todo.recv() {
                if sender.send(work(job)).is_err() || rope.write_all(&[1]).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("work".to_owned()).spawn(work)?;
        Ok(Self { jobs, answers, bell })
    }
}

impl<R> Worker<R> {
    fn begin(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| ended())
    }

    fn answer(&mut self) -> io::Result<R> {
        self.bell.read_exact(&mut [0])?;
        self.answers.recv().map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the worker thread has ended")
}

/// How many times in a row a check is repeated because something new is watched: the state
/// directory at the start, then a first installation, and one more.
const MOST_IN_A_ROW: u32 = 3;

/// What happened while waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    signal: bool,
    answer: bool,
    change: bool,
}

/// Waits until something happens, or until `timeout` has passed.
fn hear(
    signals: &UnixStream,
    bell: &UnixStream,
    changes: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<Heard> {
    let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let mut polled = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(bell, PollFlags::IN)];
    polled.extend(changes.map(|handle| PollFd::from_borrowed_fd(handle, PollFlags::IN)));
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    // A closed end also counts: reading it then fails.
    let heard = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
    Ok(Heard { signal: heard(0), answer: heard(1), change: heard(2) })
}

fn run<R>(
    interval: Duration,
    signals: &UnixStream,
    mut worker: Worker<R>,
    mut handle: impl FnMut(LoopEvent<R>, &mut Lookout) -> Next,
) -> io::Result<()> {
    let mut lookout = Lookout::default();
    let mut schedule = Schedule::new(interval, Instant::now());
    let mut repairing = false;
    let mut new_in_a_row = 0;
    loop {
        let wait = schedule.wait(Instant::now());
        if wait == Some(Duration::ZERO) {
            schedule.begin();
            worker.begin(Job::Check)?;
            continue;
        }
        let heard = hear(signals, &worker.bell, lookout.handle(), wait)?;
        if heard.signal {
            // A repair that has begun is completed; the kubelet allows 30 seconds.
            if repairing {
                handle(LoopEvent::Answer(worker.answer()?), &mut lookout);
            }
            handle(LoopEvent::Signal, &mut lookout);
            return Ok(());
        }
        if heard.change && lookout.take() {
            schedule.changed(Instant::now());
        }
        if heard.answer {
            let next = handle(LoopEvent::Answer(worker.answer()?), &mut lookout);
            schedule.end(Instant::now());
            // What was not watched during the check may have changed after it was read. The limit
            // is for file systems that give a directory a new identity each time.
            new_in_a_row = if lookout.take_new() { new_in_a_row + 1 } else { 0 };
            if repairing || (1..=MOST_IN_A_ROW).contains(&new_in_a_row) {
                schedule.changed(Instant::now());
            }
            match next {
                Next::Stop => return Ok(()),
                Next::Repair(targets) if !repairing => {
                    repairing = true;
                    schedule.begin();
                    worker.begin(Job::Repair(targets))?;
                }
                Next::Wait | Next::Repair(_) => repairing = false,
            }
        }
    }
}

#[cfg(test)]
mod tests;
