//! Collects evidence from wherever an image is stored. What is collected is not verified here;
//! `trust` does that.

use std::collections::BTreeSet;
use std::io::Read;

use oci_spec::image::{Descriptor, ImageManifest};

use super::{OciError, Source};
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Digest, Document, Platform, media_type};
use crate::trust::{
    Evidence, EvidenceBuilder, EvidenceError, Needs, SignatureDocument, SigstoreBundle,
};

/// The most referrers of a subject that are inspected: each takes two requests.
const MAX_REFERRERS: usize = 256;

/// Which platforms' documents are collected.
#[derive(Debug, Clone, Copy)]
pub enum Platforms<'a> {
    /// All that the index lists.
    All,
    /// Only the given platforms.
    Only(&'a [Platform]),
}

impl<'a> Platforms<'a> {
    /// One platform if one is given, otherwise all.
    pub fn requested(platform: Option<&'a Platform>) -> Self {
        platform.map_or(Self::All, |platform| Self::Only(std::slice::from_ref(platform)))
    }
}

/// Why evidence could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The place could not be read.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// Inspecting only some of them could miss the one signature that counts.
    #[error("{subject} has {found} referrers in {origin}, the limit is {MAX_REFERRERS}")]
    TooManyReferrers {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest that they refer to.
        subject: Digest,
        /// The number of referrers.
        found: usize,
    },
    /// What was collected is not valid evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

