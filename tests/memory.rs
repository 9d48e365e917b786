//! The memory that parsers take: at most four times the length of their input and two megabytes,
//! whatever the input is. Every parser of bytes from outside has a row here; what whole verbs take,
//! in a container of 32 MiB, is in `tests/crash/memory.rs` and
//! `tests/crash/memory_verbs.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod memory {
    pub(crate) mod allocator;
    pub(crate) mod hostile;
    pub(crate) mod server;
}

use std::io::ErrorKind;

use cnister::binary::{BuildInfo, Elf, GoBuild};
use cnister::bundle::FileManifest;
use cnister::bundle::tar::{Extensions, Kind, MAX_EXTENSIONS, Paths, Rest, Rules, TarError, walk};
use cnister::bundle::{Claim, SignedAsset};
use cnister::check::explain::Symptoms;
use cnister::check::probe::Versions;
use cnister::cni::runtime::{Containerd, Crio, data_dir};
use cnister::cni::{Form, parse_config, parse_definitions, parse_multus_cache, parse_result_cache};
use cnister::model::json::{self, Limits};
use cnister::model::{Digest, Document, image_fields, media_type};
use cnister::node::{Floors, Journal, Receipt, Refusal, RolledBack};
use cnister::trust::{Evidence, Key, Policy, SigstoreBundle, verify_upstream};
use memory::allocator::peak;
use memory::{hostile, server};
use oci_spec::image::ImageConfiguration;
use serde_json::Value;

const MIB: usize = 1024 * 1024;

/// Runs a parser, drops what it returns, and says whether it accepted the input.
type Parser = fn(&[u8]) -> bool;

/// What one parser took.
struct Row {
    name: &'static str,
    parser: Parser,
    /// How many inputs it refused, and how many it accepted.
    answers: [usize; 2],
    /// The most of the bound, in hundredths, and where.
    worst: (usize, String),
}

impl Row {
    fn new(name: &'static str, parser: Parser) -> Self {
        Self { name, parser, answers: [0, 0], worst: (0, String::new()) }
    }

    fn take(&mut self, label: &str, bytes: &[u8]) {
        let (name, length) = (self.name, bytes.len());
        let (accepted, found) = peak(|| (self.parser)(bytes));
        self.answers[usize::from(accepted)] += 1;
        let part = found * 100 / (4 * length + 2 * MIB);
        let answer = if accepted { "accepted" } else { "refused" };
        self.worst = self
            .worst
            .clone()
            .max((part, format!("{found} bytes for {length}, {answer}: {label}")));
        let shown = std::env::var_os("CNISTER_SHOW_MEMORY").is_some();
        assert!(part <= 100 || shown, "{name}: {found} bytes for {length}, {answer}: {label}");
    }

    /// Checks that some inputs were accepted and some refused.
    fn end(self) {
        let Self { name, answers, worst, .. } = self;
        eprintln!("{name}: {}% of the bound at most: {}", worst.0, worst.1);
        assert!(answers.iter().all(|count| *count > 0), "{name}: refused, accepted: {answers:?}");
    }
}

/// Checks a parser of JSON, or of YAML, with documents of up to `size` bytes.
fn documents(name: &'static str, size: usize, samples: &[Value], parser: Parser) {
    let mut row = Row::new(name, parser);
    hostile::documents(samples, size, |label, bytes| row.take(label, bytes));
    row.end();
}

