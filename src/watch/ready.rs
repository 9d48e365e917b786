//! Readiness: a file that contains the time until which the last good answer of the watch is valid.
//!
//! A readiness probe runs `watch --ready`, which reads it. Since the time passes, a watch that
//! hangs or is killed does not leave the node ready forever. Whether an answer is good is the
//! observer's decision.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::disk::{Directory, DiskError};
use crate::model::visible;

/// The path of the file.
#[derive(Debug)]
pub struct ReadyFile {
    directory: PathBuf,
    name: String,
}

/// Why a path cannot be that of a ready file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the path of a file")]
pub struct ReadyFileError(String);

impl ReadyFile {
    /// Takes the path of the file; its directory must exist.
    pub fn new(path: &Path) -> Result<Self, ReadyFileError> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| ReadyFileError(visible(&path.to_string_lossy()).into_owned()))?;
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { directory: directory.to_owned(), name: name.to_owned() })
    }

    /// Records that the answer at `now` was yes, and that the next one is expected after
    /// `interval`.
    pub fn write(&self, now: SystemTime, interval: Duration) -> Result<(), DiskError> {
        let text = format!("{}\n", seconds(now + lifetime(interval)));
        Directory::open(&self.directory)?.write_atomic(&self.name, text.as_bytes(), 0o644)
    }

    /// Removes the file: the answer was no, or the watch ends.
    pub fn remove(&self) -> Result<(), DiskError> {
        match Directory::open(&self.directory) {
            Ok(directory) => directory.remove(&self.name),
            // If nothing was installed yet, or something else has the place of the directory, there
            // is no ready file.
            Err(error) if error.is_not_found() || is_no_directory(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the last answer was yes and is still valid at `now`.
    pub fn is_ready(&self, now: SystemTime) -> Result<bool, DiskError> {
        match Directory::open(&self.directory).and_then(|directory| directory.read(&self.name, 32))
        {
            Ok(text) => Ok(is_valid(&text, now)),
            Err(error) if error.is_not_found() || is_no_directory(&error) => Ok(false),
            // No watch wrote that.
            Err(DiskError::NotRegular { .. } | DiskError::TooLong { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_no_directory(error: &DiskError) -> bool {
    matches!(error, DiskError::Io { source, .. } if source.kind() == ErrorKind::NotADirectory)
}

/// The longest time between two checks.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an answer is valid: twice the interval, and 30 seconds for the check itself, so that
/// one late answer does not make a node unready.
pub(crate) fn lifetime(interval: Duration) -> Duration {
    interval.saturating_mul(2).saturating_add(Duration::from_secs(30))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_valid(text: &[u8], now: SystemTime) -> bool {
    let until = std::str::from_utf8(text).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
    // No watch writes a time that far ahead. Without this limit, a file that was written while the
    // clock was wrong would be valid for years.
    let furthest = seconds(now).saturating_add(lifetime(LONGEST_INTERVAL).as_secs());
    until.is_some_and(|until| (seconds(now)..=furthest).contains(&until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_state_directory_is_not_ready() {
        let temporary = tempfile::tempdir().unwrap();
        let file = ReadyFile::new(&temporary.path().join("none/ready")).unwrap();
        assert!(!file.is_ready(SystemTime::now()).unwrap());
        file.remove().unwrap();
        let error = file
            .write(SystemTime::now(), Duration::from_secs(1))
            .expect_err("there is no directory");
        assert!(error.is_not_found(), "{error}");
    }

    #[test]
    fn what_no_watch_wrote_is_not_an_answer() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, now) = (temporary.path().join("ready"), SystemTime::now());
        let ready = |path: &Path| ReadyFile::new(path).unwrap().is_ready(now);
        type Make = fn(&Path);
        let makes: [Make; 4] = [
            |path| std::fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
            |path| {
                let kind = rustix::fs::FileType::Fifo;
                let mode = rustix::fs::Mode::RWXU;
                rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
            },
            |path| std::fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        ];
        for make in makes {
            make(&path);
            assert!(!ready(&path).unwrap());
            drop(std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)));
        }
        std::fs::write(&path, "a file").unwrap();
        assert!(!ready(&path.join("ready")).unwrap());
        ReadyFile::new(&path.join("ready")).unwrap().remove().unwrap();
    }

    #[test]
    fn a_good_answer_counts_until_the_next_but_one() {
        let temporary = tempfile::tempdir().unwrap();
        let file = ReadyFile::new(&temporary.path().join("ready")).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let minute = Duration::from_secs(60);
        assert!(!file.is_ready(now).unwrap());
        file.write(now, minute).unwrap();
        for (later, expected) in [(0, true), (60, true), (150, true), (151, false)] {
            assert_eq!(
                file.is_ready(now + Duration::from_secs(later)).unwrap(),
                expected,
                "{later}"
            );
        }
        file.remove().unwrap();
        assert!(!file.is_ready(now).unwrap());
        file.remove().unwrap();
    }

    #[test]
    fn what_is_not_a_time_is_not_valid() {
        for text in ["", "soon", "-1", "1 1"] {
            assert!(!is_valid(text.as_bytes(), UNIX_EPOCH), "{text}");
        }
        assert!(is_valid(b"0\n", UNIX_EPOCH));
        let longest = lifetime(LONGEST_INTERVAL).as_secs();
        for (until, expected) in
            [(999, false), (1000, true), (1000 + longest, true), (1001 + longest, false)]
        {
            let now = UNIX_EPOCH + Duration::from_secs(1000);
            assert_eq!(is_valid(until.to_string().as_bytes(), now), expected, "{until}");
        }
        assert!(!is_valid(u64::MAX.to_string().as_bytes(), UNIX_EPOCH));
        assert_eq!(ReadyFile::new(Path::new("/")).map(|_| ()), Err(ReadyFileError("/".to_owned())));
    }
}
