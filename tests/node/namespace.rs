//! A private mount, network and process namespace that looks like a node and ends like one.
//!
//! The directories that a CNI node writes to have their real paths inside, so error messages are
//! those that users see. They are stored in one temporary directory outside, where tests read and
//! write them. Everything inside ends when a pipe is closed: on [`Namespace::stop`], on a panic,
//! and also when the test itself is killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::peers;

/// What a node may write to: the same paths inside, `node/…` in the temporary directory outside.
const DIRECTORIES: [&str; 7] = [
    "/opt/cni",
    "/etc/cni",
    "/etc/cnister",
    "/var/lib/cni",
    "/var/lib/cnister",
    "/var/lib/containerd",
    "/var/lib/kubelet",
];

/// Removes what is not part of a namespace and outlives the processes, even if the test cannot.
const OUTER: &str = r#"
exec 3<&0
unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc sh -euc "$INNER" <&3 &
echo "$!"
wait "$!" || true
find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/$ID*" -exec rmdir {} + 2>/dev/null || true
rm -rf "$DIR"
"#;

/// Runs as process 1. Overlays keep the host's `/etc`, `/opt` and `/var/lib` readable and
/// unchanged.
const INNER: &str = r#"
mount --make-rshared /
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/lock /run/netns
for top in /etc /opt /var/lib; do
    over=/run/overlay$top
    mkdir -p "$over/upper" "$over/work"
    mount -t overlay -o "lowerdir=$top,upperdir=$over/upper,workdir=$over/work" overlay "$top"
done
for directory in $DIRECTORIES; do
    mkdir -p "$directory"
    mount --bind "$DIR/node$directory" "$directory"
done
ip link set lo up
ip link add uplink type veth peer name uplink-peer
ip link set uplink up
ip link set uplink-peer up
"#;

/// The namespaces of every process of a node; `unshare` itself is outside of the process namespace
/// it creates.
const KINDS: [&str; 3] = ["mnt", "net", "pid_for_children"];

pub(crate) struct Namespace {
    directory: TempDir,
    holder: Child,
    pipe: Option<ChildStdin>,
    process: u32,
}

impl Namespace {
    /// The programs that this file runs.
    pub(crate) const PEERS: [&str; 4] = ["unshare", "nsenter", "ip", "mount"];

    /// Starts a node with an `uplink` as parent for interfaces, then runs `services`, a few lines
    /// of shell.
    pub(crate) fn start(directory: TempDir, services: &str) -> Self {
        for path in DIRECTORIES {
            fs::create_dir_all(inside(directory.path(), path))
                .expect("can create the node's directories");
        }
        let log = File::create(directory.path().join("namespace.log")).expect("can create a log");
        let mut holder = Command::new("sh")
            .args(["-uc", OUTER])
            .env("PATH", peers::search_path())
            .env("ID", name(&directory))
            .env("DIR", directory.path())
            .env("DIRECTORIES", DIRECTORIES.join(" "))
            .env("INNER", format!("{INNER}{services}\necho ready\nread -r _ || exit 0\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // In a process group of its own, so that Ctrl-C ends the test, and the closing pipe
            // ends this in order.
            .process_group(0)
            .spawn()
            .expect("can start a shell");
        let pipe = holder.stdin.take();
        let mut lines = BufReader::new(holder.stdout.take().expect("stdout was piped above"))
            .lines()
            .map_while(Result::ok);
        let process = lines
            .next()
            .and_then(|line| line.parse().ok())
            .expect("the shell prints the process of `unshare`");
        let ready = lines.next();
        let namespace = Self { directory, holder, pipe, process };
        assert_eq!(ready.as_deref(), Some("ready"), "{}", namespace.log("namespace.log"));
        namespace
    }

    /// Returns the path outside of a path on the node.
    pub(crate) fn node(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        assert!(
            DIRECTORIES.iter().any(|directory| path.starts_with(directory)),
            "`{}` is not a path that the node of this test keeps to itself",
            path.display()
        );
        inside(self.directory.path(), path)
    }

    /// Returns the path outside of the node's own directories.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// Returns the directory that holds everything, which has the same path inside and outside.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a name that is unique on this machine.
    pub(crate) fn name(&self) -> String {
        name(&self.directory)
    }

    /// Returns a command that runs on the node, with its files and network.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.to_string(), "--mount", "--net"]);
        // `unshare` itself is outside of the process namespace, and the node's `/proc` shows only
        // what is inside.
        command.arg(format!("--pid=/proc/{}/ns/pid_for_children", self.process)).arg("--");
        command.arg(program.as_ref()).env("PATH", peers::search_path()).stdin(Stdio::null());
        command
    }

    /// Returns the last lines of a log in the directory.
    pub(crate) fn log(&self, file: &str) -> String {
        let text = fs::read_to_string(self.directory.path().join(file)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends everything, and returns what is left: processes, mounts, cgroups. Nothing should be.
    pub(crate) fn stop(mut self) -> BTreeSet<String> {
        let name = self.name();
        let namespaces = namespaces(self.process);
        // Held open until the check: the kernel reuses the number of a namespace that is gone.
        let held: Vec<_> =
            KINDS.map(|kind| File::open(format!("/proc/{}/ns/{kind}", self.process))).into();
        self.end();
        let mut left = BTreeSet::new();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(process) = process.file_name().to_str().and_then(|text| text.parse().ok())
                && !self::namespaces(process).is_disjoint(&namespaces)
            {
                left.insert(format!("process {process}"));
            }
        }
        drop(held);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(
            mounts.lines().filter(|line| line.contains(&name)).map(|line| format!("mount {line}")),
        );
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let cgroups = hierarchies
            .map(|hierarchy| hierarchy.path().join(&name))
            .chain([Path::new("/sys/fs/cgroup").join(&name)]);
        left.extend(
            cgroups
                .filter(|cgroup| cgroup.exists())
                .map(|cgroup| format!("cgroup {}", cgroup.display())),
        );
        left
    }

    fn end(&mut self) {
        drop(self.pipe.take());
        let _ = self.holder.wait();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}\n{}", self.log("namespace.log"), self.log("containerd.log"));
        }
        self.end();
    }
}

/// Returns a directory for [`Namespace::start`].
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("cnister-node-")
        .tempdir()
        .expect("can create a temporary directory")
}

/// Returns the links and named network namespaces of the host, which no test may change.
pub(crate) fn host_network() -> BTreeSet<PathBuf> {
    let entries =
        |path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries("/sys/class/net").chain(entries("/run/netns")).collect()
}

/// Puts a file where a runtime looks for plugins.
pub(crate) fn write_plugin(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).expect("can write a plugin");
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("can change a mode");
}

/// Waits for another process.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not after {limit:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn inside(directory: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref().strip_prefix("/").expect("paths of the node are absolute");
    directory.join("node").join(path)
}

fn name(directory: &TempDir) -> String {
    directory
        .path()
        .file_name()
        .expect("a temporary directory has a name")
        .to_string_lossy()
        .into_owned()
}

/// Returns the namespaces of a process, without those of this test.
fn namespaces(process: u32) -> BTreeSet<PathBuf> {
    let links =
        |process: &str| KINDS.map(|kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok());
    let own = links("self");
    links(&process.to_string())
        .into_iter()
        .flatten()
        .filter(|link| !own.contains(&Some(link.clone())))
        .collect()
}
