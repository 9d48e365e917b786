//! SBOMs of real plugins, judged by the checkers of the field, and what is read from their
//! binaries, compared with what Go itself reads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cnister::attest::{
    Copyright, Description, Download, Inventory, Licences, ModuleDescription, Party, Plugin,
    Production, Subject, cyclonedx, spdx3, spdx23,
};
use cnister::binary::{BuildInfo, Elf};
use cnister::model::{Digest, Sha512};
use serde_json::Value;
use support::{
    Run, Scene, digest_of, image, note_peer, peer, peers_folder, peers_required, registries,
    say_skipped,
};

/// The licences of what upstream's plugins link, and the first notice in each, as the modules' own
/// files have them.
const LICENCES: [(&str, &str, &str); 10] = [
    ("github.com/alexflint/go-filemutex", "MIT", "Copyright (c) 2010-2017 Alex Flint."),
    (
        "github.com/cyphar/filepath-securejoin",
        "BSD-3-Clause AND MPL-2.0",
        "Copyright (C) 2014-2015 Docker Inc & Go Authors. All rights reserved.",
    ),
    ("github.com/godbus/dbus", "BSD-2-Clause", "Copyright (c) 2013, Georg Reinke"),
    ("github.com/insomniacslk/dhcp", "BSD-3-Clause", "Copyright (c) 2018, Andrea Barberio"),
    ("github.com/josharian/native", "MIT", "Copyright 2020 Josh Bleecher Snyder"),
    ("github.com/mattn/go-shellwords", "MIT", "Copyright (c) 2017 Yasuhiro Matsumoto"),
    ("github.com/mdlayher/", "MIT", "Copyright (C) 2022 Matt Layher"),
    ("github.com/pierrec/lz4", "BSD-3-Clause", "Copyright (c) 2015, Pierre Curto"),
    ("github.com/pkg/errors", "BSD-2-Clause", "Copyright (c) 2015, Dave Cheney"),
    ("golang.org/x/", "BSD-3-Clause", "Copyright 2009 The Go Authors."),
];

fn described(path: &str) -> Description {
    let known = LICENCES.iter().find(|(start, ..)| path.starts_with(start));
    let (licence, copyright) = match known {
        Some((_, licence, notice)) => (*licence, Copyright::Notice((*notice).to_owned())),
        None if path.starts_with("github.com/u-root/") => ("BSD-3-Clause", Copyright::NoNotice),
        None => ("Apache-2.0", Copyright::NoNotice),
    };
    Description { licences: Licences::both(licence.parse().unwrap()), copyright, supplier: None }
}

/// The programs of a folder, by name.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file());
    paths
}

fn build_info(bytes: &[u8]) -> Option<BuildInfo> {
    BuildInfo::of(&Elf::parse(bytes).ok()?).unwrap()
}

fn plugin(path: &Path) -> Plugin {
    let bytes = fs::read(path).unwrap();
    Plugin {
        name: path.file_name().unwrap().to_str().unwrap().parse().unwrap(),
        version: None,
        digest: Digest::of(&bytes),
        sha512: Sha512::of(&bytes),
        size: bytes.len() as u64,
        go: build_info(&bytes),
        description: Description::default(),
        source: None,
        download: None,
        verification: None,
        production: Production::Taken,
    }
}

/// An inventory of what programs say of themselves, which is all that is known.
fn inventory(folder: &Path) -> Option<Inventory> {
    let plugins: Vec<Plugin> = programs(folder).iter().map(|path| plugin(path)).collect();
    if plugins.is_empty() {
        assert!(!peers_required(), "{} has no plugins", folder.display());
        say_skipped(&format!("{} has no plugins", folder.display()));
        return None;
    }
    Some(Inventory {
        name: "test".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        platform: "linux/amd64".parse().unwrap(),
        subject: Subject::of(b"{}"),
        created: 1_770_000_000,
        author: Party::new("Acme Networks", Some("https://acme.example"), None).ok(),
        source: None,
        location: None,
        plugins,
        modules: Vec::new(),
    })
}

