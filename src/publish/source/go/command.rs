//! The `go` command, in an environment that is built here from scratch.
//!
//! Nothing of the caller's environment reaches it: no flag that names a program (`GOFLAGS`,
//! `GOCACHEPROG`, `CC`), no configuration file (`GOENV`), no workspace, no switch that leaves a
//! module unverified (`GOPRIVATE`, `GOINSECURE`). It has no PATH and no HOME, so that it finds
//! neither a version control program nor a password. Its module cache and build cache are below
//! the cache of this program, which others cannot write to.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::GoError;
use super::interrupt::Interrupt;
use super::room::Room;
use super::settings::GoProxy;
use super::work::Work;
use crate::bundle::SUM_DATABASE;
use crate::model::{Platform, visible};
use crate::publish::source::cache::GoDirectory;

/// The module cache in the directory of modules.
pub(super) const MODULES: &str = "pkg/mod";
/// The most bytes that are read of its output.
const OUTPUT_LIMIT: u64 = 4 << 20;
/// The most bytes of an error that are repeated.
const ERROR_LIMIT: usize = 2000;

/// Options of one run, besides its arguments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run<'a> {
    /// The platform that is compiled for.
    pub(super) platform: Option<&'a Platform>,
    /// Whether it starts without anything that was downloaded before.
    pub(super) is_fresh: bool,
    /// The directory that it runs in; by default, that of the main module.
    pub(super) directory: Option<&'a Path>,
    /// The view of the file system that it has, if it is not that of this process.
    pub(super) room: Option<&'a Room>,
}

/// The `go` command of this machine.
#[derive(Debug)]
pub(super) struct GoCommand {
    pub(super) program: PathBuf,
    pub(super) work: Work,
    /// The directory of its caches.
    pub(super) cache: GoDirectory,
    /// Where modules come from; `None` until it is known.
    pub(super) proxy: Option<GoProxy>,
    /// Whether the checksum database is asked.
    pub(super) has_sumdb: bool,
    /// Whether nothing is used that was downloaded or compiled before, in any run.
    pub(super) is_fresh: bool,
    pub(super) interrupt: Interrupt,
}

/// The `go` of the first directory of a search path that has one. Relative directories, which mean
/// another place after each `cd`, do not count.
pub(super) fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let mut directories = std::env::split_paths(path?).filter(|directory| directory.is_absolute());
    directories.find_map(|directory| {
        let program = directory.join("go");
        (program.is_file() && access(&program, Access::EXEC_OK).is_ok()).then_some(program)
    })
}

impl GoCommand {
    /// Runs it in the directory of the main module, and returns what it printed. `verb` is what it
    /// does, such as `mod verify`.
    pub(super) fn run<'a>(
        &self,
        verb: &str,
        arguments: impl IntoIterator<Item = &'a str>,
        run: Run<'_>,
    ) -> Result<Vec<u8>, GoError> {
        let (status, printed, said) = self.run_unjudged(verb, arguments, run)?;
        match status.success() {
            true => Ok(printed),
            false => Err(GoError::Failed { verb: verb.to_owned(), said: said_of(&said, status) }),
        }
    }

    /// The same with its end, and both of what it printed.
    pub(super) fn run_unjudged<'a>(
        &self,
        verb: &str,
        arguments: impl IntoIterator<Item = &'a str>,
        run: Run<'_>,
    ) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), GoError> {
        // To files: nobody has to read while it runs, and whoever inherits them cannot delay it.
        let (printed, said) = (self.work.path("stdout"), self.work.path("stderr"));
        let work = |path: &Path, source| GoError::Work { path: path.to_owned(), source };
        let create = |path: &PathBuf| File::create(path).map_err(|source| work(path, source));
        let failed = |source| GoError::Run { program: self.program.clone(), source };
        let directory = run.directory.map_or_else(|| self.work.path(Work::MODULE), Path::to_owned);
        let mut command = match run.room {
            None => Command::new(&self.program),
            Some(room) => room.command(&directory),
        };
        let child = command
            .args(verb.split(' '))
            .args(arguments)
            .env_clear()
            .envs(self.environment(run))
            .current_dir(if run.room.is_some() { Path::new("/") } else { &directory })
            .stdin(Stdio::null())
            .stdout(create(&printed)?)
            .stderr(create(&said)?)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let status = self.wait(child).map_err(failed)?.ok_or(GoError::Interrupted)?;
        let read = |path: PathBuf| start_of(&path).map_err(|source| work(&path, source));
        let (printed, said) = (read(printed)?, read(said)?);
        match run.room {
            Some(_) if Room::has_failed(status) => Err(GoError::Room(said_of(&said, status))),
            _ => Ok((status, printed, said)),
        }
    }

    /// Waits until it ends; `None` if a signal came before that. All that it started is killed.
    fn wait(&self, mut child: Child) -> io::Result<Option<ExitStatus>> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ended = self.wait_for_end(group);
        if let Some(group) = group {
            // It is not reaped yet, so that the number is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        Ok(ended?.then_some(status))
    }

    fn wait_for_end(&self, process: Option<Pid>) -> io::Result<bool> {
        let process = process.ok_or(Errno::SRCH)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let signal = self.interrupt.signal();
        loop {
            let mut polled =
                [PollFd::new(&process, PollFlags::IN), PollFd::new(&signal, PollFlags::IN)];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let [process, signal] = polled.map(|it| !it.revents().is_empty());
            if process || signal {
                return Ok(!signal);
            }
        }
    }

    /// The directory of modules and of what the checksum database said.
    pub(super) fn go_path(&self, run: Run<'_>) -> PathBuf {
        match run.is_fresh || self.is_fresh {
            true => self.work.path(Work::FRESH),
            false => self.cache.path.clone(),
        }
    }

    /// The directory of modules, as the run sees it.
    fn modules(&self, run: Run<'_>) -> PathBuf {
        let elsewhere = run.room.and_then(Room::modules).map(Path::to_owned);
        elsewhere.unwrap_or_else(|| self.go_path(run).join(MODULES))
    }

    /// The directory of what was compiled.
    fn build_cache(&self) -> PathBuf {
        match self.is_fresh {
            true => self.work.path(Work::COMPILED),
            false => self.cache.path.join("build"),
        }
    }

    fn environment(&self, run: Run<'_>) -> Vec<(&'static str, OsString)> {
        let path = |path: PathBuf| path.into_os_string();
        let mut environment: Vec<(&str, OsString)> = FIXED
            .iter()
            .chain(VARIANTS)
            .map(|(name, value)| (*name, OsString::from(value)))
            .collect();
        let temporary = self.work.path(Work::TEMPORARY);
        environment.extend([
            ("GOSUMDB", if self.has_sumdb { SUM_DATABASE } else { "off" }.into()),
            ("GOPATH", path(self.go_path(run))),
            ("GOMODCACHE", path(self.modules(run))),
            ("GOCACHE", path(self.build_cache())),
            ("GOTMPDIR", path(temporary.clone())),
            ("TMPDIR", path(temporary)),
        ]);
        match &self.proxy {
            // It has what was downloaded before, and nothing of the network.
            _ if run.room.is_some() => environment.push(("GOPROXY", "off".into())),
            Some(proxy) => environment.push(("GOPROXY", proxy.to_string().into())),
            None => {}
        }
        if let Some(platform) = run.platform {
            environment.push(("GOOS", platform.os().into()));
            environment.push(("GOARCH", platform.architecture().into()));
        }
        environment
    }
}

