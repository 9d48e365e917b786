//! Manifests and indexes, with the bytes that were signed.
//!
//! A document keeps its bytes, and is never written again from its parsed form: its digest belongs
//! to the bytes. A document that could be read as an index and as a manifest is refused, because
//! two readers would see two images (CVE-2021-41190). Fetching documents, and deciding whether they
//! belong together, is done elsewhere.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::json::Limits;
use super::{Digest, JsonError, Platform, excerpt, image_fields, json, media_type};

/// What is read of a manifest or an index. An entry of an index is four values and half a kilobyte
/// in memory; lists of referrers have at most 256 entries.
const LIMITS: Limits = Limits { bytes: media_type::MANIFEST_LIMIT, values: 8 * 1024 };

/// A manifest or an index, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its media type, as the descriptor or the registry gave it.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The bytes that were hashed.
    pub bytes: Vec<u8>,
}

/// Why a document is not the manifest or index it should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not valid JSON, or not the fields of its kind.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Fields of both kinds: two readers would see two images (CVE-2021-41190).
    #[error("document {digest} has the fields of both a manifest and an index")]
    Ambiguous {
        /// The digest of the document.
        digest: Digest,
    },
    /// Another kind of document was expected.
    #[error("document {digest} has media type `{found}`, expected `{expected}`")]
    Kind {
        /// The digest of the document.
        digest: Digest,
        /// The media type that was expected.
        expected: &'static str,
        /// The media type it has.
        found: String,
    },
    /// A descriptor with a digest other than SHA-256.
    #[error("document {digest} refers to a blob by `{found}`, expected a sha256 digest")]
    Algorithm {
        /// The digest of the document.
        digest: Digest,
        /// The digest as written.
        found: String,
    },
}

/// The fields that tell a manifest from an index (image-spec, manifest.md and image-index.md).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// A document of this media type; hashes `bytes`.
    pub fn new(media_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { media_type: media_type.into(), digest: Digest::of(&bytes), bytes }
    }

    /// A descriptor of it, without platform or annotations.
    pub fn descriptor(&self) -> Descriptor {
        descriptor(&self.media_type, self.digest, self.bytes.len() as u64)
    }

    /// Whether its media type says that it is an index.
    pub fn is_index(&self) -> bool {
        self.media_type == media_type::INDEX
    }

    /// Parses it as an image index, OCI's and no other.
    pub fn index(&self) -> Result<ImageIndex, DocumentError> {
        self.check_shape(media_type::INDEX)?;
        self.parse_index()
    }

    /// Parses it as an image manifest.
    pub fn manifest(&self) -> Result<ImageManifest, DocumentError> {
        self.check_shape(media_type::MANIFEST)?;
        self.parse_manifest()
    }

    /// Parses it as the index of an image that another project built: OCI's, or Docker's list,
    /// which has the same fields (Image Manifest Version 2, Schema 2).
    pub fn upstream_index(&self) -> Result<ImageIndex, DocumentError> {
        match self.media_type == media_type::DOCKER_INDEX {
            true => self.check_shape(media_type::DOCKER_INDEX)?,
            false => self.check_shape(media_type::INDEX)?,
        }
        self.parse_index()
    }

    /// Parses it as the manifest of such an image.
    pub fn upstream_manifest(&self) -> Result<ImageManifest, DocumentError> {
        match self.media_type == media_type::DOCKER_MANIFEST {
            true => self.check_shape(media_type::DOCKER_MANIFEST)?,
            false => self.check_shape(media_type::MANIFEST)?,
        }
        self.parse_manifest()
    }

    fn parse_index(&self) -> Result<ImageIndex, DocumentError> {
        let index: ImageIndex = self.parse("index")?;
        for entry in index.manifests() {
            self.digest_of(entry)?;
        }
        Ok(index)
    }

    fn parse_manifest(&self) -> Result<ImageManifest, DocumentError> {
        let manifest: ImageManifest = self.parse("manifest")?;
        for entry in manifest.layers().iter().chain([manifest.config()]) {
            self.digest_of(entry)?;
        }
        Ok(manifest)
    }

    fn parse<T: DeserializeOwned>(&self, kind: &str) -> Result<T, JsonError> {
        let what = format!("{kind} {}", self.digest);
        json::parse_as(&what, &self.bytes, LIMITS, image_fields::DOCUMENT)
    }

    fn digest_of(&self, entry: &Descriptor) -> Result<Digest, DocumentError> {
        sha256(entry).ok_or_else(|| DocumentError::Algorithm {
            digest: self.digest,
            found: excerpt(entry.digest().as_ref()),
        })
    }

    fn check_shape(&self, expected: &'static str) -> Result<(), DocumentError> {
        let shape: Shape = self.parse("document")?;
        let (manifest, index) =
            (shape.config.is_some() || shape.layers.is_some(), shape.manifests.is_some());
        if manifest && index {
            return Err(DocumentError::Ambiguous { digest: self.digest });
        }
        let kind = |found: &str| DocumentError::Kind {
            digest: self.digest,
            // A reader of Docker's list is told what it should have been.
            expected: if found == media_type::DOCKER_INDEX { media_type::INDEX } else { expected },
            found: excerpt(found),
        };
        // The media type inside and the one outside are both optional in some tools; if there are
        // two, they must agree.
        if self.media_type != expected {
            return Err(kind(&self.media_type));
        }
        match shape.media_type {
            Some(inner) if inner != expected => Err(kind(&inner)),
            None if index != [media_type::INDEX, media_type::DOCKER_INDEX].contains(&expected) => {
                Err(kind("none"))
            }
            _ => Ok(()),
        }
    }
}

