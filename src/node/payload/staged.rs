//! A staged directory, or a mounted image: the files of a bundle as an init container laid them
//! out.
//!
//! Its writer is not trusted. Each file is opened once, and only if it is a regular file: no link
//! is followed, and no open blocks. An entry that `bundle.json` does not list is refused.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Payload, Take};
use crate::bundle::{FileManifest, PluginFile};
use crate::disk::{Directory, DiskError, FileKind, RegularFile, Resolve};
use crate::model::{Code, Finding, PluginName, media_type, visible};
use crate::node::error::NodeError;
use crate::node::host::altered_finding;
use crate::trust::Evidence;

/// The directory of the plugins in an image and in a staged directory.
pub(crate) const BIN: &str = "opt/cni/bin";
/// The directory of `bundle.json` and evidence.
pub(crate) const SHARE: &str = "usr/share/cnister";
/// The file that lists the others.
pub(crate) const BUNDLE_JSON: &str = "bundle.json";
/// Evidence that may accompany the files.
pub(crate) const EVIDENCE_JSON: &str = "evidence.json";
/// Where an image has the program itself.
const TOOL_DIRECTORY: &str = "usr/bin";
const TOOL: &str = "cnister";

/// An opened staged directory.
#[derive(Debug)]
pub struct Staged {
    directory: Directory,
}

impl Staged {
    /// Opens a staged directory or the mount of a bundle image.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        Ok(Self { directory: Directory::open(path).map_err(fault)? })
    }

    /// The bytes of its `bundle.json`: evidence whose chain ends in their digest belongs to it.
    pub fn bundle_json(&self) -> Result<Vec<u8>, NodeError> {
        match self.share_file(BUNDLE_JSON, media_type::DOCUMENT_LIMIT)? {
            Some(bytes) => Ok(bytes),
            None => {
                let message =
                    format!("`{}` does not contain {SHARE}/{BUNDLE_JSON}", self.directory.shown());
                Err(Finding::refusal(Code::MissingEntry, message)
                    .hint("stage it: cnister stage DIR, run by the bundle image itself")
                    .into())
            }
        }
    }

    /// The evidence in the directory; `None` if there is none.
    pub fn evidence(&self) -> Result<Option<Vec<u8>>, NodeError> {
        self.share_file(EVIDENCE_JSON, Evidence::LIMIT)
    }

    /// What is there besides the files of `files`, and what is not there; stops at the first entry
    /// that is not listed.
    pub fn inspect(&self, files: &FileManifest) -> Result<Vec<Finding>, NodeError> {
        let names: BTreeSet<&str> =
            files.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let mut pending = vec![PathBuf::new()];
        let mut present = BTreeSet::new();
        while let Some(path) = pending.pop() {
            let directory = if path.as_os_str().is_empty() {
                self.directory.descend(Path::new("."), Resolve::Beneath)
            } else {
                self.directory.descend(&path, Resolve::Beneath)
            };
            let directory = directory.map_err(plain)?;
            for entry in directory.entries().map_err(fault)? {
                let entry = entry.map_err(fault)?;
                let name = entry.name.to_string_lossy();
                let inner = path.join(&entry.name);
                match expected(&path, &name, &names) {
                    Some(FileKind::Directory) if entry.kind == FileKind::Directory => {
                        pending.push(inner)
                    }
                    Some(FileKind::Regular) if entry.kind == FileKind::Regular => {
                        if path == Path::new(BIN) {
                            present.insert(name.into_owned());
                        }
                    }
                    Some(kind) => {
                        let message = format!("`{}` is {}", self.shown(&inner), entry.kind);
                        return Ok(vec![
                            Finding::refusal(Code::NotAPlainFile, message)
                                .mismatch(kind, entry.kind),
                        ]);
                    }
                    None => {
                        let message =
                            format!("`{}` is not listed in bundle.json", self.shown(&inner));
                        return Ok(vec![Finding::refusal(Code::ExtraEntry, message)]);
                    }
                }
            }
        }
        let missing = names.iter().filter(|name| !present.contains(**name));
        Ok(missing.map(|name| missing_finding(name, self.directory.shown())).collect())
    }

    fn share_file(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, NodeError> {
        let read = self
            .directory
            .descend(Path::new(SHARE), Resolve::Beneath)
            .and_then(|share| share.read(name, limit));
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(plain(error)),
        }
    }

    fn shown(&self, path: &Path) -> String {
        format!("{}/{}", self.directory.shown(), visible(&path.to_string_lossy()))
    }
}

impl Payload for Staged {
    fn deliver(
        &mut self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        let findings = self.inspect(files)?;
        if !findings.is_empty() {
            return Err(NodeError::Refused(findings));
        }
        let bin = self.directory.descend(Path::new(BIN), Resolve::Beneath).map_err(plain)?;
        let origin = format!("`{}`", bin.shown());
        for file in files.plugins.iter().filter(|file| wanted.contains(&file.name)) {
            let opened = open_staged(&bin, file, &origin)?;
            let mut reader = StagedFile { file: opened.file, failed: false };
            let taken = take(file, &origin, &mut reader);
            taken.map_err(|error| match error {
                NodeError::Transfer { source, .. } if reader.failed => {
                    let (action, path) = ("read".to_owned(), opened.shown);
                    fault(DiskError::Io { action, path, source })
                }
                error => error,
            })?;
        }
        Ok(())
    }
}

