//! `explain`: names the cause of a runtime's error on this node.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::document;
use super::node::NodeArguments;
use super::terminal::{Exit, Failure, Terminal};
use crate::check::explain::{Explanation, Phase, TEXT_LIMIT, explain};
use crate::check::{Report, check};
use crate::model::{HostPath, Platform};
use crate::node::{Root, Sandbox};

/// How long to wait for an installation that is running: the cause can be named without the check.
const PATIENCE: Duration = Duration::from_secs(5);

/// Explains an error of a container runtime: its cause on this node, and what to do about it.
///
/// TEXT is a kubelet event, a line of the journal, or the output of `kubectl describe pod`; without
/// it, standard input is read. Only the plugin directories are inspected, never a path in the text.
/// Exit code 0 means that a cause was named, 1 that the text contains no known CNI error.
#[derive(Args)]
#[command(after_help = "Causes have stable names; docs/explain.md lists them.")]
pub(super) struct Arguments {
    /// The text to explain; `-` is standard input.
    text: Option<OsString>,
    /// Reads the text from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArguments,
    /// A plugin directory to inspect; may be repeated.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: Vec<HostPath>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    if let Some(unconfined) = Sandbox::default().confine() {
        terminal.remark(&unconfined.to_string());
    }
    let text = arguments.read()?;
    let root = arguments.node.open_root()?;
    let explanation = explain(&root, &arguments.bin_dir, &text, || match arguments.check(&root) {
        Ok(report) => report,
        // The cause can be named without it.
        Err(failure) => {
            terminal.failure(&failure);
            None
        }
    });
    terminal.answer(&explanation)?;
    Ok(if explanation.causes.is_empty() { Exit::No } else { Exit::Yes })
}

impl Arguments {
    fn read(&self) -> Result<Vec<u8>, Failure> {
        match (&self.text, &self.file) {
            (Some(text), _) if text != "-" => limited(text.clone().into_vec(), "the text"),
            (None, None) if io::stdin().is_terminal() => {
                Err(Failure::request("no text to explain")
                    .hint("kubectl describe pod NAME | cnister explain, or cnister explain 'TEXT'"))
            }
            (_, file) => {
                let (name, bytes) =
                    document::read(file.as_deref().unwrap_or(Path::new("-")), TEXT_LIMIT)?;
                limited(bytes, &name)
            }
        }
    }

    /// Checks this node under the policy that the installation left; `None` if there is none.
    fn check(&self, root: &Root) -> Result<Option<Report>, Failure> {
        let policy = match self.node.kept_policy() {
            Ok(policy) => policy,
            Err(stop) => return stop.refusal().map(|_| None),
        };
        let platform = Platform::host();
        let patience = PATIENCE.min(self.node.patience());
        let mut question = self.node.question(&policy, &platform);
        question.installation.patience = patience;
        Ok(Some(check(root, &question)?))
    }
}

fn limited(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, Failure> {
    if bytes.len() <= TEXT_LIMIT {
        return Ok(bytes);
    }
    let message = format!("{name} is longer than {TEXT_LIMIT} bytes");
    Err(Failure::request(message)
        .hint("pass only the lines around the error, such as the end of a log"))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for explained in &self.causes {
            writeln!(f, "{}: {}", explained.cause, explained.message)?;
            let mut times = match explained.times {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            };
            let phases: Vec<_> = explained.phases.iter().copied().map(Phase::as_str).collect();
            if !phases.is_empty() {
                times.push_str(&format!(", on {}", phases.join(" and ")));
            }
            if !explained.networks.is_empty() {
                times.push_str(&format!(", for network {}", explained.networks.join(", ")));
            }
            writeln!(f, "  reported {times}")?;
            for seen in &explained.on_node {
                let plugin = explained.plugin.as_deref().unwrap_or_default();
                let state = seen.state.map(|state| format!(" ({})", state.as_str()));
                let state = state.unwrap_or_default();
                writeln!(f, "  {}/{plugin}: {}{state}", seen.directory, seen.found)?;
            }
            if let Some(effect) = &explained.effect {
                writeln!(f, "  effect: {effect}")?;
            }
            for action in &explained.actions {
                writeln!(f, "  do: {action}")?;
            }
        }
        if self.more > 0 {
            writeln!(f, "{} more errors were left out", self.more)?;
        }
        if !self.unknown.is_empty() {
            let plugins: Vec<_> = self.unknown.iter().map(|plugin| format!("`{plugin}`")).collect();
            writeln!(f, "failed for an unknown reason: {}", plugins.join(", "))?;
        }
        match self.causes.len() {
            0 => f.write_str("no: no known CNI error in the text\n"),
            1 => f.write_str("one cause\n"),
            causes => writeln!(f, "{causes} causes"),
        }
    }
}
