//! The proof of what is to be installed: its evidence, wherever that lies, and what the policy says
//! to it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::image::{self, Image};
use super::terminal::Failure;
use crate::model::{Code, Digest, Finding, Platform, Reference, Repository};
use crate::node::{NodeError, Staged};
use crate::oci::{CollectError, OciError, Platforms, Remembered, collect};
use crate::trust::{Bundle, Evidence, Policy, Presence, Verified, Verifier};

/// Where the files come from.
pub(super) enum PayloadSource {
    Image(Image),
    Directory(Staged),
}

/// Why an installation went no further.
pub(super) enum Stop {
    Refused(Vec<Finding>),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Bytes that are not the promised ones are an answer; a place that cannot be read is not.
fn read(error: OciError) -> Stop {
    match error.finding() {
        Some(finding) => Stop::Refused(vec![finding]),
        None => Stop::Failed(error.into()),
    }
}

/// A refusal of the node module is an answer; everything else is a failure.
pub(super) fn answer(error: NodeError) -> Stop {
    match error.into_findings() {
        Ok(findings) => Stop::Refused(findings),
        Err(error) => Stop::Failed(error.into()),
    }
}

/// Where to look for files and evidence.
pub(super) struct Place<'a> {
    pub(super) reference: Option<&'a Reference>,
    pub(super) directory: Option<&'a Path>,
    pub(super) evidence: &'a [PathBuf],
}

/// Who decides about a release that is to be installed.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) name: Option<&'a Repository>,
    pub(super) now: SystemTime,
    /// What the node keeps: going back to one of these releases must work, however old it is.
    pub(super) kept: Kept,
}

/// What a node keeps of releases that it had.
#[derive(Default)]
pub(super) struct Kept {
    /// The releases.
    pub(super) indexes: BTreeSet<Digest>,
    /// What proves them; none of it is believed, and none of it is fetched again.
    pub(super) evidence: Vec<Evidence>,
}

impl Judge<'_> {
    fn ask(
        &self,
        evidence: &Evidence,
        platform: &Platform,
    ) -> Result<Verified<Bundle>, Vec<Finding>> {
        let Self { policy, name, now, ref kept } = *self;
        let verifier = Verifier { policy, name, platform, now };
        verifier.verify(evidence, Presence::New).or_else(|rejection| {
            match verifier.verify(evidence, Presence::Kept) {
                Ok(bundle) if kept.indexes.contains(&bundle.value().index) => Ok(bundle),
                _ => Err(rejection.findings),
            }
        })
    }
}

/// Finds the evidence for what is to be installed, and asks the policy.
pub(super) fn prove(
    place: &Place<'_>,
    judge: &Judge<'_>,
) -> Result<(PayloadSource, Verified<Bundle>, Evidence), Stop> {
    let platform = Platform::host();
    match (place.reference, place.directory) {
        (Some(reference), _) => {
            let image = image::open(reference).map_err(read)?;
            let source = Remembered::new(image.source.as_ref(), &judge.kept.evidence);
            let collected = collect(
                &source,
                &image.root,
                Platforms::asked(Some(&platform)),
                &judge.policy.needs(),
            );
            let evidence = collected.map_err(|error| match error {
                CollectError::Oci(error) => read(error),
                other => Stop::Failed(other.into()),
            })?;
            let bundle = judge.ask(&evidence, &platform).map_err(Stop::Refused)?;
            Ok((PayloadSource::Image(image), bundle, evidence))
        }
        (None, Some(directory)) => {
            let staged = Staged::open(directory)?;
            let wanted = Digest::of(&staged.bundle_json().map_err(answer)?);
            let mut refusals = Vec::new();
            let inside = staged.evidence().map_err(answer)?;
            for bytes in load_all(place.evidence).map_err(Stop::Failed)?.into_iter().chain(inside) {
                // Evidence may come from anywhere, so what cannot be read is somebody else's.
                let Ok(evidence) = Evidence::parse(&bytes) else { continue };
                if evidence.document(&wanted).is_none() {
                    continue;
                }
                match judge.ask(&evidence, &platform) {
                    Ok(bundle) if bundle.value().manifest_json == wanted => {
                        return Ok((PayloadSource::Directory(staged), bundle, evidence));
                    }
                    Ok(_) => {}
                    Err(findings) => refusals = findings,
                }
            }
            if refusals.is_empty() {
                let message = format!("no evidence ends in the staged bundle.json, {wanted}");
                refusals.push(
                    Finding::refusal(Code::NoEvidence, message)
                        .hint("write it where the image is: cnister evidence REF -o FILE, then --evidence FILE"),
                );
            }
            Err(Stop::Refused(refusals))
        }
        (None, None) => Err(Stop::Failed(Failure::request(
            "there is nothing to install; name a REF or --from DIR",
        ))),
    }
}

/// Reads evidence files, and those in directories of them, up to the length that evidence may have.
fn load_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let cannot = |error| {
            Failure::could_not(format!("cannot read evidence `{}`: {error}", path.display()))
        };
        if path.is_dir() {
            let entries = fs::read_dir(path)
                .map_err(cannot)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(cannot)?;
            let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
            // A ConfigMap's directory also holds links to its own past versions, which are
            // directories.
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
    // One byte past the limit: the parser then says that it is too long.
    fs::File::open(path)?.take(Evidence::LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
