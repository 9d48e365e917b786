//! The policy that a verb applies: a file, or a single public key.
//!
//! With `--policy-sha256`, any other policy is refused, and so is one whose digest does not cover
//! its keys. What a policy means is up to `trust`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::stop::Stop;
use super::terminal::Failure;
use crate::disk::open_input;
use crate::model::{Classed, Code, Digest, ErrorClass, Finding, text_of};
use crate::trust::{Policy, PolicyError};

/// Which policy applies.
#[derive(Args)]
pub(super) struct PolicyArguments {
    /// The policy: who may sign what. Key files are read relative to it.
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// A public key instead of a policy: any image signed by it is allowed.
    #[arg(long, value_name = "COSIGN.PUB", conflicts_with = "policy")]
    pub(super) key: Option<PathBuf>,
    /// The SHA-256 of the policy file, as printed by `sha256sum`; any other policy is refused.
    #[arg(long, value_name = "HEX")]
    pub(super) policy_sha256: Option<String>,
}

impl PolicyArguments {
    /// Loads the policy; if none is named, the one that `kept` reads. Another policy than the
    /// pinned one is refused.
    pub(super) fn load(
        &self,
        kept: Option<&dyn Fn() -> Result<Policy, Stop>>,
    ) -> Result<Policy, Stop> {
        let policy = match (&self.policy, &self.key, kept) {
            (Some(path), _, _) => load_policy(path)?,
            (None, Some(path), _) => {
                let pem = read_text(path).map_err(|error| cannot_read(path, &error))?;
                Policy::of_key(&path.display().to_string(), &pem).map_err(classify)?
            }
            (None, None, Some(kept)) => kept()?,
            (None, None, None) => {
                let failure = Failure::request("no policy given")
                    .hint("use --policy FILE, or --key COSIGN.PUB for a single key");
                return Err(failure.into());
            }
        };
        let Some(expected) = &self.policy_sha256 else { return Ok(policy) };
        let expected = expected.strip_prefix("sha256:").unwrap_or(expected);
        let expected = Digest::from_hex(expected).map_err(Failure::request)?;
        if !policy.is_standalone() {
            let message = "the policy reads key files, which --policy-sha256 does not cover";
            let hint = "include the keys in the policy, as `data:` or under `files:`";
            return Err(Finding::refusal(Code::PolicyDigest, message).hint(hint).into());
        }
        if policy.digest() != expected {
            let finding = Finding::refusal(
                Code::PolicyDigest,
                "the policy is not the one pinned with --policy-sha256",
            );
            return Err(finding.mismatch(expected, policy.digest()).into());
        }
        Ok(policy)
    }
}

impl PolicyArguments {
    /// The files that decide, as absolute paths: the policy or key, or `kept` if none is named, and
    /// the policy's key files. None if a digest says which policy it is: its files may be anyone's.
    pub(super) fn files(&self, kept: Option<PathBuf>) -> Vec<PathBuf> {
        let first = self.policy.clone().or_else(|| self.key.clone()).or(kept);
        let Some(first) = first.filter(|_| self.policy_sha256.is_none()) else {
            return Vec::new();
        };
        let mut files = vec![first.clone()];
        // A FIFO was read before, and nothing would come out of it again.
        if self.key.is_none() && first.is_file() {
            let beside = first.parent().unwrap_or(Path::new("."));
            let mut read = |name: &str| {
                files.push(beside.join(name));
                read_text(&beside.join(name))
            };
            // It was read before, and what is wrong with it was said.
            drop(read_text(&first).map(|text| Policy::parse("policy", &text, &mut read)));
        }
        files.into_iter().filter_map(|path| std::path::absolute(path).ok()).collect()
    }
}

/// Loads a policy, with key files relative to it.
pub(super) fn load_policy(path: &Path) -> Result<Policy, Failure> {
    let text = read_text(path).map_err(|error| cannot_read(path, &error))?;
    let beside = path.parent().unwrap_or(Path::new("."));
    Policy::parse(&path.display().to_string(), &text, &mut |name| read_text(&beside.join(name)))
        .map_err(classify)
}

pub(super) fn classify(error: PolicyError) -> Failure {
    match error {
        PolicyError::ReadKey { ref source, .. } if source.class() == ErrorClass::CouldNot => {
            Failure::could_not(error)
        }
        other => Failure::request(other),
    }
}

/// The failure to read a text at `path`.
pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::of_reading(&format!("`{}`", path.display()), error)
}

/// Reads a text file no longer than a policy may be.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = Policy::LIMIT as u64;
    let opened = open_input(path).map_err(|error| elsewhere(path).unwrap_or(error))?;
    opened.0.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {limit} bytes"),
        ));
    }
    text_of(bytes).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// What a path names if its scheme shows that it is not a file: a key that cosign finds in a key
/// store, or an address.
fn elsewhere(path: &Path) -> Option<io::Error> {
    let text = path.to_str().filter(|_| !path.exists())?;
    let (scheme, _) = text.split_once("://").or_else(|| text.split_once(':'))?;
    // The base name of a path that begins elsewhere: `read_text` is given names beside a policy.
    let scheme = scheme.rsplit('/').next().unwrap_or(scheme);
    let reason = match scheme {
        "awskms" | "gcpkms" | "azurekms" | "hashivault" | "openbao" | "k8s" | "gitlab"
        | "github" | "env" | "pkcs11" => {
            "it names a key outside of files, which is not supported: verify with cosign \
             public-key --key NAME > cosign.pub, and sign with cosign"
        }
        "http" | "https" | "file" | "oci" => "it is an address, expected the path of a file",
        _ => return None,
    };
    Some(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_text_of_a_policy_will_not_be_one_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (bytes, expected) in [
            (vec![0xff, 0xfe, b'k', 0], Err("it is UTF-16, expected UTF-8")),
            (b"k\xe9y".to_vec(), Err("it is not UTF-8 text")),
            (vec![b'#'; Policy::LIMIT + 1], Err("it is longer than 1048576 bytes")),
            (vec![b'#'; Policy::LIMIT], Ok(())),
        ] {
            fs::write(&path, bytes).unwrap();
            match (read_text(&path), expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().starts_with(expected), "{error}");
                    assert_eq!(error.class(), ErrorClass::Request, "{error}");
                }
                (read, expected) => panic!("{:?}, expected {expected:?}", read.map(|_| ())),
            }
        }
    }

    #[test]
    fn a_key_in_a_key_store_is_not_a_file_that_is_away() {
        let store = "it names a key outside of files";
        for (path, expected) in [
            ("awskms:///alias/key", Some(store)),
            ("gcpkms://projects/p/locations/l", Some(store)),
            ("k8s://namespace/secret", Some(store)),
            ("env://COSIGN_PUBLIC_KEY", Some(store)),
            ("pkcs11:token=t;object=o", Some(store)),
            ("policies/hashivault://key", Some(store)),
            ("https://example.com/cosign.pub", Some("it is an address")),
            ("file:///etc/cosign.pub", Some("it is an address")),
            ("absent:name", None),
            ("absent", None),
        ] {
            let error = read_text(Path::new(path)).expect_err(path);
            let class = if expected.is_some() { ErrorClass::Request } else { ErrorClass::CouldNot };
            assert_eq!(error.class(), class, "{path}: {error}");
            assert!(error.to_string().starts_with(expected.unwrap_or("")), "{path}: {error}");
        }
    }
}
