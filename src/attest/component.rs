//! An inventory as the list of components that all writers share: the bundle, its plugins, and
//! each version of a module once, however many plugins link it.
//!
//! The order, and with it every identifier, follows from names and not from the order in which a
//! caller filled the inventory.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::copyright::Copyright;
use super::inventory::{Description, Inventory, Plugin, Production};
use super::licence::{Licence, Licences};
use super::module_path::{Source, published};
use super::party::Party;
use super::purl;
use super::uri::{encoded, has_scheme};
use crate::binary::GoModule;
use crate::model::{Digest, Sha512, json, rfc3339, visible};

/// All that is said, in the order in which it is written.
#[derive(Debug, Serialize)]
pub(super) struct Components {
    /// What a document about it is called.
    pub(super) name: String,
    /// In RFC 3339.
    pub(super) created: String,
    pub(super) author: Option<Party>,
    pub(super) production: BTreeSet<&'static str>,
    /// The bundle, the plugins by name, the modules by path.
    pub(super) list: Vec<Component>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Kind {
    Bundle,
    Plugin,
    Module,
}

#[derive(Debug, Serialize)]
pub(super) struct Component {
    /// Unique among the components: letters, digits, `.` and `-`.
    pub(super) id: String,
    /// Its place in the list.
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) purl: String,
    pub(super) supplier: Option<Party>,
    pub(super) licences: Licences,
    pub(super) copyright: Copyright,
    pub(super) source: Option<Source>,
    /// The file that is shipped, if it is one of its own.
    pub(super) file: Option<File>,
    /// The components in whose files it is shipped.
    pub(super) shipped_in: Vec<usize>,
    /// What it needs: plugins for the bundle, modules for a plugin.
    pub(super) parts: Vec<usize>,
    /// Whether `parts` is all of it.
    pub(super) is_complete: bool,
    /// Facts that no format has a field for.
    pub(super) facts: Vec<(&'static str, String)>,
}

#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) sha256: Digest,
    pub(super) sha512: Sha512,
    pub(super) size: u64,
    pub(super) download: Option<Distribution>,
}

/// Where a file, or the archive with it, is.
#[derive(Debug, Serialize)]
pub(super) struct Distribution {
    /// An address.
    pub(super) uri: String,
    /// The digests of what is there.
    pub(super) sha256: Option<Digest>,
    pub(super) sha512: Option<Sha512>,
}

/// A version of a module: its path and version.
type Key = (String, Option<String>);

/// What the programs say of a version of a module.
#[derive(Default)]
struct Linked {
    sums: BTreeSet<String>,
    replaces: BTreeSet<String>,
    plugins: BTreeSet<usize>,
}

const STANDARD_LIBRARY: &str = "stdlib";
/// The longest setting of a build that is repeated; of a longer one, its digest is.
const LONGEST_SETTING: usize = 1024;
/// The settings of a build that say something about the program and that the platform does not.
const SETTINGS: [&str; 11] = [
    "-buildmode",
    "-ldflags",
    "-tags",
    "-trimpath",
    "CGO_ENABLED",
    "GOEXPERIMENT",
    "GOFIPS140",
    "vcs",
    "vcs.modified",
    "vcs.revision",
    "vcs.time",
];

impl Components {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let mut plugins: Vec<&Plugin> = inventory.plugins.iter().collect();
        plugins.sort_by_key(|plugin| (&plugin.name, plugin.digest));
        let mut ids = Ids::default();
        let mut list = vec![bundle(inventory, &plugins, &mut ids)];
        list.extend(plugins.iter().zip(1..).map(|(p, index)| component(p, index, &mut ids)));

