//! The subject of an attached predicate: an image, and the files in it.
//!
//! An attacker who can write beside an image can attach an edited document, or one about another
//! image. So that neither is signed, its subject and the digest of every file are compared with the
//! image first. The formats are those that a build writes; the rest of a document is not checked.
//! Reading and signing are the jobs of `oci` and `publish`.

use serde::Deserialize;

use super::provenance::PATH;
use crate::bundle::FileManifest;
use crate::bundle::compose::{PLUGIN_DIRECTORY, TOOL_PATH};
use crate::model::json::{Fields, Limits, Outline};
use crate::model::{Digest, JsonError, excerpt, json, predicate_type};

/// A kind of predicate that a build attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredicateKind {
    /// CycloneDX.
    CycloneDx,
    /// SPDX 2.3.
    Spdx23,
    /// SPDX 3.0.1.
    Spdx3,
    /// SLSA provenance, in an in-toto statement.
    Provenance,
}

/// The subject that a predicate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// What it is.
    pub kind: PredicateKind,
    /// The image.
    pub subject: Digest,
    /// The files of the image, by their path there.
    pub files: Vec<(String, Digest)>,
}

/// Why a document is not signed.
#[derive(Debug, thiserror::Error)]
pub enum DescribedError {
    /// Not JSON, or not the fields of its format.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A format that no build writes.
    #[error("it is neither CycloneDX, SPDX 2.3, SPDX 3.0.1 nor a statement of SLSA provenance")]
    Unknown,
    /// No image, or several.
    #[error("it names {0} images by their SHA-256, expected one")]
    Subjects(usize),
    /// A text that is not a digest.
    #[error("it says that `{name}` has the SHA-256 `{found}`, which is not a digest")]
    Digest {
        /// The expected digest.
        name: String,
        /// The text.
        found: String,
    },
    /// About another image.
    #[error("it is about {found}, not about {expected}")]
    Subject {
        /// The image.
        expected: Digest,
        /// The image that it names.
        found: Digest,
    },
    /// A file that the image does not have, or has with other bytes.
    #[error("it says that `{path}` has digest {found}, and the image has {expected}")]
    File {
        /// The path in the image.
        path: String,
        /// The digest of the file in the image.
        expected: String,
        /// The digest that it names.
        found: Digest,
    },
    /// A plugin of the image of which it is silent.
    #[error("it does not mention `{0}`, which the image has")]
    Missing(String),
}

impl PredicateKind {
    /// The predicate type of a statement with such a predicate.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::CycloneDx => predicate_type::CYCLONEDX,
            Self::Spdx23 => predicate_type::SPDX,
            Self::Spdx3 => predicate_type::SPDX3,
            Self::Provenance => predicate_type::PROVENANCE,
        }
    }
}

impl Described {
    /// The longest document that is read, in bytes.
    pub const LIMIT: usize = 4 << 20;
    const LIMITS: Limits = Limits { bytes: Self::LIMIT, values: 16 * 1024 };

    /// Reads what a document is about.
    pub fn parse(bytes: &[u8]) -> Result<Self, DescribedError> {
        let wire: Wire = json::parse_as("the document", bytes, Self::LIMITS, DOCUMENT)?;
        let is_provenance = wire.predicate_type.as_deref() == Some(predicate_type::PROVENANCE);
        let (kind, found) = match &wire {
            Wire { bom_format: Some(format), .. } if format == "CycloneDX" => {
                (PredicateKind::CycloneDx, wire.cyclonedx()?)
            }
            Wire { spdx_version: Some(version), .. } if version == "SPDX-2.3" => {
                (PredicateKind::Spdx23, wire.spdx23()?)
            }
            Wire { context: Some(context), .. } if context.contains("/3.0.1/") => {
                (PredicateKind::Spdx3, wire.spdx3()?)
            }
            _ if is_provenance => (PredicateKind::Provenance, wire.provenance()?),
            _ => return Err(DescribedError::Unknown),
        };
        let Found { subjects, files } = found;
        match subjects.as_slice() {
            [subject] => Ok(Self { kind, subject: *subject, files }),
            _ => Err(DescribedError::Subjects(subjects.len())),
        }
    }

