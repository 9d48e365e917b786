//! The chain from an index to every file: walked in evidence, each link checked against the one
//! before.
//!
//! ```text
//! index ── lists ──> manifest ── names ──> config ── label ──> bundle.json ──> files' digests
//! ```
//!
//! Walking it proves that the documents belong together: no one can exchange one of them, or
//! present one platform's files as another's, without changing a digest. It does not prove where
//! they are from; signatures are the job of `signatures.rs`.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex};

use super::evidence::Evidence;
use crate::bundle::{Compression, FileManifest, archive};
use crate::model::document::{platform as platform_of, platform_text, sha256};
use crate::model::json::Limits;
use crate::model::{
    Code, Digest, Document, Finding, Platform, image_fields, json, media_type, visible,
};

/// What is read of an image configuration.
const CONFIG_LIMITS: Limits = Limits { bytes: media_type::DOCUMENT_LIMIT, values: 8 * 1024 };

/// What is installed on a node: one platform's part of an image, with the digest of every file.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The digest of the index, or of a single manifest that was asked for: the release.
    pub index: Digest,
    /// The platform.
    pub platform: Platform,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// The digest of `bundle.json`.
    pub manifest_json: Digest,
    /// The plugin layer.
    pub plugin_layer: Descriptor,
    /// The parsed `bundle.json`.
    pub files: FileManifest,
}

/// Walks the chain of one platform.
pub(super) fn walk(evidence: &Evidence, platform: &Platform) -> Result<Bundle, Finding> {
    let root = document(evidence, evidence.root(), None)?;
    let manifest_document = if root.is_index() {
        let index = root
            .index()
            .map_err(|error| Finding::refusal(Code::NotTheManifest, error.to_string()))?;
        let entry = entry_of(&index, root.digest, platform)?;
        document(evidence, digest(entry)?, Some(entry.size()))?
    } else {
        root
    };
    let name = format!("manifest {}", manifest_document.digest);
    let manifest = manifest_document
        .manifest()
        .map_err(|error| Finding::refusal(Code::NotTheManifest, error.to_string()))?;

    let artifact_type =
        manifest.artifact_type().as_ref().map_or("none".to_owned(), ToString::to_string);
    if artifact_type != media_type::BUNDLE {
        let message = format!("{name} is not a bundle: it has a different artifactType");
        return Err(Finding::refusal(Code::NotABundle, message)
            .mismatch(media_type::BUNDLE, visible(&artifact_type)));
    }
    let [plugin_layer, _tool_layer] = manifest.layers().as_slice() else {
        let message = format!("{name} does not have exactly the plugin layer and the tool layer");
        return Err(Finding::refusal(Code::WrongLayers, message)
            .mismatch("2 layers", format_args!("{} layers", manifest.layers().len())));
    };

    let config_digest = digest(manifest.config())?;
    let config_document = document(evidence, config_digest, Some(manifest.config().size()))?;
    let what = format!("config {config_digest}");
    let config: ImageConfiguration =
        json::parse_as(&what, &config_document.bytes, CONFIG_LIMITS, image_fields::CONFIG)
            .map_err(|error| Finding::refusal(Code::BrokenChain, error.to_string()))?;
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let of_config = Platform::normalized(&os, &architecture, None).ok();
    check_platform(&what, platform, of_config.as_ref(), &format!("{os}/{architecture}"))?;

    let label = config
        .config()
        .as_ref()
        .and_then(|config| config.labels().as_ref()?.get(media_type::BUNDLE_LABEL));
    let Some(label) = label else {
        let message = format!(
            "{what} has no label `{}`, so it does not refer to a bundle.json",
            media_type::BUNDLE_LABEL
        );
        return Err(Finding::refusal(Code::NotABundle, message));
    };
    let manifest_json: Digest = label.parse().map_err(|error| {
        Finding::refusal(
            Code::NotABundle,
            format!("{what}: label `{}`: {error}", media_type::BUNDLE_LABEL),
        )
    })?;
    let files = FileManifest::parse(&document(evidence, manifest_json, None)?.bytes)
        .map_err(|error| Finding::refusal(Code::BrokenChain, error.to_string()))?;
    check_platform("bundle.json", platform, Some(&files.platform), &files.platform.to_string())?;

    check_layer(plugin_layer, &files)?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != manifest.layers().len() {
        let message = format!("{what} does not list one diff_id per layer");
        return Err(Finding::refusal(Code::DiffIdMismatch, message)
            .mismatch(manifest.layers().len(), diff_ids.len()));
    }
    let first = diff_ids.first().map_or("", String::as_str);
    if first != files.diff_id.to_string() {
        let message =
            format!("the plugin layer in {what} is not the one that bundle.json describes");
        return Err(
            Finding::refusal(Code::DiffIdMismatch, message).mismatch(files.diff_id, visible(first))
        );
    }
    Ok(Bundle {
        index: evidence.root(),
        platform: platform.clone(),
        manifest: manifest_document.digest,
        manifest_json,
        plugin_layer: plugin_layer.clone(),
        files,
    })
}

