//! What a reference and a file of the command line mean, whatever is there under that name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::{Run, Scene, plugin};

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: test
version: 1.0.0
platforms: [linux/amd64]
sources: [{ name: here, directory: plugins }]
plugins: [bridge]
tool: none
";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("bundle.yaml", DEFINITION);
    scene.write("plugins/bridge", plugin::answering("bridge", 4096));
    scene.run_ok("build bundle.yaml -o layout");
    scene.run_ok("keygen");
    scene
}

fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

/// The names in the scene that a name with a colon was taken for.
fn strays(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(scene.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.contains(':')).collect()
}

#[test]
fn an_image_is_signed_where_it_is_found() {
    let scene = scene();
    for (number, name) in
        ["localhost/debian:latest", "localhost:5000/a:1", "z:9", "quay.io/b"].iter().enumerate()
    {
        let (layout, archive) = (format!("signed-{number}"), format!("archive-{number}.tar"));
        scene.run_ok(&format!("build bundle.yaml -o oci:{layout}:{name}"));
        expect(&scene.run(&format!("verify --key cosign.pub oci:{layout}")), 1, &["no-signature"]);
        scene.run_ok(&format!("sign --key cosign.key oci:{layout}:{name}"));
        for form in [format!("oci:{layout}"), format!("oci:{layout}:{name}")] {
            scene.run_ok(&format!("verify --key cosign.pub {form}"));
        }
        // What is written by that name is read by it, and no other directory is made.
        for form in [format!("oci:copy-{number}:{name}"), format!("oci-archive:{archive}:{name}")] {
            scene.run_ok(&format!("pull oci:{layout}:{name} -o {form}"));
            scene.run_ok(&format!("verify --key cosign.pub {form}"));
        }
        assert!(scene.at(&format!("copy-{number}/index.json")).is_file(), "{name}");
        assert!(scene.at(&archive).is_file(), "{name}");
        assert_eq!(strays(&scene), [""; 0], "{name}");
        expect(
            &scene.run(&format!("sign --key cosign.key oci-archive:{archive}:{name}")),
            2,
            &["signatures cannot be added to an archive"],
        );
    }
}

#[test]
fn signing_never_makes_a_layout() {
    let scene = scene();
    for (reference, words) in [
        ("oci:absent:1", "oci:absent is not an OCI layout"),
        ("oci:absent:localhost:5000/a:1", "oci:absent is not an OCI layout"),
        (
            "oci:layout:localhost:5000/a:1",
            "oci:layout has no tag `localhost:5000/a:1`; it has :1.0.0",
        ),
        ("oci:plugins:1", "oci:plugins is not an OCI layout"),
    ] {
        let before = scene.tree(".");
        expect(&scene.run(&format!("sign --key cosign.key {reference}")), 3, &[words]);
        assert_eq!(scene.tree("."), before, "{reference}");
    }
}
