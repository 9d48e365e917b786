//! CycloneDX 1.6 in JSON (ECMA-424), with the properties of the BSI's taxonomy.
//!
//! The strict schema decides two things here. Of licences it takes either single identifiers,
//! declared and concluded, or one expression; an expression is written as concluded, and a
//! declared one beside it becomes a property. It also knows the identifiers by a list, so that
//! only common ones are written as such.

use serde::Serialize;

use super::component::{Component, Components, File, Kind, Tool};
use super::copyright::Copyright;
use super::inventory::Inventory;
use super::licence::{Licence, Licences};
use super::party::Party;
use crate::model::{Digest, Sha512, json};

/// The bytes of a CycloneDX document about the inventory.
pub fn cyclonedx(inventory: &Inventory) -> Vec<u8> {
    let components = Components::of(inventory);
    let parts: Vec<Part<'_>> = components.list.iter().map(part).collect();
    let mut parts = parts.into_iter();
    json::canonical(&Bom {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", components.uuid("cyclonedx-1.6")),
        version: 1,
        metadata: Metadata {
            timestamp: &components.created,
            lifecycles: components.production.iter().map(|phase| Lifecycle { phase }).collect(),
            tools: Tools {
                components: [ToolPart {
                    kind: "application",
                    name: Tool::NAME,
                    version: Tool::VERSION,
                }],
            },
            manufacturer: components.author.as_ref().map(entity),
            component: parts.next(),
        },
        components: parts.collect(),
        dependencies: components.list.iter().map(|c| dependency(&components, c)).collect(),
        compositions: compositions(&components),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Part<'a>>,
    dependencies: Vec<Dependency<'a>>,
    compositions: Vec<Composition<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: &'a str,
    lifecycles: Vec<Lifecycle<'a>>,
    tools: Tools,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<Entity<'a>>,
    component: Option<Part<'a>>,
}

#[derive(Serialize)]
struct Lifecycle<'a> {
    phase: &'a str,
}

#[derive(Serialize)]
struct Tools {
    components: [ToolPart; 1],
}

#[derive(Serialize)]
struct ToolPart {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Entity<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    url: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contact: Vec<Contact<'a>>,
}

#[derive(Serialize)]
struct Contact<'a> {
    email: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    purl: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenceChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copyright: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property<'a>>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LicenceChoice<'a> {
    One { license: LicenceId<'a> },
    Expression { expression: &'a str, acknowledgement: &'static str },
}

#[derive(Serialize)]
struct LicenceId<'a> {
    id: &'a str,
    acknowledgement: &'static str,
}

#[derive(Serialize)]
struct ExternalReference<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
}

#[derive(Serialize)]
struct Property<'a> {
    name: String,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency<'a> {
    #[serde(rename = "ref")]
    of: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
}

#[derive(Serialize)]
struct Composition<'a> {
    aggregate: &'static str,
    dependencies: Vec<&'a str>,
}

/// Identifiers that every version of the schema knows.
const COMMON: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "ISC",
    "LGPL-3.0-only",
    "MIT",
    "MPL-2.0",
    "Unlicense",
];

