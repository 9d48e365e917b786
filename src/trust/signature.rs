//! Sigstore bundles and the keys that verify them: the only file of this module that names the
//! sigstore crates.
//!
//! A bundle made offline with a key (`cosign sign --key`, and cnister's own) has neither a log
//! entry nor a timestamp. The sigstore crates refuse such bundles as a whole. So the cryptography
//! is theirs, and the rule is ours: one DSSE signature by a key that the policy names. Which key
//! that may be, and what a signed statement is worth, is decided by `signatures.rs` and
//! `condition.rs`.

#[cfg(any(test, feature = "publish"))]
use aws_lc_rs::digest::{Digest as Sha256, SHA256};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA512_ASN1,
    ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sigstore_verify::crypto::{SigningScheme, VerificationKey, validate_raw_public_key};
#[cfg(any(test, feature = "publish"))]
use sigstore_verify::types::HashAlgorithm;
use sigstore_verify::types::bundle::{MediaType, SignatureContent, VerificationMaterialContent};
use sigstore_verify::types::{
    Bundle as SigstoreTypesBundle, DerPublicKey, DsseEnvelope, SignatureBytes,
};

use super::choices::{Choices, NotOne};
use super::ed25519::refuse_weak;
use super::statement::{Statement, StatementError, pae};
use crate::model::json::Limits;
use crate::model::{Digest, JsonError, json, media_type, visible};

/// What is read of a bundle. The sigstore crates keep all of it; a bundle with certificate, log
/// entry and timestamp has some fifty values.
const LIMITS: Limits = Limits::tree(media_type::SIGSTORE_BUNDLE_LIMIT);

/// A public key that a policy trusts: P-256 (recommended), P-384, P-521, Ed25519 or RSA.
pub struct Key {
    /// One for each hash that signatures of this kind of key are made with.
    verifiers: Vec<Verifier>,
    spki: Vec<u8>,
}

/// A key with one hash.
enum Verifier {
    Sigstore(VerificationKey),
    /// P-521, which the sigstore crates do not have. The cryptography is the library that they use.
    P521(ParsedPublicKey),
}

/// The beginning of the SubjectPublicKeyInfo of an uncompressed point on P-521 (RFC 5480, sections
/// 2 and 2.1.1.1); the 133 bytes of the point follow.
const P521: [u8; 25] = [
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
    0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];
const P521_POINT: usize = 133;
/// The AlgorithmIdentifier of rsaEncryption (RFC 3279, 2.3.1).
const RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The labels of an RSA key without the name of its algorithm (PKCS#1, RFC 8017, A.1.1).
const PKCS1: [&str; 2] = ["-----BEGIN RSA PUBLIC KEY-----", "-----END RSA PUBLIC KEY-----"];

/// Why a text is not a public key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A private key instead of a public one.
    #[error("this is a private key, expected the public one (cosign.pub)")]
    Private,
    /// A certificate instead of the key in it: nothing of it but the key would be looked at.
    #[error("this is a certificate, expected the public key in it (openssl x509 -pubkey -noout)")]
    Certificate,
    /// More than one key: readers may differ in which one they use.
    #[error("the file contains more than one PEM block, expected one key per file")]
    Several,
    /// Not a PEM file with the label `PUBLIC KEY` or `RSA PUBLIC KEY`, or an unsupported kind of
    /// key.
    #[error("not a supported PEM public key (P-256, P-384, P-521, Ed25519, RSA): {0}")]
    Unsupported(String),
}

/// A parsed Sigstore bundle of an image: version 0.3, with one DSSE envelope that holds an in-toto
/// statement.
#[derive(Debug)]
pub struct SigstoreBundle {
    envelope: DsseEnvelope,
    /// Where it says that its key is found.
    hint: Option<String>,
    statement: Statement,
}