    /// Compares it with the image that it is attached to: `subject` with its platforms' files. No
    /// file may be another one, and no plugin may be left out.
    pub fn check(&self, subject: Digest, images: &[FileManifest]) -> Result<(), DescribedError> {
        if self.subject != subject {
            return Err(DescribedError::Subject { expected: subject, found: self.subject });
        }
        let plugins: Vec<(String, Digest)> = images
            .iter()
            .flat_map(|image| &image.plugins)
            .map(|plugin| (path_of(plugin.name.as_str()), plugin.digest))
            .collect();
        let tools = images.iter().filter_map(|image| image.tool.as_ref());
        let tools = tools.map(|tool| (TOOL_PATH.to_owned(), tool.digest));
        let all: Vec<(String, Digest)> = plugins.iter().cloned().chain(tools).collect();
        if let Some((path, found)) = self.files.iter().find(|file| !all.contains(file)) {
            let expected = all.iter().filter(|(other, _)| other == path);
            let expected: Vec<_> = expected.map(|(_, digest)| digest.to_string()).collect();
            let expected = match expected.is_empty() {
                true => "no such file".to_owned(),
                false => expected.join(" or "),
            };
            return Err(DescribedError::File { path: path.clone(), expected, found: *found });
        }
        match plugins.into_iter().find(|plugin| !self.files.contains(plugin)) {
            Some((path, _)) => Err(DescribedError::Missing(path)),
            None => Ok(()),
        }
    }
}

fn path_of(plugin: &str) -> String {
    format!("{PLUGIN_DIRECTORY}/{plugin}")
}

/// The digests that a document names.
#[derive(Default)]
struct Found {
    subjects: Vec<Digest>,
    files: Vec<(String, Digest)>,
}

impl Found {
    fn subject(&mut self, hex: &str) -> Result<(), DescribedError> {
        self.subjects.push(digest("the image", hex)?);
        Ok(())
    }

    fn plugin(&mut self, name: Option<&str>, hex: &str) -> Result<(), DescribedError> {
        let path = path_of(&excerpt(name.unwrap_or_default()));
        let digest = digest(&path, hex)?;
        self.files.push((path, digest));
        Ok(())
    }
}

fn digest(name: &str, hex: &str) -> Result<Digest, DescribedError> {
    Digest::from_hex(hex)
        .map_err(|_| DescribedError::Digest { name: excerpt(name), found: excerpt(hex) })
}

/// The fields of all formats; each document has those of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    bom_format: Option<String>,
    metadata: Option<Metadata>,
    #[serde(default)]
    components: Vec<Component>,
    spdx_version: Option<String>,
    #[serde(default)]
    packages: Vec<Package>,
    #[serde(rename = "@context")]
    context: Option<String>,
    #[serde(default, rename = "@graph")]
    graph: Vec<Element>,
    predicate_type: Option<String>,
    #[serde(default)]
    subject: Vec<Subject>,
    predicate: Option<Predicate>,
}

#[derive(Deserialize)]
struct Metadata {
    component: Option<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: Option<String>,
    #[serde(default)]
    hashes: Vec<ComponentHash>,
}

#[derive(Deserialize)]
struct ComponentHash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    package_file_name: Option<String>,
    primary_package_purpose: Option<String>,
    #[serde(default)]
    checksums: Vec<Checksum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: String,
    checksum_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Element {
    name: Option<String>,
    #[serde(default)]
    verified_using: Vec<ElementHash>,
    #[serde(rename = "software_primaryPurpose")]
    primary_purpose: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ElementHash {
    algorithm: String,
    hash_value: String,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: Digests,
}

/// The one of several digests that is compared.
#[derive(Default, Deserialize)]
struct Digests {
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    #[serde(default)]
    resolved_dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    #[serde(default)]
    digest: Digests,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "dev.cnister.path")]
    path: Option<String>,
}

