//! Finding the evidence of a release that will be installed: in an image, or in evidence files
//! beside a staged directory.
//!
//! Nothing is decided here. Evidence may come from anywhere, so each piece is handed to the
//! verifier, and what does not belong to the release is ignored.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::image;
use super::stop::Stop;
use super::terminal::Failure;
use crate::disk::open_input;
use crate::model::{Code, Digest, Finding, Reference};
use crate::node::{Files, KeptReleases, Staged};
use crate::oci::{Platforms, Remembered, collect};
use crate::trust::{Bundle, Evidence, Verified, Verifier};

/// A verified release, its evidence, and where its plugins come from.
pub(super) type Proven = (Verified<Bundle>, Evidence, Files);

/// Collects the evidence of an image and verifies it. Evidence that the node keeps is not fetched
/// again.
pub(super) fn of_image(
    reference: &Reference,
    verifier: &Verifier<'_>,
    kept: &KeptReleases,
) -> Result<Proven, Stop> {
    let image = image::open(reference)?;
    let known = |digest: &Digest| kept.blob(digest);
    let source = Remembered::new(image.source.as_ref(), &known);
    let platforms = Platforms::requested(Some(verifier.platform));
    let needs = verifier.policy.needs(verifier.name);
    let evidence = collect(&source, &image.root, platforms, &needs)?;
    let bundle = kept.verify(verifier, &evidence)?;
    let layer = bundle.value().plugin_layer.clone();
    Ok((bundle, evidence, Files::Image(image.source, Box::new(layer))))
}

/// Verifies a staged directory with the first evidence that leads to its `bundle.json`: `evidence`
/// names files or directories of them, the directory may contain some, and the node keeps some.
/// That the node keeps it proves what was staged, and exempts it from nothing.
pub(super) fn of_directory(
    directory: &Path,
    evidence: &[PathBuf],
    verifier: &Verifier<'_>,
    kept: &KeptReleases,
) -> Result<Proven, Stop> {
    let staged = Staged::open(directory)?;
    let wanted = Digest::of(&staged.bundle_json()?);
    let inside = staged.evidence()?;
    let mut refusals = Vec::new();
    // What cannot be read is evidence of something else. Only what the owner names is decompressed.
    let given = load_all(evidence)?.into_iter().map(|bytes| Evidence::read(&bytes));
    let inside = inside.iter().map(|bytes| Evidence::parse(bytes));
    for evidence in given.chain(inside).flatten().chain(kept.evidence()) {
        if evidence.document(&wanted).is_none() {
            continue;
        }
        match kept.verify(verifier, &evidence) {
            Ok(bundle) if bundle.value().manifest_json == wanted => {
                return Ok((bundle, evidence, Files::Staged(staged)));
            }
            Ok(_) => {}
            Err(rejection) => refusals = rejection.findings,
        }
    }
    if refusals.is_empty() {
        let message = format!("no evidence covers the staged bundle.json, {wanted}");
        let hint = "write it where the image can be read (cnister evidence REF -o FILE), then pass --evidence FILE";
        refusals.push(Finding::refusal(Code::NoEvidence, message).hint(hint));
    }
    Err(refusals.into())
}

/// Reads evidence files and directories of them, each file up to the limit of evidence.
fn load_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let cannot = |error| Failure::of_reading(&format!("evidence `{}`", path.display()), &error);
        if path.is_dir() {
            let entries = fs::read_dir(path)
                .map_err(cannot)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(cannot)?;
            let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
            // The directory of a ConfigMap also contains links to directories with its earlier
            // versions.
            files.retain(|path| path.is_file());
            files.sort();
            for file in files {
                found.push(load(&file).map_err(cannot)?);
            }
        } else {
            found.push(load(path).map_err(cannot)?);
        }
    }
    Ok(found)
}

fn load(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte past the limit, so that the parser reports a longer file.
    open_input(path)?.0.take(Evidence::LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
