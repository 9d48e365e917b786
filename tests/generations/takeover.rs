//! A bundle of another name, or from another repository, does not take the installed one's place in
//! silence.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cnister::node::{Journal, Receipt};

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release};

const PLUGINS: [&str; 2] = ["bridge", "macvlan"];
const FROM: &str = "--as ghcr.io/acme/cni";

fn words(release: &Release) -> String {
    format!("{} {FROM}", release.install_from_layout_args())
}

#[test]
fn a_bundle_of_another_name_is_refused_until_it_may_replace_the_installed_one() {
    let scene = Scene::in_memory();
    let base = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let other = Release::named(&scene, "extra", "b", "99.0.0", &["tuning"]);
    node::new(&scene);
    scene.run_ok(&words(&base));
    let before = scene.tree("root");
    for more in ["", " --prune", " --dry-run", " --again", " --replace extra"] {
        let run = scene.run(&format!("{}{more}", words(&other)));
        assert_refused(&run, "other-bundle");
        assert!(run.stdout.contains("hint: to replace it, add --replace test"), "{more}");
        node::assert_same(&before, &scene.tree("root"), more);
    }
    // The policy and the plugins of the first stay, and a pod says so.
    let kept = scene.run_ok(&format!("{} --on-refusal keep", words(&other)));
    assert!(kept.stdout.contains("other-bundle"), "{}", kept.stdout);
    scene.run_ok("check --root root --at-boot --expect-bundle test");
    scene.run_ok(&words(&base));

    scene.run_ok(&format!("{} --replace test --prune", words(&other)));
    assert_eq!(of_release(&scene, &other), ["tuning"]);
    assert_eq!(of_release(&scene, &base), [""; 0]);
    assert_refused(&scene.run("check --root root --expect-bundle test"), "other-bundle");
    // A manifest that says it once may say it for ever.
    node::assert_nothing_to_do(
        &scene.run_ok(&format!("{} --replace test", words(&other))),
        "already replaced",
    );
    assert_refused(&scene.run(&words(&base)), "other-bundle");
}

#[test]
fn the_same_name_from_another_repository_is_another_bundle() {
    let scene = Scene::in_memory();
    let base = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let newer = Release::new(&scene, "b", "99.0.0", &PLUGINS, 0);
    node::new(&scene);
    // Nothing is known of the origin of an image without a name.
    scene.run_ok(&base.install_from_layout_args());
    scene.run_ok(&words(&base));
    for name in ["ghcr.io/acme/other", "ghcr.io/acme", "quay.io/acme/cni"] {
        let run = scene.run(&format!("{} --as {name}", newer.install_from_layout_args()));
        assert_refused(&run, "other-origin");
        assert!(run.stdout.contains("  expected: ghcr.io/acme/cni\n"), "{}", run.stdout);
    }
    assert_eq!(of_release(&scene, &base).len(), 2);
    scene.run_ok(&words(&newer));
    let moved = newer.install_from_layout_args();
    scene.run_ok(&format!("{moved} --as quay.io/acme/cni --replace test"));
    assert_refused(&scene.run(&words(&newer)), "other-origin");
}

