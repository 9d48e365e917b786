//! Keys and bundles that are accepted, and those that are not.

use super::*;

/// What the files in `tests/data/keys` sign, with `openssl dgst`.
const SIGNED: &[u8] = b"signed by openssl";

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/keys/", $name))
    };
}

#[test]
fn verifies_what_cosign_verifies_whatever_the_kind_of_key() {
    let (p384, p521) = (file!("p384.pub"), file!("p521.pub"));
    let (rsa, pkcs1) = (file!("rsa.pub"), file!("rsa-pkcs1.pub"));
    for (name, key, signature, expected) in [
        ("P-384, SHA-256", p384, file!("p384.sha256.sig"), true),
        ("P-384, SHA-384", p384, file!("p384.sha384.sig"), true),
        ("P-384, SHA-512", p384, file!("p384.sha512.sig"), false),
        ("P-521, SHA-256", p521, file!("p521.sha256.sig"), true),
        ("P-521, SHA-512", p521, file!("p521.sha512.sig"), true),
        ("P-521, SHA-384", p521, file!("p521.sha384.sig"), false),
        ("another key", p521, file!("p384.sha256.sig"), false),
        ("RSA", rsa, file!("rsa.sha256.sig"), true),
        ("Ed25519", file!("ed25519.pub"), file!("ed25519.sig"), true),
        ("RSA as PKCS#1", pkcs1, file!("rsa.sha256.sig"), true),
    ] {
        let key = Key::parse(key).unwrap();
        let signature = SignatureBytes::new(STANDARD.decode(signature.trim()).unwrap());
        assert_eq!(key.has_signed(SIGNED, &signature), expected, "{name}");
        assert!(!key.has_signed(b"signed by another", &signature), "{name}");
    }
    let fingerprints = [rsa, pkcs1].map(|key| Key::parse(key).unwrap().fingerprint());
    assert_eq!(fingerprints[0], fingerprints[1]);
}

