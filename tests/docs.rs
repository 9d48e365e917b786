//! The documentation is correct: the commands in the README work as written, and lists agree with
//! the code.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod docs {
    mod updates;
}
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cnister::check::explain::Cause;
use cnister::model::Code;
use support::{Scene, image, registries, release};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the text of each code block in this language.
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
    let (Some(program), Some(plugins)) = (support::static_binary(), image::plugins()) else {
        return;
    };
    let scene = Scene::new();
    let Some(server) = registries::docker_registry(scene.path()) else { return };
    let blocks = blocks(&page("README.md"), "sh");
    assert!(blocks.len() >= 9, "only {} blocks; does the test still read the page?", blocks.len());
    // `make demo` is tested on its own, and compiles. The rest is one session of a new user, from
    // an empty directory.
    let session: Vec<_> =
        blocks.iter().filter(|block| !block.contains("make demo")).cloned().collect();
    fs::create_dir(scene.at("bin")).unwrap();
    std::os::unix::fs::symlink(program, scene.at("bin/cnister")).unwrap();
    fs::create_dir(scene.at("bundles")).unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/debian.yaml"),
        scene.at("bundles/debian.yaml"),
    )
    .unwrap();
    let path = format!("{}:{}", scene.at("bin").display(), std::env::var("PATH").unwrap());
    let script = format!("set -eu\n{}\n", session.join("\n"));
    let mut command = scene.command("sh");
    command
        .args(["-c", &script])
        .env("PATH", path)
        .env("REGISTRY", &server.host)
        .env("PLUGINS", plugins);
    let run = scene.run_command(&mut command);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("yes: every installed file is the one that was signed"),
        "{}",
        run.stdout
    );
    let rendered = fs::read_to_string(scene.at("cnister.yaml")).unwrap();
    assert!(rendered.contains("kind: DaemonSet") && rendered.contains(&server.host), "{rendered}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_command_of_the_page_about_nodes_works_in_a_row() {
    let scene = Scene::new();
    release::Release::new(&scene, "old", "1.0.0", &["bridge", "macvlan"], 0);
    release::Release::new(&scene, "new", "1.1.0", &["bridge", "macvlan", "static"], 0);
    scene.write(
        "node/etc/cni/net.d/10-net.conflist",
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "macvlan", "ipam": {"type": "static"}}]}"#,
    );
    scene.write("nads.json", r#"{"apiVersion": "v1", "kind": "List", "items": []}"#);
    fs::create_dir_all(scene.at("node/var/lib/cni")).unwrap();
    fs::create_dir(scene.at("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cnister"), scene.at("bin/cnister")).unwrap();
    let path = format!("{}:{}", scene.at("bin").display(), std::env::var("PATH").unwrap());
    let blocks = blocks(&page("docs/node.md"), "sh");
    assert!(blocks.len() >= 8, "only {} blocks; does the test still read the page?", blocks.len());
    // Another test may be listening at the port on the page.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let script = format!("set -eu\n{}\n", blocks.join("\n")).replace("9464", &port);
    let mut command = scene.command("sh");
    command.args(["-c", &script]).env("PATH", path).env("VIEW", "node");
    command.env("OLD", "oci:layout-old:1.0.0").env("NEW", "oci:layout-new:1.1.0");
    command.env("TOOL", format!("registry.example.com/cnister:1@sha256:{}", "0".repeat(64)));
    let run = scene.run_command(&mut command);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    for said in [
        "  new      /opt/cni/bin/macvlan",
        "yes: every installed file is the one that was signed",
        "plugin-absent: there is no `vlan`",
    ] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let rendered = fs::read_to_string(scene.at("cnister.yaml")).unwrap();
    for object in ["DaemonSet", "ClusterRoleBinding"] {
        assert!(rendered.contains(&format!("\nkind: {object}\n")), "{rendered}");
    }
    assert!(!scene.at("node/opt/cni/bin/bridge").exists(), "uninstalled at the end");
}

/// Runs the commands of a page in a row, and returns what they print.
fn session(name: &str, at_least: usize) -> Option<String> {
    let plugins = image::plugins()?;
    let scene = Scene::new();
    fs::create_dir(scene.at("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cnister"), scene.at("bin/cnister")).unwrap();
    let path = format!("{}:{}", scene.at("bin").display(), std::env::var("PATH").unwrap());
    let blocks = blocks(&page(name), "sh");
    assert!(blocks.len() >= at_least, "{} blocks: does the test still read it?", blocks.len());
    let script = format!("set -eu\n{}\n", blocks.join("\n"));
    let mut command = scene.command("sh");
    command.args(["-c", &script]).env("PATH", path).env("PLUGINS", plugins);
    let run = scene.run_command(&mut command);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    Some(run.stdout)
}

#[test]
fn every_command_of_the_page_about_composing_works_in_a_row() {
    let Some(said) = session("docs/compose.md", 2) else { return };
    assert!(said.contains("yes: `plugins.lock.json` pins what"), "{said}");
}

