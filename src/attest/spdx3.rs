//! SPDX 3.0.1 in JSON-LD, as BSI TR-03183-2 (v2.1.0) maps its fields to it.
//!
//! Two of its rules shape the graph. Every package, a linked module as well, names the file that
//! it is shipped in (`hasDistributionArtifact`), which is the plugin that it was linked into. And
//! what a source is becomes an element of its own, that `generates` the package.

use std::collections::BTreeMap;
use std::mem::take;

use serde::Serialize;

use super::component::{Component, Components, File, Kind, Tool};
use super::inventory::Inventory;
use super::licence::Licence;
use super::party::Party;
use crate::model::json;

/// The bytes of an SPDX 3.0.1 document about the inventory.
pub fn spdx3(inventory: &Inventory) -> Vec<u8> {
    let components = Components::of(inventory);
    let mut graph = Graph::new(&components);
    let agents = graph.agents(&components);
    for component in &components.list {
        graph.package(component, &agents);
    }
    for component in &components.list {
        graph.relations(&components, component);
    }
    graph.sources();
    json::canonical(&Written {
        context: "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
        graph: graph.finish(&components, &agents),
    })
}

#[derive(Serialize)]
struct Written {
    #[serde(rename = "@context")]
    context: &'static str,
    #[serde(rename = "@graph")]
    graph: Vec<Element>,
}

/// One element: its type, the fields that all have, and its own.
#[derive(Serialize)]
#[serde(untagged)]
enum Element {
    CreationInfo(CreationInfo),
    Named(Box<Named>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "@id")]
    id: &'static str,
    spec_version: &'static str,
    created: String,
    created_by: Vec<String>,
    created_using: Vec<String>,
}

