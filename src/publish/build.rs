//! The build: a definition, its files and the tool become an image.
//!
//! It starts from [`Inputs`], where everything that can be refused was refused. It decides nothing
//! about bytes (that is [`crate::bundle`]'s) and nothing about where they go: a [`BlobStore`] takes
//! them. Manifests and the index are returned and not stored, since what refers to a blob is
//! written after it, and a tag last of all.

use semver::Version;

use super::blob_store::BlobStore;
use super::error::BuildError;
use super::inputs::{Inputs, PlatformInputs, tool_of};
use super::layers::Layers;
use super::parallel;
use super::source::Tool;
use crate::bundle::{Encoding, Entry, EntryKind, FileManifest, Image, compose};
use crate::model::{Digest, Document};

/// What was built. Layers and configurations are in the store; the rest is here.
#[derive(Debug, Clone)]
pub struct Built {
    /// The index of all platforms.
    pub index: Document,
    /// The image of each platform, in the order of the definition.
    pub images: Vec<Image>,
    /// The file manifest of each bundle's platform, in the same order; none for the tool image.
    pub files: Vec<FileManifest>,
}

/// Builds the bundle of a definition, several platforms at once.
pub fn build(inputs: &Inputs<'_>, store: &dyn BlobStore) -> Result<Built, BuildError> {
    let built =
        parallel::each(&inputs.platforms, |platform| build_platform(inputs, platform, store))?;
    let (images, files): (Vec<_>, Vec<_>) = built.into_iter().unzip();
    Ok(Built { index: compose::index(&images), images, files })
}

/// Builds the tool image: one platform for each tool.
pub fn build_tool(
    version: &Version,
    tools: &[Tool],
    encoding: Encoding,
    epoch: u64,
    store: &dyn BlobStore,
) -> Result<Built, BuildError> {
    let layers = Layers { store, cache: None, encoding, epoch };
    let mut images = Vec::new();
    for tool in tools {
        let tool = tool_of(&tool.platform, tools)?;
        let layer = layers.store(&tool.platform, vec![tool.entry(compose::TOOL_PATH)])?;
        let image = Image::tool(version, &tool.platform, &layer, epoch);
        store_bytes(store, &image.config.bytes)?;
        images.push(image);
    }
    Ok(Built { index: compose::index(&images), images, files: Vec::new() })
}

fn build_platform(
    Inputs { definition, epoch, cache, .. }: &Inputs<'_>,
    inputs: &PlatformInputs<'_>,
    store: &dyn BlobStore,
) -> Result<(Image, FileManifest), BuildError> {
    let platform = inputs.platform;
    let layers =
        Layers { store, cache: Some(cache), encoding: definition.compression, epoch: *epoch };
    let entries = inputs.plugins.iter().map(|plugin| plugin.entry(compose::PLUGIN_DIRECTORY));
    let plugin_layer = layers.store(platform, entries.collect())?;

    let files = inputs.file_manifest(definition, plugin_layer.diff_id);
    let bytes = files.to_bytes();
    let mut entries =
        vec![Entry::of_bytes(compose::FILE_MANIFEST_PATH, EntryKind::Document, &bytes)];
    entries.extend(inputs.tool.map(|tool| tool.entry(compose::TOOL_PATH)));
    let tool_layer = layers.store(platform, entries)?;

    let image = Image::bundle(&files, &plugin_layer, &tool_layer, *epoch);
    store_bytes(store, &image.config.bytes)?;
    Ok((image, files))
}