        let mut linked: BTreeMap<Key, Linked> = BTreeMap::new();
        for (plugin, index) in plugins.iter().zip(1..) {
            if let Some(go) = &plugin.go {
                for module in &go.modules {
                    link(module, index, &mut linked);
                }
                let version = Some(go.go_version().unwrap_or(&go.go).to_owned());
                let library = linked.entry((STANDARD_LIBRARY.to_owned(), version)).or_default();
                library.plugins.insert(index);
            }
        }
        for ((path, version), linked) in linked {
            let index = list.len();
            for plugin in &linked.plugins {
                if let Some(plugin) = list.get_mut(*plugin) {
                    plugin.parts.push(index);
                }
            }
            let described = described(inventory, &path, version.as_deref());
            list.push(module(index, path, version, linked, described, &mut ids));
        }
        let production = plugins.iter().map(|plugin| match plugin.production {
            Production::Taken => "post-build",
            Production::Built => "build",
        });
        Self {
            name: format!("{} {} {}", inventory.name, inventory.version, inventory.platform),
            created: rfc3339(inventory.created),
            author: inventory.author.clone(),
            production: production.collect(),
            list,
        }
    }

    /// The identifier of a document of this format: a UUID of version 8 (RFC 9562, 5.8) from the
    /// content, so that the same content has the same identifier and other content never has.
    pub(super) fn uuid(&self, format: &str) -> String {
        let seed = [format, "\n", Tool::VERSION, "\n"].concat();
        let hex = Digest::of(&[seed.into_bytes(), json::canonical(self)].concat()).hex();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let (start, middle, end) = (part(0, 8), part(8, 12), part(20, 32));
        format!("{start}-{middle}-8{}-8{}-{end}", part(13, 16), part(17, 20))
    }

    /// The components in whose files one is shipped.
    pub(super) fn files_of<'a>(&'a self, component: &'a Component) -> Vec<&'a Component> {
        component.shipped_in.iter().filter_map(|index| self.list.get(*index)).collect()
    }

    /// The components that one consists of.
    pub(super) fn parts_of<'a>(&'a self, component: &'a Component) -> Vec<&'a Component> {
        component.parts.iter().filter_map(|index| self.list.get(*index)).collect()
    }
}

/// The program that writes the documents.
pub(super) struct Tool;

impl Tool {
    pub(super) const NAME: &str = env!("CARGO_PKG_NAME");
    pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
}

impl Component {
    /// The fields that an auditor looks for and that could not be filled.
    pub(super) fn unknown(&self) -> Vec<&'static str> {
        let fields = [
            ("version", self.version.is_none()),
            ("supplier", self.supplier.is_none()),
            ("licence", self.licences.concluded.is_none()),
            ("copyright", self.copyright == Copyright::Unknown),
            ("source", self.source.is_none()),
            ("modules", self.kind == Kind::Plugin && !self.is_complete),
        ];
        fields.into_iter().filter(|(_, is_unknown)| *is_unknown).map(|(name, _)| name).collect()
    }

    /// The facts as one text, a line each, for formats without properties.
    pub(super) fn comment(&self) -> Option<String> {
        let facts = self.facts.iter().map(|(key, value)| format!("{key}: {value}"));
        let unknown = self.unknown().into_iter().map(|field| format!("unknown: {field}"));
        let lines: Vec<String> = facts.chain(unknown).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The bundle: whatever holds for all of its plugins holds for it.
fn bundle(inventory: &Inventory, plugins: &[&Plugin], ids: &mut Ids) -> Component {
    let name = inventory.name.to_string();
    let architecture = inventory.platform.architecture();
    Component {
        id: ids.take("bundle"),
        number: 0,
        kind: Kind::Bundle,
        version: Some(inventory.version.to_string()),
        purl: purl::oci(&name, inventory.subject.digest, architecture),
        name,
        supplier: inventory.author.clone(),
        licences: Licences {
            declared: all_of(plugins, |licences| licences.declared.as_ref()),
            concluded: all_of(plugins, |licences| licences.concluded.as_ref()),
        },
        copyright: Copyright::of_all(plugins.iter().map(|plugin| &plugin.description.copyright))
            .shown(),
        source: inventory.source.as_deref().and_then(given_source),
        file: Some(File {
            name: "manifest.json".to_owned(),
            sha256: inventory.subject.digest,
            sha512: inventory.subject.sha512,
            size: inventory.subject.size,
            download: inventory.location.as_deref().and_then(address).map(|uri| Distribution {
                uri,
                sha256: Some(inventory.subject.digest),
                sha512: Some(inventory.subject.sha512),
            }),
        }),
        shipped_in: vec![0],
        parts: (1..=plugins.len()).collect(),
        is_complete: true,
        facts: vec![("platform", inventory.platform.to_string())],
    }
}

fn all_of(plugins: &[&Plugin], one: fn(&Licences) -> Option<&Licence>) -> Option<Licence> {
    let parts: Option<Vec<&Licence>> =
        plugins.iter().map(|plugin| one(&plugin.description.licences)).collect();
    parts.and_then(Licence::all_of)
}

fn component(plugin: &Plugin, number: usize, ids: &mut Ids) -> Component {
    let name = plugin.name.to_string();
    let main = plugin.go.as_ref().and_then(|go| go.main.as_ref());
    let published = main.and_then(|main| published(&main.path));
    let (publisher, page) = published.unzip();
    let module_version = main.and_then(|main| main.version.clone());
    let given = plugin.version.as_deref().map(|version| visible(version).into_owned());
    let download = plugin.download.as_ref().and_then(|download| {
        let uri = address(&download.location)?;
        Some(Distribution { uri, sha256: download.sha256, sha512: download.sha512 })
    });
    // A package URL has the checksum of what is at its address, which an archive has not.
    let is_all = plugin.download.as_ref().is_none_or(|download| download.member.is_none());
    let bare = download.as_ref().filter(|_| is_all).map(|download| download.uri.as_str());
    let version = given.or_else(|| module_version.clone());
    let purl = match (main, &plugin.go) {
        (Some(main), Some(go)) => {
            // A build from a checkout may not know its version, and its release does.
            let version = module_version.or_else(|| version.clone().filter(|v| is_of_go(v)));
            purl::golang(&main.path, version.as_deref(), Some(&go.path))
        }
        _ => purl::generic(&name, version.as_deref(), plugin.digest, bare),
    };
    Component {
        id: ids.take(&format!("plugin-{name}")),
        number,
        kind: Kind::Plugin,
        version,
        purl,
        supplier: plugin.description.supplier.clone().or(publisher),
        licences: plugin.description.licences.clone(),
        copyright: plugin.description.copyright.shown(),
        source: plugin.source.as_deref().and_then(given_source).or(page),
        facts: facts(plugin),
        file: Some(File {
            name: name.clone(),
            sha256: plugin.digest,
            sha512: plugin.sha512,
            size: plugin.size,
            download,
        }),
        name,
        shipped_in: vec![number],
        parts: Vec::new(),
        is_complete: main.is_some(),
    }
}

/// An address, for the fields that take nothing else.
fn address(text: &str) -> Option<String> {
    has_scheme(text).then(|| encoded(text))
}

fn given_source(text: &str) -> Option<Source> {
    address(text).map(|uri| Source { uri, is_repository: false })
}

/// Whether a version looks like one of a Go module.
fn is_of_go(version: &str) -> bool {
    let digits = version.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|c: char| c.is_ascii_digit())
}

