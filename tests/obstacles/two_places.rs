//! Two plugin directories, and something else in the place of one: the other is judged and
//! repaired.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::FileType;

use super::support::Scene;
use super::{PLUGINS, Release, node_of, within_bound};

const GOOD: &str = "root/opt/cni/bin";
const BAD: &str = "root/usr/lib/cni";

type Put = fn(&Path);

/// What has the place of the second directory, and the code of the finding about it.
const THINGS: [(&str, Put, &str); 6] = [
    ("a file", |path| fs::write(path, "x").unwrap(), "in-the-way"),
    ("a FIFO", |path| node_of(path, FileType::Fifo), "in-the-way"),
    ("a link to a file", |path| symlink("../../opt/cni/file", path).unwrap(), "in-the-way"),
    ("a link to nothing", |path| symlink("nowhere", path).unwrap(), "plugin-missing"),
    ("a link to itself", |path| symlink("cni", path).unwrap(), "path-escapes"),
    ("a link out of the root", |path| symlink("../../../elsewhere", path).unwrap(), "path-escapes"),
];

#[test]
fn what_has_the_place_of_one_directory_keeps_no_other_from_being_judged_and_repaired() {
    for (what, put, code) in THINGS {
        // The same with the paths in the other order: they are looked at in that of their names.
        for (good, bad) in [(GOOD, BAD), (BAD, GOOD)] {
            if good == BAD && what.contains("link") {
                continue;
            }
            let scene = Scene::in_memory();
            let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
            scene.write("root/opt/cni/file", "x");
            fs::create_dir_all(scene.at("elsewhere")).unwrap();
            let words = "--bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";
            scene.run_ok(&format!("{} {words}", release.install_args()));
            fs::remove_dir_all(scene.at(bad)).unwrap();
            put(&scene.at(bad));
            let before = scene.tree("root");
            let bridge = scene.at(good).join("bridge");
            fs::remove_file(&bridge).unwrap();
            fs::write(scene.at(good).join("macvlan"), "altered").unwrap();
            for words in ["check --root root", "check --root root --at-boot"] {
                let run = within_bound(&scene, words);
                let said = format!("{what}, {words}: {}{}", run.stdout, run.stderr);
                assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{said}");
                let good = good.trim_start_matches("root");
                for line in [
                    format!("no: {code}: "),
                    format!("no: plugin-missing: `{good}/bridge` is gone"),
                    format!("no: digest-drift: `{good}/macvlan` was altered"),
                ] {
                    assert!(run.stdout.contains(&line), "{line}: {said}");
                }
            }
            let run = within_bound(&scene, "check --root root --repair");
            let said = format!("{what}: {}{}", run.stdout, run.stderr);
            assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{said}");
            assert!(run.stdout.contains(&format!("no: {code}: ")), "{said}");
            assert_eq!(fs::read(&bridge).unwrap(), release.files["bridge"], "{said}");
            assert_eq!(scene.tree("root"), before, "{said}");
            // Once it is gone, everything comes back.
            fs::remove_file(scene.at(bad)).unwrap();
            scene.run_ok("check --root root --repair");
            assert_eq!(fs::read(scene.at(bad).join("bridge")).unwrap(), release.files["bridge"]);
        }
    }
}
