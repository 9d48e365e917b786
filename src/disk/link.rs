//! Symbolic links as such: they are read and created here, never followed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs;
use rustix::io::Errno;

use super::directory::{component, io_error};
use super::{Directory, DiskError};

impl Directory {
    /// Returns the target of a symbolic link; `None` if the name is free or is not a link.
    pub fn link_target(&self, name: impl AsRef<OsStr>) -> Result<Option<OsString>, DiskError> {
        let name = component(name.as_ref())?;
        match fs::readlinkat(&self.handle, name, Vec::new()) {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()))),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(io_error("read link", &self.shown_path(Path::new(name)), errno)),
        }
    }

    /// Creates a symbolic link under a free name and makes the name durable.
    pub fn create_link(&self, name: impl AsRef<OsStr>, target: &str) -> Result<(), DiskError> {
        let name = component(name.as_ref())?;
        fs::symlinkat(target, &self.handle, name)
            .map_err(|errno| io_error("create link", &self.shown_path(Path::new(name)), errno))?;
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_and_created_but_never_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        std::fs::write(temporary.path().join("file"), b"").unwrap();
        directory.create_link("link", "/nowhere/at all").unwrap();
        assert_eq!(directory.link_target("link").unwrap(), Some("/nowhere/at all".into()));
        for name in ["file", "none"] {
            assert_eq!(directory.link_target(name).unwrap(), None, "{name}");
        }
        assert!(directory.create_link("file", "x").expect_err("taken").is_there_already());
        assert!(directory.create_link("link", "x").expect_err("taken").is_there_already());
    }
}
