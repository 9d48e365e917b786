//! The facts about a program that a lock keeps besides its linkage and
//! [`GoBuild`](crate::bundle::GoBuild): enough to decide every gate, and for a reviewer to see how
//! the program was built.
//!
//! It is read from the bytes when the lock is made and again from the bytes that a build packs, and
//! the two are compared. The list of settings is closed and texts are cut, so that no program
//! decides how long a lock becomes; linked modules are in the SBOM.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::binary::{BuildInfo, GoModule, Packer, linked_variables};
use crate::bundle::{FoundLicense, Privilege, Revision};
use crate::model::excerpt;

/// Facts about a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramFacts {
    /// The path of the main module; none if the build knew no modules, and then none of the linked
    /// ones is known either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The settings of the build, of those in a closed list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The variables whose name ends in `version` and that the linker set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub linked_versions: BTreeMap<String, String>,
    /// The version of `k8s.io/client-go` that is linked, or `unknown`; none if it is not linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_client: Option<String>,
    /// The packer, if it is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packer: Option<Packer>,
    /// The privileges of its file in the source.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub privileges: BTreeSet<Privilege>,
    /// The licence in the source's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<FoundLicense>,
}

/// The settings that are kept: what decides which machines run the program, and the revision.
const SETTINGS: [&str; 16] = [
    "-buildmode",
    "-tags",
    "-trimpath",
    "CGO_ENABLED",
    "GOAMD64",
    "GOARCH",
    "GOARM",
    "GOARM64",
    "GOEXPERIMENT",
    "GOOS",
    "GOPPC64",
    "GORISCV64",
    "vcs",
    "vcs.modified",
    "vcs.revision",
    "vcs.time",
];
/// The most versions that are kept; a program sets one or two.
const MOST_VERSIONS: usize = 16;
const CLIENT: &str = "k8s.io/client-go";

impl ProgramFacts {
    /// Facts from the build information of a program and from its file.
    pub fn of(
        info: Option<&BuildInfo>,
        packer: Option<Packer>,
        privileges: BTreeSet<Privilege>,
    ) -> Self {
        let Some(info) = info else { return Self { packer, privileges, ..Self::default() } };
        let kept = info.settings.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str()));
        let flags = info.setting("-ldflags").unwrap_or_default();
        let versions = linked_variables(flags).into_iter().filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.ends_with("version") || name.ends_with("version.tag")
        });
        let client = info.modules.iter().find(|module| module.path == CLIENT);
        Self {
            module: info.main.as_ref().map(|main| main.path.clone()),
            settings: kept.map(|(key, value)| (key.clone(), excerpt(value))).collect(),
            linked_versions: versions
                .take(MOST_VERSIONS)
                .map(|(name, value)| (excerpt(&name), excerpt(&value)))
                .collect(),
            kubernetes_client: client.map(linked_version),
            packer,
            privileges,
            license: None,
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The revision that it was built from.
    pub fn revision(&self) -> Option<Revision> {
        let setting = |key: &str| self.settings.get(key).cloned();
        Some(Revision {
            system: setting("vcs")?,
            revision: setting("vcs.revision"),
            time: setting("vcs.time"),
            modified: setting("vcs.modified").and_then(|text| text.parse().ok()),
        })
    }

    /// The first thing that differs, as its name, what `self` has, and what `other` has.
    pub(super) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let none = || "none".to_owned();
        let text = |text: &Option<String>| text.clone().unwrap_or_else(none);
        let differs = |what: &str, one: String, two: String| {
            (one != two).then(|| (what.to_owned(), one, two))
        };
        let of_maps = |one: &BTreeMap<String, String>, two: &BTreeMap<String, String>| {
            let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            let value = |map: &BTreeMap<String, String>, key| text(&map.get(key).cloned());
            keys.into_iter().find_map(|key| differs(key, value(one, key), value(two, key)))
        };
        let packer = |it: &Self| it.packer.map_or_else(none, |packer| packer.to_string());
        let privileges = |it: &Self| match it.privileges.is_empty() {
            true => none(),
            false => Privilege::words(&it.privileges),
        };
        let client = |it: &Self| text(&it.kubernetes_client);
        let license = |it: &Self| match &it.license {
            None => none(),
            Some(FoundLicense { expression, file, digest, .. }) => {
                format!("{expression} (`{file}`, {digest})")
            }
        };
        // A lock from before licences were read has none.
        let compared = self.license.is_some();
        differs("main module", text(&self.module), text(&other.module))
            .or_else(|| of_maps(&self.settings, &other.settings))
            .or_else(|| of_maps(&self.linked_versions, &other.linked_versions))
            .or_else(|| differs("Kubernetes client", client(self), client(other)))
            .or_else(|| differs("licence", license(self), license(other)).filter(|_| compared))
            .or_else(|| differs("packer", packer(self), packer(other)))
            .or_else(|| differs("set of privileges", privileges(self), privileges(other)))
    }
}

