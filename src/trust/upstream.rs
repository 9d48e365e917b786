//! What the publisher of an asset signed: a signature of its bytes or of the image, or provenance
//! about it, by the one key that a definition names.
//!
//! Pure and offline. A signature of a file is verified with the file's digest alone: a lock keeps
//! no more of it. Certificates prove nothing here, since keyless identities are not supported yet.
//! What another key signed is never a lower level, but an error. This stops an attacker who can
//! exchange an asset of a release together with the checksum file beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::signature::{Key, MessageSignature, SigstoreBundle};
use super::simple_signing::SimpleSigning;
use super::statement::{COSIGN_SIGN, Statement};
use crate::bundle::{Claim, SignedAsset};
use crate::model::json::{Limits, Outline};
use crate::model::predicate_type::{PROVENANCE, PROVENANCE_0_2};
use crate::model::{Digest, and_others, excerpt, json, media_type, with_causes};

/// The most statements in one file.
const MOST_STATEMENTS: usize = 64;
/// What is read of a file of statements.
const LIMITS: Limits = Limits::tree(media_type::SIGSTORE_BUNDLE_LIMIT);

/// Verifies signed evidence about an asset. The error is the reason why it does not hold, as the
/// end of a sentence.
pub fn verify_upstream(asset: &SignedAsset<'_>) -> Result<(), String> {
    let key = Key::parse(asset.key).map_err(|error| format!("the key: {error}"))?;
    if key.fingerprint() != asset.fingerprint {
        let (found, expected) = (key.fingerprint(), asset.fingerprint);
        return Err(format!("it is kept with the key {found}, the definition names {expected}"));
    }
    match asset.claim {
        Claim::Signature if asset.is_image => image_signature(&key, asset),
        Claim::Signature => file_signature(&key, asset),
        Claim::Provenance => provenance(&key, asset),
    }
}

/// Whether it is JSON, and not base64.
fn is_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// A signature as `cosign sign-blob` makes it: base64, or in a Sigstore bundle.
fn file_signature(key: &Key, asset: &SignedAsset<'_>) -> Result<(), String> {
    let [subject, ..] = asset.subjects else { return Err("it is for nothing".to_owned()) };
    let signature = match is_json(asset.evidence) {
        true => MessageSignature::parse(asset.evidence).map_err(|error| with_causes(&error))?,
        false => MessageSignature::of_bytes(
            STANDARD
                .decode(asset.evidence.trim_ascii())
                .ok()
                .filter(|bytes| !bytes.is_empty())
                .ok_or("it is neither one signature in base64 nor a Sigstore bundle")?,
        ),
    };
    if let Some(other) = signature.digest().filter(|digest| digest != subject) {
        return Err(format!("it is for another file, {other}, expected {subject}"));
    }
    if !key.signs_digests() {
        return Err(
            "signatures by this kind of key can only be verified with the whole file, which \
                    a lock does not keep; expected a key of P-256, P-384, P-521 or RSA"
                .to_owned(),
        );
    }
    match key.has_signed_digest(subject, &signature) {
        true => Ok(()),
        false => Err(format!(
            "it is not a signature of {subject} with SHA-256 by the key {}",
            key.fingerprint()
        )),
    }
}

/// A signature of an image: a Sigstore bundle as cosign 3 makes it, or the payload of cosign 2 with
/// its signature.
fn image_signature(key: &Key, asset: &SignedAsset<'_>) -> Result<(), String> {
    let subjects = asset.subjects;
    if let Some(signed) = SimpleSigning::parse(asset.evidence) {
        let found = signed.verify(key).map_err(|error| with_causes(&error))?;
        return expect_subject(&[found], subjects, "image");
    }
    let bundle = SigstoreBundle::parse(asset.evidence).map_err(|error| with_causes(&error))?;
    let statement = signed_by(key, &bundle)?;
    if statement.predicate_type != COSIGN_SIGN {
        let found = excerpt(&statement.predicate_type);
        return Err(format!("it is `{found}`, expected `{COSIGN_SIGN}`"));
    }
    expect_subject(&digests(statement), subjects, "image")
}

