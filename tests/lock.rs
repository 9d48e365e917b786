//! A lock pins every byte that a build takes, and is compared with its definition offline.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::process::Command;

use support::{Run, Scene, digest_of, plugin};

/// `e_machine` of the two platforms.
const MACHINES: [(&str, u8); 2] = [("amd64", 62), ("arm64", 183)];

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: test
version: 1.0.0
platforms: [linux/amd64, linux/arm64]
sources:
  - name: upstream
    archive:
      from: \"plugins-{architecture}-{version}.tgz\"
      version: v1
      checksums: \"plugins-{architecture}-{version}.tgz.sha256\"
plugins: [bridge, macvlan]
tool: none
";

/// A program of a few KiB for one machine; another `edition` has other bytes.
fn program(name: &str, machine: u8, edition: &str) -> Vec<u8> {
    let mut bytes = plugin::answering(&format!("{name}{edition}"), 4096);
    bytes[18] = machine;
    bytes
}

/// Publishes an archive for each platform, with its checksum file.
fn publish(scene: &Scene, version: &str, edition: &str, names: &[&str]) {
    for (architecture, machine) in MACHINES {
        let folder = format!("content-{architecture}");
        drop(fs::remove_dir_all(scene.at(&folder)));
        for name in names {
            scene.write(&format!("{folder}/{name}"), program(name, machine, edition));
        }
        let archive = format!("plugins-{architecture}-{version}.tgz");
        let script = format!(
            "tar --sort=name --owner=0 --group=0 --mtime=@0 -C {folder} -czf {archive} . && sha256sum {archive} > {archive}.sha256"
        );
        shell(scene, &script);
    }
}

fn shell(scene: &Scene, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(scene.path()).status();
    assert!(status.unwrap().success(), "{script}");
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("bundle.yaml", DEFINITION);
    publish(&scene, "v1", "", &["bridge", "macvlan"]);
    scene
}

fn lock(scene: &Scene, more: &str) -> Run {
    // Programs for another machine would keep an emulator busy, if there is one.
    scene.run(&format!("lock bundle.yaml --cache-dir cache --no-probe {more}"))
}

fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

fn text(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.at(name)).unwrap()
}

#[test]
fn a_build_takes_what_the_lock_pins_and_nothing_else() {
    let scene = scene();
    let build = |more: &str| scene.run(&format!("build bundle.yaml --cache-dir cache {more}"));
    expect(
        &build("-o layout"),
        2,
        &["the source `upstream` is not a directory", "hint: run `cnister lock bundle.yaml`"],
    );
    assert!(!scene.at("layout").exists() && !scene.at("cache").exists());
    expect(
        &lock(&scene, ""),
        0,
        &["+ bridge linux/arm64: version v1, digest ", "wrote `bundle.lock.json`, 4 pinned files"],
    );
    let (first, evidence) = (text(&scene, "bundle.lock.json"), scene.tree("bundle.lock.evidence"));
    assert!(first.contains("\"level\": \"checksum-same-origin\""), "{first}");
    assert_eq!(evidence.len(), 2);
    // The same again, also from another directory and with an empty cache, writes the same.
    expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
    fs::create_dir(scene.at("elsewhere")).unwrap();
    let mut elsewhere = scene.command(env!("CARGO_BIN_EXE_cnister"));
    elsewhere.args(["lock", "../bundle.yaml", "--cache-dir", "cache", "--no-probe"]);
    let run = scene.run_command(elsewhere.current_dir(scene.at("elsewhere")));
    expect(&run, 0, &["`../bundle.lock.json` is unchanged"]);
    assert_eq!(text(&scene, "bundle.lock.json"), first);
    // A schema that it names for editors is kept.
    let named = first.replacen('{', "{\n  \"$schema\": \"lock.schema.json\",", 1);
    scene.write("bundle.lock.json", &named);
    expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
    assert_eq!(text(&scene, "bundle.lock.json"), named);
    scene.write("bundle.lock.json", &first);
    let built = scene.run_ok("build bundle.yaml --cache-dir cache -o layout");
    let again = build("-o again");
    assert_eq!(digest_of(&again), digest_of(&built), "{}", again.stderr);
    // The comparison needs nothing but the lock and what it keeps.
    shell(&scene, "mkdir gone && mv plugins-* gone/");
    expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: `bundle.lock.json` pins what"]);
    let refused = build("-o third");
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(!scene.at("third").exists());
    // Other bytes at the origin are not what is locked either.
    publish(&scene, "v1", " rebuilt", &["bridge", "macvlan"]);
    let refused = build("-o third");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("plugins-amd64-v1.tgz"), "{}", refused.stderr);
    assert!(!scene.at("third").exists());
}

