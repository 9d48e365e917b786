//! Key pairs as cosign keeps them: P-256, the private half under a password.
//!
//! The file is a PEM block around a JSON envelope: scrypt makes a key from the password, and NaCl's
//! secretbox holds the private key in PKCS#8 (cosign, `pkg/cosign/keys.go`; secure-systems-lab,
//! `encrypted`). Keys that are made here sign with cosign, and cosign's sign here. Asking for a
//! password and reading files is the caller's job.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::model::json::{Fields, Limits, Outline};
use crate::model::{JsonError, json, visible};
use crate::trust::Key;

/// The longest key file that is read, in bytes; cosign's has 653.
pub const LIMIT: usize = 64 * 1024;

/// What cosign writes today, and what it wrote before version 2.
const ENCRYPTED_LABELS: [&str; 2] =
    ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const PLAIN_LABEL: &str = "PRIVATE KEY";

/// scrypt's costs that are accepted: what cosign writes, and what it wrote before. Any others would
/// let a file decide how much memory and time its reading takes; these take 67 MB and a fraction of
/// a second.
const COSTS: [(u64, u8); 2] = [(65_536, 16), (32_768, 15)];
const R: u32 = 8;
const P: u32 = 1;

/// A private key that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
}

/// A key file that was parsed, and not decrypted.
#[derive(Debug)]
pub enum KeyFile {
    /// It needs a password, which may be the empty one.
    Encrypted(EncryptedKey),
    /// A private key without a password (PKCS#8).
    Plain(SigningKey),
}

/// A private key under a password.
#[derive(Debug, Serialize, Deserialize)]
pub struct EncryptedKey {
    kdf: Kdf,
    cipher: Cipher,
    #[serde(with = "bytes")]
    ciphertext: Vec<u8>,
}

/// The fields of a key file, which cosign reads (sigstore/sigstore, `cryptoutils` and
/// `go-securesystemslib/encrypted`).
const ENVELOPE: Outline = Outline::Fields(&Fields::exact(&[
    ("kdf", KDF),
    ("cipher", Outline::Fields(&Fields::exact(&[("name", Outline::Any), ("nonce", Outline::Any)]))),
    ("ciphertext", Outline::Any),
]));
const KDF: Outline = Outline::Fields(&Fields::exact(&[
    ("name", Outline::Any),
    ("params", PARAMS),
    ("salt", Outline::Any),
]));
const PARAMS: Outline = Outline::Fields(&Fields::exact(&[
    ("N", Outline::Any),
    ("r", Outline::Any),
    ("p", Outline::Any),
]));

#[derive(Debug, Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    #[serde(with = "bytes")]
    salt: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cipher {
    name: String,
    #[serde(with = "bytes")]
    nonce: Vec<u8>,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// More bytes than any key has.
    #[error("the key file is {0} bytes long, the limit is {LIMIT}")]
    TooLong(usize),
    /// A file that is not a key.
    #[error("the key file is not PEM: {0}")]
    Pem(&'static str),
    /// Some other thing in PEM.
    #[error(
        "the key file contains `{0}`, expected `ENCRYPTED SIGSTORE PRIVATE KEY` (made by `cosign generate-key-pair`) or `PRIVATE KEY` (PKCS#8)"
    )]
    Label(String),
    /// An envelope that is not cosign's.
    #[error(transparent)]
    Envelope(#[from] JsonError),
    /// Another way to make a key from a password.
    #[error("the key file uses `{0}`, expected `scrypt` and `nacl/secretbox`")]
    Algorithm(String),
    /// Costs that cosign does not write.
    #[error(
        "the key file uses scrypt with N={n}, r={r}, p={p}, expected N=65536 or N=32768 with r=8, p=1"
    )]
    Cost {
        /// The cost parameter N.
        n: u64,
        /// The block size parameter.
        r: u32,
        /// The parallelization parameter.
        p: u32,
    },
    /// Another nonce than secretbox has.
    #[error("the nonce of the key file is {0} bytes long, expected 24")]
    Nonce(usize),
    /// The password does not open it.
    #[error("the password does not decrypt the key file")]
    Password,
    /// A key of another kind.
    #[error("the private key is not an ECDSA P-256 key in PKCS#8")]
    Kind,
    /// The system gives no random bytes, or the library fails.
    #[error("cannot {0}")]
    Library(&'static str),
}