impl Wire {
    fn cyclonedx(&self) -> Result<Found, DescribedError> {
        let mut found = Found::default();
        let sha256 = |component: &Component| {
            let hash = component.hashes.iter().find(|hash| hash.alg == "SHA-256");
            hash.map(|hash| hash.content.clone())
        };
        let image = self.metadata.as_ref().and_then(|metadata| metadata.component.as_ref());
        if let Some(hex) = image.and_then(sha256) {
            found.subject(&hex)?;
        }
        for component in &self.components {
            if let Some(hex) = sha256(component) {
                found.plugin(component.name.as_deref(), &hex)?;
            }
        }
        Ok(found)
    }

    fn spdx23(&self) -> Result<Found, DescribedError> {
        let mut found = Found::default();
        for package in &self.packages {
            let sha256 = package.checksums.iter().find(|sum| sum.algorithm == "SHA256");
            let Some(Checksum { checksum_value, .. }) = sha256 else { continue };
            match package.primary_package_purpose.as_deref() {
                Some("CONTAINER") => found.subject(checksum_value)?,
                _ => found.plugin(package.package_file_name.as_deref(), checksum_value)?,
            }
        }
        Ok(found)
    }

    fn spdx3(&self) -> Result<Found, DescribedError> {
        let mut found = Found::default();
        for element in &self.graph {
            let sha256 = element.verified_using.iter().find(|hash| hash.algorithm == "sha256");
            let Some(ElementHash { hash_value, .. }) = sha256 else { continue };
            match element.primary_purpose.as_deref() {
                Some("archive") => found.subject(hash_value)?,
                _ => found.plugin(element.name.as_deref(), hash_value)?,
            }
        }
        Ok(found)
    }

    fn provenance(&self) -> Result<Found, DescribedError> {
        let mut found = Found::default();
        for subject in &self.subject {
            if let Some(hex) = &subject.digest.sha256 {
                found.subject(hex)?;
            }
        }
        let build = self.predicate.as_ref().map(|predicate| &predicate.build_definition);
        for input in build.iter().flat_map(|build| &build.resolved_dependencies) {
            let Some(path) = input.annotations.path.as_deref().map(excerpt) else { continue };
            let hex = input.digest.sha256.as_deref().unwrap_or_default();
            let digest = digest(&path, hex)?;
            found.files.push((path, digest));
        }
        Ok(found)
    }
}

/// The fields as their other readers spell them, which ignore case if they are written in Go.
const DOCUMENT: Outline = Outline::Fields(&Fields::exact(&[
    ("bomFormat", Outline::Any),
    ("metadata", Outline::Fields(&Fields::exact(&[("component", COMPONENT)]))),
    ("components", Outline::List(&COMPONENT)),
    ("spdxVersion", Outline::Any),
    ("packages", Outline::List(&PACKAGE)),
    ("@context", Outline::Any),
    ("@graph", Outline::List(&ELEMENT)),
    ("predicateType", Outline::Any),
    ("subject", Outline::List(&SUBJECT)),
    ("predicate", PREDICATE),
]));

const COMPONENT: Outline = Outline::Fields(&Fields::exact(&[
    ("name", Outline::Any),
    ("hashes", Outline::List(&COMPONENT_HASH)),
]));
const COMPONENT_HASH: Outline =
    Outline::Fields(&Fields::exact(&[("alg", Outline::Any), ("content", Outline::Any)]));

const PACKAGE: Outline = Outline::Fields(&Fields::exact(&[
    ("packageFileName", Outline::Any),
    ("primaryPackagePurpose", Outline::Any),
    ("checksums", Outline::List(&CHECKSUM)),
]));
const CHECKSUM: Outline = Outline::Fields(&Fields::exact(&[
    ("algorithm", Outline::Any),
    ("checksumValue", Outline::Any),
]));

const ELEMENT: Outline = Outline::Fields(&Fields::exact(&[
    ("name", Outline::Any),
    ("verifiedUsing", Outline::List(&ELEMENT_HASH)),
    ("software_primaryPurpose", Outline::Any),
]));
const ELEMENT_HASH: Outline =
    Outline::Fields(&Fields::exact(&[("algorithm", Outline::Any), ("hashValue", Outline::Any)]));