#[test]
fn every_command_of_the_page_about_attestations_works_in_a_row() {
    let Some(said) = session("docs/attest.md", 4) else { return };
    for word in [
        "attested https://slsa.dev/provenance/v1 of sha256:",
        "\"buildType\":\"https://cnister.dev/compose/v1\"",
        "\"bomFormat\":\"CycloneDX\"",
        "attested https://example.com/review/v1 of sha256:",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn the_page_about_composing_has_every_kind_of_source_and_a_definition() {
    let schema: serde_json::Value =
        serde_json::from_str(&cnister::bundle::definition::schema()).unwrap();
    let kinds = schema["properties"]["sources"]["items"]["oneOf"].as_array().unwrap();
    let kinds: Vec<_> = kinds.iter().map(|it| it["required"][0].as_str().unwrap()).collect();
    assert!(kinds.contains(&"directory") && kinds.len() >= 3, "{kinds:?}");
    let listed: BTreeSet<_> = table("docs/compose.md", "## Sources")
        .into_iter()
        .map(|cells| cells[0].replace('`', ""))
        .collect();
    for kind in kinds {
        assert!(listed.contains(kind), "{kind}: {listed:?}");
    }
    for block in blocks(&page("docs/compose.md"), "yaml") {
        cnister::bundle::Definition::parse("docs/compose.md", &block).unwrap();
    }
}

#[test]
fn the_list_of_metrics_is_complete() {
    let source = page("src/watch/metrics.rs");
    let families: BTreeSet<_> =
        source.split("family(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let rows = rows("docs/node.md");
    let listed: BTreeSet<_> =
        rows.iter().map(|(name, _)| &**name).filter(|name| name.starts_with("cnister_")).collect();
    assert!(families.len() >= 7 && families == listed, "{families:?} {listed:?}");
}

#[test]
fn the_policy_of_the_readme_is_one() {
    let policies = blocks(&page("README.md"), "yaml");
    assert_eq!(policies.len(), 1);
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8nXRh950IZbRj8Ra/N9sbqOPZrfM\n5/KAQN0/KjHcorm/J5yctVd7iEcnessRQjU917hmKO6JWVGHpDguIyakZA==\n-----END PUBLIC KEY-----\n";
    let policy =
        cnister::trust::Policy::parse("README.md", &policies[0], &mut |_| Ok(pem.to_owned()))
            .unwrap();
    assert_eq!(policy.rules().collect::<Vec<_>>(), ["release"]);
}

/// Returns the first two cells of each row whose first cell is a name.
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
    let codes: BTreeMap<_, _> = Code::ALL
        .iter()
        .map(|code| (code.as_str().to_owned(), code.meaning().to_owned()))
        .collect();
    let listed = rows("docs/findings.md");
    assert_eq!(listed.len(), codes.len(), "a code is in two groups, or in none");
    assert_eq!(listed.into_iter().collect::<BTreeMap<_, _>>(), codes);
}

/// Returns the cells of each row below a heading, up to the next heading.
fn table(name: &str, heading: &str) -> Vec<Vec<String>> {
    let page = page(name);
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let rows = lines.take_while(|line| !line.starts_with('#'));
    rows.filter(|line| line.starts_with("| `")).map(cells).collect()
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches(['|', ' ']).split(" | ").map(str::to_owned).collect()
}

/// Returns the texts in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns every field of a schema by its path (`rules[].name`), with its type in words and whether
/// it is required.
fn schema_fields(
    schema: &serde_json::Value,
    parent: &str,
    fields: &mut BTreeMap<String, (String, bool)>,
) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{parent}{name}");
        let is_required = required.iter().any(|required| *required == name);
        fields.insert(path.clone(), (type_in_words(field), is_required));
        schema_fields(field, &format!("{path}."), fields);
        schema_fields(&field["items"], &format!("{path}[]."), fields);
    }
}

fn type_in_words(field: &serde_json::Value) -> String {
    if let Some(only) = field["const"].as_str() {
        return format!("`{only}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> =
            values.iter().map(|value| format!("`{}`", value.as_str().unwrap())).collect();
        return values.join(" or ");
    }
    match (field["type"].as_str().unwrap(), field["items"]["type"].as_str()) {
        ("array", Some("string")) => "list of strings".to_owned(),
        ("array", _) => "list".to_owned(),
        (other, _) => other.to_owned(),
    }
}

#[test]
fn the_page_about_policies_has_every_field_of_the_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(&page("policies/policy.schema.json")).unwrap();
    let mut fields = BTreeMap::new();
    schema_fields(&schema, "", &mut fields);
    assert!(
        fields.len() > 20,
        "only {} fields; does the test still read the schema?",
        fields.len()
    );
    let rows = table("docs/policy.md", "## Fields");
    assert_eq!(rows.len(), fields.len(), "a field is listed twice, or not at all");
    for row in rows {
        let [field, kind, default, _meaning] = row.as_slice() else { panic!("{row:?}") };
        let (expected, required) = &fields[field.trim_matches('`')];
        assert_eq!(kind, expected, "{field}");
        assert_eq!(default == "required", *required, "{field}");
    }
}