/// A staged file that remembers whether reading it failed: where it is written to may fail as well.
struct StagedFile {
    file: File,
    failed: bool,
}

impl Read for StagedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        self.failed = read.is_err();
        read
    }
}

/// The kind that an entry of a staged directory must have; `None` if it must not exist.
fn expected(directory: &Path, name: &str, plugins: &BTreeSet<&str>) -> Option<FileKind> {
    let path = directory.join(name);
    let leads_on =
        [BIN, SHARE, TOOL_DIRECTORY].iter().any(|known| Path::new(known).starts_with(&path));
    let known_file = (directory == Path::new(BIN) && plugins.contains(name))
        || (directory == Path::new(SHARE) && (name == BUNDLE_JSON || name == EVIDENCE_JSON))
        || (directory == Path::new(TOOL_DIRECTORY) && name == TOOL);
    match (leads_on, known_file) {
        (true, _) => Some(FileKind::Directory),
        (_, true) => Some(FileKind::Regular),
        _ => None,
    }
}

/// Opens one staged plugin and checks everything that can be checked before reading it.
fn open_staged(bin: &Directory, file: &PluginFile, origin: &str) -> Result<RegularFile, NodeError> {
    let opened = open_listed(bin, file)?;
    if opened.links != 1 {
        // It could be written through its other name while it is read.
        let message = format!("`{}` has a second name", opened.shown);
        let finding = Finding::refusal(Code::NotAPlainFile, message);
        return Err(finding.mismatch("1 name", format_args!("{} names", opened.links)).into());
    }
    if opened.size != file.size {
        return Err(altered_finding(file.into(), origin, &format!("{} bytes", opened.size)).into());
    }
    Ok(opened)
}

/// Opens a plugin that `bundle.json` lists.
pub(crate) fn open_listed(bin: &Directory, file: &PluginFile) -> Result<RegularFile, NodeError> {
    match bin.open_file(file.name.as_str()) {
        Ok(opened) => Ok(opened),
        Err(error) if error.is_not_found() => {
            Err(missing_finding(file.name.as_str(), bin.shown()).into())
        }
        Err(error) => Err(plain(error)),
    }
}

fn missing_finding(name: &str, place: &str) -> Finding {
    Finding::refusal(
        Code::MissingEntry,
        format!("`{name}` is listed in bundle.json but missing from `{place}`"),
    )
}

/// Something else than the file or directory that has to be there is an answer, not a failure.
fn plain(error: DiskError) -> NodeError {
    let kind = match &error {
        DiskError::Io { source, .. } => source.kind(),
        DiskError::NotRegular { .. } | DiskError::TooLong { .. } => io::ErrorKind::NotADirectory,
        _ => io::ErrorKind::Other,
    };
    match kind {
        io::ErrorKind::NotADirectory => {
            Finding::refusal(Code::NotAPlainFile, error.with_cause()).into()
        }
        io::ErrorKind::NotFound => Finding::refusal(Code::MissingEntry, error.with_cause()).into(),
        _ => fault(error),
    }
}

