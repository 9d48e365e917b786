//! The documents of an image: configuration, manifest and index, from facts that are known already.
//!
//! A bundle's manifest is a real image (OCI image-spec 1.1, manifest.md and config.md) that
//! runtimes unpack and start, and it says with its `artifactType` what it is. Equal facts make
//! equal bytes: sorted keys, one time for everything, no name of a machine.

use std::collections::HashMap;

use oci_spec::image::{
    ConfigBuilder, Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, PlatformBuilder, RootFsBuilder,
};
use semver::Version;

use super::{FileManifest, Layer};
use crate::model::{Digest, Document, Platform, json, media_type, rfc3339};

/// Where a bundle has its plugins.
pub const PLUGIN_DIRECTORY: &str = "opt/cni/bin";
/// Where both images have the program.
pub const TOOL_PATH: &str = "usr/bin/cnister";
/// Where a bundle has its file manifest.
pub const FILE_MANIFEST_PATH: &str = "usr/share/cnister/bundle.json";

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The platform that it runs on.
    pub platform: Platform,
    /// The image configuration (OCI image-spec, config.md).
    pub config: Document,
    /// The image manifest (OCI image-spec, manifest.md).
    pub manifest: Document,
    annotations: HashMap<String, String>,
}

/// What differs between the two kinds of images.
struct Kind<'a> {
    artifact_type: &'static str,
    title: &'a str,
    version: &'a Version,
    user: &'static str,
    starts_the_tool: bool,
    files: Option<Vec<u8>>,
}

impl Image {
    /// The bundle of one platform: the plugin layer, and the layer with the tool (if there is
    /// one) and `bundle.json`.
    pub fn bundle(files: &FileManifest, plugins: &Layer, tool: &Layer, epoch: u64) -> Self {
        let kind = Kind {
            artifact_type: media_type::BUNDLE,
            title: files.name.as_str(),
            version: &files.version,
            // Numeric and with a group: the kubelet checks `runAsNonRoot` against numbers alone.
            user: "65532:65532",
            starts_the_tool: files.tool.is_some(),
            files: Some(files.to_bytes()),
        };
        let layers = [(plugins, "cnister: plugins"), (tool, "cnister: tool and bundle.json")];
        kind.image(&files.platform, &layers, epoch)
    }

    /// The tool image of one platform: the program alone, which a node's owner pins by digest.
    pub fn tool(version: &Version, platform: &Platform, tool: &Layer, epoch: u64) -> Self {
        let kind = Kind {
            artifact_type: media_type::TOOL,
            title: "cnister",
            version,
            // It writes to the host's plugin directory.
            user: "0:0",
            starts_the_tool: true,
            files: None,
        };
        kind.image(platform, &[(tool, "cnister: tool")], epoch)
    }
}