impl KeyFile {
    /// Parses a key file, encrypted or not.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let (label, content) = decode_pem(pem)?;
        if label == PLAIN_LABEL {
            return Ok(Self::Plain(SigningKey::from_pkcs8(&content)?));
        }
        if !ENCRYPTED_LABELS.contains(&label.as_str()) {
            return Err(KeyError::Label(visible(&label).into_owned()));
        }
        let what = "the content of the key file";
        let key: EncryptedKey = json::parse_as(what, &content, Limits::typed(LIMIT), ENVELOPE)?;
        for (found, expected) in [(&key.kdf.name, "scrypt"), (&key.cipher.name, "nacl/secretbox")] {
            if found != expected {
                return Err(KeyError::Algorithm(visible(found).into_owned()));
            }
        }
        key.kdf.params.log_n()?;
        if key.cipher.nonce.len() != XSalsa20Poly1305::NONCE_SIZE {
            return Err(KeyError::Nonce(key.cipher.nonce.len()));
        }
        Ok(Self::Encrypted(key))
    }
}

impl EncryptedKey {
    /// Decrypts the private key.
    pub fn decrypt(&self, password: &[u8]) -> Result<SigningKey, KeyError> {
        let cipher = secretbox(password, &self.kdf.salt, self.kdf.params)?;
        let nonce = Nonce::from_slice(&self.cipher.nonce);
        let content =
            cipher.decrypt(nonce, self.ciphertext.as_slice()).map_err(|_| KeyError::Password)?;
        SigningKey::from_pkcs8(&Zeroizing::new(content))
    }
}

impl SigningKey {
    /// Generates a P-256 key pair.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Ok(Self { pair: pair.map_err(|_| KeyError::Library("generate a key"))? })
    }

    /// Parses a key file and opens it; a file that is not protected opens with any password.
    pub fn decrypt(pem: &[u8], password: &[u8]) -> Result<Self, KeyError> {
        match KeyFile::parse(pem)? {
            KeyFile::Encrypted(key) => key.decrypt(password),
            KeyFile::Plain(key) => Ok(key),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .map_err(|_| KeyError::Kind)?;
        Ok(Self { pair })
    }

    /// The key file, under this password.
    pub fn encrypt(&self, password: &[u8]) -> Result<String, KeyError> {
        let (mut salt, mut nonce) = (vec![0; 32], vec![0; XSalsa20Poly1305::NONCE_SIZE]);
        let random = SystemRandom::new();
        for bytes in [&mut salt, &mut nonce] {
            random.fill(bytes).map_err(|_| KeyError::Library("get random bytes"))?;
        }
        let params = Params { n: COSTS[0].0, r: R, p: P };
        let cipher = secretbox(password, &salt, params)?;
        let content = self.pair.to_pkcs8v1().map_err(|_| KeyError::Library("encode the key"))?;
        let ciphertext = cipher.encrypt(Nonce::from_slice(&nonce), content.as_ref());
        let key = EncryptedKey {
            kdf: Kdf { name: "scrypt".to_owned(), params, salt },
            cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce },
            ciphertext: ciphertext.map_err(|_| KeyError::Library("encrypt the key"))?,
        };
        Ok(encode_pem(ENCRYPTED_LABELS[0], &json::canonical(&key)))
    }

    /// Signs the SHA-256 of `message` (ECDSA, DER).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::Library("sign"))?.as_ref().to_vec())
    }

    /// The public half as a PEM file (SubjectPublicKeyInfo, RFC 5280, 4.1).
    pub fn public_pem(&self) -> Result<String, KeyError> {
        Ok(encode_pem("PUBLIC KEY", &self.public_der()?))
    }

    /// The public half, as a verifier reads it.
    pub(super) fn verifier(&self) -> Option<Key> {
        Key::parse(&self.public_pem().ok()?).ok()
    }

    /// How a Sigstore bundle names the key: base64 of the SHA-256 of the public half.
    pub fn hint(&self) -> Result<String, KeyError> {
        Ok(STANDARD.encode(sha2::Sha256::digest(self.public_der()?)))
    }

    fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        let der = self
            .pair
            .public_key()
            .as_der()
            .map_err(|_| KeyError::Library("encode the public key"))?;
        Ok(der.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.hint().unwrap_or_default())
    }
}