/// Collects the documents of an image and the statements about it that a policy needs. Other
/// statements are included while there is room, so that a refusal can say what was found instead;
/// [`Evidence::needed`] drops them.
///
/// Documents that are missing or cannot be parsed are left to [`crate::trust::verify`], which
/// reports what is wrong with the chain; an error here means that the place could not be read.
pub fn collect(
    source: &dyn Source,
    root: &Document,
    platforms: Platforms<'_>,
    needs: &Needs,
) -> Result<Evidence, CollectError> {
    let mut builder = EvidenceBuilder::default();
    let mut attached = Attached::default();
    builder.document(root.clone());
    signatures(source, &root.digest, needs, &mut builder, &mut attached)?;
    if root.is_index() {
        let index = root.index().ok();
        for entry in index.iter().flat_map(|index| index.manifests()) {
            let wanted = match platforms {
                Platforms::All => entry.platform().is_some(),
                Platforms::Only(platforms) => {
                    platform_of(entry).is_some_and(|platform| platforms.contains(&platform))
                }
            };
            let Some(digest) = sha256(entry).filter(|_| wanted) else { continue };
            let selector = crate::model::Selector { tag: None, digest: Some(digest) };
            let document = match source.manifest(&selector) {
                Ok(document) => document,
                Err(OciError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            documents_below(source, &document, &mut builder)?;
            builder.document(document);
            signatures(source, &digest, needs, &mut builder, &mut attached)?;
        }
    } else {
        documents_below(source, root, &mut builder)?;
    }
    if let Some(error) = attached.forbidden.filter(|_| !needs.required.is_subset(&attached.found)) {
        return Err(error.into());
    }
    // Last, so that statements anyone may attach to an image take no room from those that are
    // needed.
    for signature in attached.others {
        if signature.bytes.len() <= builder.room() {
            builder.signature(signature);
        }
    }
    Ok(builder.finish(root.digest)?)
}

/// Returns the configuration of a platform's manifest, and the `bundle.json` in the manifest.
fn documents_below(
    source: &dyn Source,
    document: &Document,
    builder: &mut EvidenceBuilder,
) -> Result<(), OciError> {
    let Ok(manifest) = document.manifest() else { return Ok(()) };
    let config = manifest.config();
    match small_blob(source, config, media_type::DOCUMENT_LIMIT) {
        Ok(Some(bytes)) => builder.document(Document::new(config.media_type().to_string(), bytes)),
        Ok(None) | Err(OciError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    if let Some(text) = carried_bundle_json(&manifest) {
        builder.document(Document::new(media_type::BUNDLE, text.clone().into_bytes()));
    }
    Ok(())
}

/// Returns `bundle.json` from the annotation of the tool layer; otherwise the layer would have to
/// be fetched each time.
pub(super) fn carried_bundle_json(manifest: &ImageManifest) -> Option<&String> {
    manifest.layers().get(1)?.annotations().as_ref()?.get(media_type::FILES_ANNOTATION)
}

/// What was found beside an image so far.
#[derive(Default)]
struct Attached {
    /// The predicate types of the needed statements that are among the evidence.
    found: BTreeSet<String>,
    /// Statements that are not needed, for later.
    others: Vec<SignatureDocument>,
    /// Why one subject's referrers were not listed. Some registries forbid what is not there: if
    /// each statement that is required claims to be about another subject, none is missed, and if
    /// one is not there, it is not known.
    forbidden: Option<OciError>,
}

/// Adds the needed statements about a subject, and keeps others for later.
fn signatures(
    source: &dyn Source,
    subject: &Digest,
    needs: &Needs,
    builder: &mut EvidenceBuilder,
    attached: &mut Attached,
) -> Result<(), CollectError> {
    let listed = match referrers(source, subject) {
        Err(CollectError::Oci(error)) if error.is_forbidden() => {
            attached.forbidden = Some(error);
            return Ok(());
        }
        listed => listed?,
    };
    let others = &mut attached.others;
    for entry in &listed {
        let Some(manifest) = referrer(source, entry, subject)? else { continue };
        // The list's description of an entry is not trusted: only its manifest says what it holds.
        let Some(signature) = signature_document(source, &manifest)? else { continue };
        let claim = SigstoreBundle::claim_of(&signature.bytes);
        let needed = claim
            .map(|claim| claim.predicate_type)
            .filter(|predicate_type| needs.predicate_types.contains(predicate_type));
        let length = signature.bytes.len();
        if let Some(predicate_type) = needed {
            if length > builder.room() {
                return Err(EvidenceError::TooLong {
                    found: Evidence::LIMIT - builder.room() + length,
                }
                .into());
            }
            builder.signature(signature);
            attached.found.insert(predicate_type);
        } else if others.iter().fold(length, |sum, other| sum + other.bytes.len()) <= builder.room()
        {
            others.push(signature);
        }
    }
    Ok(())
}

/// Returns the listed referrers of a subject, up to the limit.
pub(super) fn referrers(
    source: &dyn Source,
    subject: &Digest,
) -> Result<Vec<Descriptor>, CollectError> {
    let referrers = source.referrers(subject)?;
    if referrers.len() > MAX_REFERRERS {
        let (origin, subject, found) = (source.origin(), *subject, referrers.len());
        return Err(CollectError::TooManyReferrers { origin, subject, found });
    }
    Ok(referrers)
}

/// Returns the manifest of a referrer, if it is one and has the listed subject.
pub(super) fn referrer(
    source: &dyn Source,
    entry: &Descriptor,
    subject: &Digest,
) -> Result<Option<ImageManifest>, OciError> {
    let Some(digest) =
        sha256(entry).filter(|_| entry.media_type().to_string() == media_type::MANIFEST)
    else {
        return Ok(None);
    };
    match source.manifest(&crate::model::Selector { tag: None, digest: Some(digest) }) {
        Ok(document) => {
            let manifest = document.manifest().ok();
            Ok(manifest
                .filter(|manifest| manifest.subject().as_ref().and_then(sha256) == Some(*subject)))
        }
        Err(
            OciError::NotFound { .. } | OciError::Digest { .. } | OciError::ClaimedDigest { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the Sigstore bundle of a referrer, if it has a readable one.
pub(super) fn signature_document(
    source: &dyn Source,
    referrer: &ImageManifest,
) -> Result<Option<SignatureDocument>, OciError> {
    let [layer] = referrer.layers().as_slice() else { return Ok(None) };
    let media_type = layer.media_type().to_string();
    if !media_type.starts_with(media_type::SIGSTORE_BUNDLE_PREFIX) {
        return Ok(None);
    }
    match small_blob(source, layer, media_type::SIGSTORE_BUNDLE_LIMIT) {
        Ok(bytes) => Ok(bytes.map(|bytes| SignatureDocument { media_type, bytes })),
        // A broken blob attached to the image is not a signature; it must not hide a valid one.
        Err(OciError::NotFound { .. } | OciError::Digest { .. } | OciError::Size { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns a blob of at most `limit` bytes; `None` if its descriptor says more.
pub(super) fn small_blob(
    source: &dyn Source,
    descriptor: &Descriptor,
    limit: usize,
) -> Result<Option<Vec<u8>>, OciError> {
    if descriptor.size() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = source.blob(descriptor)?.read_to_end(&mut bytes);
    read.map_err(|error| {
        OciError::from_io(error, &source.origin(), &format!("read blob {}", descriptor.digest()))
    })?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::Selector;
    use crate::oci::Layout;
    use crate::oci::memory::Memory;
    use crate::trust::{COSIGN_SIGN, Key, is_signed};

    /// Images signed by cosign 3.1.3 and 2.6.5 with a key, each with the tag or platform to verify
    /// and whether the key `cosign.pub` signed it. Keyless and legacy signatures are not supported
    /// yet.
    const FIXTURES: [(&str, &str, bool); 17] = [
        ("n-garbage-only", "index", false),
        ("n-moved-to-child", "linux/amd64", false),
        ("n-otherkey-plus-good", "index", true),
        ("n-tampered-payload-key", "index", false),
        ("n-unrelated-referrer", "index", false),
        ("v2-key-sign-index-bundle-fbtag", "index", true),
        ("v3-key-attest-index-fbtag", "index", false),
        ("v3-key-attest-index-ref", "index", false),
        ("v3-key-sign-index-fbtag", "index", true),
        ("v3-key-sign-index-ref", "index", true),
        ("v3-key-sign-recursive-ref", "index", true),
        ("v3-key-sign-recursive-ref", "linux/amd64", true),
        ("x-attest-signtype", "index", true),
        ("x-message-signature", "index", false),
        ("x-no-annotations", "index", true),
        ("x-sig-with-attest-annotation", "index", true),
        ("n-moved-keyless", "index", false),
    ];

    #[test]
    fn agrees_with_images_that_cosign_signed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/cosign");
        let Ok(pem) = std::fs::read_to_string(folder.join("keys/cosign.pub")) else {
            eprintln!("skipped: the fixtures made by cosign are not here");
            return;
        };
        let other = std::fs::read_to_string(folder.join("keys/other.pub")).unwrap();
        for (fixture, what, expected) in FIXTURES {
            let layout = Layout::open(&folder.join(fixture), media_type::MANIFEST_LIMIT).unwrap();
            // If a fixture is about image B, its layout has a second tag.
            let tag = Selector { tag: Some("v1".to_owned()), digest: None };
            let root = layout.manifest(&tag).unwrap();
            let needs = Needs::signatures();
            let evidence = collect(&layout, &root, Platforms::All, &needs).unwrap();
            let subject = match what {
                "index" => root.digest,
                platform => {
                    let index = root.index().unwrap();
                    let entry = index
                        .manifests()
                        .iter()
                        .find(|entry| platform_of(entry) == platform.parse().ok());
                    sha256(entry.unwrap()).unwrap()
                }
            };
            assert_eq!(
                is_signed(&evidence, subject, Key::parse(&pem).unwrap(), COSIGN_SIGN),
                expected,
                "{fixture} {what}"
            );
            let by_other = fixture == "n-otherkey-plus-good";
            assert_eq!(
                is_signed(&evidence, subject, Key::parse(&other).unwrap(), COSIGN_SIGN),
                by_other,
                "{fixture} {what}"
            );
        }
    }

    /// A statement of this type about anything, whose predicate has this many characters.
    fn statement(kind: &str, filler: usize) -> Vec<u8> {
        let payload = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": kind,
            "subject": [{"digest": {"sha256": Digest::of(b"").hex()}}], "predicate": "x".repeat(filler),
        });
        crate::trust::write_bundle(payload.to_string().as_bytes(), b"signature", "hint")
    }

    /// An image for one platform, with its index and its manifest.
    fn image() -> (Memory, Descriptor, Descriptor) {
        let mut image = Memory::default();
        let config = image.add(media_type::CONFIG, "{}");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []});
        let mut manifest = image.add(media_type::MANIFEST, manifest.to_string());
        manifest.set_platform(
            serde_json::from_str(r#"{"os": "linux", "architecture": "amd64"}"#).unwrap(),
        );
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
        let index = image.add(media_type::INDEX, index.to_string());
        (image, index, manifest)
    }

    #[test]
    fn attachments_of_others_take_no_room_from_needed_statements() {
        let needs = Needs::signatures();
        // Half a megabyte of base64 each: one of them fits, two do not.
        for (index_has, manifest_has, expected) in [
            (vec![("other", 500_000)], vec![(COSIGN_SIGN, 0)], 2),
            (vec![("other", 700_000)], vec![(COSIGN_SIGN, 500_000)], 1),
            (vec![("other", 500_000), ("another", 500_000)], vec![(COSIGN_SIGN, 0)], 2),
        ] {
            let (mut image, index, manifest) = image();
            for (subject, statements) in [(index, index_has), (manifest, manifest_has)] {
                statements
                    .iter()
                    .for_each(|(kind, filler)| image.refer(&subject, statement(kind, *filler)));
            }
            let evidence = collect(&image, &image.0[2], Platforms::All, &needs).unwrap();
            assert_eq!(evidence.signatures().len(), expected);
            assert_eq!(evidence.needed(&needs).signatures().len(), 1);
        }
    }

    /// An image of which the referrers of some subjects are forbidden.
    struct Forbidding<'a>(&'a Memory, &'a [Digest]);

    impl Source for Forbidding<'_> {
        fn origin(&self) -> String {
            self.0.origin()
        }
        fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
            self.0.manifest(selector)
        }
        fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
            self.0.blob(descriptor)
        }
        fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
            if self.1.contains(subject) {
                return Err(crate::net::HttpError::Status {
                    method: "GET",
                    url: "https://registry.example.com/".to_owned(),
                    status: 403,
                    detail: String::new(),
                }
                .into());
            }
            self.0.referrers(subject)
        }
    }

    #[test]
    fn a_forbidden_list_is_no_signature_missed_if_another_subject_is_signed() {
        let mut needs = Needs::signatures();
        let (mut image, index, manifest) = image();
        let [of_index, of_manifest] = [&index, &manifest].map(|it| sha256(it).unwrap());
        let root = image.0[2].clone();
        let collected_for = |needs: &Needs, image: &Memory, forbidden: &[Digest]| {
            collect(&Forbidding(image, forbidden), &root, Platforms::All, needs)
                .map(|evidence| evidence.signatures().len())
                .map_err(|error| error.to_string())
        };
        let signatures = needs.clone();
        let collected =
            |image: &Memory, forbidden: &[Digest]| collected_for(&signatures, image, forbidden);
        assert_eq!(collected(&image, &[]), Ok(0));
        image.refer(&index, statement("other", 0));
        for forbidden in [&[of_manifest][..], &[of_index], &[of_index, of_manifest]] {
            let error = collected(&image, forbidden).expect_err("it is not known");
            assert!(error.contains("403"), "{error}");
        }
        image.refer(&index, statement(COSIGN_SIGN, 0));
        assert_eq!(collected(&image, &[of_manifest]), Ok(2));
        let error = collected(&image, &[of_index]).expect_err("the signed subject");
        assert!(error.contains("403"), "{error}");
        image.refer(&manifest, statement(COSIGN_SIGN, 0));
        assert_eq!(collected(&image, &[of_index]), Ok(1));
        assert_eq!(collected(&image, &[]), Ok(2));
        // Of two that the rule requires, one may be in the list that is forbidden; what only
        // another rule requires does not matter.
        needs.predicate_types.insert("sbom".to_owned());
        assert_eq!(collected_for(&needs, &image, &[of_manifest]), Ok(2));
        needs.required.insert("sbom".to_owned());
        for forbidden in [of_index, of_manifest] {
            let error = collected_for(&needs, &image, &[forbidden]).expect_err("it is not known");
            assert!(error.contains("403"), "{error}");
        }
        assert_eq!(collected_for(&needs, &image, &[]), Ok(2));
        image.refer(&index, statement("sbom", 0));
        assert_eq!(collected_for(&needs, &image, &[of_manifest]), Ok(3));
        let error = collected_for(&needs, &image, &[of_index]).expect_err("both are there");
        assert!(error.contains("403"), "{error}");
    }
}