/// A plain descriptor.
pub fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let digest: oci_spec::image::Digest =
        digest.to_string().parse().expect("64 lower-case hex digits are an OCI digest");
    Descriptor::new(media_type.into(), size, digest)
}

/// The digest of a descriptor, if it is a SHA-256 one. All descriptors of a parsed [`Document`]
/// are.
pub fn sha256(descriptor: &Descriptor) -> Option<Digest> {
    descriptor.digest().to_string().parse().ok()
}

/// The platform of a descriptor in an index, if it names one that plugins run on.
pub fn platform(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
    Platform::normalized(&os, &architecture, platform.variant().as_deref()).ok()
}

/// The platform of a descriptor in an index as it is written there, whatever runs on it.
pub fn platform_text(descriptor: &Descriptor) -> String {
    let Some(platform) = descriptor.platform() else { return "an entry without platform".into() };
    let variant = platform.variant().iter().map(|variant| format!("/{variant}"));
    excerpt(&format!(
        "{}/{}{}",
        platform.os(),
        platform.architecture(),
        variant.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    fn manifest(extra: &str) -> Document {
        let text = format!(r#"{{"schemaVersion":2,"config":{DESCRIPTOR},"layers":[]{extra}}}"#);
        Document::new(media_type::MANIFEST, text.into_bytes())
    }

    #[test]
    fn reads_a_manifest_and_an_index() {
        assert_eq!(manifest("").manifest().unwrap().layers().len(), 0);
        let index =
            Document::new(media_type::INDEX, br#"{"schemaVersion":2,"manifests":[]}"#.to_vec());
        assert_eq!(index.index().unwrap().manifests().len(), 0);
    }

    #[test]
    fn reads_what_docker_builds_only_as_an_image_of_another_project() {
        let list = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
        let list = Document::new(media_type::DOCKER_INDEX, list);
        assert_eq!(list.upstream_index().unwrap().manifests().len(), 0);
        assert!(matches!(list.index(), Err(DocumentError::Kind { .. })));
        assert!(matches!(list.upstream_manifest(), Err(DocumentError::Kind { .. })));
        let docker = Document::new(media_type::DOCKER_MANIFEST, manifest("").bytes);
        assert_eq!(docker.upstream_manifest().unwrap().layers().len(), 0);
        assert!(matches!(docker.manifest(), Err(DocumentError::Kind { .. })));
        assert!(matches!(docker.upstream_index(), Err(DocumentError::Kind { .. })));
        assert_eq!(manifest("").upstream_manifest().unwrap().layers().len(), 0);
        let inner = format!(r#","mediaType":"{}""#, media_type::MANIFEST);
        let mixed = Document::new(media_type::DOCKER_MANIFEST, manifest(&inner).bytes);
        assert!(matches!(mixed.upstream_manifest(), Err(DocumentError::Kind { .. })));
        let both = manifest(r#","manifests":[]"#).bytes;
        for media_type in [media_type::DOCKER_INDEX, media_type::DOCKER_MANIFEST] {
            let both = Document::new(media_type, both.clone());
            assert!(matches!(
                both.upstream_index(),
                Err(DocumentError::Ambiguous { .. } | DocumentError::Kind { .. })
            ));
            assert!(matches!(
                both.upstream_manifest(),
                Err(DocumentError::Ambiguous { .. } | DocumentError::Kind { .. })
            ));
        }
    }

    #[test]
    fn refuses_a_manifest_and_index_in_one() {
        let document = manifest(r#","manifests":[]"#);
        assert!(matches!(document.manifest(), Err(DocumentError::Ambiguous { .. })));
        let index = Document::new(media_type::INDEX, document.bytes);
        assert!(matches!(index.index(), Err(DocumentError::Ambiguous { .. })));
    }

    #[test]
    fn refuses_a_document_of_another_kind() {
        let named = manifest(r#","mediaType":"application/vnd.oci.image.index.v1+json""#);
        assert!(matches!(named.manifest(), Err(DocumentError::Kind { .. })));
        assert!(matches!(manifest("").index(), Err(DocumentError::Kind { .. })));
        let disguised = Document::new(media_type::INDEX, manifest("").bytes);
        assert!(matches!(disguised.index(), Err(DocumentError::Kind { .. })));
    }

    #[test]
    fn refuses_a_field_that_go_reads_by_another_name() {
        let platform = r#""platform":{"architecture":"amd64","OS":"linux"}"#;
        let entry = DESCRIPTOR.replace("\"size\"", &format!("{platform},\"size\""));
        let cases = [
            (r#","Layers":[]"#.to_owned(), "Layers"),
            (r#","layer\u017f":[]"#.to_owned(), "layer\u{17f}"),
            (r#","Manifests":[]"#.to_owned(), "Manifests"),
            (r#","CONFIG":{}"#.to_owned(), "CONFIG"),
            (r#","ArtifactType":"a/b""#.to_owned(), "ArtifactType"),
            (format!(r#","subject":{}"#, DESCRIPTOR.replace("digest", "Digest")), "Digest"),
            (format!(r#","subject":{entry}"#), "OS"),
        ];
        for (extra, key) in cases {
            let index = format!(r#"{{"schemaVersion":2,"manifests":[]{extra}}}"#);
            let index = Document::new(media_type::INDEX, index.into_bytes()).index();
            let manifest = manifest(&extra).manifest();
            for error in [index.expect_err(&extra), manifest.expect_err(&extra)] {
                let expected = format!("the key `{key}` is another spelling of");
                assert!(error.to_string().contains(&expected), "{extra}: {error}");
            }
        }
        let data = r#","annotations":{"a":"1","A":"2","Layers":"3"},"x":{"y":1,"Y":2}"#;
        assert!(manifest(data).manifest().is_ok());
        assert!(manifest(r#","x":1,"X":2"#).manifest().is_err());
    }

    #[test]
    fn refuses_more_entries_than_any_index_has() {
        let index = |count: usize| {
            let entries = vec![DESCRIPTOR; count].join(",");
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
            Document::new(media_type::INDEX, text.into_bytes()).index()
        };
        assert_eq!(index(2047).unwrap().manifests().len(), 2047);
        let error = index(2048).expect_err("two values too many").to_string();
        assert!(error.contains("more than 8192 values"), "{error}");
    }

    #[test]
    fn refuses_other_digests_and_negative_sizes() {
        let sha512 = manifest("").bytes;
        let text = String::from_utf8(sha512).unwrap();
        let other = text
            .replace("sha256:", "sha512:")
            .replace("aaff8a\"", &format!("aaff8a{}\"", "0".repeat(64)));
        let document = Document::new(media_type::MANIFEST, other.into_bytes());
        assert!(
            matches!(document.manifest(), Err(DocumentError::Algorithm { .. })),
            "{:?}",
            document.manifest()
        );
        let negative = Document::new(
            media_type::MANIFEST,
            text.replace("\"size\":2", "\"size\":-2").into_bytes(),
        );
        assert!(matches!(negative.manifest(), Err(DocumentError::Json(_))));
    }
}
