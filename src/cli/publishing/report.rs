//! `report`: one page about an image for an auditor. What it says is written by `render::html`.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use crate::cli::image::{self, Image, OwnerArguments};
use crate::cli::policy::PolicyArguments;
use crate::cli::report::bytes;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Digest, Platform, Reference, visible};
use crate::oci::{Platforms, collect};
use crate::publish::ContainedImage;
use crate::render::{AttachedDocument, Audit, Judgement, html};
use crate::trust::{Policy, Presence, Proof, Verifier};

/// Writes one page about an image for an auditor, as HTML: contents, sizes, toolchains, linked
/// modules, attached documents.
///
/// With --policy or --key the page says what they say of the image, and the exit code is 1 if it is
/// refused; without them it says that nothing was judged. The page needs no network and no script.
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
    let attached = contained.description().referrers.iter().map(|referrer| AttachedDocument {
        kind: match &referrer.predicate_type {
            Some(_) if referrer.is_signature() => "signature".to_owned(),
            Some(predicate) => format!("attestation {predicate}"),
            None => referrer.artifact_type.clone(),
        },
        digest: referrer.digest,
        subject: referrer.subject,
    });
    let audit = Audit {
        attached: attached.collect(),
        judgement: policy.map(|policy| judge(arguments, &opened, &policy)).transpose()?,
        contents: contained.contents,
    };
    let page = html(&audit);
    write(&arguments.output, page.as_bytes()).map_err(|error| {
        let path = arguments.output.to_string_lossy();
        Failure::could_not(format!("cannot write `{}`: {error}", visible(&path)))
    })?;
    let verified = audit.judgement.as_ref().map(Judgement::is_yes);
    terminal.answer(&Report {
        digest: opened.root.digest,
        file: arguments.output.clone(),
        bytes: page.len() as u64,
        verified,
    })?;
    Ok(if verified == Some(false) { Exit::No } else { Exit::Yes })
}

/// What the policy says of each platform.
fn judge(arguments: &Arguments, image: &Image, policy: &Policy) -> Result<Judgement, Failure> {
    let PolicyArguments { policy: file, key, .. } = &arguments.policy;
    let by = file.as_ref().or(key.as_ref()).map(|path| path.to_string_lossy().into_owned());
    let name = arguments.owner.name(Some(&arguments.reference));
    let needs = policy.needs(name.as_ref());
    let all = Platforms::requested(None);
    let evidence = collect(image.source.as_ref(), &image.root, all, &needs)?;
    let mut platforms = image::platforms(&image.root);
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    let judged = platforms.into_iter().map(|platform| {
        let now = SystemTime::now();
        let verifier = Verifier { policy, name: name.as_ref(), platform: &platform, now };
        let proof = match verifier.verify(&evidence, Presence::New) {
            Ok(bundle) => match arguments
                .owner
                .expect
                .and_then(|expected| crate::trust::compare_with_pin(&bundle, &expected))
            {
                Some(finding) => Err(vec![finding.to_string()]),
                None => Ok(words(bundle.proof())),
            },
            Err(rejection) => Err(rejection.findings.iter().map(ToString::to_string).collect()),
        };
        (platform, proof)
    });
    Ok(Judgement { by: by.unwrap_or_default(), platforms: judged.collect() })
}

/// Who signed it, and which rule allows it.
fn words(proof: &Proof) -> String {
    match (&proof.authority, &proof.signed) {
        (Some(authority), Some(signed)) => {
            format!("{signed} signed by `{authority}`, rule `{}`", proof.rule)
        }
        _ => format!("unproven, rule `{}`", proof.rule),
    }
}

/// Writes a file in one step, so that there is never half a page.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut aside = name.to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = path.with_file_name(aside);
    let written = File::create_new(&aside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&aside, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&aside)))
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
