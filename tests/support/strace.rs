//! Interrupts a program at a chosen system call, with strace's fault injection.
//!
//! A traced run lists the points: every system call that changes something below the scene. A run
//! that is killed on entering one of them leaves exactly what the calls before it did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::hold::Hold;
use super::{Scene, peer, say_skipped};

/// The system calls that change files, on any architecture. Those that exist only on older
/// architectures are marked with `?`, since strace rejects unknown names.
const CHANGES: &str = "openat,openat2,?open,?creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync,syncfs,\
    fchmod,fchmodat,?chmod,fchown,fchownat,?chown,?rename,renameat,renameat2,?mkdir,mkdirat,?unlink,unlinkat,?rmdir,\
    ?link,linkat,?symlink,symlinkat,?mknod,mknodat,copy_file_range,sendfile,splice,ftruncate,truncate,fallocate,\
    utimensat,setxattr,fsetxattr,ioctl";

/// A system call of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Such as `renameat`.
    pub call: String,
    /// Its arguments, without numbers that differ between runs.
    pub what: String,
    /// Its number among calls with the same arguments.
    pub number: usize,
}

/// How a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL on entering the call.
    Kill,
    /// The call fails with this error.
    Error(&'static str),
    /// After the call, this file of the scene cannot be changed, until the run has ended.
    Immutable(&'static str),
}

/// strace, for the program and the scene of a test.
pub struct Strace<'a> {
    scene: &'a Scene,
    strace: PathBuf,
    program: PathBuf,
    /// Calls that are skipped and report success: `fsync` for every one, `renameat:when=2` for the
    /// second.
    skipped: Vec<String>,
}

impl<'a> Strace<'a> {
    /// Finds the installed strace, for runs of `program`; `None` if it is not installed or may not
    /// trace.
    pub fn new(scene: &'a Scene, program: impl Into<PathBuf>) -> Option<Self> {
        let strace =
            Self { scene, strace: peer("strace")?, program: program.into(), skipped: Vec::new() };
        let works = strace.run("--help", "write", &[]).status.success();
        if !works {
            say_skipped("strace may not trace here");
        }
        works.then_some(strace)
    }

    /// Makes the same strace skip some calls, which report success: a mutant of the program.
    pub fn skipping(&self, calls: &[&str]) -> Self {
        let skipped = calls.iter().map(|call| (*call).to_owned()).collect();
        Self {
            scene: self.scene,
            strace: self.strace.clone(),
            program: self.program.clone(),
            skipped,
        }
    }