/// Why bytes are not a supported Sigstore bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("not a Sigstore bundle: {0}")]
    Bundle(String),
    #[error("a Sigstore bundle before version 0.3 is not accepted for images")]
    Version,
    #[error("the bundle signs a message, expected a DSSE envelope")]
    Message,
    #[cfg(any(test, feature = "publish"))]
    #[error("the bundle has a DSSE envelope, expected the signature of a file")]
    Envelope,
    #[cfg(any(test, feature = "publish"))]
    #[error(
        "the bundle has a certificate: keyless identities are not supported yet, expected a \
         signature by a key"
    )]
    Keyless,
    #[error(transparent)]
    Choice(#[from] NotOne),
    #[error("the envelope has payload type `{0}`, expected `application/vnd.in-toto+json`")]
    PayloadType(String),
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl Key {
    /// Parses a PEM public key: a SubjectPublicKeyInfo (RFC 5280 4.1), as `cosign.pub` is, or
    /// PKCS#1, as older OpenSSL writes RSA keys.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        // The label of a block: a comment may mention a private key.
        let mut labels =
            pem.split("-----BEGIN ").skip(1).filter_map(|rest| rest.split("--").next());
        if labels.any(|label| label.ends_with("PRIVATE KEY")) {
            return Err(KeyError::Private);
        }
        // A reader of the first of several keys and a reader of the last would trust different
        // signers.
        if pem.matches("-----BEGIN ").count() > 1 {
            return Err(KeyError::Several);
        }
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(KeyError::Certificate);
        }
        let der = if PKCS1.iter().all(|label| pem.contains(label)) {
            let pem = pem.replace("RSA PUBLIC KEY-----", "PUBLIC KEY-----");
            DerPublicKey::new(rsa_spki(decode(&pem)?.as_bytes()))
        } else {
            decode(pem)?
        };
        Ok(Self { verifiers: verifiers(&der)?, spki: der.as_bytes().to_vec() })
    }

    /// Whether the key made this signature over `signed`. As for cosign, SHA-256 is as good as the
    /// hash of the curve's own size.
    fn has_signed(&self, signed: &[u8], signature: &SignatureBytes) -> bool {
        self.verifiers.iter().any(|verifier| match verifier {
            Verifier::Sigstore(key) => key.verify(signed, signature).is_ok(),
            Verifier::P521(key) => key.verify_sig(signed, signature.as_bytes()).is_ok(),
        })
    }

    /// Whether a signature can be verified with the SHA-256 of what is signed alone.
    #[cfg(any(test, feature = "publish"))]
    pub(super) fn signs_digests(&self) -> bool {
        self.verifiers.iter().any(|verifier| match verifier {
            Verifier::Sigstore(key) => key.scheme().supports_prehashed(),
            Verifier::P521(_) => true,
        })
    }

    /// Whether the key made this signature over what has this digest, with SHA-256.
    #[cfg(any(test, feature = "publish"))]
    pub(super) fn has_signed_digest(&self, signed: &Digest, signature: &MessageSignature) -> bool {
        let (digest, signature) = (signed.bytes(), &signature.signature);
        self.verifiers.iter().any(|verifier| match verifier {
            Verifier::Sigstore(key) => key.verify_prehashed(&digest, signature).is_ok(),
            Verifier::P521(key) => Sha256::import_less_safe(&digest, &SHA256)
                .is_ok_and(|digest| key.verify_digest_sig(&digest, signature.as_bytes()).is_ok()),
        })
    }

    /// Whether the key made this signature over `signed`.
    #[cfg(any(test, feature = "publish"))]
    pub(super) fn has_signed_bytes(&self, signed: &[u8], signature: Vec<u8>) -> bool {
        self.has_signed(signed, &SignatureBytes::new(signature))
    }

    /// How signatures of this kind of key are made, in words that follow "a signature"; empty if
    /// there is one way only.
    pub(super) fn ways(&self) -> &'static str {
        match self.verifiers.last() {
            Some(Verifier::P521(_)) => " in ASN.1 with SHA-256 or SHA-512",
            Some(Verifier::Sigstore(key)) => match key.scheme() {
                SigningScheme::EcdsaP256Sha256 => " in ASN.1 with SHA-256",
                SigningScheme::EcdsaP384Sha384 => " in ASN.1 with SHA-256 or SHA-384",
                SigningScheme::RsaPkcs1Sha256 => " of PKCS#1 v1.5 with SHA-256",
                _ => "",
            },
            None => "",
        }
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo: how findings name it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }
}

fn unsupported(error: &dyn std::fmt::Display) -> KeyError {
    KeyError::Unsupported(visible(&error.to_string()).into_owned())
}

fn not_a_key(error: KeyRejected) -> KeyError {
    KeyError::Unsupported(format!("its numbers are not those of a key ({error})"))
}

