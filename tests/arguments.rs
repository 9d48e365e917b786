//! What a reference and a file of the command line mean, whatever is there under that name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Runs a command that must end by itself, and fast.
fn ends(scene: &Scene, line: &str) -> Run {
    let started = Instant::now();
    let mut command = scene.command("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_cnister")]).args(line.split_whitespace());
    let run = scene.run_command(&mut command);
    assert!(started.elapsed() < Duration::from_secs(19), "{line} waits");
    run
}

#[test]
fn no_verb_waits_for_what_is_no_file() {
    let scene = scene();
    scene.run_ok("sign --key cosign.key oci:layout");
    scene.run_ok("pull oci:layout -o oci-archive:image.tar");
    scene.run_ok("evidence oci:layout -o evidence.json");
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    fs::create_dir(scene.at("directory")).unwrap();
    let _listener = UnixListener::bind(scene.at("socket")).unwrap();
    make_fifo(&scene.at("fifo"));
    let policy = "policy.yaml";
    scene.write(policy, POLICY);
    scene.write("beside.yaml", POLICY.replace("cosign.pub", "fifo"));
    let verbs = [
        ("verify --key FILE oci:layout", 2),
        ("verify --policy FILE oci:layout", 2),
        ("sign --key FILE oci:layout", 2),
        ("build FILE -o other", 2),
        ("evidence oci:layout -o other.json --policy FILE", 2),
        ("install --key FILE --root root --dry-run oci:layout", 2),
        ("install --policy FILE --root root --dry-run oci:layout", 2),
        ("check --root root --no-probe --nad FILE", 2),
        ("explain --root root --file FILE", 2),
        ("verify --key cosign.pub oci-archive:FILE", 2),
        ("inspect oci-archive:FILE", 2),
        ("install --key cosign.pub --root root --dry-run oci-archive:FILE", 2),
        ("push oci-archive:FILE 127.0.0.1:1/a:1", 2),
    ];
    for (words, code) in verbs {
        for (file, what) in [
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
            ("directory", "a directory"),
            ("/dev/null", "a device"),
        ] {
            let line = words.replace("FILE", file);
            let run = ends(&scene, &line);
            let said = format!("{line}: {}{}", run.stdout, run.stderr);
            assert_eq!(run.code, code, "{said}");
            assert!(said.contains(&format!("it is {what}")), "{said}");
        }
    }
    // A directory of evidence is one.
    scene.write("staged/usr/share/cnister/bundle.json", "{}");
    for (file, what) in [("fifo", "a FIFO"), ("socket", "a socket"), ("/dev/null", "a device")] {
        let line = format!(
            "install --key cosign.pub --root root --dry-run --evidence {file} --from staged"
        );
        expect(&ends(&scene, &line), 2, &[&format!("evidence `{file}`"), &format!("it is {what}")]);
    }
    expect(&ends(&scene, "verify --policy beside.yaml oci:layout"), 2, &["`fifo`", "it is a FIFO"]);
    expect(&ends(&scene, "evidence oci:layout -o fifo"), 3, &["cannot write `fifo`"]);
    scene.run_ok("verify --policy policy.yaml oci:layout");
}

const POLICY: &str = "\
apiVersion: cnister.dev/v1
kind: Policy
rules:
  - name: all
    images: [\"**\"]
    authorities: [{ name: key, key: { file: cosign.pub } }]
";

#[test]
fn a_file_that_is_too_long_or_no_text_is_an_invalid_request() {
    let scene = scene();
    scene.run_ok("sign --key cosign.key oci:layout");
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    scene.write("policy.yaml", POLICY.replace("cosign.pub", "key"));
    scene.write("root/etc/cnister/policy.yaml", POLICY.replace("cosign.pub", "key"));
    // Each as a key, a key of a policy, and a key of the policy that the node keeps.
    let long = "it is longer than 1048576 bytes";
    let kept_long = "is longer than 1048576 bytes";
    type Way = (&'static str, fn(&Path), i32, [&'static str; 2]);
    let ways: [Way; 6] = [
        ("absent", |_| {}, 3, ["No such file"; 2]),
        (
            "too long",
            |path| fs::write(path, vec![b'#'; (1 << 20) + 1]).unwrap(),
            2,
            [long, kept_long],
        ),
        ("Latin-1", |path| fs::write(path, b"k\xe9y").unwrap(), 2, ["it is not UTF-8 text"; 2]),
        ("UTF-16", |path| fs::write(path, b"\xff\xfek\0").unwrap(), 2, ["it is UTF-16"; 2]),
        ("a FIFO", make_fifo, 2, ["is a FIFO"; 2]),
        ("a directory", |path| fs::create_dir(path).unwrap(), 2, ["is a directory"; 2]),
    ];
    for (what, make, code, [words, kept_words]) in ways {
        for (key, line, words) in [
            ("key", "verify --key key oci:layout", words),
            ("key", "verify --policy policy.yaml oci:layout", words),
            ("root/etc/cnister/key", "check --root root --no-probe", kept_words),
        ] {
            let path = scene.at(key);
            if !path.exists() {
                make(&path);
            }
            let run = ends(&scene, line);
            assert_eq!(run.code, code, "{what}: {line}: {}{}", run.stdout, run.stderr);
            expect(&run, code, &[words]);
        }
        for key in ["key", "root/etc/cnister/key"] {
            let path = scene.at(key);
            drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
        }
    }
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_pipe_that_somebody_writes_into_is_read() {
    let scene = scene();
    scene.run_ok("sign --key cosign.key oci:layout");
    scene.write("policy.yaml", POLICY);
    let program = env!("CARGO_BIN_EXE_cnister");
    for line in [
        format!("{program} verify --key <(cat cosign.pub) oci:layout"),
        format!(
            "{program} verify --policy <(sleep 2; cat policy.yaml | sed s,cosign.pub,$PWD/cosign.pub,) oci:layout"
        ),
        format!("cat cosign.pub | {program} verify --key /dev/stdin oci:layout"),
        format!(
            "mkfifo named && (cat cosign.pub > named &) && {program} verify --key named oci:layout"
        ),
    ] {
        let mut bash = scene.command("bash");
        bash.args(["-c", &line]).stdin(Stdio::null());
        expect(&scene.run_command(&mut bash), 0, &["yes: test 1.0.0"]);
    }
}
