//! Published programs that are built again from their source, and compared.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use support::source::{another_go, go};
use support::{Run, Scene, module_proxy};

const GO_MOD: &str = "module example.com/cni\n\ngo 1.21\n";
const MAIN: &str = "package main\n\nvar version = \"unset\"\n\nfunc main() { println(version) }\n";
/// A program that needs another module, which is in `vendor`.
const VENDORED: [(&str, &str); 4] = [
    ("go.mod", "module example.com/cni\n\ngo 1.21\n\nrequire example.com/lib v1.2.3\n"),
    (
        "plugins/own/main.go",
        "package main\n\nimport \"example.com/lib\"\n\nvar version = \"unset\"\n\n\
         func main() { println(version, lib.Name()) }\n",
    ),
    ("vendor/modules.txt", "# example.com/lib v1.2.3\n## explicit; go 1.21\nexample.com/lib\n"),
    ("vendor/example.com/lib/lib.go", "package lib\n\nfunc Name() string { return \"lib\" }\n"),
];

/// Builds a program with the plain command and nothing else of this machine.
fn build(scene: &Scene, program: &Path, folder: &Path, arguments: &[&str]) {
    let mut command = scene.command(program);
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build");
    fs::create_dir_all(&shared).unwrap();
    command.args(arguments).current_dir(folder).env("GOCACHE", shared);
    command.env("GOPATH", scene.at("elsewhere")).env("GOBIN", scene.at("published"));
    command.env("GOPROXY", format!("file://{}", scene.at("proxy").display()));
    command.env("GOFLAGS", "-modcacherw").env("GOSUMDB", "off").env("CGO_ENABLED", "0");
    let output = command.env("GOTOOLCHAIN", "local").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Packs files into an archive, and returns its SHA-256.
fn pack(scene: &Scene, name: &str, files: &[(String, Vec<u8>)]) -> String {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    let bytes = archive.into_inner().unwrap();
    scene.write(name, &bytes);
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packs what was built.
fn publish(scene: &Scene) {
    let files = fs::read_dir(scene.at("published")).unwrap().map(|it| it.unwrap().path());
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
    };
    let mut files: Vec<_> = files.map(named).collect();
    files.sort();
    pack(scene, "published.tar", &files);
}

fn definition(plugins: &str, more: &str, recipe: &str) -> String {
    format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/{}]\nsources:\n  - name: upstream\n    archive:\n      \
         from: published.tar\n      version: v1.0.0\n{recipe}plugins: [{plugins}]\ntool: none\n\
         {more}",
        architecture()
    )
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn command(scene: &Scene, line: &str) -> Command {
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command.args(line.split_whitespace()).args(["--cache-dir", "cache"]);
    command.arg("--goproxy").arg(format!("file://{}", scene.at("proxy").display()));
    command
}

fn reproduce(scene: &Scene) -> Run {
    scene.run_command(&mut command(scene, "lock --reproduce bundle.yaml"))
}

fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

fn lock_of(scene: &Scene) -> serde_json::Value {
    serde_json::from_slice(&fs::read(scene.at("bundle.lock.json")).unwrap()).unwrap()
}

/// What must not be left behind.
fn leftovers(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(scene.path()).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("cnister-")).collect()
}

