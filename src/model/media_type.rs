//! The media types that are read or written, the names of cnister's label and annotations, and how
//! long such documents may be.

/// An image index (image-spec, image-index.md).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image manifest (image-spec, manifest.md).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image configuration (image-spec, config.md).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The two bytes `{}` (image-spec, manifest.md, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's uncompressed layer; `.gzip` and `.zstd` follow it.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// An uncompressed layer; `+gzip` and `+zstd` follow it.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's index: of an image that a plugin is taken from, else only named in an error.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest, likewise.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The `artifactType` of a bundle's platform manifests, and the media type of `bundle.json`.
pub const BUNDLE: &str = "application/vnd.cnister.bundle.v1+json";
/// The `artifactType` of the tool image's platform manifests.
pub const TOOL: &str = "application/vnd.cnister.tool.v1+json";
/// An evidence file.
pub const EVIDENCE: &str = "application/vnd.cnister.evidence.v1+json";

/// A Sigstore bundle, version 0.3 (Sigstore protobuf-specs).
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What every media type of a Sigstore bundle starts with.
pub const SIGSTORE_BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// A signature of cosign v2 (cosign, SIGNATURE_SPEC.md).
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The DSSE payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The label of the image configuration that holds the digest of `bundle.json`: the link from what
/// is signed to every file.
pub const BUNDLE_LABEL: &str = "dev.cnister.bundle";
/// The annotation of the tool layer that contains the text of `bundle.json`, so that the layer does
/// not have to be fetched to read it. The text needs no trust: it must have the digest in the
/// label.
pub const FILES_ANNOTATION: &str = "dev.cnister.bundle.json";
/// The layer annotation that records which encoder made its bytes.
pub const ENCODER_ANNOTATION: &str = "dev.cnister.encoder";
/// The tag of a manifest in a layout's `index.json` (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full image name that containerd's import looks for.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The longest manifest or index that is read, in bytes: what registries must accept
/// (distribution-spec, "Push").
pub const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;
/// The longest manifest or index that a node reads, in bytes: more does not fit into evidence, and
/// a node has the memory of a small container.
pub const NODE_MANIFEST_LIMIT: usize = 1024 * 1024;
/// The longest Sigstore bundle that is read, in bytes.
pub const SIGSTORE_BUNDLE_LIMIT: usize = 1024 * 1024;
/// The longest `bundle.json` or image configuration that is read, in bytes.
pub const DOCUMENT_LIMIT: usize = 1024 * 1024;