impl Kind<'_> {
    fn annotations(&self) -> HashMap<String, String> {
        HashMap::from([
            ("org.opencontainers.image.title".to_owned(), self.title.to_owned()),
            ("org.opencontainers.image.version".to_owned(), self.version.to_string()),
        ])
    }

    fn image(&self, platform: &Platform, layers: &[(&Layer, &str)], epoch: u64) -> Image {
        let config = self.config(platform, layers, epoch);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(media_type::MANIFEST)
            .artifact_type(self.artifact_type)
            .config(config.descriptor())
            .layers(self.descriptors(layers))
            .annotations(self.annotations())
            .build()
            .expect("every required field is set above");
        Image {
            platform: platform.clone(),
            config,
            manifest: Document::new(media_type::MANIFEST, json::canonical(&manifest)),
            annotations: self.annotations(),
        }
    }

    /// The layers; the last of a bundle carries the text of the `bundle.json` in it.
    fn descriptors(&self, layers: &[(&Layer, &str)]) -> Vec<Descriptor> {
        let mut descriptors: Vec<_> = layers.iter().map(|(layer, _)| layer.descriptor()).collect();
        if let (Some(files), Some(last)) = (&self.files, descriptors.last_mut()) {
            let mut annotations = last.annotations().clone().unwrap_or_default();
            let text = String::from_utf8(files.clone()).expect("JSON is UTF-8");
            annotations.insert(media_type::FILES_ANNOTATION.to_owned(), text);
            last.set_annotations(Some(annotations));
        }
        descriptors
    }

    fn config(&self, platform: &Platform, layers: &[(&Layer, &str)], epoch: u64) -> Document {
        let created = rfc3339(epoch);
        let mut labels = self.annotations();
        let label = self.files.as_deref().map(Digest::of);
        labels
            .extend(label.map(|digest| (media_type::BUNDLE_LABEL.to_owned(), digest.to_string())));
        let mut config = ConfigBuilder::default().user(self.user).working_dir("/").labels(labels);
        if self.starts_the_tool {
            config = config.entrypoint([format!("/{TOOL_PATH}")]);
        }
        let rootfs = RootFsBuilder::default().typ("layers").diff_ids(
            layers.iter().map(|(layer, _)| layer.diff_id.to_string()).collect::<Vec<_>>(),
        );
        let history = layers.iter().map(|(_, text)| {
            let entry = HistoryBuilder::default().created(created.clone()).created_by(*text);
            entry.build().expect("every field of a history entry is optional")
        });
        let mut image = ImageConfigurationBuilder::default()
            .created(created.clone())
            .architecture(platform.architecture())
            .os(platform.os())
            .config(config.build().expect("every field of the execution parameters is optional"))
            .rootfs(rootfs.build().expect("every required field is set above"))
            .history(history.collect::<Vec<_>>());
        if let Some(variant) = platform.variant() {
            image = image.variant(variant);
        }
        let image = image.build().expect("every required field is set above");
        Document::new(media_type::CONFIG, json::canonical(&image))
    }
}

/// The index of one image for several platforms, sorted by platform.
pub fn index(images: &[Image]) -> Document {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| a.platform.cmp(&b.platform));
    let mut index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(media_type::INDEX)
        .manifests(images.iter().map(|image| image.descriptor()).collect::<Vec<_>>());
    if let Some(image) = images.first() {
        index = index.annotations(image.annotations.clone());
    }
    let index = index.build().expect("every required field is set above");
    Document::new(media_type::INDEX, json::canonical(&index))
}