/// A scene with a module of two programs, which were built from it elsewhere, with these flags of
/// the linker. Returns the recipe, and the sums of the module's two versions.
fn module(release: &str, program: &Path, linker: &str) -> (Scene, String, [String; 2]) {
    let scene = Scene::new();
    let other = MAIN.replace("unset", "other");
    let files = [
        ("go.mod", GO_MOD),
        ("plugins/own/main.go", MAIN),
        ("plugins/two/main.go", other.as_str()),
    ];
    for version in ["v1.0.0", "v1.0.1"] {
        module_proxy::publish(&scene.at("proxy"), "example.com/cni", version, &files);
    }
    scene.write("proxy/example.com/cni/@v/list", "v1.0.0\nv1.0.1\n");
    fs::create_dir(scene.at("empty")).unwrap();
    for name in ["own", "two"] {
        let package = format!("example.com/cni/plugins/{name}@v1.0.0");
        let flags = ["-trimpath", "-tags=b,a", linker];
        let arguments = [&["install"][..], &flags, &[&package]].concat();
        build(&scene, program, &scene.at("empty"), &arguments);
    }
    publish(&scene);
    let package = "example.com/cni@v1.0.1";
    build(&scene, program, &scene.at("empty"), &["mod", "download", package]);
    let sums = ["v1.0.0", "v1.0.1"].map(|version| {
        let folder = scene.at("elsewhere/pkg/mod/cache/download/example.com/cni/@v");
        fs::read_to_string(folder.join(format!("{version}.ziphash"))).unwrap().trim().to_owned()
    });
    let recipe = format!(
        "      reproduce:\n        go:\n          module: example.com/cni\n          \
         version: v1.0.0\n          toolchain: {release}\n          \
         packages: \"./plugins/{{plugin}}\"\n          tags: [b, a]\n          strip: true\n          \
         variables: {{main.version: \"{{version}}\"}}\n          sumdb: off\n        \
         sum: {}\n",
        sums[0]
    );
    (scene, recipe, sums)
}

