//! Small signed images for tests, with every document open to change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sigstore_verify::crypto::KeyPair;

use super::signature::write_bundle;
use super::{Evidence, EvidenceBuilder, Policy, SignatureDocument, Statement, pae};
use crate::model::{Digest, Document, json as canonical_json, media_type};

/// A key pair for one test.
pub(crate) struct Signer(KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate_ecdsa_p256().expect("the system has randomness"))
    }

    pub(crate) fn public_pem(&self) -> String {
        self.0.public_key_der().expect("a key that was just made").to_pem()
    }

    /// A signature of these bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).expect("a key that was just made").as_bytes().to_vec()
    }

    pub(crate) fn bundle(&self, payload: &[u8]) -> Vec<u8> {
        self.bundle_with_hint(payload, "hint")
    }

    /// The same, naming a key as cosign does.
    pub(crate) fn bundle_naming(&self, payload: &[u8], key: Digest) -> Vec<u8> {
        let hex = key.hex();
        let digits = hex.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).expect("ASCII"));
        let bytes = digits.map(|it| u8::from_str_radix(it, 16).expect("hex digits"));
        self.bundle_with_hint(payload, &STANDARD.encode(bytes.collect::<Vec<_>>()))
    }

    fn bundle_with_hint(&self, payload: &[u8], hint: &str) -> Vec<u8> {
        write_bundle(payload, &self.sign(&pae(media_type::IN_TOTO, payload)), hint)
    }
}

pub(crate) fn public_pem() -> String {
    Signer::new().public_pem()
}

/// A policy that trusts `signer` for ghcr.io; `rest` continues its rule.
pub(crate) fn policy(signer: &Signer, rest: &str) -> Policy {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: test\n    images: [\"ghcr.io/**\"]\n    authorities: [{{name: k, key: {{file: k.pub}}}}]\n{rest}"
    );
    Policy::parse("test.yaml", &text, &mut |_| Ok(signer.public_pem())).expect("a good policy")
}

/// A bundle image of empty plugins.
pub(crate) struct Image {
    pub(crate) index: Value,
    platforms: Vec<[Value; 3]>,
    signatures: Vec<Vec<u8>>,
}

