//! The page for auditors says what is in an image, judges only with a policy, and opens in a
//! browser without running or loading anything.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;

use cnister::model::Digest;
use forge::Forge;
use release::Release;
use serde_json::json;
use support::{Scene, forge, image, peer, release};

const PLUGINS: [&str; 2] = ["bridge", "macvlan"];

fn page(scene: &Scene) -> String {
    fs::read_to_string(scene.at("page.html")).unwrap()
}

#[test]
fn a_page_judges_with_a_policy_and_not_without() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let run = scene.run_ok("report oci:layout-a -o page.html");
    assert!(run.stdout.ends_with(" kB, not judged\n"), "{run:?}");
    assert!(page(&scene).contains("Not judged") && !page(&scene).contains("signed by"));
    let run = scene.run_ok("report oci:layout-a -o page.html --key cosign.pub");
    assert!(run.stdout.ends_with(" kB, allowed\n"), "{run:?}");
    assert!(page(&scene).contains("<strong>Allowed</strong>"));
    assert!(page(&scene).contains("signed by &#96;key&#96;"));
    scene.run_ok("keygen --output-key-prefix other");
    let run = scene.run("report oci:layout-a -o page.html --key other.pub");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(page(&scene).contains("<strong>Refused</strong>"));
    assert!(!page(&scene).contains("Allowed"));
    // The same with the digest of another release.
    let other = Digest::of(b"");
    let arguments = format!("-o page.html --key cosign.pub --expect {other}");
    assert_eq!(scene.run(&format!("report oci:layout-a {arguments}")).code, 1);
    assert!(page(&scene).contains("<strong>Refused</strong>"));
}

#[test]
fn what_no_node_would_take_is_not_on_an_allowed_page() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let other = Release::unsigned(&scene, "b", "1.0.0", &PLUGINS, 0);
    let (signed, unsigned) = (scene.at("layout-a"), scene.at("layout-b"));
    let entry = {
        let forge = Forge::new(unsigned.clone());
        forge.read(&forge.tagged())["manifests"][0].clone()
    };
    forge::copy(&unsigned.join("blobs"), &signed.join("blobs"));
    // An unsigned index with the signed manifest, and beside it one for no platform, or for another
    // than its files say.
    for platform in [json!(null), json!({"os": "linux", "architecture": "arm64"})] {
        let forge = Forge::new(signed.clone());
        forge.keeping_signatures(|forge| {
            forge.index(|index| {
                let entries = index["manifests"].as_array_mut().unwrap();
                entries.truncate(1);
                let mut entry = entry.clone();
                entry["platform"] = platform.clone();
                entry.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                entries.push(entry);
            })
        });
        let run = scene.run("report oci:layout-a -o page.html --key cosign.pub --no-modules");
        assert_eq!(run.code, i32::from(!platform.is_null()), "{platform}: {run:?}");
        assert_eq!(page(&scene).contains("<strong>Allowed</strong>"), platform.is_null());
        assert!(page(&scene).contains("manifest signed by &#96;key&#96;"), "{platform}");
        for bytes in other.files.values() {
            assert!(!page(&scene).contains(&Digest::of(bytes).hex()), "{platform}");
        }
    }
}

#[test]
fn what_cannot_be_written_leaves_the_page_of_before() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    scene.write("page.html", "before");
    let fifo = scene.command("mkfifo").arg(scene.at("fifo")).status().unwrap();
    assert!(fifo.success());
    let before = scene.tree(".");
    for (arguments, code) in [
        ("oci:nothing -o page.html", 3),
        ("oci:layout-a -o nowhere/page.html", 3),
        ("oci:layout-a -o .", 3),
        ("oci:layout-a -o fifo", 3),
        ("oci:layout-a -o page.html --key nothing.pub", 3),
        ("oci:layout-a -o page.html --policy-sha256 00", 2),
    ] {
        let run = scene.run(&format!("report {arguments}"));
        assert_eq!(run.code, code, "{arguments}: {run:?}");
        assert_eq!(scene.tree("."), before, "{arguments}");
    }
}

#[test]
fn a_browser_shows_the_page() {
    let scene = Scene::new();
    let Some(_) = image::signed(&scene, &["macvlan", "vlan"]) else { return };
    scene.run_ok("report oci:layout:1.0.0 -o page.html --key cosign.pub");
    assert!(page(&scene).contains("github.com/vishvananda/netlink"));
    let Some(chromium) = peer("chromium") else { return };
    let mut command = scene.command(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update"]);
    command.args(["--disable-sync", "--disable-quic", "--enable-logging=stderr", "--v=0"]);
    command.arg(format!("--user-data-dir={}", scene.at("profile").display()));
    command.arg("--dump-dom").arg(format!("file://{}", scene.at("page.html").display()));
    let run = scene.run_command(&mut command);
    assert_eq!(run.code, 0, "{run:?}");
    for words in ["<svg", "Linked modules", "Allowed", "macvlan"] {
        assert!(run.stdout.contains(words), "{words}\n{}", run.stdout);
    }
    // The style sheet is the one that the policy of the page allows, and nothing is blocked.
    assert!(!run.stderr.contains("Content Security Policy"), "{}", run.stderr);
}
