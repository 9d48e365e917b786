//! The message that a container leaves for the status of its pod. It is never the only place for a
//! message: the log has it as well.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::model::visible;

/// The longest message, in bytes. The kubelet reads 4096 per container and 12 KiB per pod.
const LIMIT: usize = 2000;

/// The file for the message.
#[derive(Args)]
pub(super) struct TerminationArguments {
    /// The container's termination-log file; skipped if it does not exist.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

impl TerminationArguments {
    /// The path of the file, which need not exist.
    pub(super) fn path(&self) -> &Path {
        &self.termination_log
    }

    /// Writes the message if the file exists; links are not followed.
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
    fn writes_a_message_if_the_file_exists() {
        let temporary = tempfile::tempdir().unwrap();
        let arguments = TerminationArguments { termination_log: temporary.path().join("log") };
        arguments.leave("not written").unwrap();
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
            "no half character"
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
