//! Reads the documents of an upstream image: the manifest of a platform, and its layers. Pure: the
//! caller fetches them.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::image_error::{CONFIG_LIMIT, ImageError, LAYERS_LIMIT};
use crate::bundle::rootfs::MAX_LAYERS;
use crate::model::document::{platform, platform_text, sha256};
use crate::model::json::{self, Limits};
use crate::model::media_type::{
    CONFIG, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, LAYER, MANIFEST, MANIFEST_LIMIT,
};
use crate::model::{Digest, Platform, image_fields};

/// The annotation of attestations that BuildKit lists beside the images.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The digest of a platform's manifest: the first entry that is for it, as the specification asks
/// (image-spec, image-index.md).
pub(super) fn choose(index: &ImageIndex, wanted: &Platform) -> Result<Digest, ImageError> {
    let images = || index.manifests().iter().filter(|entry| is_image(entry));
    let chosen = images().find(|entry| platform(entry).as_ref() == Some(wanted));
    chosen.and_then(sha256).ok_or_else(|| {
        let mut found: Vec<String> = images().map(platform_text).collect();
        found.dedup();
        found.truncate(12);
        ImageError::NoPlatform { platform: wanted.clone(), found }
    })
}

/// Whether an entry of an index is an image, and not an attestation or another artifact.
fn is_image(entry: &Descriptor) -> bool {
    let annotations = entry.annotations().as_ref();
    let is_attestation = annotations.is_some_and(|it| it.contains_key(REFERENCE_TYPE))
        || platform_text(entry) == "unknown/unknown";
    let media_type = entry.media_type().to_string();
    !is_attestation
        && entry.artifact_type().is_none()
        && [MANIFEST, DOCKER_MANIFEST].contains(&media_type.as_str())
}

/// The configuration that a manifest names.
pub(super) fn config(manifest: &ImageManifest) -> Result<(Digest, &Descriptor), ImageError> {
    let descriptor = manifest.config();
    let found = descriptor.media_type().to_string();
    let digest = sha256(descriptor).filter(|_| [CONFIG, DOCKER_CONFIG].contains(&found.as_str()));
    match digest {
        Some(_) if descriptor.size() > CONFIG_LIMIT => Err(ImageError::Config(descriptor.size())),
        Some(digest) => Ok((digest, descriptor)),
        None => Err(ImageError::NotAnImage(found)),
    }
}

/// The layers of a manifest, the lowest first.
pub(super) fn layers(manifest: &ImageManifest) -> Result<Vec<(Digest, &Descriptor)>, ImageError> {
    config(manifest)?;
    if manifest.layers().len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers);
    }
    let size = manifest.layers().iter().fold(0, |sum: u64, it| sum.saturating_add(it.size()));
    if size > LAYERS_LIMIT {
        return Err(ImageError::TooLong(size));
    }
    let layers = manifest.layers().iter().filter_map(|entry| Some((sha256(entry)?, entry)));
    layers
        .map(|(layer, entry)| {
            let found = entry.media_type().to_string();
            match is_layer(&found) {
                true => Ok((layer, entry)),
                false => Err(ImageError::LayerType { layer, found }),
            }
        })
        .collect()
}

/// Whether it is the media type of a layer that registries have. How it is compressed is what its
/// first bytes say, as for container runtimes.
fn is_layer(media_type: &str) -> bool {
    let of = |base: &str, endings: [&str; 3]| {
        media_type.strip_prefix(base).is_some_and(|ending| endings.contains(&ending))
    };
    of(LAYER, ["", "+gzip", "+zstd"]) || of(DOCKER_LAYER, ["", ".gzip", ".zstd"])
}

/// Refuses an image whose configuration says that it is for another platform.
pub(super) fn expect_platform(config: &[u8], wanted: &Platform) -> Result<(), ImageError> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        variant: Option<String>,
    }
    let limits = Limits { bytes: MANIFEST_LIMIT, values: 64 * 1024 };
    let Config { os, architecture, variant } =
        json::parse_as("the image configuration", config, limits, image_fields::CONFIG)?;
    let found = Platform::normalized(&os, &architecture, variant.as_deref());
    if found.as_ref() == Ok(wanted) {
        return Ok(());
    }
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    let found = crate::model::excerpt(&format!("{os}/{architecture}{variant}"));
    Err(ImageError::NoPlatform { platform: wanted.clone(), found: vec![found] })
}