    /// Returns the points of an undisturbed run, in order, each with how many calls of its name
    /// precede it.
    pub fn points(&self, words: &str) -> Vec<(Point, usize)> {
        let output = self.run(words, CHANGES, &["--seccomp-bpf".to_owned()]);
        assert!(output.status.success(), "{words}: {output:?}");
        let (main, others) = self.calls();
        let here = self.scene.path().to_str().expect("a plain path");
        let changes = |what: &str| {
            let creates =
                ["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| what.contains(flag));
            (creates || !what.starts_with("open")) && what.contains(here)
        };
        // Calls are counted per thread: those of another thread could not be told apart.
        assert_eq!(
            others.iter().find(|call| changes(&call.what)),
            None,
            "only one thread changes files"
        );
        let mut counts = BTreeMap::new();
        let mut points = Vec::new();
        for point in main {
            let before: &mut usize = counts.entry(point.call.clone()).or_default();
            if changes(&point.what) {
                points.push((point, *before));
            }
            *before += 1;
        }
        points
    }

    /// Runs with a fault at the call of this name that is preceded by `before` others; returns the
    /// output of the program, and the call that was hit, if there were that many.
    pub fn inject(
        &self,
        words: &str,
        call: &str,
        before: usize,
        fault: Fault,
    ) -> (Output, Option<Point>) {
        let when = before + 1;
        let mut filter = Vec::new();
        match fault {
            Fault::Kill => filter.push(format!("--inject={call}:signal=KILL:when={when}")),
            // Stopping only at the traced calls is faster, but delivers no signal (strace 6.1).
            Fault::Error(name) => {
                filter.extend([
                    format!("--inject={call}:error={name}:when={when}"),
                    "--seccomp-bpf".to_owned(),
                ]);
            }
            Fault::Immutable(file) => return self.hold(words, call, when, file),
        }
        let output = self.run(words, call, &filter);
        let trace = self.trace();
        let hit = match fault {
            Fault::Kill => {
                // strace ends in the same way as its program.
                let killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
                let seen = trace.lines().any(|line| line.ends_with("+++ killed by SIGKILL +++"));
                assert_eq!(killed, seen, "{words}: {}\n{trace}", output.status);
                killed.then(|| self.calls().0.pop()).flatten()
            }
            Fault::Error(_) | Fault::Immutable(_) => {
                let line = trace.lines().position(|line| line.ends_with("(INJECTED)"));
                line.and_then(|line| parse(trace.lines().take(line + 1)).0.pop())
            }
        };
        (output, hit)
    }

    /// Stops a run after a call, makes a file immutable, and goes on; returns as `inject` does.
    fn hold(&self, words: &str, call: &str, when: usize, file: &str) -> (Output, Option<Point>) {
        let filter = [format!("--inject={call}:signal=STOP:when={when}")];
        drop(fs::remove_file(self.scene.at("trace")));
        let mut command = self.command(words, call, &filter);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stopped = loop {
            let is_running = child.try_wait().expect("a process").is_none();
            let trace = fs::read_to_string(self.scene.at("trace")).unwrap_or_default();
            let stop = trace.lines().position(|line| line.ends_with("--- stopped by SIGSTOP ---"));
            if stop.is_some() || !is_running {
                break stop.map(|line| (trace, line));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let held = stopped.as_ref().and_then(|(trace, _)| {
            let held = Hold::Immutable.begin(&self.scene.at(file));
            // The number of the first thread is that of the process.
            let number = trace.split(' ').next().and_then(|number| number.parse().ok());
            let pid = number.and_then(Pid::from_raw).expect("a process");
            kill_process(pid, Signal::CONT).expect("a stopped process");
            held
        });
        let output = child.wait_with_output().expect("its output");
        drop(held);
        let hit = stopped.and_then(|(trace, line)| parse(trace.lines().take(line)).0.pop());
        (output, hit)
    }

    /// Returns everything that a run changes, as text: each call with its contents, all strings in
    /// hexadecimal. The run is killed on entering the given call, if any, named together with how
    /// many of its name precede it.
    pub fn record(&self, words: &str, kill: Option<(&str, usize)>) -> (Output, String) {
        let mut filter = vec!["-xx".to_owned(), "--string-limit=16777216".to_owned()];
        match kill {
            Some((call, before)) => {
                filter.push(format!("--inject={call}:signal=KILL:when={}", before + 1))
            }
            None => filter.push("--seccomp-bpf".to_owned()),
        }
        let output = self.run(words, &format!("{CHANGES},lseek"), &filter);
        (output, self.trace())
    }

    fn run(&self, words: &str, calls: &str, filter: &[String]) -> Output {
        let mut command = self.command(words, calls, filter);
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn command(&self, words: &str, calls: &str, filter: &[String]) -> Command {
        let mut command = self.scene.command(&self.strace);
        // -qq: only calls; -y: descriptors with their paths; no contents, which would need quoting.
        command.args(["-f", "-qq", "-y", "--string-limit=0", "-o", "trace"]).args(filter);
        let mut traced = calls.to_owned();
        for skip in &self.skipped {
            let call = skip.split(':').next().unwrap_or(skip);
            // Only traced calls can be injected.
            traced = format!("{traced},{call}");
            command
                .arg(format!("--inject={}", skip.replacen(call, &format!("{call}:retval=0"), 1)));
        }
        command.arg(format!("--trace={traced}"));
        command.arg(&self.program).args(words.split_whitespace());
        command
    }

    fn trace(&self) -> String {
        fs::read_to_string(self.scene.at("trace")).expect("a trace")
    }

    /// The calls of the first thread, and those of all others.
    fn calls(&self) -> (Vec<Point>, Vec<Point>) {
        parse(self.trace().lines())
    }
}

/// Parses a trace: `PID CALL(ARGUMENTS) = RESULT`, or `PID CALL(ARGUMENTS <unfinished ...>` and the
/// rest later.
fn parse<'t>(lines: impl Iterator<Item = &'t str>) -> (Vec<Point>, Vec<Point>) {
    let mut main = None;
    let mut seen = BTreeMap::new();
    let mut calls = (Vec::new(), Vec::new());
    for line in lines {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        let is_main = *main.get_or_insert(thread) == thread;
        let Some((call, _)) = text.split_once('(') else { continue };
        if !call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let end = text.find(" <unfinished").or_else(|| text.rfind(" = ")).unwrap_or(text.len());
        let what = anonymous(text[..end].trim_end().trim_end_matches(')'));
        let number = seen.entry((is_main, what.clone())).or_insert(0_usize);
        let point = Point { call: call.to_owned(), what, number: *number };
        *number += 1;
        if is_main { calls.0.push(point) } else { calls.1.push(point) }
    }
    calls
}

/// Returns the text without descriptors, inodes, and the random part of temporary names.
fn anonymous(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits > 0 && rest[digits..].starts_with('<') {
            rest = &rest[digits..];
            continue;
        }
        if let Some(name) = rest.strip_prefix(".cnister-") {
            out.push_str(".cnister-*");
            rest = name.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            continue;
        }
        if let Some(inode) = rest.strip_prefix("/#") {
            out.push_str("/#*");
            rest = inode.trim_start_matches(|c: char| c.is_ascii_digit());
            continue;
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}