#[test]
fn an_image_without_a_name_keeps_the_origin_of_the_installed_bundle() {
    let scene = Scene::in_memory();
    let [base, newer, newest] = [("a", "1.0.0"), ("b", "2.0.0"), ("c", "3.0.0")]
        .map(|(tag, version)| Release::new(&scene, tag, version, &PLUGINS, 0));
    node::new(&scene);
    scene.run_ok(&words(&base));
    let staged =
        |release: &Release, more: &str| format!("{}{more}", release.install_from_layout_args());
    scene.run_ok(&staged(&newer, ""));
    // Twice, since the second run starts from what the first one recorded.
    scene.run_ok(&staged(&newer, ""));
    assert_refused(&scene.run(&staged(&newest, " --as ghcr.io/acme/other")), "other-origin");
    scene.run_ok("check --root root --expect-bundle test");
    // Under a rule that denies the origin, being carried by hand changes nothing.
    scene.write(
        "policy.yaml",
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - {name: gone, images: [\"ghcr.io/acme/**\"], deny: true}\n  \
           - name: all\n    images: [\"**\"]\n    authorities: [{name: us, key: {file: cosign.pub}}]\n",
    );
    let by_policy = staged(&newest, "").replace("--key cosign.pub", "--policy policy.yaml");
    let run = scene.run(&by_policy);
    assert_refused(&run, "other-origin");
    assert!(run.stdout.contains("  expected: ghcr.io/acme/cni\n"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &newer).len(), 2);
    scene.run_ok(&staged(&newest, " --replace test"));
    scene.run_ok(&staged(&newest, " --as ghcr.io/acme/other"));
}

#[test]
fn a_rule_says_which_plugins_a_bundle_may_bring() {
    let scene = Scene::in_memory();
    let base = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let more = Release::new(&scene, "b", "1.1.0", &["bridge", "loopback", "macvlan", "sneaky"], 0);
    let rule = |mode: &str| {
        let policy = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    \
             plugins: [bridge, macvlan]\n    mode: {mode}\n    authorities: [{{name: us, key: {{file: cosign.pub}}}}]\n"
        );
        scene.write("policy.yaml", policy);
    };
    node::new(&scene);
    for mode in ["enforce", "warn"] {
        rule(mode);
        let by_policy = |words: String| words.replace("--key cosign.pub", "--policy policy.yaml");
        let run = scene.run(&by_policy(more.install_from_layout_args()));
        assert_refused(&run, "plugin-not-allowed");
        assert!(run.stdout.contains("`loopback`") && run.stdout.contains("`sneaky`"));
        assert!(!run.stdout.contains("a plugin `bridge`"), "{}", run.stdout);
        scene.run_ok(&by_policy(base.install_from_layout_args()));
    }
}

/// Leaves of an installation what an interruption before its receipt leaves: files and a journal.
fn interrupt(scene: &Scene) {
    let state = scene.at("root/var/lib/cnister");
    let receipt = Receipt::parse(&fs::read(state.join("receipt.json")).unwrap()).unwrap();
    let journal = scene.write(
        "root/var/lib/cnister/journal.json",
        cnister::model::json::readable(&Journal::of(&receipt)),
    );
    fs::set_permissions(journal, fs::Permissions::from_mode(0o600)).unwrap();
    for record in ["receipt.json", "floors.json"] {
        fs::remove_file(state.join(record)).unwrap();
    }
    fs::remove_dir_all(scene.at("root/etc/cnister")).unwrap();
}

#[test]
fn an_interrupted_installation_is_taken_over_by_no_other_bundle() {
    let newer = |scene: &Scene| words(&Release::new(scene, "b", "1.1.0", &PLUGINS, 0));
    let extra = |scene: &Scene| words(&Release::named(scene, "extra", "b", "9.0.0", &["tuning"]));
    let moved = |scene: &Scene| newer(scene).replace("acme/cni", "acme/other");
    let nameless = |scene: &Scene| newer(scene).replace(FROM, "");
    // What was interrupted, and what is said of the bundle `test` 1.0.0; the last is this itself.
    type Make<'a> = Option<&'a dyn Fn(&Scene) -> String>;
    let cases: [(Make<'_>, Option<(&str, &str)>); 5] = [
        (Some(&extra), Some(("other-bundle", "extra"))),
        (Some(&moved), Some(("other-origin", "test"))),
        (Some(&newer), None),
        (Some(&nameless), None),
        (None, None),
    ];
    for (interrupted, expected) in cases {
        let scene = Scene::in_memory();
        let wanted = words(&Release::new(&scene, "a", "1.0.0", &PLUGINS, 0));
        let interrupted = interrupted.map_or_else(|| wanted.clone(), |make| make(&scene));
        node::new(&scene);
        scene.run_ok(&interrupted);
        interrupt(&scene);
        let before = scene.tree("root");
        let Some((code, installed)) = expected else {
            scene.run_ok(&format!("{wanted} --dry-run"));
            scene.run_ok(&wanted);
            scene.run_ok("check --root root");
            continue;
        };
        for more in
            ["", " --dry-run", " --again", " --prune", " --replace none", " --on-refusal keep"]
        {
            let run = scene.run(&format!("{wanted}{more}"));
            assert_refused(&run, code);
            assert!(run.stdout.contains(&format!("add --replace {installed}")), "{more}");
            assert!(run.stdout.contains("was interrupted"), "{more}: {}", run.stdout);
            // The reason of a refusal is recorded.
            let mut after = scene.tree("root");
            after.remove("var/lib/cnister/refusal.json");
            assert_eq!(before, after, "{more}");
        }
        // Its own bundle finishes it.
        scene.run_ok(&format!("{interrupted} --dry-run"));
        scene.run_ok(&format!("{wanted} --replace {installed}"));
        scene.run_ok("check --root root --expect-bundle test");
    }
}

#[test]
fn records_that_outlive_an_installation_keep_no_bundle_away() {
    for kept in [&["floors.json"][..], &["rolled-back.json"], &["floors.json", "rolled-back.json"]]
    {
        let scene = Scene::in_memory();
        let base = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        let newer = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
        let extra = Release::named(&scene, "extra", "c", "9.0.0", &["tuning"]);
        node::new(&scene);
        scene.run_ok(&words(&base));
        scene.run_ok(&words(&newer));
        scene.run_ok("rollback --root root");
        for entry in fs::read_dir(scene.at("root/var/lib/cnister")).unwrap() {
            let path = entry.unwrap().path();
            if !kept.iter().any(|name| path.ends_with(name)) {
                drop(fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)));
            }
        }
        scene.run_ok(&format!("{} --dry-run", words(&extra)));
        scene.run_ok(&words(&extra));
        scene.run_ok("check --root root --expect-bundle extra");
    }
}

#[test]
fn a_journal_that_names_no_bundle_is_of_an_earlier_version_and_is_finished() {
    let scene = Scene::in_memory();
    let extra = Release::named(&scene, "extra", "b", "9.0.0", &["tuning"]);
    let base = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&words(&extra));
    interrupt(&scene);
    let journal = scene.at("root/var/lib/cnister/journal.json");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("  \"bundle\": \"extra\",\n", "")).unwrap();
    scene.run_ok(&words(&base));
}
