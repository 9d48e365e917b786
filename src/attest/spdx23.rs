//! SPDX 2.3 in JSON, for readers that do not know 3.0 yet.
//!
//! A plugin is a package with a file name and not a file: the specification wants SHA-1 of files,
//! which nothing here should depend on.

use std::collections::BTreeSet;

use serde::Serialize;

use super::component::{Component, Components, Kind, Tool};
use super::inventory::Inventory;
use super::licence::Licence;
use super::party::Party;
use crate::model::json;

/// The bytes of an SPDX 2.3 document about the inventory.
pub fn spdx23(inventory: &Inventory) -> Vec<u8> {
    let components = Components::of(inventory);
    let tool = format!("Tool: {}-{}", Tool::NAME, Tool::VERSION);
    json::canonical(&Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: "SPDXRef-DOCUMENT",
        name: &components.name,
        document_namespace: format!("urn:uuid:{}", components.uuid("spdx-2.3")),
        creation_info: CreationInfo {
            created: &components.created,
            creators: components.author.as_ref().map(actor).into_iter().chain([tool]).collect(),
            comment: match components.production.first() {
                Some(&"build") if components.production.len() == 1 => "SBOM type: build",
                _ => "SBOM type: analyzed",
            },
        },
        packages: components.list.iter().map(package).collect(),
        relationships: relationships(&components),
        has_extracted_licensing_infos: references(&components),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo<'a>,
    packages: Vec<Package<'a>>,
    relationships: Vec<Relationship>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<ExtractedLicence<'a>>,
}

#[derive(Serialize)]
struct CreationInfo<'a> {
    created: &'a str,
    creators: Vec<String>,
    comment: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<&'a str>,
    supplier: String,
    originator: String,
    download_location: &'a str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    license_declared: &'a str,
    license_concluded: &'a str,
    copyright_text: &'a str,
    external_refs: [ExternalRef<'a>; 1],
    primary_package_purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef<'a> {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtractedLicence<'a> {
    license_id: &'a str,
    name: &'a str,
    extracted_text: &'static str,
}

const UNKNOWN: &str = "NOASSERTION";

fn id(component: &Component) -> String {
    format!("SPDXRef-{}", component.id)
}

/// As `Organization: Acme (cni@example.com)`.
fn actor(party: &Party) -> String {
    let address = party.email().map(|email| format!(" ({email})")).unwrap_or_default();
    format!("Organization: {}{address}", party.name())
}

fn package(component: &Component) -> Package<'_> {
    let supplier = component.supplier.as_ref().map_or_else(|| UNKNOWN.to_owned(), actor);
    let file = component.file.as_ref();
    let download =
        file.and_then(|file| file.download.as_ref()).map(|download| download.uri.as_str());
    let elsewhere = download.filter(|url| !is_location(url)).map(|url| format!("download: {url}"));
    let comments: Vec<String> = elsewhere.into_iter().chain(component.comment()).collect();
    let checksum = |algorithm, checksum_value| Checksum { algorithm, checksum_value };
    Package {
        id: id(component),
        name: &component.name,
        version_info: component.version.as_deref(),
        package_file_name: file.map(|file| file.name.as_str()),
        originator: supplier.clone(),
        supplier,
        download_location: download.filter(|url| is_location(url)).unwrap_or(UNKNOWN),
        files_analyzed: false,
        checksums: file.map_or_else(Vec::new, |file| {
            vec![checksum("SHA256", file.sha256.hex()), checksum("SHA512", file.sha512.hex())]
        }),
        homepage: component.source.as_ref().map(|source| source.uri.as_str()),
        license_declared: component.licences.declared.as_ref().map_or(UNKNOWN, Licence::as_str),
        license_concluded: component.licences.concluded.as_ref().map_or(UNKNOWN, Licence::as_str),
        copyright_text: component.copyright.text(),
        external_refs: [ExternalRef {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: &component.purl,
        }],
        primary_package_purpose: match component.kind {
            Kind::Bundle => "CONTAINER",
            Kind::Plugin => "APPLICATION",
            Kind::Module => "LIBRARY",
        },
        comment: (!comments.is_empty()).then(|| comments.join("\n")),
    }
}

/// Whether readers take an address as a download location (SPDX 2.3, 7.7): the scheme is on the
/// list, and the host is a name with a domain, as opposed to one that only some machines know.
fn is_location(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let scheme = scheme.rsplit_once('+').map_or(scheme, |(_, transport)| transport);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let domain = host.rsplit_once('.').map_or("", |(_, domain)| domain);
    ["https", "http", "ssh", "git", "svn", "sftp", "ftp"].contains(&scheme)
        && domain.len() >= 2
        && domain.chars().all(|c| c.is_ascii_alphabetic())
}

fn relationships(components: &Components) -> Vec<Relationship> {
    let relationship = |from: String, relationship_type, to: String| Relationship {
        spdx_element_id: from,
        relationship_type,
        related_spdx_element: to,
    };
    let described = components.list.iter().filter(|component| component.kind == Kind::Bundle);
    let mut all: Vec<Relationship> = described
        .map(|bundle| relationship("SPDXRef-DOCUMENT".to_owned(), "DESCRIBES", id(bundle)))
        .collect();
    for component in &components.list {
        let kind = match component.kind {
            Kind::Bundle => "CONTAINS",
            Kind::Plugin | Kind::Module => "DEPENDS_ON",
        };
        let parts = components.parts_of(component).into_iter();
        all.extend(parts.map(|part| relationship(id(component), kind, id(part))));
        if component.kind == Kind::Plugin && !component.is_complete {
            // There may be others (SPDX 2.3, 11.1: a relationship to what is unknown).
            all.push(relationship(id(component), kind, UNKNOWN.to_owned()));
        }
    }
    all
}

/// The licences that SPDX's list does not have. Their texts are with the programs' sources.
fn references(components: &Components) -> Vec<ExtractedLicence<'_>> {
    let licences = components.list.iter().flat_map(|component| {
        component.licences.declared.iter().chain(&component.licences.concluded)
    });
    let names: BTreeSet<&str> = licences.flat_map(Licence::references).collect();
    names
        .into_iter()
        .map(|name| ExtractedLicence { license_id: name, name, extracted_text: UNKNOWN })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attest::sample::{at, inventory, large};

    fn written(inventory: &Inventory) -> Value {
        serde_json::from_slice(&spdx23(inventory)).unwrap()
    }

    fn package_of<'a>(document: &'a Value, name: &str) -> &'a Value {
        let all = document["packages"].as_array().unwrap();
        all.iter().find(|package| package["name"] == name).expect(name)
    }

    #[test]
    fn has_the_fields_that_the_minimum_elements_ask_for() {
        let document = written(&inventory());
        for (path, expected) in [
            ("spdxVersion", json!("SPDX-2.3")),
            ("dataLicense", json!("CC0-1.0")),
            ("SPDXID", json!("SPDXRef-DOCUMENT")),
            ("name", json!("debian 1.2.3 linux/amd64")),
            ("creationInfo.created", json!("2026-02-02T02:40:00Z")),
            ("creationInfo.comment", json!("SBOM type: analyzed")),
            (
                "creationInfo.creators",
                json!([
                    "Organization: Acme Networks (cni@example.com)",
                    format!("Tool: cnister-{}", env!("CARGO_PKG_VERSION"))
                ]),
            ),
        ] {
            assert_eq!(at(&document, path), [&expected], "{path}");
        }
        let bridge = package_of(&document, "bridge");
        for (path, expected) in [
            ("SPDXID", json!("SPDXRef-plugin-bridge")),
            ("versionInfo", json!("v1.9.1")),
            ("packageFileName", json!("bridge")),
            ("supplier", json!("Organization: github.com/containernetworking")),
            ("originator", json!("Organization: github.com/containernetworking")),
            ("downloadLocation", json!("https://example.com/plugins.tgz")),
            ("homepage", json!("https://github.com/containernetworking/plugins")),
            ("filesAnalyzed", json!(false)),
            ("licenseDeclared", json!("Apache-2.0")),
            ("licenseConcluded", json!("Apache-2.0")),
            ("copyrightText", json!("Copyright 2016 CNI authors")),
            ("primaryPackagePurpose", json!("APPLICATION")),
            ("externalRefs.referenceType", json!("purl")),
        ] {
            assert_eq!(at(bridge, path), [&expected], "{path}");
        }
        assert_eq!(at(bridge, "checksums.algorithm"), ["SHA256", "SHA512"]);
        let comment = bridge["comment"].as_str().unwrap();
        assert!(comment.contains("go:toolchain: go1.26.8\n"), "{comment}");
    }

    #[test]
    fn says_what_is_unknown() {
        let document = written(&inventory());
        let old = package_of(&document, "old");
        assert_eq!(old["versionInfo"], Value::Null);
        for field in [
            "supplier",
            "originator",
            "downloadLocation",
            "licenseDeclared",
            "licenseConcluded",
            "copyrightText",
        ] {
            assert_eq!(old[field], "NOASSERTION", "{field}");
        }
        assert!(old["comment"].as_str().unwrap().contains("unknown: modules"));
    }

    #[test]
    fn a_location_is_one_that_readers_know() {
        for (url, expected) in [
            ("https://example.com/a.tgz", true),
            ("git+https://user@example.com:8443/a.git", true),
            ("oci://example.com/a", false),
            ("https://localhost:5000/a", false),
            ("http://127.0.0.1:5000/a", false),
            ("https://example./a", false),
        ] {
            assert_eq!(is_location(url), expected, "{url}");
        }
        let mut inventory = inventory();
        inventory.location = Some("oci://example.com/debian".to_owned());
        let document = written(&inventory);
        let bundle = package_of(&document, "debian");
        assert_eq!(bundle["downloadLocation"], "NOASSERTION");
        let comment = bundle["comment"].as_str().unwrap();
        assert!(comment.starts_with("download: oci://example.com/debian\n"), "{comment}");
    }

    #[test]
    fn relates_the_bundle_its_plugins_and_their_modules() {
        let document = written(&inventory());
        let all: Vec<String> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap().replace("SPDXRef-", "");
                [word("spdxElementId"), word("relationshipType"), word("relatedSpdxElement")]
                    .join(" ")
            })
            .collect();
        assert_eq!(
            all,
            [
                "DOCUMENT DESCRIBES bundle",
                "bundle CONTAINS plugin-bridge",
                "bundle CONTAINS plugin-macvlan",
                "bundle CONTAINS plugin-old",
                "plugin-bridge DEPENDS_ON go-example.com-Fork-v0.2.0",
                "plugin-bridge DEPENDS_ON go-github.com-vishvananda-netlink-v1.3.1",
                "plugin-bridge DEPENDS_ON go-stdlib-1.26.8",
                "plugin-macvlan DEPENDS_ON go-github.com-vishvananda-netlink-v1.3.1",
                "plugin-macvlan DEPENDS_ON go-golang.org-x-sys-v0.35.0",
                "plugin-macvlan DEPENDS_ON go-stdlib-1.26.8",
                "plugin-old DEPENDS_ON go-stdlib-1.19.8",
                "plugin-old DEPENDS_ON NOASSERTION"
            ]
        );
    }

    #[test]
    fn a_licence_that_is_on_no_list_is_listed() {
        let mut inventory = inventory();
        let licence: Licence = "LicenseRef-Acme OR MIT".parse().unwrap();
        inventory.plugins[0].description.licences.declared = Some(licence);
        let document = written(&inventory);
        assert_eq!(at(&document, "hasExtractedLicensingInfos.licenseId"), ["LicenseRef-Acme"]);
    }

    #[test]
    fn a_large_bundle_stays_small() {
        let bytes = spdx23(&large());
        assert!(bytes.len() < 200_000, "{}", bytes.len());
    }
}
