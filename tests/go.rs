//! Plugins that are compiled from Go modules: pinned, the same on every machine, and compiled
//! without anything of the caller's environment.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::source::go;
use support::web::Web;
use support::{Run, Scene, digest_of, module_proxy};

const MODULE: &str = "example.com/cni";
const GO_MOD: &str = "module example.com/cni\n\ngo 1.21\n";
const MAIN: &str = "package main\n\nvar version = \"unset\"\n\nfunc main() { println(version) }\n";

/// A definition of a plugin `own` of the module.
fn definition(release: &str, platforms: &str, more: &str) -> String {
    format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [{platforms}]\nsources:\n  - name: source\n    go:\n      module: {MODULE}\n      \
         version: v1.0.0\n      toolchain: {release}\n      packages: \"./plugins/{{plugin}}\"\n\
         {more}plugins: [own]\ntool: none\n"
    )
}

/// The module without the checksum database, which does not know it.
const OWN: &str = "      sumdb: off\n";

/// Publishes the module with this program.
fn publish(scene: &Scene, main: &str) {
    let license = ("LICENSE", "Mozilla Public License Version 2.0\nIncompatible With Secondary\n");
    let program = ("plugins/own/main.go", main);
    let files = [("go.mod", GO_MOD), license, program, ("pkg/a/a.go", "package a\n")];
    module_proxy::publish(&scene.at("proxy"), MODULE, "v1.0.0", &files);
}

/// A scene with a cache of its own. What was compiled of the standard library is shared by the
/// tests: that is what takes long.
fn scene(definition: &str) -> Scene {
    let scene = Scene::new();
    scene.write("bundle.yaml", definition);
    publish(&scene, MAIN);
    new_cache(&scene, "cache");
    scene
}

fn new_cache(scene: &Scene, name: &str) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build");
    fs::create_dir_all(&shared).unwrap();
    fs::create_dir_all(scene.at(name).join("go")).unwrap();
    symlink(shared, scene.at(name).join("go/build")).unwrap();
}

fn command(scene: &Scene, verb: &str, cache: &str, more: &str) -> Command {
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command.args([verb, "bundle.yaml", "--cache-dir", cache, "--goproxy"]);
    command.arg(format!("file://{}", scene.at("proxy").display()));
    command.args(more.split_whitespace());
    command
}

fn run(scene: &Scene, verb: &str, cache: &str, more: &str) -> Run {
    scene.run_command(&mut command(scene, verb, cache, more))
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

/// What a build or a lock must not leave behind.
fn leftovers(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(scene.path()).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("cnister-")).collect()
}

