//! The sources of a bundle: where its plugins come from, one kind per file.
//!
//! A source finds files and hands them over open ([`PluginSource`]). [`Plugin`] determines what a
//! file is, in the same way for all kinds, and the definition says which plugins are wanted. No
//! file is held in memory.

mod archive;
mod asset;
mod asset_error;
mod cache;
mod checksums;
mod directory;
mod directory_override;
mod error;
mod fetch;
mod file;
mod file_ranges;
mod from_start;
mod go;
mod image;
mod image_error;
mod image_manifest;
mod image_signed;
mod license;
mod plugin;
mod plugin_source;
mod requested;
mod signed;
mod spool;
mod taken;
mod tool;
mod wanted;

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::archive::ArchiveSource;
use self::directory::DirectorySource;
use self::file::FileSource;
use self::go::{GoSource, Rebuild};
use self::image::ImageSource;
use crate::bundle::Definition;
use crate::bundle::definition::{Source, SourceKind, SourceName};
use crate::model::Platform;
use crate::publish::parallel;

pub use asset_error::AssetError;
pub use cache::{Cache, CacheError, Pruned};
pub use directory_override::{DirectoryOverride, ParseOverrideError};
pub use error::SourceError;
pub use fetch::{Evidence, Fetch};
pub(super) use file_ranges::FileRanges;
pub(super) use go::RebuiltPlugin;
pub use go::{GoError, GoProxy, GoSettings, ParseProxyError, ROOM_COMMAND, enter_room};
pub use image_error::ImageError;
pub use plugin::Plugin;
pub use plugin_source::PluginSource;
pub use requested::RequestedPlugins;
pub use taken::Taken;
pub use tool::Tool;
pub use wanted::Wanted;

/// The sources of a definition as they are on this machine.
pub struct Sources<'a> {
    definition: &'a Definition,
    sources: Vec<(&'a SourceName, Box<dyn PluginSource + 'a>)>,
    /// The first source of which a build takes only what a lock pins.
    to_lock: Option<&'a SourceName>,
    fetch: &'a Fetch,
}

impl<'a> Sources<'a> {
    /// The sources of `definition`, a file in `folder`, which fetch with `fetch`. Nothing is looked
    /// for yet.
    pub fn new(
        definition: &'a Definition,
        folder: &'a Path,
        overrides: &[DirectoryOverride],
        fetch: &'a Fetch,
    ) -> Result<Self, SourceError> {
        overrides.iter().try_for_each(|said| said.check(definition))?;
        let (mut sources, mut to_lock) = (Vec::new(), None);
        for Source { name, kind, .. } in &definition.sources {
            let source: Box<dyn PluginSource + 'a> =
                match overrides.iter().rev().find(|said| said.name == *name) {
                    Some(said) => Box::new(DirectorySource::new(name, "", &said.directory)),
                    None => {
                        to_lock = to_lock.or(kind.needs_lock().then_some(name));
                        open(name, kind, folder, fetch)
                    }
                };
            sources.push((name, source));
        }
        Ok(Self { definition, sources, to_lock, fetch })
    }

