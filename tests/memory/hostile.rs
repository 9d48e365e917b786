//! Inputs that take as much memory as they can: every list, map and text of a valid document grown
//! to every length that a parser may accept or refuse, and documents that are nothing else.

use serde_json::{Value, json};

/// How often an entry is repeated, besides as often as there is room: around every limit of a
/// count.
const COUNTS: [usize; 4] = [255, 1360, 4090, 8180];

/// Calls `take` with a name and a document for each way to make `samples` as large as `size`.
pub(crate) fn documents(samples: &[Value], size: usize, mut take: impl FnMut(&str, &[u8])) {
    // A short document that becomes many values is the worst; long ones are among the junk.
    let grown_to = size.min(256 * 1024);
    for sample in samples {
        take("a sample", sample.to_string().as_bytes());
        for pointer in pointers(sample) {
            let rest = sample.to_string().len();
            for grown in grown(sample.pointer(&pointer).unwrap(), grown_to.saturating_sub(rest)) {
                let mark = "\u{2}";
                let mut with_mark = sample.clone();
                *with_mark.pointer_mut(&pointer).unwrap() = mark.into();
                let text = with_mark.to_string().replace(r#""\u0002""#, &grown);
                take(&format!("`{pointer}` of {} bytes", grown.len()), text.as_bytes());
            }
        }
    }
    for (label, text) in junk(size) {
        take(label, text.as_bytes());
    }
}

/// Documents of no kind.
fn junk(size: usize) -> Vec<(&'static str, String)> {
    let fill = |open: &str, entry: &str, close: &str| {
        let count = (size - open.len() - close.len() - entry.len()) / (entry.len() + 1);
        format!("{open}{}{entry}{close}", format!("{entry},").repeat(count))
    };
    vec![
        ("numbers", fill("[", "0", "]")),
        ("lists", fill("[", "[0]", "]")),
        ("objects", fill("[", r#"{"":0}"#, "]")),
        ("lists in lists", fill("[", "[[[[[]]]]]", "]")),
        ("keys", object(size, r#""""#)),
        ("long keys", fill("[", &object(size / 3, "0"), "]")),
        ("a text", fill("[", &format!("\"{}\"", r"\u0041".repeat((size - 6) / 6)), "]")),
        ("levels", "[".repeat(size)),
        ("blanks", " ".repeat(size)),
    ]
}

/// An object with as many keys as there is room for.
fn object(size: usize, value: &str) -> String {
    let mut text = "{".to_owned();
    for number in 0_usize.. {
        let key = format!("\"{number:x}\":{value}");
        if text.len() + key.len() + 2 > size {
            break;
        }
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(&key);
    }
    text + "}"
}

/// The place of every value in a document.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut below = |key: &str, value: &Value| {
        found.extend(pointers(value).into_iter().map(|rest| format!("/{key}{rest}")));
    };
    match value {
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(at, entry)| below(&at.to_string(), entry));
        }
        Value::Object(members) => members.iter().for_each(|(key, member)| {
            below(&key.replace('~', "~0").replace('/', "~1"), member);
        }),
        _ => {}
    }
    found
}

/// A value in the lengths up to `size`.
fn grown(value: &Value, size: usize) -> Vec<String> {
    let times = |length: usize| {
        let most = size / (length + 1);
        COUNTS.into_iter().filter(move |count| *count < most).chain([most])
    };
    match value {
        Value::Array(entries) if !entries.is_empty() => {
            let entries: Vec<String> = entries.iter().map(Value::to_string).collect();
            let longest = entries.iter().map(String::len).max().unwrap();
            let lists = times(longest).map(|count| {
                let entries: Vec<&str> =
                    entries.iter().cycle().take(count).map(String::as_str).collect();
                format!("[{}]", entries.join(","))
            });
            lists.collect()
        }
        Value::Object(members) if !members.is_empty() => {
            let (name, member) = members.iter().next_back().unwrap();
            let (name, member) = (Value::from(name.as_str()).to_string(), member.to_string());
            let name = name.trim_end_matches('"');
            let maps = times(name.len() + 8 + member.len()).map(|count| {
                let members: Vec<String> =
                    (0..count).map(|number| format!("{name}{number:x}\":{member}")).collect();
                format!("{{{}}}", members.join(","))
            });
            maps.collect()
        }
        Value::String(text) => {
            let longer = |piece: &str, length: usize| {
                format!("\"{text}{}\"", piece.repeat(size.saturating_sub(text.len() + 2) / length))
            };
            vec![longer(r"a\u0061", 7)]
        }
        _ => vec!["{}".to_owned(), "[]".to_owned()],
    }
}

/// A descriptor; with every field that one can have.
fn descriptors() -> [Value; 2] {
    let digest = format!("sha256:{}", "0".repeat(64));
    let least = json!({"mediaType": "", "digest": digest, "size": 0});
    let mut all = least.clone();
    all.as_object_mut().unwrap().extend(
        json!({
            "urls": [""], "annotations": {"": ""}, "data": "", "artifactType": "",
            "platform": {"architecture": "", "os": "", "os.version": "", "os.features": [""], "variant": "",
                "features": [""]},
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    [least, all]
}

pub(crate) fn indexes() -> Vec<Value> {
    let of = |descriptor: &Value| json!({"schemaVersion": 2, "artifactType": "", "manifests": [descriptor], "annotations": {"": ""}});
    descriptors().iter().map(of).collect()
}

pub(crate) fn manifests() -> Vec<Value> {
    let of = |descriptor: &Value| {
        json!({"schemaVersion": 2, "artifactType": "", "config": descriptor, "layers": [descriptor],
            "subject": descriptor, "annotations": {"": ""}})
    };
    descriptors().iter().map(of).collect()
}

pub(crate) fn configurations() -> Vec<Value> {
    vec![json!({
        "created": "2026-01-31T12:00:00Z", "author": "", "architecture": "", "os": "", "os.features": [""],
        "rootfs": {"type": "layers", "diff_ids": [""]}, "history": [{}, {"created_by": ""}],
        "config": {"User": "", "Env": [""], "Cmd": [""], "Labels": {"": ""}, "Volumes": {"": {}}, "ExposedPorts": {"": {}}},
    })]
}

pub(crate) fn evidence() -> Vec<Value> {
    let root = "{\"manifests\": []}";
    let digest = cnister::model::Digest::of(root.as_bytes());
    let document = json!({"digest": digest, "mediaType": "", "content": root});
    vec![json!({
        "mediaType": "application/vnd.cnister.evidence.v1+json", "root": digest, "documents": [document],
        "signatures": [{"mediaType": "", "content": ""}],
    })]
}

/// A Sigstore bundle around a payload.
pub(crate) fn bundle(payload: &str) -> Value {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
        "dsseEnvelope": {"payload": base64(payload.as_bytes()), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64(b"signature")}]},
    })
}