fn part(component: &Component) -> Part<'_> {
    let (licenses, declared) = licences(&component.licences);
    let facts = component.facts.iter().map(|(key, value)| property("cnister", key, value));
    let unknown = component.unknown().into_iter();
    let unknown = unknown.map(|field| property("cnister", "unknown", field));
    let declared = declared.map(|text| property("cnister", "licence:declared", text.as_str()));
    let bsi = component.file.iter().flat_map(|file| bsi(component.kind, file));
    let source = component.source.iter().map(|source| ExternalReference {
        kind: match (component.kind, source.is_repository) {
            (_, true) => "vcs",
            (Kind::Module, false) => "website",
            (_, false) => "source-distribution",
        },
        url: &source.uri,
        hashes: Vec::new(),
    });
    let shipped = component.file.iter().filter_map(|file| {
        let download = file.download.as_ref()?;
        let hashes = hashes(download.sha256, download.sha512);
        Some(ExternalReference { kind: "distribution", url: &download.uri, hashes })
    });
    Part {
        kind: match component.kind {
            Kind::Bundle => "container",
            Kind::Plugin => "application",
            Kind::Module => "library",
        },
        bom_ref: &component.id,
        name: &component.name,
        version: component.version.as_deref(),
        purl: &component.purl,
        manufacturer: component.supplier.as_ref().map(entity),
        supplier: component.supplier.as_ref().map(entity),
        hashes: component
            .file
            .as_ref()
            .map_or_else(Vec::new, |file| hashes(Some(file.sha256), Some(file.sha512))),
        licenses,
        copyright: match &component.copyright {
            Copyright::Unknown => None,
            known => Some(known.text()),
        },
        external_references: shipped.chain(source).collect(),
        properties: bsi.chain(facts).chain(declared).chain(unknown).collect(),
    }
}

fn hashes(sha256: Option<Digest>, sha512: Option<Sha512>) -> Vec<Hash> {
    let sha256 = sha256.map(|digest| Hash { alg: "SHA-256", content: digest.hex() });
    let sha512 = sha512.map(|digest| Hash { alg: "SHA-512", content: digest.hex() });
    sha256.into_iter().chain(sha512).collect()
}

fn property<'a>(space: &str, name: &str, value: &'a str) -> Property<'a> {
    Property { name: format!("{space}:{name}"), value }
}

/// What BSI TR-03183-2 asks of every file (5.2.2), in the words of its taxonomy. An image and an
/// ELF program both say what they consist of.
fn bsi(kind: Kind, file: &File) -> [Property<'_>; 4] {
    let (executable, archive) = match kind {
        Kind::Bundle => ("non-executable", "archive"),
        Kind::Plugin | Kind::Module => ("executable", "no archive"),
    };
    [
        property("bsi:component", "filename", &file.name),
        property("bsi:component", "executable", executable),
        property("bsi:component", "archive", archive),
        property("bsi:component", "structured", "structured"),
    ]
}

/// The licences that the schema takes, and a declared one that has no place among them.
fn licences(known: &Licences) -> (Vec<LicenceChoice<'_>>, Option<&Licence>) {
    let declared = known.declared.as_ref().map(|licence| (licence, "declared"));
    let concluded = known.concluded.as_ref().map(|licence| (licence, "concluded"));
    let all: Vec<(&Licence, &'static str)> = declared.into_iter().chain(concluded).collect();
    if all.iter().all(|(licence, _)| is_common(licence)) {
        return (all.into_iter().map(one_licence).collect(), None);
    }
    let last = all.last().map(|(licence, acknowledgement)| LicenceChoice::Expression {
        expression: licence.as_str(),
        acknowledgement,
    });
    let beside = known.declared.as_ref().filter(|_| known.concluded.is_some());
    (last.into_iter().collect(), beside)
}

fn is_common(licence: &Licence) -> bool {
    licence.is_identifier() && COMMON.contains(&licence.as_str())
}

fn one_licence<'a>((licence, acknowledgement): (&'a Licence, &'static str)) -> LicenceChoice<'a> {
    LicenceChoice::One { license: LicenceId { id: licence.as_str(), acknowledgement } }
}

fn entity(party: &Party) -> Entity<'_> {
    Entity {
        name: party.name(),
        url: party.url().into_iter().collect(),
        contact: party.email().map(|email| Contact { email }).into_iter().collect(),
    }
}

fn dependency<'a>(components: &'a Components, component: &'a Component) -> Dependency<'a> {
    let parts = components.parts_of(component);
    Dependency {
        of: &component.id,
        depends_on: parts.iter().map(|part| part.id.as_str()).collect(),
    }
}