impl Params {
    fn log_n(self) -> Result<u8, KeyError> {
        let Self { n, r, p } = self;
        let cost = COSTS.iter().find(|(cost, _)| *cost == n && (r, p) == (R, P));
        cost.map(|(_, log_n)| *log_n).ok_or(KeyError::Cost { n, r, p })
    }
}

fn secretbox(password: &[u8], salt: &[u8], params: Params) -> Result<XSalsa20Poly1305, KeyError> {
    let cost = scrypt::Params::new(params.log_n()?, params.r, params.p);
    let mut key = Zeroizing::new([0; XSalsa20Poly1305::KEY_SIZE]);
    let derived =
        cost.is_ok_and(|cost| scrypt::scrypt(password, salt, &cost, key.as_mut()).is_ok());
    if !derived {
        return Err(KeyError::Library("derive a key from the password"));
    }
    Ok(XSalsa20Poly1305::new(key.as_ref().into()))
}

/// The label and the content of the only PEM block (RFC 7468).
fn decode_pem(pem: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), KeyError> {
    if pem.len() > LIMIT {
        return Err(KeyError::TooLong(pem.len()));
    }
    let text = std::str::from_utf8(pem).map_err(|_| KeyError::Pem("it is not text"))?;
    let (_, block) =
        text.split_once("-----BEGIN ").ok_or(KeyError::Pem("it has no `-----BEGIN`"))?;
    let (label, rest) =
        block.split_once("-----").ok_or(KeyError::Pem("its first line is incomplete"))?;
    let (body, rest) = rest.split_once("-----END ").ok_or(KeyError::Pem("it has no `-----END`"))?;
    let rest = rest.strip_prefix(label).and_then(|rest| rest.strip_prefix("-----"));
    if !rest.is_some_and(|rest| rest.trim().is_empty()) {
        return Err(KeyError::Pem("something follows it, or its last line has a different label"));
    }
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let content =
        STANDARD.decode(body.as_bytes()).map_err(|_| KeyError::Pem("its content is not base64"))?;
    Ok((label.to_owned(), Zeroizing::new(content)))
}

