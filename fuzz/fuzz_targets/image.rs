//! Images as a registry would tell them: evidence is collected, the chain is walked, and what is
//! there is described.
//!
//! Documents are separated by the byte 0x1e, the last is what was asked for, and each refers back:
//! `$N` is the digest of document N and `%N` its length, N being one digit. No fuzzer could mutate
//! digests into right ones.
#![no_main]

use std::io::{ErrorKind, Read};
use std::sync::LazyLock;
use std::time::SystemTime;

use cnister::bundle::FileManifest;
use cnister::model::document::{descriptor, sha256};
use cnister::model::{Digest, Document, Selector, media_type};
use cnister::oci::{OciError, Platforms, Source, collect, describe};
use cnister::trust::{Evidence, Policy, Presence, Strength, Verifier, evidence_to_store};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;
use oci_spec::image::Descriptor;

const TEXT: &str = "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - {name: r, images: [\"**\"], mode: warn}\n";

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    Policy::parse("policy", TEXT, &mut |_| Err(ErrorKind::NotFound.into())).expect("ours")
});

struct Memory(Vec<Vec<u8>>);

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        let mut documents: Vec<Vec<u8>> = Vec::new();
        for part in bytes.split(|byte| *byte == 0x1e).take(10) {
            let mut document = Vec::new();
            let mut rest = part.iter();
            while let Some(byte) = rest.next() {
                let named = |digit: &u8| documents.get(usize::from(digit.wrapping_sub(b'0')));
                match (byte, rest.as_slice().first().and_then(named)) {
                    (b'$', Some(named)) => {
                        document.extend_from_slice(Digest::of(named).to_string().as_bytes())
                    }
                    (b'%', Some(named)) => {
                        document.extend_from_slice(named.len().to_string().as_bytes())
                    }
                    _ => {
                        document.push(*byte);
                        continue;
                    }
                }
                rest.next();
            }
            documents.push(document);
        }
        Self(documents)
    }

    fn find(&self, digest: Option<Digest>) -> Result<&Vec<u8>, OciError> {
        let found = self.0.iter().find(|document| Some(Digest::of(document)) == digest);
        found.ok_or_else(|| OciError::NotFound {
            origin: self.origin(),
            what: "document".to_owned(),
        })
    }

    fn document(&self, bytes: &[u8]) -> Document {
        let is_index = bytes.windows(11).any(|window| window == b"\"manifests\"");
        Document::new(
            if is_index { media_type::INDEX } else { media_type::MANIFEST },
            bytes.to_vec(),
        )
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "memory".to_owned()
    }
    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        Ok(self.document(self.find(selector.digest)?))
    }
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        Ok(Box::new(self.find(sha256(descriptor))?.as_slice()))
    }
    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let some = self
            .0
            .iter()
            .filter(|document| document.windows(9).any(|window| window == b"\"subject\""));
        Ok(some.map(|document| descriptor(media_type::MANIFEST, Digest::of(document), 1)).collect())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let source = Memory::of(bytes);
    let Some(root) = source.0.last().map(|bytes| source.document(bytes)) else { return };
    if let Ok(description) = describe(&source, &root) {
        let text = serde_json::to_string(&description).expect("a report is JSON");
        assert!(!text.contains(char::is_control));
    }
    let Ok(evidence) = collect(&source, &root, Platforms::All, &POLICY.needs(None)) else { return };
    let kept = evidence_to_store(&POLICY, evidence.clone()).expect("it is short");
    assert_eq!(Evidence::parse(&kept).expect("it was written").to_bytes(), kept);
    let platform = "linux/amd64".parse().expect("a platform");
    let now = SystemTime::UNIX_EPOCH;
    let verifier = Verifier { policy: &POLICY, name: None, platform: &platform, now };
    match verifier.verify(&evidence, Presence::New) {
        Ok(bundle) => {
            // No signer has a key of this policy.
            assert_eq!(bundle.proof().strength, Strength::Admitted);
            let bundle = bundle.value();
            assert_eq!((bundle.index, &bundle.platform), (root.digest, &platform));
            let text = &evidence.document(&bundle.manifest_json).expect("it was walked").bytes;
            assert_eq!(FileManifest::parse(text).expect("it was walked"), bundle.files);
        }
        Err(rejection) => {
            for finding in rejection.findings {
                check_words(&finding.message);
            }
        }
    }
});
