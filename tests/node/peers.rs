//! What a test of a node needs besides the programs: plugins that run, and a machine that may
//! create namespaces.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::support;

/// Returns whether a test can run; otherwise prints why not, or panics if peers are required. A CNI
/// plugin is written as `cni/NAME`.
pub(crate) fn present(programs: &[&str]) -> bool {
    for program in programs {
        let found = find(program).is_some();
        support::note_peer(&program.replace('/', "-"), found);
        if !found {
            return false;
        }
    }
    if may_make_namespaces() {
        return true;
    }
    let reason = "this test needs a root that may make namespaces";
    assert!(!support::peers_required(), "{reason}");
    support::say_skipped(reason);
    false
}

/// Returns the full path of a program, or of a CNI plugin written as `cni/NAME`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    match program.strip_prefix("cni/") {
        Some(plugin) => executable(&plugin_path(plugin)),
        None => env::split_paths(&search_path())
            .find_map(|directory| executable(&directory.join(program))),
    }
}

/// Returns the content of a CNI plugin of the upstream project, built by `tests/peers/build.sh`, or
/// otherwise Debian's.
pub(crate) fn plugin(name: &str) -> Vec<u8> {
    fs::read(plugin_path(name)).expect("can read a plugin")
}

/// Returns a `PATH` with our own peers first and with `sbin`, which an ordinary user's lacks.
pub(crate) fn search_path() -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let own = support::peers_folder().join("bin");
    env::join_paths([own].into_iter().chain(env::split_paths(&inherited)).chain(system))
        .expect("no directory of PATH contains a colon, they were split at colons")
}

fn plugin_path(name: &str) -> PathBuf {
    let own = support::peers_folder().join("plugins").join(name);
    if own.exists() { own } else { Path::new("/usr/lib/cni").join(name) }
}

fn executable(path: &Path) -> Option<PathBuf> {
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
}

fn may_make_namespaces() -> bool {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "true"])
        .env("PATH", search_path());
    command.output().is_ok_and(|output| output.status.success())
}