#[test]
fn a_module_is_compiled_for_each_platform_and_the_result_is_pinned() {
    let Some((_, release)) = go() else { return };
    let more = format!("{OWN}      variables: {{main.version: \"{{version}} of us\"}}\n");
    let scene = scene(&definition(&release, "linux/amd64, linux/arm64", &more));
    expect(
        &run(&scene, "build", "cache", "-o layout"),
        2,
        &["the source `source` is not a directory", "hint: run `cnister lock bundle.yaml`"],
    );
    let locked = run(&scene, "lock", "cache", "");
    expect(&locked, 0, &["+ own linux/arm64: version v1.0.0, digest ", "level tofu"]);
    expect(&locked, 0, &["fetching example.com/cni@v1.0.0", "compiling own for linux/amd64"]);
    let lock = lock_of(&scene);
    let entry = &lock["plugins"][0];
    assert_eq!(entry["go"]["go"], format!("go{release}"));
    assert_eq!(entry["go"]["path"], "example.com/cni/plugins/own");
    assert_eq!(entry["go"]["version"], "v1.0.0");
    assert_eq!(entry["request"]["build"]["variables"]["main.version"], "v1.0.0 of us");
    let sum = entry["moduleSum"].as_str().unwrap();
    assert!(sum.starts_with("h1:"), "{sum}");
    assert_eq!(lock["plugins"][1]["moduleSum"], sum);
    assert_eq!(entry["facts"]["license"]["expression"], "MPL-2.0");
    // The result is kept, so that a build compiles nothing, and does not even look for Go.
    let mut without = command(&scene, "build", "cache", "-o layout --sbom spdx-2.3");
    let built = scene.run_command(without.env("PATH", "/nonexistent"));
    expect(&built, 0, &[]);
    assert!(!built.stderr.contains("compiling"), "{}", built.stderr);
    // Only the lock knows the licence now: the module was not fetched again.
    let described =
        scene.run_ok("inspect oci:layout --sbom spdx-2.3 --platform linux/arm64").stdout;
    assert!(described.contains(r#""licenseDeclared":"MPL-2.0""#), "{described}");
    // The same from nothing, elsewhere, at another time and for another user.
    new_cache(&scene, "cache2");
    fs::create_dir(scene.at("elsewhere")).unwrap();
    fs::create_dir(scene.at("other-home")).unwrap();
    let mut again = command(&scene, "build", "../cache2", "-o ../again");
    again.env("TZ", "Pacific/Auckland").env("HOME", scene.at("other-home")).env("USER", "other");
    again.current_dir(scene.at("elsewhere")).env("TMPDIR", scene.at("elsewhere"));
    fs::copy(scene.at("bundle.yaml"), scene.at("elsewhere/bundle.yaml")).unwrap();
    fs::copy(scene.at("bundle.lock.json"), scene.at("elsewhere/bundle.lock.json")).unwrap();
    let again = scene.run_command(&mut again);
    expect(&again, 0, &["compiling own for linux/arm64"]);
    assert_eq!(digest_of(&again), digest_of(&built));
    // Offline, from a warm module cache.
    let offline = run(&scene, "lock", "cache2", "--goproxy off --update own");
    expect(&offline, 2, &["cannot be used multiple times"]);
    let mut offline = scene.command(env!("CARGO_BIN_EXE_cnister"));
    offline.args(["lock", "bundle.yaml", "--cache-dir", "cache2", "--goproxy", "off"]);
    expect(&scene.run_command(&mut offline), 0, &["`bundle.lock.json` is unchanged"]);
    expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
    assert_eq!(leftovers(&scene), [""; 0]);
    // The program is what it says it is.
    let program = scene.at("cache/sha256").join(&entry["digest"].as_str().unwrap()[7..]);
    let copy = scene.put_program(&program, "own");
    let said = Command::new(copy).output().unwrap().stderr;
    if entry["platform"] == format!("linux/{}", architecture()) {
        assert_eq!(String::from_utf8(said).unwrap(), "v1.0.0 of us\n");
    }
    // What the lock does not mean is compiled for nobody.
    let stale =
        definition(&release, "linux/amd64, linux/arm64", &format!("{more}      strip: true\n"));
    scene.write("bundle.yaml", stale);
    expect(&run(&scene, "build", "cache", "-o third"), 2, &["the definition asks for", " -s -w "]);
    expect(&scene.run("lock --check bundle.yaml"), 1, &["the definition asks for"]);
    expect(&run(&scene, "lock", "cache", ""), 0, &["~ own linux/amd64: digest ", "size "]);
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn a_module_that_changes_under_one_version_is_refused_until_it_is_accepted() {
    let Some((_, release)) = go() else { return };
    let scene = scene(&definition(&release, "linux/amd64", OWN));
    expect(&run(&scene, "lock", "cache", ""), 0, &[]);
    let first = fs::read(scene.at("bundle.lock.json")).unwrap();
    publish(&scene, &MAIN.replace("unset", "other"));
    new_cache(&scene, "cache2");
    let refused = run(&scene, "build", "cache2", "-o layout");
    expect(
        &refused,
        2,
        &["`own` on linux/amd64 is not what is locked: the sum of its module is h1:"],
    );
    assert!(!scene.at("layout").exists());
    let refused = run(&scene, "lock", "cache2", "");
    expect(&refused, 1, &["`own` on linux/amd64: its module changed under the same version"]);
    assert_eq!(fs::read(scene.at("bundle.lock.json")).unwrap(), first);
    expect(&run(&scene, "lock", "cache2", "--accept own"), 0, &["wrote `bundle.lock.json`"]);
    expect(&run(&scene, "build", "cache2", "-o layout"), 0, &[]);
    // A lock asks the origin, and no cache may hide that the module was published again.
    let refused = run(&scene, "lock", "cache", "");
    expect(
        &refused,
        3,
        &["the version was published again: its sum is h1:", "remove the cached modules: chmod"],
    );
    // A module cache that somebody changed is noticed before anything is compiled.
    let file = scene.at("cache2/go/pkg/mod/example.com/cni@v1.0.0/plugins/own/main.go");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, MAIN.replace("unset", "evil!")).unwrap();
    let refused = run(&scene, "lock", "cache2", "");
    expect(
        &refused,
        3,
        &["`go mod verify` failed: ", "example.com/cni v1.0.0: dir has been modified"],
    );
    let second = lock_of(&scene);
    // The module cache can be removed, as a message says.
    fs::remove_dir_all(scene.at("cache/go/pkg/mod")).unwrap();
    expect(&run(&scene, "lock", "cache", ""), 0, &["`bundle.lock.json` is unchanged"]);
    expect(&scene.run("cache prune --cache-dir cache"), 0, &[" files removed, "]);
    assert!(fs::read_dir(scene.at("cache/go")).unwrap().next().is_none());
    fs::set_permissions(scene.at("cache2/go"), fs::Permissions::from_mode(0o777)).unwrap();
    expect(&run(&scene, "lock", "cache2", ""), 3, &["can be written by others"]);
    assert_eq!(lock_of(&scene), second);
    assert_eq!(leftovers(&scene), [""; 0]);
}

/// A program that leaves a trace, and then does what the rest of its command line says.
const CANARY: &str = "#!/bin/sh\necho \"$0 $*\" >> \"${0%/*}/../trace\"\nexec \"$@\"\n";

fn put_canary(scene: &Scene, name: &str) -> PathBuf {
    let path = scene.write(name, CANARY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What a hostile environment says. Each of these changes what is compiled, executes a program, or
/// leaves something unverified, if it is honoured.
fn hostile(scene: &Scene) -> Vec<(&'static str, String)> {
    let canary = put_canary(scene, "canary/tool").display().to_string();
    for name in ["git", "hg", "gcc", "cc", "g++", "clang", "pkg-config", "ssh", "ar", "ld"] {
        put_canary(scene, &format!("canary/{name}"));
    }
    let at = |name: &str| scene.at(name).display().to_string();
    let tool = format!("GOFLAGS=-toolexec={canary}\nGOPROXY=direct\nCC={canary}\n");
    scene.write("goenv", &tool);
    scene.write("home/.config/go/env", &tool);
    scene.write("home/.netrc", "machine example.com login a password b\n");
    // A workspace in which another module has the same path, also where the work directory is.
    let fork = MAIN.replace("unset", "fork");
    scene.write("fork/go.mod", GO_MOD);
    scene.write("fork/plugins/own/main.go", &fork);
    scene.write("go.work", "go 1.21\n\nuse ./fork\n");
    scene.write("go.mod", "module example.com/outer\n\nreplace example.com/cni => ./fork\n");
    let files = [("go.mod", GO_MOD), ("plugins/own/main.go", fork.as_str())];
    module_proxy::publish(&scene.at("other-proxy"), MODULE, "v1.0.0", &files);
    vec![
        ("GOFLAGS", format!("-toolexec={canary} -tags=evil -modcacherw")),
        ("GOENV", at("goenv")),
        ("HOME", at("home")),
        ("XDG_CONFIG_HOME", at("home/.config")),
        ("GOWORK", at("go.work")),
        ("GOPROXY", format!("file://{}", at("other-proxy"))),
        ("GOPRIVATE", "*".to_owned()),
        ("GONOPROXY", "*".to_owned()),
        ("GONOSUMDB", "*".to_owned()),
        ("GONOSUMCHECK", "1".to_owned()),
        ("GOINSECURE", "*".to_owned()),
        ("GOSUMDB", "off".to_owned()),
        ("GOVCS", "*:all".to_owned()),
        ("GOAUTH", canary.clone()),
        ("GOCACHEPROG", canary.clone()),
        ("CGO_ENABLED", "1".to_owned()),
        ("CC", canary.clone()),
        ("CXX", canary.clone()),
        ("AR", canary.clone()),
        ("PKG_CONFIG", canary.clone()),
        ("GO_EXTLINK_ENABLED", "1".to_owned()),
        ("GIT_SSH_COMMAND", canary),
        ("GOTOOLCHAIN", "go1.99.0+auto".to_owned()),
        ("GOROOT", at("fork")),
        ("GOTOOLDIR", at("canary")),
        ("GOPATH", at("other-path")),
        ("GOMODCACHE", at("other-modules")),
        ("GOCACHE", at("other-build")),
        ("GOTMPDIR", at("absent")),
        ("GOBIN", at("other-bin")),
        ("GO111MODULE", "off".to_owned()),
        ("GODEBUG", "netdns=cgo".to_owned()),
        ("GOEXPERIMENT", "nocoverageredesign".to_owned()),
        ("GOOS", "windows".to_owned()),
        ("GOARCH", "386".to_owned()),
        ("GOAMD64", "v3".to_owned()),
        ("GOARM64", "v9.0".to_owned()),
        ("GOARM", "5".to_owned()),
        ("GOFIPS140", "latest".to_owned()),
        ("LD_PRELOAD", at("absent.so")),
    ]
}

/// The traces that a hostile environment left.
fn traces(scene: &Scene) -> Vec<String> {
    let mut traces: Vec<String> =
        ["trace", "other-path", "other-modules", "other-build", "other-bin"]
            .into_iter()
            .filter(|name| scene.at(name).exists())
            .map(str::to_owned)
            .collect();
    if traces.first().is_some_and(|first| first == "trace") {
        traces.push(fs::read_to_string(scene.at("trace")).unwrap());
    }
    traces
}

#[test]
fn nothing_of_the_callers_environment_reaches_the_compiler() {
    let Some((_, release)) = go() else { return };
    let scene = scene(&definition(&release, "linux/amd64, linux/arm64", OWN));
    expect(&run(&scene, "lock", "cache", ""), 0, &["wrote `bundle.lock.json`"]);
    // A few at a time, so that few hide what others do; and all together.
    let environment = hostile(&scene);
    let path = std::env::var("PATH").unwrap();
    let mut cases: Vec<Vec<_>> = environment.chunks(3).map(<[_]>::to_vec).collect();
    cases.push(environment);
    for (number, case) in cases.iter().enumerate() {
        let cache = format!("cache-{number}");
        new_cache(&scene, &cache);
        let mut locking = command(&scene, "lock", &cache, "");
        // Go is found first, and everything else that it could start is a canary.
        locking.env("PATH", format!("{path}:{}", scene.at("canary").display()));
        locking.envs(case.iter().cloned());
        let run = scene.run_command(&mut locking);
        expect(&run, 0, &["`bundle.lock.json` is unchanged, 2 pinned files"]);
        assert_eq!(traces(&scene), [""; 0], "{case:?}");
    }
}

#[test]
fn a_hostile_environment_would_leave_traces() {
    let Some((program, _)) = go() else { return };
    let scene = Scene::new();
    publish(&scene, MAIN);
    let environment = hostile(&scene);
    let of = |name: &str| environment.iter().find(|(known, _)| *known == name).unwrap().clone();
    scene.write("main/go.mod", "module example.com/main\n\ngo 1.21\n");
    scene.write("main/main.go", MAIN);
    let go = |case: &[(&str, String)], arguments: &[&str]| {
        drop(fs::remove_file(scene.at("trace")));
        let mut command = scene.command(&program);
        command.args(arguments).current_dir(scene.at("main")).env("GOWORK", "off");
        command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build"));
        command
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-buildvcs=false");
        let output = command.envs(case.iter().cloned()).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    for name in ["GOFLAGS", "GOCACHEPROG"] {
        go(&[of(name)], &["build", "-a", "-o", "out", "."]);
        assert_eq!(traces(&scene).first().map(String::as_str), Some("trace"), "{name}");
    }
    // A file has the flags, or is where GOENV is not set.
    let said = |case: &[(&str, String)], variable: &str| go(case, &["env", variable]);
    let none = ("GOFLAGS", String::new());
    for name in ["GOENV", "HOME"] {
        assert!(said(&[none.clone(), of(name)], "GOFLAGS").contains("-toolexec="), "{name}");
    }
    assert!(said(&[of("GOWORK")], "GOWORK").ends_with("go.work\n"));
    assert!(said(&[of("GOROOT")], "GOROOT").contains("fork"));
    assert!(said(&[of("GOTOOLCHAIN")], "GOVERSION").contains("1.99"));
    for name in ["GOPROXY", "GOPRIVATE", "GOINSECURE", "GOSUMDB", "GOVCS", "CGO_ENABLED", "CC"] {
        let (name, value) = of(name);
        assert_eq!(said(&[(name, value.clone())], name).trim(), value);
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let Some((_, release)) = go() else { return };
    let good = definition(&release, "linux/amd64", OWN);
    let scene = scene(&good);
    let prefix = "cannot compile `own` for linux/amd64 (source `source`) from `example.com/";
    for (from, to, code, words) in [
        ("version: v1.0.0", "version: v1.0.1", 3, "`go mod download` failed: "),
        ("version: v1.0.0", "version: latest", 2, "a branch and `latest` mean something else"),
        ("version: v1.0.0", "version: v1", 2, "is not the version of a module"),
        ("version: v1.0.0", "version: main", 2, "is not the version of a module"),
        (MODULE, "example.com/absent", 3, "`go mod download` failed: "),
        (
            "./plugins/{plugin}",
            "./pkg/a",
            2,
            "the package `example.com/cni/pkg/a` is not a program",
        ),
        ("./plugins/{plugin}", "./absent", 3, "`go build` failed: "),
        ("./plugins/{plugin}", ".", 3, "cannot find module providing package"),
        ("toolchain: 1.", "toolchain: 1.9", 3, ", expected go1.9"),
        ("packages:", "flags: -toolexec=x\n      packages:", 2, "unknown field `flags`"),
        ("sumdb: off", "proxy: direct", 2, "unknown field `proxy`"),
    ] {
        scene.write("bundle.yaml", good.replacen(from, to, 1));
        let refused = run(&scene, "lock", "cache", "");
        expect(&refused, code, &[words]);
        if code == 3 || words.contains("not a program") {
            expect(&refused, code, &[prefix]);
        }
        assert!(!scene.at("bundle.lock.json").exists(), "{to}");
    }
    for (arguments, words) in [
        ("--goproxy direct", "`direct` would fetch modules with version control programs"),
        ("--goproxy https://proxy.example,direct", "`direct` would fetch"),
        ("--goproxy http://proxy.example", "is not encrypted"),
        ("--check --goproxy off", "cannot be used with"),
    ] {
        expect(&scene.run(&format!("lock bundle.yaml --cache-dir cache {arguments}")), 2, &[words]);
    }
    scene.write("bundle.yaml", &good);
    let mut without = command(&scene, "lock", "cache", "");
    let refused = scene.run_command(without.env("PATH", "relative:/nonexistent"));
    expect(&refused, 3, &[prefix, &format!("cannot find the `go` command of go{release} in PATH")]);
    for (go_mod, code, words) in [
        (format!("{GO_MOD}\nreplace example.com/x => ../x\n"), 2, "with the directory `../x`"),
        (format!("{GO_MOD}\nreplace example.com/x => /etc\n"), 2, "with the directory `/etc`"),
        (GO_MOD.replace("1.21", "1.99"), 3, "example.com/cni@v1.0.0 requires go >= 1.99"),
        ("module example.com/other\n".to_owned(), 3, "example.com/other"),
    ] {
        let files = [("go.mod", go_mod.as_str()), ("plugins/own/main.go", MAIN)];
        module_proxy::publish(&scene.at("proxy"), MODULE, "v1.0.0", &files);
        drop(fs::remove_dir_all(scene.at("cache/go/pkg/mod/cache")));
        expect(&run(&scene, "lock", "cache", ""), code, &[words]);
    }
    publish(&scene, MAIN);
    new_cache(&scene, "cache2");
    expect(&run(&scene, "lock", "cache2", ""), 0, &["wrote `bundle.lock.json`"]);
    assert_eq!(leftovers(&scene), [""; 0]);
}

#[test]
fn a_module_that_the_checksum_database_does_not_know_is_refused() {
    let Some((_, release)) = go() else { return };
    let scene = scene(&definition(&release, "linux/amd64", ""));
    let read = |ending: &str| {
        let path = format!("/{MODULE}/@v/v1.0.0.{ending}");
        (path.clone(), fs::read(scene.at(&format!("proxy{path}"))).unwrap())
    };
    // A proxy that has the module, and passes on to the database, which has not.
    let mut files = vec![read("info"), read("mod"), read("zip")];
    files.push(("/sumdb/sum.golang.org/supported".to_owned(), Vec::new()));
    let files: Vec<_> = files.iter().map(|(path, it)| (path.as_str(), it.clone())).collect();
    let web = Web::serve(&files, None);
    let line = format!("lock bundle.yaml --cache-dir cache --goproxy {}", web.url(""));
    let refused = scene.run(&line);
    expect(&refused, 3, &["`go mod download` failed: ", "verifying", "404"]);
    assert!(!scene.at("bundle.lock.json").exists());
    // None of the switches of the environment helps.
    let mut refused = scene.command(env!("CARGO_BIN_EXE_cnister"));
    refused.args(line.split(' ')).env("GOSUMDB", "off").env("GOPRIVATE", "*");
    refused.env("GONOSUMDB", "*").env("GONOSUMCHECK", "1").env("GOINSECURE", "*");
    refused.env("GOFLAGS", "-insecure");
    expect(&scene.run_command(&mut refused), 3, &["verifying", "404"]);
    assert!(web.requests().iter().any(|it| it.contains("/sumdb/sum.golang.org/lookup/")));
    // The owner of the module says so.
    scene.write("bundle.yaml", definition(&release, "linux/amd64", OWN));
    expect(&scene.run(&line), 0, &["wrote `bundle.lock.json`"]);
    // What the proxy does not have is not looked for elsewhere.
    let text = definition(&release, "linux/amd64", OWN).replace("v1.0.0", "v1.0.9");
    scene.write("bundle.yaml", text);
    expect(&scene.run(&line), 3, &["example.com/cni@v1.0.9`: `go mod download` failed: ", "404"]);
}

#[test]
fn an_interruption_ends_the_compiler_and_leaves_nothing() {
    let scene = scene(&definition("1.26.8", "linux/amd64", OWN));
    // A compiler that starts another one, says so, and never ends.
    let script = "#!/bin/sh\nsleep 600 & echo $! > \"${0%/*}/started\"\nsleep 600\n";
    let program = scene.write("bin/go", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    for signal in ["INT", "TERM"] {
        drop(fs::remove_file(scene.at("bin/started")));
        let mut locking = command(&scene, "lock", "cache", "");
        let path = std::env::var("PATH").unwrap();
        locking.env("PATH", format!("{}:{path}", scene.at("bin").display()));
        locking.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let child = locking.spawn().unwrap();
        let started =
            || fs::read_to_string(scene.at("bin/started")).is_ok_and(|it| it.ends_with('\n'));
        wait_until(started);
        assert_eq!(leftovers(&scene).len(), 1, "the directory of the build");
        let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(": interrupted"), "{said}");
        let grandchild = fs::read_to_string(scene.at("bin/started")).unwrap();
        let status = PathBuf::from(format!("/proc/{}/status", grandchild.trim()));
        wait_until(|| !fs::read_to_string(&status).is_ok_and(|it| !it.contains("State:\tZ")));
        assert_eq!(leftovers(&scene), [""; 0]);
        assert!(!scene.at("bundle.lock.json").exists());
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "it takes too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}
