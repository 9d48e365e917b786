//! The one reader of tar archives: a single pass from the front, under the rules of its caller.
//!
//! [`walk`] and [`walk_seekable`] call `visit` with each member: path, kind, size, content, and the
//! offset of the content, so that an archive of a layout is indexed without reading its blobs. What
//! the caller's [`Rules`] do not accept is an error. Nothing is unpacked or written; owners,
//! times are not reported, and permissions decide nothing: the installer has its own. Targets of
//! links are reported as they are written: whether to follow one is the caller's decision.
//!
//! It stops parser differentials: an archive that two programs read as different files, so that one
//! checks the harmless files and the other installs the rest (CVE-2025-62518). Headers are read raw
//! (`header.rs`), extensions are refused or read under rules of their own (`records.rs`), and what
//! GNU tar, Go, Python and the `tar` crate read differently is an error. Every limit is enforced
//! while reading.

mod header;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use crate::model::visible;
use header::{BLOCK, Header};
use records::Overrides;

pub use header::Kind;

/// What a caller accepts.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The most members. Global records count as members.
    pub members: usize,
    /// The most bytes, from the first header to the last byte that is read.
    pub bytes: u64,
    /// Members of other kinds are errors.
    pub kinds: &'static [Kind],
    /// Extensions that are not read are members, which `kinds` refuses.
    pub extensions: Extensions,
    /// How members may be named.
    pub paths: Paths,
    /// What may follow the end of the archive.
    pub rest: Rest,
    /// The most bytes of all extensions together.
    pub extension_bytes: u64,
}

/// Which extensions are read. None can be skipped, since other readers do not skip them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// None.
    Refused,
    /// GNU long names and the pax records of one member.
    OfOneMember,
    /// Also global pax records, unless they set a name or a size. `git archive` writes one.
    All,
}

/// How members may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Relative paths of up to 99 printable ASCII characters, taken as written, each once.
    Plain,
    /// Relative paths in UTF-8. A leading `./` is removed; a directory may be repeated.
    Relative,
    /// The same in the layers of an image, which are relative to its root also with a slash at the
    /// start (`/ko-app/x`).
    Rooted,
}

/// What may follow the end of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Only zeros. They are read to the end of the input.
    Zeros,
    /// After two blocks of zeros, anything. It is not read.
    Anything,
}

/// One member of an archive.
pub struct Member<'a> {
    /// A relative path without a slash at the end; empty for `./`, the root of the archive.
    pub path: &'a str,
    /// One of the rules' `kinds`.
    pub kind: Kind,
    /// The target of a link, as it is written.
    pub target: Option<&'a str>,
    /// The permission bits of its header, set-ID bits included.
    pub mode: u32,
    /// Whether a pax record gives it file capabilities.
    pub capabilities: bool,
    /// The length of the content in bytes.
    pub size: u64,
    /// The offset of the content in the archive.
    pub offset: u64,
    /// Exactly `size` bytes; reading fails if the archive ends before.
    pub content: &'a mut dyn Read,
}

