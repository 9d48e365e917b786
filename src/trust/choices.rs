//! The fields of a Sigstore bundle that exclude each other. Pure.
//!
//! The parser of the sigstore crates takes the first of them that it knows and skips the others,
//! while cosign refuses the bundle: without this, one program would judge another content than the
//! other.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Why a bundle does not hold what it holds once.
#[derive(Debug, thiserror::Error)]
#[error("the bundle contains {found}, expected exactly one of {expected}")]
pub(super) struct NotOne {
    expected: String,
    found: String,
}

/// The fields of a bundle, of which protobuf allows one content and one material (`oneof` in
/// `sigstore_bundle.proto`). A field that is not known is an error, as for cosign: it may be
/// another content or material.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Choices {
    #[serde(rename = "mediaType")]
    _media_type: Option<IgnoredAny>,
    verification_material: Option<Material>,
    message_signature: Option<IgnoredAny>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    #[serde(rename = "tlogEntries")]
    _tlog_entries: Option<IgnoredAny>,
    #[serde(rename = "timestampVerificationData")]
    _timestamp_verification_data: Option<IgnoredAny>,
}

/// `envelope.proto`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payload")]
    _payload: Option<IgnoredAny>,
    #[serde(rename = "payloadType")]
    _payload_type: Option<IgnoredAny>,
    #[serde(rename = "signatures")]
    _signatures: Option<Vec<Signature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(rename = "sig")]
    _sig: Option<IgnoredAny>,
    #[serde(rename = "keyid")]
    _keyid: Option<IgnoredAny>,
}

impl Choices {
    /// Refuses a bundle with none or several of them.
    pub(super) fn refuse_all_but_one(&self) -> Result<(), NotOne> {
        let material = self.verification_material.as_ref();
        one_of(&[
            ("messageSignature", self.message_signature.is_some()),
            ("dsseEnvelope", self.dsse_envelope.is_some()),
        ])?;
        one_of(&[
            ("publicKey", material.is_some_and(|it| it.public_key.is_some())),
            (
                "x509CertificateChain",
                material.is_some_and(|it| it.x509_certificate_chain.is_some()),
            ),
            ("certificate", material.is_some_and(|it| it.certificate.is_some())),
        ])
    }
}

/// Refuses none and several of these fields.
fn one_of(fields: &[(&str, bool)]) -> Result<(), NotOne> {
    let quoted = |(name, _): &(&str, bool)| format!("`{name}`");
    let found: Vec<_> = fields.iter().filter(|(_, is_there)| *is_there).map(quoted).collect();
    if found.len() == 1 {
        return Ok(());
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
    let expected = fields.iter().map(quoted).collect::<Vec<_>>().join(", ");
    Err(NotOne { expected, found })
}