    /// The definition.
    pub fn definition(&self) -> &'a Definition {
        self.definition
    }

    /// The cache that the sources share.
    pub(super) fn cache(&self) -> &'a Cache {
        &self.fetch.cache
    }

    /// The first source of which a build takes only what a lock pins, if there is one.
    pub(super) fn to_lock(&self) -> Option<&'a SourceName> {
        self.to_lock
    }

    /// Takes every plugin for every platform: those of each platform, sorted by name.
    pub fn take(&self) -> Result<BTreeMap<Platform, Vec<Plugin>>, SourceError> {
        self.take_some(&|_| true)
    }

    /// The same for some of the plugins. A source of which none is wanted is not asked.
    pub fn take_some(
        &self,
        is_wanted: &dyn Fn(&Wanted) -> bool,
    ) -> Result<BTreeMap<Platform, Vec<Plugin>>, SourceError> {
        let wanted = self.sources.iter().map(|(name, source)| {
            let wanted: Vec<_> = self.wanted(name).into_iter().filter(is_wanted).collect();
            (*name, source, wanted)
        });
        let wanted: Vec<_> = wanted.filter(|(_, _, wanted)| !wanted.is_empty()).collect();
        allow_open_files(wanted.iter().map(|(_, _, wanted)| wanted.len()).sum());
        let mut taken = BTreeMap::new();
        for (name, source, wanted) in wanted {
            take(name, source.as_ref(), &wanted, &mut taken)?;
        }
        let described = parallel::each(taken, |(wanted, file)| {
            let plugin = Plugin::describe(&wanted, file, self.fetch)?;
            Ok::<_, SourceError>((wanted.platform, plugin))
        })?;
        let mut plugins: BTreeMap<Platform, Vec<Plugin>> = BTreeMap::new();
        for (platform, plugin) in described {
            plugins.entry(platform).or_default().push(plugin);
        }
        Ok(plugins)
    }

    fn wanted(&self, source: &SourceName) -> Vec<Wanted> {
        let Definition { platforms, plugins, .. } = self.definition;
        let plugins = || plugins.iter().filter(|plugin| plugin.source == *source);
        let wanted = platforms.iter().flat_map(|platform| {
            plugins().map(|plugin| Wanted { name: plugin.name.clone(), platform: platform.clone() })
        });
        wanted.collect()
    }
}

/// Builds plugins again by the recipes of their sources, and hands each over. Plugins without a
/// recipe are left out.
pub(super) fn rebuild(
    definition: &Definition,
    folder: &Path,
    fetch: &Fetch,
    wanted: &[Wanted],
    give: &mut dyn FnMut(&Wanted, RebuiltPlugin) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    for Source { name, kind, .. } in &definition.sources {
        let plugins = || definition.plugins.iter().filter(|plugin| plugin.source == *name);
        let is_of_source = |wanted: &&Wanted| plugins().any(|plugin| plugin.name == wanted.name);
        let wanted: Vec<&Wanted> = wanted.iter().filter(is_of_source).collect();
        Rebuild { name, kind, folder, fetch }.build(&wanted, give)?;
    }
    Ok(())
}

/// The source of this kind. Relative paths of a definition are relative to its folder.
fn open<'a>(
    name: &'a SourceName,
    kind: &'a SourceKind,
    folder: &'a Path,
    fetch: &'a Fetch,
) -> Box<dyn PluginSource + 'a> {
    match kind {
        SourceKind::Directory(pattern) => Box::new(DirectorySource::new(name, folder, pattern)),
        SourceKind::Archive(archive) => Box::new(ArchiveSource { name, folder, archive, fetch }),
        SourceKind::File(file) => Box::new(FileSource { name, folder, file, fetch }),
        SourceKind::Image(image) => Box::new(ImageSource { name, folder, image, fetch }),
        SourceKind::Go(module) => Box::new(GoSource { name, module, fetch }),
    }
}

/// Takes what is wanted of one source, and holds the source to its promise: a plugin that it forgot
/// would be missing in the bundle, without a word.
fn take(
    name: &SourceName,
    source: &dyn PluginSource,
    wanted: &[Wanted],
    taken: &mut BTreeMap<Wanted, Taken>,
) -> Result<(), SourceError> {
    let broken = |wanted: &Wanted, fault| SourceError::Broken {
        name: name.clone(),
        wanted: wanted.clone(),
        fault,
    };
    source.take(wanted, &mut |wanted, file| match taken.insert(wanted.clone(), file) {
        Some(_) => Err(broken(wanted, "was handed over twice")),
        None => Ok(()),
    })?;
    match wanted.iter().find(|wanted| !taken.contains_key(wanted)) {
        Some(missing) => Err(broken(missing, "was not handed over")),
        None => Ok(()),
    }
}