/// What Go's linker writes: a header, and two texts with their lengths.
fn go_build_info(modinfo: &str) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    for text in ["go1.26".to_owned(), format!("{0}{modinfo}{0}", "-".repeat(16))] {
        let groups = [0, 7, 14].map(|shift| u8::try_from((text.len() >> shift) & 0x7f).unwrap());
        bytes.extend([groups[0] | 0x80, groups[1] | 0x80, groups[2]]);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_measured_is_what_is_allocated() {
    assert_eq!(peak(|| drop(vec![0_u8; 1000])).1, 1000);
    let (_, grown) = peak(|| (0..1000_u32).collect::<Vec<_>>().len());
    assert_eq!(grown, 4000);
    let (kept, most) = peak(|| {
        drop(vec![0_u8; 5000]);
        vec![0_u8; 10]
    });
    assert_eq!((kept.len(), most), (10, 5000));
}

#[test]
fn documents_of_an_image() {
    let index = |bytes: &[u8]| Document::new(media_type::INDEX, bytes.to_vec()).index().is_ok();
    let manifest =
        |bytes: &[u8]| Document::new(media_type::MANIFEST, bytes.to_vec()).manifest().is_ok();
    documents("index", MIB, &hostile::indexes(), index);
    documents("manifest", MIB, &hostile::manifests(), manifest);
    documents("a long index", media_type::MANIFEST_LIMIT, &hostile::indexes()[..1], index);
    documents("configuration", MIB, &hostile::configurations(), |bytes| {
        let limits = Limits { bytes: media_type::DOCUMENT_LIMIT, values: 8 * 1024 };
        json::parse_as::<ImageConfiguration>("it", bytes, limits, image_fields::CONFIG).is_ok()
    });
    documents("bundle.json", MIB, &hostile::file_manifests(), |bytes| {
        FileManifest::parse(bytes).is_ok()
    });
}

const KEY: &str = include_str!("data/cosign.pub");

/// Whether it is provenance that the key did not sign, which is found after it was read.
fn is_unsigned_provenance(evidence: &[u8]) -> bool {
    let asset = SignedAsset {
        key: KEY,
        fingerprint: Key::parse(KEY).unwrap().fingerprint(),
        claim: Claim::Provenance,
        evidence,
        subjects: &[Digest::of(b"")],
        is_image: false,
    };
    verify_upstream(&asset).is_err_and(|reason| reason.contains("is not signed by the key"))
}

#[test]
fn proofs() {
    documents("evidence", MIB, &hostile::evidence(), |bytes| Evidence::parse(bytes).is_ok());
    let bundle = |bytes: &[u8]| SigstoreBundle::claim_of(bytes).is_some();
    documents("Sigstore bundle", MIB, &hostile::bundles(), bundle);
    let mut statement = Row::new("statement", bundle);
    hostile::documents(&hostile::statements(), 700 * 1024, |label, bytes| {
        statement.take(label, hostile::bundle(text(bytes)).to_string().as_bytes());
    });
    statement.end();
    let mut provenance = Row::new("provenance", is_unsigned_provenance);
    hostile::documents(&hostile::statements(), 700 * 1024, |label, bytes| {
        let envelope = hostile::bundle(text(bytes))["dsseEnvelope"].to_string();
        provenance.take(label, envelope.as_bytes());
    });
    provenance.end();
    let mut key = Row::new("public key", |bytes| Key::parse(text(bytes)).is_ok());
    key.take("a key", KEY.as_bytes());
    key.take("a long key", KEY.replace("\n-----END", &"A".repeat(MIB)).as_bytes());
    key.take("lines", KEY.replace("\n-----END", &"\n".repeat(MIB)).as_bytes());
    key.end();
}

#[test]
fn what_an_owner_writes() {
    documents("policy", MIB, &hostile::policies(), |bytes| {
        Policy::parse("it", text(bytes), &mut |_| Err(ErrorKind::NotFound.into())).is_ok()
    });
}

#[test]
fn what_a_node_keeps() {
    let sample = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        vec![serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()]
    };
    let digest = Digest::of(b"");
    let rolled_back = vec![serde_json::json!({"schemaVersion": 1, "releases": [digest]})];
    documents("receipt", MIB, &sample("receipt.json"), |bytes| Receipt::parse(bytes).is_ok());
    documents("journal", MIB, &sample("journal.json"), |bytes| Journal::parse(bytes).is_ok());
    documents("refusal", MIB, &sample("refusal.json"), |bytes| Refusal::parse(bytes).is_ok());
    documents("floors", MIB, &sample("floors.json"), |bytes| Floors::parse(bytes).is_ok());
    documents("rolled back", MIB, &rolled_back, |bytes| RolledBack::parse(bytes).is_ok());
}