const SUBJECT: Outline = Outline::Fields(&Fields::exact(&[("digest", DIGESTS)]));
const DIGESTS: Outline = Outline::Fields(&Fields::exact(&[("sha256", Outline::Any)]));

const PREDICATE: Outline =
    Outline::Fields(&Fields::exact(&[("buildDefinition", BUILD_DEFINITION)]));
const BUILD_DEFINITION: Outline =
    Outline::Fields(&Fields::exact(&[("resolvedDependencies", Outline::List(&DEPENDENCY))]));
const DEPENDENCY: Outline = Outline::Fields(&Fields::exact(&[
    ("digest", DIGESTS),
    ("annotations", Outline::Fields(&Fields::exact(&[(PATH, Outline::Any)]))),
]));

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attest::sample::{inventory, large};
    use crate::attest::{BuildInputs, InputFile, Inventory, cyclonedx, provenance, spdx3, spdx23};
    use crate::binary::Linkage;
    use crate::bundle::{Facts, PluginFile, ToolFile};
    use crate::model::media_type;

    /// What an image of these plugins has.
    fn files(inventory: &Inventory) -> FileManifest {
        let plugins = inventory.plugins.iter().map(|plugin| PluginFile {
            name: plugin.name.clone(),
            digest: plugin.digest,
            size: plugin.size,
            linkage: Linkage::Static,
            go: None,
            facts: Facts::default(),
        });
        FileManifest {
            media_type: media_type::BUNDLE.to_owned(),
            name: inventory.name.clone(),
            version: inventory.version.clone(),
            platform: inventory.platform.clone(),
            diff_id: Digest::of(b"layer"),
            plugins: plugins.collect(),
            tool: Some(ToolFile { digest: Digest::of(b"tool"), size: 1 }),
        }
    }

    fn statement(inventory: &Inventory) -> Vec<u8> {
        let definition =
            InputFile { location: "a.yaml".to_owned(), digest: Digest::of(b"definition") };
        let build = BuildInputs {
            definition,
            lock: None,
            checksums: Vec::new(),
            tool: Some(Digest::of(b"tool")),
            environment: [].into(),
        };
        json::canonical(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "a", "digest": { "sha256": inventory.subject.digest.hex() } }],
            "predicateType": predicate_type::PROVENANCE,
            "predicate": provenance(inventory, &build),
        }))
    }

    fn documents(inventory: &Inventory) -> [(PredicateKind, Vec<u8>); 4] {
        [
            (PredicateKind::CycloneDx, cyclonedx(inventory)),
            (PredicateKind::Spdx23, spdx23(inventory)),
            (PredicateKind::Spdx3, spdx3(inventory)),
            (PredicateKind::Provenance, statement(inventory)),
        ]
    }

    fn checked(bytes: &[u8], subject: Digest, files: &[FileManifest]) -> Result<(), String> {
        let described = Described::parse(bytes).map_err(|error| error.to_string())?;
        described.check(subject, files).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_build_writes_is_about_its_image() {
        for inventory in [inventory(), large()] {
            let (subject, files) = (inventory.subject.digest, files(&inventory));
            for (kind, bytes) in documents(&inventory) {
                let described = Described::parse(&bytes).unwrap();
                assert_eq!((described.kind, described.subject), (kind, subject));
                let tool = usize::from(kind == PredicateKind::Provenance);
                assert_eq!(described.files.len(), files.plugins.len() + tool);
                assert_eq!(checked(&bytes, subject, std::slice::from_ref(&files)), Ok(()));
            }
        }
    }

    #[test]
    fn another_image_and_another_file_are_refused() {
        let inventory = inventory();
        let (subject, good) = (inventory.subject.digest, files(&inventory));
        let other = Digest::of(b"other");
        let mut exchanged = good.clone();
        exchanged.plugins[0].digest = other;
        let mut fewer = good.clone();
        let removed = fewer.plugins.remove(0);
        let mut more = good.clone();
        more.plugins.push(PluginFile { name: "vlan".parse().unwrap(), ..removed.clone() });
        let path = format!("opt/cni/bin/{}", removed.name);
        for (kind, bytes) in documents(&inventory) {
            let check = |subject, files: &FileManifest| {
                checked(&bytes, subject, std::slice::from_ref(files)).expect_err("refused")
            };
            assert_eq!(check(other, &good), format!("it is about {subject}, not about {other}"));
            let found = removed.digest;
            assert_eq!(
                check(subject, &exchanged),
                format!("it says that `{path}` has digest {found}, and the image has {other}"),
                "{kind:?}"
            );
            assert_eq!(
                check(subject, &fewer),
                format!("it says that `{path}` has digest {found}, and the image has no such file")
            );
            assert_eq!(
                check(subject, &more),
                "it does not mention `opt/cni/bin/vlan`, which the image has"
            );
        }
        let bytes = statement(&inventory);
        let no_tool = FileManifest { tool: None, ..good };
        let error = checked(&bytes, subject, &[no_tool]).expect_err("refused");
        assert!(error.starts_with("it says that `usr/bin/cnister` has digest sha256:"), "{error}");
    }

    #[test]
    fn an_edited_document_is_refused() {
        let inventory = inventory();
        let (subject, files) = (inventory.subject.digest, files(&inventory));
        let bridge = inventory.plugins.iter().find(|plugin| plugin.name.as_str() == "bridge");
        let bridge = bridge.unwrap().digest.hex();
        for (kind, bytes) in documents(&inventory) {
            let text = String::from_utf8(bytes).unwrap();
            let edit = |from: &str, to: &str| {
                let edited = text.replace(from, to);
                assert_ne!(edited, text, "{kind:?} {from}");
                checked(edited.as_bytes(), subject, std::slice::from_ref(&files))
            };
            let other = Digest::of(b"other").hex();
            let error = edit(&bridge, &other).expect_err("another file");
            assert!(error.contains(&format!("has digest sha256:{other}")), "{error}");
            let error = edit(&bridge, "00").expect_err("not a digest");
            assert!(error.contains("`opt/cni/bin/bridge` has the SHA-256 `00`"), "{error}");
            let error = edit(&subject.hex(), &other).expect_err("another image");
            assert!(error.starts_with(&format!("it is about sha256:{other}")), "{error}");
            // What is said beside digests is for the signer to read.
            assert_eq!(edit("checksum-same-origin", "tofu"), Ok(()));
        }
    }

    #[test]
    fn what_names_no_image_or_is_no_such_document_is_refused() {
        let component = |hashes: Value| json!({ "bomFormat": "CycloneDX", "metadata": { "component": { "hashes": hashes } } });
        let digest = Digest::of(b"").hex();
        let two = json!([{ "digest": { "sha256": digest } }, { "digest": { "sha256": digest } }]);
        for (document, expected) in [
            (json!({}), "it is neither CycloneDX, SPDX 2.3, SPDX 3.0.1 nor a statement of"),
            (json!({ "spdxVersion": "SPDX-2.2" }), "it is neither CycloneDX, SPDX 2.3"),
            (json!({ "predicateType": "https://slsa.dev/provenance/v0.2" }), "it is neither"),
            (json!([]), "the document is not valid: invalid length 0"),
            (component(json!([])), "it names 0 images by their SHA-256, expected one"),
            (component(json!([{ "alg": "SHA-1", "content": "" }])), "it names 0 images"),
            (
                json!({ "predicateType": predicate_type::PROVENANCE, "subject": two }),
                "it names 2 images by their SHA-256, expected one",
            ),
            (json!({ "BomFormat": "CycloneDX" }), "the document is not valid: the key `BomFormat`"),
        ] {
            let error = Described::parse(document.to_string().as_bytes()).expect_err(expected);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let twice = br#"{"bomFormat": "CycloneDX", "bomFormat": "CycloneDX"}"#;
        let error = Described::parse(twice).expect_err("twice").to_string();
        assert!(error.contains("the key `bomFormat` appears twice"), "{error}");
    }
}
