//! Names that something else keeps from being replaced.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How a name is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Immutable,
    AppendOnly,
    Mounted,
}

/// A held name, until this is dropped: an immutable file would outlive its test.
pub struct Held {
    hold: Hold,
    path: PathBuf,
}

impl Hold {
    pub const ALL: [Self; 3] = [Self::Immutable, Self::AppendOnly, Self::Mounted];

    /// Holds a name; `None` if it is not there, or if nothing can be held like this here.
    pub fn begin(self, path: &Path) -> Option<Held> {
        let run = match self {
            Self::Immutable => succeeds("chattr", &["+i"], path),
            Self::AppendOnly => succeeds("chattr", &["+a"], path),
            Self::Mounted => succeeds("mount", &["--bind", path.to_str().unwrap()], path),
        };
        run.then(|| Held { hold: self, path: path.to_owned() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let path = &self.path;
        let ended = match self.hold {
            Hold::Immutable => succeeds("chattr", &["-i"], path),
            Hold::AppendOnly => succeeds("chattr", &["-a"], path),
            Hold::Mounted => succeeds("umount", &[], path),
        };
        assert!(ended || std::thread::panicking(), "{path:?} is still held");
    }
}

fn succeeds(program: &str, arguments: &[&str], path: &Path) -> bool {
    let run = Command::new(program).args(arguments).arg(path).output();
    run.is_ok_and(|run| run.status.success())
}