fn store_bytes(store: &dyn BlobStore, bytes: &[u8]) -> Result<(), BuildError> {
    let (found, _) = store.store(&mut |output| output.write_all(bytes))?;
    let expected = Digest::of(bytes);
    if found == expected { Ok(()) } else { Err(BuildError::Stored { expected, found }) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{self, Read, Write};
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::binary::sample::Sample;
    use crate::bundle::definition::ToolChoice;
    use crate::bundle::{Compression, Definition, LayerError, Linkage};
    use crate::model::{document, media_type};
    use crate::oci::OciError;
    use crate::publish::source::tests::{definition, no_fetch};
    use crate::publish::{DirectoryOverride, Sources};

    /// A store in memory.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<Digest, Vec<u8>>>);

    impl BlobStore for Memory {
        fn store(
            &self,
            write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
        ) -> Result<(Digest, u64), OciError> {
            let mut bytes = Vec::new();
            write(&mut bytes).map_err(|source| OciError::Io {
                origin: "memory".to_owned(),
                action: "write a blob".to_owned(),
                source,
            })?;
            let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
            self.0.lock().unwrap().insert(digest, bytes);
            Ok((digest, size))
        }
    }

    impl Memory {
        fn blob(&self, descriptor: &oci_spec::image::Descriptor) -> Vec<u8> {
            self.0.lock().unwrap()[&document::sha256(descriptor).unwrap()].clone()
        }

        /// The files of a layer with their permissions, after checking its digests.
        fn files(
            &self,
            layer: &oci_spec::image::Descriptor,
            diff_id: &str,
        ) -> BTreeMap<String, (u32, Vec<u8>)> {
            let bytes = self.blob(layer);
            assert_eq!(bytes.len() as u64, layer.size());
            let compression = Compression::of_media_type(layer.media_type().as_ref()).unwrap();
            let mut archive = Vec::new();
            compression.decoder(bytes.as_slice()).unwrap().read_to_end(&mut archive).unwrap();
            assert_eq!(Digest::of(&archive).to_string(), diff_id);
            let mut files = BTreeMap::new();
            for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                if entry.header().entry_type().is_file() {
                    let path = entry.path().unwrap().to_str().unwrap().to_owned();
                    files.insert(path, (entry.header().mode().unwrap(), content));
                }
            }
            files
        }
    }

    /// A folder with plugins for two platforms and a tool for each.
    fn folder() -> (tempfile::TempDir, Vec<Tool>) {
        let folder = tempfile::tempdir().unwrap();
        for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
            let directory = folder.path().join(format!("cni-{architecture}"));
            fs::create_dir(&directory).unwrap();
            let program =
                |number| Sample { machine, code: vec![number], ..Sample::default() }.bytes();
            fs::write(directory.join("bridge"), program(1)).unwrap();
            fs::write(directory.join("macvlan"), program(2)).unwrap();
            fs::write(folder.path().join(architecture), program(3)).unwrap();
        }
        let tools = tools(folder.path());
        (folder, tools)
    }

    /// The tools of such a folder.
    fn tools(folder: &Path) -> Vec<Tool> {
        ["amd64", "arm64"].iter().map(|name| Tool::open(&folder.join(name)).unwrap()).collect()
    }

    fn build_in(
        folder: &Path,
        definition: &Definition,
        tools: &[Tool],
    ) -> Result<(Built, Memory), BuildError> {
        let store = Memory::default();
        let fetch = no_fetch();
        let sources = Sources::new(definition, folder, &[], &fetch).unwrap();
        let built = build(&Inputs::resolve(&sources, None, tools, 0)?, &store)?;
        Ok((built, store))
    }

    /// Follows the chain from the index to every file, as a verifier does.
    fn check_chain(built: &Built, store: &Memory) {
        let index = built.index.index().unwrap();
        assert_eq!(index.manifests().len(), built.images.len());
        for (image, files) in built.images.iter().zip(&built.files) {
            let listed = index
                .manifests()
                .iter()
                .find(|entry| document::sha256(entry) == Some(image.manifest.digest));
            assert_eq!(document::platform(listed.unwrap()).as_ref(), Some(&image.platform));
            let manifest = image.manifest.manifest().unwrap();
            let config = &store.blob(manifest.config());
            let config: serde_json::Value = serde_json::from_slice(config).unwrap();
            let diff_id = |index: usize| config["rootfs"]["diff_ids"][index].as_str().unwrap();
            let [plugins, tool] = manifest.layers().as_slice() else { panic!("two layers") };

            let tool = store.files(tool, diff_id(1));
            let bytes = &tool[compose::FILE_MANIFEST_PATH].1;
            assert_eq!(
                config["config"]["Labels"][media_type::BUNDLE_LABEL],
                Digest::of(bytes).to_string()
            );
            assert_eq!(&FileManifest::parse(bytes).unwrap(), files);
            assert_eq!(
                (files.platform.clone(), files.diff_id.to_string().as_str()),
                (image.platform.clone(), diff_id(0))
            );
            let packed =
                tool.get(compose::TOOL_PATH).map(|(mode, content)| (*mode, Digest::of(content)));
            assert_eq!(packed, files.tool.as_ref().map(|tool| (0o755, tool.digest)));

            let packed: Vec<_> = store
                .files(plugins, diff_id(0))
                .into_iter()
                .map(|(path, (mode, content))| {
                    (path, mode, Digest::of(&content), content.len() as u64)
                })
                .collect();
            let listed: Vec<_> = files
                .plugins
                .iter()
                .map(|plugin| {
                    (format!("opt/cni/bin/{}", plugin.name), 0o755, plugin.digest, plugin.size)
                })
                .collect();
            assert_eq!(packed, listed);
        }
    }

    #[test]
    fn an_index_leads_to_every_file() {
        let (folder, tools) = folder();
        let definition = definition("linux/arm64, linux/amd64", "macvlan, bridge");
        let (built, store) = build_in(folder.path(), &definition, &tools).unwrap();
        check_chain(&built, &store);
        let platforms: Vec<_> =
            built.images.iter().map(|image| image.platform.to_string()).collect();
        assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);
        // Two layers and a configuration for each of two platforms.
        assert_eq!(store.0.lock().unwrap().len(), 6);
    }

    #[test]
    fn the_order_of_the_definition_does_not_change_the_image() {
        let (folder, tools) = folder();
        let index = |platforms: &str, plugins: &str| {
            let definition = definition(platforms, plugins);
            build_in(folder.path(), &definition, &tools).unwrap().0.index
        };
        let first = index("linux/arm64, linux/amd64", "macvlan, bridge");
        assert_eq!(index("linux/amd64, linux/arm64", "bridge, macvlan"), first);
        assert!(index("linux/amd64, linux/arm64", "bridge") != first);
    }

    #[test]
    fn a_bundle_without_a_tool_needs_none() {
        let (folder, tools) = folder();
        let definition = definition("linux/amd64", "bridge");
        let error = |tools: &[Tool]| {
            build_in(folder.path(), &definition, tools).expect_err("refused").to_string()
        };
        let hint = "give one with `--tool`, or write `tool: none`";
        assert_eq!(
            error(&[]),
            format!("there is no tool for linux/amd64, only none at all; {hint}")
        );
        assert_eq!(
            error(&tools[1..]),
            format!("there is no tool for linux/amd64, only linux/arm64; {hint}")
        );
        assert_eq!(
            error(
                &[tools, super::tests::tools(folder.path())]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            ),
            "there are two tools for linux/amd64"
        );
        let definition = Definition { tool: ToolChoice::None, ..definition };
        let (built, store) = build_in(folder.path(), &definition, &[]).unwrap();
        check_chain(&built, &store);
        assert_eq!(built.files[0].tool, None);
    }

    #[test]
    fn a_store_that_fails_or_lies_is_an_error() {
        struct Full;
        impl BlobStore for Full {
            fn store(
                &self,
                write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
            ) -> Result<(Digest, u64), OciError> {
                struct NoSpace;
                impl Write for NoSpace {
                    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                        Err(io::ErrorKind::StorageFull.into())
                    }
                    fn flush(&mut self) -> io::Result<()> {
                        Ok(())
                    }
                }
                write(&mut NoSpace).expect_err("full");
                Ok((Digest::of(b"other"), 5))
            }
        }
        struct Lying;
        impl BlobStore for Lying {
            fn store(
                &self,
                write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
            ) -> Result<(Digest, u64), OciError> {
                write(&mut io::sink())
                    .map(|()| (Digest::of(b"other"), 5))
                    .map_err(|_| unreachable!())
            }
        }
        let (folder, tools) = folder();
        let definition = definition("linux/amd64", "bridge");
        let fetch = no_fetch();
        let sources = Sources::new(&definition, folder.path(), &[], &fetch).unwrap();
        let inputs = Inputs::resolve(&sources, None, &tools, 0).unwrap();
        let error = |store: &dyn BlobStore| build(&inputs, store).expect_err("refused");
        let full = error(&Full);
        assert_eq!(full.to_string(), "in the layers of linux/amd64");
        let BuildError::Layer { source: LayerError::Write(source), .. } = full else {
            panic!("{full:?}")
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(matches!(error(&Lying), BuildError::Stored { .. }));
    }

    #[test]
    fn a_file_that_changes_during_the_build_is_an_error() {
        let (folder, tools) = folder();
        let definition = definition("linux/amd64", "bridge");
        let fetch = no_fetch();
        let sources = Sources::new(&definition, folder.path(), &[], &fetch).unwrap();
        let inputs = Inputs::resolve(&sources, None, &tools, 0).unwrap();
        let path = folder.path().join("cni-amd64/bridge");
        let mut content = fs::read(&path).unwrap();
        content.push(0);
        fs::write(&path, content).unwrap();
        let store = Memory::default();
        let error = build(&inputs, &store).expect_err("changed");
        assert!(
            matches!(error, BuildError::Layer { source: LayerError::Size { .. }, .. }),
            "{error:?}"
        );
        assert!(store.0.lock().unwrap().is_empty());
    }

    #[test]
    fn the_tool_image_has_a_platform_for_each_tool() {
        let (folder, tools) = folder();
        let store = Memory::default();
        let built = build_tool(&Version::new(0, 1, 0), &tools, Encoding::Gzip, 0, &store).unwrap();
        assert_eq!((built.images.len(), built.files.len()), (2, 0));
        for (image, tool) in built.images.iter().zip(&tools) {
            let manifest = image.manifest.manifest().unwrap();
            let config = &store.blob(manifest.config());
            let config: serde_json::Value = serde_json::from_slice(config).unwrap();
            let diff_id = config["rootfs"]["diff_ids"][0].as_str().unwrap();
            let files = store.files(&manifest.layers()[0], diff_id);
            let (path, (mode, content)) = files.into_iter().next().unwrap();
            assert_eq!(
                (path.as_str(), mode, Digest::of(&content)),
                (compose::TOOL_PATH, 0o755, tool.facts.digest)
            );
        }
        let twice = build_tool(
            &Version::new(0, 1, 0),
            &[tools, super::tests::tools(folder.path())].into_iter().flatten().collect::<Vec<_>>(),
            Encoding::Gzip,
            0,
            &store,
        );
        assert!(matches!(twice, Err(BuildError::TwoTools(_))));
    }

    #[test]
    fn the_debian_bundle_builds_from_real_plugins() {
        let Some(plugins) = std::env::var_os("PLUGINS") else {
            eprintln!("skipped: set PLUGINS to the directory of Debian's plugins");
            return;
        };
        let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
        let text = fs::read_to_string(bundles.join("debian.yaml")).unwrap();
        let definition = Definition::parse("debian.yaml", &text).unwrap();
        let directory: DirectoryOverride =
            format!("debian={}", plugins.to_str().unwrap()).parse().unwrap();
        let fetch = no_fetch();
        let sources = Sources::new(&definition, &bundles, &[directory], &fetch).unwrap();
        let (_folder, tools) = folder();
        let store = Memory::default();
        let built = build(&Inputs::resolve(&sources, None, &tools, 0).unwrap(), &store).unwrap();
        check_chain(&built, &store);
        for plugin in &built.files[0].plugins {
            let interpreter = "/lib64/ld-linux-x86-64.so.2".to_owned();
            assert_eq!(plugin.linkage, Linkage::Dynamic { interpreter });
            let go = plugin.go.as_ref().unwrap();
            assert!(go.go.starts_with("go1.") && go.path.ends_with(plugin.name.as_str()), "{go:?}");
        }
    }
}
