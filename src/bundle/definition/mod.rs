//! The definition of a bundle: the YAML file that people write and keep under version control.
//!
//! ```yaml
//! apiVersion: cnister.dev/v1
//! kind: Bundle
//! name: debian
//! version: 1.1.1
//! platforms: [linux/amd64]
//! sources:
//!   - name: debian
//!     directory: /usr/lib/cni
//! plugins: [bridge, host-local]
//! ```
//!
//! Parsing has three stages: the text, `Raw` with the place of everything, and [`Definition`],
//! which is sound in itself. Whether the plugins exist is for `publish` to find out.

mod gates;
mod plugin;
mod raw;
mod schema;
pub mod source;

use std::collections::BTreeMap;

use semver::Version;
use serde::Deserialize;

use super::Encoding;
use crate::model::{BundleName, Party, Platform, PluginName, Repository};

pub use gates::Gate;
pub use plugin::Plugin;
pub use schema::schema;
pub use source::{Source, SourceKind, SourceName};

/// What a bundle should contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: BundleName,
    /// Its version, which is part of what is signed.
    pub version: Version,
    /// The platforms, in the order of the file.
    pub platforms: Vec<Platform>,
    /// Where plugins come from.
    pub sources: Vec<Source>,
    /// The plugins, in the order of the file, each from one of the sources.
    pub plugins: Vec<Plugin>,
    /// How the layers are written.
    pub compression: Encoding,
    /// Whether the image carries the tool.
    pub tool: ToolChoice,
    /// The requirements for every plugin.
    pub gates: Vec<Gate>,
    /// Who makes the bundle, for SBOMs.
    pub author: Option<Party>,
    /// The URL of where the definition is kept, for SBOMs.
    pub repository: Option<String>,
    /// The repository that the image will be pushed to, for SBOMs.
    pub image: Option<Repository>,
}

/// Whether a bundle's image carries the tool, and can therefore hand its own files out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// It does; a build without one is refused. In a file, this is what saying nothing means.
    #[default]
    #[serde(skip)]
    Required,
    /// It does not: it is for image volumes, `pull` and layouts alone.
    None,
}

