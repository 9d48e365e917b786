//! SELinux labels of files, as bytes: nothing here knows a policy.

use std::fs::File;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use super::{Directory, DiskError};

/// The extended attribute that holds the label.
const LABEL: &str = "security.selinux";
/// More than any label has.
const LONGEST: usize = 4096;

impl Directory {
    /// Its label; `None` where it has none, or the file system keeps none.
    pub fn label(&self) -> Option<Vec<u8>> {
        label_of(&self.handle)
    }

    /// The label of a regular file in it.
    pub fn label_of(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(label_of(self.open_file(name)?.file))
    }
}

/// Gives a file this label, where it has another. Whether that is allowed is the system's decision,
/// and a file without it is still the file that was asked for: who calls this looks afterwards.
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