/// The fields of the classes that are used, each of which has some of them.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(rename = "type")]
    kind: &'static str,
    spdx_id: String,
    creation_info: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_identifier: Vec<ExternalIdentifier>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_ref: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verified_using: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    originated_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplied_by: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    root_element: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile_conformance: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relationship_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completeness: Option<&'static str>,
    #[serde(rename = "software_packageVersion", skip_serializing_if = "Option::is_none")]
    package_version: Option<String>,
    #[serde(rename = "software_downloadLocation", skip_serializing_if = "Option::is_none")]
    download_location: Option<String>,
    #[serde(rename = "software_packageUrl", skip_serializing_if = "Option::is_none")]
    package_url: Option<String>,
    #[serde(rename = "software_copyrightText", skip_serializing_if = "Option::is_none")]
    copyright_text: Option<String>,
    #[serde(rename = "software_primaryPurpose", skip_serializing_if = "Option::is_none")]
    primary_purpose: Option<&'static str>,
    #[serde(rename = "software_additionalPurpose", skip_serializing_if = "Vec::is_empty")]
    additional_purpose: Vec<&'static str>,
    #[serde(rename = "software_sbomType", skip_serializing_if = "Vec::is_empty")]
    sbom_type: Vec<&'static str>,
    #[serde(rename = "simplelicensing_licenseExpression", skip_serializing_if = "Option::is_none")]
    license_expression: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalIdentifier {
    #[serde(rename = "type")]
    kind: &'static str,
    external_identifier_type: &'static str,
    identifier: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    #[serde(rename = "type")]
    kind: &'static str,
    external_ref_type: &'static str,
    locator: [String; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hash {
    #[serde(rename = "type")]
    kind: &'static str,
    algorithm: &'static str,
    hash_value: String,
}

/// The blank node that every element names.
const CREATION: &str = "_:made";
/// The individual that represents a licence of which nothing is known.
const NO_ASSERTION: &str = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense";

/// The elements that were written, and the prefix of their names.
struct Graph {
    prefix: String,
    elements: Vec<Named>,
    relations: usize,
    /// The elements of licences that were written, by expression.
    licences: BTreeMap<String, String>,
    /// The packages of each source, by its address and what is there.
    sources: BTreeMap<(String, &'static str), Vec<String>>,
}

impl Graph {
    fn new(components: &Components) -> Self {
        Self {
            prefix: format!("urn:uuid:{}#", components.uuid("spdx-3.0.1")),
            elements: Vec::new(),
            relations: 0,
            licences: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn named(&self, kind: &'static str, name: &str) -> Named {
        Named { kind, spdx_id: self.id(name), creation_info: CREATION, ..Named::default() }
    }

    /// Writes each author and supplier once, and returns their identifiers.
    fn agents(&mut self, components: &Components) -> BTreeMap<Party, String> {
        let suppliers = components.list.iter().filter_map(|component| component.supplier.clone());
        let mut agents: BTreeMap<Party, String> = suppliers
            .chain(components.author.clone())
            .map(|party| (party, String::new()))
            .collect();
        for (number, (party, id)) in agents.iter_mut().enumerate() {
            let identifier = |kind, text: &str| ExternalIdentifier {
                kind: "ExternalIdentifier",
                external_identifier_type: kind,
                identifier: text.to_owned(),
            };
            let email = party.email().map(|email| identifier("email", email));
            let url = party.url().map(|url| identifier("urlScheme", url));
            let element = Named {
                name: Some(party.name().to_owned()),
                external_identifier: email.into_iter().chain(url).collect(),
                ..self.named("Organization", &format!("agent-{}", number + 1))
            };
            id.clone_from(&element.spdx_id);
            self.elements.push(element);
        }
        agents
    }

    fn package(&mut self, component: &Component, agents: &BTreeMap<Party, String>) {
        let supplier = component.supplier.as_ref().and_then(|party| agents.get(party)).cloned();
        let download = component.file.as_ref().and_then(|file| file.download.as_ref());
        let package = Named {
            name: Some(component.name.clone()),
            comment: component.comment(),
            external_identifier: vec![ExternalIdentifier {
                kind: "ExternalIdentifier",
                external_identifier_type: "packageUrl",
                identifier: component.purl.clone(),
            }],
            originated_by: supplier.iter().cloned().collect(),
            supplied_by: supplier,
            package_version: component.version.clone(),
            package_url: Some(component.purl.clone()),
            download_location: download.map(|download| download.uri.clone()),
            copyright_text: Some(component.copyright.text().to_owned()),
            primary_purpose: Some(match component.kind {
                Kind::Bundle => "container",
                Kind::Plugin => "application",
                Kind::Module => "library",
            }),
            ..self.named("software_Package", &name(component))
        };
        self.elements.push(package);
        if let Some(file) = &component.file {
            let element = self.file(component, file);
            self.elements.push(element);
        }
    }

    fn file(&self, component: &Component, file: &File) -> Named {
        let (primary_purpose, additional_purpose) = match component.kind {
            Kind::Bundle => ("archive", vec!["container"]),
            // A program that says what it consists of is structured, which is `container` in the
            // guideline's mapping.
            Kind::Plugin | Kind::Module => ("executable", vec!["container"]),
        };
        let hash = |algorithm, hash_value| Hash { kind: "Hash", algorithm, hash_value };
        let download = file.download.iter().map(|it| reference("binaryArtifact", &it.uri));
        Named {
            name: Some(file.name.clone()),
            verified_using: vec![
                hash("sha256", file.sha256.hex()),
                hash("sha512", file.sha512.hex()),
            ],
            external_ref: download.collect(),
            primary_purpose: Some(primary_purpose),
            additional_purpose,
            ..self.named("software_File", &file_name(component))
        }
    }

    /// Writes what a component is part of, made of, made from and licensed under.
    fn relations(&mut self, components: &Components, component: &Component) {
        let from = &name(component);
        let files = components.files_of(component).into_iter().map(file_name);
        let files = files.map(|name| self.id(&name)).collect();
        self.relate(from, "hasDistributionArtifact", files, None);
        let parts: Vec<String> =
            components.parts_of(component).iter().map(|part| self.id(&name(part))).collect();
        let kind = if component.kind == Kind::Bundle { "contains" } else { "dependsOn" };
        let completeness = if component.is_complete { "complete" } else { "noAssertion" };
        self.relate(from, kind, parts, Some(completeness));
        for (kind, licence) in [
            ("hasDeclaredLicense", &component.licences.declared),
            ("hasConcludedLicense", &component.licences.concluded),
        ] {
            let licence = self.licence(licence.as_ref());
            self.relate(from, kind, vec![licence], None);
        }
        if let Some(source) = &component.source {
            let kind = if source.is_repository { "vcs" } else { "sourceArtifact" };
            let package = self.id(from);
            self.sources.entry((source.uri.clone(), kind)).or_default().push(package);
        }
    }

    /// The element of a licence, written when it is first asked for.
    fn licence(&mut self, licence: Option<&Licence>) -> String {
        let Some(licence) = licence else { return NO_ASSERTION.to_owned() };
        if let Some(id) = self.licences.get(licence.as_str()) {
            return id.clone();
        }
        let name = format!("licence-{}", self.licences.len() + 1);
        let element = Named {
            license_expression: Some(licence.as_str().to_owned()),
            ..self.named("simplelicensing_LicenseExpression", &name)
        };
        let id = element.spdx_id.clone();
        self.licences.insert(licence.as_str().to_owned(), id.clone());
        self.elements.push(element);
        id
    }

    /// Writes each source once, with all that was made from it.
    fn sources(&mut self) {
        for (number, ((uri, kind), packages)) in take(&mut self.sources).into_iter().enumerate() {
            let name = format!("source-{}", number + 1);
            let element = Named {
                external_ref: vec![reference(kind, &uri)],
                name: Some(uri),
                primary_purpose: Some("source"),
                ..self.named("software_File", &name)
            };
            self.elements.push(element);
            self.relate(&name, "generates", packages, None);
        }
    }

    fn relate(
        &mut self,
        from: &str,
        kind: &'static str,
        to: Vec<String>,
        completeness: Option<&'static str>,
    ) {
        if to.is_empty() {
            return;
        }
        self.relations += 1;
        let relationship = Named {
            from: Some(self.id(from)),
            relationship_type: Some(kind),
            to,
            completeness,
            ..self.named("Relationship", &format!("r{}", self.relations))
        };
        self.elements.push(relationship);
    }

    /// Adds the document, what made it, and who says so.
    fn finish(mut self, components: &Components, agents: &BTreeMap<Party, String>) -> Vec<Element> {
        let tool = Named {
            name: Some(format!("{} {}", Tool::NAME, Tool::VERSION)),
            ..self.named("Tool", "tool")
        };
        let created_using = vec![tool.spdx_id.clone()];
        let author = components.author.as_ref().and_then(|author| agents.get(author)).cloned();
        // Every document names an agent; without an author, it is the program.
        let created_by = vec![author.unwrap_or_else(|| {
            let agent = Named {
                name: Some(Tool::NAME.to_owned()),
                ..self.named("SoftwareAgent", "program")
            };
            let id = agent.spdx_id.clone();
            self.elements.push(agent);
            id
        })];
        self.elements.push(tool);
        let sbom = Named {
            comment: Some(
                "A program records which modules it links, and not which of them needs which."
                    .to_owned(),
            ),
            sbom_type: components
                .production
                .iter()
                .map(|phase| if *phase == "build" { "build" } else { "analyzed" })
                .collect(),
            root_element: vec![self.id("bundle")],
            ..self.named("software_Sbom", "sbom")
        };
        self.elements.push(sbom);
        // Its `element` would list every identifier again: those of a file are its graph's.
        let document = Named {
            name: Some(components.name.clone()),
            profile_conformance: vec!["core", "simpleLicensing", "software"],
            root_element: vec![self.id("sbom")],
            ..self.named("SpdxDocument", "document")
        };
        let creation = Element::CreationInfo(CreationInfo {
            kind: "CreationInfo",
            id: CREATION,
            spec_version: "3.0.1",
            created: components.created.clone(),
            created_by,
            created_using,
        });
        let elements = std::iter::once(document).chain(self.elements);
        let elements = elements.map(|element| Element::Named(Box::new(element)));
        std::iter::once(creation).chain(elements).collect()
    }
}

/// The name of a component's element. It is repeated wherever it is referred to, so that those of
/// modules are numbers.
fn name(component: &Component) -> String {
    match component.kind {
        Kind::Bundle | Kind::Plugin => component.id.clone(),
        Kind::Module => format!("go-{}", component.number),
    }
}

/// The name of the element of the file that a component is.
fn file_name(component: &Component) -> String {
    format!("file-{}", name(component))
}

fn reference(kind: &'static str, url: &str) -> ExternalRef {
    ExternalRef { kind: "ExternalRef", external_ref_type: kind, locator: [url.to_owned()] }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attest::sample::{at, inventory, large};

    fn written(inventory: &Inventory) -> Value {
        serde_json::from_slice(&spdx3(inventory)).unwrap()
    }

    fn all_of<'a>(document: &'a Value, kind: &str) -> Vec<&'a Value> {
        let graph = document["@graph"].as_array().unwrap();
        graph.iter().filter(|element| element["type"] == kind).collect()
    }

    fn of<'a>(document: &'a Value, kind: &str, name: &str) -> &'a Value {
        let all = all_of(document, kind);
        all.into_iter().find(|element| element["name"] == name).expect(name)
    }

    /// The names of what a package is related to.
    fn related(document: &Value, from: &Value, kind: &str) -> Vec<String> {
        let relations = all_of(document, "Relationship").into_iter().filter(|relation| {
            relation["from"] == from["spdxId"] && relation["relationshipType"] == kind
        });
        let to = relations.flat_map(|relation| relation["to"].as_array().unwrap());
        to.map(|id| id.as_str().unwrap().rsplit(['#', '/']).next().unwrap().to_owned()).collect()
    }

    #[test]
    fn has_the_fields_of_the_document() {
        let document = written(&inventory());
        let creation = all_of(&document, "CreationInfo")[0];
        let author = of(&document, "Organization", "Acme Networks");
        assert_eq!(creation["specVersion"], "3.0.1");
        assert_eq!(creation["created"], "2026-02-02T02:40:00Z");
        assert_eq!(creation["createdBy"], json!([author["spdxId"]]));
        let tool = all_of(&document, "Tool")[0];
        assert_eq!(creation["createdUsing"], json!([tool["spdxId"]]));
        let identifiers = at(author, "externalIdentifier.externalIdentifierType");
        assert_eq!(identifiers, ["email", "urlScheme"]);
        let sbom = all_of(&document, "software_Sbom")[0];
        assert_eq!(sbom["software_sbomType"], json!(["analyzed"]));
        let bundle = of(&document, "software_Package", "debian");
        assert_eq!(sbom["rootElement"], json!([bundle["spdxId"]]));
        let spdx = all_of(&document, "SpdxDocument")[0];
        assert_eq!(spdx["rootElement"], json!([sbom["spdxId"]]));
        assert_eq!(spdx["profileConformance"], json!(["core", "simpleLicensing", "software"]));
    }

    #[test]
    fn a_plugin_has_what_the_guidelines_ask_for() {
        let document = written(&inventory());
        let bridge = of(&document, "software_Package", "bridge");
        let supplier = of(&document, "Organization", "github.com/containernetworking");
        for (path, expected) in [
            ("software_packageVersion", json!("v1.9.1")),
            ("suppliedBy", supplier["spdxId"].clone()),
            ("originatedBy", json!([supplier["spdxId"]])),
            ("software_copyrightText", json!("Copyright 2016 CNI authors")),
            ("externalIdentifier.externalIdentifierType", json!("packageUrl")),
            ("software_downloadLocation", json!("https://example.com/plugins.tgz")),
        ] {
            assert_eq!(at(bridge, path), [&expected], "{path}");
        }
        let file = of(&document, "software_File", "bridge");
        for (path, expected) in [
            ("verifiedUsing.algorithm", vec!["sha256", "sha512"]),
            ("software_primaryPurpose", vec!["executable"]),
            ("externalRef.externalRefType", vec!["binaryArtifact"]),
        ] {
            assert_eq!(at(file, path), expected, "{path}");
        }
        assert_eq!(related(&document, bridge, "hasDistributionArtifact"), ["file-plugin-bridge"]);
        assert_eq!(related(&document, bridge, "hasDeclaredLicense"), ["licence-1"]);
        assert_eq!(related(&document, bridge, "hasConcludedLicense"), ["licence-1"]);
        let licences = all_of(&document, "simplelicensing_LicenseExpression");
        assert_eq!(licences[0]["simplelicensing_licenseExpression"], "Apache-2.0");
        let source =
            of(&document, "software_File", "https://github.com/containernetworking/plugins");
        assert_eq!(source["software_primaryPurpose"], "source");
        assert_eq!(related(&document, source, "generates"), ["plugin-bridge", "plugin-macvlan"]);
    }

    #[test]
    fn modules_are_shipped_in_their_plugins_and_the_unknown_is_said() {
        let document = written(&inventory());
        let netlink = of(&document, "software_Package", "github.com/vishvananda/netlink");
        let files = related(&document, netlink, "hasDistributionArtifact");
        assert_eq!(files, ["file-plugin-bridge", "file-plugin-macvlan"]);
        let old = of(&document, "software_Package", "old");
        assert_eq!(related(&document, old, "dependsOn"), ["go-7"]);
        assert_eq!(related(&document, old, "hasConcludedLicense"), ["NoAssertionLicense"]);
        assert_eq!(old["software_copyrightText"], "NOASSERTION");
        assert_eq!(old["suppliedBy"], Value::Null);
        let relations = all_of(&document, "Relationship").into_iter();
        let depends = relations.filter(|relation| relation["relationshipType"] == "dependsOn");
        let completeness: Vec<_> = depends.map(|relation| &relation["completeness"]).collect();
        assert_eq!(completeness, ["complete", "complete", "noAssertion"]);
    }

    #[test]
    fn without_an_author_the_program_says_it() {
        let mut inventory = inventory();
        inventory.author = None;
        let document = written(&inventory);
        let agent = of(&document, "SoftwareAgent", "cnister");
        assert_eq!(at(&document, "@graph.createdBy"), [&json!([agent["spdxId"]])]);
    }

    #[test]
    fn every_reference_has_its_element() {
        let document = written(&inventory());
        let graph = document["@graph"].as_array().unwrap();
        let ids: Vec<&Value> = graph.iter().filter_map(|element| element.get("spdxId")).collect();
        for key in ["from", "to", "rootElement", "suppliedBy", "originatedBy"] {
            for value in at(&document, &format!("@graph.{key}")) {
                let listed: Vec<&Value> =
                    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
                for id in listed {
                    let is_known = ids.contains(&id) || id == NO_ASSERTION;
                    assert!(is_known, "{key}: {id}");
                }
            }
        }
        let unique: std::collections::BTreeSet<String> =
            ids.iter().map(ToString::to_string).collect();
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn a_large_bundle_stays_small() {
        // An attestation is base64 in base64, in 1 MiB of evidence.
        let bytes = spdx3(&large());
        assert!(bytes.len() * 16 / 9 < 600_000);
        assert!(bytes.len() < 330_000, "{}", bytes.len());
    }
}