fn facts(plugin: &Plugin) -> Vec<(&'static str, String)> {
    let mut facts = vec![("size", plugin.size.to_string())];
    let said = |text: &String| visible(text).into_owned();
    if let Some(download) = &plugin.download {
        // The name of an image is in no format's field for an address.
        if !has_scheme(&download.location) {
            facts.push(("origin", said(&download.location)));
            facts.extend(download.sha256.map(|digest| ("origin:digest", digest.to_string())));
        }
        facts.extend(download.member.iter().map(|member| ("member", said(member))));
    }
    facts.extend(plugin.verification.as_ref().map(|level| ("verification", said(level))));
    if let Some(go) = &plugin.go {
        facts.push(("go:toolchain", go.go.clone()));
        facts.push(("go:package", go.path.clone()));
        if let Some(main) = &go.main {
            facts.push(("go:module", format!("{}{}", main.path, version_of(main))));
            facts.extend(main.sum.iter().map(|sum| ("go:sum", sum.clone())));
        }
        for key in SETTINGS {
            facts.extend(go.setting(key).map(|value| ("go:build", setting(key, value))));
        }
    }
    facts
}

/// As `@v1.0.0`, or nothing.
fn version_of(module: &GoModule) -> String {
    module.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default()
}

fn setting(key: &str, value: &str) -> String {
    if value.len() <= LONGEST_SETTING {
        return format!("{key}={value}");
    }
    format!("{key} has {} bytes with the digest {}", value.len(), Digest::of(value.as_bytes()))
}

