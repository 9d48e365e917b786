//! The complete build information of a Go program: the main module, every linked module, and the
//! settings of the build.
//!
//! [`GoBuild`] is the part of it that `bundle.json` holds; both describe the same place of a file.
//! Nothing here is proven: a program says what it likes of itself. Texts are limited in number and
//! length and hold nothing that would write over a terminal; information that is not whole is not
//! read at all, so that a list of modules is never silently shorter than the linker's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use serde::Serialize;

use super::buildinfo::{Recorded, find, is_version, text};
use super::settings::parse_setting;
use super::{Elf, GoBuild, ReadAt};

/// All that Go's linker records in a program (Go's `debug/buildinfo`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// The Go release, as `go1.26.8`.
    pub go: String,
    /// The path of the main package.
    pub path: String,
    /// The module of the main package; `None` if the build knew no modules, and then nothing is
    /// known of the linked ones.
    pub main: Option<GoModule>,
    /// The modules that a package was linked from, besides the main module and the standard
    /// library.
    pub modules: Vec<GoModule>,
    /// The settings of the build, such as `GOOS` and `-ldflags`.
    pub settings: BTreeMap<String, String>,
}

/// A module of a Go program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GoModule {
    /// Its path, as the program imports it.
    pub path: String,
    /// Its version; `None` if it was built from a directory.
    pub version: Option<String>,
    /// The `h1:` sum over the files of the module. It is the digest of no file.
    pub sum: Option<String>,
    /// The module that was linked in its place.
    pub replacement: Option<Box<Replacement>>,
}

/// What a `replace` line puts in a module's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// The path of a module, or of a directory if there is no version.
    pub path: String,
    /// The version of the module.
    pub version: Option<String>,
    /// The `h1:` sum over its files.
    pub sum: Option<String>,
}

/// What the version control system said of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcs<'a> {
    /// Such as `git`.
    pub system: &'a str,
    /// The revision that was checked out.
    pub revision: Option<&'a str>,
    /// The time of that revision, in RFC 3339.
    pub time: Option<&'a str>,
    /// Whether files differed from that revision.
    pub is_modified: Option<bool>,
}

/// The most modules; the largest programs of the field link a thousand.
const MOST_MODULES: usize = 4096;
/// The most settings; Go has some thirty.
const MOST_SETTINGS: usize = 128;

impl BuildInfo {
    /// Reads what the linker recorded, or `None` if it recorded nothing that can be read in full.
    pub fn of<F: ReadAt>(elf: &Elf<F>) -> io::Result<Option<Self>> {
        // At the place that `GoBuild` is read from, so that the two never disagree.
        let found = find(elf, |bytes| GoBuild::parse(bytes).map(|_| Self::parse(bytes)))?;
        Ok(found.flatten())
    }

    /// Parses the bytes from the magic on.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let recorded = Recorded::parse(bytes)?;
        let mut lines = Lines::default();
        for line in recorded.modinfo.split_terminator('\n') {
            lines.take(line)?;
        }
        Some(Self {
            go: recorded.go,
            path: lines.path?,
            main: lines.main,
            modules: lines.modules,
            settings: lines.settings,
        })
    }

    /// The value of a setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// What the version control system said, if the build asked one.
    pub fn vcs(&self) -> Option<Vcs<'_>> {
        Some(Vcs {
            system: self.setting("vcs")?,
            revision: self.setting("vcs.revision"),
            time: self.setting("vcs.time"),
            is_modified: self.setting("vcs.modified").and_then(|value| value.parse().ok()),
        })
    }

    /// The version of the Go release without `go` and without what an experiment adds; `None` for
    /// a toolchain between releases.
    pub fn go_version(&self) -> Option<&str> {
        self.go.strip_prefix("go")?.split(' ').next().filter(|version| !version.is_empty())
    }
}

impl From<&BuildInfo> for GoBuild {
    fn from(info: &BuildInfo) -> Self {
        Self {
            go: info.go.clone(),
            path: info.path.clone(),
            version: info.main.as_ref().and_then(|main| main.version.clone()),
        }
    }
}

/// The lines that were read so far.
#[derive(Default)]
struct Lines {
    path: Option<String>,
    main: Option<GoModule>,
    modules: Vec<GoModule>,
    settings: BTreeMap<String, String>,
    /// Which line was the last one.
    last: Last,
}

