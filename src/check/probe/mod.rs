//! Asking a plugin for its VERSION: the one CNI command that needs no network and changes nothing.
//!
//! Only proven bytes are executed. They are hashed while they are copied to a sealed file in
//! memory, and the copy is executed, so replacing the file on disk meanwhile has no effect.
//! `confine` takes rights away from the plugin; which plugins are asked is `installed`'s decision.

mod confine;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::{Deserialize, Serialize};

use crate::bundle::PluginFile;
use crate::model::json::{Fields, Limits, Outline};
use crate::model::{Digest, Finding, Platform, json};
use crate::node::{NodeError, TransferError, copy_exactly};
use confine::Obstacle;

pub use confine::run_confined;

/// The hidden verb that this program starts itself with; its `main` calls [`run_confined`] for it.
pub const COMMAND: &str = "probe-plugin";

/// The longest answer of a plugin, in bytes; a usual one has a few hundred.
const ANSWER_LIMIT: usize = 64 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest plugin that is asked, in bytes: its copy is in memory, and counts against the
/// container's limit.
const SIZE_LIMIT: u64 = 128 * 1024 * 1024;

/// Starts plugins to ask for their versions.
#[derive(Debug)]
pub struct Prober {
    program: OsString,
    patience: Duration,
    /// Whether this process sees the node's own files.
    on_host: bool,
    /// The answers so far, by digest: a watch does not execute the same bytes again.
    answers: Mutex<BTreeMap<Digest, Versions>>,
}

/// The result of asking a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// The plugin answered with these versions.
    Answer(Versions),
    /// The plugin ran, or should have, and did not answer; the reason continues "it".
    Failed(String),
    /// The plugin could not be asked here; the reason continues "it".
    Skipped(String),
    /// These are not the proven bytes, so they were not executed.
    Altered(Finding),
}

/// The fields of an answer, as libcni reads them (CNI specification 1.1.0, section 5, "VERSION").
const VERSION_ANSWER: Outline = Outline::Fields(&Fields::exact(&[
    ("cniVersion", Outline::Any),
    ("supportedVersions", Outline::Any),
]));

/// The CNI versions that a plugin supports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// The versions of the specification.
    #[serde(rename = "supportedVersions")]
    pub supported: Vec<String>,
}

impl Prober {
    /// Plugins are asked by this program, started again. `on_host` says whether an interpreter that
    /// a plugin needs would be found here.
    pub fn this_program(on_host: bool) -> Self {
        Self::new("/proc/self/exe", PATIENCE, on_host)
    }

    /// Plugins are asked by this program, whose `main` knows [`COMMAND`].
    pub fn new(program: impl Into<OsString>, patience: Duration, on_host: bool) -> Self {
        Self { program: program.into(), patience, on_host, answers: Mutex::default() }
    }

