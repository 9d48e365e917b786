//! The licence of a directory, from its own files.
//!
//! Which texts are known is decided in [`LicenseFiles`]. Links are not followed: one could lead to
//! any file of this machine.

use std::fs;
use std::path::Path;

use crate::bundle::{FoundLicense, LONGEST_LICENSE, LicenseFiles};

/// What the files of a directory say of its licence; one that cannot be read says nothing.
pub(super) fn license_in(directory: &Path) -> Option<FoundLicense> {
    let mut files = LicenseFiles::default();
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.metadata().is_ok_and(|it| it.is_file() && it.len() <= LONGEST_LICENSE);
        if is_file && files.is_one(&name) {
            files.add(&name, fs::read(entry.path()).ok()?);
        }
    }
    files.finish()
}