fn decode(pem: &str) -> Result<DerPublicKey, KeyError> {
    DerPublicKey::from_pem(pem).map_err(|error| unsupported(&error))
}

/// A key that can never verify anything is an error now, not at the first signature.
fn verifiers(der: &DerPublicKey) -> Result<Vec<Verifier>, KeyError> {
    if let Some(point) = der.as_bytes().strip_prefix(&P521)
        && point.len() == P521_POINT
    {
        let parse = |algorithm: &'static dyn VerificationAlgorithm| {
            ParsedPublicKey::new(algorithm, point).map(Verifier::P521)
        };
        let verifiers = [&ECDSA_P521_SHA512_ASN1, &ECDSA_P521_SHA256_ASN1].map(|it| parse(it));
        return verifiers.into_iter().collect::<Result<_, _>>().map_err(not_a_key);
    }
    let key = VerificationKey::from_spki(der).map_err(|error| unsupported(&error))?;
    validate(&key)?;
    let mut verifiers = Vec::new();
    if key.scheme() == SigningScheme::EcdsaP384Sha384 {
        let key = VerificationKey::from_spki_with_scheme(der, SigningScheme::EcdsaP384Sha256);
        verifiers.push(Verifier::Sigstore(key.map_err(|error| unsupported(&error))?));
    }
    verifiers.push(Verifier::Sigstore(key));
    Ok(verifiers)
}

/// The sigstore crates look at the form of a key, the library at its numbers: that a point is on
/// its curve, or that an RSA modulus and exponent are odd. Exponent 3 is accepted as by cosign and
/// openssl: the forgeries that it is known for need a verifier that skips a part of the padding.
fn validate(key: &VerificationKey) -> Result<(), KeyError> {
    validate_raw_public_key(key.scheme(), key.as_bytes()).map_err(|error| unsupported(&error))?;
    let algorithm: &'static dyn VerificationAlgorithm = match key.scheme() {
        SigningScheme::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SigningScheme::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        SigningScheme::Ed25519 => &ED25519,
        // ML-DSA, of which every key of the right length is one.
        _ => return Ok(()),
    };
    ParsedPublicKey::new(algorithm, key.as_bytes()).map_err(not_a_key)?;
    if key.scheme() == SigningScheme::Ed25519 {
        refuse_weak(key.as_bytes()).map_err(|error| unsupported(&error))?;
    }
    Ok(())
}

/// The SubjectPublicKeyInfo of a PKCS#1 key.
fn rsa_spki(key: &[u8]) -> Vec<u8> {
    let bits = der(0x03, &[&[0], key].concat());
    der(0x30, &[&RSA, bits.as_slice()].concat())
}

/// A value in DER with its tag and length (X.690, 8.1.3).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = length.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
    let mut value = vec![tag];
    match (content.len(), u8::try_from(digits.len())) {
        (0x80.., Ok(count)) => value.push(0x80 | count),
        (0, _) => value.push(0),
        _ => {}
    }
    value.extend(digits);
    value.extend_from_slice(content);
    value
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