/// The version of a module that was linked, whatever it replaces.
fn linked_version(module: &GoModule) -> String {
    let version = match module.replacement.as_deref() {
        // A fork may have any numbering.
        Some(other) => other.version.as_ref().filter(|_| other.path == module.path),
        None => module.version.as_ref(),
    };
    version.map_or_else(|| "unknown".to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::go_build_info;
    use crate::model::Digest;

    fn of(lines: &str) -> ProgramFacts {
        let info = BuildInfo::parse(&go_build_info("go1.26.3", lines)).unwrap();
        ProgramFacts::of(Some(&info), None, BTreeSet::new())
    }

    const LINES: &str = "path\texample.com/cni/bridge\nmod\texample.com/cni\tv1.2.3\t\n\
        dep\tk8s.io/client-go\tv0.30.2\th1:a=\n\
        build\t-ldflags=\"-s -X example.com/v.BuildVersion=v1.2.3 -X main.date=today\"\n\
        build\tCGO_ENABLED=0\nbuild\tGOROOT=/home/me\n\
        build\tvcs=git\nbuild\tvcs.revision=0123\nbuild\tvcs.modified=true\n";

    #[test]
    fn keeps_what_gates_and_reviewers_need() {
        let facts = of(LINES);
        assert_eq!(facts.module.as_deref(), Some("example.com/cni"));
        let settings: Vec<_> = facts.settings.keys().map(String::as_str).collect();
        assert_eq!(settings, ["CGO_ENABLED", "vcs", "vcs.modified", "vcs.revision"]);
        let versions: Vec<_> = facts.linked_versions.iter().collect();
        let expected = ("example.com/v.BuildVersion".to_owned(), "v1.2.3".to_owned());
        assert_eq!(versions, [(&expected.0, &expected.1)]);
        assert_eq!(facts.kubernetes_client.as_deref(), Some("v0.30.2"));
        let expected = Revision {
            system: "git".to_owned(),
            revision: Some("0123".to_owned()),
            time: None,
            modified: Some(true),
        };
        assert_eq!(facts.revision(), Some(expected));
        assert_eq!(ProgramFacts::of(None, None, BTreeSet::new()), ProgramFacts::default());
    }

    #[test]
    fn a_replaced_client_counts_with_its_own_version() {
        for (replacement, expected) in [
            ("=>\tk8s.io/client-go\tv0.29.1\t\n", Some("v0.29.1")),
            ("=>\texample.com/fork\tv0.29.1\t\n", Some("unknown")),
            ("=>\t../client-go\t(devel)\t\n", Some("unknown")),
        ] {
            let lines = LINES.replace("h1:a=\n", &format!("h1:a=\n{replacement}"));
            assert_eq!(of(&lines).kubernetes_client.as_deref(), expected, "{replacement}");
        }
    }

    #[test]
    fn no_program_decides_how_long_a_lock_becomes() {
        let flags: String = (0..100).map(|number| format!("-X a{number}.version=v ")).collect();
        let long = "t".repeat(10_000);
        let facts = of(&format!("path\tp\nbuild\t-ldflags=\"{flags}\"\nbuild\t-tags={long}\n"));
        assert_eq!(facts.linked_versions.len(), MOST_VERSIONS);
        assert!(facts.settings["-tags"].len() < 300);
    }

    #[test]
    fn names_the_first_difference() {
        let facts = of(LINES);
        assert_eq!(facts.difference(&facts), None);
        for (change, expected) in [
            ("v1.2.3 -X", ("example.com/v.BuildVersion", "v1.2.4")),
            ("CGO_ENABLED=0", ("CGO_ENABLED", "1")),
            ("client-go\tv0.30.2", ("Kubernetes client", "v0.30.3")),
            ("vcs.revision=0123\n", ("vcs.revision", "4567")),
        ] {
            let other = match expected.0 {
                "CGO_ENABLED" => LINES.replace(change, "CGO_ENABLED=1"),
                "vcs.revision" => LINES.replace("=0123", "=4567"),
                "Kubernetes client" => LINES.replace("v0.30.2", "v0.30.3"),
                _ => LINES.replace("v1.2.3 -X", "v1.2.4 -X"),
            };
            let (what, _, found) = facts.difference(&of(&other)).expect(change);
            assert_eq!((what.as_str(), found.as_str()), expected);
        }
        let mut packed = facts.clone();
        packed.packer = Some(Packer::Upx);
        assert_eq!(
            facts.difference(&packed),
            Some(("packer".to_owned(), "none".to_owned(), "UPX".to_owned()))
        );
        let mut licensed = facts.clone();
        licensed.license = Some(FoundLicense {
            expression: "MIT".to_owned(),
            copyright: Vec::new(),
            file: "LICENSE".to_owned(),
            digest: Digest::of(b"MIT"),
        });
        let (what, _, found) = licensed.difference(&facts).unwrap();
        assert_eq!((what.as_str(), found.as_str()), ("licence", "none"));
        assert_eq!(facts.difference(&licensed), None);
        let mut with = facts.clone();
        with.privileges = Privilege::of(0o4755, true);
        let (what, _, found) = facts.difference(&with).unwrap();
        assert_eq!(what, "set of privileges");
        assert_eq!(found, "the set-user-ID bit, file capabilities");
    }
}
