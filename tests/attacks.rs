//! Forgeries and hostile names: what an attacker writes into a key, a signature, a policy or a name
//! so that a verifier says yes, or its reader sees something else. Each row has a twin that is
//! accepted.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cnister::model::Digest;
use forge::Forge;
use release::Release;
use serde_json::{Value, json};
use support::{Run, Scene, forge, release};

const PLUGINS: [&str; 2] = ["bridge", "macvlan"];

/// Changes the Sigstore bundle of every signature of a layout.
fn change_signatures(scene: &Scene, layout: &str, change: impl Fn(&mut Value)) {
    let forge = Forge::new(scene.at(layout));
    let path = scene.at(layout).join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    // The lists of referrers have the signatures of before.
    entries.retain(|entry| {
        let tag = &entry["annotations"]["org.opencontainers.image.ref.name"];
        !tag.as_str().is_some_and(|tag| tag.starts_with("sha256-"))
    });
    for entry in entries.iter_mut().skip(1) {
        let mut manifest = forge.read(entry["digest"].as_str().unwrap());
        let mut bundle = forge.read(manifest["layers"][0]["digest"].as_str().unwrap());
        change(&mut bundle);
        let bytes = bundle.to_string();
        manifest["layers"][0]["digest"] = json!(forge.store(bytes.as_bytes()));
        manifest["layers"][0]["size"] = json!(bytes.len());
        let bytes = manifest.to_string();
        entry["digest"] = json!(forge.store(bytes.as_bytes()));
        entry["size"] = json!(bytes.len());
    }
    fs::write(path, index.to_string()).unwrap();
}