/// What is the same for every module and platform. An empty value is not the same as none: it
/// keeps a default of the program from being another one.
const FIXED: &[(&str, &str)] = &[
    ("GOENV", "off"),
    // A directory that cannot be written to could not be removed with what is in it.
    ("GOFLAGS", "-modcacherw"),
    ("GOWORK", "off"),
    ("GOTOOLCHAIN", "local"),
    ("GO111MODULE", "on"),
    ("CGO_ENABLED", "0"),
    ("GOVCS", "*:off"),
    ("GOAUTH", "off"),
    ("GOPRIVATE", ""),
    ("GONOPROXY", ""),
    ("GONOSUMDB", ""),
    ("GONOSUMCHECK", ""),
    ("GOINSECURE", ""),
    ("GOCACHEPROG", ""),
    ("GODEBUG", ""),
    ("GOEXPERIMENT", ""),
];
/// The oldest processors that programs of each architecture run on, which are Go's defaults.
const VARIANTS: &[(&str, &str)] = &[
    ("GOAMD64", "v1"),
    ("GOARM64", "v8.0"),
    ("GOARM", "7"),
    ("GOPPC64", "power8"),
    ("GORISCV64", "rva20u64"),
];

/// What is read of a file that it printed to.
fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(OUTPUT_LIMIT).read_to_end(&mut content)?;
    Ok(content)
}

/// Its error message, on one line, without the progress of downloads.
fn said_of(said: &[u8], status: ExitStatus) -> String {
    let said = String::from_utf8_lossy(said);
    let is_progress = |line: &&str| line.is_empty() || line.starts_with("go: downloading ");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|it| !is_progress(it)).collect();
    match lines.is_empty() {
        true => status.to_string(),
        false => shortened(&lines.join("; ")),
    }
}

/// A text of a program as a message repeats it.
pub(super) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(ERROR_LIMIT);
    match text.get(..end) {
        Some(start) if end < text.len() => format!("{}…", visible(start)),
        _ => visible(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_program_is_the_first_of_the_absolute_directories() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["none", "directory/go", "plain", "good", "last"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for (name, mode) in [("plain/go", 0o644), ("good/go", 0o755), ("last/go", 0o755)] {
            fs::write(at(name), "").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = |directories: &[&str]| {
            let absolute = |name: &&str| if name.starts_with('.') { name.into() } else { at(name) };
            find(Some(&std::env::join_paths(directories.iter().map(absolute)).unwrap()))
        };
        let relative = "./good";
        assert_eq!(
            found(&[relative, "none", "directory", "plain", "good", "last"]),
            Some(at("good/go"))
        );
        assert_eq!(found(&[relative, "none"]), None);
        assert_eq!(find(Some(OsStr::new(""))), None);
        assert_eq!(find(None), None);
    }

    #[test]
    fn repeats_what_it_said_without_its_progress() {
        let failed = ExitStatus::from_raw(1 << 8);
        for (said, expected) in [
            ("go: downloading a.b/c v1.0.0\n\na: b\n\tc\u{1b}[2J\n", "a: b; c\\u{1b}[2J"),
            ("go: downloading a.b/c v1.0.0\n", "exit status: 1"),
            ("", "exit status: 1"),
        ] {
            assert_eq!(said_of(said.as_bytes(), failed), expected);
        }
        let long = said_of("\u{e4}".repeat(5000).as_bytes(), failed);
        assert_eq!(long, format!("{}…", "\u{e4}".repeat(ERROR_LIMIT / 2)));
    }
}
