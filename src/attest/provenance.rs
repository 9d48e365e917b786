//! SLSA provenance of one platform's bundle (SLSA 1.0, provenance.md): everything that a build took
//! in, with the digest of each input and how far its origin is verified.
//!
//! A predicate is only as trustworthy as its signer, which a build does not know: `runDetails` is
//! written when it is signed ([`signed_by`]). Environment variables are in `internalParameters`,
//! because any step of a job can set them; their names are a closed list, so that no token is
//! published. No SLSA level is claimed anywhere: verifiers derive it from the
//! signer. The levels here are those of the lock, about where an input came from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::component::Tool;
use super::inventory::{Inventory, Plugin, Production};
use super::purl;
use super::uri::{encoded, has_scheme};
use crate::binary::GoModule;
use crate::bundle::compose::{PLUGIN_DIRECTORY, TOOL_PATH};
use crate::model::{Digest, visible};

/// What a build does: the fields below `buildDefinition` have the meaning that this type gives
/// them.
pub const BUILD_TYPE: &str = "https://cnister.dev/compose/v1";

/// The builder of provenance that a key signed: who has the key says so, and no one else.
pub const SELF_ATTESTED: &str = "https://cnister.dev/builders/self-attested";

/// The annotation of an input that is a file of the image: its path there.
pub(super) const PATH: &str = "dev.cnister.path";

/// The environment variables that are repeated: of GitHub, Gitea and Forgejo, of GitLab, of
/// Jenkins. None of them holds a secret.
const VARIABLES: [&str; 23] = [
    "BUILD_NUMBER",
    "BUILD_URL",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_SHA",
    "CI_CONFIG_PATH",
    "CI_JOB_ID",
    "CI_PIPELINE_ID",
    "CI_PIPELINE_SOURCE",
    "CI_PROJECT_ID",
    "CI_PROJECT_PATH",
    "CI_SERVER_URL",
    "GITHUB_EVENT_NAME",
    "GITHUB_REF",
    "GITHUB_REPOSITORY",
    "GITHUB_REPOSITORY_ID",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW_REF",
    "GITHUB_WORKFLOW_SHA",
    "GIT_COMMIT",
    "JOB_NAME",
];

/// The longest value of a variable that is repeated, in bytes.
const LONGEST_VALUE: usize = 512;

/// The inputs of a build beside the plugins, which are in the [`Inventory`].
#[derive(Debug, Clone)]
pub struct BuildInputs {
    /// The definition.
    pub definition: InputFile,
    /// The lock, if one was used.
    pub lock: Option<InputFile>,
    /// The checksum files that levels of the lock follow from.
    pub checksums: Vec<InputFile>,
    /// The digest of the tool in the image.
    pub tool: Option<Digest>,
    /// The variables of the job, from [`environment`].
    pub environment: BTreeMap<&'static str, String>,
}

/// A file by its address or name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputFile {
    /// A URL, or the name of a file without the directories of the machine.
    pub location: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// The variables of the job that may be published. A value with what looks
/// like a credential in a URL, or with characters that no identifier has, is left out.
pub fn environment(variable: impl Fn(&str) -> Option<String>) -> BTreeMap<&'static str, String> {
    let is_plain = |value: &String| {
        let credentials = value.split_once("://").is_some_and(|(_, rest)| {
            rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@'))
        });
        !value.is_empty()
            && value.len() <= LONGEST_VALUE
            && visible(value) == value.as_str()
            && !credentials
    };
    VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, variable(name).filter(is_plain)?)))
        .collect()
}