/// What is wrong with the staged directory, and not with this process or the system.
fn fault(error: DiskError) -> NodeError {
    match &error {
        DiskError::Io { .. } if error.of_one_file().is_some() => NodeError::Staged(error),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::node::test_support::{manifest, stage_files};

    const FILES: [(&str, &[u8]); 2] = [("bridge", b"bridge bytes"), ("macvlan", b"macvlan bytes")];

    fn staged() -> (tempfile::TempDir, FileManifest) {
        let temporary = tempfile::tempdir().unwrap();
        let files = manifest(&FILES);
        stage_files(temporary.path(), &files, &FILES);
        (temporary, files)
    }

    fn deliver(
        temporary: &tempfile::TempDir,
        files: &FileManifest,
    ) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let mut taken = Vec::new();
        let wanted = files.plugins.iter().map(|file| file.name.clone()).collect();
        Staged::open(temporary.path())?.deliver(files, &wanted, &mut |file, _, reader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            taken.push((file.name.to_string(), bytes));
            Ok(())
        })?;
        Ok(taken)
    }

    #[test]
    fn hands_over_the_listed_files() {
        let (temporary, files) = staged();
        let expected: Vec<_> =
            FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        assert_eq!(deliver(&temporary, &files).unwrap(), expected);
        assert_eq!(
            Staged::open(temporary.path()).unwrap().bundle_json().unwrap(),
            files.to_bytes()
        );
        assert_eq!(Staged::open(temporary.path()).unwrap().evidence().unwrap(), None);

        // The same as an image has it: with the program and with evidence.
        std::fs::create_dir_all(temporary.path().join("usr/bin")).unwrap();
        std::fs::write(temporary.path().join("usr/bin/cnister"), b"").unwrap();
        std::fs::write(temporary.path().join("usr/share/cnister/evidence.json"), b"{}").unwrap();
        assert_eq!(deliver(&temporary, &files).unwrap(), expected);
        assert_eq!(
            Staged::open(temporary.path()).unwrap().evidence().unwrap(),
            Some(b"{}".to_vec())
        );
    }

    #[test]
    fn refuses_what_is_not_exactly_the_listed_files() {
        type Change = fn(&Path);
        let cases: [(&str, Change, Code); 13] = [
            (
                "extra plugin",
                |root| std::fs::write(root.join("opt/cni/bin/evil"), b"").unwrap(),
                Code::ExtraEntry,
            ),
            (
                "hidden extra",
                |root| std::fs::write(root.join("opt/cni/bin/.x"), b"").unwrap(),
                Code::ExtraEntry,
            ),
            (
                "extra at the top",
                |root| std::fs::create_dir(root.join("etc")).unwrap(),
                Code::ExtraEntry,
            ),
            (
                "extra document",
                |root| std::fs::write(root.join("usr/share/cnister/x"), b"").unwrap(),
                Code::ExtraEntry,
            ),
            (
                "missing",
                |root| std::fs::remove_file(root.join("opt/cni/bin/bridge")).unwrap(),
                Code::MissingEntry,
            ),
            (
                "directory in place of a file",
                |root| {
                    std::fs::remove_file(root.join("opt/cni/bin/bridge")).unwrap();
                    std::fs::create_dir(root.join("opt/cni/bin/bridge")).unwrap();
                },
                Code::NotAPlainFile,
            ),
            (
                "link",
                |root| {
                    std::fs::rename(
                        root.join("opt/cni/bin/bridge"),
                        root.join("usr/share/cnister/evidence.json"),
                    )
                    .unwrap();
                    symlink(
                        "../../../usr/share/cnister/evidence.json",
                        root.join("opt/cni/bin/bridge"),
                    )
                    .unwrap();
                },
                Code::NotAPlainFile,
            ),
            (
                "FIFO",
                |root| {
                    std::fs::remove_file(root.join("opt/cni/bin/bridge")).unwrap();
                    let mode = rustix::fs::Mode::RWXU;
                    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("opt/cni/bin/bridge"), mode)
                        .unwrap();
                },
                Code::NotAPlainFile,
            ),
            (
                "second name",
                |root| {
                    std::fs::hard_link(
                        root.join("opt/cni/bin/bridge"),
                        root.join("usr/share/cnister/evidence.json"),
                    )
                    .unwrap();
                },
                Code::NotAPlainFile,
            ),
            (
                "longer",
                |root| std::fs::write(root.join("opt/cni/bin/bridge"), b"bridge bytes!").unwrap(),
                Code::FileAltered,
            ),
            (
                "shorter",
                |root| std::fs::write(root.join("opt/cni/bin/bridge"), b"bridge").unwrap(),
                Code::FileAltered,
            ),
            (
                "linked directory",
                |root| {
                    std::fs::rename(root.join("opt/cni"), root.join("opt/real")).unwrap();
                    symlink("real", root.join("opt/cni")).unwrap();
                    std::fs::rename(root.join("opt/real"), root.join("cni")).unwrap();
                },
                Code::NotAPlainFile,
            ),
            (
                "file in place of a directory",
                |root| {
                    std::fs::remove_dir_all(root.join("opt")).unwrap();
                    std::fs::write(root.join("opt"), b"").unwrap();
                },
                Code::NotAPlainFile,
            ),
        ];
        for (what, change, expected) in cases {
            let (temporary, files) = staged();
            change(temporary.path());
            let findings = deliver(&temporary, &files).expect_err(what).into_findings().unwrap();
            let first = findings.first().map(|finding| finding.code);
            // A listing has no order: the stray `cni` of one case may be seen first.
            let also = (what == "linked directory").then_some(Code::ExtraEntry);
            assert!(first == Some(expected) || first == also, "{what}: {findings:?}");
        }
    }

    #[test]
    fn a_flood_of_extra_entries_is_refused_at_the_first() {
        let (temporary, files) = staged();
        for number in 0..5_000 {
            std::fs::write(temporary.path().join(format!("opt/cni/bin/extra{number}")), b"")
                .unwrap();
        }
        let start = Instant::now();
        let findings = deliver(&temporary, &files).expect_err("a flood").into_findings().unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].code, Code::ExtraEntry);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn a_directory_without_bundle_json_says_how_to_get_one() {
        let temporary = tempfile::tempdir().unwrap();
        let error = Staged::open(temporary.path()).unwrap().bundle_json().expect_err("empty");
        assert_eq!(error.into_findings().unwrap()[0].code, Code::MissingEntry);
    }
}
