//! The files that a build takes in: plugins from directories, and the tool.
//!
//! A file is opened once. What is described (digest, platform, linkage) is read from that handle,
//! and what is packed is read from it again and compared, so that a name that changes its file in
//! between is noticed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::binary::{Elf, ElfError, GoBuild, Linkage};
use crate::bundle::definition::{DirectoryPattern, Source, SourceName};
use crate::bundle::{Definition, Entry, EntryKind, FileManifest, PluginFile, ToolFile};
use crate::model::{Digest, Platform, PluginName, visible};

/// The directories of a definition's sources on this machine.
#[derive(Debug, Clone)]
pub struct Directories {
    folder: PathBuf,
    overrides: BTreeMap<SourceName, DirectoryPattern>,
}

/// `NAME=PATH`: where a source lies on this machine, whatever the definition says. A relative path
/// is relative to the working directory, as every path on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryOverride {
    /// The source.
    pub name: SourceName,
    /// Its directory.
    pub directory: DirectoryPattern,
}

/// Why a text is not a [`DirectoryOverride`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseOverrideError {
    /// No `=`.
    #[error("`{0}` has no `=`; write `NAME=PATH`")]
    Form(String),
    /// Not the name of a source.
    #[error(transparent)]
    Name(#[from] crate::bundle::definition::ParseSourceNameError),
    /// Not a directory.
    #[error(transparent)]
    Directory(#[from] crate::bundle::definition::ParseDirectoryError),
}

/// A plugin whose file is open.
#[derive(Debug)]
pub struct Plugin {
    /// What is known of it.
    pub facts: PluginFile,
    path: PathBuf,
    file: File,
}

/// The static `cnister` of one platform.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The platform that it runs on.
    pub platform: Platform,
    /// Its digest and size.
    pub facts: ToolFile,
    content: Vec<u8>,
}

/// Why a file cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A word about a source that the definition does not have.
    #[error("the definition has no source `{name}`, only {choices}")]
    NoSource {
        /// The name.
        name: SourceName,
        /// The sources there are.
        choices: String,
    },
    /// One directory where each platform needs its own.
    #[error("`{0}` is one directory for several platforms; write `{{architecture}}` into it")]
    OneDirectory(String),
    /// A directory that is not there.
    #[error("cannot read the directory `{}` of the source `{name}`", .directory.display())]
    Directory {
        /// The source.
        name: SourceName,
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A plugin that is not there.
    #[error("`{}` has no plugin `{name}`{}", .directory.display(), hint(.name, .found))]
    Missing {
        /// The plugin.
        name: PluginName,
        /// The directory.
        directory: PathBuf,
        /// What is there.
        found: Vec<String>,
    },
    /// Something other than a file.
    #[error("`{}` is {found}, expected a regular file", .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A link that leads out of the source: what it holds was not put there for this bundle.
    #[error("`{}` is a link to `{}`, outside of the directory of its source", .path.display(), .target.display())]
    LeavesDirectory {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file larger than a node accepts.
    #[error("`{}` is larger than {limit} bytes, the limit for one file", .path.display(), limit = FileManifest::MAX_PLUGIN_SIZE)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file that no node of the platform could run.
    #[error("`{}` {problem}", .path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ElfError,
    },
    /// A tool that needs files which its image does not have.
    #[error("the tool `{}` is linked dynamically (it needs `{interpreter}`), expected a static program", .path.display())]
    NotStatic {
        /// The file.
        path: PathBuf,
        /// The interpreter that it asks for.
        interpreter: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Directories {
    /// The directories of `definition`, which lies in `folder`.
    pub fn new(
        definition: &Definition,
        folder: &Path,
        overrides: Vec<DirectoryOverride>,
    ) -> Result<Self, SourceError> {
        for DirectoryOverride { name, directory } in &overrides {
            if definition.source(name).is_none() {
                let choices: Vec<_> =
                    definition.sources.iter().map(|source| format!("`{}`", source.name)).collect();
                return Err(SourceError::NoSource {
                    name: name.clone(),
                    choices: choices.join(", "),
                });
            }
            if let ([first, _, ..], false) =
                (definition.platforms.as_slice(), directory.differs_by_platform())
            {
                return Err(SourceError::OneDirectory(directory.of(first)));
            }
        }
        let overrides = overrides
            .into_iter()
            .map(|DirectoryOverride { name, directory }| (name, directory))
            .collect();
        Ok(Self { folder: folder.to_owned(), overrides })
    }

    /// The directory of a source for one platform.
    pub fn of(&self, source: &Source, platform: &Platform) -> PathBuf {
        match self.overrides.get(&source.name) {
            Some(directory) => PathBuf::from(directory.of(platform)),
            None => self.folder.join(source.directory.of(platform)),
        }
    }

    /// Opens a plugin of a source and describes it.
    pub fn open(
        &self,
        source: &Source,
        name: &PluginName,
        platform: &Platform,
    ) -> Result<Plugin, SourceError> {
        let directory = self.of(source, platform);
        let error = |source_error| SourceError::Directory {
            name: source.name.clone(),
            directory: directory.clone(),
            source: source_error,
        };
        let whole = directory.canonicalize().map_err(error)?;
        let path = directory.join(name.as_str());
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let found = names(&whole).map_err(error)?;
                return Err(SourceError::Missing { name: name.clone(), directory, found });
            }
            Err(source) => return Err(SourceError::Read { path, source }),
        };
        if !target.starts_with(&whole) {
            return Err(SourceError::LeavesDirectory { path, target });
        }
        let (file, content) = read(&path, &target)?;
        let elf = program(&path, &content)?;
        elf.expect_platform(platform)
            .map_err(|problem| SourceError::Program { path: path.clone(), problem })?;
        let facts = PluginFile {
            name: name.clone(),
            digest: Digest::of(&content),
            size: content.len() as u64,
            linkage: elf.linkage().clone(),
            go: GoBuild::of(&elf),
        };
        Ok(Plugin { facts, path, file })
    }
}

