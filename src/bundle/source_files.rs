//! The files of an archive of sources: a Go module, perhaps in a directory of the archive.
//!
//! The archive is pinned by its digest, but it is as foreign as any other: it is decompressed and
//! walked under limits, and paths that lead out of it make it invalid. Only regular files are
//! handed over; links are left out, since where one leads is not what the archive was reviewed for.
//! The caller stores the files.

use std::io::{BufRead, Read};

use super::Compression;
use super::compression::UPSTREAM_WINDOW_LOG;
use super::tar::{Extensions, Kind, Paths, Rest, Rules, Stop, TarError, walk};
use crate::model::excerpt;

/// Why an archive has no module.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum SourceFilesError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("it has no file `{}`{}", excerpt(.wanted), other(.found))]
    NoModule { wanted: String, found: Vec<String> },
}

/// What an archive of sources may have. The largest module of the field with its `vendor` directory
/// has 20 000 files with 300 MB, and long names.
const RULES: Rules = Rules {
    members: 200_000,
    bytes: 4 << 30,
    kinds: Kind::OF_FILES,
    extensions: Extensions::All,
    paths: Paths::Relative,
    rest: Rest::Zeros,
    extension_bytes: 64 << 20,
};
/// The file that makes a directory a Go module.
const MODULE: &str = "go.mod";
/// The most other modules that a message names.
const FOUND: usize = 4;

/// Calls `visit` with each regular file below the directory `inside`, or of the whole archive, and
/// with its path from there. It must read all of the content.
///
/// # Errors
/// If the archive is not accepted, or has no `go.mod` there. Files were visited before that.
pub fn read_source_files<E: From<SourceFilesError>>(
    mut input: impl BufRead + Send,
    inside: Option<&str>,
    mut visit: impl FnMut(&str, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let unreadable = |error| SourceFilesError::from(TarError::Read(error));
    let compression = Compression::of_magic(input.fill_buf().map_err(unreadable)?);
    let decoder = compression.decoder_up_to(UPSTREAM_WINDOW_LOG, input).map_err(unreadable)?;
    let prefix = inside.map(|inside| format!("{}/", inside.strip_prefix("./").unwrap_or(inside)));
    let (mut has_module, mut found) = (false, Vec::new());
    let walked = walk(decoder, &RULES, |member| {
        if member.kind != Kind::File {
            return Ok(());
        }
        let path = match &prefix {
            Some(prefix) => member.path.strip_prefix(prefix.as_str()),
            None => Some(member.path),
        };
        has_module |= path == Some(MODULE);
        if member.path.ends_with(MODULE) && found.len() < FOUND {
            found.push(member.path.to_owned());
        }
        match path {
            Some(path) => visit(path, member.content).map_err(Stop::Visitor),
            None => Ok(()),
        }
    });
    walked.map_err(Stop::into_error::<SourceFilesError>)?;
    match has_module {
        true => Ok(()),
        false => {
            let wanted = format!("{}{MODULE}", prefix.unwrap_or_default());
            Err(SourceFilesError::NoModule { wanted, found }.into())
        }
    }
}

fn other(found: &[String]) -> String {
    let found: Vec<String> = found.iter().map(|path| format!("`{}`", excerpt(path))).collect();
    match found.is_empty() {
        true => String::new(),
        false => format!("; it has {}: name the directory in `inside`", found.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, EntryType, Header};

    fn archive(members: &[(&str, EntryType)]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (path, kind) in members {
            let mut header = Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            let content = if *kind == EntryType::Regular { path.as_bytes() } else { b"" };
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// The paths of the files that are handed over, or the words of the refusal.
    fn files(inside: Option<&str>, members: &[(&str, EntryType)]) -> Result<Vec<String>, String> {
        let mut files = Vec::new();
        let read = read_source_files(archive(members).as_slice(), inside, |path, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).unwrap();
            assert!(text.ends_with(path), "{text}");
            files.push(path.to_owned());
            Ok::<(), SourceFilesError>(())
        });
        read.map(|()| files).map_err(|error| error.to_string())
    }

    #[test]
    fn hands_over_the_files_of_the_module() {
        use EntryType::{Directory, Regular, Symlink};
        let members = [
            ("p-1/", Directory),
            ("p-1/go.mod", Regular),
            ("p-1/vendor/a/a.go", Regular),
            ("p-1/link", Symlink),
            ("p-10/b.go", Regular),
            ("other/go.mod", Regular),
        ];
        for inside in ["p-1", "./p-1"] {
            let found = files(Some(inside), &members);
            assert_eq!(found.unwrap(), ["go.mod", "vendor/a/a.go"]);
        }
        assert_eq!(
            files(None, &[("./go.mod", Regular), ("a.go", Regular)]).unwrap(),
            ["go.mod", "a.go"]
        );
    }

    #[test]
    fn refuses_what_is_not_a_module_or_leads_out() {
        use EntryType::Regular;
        for (inside, member, expected) in [
            (None, "a.go", "it has no file `go.mod`"),
            (
                None,
                "p/go.mod",
                "it has no file `go.mod`; it has `p/go.mod`: name the directory in `inside`",
            ),
            (
                Some("q"),
                "p/go.mod",
                "it has no file `q/go.mod`; it has `p/go.mod`: name the directory in `inside`",
            ),
        ] {
            assert_eq!(files(inside, &[(member, Regular)]).expect_err(expected), expected);
        }
        for member in ["../go.mod", "p/../../x", "/etc/go.mod"] {
            let refused = files(None, &[("go.mod", Regular), (member, Regular)]);
            assert!(refused.is_err_and(|it| it.contains(&format!("entry `{member}`"))), "{member}");
        }
        let twice = files(None, &[("go.mod", Regular), ("go.mod", Regular)]);
        assert_eq!(twice.expect_err("twice"), "entry `go.mod` appears twice");
    }
}
