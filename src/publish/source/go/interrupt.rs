//! Interruption while a compiler runs: a signal that ends this program ends its compilers first.
//!
//! Without this, a signal to this process alone would leave them running, with the files that they
//! write. The handlers stay installed when no compiler runs, and then do what the system does by
//! default.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// How many compilers may run, and whether there is none.
struct Users {
    count: Mutex<usize>,
    is_idle: Arc<AtomicBool>,
}

/// While it exists, the signals only make [`Interrupt::signal`] readable.
#[derive(Debug)]
pub(super) struct Interrupt {
    signal: UnixStream,
    handlers: Vec<SigId>,
}

impl Interrupt {
    pub(super) fn new() -> io::Result<Self> {
        let users = users()?;
        let mut count = users.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (signal, sender) = UnixStream::pair()?;
        let mut interrupt = Self { signal, handlers: Vec::new() };
        for number in SIGNALS {
            interrupt.handlers.push(pipe::register(number, sender.try_clone()?)?);
        }
        *count += 1;
        users.is_idle.store(false, Ordering::SeqCst);
        Ok(interrupt)
    }

    /// Readable as soon as there was a signal.
    pub(super) fn signal(&self) -> impl AsFd + '_ {
        &self.signal
    }

    /// Whether there was a signal.
    pub(super) fn has_signal(&self) -> bool {
        let mut polled = [PollFd::new(&self.signal, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Ok(users) = users() {
            let mut count = users.count.lock().unwrap_or_else(PoisonError::into_inner);
            *count = count.saturating_sub(1);
            users.is_idle.store(*count == 0, Ordering::SeqCst);
        }
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}

/// The users of this process, with the handlers for the time when there are none.
fn users() -> io::Result<&'static Users> {
    static USERS: OnceLock<Users> = OnceLock::new();
    if let Some(users) = USERS.get() {
        return Ok(users);
    }
    let users = Users { count: Mutex::new(0), is_idle: Arc::new(AtomicBool::new(true)) };
    let mut is_first = false;
    let users = USERS.get_or_init(|| {
        is_first = true;
        users
    });
    if is_first {
        for number in SIGNALS {
            flag::register_conditional_default(number, Arc::clone(&users.is_idle))?;
        }
    }
    Ok(users)
}
