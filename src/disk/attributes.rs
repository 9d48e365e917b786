//! What a file's extended attributes grant beyond its mode: capabilities, and write access by an
//! access control list.

use std::fmt;
use std::os::fd::AsFd;

use rustix::fs::fgetxattr;
use rustix::io::Errno;

use super::directory::io_error;
use super::{Directory, DiskError, RegularFile};

/// File capabilities: who executes the file gets them (capabilities(7), "File capabilities").
const CAPABILITIES: &str = "security.capability";
/// More than what is in it (`struct vfs_ns_cap_data`, 24 bytes).
const LONGEST_CAPABILITIES: usize = 64;
/// The access control list of the file itself (acl(5)).
const ACL: &str = "system.posix_acl_access";
/// The access control list that files created in a directory get.
const INHERITED: &str = "system.posix_acl_default";
/// The most that an access control list is read of, in bytes: some thousand entries.
const LONGEST_ACL: usize = 8192;

/// What the extended attributes of a file give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Whether who executes it gets capabilities.
    pub capabilities: bool,
    /// Whether an access control list lets a user write it who is neither its owner nor root.
    pub writers: bool,
}

impl Attributes {
    /// Whether they give anything.
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.capabilities, self.writers) {
            (false, false) => "no capabilities, no access control list",
            (true, false) => "file capabilities",
            (false, true) => "an access control list that lets others write",
            (true, true) => "file capabilities, an access control list that lets others write",
        })
    }
}

impl RegularFile {
    /// Reads what its extended attributes give; a file system without attributes gives nothing.
    ///
    /// # Errors
    /// If an attribute cannot be read: what it gives is not known then.
    pub fn attributes(&self) -> Result<Attributes, DiskError> {
        let attribute = |name, limit| attribute(&self.file, &self.shown, name, limit);
        let acl = attribute(ACL, LONGEST_ACL)?;
        Ok(Attributes {
            capabilities: attribute(CAPABILITIES, LONGEST_CAPABILITIES)?.is_some(),
            writers: acl.is_some_and(|acl| gives_write(&acl)),
        })
    }
}

impl Directory {
    /// Whether an access control list lets any user but the owner and root change its entries, or
    /// write to the files that will be created in it.
    ///
    /// # Errors
    /// If a list cannot be read: what it gives is not known then.
    pub fn has_list_of_writers(&self) -> Result<bool, DiskError> {
        let gives = |name| -> Result<bool, DiskError> {
            let list = attribute(&self.handle, self.shown(), name, LONGEST_ACL)?;
            Ok(list.is_some_and(|list| gives_write(&list)))
        };
        Ok(gives(ACL)? || gives(INHERITED)?)
    }
}

/// Whether who executes a file gets capabilities.
///
/// # Errors
/// If that cannot be read.
#[cfg(feature = "publish")]
pub fn has_capabilities(file: impl AsFd) -> std::io::Result<bool> {
    let mut buffer = [0; LONGEST_CAPABILITIES];
    match fgetxattr(file, CAPABILITIES, buffer.as_mut_slice()) {
        Ok(_) | Err(Errno::RANGE | Errno::TOOBIG | Errno::OVERFLOW) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads one attribute; `None` if there is none. One that is longer than `limit` or that belongs to
/// another user namespace is there as well, and is read as nothing.
fn attribute(
    file: impl AsFd,
    shown: &str,
    name: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, DiskError> {
    let mut bytes = vec![0; limit];
    match fgetxattr(file, name, bytes.as_mut_slice()) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(Errno::RANGE | Errno::TOOBIG | Errno::OVERFLOW) => Ok(Some(Vec::new())),
        Err(errno) => Err(io_error("read the attributes of", shown, errno)),
    }
}

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const WRITE: u16 = 2;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

/// Whether a list in the kernel's form (`linux/posix_acl_xattr.h`) lets any user but the owner
/// and root write. A list that cannot be parsed is assumed to do so.
pub fn gives_write(acl: &[u8]) -> bool {
    let Some(entries) = acl.strip_prefix(&VERSION) else { return true };
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return true;
    }
    let entries = entries.iter().map(|&[t0, t1, p0, p1, id @ ..]| {
        (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([p0, p1]), u32::from_le_bytes(id))
    });
    let entries: Vec<_> = entries.collect();
    // The mask limits every entry but those of the owner and of all others.
    let masked = entries.iter().any(|&(tag, rights, _)| tag == MASK && rights & WRITE == 0);
    entries.iter().any(|&(tag, rights, id)| {
        rights & WRITE != 0
            && match tag {
                OWNER | MASK => false,
                USER => id != 0 && !masked,
                OWNING_GROUP | GROUP => !masked,
                // All others, or an entry of a kind that is not known.
                _ => true,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of tags, rights and numbers.
    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(tag, rights, id)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        VERSION.into_iter().chain(entries).collect()
    }

    #[test]
    fn a_list_gives_write_where_an_entry_does_that_no_mask_limits() {
        const OTHERS: u16 = 0x20;
        let none = u32::MAX;
        let base = |more: &[(u16, u16, u32)], mask: u16, others: u16| {
            let first = [(OWNER, 7, none)];
            let last = [(OWNING_GROUP, 5, none), (MASK, mask, none), (OTHERS, others, none)];
            list(&[&first, more, &last].concat())
        };
        for (acl, expected) in [
            (base(&[], 7, 5), false),
            (base(&[(USER, 7, 1000)], 7, 5), true),
            (base(&[(USER, 7, 1000)], 5, 5), false),
            (base(&[(USER, 5, 1000)], 7, 5), false),
            (base(&[(USER, 7, 0)], 7, 5), false),
            (base(&[(GROUP, 2, 1000)], 7, 5), true),
            (base(&[(GROUP, 2, 1000)], 5, 5), false),
            (base(&[], 5, 7), true),
            (list(&[(OWNER, 7, none), (OWNING_GROUP, 6, none), (OTHERS, 4, none)]), true),
            (list(&[(OWNER, 7, none), (0x40, 2, none)]), true),
            (list(&[]), false),
            (list(&[(OWNER, 7, none)])[..11].to_vec(), true),
            (3_u32.to_le_bytes().to_vec(), true),
            (Vec::new(), true),
        ] {
            assert_eq!(gives_write(&acl), expected, "{acl:?}");
        }
    }
}