    /// The earlier answer of the bytes with this digest.
    pub fn answer(&self, digest: &Digest) -> Option<Versions> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Stores the answer of the bytes with this digest, for the next check.
    pub fn remember(&self, digest: Digest, versions: Versions) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, versions);
    }

    /// Forgets the answers of bytes that are not among these.
    pub fn retain(&self, digests: &BTreeSet<Digest>) {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|digest, _| digests.contains(digest));
    }

    /// Asks the plugin whose bytes `source` has, if they are those of `file`.
    pub fn ask(
        &self,
        file: &PluginFile,
        origin: &str,
        source: &mut dyn Read,
    ) -> Result<ProbeResult, NodeError> {
        self.ask_with(None, file, origin, source)
    }

    /// The same for a plugin that this emulator executes: it is for another machine.
    pub fn ask_with(
        &self,
        emulator: Option<&Path>,
        file: &PluginFile,
        origin: &str,
        source: &mut dyn Read,
    ) -> Result<ProbeResult, NodeError> {
        if file.size > SIZE_LIMIT {
            return Ok(ProbeResult::Skipped(format!("is larger than {SIZE_LIMIT} bytes")));
        }
        let mut copy = match anonymous_file() {
            Ok(copy) => copy,
            Err(errno) => {
                return Ok(ProbeResult::Skipped(format!("cannot be copied to memory: {errno}")));
            }
        };
        match copy_exactly(file.into(), origin, source, &mut copy) {
            Ok(()) => {}
            Err(TransferError::Altered(finding)) => return Ok(ProbeResult::Altered(finding)),
            Err(error) => return Err(error.into_error(file.into(), origin, "memory")),
        }
        // The C library would run what the kernel does not recognise as a program in a shell
        // (POSIX.1-2017, execvp).
        if emulator.is_none() && !is_program_of_this_machine(&copy) {
            return Ok(ProbeResult::Failed("is not a program for this machine".to_owned()));
        }
        // From here on no process can change it, not even this one.
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        if let Err(errno) = fcntl_add_seals(&copy, seals) {
            return Ok(ProbeResult::Skipped(format!("cannot be sealed in memory: {errno}")));
        }
        let mut child = match self.start(emulator, copy) {
            Ok(child) => child,
            Err(error) => {
                return Ok(ProbeResult::Skipped(format!("cannot be started: {error}")));
            }
        };
        let deadline = Instant::now() + self.patience;
        let answer =
            child.stdout.take().map_or(Ok(Vec::new()), |output| read_answer(output, deadline));
        let status = finish(&mut child, answer.is_ok().then_some(deadline)).map_err(|source| {
            NodeError::Transfer { action: format!("wait for `{}`", file.name), source }
        })?;
        Ok(self.judge(answer, status))
    }

    /// Starts the confining process. The plugin is its standard input, so that no other process
    /// that is started at the same moment can inherit it.
    fn start(&self, emulator: Option<&Path>, plugin: File) -> io::Result<Child> {
        Command::new(&self.program)
            .arg(COMMAND)
            .args(emulator)
            .env_clear()
            .stdin(plugin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
    }

    fn judge(&self, answer: Result<Vec<u8>, String>, status: ExitStatus) -> ProbeResult {
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return ProbeResult::Failed(reason),
        };
        let obstacle = status.code().filter(|_| answer.is_empty()).and_then(Obstacle::of);
        match obstacle {
            Some(Obstacle::Confine) => {
                return ProbeResult::Skipped("cannot be confined here".to_owned());
            }
            Some(Obstacle::Forbidden) => {
                return ProbeResult::Skipped(
                    "cannot be executed from memory, which this system forbids".to_owned(),
                );
            }
            Some(Obstacle::Interpreter) if self.on_host => {
                return ProbeResult::Failed(
                    "needs an interpreter that this node does not have".to_owned(),
                );
            }
            Some(Obstacle::Interpreter) => {
                return ProbeResult::Skipped(
                    "needs an interpreter that is not in this container".to_owned(),
                );
            }
            None => {}
        }
        if let Some(signal) = status.signal() {
            return ProbeResult::Failed(format!("was killed by signal {signal}"));
        }
        if !status.success() {
            return ProbeResult::Failed(format!(
                "exited with code {}",
                status.code().unwrap_or_default()
            ));
        }
        Versions::parse(&answer).map_or_else(ProbeResult::Failed, ProbeResult::Answer)
    }
}

fn anonymous_file() -> rustix::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("plugin", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag, and execute such files anyway.
        Err(Errno::INVAL) => memfd_create("plugin", flags).map(File::from),
        created => created.map(File::from),
    }
}

/// Whether a file starts with the header of a program that this machine runs (System V ABI, "ELF
/// Header").
fn is_program_of_this_machine(file: &File) -> bool {
    let mut header = [0; 20];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF") {
        return false;
    }
    let [.., low, high] = header;
    Platform::of_elf_machine(u16::from_ne_bytes([low, high])) == Some(Platform::host())
}