impl Image {
    /// Its descriptor in an index, without its artifact type: skopeo 1.9 writes an index again
    /// without what it does not know, and the signature over it would not survive the copy.
    fn descriptor(&self) -> Descriptor {
        let mut platform = PlatformBuilder::default()
            .os(self.platform.os())
            .architecture(self.platform.architecture());
        if let Some(variant) = self.platform.variant() {
            platform = platform.variant(variant);
        }
        let mut descriptor = self.manifest.descriptor();
        descriptor.set_platform(Some(platform.build().expect("every required field is set above")));
        descriptor
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::binary::Linkage;
    use crate::bundle::{PluginFile, ToolFile};

    fn files(platform: &str) -> FileManifest {
        FileManifest {
            media_type: media_type::BUNDLE.to_owned(),
            name: "debian".parse().unwrap(),
            version: Version::new(1, 1, 1),
            platform: platform.parse().unwrap(),
            diff_id: layer("plugins").diff_id,
            plugins: vec![PluginFile {
                name: "bridge".parse().unwrap(),
                digest: Digest::of(b"bridge"),
                size: 6,
                linkage: Linkage::Static,
                go: None,
                facts: crate::bundle::Facts::default(),
            }],
            tool: Some(ToolFile { digest: Digest::of(b"tool"), size: 4 }),
        }
    }

    fn layer(text: &str) -> Layer {
        Layer {
            digest: Digest::of(text.as_bytes()),
            size: text.len() as u64,
            diff_id: Digest::of(format!("diff {text}").as_bytes()),
            media_type: format!("{}+zstd", media_type::LAYER),
            encoder: "an encoder".to_owned(),
        }
    }

    fn bundle(platform: &str) -> Image {
        Image::bundle(&files(platform), &layer("plugins"), &layer("tool"), 0)
    }

    fn value(document: &Document) -> Value {
        serde_json::from_slice(&document.bytes).unwrap()
    }

    #[test]
    fn a_bundle_is_an_image_that_runs() {
        let image = bundle("linux/arm64");
        let label = Digest::of(&files("linux/arm64").to_bytes()).to_string();
        let expected = serde_json::json!({
            "architecture": "arm64",
            "config": {
                "Entrypoint": ["/usr/bin/cnister"],
                "Labels": {
                    "dev.cnister.bundle": label,
                    "org.opencontainers.image.title": "debian",
                    "org.opencontainers.image.version": "1.1.1",
                },
                "User": "65532:65532",
                "WorkingDir": "/",
            },
            "created": "1970-01-01T00:00:00Z",
            "history": [
                {"created": "1970-01-01T00:00:00Z", "created_by": "cnister: plugins"},
                {"created": "1970-01-01T00:00:00Z", "created_by": "cnister: tool and bundle.json"},
            ],
            "os": "linux",
            "rootfs": {
                "diff_ids": [layer("plugins").diff_id.to_string(), layer("tool").diff_id.to_string()],
                "type": "layers",
            },
            "variant": "v8",
        });
        assert_eq!(value(&image.config), expected);

        let manifest = image.manifest.manifest().unwrap();
        assert_eq!(value(&image.manifest)["artifactType"], media_type::BUNDLE);
        assert_eq!(value(&image.manifest)["mediaType"], media_type::MANIFEST);
        assert_eq!(manifest.config(), &image.config.descriptor());
        let [plugins, tool] = manifest.layers().as_slice() else { panic!("two layers") };
        assert_eq!(plugins, &layer("plugins").descriptor());
        assert_eq!(tool.digest(), layer("tool").descriptor().digest());
        let carried = &tool.annotations().as_ref().unwrap()[media_type::FILES_ANNOTATION];
        assert_eq!(carried.as_bytes(), files("linux/arm64").to_bytes());
    }

    #[test]
    fn a_bundle_without_a_tool_starts_nothing() {
        let files = FileManifest { tool: None, ..files("linux/amd64") };
        let image = Image::bundle(&files, &layer("plugins"), &layer("tool"), 0);
        assert_eq!(value(&image.config)["config"].get("Entrypoint"), None);
        assert_eq!(image.manifest.manifest().unwrap().layers().len(), 2);
    }

    #[test]
    fn the_tool_image_is_one_layer_that_runs_as_root() {
        let image =
            Image::tool(&Version::new(0, 1, 0), &"linux/amd64".parse().unwrap(), &layer("tool"), 0);
        let config = value(&image.config);
        assert_eq!(config["config"]["User"], "0:0");
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/cnister"]));
        assert_eq!(config["config"]["Labels"].get(media_type::BUNDLE_LABEL), None);
        assert_eq!(
            config["rootfs"]["diff_ids"],
            serde_json::json!([layer("tool").diff_id.to_string()])
        );
        assert_eq!(value(&image.manifest)["artifactType"], media_type::TOOL);
    }

    #[test]
    fn an_index_lists_the_platforms_in_one_order() {
        let images = ["linux/ppc64le", "linux/arm64", "linux/amd64"].map(bundle);
        let document = index(&images);
        let found: Vec<_> = document
            .index()
            .unwrap()
            .manifests()
            .iter()
            .map(crate::model::document::platform)
            .collect();
        let expected =
            ["linux/amd64", "linux/arm64", "linux/ppc64le"].map(|text| Some(text.parse().unwrap()));
        assert_eq!(found, expected);
        let value = value(&document);
        assert_eq!(value["mediaType"], media_type::INDEX);
        assert_eq!(value["manifests"][1]["platform"]["variant"], "v8");
        assert_eq!(value["annotations"]["org.opencontainers.image.version"], "1.1.1");
        let [a, b, c] = images;
        assert_eq!(index(&[c, a, b]), document);
    }

    #[test]
    fn the_bytes_of_the_documents_are_pinned() {
        let image = bundle("linux/amd64");
        let found = [&image.config, &image.manifest, &index(std::slice::from_ref(&image))]
            .map(|d| d.digest.to_string());
        let golden = [
            "sha256:f51848ff317fa9e0d6a46e46188071f5d5711975322c2d4de98bd9c3cd8a462e",
            "sha256:b5cb3747f215a49aed042b9d9f562449729c6f510179fcb0fbbb2bf989e4e218",
            "sha256:fad1047b01c2ff8ee8a99d2176b0da97a258b932cd6b2ea6c497cf766f565221",
        ];
        assert_eq!(found, golden);
        for _ in 0..20 {
            assert_eq!(bundle("linux/amd64"), image);
        }
    }
}
