//! What a node may spend on it: the size of the program, and the memory of a check.

use std::fs;

use super::support::{Scene, node_binary, note_peer, peer, peers_folder};

/// The most that the stripped program may have, in bytes.
const PROGRAM: u64 = 8 * 1024 * 1024;
/// The most that a check may hold in memory, in kilobytes of 1024 bytes.
const MEMORY: u64 = 12 * 1024;

#[test]
fn the_program_of_a_node_is_small() {
    let Some(program) = node_binary() else { return };
    let size = fs::metadata(program).unwrap().len();
    eprintln!("the node binary has {size} bytes");
    assert!(size <= PROGRAM, "{size} bytes");
}

#[test]
fn a_check_of_all_upstream_plugins_needs_little_memory() {
    let folder = peers_folder().join("plugins");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains('.') && !name.chars().any(|c| c.is_ascii_uppercase()))
        .collect();
    names.sort();
    note_peer("plugins", names.len() >= 18);
    // GNU time: the peak of a child starts at that of its parent, and this process is larger than what it measures.
    let (Some(program), Some(time), true) = (node_binary(), peer("time"), names.len() >= 18) else { return };
    let scene = Scene::new();
    let definition = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: upstream\nversion: 1.0.0\nplatforms: [linux/amd64]\n\
         sources: [{{name: here, directory: {}}}]\nplugins: [{}]\ntool: none\ncompression: none\n",
        folder.display(),
        names.join(", ")
    );
    scene.write("bundle.yaml", definition);
    scene.must("build bundle.yaml -o layout");
    scene.must("keygen");
    scene.must("sign --key cosign.key oci:layout");
    fs::create_dir(scene.at("root")).unwrap();
    for words in
        ["install --key cosign.pub --root root oci:layout", "check --root root --no-probe", "check --root root"]
    {
        let mut command = scene.command(&time);
        command.args(["-f", "%M", "-o", "peak"]).arg(&program).args(words.split(' '));
        let run = scene.run(&mut command);
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        let peak: u64 = fs::read_to_string(scene.at("peak")).unwrap().trim().parse().unwrap();
        eprintln!("{words}: {peak} KiB at most");
        assert!(!words.starts_with("check") || peak < MEMORY, "{words}: {peak} KiB");
    }
}