fn encode_pem(label: &str, content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Bytes in JSON: base64 with padding.
mod bytes {
    use super::{Engine, STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| de::Error::custom("expected base64"))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    /// A file of cosign's test data, which is kept beside the repository; a line says if it is
    /// not.
    fn fixture(name: &str) -> Option<String> {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/cosign/keys");
        let text = std::fs::read_to_string(folder.join(name)).ok();
        if text.is_none() {
            eprintln!("skipped: {} is not here", folder.join(name).display());
        }
        text
    }

    /// An envelope that no password opens, changed as `change` does.
    fn envelope(change: impl Fn(&mut EncryptedKey)) -> String {
        let mut key = EncryptedKey {
            kdf: Kdf {
                name: "scrypt".into(),
                params: Params { n: 32_768, r: 8, p: 1 },
                salt: vec![0; 32],
            },
            cipher: Cipher { name: "nacl/secretbox".into(), nonce: vec![0; 24] },
            ciphertext: vec![0; 32],
        };
        change(&mut key);
        encode_pem(ENCRYPTED_LABELS[1], &json::canonical(&key))
    }

    fn error(pem: &str) -> String {
        SigningKey::decrypt(pem.as_bytes(), b"").expect_err("refused").to_string()
    }

    #[test]
    fn opens_the_keys_that_cosign_made() {
        for name in ["cosign", "other"] {
            let (Some(private), Some(public)) =
                (fixture(&format!("{name}.key")), fixture(&format!("{name}.pub")))
            else {
                return;
            };
            let key = SigningKey::decrypt(private.as_bytes(), b"test").unwrap();
            assert_eq!(key.public_pem().unwrap(), public);
            assert!(matches!(
                SigningKey::decrypt(private.as_bytes(), b"tset"),
                Err(KeyError::Password)
            ));
        }
    }

    #[test]
    fn a_key_survives_its_file() {
        let key = SigningKey::generate().unwrap();
        let pem = key.encrypt(b"secret").unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{pem}");
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
        let opened = SigningKey::decrypt(pem.as_bytes(), b"secret").unwrap();
        assert_eq!(opened.public_pem().unwrap(), key.public_pem().unwrap());
        assert_eq!(opened.hint().unwrap(), key.hint().unwrap());
        assert!(matches!(SigningKey::decrypt(pem.as_bytes(), b""), Err(KeyError::Password)));
        // The older cost and the older label are also opened.
        let older = pem.replace("SIGSTORE", "COSIGN");
        assert!(SigningKey::decrypt(older.as_bytes(), b"secret").is_ok());
    }

    #[test]
    fn what_it_signs_verifies_with_the_public_half_alone() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(b"message").unwrap();
        let (_, public) = decode_pem(key.public_pem().unwrap().as_bytes()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.as_slice());
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"massage", &signature).is_err());
        assert_eq!(STANDARD.decode(key.hint().unwrap()).unwrap().len(), 32);
    }

    #[test]
    fn a_plain_key_needs_no_password() {
        let key = SigningKey::generate().unwrap();
        let pem = encode_pem(PLAIN_LABEL, key.pair.to_pkcs8v1().unwrap().as_ref());
        let KeyFile::Plain(opened) = KeyFile::parse(pem.as_bytes()).unwrap() else {
            panic!("{pem}")
        };
        assert_eq!(opened.hint().unwrap(), key.hint().unwrap());
        let p384 =
            EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let pem = encode_pem(PLAIN_LABEL, p384.to_pkcs8v1().unwrap().as_ref());
        assert_eq!(error(&pem), "the private key is not an ECDSA P-256 key in PKCS#8");
    }

    #[test]
    fn refuses_what_cosign_would_not_write() {
        let costs = "expected N=65536 or N=32768 with r=8, p=1";
        let cases = [
            (
                envelope(|key| key.kdf.params.n = 1 << 30),
                format!("the key file uses scrypt with N=1073741824, r=8, p=1, {costs}"),
            ),
            (
                envelope(|key| key.kdf.params.r = 16),
                format!("the key file uses scrypt with N=32768, r=16, p=1, {costs}"),
            ),
            (
                envelope(|key| key.kdf.params.p = 2),
                format!("the key file uses scrypt with N=32768, r=8, p=2, {costs}"),
            ),
            (
                envelope(|key| key.kdf.name = "argon2".into()),
                "the key file uses `argon2`, expected `scrypt` and `nacl/secretbox`".into(),
            ),
            (
                envelope(|key| key.cipher.name = "none\u{1b}".into()),
                "the key file uses `none\\u{1b}`, expected `scrypt` and `nacl/secretbox`".into(),
            ),
            (
                envelope(|key| key.cipher.nonce.truncate(12)),
                "the nonce of the key file is 12 bytes long, expected 24".into(),
            ),
            (envelope(|_| ()), "the password does not decrypt the key file".into()),
            (
                envelope(|key| key.ciphertext.clear()),
                "the password does not decrypt the key file".into(),
            ),
        ];
        for (pem, expected) in cases {
            assert_eq!(error(&pem), expected);
        }
    }

    #[test]
    fn says_what_a_file_is_that_is_no_key() {
        let block = |label: &str| encode_pem(label, b"content");
        let cases = [
            (String::new(), "the key file is not PEM: it has no `-----BEGIN`"),
            ("-----BEGIN A".into(), "the key file is not PEM: its first line is incomplete"),
            ("-----BEGIN A-----\nAA==\n".into(), "the key file is not PEM: it has no `-----END`"),
            (
                block("A").replace("END A", "END B"),
                "the key file is not PEM: something follows it, or its last line has a different label",
            ),
            (
                block("A") + &block("B"),
                "the key file is not PEM: something follows it, or its last line has a different label",
            ),
            (
                block("A").replace("Y29u", "Y2*u"),
                "the key file is not PEM: its content is not base64",
            ),
            (
                block("EC PRIVATE KEY"),
                "the key file contains `EC PRIVATE KEY`, expected `ENCRYPTED SIGSTORE PRIVATE KEY` (made by `cosign generate-key-pair`) or `PRIVATE KEY` (PKCS#8)",
            ),
            (" ".repeat(LIMIT + 1), "the key file is 65537 bytes long, the limit is 65536"),
            (
                block(ENCRYPTED_LABELS[0]),
                "the content of the key file is not valid: expected value at line 1 column 1",
            ),
        ];
        for (pem, expected) in cases {
            assert_eq!(error(&pem), expected);
        }
    }

    #[test]
    fn does_not_print_the_private_half() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.hint().unwrap()));
    }
}
