//! Decides one gate for one plugin: yes, or what was found and what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};

use crate::binary::{GoBuild, GoRelease, Linkage};
use crate::bundle::Privilege;
use crate::bundle::definition::Gate;
use crate::bundle::lock::{Level, LockedPlugin};
use crate::model::PluginName;

/// Why a gate refuses a plugin: two phrases without a subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct No {
    pub(super) found: String,
    pub(super) action: String,
}

fn no(found: impl Into<String>, action: impl Into<String>) -> No {
    No { found: found.into(), action: action.into() }
}

/// Whether a plugin may pass; `usual` is the toolchain of most plugins of the bundle.
pub(super) fn decide(gate: &Gate, entry: &LockedPlugin, usual: Option<&str>) -> Result<(), No> {
    match gate {
        Gate::Static => is_static(&entry.linkage),
        Gate::MinGo(oldest) => is_new_enough(go(entry)?, *oldest),
        Gate::OneToolchain => is_usual(go(entry)?, usual),
        Gate::VersionMatches => matches_label(entry),
        Gate::MainPackage(paths) => is_the_package(&entry.name, go(entry)?, paths),
        Gate::NoDevel => has_version(go(entry)?),
        Gate::NoPacker => is_not_packed(entry),
        Gate::AllowSetId(allowed) => gives_nothing(entry, allowed),
        Gate::CniVersion(version) => supports(entry, version),
        Gate::Kubernetes(range) => is_client_of(entry, range),
        Gate::MinLevel(least) => is_verified(entry, *least),
    }
}

/// The build information of Go's linker; a gate that needs it refuses a program without it.
fn go(entry: &LockedPlugin) -> Result<&GoBuild, No> {
    entry.go.as_ref().ok_or_else(|| {
        let found = match entry.facts.packer {
            Some(packer) => {
                format!("no readable Go build information: packed with {packer}")
            }
            None => "no readable Go build information".to_owned(),
        };
        no(found, "use a build with Go 1.18 or later, or turn the gate off")
    })
}

fn is_static(linkage: &Linkage) -> Result<(), No> {
    match linkage {
        Linkage::Static => Ok(()),
        Linkage::Dynamic { interpreter } => Err(no(
            format!("linked dynamically, needs `{interpreter}`"),
            "use a build with CGO_ENABLED=0",
        )),
    }
}

fn is_new_enough(go: &GoBuild, oldest: GoRelease) -> Result<(), No> {
    let action = format!("use a build with Go {oldest} or later");
    match GoRelease::of_toolchain(&go.go) {
        Some(release) if release >= oldest => Ok(()),
        Some(_) => Err(no(format!("built with {}", go.go), action)),
        None => Err(no(format!("built with `{}`, which is not a release of Go", go.go), action)),
    }
}

fn is_usual(go: &GoBuild, usual: Option<&str>) -> Result<(), No> {
    match usual {
        Some(usual) if usual != go.go => Err(no(
            format!("built with {}, most others with {usual}", go.go),
            "use builds with the same release of Go",
        )),
        _ => Ok(()),
    }
}

fn matches_label(entry: &LockedPlugin) -> Result<(), No> {
    let Some(label) = &entry.request.version else {
        return Err(no(
            "its source has no version to compare with",
            "give the source a `version`, or turn the gate off",
        ));
    };
    let module = entry.go.iter().filter_map(|go| go.version.as_ref());
    let found: BTreeSet<&String> = module.chain(entry.facts.linked_versions.values()).collect();
    if found.iter().any(|version| plain(version) == plain(label)) {
        return Ok(());
    }
    if found.is_empty() {
        let found = format!("records no version, expected {label}");
        return Err(no(found, "use a release build, or turn the gate off"));
    }
    let found: Vec<&str> = found.into_iter().map(String::as_str).collect();
    Err(no(
        format!("records version {}, expected {label}", found.join(", ")),
        "check which release the source contains",
    ))
}

/// A version without what only Go or only a tag adds to it.
fn plain(version: &str) -> &str {
    let version = version.strip_suffix("+incompatible").unwrap_or(version);
    version.strip_prefix('v').unwrap_or(version)
}

fn is_the_package(
    name: &PluginName,
    go: &GoBuild,
    paths: &BTreeMap<PluginName, String>,
) -> Result<(), No> {
    let is_it = match paths.get(name) {
        Some(path) => *path == go.path,
        None => last_part(&go.path) == name.as_str(),
    };
    if is_it {
        return Ok(());
    }
    let found = match paths.get(name) {
        Some(path) => format!("its main package is `{}`, expected `{path}`", go.path),
        None => format!("its main package is `{}`", go.path),
    };
    let action = format!("if it is the right one, write `mainPackage: {{{name}: {}}}`", go.path);
    Err(no(found, action))
}