#[test]
fn bytes_that_change_under_one_version_are_refused_until_they_are_accepted() {
    let scene = scene();
    expect(&lock(&scene, ""), 0, &[]);
    let first = (text(&scene, "bundle.lock.json"), scene.tree("bundle.lock.evidence"));
    publish(&scene, "v1", " rebuilt", &["bridge", "macvlan"]);
    let said = "`macvlan` on linux/arm64: upstream's bytes changed under the same version `v1`";
    let unchanged = || {
        let now = (text(&scene, "bundle.lock.json"), scene.tree("bundle.lock.evidence"));
        assert_eq!(now, first);
    };
    expect(
        &lock(&scene, ""),
        1,
        &["~ macvlan linux/arm64: artefact ", said, "--accept bridge --accept macvlan"],
    );
    unchanged();
    // One word of consent is for one plugin.
    expect(&lock(&scene, "--accept bridge"), 1, &[said]);
    unchanged();
    expect(&lock(&scene, "--accept tap"), 2, &["the definition has no plugin `tap`"]);
    expect(&lock(&scene, "--accept bridge --accept macvlan"), 0, &["wrote `bundle.lock.json`"]);
    assert_eq!(scene.tree("bundle.lock.evidence").len(), 2, "the old evidence is gone");
    // A new version needs none.
    publish(&scene, "v2", " new", &["bridge", "macvlan"]);
    scene.write("bundle.yaml", DEFINITION.replace("version: v1\n", "version: v2\n"));
    expect(
        &lock(&scene, ""),
        0,
        &["~ bridge linux/amd64: version v1 -> v2, from plugins-amd64-v1"],
    );
    // A level that falls does.
    let checksums = "      checksums: \"plugins-{architecture}-{version}.tgz.sha256\"\n";
    let v3 = DEFINITION.replace("version: v1\n", "version: v3\n").replace(checksums, "");
    publish(&scene, "v3", " newer", &["bridge", "macvlan"]);
    shell(&scene, "rm *.sha256");
    scene.write("bundle.yaml", v3);
    let said = "`bridge` on linux/amd64: its level falls from checksum-same-origin to tofu";
    expect(&lock(&scene, ""), 1, &[said]);
    expect(&lock(&scene, "--accept bridge --accept macvlan"), 0, &[]);
    assert!(!scene.at("bundle.lock.evidence").exists());
}

#[test]
fn an_update_changes_only_the_plugin_that_it_names() {
    let scene = scene();
    expect(&lock(&scene, ""), 0, &[]);
    publish(&scene, "v1", " rebuilt", &["bridge", "macvlan"]);
    // Both are in the same archive, which has one digest.
    let before = text(&scene, "bundle.lock.json");
    expect(&lock(&scene, "--update bridge --accept bridge"), 1, &["`macvlan` on linux/amd64: "]);
    expect(&lock(&scene, "--update"), 1, &["`macvlan` on linux/amd64: upstream's bytes changed"]);
    assert_eq!(text(&scene, "bundle.lock.json"), before);
    let accepted = "--update bridge --accept bridge --accept macvlan";
    expect(&lock(&scene, accepted), 0, &["~ bridge linux/amd64", "~ macvlan linux/amd64"]);
    expect(&scene.run("lock --check bundle.yaml"), 0, &[]);
    // A plugin that the definition did not have before is fetched, whatever is named.
    publish(&scene, "v1", " rebuilt", &["bridge", "macvlan", "tap"]);
    scene.write("bundle.yaml", DEFINITION.replace("bridge, macvlan", "bridge, macvlan, tap"));
    expect(
        &lock(&scene, "--update tap --accept bridge --accept macvlan"),
        0,
        &["+ tap linux/arm64"],
    );
    expect(&scene.run("lock --check bundle.yaml"), 0, &["6 pinned files"]);
    // A plugin of another source is left alone, and its source is not asked.
    let scene = self::scene();
    let two = "  - {name: own, directory: own}\n  - name: upstream";
    let plugins = "plugins: [{name: bridge, source: upstream}, {name: macvlan, source: own}]";
    let definition = DEFINITION.replace("  - name: upstream", two).replace(", linux/arm64", "");
    let definition = definition.replace("plugins: [bridge, macvlan]", plugins);
    scene.write("bundle.yaml", definition);
    scene.write("own/macvlan", program("macvlan", 62, ""));
    expect(&lock(&scene, ""), 0, &[]);
    fs::remove_dir_all(scene.at("own")).unwrap();
    expect(&lock(&scene, "--update bridge"), 0, &["`bundle.lock.json` is unchanged"]);
    expect(&lock(&scene, "--update"), 3, &["cannot read the directory `own`"]);
}

