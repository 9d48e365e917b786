//! SELinux labels of files, as bytes. Policies and contexts are not interpreted here.

use std::fs::File;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use super::{Directory, DiskError};

/// The extended attribute that holds the label.
const LABEL: &str = "security.selinux";
/// More than any label takes, in bytes.
const LONGEST: usize = 4096;

impl Directory {
    /// Returns its label; `None` if it has none or the file system stores none.
    pub fn label(&self) -> Option<Vec<u8>> {
        label_of(&self.handle)
    }

    /// Returns the label of a regular file in it.
    pub fn label_of(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(label_of(self.open_file(name)?.file))
    }
}

/// Sets the label of a file unless it has it already. Whether that is allowed is up to the system,
/// and a file without it is still the requested file: the caller checks the label afterwards.
pub fn give_label(file: &File, label: &[u8]) {
    if label_of(file).as_deref() != Some(label) {
        let _ = fsetxattr(file, LABEL, label, XattrFlags::empty());
    }
}

fn label_of(file: impl std::os::fd::AsFd) -> Option<Vec<u8>> {
    let mut label = vec![0; LONGEST];
    let length = fgetxattr(file, LABEL, label.as_mut_slice()).ok()?;
    label.truncate(length);
    (!label.is_empty()).then_some(label)
}