#[test]
fn programs_of_a_module_are_reproduced_and_the_lock_says_so() {
    let Some((program, release)) = go() else { return };
    let linker = "-ldflags=-s -w -X 'main.version=v1.0.0'";
    let (scene, recipe, sums) = module(&release, &program, linker);
    let good = definition("own, two", "gates: {minLevel: reproduced}\n", &recipe);
    scene.write("bundle.yaml", &good);
    // Without the statement, the level is not reached.
    let action = "expected `reproduced`; write a recipe (`reproduce`) into its source";
    expect(&scene.run_command(&mut command(&scene, "lock bundle.yaml")), 1, &[action]);
    let platform = format!("linux/{}", architecture());
    let run = reproduce(&scene);
    let (own, two) = (format!("reproduced: own {platform}"), format!("reproduced: two {platform}"));
    expect(&run, 0, &[&own, &two, "level reproduced", "wrote `bundle.lock.json`, 2 pinned files"]);
    expect(&run, 0, &[&format!("compiling own for {platform} by its recipe")]);
    let first = lock_of(&scene);
    let statement = &first["plugins"][0]["reproduced"];
    assert_eq!(statement["digest"], first["plugins"][0]["digest"]);
    assert_eq!(statement["recipe"]["package"], "example.com/cni/plugins/own");
    assert_eq!(statement["recipe"]["build"]["toolchain"], format!("go{release}"));
    assert_eq!(statement["moduleSum"], statement["recipe"]["sum"]);
    // It stays while nothing changes, and is the word of the lock.
    let kept = scene.run_command(&mut command(&scene, "lock bundle.yaml"));
    expect(&kept, 0, &["`bundle.lock.json` is unchanged"]);
    assert_eq!(lock_of(&scene), first);
    let word = format!(
        "the level `reproduced` of `own` on {platform} and 1 other is the word of the lock"
    );
    expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: ", &word]);
    expect(&scene.run("build bundle.yaml --cache-dir cache -o layout"), 0, &[]);
    let facts = scene.run("inspect oci:layout --format json");
    assert!(facts.stdout.contains("\"level\": \"reproduced\""), "{}", facts.stdout);
    // An edited lock: other bytes, and a level without the statement.
    let text = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    let digest = first["plugins"][0]["digest"].as_str().unwrap();
    let zeros = format!("sha256:{}", "0".repeat(64));
    scene.write("bundle.lock.json", text.replacen(digest, &zeros, 1));
    expect(&scene.run("lock --check bundle.yaml"), 1, &["it was reproduced as sha256:"]);
    expect(
        &scene.run("build bundle.yaml --cache-dir cache -o other"),
        2,
        &["it was reproduced as"],
    );
    let mut lock = first.clone();
    lock["plugins"][0].as_object_mut().unwrap().remove("reproduced");
    scene.write("bundle.lock.json", lock.to_string());
    let refused = "the lock says `reproduced` of `own`";
    expect(&scene.run("lock --check bundle.yaml"), 1, &[refused, "gives `tofu`"]);
    expect(&scene.run("build bundle.yaml --cache-dir cache -o other"), 2, &[refused]);
    // Another recipe than the one that was followed.
    scene.write("bundle.lock.json", &text);
    scene.write("bundle.yaml", good.replace("strip: true", "strip: false"));
    let otherwise = "was reproduced from `example.com/cni@v1.0.0`, package";
    expect(&scene.run("lock --check bundle.yaml"), 1, &[otherwise]);
    expect(&scene.run("build bundle.yaml --cache-dir cache -o other"), 2, &[otherwise]);
    let falls = scene.run_command(&mut command(&scene, "lock bundle.yaml"));
    expect(&falls, 1, &["its level falls from reproduced to tofu"]);
    // Followed, it leads to something else, which is named; nothing is written.
    let differs = reproduce(&scene);
    let no = format!("no: `own` on {platform} is not what its recipe makes");
    let flags = "build setting -ldflags";
    expect(
        &differs,
        1,
        &[&no, "section .symtab: none published, ", "`bundle.lock.json` was not changed"],
    );
    assert!(!differs.stdout.contains(flags), "-trimpath hides them: {}", differs.stdout);
    // Another version has another sum.
    let version = |version: &str| format!("version: {version}\n          toolchain");
    let other = good.replace(&version("v1.0.0"), &version("v1.0.1")).replace(&sums[0], &sums[1]);
    scene.write("bundle.yaml", other.replace("[own, two]", "[own]"));
    let words = "version of the main module: `v1.0.0` published, `v1.0.1` rebuilt";
    expect(&reproduce(&scene), 1, &[&no, words]);
    assert_eq!(fs::read_to_string(scene.at("bundle.lock.json")).unwrap(), text);
    // For programs, the same as JSON.
    scene.write("bundle.yaml", good.replace("tags: [b, a]", "tags: [c]"));
    let json =
        scene.run_command(&mut command(&scene, "lock --reproduce bundle.yaml --format json"));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["reproductions"][0]["isSame"], false);
    let differences = json["reproductions"][0]["differences"].to_string();
    let tags = "build setting -tags: `b,a` published, `c` rebuilt";
    assert!(differences.contains(tags), "{differences}");
    // The recipe pins the module.
    scene.write("bundle.yaml", good.replace(&sums[0], &sums[1]));
    let pinned = format!("the sum of the module is {}, and the recipe pins {}", sums[0], sums[1]);
    expect(&reproduce(&scene), 2, &[&pinned]);
    assert_eq!(leftovers(&scene), [""; 0]);
}

#[test]
fn a_module_is_built_with_the_flags_of_the_linker_that_the_recipe_spells() {
    let Some((program, release)) = go() else { return };
    let linker = "-ldflags=-s -w -X main.version=v1.0.0";
    let (scene, recipe, _) = module(&release, &program, linker);
    let own = "          strip: true\n          variables: {main.version: \"{version}\"}\n";
    assert!(recipe.contains(own), "{recipe}");
    let text = "        ldflags: -s -w -X main.version={version}\n";
    let spelled = format!("{}{text}", recipe.replace(own, ""));
    scene.write("bundle.yaml", definition("own", "", &spelled));
    expect(&reproduce(&scene), 0, &["reproduced: own linux/", "level reproduced"]);
    scene.write("bundle.yaml", definition("own", "", &spelled.replace("-s -w", "-w -s")));
    expect(&reproduce(&scene), 1, &["is not what its recipe makes", "Go build ID: `"]);
}