pub(crate) fn statements() -> Vec<Value> {
    let subject =
        json!({"digest": {"sha256": "0".repeat(64)}, "name": "", "annotations": {"": ""}});
    vec![json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "", "subject": [{"digest": {}}, subject],
        "predicate": {"": [{}, [], ""]},
    })]
}

pub(crate) fn bundles() -> Vec<Value> {
    let payload = statements()[0].to_string();
    let mut logged = bundle(&payload);
    logged["verificationMaterial"]["tlogEntries"] = json!([{"logIndex": "1", "logId": {"keyId": ""},
        "kindVersion": {"kind": "dsse", "version": "0.0.1"}, "canonicalizedBody": ""}]);
    vec![bundle(&payload), logged]
}

pub(crate) fn file_manifests() -> Vec<Value> {
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![json!({
        "mediaType": "application/vnd.cnister.bundle.v1+json", "name": "a", "version": "1.0.0", "platform": "linux/amd64",
        "diffId": digest, "plugins": [{"name": "a", "digest": digest, "size": 0, "linkage": "static"}],
    })]
}

/// A configuration with every place that is walked.
pub(crate) fn cni() -> Vec<Value> {
    vec![
        json!({"type": "a"}),
        json!({"cniVersion": "1.0.0", "cniVersions": ["1.0.0"], "name": "", "plugins": [{"type": "a"}], "x": [0, {"": 0}]}),
        json!({"type": "a", "ipam": {"type": "b"}, "delegates": [{"plugins": [{"type": "c"}]}], "args": {"": {"": 0}}}),
    ]
}

/// A configuration of Multus, with its lists of networks.
pub(crate) fn multus() -> Vec<Value> {
    vec![json!({
        "cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "confDir": "/a", "binDir": "/b",
        "clusterNetwork": "a", "defaultNetworks": [""], "systemNamespaces": [""],
        "delegates": [{"type": "a", "ipam": {"type": "b"}}, {"name": "c", "plugins": [{"type": "c"}]}],
    })]
}

/// Records of attachments with one of those configurations, in base64.
pub(crate) fn records(record: fn(&str) -> Value) -> Vec<Value> {
    use base64::Engine as _;
    let many = json!({"plugins": vec![json!({"type": "a"}); 1000]});
    let encoded = |config: &Value| {
        record(&base64::engine::general_purpose::STANDARD.encode(config.to_string()))
    };
    cni().iter().chain([&many]).map(encoded).collect()
}

