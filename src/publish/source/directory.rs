//! Plugins from a directory of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::license::license_in;
use super::{PluginSource, SourceError, Taken, Wanted};
use crate::bundle::Origin;
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::DirectoryPattern;
use crate::model::{Platform, PluginName};
use crate::publish::parallel;

/// A directory, or one per platform. A plugin may be a link to another file of it; a link that
/// leads out is refused, since what it holds was not put there for this bundle.
#[derive(Debug)]
pub(super) struct DirectorySource {
    name: SourceName,
    folder: PathBuf,
    pattern: DirectoryPattern,
}

impl DirectorySource {
    pub(super) fn new(
        name: &SourceName,
        folder: impl Into<PathBuf>,
        pattern: &DirectoryPattern,
    ) -> Self {
        Self { name: name.clone(), folder: folder.into(), pattern: pattern.clone() }
    }

    /// The directory of a platform.
    fn of(&self, platform: &Platform) -> PathBuf {
        self.folder.join(self.pattern.of(platform))
    }

    fn open(&self, Wanted { name, platform }: &Wanted) -> Result<Taken, SourceError> {
        let directory = self.of(platform);
        let unreadable = |source| SourceError::Directory {
            name: self.name.clone(),
            directory: directory.clone(),
            source,
        };
        let whole = directory.canonicalize().map_err(unreadable)?;
        let path = directory.join(name.as_str());
        let origin = Origin::file(path.display());
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(missing) if is_missing(&missing) && path.is_symlink() => {
                return Err(SourceError::Dangling { origin, target: missing_target(&path) });
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let found = names(&whole).map_err(unreadable)?;
                let place = directory.display().to_string();
                return Err(SourceError::Missing { name: name.clone(), place, found });
            }
            Err(source) => return Err(SourceError::Read { origin, source }),
        };
        if !target.starts_with(&whole) {
            return Err(SourceError::LeavesDirectory { origin, target });
        }
        Taken::open(&target, origin)
    }
}

impl PluginSource for DirectorySource {
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let files = parallel::each(wanted, |wanted| self.open(wanted))?;
        let mut licenses = BTreeMap::new();
        wanted.iter().zip(files).try_for_each(|(wanted, mut file)| {
            let directory = self.of(&wanted.platform);
            let found = licenses.entry(wanted.platform.clone());
            file.license.clone_from(found.or_insert_with(|| license_in(&directory)));
            give(wanted, file)
        })
    }
}

/// Whether nothing is at the end of a path, or of the links in it.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The first target of a chain of links that is not there, as its link says it.
fn missing_target(link: &Path) -> Option<PathBuf> {
    let mut link = link.to_owned();
    loop {
        let target = fs::read_link(&link).ok()?;
        let beside = link.parent().unwrap_or(Path::new("")).join(&target);
        if !beside.is_symlink() {
            return Some(target);
        }
        link = beside;
    }
}

/// The names in a directory that could be plugins, sorted.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.parse::<PluginName>().is_ok() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::binary::sample::Sample;
    use crate::model::{Classed, ErrorClass};
    use crate::publish::source::tests::{open, write};

    #[test]
    fn each_platform_has_its_directory() {
        let pattern = "cni-{architecture}".parse().unwrap();
        let of = |folder: &str, platform: &str| {
            let source = DirectorySource::new(&"files".parse().unwrap(), folder, &pattern);
            source.of(&platform.parse().unwrap())
        };
        assert_eq!(of("bundles", "linux/arm64"), Path::new("bundles/cni-arm64"));
        assert_eq!(of("", "linux/amd64"), Path::new("cni-amd64"));
    }

    #[test]
    fn says_what_is_there_where_a_plugin_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        let shown = directory.display().to_string();
        assert_eq!(
            open(folder.path(), "bridge").expect_err("no directory"),
            format!("cannot read the directory `{shown}` of the source `files`")
        );
        fs::create_dir(&directory).unwrap();
        let expected = format!("`{shown}` has no plugin `bridge`; it contains no plugins");
        assert_eq!(open(folder.path(), "bridge").expect_err("empty"), expected);
        for name in ["macvlan", "host-local", "host-device", "flannel-amd64", ".hidden", "ptp"] {
            write(&directory.join(name), b"");
        }
        for (name, expected) in [
            ("mcvlan", "`macvlan`"),
            ("hostlocal", "`host-local`"),
            ("flannel", "`flannel-amd64`"),
            ("vrf", "`flannel-amd64`, `host-device`, `host-local`, `macvlan`, `ptp`"),
        ] {
            let expected = format!("`{shown}` has no plugin `{name}`; it has {expected}");
            assert_eq!(open(folder.path(), name).expect_err(name), expected);
        }
    }

    #[test]
    fn takes_a_link_inside_and_none_that_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        write(&directory.join("real"), &Sample::named("bridge"));
        write(&folder.path().join("outside"), &Sample::named("bridge"));
        symlink("real", directory.join("inside")).unwrap();
        symlink("../outside", directory.join("out")).unwrap();
        symlink("nowhere", directory.join("broken")).unwrap();
        assert_eq!(open(folder.path(), "inside").unwrap().facts.name.as_str(), "inside");
        let error = open(folder.path(), "out").expect_err("a link that leads out");
        assert!(error.ends_with("outside`, outside its source's directory"), "{error}");
        let error = open(folder.path(), "broken").expect_err("a link that leads nowhere");
        assert!(
            error.ends_with("is a dangling symbolic link: `nowhere` does not exist"),
            "{error}"
        );
        // Where the plugin is on nodes and not on the machine that builds; over other links, of
        // which the last is at fault; and through what is no directory.
        symlink("/usr/libexec/cni/absent", directory.join("absolute")).unwrap();
        symlink("broken", directory.join("chained")).unwrap();
        symlink(directory.join("chained"), directory.join("longer")).unwrap();
        symlink("real/x", directory.join("through-a-file")).unwrap();
        symlink("absent/x", directory.join("through-nothing")).unwrap();
        for (name, target) in [
            ("absolute", "/usr/libexec/cni/absent"),
            ("chained", "nowhere"),
            ("longer", "nowhere"),
            ("through-a-file", "real/x"),
            ("through-nothing", "absent/x"),
        ] {
            let error = open(folder.path(), name).expect_err(name);
            let expected = format!("is a dangling symbolic link: `{target}` does not exist");
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn links_in_a_circle_are_wrong_and_not_away() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        fs::create_dir(&directory).unwrap();
        for (link, target) in [("self", "self"), ("one", "two"), ("two", "one"), ("into", "one/x")]
        {
            symlink(target, directory.join(link)).unwrap();
        }
        symlink("round", folder.path().join("round")).unwrap();
        let source = |folder: &Path, pattern: &str| {
            DirectorySource::new(&"files".parse().unwrap(), folder, &pattern.parse().unwrap())
        };
        let wanted = |name: &str| Wanted {
            name: name.parse().unwrap(),
            platform: "linux/amd64".parse().unwrap(),
        };
        for (pattern, name) in [
            ("cni-amd64", "self"),
            ("cni-amd64", "one"),
            ("cni-amd64", "into"),
            ("round", "bridge"),
        ] {
            let error = source(folder.path(), pattern).open(&wanted(name)).expect_err(name);
            assert_eq!(error.class(), ErrorClass::Request, "{name}: {error}");
        }
        let absent = source(folder.path(), "absent").open(&wanted("bridge")).expect_err("absent");
        assert_eq!(absent.class(), ErrorClass::CouldNot);
    }
}