#[test]
fn the_page_about_policies_says_what_every_condition_leads_to() {
    let schema: serde_json::Value =
        serde_json::from_str(&page("policies/policy.schema.json")).unwrap();
    let rule = schema["properties"]["rules"]["items"]["properties"].as_object().unwrap();
    let mut conditions: BTreeSet<_> = rule.keys().map(|name| format!("rules[].{name}")).collect();
    conditions.remove("rules[].name");
    conditions.insert("deny".to_owned());
    let rows = table("docs/policy.md", "## What each condition leads to");
    let listed: BTreeSet<_> = rows.iter().map(|row| quoted(&row[0])[0].to_owned()).collect();
    assert_eq!(listed, conditions);
    let named: BTreeSet<_> = rows.iter().flat_map(|row| quoted(&row[1])).collect();
    let group = table("docs/findings.md", "### What the policy accepts");
    let grouped: BTreeSet<_> = group.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(named, grouped, "the codes of both pages");
}

#[test]
fn the_list_of_causes_is_complete() {
    let causes: Vec<_> = Cause::ALL
        .iter()
        .map(|cause| (cause.as_str().to_owned(), cause.meaning().to_owned()))
        .collect();
    assert_eq!(rows("docs/explain.md"), causes);
}

#[test]
fn every_test_that_the_page_of_failure_modes_names_exists() {
    let page = page("docs/pains.md");
    let rows = page.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| failure") && !line.contains("---")
    });
    let mut named = 0;
    for row in rows {
        let cells = cells(row);
        let [_, what, tests] = cells.as_slice() else { panic!("not three cells: {row}") };
        if *tests == "none" {
            assert!(what.contains("*Not shown*"), "{row}");
            continue;
        }
        for test in tests.split("; ") {
            let test = test.trim_matches('`');
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            assert_is_a_test(file, name);
            named += 1;
        }
    }
    assert!(named >= 40, "only {named} tests; does this test still read the page?");
}

#[test]
fn every_test_that_the_list_of_threats_names_exists() {
    let page = page("SECURITY.md");
    let rows = page.split("## Threats").nth(1).unwrap().split("\n## ").next().unwrap().lines();
    let mut named = 0;
    for row in rows.filter(|line| line.starts_with("| ")).skip(2) {
        let cells = cells(row);
        let [_, _, tests] = cells.as_slice() else { panic!("not three cells: {row}") };
        for test in tests.split("; ") {
            let test = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let test = test.unwrap_or_else(|| panic!("not a test: {row}"));
            match test.split_once("::") {
                Some((file, name)) => assert_is_a_test(file, name),
                None => {
                    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(test).is_file(), "{row}")
                }
            }
            named += 1;
        }
    }
    assert!(named >= 40, "only {named} tests; does this test still read the page?");
}

fn assert_is_a_test(file: &str, name: &str) {
    let source = page(file);
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let declaration = format!("fn {name}()");
    let at = lines.iter().position(|line| line.starts_with(&declaration));
    let at = at.unwrap_or_else(|| panic!("{file} has no `{name}`"));
    let attribute =
        lines.iter().take(at).rev().find(|line| **line == "#[test]" || line.starts_with("fn "));
    assert_eq!(attribute, Some(&"#[test]"), "{file}: `{name}` is not a test");
}

/// The names in the list of commands of a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let rest = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        rest.split(' ').next().map(str::to_owned)
    });
    names.collect()
}

#[test]
fn help_and_version_are_answers() {
    let scene = Scene::new();
    let help = scene.run_ok("--help");
    support::snapshot("help.txt", &help.stdout);
    assert_eq!(help.stderr, "");
    let mut expected = BTreeSet::from(["help.txt".to_owned()]);
    let mut verbs = subcommands(&help.stdout);
    assert!(verbs.len() > 20, "only {verbs:?}; does the test still read the list?");
    while let Some(verb) = verbs.pop() {
        let help = scene.run_ok(&format!("{verb} --help"));
        let name = format!("help-{}.txt", verb.replace(' ', "-"));
        support::snapshot(&name, &help.stdout);
        expected.insert(name);
        let below = subcommands(&help.stdout);
        verbs.extend(below.iter().map(|action| format!("{verb} {action}")));
    }
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let names = fs::read_dir(snapshots).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let kept: BTreeSet<_> = names.filter(|name| name.starts_with("help")).collect();
    assert_eq!(kept, expected, "snapshots of the help of verbs");
    assert_eq!(
        scene.run_ok("generate-key-pair --help").stdout,
        scene.run_ok("keygen --help").stdout
    );
    assert_eq!(
        scene.run_ok("--version").stdout,
        format!("cnister {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(scene.run("no-such-verb").code, 2);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            scene.run_ok(&format!("completions {shell}")).stdout.contains("cnister"),
            "{shell}"
        );
    }
}