/// The predicate about a build, as no one has signed it yet.
pub fn provenance(inventory: &Inventory, build: &BuildInputs) -> Value {
    let mut internal = BTreeMap::from([
        ("cnister", json!(Tool::VERSION)),
        ("sourceDateEpoch", json!(inventory.created)),
    ]);
    if !build.environment.is_empty() {
        internal.insert("environment", json!(build.environment));
    }
    let mut external = BTreeMap::from([
        ("bundle", json!({ "name": inventory.name, "version": inventory.version })),
        ("definition", json!(Dependency::file(&build.definition))),
        ("platform", json!(inventory.platform)),
    ]);
    if let Some(lock) = &build.lock {
        external.insert("lock", json!(Dependency::file(lock)));
    }
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "internalParameters": internal,
            "resolvedDependencies": dependencies(inventory, build),
        },
    });
    signed_by(predicate, SELF_ATTESTED)
}

/// The predicate with the builder that its signer stands for. Whatever was said of the run before
/// is dropped: it could have been written by anyone who can write beside an image.
#[must_use]
pub fn signed_by(mut predicate: Value, builder: &str) -> Value {
    if let Some(fields) = predicate.as_object_mut() {
        fields.insert("runDetails".to_owned(), json!({ "builder": { "id": builder } }));
    }
    predicate
}