/// Provenance: one statement or several, of which one has to be about the asset.
fn provenance(key: &Key, asset: &SignedAsset<'_>) -> Result<(), String> {
    let mut reason = "it has no statement".to_owned();
    for (number, document) in documents(asset.evidence)?.into_iter().enumerate() {
        let bundle = bundle_of(document).map_err(|error| match number {
            0 => error,
            number => format!("statement {}: {error}", number + 1),
        })?;
        match is_provenance(key, &bundle, asset.subjects) {
            Ok(()) => return Ok(()),
            Err(other) => reason = other,
        }
    }
    Err(reason)
}

fn is_provenance(key: &Key, bundle: &SigstoreBundle, subjects: &[Digest]) -> Result<(), String> {
    let statement = signed_by(key, bundle)?;
    if ![PROVENANCE, PROVENANCE_0_2].contains(&statement.predicate_type.as_str()) {
        let found = excerpt(&statement.predicate_type);
        return Err(format!("it is `{found}`, expected SLSA provenance of version 0.2 or 1"));
    }
    expect_subject(&digests(statement), subjects, "asset")
}

fn digests(statement: &Statement) -> Vec<Digest> {
    statement.subjects.iter().map(|subject| subject.digest).collect()
}

fn signed_by<'a>(key: &Key, bundle: &'a SigstoreBundle) -> Result<&'a Statement, String> {
    let reason = || format!("it is not signed by the key {}", key.fingerprint());
    bundle.verify(key).ok_or_else(reason)
}

/// Refuses what is about something else.
fn expect_subject(found: &[Digest], subjects: &[Digest], what: &str) -> Result<(), String> {
    if found.iter().any(|digest| subjects.contains(digest)) {
        return Ok(());
    }
    let words = |digests: &[Digest]| digests.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = words(subjects).join(" or ");
    let found = match found.is_empty() {
        true => "nothing with a SHA-256".to_owned(),
        false => {
            let first: Vec<_> = words(found).into_iter().take(2).collect();
            format!("{}{}", first.join(", "), and_others(found.len() - first.len()))
        }
    };
    Err(format!("it is for another {what}, {found}, expected {expected}"))
}

/// The documents in a file: one, or one per line (in-toto attestation bundle, `.intoto.jsonl`).
fn documents(bytes: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if bytes.len() > media_type::SIGSTORE_BUNDLE_LIMIT {
        return Err(format!("it is longer than {} bytes", media_type::SIGSTORE_BUNDLE_LIMIT));
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // In a file of one document that is broken into lines, no line is one.
    let is_document = |line: &&str| line.starts_with('{') && line.trim_end().ends_with('}');
    match lines.iter().all(is_document) {
        true if lines.len() > MOST_STATEMENTS => {
            Err(format!("it has more than {MOST_STATEMENTS} statements"))
        }
        true => Ok(lines),
        false => Ok(vec![text]),
    }
}

/// The fields that tell a bundle from a bare DSSE envelope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<IgnoredAny>,
    payload: Option<IgnoredAny>,
}

/// The bundle in a document. A bare envelope is read as the one in a bundle, by the same rules.
fn bundle_of(document: &str) -> Result<SigstoreBundle, String> {
    let shape: Shape = json::parse_as("statement", document.as_bytes(), LIMITS, Outline::Any)
        .map_err(|error| error.to_string())?;
    let wrapped = match (shape.media_type, shape.payload) {
        (None, Some(_)) => format!(
            r#"{{"mediaType":"{}","verificationMaterial":{{"publicKey":{{"hint":""}}}},"dsseEnvelope":{document}}}"#,
            media_type::SIGSTORE_BUNDLE
        ),
        _ => document.to_owned(),
    };
    SigstoreBundle::parse(wrapped.as_bytes()).map_err(|error| with_causes(&error))
}

#[cfg(test)]
mod tests;
