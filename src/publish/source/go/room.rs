//! A view of the file system in which the source of a program is where it was when the program was
//! built.
//!
//! Without `-trimpath`, a program has the paths of its source and of Go's. The compiler therefore
//! runs in a mount namespace in which these directories have the recorded names, whatever this
//! machine has there, and in which nothing else is but what a compiler needs: Go, the system's
//! libraries, and the work directory. This program starts itself again to enter it, as for a probe
//! ([`crate::check::probe`]): a process must have one thread to do so.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    unmount,
};
use rustix::process::{Signal, chdir, getgid, getuid, pivot_root, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, set_no_new_privs};

use super::GoError;

/// The hidden verb that this program starts itself with; its `main` calls [`enter_room`] for it.
pub const ROOM_COMMAND: &str = "compile-in-room";

/// The exit code of a room that could not be made. Go has none above 2.
const FAILED: u8 = 121;
/// What a compiler needs of the system, besides Go: the libraries of a `go` that is linked
/// dynamically, devices such as `/dev/null`, and the path of the running program.
const SYSTEM: [&str; 10] = [
    "/bin",
    "/dev",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/proc",
    "/usr",
];

/// Where a compiler finds what it needs.
#[derive(Debug)]
pub(super) struct Room {
    /// An empty directory.
    root: PathBuf,
    /// The program, by its path in the room.
    program: PathBuf,
    /// Directories that are where they are on this machine.
    needed: Vec<PathBuf>,
    /// Directories of this machine, each with its path in the room.
    moved: Vec<(PathBuf, PathBuf)>,
    /// Where modules are.
    modules: Option<PathBuf>,
}

impl Room {
    /// A room with Go in `goroot`, at the same path or as `goroot_there`. `work` is needed, and
    /// `root` is an empty directory in it.
    pub(super) fn new(root: PathBuf, work: &Path, goroot: &Path, there: Option<&str>) -> Self {
        let mut needed: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        needed.push(work.to_owned());
        let (mut moved, mut seen) = (Vec::new(), goroot.to_owned());
        match there.map(PathBuf::from).filter(|there| there != goroot) {
            Some(there) => {
                moved.push((goroot.to_owned(), there.clone()));
                seen = there;
            }
            None => needed.push(goroot.to_owned()),
        }
        Self { root, program: seen.join("bin/go"), needed, moved, modules: None }
    }

    /// Puts a directory of this machine where it was.
    pub(super) fn put(&mut self, directory: PathBuf, there: &str) -> Result<(), GoError> {
        self.moved.push((directory, PathBuf::from(there)));
        self.check()
    }

    /// The same for the directory of modules.
    pub(super) fn put_modules(&mut self, directory: PathBuf, there: &str) -> Result<(), GoError> {
        self.modules = Some(PathBuf::from(there));
        self.put(directory, there)
    }

    /// Where modules are, if not where they are on this machine.
    pub(super) fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }

    /// Refuses a directory that would hide what the compiler needs.
    fn check(&self) -> Result<(), GoError> {
        for (number, (_, there)) in self.moved.iter().enumerate() {
            let others = self.moved.iter().enumerate().filter(|(other, _)| *other != number);
            let mut needed = self.needed.iter().chain(others.map(|(_, (_, there))| there));
            if let Some(hidden) = needed.find(|needed| needed.starts_with(there)) {
                let (directory, hidden) = (there.clone(), hidden.clone());
                return Err(GoError::Hides { directory, hidden });
            }
        }
        Ok(())
    }

    /// This program, which enters the room and becomes the compiler; arguments follow.
    pub(super) fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args([OsStr::new(ROOM_COMMAND), self.root.as_os_str(), directory.as_os_str()]);
        command.args([self.needed.len().to_string(), self.moved.len().to_string()]);
        command.args(&self.needed);
        for (here, there) in &self.moved {
            command.args([here, there]);
        }
        command.arg(&self.program);
        command
    }

    /// Whether a compiler was not started because there is no room.
    pub(super) fn has_failed(status: ExitStatus) -> bool {
        status.code() == Some(FAILED.into())
    }
}

/// Enters a room and becomes the compiler.
pub fn enter_room(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match enter(arguments) {
        Ok(never) => match never {},
        Err(reason) => {
            drop(io::Write::write_all(&mut io::stderr(), reason.as_bytes()));
            ExitCode::from(FAILED)
        }
    }
}

fn enter(mut arguments: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let mut next = || arguments.next().ok_or("too few arguments");
    let (root, directory) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let mut count = || next()?.to_str().and_then(|it| it.parse().ok()).ok_or("not a count");
    let (needed, moved): (usize, usize) = (count()?, count()?);
    let needed: Vec<PathBuf> = arguments.by_ref().take(needed).map(PathBuf::from).collect();
    let paths: Vec<PathBuf> = arguments.by_ref().take(2 * moved).map(PathBuf::from).collect();
    let pairs = paths.chunks_exact(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
    let layout = Layout { root: &root, needed: &needed, moved: pairs.collect() };
    let program = arguments.next().ok_or("too few arguments")?;

    unshare().map_err(|error| format!("cannot make a mount namespace: {error}"))?;
    let failed = |error: io::Error| format!("cannot set up the mount namespace: {error}");
    layout.enter().map_err(failed)?;
    chdir(&directory).map_err(|error| failed(error.into()))?;
    set_no_new_privs(true).map_err(|error| failed(error.into()))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| failed(error.into()))?;
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("cannot run `{}`: {error}", PathBuf::from(program).display()))
}

