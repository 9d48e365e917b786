//! The other half of the probe: a process that gives up its rights and becomes a plugin.
//!
//! The program starts itself again with [`super::COMMAND`], so that nothing has to happen between
//! fork and exec. The plugin's bytes are its standard input: a sealed file in memory. They are
//! proven, so this is the second line of defence: it prevents a bug in a plugin from changing the
//! node. What the answer means is decided by the parent.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};
use rustix::stdio::{dup2_stdin, stdin};
use rustix::thread;

/// What a plugin reads for VERSION (CNI specification 1.1.0, section 4, "VERSION").
const REQUEST: &[u8] = b"{\"cniVersion\":\"1.0.0\"}";
/// The user and group `nobody`.
const NOBODY: u32 = 65534;
/// How much CPU time a plugin may use, in seconds; the parent limits those that only wait.
const CPU_SECONDS: u64 = 5;

/// Why a plugin was not started, as an exit code; every other exit code is the plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A limit could not be set.
    Confine = 120,
    /// This system does not execute files in memory.
    Forbidden = 121,
    /// The plugin's interpreter does not exist.
    Interpreter = 122,
}

impl Obstacle {
    /// The obstacle that an exit code stands for.
    pub(crate) fn of(code: i32) -> Option<Self> {
        [Self::Confine, Self::Forbidden, Self::Interpreter]
            .into_iter()
            .find(|known| *known as i32 == code)
    }
}

/// Confines this process and becomes the plugin that its standard input is, or the emulator that
/// executes it.
pub fn run_confined(emulator: Option<OsString>) -> ExitCode {
    match confine_and_execute(emulator) {
        Ok(never) => match never {},
        Err(obstacle) => ExitCode::from(obstacle as u8),
    }
}

fn confine_and_execute(emulator: Option<OsString>) -> Result<Infallible, Obstacle> {
    let plugin = prepare_input().map_err(|_| Obstacle::Confine)?;
    confine().map_err(|_| Obstacle::Confine)?;
    // Closed on exec: if the kernel started an interpreter instead, it could not read the file.
    let path = format!("/proc/self/fd/{}", plugin.as_raw_fd());
    let mut command = match emulator {
        None => Command::new(path),
        Some(emulator) => {
            // It opens the file itself, by the path of the descriptor.
            fcntl_setfd(&plugin, FdFlags::empty()).map_err(|_| Obstacle::Confine)?;
            let mut command = Command::new(emulator);
            command.arg(path);
            command
        }
    };
    let error = command.env_clear().env("CNI_COMMAND", "VERSION").exec();
    Err(if error.kind() == io::ErrorKind::NotFound {
        Obstacle::Interpreter
    } else {
        Obstacle::Forbidden
    })
}

/// Moves the plugin away from standard input and puts its request there.
fn prepare_input() -> io::Result<OwnedFd> {
    let plugin = fcntl_dupfd_cloexec(stdin(), 3)?;
    let (request, mut writer) = io::pipe()?;
    // The buffer of a pipe is larger than this.
    writer.write_all(REQUEST)?;
    dup2_stdin(&request)?;
    Ok(plugin)
}

fn confine() -> io::Result<()> {
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Cpu, CPU_SECONDS)]
    {
        // A limit that is lower already cannot be raised.
        let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    become_nobody();
    thread::set_no_new_privs(true)?;
    // After the change of user, which would forget it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    filter_system_calls()
}

/// Becomes `nobody` if that is permitted. A container without capabilities has none to give up.
fn become_nobody() {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let _ = thread::set_thread_groups(&[]);
    let _ = thread::set_thread_res_gid(group, group, group);
    let _ = thread::set_thread_res_uid(user, user, user);
}

/// System calls that answering VERSION never needs, besides those of [`conditional`]. They fail
/// with EPERM instead of killing the plugin, because libraries probe for features.
///
/// Changing names and modes of files is among them: in a container without capabilities the plugin
/// is still root, and owns the files that it could rename, truncate or remove.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const REFUSED_CALLS: &[&str] = &[
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "io_uring_setup",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kill",
    "tkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "mount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "mount_setattr",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "open_by_handle_at",
    "truncate",
    "ftruncate",
    "unlinkat",
    "renameat",
    "renameat2",
    "linkat",
    "symlinkat",
    "mkdirat",
    "mknodat",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
];

/// The same calls under names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD_CALLS: &[&str] = &[
    "fork",
    "vfork",
    "creat",
    "unlink",
    "rmdir",
    "rename",
    "link",
    "symlink",
    "mkdir",
    "mknod",
    "chmod",
    "chown",
    "lchown",
    "utime",
    "utimes",
    "futimesat",
];
#[cfg(target_arch = "aarch64")]
const REFUSED_OLD_CALLS: &[&str] = &[];

/// Calls with an older form whose arguments a filter can check: libraries fall back to it on
/// ENOSYS.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const MISSING_CALLS: &[&str] = &["clone3", "openat2"];

/// `CLONE_THREAD` (clone(2)): what makes a thread rather than a process.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CLONE_THREAD: u32 = 0x0001_0000;

/// Refuses new processes, which would outlive the answer; opening for writing, since RLIMIT_FSIZE
/// does not prevent truncation; and reaching other processes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn conditional() -> Vec<serde_json::Value> {
    use rustix::fs::OFlags;
    use serde_json::json;

    let rule = |call: &str, index: u8, op: serde_json::Value, value: u32| json!({"syscall": call, "args": [{"index": index, "type": "dword", "op": op, "val": value}]});
    let mut rules = vec![
        rule("clone", 0, json!({"masked_eq": CLONE_THREAD}), 0),
        rule("tgkill", 0, json!("ne"), std::process::id()),
        rule("prlimit64", 0, json!("ne"), 0),
    ];
    let opens: &[(&str, u8)] =
        if cfg!(target_arch = "x86_64") { &[("openat", 2), ("open", 1)] } else { &[("openat", 2)] };
    let (write, both) = (OFlags::WRONLY.bits(), OFlags::RDWR.bits());
    let (create, truncate) = (OFlags::CREATE.bits(), OFlags::TRUNC.bits());
    for (call, index) in opens {
        for (mask, value) in
            [(write | both, write), (write | both, both), (create, create), (truncate, truncate)]
        {
            rules.push(rule(call, *index, json!({"masked_eq": mask}), value));
        }
    }
    rules
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn filter_system_calls() -> io::Result<()> {
    use rustix::io::Errno;

    let refused = REFUSED_CALLS
        .iter()
        .chain(REFUSED_OLD_CALLS)
        .map(|name| serde_json::json!({"syscall": name}));
    apply_filter(Errno::PERM, refused.chain(conditional()).collect())?;
    apply_filter(
        Errno::NOSYS,
        MISSING_CALLS.iter().map(|name| serde_json::json!({"syscall": name})).collect(),
    )
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn apply_filter(errno: rustix::io::Errno, calls: Vec<serde_json::Value>) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = serde_json::json!({"plugin": {
        "mismatch_action": "allow", "match_action": {"errno": errno.raw_os_error()}, "filter": calls,
    }});
    let compiled = seccompiler::compile_from_json(filter.to_string().as_bytes(), architecture);
    let program = compiled.map_err(io::Error::other)?.remove("plugin").unwrap_or_default();
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// The compiler of filters supports no other architecture that plugins are released for.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filter_system_calls() -> io::Result<()> {
    Ok(())
}
