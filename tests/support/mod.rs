//! Shared by all tests: a clean environment for the program, the peers, and snapshots of texts.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and fails by panicking"
)]

pub mod attachment;
pub mod forge;
pub mod hold;
pub mod image;
pub mod module_proxy;
pub mod plugin;
pub mod registries;
pub mod release;
pub mod source;
pub mod strace;
pub mod upstream;
pub mod web;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// An empty home and working directory for one test.
pub struct Scene {
    folder: TempDir,
}

/// The result of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The same in memory if the system has such a directory: many short runs would wait for a
    /// disk.
    pub fn in_memory() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| Self::new().folder) }
    }

    /// Returns the working directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in it, creating its directories.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("below the scene")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// Copies a program into it. Another process writes the copy: if this one had it open for
    /// writing, a child started by another test at that moment would inherit the descriptor, and
    /// the program could not be executed (ETXTBSY).
    pub fn put_program(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.at(name);
        fs::create_dir_all(to.parent().expect("below the scene")).expect("a folder");
        let status = Command::new("install")
            .args(["-m", "755"])
            .arg(from)
            .arg(&to)
            .status()
            .expect("coreutils");
        assert!(status.success(), "cannot copy {}", from.display());
        to
    }

    /// Creates a command with an empty environment, except for PATH.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("TMPDIR", self.path()).env("COLUMNS", "100");
        command.env("COSIGN_PASSWORD", "test");
        command
    }

    /// Runs the program that was built for this test.
    pub fn cnister<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        self.run_command(self.command(env!("CARGO_BIN_EXE_cnister")).args(arguments))
    }

    /// Runs the program with the arguments of `line`, split at white space.
    pub fn run(&self, line: &str) -> Run {
        self.cnister(line.split_whitespace())
    }

    /// Runs the program and expects exit code 0.
    pub fn run_ok(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "cnister {line}\n{}{}", run.stdout, run.stderr);
        run
    }

    /// Runs a command and replaces this scene's path in its output.
    pub fn run_command(&self, command: &mut Command) -> Run {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.read(&output)
    }

    fn read(&self, output: &Output) -> Run {
        let here = self.path().to_str().expect("a plain path");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(here, "DIR");
        let code = output.status.code().unwrap_or_else(|| panic!("ended by {}", output.status));
        Run { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Returns every path below `folder` with its kind, mode and content, including hidden names.
    pub fn tree(&self, folder: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let root = self.at(folder);
        walk(&root, &root, &mut found);
        found
    }
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        let metadata = path.symlink_metadata().expect("metadata");
        let mode = metadata.permissions().mode() & 0o7777;
        let content = if metadata.is_file() {
            format!("{:?}", cnister::model::Digest::of(&fs::read(&path).expect("a readable file")))
        } else {
            format!("{:?}", metadata.file_type())
        };
        found.insert(name, format!("{mode:o} {content}"));
        if metadata.is_dir() {
            walk(root, &path, found);
        }
    }
}

/// Returns the digest, which every verb that makes an image prints on the first line.
pub fn digest_of(run: &Run) -> String {
    let first = run.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("sha256:") && first.len() == 71,
        "no digest on the first line:\n{}",
        run.stdout
    );
    first.to_owned()
}

/// Returns whether a missing peer fails a test instead of skipping it.
pub fn peers_required() -> bool {
    std::env::var_os("CNISTER_REQUIRE_PEERS").is_some_and(|value| value == "1")
}

/// Returns the directory of peers that `make peers` fills.
pub fn peers_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("CNISTER_PEERS") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_default().join("cnister/peers")
}

/// Returns the path of a peer, or `None` after printing what is skipped. With
/// `CNISTER_REQUIRE_PEERS=1` a missing peer fails the test.
pub fn peer(name: &str) -> Option<PathBuf> {
    let mut folders = vec![peers_folder().join("bin")];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    note_peer(name, found.is_some());
    found
}

/// Prints why a test is skipped, directly to the descriptor: the harness captures `eprintln!` in a
/// test that passes.
pub fn say_skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Records that a peer took part or is missing, for the summary of `make test`.
pub fn note_peer(name: &str, present: bool) {
    if !present {
        assert!(
            !peers_required(),
            "{name} is not installed, and CNISTER_REQUIRE_PEERS=1 says it must be"
        );
        say_skipped(&format!("{name} is not installed"));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(if present {
        "peers-present"
    } else {
        "peers-missing"
    });
    fs::create_dir_all(&folder).expect("a folder for notes");
    fs::write(folder.join(name), "").expect("a note");
}

/// Returns the static node build, which `make test` builds first.
pub fn node_binary() -> Option<PathBuf> {
    built("CNISTER_NODE_BINARY")
}

/// Returns the complete static program, which `make test` builds first.
pub fn static_binary() -> Option<PathBuf> {
    built("CNISTER_STATIC_BINARY")
}

fn built(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    if path.is_none() {
        assert!(!peers_required(), "{variable} names no file; `make test` builds it");
        say_skipped(&format!("{variable} names no static build"));
    }
    path
}

/// Compares a text with the one in `tests/snapshots`; `UPDATE_SNAPSHOTS=1` writes it instead.
pub fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    let text = masked(text);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, &text).expect("a snapshot");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; read the difference, then UPDATE_SNAPSHOTS=1\n--- expected\n{expected}\n--- found\n{text}",
        path.display()
    );
}

/// Replaces everything that differs between runs: digests by the order of their first appearance,
/// and sizes that include a signature, whose length varies.
pub fn masked(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let run: String = rest
            .get(at..)
            .unwrap_or("")
            .chars()
            .take_while(|c| matches!(c, '0'..='9' | 'a'..='f'))
            .collect();
        let length = run.len().max(1);
        out.push_str(&rest[..at]);
        match run.len() {
            64 => {
                let number = seen.iter().position(|known| *known == run).unwrap_or_else(|| {
                    seen.push(run.clone());
                    seen.len() - 1
                });
                out.push_str(&format!("<{}>", number + 1));
            }
            12 => out.push_str("<short>"),
            _ => out.push_str(&rest[at..at + length]),
        }
        rest = &rest[at + length..];
    }
    (out + rest).split_inclusive('\n').map(without_sizes).collect()
}

/// Returns the line without sizes such as `1.2 kB` and `"bytes": 1234`.
fn without_sizes(line: &str) -> String {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    if let Some((before, after)) = line.split_once(" kB") {
        return format!("{}<size>{after}", before.trim_end_matches(digits));
    }
    match line.split_once("\"bytes\": ") {
        Some((before, after)) => {
            format!("{before}\"bytes\": <size>{}", after.trim_start_matches(digits))
        }
        None => line.to_owned(),
    }
}