/// Of which components all dependencies are listed, and of which that is unknown.
fn compositions(components: &Components) -> Vec<Composition<'_>> {
    let all = [(true, "complete"), (false, "unknown")].map(|(is_complete, aggregate)| {
        let those = components.list.iter().filter(|c| c.is_complete == is_complete);
        Composition { aggregate, dependencies: those.map(|c| c.id.as_str()).collect() }
    });
    all.into_iter().filter(|composition| !composition.dependencies.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attest::sample::{at, author, inventory, large};

    fn written(inventory: &Inventory) -> Value {
        serde_json::from_slice(&cyclonedx(inventory)).unwrap()
    }

    fn component<'a>(bom: &'a Value, name: &str) -> &'a Value {
        let all = bom["components"].as_array().unwrap();
        all.iter().find(|component| component["name"] == name).expect(name)
    }

    fn properties(component: &Value, name: &str) -> Vec<String> {
        let all = component["properties"].as_array().unwrap().iter();
        let those = all.filter(|property| property["name"] == name);
        those.map(|property| property["value"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn has_the_fields_of_the_document() {
        let bom = written(&inventory());
        for (path, expected) in [
            ("bomFormat", json!("CycloneDX")),
            ("specVersion", json!("1.6")),
            ("version", json!(1)),
            ("metadata.timestamp", json!("2026-02-02T02:40:00Z")),
            ("metadata.lifecycles.phase", json!("post-build")),
            ("metadata.tools.components.name", json!("cnister")),
            ("metadata.tools.components.version", json!(env!("CARGO_PKG_VERSION"))),
            ("metadata.manufacturer.name", json!("Acme Networks")),
            ("metadata.manufacturer.url", json!(["https://example.com"])),
            ("metadata.manufacturer.contact.email", json!("cni@example.com")),
            ("metadata.component.type", json!("container")),
            ("metadata.component.name", json!("debian")),
            ("metadata.component.version", json!("1.2.3")),
            ("metadata.component.manufacturer.name", json!("Acme Networks")),
        ] {
            assert_eq!(at(&bom, path), [&expected], "{path}");
        }
        let serial = bom["serialNumber"].as_str().unwrap();
        assert!(serial.starts_with("urn:uuid:") && serial.len() == 45, "{serial}");
        assert_eq!(at(&bom, "vulnerabilities"), Vec::<&Value>::new());
    }

    #[test]
    fn a_plugin_has_what_the_guidelines_ask_for() {
        let bom = written(&inventory());
        let bridge = component(&bom, "bridge");
        for (path, expected) in [
            ("type", json!("application")),
            ("version", json!("v1.9.1")),
            (
                "purl",
                json!(
                    "pkg:golang/github.com/containernetworking/plugins@v1.9.1#plugins/main/bridge"
                ),
            ),
            ("supplier.name", json!("github.com/containernetworking")),
            ("manufacturer.url", json!(["https://github.com/containernetworking"])),
            ("copyright", json!("Copyright 2016 CNI authors")),
        ] {
            assert_eq!(at(bridge, path), [&expected], "{path}");
        }
        assert_eq!(at(bridge, "hashes.alg"), ["SHA-256", "SHA-512"]);
        assert_eq!(at(bridge, "hashes.content")[1].as_str().unwrap().len(), 128);
        let hashes = at(bridge, "externalReferences.hashes.alg");
        assert_eq!(hashes, ["SHA-256", "SHA-512"]);
        assert_eq!(at(bridge, "licenses.license.id"), ["Apache-2.0", "Apache-2.0"]);
        let acknowledged = at(bridge, "licenses.license.acknowledgement");
        assert_eq!(acknowledged, ["declared", "concluded"]);
        assert_eq!(at(bridge, "externalReferences.type"), ["distribution", "vcs"]);
        assert_eq!(
            at(bridge, "externalReferences.url"),
            ["https://example.com/plugins.tgz", "https://github.com/containernetworking/plugins"]
        );
        for (name, expected) in [
            ("bsi:component:filename", "bridge"),
            ("bsi:component:executable", "executable"),
            ("bsi:component:archive", "no archive"),
            ("bsi:component:structured", "structured"),
            ("cnister:verification", "checksum-same-origin"),
            ("cnister:member", "./bridge"),
            ("cnister:go:toolchain", "go1.26.8"),
            ("cnister:go:sum", "h1:8oU="),
        ] {
            assert_eq!(properties(bridge, name), [expected], "{name}");
        }
        assert_eq!(properties(bridge, "cnister:go:build"), ["-trimpath=true", "CGO_ENABLED=0"]);
        assert_eq!(properties(&bom["metadata"]["component"], "bsi:component:archive"), ["archive"]);
    }

    #[test]
    fn modules_are_dependencies_and_the_unknown_is_said() {
        let bom = written(&inventory());
        let of = |name: &str| {
            let all = bom["dependencies"].as_array().unwrap();
            let found = all.iter().find(|entry| entry["ref"] == name).expect(name);
            found["dependsOn"].clone()
        };
        assert_eq!(of("bundle"), json!(["plugin-bridge", "plugin-macvlan", "plugin-old"]));
        assert_eq!(of("plugin-old"), json!(["go-stdlib-1.19.8"]));
        assert_eq!(of("go-stdlib-1.19.8"), Value::Null);
        assert_eq!(at(&bom, "compositions.aggregate"), ["complete", "unknown"]);
        let complete = json!(["bundle", "plugin-bridge", "plugin-macvlan"]);
        assert_eq!(at(&bom, "compositions.dependencies")[0], &complete);

        let library = component(&bom, "stdlib");
        assert_eq!(
            (&library["type"], &library["supplier"]["name"]),
            (&json!("library"), &json!("The Go Authors"))
        );
        let old = component(&bom, "old");
        let everything = ["version", "supplier", "licence", "copyright", "source", "modules"];
        assert_eq!(properties(old, "cnister:unknown"), everything);
        for field in ["version", "supplier", "manufacturer", "licenses", "copyright"] {
            assert_eq!(old[field], Value::Null, "{field}");
        }
    }

    #[test]
    fn writes_licences_as_the_schema_takes_them() {
        let parse = |text: &str| (!text.is_empty()).then(|| text.parse::<Licence>().unwrap());
        for (declared, concluded, expected, beside) in [
            ("", "", json!([]), None),
            ("MIT", "", json!([{"license": {"id": "MIT", "acknowledgement": "declared"}}]), None),
            (
                "MIT OR ISC",
                "MIT",
                json!([{"expression": "MIT", "acknowledgement": "concluded"}]),
                Some("MIT OR ISC"),
            ),
            ("Zlib", "", json!([{"expression": "Zlib", "acknowledgement": "declared"}]), None),
            (
                "",
                "MIT AND ISC",
                json!([{"expression": "MIT AND ISC", "acknowledgement": "concluded"}]),
                None,
            ),
        ] {
            let known = Licences { declared: parse(declared), concluded: parse(concluded) };
            let (found, declared) = licences(&known);
            assert_eq!(json!(found), expected, "{known:?}");
            assert_eq!(declared.map(Licence::as_str), beside);
        }
    }

    #[test]
    fn what_this_build_compiled_is_said() {
        let mut inventory = inventory();
        inventory.plugins[0].production = crate::attest::Production::Built;
        inventory.author = None;
        let bom = written(&inventory);
        assert_eq!(at(&bom, "metadata.lifecycles.phase"), ["build", "post-build"]);
        assert_eq!(bom["metadata"]["manufacturer"], Value::Null);
        assert_eq!(entity(&author()).url, ["https://example.com"]);
    }

    #[test]
    fn a_large_bundle_stays_small() {
        let bytes = cyclonedx(&large());
        assert!(bytes.len() < 170_000, "{}", bytes.len());
        assert_eq!(written(&large())["components"].as_array().unwrap().len(), 32 + 60 + 1);
    }
}
