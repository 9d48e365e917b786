//! The fields of the documents of an image, as Go's `image-spec/specs-go/v1` has them: registries,
//! containerd, podman and cosign read these documents with Go's `encoding/json`.
//!
//! Fields that only other kinds of documents have are not listed: they are not read here.

use super::json::{Fields, Outline};
use Outline::{Any, List, Map};

/// `oci-layout` (image-spec, image-layout.md).
pub const LAYOUT: Outline = Outline::Fields(&Fields::exact(&[("imageLayoutVersion", Any)]));

/// A manifest or an index (image-spec, manifest.md and image-index.md). One outline for both: a
/// reader decides by the fields which of them it is.
pub const DOCUMENT: Outline = Outline::Fields(&Fields::exact(&[
    ("schemaVersion", Any),
    ("mediaType", Any),
    ("artifactType", Any),
    ("config", DESCRIPTOR),
    ("layers", List(&DESCRIPTOR)),
    ("manifests", List(&DESCRIPTOR)),
    ("subject", DESCRIPTOR),
    ("annotations", Map(&Any)),
]));

/// A descriptor (image-spec, descriptor.md).
const DESCRIPTOR: Outline = Outline::Fields(&Fields::exact(&[
    ("mediaType", Any),
    ("digest", Any),
    ("size", Any),
    ("urls", Any),
    ("annotations", Map(&Any)),
    ("data", Any),
    ("platform", PLATFORM),
    ("artifactType", Any),
]));

/// A platform in a descriptor (image-spec, image-index.md).
const PLATFORM: Outline = Outline::Fields(&Fields::exact(&[
    ("architecture", Any),
    ("os", Any),
    ("os.version", Any),
    ("os.features", Any),
    ("variant", Any),
    ("features", Any),
]));

/// An image configuration (image-spec, config.md).
pub const CONFIG: Outline = Outline::Fields(&Fields::exact(&[
    ("created", Any),
    ("author", Any),
    ("architecture", Any),
    ("os", Any),
    ("os.version", Any),
    ("os.features", Any),
    ("variant", Any),
    ("config", EXECUTION),
    ("rootfs", Outline::Fields(&Fields::exact(&[("type", Any), ("diff_ids", Any)]))),
    ("history", List(&HISTORY)),
]));

const EXECUTION: Outline = Outline::Fields(&Fields::exact(&[
    ("User", Any),
    ("ExposedPorts", Map(&Any)),
    ("Env", Any),
    ("Entrypoint", Any),
    ("Cmd", Any),
    ("Volumes", Map(&Any)),
    ("WorkingDir", Any),
    ("Labels", Map(&Any)),
    ("StopSignal", Any),
    ("ArgsEscaped", Any),
]));

const HISTORY: Outline = Outline::Fields(&Fields::exact(&[
    ("created", Any),
    ("created_by", Any),
    ("author", Any),
    ("comment", Any),
    ("empty_layer", Any),
]));
