//! `check`: compares this node with what was signed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;

use super::node_check::NodeCheckArguments;
use super::requirements::RequirementsArguments;
use super::terminal::{Exit, Failure, Terminal};
use crate::check::{NodeCheck, Occasion, Report, check_requirements, compare_view};
use crate::disk::{directory_of, write_atomic};
use crate::node::{Root, Sandbox, known_directories};
use crate::watch::{Metrics, check_and_repair};

/// Checks whether this node still has what was signed (to check an image, use verify).
///
/// Every installed file is hashed and the whole proof is repeated offline, from the evidence that
/// the installation kept. Then each proven plugin is asked for its VERSION, without privileges and
/// without a network, and every plugin that CNI configuration needs is looked up as the runtime
/// would.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    node: NodeCheckArguments,
    /// Does not ask plugins for their VERSION.
    #[arg(long)]
    no_probe: bool,
    /// For use at boot, before the runtime starts: nothing is executed, and only altered, missing
    /// or denied files are refused.
    #[arg(long)]
    at_boot: bool,
    /// Restores missing or altered files from the node's copies, then checks again.
    #[arg(long)]
    repair: bool,
    /// Also writes the result as Prometheus metrics, for the textfile collector of the node
    /// exporter (*.prom).
    #[arg(long, value_name = "FILE", value_parser = parse_textfile)]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    requirements: RequirementsArguments,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let occasion = if arguments.at_boot { Occasion::Boot } else { Occasion::Running };
    let view = arguments.requirements.view.as_deref();
    let probe = !(arguments.no_probe || arguments.at_boot || view.is_some());
    let answer = match arguments.node.open(occasion, probe) {
        Ok(node) => {
            // Before this process is confined: afterwards it may not inspect other processes.
            let view = view.map(Root::open).transpose()?;
            let sandbox = arguments.sandbox(&node);
            arguments.check(&node.confined(sandbox), view.as_ref())
        }
        Err(stop) => Ok(Report::no(stop.refusal()?)),
    };
    if let Some(path) = &arguments.textfile {
        write_textfile(path, answer.as_ref().ok())?;
    }
    let report = answer?;
    terminal.answer(&report)?;
    Ok(if report.is_good() { Exit::Yes } else { Exit::No })
}

impl Arguments {
    /// What this verb may write.
    fn sandbox(&self, node: &NodeCheck) -> Sandbox {
        let mut sandbox = Sandbox::default();
        if self.repair {
            let installed = known_directories(&node.root, &node.state, node.patience);
            sandbox.write_and_move(&node.root, installed.iter().chain([&node.state]));
        }
        if let Some(path) = &self.textfile {
            sandbox.write(directory_of(path));
        }
        sandbox
    }

    /// Checks everything that the arguments ask for.
    fn check(&self, node: &NodeCheck, view: Option<&Root>) -> Result<Report, Failure> {
        let configurations = self.requirements.configurations()?;
        let mut report = if self.repair { check_and_repair(node)? } else { node.check()? };
        if let Some(configurations) = &configurations {
            check_requirements(&node.root, configurations, node.occasion, &mut report);
        }
        if let Some(view) = view {
            compare_view(&node.root, view, &mut report)?;
        }
        Ok(report)
    }
}

/// Replaces the file atomically, since the collector may read it at any moment.
fn write_textfile(path: &Path, report: Option<&Report>) -> Result<(), Failure> {
    let checked = report.map(|_| SystemTime::now());
    let text = Metrics { report, checked, drift: None, repairs: None }.text();
    Ok(write_atomic(path, text.as_bytes(), 0o644)?)
}

/// Accepts only names that the collector reads.
fn parse_textfile(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension == "prom" => Ok(path),
        _ => {
            Err("expected a name that ends in .prom: the collector reads no other files".to_owned())
        }
    }
}