pub(crate) fn definitions() -> Vec<Value> {
    let item = |config: &Value| {
        json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "", "annotations": {"": ""},
            "managedFields": [{"": {"": 0}}]}, "spec": {"config": config.to_string()}})
    };
    let many = json!({"plugins": vec![json!({"type": "a"}); 1000]});
    let items: Vec<Value> = cni().iter().map(item).collect();
    vec![
        json!({"kind": "List", "items": items}),
        json!({"kind": "List", "items": [item(&many)]}),
        item(&many),
    ]
}

pub(crate) fn policies() -> Vec<Value> {
    let rule = json!({"name": "a", "images": ["**"], "mode": "warn"});
    vec![json!({"apiVersion": "cnister.dev/v1", "kind": "Policy", "rules": [rule]})]
}

#[cfg(feature = "publish")]
pub(crate) fn bundle_definitions() -> Vec<Value> {
    let sources = json!([{"name": "a", "directory": "/a"},
        {"name": "b", "archive": {"from": "https://b.example/b.tgz", "version": "1",
            "sha256": "0".repeat(64), "members": {"b": "c"}}},
        {"name": "c", "image": {"from": "b.example/c:{version}", "version": "1", "paths": {"c": "/c"}}},
        {"name": "d", "go": {"module": "b.example/d", "version": "v1.0.0", "toolchain": "1.26.8",
            "packages": {"d": "./d"}, "tags": ["d"], "variables": {"main.version": "{version}"}}}]);
    let plugins = json!(["a", "b", "c", "d"].map(|name| json!({"name": name, "source": name})));
    let head = json!({"apiVersion": "cnister.dev/v1", "kind": "Bundle", "name": "a", "version": "1.0.0",
        "platforms": ["linux/amd64"], "sources": sources, "plugins": plugins,
        "gates": {"allowSetId": ["b"], "mainPackage": {"b": "b.example/b"}, "kubernetes": ">=1.28"}});
    let mut least = head.clone();
    least["sources"] = json!([sources[0]]);
    least["plugins"] = json!(["a"]);
    least["gates"] = json!({});
    vec![least, head]
}

/// What a build attaches to an image, in each format.
#[cfg(feature = "publish")]
pub(crate) fn attached_documents() -> Vec<Value> {
    let hex = "0".repeat(64);
    let component = json!({"name": "a", "hashes": [{"alg": "SHA-256", "content": hex}]});
    let package = |purpose: &str| {
        json!({"packageFileName": "a", "primaryPackagePurpose": purpose,
            "checksums": [{"algorithm": "SHA256", "checksumValue": hex}]})
    };
    let file = |purpose: &str| {
        json!({"name": "a", "software_primaryPurpose": purpose,
            "verifiedUsing": [{"algorithm": "sha256", "hashValue": hex}]})
    };
    let input = json!({"digest": {"sha256": hex}, "annotations": {"dev.cnister.path": "a"}});
    vec![
        json!({"bomFormat": "CycloneDX", "metadata": {"component": component}, "components": [component]}),
        json!({"spdxVersion": "SPDX-2.3", "packages": [package("CONTAINER"), package("")]}),
        json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
            "@graph": [file("archive"), file("executable")]}),
        json!({"predicateType": "https://slsa.dev/provenance/v1", "subject": [{"digest": {"sha256": hex}}],
            "predicate": {"buildDefinition": {"resolvedDependencies": [input]}}}),
    ]
}

/// What a private key file of cosign contains.
#[cfg(feature = "publish")]
pub(crate) fn keys() -> Vec<Value> {
    use base64::Engine as _;
    let base64 = |size: usize| base64::engine::general_purpose::STANDARD.encode(vec![0; size]);
    vec![json!({
        "kdf": {"name": "scrypt", "params": {"N": 65536, "r": 8, "p": 1}, "salt": base64(32)},
        "cipher": {"name": "nacl/secretbox", "nonce": base64(24)}, "ciphertext": base64(64),
    })]
}

/// Puts it into a key file.
#[cfg(feature = "publish")]
pub(crate) fn pem(content: &[u8]) -> String {
    use base64::Engine as _;
    const LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY-----";
    let body = base64::engine::general_purpose::STANDARD.encode(content);
    format!("-----BEGIN {LABEL}\n{body}\n-----END {LABEL}\n")
}