/// The last part of a package's path, before the major version of its module (`a/b/v2`).
fn last_part(path: &str) -> &str {
    let is_major = |part: &str| {
        let number = part.strip_prefix('v').unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    match is_major(last) {
        true => parts.next().unwrap_or(last),
        false => last,
    }
}

fn has_version(go: &GoBuild) -> Result<(), No> {
    match &go.version {
        Some(_) => Ok(()),
        None => Err(no(
            "its main module has no version, or `(devel)`",
            "use a build of a released version",
        )),
    }
}

fn is_not_packed(entry: &LockedPlugin) -> Result<(), No> {
    match entry.facts.packer {
        None => Ok(()),
        Some(packer) => {
            let action =
                "use the unpacked program; the content of a packed one cannot be inspected";
            Err(no(format!("packed with {packer}"), action))
        }
    }
}

fn gives_nothing(entry: &LockedPlugin, allowed: &BTreeSet<PluginName>) -> Result<(), No> {
    let privileges = &entry.facts.privileges;
    if privileges.is_empty() || allowed.contains(&entry.name) {
        return Ok(());
    }
    Err(no(
        format!("its file has {} in the source", Privilege::words(privileges)),
        "find out why; if that is expected, list the plugin in `allowSetId`",
    ))
}

fn supports(entry: &LockedPlugin, version: &Version) -> Result<(), No> {
    let version = version.to_string();
    match &entry.cni_versions {
        Some(answer) if answer.supported.contains(&version) => Ok(()),
        Some(answer) => Err(no(
            format!("supports CNI {}", answer.supported.join(", ")),
            format!("use a version that supports CNI {version}"),
        )),
        None => Err(no(
            "its CNI versions are unknown: it was not asked",
            "run `cnister lock` where it can be executed: on its architecture, or with qemu-user",
        )),
    }
}

fn is_client_of(entry: &LockedPlugin, range: &VersionReq) -> Result<(), No> {
    let action = format!("use a version for Kubernetes {range}");
    if entry.facts.module.is_none() {
        return Err(no("the modules that it links are unknown", action));
    }
    let Some(client) = &entry.facts.kubernetes_client else { return Ok(()) };
    match release_of(client) {
        Some(release) if range.matches(&release) => Ok(()),
        Some(release) => Err(no(format!("links the client of Kubernetes {release}"), action)),
        None => Err(no(
            format!("links k8s.io/client-go `{client}`, which is not a known release"),
            action,
        )),
    }
}

/// The release of Kubernetes that a version of client-go belongs to: v0.30.2 is of 1.30.2.
fn release_of(client: &str) -> Option<Version> {
    let version: Version = client.strip_prefix('v')?.parse().ok()?;
    let is_release = version.major == 0 && version.minor > 0 && version.pre.is_empty();
    is_release.then(|| Version::new(1, version.minor, version.patch))
}

fn is_verified(entry: &LockedPlugin, least: Level) -> Result<(), No> {
    let (level, request) = (entry.level, &entry.request);
    if level >= least {
        return Ok(());
    }
    let action = match (least, &request.build) {
        (Level::Reproduced, _) if request.has_asset() => {
            "write a recipe (`reproduce`) into its source, and run `cnister lock --reproduce`"
        }
        (Level::Reproduced, _) => "take it from the archive, file or image that is published",
        _ if level == Level::None => "use a source of kind `archive`, `file`, `image` or `go`",
        (Level::Signed | Level::Provenance, Some(_)) => "use an asset that its publisher signs",
        (_, Some(build)) if build.without_sumdb => "remove `sumdb: off` from its source",
        (_, Some(_)) => "run `cnister lock` where the checksum database can be reached",
        (Level::Signed, None) if request.is_image() => "name its publisher's `key`",
        (Level::Signed, None) => "name its publisher's `key` and `signature`",
        (Level::Provenance, None) if request.is_image() => {
            "name the `key` that signs its provenance"
        }
        (Level::Provenance, None) => "name the `key` and `provenance` of its publisher",
        (Level::ChecksumDatabase, None) => "compile it from its Go module",
        // An image has no checksum file.
        _ if request.is_image() => "use an archive or a file that has a checksum file",
        (Level::ChecksumIndependent, _) => "name a checksum file on another host with `checksums`",
        _ => "name the publisher's checksum file with `checksums`",
    };
    Err(no(format!("its origin is verified as `{level}`, expected `{least}`"), action))
}