/// The kind of line that a `=>` may follow.
#[derive(Default, Clone, Copy)]
enum Last {
    Main,
    Module,
    #[default]
    Other,
}

impl Lines {
    /// Takes one line; `None` if it is not as the linker writes it.
    fn take(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once('\t').unwrap_or((line, ""));
        let last = std::mem::take(&mut self.last);
        match kind {
            "path" => {
                let path = rest.split('\t').next().and_then(|path| text(path.as_bytes()))?;
                let is_new = self.path.is_none() && !path.is_empty();
                is_new.then(|| self.path = Some(path))
            }
            "mod" => {
                let module = module(rest)?;
                self.last = Last::Main;
                self.main.is_none().then(|| self.main = Some(module))
            }
            "dep" => {
                let module = module(rest)?;
                self.last = Last::Module;
                (self.modules.len() < MOST_MODULES).then(|| self.modules.push(module))
            }
            "=>" => {
                let replaced = match last {
                    Last::Main => self.main.as_mut(),
                    Last::Module => self.modules.last_mut(),
                    Last::Other => None,
                }?;
                let GoModule { path, version, sum, .. } = module(rest)?;
                replaced.replacement = Some(Box::new(Replacement { path, version, sum }));
                Some(())
            }
            "build" => {
                let (key, value) = parse_setting(rest)?;
                let is_full = self.settings.len() == MOST_SETTINGS;
                match self.settings.entry(key) {
                    Entry::Vacant(entry) if !is_full => {
                        entry.insert(value);
                        Some(())
                    }
                    _ => None,
                }
            }
            // A later Go release may add lines.
            _ => Some(()),
        }
    }
}

