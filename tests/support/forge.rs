//! Changes to a layout that its builder would never make, so that they can be signed.

use std::fs;
use std::path::{Path, PathBuf};

use cnister::model::Digest;
use serde_json::{Value, json};

/// A layout whose documents can be replaced.
pub struct Forge {
    layout: PathBuf,
}

impl Forge {
    /// Opens the layout below `scene`.
    pub fn new(layout: PathBuf) -> Self {
        Self { layout }
    }

    pub fn blob(&self, digest: &str) -> PathBuf {
        self.layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    pub fn read(&self, digest: &str) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).expect("a blob")).expect("JSON")
    }

    /// Stores bytes under their digest.
    pub fn store(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.blob(&digest), bytes).expect("a blob");
        digest
    }

    fn index_json(&self) -> Value {
        serde_json::from_slice(&fs::read(self.layout.join("index.json")).expect("index.json"))
            .expect("JSON")
    }

    /// Returns the digest of the tagged image.
    pub fn tagged(&self) -> String {
        let index = self.index_json();
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
        digest.to_owned()
    }

    /// Replaces the tagged index by these bytes and drops all signatures.
    pub fn replace_index(&self, bytes: &[u8]) -> String {
        let digest = self.store(bytes);
        let mut index = self.index_json();
        let mut entry = index["manifests"][0].clone();
        entry["digest"] = json!(digest);
        entry["size"] = json!(bytes.len());
        index["manifests"] = json!([entry]);
        fs::write(self.layout.join("index.json"), index.to_string()).expect("index.json");
        digest
    }

    /// Gives the tag to another document of the layout; the signatures are dropped.
    pub fn tag(&self, descriptor: &Value) -> String {
        let bytes = fs::read(self.blob(descriptor["digest"].as_str().expect("a digest")));
        let digest = self.replace_index(&bytes.expect("a blob"));
        let mut index = self.index_json();
        index["manifests"][0]["mediaType"] = descriptor["mediaType"].clone();
        fs::write(self.layout.join("index.json"), index.to_string()).expect("index.json");
        digest
    }

    /// Makes a change, and leaves all signatures where they were.
    pub fn keeping_signatures(&self, change: impl FnOnce(&Self) -> String) -> String {
        let before = self.index_json();
        let digest = change(self);
        let mut index = self.index_json();
        let signatures = before["manifests"].as_array().expect("a list").iter().skip(1).cloned();
        index["manifests"].as_array_mut().expect("a list").extend(signatures);
        fs::write(self.layout.join("index.json"), index.to_string()).expect("index.json");
        digest
    }

    /// Changes the tagged index.
    pub fn index(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut index = self.read(&self.tagged());
        change(&mut index);
        self.replace_index(index.to_string().as_bytes())
    }

    /// Changes the first platform's manifest.
    pub fn manifest(&self, change: impl FnOnce(&mut Value)) -> String {
        self.index(|index| {
            let mut manifest =
                self.read(index["manifests"][0]["digest"].as_str().expect("a digest"));
            change(&mut manifest);
            let bytes = manifest.to_string();
            index["manifests"][0]["digest"] = json!(self.store(bytes.as_bytes()));
            index["manifests"][0]["size"] = json!(bytes.len());
        })
    }

    /// Changes the first platform's configuration.
    pub fn config(&self, change: impl FnOnce(&mut Value)) -> String {
        self.manifest(|manifest| {
            let mut config = self.read(manifest["config"]["digest"].as_str().expect("a digest"));
            change(&mut config);
            let bytes = config.to_string();
            manifest["config"]["digest"] = json!(self.store(bytes.as_bytes()));
            manifest["config"]["size"] = json!(bytes.len());
        })
    }
}

/// Copies a layout unchanged.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}
