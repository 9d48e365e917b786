//! `status`: prints the node's records, without inspecting any plugin.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::node::NodeArguments;
use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::bundle::{FileManifest, PluginOrigin};
use crate::model::{BundleName, Code, Digest, Finding, PluginName};
use crate::node::{NodeError, Reading, Receipt, Release, Sandbox, State, without_receipt};
use crate::trust::Evidence;

/// Shows this node's records: the installed release, earlier ones, and what was refused.
///
/// It reads the state directory and hashes nothing; to find out whether the files match, use
/// `check`.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<Generation>,
    past: Vec<Generation>,
    /// The releases that were rolled back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rolled_back: Vec<Digest>,
    /// The release whose installation was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<Digest>,
    /// The release that was wanted and refused since.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    number: u64,
    bundle: BundleName,
    version: semver::Version,
    index: Digest,
    plugins: usize,
    directories: Vec<String>,
    /// How many of its plugins have no copy in the local store.
    without_copy: usize,
    /// Where its plugins came from, as its signed `bundle.json` says; of the present one alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    origins: Vec<Origin>,
}

#[derive(Serialize)]
struct Origin {
    name: PluginName,
    #[serde(flatten)]
    origin: PluginOrigin,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let unconfined = Sandbox::default().confine();
    let mut report = match look(arguments) {
        Ok(report) => report,
        Err(error) => Report { findings: Stop::from(error).refusal()?, ..Report::default() },
    };
    report.findings.extend(unconfined);
    terminal.answer(&report)?;
    Ok(if report.present.is_some() { Exit::Yes } else { Exit::No })
}

fn look(arguments: &Arguments) -> Result<Report, NodeError> {
    let root = arguments.node.root()?;
    let Some(state) = State::open(&root, &arguments.node.state_dir)? else {
        let lost = lost(without_receipt(&root, None, &arguments.node.policy_dir)?);
        return Ok(Report { findings: lost.into_iter().collect(), ..Report::default() });
    };
    let reading = state.read(arguments.node.patience())?;
    let generation = |receipt: &Receipt| -> Result<Generation, NodeError> {
        let files = || receipt.directories.values().flat_map(|directory| &directory.files);
        let missing =
            reading.without_copy(files().map(|(name, file)| (file.digest, file.size, name)))?;
        Ok(Generation {
            number: receipt.generation,
            bundle: receipt.bundle.clone(),
            version: receipt.version.clone(),
            index: receipt.index,
            plugins: files().count(),
            directories: receipt.directories.keys().map(ToString::to_string).collect(),
            without_copy: missing.len(),
            origins: Vec::new(),
        })
    };
    let history = reading.history()?;
    let present = reading.receipt()?;
    let with_origins = |receipt: &Receipt| -> Result<Generation, NodeError> {
        Ok(Generation { origins: origins(&reading, receipt), ..generation(receipt)? })
    };
    let is_present =
        |release: &Release| present.as_ref().is_some_and(|present| present.release().is(release));
    let others = history.generations.iter().filter(|past| !is_present(&past.release));
    // One by one: together, they may be long.
    let others = others.filter_map(|past| match reading.generation(past.number) {
        Ok(receipt) => receipt.as_ref().map(&generation),
        Err(error) => Some(Err(error)),
    });
    let rolled_back = reading.rolled_back()?.unwrap_or_default().releases;
    let mut findings: Vec<_> = history.findings().collect();
    findings.extend(match &present {
        Some(receipt) => receipt.foreign(),
        None => lost(without_receipt(&root, Some(&reading), &arguments.node.policy_dir)?),
    });
    Ok(Report {
        past: others.collect::<Result<_, _>>()?,
        rolled_back: rolled_back
            .iter()
            .filter(|release| !is_present(release))
            .map(|release| release.index)
            .collect(),
        interrupted: reading.journal()?.map(|journal| journal.index),
        refused: reading.refusal()?.map(|refusal| refusal.wanted),
        present: present.as_ref().map(with_origins).transpose()?,
        findings,
    })
}

/// What the kept evidence says of where the plugins came from: nothing, if the document that the
/// receipt names is not there. What is wrong with evidence is for `check` to say.
fn origins(reading: &Reading, receipt: &Receipt) -> Vec<Origin> {
    let files = || {
        let evidence = Evidence::parse(&reading.evidence(&receipt.evidence).ok()??).ok()?;
        let document = evidence.document(receipt.bundle_json.as_ref()?)?;
        FileManifest::parse(&document.bytes).ok()
    };
    let plugins = files().into_iter().flat_map(|files| files.plugins);
    let origins = plugins.filter_map(|plugin| {
        let origin = plugin.facts.origin?;
        Some(Origin { name: plugin.name, origin })
    });
    origins.collect()
}

/// The text says already that nothing is installed.
fn lost(finding: Finding) -> Option<Finding> {
    Some(finding).filter(|finding| finding.code == Code::RecordsLost)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.present {
            Some(present) => write(f, "*", present)?,
            None => writeln!(f, "nothing is installed")?,
        }
        for past in &self.past {
            write(f, " ", past)?;
        }
        for index in &self.rolled_back {
            writeln!(f, "rolled back from {index}")?;
        }
        if let Some(index) = &self.interrupted {
            writeln!(f, "the installation of {index} was interrupted")?;
        }
        if let Some(wanted) = &self.refused {
            writeln!(f, "the wanted release `{}` was refused", crate::model::visible(wanted))?;
        }
        report::findings(f, &self.findings)
    }
}

fn write(f: &mut fmt::Formatter<'_>, sign: &str, generation: &Generation) -> fmt::Result {
    let Generation { number, bundle, version, index, plugins, directories, .. } = generation;
    let Generation { without_copy, origins, .. } = generation;
    let plugins = report::count(*plugins, "plugin");
    writeln!(f, "{sign} {number}  {bundle} {version}  {plugins} in {}", directories.join(", "))?;
    writeln!(f, "     {index}")?;
    if *without_copy > 0 {
        writeln!(f, "     {without_copy} of them without a copy in the local store")?;
    }
    report::origins(f, "     ", origins.iter().map(|it| (&it.name, &it.origin)))
}
