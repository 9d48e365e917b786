//! Parses the content of extension entries: GNU long names and pax extended headers (POSIX.1-2017,
//! pax, "pax Extended Header").
//!
//! Of the records it uses `path`, `linkpath` and `size`, reports that there are file capabilities,
//! and ignores times, owners and other attributes.
//! It reads no input and enforces no limit; that is the walk's job. It refuses what readers
//! understand differently: two names or sizes for one member, a size that contradicts the header
//! (CVE-2025-62518), a size before another extension (RUSTSEC-2026-0112), line breaks in a value,
//! zero bytes in a name.

use super::header::{Kind, LARGEST_OCTAL, LARGEST_SIZE};

/// What the extensions before a member replace in its header.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether the member has file capabilities.
    pub(super) capabilities: bool,
    /// The kinds of the extensions that were read.
    read: Vec<Kind>,
}

impl Overrides {
    /// Whether there was no extension.
    pub(super) fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// Adds an extension. The error is a phrase that begins with a verb.
    pub(super) fn add(&mut self, kind: Kind, content: &[u8]) -> Result<(), &'static str> {
        if self.size.is_some() {
            // Some readers apply the size to this entry (astral-tokio-tar before 0.6.1).
            return Err("follows a pax record with a size");
        }
        match kind {
            Kind::GlobalRecords => return each_record(content, check_global),
            _ if self.read.contains(&kind) => {
                return Err("is the second of its kind for one member");
            }
            Kind::LongName => set(&mut self.path, long_name(content)?)?,
            Kind::LongLink => set(&mut self.link, long_name(content)?)?,
            _ => each_record(content, |key, value| match key {
                b"path" => set(&mut self.path, value),
                b"linkpath" => set(&mut self.link, value),
                b"size" if self.size.is_some() => Err("has a second size for one member"),
                b"size" => {
                    self.size = Some(decimal(value).ok_or("has a size that is not a number")?);
                    Ok(())
                }
                _ if CAPABILITIES.contains(&key) => {
                    self.capabilities = true;
                    Ok(())
                }
                _ => check_encoding(key),
            })?,
        }
        self.read.push(kind);
        Ok(())
    }

    /// Returns the size of a member whose header has the size `written`. The error is a phrase that
    /// begins with a verb.
    pub(super) fn size_of(&self, written: Option<u64>) -> Result<u64, &'static str> {
        match (self.size, written) {
            (None, Some(size)) => Ok(size),
            (None, None) => Err("has no size"),
            (Some(size), Some(written)) if size == written => Ok(size),
            // What writers put into a header that cannot hold the size.
            (Some(size), None | Some(0 | LARGEST_OCTAL)) if size > LARGEST_OCTAL => Ok(size),
            (Some(_), _) => Err("has a different size from its pax record"),
        }
    }
}

/// The keys of file capabilities: those of star and GNU tar, and those of libarchive.
const CAPABILITIES: [&[u8]; 2] =
    [b"SCHILY.xattr.security.capability", b"LIBARCHIVE.xattr.security.capability"];

/// Sets a name once: which of two names counts depends on the reader.
fn set(slot: &mut Option<Vec<u8>>, name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() || name.contains(&0) {
        return Err("has a name that is empty or has a zero byte");
    }
    if slot.replace(name.to_vec()).is_some() {
        return Err("has a second name for one member");
    }
    Ok(())
}

/// The name in a GNU long name, which ends with a zero byte.
fn long_name(content: &[u8]) -> Result<&[u8], &'static str> {
    content.strip_suffix(b"\0").ok_or("has a name without an end")
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()?;
    (number <= LARGEST_SIZE).then_some(number)
}

/// Calls `take` with key and value of each pax record, `LENGTH KEY=VALUE\n`. The length includes
/// itself and the line break.
fn each_record<'a>(
    mut content: &'a [u8],
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    while !content.is_empty() {
        let (record, rest) = split_record(content).ok_or("is not made of pax records")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|position| *position > 0);
        let (key, value) = equals
            .and_then(|at| record.split_at_checked(at))
            .ok_or("has a record without a key")?;
        // The `tar` crate splits at line breaks and would find another record there.
        if record.contains(&b'\n') {
            return Err("has a record with a line break in it");
        }
        take(key, value.get(1..).unwrap_or_default())?;
        content = rest;
    }
    Ok(())
}

/// The first record without length and line break, and the rest.
fn split_record(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = content.iter().position(|byte| *byte == b' ')?;
    let (length, _) = content.split_at_checked(space)?;
    let length = usize::try_from(decimal(length)?).ok()?;
    let (record, rest) = content.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

/// Refuses global records that name, measure or empower members.
fn check_global(key: &[u8], _: &[u8]) -> Result<(), &'static str> {
    match key {
        b"path" | b"linkpath" | b"size" => Err("sets a name or a size for all members"),
        key if CAPABILITIES.contains(&key) => Err("gives capabilities to all members"),
        _ => check_encoding(key),
    }
}

/// Refuses records of sparse files and parts of volumes, whose content is not stored as it is.
fn check_encoding(key: &[u8]) -> Result<(), &'static str> {
    let encoded =
        key.starts_with(b"GNU.") || matches!(key, b"SCHILY.realsize" | b"SCHILY.filetype");
    if encoded { Err("describes content that is stored in another form") } else { Ok(()) }
}
