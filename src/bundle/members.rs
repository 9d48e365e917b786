//! Which members of an archive are the wanted plugins, and the walk that finds them.
//!
//! The bytes come from the network, perhaps unsigned: the archive is decompressed and walked under
//! limits, its kind is what its first bytes say, and nothing is unpacked to a path that it names.
//! The caller stores the content. Whether a member is a program is found out later.
//!
//! A plugin's member is the one that the definition names, else the file with the plugin's name, at
//! the top of the archive or in one directory. If there are several, none is taken: which of them
//! the project means is not ours to guess. A link or a device is never taken: where it leads is not
//! what the archive was reviewed for.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

use crate::bundle::archive::ahead::Ahead;
use crate::bundle::compression::UPSTREAM_WINDOW_LOG;
use crate::bundle::tar::{
    Extensions, Kind, MAX_EXTENSIONS, Member, Paths, Rest, Rules, Stop, TarError, walk,
};
use crate::bundle::{
    Compression, FileManifest, FoundLicense, LONGEST_LICENSE, LicenseFiles, Privilege,
};
use crate::model::{PluginName, and_others, excerpt};

/// The wanted members of an archive, and what was found of them.
#[derive(Debug)]
pub struct Members {
    wanted: Vec<WantedMember>,
    /// Files that were seen, for messages.
    seen: Vec<String>,
    licenses: LicenseFiles,
}

/// The wanted members of an archive, and its licence.
#[derive(Debug)]
pub struct FoundMembers {
    /// The path of each wanted member.
    pub paths: Vec<String>,
    /// The licence in the archive's own files.
    pub license: Option<FoundLicense>,
}

/// A member that is wanted.
pub struct FoundMember<'a> {
    /// The privileges of its file.
    pub privileges: BTreeSet<Privilege>,
    /// All of it.
    pub content: &'a mut dyn Read,
}

#[derive(Debug)]
struct WantedMember {
    name: PluginName,
    /// The path that the definition names.
    path: Option<String>,
    /// The members that it could be.
    found: Vec<(String, Kind)>,
}

/// Why a plugin cannot be taken from an archive.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum MemberError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(
        "its member `{}` is larger than {} bytes, the limit for one file",
        excerpt(.0), FileManifest::MAX_PLUGIN_SIZE
    )]
    TooLarge(String),
    #[error("it has no member {}{}", wanted(.name, .path.as_deref()), list(.seen))]
    Missing { name: PluginName, path: Option<String>, seen: Vec<String> },
    #[error(
        "it has several members that could be `{name}`: {}; name one in `members`",
        .found.iter().map(|path| format!("`{}`", excerpt(path))).collect::<Vec<_>>().join(", ")
    )]
    Several { name: PluginName, found: Vec<String> },
    #[error("its member `{}` is {}, expected a regular file", excerpt(.path), kind.name())]
    NotAFile { path: String, kind: Kind },
}

/// What an archive of plugins may have. Links and devices may be there; a wanted member may not be
/// one. Paths that lead out, repeated names, and whatever two readers of tar read differently make
/// the whole archive untrustworthy.
const RULES: Rules = Rules {
    members: 20_000,
    // All plugins of a release have 100 MB; with this, a bomb costs seconds and no memory.
    bytes: 4 << 30,
    kinds: Kind::OF_FILES,
    extensions: Extensions::All,
    paths: Paths::Relative,
    rest: Rest::Zeros,
    extension_bytes: MAX_EXTENSIONS,
};
/// The most files that are remembered for messages.
const SEEN: usize = 24;
/// The most members that are remembered for one plugin.
const FOUND: usize = 8;