impl Image {
    /// An unsigned image for these platforms.
    pub(crate) fn of(platforms: &[&str]) -> Self {
        let empty = Digest::of(b"");
        let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": empty, "size": 0});
        let documents = |platform: &&str| {
            let architecture = platform.trim_start_matches("linux/");
            let files = json!({
                "mediaType": media_type::BUNDLE, "name": "test", "version": "1.2.3", "platform": platform,
                "diffId": empty, "plugins": [{"name": "bridge", "digest": empty, "size": 0, "linkage": "static"}],
            });
            let config = json!({
                "architecture": architecture, "os": "linux", "config": {"Labels": {media_type::BUNDLE_LABEL: ""}},
                "rootfs": {"type": "layers", "diff_ids": [empty, empty]},
            });
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": media_type::BUNDLE,
                "config": {"mediaType": media_type::CONFIG, "digest": empty, "size": 0}, "layers": [layer, layer],
            });
            [files, config, manifest]
        };
        let entry = |platform: &&str| {
            let architecture = platform.trim_start_matches("linux/");
            json!({"mediaType": media_type::MANIFEST, "digest": empty, "size": 0,
                   "platform": {"os": "linux", "architecture": architecture}})
        };
        let manifests: Vec<Value> = platforms.iter().map(entry).collect();
        let mut image = Self {
            index: json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests}),
            platforms: platforms.iter().map(documents).collect(),
            signatures: Vec::new(),
        };
        image.relink();
        image
    }

    pub(crate) fn files(&mut self, platform: usize) -> &mut Value {
        &mut self.platforms[platform][0]
    }

    pub(crate) fn config(&mut self, platform: usize) -> &mut Value {
        &mut self.platforms[platform][1]
    }

    pub(crate) fn manifest(&mut self, platform: usize) -> &mut Value {
        &mut self.platforms[platform][2]
    }

    /// Links the documents again after a change; a size of 1 and a label of `x` are changes that
    /// stay.
    pub(crate) fn relink(&mut self) {
        let fill = |slot: &mut Value, document: &Value| {
            let bytes = canonical_json::canonical(document);
            slot["digest"] = json!(Digest::of(&bytes));
            if slot["size"] != 1 {
                slot["size"] = json!(bytes.len());
            }
        };
        for (number, [files, config, manifest]) in self.platforms.iter_mut().enumerate() {
            let label = config.pointer_mut(&format!("/config/Labels/{}", media_type::BUNDLE_LABEL));
            if let Some(label) = label.filter(|label| **label != json!(Digest::of(b"x"))) {
                *label = json!(Digest::of(&canonical_json::canonical(files)));
            }
            fill(&mut manifest["config"], config);
            fill(&mut self.index["manifests"][number], manifest);
        }
    }

    pub(crate) fn index_digest(&self) -> Digest {
        Digest::of(&canonical_json::canonical(&self.index))
    }

    pub(crate) fn manifest_digest(&self, platform: usize) -> Digest {
        Digest::of(&canonical_json::canonical(&self.platforms[platform][2]))
    }

    /// Signs `subject` the way cosign does and attaches it.
    pub(crate) fn sign(&mut self, signer: &Signer, subject: Digest) {
        self.sign_at(signer, subject, None);
    }

    /// The same with a time.
    pub(crate) fn sign_at(&mut self, signer: &Signer, subject: Digest, signed_at: Option<u64>) {
        self.signatures.push(signer.bundle(&Statement::image_signature(
            "ghcr.io/acme/cni",
            &subject,
            signed_at,
        )));
    }

    /// Signs the index and changes the payload afterwards.
    pub(crate) fn sign_altered(&mut self, signer: &Signer) {
        let payload = Statement::image_signature("a", &self.index_digest(), None);
        let good: Value = serde_json::from_slice(&signer.bundle(&payload)).expect("our own bundle");
        let other = Statement::image_signature("b", &self.index_digest(), None);
        let mut bundle: Value =
            serde_json::from_slice(&write_bundle(&other, b"", "hint")).expect("our own bundle");
        bundle["dsseEnvelope"]["signatures"] = good["dsseEnvelope"]["signatures"].clone();
        self.attach(bundle.to_string().as_bytes());
    }

    /// Attaches an attestation about the index.
    pub(crate) fn attest(&mut self, signer: &Signer, predicate_type: &str) {
        self.attest_at(signer, predicate_type, None);
    }

    /// The same with a time.
    pub(crate) fn attest_at(
        &mut self,
        signer: &Signer,
        predicate_type: &str,
        signed_at: Option<u64>,
    ) {
        let payload =
            Statement::image_signature("ghcr.io/acme/cni", &self.index_digest(), signed_at);
        let mut statement: Value = serde_json::from_slice(&payload).expect("our own statement");
        statement["predicateType"] = predicate_type.into();
        self.signatures.push(signer.bundle(statement.to_string().as_bytes()));
    }

    /// Attaches any bytes as a signature document.
    pub(crate) fn attach(&mut self, bytes: &[u8]) {
        self.signatures.push(bytes.to_vec());
    }

    /// Everything collected, as from a registry.
    pub(crate) fn evidence(&self) -> Evidence {
        let mut builder = EvidenceBuilder::default();
        let mut add = |media_type: &str, value: &Value| {
            let document = Document::new(media_type, canonical_json::canonical(value));
            let digest = document.digest;
            builder.document(document);
            digest
        };
        for [files, config, manifest] in &self.platforms {
            add(media_type::BUNDLE, files);
            add(media_type::CONFIG, config);
            add(media_type::MANIFEST, manifest);
        }
        let root = add(media_type::INDEX, &self.index);
        for bytes in &self.signatures {
            let media_type = media_type::SIGSTORE_BUNDLE.to_owned();
            builder.signature(SignatureDocument { media_type, bytes: bytes.clone() });
        }
        builder.finish(root).expect("all documents are there")
    }
}