impl Plugin {
    /// Its entry in a layer, in `directory`; read from the file that was described.
    pub fn entry(&mut self, directory: &str) -> Result<Entry<'_>, SourceError> {
        let rewound = self.file.rewind();
        rewound.map_err(|source| SourceError::Read { path: self.path.clone(), source })?;
        let PluginFile { name, digest, size, .. } = &self.facts;
        let (path, digest, size) = (format!("{directory}/{name}"), *digest, *size);
        Ok(Entry {
            path,
            kind: EntryKind::Program,
            digest,
            size,
            content: Box::new(&mut self.file),
        })
    }
}

impl Tool {
    /// Reads a tool; its platform is what its ELF header says.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let (_, content) = read(path, path)?;
        let elf = program(path, &content)?;
        if let Linkage::Dynamic { interpreter } = elf.linkage() {
            return Err(SourceError::NotStatic {
                path: path.to_owned(),
                interpreter: interpreter.clone(),
            });
        }
        let platform = elf.platform().clone();
        let facts = ToolFile { digest: Digest::of(&content), size: content.len() as u64 };
        Ok(Self { platform, facts, content })
    }

    /// Its entry in a layer, at `path`.
    pub fn entry(&self, path: &str) -> Entry<'_> {
        Entry::of_bytes(path, EntryKind::Program, &self.content)
    }
}

impl FromStr for DirectoryOverride {
    type Err = ParseOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, directory) = text
            .split_once('=')
            .ok_or_else(|| ParseOverrideError::Form(visible(text).into_owned()))?;
        Ok(Self { name: name.parse()?, directory: directory.parse()? })
    }
}

/// Opens and reads a regular file; `path` is what errors call it.
fn read(path: &Path, target: &Path) -> Result<(File, Vec<u8>), SourceError> {
    let error = |source| SourceError::Read { path: path.to_owned(), source };
    // Looked at before it is opened: opening a FIFO would wait for somebody to write to it.
    let kind = fs::metadata(target).map_err(error)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a device, FIFO or socket" };
        return Err(SourceError::NotAFile { path: path.to_owned(), found });
    }
    let mut file = File::open(target).map_err(error)?;
    let mut content = Vec::new();
    let limit = FileManifest::MAX_PLUGIN_SIZE;
    // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
    Read::by_ref(&mut file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(error)?;
    if content.len() as u64 > limit {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    Ok((file, content))
}

fn program<'a>(path: &Path, content: &'a [u8]) -> Result<Elf<'a>, SourceError> {
    Elf::parse(content).map_err(|problem| SourceError::Program { path: path.to_owned(), problem })
}