/// Walks an archive, plain or compressed with gzip or zstd, to its end. `visit` gets each wanted
/// member, with the numbers of those it is; it must read all of its content.
///
/// Only when this returns is it known that no other member could be meant: what was visited before
/// may have to be thrown away. A second thread decompresses; `visit` is called in the caller's.
pub fn read_members<E: From<MemberError>>(
    mut input: impl BufRead + Send,
    mut members: Members,
    mut visit: impl FnMut(&[usize], FoundMember<'_>) -> Result<(), E>,
) -> Result<FoundMembers, E> {
    let unreadable = |error| MemberError::from(TarError::Read(error));
    let compression = Compression::of_magic(input.fill_buf().map_err(unreadable)?);
    let decoder = compression.decoder_up_to(UPSTREAM_WINDOW_LOG, input).map_err(unreadable)?;
    let walked = std::thread::scope(|scope| {
        let (decoded, _) = Ahead::start(scope, decoder, io::sink()).map_err(TarError::Read)?;
        walk(decoded, &RULES, |member| {
            let numbers = members.take(member.path, member.kind);
            if numbers.is_empty() {
                return members.take_license(member).map_err(Stop::Tar);
            }
            if member.size > FileManifest::MAX_PLUGIN_SIZE {
                let path = member.path.to_owned();
                return Err(Stop::Visitor(MemberError::TooLarge(path).into()));
            }
            let privileges = Privilege::of(member.mode, member.capabilities);
            let found = FoundMember { privileges, content: member.content };
            visit(&numbers, found).map_err(Stop::Visitor)
        })
    });
    walked.map_err(Stop::into_error::<MemberError>)?;
    let license = std::mem::take(&mut members.licenses).finish();
    Ok(FoundMembers { paths: members.finish()?, license })
}

impl Members {
    /// Wants a member for each plugin, at the path if the definition names one.
    pub fn new(wanted: impl IntoIterator<Item = (PluginName, Option<String>)>) -> Self {
        let wanted = wanted.into_iter().map(|(name, path)| WantedMember {
            name,
            path: path.map(|path| path.strip_prefix("./").unwrap_or(&path).to_owned()),
            found: Vec::new(),
        });
        Self { wanted: wanted.collect(), seen: Vec::new(), licenses: LicenseFiles::default() }
    }

    /// Takes note of a member; returns the wanted ones, by number, that are this file.
    pub fn take(&mut self, path: &str, kind: Kind) -> Vec<usize> {
        if kind == Kind::File && self.seen.len() < SEEN {
            self.seen.push(path.to_owned());
        }
        let mut taken = Vec::new();
        for (number, wanted) in self.wanted.iter_mut().enumerate() {
            if !wanted.is(path, kind) {
                continue;
            }
            if wanted.found.is_empty() && kind == Kind::File {
                taken.push(number);
            }
            if wanted.found.len() < FOUND {
                wanted.found.push((path.to_owned(), kind));
            }
        }
        taken
    }

    /// Reads a member that says something of the licence.
    fn take_license(&mut self, member: Member<'_>) -> Result<(), TarError> {
        let Member { path, kind, size, content, .. } = member;
        if kind == Kind::File && size <= LONGEST_LICENSE && self.licenses.is_one(path) {
            let mut text = Vec::new();
            content.read_to_end(&mut text).map_err(TarError::Read)?;
            self.licenses.add(path, text);
        }
        Ok(())
    }

    /// After the last member: the path of each wanted one, or why one is not to be had.
    pub fn finish(self) -> Result<Vec<String>, MemberError> {
        let Self { wanted, seen, .. } = self;
        wanted.into_iter().map(|wanted| wanted.only(&seen)).collect()
    }
}

impl WantedMember {
    /// Whether a member could be it.
    fn is(&self, path: &str, kind: Kind) -> bool {
        match &self.path {
            Some(wanted) => wanted == path,
            None if kind == Kind::Directory => false,
            None => {
                let (directory, base) = path.rsplit_once('/').unwrap_or(("", path));
                base == self.name.as_str() && !directory.contains('/')
            }
        }
    }

    fn only(self, seen: &[String]) -> Result<String, MemberError> {
        let Self { name, path, mut found } = self;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(MemberError::Missing { name, path, seen: seen.to_vec() }),
            (Some((path, Kind::File)), true) => Ok(path),
            (Some((path, kind)), true) => Err(MemberError::NotAFile { path, kind }),
            (Some(last), false) => {
                found.push(last);
                let found = found.into_iter().map(|(path, _)| path).collect();
                Err(MemberError::Several { name, found })
            }
        }
    }
}