/// Reads until the plugin closes its output, exceeds the limit, or takes too long.
fn read_answer(mut output: ChildStdout, deadline: Instant) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("did not answer in time".to_owned());
        }
        let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
        let mut polled = [PollFd::new(&output, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(format!("gave an answer that cannot be read: {errno}")),
        }
        match output.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or(&buffer)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("gave an answer that cannot be read: {error}")),
        }
        if answer.len() > ANSWER_LIMIT {
            return Err(format!("printed more than {ANSWER_LIMIT} bytes"));
        }
    }
}

/// Waits for the process to end, then kills what it started; if it takes too long, it is killed as
/// well.
fn finish(child: &mut Child, deadline: Option<Instant>) -> io::Result<ExitStatus> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let mut pause = Duration::from_millis(1);
    while let (Some(pid), Some(deadline)) = (group, deadline) {
        // WNOWAIT: until it is reaped below, no other process can have its number or its group's.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let left = deadline.saturating_duration_since(Instant::now());
        if waitid(WaitId::Pid(pid), ended)?.is_some() || left.is_zero() {
            break;
        }
        // Its output is closed: it is ending, and this is rarely reached.
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()
}

impl Versions {
    /// Parses the answer to VERSION (CNI specification 1.1.0, section 5, "Version"): between 1 and
    /// 64 versions, each of at most 32 letters, digits, `.`, `-` and `+`.
    ///
    /// # Errors
    /// Why it is none; the reason continues "it".
    pub fn parse(answer: &[u8]) -> Result<Self, String> {
        let limits = Limits::typed(ANSWER_LIMIT);
        let versions: Self = json::parse_as("its answer", answer, limits, VERSION_ANSWER)
            .map_err(|error| format!("does not answer like a CNI plugin: {error}"))?;
        let supported = &versions.supported;
        if !(1..=64).contains(&supported.len()) || !supported.iter().all(|text| is_version(text)) {
            return Err("does not answer with a list of versions".to_owned());
        }
        Ok(versions)
    }
}

fn is_version(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_plugins_answer() {
        let answer = br#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#;
        let supported = vec!["0.4.0".to_owned(), "1.0.0".to_owned()];
        assert_eq!(Versions::parse(answer), Ok(Versions { supported }));
        let newer = br#"{"cniVersion":"1.1.0","supportedVersions":["1.1.0"],"extra":1}"#;
        assert!(Versions::parse(newer).is_ok());
        for (text, expected) in [
            ("", "does not answer like a CNI plugin"),
            ("bridge v1.1.1", "does not answer like a CNI plugin"),
            ("{}", "does not answer like a CNI plugin"),
            (r#"{"supportedVersions":[]}"#, "does not answer with a list of versions"),
            (r#"{"supportedVersions":["\u001b[2J"]}"#, "does not answer with a list of versions"),
            (r#"{"supportedVersions":[""]}"#, "does not answer with a list of versions"),
        ] {
            let error = Versions::parse(text.as_bytes()).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn tells_a_plugin_that_fails_from_one_that_cannot_be_asked() {
        let prober = |on_host| Prober::new("unused", PATIENCE, on_host);
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let failed = |text: &str| ProbeResult::Failed(text.to_owned());
        let skipped = |text: &str| ProbeResult::Skipped(text.to_owned());
        let interpreter = Obstacle::Interpreter as i32;
        let cases = [
            (
                true,
                "",
                exit(interpreter),
                failed("needs an interpreter that this node does not have"),
            ),
            (
                false,
                "",
                exit(interpreter),
                skipped("needs an interpreter that is not in this container"),
            ),
            (true, "", exit(Obstacle::Confine as i32), skipped("cannot be confined here")),
            (true, "{}", exit(Obstacle::Confine as i32), failed("exited with code 120")),
            (true, "", exit(1), failed("exited with code 1")),
            (true, "", ExitStatus::from_raw(11), failed("was killed by signal 11")),
        ];
        for (on_host, answer, status, expected) in cases {
            assert_eq!(prober(on_host).judge(Ok(answer.as_bytes().to_vec()), status), expected);
        }
    }
}
