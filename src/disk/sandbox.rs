//! What this process may still change, execute and connect to. It gives up everything else before
//! it reads bytes from outside, so that a bug in a parser cannot be used to change the node.
//!
//! Landlock (Linux 5.13) takes rights away from the calling thread and from what it starts, so this
//! happens while there is one thread. It needs no capability. It is the second line: the first is
//! that no path from outside is opened. A rule holds for the directory that has the path now, not
//! for one that has it later.

use std::io::ErrorKind::PermissionDenied;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use super::{DiskError, Root};
use crate::model::{Code, Finding, HostPath};

/// The kernel's rights that are known here. What newer kernels add is reviewed before it is used.
const KNOWN: ABI = ABI::V6;
/// Reading is not restricted: what is read on a node is in too many places to list them, and a
/// forgotten one would be a wrong answer.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// No right to execute, and none to make a link, a device, a FIFO or a socket.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

/// The interpreters of plugins, for all platforms that plugins are released for.
const INTERPRETERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-armhf.so.3",
    "/lib64/ld64.so.2",
    "/lib/ld64.so.1",
    "/lib/ld-linux-riscv64-lp64d.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];
/// Everything that a process changes, executes and connects to, collected before it gives up the
/// rest.
///
/// What is not there needs no right; what cannot be opened now cannot be opened later either, and
/// the verb itself says so then.
#[derive(Debug, Default)]
pub struct Sandbox {
    rules: Vec<(OwnedFd, BitFlags<AccessFs>)>,
    connects: bool,
    listens: bool,
    moves: bool,
}

impl Sandbox {
    /// Writes one existing file, a device for example.
    pub fn write_file(&mut self, path: &Path) {
        self.path(path, make_bitflags!(AccessFs::{WriteFile | Truncate}));
    }

    /// May write and remove files below a directory that the user named.
    pub fn write(&mut self, path: &Path) {
        self.path(path, WRITE);
    }

    /// May write and remove files below a directory of the node. If it has to be created,
    /// so below the nearest one above it: no right can be given to what does not exist.
    pub fn write_on(&mut self, root: &Root, path: &HostPath) {
        self.rules.extend(root.nearest_directory(path).map(|directory| (directory.into(), WRITE)));
    }

    /// Writes these directories of the node and moves files between them: what a verb does that
    /// brings something back or takes it away.
    pub fn write_and_move<'a>(
        &mut self,
        root: &Root,
        directories: impl IntoIterator<Item = &'a HostPath>,
    ) {
        self.moves = true;
        directories.into_iter().for_each(|path| self.write_on(root, path));
    }

    /// Writes below a directory of the node if it exists now, and nothing above it if it does
    /// not.
    pub fn write_existing(&mut self, root: &Root, path: &HostPath) {
        self.rules
            .extend(root.directory(path).ok().flatten().map(|directory| (directory.into(), WRITE)));
    }

    /// Moves files from one directory to another, as an installation does.
    pub fn move_files(&mut self) {
        self.moves = true;
    }

    /// Starts this program again to ask plugins, which may need an interpreter.
    pub fn probe(&mut self) {
        for path in ["/proc/self/exe"].iter().chain(INTERPRETERS) {
            self.path(Path::new(path), AccessFs::Execute.into());
        }
        self.write_file(Path::new("/dev/null"));
    }

    /// Connects to a registry, or to the API server.
    pub fn connect(&mut self) {
        self.connects = true;
    }

    /// Listens at a port.
    pub fn listen(&mut self) {
        self.listens = true;
    }

    /// Whether this process cannot write a directory of the node that its successor could: it was
    /// made, or made again, after the process confined itself, or was removed and is still mounted
    /// here. The kernel is asked, with a file that never gets a name.
    ///
    /// What cannot be written for another reason is another matter, as something else in its place
    /// is: starting again would not help.
    pub fn lacks(root: &Root, path: &HostPath) -> bool {
        if root.expect_place(path).is_err() {
            return false;
        }
        // Owner, mode and capabilities are one question and Landlock is another, which `access`
        // does not ask.
        root.nearest_directory(path).is_some_and(|directory| {
            let refused = |error| matches!(error, DiskError::Io { source, .. } if source.kind() == PermissionDenied);
            directory.is_writable().unwrap_or(false) && directory.create_unnamed().is_err_and(refused)
        }) || [(); 2].iter().all(|()| is_removed(root, path))
    }

    fn path(&mut self, path: &Path, rights: BitFlags<AccessFs>) {
        if let Ok(handle) = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            self.rules.push((handle, rights));
        }
    }

    /// Gives up everything else, for this thread and all that it starts, and the gain of rights by
    /// executing programs.
    ///
    /// If the kernel cannot, the process continues: it is no worse off than before, and the note
    /// says so.
    #[must_use = "that it is not confined has to be said"]
    pub fn confine(self) -> Option<Finding> {
        let status = match rustix::thread::set_no_new_privs(true) {
            Ok(()) => self.restrict().map_err(|error| match error {
                // Only moving is not negotiable below.
                RulesetError::HandleAccesses(_) => {
                    "this kernel's Landlock cannot allow moving files, which needs Linux 5.19"
                        .to_owned()
                }
                other => other.to_string(),
            }),
            Err(errno) => Err(errno.to_string()),
        };
        let reason = match status {
            Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, landlock, .. }) => match landlock {
                LandlockStatus::NotEnabled => "Landlock is disabled in this kernel".to_owned(),
                _ => "this kernel has no Landlock, which needs Linux 5.13, or a system call filter hides it".to_owned(),
            },
            Ok(_) => return None,
            Err(reason) => reason,
        };
        Some(Finding::note(
            Code::NotConfined,
            format!("the process could not confine itself: {reason}"),
        ))
    }

    fn restrict(self) -> Result<RestrictionStatus, RulesetError> {
        let mut ruleset = Ruleset::default();
        if self.moves {
            // The first Landlock forbids every move between directories, whatever its rules say
            // (Linux 5.19 asks them).
            ruleset = ruleset
                .set_compatibility(CompatLevel::HardRequirement)
                .handle_access(AccessFs::Refer)?
                .set_compatibility(CompatLevel::BestEffort);
        }
        let mut ruleset = ruleset
            .handle_access(AccessFs::from_all(KNOWN) & !READ)?
            .scope(Scope::from_all(KNOWN))?;
        if !self.listens {
            ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
        }
        if !self.connects {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
        let mut created = ruleset.create()?;
        for (handle, rights) in &self.rules {
            created = created.add_rule(PathBeneath::new(handle.as_fd(), *rights))?;
        }
        created.restrict_self()
    }
}

/// Whether the directory behind a path is one that was removed: a mount holds it. Where it is
/// removed in this moment, the next answer is another.
fn is_removed(root: &Root, path: &HostPath) -> bool {
    let directory = root.directory(path).ok().flatten();
    directory.is_some_and(|directory| {
        fstat(OwnedFd::from(directory)).is_ok_and(|stat| stat.st_nlink == 0)
    })
}

#[cfg(test)]
mod tests;