fn wanted(name: &PluginName, path: Option<&str>) -> String {
    format!("`{}`", path.map_or_else(|| name.to_string(), excerpt))
}

/// What there is instead.
fn list(seen: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> =
        seen.iter().take(SHOWN).map(|path| format!("`{}`", excerpt(path))).collect();
    match shown.is_empty() {
        true => "; it has no files".to_owned(),
        false => {
            format!("; it has {}{}", shown.join(", "), and_others(seen.len().saturating_sub(SHOWN)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken for `bridge` (with this path) of these members, or the words of the refusal.
    fn found(path: Option<&str>, members: &[(&str, Kind)]) -> Result<String, String> {
        let mut wanted = Members::new([("bridge".parse().unwrap(), path.map(str::to_owned))]);
        let taken: Vec<&str> = members
            .iter()
            .filter(|(path, kind)| !wanted.take(path, *kind).is_empty())
            .map(|(path, _)| *path)
            .collect();
        let finished = wanted.finish().map_err(|error| error.to_string())?;
        assert_eq!(taken, finished, "what is handed over is what was found");
        Ok(finished.concat())
    }

    #[test]
    fn a_plugin_is_the_file_with_its_name_or_the_one_that_is_named() {
        let file = |path| (path, Kind::File);
        let readme = file("README.md");
        for (path, members, expected) in [
            (None, &[readme, file("bridge")][..], "bridge"),
            (None, &[("v1", Kind::Directory), file("v1/bridge")], "v1/bridge"),
            (None, &[("bridge", Kind::Directory), file("bridge/bridge")], "bridge/bridge"),
            (None, &[file("bridge"), file("src/cmd/bridge")], "bridge"),
            (Some("bridge-amd64"), &[file("bridge"), file("bridge-amd64")], "bridge-amd64"),
            (Some("./a/b/c"), &[file("a/b/c"), file("bridge")], "a/b/c"),
        ] {
            assert_eq!(found(path, members), Ok(expected.to_owned()), "{members:?}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        let file = |path| (path, Kind::File);
        for (path, members, expected) in [
            (None, &[][..], "it has no member `bridge`; it has no files"),
            (
                None,
                &[file("src/cmd/bridge"), file("bridge2")],
                "it has no member `bridge`; it has `src/cmd/bridge`, `bridge2`",
            ),
            (Some("x"), &[file("bridge")], "it has no member `x`; it has `bridge`"),
            (
                None,
                &[file("bridge"), file("a/bridge")],
                "it has several members that could be `bridge`: `bridge`, `a/bridge`; name one in `members`",
            ),
            (
                None,
                &[("a/bridge", Kind::SymbolicLink), file("bridge")],
                "it has several members that could be `bridge`: `a/bridge`, `bridge`; name one in `members`",
            ),
            (
                None,
                &[("bridge", Kind::SymbolicLink)],
                "its member `bridge` is a symbolic link, expected a regular file",
            ),
            (
                Some("x"),
                &[("x", Kind::HardLink)],
                "its member `x` is a hard link, expected a regular file",
            ),
            (
                Some("x"),
                &[("x", Kind::CharacterDevice)],
                "its member `x` is a character device, expected a regular file",
            ),
            (
                Some("x"),
                &[("x", Kind::Directory)],
                "its member `x` is a directory, expected a regular file",
            ),
        ] {
            let mut wanted = Members::new([("bridge".parse().unwrap(), path.map(str::to_owned))]);
            for (path, kind) in members {
                wanted.take(path, *kind);
            }
            let error = wanted.finish().expect_err(expected).to_string();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn one_file_can_be_two_plugins() {
        let name = |name: &str| name.parse().unwrap();
        let at = || Some("all".to_owned());
        let mut wanted = Members::new([(name("a"), at()), (name("b"), None), (name("c"), at())]);
        assert_eq!(wanted.take("all", Kind::File), [0, 2]);
        assert_eq!(wanted.take("b", Kind::File), [1]);
        assert_eq!(wanted.finish().unwrap(), ["all", "b", "all"]);
    }
}
