//! Small bundles for tests.

use std::path::Path;

use crate::bundle::{FileManifest, Linkage, PluginFile};
use crate::model::document::descriptor;
use crate::model::{Digest, media_type};
use crate::trust::{Bundle, Verified};

pub(crate) fn plugin(name: &str, bytes: &[u8]) -> PluginFile {
    PluginFile {
        name: name.parse().unwrap(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        linkage: Linkage::Static,
        go: None,
        facts: crate::bundle::Facts::default(),
    }
}

pub(crate) fn manifest(files: &[(&str, &[u8])]) -> FileManifest {
    FileManifest {
        media_type: media_type::BUNDLE.to_owned(),
        name: "test".parse().unwrap(),
        version: semver::Version::new(1, 2, 3),
        platform: "linux/amd64".parse().unwrap(),
        diff_id: Digest::of(b"no layer"),
        plugins: files.iter().map(|(name, bytes)| plugin(name, bytes)).collect(),
        tool: None,
    }
}

/// An unsigned bundle; its release is the digest of its `bundle.json`.
pub(crate) fn bundle(files: &[(&str, &[u8])]) -> Verified<Bundle> {
    bundle_of(manifest(files))
}

pub(crate) fn bundle_of(files: FileManifest) -> Verified<Bundle> {
    let digest = Digest::of(&files.to_bytes());
    Verified::for_test(Bundle {
        index: digest,
        platform: files.platform.clone(),
        manifest: digest,
        manifest_json: digest,
        plugin_layer: descriptor(media_type::LAYER, digest, 0),
        files,
    })
}

/// Lays files out as an init container does.
pub(crate) fn stage_files(root: &Path, manifest: &FileManifest, files: &[(&str, &[u8])]) {
    for directory in ["opt/cni/bin", "usr/share/cnister"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("usr/share/cnister/bundle.json"), manifest.to_bytes()).unwrap();
    for (name, bytes) in files {
        std::fs::write(root.join("opt/cni/bin").join(name), bytes).unwrap();
    }
}