/// Calls `take` with archives of as many, as long and as many different names as there is room for.
pub(crate) fn archives(mut take: impl FnMut(&str, &[u8])) {
    let short: Vec<_> = (0..8000).map(|number| format!("{number:x}")).collect();
    let long: Vec<_> =
        (0..300).map(|number| format!("{number:04}{}", "d/a".repeat(1000))).collect();
    let longest: Vec<_> =
        (0..20).map(|number| format!("{number:04}{}", "a".repeat(60_000))).collect();
    for (label, names) in [("names", short), ("long names", long), ("the longest names", longest)] {
        for count in [1, 10, 1000, usize::MAX] {
            let names = &names[..names.len().min(count)];
            let gnu = archive(names, |builder, name, header| {
                builder.append_data(header, name, &[][..]).unwrap();
            });
            take(&format!("{} {label} of GNU", names.len()), &gnu);
            let pax = archive(names, |builder, name, header| {
                builder.append_pax_extensions([("path", name.as_bytes())]).unwrap();
                header.set_path("short").unwrap();
                header.set_cksum();
                builder.append(header, &[][..]).unwrap();
            });
            take(&format!("{} {label} of pax", names.len()), &pax);
            take(&format!("{} {label}, cut off", names.len()), &gnu[..gnu.len() - 1536]);
        }
    }
    let records: Vec<_> = (0..1000).map(|number| format!("SCHILY.x{number}")).collect();
    let many = archive(&["a".to_owned()], |builder, name, header| {
        let records = records.iter().map(|key| (key.as_str(), &b"x"[..]));
        builder.append_pax_extensions(records).unwrap();
        builder.append_data(header, name, &[][..]).unwrap();
    });
    take("many records", &many);
    take("zeros", &vec![0; 1024 * 1024]);
    take("text", &vec![b'a'; 1024 * 1024]);
    let content = vec![b'a'; 4 * 1024 * 1024];
    let large = archive(&["a".to_owned()], |builder, name, header| {
        header.set_size(content.len() as u64);
        builder.append_data(header, name, &content[..]).unwrap();
    });
    take("a large file", &large);
}

/// A layer whose short names are behind links to a path of nearly a thousand bytes.
pub(crate) fn long_behind_links() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, target: Option<String>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        if let Some(target) = target {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, name, target).unwrap();
        } else {
            builder.append_data(&mut header, name, &[][..]).unwrap();
        }
    };
    for number in 1..=11 {
        let next = if number == 1 { String::new() } else { format!("l{}/", number - 1) };
        add(&format!("l{number}"), Some(next + &"a".repeat(85)));
    }
    for number in 0..20_000 {
        add(&format!("l11/{number}"), None);
    }
    builder.into_inner().unwrap()
}

/// An archive with an entry for each name.
fn archive(
    names: &[String],
    append: impl Fn(&mut tar::Builder<Vec<u8>>, &str, &mut tar::Header),
) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o755);
        append(&mut builder, name, &mut header);
    }
    builder.into_inner().unwrap()
}

/// Files of a container runtime: tables with keys of several parts, lists and texts.
pub(crate) fn runtime_files(size: usize) -> Vec<(String, String)> {
    let lines = |name: &str, line: fn(usize) -> String| {
        let full: String = (0..).map(line).take(size / line(0).len()).collect();
        let mut files = Vec::new();
        for count in [100, 250, 500, 1000, 2000, 4000, usize::MAX] {
            let text: String = full.split_inclusive('\n').take(count).collect();
            let end = text.floor_char_boundary(size);
            let whole = text.get(..end).unwrap().rsplit_once('\n').map_or("", |(whole, _)| whole);
            files.push((format!("{} {name}", whole.lines().count()), format!("{whole}\n")));
        }
        files
    };
    [
        lines("keys", |n| format!("k{n:x}=0\n")),
        lines("tables", |n| format!("[t{n:x}]\n")),
        lines("lists of tables", |_| "[[t]]\n".to_owned()),
        lines("tables in tables", |n| format!("t{n:x}.a.a.a.a.a.a.a.a=0\n")),
        lines("lists", |n| format!("k{n:x}=[0,0,0,0,0,0,0,0]\n")),
        lines("tables in a line", |n| format!("k{n:x}={{a={{a={{a=0}}}}}}\n")),
        lines("texts", |n| format!("k{n:x}=\"\\u0041{}\"\n", "a".repeat(200))),
        lines("comments", |_| "#.=[{,\n".to_owned()),
        lines("short comments", |_| "#\n".to_owned()),
        lines("empty lines", |_| "\n".to_owned()),
        lines("words", |_| "k\n".to_owned()),
    ]
    .concat()
}
