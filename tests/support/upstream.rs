//! Images as other projects publish them: layouts with layers of plain files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cnister::model::Digest;
use serde_json::{Value, json};

/// A layout that images are put into.
pub struct Upstream {
    folder: PathBuf,
}

impl Upstream {
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).expect("a folder");
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        Self { folder }
    }

    /// Stores a blob; its descriptor.
    pub fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(content);
        fs::write(self.folder.join("blobs/sha256").join(digest.hex()), content).expect("a blob");
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    /// Stores the image of an architecture, a layer for each list of files; its descriptor.
    pub fn image(&self, architecture: &str, layers: &[&[(&str, &[u8])]]) -> Value {
        let layers: Vec<Value> = layers
            .iter()
            .map(|files| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &layer(files)))
            .collect();
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": []}});
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config,
            "layers": layers});
        let mut entry = self.blob(media_type, manifest.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    }

    /// Stores an image of these layers, which are not compressed; its descriptor.
    pub fn image_of(&self, layers: &[Vec<u8>]) -> Value {
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<Value> = layers.iter().map(|layer| self.blob(media_type, layer)).collect();
        let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let history: Vec<Value> = layers.iter().map(|_| json!({"created_by": "a test"})).collect();
        let config = json!({"os": "linux", "architecture": "amd64", "config": {},
            "rootfs": {"type": "layers", "diff_ids": digests}, "history": history});
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config,
            "layers": layers});
        let mut entry = self.blob(media_type, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(self.folder.join("index.json"), index.to_string()).expect("an index");
        entry
    }

    /// What BuildKit lists beside an image.
    pub fn attestation(&self) -> Value {
        let mut entry = self.image("unknown", &[]);
        entry["platform"]["os"] = json!("unknown");
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        entry
    }

    /// Makes an index of these images the only image of the layout; its digest.
    pub fn index(&self, tag: &str, images: &[Value]) -> String {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": images});
        let mut entry = self.blob(media_type, index.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
        fs::write(self.folder.join("index.json"), index.to_string()).expect("an index");
        entry["digest"].as_str().expect("a text").to_owned()
    }

    /// What a registry serves of it, by path: every blob, also as a manifest, and the tag.
    pub fn served(&self, repository: &str, tag: &str) -> Vec<(String, Vec<u8>)> {
        let base = format!("/v2/{repository}");
        let index = fs::read(self.folder.join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("an index");
        let root = index["manifests"][0]["digest"].as_str().expect("a text").to_owned();
        let mut served = Vec::new();
        for entry in fs::read_dir(self.folder.join("blobs/sha256")).expect("blobs") {
            let path = entry.expect("an entry").path();
            let hex = path.file_name().and_then(|name| name.to_str()).expect("a digest").to_owned();
            let bytes = fs::read(&path).expect("a blob");
            if root.ends_with(&hex) {
                served.push((format!("{base}/manifests/{tag}"), bytes.clone()));
            }
            served.push((format!("{base}/manifests/sha256:{hex}"), bytes.clone()));
            served.push((format!("{base}/blobs/sha256:{hex}"), bytes));
        }
        served
    }

    /// Pushes the layout's only image with skopeo.
    pub fn push(&self, skopeo: &Path, target: &str) {
        let from = format!("oci:{}", self.folder.display());
        let status = Command::new(skopeo)
            .args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"])
            .args(["--dest-tls-verify=false", &from, &format!("docker://{target}")])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("skopeo starts").success(), "{target}");
    }
}

/// A layer of these files, compressed.
pub fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, *content).expect("in memory");
    }
    let bytes = builder.into_inner().expect("in memory");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).expect("in memory");
    encoder.finish().expect("in memory")
}
