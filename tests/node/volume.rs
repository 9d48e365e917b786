//! Creates a pod's volumes on the node as a kubelet does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemonset::{DaemonSet, only, string};
use crate::namespace::Namespace;

/// Where a volume is on the node.
pub(crate) struct Volume {
    pub(crate) path: PathBuf,
    /// A kubelet mounts a ConfigMap read-only, whatever the mount says.
    pub(crate) readonly: bool,
}

/// Creates every volume of a pod below its directory on the node.
pub(crate) fn make(node: &Namespace, pod: &Path, set: &DaemonSet) -> BTreeMap<String, Volume> {
    let volumes = set.pod["volumes"].as_array().into_iter().flatten();
    volumes.map(|volume| (string(&volume["name"]), one(node, pod, set, volume))).collect()
}

fn one(node: &Namespace, pod: &Path, set: &DaemonSet, volume: &Value) -> Volume {
    let name = string(&volume["name"]);
    only(volume, &["name", "hostPath", "emptyDir", "configMap"]);
    if let Some(source) = volume.get("hostPath") {
        only(source, &["path", "type"]);
        return Volume { path: host_path(node, source), readonly: false };
    }
    if let Some(source) = volume.get("emptyDir") {
        only(source, &["sizeLimit"]);
        let path = pod.join("volumes/kubernetes.io~empty-dir").join(name);
        let outside = node.node(&path);
        fs::create_dir_all(&outside).expect("can create an emptyDir");
        fs::set_permissions(&outside, PermissionsExt::from_mode(0o777)).expect("can change a mode");
        return Volume { path, readonly: false };
    }
    let source = volume
        .get("configMap")
        .unwrap_or_else(|| panic!("volume `{name}` is of no kind that this test knows"));
    only(source, &["name", "items", "optional", "defaultMode"]);
    let path = pod.join("volumes/kubernetes.io~configmap").join(name);
    project(&node.node(&path), &config_map(set, source), mode(source));
    Volume { path, readonly: true }
}

fn host_path(node: &Namespace, source: &Value) -> PathBuf {
    let path = PathBuf::from(string(&source["path"]));
    let outside = node.node(&path);
    match source["type"].as_str().unwrap_or_default() {
        "DirectoryOrCreate" => fs::create_dir_all(&outside).expect("can create a host directory"),
        "Directory" => assert!(
            outside.is_dir(),
            "hostPath type check failed: {} is not a directory",
            path.display()
        ),
        "File" => assert!(
            outside.is_file(),
            "hostPath type check failed: {} is not a file",
            path.display()
        ),
        "" => {}
        other => panic!("this test knows no hostPath of type `{other}`"),
    }
    path
}

/// Returns the files of a ConfigMap volume.
fn config_map(set: &DaemonSet, source: &Value) -> BTreeMap<String, Vec<u8>> {
    let name = string(&source["name"]);
    let Some(map) = set.config_maps.get(&name) else {
        assert!(source["optional"] == true, "configmap \"{name}\" not found");
        return BTreeMap::new();
    };
    let entries = |field: &str| {
        map[field]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), string(value)))
    };
    let text = entries("data").map(|(key, value)| (key, value.into_bytes()));
    let binary = entries("binaryData").map(|(key, value)| (key, base64(&value)));
    let mut files: BTreeMap<_, _> = text.chain(binary).collect();
    let Some(items) = source["items"].as_array() else {
        return files;
    };
    let chosen = |item: &Value| {
        only(item, &["key", "path"]);
        let key = string(&item["key"]);
        let content = files
            .remove(&key)
            .unwrap_or_else(|| panic!("configmap references non-existent config key: {key}"));
        (string(&item["path"]), content)
    };
    items.iter().map(chosen).collect()
}

/// Writes files as a kubelet does: each name is a link into `..data`, which is itself a link to a
/// dated directory.
fn project(directory: &Path, files: &BTreeMap<String, Vec<u8>>, mode: u32) {
    let dated = "..2026_01_01_00_00_00.1234567890";
    fs::create_dir_all(directory.join(dated)).expect("can create a volume");
    symlink(dated, directory.join("..data")).expect("can link");
    for (name, content) in files {
        let path = directory.join(dated).join(name);
        fs::write(&path, content).expect("can write a volume's file");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("can change a mode");
        symlink(Path::new("..data").join(name), directory.join(name)).expect("can link");
    }
}

fn mode(source: &Value) -> u32 {
    // `0444` is read as a float here, and as octal by Kubernetes; a decimal or `0o444` means the
    // same to both.
    let number = |mode: &Value| {
        mode.as_u64().unwrap_or_else(|| panic!("a mode is a whole number, not {mode}"))
    };
    u32::try_from(source.get("defaultMode").map_or(0o644, number)).expect("a file mode is small")
}

/// Decodes base64, ignoring white space.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        let value =
            ALPHABET.iter().position(|letter| *letter == digit).expect("binaryData is base64");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

#[test]
fn decodes_base64_of_every_length() {
    for (text, expected) in
        [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9v\nYmFy", "foobar")]
    {
        assert_eq!(base64(text), expected.as_bytes(), "{text}");
    }
}
