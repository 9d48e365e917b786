//! Files that a command line or a policy names, opened without waiting for what is not a file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl};

use super::FileKind;

/// How long a FIFO may be without a writer: a writer that waits for its reader needs a moment.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Opens the regular file at `path`, or the one that it links to. Anything else is an error of the
/// kind `InvalidInput`.
pub fn open_file(path: &Path) -> io::Result<File> {
    match open(path)? {
        (file, FileKind::Regular) => Ok(file),
        (_, kind) => Err(unexpected(kind)),
    }
}

/// Opens the file at `path` to be read from its beginning to its end: a regular file, or a pipe
/// that somebody writes into, such as `/dev/stdin` or the shell's `<(…)`. Also returns its length
/// in bytes, which is 0 for a pipe. Anything else is an error of the kind `InvalidInput`: reading
/// it might never end, and opening a device may do anything.
pub fn open_input(path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
    let (file, kind) = open(path)?;
    match kind {
        FileKind::Fifo => Ok((pipe(file)?, 0)),
        _ => {
            let length = file.metadata()?.len();
            Ok((Box::new(file), length))
        }
    }
}

/// Asks what it is before it is opened, and again when it is open.
fn open(path: &Path) -> io::Result<(File, FileKind)> {
    accepted(&fs::metadata(path)?)?;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = accepted(&file.metadata()?)?;
    Ok((file, kind))
}

fn accepted(metadata: &Metadata) -> io::Result<FileKind> {
    match FileType::from_raw_mode(metadata.mode()).into() {
        kind @ (FileKind::Regular | FileKind::Fifo) => Ok(kind),
        kind => Err(unexpected(kind)),
    }
}

fn unexpected(kind: FileKind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, expected a regular file"))
}

/// Waits for a writer of an open FIFO; from then on, reading waits as for any pipe.
fn pipe(mut fifo: File) -> io::Result<Box<dyn Read>> {
    poll(&mut [PollFd::new(&fifo, PollFlags::IN)], Some(&PATIENCE))?;
    let mut start = vec![0; 4096];
    match fifo.read(&mut start) {
        // Without a writer, a FIFO is at its end.
        Ok(0) => {
            let reason = "it is a FIFO that no one writes into, expected a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(length) => start.truncate(length),
        // There is a writer, which may take as long as it needs.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => start.clear(),
        Err(error) => return Err(error),
    }
    fcntl_setfl(&fifo, fcntl_getfl(&fifo)? - OFlags::NONBLOCK)?;
    Ok(Box::new(io::Cursor::new(start).chain(fifo)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let fifo = |name: &str| {
            mknodat(CWD, at(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        };
        fs::write(at("file"), "text").unwrap();
        fs::create_dir(at("directory")).unwrap();
        fifo("fifo");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("fifo", at("link")).unwrap();
        for (path, expected) in [
            (at("fifo"), "it is a FIFO that no one writes into, expected a regular file"),
            (at("link"), "it is a FIFO that no one writes into, expected a regular file"),
            (at("socket"), "it is a socket, expected a regular file"),
            (at("directory"), "it is a directory, expected a regular file"),
            ("/dev/null".into(), "it is a device, expected a regular file"),
            ("/dev/zero".into(), "it is a device, expected a regular file"),
        ] {
            let error = open_input(&path).err().unwrap();
            assert_eq!(
                (error.kind(), error.to_string()),
                (io::ErrorKind::InvalidInput, expected.to_owned())
            );
            let error = open_file(&path).expect_err("no file");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        let mut text = String::new();
        let (mut file, length) = open_input(&at("file")).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), length), ("text", 4));
        assert!(open_file(&at("file")).is_ok());
        assert_eq!(open_file(&at("absent")).expect_err("absent").kind(), io::ErrorKind::NotFound);
        // A writer: at once, and in parts.
        fifo("written");
        let path = at("written");
        let writer = std::thread::spawn(move || {
            let mut fifo = OpenOptions::new().write(true).open(path).unwrap();
            (0..100).for_each(|_| fifo.write_all(&[b'x'; 1000]).unwrap());
        });
        let mut text = Vec::new();
        open_input(&at("written")).unwrap().0.read_to_end(&mut text).unwrap();
        writer.join().unwrap();
        assert_eq!(text.len(), 100_000);
    }
}