/// Adds a linked module: what was linked, which is not what was imported if it was replaced.
fn link(module: &GoModule, plugin: usize, linked: &mut BTreeMap<Key, Linked>) {
    let imported = format!("{}{}", module.path, version_of(module));
    let (key, sum, replaces) = match module.replacement.as_deref() {
        None => ((module.path.clone(), module.version.clone()), module.sum.clone(), None),
        Some(other) if other.version.is_some() => {
            ((other.path.clone(), other.version.clone()), other.sum.clone(), Some(imported))
        }
        // A directory of the machine that built it: of what was linked, only the name is known.
        Some(_) => {
            ((module.path.clone(), None), None, Some(format!("{imported} by a local directory")))
        }
    };
    let linked = linked.entry(key).or_default();
    linked.sums.extend(sum);
    linked.replaces.extend(replaces);
    linked.plugins.insert(plugin);
}

/// What the inventory says about a module, or what everyone knows of the standard library.
fn described(inventory: &Inventory, path: &str, version: Option<&str>) -> Description {
    let given = inventory
        .modules
        .iter()
        .find(|module| module.path == path && Some(module.version.as_str()) == version);
    match given {
        Some(given) => given.description.clone(),
        None if path == STANDARD_LIBRARY => Description {
            licences: "BSD-3-Clause".parse().map(Licences::both).unwrap_or_default(),
            copyright: Copyright::Notice("Copyright 2009 The Go Authors.".to_owned()),
            supplier: Party::new("The Go Authors", Some("https://go.dev"), None).ok(),
        },
        None => Description::default(),
    }
}

fn module(
    number: usize,
    path: String,
    version: Option<String>,
    linked: Linked,
    described: Description,
    ids: &mut Ids,
) -> Component {
    let (publisher, mut source) = published(&path).unzip();
    if path == STANDARD_LIBRARY {
        let uri = "https://go.googlesource.com/go".to_owned();
        source = Some(Source { uri, is_repository: true });
    }
    let sums = linked.sums.into_iter().map(|sum| ("go:sum", sum));
    let replaces = linked.replaces.into_iter().map(|module| ("go:replaces", module));
    Component {
        id: ids.take(&format!("go-{path}-{}", version.as_deref().unwrap_or("unknown"))),
        number,
        kind: Kind::Module,
        purl: purl::golang(&path, version.as_deref(), None),
        name: path,
        version,
        supplier: described.supplier.or(publisher),
        licences: described.licences,
        copyright: described.copyright.shown(),
        source,
        file: None,
        shipped_in: linked.plugins.into_iter().collect(),
        parts: Vec::new(),
        // A program does not record which module needs which.
        is_complete: false,
        facts: sums.chain(replaces).collect(),
    }
}