/// Parses path, version and sum; the sum is missing in a build with a `vendor` directory.
fn module(fields: &str) -> Option<GoModule> {
    let mut fields = fields.split('\t').map(|field| text(field.as_bytes()));
    let (path, version) = (fields.next()??, fields.next()??);
    let sum = fields.next().map_or(Some(String::new()), |sum| sum)?;
    if path.is_empty() || fields.next().is_some() {
        return None;
    }
    Some(GoModule {
        path,
        version: Some(version).filter(|version| is_version(version)),
        sum: Some(sum).filter(|sum| !sum.is_empty()),
        replacement: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::sample::{Sample, go_build_info};

    const MODINFO: &str = "path\texample.com/cni/bridge\n\
        mod\texample.com/cni\tv1.2.3+dirty\th1:a=\n\
        dep\texample.com/a\tv1.0.0\th1:b=\n\
        dep\texample.com/B/v2\tv2.0.1-0.20260101000000-abcdefabcdef\n\
        =>\texample.com/C\tv0.1.0\th1:c=\n\
        dep\texample.com/local\tv0.0.0\t\n\
        =>\t../local\t(devel)\t\n\
        build\t-ldflags=\"-s -w -X a.B=c\"\n\
        build\tCGO_ENABLED=0\n\
        build\tvcs=git\n\
        build\tvcs.revision=0123\n\
        build\tvcs.time=2026-02-19T00:00:00Z\n\
        build\tvcs.modified=true\n\
        news\tof a later release\n";

    fn parse(modinfo: &str) -> Option<BuildInfo> {
        BuildInfo::parse(&go_build_info("go1.26.3", modinfo))
    }

    fn plain(path: &str, version: &str, sum: &str) -> GoModule {
        GoModule {
            path: path.to_owned(),
            version: Some(version.to_owned()),
            sum: (!sum.is_empty()).then(|| sum.to_owned()),
            replacement: None,
        }
    }

    #[test]
    fn reads_modules_replacements_and_settings() {
        let info = parse(MODINFO).unwrap();
        assert_eq!(info.main, Some(plain("example.com/cni", "v1.2.3+dirty", "h1:a=")));
        let replaced = GoModule {
            replacement: Some(Box::new(Replacement {
                path: "example.com/C".to_owned(),
                version: Some("v0.1.0".to_owned()),
                sum: Some("h1:c=".to_owned()),
            })),
            ..plain("example.com/B/v2", "v2.0.1-0.20260101000000-abcdefabcdef", "")
        };
        let local = GoModule {
            replacement: Some(Box::new(Replacement {
                path: "../local".to_owned(),
                version: None,
                sum: None,
            })),
            ..plain("example.com/local", "v0.0.0", "")
        };
        assert_eq!(info.modules, [plain("example.com/a", "v1.0.0", "h1:b="), replaced, local]);
        assert_eq!(info.setting("-ldflags"), Some("-s -w -X a.B=c"));
        assert_eq!(info.setting("GOOS"), None);
        let vcs = info.vcs().unwrap();
        assert_eq!((vcs.system, vcs.revision), ("git", Some("0123")));
        assert_eq!((vcs.time, vcs.is_modified), (Some("2026-02-19T00:00:00Z"), Some(true)));
    }

    #[test]
    fn says_the_same_as_what_bundle_json_holds() {
        for modinfo in [MODINFO, "path\tp\n", "path\tp\nmod\tm\t(devel)\t\n"] {
            let bytes = go_build_info("go1.26.3", modinfo);
            let info = BuildInfo::parse(&bytes).unwrap();
            assert_eq!(Some(GoBuild::from(&info)), GoBuild::parse(&bytes), "{modinfo}");
            let elf = Sample { go: Some(bytes), ..Sample::default() }.bytes();
            assert_eq!(BuildInfo::of(&Elf::parse(&elf).unwrap()).unwrap(), Some(info));
        }
    }

    #[test]
    fn reads_the_place_that_bundle_json_is_read_from() {
        // The first place is enough for `GoBuild`: what follows it must not speak for it.
        let mut first = go_build_info("go1.26.3", "path\tp\nbuild\tno value\n");
        first.resize(first.len().next_multiple_of(16), 0);
        let go = [first, go_build_info("go1.26.3", "path\tq\n")].concat();
        let elf = Sample { go: Some(go), ..Sample::default() }.bytes();
        let elf = Elf::parse(&elf).unwrap();
        assert_eq!(GoBuild::of(&elf).unwrap().unwrap().path, "p");
        assert_eq!(BuildInfo::of(&elf).unwrap(), None);
    }

    #[test]
    fn knows_the_release_of_a_toolchain() {
        for (go, expected) in [
            ("go1.26.3", Some("1.26.3")),
            ("go1.26.3 X:boringcrypto", Some("1.26.3")),
            ("go1.26rc1", Some("1.26rc1")),
            ("devel go1.27-abc", None),
            ("go", None),
        ] {
            let info = BuildInfo::parse(&go_build_info(go, "path\tp\n")).unwrap();
            assert_eq!(info.go_version(), expected, "{go}");
        }
    }

    #[test]
    fn refuses_what_is_not_whole_or_not_sound() {
        let long = "m".repeat(513);
        for lines in [
            "path\tq\n",
            "mod\tm\n",
            "mod\t\tv1\t\n",
            "mod\tm\tv1\t\nmod\tm\tv1\t\n",
            "dep\tm\tv1\th1:a=\tmore\n",
            "dep\tm\tv1\u{1b}\t\n",
            "dep\tm\tv1\th1:a=\r\n",
            &format!("dep\t{long}\tv1\t\n"),
            "=>\tm\tv1\t\n",
            "dep\tm\tv1\t\nbuild\ta=b\n=>\tn\tv1\t\n",
            "dep\tm\tv1\t\n=>\tn\tv1\t\n=>\to\tv1\t\n",
            "build\ta=b\nbuild\ta=b\n",
            "build\ta\n",
        ] {
            assert_eq!(parse(&format!("path\tp\n{lines}")), None, "{lines:?}");
        }
        assert!(parse("path\tp\nmod\tm\tv1\t\ndep\tm\tv1\n=>\tn\tv1\t\nbuild\ta=b\n").is_some());
    }

    #[test]
    fn counts_modules_and_settings() {
        for (line, most) in [("dep\tm\tv1\t\n", MOST_MODULES), ("", MOST_SETTINGS)] {
            for count in [most, most + 1] {
                let lines: String = (0..count)
                    .map(|number| match line {
                        "" => format!("build\tk{number}=v\n"),
                        line => line.to_owned(),
                    })
                    .collect();
                let found = parse(&format!("path\tp\n{lines}"));
                assert_eq!(found.is_some(), count == most, "{line:?} {count}");
            }
        }
    }
}
