//! Watching: check when something changed and now and then anyway, until a signal says to stop.
//!
//! One thread works; the caller's waits for its answers, for signals and for the kernel's word
//! about our files, all at once: nothing runs while nothing happens, and a signal is heard in the
//! middle of a check. PID 1 has no default reaction to a signal; a container's only process needs
//! this.

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

use crate::disk::DiskError;
use crate::node::Root;

use super::installers::{Trace, installer_of};
use super::lookout::Lookout;
use super::schedule::Schedule;
use crate::model::PluginPath;

/// What the working thread does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Looks at the node, and changes nothing.
    Check,
    /// Repairs these files; a check follows.
    Repair(BTreeSet<PluginPath>),
}

/// Checks at once, whenever something changed that the lookout looks after, and `interval` after
/// each check, until SIGTERM or SIGINT comes. `tell` gets each answer, says what to look after from
/// then on, and returns what is to be repaired.
///
/// A check that is under way when the signal comes is abandoned; a repair is waited for.
///
/// # Errors
/// Where signals cannot be listened for, or a thread cannot be started.
pub fn watch<R: Send + 'static>(
    interval: Duration,
    work: impl FnMut(Job) -> R + Send + 'static,
    tell: impl FnMut(R, &mut Lookout) -> BTreeSet<PluginPath>,
) -> io::Result<()> {
    let signals = listen()?;
    let worker = Worker::start(work)?;
    run(interval, &signals, worker, tell)
}

/// The most names that are looked at for a trace of an installer.
const TRACED: usize = 4096;

/// Looks for a trace of who wrote a file among the names beside it.
pub fn trace(root: &Root, target: &PluginPath) -> Result<Option<Trace>, DiskError> {
    let Some(directory) = root.directory(&target.directory)? else { return Ok(None) };
    let entries = directory.entries()?.take(TRACED).collect::<Result<Vec<_>, _>>()?;
    let names = entries.iter().filter_map(|entry| entry.name.to_str());
    Ok(installer_of(target.name.as_str(), names))
}

/// What becomes readable when a signal comes.
fn listen() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

/// A thread that does one job after the other.
struct Worker<R> {
    jobs: Sender<Job>,
    answers: Receiver<R>,
    /// Gets a byte with each answer, and is closed when the thread ends.
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
    io::Error::other("the thread that checks has ended")
}

/// How often in a row a check is repeated because something new was looked after: at the start the
/// state directory, then a first installation, and one more.
const MOST_IN_A_ROW: u32 = 3;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    signal: bool,
    answer: bool,
    change: bool,
}

/// Waits until there is something to hear, or for as long as `timeout` says.
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
    // A closed end counts, too: whoever reads it then sees that.
    let heard = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
    Ok(Heard { signal: heard(0), answer: heard(1), change: heard(2) })
}

fn run<R>(
    interval: Duration,
    signals: &UnixStream,
    mut worker: Worker<R>,
    mut tell: impl FnMut(R, &mut Lookout) -> BTreeSet<PluginPath>,
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
            // What was begun is brought to its end; the kubelet gives half a minute.
            if repairing {
                tell(worker.answer()?, &mut lookout);
            }
            return Ok(());
        }
        if heard.change && lookout.take() {
            schedule.changed(Instant::now());
        }
        if heard.answer {
            let repair = tell(worker.answer()?, &mut lookout);
            schedule.end(Instant::now());
            // What was not looked after during the check may have changed after it was looked at.
            // Not without an end: a file system may give a directory a new identity each time.
            new_in_a_row = if lookout.take_new() { new_in_a_row + 1 } else { 0 };
            if repairing || (1..=MOST_IN_A_ROW).contains(&new_in_a_row) {
                schedule.changed(Instant::now());
            }
            repairing = !repairing && !repair.is_empty();
            if repairing {
                schedule.begin();
                worker.begin(Job::Repair(repair))?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