/// An input (in-toto attestation framework, resource_descriptor.md).
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Dependency {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Dependency {
    /// A file by its location: an address, or a name.
    fn file(file: &InputFile) -> Self {
        let InputFile { location, digest } = file;
        let (uri, name) = match has_scheme(location) {
            true => (Some(encoded(location)), None),
            false => (None, Some(visible(location).into_owned())),
        };
        let digest = BTreeMap::from([("sha256", digest.hex())]);
        Self { uri, name, digest, annotations: BTreeMap::new() }
    }

    fn with(mut self, annotations: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.annotations.extend(annotations);
        self
    }
}

/// Every input: the assets and checksum files that were fetched, the plugins that were taken out of
/// them, the modules of those that were built, the tool.
fn dependencies(inventory: &Inventory, build: &BuildInputs) -> Vec<Dependency> {
    let mut plugins: Vec<&Plugin> = inventory.plugins.iter().collect();
    plugins.sort_by_key(|plugin| (&plugin.name, plugin.digest));
    // An asset with several plugins is one input.
    let mut assets = BTreeMap::new();
    for plugin in &plugins {
        if let Some(asset) = asset(plugin) {
            let key = (asset.uri.clone(), asset.name.clone(), asset.digest.clone());
            assets.entry(key).or_insert(asset);
        }
    }
    let checksums: BTreeSet<_> = build.checksums.iter().map(Dependency::file).collect();
    let built = plugins.iter().filter(|plugin| plugin.production == Production::Built);
    let modules: BTreeSet<_> = built.flat_map(|plugin| modules(plugin)).collect();
    let tool = build.tool.map(|digest| {
        let file = InputFile { location: Tool::NAME.to_owned(), digest };
        Dependency::file(&file).with([(PATH, TOOL_PATH.to_owned()), level(None)])
    });
    let mut all: Vec<_> = assets.into_values().collect();
    all.extend(checksums);
    all.extend(modules);
    all.extend(plugins.into_iter().map(file));
    all.extend(tool);
    all
}

fn level(verification: Option<&String>) -> (&'static str, String) {
    let level = verification.map_or_else(|| "none".to_owned(), |level| visible(level).into_owned());
    ("dev.cnister.level", level)
}

/// An asset that was fetched for a plugin.
fn asset(plugin: &Plugin) -> Option<Dependency> {
    let download = plugin.download.as_ref()?;
    let file = InputFile { location: download.location.clone(), digest: download.sha256? };
    let mut asset = Dependency::file(&file).with([level(plugin.verification.as_ref())]);
    asset.digest.extend(download.sha512.map(|digest| ("sha512", digest.hex())));
    let version = plugin.version.as_ref().map(|version| visible(version).into_owned());
    Some(asset.with(version.map(|version| ("dev.cnister.version", version))))
}

/// A plugin as it is in the image.
fn file(plugin: &Plugin) -> Dependency {
    let name = plugin.name.to_string();
    let path = format!("{PLUGIN_DIRECTORY}/{name}");
    let digest = BTreeMap::from([("sha256", plugin.digest.hex()), ("sha512", plugin.sha512.hex())]);
    let annotations = BTreeMap::from([(PATH, path), level(plugin.verification.as_ref())]);
    let download = plugin.download.as_ref();
    let from = download.and_then(|download| download.sha256);
    let member = download.and_then(|download| download.member.as_ref());
    Dependency { uri: None, name: Some(name), digest, annotations }
        .with(from.map(|digest| ("dev.cnister.from", digest.to_string())))
        .with(member.map(|member| ("dev.cnister.member", visible(member).into_owned())))
}

/// The modules that a plugin was built from here, and the standard library of the Go release.
fn modules(plugin: &Plugin) -> Vec<Dependency> {
    let Some(go) = &plugin.go else { return Vec::new() };
    let main = go.main.iter().chain(&go.modules).map(module);
    let version = go.go_version().unwrap_or(&go.go);
    let library = Dependency {
        uri: Some(purl::golang("stdlib", Some(version), None)),
        ..Dependency::default()
    };
    main.chain([library]).collect()
}

fn module(module: &GoModule) -> Dependency {
    let GoModule { path, version, sum, replacement } = module;
    let (path, version, sum) = match replacement.as_deref() {
        Some(other) => (&other.path, &other.version, &other.sum),
        None => (path, version, sum),
    };
    let uri = Some(purl::golang(path, version.as_deref(), None));
    let sum = sum.as_ref().map(|sum| ("dev.cnister.sum", visible(sum).into_owned()));
    Dependency { uri, ..Dependency::default() }.with(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::sample::{at, inventory};

    fn build() -> BuildInputs {
        let file = |location: &str| InputFile {
            location: location.to_owned(),
            digest: Digest::of(location.as_bytes()),
        };
        BuildInputs {
            definition: file("debian.yaml"),
            lock: Some(file("debian.lock.json")),
            checksums: vec![file("https://example.com/plugins.tgz.sha256"), file("sums\n.txt")],
            tool: Some(Digest::of(b"tool")),
            environment: environment(|name| (name == "GITHUB_SHA").then(|| "abc".to_owned())),
        }
    }

    #[test]
    fn names_every_input_with_digest_and_level() {
        let predicate = provenance(&inventory(), &build());
        let inputs = &predicate["buildDefinition"]["resolvedDependencies"];
        let hex = |text: &[u8]| Digest::of(text).hex();
        let archive = json!({
            "uri": "https://example.com/plugins.tgz",
            "digest": {
                "sha256": hex(b"archive"),
                "sha512": crate::model::Sha512::of(b"archive").hex(),
            },
            "annotations": { "dev.cnister.level": "checksum-same-origin" },
        });
        assert_eq!(inputs[0], archive, "once, although two plugins are from it");
        let names: Vec<_> = inputs.as_array().unwrap().iter().skip(1).collect();
        let names: Vec<_> = names.iter().map(|it| it.get("uri").unwrap_or(&it["name"])).collect();
        let sums = ["sums\\u{a}.txt", "https://example.com/plugins.tgz.sha256"];
        let files = ["bridge", "macvlan", "old", "cnister"];
        assert_eq!(names, sums.iter().chain(&files).collect::<Vec<_>>());
        let bridge = json!({
            "dev.cnister.path": "opt/cni/bin/bridge",
            "dev.cnister.level": "checksum-same-origin",
            "dev.cnister.from": format!("sha256:{}", hex(b"archive")),
            "dev.cnister.member": "./bridge",
        });
        assert_eq!(inputs[3]["annotations"], bridge);
        assert_eq!(inputs[3]["digest"]["sha256"], hex(b"bridge"));
        let old = json!({ "dev.cnister.path": "opt/cni/bin/old", "dev.cnister.level": "none" });
        assert_eq!(inputs[5]["annotations"], old, "a file of a directory");
        assert_eq!(inputs[6]["annotations"]["dev.cnister.path"], "usr/bin/cnister");
        // Each has what a resource descriptor needs.
        let all = inputs.as_array().unwrap().iter();
        assert!(all.clone().all(|it| it.get("digest").is_some()));
    }

    #[test]
    fn a_plugin_that_was_built_here_names_its_modules() {
        let mut inventory = inventory();
        let modules = |inventory: &Inventory| {
            let predicate = provenance(inventory, &build());
            let uris = at(&predicate, "buildDefinition.resolvedDependencies.uri");
            let uris = uris.into_iter().filter_map(Value::as_str);
            uris.filter(|uri| uri.starts_with("pkg:")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(modules(&inventory), Vec::<String>::new());
        for plugin in &mut inventory.plugins {
            plugin.production = Production::Built;
        }
        assert_eq!(
            modules(&inventory),
            [
                "pkg:golang/example.com/fork@v0.2.0",
                "pkg:golang/github.com/containernetworking/plugins@v1.9.1",
                "pkg:golang/github.com/vishvananda/netlink@v1.3.1",
                "pkg:golang/golang.org/x/sys@v0.35.0",
                "pkg:golang/stdlib@1.19.8",
                "pkg:golang/stdlib@1.26.8",
            ]
        );
    }

    #[test]
    fn what_the_environment_says_is_an_internal_parameter_and_no_level_is_claimed() {
        let predicate = provenance(&inventory(), &build());
        let definition = &predicate["buildDefinition"];
        assert_eq!(
            definition["internalParameters"],
            json!({
                "cnister": Tool::VERSION,
                "sourceDateEpoch": 1_770_000_000,
                "environment": { "GITHUB_SHA": "abc" },
            })
        );
        let names = ["debian.yaml", "debian.lock.json"];
        let files = names.map(|name| {
            json!({ "name": name, "digest": { "sha256": Digest::of(name.as_bytes()).hex() } })
        });
        assert_eq!(
            definition["externalParameters"],
            json!({
                "bundle": { "name": "debian", "version": "1.2.3" },
                "platform": "linux/amd64",
                "definition": files[0],
                "lock": files[1],
            })
        );
        assert_eq!(predicate["runDetails"], json!({ "builder": { "id": SELF_ATTESTED } }));
        let text = predicate.to_string().to_lowercase();
        assert!(!text.contains("slsa_") && !text.contains("build_level"), "{text}");
    }

    #[test]
    fn no_secret_of_a_job_is_repeated() {
        let all = environment(|name| Some(format!("value of {name}")));
        assert_eq!(all.len(), VARIABLES.len());
        for name in VARIABLES {
            let secret = ["TOKEN", "PASSWORD", "SECRET", "KEY", "REPOSITORY_URL", "JWT"];
            assert!(!secret.iter().any(|word| name.contains(word)), "{name}");
        }
        for (value, is_repeated) in [
            ("https://ci.example.com/job/1/", true),
            ("me@example.com", true),
            ("https://user:token@ci.example.com/job/1/", false),
            ("", false),
            ("a\u{1b}[2J", false),
            (&"x".repeat(512), true),
            (&"x".repeat(513), false),
        ] {
            let found = environment(|name| (name == "BUILD_URL").then(|| value.to_owned()));
            assert_eq!(!found.is_empty(), is_repeated, "{value}");
        }
    }

    #[test]
    fn the_signer_decides_who_the_builder_is() {
        let forged = json!({
            "buildDefinition": { "buildType": BUILD_TYPE },
            "runDetails": {
                "builder": { "id": "https://github.com/actions/runner" },
                "metadata": { "invocationId": "https://github.com/acme/cni/actions/runs/1" },
            },
        });
        let expected = json!({
            "buildDefinition": { "buildType": BUILD_TYPE },
            "runDetails": { "builder": { "id": SELF_ATTESTED } },
        });
        assert_eq!(signed_by(forged, SELF_ATTESTED), expected);
    }

    #[test]
    fn the_order_of_plugins_is_not_seen() {
        let mut turned = inventory();
        turned.plugins.reverse();
        assert_eq!(provenance(&turned, &build()), provenance(&inventory(), &build()));
    }
}
