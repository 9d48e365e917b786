//! Referrers that no build would write.

use std::fs;

use cnister::model::{Digest, Document, document, media_type};
use cnister::oci::{LayoutWriter, Sink};
use serde_json::{Value, json};

use super::Scene;
use super::forge::Forge;

/// Stores a document as a referrer of a manifest.
pub fn store(scene: &Scene, layout: &str, subject: &str, artifact_type: &str, document: &[u8]) {
    let path = scene.at(layout);
    let size = |digest: &str| fs::read(Forge::new(path.clone()).blob(digest)).unwrap().len();
    let mut writer = LayoutWriter::open(&path).unwrap();
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let length = bytes.len() as u64;
        let descriptor = document::descriptor(media_type, Digest::of(bytes), length);
        writer.put_blob(&descriptor, &mut &*bytes).unwrap();
        descriptor
    };
    let config = blob(media_type::EMPTY, b"{}");
    let layer = blob(artifact_type, document);
    let referrer = json!({
        "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": artifact_type,
        "config": config, "layers": [layer],
        "subject": { "mediaType": media_type::MANIFEST, "digest": subject, "size": size(subject) },
    });
    let referrer = Document::new(media_type::MANIFEST, referrer.to_string().into_bytes());
    writer.put_referrers(&subject.parse().unwrap(), &[referrer]).unwrap();
}

/// Replaces the attestations of this type in one layout by one of another layout, about an image
/// that it is not about.
pub fn exchange(scene: &Scene, from: &str, to: &str, kind: &str) {
    let attestation = |layout: &str| {
        let report = scene.run_ok(&format!("inspect --format json oci:{layout}"));
        let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
        let referrers = report["referrers"].as_array().expect("a list").clone();
        let found = referrers.into_iter().find(|it| it["predicateType"] == kind);
        let found = found.expect("an attestation");
        let text = |key: &str| found[key].as_str().expect("a digest").to_owned();
        (text("digest"), text("subject"))
    };
    let forges = [from, to].map(|layout| Forge::new(scene.at(layout)));
    let ((theirs, _), (ours, subject)) = (attestation(from), attestation(to));
    let referrer = forges[0].read(&theirs);
    let layer = referrer["layers"][0]["digest"].as_str().expect("a digest");
    let bundle = fs::read(forges[0].blob(layer)).expect("a blob");
    fs::remove_file(forges[1].blob(&ours)).expect("a blob");
    store(scene, to, &subject, media_type::SIGSTORE_BUNDLE, &bundle);
}