fn bytes(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

fn pem(label: &str, content: &[u8]) -> String {
    let content = STANDARD.encode(content);
    format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
}

/// An RSA key with these numbers (PKCS#1).
fn rsa(modulus: &[u8], exponent: &[u8]) -> String {
    pem("RSA PUBLIC KEY", &der(0x30, &[der(2, modulus), der(2, exponent)].concat()))
}

/// An Ed25519 key with this y (RFC 8410, 4).
fn ed25519(y: &[u8]) -> String {
    let y = [y, &vec![0; 32 - y.len()]].concat();
    let start = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    pem("PUBLIC KEY", &[&start[..], &y].concat())
}

/// The key with the last `count` bytes changed to this one.
fn ending(key: &str, count: usize, byte: u8) -> String {
    let mut key = bytes(key);
    let start = key.len() - count;
    key[start..].fill(byte);
    pem("PUBLIC KEY", &key)
}

/// The modulus of `rsa.pub`.
fn modulus() -> Vec<u8> {
    // Behind two tags with their lengths.
    bytes(file!("rsa-pkcs1.pub"))[8..][..257].to_vec()
}

#[test]
fn refuses_keys_that_verify_nothing_or_everything() {
    let even = [&modulus()[..256], &[0]].concat();
    let (p256, p384, p521) = (file!("p256.pub"), file!("p384.pub"), file!("p521.pub"));
    // A point at infinity is one byte (SEC 1, 2.3.3).
    let infinity = der(0x30, &[&bytes(p256)[2..23], &[0x03, 0x02, 0x00, 0x00]].concat());
    let compressed =
        der(0x30, &[&bytes(p256)[2..23], &[3, 34, 0, 2], &bytes(p256)[27..59]].concat());
    for (name, key, expected) in [
        ("a point that is not on P-256", ending(p256, 1, 0), "not those of a key"),
        ("a point that is not on P-384", ending(p384, 1, 0), "not those of a key"),
        ("a point that is not on P-521", ending(p521, 1, 0), "not those of a key"),
        ("a point of zeros", ending(p256, 64, 0), "not those of a key"),
        ("coordinates past the prime", ending(p256, 64, 0xff), "not those of a key"),
        ("the point at infinity", pem("PUBLIC KEY", &infinity), "uncompressed"),
        ("a compressed point", pem("PUBLIC KEY", &compressed), "uncompressed"),
        ("the neutral element of Ed25519", ed25519(&[1]), "small order"),
        ("a point of order 4", ed25519(&[0]), "small order"),
        ("a point of order 2", ed25519(&[&[0xec][..], &[0xff; 30], &[0x7f]].concat()), "order"),
        (
            "a second encoding of the neutral element",
            ed25519(&[&[0xee][..], &[0xff; 30], &[0x7f]].concat()),
            "not in its only valid encoding",
        ),
        ("exponent 1", rsa(&modulus(), &[1]), "not those of a key"),
        ("exponent 0", rsa(&modulus(), &[0]), "not those of a key"),
        ("an even exponent", rsa(&modulus(), &[1, 0, 0]), "not those of a key"),
        ("an even modulus", rsa(&even, &[1, 0, 1]), "not those of a key"),
        ("RSA with 1024 bits", file!("rsa1024-pkcs1.pub").to_owned(), "RSA key size 1024 bits"),
        ("RSA with 8200 bits", rsa(&[[1; 1025]].concat(), &[1, 0, 1]), "RSA key size 8193"),
    ] {
        let error = Key::parse(&key).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    for (name, key) in [
        ("P-256", p256.to_owned()),
        ("P-384", p384.to_owned()),
        ("P-521", p521.to_owned()),
        ("Ed25519", file!("ed25519.pub").to_owned()),
        ("RSA with exponent 3", rsa(&modulus(), &[3])),
    ] {
        assert!(Key::parse(&key).is_ok(), "{name}");
    }
}

#[test]
fn refuses_files_that_are_not_one_public_key() {
    let (pkcs1, spki) = (file!("rsa-pkcs1.pub"), file!("ed25519.pub"));
    let certificate = pem("CERTIFICATE", b"certificate");
    let longer = |key: &str| [&bytes(key)[..], &[0]].concat();
    let relabelled = |key: &str| pem("RSA PUBLIC KEY", &longer(key));
    for (name, key, expected) in [
        (
            "an SPKI under the label of PKCS#1",
            file!("rsa.pub").replace(" PUBLIC", " RSA PUBLIC"),
            "invalid RSA",
        ),
        (
            "PKCS#1 under the label of an SPKI",
            pkcs1.replace("RSA PUBLIC", "PUBLIC"),
            "Invalid SPKI",
        ),
        ("two", pkcs1.repeat(2), "more than one PEM block"),
        ("two in one line", spki.trim().repeat(2), "more than one PEM block"),
        ("a key and a certificate", format!("{spki}{certificate}"), "more than one PEM block"),
        ("a certificate", certificate, "this is a certificate"),
        ("a private key", pem("PRIVATE KEY", b"key"), "this is a private key"),
        ("a key of ssh", pem("OPENSSH PRIVATE KEY", b"key"), "this is a private key"),
        ("labels that differ", pkcs1.replace("END RSA", "END"), "not a supported PEM public key"),
        ("a byte after Ed25519", pem("PUBLIC KEY", &longer(spki)), "Invalid SPKI"),
        ("a byte after P-256", pem("PUBLIC KEY", &longer(file!("p256.pub"))), "Invalid SPKI"),
        ("a byte after P-521", pem("PUBLIC KEY", &longer(file!("p521.pub"))), "Invalid SPKI"),
        ("a byte after PKCS#1", relabelled(pkcs1), "invalid RSA"),
    ] {
        let error = Key::parse(&key).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_comment_may_mention_a_private_key() {
    let key = file!("p256.pub");
    for comment in [
        "# the PRIVATE KEY is in the vault",
        "PRIVATE KEY: see the vault",
        "belongs to an ENCRYPTED SIGSTORE PRIVATE KEY",
    ] {
        for text in [format!("{comment}\n{key}"), format!("{key}{comment}\n")] {
            assert!(Key::parse(&text).is_ok(), "{text}");
        }
    }
}

#[test]
fn writes_lengths_as_der_does() {
    for (length, expected) in [
        (0, &[4, 0][..]),
        (1, &[4, 1]),
        (127, &[4, 127]),
        (128, &[4, 0x81, 128]),
        (255, &[4, 0x81, 255]),
        (256, &[4, 0x82, 1, 0]),
    ] {
        let value = der(4, &vec![7; length]);
        assert_eq!(value.split_at(expected.len()).0, expected, "{length}");
        assert_eq!(value.len(), expected.len() + length, "{length}");
    }
}

#[test]
fn refuses_a_field_that_other_readers_have_by_another_name() {
    let payload = Statement::image_signature("", &Digest::of(b""), None);
    let good = String::from_utf8(write_bundle(&payload, b"signature", "hint")).unwrap();
    assert!(SigstoreBundle::parse(good.as_bytes()).is_ok());
    for (field, other) in [
        (r#""dsseEnvelope""#, r#""DsseEnvelope":{},"dsseEnvelope""#),
        (r#""dsseEnvelope""#, r#""message_signature":{},"dsseEnvelope""#),
        (r#""mediaType""#, r#""media_type":"x","mediaType""#),
        (r#""payload""#, r#""PAYLOAD":"","payload""#),
        (r#""signatures""#, r#""\u017fignatures":[],"signatures""#),
        (r#""sig""#, r#""Sig":"","sig""#),
        (r#""publicKey""#, r#""public_key":{},"publicKey""#),
        (r#""hint""#, r#""Hint":"","hint""#),
    ] {
        let text = good.replacen(field, other, 1);
        let error = SigstoreBundle::parse(text.as_bytes()).expect_err(other).to_string();
        assert!(error.contains("is another spelling of"), "{text}: {error}");
    }
}
#[test]
fn refuses_a_bundle_that_holds_two_of_what_it_may_hold_once() {
    let payload = Statement::image_signature("", &Digest::of(b""), None);
    let good = String::from_utf8(write_bundle(&payload, b"signature", "hint")).unwrap();
    let message = r#""messageSignature":{"signature":"AA=="}"#;
    let (envelope, key) = (r#""dsseEnvelope":"#, r#""publicKey":"#);
    let public_key = r#""publicKey":{"hint":"hint"}"#;
    let content = "the bundle contains `messageSignature` and `dsseEnvelope`";
    let signature = r#"{"sig":"c2lnbmF0dXJl"}"#;
    for (from, to, expected) in [
        (envelope, format!("{message},{envelope}"), content),
        (envelope, format!(r#""messageSignature":{{}},{envelope}"#), content),
        (envelope, r#""other":"#.to_owned(), "unknown field `other`"),
        (envelope, format!(r#""other":{{}},{envelope}"#), "unknown field `other`"),
        (
            key,
            format!(r#""certificate":{{"rawBytes":"AA=="}},{key}"#),
            "the bundle contains `publicKey` and `certificate`",
        ),
        (
            key,
            format!(r#""x509CertificateChain":{{"certificates":[]}},{key}"#),
            "the bundle contains `publicKey` and `x509CertificateChain`",
        ),
        (key, format!(r#""secret":{{}},{key}"#), "unknown field `secret`"),
        (public_key, String::new(), "the bundle contains none"),
        (public_key, r#""publicKey":null"#.to_owned(), "the bundle contains none"),
        (key, format!("{public_key},{key}"), "appears twice"),
        (signature, String::new(), "exactly one signature, found 0"),
        (signature, format!("{signature},{signature}"), "exactly one signature, found 2"),
        (r#"{"sig""#, r#"{"cert":"","sig""#.to_owned(), "unknown field `cert`"),
    ] {
        let text = good.replacen(from, &to, 1);
        assert_ne!(text, good, "{from}");
        let error = SigstoreBundle::parse(text.as_bytes()).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
