//! Writes an image as an OCI archive with `tar`, `zstd` and `sha256sum`, independently of the code
//! under test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::rig::text;

pub(crate) struct Image<'a> {
    /// `repository:tag`
    pub(crate) name: &'a str,
    pub(crate) user: &'a str,
    pub(crate) entrypoint: &'a [&'a str],
    /// Path and content; every file is executable.
    pub(crate) files: &'a [(&'a str, Vec<u8>)],
}

impl Image<'_> {
    pub(crate) const PEERS: [&'static str; 3] = ["tar", "zstd", "sha256sum"];

    /// Writes an archive in `directory`, with an image index of one platform and one zstd layer.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        let (root, layout) = (directory.join("root"), directory.join("layout"));
        fs::create_dir_all(layout.join("blobs/sha256")).expect("can create a layout");
        for (path, content) in self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root"))
                .expect("can create a directory");
            fs::write(&path, content).expect("can write a file");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755))
                .expect("can change a mode");
        }
        let layer = directory.join("layer.tar");
        let ownership = ["--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sort=name"];
        run(Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(ownership)
            .arg("-cf")
            .arg(&layer)
            .arg("."));
        let diff_id = digest(&layer);
        run(Command::new("zstd").args(["-q", "-f", "-3", "--long=23"]).arg(&layer));

        let layer = put_file(
            &layout,
            "application/vnd.oci.image.layer.v1.tar+zstd",
            &directory.join("layer.tar.zst"),
        );
        let config = json!({
            "os": "linux", "architecture": architecture(),
            "config": {"User": self.user, "Entrypoint": self.entrypoint},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(&layout, "application/vnd.oci.image.config.v1+json", &config),
            "layers": [layer],
        });
        let mut platform = put(&layout, "application/vnd.oci.image.manifest.v1+json", &manifest);
        platform["platform"] = json!({"os": "linux", "architecture": architecture()});
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [platform],
        });
        let mut image = put(&layout, "application/vnd.oci.image.index.v1+json", &index);
        image["annotations"] = json!({"io.containerd.image.name": self.name});
        let entry = json!({"schemaVersion": 2, "manifests": [image]});
        fs::write(layout.join("index.json"), entry.to_string()).expect("can write index.json");
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("can write oci-layout");
        let archive = directory.join("image.tar");
        run(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).args([
            "oci-layout",
            "index.json",
            "blobs",
        ]));
        archive
    }
}

fn put(layout: &Path, media_type: &str, value: &Value) -> Value {
    let path = layout.join("value.json");
    fs::write(&path, value.to_string()).expect("can write a blob");
    put_file(layout, media_type, &path)
}

fn put_file(layout: &Path, media_type: &str, path: &Path) -> Value {
    let digest = digest(path);
    let size = path.metadata().expect("the file was just written").len();
    fs::rename(path, layout.join("blobs").join(digest.replace(':', "/"))).expect("can move a blob");
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn digest(path: &Path) -> String {
    let line = run(Command::new("sha256sum").arg(path));
    format!("sha256:{}", line.split_whitespace().next().expect("sha256sum prints the digest first"))
}

fn run(command: &mut Command) -> String {
    text(command.output().expect("can run a peer"))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