/// A scene with a program that was built from a directory with its `vendor`, which is gone. Returns
/// the recipe.
fn vendored(release: &str, program: &Path) -> (Scene, String) {
    let scene = Scene::new();
    for (name, content) in VENDORED {
        scene.write(&format!("checkout/{name}"), content);
    }
    let checkout = scene.at("checkout");
    let flags = [
        "build",
        "-ldflags=-extldflags -static -X main.version=v1.0.0",
        "-o=../published/own",
        "./plugins/own",
    ];
    build(&scene, program, &checkout, &flags);
    publish(&scene);
    fs::remove_dir_all(&checkout).unwrap();
    let files = VENDORED.map(|(name, content)| (format!("cni-1.0.0/{name}"), content.into()));
    let digest = pack(&scene, "source.tar", &files);
    let recipe = format!(
        "      reproduce:\n        vendored:\n          from: source.tar\n          \
         sha256: {digest}\n          inside: cni-1.0.0\n          toolchain: {release}\n          \
         packages: \"./plugins/{{plugin}}\"\n        \
         ldflags: -extldflags -static -X main.version={{version}}\n        directory: {}\n",
        checkout.display()
    );
    (scene, recipe)
}

#[test]
fn a_vendored_program_is_reproduced_where_it_was_built_and_nowhere_else() {
    let Some((program, release)) = go() else { return };
    let (scene, recipe) = vendored(&release, &program);
    let good = definition("own", "", &recipe);
    scene.write("bundle.yaml", &good);
    let run = reproduce(&scene);
    expect(&run, 0, &["reproduced: own linux/", "level reproduced"]);
    let statement = &lock_of(&scene)["plugins"][0]["reproduced"];
    assert_eq!(statement["recipe"]["directory"], scene.at("checkout").to_str().unwrap());
    assert_eq!(statement["recipe"]["inside"], "cni-1.0.0");
    assert!(!scene.at("checkout").exists());
    let lock = fs::read(scene.at("bundle.lock.json")).unwrap();
    let at = |name: &str| format!("directory: {}", scene.at(name).display());
    let other = "path of a source file: `DIR/checkout/plugins/own/main.go` published, \
                 `DIR/elsewhere/plugins/own/main.go` rebuilt";
    for (from, to, words) in [
        (at("checkout").as_str(), at("elsewhere").as_str(), &[other, "section .gopclntab: "][..]),
        (
            "ldflags: -extldflags -static -X main.version={version}",
            "ldflags: -s -X main.version={version}",
            &[
                "build setting -ldflags: `-extldflags -static -X main.version=v1.0.0` published, `-s -X main.version=v1.0.0` rebuilt",
                "Go build ID: `",
            ],
        ),
        // With -trimpath.
        (
            &format!("        {}\n", at("checkout")),
            "",
            &["build setting -trimpath: none published, `true` rebuilt"],
        ),
    ] {
        scene.write("bundle.yaml", good.replacen(from, to, 1));
        assert_ne!(good.replacen(from, to, 1), good, "{from}");
        let found = reproduce(&scene);
        expect(&found, 1, &["is not what its recipe makes"]);
        expect(&found, 1, words);
        assert_eq!(fs::read(scene.at("bundle.lock.json")).unwrap(), lock);
    }
    assert_eq!(leftovers(&scene), [""; 0]);
}

#[test]
fn a_program_by_another_release_of_go_is_not_reproduced() {
    const OTHER: &str = "1.25.7";
    let Some((_, release)) = go() else { return };
    let Some(program) = another_go(OTHER) else { return };
    let (scene, recipe) = vendored(&release, &program);
    scene.write("bundle.yaml", definition("own", "", &recipe));
    let found = reproduce(&scene);
    let words = format!("Go version: `go{OTHER}` published, `go{release}` rebuilt");
    expect(&found, 1, &["is not what its recipe makes", &words]);
    assert!(!scene.at("bundle.lock.json").exists());
    assert_eq!(leftovers(&scene), [""; 0]);
}