/// What a directory holds, sorted, as far as it could be a plugin.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.parse::<PluginName>().is_ok() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What the reader may have meant: a name that is nearly the one asked for, else all there are.
fn hint(name: &PluginName, found: &[String]) -> String {
    let near: Vec<&String> = found.iter().filter(|other| is_near(name.as_str(), other)).collect();
    let listed = if near.is_empty() { found.iter().collect() } else { near.clone() };
    let text =
        listed.iter().take(24).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match listed.len() {
        0 => "; it holds no plugin at all".to_owned(),
        _ if !near.is_empty() => format!("; it has {text}"),
        count if count > 24 => format!("; it has {text} and {} more", count - 24),
        _ => format!("; it has {text}"),
    }
}

/// Whether two names differ in one or two letters, or one starts with the other (`flannel`,
/// `flannel-amd64`).
fn is_near(name: &str, other: &str) -> bool {
    if name.starts_with(other) || other.starts_with(name) {
        return true;
    }
    // `ptp`, `sbr` and `vrf` are two letters apart, and nobody means one and writes the other.
    let limit = if name.len() < 5 { 1 } else { 2 };
    // The row of Levenshtein's matrix for each prefix of `name`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in name.bytes().enumerate() {
        let mut next = vec![index + 1];
        for ((b, diagonal), above) in other.bytes().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= limit)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::binary::sample::Sample;

    /// A definition of these plugins from the directory `cni` beside it.
    pub(in crate::publish) fn definition(platforms: &str, plugins: &str) -> Definition {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\nplatforms: [{platforms}]\n\
             sources:\n  - {{name: files, directory: \"cni-{{architecture}}\"}}\nplugins: [{plugins}]\n"
        );
        Definition::parse("sample.yaml", &text).unwrap()
    }

    fn write(path: &Path, content: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn open(folder: &Path, name: &str) -> Result<Plugin, String> {
        let definition = definition("linux/amd64", "bridge");
        let directories = Directories::new(&definition, folder, Vec::new()).unwrap();
        let name = name.parse().unwrap();
        directories
            .open(&definition.sources[0], &name, &definition.platforms[0])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn describes_a_plugin_and_packs_what_it_described() {
        let folder = tempfile::tempdir().unwrap();
        let content = Sample::named("bridge");
        write(&folder.path().join("cni-amd64/bridge"), &content);
        let mut plugin = open(folder.path(), "bridge").unwrap();
        let expected = PluginFile {
            name: "bridge".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
            linkage: Linkage::Static,
            go: Some(GoBuild {
                go: "go1.26.3".to_owned(),
                path: "example.com/cni/bridge".to_owned(),
                version: Some("v1.2.3".to_owned()),
            }),
        };
        assert_eq!(plugin.facts, expected);
        for _ in 0..2 {
            let mut entry = plugin.entry("opt/cni/bin").unwrap();
            let mut packed = Vec::new();
            entry.content.read_to_end(&mut packed).unwrap();
            assert_eq!(entry.path, "opt/cni/bin/bridge");
            assert_eq!(
                (entry.digest, entry.size, packed.as_slice()),
                (expected.digest, expected.size, &content[..])
            );
        }
    }

    #[test]
    fn says_what_is_there_where_a_plugin_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        let shown = directory.display().to_string();
        assert_eq!(
            open(folder.path(), "bridge").expect_err("no directory"),
            format!("cannot read the directory `{shown}` of the source `files`")
        );
        fs::create_dir(&directory).unwrap();
        let expected = format!("`{shown}` has no plugin `bridge`; it holds no plugin at all");
        assert_eq!(open(folder.path(), "bridge").expect_err("empty"), expected);
        for name in ["macvlan", "host-local", "host-device", "flannel-amd64", ".hidden", "ptp"] {
            write(&directory.join(name), b"");
        }
        for (name, expected) in [
            ("mcvlan", "`macvlan`"),
            ("hostlocal", "`host-local`"),
            ("flannel", "`flannel-amd64`"),
            ("vrf", "`flannel-amd64`, `host-device`, `host-local`, `macvlan`, `ptp`"),
        ] {
            let expected = format!("`{shown}` has no plugin `{name}`; it has {expected}");
            assert_eq!(open(folder.path(), name).expect_err(name), expected);
        }
    }

    #[test]
    fn takes_a_link_inside_and_none_that_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        write(&directory.join("real"), &Sample::named("bridge"));
        write(&folder.path().join("outside"), &Sample::named("bridge"));
        symlink("real", directory.join("inside")).unwrap();
        symlink("../outside", directory.join("out")).unwrap();
        symlink("nowhere", directory.join("broken")).unwrap();
        assert_eq!(open(folder.path(), "inside").unwrap().facts.name.as_str(), "inside");
        let error = open(folder.path(), "out").expect_err("a link that leads out");
        assert!(error.ends_with("outside`, outside of the directory of its source"), "{error}");
        let error = open(folder.path(), "broken").expect_err("a link that leads nowhere");
        assert!(error.contains("has no plugin `broken`; it has `broken`"), "{error}");
    }

    #[test]
    fn refuses_what_no_node_could_run() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        let arm = Sample { machine: 183, ..Sample::default() }.bytes();
        let whole = Sample::named("bridge");
        write(&directory.join("script"), b"#!/bin/sh\n");
        write(&directory.join("arm"), &arm);
        write(&directory.join("cut"), &whole[..whole.len() - 1]);
        fs::create_dir(directory.join("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
        for (name, expected) in [
            ("script", "is not an ELF program: it is a script (it starts with `#!`)".to_owned()),
            ("arm", "is built for linux/arm64, expected linux/amd64".to_owned()),
            (
                "cut",
                format!(
                    "is cut short: its table of sections ends at byte {}, the file has {}",
                    whole.len(),
                    whole.len() - 1
                ),
            ),
            ("directory", "is a directory, expected a regular file".to_owned()),
            ("socket", "is a device, FIFO or socket, expected a regular file".to_owned()),
        ] {
            let expected = format!("`{}` {expected}", directory.join(name).display());
            assert_eq!(open(folder.path(), name).expect_err(name), expected);
        }
    }

    #[test]
    fn a_directory_can_be_said_on_the_command_line() {
        let definition = definition("linux/amd64, linux/arm64", "bridge");
        let directory = |text: &str| {
            let directories =
                Directories::new(&definition, Path::new("bundles"), vec![text.parse().unwrap()]);
            let directories = directories.map_err(|error| error.to_string())?;
            Ok(definition
                .platforms
                .iter()
                .map(|platform| directories.of(&definition.sources[0], platform))
                .collect())
        };
        let expected: Vec<PathBuf> = vec!["out/amd64".into(), "out/arm64".into()];
        assert_eq!(directory("files=out/{architecture}"), Ok(expected));
        assert_eq!(
            directory("other=out"),
            Err("the definition has no source `other`, only `files`".to_owned())
        );
        assert_eq!(
            directory("files=out"),
            Err("`out` is one directory for several platforms; write `{architecture}` into it"
                .to_owned())
        );
        let directories = Directories::new(&definition, Path::new("bundles"), Vec::new()).unwrap();
        assert_eq!(
            directories.of(&definition.sources[0], &definition.platforms[1]),
            Path::new("bundles/cni-arm64")
        );
        for (text, expected) in [
            ("out", "`out` has no `=`; write `NAME=PATH`"),
            (
                "A=out",
                "`A` is not the name of a source: 1 to 63 lower-case letters, digits and dashes",
            ),
            ("a=", "a directory is missing; `.` is the one of the definition"),
        ] {
            assert_eq!(text.parse::<DirectoryOverride>().expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_tool_is_a_static_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cnister");
        let content = Sample { machine: 183, ..Sample::default() }.bytes();
        write(&path, &content);
        let tool = Tool::open(&path).unwrap();
        assert_eq!(tool.platform.to_string(), "linux/arm64");
        assert_eq!(
            tool.facts,
            ToolFile { digest: Digest::of(&content), size: content.len() as u64 }
        );
        write(
            &path,
            &Sample { interpreter: Some("/lib/ld.so".into()), ..Sample::default() }.bytes(),
        );
        let expected = format!(
            "the tool `{}` is linked dynamically (it needs `/lib/ld.so`), expected a static program",
            path.display()
        );
        assert_eq!(Tool::open(&path).expect_err("dynamic").to_string(), expected);
    }
}