/// Upstream's plugins, with what is known of their sources.
fn upstream() -> Option<Inventory> {
    let mut inventory = inventory(&peers_folder().join("plugins"))?;
    inventory.source = Some("https://acme.example/bundles.git".to_owned());
    inventory.location = Some("oci://registry.acme.example/cni/test".to_owned());
    let mut modules = BTreeSet::new();
    for plugin in &mut inventory.plugins {
        plugin.description = described("github.com/containernetworking/plugins");
        plugin.download = Some(Download {
            location: "https://acme.example/releases/cni-plugins.tgz".to_owned(),
            member: Some(format!("./{}", plugin.name)),
            sha256: Some(Digest::of(b"archive")),
            sha512: Some(Sha512::of(b"archive")),
        });
        plugin.verification = Some("checksum-independent".to_owned());
        let linked = plugin.go.iter().flat_map(|go| &go.modules);
        modules.extend(linked.map(|module| (module.path.clone(), module.version.clone().unwrap())));
    }
    inventory.modules = modules
        .into_iter()
        .map(|(path, version)| {
            let description = described(&path);
            ModuleDescription { path, version, description }
        })
        .collect();
    Some(inventory)
}

fn run(scene: &Scene, program: &Path, arguments: &[&str]) -> Run {
    let mut command = scene.command(program);
    scene.run_command(command.args(arguments))
}

/// Has SPDX 3.0.1 judged by one of the standards.
fn conformance(scene: &Scene, standard: &str) -> Option<Run> {
    let checker = peer("ntia-checker")?;
    Some(run(scene, &checker, &["-s", "spdx3", "-c", standard, "-v", "spdx3.json"]))
}

fn write_all(scene: &Scene, inventory: &Inventory) {
    for (name, bytes) in [
        ("cyclonedx.json", cyclonedx(inventory)),
        ("spdx23.json", spdx23(inventory)),
        ("spdx3.json", spdx3(inventory)),
    ] {
        fs::write(scene.at(name), bytes).unwrap();
    }
}