/// Makes a mount namespace: as root, or in a user namespace in which this user may mount.
fn unshare() -> io::Result<()> {
    if unshare_with(UnshareFlags::NEWNS).is_ok() {
        return Ok(());
    }
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare_with(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    // Without it, a group may not be mapped (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

#[expect(deprecated, reason = "the safe form; it is unsafe with `FILES` alone, which is not used")]
fn unshare_with(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// The directories of a room.
struct Layout<'a> {
    root: &'a Path,
    needed: &'a [PathBuf],
    moved: Vec<(&'a PathBuf, &'a PathBuf)>,
}

impl Layout<'_> {
    fn enter(&self) -> io::Result<()> {
        // Nothing that is mounted here is seen outside.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        mount("tmpfs", self.root, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755")?;
        self.show(Path::new("/"))?;
        chdir(self.root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(())
    }

    /// Makes a path of the room, with all that is below it.
    fn show(&self, path: &Path) -> io::Result<()> {
        if let Some((here, _)) = self.moved.iter().find(|(_, there)| there.as_path() == path) {
            return self.bind(here, path);
        }
        let is_needed = self.needed.iter().any(|needed| path.starts_with(needed));
        let moved = self.moved.iter().map(|(_, there)| there.as_path());
        let below: Vec<&Path> = moved.filter(|there| there.starts_with(path)).collect();
        if is_needed && below.is_empty() {
            return self.bind(path, path);
        }
        if path != Path::new("/") {
            DirBuilder::new().recursive(true).mode(0o755).create(self.inside(path))?;
        }
        let needed = self.needed.iter().map(PathBuf::as_path);
        let ahead = below.into_iter().chain(needed.filter(|needed| needed.starts_with(path)));
        let mut children: Vec<PathBuf> = ahead.filter_map(|to| child(path, to)).collect();
        if is_needed {
            for entry in fs::read_dir(path)? {
                children.push(entry?.path());
            }
        }
        children.sort();
        children.dedup();
        children.iter().try_for_each(|child| self.show(child))
    }

    /// Makes a file or directory of this machine visible, if there is one.
    fn bind(&self, here: &Path, path: &Path) -> io::Result<()> {
        let inside = self.inside(path);
        let kind = match fs::symlink_metadata(here) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?.file_type(),
        };
        if kind.is_symlink() {
            return symlink(fs::read_link(here)?, inside);
        }
        match kind.is_dir() {
            true => DirBuilder::new().recursive(true).mode(0o755).create(&inside)?,
            false => drop(File::create(&inside)?),
        }
        Ok(mount_bind_recursive(here, &inside)?)
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The path one step further than `path` on the way to another.
fn child(path: &Path, to: &Path) -> Option<PathBuf> {
    match to.strip_prefix(path).ok()?.components().next()? {
        Component::Normal(name) => Some(path.join(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(there: Option<&str>) -> Room {
        let work = Path::new("/tmp/work");
        Room::new(work.join("room"), work, Path::new("/opt/go-1.26"), there)
    }

    #[test]
    fn the_compiler_is_where_it_was() {
        for (there, expected) in [
            (None, "/opt/go-1.26/bin/go"),
            (Some("/opt/go-1.26"), "/opt/go-1.26/bin/go"),
            (Some("/usr/local/go"), "/usr/local/go/bin/go"),
        ] {
            assert_eq!(room(there).program, Path::new(expected));
        }
    }

    #[test]
    fn a_directory_hides_nothing_that_is_needed() {
        for there in ["/src", "/usr/src/app", "/opt/src", "/tmp/src", "/opt/go-1.26/src/x"] {
            assert!(room(None).put("/here".into(), there).is_ok(), "{there}");
        }
        for (there, hidden) in [
            ("/usr", "/usr"),
            ("/opt", "/opt/go-1.26"),
            ("/opt/go-1.26", "/opt/go-1.26"),
            ("/tmp", "/tmp/work"),
            ("/nix", "/nix/store"),
        ] {
            let refused = room(None).put("/here".into(), there).expect_err(there).to_string();
            let expected = format!(
                "the directory `{there}` of the recipe would hide `{hidden}`, which the compiler \
                 needs on this machine"
            );
            assert_eq!(refused, expected);
        }
        // Two directories are beside each other.
        assert!(room(Some("/usr/local/go")).put("/here".into(), "/usr/local/src").is_ok());
        for there in ["/usr/local", "/usr/local/go", "/usr/local/go/src/x"] {
            let refused = room(Some("/usr/local/go")).put("/here".into(), there);
            let error = refused.expect_err(there).to_string();
            assert!(error.contains("would hide"), "{there}: {error}");
        }
    }

    #[test]
    fn the_way_to_a_directory_has_one_step_at_a_time() {
        let child = |path: &str, to: &str| child(Path::new(path), Path::new(to));
        assert_eq!(child("/", "/usr/local"), Some("/usr".into()));
        assert_eq!(child("/usr", "/usr/local"), Some("/usr/local".into()));
        assert_eq!(child("/usr/local", "/usr/local"), None);
        assert_eq!(child("/us", "/usr/local"), None);
    }
}
