//! Every kind of signed evidence, and each way in which it does not hold.

use serde_json::{Value, json};

use super::*;
use crate::trust::test_support::Signer;

const ASSET: &[u8] = b"an asset";

fn asset() -> Digest {
    Digest::of(ASSET)
}

/// What a key says of evidence about the asset.
fn verify(pem: &str, claim: Claim, is_image: bool, evidence: &[u8]) -> Result<(), String> {
    let fingerprint = Key::parse(pem).unwrap().fingerprint();
    let subjects = [asset(), Digest::of(b"its index")];
    let subjects = if is_image { &subjects[..] } else { &subjects[..1] };
    verify_upstream(&SignedAsset { key: pem, fingerprint, claim, evidence, subjects, is_image })
}

fn refusal(result: Result<(), String>, expected: &str) {
    let found = result.expect_err(expected);
    assert!(found.contains(expected), "{expected}: {found}");
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A bundle of a file's signature, as `cosign sign-blob --bundle` writes it.
fn message(signature: &[u8], digest: &[u8]) -> Value {
    json!({
        "mediaType": media_type::SIGSTORE_BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "hint"}, "tlogEntries": []},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": base64(digest)},
            "signature": base64(signature),
        },
    })
}

#[test]
fn a_signature_of_a_file_holds_for_its_digest_and_its_key() {
    let (signer, other) = (Signer::new(), Signer::new());
    let pem = signer.public_pem();
    let of_file = |evidence: &[u8]| verify(&pem, Claim::Signature, false, evidence);
    let signature = signer.sign(ASSET);
    let raw = format!("{}\n", base64(&signature));
    let bundle = message(&signature, &asset().bytes());
    let text = bundle.to_string();
    assert_eq!(of_file(raw.as_bytes()), Ok(()));
    assert_eq!(of_file(raw.trim().as_bytes()), Ok(()));
    assert_eq!(of_file(text.as_bytes()), Ok(()));
    let mut keyless = bundle.clone();
    keyless["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}});
    let statement = signer.bundle(&Statement::image_signature("", &asset(), None));
    let of_other = other.sign(ASSET);
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("another key", base64(&of_other).into(), "it is not a signature of sha256:"),
        (
            "another key, in a bundle",
            message(&of_other, &asset().bytes()).to_string().into(),
            "it is not a signature of sha256:",
        ),
        ("another asset", base64(&signer.sign(b"another")).into(), "it is not a signature of"),
        (
            "another asset, in a bundle",
            message(&signer.sign(b"another"), &Digest::of(b"another").bytes()).to_string().into(),
            "it is for another file, sha256:",
        ),
        (
            "another asset, and the bundle says this one",
            message(&signer.sign(b"another"), &asset().bytes()).to_string().into(),
            "it is not a signature of",
        ),
        ("two signatures", format!("{raw}{raw}").into(), "neither one signature in base64 nor"),
        ("cut short", raw.as_bytes()[..40].to_vec(), "it is not a signature of"),
        ("nothing", b"\n".to_vec(), "neither one signature in base64 nor"),
        ("a page", b"<!DOCTYPE html>".to_vec(), "neither one signature in base64 nor"),
        ("a bundle cut short", text.as_bytes()[..text.len() - 1].to_vec(), "Sigstore bundle"),
        ("an envelope", statement, "the bundle has a DSSE envelope, expected the signature"),
        ("a certificate", keyless.to_string().into(), "keyless identities are not supported yet"),
    ];
    for (name, evidence, expected) in cases {
        let found = of_file(&evidence).expect_err(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
    let kept = SignedAsset {
        key: &pem,
        fingerprint: Key::parse(&other.public_pem()).unwrap().fingerprint(),
        claim: Claim::Signature,
        evidence: raw.as_bytes(),
        subjects: &[asset()],
        is_image: false,
    };
    refusal(verify_upstream(&kept), "it is kept with the key sha256:");
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/keys/", $name))
    };
}

#[test]
fn every_kind_of_key_that_signs_a_digest_is_accepted() {
    let signed = Digest::of(b"signed by openssl");
    for (pem, evidence, expected) in [
        (file!("p384.pub"), file!("p384.sha256.sig"), None),
        (file!("p521.pub"), file!("p521.sha256.sig"), None),
        (file!("rsa.pub"), file!("rsa.sha256.sig"), None),
        (file!("p384.pub"), file!("p384.sha384.sig"), Some("it is not a signature of")),
        (file!("p521.pub"), file!("p521.sha512.sig"), Some("it is not a signature of")),
        (file!("p521.pub"), file!("p384.sha256.sig"), Some("it is not a signature of")),
        (file!("ed25519.pub"), file!("ed25519.sig"), Some("only be verified with the whole file")),
    ] {
        let verify = |subject| {
            verify_upstream(&SignedAsset {
                key: pem,
                fingerprint: Key::parse(pem).unwrap().fingerprint(),
                claim: Claim::Signature,
                evidence: evidence.as_bytes(),
                subjects: &[subject],
                is_image: false,
            })
        };
        match expected {
            None => assert_eq!(verify(signed), Ok(())),
            Some(expected) => refusal(verify(signed), expected),
        }
        refusal(verify(asset()), expected.unwrap_or("it is not a signature of"));
    }
}

/// A statement of this type about this digest.
fn statement(kind: &str, digest: &Digest) -> Vec<u8> {
    Statement::attestation("asset", digest, None, kind, &json!({"a": 1}))
}

/// The envelope in a bundle, as `slsa-github-generator` and in-toto write it.
fn envelope(bundle: &[u8]) -> Value {
    serde_json::from_slice::<Value>(bundle).unwrap()["dsseEnvelope"].clone()
}

#[test]
fn provenance_is_a_statement_of_its_type_about_the_asset() {
    let (signer, other) = (Signer::new(), Signer::new());
    let pem = signer.public_pem();
    let of_file = |evidence: &[u8]| verify(&pem, Claim::Provenance, false, evidence);
    for kind in [PROVENANCE, PROVENANCE_0_2] {
        let bundle = signer.bundle(&statement(kind, &asset()));
        let envelope = envelope(&bundle);
        assert_eq!(of_file(&bundle), Ok(()));
        assert_eq!(of_file(envelope.to_string().as_bytes()), Ok(()));
        let pretty = serde_json::to_string_pretty(&envelope).unwrap();
        assert_eq!(of_file(pretty.as_bytes()), Ok(()), "{pretty}");
    }
    let good = signer.bundle(&statement(PROVENANCE, &asset()));
    let of_another = signer.bundle(&statement(PROVENANCE, &Digest::of(b"another")));
    let by_another = other.bundle(&statement(PROVENANCE, &asset()));
    // A release has a statement for each of its assets, in one file.
    let lines = |documents: &[&[u8]]| {
        let lines: Vec<_> = documents.iter().map(|it| envelope(it).to_string()).collect();
        format!("{}\n", lines.join("\n"))
    };
    assert_eq!(of_file(lines(&[&of_another, &by_another, &good]).as_bytes()), Ok(()));
    let mut twice = envelope(&good);
    let signature = twice["signatures"][0].clone();
    twice["signatures"].as_array_mut().unwrap().push(signature);
    let mut unsigned = envelope(&good);
    unsigned["signatures"] = json!([]);
    let without_sha256 = {
        let text = String::from_utf8(statement(PROVENANCE, &asset())).unwrap();
        signer.bundle(text.replace("\"sha256\"", "\"sha512\"").as_bytes())
    };
    let text = String::from_utf8(good.clone()).unwrap();
    let cut = |length: usize| text.as_bytes()[..length].to_vec();
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("another key", by_another.clone(), "it is not signed by the key sha256:"),
        ("another subject", of_another.clone(), "it is for another asset, sha256:"),
        ("no SHA-256", without_sha256, "it is for another asset, nothing with a SHA-256"),
        (
            "an SBOM",
            signer.bundle(&statement("https://spdx.dev/Document", &asset())),
            "it is `https://spdx.dev/Document`, expected SLSA provenance",
        ),
        (
            "a later version",
            signer.bundle(&statement("https://slsa.dev/provenance/v2", &asset())),
            "expected SLSA provenance of version 0.2 or 1",
        ),
        ("two signatures", twice.to_string().into(), "exactly one signature, found 2"),
        ("no signature", unsigned.to_string().into(), "exactly one signature, found 0"),
        ("cut short", cut(text.len() - 1), "statement"),
        ("half", cut(text.len() / 2), "statement"),
        ("nothing", Vec::new(), "it has no statement"),
        ("another field", b"{\"payload\":\"\"}".to_vec(), "missing field"),
        (
            "lines of others",
            lines(&[&by_another, &of_another]).into(),
            "it is for another asset, sha256:",
        ),
        (
            "a line cut short",
            lines(&[&of_another, &good]).replace("\"payloadType\":", "").into(),
            "statement",
        ),
    ];
    for (name, evidence, expected) in cases {
        let found = of_file(&evidence).expect_err(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
    let many = lines(&vec![&of_another[..]; 65]);
    refusal(of_file(many.as_bytes()), "it has more than 64 statements");
    let many = lines(&[&vec![&of_another[..]; 63][..], &[&good]].concat());
    assert_eq!(of_file(many.as_bytes()), Ok(()));
    refusal(of_file(&vec![b' '; 1024 * 1024 + 1]), "it is longer than 1048576 bytes");
}

/// The payload of cosign 2 about a digest.
fn payload(digest: &str, kind: &str) -> Vec<u8> {
    let image = json!({"docker-manifest-digest": digest});
    let identity = json!({"docker-reference": "ghcr.io/acme/cni"});
    let critical = json!({"identity": identity, "image": image, "type": kind});
    json!({"critical": critical, "optional": null}).to_string().into_bytes()
}

#[test]
fn an_image_is_signed_in_the_format_of_cosign_3_or_2() {
    const TYPE: &str = "cosign container image signature";
    let (signer, other) = (Signer::new(), Signer::new());
    let pem = signer.public_pem();
    let of_image = |evidence: &[u8]| verify(&pem, Claim::Signature, true, evidence);
    let simple = |signer: &Signer, payload: &[u8]| {
        SimpleSigning::new(payload, &base64(&signer.sign(payload))).to_bytes()
    };
    let signature = |digest: &Digest| Statement::image_signature("", digest, None);
    for digest in [asset(), Digest::of(b"its index")] {
        assert_eq!(of_image(&signer.bundle(&signature(&digest))), Ok(()));
        let payload = payload(&digest.to_string(), TYPE);
        assert_eq!(of_image(&simple(&signer, &payload)), Ok(()));
    }
    let good = payload(&asset().to_string(), TYPE);
    let mut moved = json!({"payload": base64(&good)});
    moved["signature"] = json!(base64(&signer.sign(b"another payload")));
    let elsewhere = Digest::of(b"another image");
    let not_hex = payload("sha256:0", TYPE);
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("another key", other.bundle(&signature(&asset())), "it is not signed by the key"),
        ("another key of cosign 2", simple(&other, &good), "it is not signed by the key"),
        ("another image", signer.bundle(&signature(&elsewhere)), "it is for another image"),
        (
            "another image of cosign 2",
            simple(&signer, &payload(&elsewhere.to_string(), TYPE)),
            "it is for another image",
        ),
        ("a payload that is not signed", moved.to_string().into(), "it is not signed by the key"),
        (
            "another type of cosign 2",
            simple(&signer, &payload(&asset().to_string(), "atomic container signature")),
            "its payload is a `atomic container signature`",
        ),
        ("no digest", simple(&signer, &not_hex), "hex digits"),
        (
            "provenance",
            signer.bundle(&statement(PROVENANCE, &asset())),
            "expected `https://sigstore.dev/cosign/sign/v1`",
        ),
        ("nothing", Vec::new(), "Sigstore bundle"),
    ];
    for (name, evidence, expected) in cases {
        let found = of_image(&evidence).expect_err(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
}