#[test]
fn a_recipe_that_cannot_be_followed_is_named() {
    let Some((program, release)) = go() else { return };
    let (scene, recipe) = vendored(&release, &program);
    let good = definition("own", "", &recipe);
    let prefix = "cannot compile `own` for linux/";
    for (from, to, code, words) in [
        ("toolchain: 1.", "toolchain: 1.9", 3, ", expected go1.9"),
        ("./plugins/{plugin}", "./absent", 3, "`go build` failed: "),
        ("./plugins/{plugin}", "./vendor/example.com/lib", 2, "is not a program"),
        (
            "inside: cni-1.0.0",
            "inside: cni",
            2,
            "it has no file `cni/go.mod`; it has `cni-1.0.0/go.mod`",
        ),
        ("from: source.tar", "from: absent.tar", 3, "cannot use the archive of its source"),
        ("from: source.tar", "from: published.tar", 2, " is pinned"),
    ] {
        scene.write("bundle.yaml", good.replacen(from, to, 1));
        expect(&reproduce(&scene), code, &[prefix, words]);
        assert!(!scene.at("bundle.lock.json").exists(), "{to}");
    }
    for (directory, hidden) in [("/usr", "`/usr`"), ("/", "is not a valid build directory")] {
        let text = good.replace(&scene.at("checkout").display().to_string(), directory);
        scene.write("bundle.yaml", text);
        let refused = reproduce(&scene);
        assert!(refused.code > 1 && refused.stderr.contains(hidden), "{}", refused.stderr);
    }
    scene.write("bundle.yaml", definition("own", "", ""));
    expect(&reproduce(&scene), 2, &["no source of the definition has a recipe (`reproduce`)"]);
    expect(&scene.run("lock --check --reproduce bundle.yaml"), 2, &["cannot be used with"]);
    assert_eq!(leftovers(&scene), [""; 0]);
}

#[test]
fn nothing_of_the_callers_environment_reaches_the_build() {
    let Some((program, release)) = go() else { return };
    let (scene, recipe) = vendored(&release, &program);
    scene.write("bundle.yaml", definition("own", "", &recipe));
    // Above the work directory and beside it, and where the source was.
    scene.write("go.work", "go 1.21\n\nuse ./fork\n");
    scene.write("go.mod", "module example.com/outer\n");
    for folder in ["fork", "checkout"] {
        scene.write(&format!("{folder}/go.mod"), GO_MOD);
        scene.write(&format!("{folder}/plugins/own/main.go"), MAIN.replace("unset", "fork"));
    }
    let canary = scene.write("canary", "#!/bin/sh\necho run >> \"${0%/*}/trace\"\nexec \"$@\"\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&canary, executable).unwrap();
    let canary = canary.display().to_string();
    scene.write("goenv", format!("GOFLAGS=-toolexec={canary}\n"));
    let mut locking = command(&scene, "lock --reproduce bundle.yaml");
    locking.env("GOFLAGS", format!("-toolexec={canary} -tags=evil"));
    locking.env("GOENV", scene.at("goenv")).env("GOWORK", scene.at("go.work"));
    locking.env("GOROOT", scene.at("fork")).env("GOCACHEPROG", &canary);
    locking.env("GOCACHE", scene.at("other-cache")).env("CGO_ENABLED", "1").env("CC", &canary);
    locking
        .env("GOAMD64", "v3")
        .env("GOEXPERIMENT", "nocoverageredesign")
        .env("GO111MODULE", "off");
    expect(&scene.run_command(&mut locking), 0, &["reproduced: own linux/", "wrote `"]);
    assert!(!scene.at("trace").exists() && !scene.at("other-cache").exists());
    let fork = fs::read_to_string(scene.at("checkout/plugins/own/main.go")).unwrap();
    assert!(fork.contains("fork"), "the directory of this machine is as it was");
}