#[test]
fn upstream_plugins_pass_every_checker() {
    let Some(inventory) = upstream() else { return };
    let scene = Scene::new();
    write_all(&scene, &inventory);
    for standard in ["ntia", "fsct3-min", "bsi"] {
        let Some(run) = conformance(&scene, standard) else { return };
        assert_eq!(run.code, 0, "{standard}: {}{}", run.stdout, run.stderr);
        // What the guideline leaves open is not said: effective licences and the like.
        let missing = run.stdout.lines().filter(|line| line.ends_with("False"));
        let missing: Vec<&str> = missing.filter(|line| !line.contains("(Optional)")).collect();
        assert_eq!(missing, Vec::<&str>::new(), "{standard}");
    }
    let Some(checker) = peer("ntia-checker") else { return };
    let run = run(&scene, &checker, &["-s", "spdx2", "-c", "ntia", "spdx23.json"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    valid_cyclonedx(&scene);
    valid_spdx23(&scene);
}

#[test]
fn plugins_that_say_little_are_described_validly() {
    let Some(inventory) = inventory(Path::new("/usr/lib/cni")) else { return };
    let scene = Scene::new();
    write_all(&scene, &inventory);
    valid_cyclonedx(&scene);
    valid_spdx23(&scene);
    // The same checkers see what is unknown.
    for standard in ["ntia", "fsct3-min", "bsi"] {
        let Some(run) = conformance(&scene, standard) else { return };
        assert_eq!(run.code, 1, "{standard}: {}{}", run.stdout, run.stderr);
    }
}

/// Texts that are more than text somewhere: on a terminal, on a page, in an address.
const HOSTILE: [&str; 6] = [
    "</script><script>alert(1)</script>",
    "a\u{1b}[2J\u{202e}b\r\nc",
    "https://acme.example/a b\"><img src=x>",
    "NOASSERTION",
    "\",\"bomFormat\":\"",
    "%zz#?&@:/../..//",
];

#[test]
fn hostile_texts_stay_texts() {
    let Some(mut inventory) = upstream() else { return };
    for (number, plugin) in inventory.plugins.iter_mut().enumerate() {
        let text = HOSTILE[number % HOSTILE.len()];
        plugin.version = Some(text.to_owned());
        plugin.verification = Some(text.to_owned());
        plugin.source = Some(format!("https://acme.example/{text}"));
        plugin.description.copyright = Copyright::Notice(text.to_owned());
        plugin.download = Some(Download {
            location: text.to_owned(),
            member: Some(text.to_owned()),
            sha256: None,
            sha512: None,
        });
        if let Some(go) = &mut plugin.go {
            for module in &mut go.modules {
                module.version = Some(cnister::model::visible(text).into_owned());
                module.path += &cnister::model::visible(text);
            }
        }
    }
    let scene = Scene::new();
    write_all(&scene, &inventory);
    valid_cyclonedx(&scene);
    valid_spdx23(&scene);
    let Some(_) = conformance(&scene, "ntia") else { return };
    for name in ["cyclonedx.json", "spdx23.json", "spdx3.json"] {
        let text = fs::read_to_string(scene.at(name)).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\n']), "{name}");
        assert!(!text.contains("\\u001b"), "{name}");
    }
}

fn valid_cyclonedx(scene: &Scene) {
    let Some(python) = peer("sbom-python") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sbom/strict.py");
    let found = run(scene, &python, &[script, "cyclonedx.json"]);
    assert_eq!((found.code, found.stdout.as_str()), (0, "valid\n"), "{}", found.stderr);
    let text = fs::read_to_string(scene.at("cyclonedx.json")).unwrap();
    scene.write("altered.json", text.replacen("\"bom-ref\"", "\"bomRef\"", 1));
    let found = run(scene, &python, &[script, "altered.json"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
}

fn valid_spdx23(scene: &Scene) {
    let Some(checker) = peer("pyspdxtools") else { return };
    let found = run(scene, &checker, &["-i", "spdx23.json"]);
    assert_eq!(found.code, 0, "{}{}", found.stdout, found.stderr);
    let text = fs::read_to_string(scene.at("spdx23.json")).unwrap();
    scene.write("altered.spdx.json", text.replacen("SPDXRef-bundle", "SPDXRef-b u", 1));
    let found = run(scene, &checker, &["-i", "altered.spdx.json"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
}

#[test]
fn a_bundle_has_one_sbom_however_often_it_is_described() {
    let Some(inventory) = upstream() else { return };
    let mut turned = inventory.clone();
    turned.plugins.reverse();
    for write in [cyclonedx, spdx23, spdx3] {
        let bytes = write(&inventory);
        assert_eq!(write(&turned), bytes);
        // Eighteen plugins with twenty-three modules.
        assert!(bytes.len() < 150_000, "{}", bytes.len());
    }
}

/// A program as `go version -m` describes it, but for its settings.
fn as_go_prints(info: &BuildInfo) -> String {
    let mut lines = vec![format!("\tpath\t{}", info.path)];
    let main = info.main.iter().map(|module| ("mod", module));
    for (kind, module) in main.chain(info.modules.iter().map(|module| ("dep", module))) {
        lines.push(line(kind, &module.path, module.version.as_ref(), module.sum.as_ref()));
        if let Some(other) = module.replacement.as_deref() {
            lines.push(line("=>", &other.path, other.version.as_ref(), other.sum.as_ref()));
        }
    }
    lines.join("\n")
}

fn line(kind: &str, path: &str, version: Option<&String>, sum: Option<&String>) -> String {
    let version = version.map_or("", String::as_str);
    format!("\t{kind}\t{path}\t{version}\t{}", sum.map_or("", String::as_str))
}

#[test]
fn go_reads_the_same_from_every_program() {
    let Some(go) = peer("go") else { return };
    let folders = ["bin", "plugins"].map(|name| peers_folder().join(name));
    let mut compared = 0;
    for path in folders
        .iter()
        .flat_map(|folder| programs(folder))
        .chain(programs(Path::new("/usr/lib/cni")))
    {
        let Some(info) = build_info(&fs::read(&path).unwrap()) else { continue };
        let output = Command::new(&go).args(["version", "-m"]).arg(&path).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let (first, rest) = printed.split_once('\n').unwrap();
        assert_eq!(first, format!("{}: {}", path.display(), info.go));
        let lines =
            rest.lines().filter(|line| !line.starts_with("\tbuild\t") && !line.trim().is_empty());
        let modules: Vec<&str> = lines.map(str::trim_end).collect();
        let ours = as_go_prints(&info).replace("\t(devel)", "");
        let ours: Vec<&str> = ours.lines().map(str::trim_end).collect();
        let modules: Vec<String> =
            modules.into_iter().map(|line| line.replace("\t(devel)", "")).collect();
        assert_eq!(ours, modules, "{}", path.display());
        let settings = rest.lines().filter_map(|line| line.strip_prefix("\tbuild\t"));
        let settings: BTreeSet<&str> = settings.filter(|line| !line.contains(['"', '`'])).collect();
        for line in settings {
            let (key, value) = line.split_once('=').unwrap();
            assert_eq!(info.setting(key), Some(value), "{} {key}", path.display());
        }
        compared += 1;
    }
    assert!(compared > 0 || !peers_required(), "no program was compared");
}

/// The shipped definition says what Debian's programs do not: nothing is added here.
#[test]
fn the_shipped_definition_of_debians_plugins_passes_every_checker() {
    let debian = Path::new("/usr/lib/cni");
    if !debian.join("macvlan").is_file() {
        return note_peer("containernetworking-plugins", false);
    }
    let scene = Scene::new();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/bundles/debian.yaml"));
    scene.write("bundle.yaml", text.unwrap() + "tool: none\n");
    scene.run_ok("build bundle.yaml -o layout --sbom spdx-3.0.1,spdx-2.3,cyclonedx");
    for (format, file) in
        [("spdx-3.0.1", "spdx3.json"), ("spdx-2.3", "spdx23.json"), ("cyclonedx", "cyclonedx.json")]
    {
        let printed = scene.run_ok(&format!("inspect oci:layout --sbom {format}")).stdout;
        assert!(printed.contains("Debian Go Packaging Team"), "{format}");
        scene.write(file, printed);
    }
    valid_cyclonedx(&scene);
    valid_spdx23(&scene);
    for standard in ["ntia", "fsct3-min", "bsi"] {
        let Some(run) = conformance(&scene, standard) else { return };
        assert_eq!(run.code, 0, "{standard}: {}{}", run.stdout, run.stderr);
        let missing = run.stdout.lines().filter(|line| line.ends_with("False"));
        let missing: Vec<&str> = missing.filter(|line| !line.contains("(Optional)")).collect();
        assert_eq!(missing, Vec::<&str>::new(), "{standard}");
    }
    // Another author is named on the command line; who is none is refused.
    scene.run_ok("build bundle.yaml -o other --sbom cyclonedx --author Acme<cni@acme.example>");
    let printed = scene.run_ok("inspect oci:other --sbom cyclonedx").stdout;
    assert!(printed.contains("cni@acme.example"), "{printed}");
    let run = scene.run("build bundle.yaml -o third --sbom cyclonedx --author <cni@acme.example>");
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("is not a name"), "{}", run.stderr);
}

/// What Apache's licence begins with.
const APACHE: &str = "Apache License\nVersion 2.0, January 2004\n\nTERMS AND CONDITIONS FOR USE, \
    REPRODUCTION, AND DISTRIBUTION\n";

#[test]
fn the_licence_of_a_release_is_read_from_its_own_files() {
    let Some(plugins) = image::plugins() else { return };
    let scene = Scene::new();
    scene.write("release/LICENSE", APACHE);
    scene.write("release/NOTICE", "Copyright 2014-2026 CNI authors\n");
    scene.put_program(&plugins.join("macvlan"), "release/macvlan");
    let mut tar = Command::new("tar");
    tar.args(["-C", "release", "-czf", "release.tgz", "."]).current_dir(scene.path());
    assert!(tar.status().unwrap().success());
    let define = |source: &str| {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
             platforms: [linux/amd64]\nsources: [{{name: here, {source}}}]\nplugins: [macvlan]\n\
             tool: none\n"
        );
        scene.write("bundle.yaml", text);
    };
    let sbom = || {
        drop(fs::remove_file(scene.at("bundle.lock.json")));
        drop(fs::remove_dir_all(scene.at("layout")));
        scene.run_ok("lock bundle.yaml --cache-dir cache --no-probe");
        scene.run_ok("build bundle.yaml --cache-dir cache -o layout --sbom spdx-2.3");
        let printed = scene.run_ok("inspect oci:layout --sbom spdx-2.3").stdout;
        let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let packages = document["packages"].as_array().unwrap().clone();
        let plugin = packages.iter().find(|it| it["name"] == "macvlan").unwrap().clone();
        (plugin["licenseDeclared"].clone(), plugin["copyrightText"].clone())
    };
    for source in ["archive: release.tgz", "directory: release"] {
        define(source);
        assert_eq!(sbom(), ("Apache-2.0".into(), "Copyright 2014-2026 CNI authors".into()));
        let locked = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
        assert!(locked.contains("\"file\": \"LICENSE\""), "{locked}");
        assert!(!locked.contains("\"supplier\""), "{locked}");
        // What the definition says goes first.
        define(&format!("{source}, license: MIT, copyright: 2014 A, supplier: Acme <a@b.example>"));
        assert_eq!(sbom(), ("MIT".into(), "2014 A".into()));
        let locked = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
        assert!(locked.contains("\"license\": \"MIT\""), "{locked}");
        assert!(locked.contains("\"supplier\": \"Acme <a@b.example>\""), "{locked}");
        // A source that is described otherwise is the same source.
        define(source);
        scene.run_ok("lock --check bundle.yaml");
    }
    // A lock that says something else of a directory is refused.
    define("directory: release");
    scene.run_ok("lock bundle.yaml --cache-dir cache --no-probe");
    scene.write("release/LICENSE", "All rights reserved.\n");
    let run = scene.run("build bundle.yaml --cache-dir cache -o other");
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("its licence is none, the lock says Apache-2.0"), "{}", run.stderr);
    assert_eq!(sbom(), ("NOASSERTION".into(), "NOASSERTION".into()));
}

/// What a build attaches is printed, described by the checkers, and travels with the image; the
/// digest of the image does not depend on it.
#[test]
fn what_a_build_attaches_is_printed_and_travels_with_the_image() {
    let Some(plugins) = image::plugins() else { return };
    let scene = Scene::new();
    scene.write(
        "bundle.yaml",
        format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\nplatforms: [linux/amd64]\n\
             sources: [{{name: debian, directory: {}}}]\nplugins: [bridge, macvlan]\ntool: none\n",
            plugins.display()
        ),
    );
    let plain = scene.run_ok("build bundle.yaml -o plain");
    let with = |layout: &str| {
        let formats = "--sbom cyclonedx,spdx-2.3,spdx-3.0.1";
        scene.run_ok(&format!("build bundle.yaml -o {layout} {formats}"))
    };
    assert_eq!(digest_of(&with("layout")), digest_of(&plain));
    with("again");
    assert_eq!(scene.tree("again"), scene.tree("layout"));
    // A second build into a layout adds nothing.
    with("again");
    assert_eq!(scene.tree("again"), scene.tree("layout"));
    for place in ["oci:layout", "oci-archive:archive.tar"] {
        if place.contains("archive") {
            scene.run_ok("pull oci:layout -o oci-archive:archive.tar");
        }
        for (format, file) in [
            ("cyclonedx", "cyclonedx.json"),
            ("spdx-2.3", "spdx23.json"),
            ("spdx-3.0.1", "spdx3.json"),
        ] {
            let printed = scene.run_ok(&format!("inspect {place} --sbom {format}")).stdout;
            assert!(printed.contains("github.com/containernetworking/plugins"), "{printed}");
            assert!(printed.contains("macvlan") && !printed.contains("host-local"), "{printed}");
            scene.write(file, printed);
        }
    }
    valid_cyclonedx(&scene);
    valid_spdx23(&scene);
    for (words, code, expected) in [
        (
            "inspect oci:plain --sbom cyclonedx",
            2,
            "no cyclonedx document of at most 4194304 bytes is attached to sha256:",
        ),
        ("inspect oci:layout --sbom cyclonedx --platform linux/arm64", 2, "only linux/amd64"),
        ("inspect oci:layout --sbom swid", 2, "expected `cyclonedx`, `spdx-2.3` or `spdx-3.0.1`"),
    ] {
        let run = scene.run(words);
        assert_eq!(run.code, code, "{}", run.stdout);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
}

/// The Go modules that a document of CycloneDX lists, by `path` of a component: their paths and
/// versions.
fn go_modules(text: &str, path: impl Fn(&Value) -> String) -> BTreeSet<(String, String)> {
    let document: Value = serde_json::from_str(text).unwrap();
    let components = document["components"].as_array().unwrap().iter();
    let of_go = components
        .filter(|it| it["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:golang/")));
    let modules = of_go.map(|it| {
        let version = it["version"].as_str().unwrap();
        (path(it), version.strip_prefix("go").unwrap_or(version).to_owned())
    });
    modules.collect()
}

#[test]
fn syft_finds_the_modules_of_our_image_that_our_sbom_lists() {
    let (Some(plugins), Some(syft)) = (image::plugins(), peer("syft")) else { return };
    let scene = Scene::new();
    let names: Vec<_> = programs(&plugins);
    let names: Vec<_> =
        names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    scene.write(
        "bundle.yaml",
        format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\nplatforms: [linux/amd64]\n\
             sources: [{{name: here, directory: {}}}]\nplugins: [{}]\ntool: none\n",
            plugins.display(),
            names.join(", ")
        ),
    );
    scene.run_ok("build bundle.yaml -o layout --sbom cyclonedx");
    let ours = scene.run_ok("inspect oci:layout --sbom cyclonedx").stdout;
    let Some(server) = registries::docker_registry(scene.path()) else { return };
    let reference = format!("{}/cni/test:1.0.0", server.host);
    scene.run_ok(&format!("push oci:layout {reference}"));
    let mut command = scene.command(syft);
    command.args(["scan", &format!("registry:{reference}"), "--quiet", "-o", "cyclonedx-json"]);
    command.env("SYFT_CHECK_FOR_APP_UPDATE", "false");
    command.env("SYFT_REGISTRY_INSECURE_USE_HTTP", "true");
    let theirs = scene.run_command(&mut command);
    assert_eq!(theirs.code, 0, "{}", theirs.stderr);
    // syft's package URLs end at the third part of a path, and our plugins are components of their
    // own, with the module and the path in it as their URL.
    let of_url = |it: &Value| {
        let path = it["purl"].as_str().unwrap().trim_start_matches("pkg:golang/");
        path.split('@').next().unwrap().to_owned()
    };
    let ours = go_modules(&ours, of_url);
    let theirs = go_modules(&theirs.stdout, |it| it["name"].as_str().unwrap().to_owned());
    assert!(ours.len() > 10, "{ours:?}");
    assert_eq!(ours, theirs);
}
