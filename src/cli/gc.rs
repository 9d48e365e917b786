//! `gc`: removes files that no kept generation needs.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::node::NodeArguments;
use super::report::{self, bytes};
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::{Code, Finding};
use crate::node::{
    Collected, MAX_GENERATIONS, NodeError, Root, Sandbox, State, Unreadable, state_obstacle,
};

/// Removes files from the state directory that no kept generation needs; every installation does so
/// as well.
#[derive(Args)]
pub(super) struct Arguments {
    /// How many generations the node keeps from now on, including the installed one [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_GENERATIONS)))]
    generations: Option<u8>,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    freed_bytes: Option<u64>,
    findings: Vec<Finding>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let root = arguments.node.open_root()?;
    let mut sandbox = Sandbox::default();
    sandbox.write_on(&root, &arguments.node.state_dir);
    sandbox.move_files();
    let unconfined = sandbox.confine();
    let mut report = match collect(arguments, &root) {
        Ok(Collected { freed, told }) => Report { freed_bytes: Some(freed), findings: told },
        Err(error) => Report { freed_bytes: None, findings: Stop::from(error).refusal()? },
    };
    report.findings.extend(unconfined);
    terminal.answer(&report)?;
    Ok(if report.freed_bytes.is_some() { Exit::Yes } else { Exit::No })
}

fn collect(arguments: &Arguments, root: &Root) -> Result<Collected, NodeError> {
    let nothing = Collected { freed: 0, told: Vec::new() };
    let state = State::open(root, &arguments.node.state_dir).map_err(NodeError::before_changes)?;
    let Some(state) = state else { return Ok(nothing) };
    if let Some(finding) = state_obstacle(root, &arguments.node.state_dir) {
        return Err(finding.into());
    }
    let writing = state.write(arguments.node.patience()).map_err(NodeError::before_changes)?;
    if writing.journal()?.is_some() {
        let finding = Finding::refusal(
            Code::InterruptedInstall,
            "an interrupted installation still needs its files",
        );
        return Err(finding.hint("run the same install again first").into());
    }
    // What they need is unknown, and nothing can be removed.
    let unreadable = writing.history()?.unreadable;
    if !unreadable.is_empty() {
        let refusals = unreadable.iter().map(Unreadable::finding).map(Finding::into_refusal);
        return Err(refusals.collect::<Vec<_>>().into());
    }
    match writing.receipt()? {
        Some(receipt) => {
            writing.collect(&receipt, arguments.generations.unwrap_or(MAX_GENERATIONS))
        }
        None => Ok(nothing),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        report::findings(f, &self.findings)?;
        match self.freed_bytes {
            Some(freed) => writeln!(f, "{} freed", bytes(freed)),
            None => writeln!(f, "refused; nothing was changed"),
        }
    }
}
