//! Watching: check again and again, until a signal says to stop.
//!
//! One thread checks, one listens for signals, and the caller's takes what they say: nothing polls, and a signal is
//! heard in the middle of a check. PID 1 has no default reaction to a signal; a container's only process needs this.

mod repairs;
mod whose;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

pub use repairs::{Decision, Held, Repairs, Target};
pub use whose::{Trace, whose};

/// What the watching thread is told.
#[derive(Debug)]
enum Event<R> {
    /// A check ended.
    Checked(R),
    /// A signal came.
    Stop,
}

/// Checks at once and then `interval` after each check, until SIGTERM or SIGINT comes; a check that is under way then
/// is abandoned, so it must be one that changes nothing.
///
/// # Errors
/// Where signals cannot be listened for, or a thread cannot be started.
pub fn watch<R: Send + 'static>(
    interval: Duration,
    check: impl FnMut() -> R + Send + 'static,
    tell: impl FnMut(R),
) -> io::Result<()> {
    let (sender, events) = mpsc::channel();
    listen(sender.clone())?;
    let begin = start_checker(check, sender)?;
    run(interval, &events, &begin, tell);
    Ok(())
}

/// Sends an event when a signal comes.
fn listen<R: Send + 'static>(sender: Sender<Event<R>>) -> io::Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, writer.try_clone()?)?;
    }
    let wait = move || {
        if reader.read_exact(&mut [0]).is_ok() {
            // Whoever listened is gone already otherwise.
            let _ = sender.send(Event::Stop);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Starts the thread that checks whenever it is sent a word.
fn start_checker<R: Send + 'static>(
    mut check: impl FnMut() -> R + Send + 'static,
    sender: Sender<Event<R>>,
) -> io::Result<Sender<()>> {
    let (begin, begun) = mpsc::channel();
    let work = move || {
        while begun.recv().is_ok() {
            if sender.send(Event::Checked(check())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("check".to_owned()).spawn(work)?;
    Ok(begin)
}

/// Takes events until one says to stop, or nobody is left to send any.
fn run<R>(interval: Duration, events: &Receiver<Event<R>>, begin: &Sender<()>, mut tell: impl FnMut(R)) {
    loop {
        if begin.send(()).is_err() {
            return;
        }
        match events.recv() {
            Ok(Event::Checked(report)) => tell(report),
            Ok(Event::Stop) | Err(_) => return,
        }
        match events.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Checked(report)) => tell(report),
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_until_it_is_stopped_and_tells_each_answer() {
        let (sender, events) = mpsc::channel();
        let stop = sender.clone();
        let mut count = 0;
        let check = move || {
            count += 1;
            if count == 3 {
                stop.send(Event::Stop).unwrap();
            }
            count
        };
        let begin = start_checker(check, sender).unwrap();
        let mut told = Vec::new();
        run(Duration::ZERO, &events, &begin, |answer| told.push(answer));
        assert_eq!(told, [1, 2], "the signal came before the third check ended");
    }

    #[test]
    fn a_signal_is_heard_while_a_check_is_under_way() {
        let (sender, events) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        // A checker that never answers.
        sender.send(Event::<()>::Stop).unwrap();
        run(Duration::from_secs(3600), &events, &begin, |()| panic!("nothing was answered"));
        assert_eq!(begun.try_recv(), Ok(()), "a check had begun");
    }

    #[test]
    fn a_signal_is_heard_between_two_checks() {
        let (sender, events) = mpsc::channel();
        let (begin, _begun) = mpsc::channel();
        sender.send(Event::Checked(7)).unwrap();
        sender.send(Event::Stop).unwrap();
        let mut told = Vec::new();
        run(Duration::from_secs(3600), &events, &begin, |answer| told.push(answer));
        assert_eq!(told, [7]);
    }

    #[test]
    fn a_real_signal_is_an_event() {
        let (sender, events) = mpsc::channel::<Event<()>>();
        listen(sender).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let event = events.recv_timeout(Duration::from_secs(10));
        assert!(matches!(event, Ok(Event::Stop)), "{event:?}");
    }
}