impl Definition {
    /// The source of this name.
    pub fn source(&self, name: &SourceName) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == *name)
    }

    /// The source of a plugin.
    pub fn source_of(&self, plugin: &PluginName) -> Option<&Source> {
        let plugin = self.plugins.iter().find(|it| it.name == *plugin)?;
        self.source(&plugin.source)
    }

    /// Reads the keys of publishers: `read` gets the path of each, as it is written.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read_keys<E>(
        &mut self,
        mut read: impl FnMut(&str) -> Result<source::KeyContent, E>,
    ) -> Result<(), E> {
        for key in self.sources.iter_mut().filter_map(|source| source.kind.key_mut()) {
            key.content = Some(read(&key.path)?);
        }
        Ok(())
    }

    /// What is asked for each plugin on each platform.
    pub fn requests(&self) -> BTreeMap<(PluginName, Platform), source::Request> {
        let mut requests = BTreeMap::new();
        for Plugin { name, source } in &self.plugins {
            let Some(source) = self.source(source) else { continue };
            for platform in &self.platforms {
                let mut request = source.kind.request(platform, name);
                let version = source.version.as_ref().map(|it| it.as_str().to_owned());
                request.version = request.version.or(version);
                requests.insert((name.clone(), platform.clone()), request);
            }
        }
        requests
    }

    /// How each plugin on each platform was built, for those whose source says it.
    pub fn recipes(&self) -> BTreeMap<(PluginName, Platform), source::RecipeRequest> {
        let mut recipes = BTreeMap::new();
        for Plugin { name, source } in &self.plugins {
            let Some(asset) = self.source(source).and_then(|it| it.kind.asset()) else { continue };
            for platform in &self.platforms {
                if let Some(recipe) = asset.recipe(platform, name) {
                    recipes.insert((name.clone(), platform.clone()), recipe);
                }
            }
        }
        recipes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: debian
version: 1.1.1
platforms: [linux/amd64]
sources:
  - name: debian
    directory: /usr/lib/cni
plugins: [bridge, host-local]
";

    fn small() -> Definition {
        let source: SourceName = "debian".parse().unwrap();
        let plugin = |name: &str| Plugin { name: name.parse().unwrap(), source: source.clone() };
        Definition {
            name: "debian".parse().unwrap(),
            version: Version::new(1, 1, 1),
            platforms: vec!["linux/amd64".parse().unwrap()],
            sources: vec![Source {
                name: source.clone(),
                kind: SourceKind::Directory("/usr/lib/cni".parse().unwrap()),
                version: None,
                description: source::SourceDescription::default(),
            }],
            plugins: vec![plugin("bridge"), plugin("host-local")],
            compression: Encoding::Balanced,
            tool: ToolChoice::Required,
            gates: Vec::new(),
            author: None,
            repository: None,
            image: None,
        }
    }

    fn parse(text: &str) -> Result<Definition, String> {
        Definition::parse("it.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse(SMALL), Ok(small()));
        let text = SMALL.replace("host-local]", "{name: host-local, source: debian}]")
            + "compression: gzip\ntool: none\n";
        assert_eq!(
            parse(&text),
            Ok(Definition { compression: Encoding::Gzip, tool: ToolChoice::None, ..small() })
        );
    }

    #[test]
    fn a_source_is_described_for_sboms() {
        let text = SMALL.replace(
            "directory: /usr/lib/cni",
            "directory: /usr/lib/cni\n    version: 1.1.1+ds1\n    license: Apache-2.0 OR MIT\n    \
             copyright: 2014 CNI authors\n    supplier: Debian <https://www.debian.org>\n    \
             repository: https://example.com/a\n    download: https://example.com/a.deb",
        ) + "author: Acme <cni@example.com>\nrepository: https://example.com/b\n\
             image: registry.example.com/cni\n";
        let definition = parse(&text).unwrap();
        let source = &definition.sources[0];
        let description = source::SourceDescription {
            license: Some("Apache-2.0 OR MIT".parse().unwrap()),
            copyright: Some("2014 CNI authors".to_owned()),
            supplier: Party::new("Debian", Some("https://www.debian.org"), None).ok(),
            repository: Some("https://example.com/a".to_owned()),
            download: Some("https://example.com/a.deb".to_owned()),
        };
        assert_eq!(source.description, description);
        assert_eq!(definition.repository.as_deref(), Some("https://example.com/b"));
        assert_eq!(definition.image.as_ref().unwrap().to_string(), "registry.example.com/cni");
        assert_eq!(definition.author, Party::new("Acme", None, Some("cni@example.com")).ok());
        let request = definition.requests().pop_first().unwrap().1;
        assert_eq!(request.version.as_deref(), Some("1.1.1+ds1"));
        for (from, to, expected) in [
            ("Apache-2.0 OR MIT", "Apache 2", "`Apache 2` is not an SPDX licence expression"),
            ("<https://www.debian.org>", "<debian>", "`debian` is not an e-mail address"),
            ("https://example.com/a\n", "example.com/a\n", "`repository` is not a URL"),
            ("https://example.com/b", "example.com/b", "`repository` is not a URL"),
            ("https://example.com/a.deb", "a.deb", "`download` is not a URL"),
            ("registry.example.com/cni", "../cni", "../cni"),
            ("2014 CNI authors", "\"\"", "`copyright` must have 1 to 4096 bytes"),
            ("directory: /usr/lib/cni", "archive: a.tgz", "the version belongs into `archive`"),
        ] {
            let error = parse(&text.replace(from, to)).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn gates_are_on_or_off() {
        let gates = |text: &str| {
            let text = SMALL.replace("plugins:", &format!("gates: {text}\nplugins:"));
            parse(&text).unwrap().gates
        };
        assert_eq!(gates("{}"), []);
        assert_eq!(gates("{static: false, mainPackage: false, noPacker: false}"), []);
        let all = "{static: true, minGo: 1.20, oneToolchain: true, versionMatches: true, \
                   mainPackage: {bridge: a/b}, noDevel: true, noPacker: true, \
                   allowSetId: [bridge], cniVersion: 1.0.0, kubernetes: \">=1.28, <1.35\", \
                   minLevel: tofu}";
        let bridge: crate::model::PluginName = "bridge".parse().unwrap();
        let expected = [
            Gate::Static,
            // Not 1.2, which a number would be.
            Gate::MinGo("1.20".parse().unwrap()),
            Gate::OneToolchain,
            Gate::VersionMatches,
            Gate::MainPackage([(bridge.clone(), "a/b".to_owned())].into()),
            Gate::NoDevel,
            Gate::NoPacker,
            Gate::AllowSetId([bridge].into()),
            Gate::CniVersion(Version::new(1, 0, 0)),
            Gate::Kubernetes(">=1.28, <1.35".parse().unwrap()),
            Gate::MinLevel(crate::bundle::lock::Level::Tofu),
        ];
        assert_eq!(gates(all), expected);
        let keys: Vec<_> = expected.iter().map(Gate::key).collect();
        assert!(keys.iter().all(|key| all.contains(&format!("{key}: "))), "{keys:?}");
        assert_eq!(gates("{mainPackage: true}"), [Gate::MainPackage([].into())]);
        assert_eq!(gates("{allowSetId: []}"), [Gate::AllowSetId([].into())]);
        for (text, expected) in [
            ("{mainPackage: yes}", "expected true, false, or the main package of each plugin"),
            ("{static: 1}", "9:17: "),
            ("[static]", "9:8: "),
        ] {
            let text = SMALL.replace("plugins:", &format!("gates: {text}\nplugins:"));
            let error = parse(&text).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_directory_may_differ_by_platform() {
        let several = SMALL.replace("[linux/amd64]", "[linux/amd64, linux/arm64]");
        let error = "it.yaml:7:5: several platforms need a directory each: write `{architecture}` into `directory`";
        assert_eq!(parse(&several), Err(error.to_owned()));
        let definition = parse(&several.replace("/usr/lib/cni", "cni-{architecture}/bin")).unwrap();
        let pattern = "cni-{architecture}/bin".parse().unwrap();
        assert_eq!(definition.sources[0].kind, SourceKind::Directory(pattern));
    }

    #[test]
    fn each_plugin_has_one_source() {
        let two = SMALL.replace("plugins:", "  - {name: flannel, directory: flannel}\nplugins:");
        for (plugins, expected) in [
            (
                "[bridge]",
                "it.yaml:10:11: there is more than one source: write `{name: bridge, source: …}` with one of `debian`, `flannel`",
            ),
            (
                "[{name: bridge, source: deb}]",
                "it.yaml:10:11: there is no source `deb`, only `debian`, `flannel`",
            ),
            (
                "[{name: bridge, source: debian}]",
                "it.yaml:9:5: no plugin uses the source `flannel`",
            ),
            ("[{name: bridge}]", "it.yaml:10:12: field `source` is missing"),
        ] {
            assert_eq!(
                parse(&two.replace("[bridge, host-local]", plugins)),
                Err(expected.to_owned())
            );
        }
        let plugins = "[{name: bridge, source: debian}, {name: flannel, source: flannel}]";
        assert!(parse(&two.replace("[bridge, host-local]", plugins)).is_ok());
    }

    #[test]
    fn names_the_place_of_a_mistake_and_what_is_allowed() {
        let cases = [
            (
                "cnister.dev/v1",
                "cnister.dev/v2",
                "1:13: unknown value `cnister.dev/v2`, expected `cnister.dev/v1`",
            ),
            ("kind: Bundle", "kind: Policy", "2:7: unknown value `Policy`, expected `Bundle`"),
            (
                "name: debian\nv",
                "name: Debian\nv",
                "3:7: `Debian` is not a valid bundle name: expected 1 to 63 lower-case letters, digits and dashes, starting with a letter",
            ),
            (
                "1.1.1",
                "1.1",
                "4:10: `1.1` is not a valid version (semver, such as `1.1.1`): unexpected end of input while parsing minor version number",
            ),
            (
                "linux/amd64",
                "linux/x86_64",
                "5:13: `linux/x86_64` is not a supported platform; expected one of linux/amd64, linux/arm64, linux/arm, linux/ppc64le, linux/riscv64, linux/s390x",
            ),
            ("[linux/amd64]", "[]", "5:12: a bundle must have at least one platform"),
            ("[linux/amd64]", "linux/amd64", "5:12: expected a list"),
            (
                "linux/amd64",
                "linux/arm64, linux/arm64/v8",
                "5:26: the platform `linux/arm64` appears twice",
            ),
            (
                "directory: /usr",
                "path: /usr",
                "8:5: unknown field `path`, expected `name`, `version`, `license`, `copyright`, `supplier`, `repository`, `download`, `directory`, `archive`, `file`, `image` or `go`",
            ),
            (
                "    directory: /usr/lib/cni\n",
                "",
                "7:5: a source must have exactly one of `directory`, `archive`, `file`, `image` or `go`; found none",
            ),
            ("/usr/lib/cni", "", "8:14: the value is missing, expected text"),
            (
                "/usr/lib/cni",
                "/usr/{arch}",
                "8:16: `/usr/{arch}` has a brace that is not part of `{architecture}`, the only placeholder",
            ),
            (
                "/usr/lib/cni",
                "\"\"",
                "8:16: a directory is missing; `.` is the one of the definition",
            ),
            (
                "  - name: debian",
                "  - name: a/b",
                "7:11: `a/b` is not a valid source name: expected 1 to 63 lower-case letters, digits and dashes",
            ),
            ("host-local", "bridge", "9:19: the plugin `bridge` appears twice"),
            (
                "host-local",
                "../sh",
                "9:19: plugin name `../sh` contains `/`; letters, digits, `-`, `_` and `.` are allowed",
            ),
            (
                "host-local",
                "[a]",
                "9:19: invalid type: sequence, expected the name of a plugin, or `name` and `source`",
            ),
            (
                "host-local",
                "{name: a, file: b}",
                "9:29: unknown field `file`, expected `name` or `source`",
            ),
            ("plugins:", "tool: any\nplugins:", "9:7: unknown value `any`, expected `none`"),
            (
                "plugins:",
                "compression: xz\nplugins:",
                "9:14: unknown value `xz`, expected `balanced`, `zstd`, `best`, `gzip` or `none`",
            ),
            ("plugins: [bridge, host-local]", "", "6:1: field `plugins` is missing"),
            (
                "plugins:",
                "gates: {minGo: go1.24}\nplugins:",
                "9:16: `go1.24` is not a Go release: expected `1.24`, `1.24.3` or `1.24rc1`",
            ),
            (
                "plugins:",
                "gates: {cniVersion: v1}\nplugins:",
                "9:21: `v1` is not a CNI version: expected one such as `1.0.0`",
            ),
            (
                "plugins:",
                "gates: {kubernetes: new}\nplugins:",
                "9:21: `new` is not a range of versions, such as `>=1.28, <1.35`: unexpected character 'n' while parsing major version number",
            ),
            (
                "plugins:",
                "gates: {allowSetId: [bridge, tap]}\nplugins:",
                "9:8: `allowSetId` names `tap`, which is not in `plugins`",
            ),
            (
                "plugins:",
                "gates: {mainPackage: {tap: a/b}}\nplugins:",
                "9:8: `mainPackage` names `tap`, which is not in `plugins`",
            ),
        ];
        for (from, to, expected) in cases {
            assert_eq!(parse(&SMALL.replace(from, to)), Err(format!("it.yaml:{expected}")));
        }
        let many: Vec<String> = (0..257).map(|number| format!("p{number}")).collect();
        let many = SMALL.replace("bridge, host-local", &many.join(", "));
        assert_eq!(
            parse(&many),
            Err("it.yaml:9:10: a bundle can have at most 256 plugins".to_owned())
        );
    }

    fn bundles() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles")
    }

    #[test]
    fn every_file_under_bundles_is_a_definition() {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(bundles()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".yaml") {
                Definition::parse(name, &std::fs::read_to_string(&path).unwrap()).unwrap();
                found.push(name.to_owned());
            }
        }
        found.sort();
        let all = ["debian.yaml", "from-source.yaml", "multus-base.yaml", "third-party.yaml"];
        assert_eq!(found, all);
    }

    #[test]
    fn the_debian_bundle_holds_what_its_comment_says() {
        let text = std::fs::read_to_string(bundles().join("debian.yaml")).unwrap();
        let definition = Definition::parse("debian.yaml", &text).unwrap();
        let names =
            definition.plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>();
        let (plugins, addresses) = names.split_at(6);
        assert!(text.contains(&format!("({})", plugins.join(", "))), "{plugins:?}");
        assert!(text.contains(&format!("({})", addresses.join(", "))), "{addresses:?}");
    }

    #[test]
    fn the_schema_has_the_fields_and_values_of_the_parser() {
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(bundles().join("bundle.schema.json")).unwrap())
                .unwrap();
        let sorted = |mut texts: Vec<String>| {
            texts.sort();
            texts
        };
        let in_error = |from: &str, to: &str| {
            let error = parse(&SMALL.replace(from, to)).expect_err(to);
            let (_, allowed) = error.split_once("expected ").unwrap();
            sorted(allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        let fields = |at: &serde_json::Value| {
            sorted(at["properties"].as_object().unwrap().keys().cloned().collect())
        };
        let values = |at: &serde_json::Value| {
            sorted(
                at["enum"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|value| value.as_str().unwrap().to_owned())
                    .collect(),
            )
        };
        assert_eq!(fields(&schema), in_error("plugins:", "unknown:"));
        let properties = &schema["properties"];
        assert_eq!(fields(&properties["sources"]["items"]), in_error("directory:", "unknown:"));
        let plugin = &properties["plugins"]["items"]["anyOf"][1];
        assert_eq!(fields(plugin), in_error("host-local", "{unknown: a}"));
        assert_eq!(
            values(&properties["compression"]),
            in_error("plugins:", "compression: unknown\nplugins:")
        );
        assert_eq!(
            fields(&properties["gates"]),
            in_error("plugins:", "gates: {unknown: a}\nplugins:")
        );
        assert_eq!(
            values(&properties["gates"]["properties"]["minLevel"]),
            in_error("plugins:", "gates: {minLevel: unknown}\nplugins:")
        );
        assert_eq!(values(&properties["tool"]), in_error("plugins:", "tool: unknown\nplugins:"));
        for platform in values(&properties["platforms"]["items"]) {
            assert!(parse(&SMALL.replace("linux/amd64", &platform)).is_ok(), "{platform}");
        }
    }
}
