//! The files that a build takes in: plugins from directories, and the tool.
//!
//! A file is opened once. What is described (digest, platform, linkage) is read from that handle,
//! and what is packed is read from it again and compared, so that a name that changes its file in
//! between is noticed.

mod directory_override;
mod error;
mod plugin;
mod tool;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::binary::{Elf, GoBuild};
use crate::bundle::definition::source::DirectoryPattern;
use crate::bundle::definition::{Source, SourceKind, SourceName};
use crate::bundle::{Definition, FileManifest, PluginFile};
use crate::model::{Digest, Platform, PluginName};

pub use directory_override::{DirectoryOverride, ParseOverrideError};
pub use error::SourceError;
pub use plugin::Plugin;
pub use tool::Tool;

/// The directories of a definition's sources on this machine.
#[derive(Debug, Clone)]
pub struct Directories {
    folder: PathBuf,
    overrides: BTreeMap<SourceName, DirectoryPattern>,
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
        let SourceKind::Directory(directory) = &source.kind;
        match self.overrides.get(&source.name) {
            Some(directory) => PathBuf::from(directory.of(platform)),
            None => self.folder.join(directory.of(platform)),
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
            go: GoBuild::of(&elf)
                .map_err(|source| SourceError::Read { path: path.clone(), source })?,
        };
        Ok(Plugin { facts, path, file })
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

fn program<'a>(path: &Path, content: &'a [u8]) -> Result<Elf<&'a [u8]>, SourceError> {
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

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::binary::Linkage;
    use crate::binary::sample::Sample;
    use crate::bundle::ToolFile;

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