/// The identifiers that were given out.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    /// An identifier that looks like `text`, in the characters that SPDX allows.
    fn take(&mut self, text: &str) -> String {
        const LONGEST: usize = 96;
        let plain: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .take(LONGEST)
            .collect();
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let mut candidates = std::iter::once(plain.clone()).chain(numbered);
        loop {
            // There are more numbers than components.
            let candidate = candidates.next().unwrap_or_default();
            if self.0.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::sample::{go, inventory, plugin};

    fn module_of<'a>(components: &'a Components, name: &str) -> &'a Component {
        components.list.iter().find(|component| component.name == name).expect(name)
    }

    #[test]
    fn a_version_of_a_module_appears_once_and_belongs_to_its_plugins() {
        let components = Components::of(&inventory());
        let names: Vec<_> = components.list.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(
            names,
            [
                "bundle",
                "plugin-bridge",
                "plugin-macvlan",
                "plugin-old",
                "go-example.com-Fork-v0.2.0",
                "go-github.com-vishvananda-netlink-v1.3.1",
                "go-golang.org-x-sys-v0.35.0",
                "go-stdlib-1.19.8",
                "go-stdlib-1.26.8"
            ]
        );
        let ids = |list: Vec<&Component>| list.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
        let netlink = module_of(&components, "github.com/vishvananda/netlink");
        assert_eq!(ids(components.files_of(netlink)), ["plugin-bridge", "plugin-macvlan"]);
        let bridge = module_of(&components, "bridge");
        let parts = [
            "go-example.com-Fork-v0.2.0",
            "go-github.com-vishvananda-netlink-v1.3.1",
            "go-stdlib-1.26.8",
        ];
        assert_eq!(ids(components.parts_of(bridge)), parts);
        let fork = module_of(&components, "example.com/Fork");
        assert_eq!(fork.facts, [("go:replaces", "example.com/a@v0.1.0".to_owned())]);
        let old = module_of(&components, "old");
        assert_eq!(
            (ids(components.parts_of(old)), old.is_complete),
            (vec![names[7].to_owned()], false)
        );
    }

    #[test]
    fn nothing_is_made_up() {
        let components = Components::of(&inventory());
        let unknown = |name: &str| module_of(&components, name).unknown();
        assert_eq!(unknown("bridge"), Vec::<&str>::new());
        let everything = ["version", "supplier", "licence", "copyright", "source", "modules"];
        assert_eq!(unknown("old"), everything);
        assert_eq!(unknown("example.com/Fork"), ["licence", "copyright"]);
        assert_eq!(unknown("stdlib"), Vec::<&str>::new());
        // One part is unknown, so the whole is.
        assert_eq!(unknown("debian"), ["licence", "copyright", "source"]);
    }

    #[test]
    fn the_order_of_the_inventory_changes_nothing() {
        let first = Components::of(&inventory());
        let mut turned = inventory();
        turned.plugins.reverse();
        turned.modules.reverse();
        let second = Components::of(&turned);
        assert_eq!(json::canonical(&first), json::canonical(&second));
        assert_eq!(first.uuid("a"), second.uuid("a"));
        assert_ne!(first.uuid("a"), first.uuid("b"));
        turned.plugins[0].size += 1;
        assert_ne!(first.uuid("a"), Components::of(&turned).uuid("a"));
        let uuid = first.uuid("a");
        let groups: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!((groups, &uuid[14..15], &uuid[19..20]), (vec![8, 4, 4, 4, 12], "8", "8"));
    }

    #[test]
    fn names_a_plugin_by_its_main_module() {
        let main = "github.com/containernetworking/plugins";
        let package = "github.com/containernetworking/plugins/plugins/main/bridge";
        for (version, given, expected) in [
            ("v1.9.1", None, format!("pkg:golang/{main}@v1.9.1#plugins/main/bridge")),
            ("(devel)", Some("v1.9.1"), format!("pkg:golang/{main}@v1.9.1#plugins/main/bridge")),
            ("(devel)", Some("1.9-acme"), format!("pkg:golang/{main}#plugins/main/bridge")),
        ] {
            let mut plugin = plugin("bridge");
            plugin.version = given.map(str::to_owned);
            plugin.go =
                Some(go("go1.26.8", &format!("path\t{package}\nmod\t{main}\t{version}\t\n")));
            let mut inventory = inventory();
            inventory.plugins = vec![plugin];
            assert_eq!(module_of(&Components::of(&inventory), "bridge").purl, expected);
        }
    }

    #[test]
    fn a_replaced_directory_is_of_unknown_version() {
        let mut plugin = plugin("bridge");
        let lines = "path\tp\nmod\tm\tv1\t\ndep\ta.example/b\tv1.0.0\t\n=>\t../b\t(devel)\t\n";
        plugin.go = Some(go("devel go1.27-abc", lines));
        let mut inventory = inventory();
        inventory.plugins = vec![plugin];
        let components = Components::of(&inventory);
        let module = module_of(&components, "a.example/b");
        assert_eq!(
            (module.version.as_deref(), module.purl.as_str()),
            (None, "pkg:golang/a.example/b")
        );
        let replaced = "a.example/b@v1.0.0 by a local directory".to_owned();
        assert_eq!(module.facts, [("go:replaces", replaced)]);
        let library = module_of(&components, "stdlib");
        assert_eq!(library.purl, "pkg:golang/stdlib@devel%20go1.27-abc");
    }

    #[test]
    fn names_that_look_alike_get_identifiers_of_their_own() {
        let mut ids = Ids::default();
        for (text, expected) in
            [("a/b", "a-b"), ("a_b", "a-b-2"), ("a-b", "a-b-3"), ("\u{e9}", "-"), ("c", "c")]
        {
            assert_eq!(ids.take(text), expected);
        }
        assert_eq!(ids.take(&"a".repeat(500)).len(), 96);
    }

    #[test]
    fn a_long_setting_is_not_repeated() {
        assert_eq!(setting("-tags", "a"), "-tags=a");
        let long = setting("-ldflags", &"x".repeat(1025));
        assert!(long.starts_with("-ldflags has 1025 bytes with the digest sha256:"), "{long}");
    }
}