/// Why an archive is not accepted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it and its fields are")]
pub enum TarError {
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    #[error("{0}")]
    NotTar(&'static str),
    #[error("the archive is cut off at byte {0}")]
    Cut(u64),
    /// A header or an extension that is malformed, or that readers understand differently.
    #[error("the tar header at byte {offset} {reason}")]
    Header {
        offset: u64,
        /// A phrase that begins with a verb.
        reason: &'static str,
    },
    #[error("the tar header at byte {offset} has {size} bytes of records, the limit is {limit}")]
    Extension {
        offset: u64,
        /// The bytes of this extension, or of all extensions up to it.
        size: u64,
        limit: u64,
    },
    #[error("entry `{path}` is {}, which is not accepted", kind.name())]
    Kind { path: String, kind: Kind },
    #[error("entry `{path}`: {reason}")]
    Path { path: String, reason: &'static str },
    /// A link or a directory with content: some readers skip the content, others take it for the
    /// next header.
    #[error("entry `{path}` is {} with content", kind.name())]
    Content { path: String, kind: Kind },
    /// Which of two entries counts depends on the reader.
    #[error("entry `{0}` appears twice")]
    Repeated(String),
    #[error("the archive has more than {0} entries")]
    TooMany(usize),
    #[error("the archive is longer than {0} bytes")]
    TooLong(u64),
    /// Some readers continue after the end.
    #[error("the archive continues after its end")]
    Trailing,
}

/// What ended a walk, for callers whose errors do not say what is wrong with an archive.
#[derive(Debug)]
pub enum Stop<E> {
    /// The archive is not accepted.
    Tar(TarError),
    /// The caller's function wanted no more.
    Visitor(E),
}

impl<E> Stop<E> {
    /// The error of the caller, with what it makes of one of the archive.
    pub fn into_error<T: From<TarError> + Into<E>>(self) -> E {
        match self {
            Self::Tar(error) => T::from(error).into(),
            Self::Visitor(error) => error,
        }
    }
}

impl<E> From<TarError> for Stop<E> {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

/// The most bytes of one extension. Linux has no path longer than 4 KiB.
const MAX_EXTENSION: u64 = 64 * 1024;
/// The most bytes of all extensions of an archive, for most callers: names are kept in memory to
/// find repeated ones.
pub const MAX_EXTENSIONS: u64 = 1024 * 1024;
/// The longest path that every tar reader finds in one place.
const LONGEST_PATH: usize = 99;

/// Calls `visit` with each member, in the order of the archive. Content that `visit` leaves is read
/// and dropped.
pub fn walk<E: From<TarError>>(
    input: impl Read,
    rules: &Rules,
    visit: impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    Walk::new(input, rules, read_past).members(visit)
}

/// Calls `visit` with each member, in the order of the archive, which begins at the input's current
/// position. Content that `visit` leaves is skipped by seeking; a part of it that is missing is an
/// error.
pub fn walk_seekable<E: From<TarError>>(
    input: impl Read + Seek,
    rules: &Rules,
    visit: impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    Walk::new(input, rules, seek_past).members(visit)
}

/// Moves an input forward by a number of bytes, or to its end; returns the bytes moved.
type Skip<R> = fn(&mut R, u64) -> io::Result<u64>;

struct Walk<'a, R> {
    input: R,
    skip: Skip<R>,
    rules: &'a Rules,
    /// The bytes that were read or skipped.
    position: u64,
    members: usize,
    /// The bytes of all extensions so far.
    extensions: u64,
    seen: BTreeMap<String, Kind>,
}

impl<'a, R: Read> Walk<'a, R> {
    fn new(input: R, rules: &'a Rules, skip: Skip<R>) -> Self {
        let seen = BTreeMap::new();
        Self { input, skip, rules, position: 0, members: 0, extensions: 0, seen }
    }

    fn members<E: From<TarError>>(
        &mut self,
        mut visit: impl FnMut(Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut overrides = Overrides::default();
        loop {
            let offset = self.position;
            let Some(header) = self.header()? else {
                if overrides.is_empty() {
                    return Ok(());
                }
                let reason = "is missing, although an extension describes it";
                return Err(TarError::Header { offset, reason }.into());
            };
            if self.reads(header.kind) {
                self.extension(offset, &header, &mut overrides)?;
            } else {
                self.member(offset, header, std::mem::take(&mut overrides), &mut visit)?;
            }
        }
    }

    /// Whether entries of this kind are extensions that are read, rather than members.
    fn reads(&self, kind: Kind) -> bool {
        match self.rules.extensions {
            Extensions::Refused => false,
            Extensions::OfOneMember => kind.is_extension() && kind != Kind::GlobalRecords,
            Extensions::All => kind.is_extension(),
        }
    }

    /// Reads a header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let offset = self.position;
        let mut block = [0; BLOCK];
        let length = self.fill(&mut block)?;
        self.check_length(0)?;
        match length {
            0 => return Ok(None),
            BLOCK => {}
            length => {
                let start = block.get(..length).filter(|_| offset == 0);
                let other = start.and_then(header::other_format).map(TarError::NotTar);
                return Err(other.unwrap_or(TarError::Cut(self.position)));
            }
        }
        if is_zeros(&block) {
            self.rest()?;
            return Ok(None);
        }
        if let Some(reason) = header::not_tar(&block).filter(|_| offset == 0) {
            return Err(TarError::NotTar(reason));
        }
        Header::parse(&block).map(Some).map_err(|reason| TarError::Header { offset, reason })
    }

    /// Reads what follows the first block of zeros.
    fn rest(&mut self) -> Result<(), TarError> {
        // A single block of zeros ends the archive for most readers; busybox continues after it.
        let mut buffer = vec![0; if self.rules.rest == Rest::Zeros { 64 * 1024 } else { BLOCK }];
        loop {
            let length = self.fill(&mut buffer)?;
            if !is_zeros(buffer.get(..length).unwrap_or(&buffer)) {
                return Err(TarError::Trailing);
            }
            self.check_length(0)?;
            if length < buffer.len() || self.rules.rest == Rest::Anything {
                return Ok(());
            }
        }
    }

    /// Reads until the buffer is full or the input ends; returns the bytes read.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Skips bytes that must be there.
    fn pass(&mut self, count: u64) -> Result<(), TarError> {
        let passed = (self.skip)(&mut self.input, count).map_err(TarError::Read)?;
        self.position += passed;
        if passed < count { Err(TarError::Cut(self.position)) } else { Ok(()) }
    }

    /// Fails if `more` bytes from here are past the caller's limit.
    fn check_length(&self, more: u64) -> Result<(), TarError> {
        let limit = self.rules.bytes;
        if self.position.saturating_add(more) > limit {
            return Err(TarError::TooLong(limit));
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), TarError> {
        if self.members == self.rules.members {
            return Err(TarError::TooMany(self.rules.members));
        }
        self.members += 1;
        Ok(())
    }

    /// Reads an extension into the overrides of the next member.
    fn extension(
        &mut self,
        offset: u64,
        header: &Header,
        overrides: &mut Overrides,
    ) -> Result<(), TarError> {
        let error = |reason| TarError::Header { offset, reason };
        if header.kind == Kind::GlobalRecords {
            self.count()?;
        }
        let size = header.size.ok_or("has no size").map_err(error)?;
        self.check_length(size)?;
        let all = self.extensions.saturating_add(size);
        for (size, limit) in [(size, MAX_EXTENSION), (all, self.rules.extension_bytes)] {
            if size > limit {
                return Err(TarError::Extension { offset, size, limit });
            }
        }
        self.extensions = all;
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        if self.fill(&mut content)? < content.len() {
            return Err(TarError::Cut(self.position));
        }
        self.pass(padding(size))?;
        overrides.add(header.kind, &content).map_err(error)
    }

    /// Checks a member and passes it to `visit`.
    fn member<E: From<TarError>>(
        &mut self,
        offset: u64,
        header: Header,
        overrides: Overrides,
        visit: &mut impl FnMut(Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let error = |reason| TarError::Header { offset, reason };
        self.count()?;
        let kind = header.kind;
        let size = overrides.size_of(header.size).map_err(error)?;
        if header.is_old_directory && overrides.path.is_some() {
            // Python's reader makes it a directory, whatever its name is then (CVE-2025-13462).
            return Err(error("is a directory by its name and a file by its type").into());
        }
        let raw = overrides.path.unwrap_or(header.path);
        if !self.rules.kinds.contains(&kind) {
            return Err(TarError::Kind { path: shown(&raw), kind }.into());
        }
        let path = match self.rules.paths {
            Paths::Plain => plain_path(&raw, kind),
            Paths::Relative => relative_path(&raw, kind),
            Paths::Rooted => relative_path(raw.strip_prefix(b"/").unwrap_or(&raw), kind),
        };
        let path = path.map_err(|reason| TarError::Path { path: shown(&raw), reason })?;
        let before = self.seen.insert(path.clone(), kind);
        let again = self.rules.paths != Paths::Plain && kind == Kind::Directory;
        if before.is_some_and(|before| !again || before != kind) {
            return Err(TarError::Repeated(visible(&path).into_owned()).into());
        }
        self.check_length(size)?;
        if kind.is_bare() && size > 0 {
            return Err(TarError::Content { path: visible(&path).into_owned(), kind }.into());
        }
        let target = match kind {
            Kind::HardLink | Kind::SymbolicLink => {
                let target = overrides.link.unwrap_or(header.link);
                let target = String::from_utf8(target).ok().filter(|target| !target.is_empty());
                Some(target.ok_or(error("has no target of the link in UTF-8"))?)
            }
            _ => None,
        };
        let offset = self.position;
        let mut content = Content { input: &mut self.input, left: size };
        let (path, target) = (path.as_str(), target.as_deref());
        let (mode, capabilities) = (header.mode, overrides.capabilities);
        let content_of = &mut content;
        visit(Member {
            path,
            kind,
            target,
            mode,
            capabilities,
            size,
            offset,
            content: content_of,
        })?;
        let left = content.left;
        self.position += size - left;
        Ok(self.pass(left + padding(size))?)
    }
}

/// The content of one member. Reading fails if the input ends first.
struct Content<'a, R> {
    input: &'a mut R,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = self.input.read(buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

fn read_past<R: Read>(input: &mut R, count: u64) -> io::Result<u64> {
    if count == 0 {
        return Ok(0);
    }
    io::copy(&mut input.take(count), &mut io::sink())
}

fn seek_past<R: Seek>(input: &mut R, count: u64) -> io::Result<u64> {
    if count == 0 {
        return Ok(0);
    }
    let here = input.stream_position()?;
    // Seeking past the end of a file does not fail.
    let end = input.seek(SeekFrom::End(0))?;
    let there = end.min(here.saturating_add(count));
    input.seek(SeekFrom::Start(there))?;
    Ok(there.saturating_sub(here))
}

/// The bytes between the end of a content and the next header.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A path from an archive, for a message.
fn shown(raw: &[u8]) -> String {
    visible(&String::from_utf8_lossy(raw)).into_owned()
}

/// The path under [`Paths::Plain`], or the reason against it.
fn plain_path(raw: &[u8], kind: Kind) -> Result<String, &'static str> {
    let path = String::from_utf8_lossy(raw);
    let plain = match kind {
        Kind::Directory => path.strip_suffix('/').unwrap_or(&path),
        _ => &path,
    };
    check_path(plain)?;
    Ok(plain.to_owned())
}

/// The path under [`Paths::Relative`] and [`Paths::Rooted`], or the reason against it.
fn relative_path(raw: &[u8], kind: Kind) -> Result<String, &'static str> {
    let path = std::str::from_utf8(raw).map_err(|_| "it is not UTF-8")?;
    let path = path.trim_start_matches("./");
    if kind == Kind::Directory && matches!(path, "" | ".") {
        return Ok(String::new());
    }
    let path = match kind {
        Kind::Directory => path.strip_suffix('/').unwrap_or(path),
        _ => path,
    };
    if !is_relative(path) {
        return Err(NOT_RELATIVE);
    }
    Ok(path.to_owned())
}

const NOT_RELATIVE: &str = "it is not a relative path of plain names";

fn is_relative(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Checks that every unpacker creates the same file for a path; otherwise returns the reason.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("it is longer than 99 bytes");
    }
    if !is_relative(path) {
        return Err(NOT_RELATIVE);
    }
    if path.contains(|c: char| !c.is_ascii_graphic()) {
        return Err("it has a character other than printable ASCII");
    }
    Ok(())
}

/// For callers that report I/O errors: the input's own error, or `InvalidData`.
impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read(error) => error,
            TarError::Cut(_) => Self::new(io::ErrorKind::UnexpectedEof, error),
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
