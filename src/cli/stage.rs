//! `stage`: copies the files out of the bundle image that runs it.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::model::Finding;
use crate::node::{Sandbox, StageReport, stage};

/// Copies the plugins from the image in which this program runs to a directory, for `install
/// --from`.
///
/// It runs as the first init container, without privileges, and proves nothing: `install` verifies
/// every file. An interrupted run is finished by running it again.
#[derive(Args)]
pub(super) struct Arguments {
    /// The directory to fill; it must exist.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The root directory of the bundle's files, if it is not that of this process.
    #[arg(long, value_name = "DIR", default_value = "/")]
    image: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    staged: Option<StageReport>,
    findings: Vec<Finding>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let mut sandbox = Sandbox::default();
    sandbox.write(&arguments.directory);
    let unconfined = sandbox.confine();
    let (mut report, exit) = match stage(&arguments.image, &arguments.directory) {
        Ok(staged) => (Report { staged: Some(staged), findings: Vec::new() }, Exit::Yes),
        Err(error) => (Report { staged: None, findings: Stop::from(error).refusal()? }, Exit::No),
    };
    report.findings.extend(unconfined);
    terminal.answer(&report)?;
    Ok(exit)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(staged) = &self.staged {
            let StageReport { bundle, version, copied, kept } = staged;
            writeln!(
                f,
                "staged {bundle} {version}: {} copied, {kept} already there",
                report::count(*copied, "plugin")
            )?;
        }
        report::findings(f, &self.findings)
    }
}
