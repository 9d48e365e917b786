//! A release is what was installed, and not the index around it: who can move a tag, and has no
//! key, may put a signed manifest into another index.

use std::fs;

use super::forge::Forge;
use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

const RECEIPT: &str = "root/var/lib/cnister/receipt.json";

/// Ways to present a signed manifest in another form.
#[derive(Debug, Clone, Copy)]
enum Wrap {
    /// The index gets an annotation.
    Annotated,
    /// The index lists the manifest beside that of a platform that the bundle does not have.
    WithAnotherPlatform,
    /// The tag names the manifest itself.
    Alone,
}

const WRAPS: [Wrap; 3] = [Wrap::Annotated, Wrap::WithAnotherPlatform, Wrap::Alone];

/// Presents the release's manifest in another form, and leaves all signatures where they are.
fn wrap(scene: &Scene, release: &Release, wrap: Wrap) {
    let forge = Forge::new(scene.at(&format!("layout-{}", release.name)));
    forge.keeping_signatures(|forge| {
        let annotate = |index: &mut serde_json::Value| {
            index["annotations"]["org.example.wrapped"] = "again".into();
        };
        match wrap {
            Wrap::Annotated => forge.index(annotate),
            Wrap::WithAnotherPlatform => forge.index(|index| {
                let mut other = index["manifests"][0].clone();
                other["platform"]["architecture"] = "s390x".into();
                index["manifests"].as_array_mut().unwrap().push(other);
            }),
            Wrap::Alone => {
                let index = forge.read(&forge.tagged());
                forge.tag(&index["manifests"][0])
            }
        }
    });
}

fn index_of_receipt(scene: &Scene) -> String {
    let receipt = fs::read(scene.at(RECEIPT)).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    receipt["index"].as_str().unwrap().to_owned()
}

#[test]
fn a_release_that_was_rolled_back_stays_away_however_it_is_wrapped() {
    for way in WRAPS {
        let scene = Scene::in_memory();
        let (first, second) = upgraded(&scene);
        scene.run_ok("rollback --root root");
        wrap(&scene, &second, way);
        assert_refused(&scene.run(&second.install_from_layout_args()), "rolled-back");
        assert_eq!(of_release(&scene, &first).len(), 3, "{way:?}");
        // By name it comes back, and then it is not rolled back any more.
        scene.run_ok(&format!("{} --again", second.install_from_layout_args()));
        assert!(!scene.run_ok("status --root root").stdout.contains("rolled back"), "{way:?}");
    }
}

#[test]
fn the_installed_release_in_another_index_is_the_same_release() {
    for way in WRAPS {
        let scene = Scene::in_memory();
        let (first, second) = upgraded(&scene);
        let (index, before) = (index_of_receipt(&scene), scene.tree("root"));
        wrap(&scene, &second, way);
        let run = scene.run_ok(&second.install_from_layout_args());
        node::assert_nothing_to_do(&run, &format!("{way:?}"));
        node::assert_same(&before, &scene.tree("root"), "receipt and evidence stay");
        // The digest that the owner asks for is what the receipt names.
        let forge = Forge::new(scene.at("layout-b"));
        let words = format!("{} --expect {}", second.install_from_layout_args(), forge.tagged());
        scene.run_ok(&words);
        assert_eq!(index_of_receipt(&scene), forge.tagged(), "{way:?}");
        assert_ne!(index_of_receipt(&scene), index, "{way:?}");
        scene.run_ok("check --root root");
        // Neither pushed the earlier generation out.
        scene.run_ok("rollback --root root");
        assert_eq!(of_release(&scene, &first).len(), 3, "{way:?}");
    }
}

#[test]
fn evidence_that_the_node_keeps_proves_a_staged_release_and_exempts_it_from_nothing() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let staged = |release: &Release, policy: &str| {
        format!("install --root root --from staged-{} {policy}", release.name)
    };
    let key = "--key cosign.pub";
    node::assert_nothing_to_do(&scene.run_ok(&staged(&second, key)), "the installed release");
    for (rule, code) in [
        ("minVersion: 1.1.0", "version-below-floor"),
        ("rollback: monotonic", "version-below-floor"),
    ] {
        let policy = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    {rule}\n    \
             authorities: [{{name: us, key: {{file: cosign.pub}}}}]\n"
        );
        scene.write("policy.yaml", policy);
        assert_refused(&scene.run(&staged(&first, "--policy policy.yaml")), code);
        // Nor does the image itself come back as something that is kept.
        let words = first.install_from_layout_args().replace(key, "--policy policy.yaml");
        assert_refused(&scene.run(&words), code);
    }
    scene.run_ok(&staged(&first, key));
    assert_eq!(of_release(&scene, &first).len(), 3);
    scene.run_ok("rollback --root root");
    assert_refused(&scene.run(&staged(&first, key)), "rolled-back");
}