/// Lets this process have so many files open besides its own. Every plugin stays open from its
/// description until it is packed or locked, and 256 plugins for six platforms are more than the
/// usual soft limit of 1024. Where the system says no, opening one file too many says so.
fn allow_open_files(count: usize) {
    // An image has up to 127 layers.
    const OWN: u64 = 256;
    let wanted = OWN.saturating_add(count as u64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;
    use crate::binary::sample::Sample;
    use crate::bundle::Origin;
    use crate::model::{Classed, ErrorClass, with_causes};

    /// A definition of these plugins from the directory `cni` beside it.
    pub(in crate::publish) fn definition(platforms: &str, plugins: &str) -> Definition {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\nplatforms: [{platforms}]\n\
             sources:\n  - {{name: files, directory: \"cni-{{architecture}}\"}}\nplugins: [{plugins}]\n"
        );
        Definition::parse("sample.yaml", &text).unwrap()
    }

    /// For sources that fetch nothing.
    pub(in crate::publish) fn no_fetch() -> Fetch {
        Fetch::new(Cache::of_user(None, None))
    }

    pub(super) fn write(path: &Path, content: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The definition of a bundle of these plugins from one source with this key and value.
    pub(super) fn defined(source: &str, platforms: &str, plugins: &str) -> Definition {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: sample\nversion: 1.2.3\nplatforms: [{platforms}]\n\
             sources:\n  - {{name: upstream, {source}}}\nplugins: [{plugins}]\n"
        );
        Definition::parse("sample.yaml", &text).unwrap()
    }

    /// What a definition takes in, or the words of the refusal with all causes, and its class.
    pub(super) fn taken(
        definition: &Definition,
        folder: &Path,
        fetch: &Fetch,
    ) -> Result<Vec<Plugin>, (String, ErrorClass)> {
        let sources = Sources::new(definition, folder, &[], fetch).unwrap();
        let taken = sources.take().map_err(|error| (with_causes(&error), error.class()))?;
        Ok(taken.into_values().flatten().collect())
    }

    /// The plugin of this name for linux/amd64, or the words of the refusal.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Plugin, String> {
        let definition = definition("linux/amd64", name);
        let fetch = no_fetch();
        let sources = Sources::new(&definition, folder, &[], &fetch).unwrap();
        let taken = sources.take().map_err(|error| error.to_string())?;
        Ok(taken.into_values().flatten().next().expect("one plugin"))
    }

    /// Hands over the given files, as often as they are listed.
    struct Careless {
        file: std::path::PathBuf,
        times: Vec<usize>,
    }

    impl PluginSource for Careless {
        fn take(
            &self,
            wanted: &[Wanted],
            give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
        ) -> Result<(), SourceError> {
            for (wanted, times) in wanted.iter().zip(&self.times) {
                for _ in 0..*times {
                    give(wanted, Taken::open(&self.file, Origin::file("it"))?)?;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_source_hands_over_each_plugin_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write(&file, &Sample::named("bridge"));
        let definition = definition("linux/amd64", "bridge, macvlan");
        let take = |times: [usize; 2]| {
            let source = Careless { file: file.clone(), times: times.to_vec() };
            let sources =
                vec![(&definition.sources[0].name, Box::new(source) as Box<dyn PluginSource>)];
            Sources { definition: &definition, sources, to_lock: None, fetch: &no_fetch() }.take()
        };
        assert_eq!(take([1, 1]).unwrap().into_values().next().unwrap().len(), 2);
        for (times, expected) in [
            ([1, 0], "the source `files` is broken: `macvlan` for linux/amd64 was not handed over"),
            (
                [2, 1],
                "the source `files` is broken: `bridge` for linux/amd64 was handed over twice",
            ),
        ] {
            assert_eq!(take(times).expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn what_a_file_is_decides_and_that_it_cannot_be_read_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let definition = definition("linux/amd64", "bridge");
        let class = || {
            let fetch = no_fetch();
            let sources = Sources::new(&definition, folder.path(), &[], &fetch).unwrap();
            sources.take().expect_err("refused").class()
        };
        assert_eq!(class(), ErrorClass::CouldNot, "no directory");
        fs::create_dir(folder.path().join("cni-amd64")).unwrap();
        assert_eq!(class(), ErrorClass::Request, "no plugin");
        write(&folder.path().join("cni-amd64/bridge"), b"#!/bin/sh\n");
        assert_eq!(class(), ErrorClass::Request, "no program");
    }
}