#[test]
fn evidence_is_kept_in_a_directory_of_its_own_and_nothing_else_is_removed() {
    let scene = scene();
    scene.write("precious/a", "kept");
    let name = "sha256:".len();
    let digest = cnister::model::Digest::of(b"kept").to_string();
    scene.write(&format!("precious/{}", &digest[name..]), "kept");
    let before = scene.tree("precious");
    std::os::unix::fs::symlink("precious", scene.at("bundle.lock.evidence")).unwrap();
    expect(&lock(&scene, ""), 3, &["bundle.lock.evidence`: it is not a directory"]);
    assert!(!scene.at("bundle.lock.json").exists());
    assert_eq!(scene.tree("precious"), before);
    fs::remove_file(scene.at("bundle.lock.evidence")).unwrap();
    fs::rename(scene.at("precious"), scene.at("bundle.lock.evidence")).unwrap();
    expect(&lock(&scene, ""), 0, &[]);
    let kept = scene.tree("bundle.lock.evidence");
    assert!(before.keys().all(|name| kept.contains_key(name)), "{kept:?}");
    // The lock of another bundle is not replaced in passing.
    scene.write("bundle.yaml", DEFINITION.replace("name: test", "name: other"));
    expect(&lock(&scene, ""), 2, &["`bundle.lock.json` is the lock of the bundle `test`"]);
}

#[test]
fn a_lock_that_does_not_answer_the_definition_is_refused_by_check_and_build() {
    let scene = scene();
    let check = || scene.run("lock --check bundle.yaml");
    expect(&check(), 1, &["no: there is no `bundle.lock.json`"]);
    expect(&lock(&scene, ""), 0, &[]);
    let good = text(&scene, "bundle.lock.json");
    let definition =
        |from: &str, to: &str| scene.write("bundle.yaml", DEFINITION.replace(from, to));
    let refused = |code: i32, words: &str| {
        expect(&check(), code, &[words]);
        expect(&scene.run("build bundle.yaml --cache-dir cache -o new"), 2, &[words]);
        assert!(!scene.at("new").exists(), "{words}");
    };
    for (from, to, words) in [
        (
            "bridge, macvlan",
            "bridge, macvlan, tap",
            "the lock has no entry for `tap` on linux/amd64",
        ),
        ("bridge, macvlan", "bridge", "the lock has an entry for `macvlan` on linux/amd64"),
        ("version: v1\n", "version: v2\n", "was locked for archive `plugins-amd64-v1.tgz`"),
        ("name: test", "name: other", "the lock is of the bundle `test`"),
    ] {
        definition(from, to);
        refused(1, words);
    }
    // Comments, compression and the bundle's own version make nothing stale.
    definition("version: 1.0.0", "version: 2.0.0 # ours\ncompression: best");
    expect(&check(), 0, &[]);
    scene.run_ok("build bundle.yaml --cache-dir cache -o best");
    definition("", "");
    for (from, to, words) in [
        ("checksum-same-origin", "checksum-independent", "the kept evidence gives `checksum-same"),
        ("  \"name\": \"test\"", "  \"name\": \"other\"", "the lock is of the bundle `other`"),
    ] {
        scene.write("bundle.lock.json", good.replacen(from, to, 1));
        refused(1, words);
    }
    for (from, to, words) in [
        ("\"kind\": \"BundleLock\"", "\"kind\": \"Bundle\"", "unknown variant `Bundle`"),
        ("  \"plugins\"", "  \"more\": 1,\n  \"plugins\"", "unknown field `more`"),
        ("{", "", "`bundle.lock.json` is not valid"),
    ] {
        scene.write("bundle.lock.json", good.replacen(from, to, 1));
        refused(2, words);
    }
    // Bytes that the archive does not have: only a build can see that.
    let digest = good.split("\"digest\": \"").find(|it| it.contains("\"linkage\"")).unwrap();
    let digest = digest.split('"').next().unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    scene.write("bundle.lock.json", good.replacen(digest, &other, 1));
    expect(&check(), 0, &[]);
    expect(
        &scene.run("build bundle.yaml --cache-dir cache -o new"),
        2,
        &["is not what is locked: its digest is", "review what it changes"],
    );
    scene.write("bundle.lock.json", &good);
    shell(&scene, "rm -r bundle.lock.evidence");
    refused(1, "the checksum file sha256:");
}

#[test]
fn a_directory_needs_no_lock_and_is_held_to_the_one_that_it_has() {
    let scene = Scene::new();
    let definition = DEFINITION.split("sources:").next().unwrap().replace(", linux/arm64", "")
        + "sources: [{name: here, directory: content}]\nplugins: [bridge]\ntool: none\n";
    scene.write("bundle.yaml", definition);
    scene.write("content/bridge", program("bridge", 62, ""));
    let unlocked = scene.run_ok("build bundle.yaml -o layout");
    expect(&lock(&scene, ""), 0, &["level none"]);
    let locked = scene.run_ok("build bundle.yaml -o locked");
    assert_eq!(digest_of(&locked), digest_of(&unlocked));
    scene.write("content/bridge", program("bridge", 62, " changed"));
    expect(
        &scene.run("build bundle.yaml -o new"),
        2,
        &["`bridge` on linux/amd64 is not what is locked: its digest is sha256:"],
    );
    // The user's own files may change.
    expect(&lock(&scene, ""), 0, &["~ bridge linux/amd64: digest "]);
    scene.run_ok("build bundle.yaml -o new");
}