impl SigstoreBundle {
    /// Parses a bundle. Nothing in it is trusted before [`SigstoreBundle::verify`] says so.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bundle = read_bundle(bytes)?;
        let SignatureContent::DsseEnvelope(envelope) = bundle.content else {
            return Err(SignatureError::Message);
        };
        if envelope.payload_type != media_type::IN_TOTO {
            return Err(SignatureError::PayloadType(visible(&envelope.payload_type).into_owned()));
        }
        let hint = match bundle.verification_material.content {
            VerificationMaterialContent::PublicKey(key) => Some(key.hint),
            _ => None,
        };
        let statement = Statement::parse(envelope.payload.as_bytes())?;
        Ok(Self { envelope, hint, statement })
    }

    /// What the bundle claims, if `key` signed it.
    pub(super) fn verify(&self, key: &Key) -> Option<&Statement> {
        let signed = pae(&self.envelope.payload_type, self.envelope.payload.as_bytes());
        key.has_signed(&signed, &self.envelope.signature.sig).then_some(&self.statement)
    }

    /// The [fingerprint](Key::fingerprint) of the key that the bundle says it was signed with, if
    /// it says so as cosign does: for a report, never for a decision.
    pub(super) fn named_key(&self) -> Option<Digest> {
        let bytes = STANDARD.decode(self.hint.as_ref()?).ok()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest::from_hex(&hex).ok()
    }

    /// What the bundle claims, no matter who signed it: for a report, never for a decision.
    pub fn claim(&self) -> &Statement {
        &self.statement
    }

    /// What the bundle in `bytes` claims, if it is one: for a report, never for a decision.
    pub fn claim_of(bytes: &[u8]) -> Option<Statement> {
        Self::parse(bytes).ok().map(|bundle| bundle.statement)
    }

    /// Whether `key` signed the bundle in `bytes`.
    #[cfg(any(test, feature = "publish"))]
    pub fn is_signed_by(bytes: &[u8], key: &Key) -> bool {
        Self::parse(bytes).is_ok_and(|bundle| bundle.verify(key).is_some())
    }

    /// The statement in the bundle in `bytes`, byte for byte, if it is one about `subject`: to show
    /// it, never for a decision.
    #[cfg(any(test, feature = "publish"))]
    pub fn statement_about(bytes: &[u8], subject: &Digest) -> Option<Vec<u8>> {
        let bundle = Self::parse(bytes).ok()?;
        bundle.statement.subject(subject)?;
        Some(bundle.envelope.payload.as_bytes().to_vec())
    }
}

/// Reads a bundle of the only version that is accepted, whatever it signs.
fn read_bundle(bytes: &[u8]) -> Result<SigstoreTypesBundle, SignatureError> {
    // The strict reader first: two readers of one bundle must not see two payloads.
    let choices: Choices = json::parse_as("Sigstore bundle", bytes, LIMITS, super::fields::BUNDLE)?;
    choices.refuse_all_but_one()?;
    let text =
        std::str::from_utf8(bytes).map_err(|error| SignatureError::Bundle(error.to_string()))?;
    let bundle = SigstoreTypesBundle::from_json(text)
        .map_err(|error| SignatureError::Bundle(visible(&error.to_string()).into_owned()))?;
    match bundle.media_type == MediaType::Bundle0_3 {
        true => Ok(bundle),
        false => Err(SignatureError::Version),
    }
}

/// A signature of a file, without the file: of a bundle with a `messageSignature`, or alone.
#[cfg(any(test, feature = "publish"))]
#[derive(Debug)]
pub(super) struct MessageSignature {
    signature: SignatureBytes,
    /// The SHA-256 of the file, as the bundle says.
    digest: Option<Digest>,
}

#[cfg(any(test, feature = "publish"))]
impl MessageSignature {
    /// A signature alone.
    pub(super) fn of_bytes(signature: Vec<u8>) -> Self {
        Self { signature: SignatureBytes::new(signature), digest: None }
    }

    /// Parses a bundle.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bundle = read_bundle(bytes)?;
        if !matches!(
            bundle.verification_material.content,
            VerificationMaterialContent::PublicKey(_)
        ) {
            return Err(SignatureError::Keyless);
        }
        let SignatureContent::MessageSignature(message) = bundle.content else {
            return Err(SignatureError::Envelope);
        };
        let digest = message.message_digest.filter(|it| it.algorithm == HashAlgorithm::Sha2256);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = digest.map(|it| Digest::from_hex(&hex(it.digest.as_bytes())));
        let digest =
            digest.transpose().map_err(|error| SignatureError::Bundle(error.to_string()))?;
        Ok(Self { signature: message.signature, digest })
    }

    /// The SHA-256 of the file that it says it is for.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

/// Writes a bundle in cosign v3's shape for a key without log or timestamp (Sigstore
/// protobuf-specs, `Bundle`).
#[cfg(any(test, feature = "publish"))]
pub(crate) fn write_bundle(payload: &[u8], signature: &[u8], key_hint: &str) -> Vec<u8> {
    let base64 = |bytes| STANDARD.encode(bytes);
    json::canonical(&serde_json::json!({
        "mediaType": media_type::SIGSTORE_BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": key_hint } },
        "dsseEnvelope": {
            "payload": base64(payload),
            "payloadType": media_type::IN_TOTO,
            "signatures": [{ "sig": base64(signature) }],
        },
    }))
}

#[cfg(test)]
mod tests;
