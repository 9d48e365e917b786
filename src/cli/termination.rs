//! The message that a container leaves for the status of its pod.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::model::visible;

/// The most that is left, in bytes. The kubelet carries 4096 of a container, and 12 KiB of a pod.
const LIMIT: usize = 2000;

/// Where the message is left.
#[derive(Args)]
pub(super) struct TerminationArguments {
    /// The file that the kubelet reads a container's last words from; where there is none, nothing
    /// is left.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

impl TerminationArguments {
    /// The file, whether it is there or not.
    pub(super) fn path(&self) -> &Path {
        &self.termination_log
    }

    /// Leaves a message, if this is a container that has a place for one. It is nobody's only word:
    /// the same stands in the log.
    pub(super) fn leave(&self, text: &str) -> io::Result<()> {
        if !fs::symlink_metadata(&self.termination_log).is_ok_and(|file| file.is_file()) {
            return Ok(());
        }
        let text = visible(text);
        let end = text.floor_char_boundary(LIMIT);
        let message = text.get(..end).unwrap_or_default();
        io::Write::write_all(
            &mut File::options().write(true).truncate(true).open(&self.termination_log)?,
            message.as_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_a_message_where_there_is_a_file_for_it() {
        let temporary = tempfile::tempdir().unwrap();
        let arguments = TerminationArguments { termination_log: temporary.path().join("log") };
        arguments.leave("nobody reads it").unwrap();
        assert!(!arguments.termination_log.exists());
        fs::write(&arguments.termination_log, "an earlier and longer one").unwrap();
        arguments.leave("one\nline\u{1b}").unwrap();
        assert_eq!(fs::read_to_string(&arguments.termination_log).unwrap(), "one\\u{a}line\\u{1b}");
        arguments.leave(&"\u{e4}".repeat(5000)).unwrap();
        assert_eq!(
            fs::read_to_string(&arguments.termination_log).unwrap(),
            "\u{e4}".repeat(LIMIT / 2)
        );
        arguments.leave(&format!("a{}", "\u{e4}".repeat(5000))).unwrap();
        assert_eq!(
            fs::read_to_string(&arguments.termination_log).unwrap().len(),
            LIMIT - 1,
            "no half letter"
        );
    }

    #[test]
    fn does_not_follow_a_link() {
        let temporary = tempfile::tempdir().unwrap();
        let (log, target) = (temporary.path().join("log"), temporary.path().join("target"));
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &log).unwrap();
        TerminationArguments { termination_log: log }.leave("lost").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    }
}
