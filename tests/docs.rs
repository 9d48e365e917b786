//! The documentation is true: the README's commands run as they stand there, and lists agree with the code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/registries.rs"]
mod registries;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cnister::model::Code;
use cnister::node::explain::Cause;
use support::Scene;

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The text of each block of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            found.push(block.join("\n"));
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_works_in_an_empty_directory() {
    let (Some(program), Some(plugins)) = (support::static_binary(), image::plugins()) else { return };
    let scene = Scene::new();
    let Some(server) = registries::docker_registry(scene.path()) else { return };
    let blocks = blocks(&page("README.md"), "sh");
    assert!(blocks.len() >= 9, "only {} blocks; does the test still read the page?", blocks.len());
    // `make demo` is its own test, and compiles. The rest is one session of a newcomer, from an empty directory.
    let session: Vec<_> = blocks.iter().filter(|block| !block.contains("make demo")).cloned().collect();
    fs::create_dir(scene.at("bin")).unwrap();
    std::os::unix::fs::symlink(program, scene.at("bin/cnister")).unwrap();
    fs::create_dir(scene.at("bundles")).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/debian.yaml"), scene.at("bundles/debian.yaml"))
        .unwrap();
    fs::create_dir(scene.at("node")).unwrap();
    let path = format!("{}:{}", scene.at("bin").display(), std::env::var("PATH").unwrap());
    let script = format!("set -eu\n{}\n", session.join("\n"));
    let mut command = scene.command("sh");
    command.args(["-c", &script]).env("PATH", path).env("REGISTRY", &server.host).env("PLUGINS", plugins);
    let run = scene.run(&mut command);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("yes: every installed file is the one that was signed"), "{}", run.stdout);
    let rendered = fs::read_to_string(scene.at("cnister.yaml")).unwrap();
    assert!(rendered.contains("kind: DaemonSet") && rendered.contains(&server.host), "{rendered}");
}

#[test]
fn the_policy_of_the_readme_is_one() {
    let policies = blocks(&page("README.md"), "yaml");
    assert_eq!(policies.len(), 1);
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8nXRh950IZbRj8Ra/N9sbqOPZrfM\n5/KAQN0/KjHcorm/J5yctVd7iEcnessRQjU917hmKO6JWVGHpDguIyakZA==\n-----END PUBLIC KEY-----\n";
    let policy = cnister::trust::Policy::parse("README.md", &policies[0], &mut |_| Ok(pem.to_owned())).unwrap();
    assert_eq!(policy.rules().collect::<Vec<_>>(), ["release"]);
}

/// The first two cells of each row whose first is a name.
fn rows(name: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let mut cells = line.trim().strip_prefix("| `")?.split(" | ");
        let code = cells.next()?.trim_end_matches('`').to_owned();
        Some((code, cells.next()?.trim_end_matches(" |").to_owned()))
    };
    page(name).lines().filter_map(row).collect()
}

#[test]
fn the_list_of_finding_codes_is_complete() {
    let codes: BTreeMap<_, _> =
        Code::ALL.iter().map(|code| (code.as_str().to_owned(), code.meaning().to_owned())).collect();
    assert_eq!(rows("docs/findings.md").into_iter().collect::<BTreeMap<_, _>>(), codes);
}

#[test]
fn the_list_of_causes_is_complete() {
    let causes: Vec<_> =
        Cause::ALL.iter().map(|cause| (cause.as_str().to_owned(), cause.meaning().to_owned())).collect();
    assert_eq!(rows("docs/explain.md"), causes);
}

#[test]
fn help_and_version_are_answers() {
    let scene = Scene::new();
    let help = scene.must("--help");
    support::snapshot("help.txt", &help.stdout);
    assert_eq!(help.stderr, "");
    for verb in [
        "keygen",
        "build",
        "tool-image",
        "sign",
        "push",
        "pull",
        "inspect",
        "verify",
        "evidence",
        "render",
        "stage",
        "install",
        "check",
        "explain",
        "watch",
        "completions",
    ] {
        let help = scene.must(&format!("{verb} --help"));
        support::snapshot(&format!("help-{verb}.txt"), &help.stdout);
    }
    assert_eq!(scene.must("generate-key-pair --help").stdout, scene.must("keygen --help").stdout);
    assert_eq!(scene.must("--version").stdout, format!("cnister {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(scene.say("no-such-verb").code, 2);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(scene.must(&format!("completions {shell}")).stdout.contains("cnister"), "{shell}");
    }
}
