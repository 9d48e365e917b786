//! A bundle of two releases and an image, from its definition to a node.

use std::fs;
use std::process::Command;

use cnister::model::Digest;
use serde_json::Value;

use crate::support::upstream::Upstream;
use crate::support::web::Web;
use crate::support::{Scene, image, node_binary, peer, registries};

/// An archive of these plugins, as `tar` makes one.
fn archive(scene: &Scene, name: &str, option: &str, plugins: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["-C", "plugins", option, "-cf"]).arg(scene.at(name)).current_dir(scene.path());
    tar.args(plugins.iter().map(|plugin| format!("./{plugin}")));
    assert!(tar.status().unwrap().success());
    fs::read(scene.at(name)).unwrap()
}

#[test]
fn two_releases_and_an_image_become_attested_plugins_of_known_origin_on_a_node() {
    let (Some(plugins), Some(skopeo), Some(tool)) =
        (image::plugins(), peer("skopeo"), node_binary())
    else {
        return;
    };
    let scene = Scene::new();
    for name in ["bridge", "macvlan", "portmap", "host-local"] {
        fs::create_dir_all(scene.at("plugins")).unwrap();
        fs::copy(plugins.join(name), scene.at("plugins").join(name)).unwrap();
    }
    let base = archive(&scene, "base-v1.tgz", "--gzip", &["bridge", "macvlan"]);
    let other = archive(&scene, "portmap-v2.tar.zst", "--zstd", &["portmap"]);
    let sums = |name: &str, bytes: &[u8]| format!("{}  {name}\n", Digest::of(bytes).hex());
    let web = Web::serve(
        &[
            ("/base/v1/base-v1.tgz.sha256", sums("base-v1.tgz", &base).into_bytes()),
            ("/base/v1/base-v1.tgz", base),
            ("/other/v2/portmap-v2.tar.zst", other.clone()),
        ],
        None,
    );
    let checksums = Web::serve(
        &[("/sums/checksums.txt", sums("portmap-v2.tar.zst", &other).into_bytes())],
        None,
    );
    let upstream = Upstream::new(scene.at("upstream"));
    let host_local = fs::read(scene.at("plugins/host-local")).unwrap();
    let files: &[(&str, &[u8])] = &[("usr/local/bin/host-local", &host_local)];
    upstream.index("v3", &[upstream.image("amd64", &[files]), upstream.attestation()]);

    scene.run_ok("keygen");
    scene.write(
        "policy.yaml",
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: attested\n    \
         images: [\"**\"]\n    authorities: [{name: key, key: {file: cosign.pub}}]\n    attestations:\n      \
         - {name: sbom, predicateType: cyclonedx}\n      \
         - {name: provenance, predicateType: slsaprovenance1}\n",
    );
    for server in registries::both(scene.path()) {
        let of = |name: &str| format!("{name}-{}", server.name);
        let image = format!("{}/acme/host-local:v3", server.host);
        upstream.push(&skopeo, &image);
        // The same machine under another name, which is another host for `checksum-independent`.
        let sums = checksums.url("/sums/checksums.txt").replace("127.0.0.1", "localhost");
        let definition = of("bundle") + ".yaml";
        scene.write(
            &definition,
            format!(
                "apiVersion: cnister.dev/v1\nkind: Bundle\nname: composed\nversion: 1.2.3\n\
                 platforms: [linux/amd64]\nsources:\n  \
                 - name: base\n    archive: {{from: \"{base}\", version: v1}}\n  \
                 - name: other\n    archive: {{from: \"{other}\", version: v2, checksums: \"{sums}\"}}\n  \
                 - name: image\n    image: {{from: \"{image}\"}}\n\
                 plugins:\n  - {{name: bridge, source: base}}\n  - {{name: macvlan, source: base}}\n  \
                 - {{name: portmap, source: other}}\n  - {{name: host-local, source: image}}\n\
                 gates: {{static: true, noPacker: true, cniVersion: 1.0.0, minLevel: tofu}}\n",
                base = web.url("/base/{version}/base-{version}.tgz"),
                other = web.url("/other/{version}/portmap-{version}.tar.zst"),
            ),
        );
        scene.run_ok(&format!("lock {definition} --cache-dir cache"));
        scene.run_ok(&format!("lock {definition} --check"));
        let layout = of("layout");
        let attach = format!("--sbom cyclonedx --provenance --tool {}", tool.display());
        scene.run_ok(&format!("build {definition} --cache-dir cache -o {layout} {attach}"));
        // An unsigned bundle, and one without its documents, is refused.
        let target = format!("{}/cni/composed:1.2.3", server.host);
        assert_eq!(scene.run(&format!("verify --policy policy.yaml oci:{layout}")).code, 1);
        scene.run_ok(&format!("sign --key cosign.key oci:{layout}"));
        assert_eq!(scene.run(&format!("verify --policy policy.yaml oci:{layout}")).code, 1);
        scene.run_ok(&format!("sign --key cosign.key --attest oci:{layout}"));
        scene.run_ok(&format!("push oci:{layout} {target}"));
        scene.run_ok(&format!("verify --policy policy.yaml {target}"));
        let root = of("root");
        fs::create_dir(scene.at(&root)).unwrap();
        scene.run_ok(&format!("install --policy policy.yaml --root {root} {target}"));
        // Every origin, on the node and from the registry.
        let base = web.url("/base/v1/base-v1.tgz");
        let other = web.url("/other/v2/portmap-v2.tar.zst");
        let status = scene.run_ok(&format!("status --root {root}")).stdout;
        let inspect = scene.run_ok(&format!("inspect {target}")).stdout;
        for (plugins, location, level) in [
            ("bridge, macvlan", &base, "checksum-same-origin"),
            ("portmap", &other, "checksum-independent"),
            ("host-local", &image, "tofu"),
        ] {
            for text in [&status, &inspect] {
                let line = text.lines().find(|line| line.contains(location.as_str()));
                let line = line.unwrap_or_else(|| panic!("{location} is not in:\n{text}"));
                assert!(line.contains(level) && line.ends_with(&format!(": {plugins}")), "{line}");
            }
        }
        let json = scene.run_ok(&format!("status --root {root} --format json")).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["present"]["origins"].as_array().map(Vec::len), Some(4), "{json}");
        // They are the plugins, and they answer.
        drop(server);
        let check = format!("check --policy policy.yaml --root {root} --no-probe");
        scene.run_ok(&check);
        for name in ["bridge", "macvlan", "portmap", "host-local"] {
            let installed = scene.at(&format!("{root}/opt/cni/bin/{name}"));
            assert_eq!(fs::read(&installed).unwrap(), fs::read(plugins.join(name)).unwrap());
            let answer = scene.run_command(scene.command(&installed).env("CNI_COMMAND", "VERSION"));
            assert!(answer.stdout.contains("\"1.0.0\""), "{name}: {answer:?}");
        }
    }
}
