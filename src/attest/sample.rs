//! Inventories for the tests of the writers.

use semver::Version;
use serde_json::Value;

use super::copyright::Copyright;
use super::inventory::{
    Description, Download, Inventory, ModuleDescription, Plugin, Production, Subject,
};
use super::licence::Licences;
use super::party::Party;
use crate::binary::BuildInfo;
use crate::binary::sample::go_build_info;
use crate::model::{Digest, Sha512};

pub(super) fn go(release: &str, modinfo: &str) -> BuildInfo {
    BuildInfo::parse(&go_build_info(release, modinfo)).expect("build information")
}

pub(super) fn described(licence: &str) -> Description {
    Description {
        licences: Licences::both(licence.parse().unwrap()),
        copyright: Copyright::Notice("Copyright 2016 CNI authors".to_owned()),
        supplier: None,
    }
}

/// A plugin of which nothing is known.
pub(super) fn plugin(name: &str) -> Plugin {
    Plugin {
        name: name.parse().unwrap(),
        version: None,
        digest: Digest::of(name.as_bytes()),
        sha512: Sha512::of(name.as_bytes()),
        size: 4_000_000,
        go: None,
        description: Description::default(),
        source: None,
        download: None,
        verification: None,
        production: Production::Taken,
    }
}

const NETLINK: &str = "dep\tgithub.com/vishvananda/netlink\tv1.3.1\th1:3AE=\n";

/// Two upstream plugins of which everything is known but for one replaced module, and one of which
/// nothing is.
pub(super) fn inventory() -> Inventory {
    let of_upstream = |name: &str, lines: &str| {
        let module = "github.com/containernetworking/plugins";
        let lines = format!(
            "path\t{module}/plugins/main/{name}\nmod\t{module}\tv1.9.1\th1:8oU=\n{lines}\
             build\tCGO_ENABLED=0\nbuild\t-trimpath=true\n"
        );
        Plugin {
            go: Some(go("go1.26.8", &lines)),
            description: described("Apache-2.0"),
            download: Some(Download {
                location: "https://example.com/plugins.tgz".to_owned(),
                member: Some(format!("./{name}")),
                sha256: Some(Digest::of(b"archive")),
                sha512: Some(Sha512::of(b"archive")),
            }),
            verification: Some("checksum-same-origin".to_owned()),
            ..plugin(name)
        }
    };
    let replaced = "dep\texample.com/a\tv0.1.0\t\n=>\texample.com/Fork\tv0.2.0\t\n";
    let sys = "dep\tgolang.org/x/sys\tv0.35.0\th1:vz1=\n";
    let old = Plugin { go: Some(go("go1.19.8", "path\told\n")), ..plugin("old") };
    let module = |path: &str, version: &str, licence| ModuleDescription {
        path: path.to_owned(),
        version: version.to_owned(),
        description: described(licence),
    };
    Inventory {
        name: "debian".parse().unwrap(),
        version: Version::new(1, 2, 3),
        platform: "linux/amd64".parse().unwrap(),
        subject: Subject::of(b"{}"),
        created: 1_770_000_000,
        author: Some(author()),
        source: None,
        location: None,
        plugins: vec![
            old,
            of_upstream("macvlan", &format!("{NETLINK}{sys}")),
            of_upstream("bridge", &format!("{replaced}{NETLINK}")),
        ],
        modules: vec![
            module("github.com/vishvananda/netlink", "v1.3.1", "Apache-2.0"),
            module("golang.org/x/sys", "v0.35.0", "BSD-3-Clause"),
            module("golang.org/x/sys", "v0.1.0", "MIT"),
        ],
    }
}

pub(super) fn author() -> Party {
    let (url, email) = (Some("https://example.com"), Some("cni@example.com"));
    Party::new("Acme Networks", url, email).unwrap()
}

/// Thirty-two plugins, each with eighteen of sixty modules, of all of which everything is known:
/// what an image of several projects has.
pub(super) fn large() -> Inventory {
    let mut inventory = inventory();
    let path = |number: usize| format!("github.com/organisation-{}/module-{number}", number % 7);
    let template = inventory.plugins.last().unwrap().clone();
    inventory.plugins = (0..32)
        .map(|number| {
            let name = format!("plugin-{number}");
            let mut lines = format!(
                "path\tgithub.com/containernetworking/plugins/plugins/main/{name}\n\
                 mod\tgithub.com/containernetworking/plugins\tv1.9.1\th1:{}=\n",
                "8".repeat(43)
            );
            for module in (0..18).map(|step| (number * 5 + step * 3) % 60) {
                let path = path(module);
                lines += &format!("dep\t{path}\tv1.{module}.0\th1:{}=\n", "a".repeat(43));
            }
            for setting in ["-buildmode=exe", "-trimpath=true", "CGO_ENABLED=0", "GOOS=linux"] {
                lines += &format!("build\t{setting}\n");
            }
            lines += &format!("build\tvcs.revision={}\n", "0".repeat(40));
            Plugin { go: Some(go("go1.26.8", &lines)), ..plugin(&name) }
        })
        .map(|named| Plugin { name: named.name, go: named.go, ..template.clone() })
        .collect();
    inventory.modules = (0..60)
        .map(|number| ModuleDescription {
            path: path(number),
            version: format!("v1.{number}.0"),
            description: described(["Apache-2.0", "MIT", "BSD-3-Clause"][number % 3]),
        })
        .collect();
    inventory
}

/// The values at a path of keys, into every element of lists on the way.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![value];
    for key in path.split('.') {
        let lists = found.into_iter().flat_map(|value| match value {
            Value::Array(list) => list.iter().collect(),
            other => vec![other],
        });
        found = lists.filter_map(|value| value.get(key)).collect();
    }
    found
}
