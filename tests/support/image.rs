//! A signed bundle for tests, built the way a user builds one.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Scene, digest_of, node_binary, note_peer, peers_folder};

/// Real plugins: upstream's static ones if the peers are built, otherwise Debian's.
pub fn plugins() -> Option<PathBuf> {
    let found = [peers_folder().join("plugins"), PathBuf::from("/usr/lib/cni")]
        .into_iter()
        .find(|folder| folder.join("macvlan").is_file());
    note_peer("plugins", found.is_some());
    found
}

/// Returns the definition of a bundle of these plugins.
pub fn definition(names: &[&str]) -> String {
    format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\nplatforms: [linux/amd64]\nsources: [{{name: here, directory: plugins}}]\nplugins: [{}]\n",
        names.join(", ")
    )
}

/// Builds `layout` from real plugins with the static node build as its tool, and signs it with
/// `cosign.key`.
pub fn signed(scene: &Scene, names: &[&str]) -> Option<String> {
    let digest = unsigned(scene, "layout", names)?;
    scene.run_ok("keygen");
    scene.run_ok("sign --key cosign.key oci:layout");
    Some(digest)
}

/// The same in `layout`, without a signature.
pub fn unsigned(scene: &Scene, layout: &str, names: &[&str]) -> Option<String> {
    let (node, plugins) = (node_binary()?, plugins()?);
    copy_plugins(&plugins, &scene.at("plugins"), names);
    scene.write("bundle.yaml", definition(names));
    Some(digest_of(
        &scene.run_ok(&format!("build bundle.yaml -o {layout} --tool {}", node.display())),
    ))
}

fn copy_plugins(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).expect("a folder");
    for name in names {
        fs::copy(from.join(name), to.join(name)).expect("a plugin");
    }
}