#[test]
fn what_others_configure() {
    documents("CNI configuration", MIB, &hostile::cni(), |bytes| {
        parse_config("it", bytes, Form::Either).is_ok()
    });
    let cached = hostile::records(|config| {
        serde_json::json!({"kind": "cniCacheV1", "containerId": "c", "networkName": "n", "config": config,
            "cniArgs": [["", ""]], "result": {"": [{}]}})
    });
    documents("result cache", MIB, &cached, |bytes| parse_result_cache("it", bytes).is_ok());
    let delegates = hostile::records(|config| serde_json::json!([{"Name": "n", "Bytes": config}]));
    documents("configuration of Multus", MIB, &hostile::multus(), |bytes| {
        parse_config("it", bytes, Form::Either).is_ok()
    });
    documents("cache of Multus", MIB, &delegates, |bytes| {
        parse_multus_cache("it", "c", bytes).is_ok()
    });
    documents("definitions", 2 * MIB, &hostile::definitions(), |bytes| {
        parse_definitions("it", bytes).is_ok()
    });
    let mut containerd = Row::new("containerd", |bytes| Containerd::parse(bytes).is_ok());
    let mut crio = Row::new("CRI-O", |bytes| Crio::parse(bytes).is_ok());
    let mut rancher = Row::new("k3s and RKE2", |bytes| data_dir(bytes).is_some());
    for (label, text) in hostile::runtime_files(256 * 1024) {
        for row in [&mut containerd, &mut crio, &mut rancher] {
            row.take(&label, text.as_bytes());
        }
    }
    rancher.take("directories", "data-dir: /a\n".repeat(MIB / 13).as_bytes());
    for row in [containerd, crio, rancher] {
        row.end();
    }
}

#[test]
fn programs_and_messages() {
    let mut program =
        Row::new("program", |bytes| Elf::parse(bytes).is_ok_and(|elf| GoBuild::of(&elf).is_ok()));
    program.take("this test", &std::fs::read(std::env::current_exe().unwrap()).unwrap());
    program.take("zeros", &vec![0; 8 * MIB]);
    program.end();
    let mut info = Row::new("build information", |bytes| BuildInfo::parse(bytes).is_some());
    for (label, line, most) in [
        ("modules", "dep\tm\tv\n", 4096),
        ("replaced modules", "dep\tm\tv\n=>\tn\tv\tw\n", 4096),
        ("one module too many", "dep\tm\tv\n", 4097),
        ("unknown lines", "x\n", MIB / 2 - 32),
        ("hidden characters", &format!("build\ta={}\n", "\u{80}".repeat(16 * 1024 - 1)), 1),
    ] {
        info.take(label, &go_build_info(&format!("path\tp\n{}", line.repeat(most))));
    }
    info.end();
    let mut symptoms =
        Row::new("text of `explain`", |bytes| !Symptoms::read(bytes).known.is_empty());
    let known = "failed to find plugin \"macvlan\" in path [/opt/cni/bin]\n";
    for piece in [
        known,
        "\\\"",
        "\\\\\\\\",
        "a\n",
        "\n",
        "{\"",
        "failed to find plugin \"",
        "Link ",
        "panic: ",
        "signal: ",
        "fork/exec /x: permission denied ",
    ] {
        let text = piece.repeat(MIB / piece.len());
        symptoms.take(piece, text.as_bytes());
        let units = text.encode_utf16().take(MIB / 2);
        let utf_16: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        symptoms.take(&format!("{piece} in UTF-16"), &utf_16);
    }
    // Three bytes for each two.
    let wide: Vec<u8> =
        std::iter::repeat_n('\u{800}' as u16, MIB / 2).flat_map(u16::to_le_bytes).collect();
    symptoms.take("wide UTF-16", &[b"\xff\xfe", wide.as_slice()].concat());
    symptoms.end();
}

