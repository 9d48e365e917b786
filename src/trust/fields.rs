//! The fields of Sigstore bundles and in-toto statements, which cosign, policy-controller and
//! sigstore-go also read: with protobuf's JSON, where `media_type` is `mediaType`, and statements
//! with Go's `encoding/json`, which ignores case.

use crate::model::json::{Fields, Outline, Spelling};
use Outline::{Any, List, Map};

/// A message of a bundle. What this program does not know is kept by the parser of the sigstore
/// crates, and therefore counted.
const fn message(known: &'static [(&'static str, Outline)]) -> Fields {
    Fields { known, others: Any, spelling: Spelling::Refused }
}

/// A Sigstore bundle (Sigstore protobuf-specs, `sigstore_bundle.proto`).
pub(super) const BUNDLE: Outline = Outline::Fields(&message(&[
    ("mediaType", Any),
    ("verificationMaterial", MATERIAL),
    ("messageSignature", MESSAGE_SIGNATURE),
    ("dsseEnvelope", ENVELOPE),
]));

const MATERIAL: Outline = Outline::Fields(&message(&[
    ("publicKey", Outline::Fields(&message(&[("hint", Any)]))),
    ("x509CertificateChain", CHAIN),
    ("certificate", CERTIFICATE),
    ("tlogEntries", List(&ENTRY)),
    ("timestampVerificationData", TIMESTAMPS),
]));

const CERTIFICATE: Outline = Outline::Fields(&message(&[("rawBytes", Any)]));
const CHAIN: Outline = Outline::Fields(&message(&[("certificates", List(&CERTIFICATE))]));

const MESSAGE_SIGNATURE: Outline = Outline::Fields(&message(&[
    ("messageDigest", Outline::Fields(&message(&[("algorithm", Any), ("digest", Any)]))),
    ("signature", Any),
]));

/// An entry of a transparency log (`sigstore_rekor.proto`).
const ENTRY: Outline = Outline::Fields(&message(&[
    ("logIndex", Any),
    ("logId", Outline::Fields(&message(&[("keyId", Any)]))),
    ("kindVersion", Outline::Fields(&message(&[("kind", Any), ("version", Any)]))),
    ("integratedTime", Any),
    ("inclusionPromise", Outline::Fields(&message(&[("signedEntryTimestamp", Any)]))),
    ("inclusionProof", PROOF),
    ("canonicalizedBody", Any),
]));

const PROOF: Outline = Outline::Fields(&message(&[
    ("logIndex", Any),
    ("rootHash", Any),
    ("treeSize", Any),
    ("hashes", Any),
    ("checkpoint", Outline::Fields(&message(&[("envelope", Any)]))),
]));

const TIMESTAMPS: Outline = Outline::Fields(&message(&[(
    "rfc3161Timestamps",
    List(&Outline::Fields(&message(&[("signedTimestamp", Any)]))),
)]));

/// A DSSE envelope (`envelope.proto`).
const ENVELOPE: Outline = Outline::Fields(&message(&[
    ("payload", Any),
    ("payloadType", Any),
    ("signatures", List(&Outline::Fields(&message(&[("sig", Any), ("keyid", Any)])))),
]));

/// A statement (in-toto attestation framework, `statement.proto` and `resource_descriptor.proto`).
/// A predicate may be an SBOM with ten thousand parts; nothing of it is kept.
pub(super) const STATEMENT: Outline = Outline::Fields(&Fields::exact(&[
    ("_type", Any),
    ("subject", List(&SUBJECT)),
    ("predicateType", Any),
    ("predicate", Outline::Ignored),
]));

const SUBJECT: Outline = Outline::Fields(&Fields::exact(&[
    ("name", Outline::Ignored),
    ("uri", Outline::Ignored),
    ("digest", Map(&Any)),
    ("content", Outline::Ignored),
    ("downloadLocation", Outline::Ignored),
    ("mediaType", Outline::Ignored),
    ("annotations", Map(&Any)),
]));