/// An Ed25519 public key with this point (RFC 8410, 4), as PEM and as DER.
fn ed25519(point: [u8; 32]) -> (String, Vec<u8>) {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [&prefix[..], &point].concat();
    let text = STANDARD.encode(&der);
    (format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"), der)
}

/// A point with y = `low`, and 255 in all bytes but the last if `high`.
fn point(low: u8, high: bool, sign: bool) -> [u8; 32] {
    let mut bytes = [if high { 0xff } else { 0 }; 32];
    bytes[0] = low;
    bytes[31] = if high { 0x7f } else { 0 } | if sign { 0x80 } else { 0 };
    bytes
}

#[test]
fn a_key_that_verifies_every_signature_is_no_key() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let points = [
        ("the neutral element", point(1, false, false)),
        ("the same with a sign", point(1, false, true)),
        ("order 2", point(0xec, true, false)),
        ("order 4", point(0, false, false)),
        ("the neutral element, not reduced", point(0xee, true, false)),
    ];
    for (name, point) in points {
        let (pem, der) = ed25519(point);
        scene.write("weak.pub", pem);
        // R is the neutral element and S is 0: right for every message under the first point.
        change_signatures(&scene, "layout-a", |bundle| {
            let mut forged = [0; 64];
            forged[0] = 1;
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(STANDARD.encode(forged));
            let hint = Digest::of(&der).to_string();
            let hint = hint.trim_start_matches("sha256:");
            let bytes: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&hint[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            bundle["verificationMaterial"]["publicKey"]["hint"] = json!(STANDARD.encode(bytes));
        });
        let run = scene.run("verify --key weak.pub oci:layout-a");
        assert_eq!(run.code, 2, "{name}: {run:?}");
        assert!(run.stderr.contains("Ed25519 key"), "{name}: {run:?}");
        scene.write("policy.yaml", policy("ghcr.io/*/*", "weak.pub", ""));
        let run = scene.run("verify --policy policy.yaml --as ghcr.io/acme/cni oci:layout-a");
        assert_eq!(run.code, 2, "{name}: {run:?}");
    }
    // A key like any other has not signed it.
    let (pem, _) = ed25519(point(9, false, false));
    scene.write("other.pub", pem);
    let run = scene.run("verify --key other.pub oci:layout-a");
    assert_eq!(run.code, 1, "{run:?}");
}

#[test]
fn a_signature_that_two_readers_take_for_two_is_refused() {
    let message =
        json!({"messageDigest": {"algorithm": "SHA2_256", "digest": "AA=="}, "signature": "AA=="});
    let certificate = json!({"rawBytes": "AA=="});
    type Change = Box<dyn Fn(&mut Value)>;
    let changes: [(&str, Change); 5] = [
        ("an envelope and a message", Box::new(move |it| it["messageSignature"] = message.clone())),
        ("an empty message", Box::new(|it| it["messageSignature"] = json!({}))),
        (
            "a key and a certificate",
            Box::new(move |it| it["verificationMaterial"]["certificate"] = certificate.clone()),
        ),
        (
            "a key and a chain",
            Box::new(|it| {
                it["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": []});
            }),
        ),
        (
            "two signatures",
            Box::new(|it| {
                let list = it["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
                list.push(list[0].clone());
            }),
        ),
    ];
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    for (name, change) in changes {
        forge::copy(&scene.at("layout-a"), &scene.at("layout-b"));
        // The twin: the same documents, written anew.
        change_signatures(&scene, "layout-b", |_| {});
        scene.run_ok("verify --key cosign.pub oci:layout-b");
        change_signatures(&scene, "layout-b", change);
        let run = scene.run("verify --key cosign.pub oci:layout-b");
        assert_eq!(run.code, 1, "{name}: {run:?}");
        fs::remove_dir_all(scene.at("layout-b")).unwrap();
    }
}

fn policy(images: &str, key: &str, more: &str) -> String {
    format!(
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n{more}  - name: all\n    images: [\"{images}\"]\n    \
         authorities:\n      - name: key\n        key: {{ file: {key} }}\n"
    )
}

#[test]
fn no_spelling_of_a_repository_slips_past_a_rule_that_denies_it() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let spellings = [
        ("ghcr.io/acme/cni", "ghcr.io/acme/cni"),
        ("ghcr.io/acme/cni", "GHCR.IO/acme/cni"),
        ("ghcr.io/acme/cni", "ghcr.io:443/acme/cni"),
        ("ghcr.io/acme/cni", "ghcr.io./acme/cni"),
        ("ghcr.io/acme/cni", "Ghcr.Io.:443/acme/cni"),
        ("docker.io/library/cni", "docker.io/cni"),
        ("docker.io/library/cni", "index.docker.io/library/cni"),
        ("docker.io/acme/cni", "registry-1.docker.io/acme/cni"),
        ("[::ffff:192.0.2.1]/acme/cni", "192.0.2.1/acme/cni"),
    ];
    for (denied, spelled) in spellings {
        let deny = format!("  - name: no\n    images: [\"{denied}\"]\n    deny: true\n");
        scene.write("policy.yaml", policy("**", "cosign.pub", &deny));
        let arguments = ["verify", "--policy", "policy.yaml", "oci:layout-a", "--as"];
        let run = scene.cnister(arguments.into_iter().chain([spelled]));
        assert_eq!(run.code, 1, "{denied}, {spelled}: {run:?}");
        assert!(run.stdout.contains("denied-by-rule"), "{denied}, {spelled}: {run:?}");
        // The twin: another repository of that registry.
        let run = scene.cnister(arguments.into_iter().chain([&*format!("{spelled}x")]));
        assert_eq!(run.code, 0, "{denied}, {spelled}: {run:?}");
    }
}

#[test]
fn build_metadata_of_a_version_is_not_above_the_floor() {
    let scene = Scene::new();
    for (name, version) in [("a", "1.9.9+9"), ("b", "2.0.0+1"), ("c", "2.0.0"), ("d", "2.0.0-rc.1")]
    {
        Release::new(&scene, name, version, &PLUGINS, 0);
    }
    // What has the precedence of the floor is not below it (Semantic Versioning 2.0.0, 10).
    for (floor, expected) in [
        ("2.0.0", [1, 0, 0, 1]),
        ("2.0.0+2", [1, 0, 0, 1]),
        ("2.0.0-rc.1+5", [1, 0, 0, 0]),
        ("1.9.9+10", [0, 0, 0, 0]),
    ] {
        let text = policy("**", "cosign.pub", "");
        scene.write("policy.yaml", format!("{text}    minVersion: {floor}\n"));
        let codes = ["a", "b", "c", "d"].map(|name| {
            scene.run(&format!("verify --policy policy.yaml --as x.io/a oci:layout-{name}")).code
        });
        assert_eq!(codes, expected, "{floor}");
    }
}

#[test]
fn what_is_printed_shows_every_character_of_a_name() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let hidden = [
        '\u{61c}',
        '\u{2060}',
        '\u{e0041}',
        '\u{202e}',
        '\u{200b}',
        '\u{feff}',
        '\u{ad}',
        '\u{1b}',
    ];
    for character in hidden {
        let shown = |run: &Run, what: &str| {
            let text = format!("{}{}", run.stdout, run.stderr);
            assert!(!text.contains(character), "{character:?}, {what}: {run:?}");
            let code = u32::from(character);
            assert!(text.contains(&format!("u{{{code:x}}}")), "{character:?}, {what}: {run:?}");
        };
        let name = format!("no{character}ne");
        shown(
            &scene.cnister(["verify", "--key", "cosign.pub", &format!("oci:{name}")]),
            "a layout",
        );
        shown(&scene.cnister(["verify", "--key", &name, "oci:layout-a"]), "a key");
        scene.write(
            "policy.yaml",
            policy("**", "cosign.pub", "").replace("kind:", &format!("{name}: x\nkind:")),
        );
        shown(&scene.run("verify --policy policy.yaml oci:layout-a"), "a field of a policy");
    }
}

#[test]
fn the_length_that_a_record_of_an_archive_claims_is_not_reserved() {
    const CLAIMED: u64 = 6 << 30;
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    for (name, kind) in
        [("long name", b'L'), ("long link", b'K'), ("pax", b'x'), ("global pax", b'g')]
    {
        let mut header = tar::Header::new_gnu();
        header.set_path("record").unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(CLAIMED);
        header.set_mode(0o644);
        header.set_cksum();
        let mut file = File::create(scene.at("record.tar")).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.seek(SeekFrom::Start(512 + CLAIMED)).unwrap();
        file.write_all(&[0; 1024]).unwrap();
        let program = env!("CARGO_BIN_EXE_cnister");
        let line = format!("ulimit -v 1000000; exec {program} inspect oci-archive:record.tar");
        let output = scene.command("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("record"), "{name}: {output:?}");
    }
}

#[test]
fn clients_that_send_nothing_do_not_keep_the_metrics_from_others() {
    let scene = Scene::new();
    fs::create_dir(scene.at("root")).unwrap();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    scene.run_ok(&release.install_args());
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command.args(["watch", "--interval", "1h", "--root", "root", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening at http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    for beginning in ["", "G", "GET /metrics HTTP/1.1\r\nHost: "] {
        let silent: Vec<_> = (0..64)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(beginning.as_bytes()).unwrap();
                stream
            })
            .collect();
        let mut stream = TcpStream::connect(address).unwrap();
        // Far less than the time that a client has.
        stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{beginning:?}: {read:?} {answer}");
        drop(silent);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