#[test]
fn answers_of_plugins_and_servers() {
    let answers = [
        serde_json::json!({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"], "extra": {"": ""}}),
    ];
    documents("answer to VERSION", 64 * 1024, &answers, |bytes| Versions::parse(bytes).is_ok());
    server::start();
    let errors = [
        serde_json::json!({"errors": [{"code": "DENIED", "message": "no", "detail": [""]}, {}]}),
        serde_json::json!({"kind": "Status", "message": "no", "details": {"causes": [{"": ""}]}}),
    ];
    for size in [16 * 1024, MIB] {
        documents("body of an error", size, &errors, server::explains);
    }
}

#[test]
fn archives() {
    const LAYER: Rules = Rules {
        members: 1024,
        bytes: 1 << 30,
        kinds: &[Kind::File, Kind::Directory],
        extensions: Extensions::Refused,
        paths: Paths::Plain,
        rest: Rest::Zeros,
        extension_bytes: MAX_EXTENSIONS,
    };
    const LAYOUT: Rules = Rules {
        members: 16 * 1024,
        bytes: u64::MAX,
        extensions: Extensions::OfOneMember,
        paths: Paths::Relative,
        rest: Rest::Anything,
        ..LAYER
    };
    const SOURCE: Rules = Rules { extensions: Extensions::All, ..LAYOUT };
    let parsers: [(_, Parser); 3] = [
        ("archive of a layer", |bytes| walk(bytes, &LAYER, |_| Ok::<_, TarError>(())).is_ok()),
        ("archive of a layout", |bytes| walk(bytes, &LAYOUT, |_| Ok::<_, TarError>(())).is_ok()),
        ("archive of a source", |bytes| walk(bytes, &SOURCE, |_| Ok::<_, TarError>(())).is_ok()),
    ];
    for (name, parser) in parsers {
        let mut row = Row::new(name, parser);
        hostile::archives(|label, bytes| row.take(label, bytes));
        row.end();
    }
}

#[cfg(feature = "publish")]
#[test]
fn what_a_publisher_reads() {
    use cnister::attest::Described;
    use cnister::bundle::lock::BundleLock;
    use cnister::bundle::rootfs::{Rootfs, list_layer};
    use cnister::bundle::{ChecksumFile, Definition, SumProof};
    use cnister::publish::keys::KeyFile;
    for sample in hostile::bundle_definitions() {
        Definition::parse("it", &sample.to_string()).unwrap();
    }
    documents("definition of a bundle", MIB, &hostile::bundle_definitions(), |bytes| {
        Definition::parse("it", text(bytes)).is_ok()
    });
    let lock = include_bytes!("../fuzz/corpus/lock/seed-archive");
    let go = include_bytes!("../fuzz/corpus/lock/seed-go");
    let lock = [lock.as_slice(), go].map(|lock| serde_json::from_slice(lock).unwrap());
    documents("lock", MIB, &lock, |bytes| BundleLock::parse("it", bytes).is_ok());
    let described = |bytes: &[u8]| Described::parse(bytes).is_ok();
    documents("attached document", MIB, &hostile::attached_documents(), described);
    let mut sums = Row::new("checksum file", |bytes| ChecksumFile::parse(bytes).is_ok());
    let line = |number: usize| format!("{number:064x}  name-{number}\n");
    let digest = Digest::of(b"").hex();
    for (label, content) in [
        ("lines", (0..9000).map(line).collect::<String>()),
        ("too many lines", (0..12_000).map(line).collect()),
        ("one digest", digest.clone()),
        ("empty lines", "\n".repeat(MIB)),
        ("a long name", format!("{digest}  {}", "n".repeat(MIB - 128))),
        ("short lines", "a\n".repeat(MIB / 2)),
    ] {
        sums.take(label, content.as_bytes());
    }
    sums.end();
    let mut layers = Row::new("layer of an image", |bytes| {
        list_layer(bytes, &mut Rootfs::default(), &mut 0).is_ok()
    });
    hostile::archives(|label, bytes| layers.take(label, bytes));
    layers.take("names behind links to a long path", &hostile::long_behind_links());
    layers.end();
    let mut proof =
        Row::new("proof of the checksum database", |bytes| SumProof::parse(bytes).is_ok());
    let text = include_str!("../fuzz/corpus/sum_proof/seed-plugins");
    let line = text.lines().nth(3).unwrap();
    for (label, content) in [
        ("a proof", text.to_owned()),
        ("a long path", text.replacen(line, &[line; 1300].join("\n"), 1)),
        ("a long record", text.replacen("extra ", &format!("extra {}", "A".repeat(60_000)), 1)),
        ("a long checkpoint", text.to_owned() + &"a".repeat(60_000)),
        ("too long", "a".repeat(MIB)),
    ] {
        proof.take(label, content.as_bytes());
    }
    proof.end();
    let mut key = Row::new("private key", |bytes| KeyFile::parse(bytes).is_ok());
    hostile::documents(&hostile::keys(), 48 * 1024 - 128, |label, bytes| {
        key.take(label, hostile::pem(bytes).as_bytes());
    });
    let pem = hostile::pem(hostile::keys()[0].to_string().as_bytes());
    for size in [60 * 1024, MIB] {
        for piece in ["A", "\n", " "] {
            let longer = pem.replace("\n-----END", &format!("{}\n-----END", piece.repeat(size)));
            key.take(&format!("{size} of {piece:?}"), longer.as_bytes());
            key.take("a long label", pem.replace("ENCRYPTED", &piece.repeat(size)).as_bytes());
        }
    }
    key.end();
}
