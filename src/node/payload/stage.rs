//! Staging: the bundle image copies its own files into a directory that it shares with the tool
//! image.
//!
//! It runs as the bundle's own program, unprivileged, and proves nothing: `install` verifies
//! every file. It only makes sure that a good image yields a good directory, even if it runs
//! again after an interruption, as init containers do when their sandbox is lost.

use std::path::Path;

use serde::Serialize;

use super::staged::{BIN, BUNDLE_JSON, EVIDENCE_JSON, SHARE, Staged, open_listed};
use crate::bundle::{FileManifest, PluginFile};
use crate::disk::{Attributes, Directory, Resolve};
use crate::model::BundleName;
use crate::node::error::NodeError;
use crate::node::host::{Found, Sizes, copy_exactly, find};

/// For all users to read and execute: the next container is root without the capability to
/// override permissions.
const PLUGIN_MODE: u32 = 0o555;
const DOCUMENT_MODE: u32 = 0o444;
const DIRECTORY_MODE: u32 = 0o755;

/// What was staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageReport {
    /// The bundle's name.
    pub bundle: BundleName,
    /// The bundle's version.
    pub version: semver::Version,
    /// How many files were copied.
    pub copied: usize,
    /// How many were there already, from a run before.
    pub kept: usize,
}

/// Copies the plugins and documents of the image whose root is `image` into the directory `into`.
///
/// # Errors
/// Refused where the image is not what its own `bundle.json` says.
pub fn stage(image: &Path, into: &Path) -> Result<StageReport, NodeError> {
    let bundle_json = Staged::open(image)?.bundle_json()?;
    let evidence = Staged::open(image)?.evidence()?;
    let files = FileManifest::parse(&bundle_json)?;
    let (image, target) = (Directory::open(image)?, Directory::open(into)?);

    let source = image.descend(Path::new(BIN), Resolve::Beneath)?;
    let bin = prepare(&target, BIN)?;
    let mut report = StageReport {
        bundle: files.name.clone(),
        version: files.version.clone(),
        copied: 0,
        kept: 0,
    };
    for file in &files.plugins {
        if is_staged(&bin, file)? {
            report.kept += 1;
            continue;
        }
        let origin = format!("`{}`", source.shown());
        let mut opened = open_listed(&source, file)?;
        bin.replace_with(file.name.as_str(), PLUGIN_MODE, |copy| {
            copy_exactly(file.into(), &origin, &mut opened.file, copy)
                .map_err(|error| error.into_error(file.into(), &origin, bin.shown()))
        })?;
        report.copied += 1;
    }
    // Last: a directory with a bundle.json has everything that it lists.
    let share = prepare(&target, SHARE)?;
    if let Some(evidence) = evidence {
        share.write_atomic(EVIDENCE_JSON, &evidence, DOCUMENT_MODE)?;
    }
    share.write_atomic(BUNDLE_JSON, &bundle_json, DOCUMENT_MODE)?;
    Ok(report)
}

/// Opens or creates a directory of the target, without what an interrupted run left in it.
fn prepare(target: &Directory, path: &str) -> Result<Directory, NodeError> {
    let (directory, _) =
        target.descend_or_create(Path::new(path), DIRECTORY_MODE, Resolve::Beneath)?;
    directory.remove_temporaries()?;
    Ok(directory)
}

fn is_staged(bin: &Directory, file: &PluginFile) -> Result<bool, NodeError> {
    let expected = Found::Regular {
        digest: file.digest,
        size: file.size,
        mode: PLUGIN_MODE,
        stranger: None,
        attributes: Attributes::default(),
    };
    Ok(find(bin, &file.name, &Sizes::one(file.size))? == expected)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::Code;
    use crate::node::test_support::{manifest, stage_files};

    const FILES: [(&str, &[u8]); 2] = [("bridge", b"bridge bytes"), ("macvlan", b"macvlan bytes")];

    fn image() -> (tempfile::TempDir, tempfile::TempDir) {
        let image = tempfile::tempdir().unwrap();
        stage_files(image.path(), &manifest(&FILES), &FILES);
        std::fs::create_dir_all(image.path().join("usr/bin")).unwrap();
        std::fs::write(image.path().join("usr/bin/cnister"), b"the program").unwrap();
        (image, tempfile::tempdir().unwrap())
    }

    fn report(copied: usize, kept: usize) -> StageReport {
        let files = manifest(&FILES);
        StageReport { bundle: files.name, version: files.version, copied, kept }
    }

    #[test]
    fn copies_the_listed_files_for_all_users_to_read() {
        let (image, target) = image();
        std::fs::write(image.path().join("opt/cni/bin/unlisted"), b"").unwrap();
        std::fs::write(image.path().join("usr/share/cnister/evidence.json"), b"{}").unwrap();
        assert_eq!(stage(image.path(), target.path()).unwrap(), report(2, 0));
        let mode = |path: &str| {
            std::fs::metadata(target.path().join(path)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("opt"), mode("opt/cni/bin")), (0o755, 0o755));
        assert_eq!(
            (mode("opt/cni/bin/bridge"), mode("usr/share/cnister/bundle.json")),
            (0o555, 0o444)
        );

        let staged = Staged::open(target.path()).unwrap();
        assert_eq!(staged.inspect(&manifest(&FILES)).unwrap(), []);
        assert_eq!(staged.bundle_json().unwrap(), manifest(&FILES).to_bytes());
        assert_eq!(staged.evidence().unwrap(), Some(b"{}".to_vec()));
    }

    #[test]
    fn finishes_what_an_interrupted_run_left() {
        let (image, target) = image();
        stage(image.path(), target.path()).unwrap();
        let bin = target.path().join("opt/cni/bin");
        std::fs::remove_file(bin.join("bridge")).unwrap();
        std::fs::write(bin.join("bridge"), b"half").unwrap();
        std::fs::write(bin.join(".cnister-0011"), b"half").unwrap();
        assert_eq!(stage(image.path(), target.path()).unwrap(), report(1, 1));
        assert_eq!(Staged::open(target.path()).unwrap().inspect(&manifest(&FILES)).unwrap(), []);
        assert_eq!(std::fs::read(bin.join("bridge")).unwrap(), b"bridge bytes");
        assert_eq!(stage(image.path(), target.path()).unwrap(), report(0, 2));
    }

    #[test]
    fn an_image_that_is_not_what_it_says_is_not_staged() {
        let (image, target) = image();
        std::fs::write(image.path().join("opt/cni/bin/macvlan"), b"macvlan bytez").unwrap();
        let findings =
            stage(image.path(), target.path()).expect_err("altered").into_findings().unwrap();
        assert_eq!(findings[0].code, Code::FileAltered);
        assert!(!target.path().join("usr/share/cnister/bundle.json").exists());
        assert!(!target.path().join("opt/cni/bin/macvlan").exists());
    }
}