/// Refuses a descriptor of a plugin layer that cannot be the files of `bundle.json` alone, before
/// anything is fetched: an unsupported media type, another size, no sha256 digest. Returns how it
/// is compressed.
pub fn check_layer(
    plugin_layer: &Descriptor,
    files: &FileManifest,
) -> Result<Compression, Finding> {
    let found = plugin_layer.media_type().as_ref();
    let Some(compression) = Compression::of_media_type(found) else {
        let message = "the plugin layer has an unsupported media type";
        let expected = format_args!("{} with +zstd, +gzip or nothing", media_type::LAYER);
        return Err(Finding::refusal(Code::WrongLayers, message).mismatch(expected, visible(found)));
    };
    let (size, limit) = (plugin_layer.size(), longest_layer(files, compression));
    if size > limit {
        let message = "the plugin layer is larger than the files that bundle.json lists";
        let finding = Finding::refusal(Code::DiffIdMismatch, message);
        return Err(
            finding.mismatch(format_args!("at most {limit} bytes"), format_args!("{size} bytes"))
        );
    }
    digest(plugin_layer)?;
    Ok(compression)
}

/// The most bytes of a plugin layer. What does not compress becomes longer: it is stored in blocks
/// with a header each (RFC 1951, 3.2.4; RFC 8878, 3.1.1.2), which take up less than a 256th.
fn longest_layer(files: &FileManifest, compression: Compression) -> u64 {
    let longest = archive::longest(files);
    match compression {
        Compression::None => longest,
        Compression::Gzip | Compression::Zstd => longest.saturating_add(longest / 256),
    }
}

/// The one entry of an index for a platform.
fn entry_of<'a>(
    index: &'a ImageIndex,
    digest: Digest,
    platform: &Platform,
) -> Result<&'a Descriptor, Finding> {
    let mut found: Vec<(Platform, &Descriptor)> = Vec::new();
    for entry in index.manifests() {
        let kind = entry.media_type().to_string();
        if kind == media_type::INDEX || kind == media_type::DOCKER_INDEX {
            let message = format!("index {digest} lists another index, {}", entry.digest());
            return Err(Finding::refusal(Code::NestedIndex, message));
        }
        // Entries for other operating systems may be anything.
        let Some(of_entry) = platform_of(entry) else { continue };
        if found.iter().any(|(seen, _)| *seen == of_entry) {
            let message = format!("index {digest} lists two manifests for {of_entry}");
            return Err(Finding::refusal(Code::DuplicatePlatform, message));
        }
        found.push((of_entry, entry));
    }
    match found.iter().find(|(of_entry, _)| of_entry == platform) {
        Some((_, entry)) => Ok(entry),
        None => {
            let listed: Vec<_> = index.manifests().iter().map(platform_text).take(16).collect();
            let listed =
                if listed.is_empty() { "no platform".to_owned() } else { listed.join(", ") };
            Err(Finding::refusal(
                Code::PlatformMissing,
                format!("index {digest} has no manifest for {platform}"),
            )
            .mismatch(platform, listed))
        }
    }
}

/// Compares a platform with the expected one; `text` is how it is written.
fn check_platform(
    what: &str,
    expected: &Platform,
    found: Option<&Platform>,
    text: &str,
) -> Result<(), Finding> {
    if found == Some(expected) {
        return Ok(());
    }
    Err(Finding::refusal(
        Code::PlatformMismatch,
        format!("{what} is for a different platform than the index says"),
    )
    .mismatch(expected, visible(text)))
}

/// A document that the chain needs, with the size that its descriptor promised.
fn document(evidence: &Evidence, digest: Digest, size: Option<u64>) -> Result<&Document, Finding> {
    let document = evidence.document(&digest).ok_or_else(|| {
        Finding::refusal(
            Code::BrokenChain,
            format!("the evidence does not contain document {digest}"),
        )
    })?;
    match size {
        Some(size) if size != document.bytes.len() as u64 => Err(Finding::refusal(
            Code::BrokenChain,
            format!("the size of document {digest} differs from its descriptor"),
        )
        .mismatch(size, document.bytes.len())),
        _ => Ok(document),
    }
}

fn digest(descriptor: &Descriptor) -> Result<Digest, Finding> {
    sha256(descriptor).ok_or_else(|| {
        let shown = descriptor.digest().to_string();
        Finding::refusal(Code::BrokenChain, format!("`{}` is not a sha256 digest", visible(&shown)))
    })
}
