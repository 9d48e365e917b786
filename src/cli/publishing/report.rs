//! `report`: one page about an image for an auditor. The page itself is written by `render::html`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::image::{self, Image, OwnerArguments};
use crate::cli::policy::PolicyArguments;
use crate::cli::report::bytes;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::cli::verdict::judge;
use crate::disk::write_atomic;
use crate::model::{Digest, Reference, visible};
use crate::oci::{CollectError, describe_referrers};
use crate::publish::ContainedImage;
use crate::render::{AttachedReferrer, Audit, Judgement, html};
use crate::trust::Policy;

/// Writes one page about an image for an auditor, as HTML: contents, sizes, toolchains, linked
/// modules, attached documents.
///
/// With --policy or --key, the page includes the verdict on the image, and the exit code is 1 if it
/// is refused; without them, it says that the image was not judged. The page uses no network and
/// no scripts.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The image.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The file to write.
    #[arg(short, long, value_name = "FILE.html")]
    output: PathBuf,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    owner: OwnerArguments,
    /// Do not read the plugins: linked modules are not listed, and no layer is fetched.
    #[arg(long)]
    no_modules: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    digest: Digest,
    file: PathBuf,
    bytes: u64,
    /// Whether the policy or key allows the image; `None` if none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let policy = match (&arguments.policy.policy, &arguments.policy.key) {
        (None, None) if arguments.policy.policy_sha256.is_none() => None,
        _ => Some(match arguments.policy.load(None) {
            Ok(policy) => policy,
            // Another policy than the pinned one: no page says what it would allow.
            Err(stop) => {
                let findings = stop.refusal()?;
                let words: Vec<_> = findings.iter().map(ToString::to_string).collect();
                return Err(Failure::request(words.join("; ")));
            }
        }),
    };
    let opened = image::open_published(&arguments.reference)?;
    let from = arguments.reference.to_string();
    let mut contained = ContainedImage::read(opened.source.as_ref(), &opened.root, from)
        .map_err(Failure::classed)?;
    if !arguments.no_modules {
        let all = contained.contents.plugins.keys().cloned().collect();
        contained.read_modules(&all, &std::env::temp_dir()).map_err(Failure::classed)?;
    }
    let referrers = describe_referrers(opened.source.as_ref(), &opened.root)?;
    let attached = referrers.iter().map(|referrer| AttachedReferrer {
        kind: referrer.kind(),
        digest: referrer.digest,
        subject: referrer.subject,
    });
    let audit = Audit {
        attached: attached.collect(),
        judgement: policy.map(|policy| judged(arguments, &opened, &policy)).transpose()?,
        contents: contained.contents,
    };
    let page = html(&audit);
    write(&arguments.output, &page)?;
    let verified = audit.judgement.as_ref().map(Judgement::is_yes);
    terminal.answer(&Report {
        digest: opened.root.digest,
        file: arguments.output.clone(),
        bytes: page.len() as u64,
        verified,
    })?;
    Ok(if verified == Some(false) { Exit::No } else { Exit::Yes })
}

/// The verdict of the policy on each platform.
fn judged(
    arguments: &Arguments,
    opened: &Image,
    policy: &Policy,
) -> Result<Judgement, CollectError> {
    let PolicyArguments { policy: file, key, .. } = &arguments.policy;
    let by = file.as_ref().or(key.as_ref()).map(|path| path.to_string_lossy().into_owned());
    let (_, verdicts) = judge(opened, &arguments.reference, policy, &arguments.owner, None)?;
    let root = Some(&opened.root.digest);
    let platforms = verdicts.into_iter().map(|verdict| {
        let proof = match verdict.allowed() {
            Some(bundle) => Ok(bundle.proof().summary(root)),
            None => Err(verdict.findings.iter().map(ToString::to_string).collect()),
        };
        (verdict.platform, proof)
    });
    Ok(Judgement { by: by.unwrap_or_default(), platforms: platforms.collect() })
}

/// Writes the page in one step, so that there is never half a page. A device, or anything else that
/// is not a regular file, is not replaced.
fn write(path: &Path, page: &str) -> Result<(), Failure> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let path = path.to_string_lossy();
        return Err(Failure::could_not(format!("`{}` is not a regular file", visible(&path))));
    }
    write_atomic(path, page.as_bytes(), 0o644).map_err(Failure::could_not)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        let verdict = match self.verified {
            None => "not judged",
            Some(true) => "allowed",
            Some(false) => "refused",
        };
        let file = self.file.to_string_lossy();
        writeln!(f, "{}: {}, {verdict}", visible(&file), bytes(self.bytes))
    }
}
