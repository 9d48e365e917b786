//! `boot`: installs and removes the check that runs before the container runtime starts.

use std::collections::BTreeSet;
use std::fmt;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::node::NodeArguments;
use super::policy::PolicyArguments;
use super::report;
use super::stop::Stop;
use super::terminal::{Exit, Failure, Terminal};
use crate::check::{Occasion, Question, check};
use crate::model::{Code, Finding, HostPath, Platform};
use crate::node::boot::unit::OnFailure;
use crate::node::boot::{self, BootStep, Wanted};
use crate::node::{NodeError, Root, State, obstacle};
use crate::trust::Policy;

/// Checks this node at every boot, before its container runtime starts.
///
/// Writes a copy of this program and a systemd unit, which pins the current policy and bundle.
/// After changing the policy or installing another bundle, enable it again.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Enable(EnableArguments),
    Disable(DisableArguments),
}

/// Installs this program and cnister-verify.service on the node.
///
/// A bundle must be installed and pass the boot check. systemd reads the unit at the next boot, or
/// after `systemctl daemon-reload`. Enabling again replaces what changed.
#[derive(Args)]
struct EnableArguments {
    /// The SHA-256 of the policy that the node must have, as `sha256sum` prints it [default: that
    /// of the policy on the node].
    #[arg(long, value_name = "HEX")]
    policy_sha256: Option<String>,
    #[command(flatten)]
    node: NodeArguments,
    /// Where this program is copied to; if /usr is read-only, use for example
    /// /opt/cnister/bin/cnister.
    #[arg(long, value_name = "PATH", default_value = "/usr/local/libexec/cnister")]
    tool: HostPath,
    /// Does not start the container runtime if the check fails. Without it, the runtime starts and
    /// only the unit fails.
    #[arg(long)]
    hold_runtime: bool,
    /// Prints what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
}

/// Removes what `boot enable` wrote, and nothing else.
#[derive(Args)]
struct DisableArguments {
    #[command(flatten)]
    node: NodeArguments,
    /// Prints what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: Outcome,
    steps: Vec<BootStep>,
    findings: Vec<Finding>,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Enabled,
    Disabled,
    /// The steps were printed.
    Planned,
    Refused,
}

/// The steps that were done or planned, with notes.
type Steps = (Vec<BootStep>, Vec<Finding>);

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let (done, dry_run, attempt) = match &arguments.action {
        Action::Enable(arguments) => (Outcome::Enabled, arguments.dry_run, enable(arguments)),
        Action::Disable(arguments) => {
            (Outcome::Disabled, arguments.dry_run, disable(arguments).map_err(Stop::from))
        }
    };
    let (report, exit) = match attempt {
        Ok((steps, findings)) => {
            let outcome = if dry_run { Outcome::Planned } else { done };
            (Report { outcome, steps, findings }, Exit::Yes)
        }
        Err(stop) => {
            let (outcome, findings) = (Outcome::Refused, stop.refusal()?);
            (Report { outcome, steps: Vec::new(), findings }, Exit::No)
        }
    };
    terminal.answer(&report)?;
    Ok(exit)
}

fn enable(arguments: &EnableArguments) -> Result<Steps, Stop> {
    let pinned =
        PolicyArguments { policy: None, key: None, policy_sha256: arguments.policy_sha256.clone() };
    let policy = match pinned.load(Some(&|| arguments.node.kept_policy())) {
        Ok(policy) if policy.is_standalone() => policy,
        Ok(_) => {
            let message = "the node's policy refers to key files, which the digest in the unit does not cover";
            let hint = "install again: that writes a policy that contains its keys";
            return Err(Finding::refusal(Code::PolicyDigest, message).hint(hint).into());
        }
        Err(Stop::Refused(findings))
            if findings.iter().any(|finding| finding.code == Code::NotInstalled) =>
        {
            return Err(not_installed().into());
        }
        Err(stop) => return Err(stop),
    };
    let root = arguments.node.open_root()?;
    Ok(enable_on(&root, arguments, &policy)?)
}

fn not_installed() -> Finding {
    let finding =
        Finding::refusal(Code::NotInstalled, "nothing is installed that could be checked at boot");
    finding.hint("install a bundle first")
}

fn enable_on(
    root: &Root,
    arguments: &EnableArguments,
    policy: &Policy,
) -> Result<Steps, NodeError> {
    let program = boot::this_program()?;
    let node = &arguments.node;
    // A check that would already fail at the next boot is not enabled.
    let platform = Platform::host();
    let question = Question { occasion: Occasion::Boot, ..node.question(policy, &platform) };
    let report = check(root, &question)?;
    if !report.is_good() {
        return Err(NodeError::Refused(report.findings));
    }
    let Some(state) = State::open(root, &node.state_dir)? else {
        return Err(not_installed().into());
    };
    let plan = |state: &crate::node::Reading| -> Result<Vec<BootStep>, NodeError> {
        let Some(receipt) = state.receipt()? else { return Err(not_installed().into()) };
        if report.installed.as_ref().is_none_or(|installed| installed.index != receipt.index) {
            let finding =
                Finding::refusal(Code::OtherBundle, "another bundle was installed in the meantime");
            return Err(finding.hint("run it again").into());
        }
        let wanted = Wanted {
            program: &program,
            tool: &arguments.tool,
            state: &node.state_dir,
            policy: (&node.policy_path(), policy.digest()),
            receipt: &receipt,
            on_failure: if arguments.hold_runtime { OnFailure::Hold } else { OnFailure::Start },
        };
        boot::enable(root, &wanted)
    };
    refuse_obstacle(root, &node.state_dir)?;
    if arguments.dry_run {
        let steps = plan(&state.read(node.patience())?)?;
        refuse_obstacles(root, &steps)?;
        return Ok((steps, report.findings));
    }
    let writing = state.write(node.patience()).map_err(NodeError::before_changes)?;
    let steps = plan(&writing)?;
    refuse_obstacles(root, &steps)?;
    boot::carry_out(root, &steps)?;
    Ok((steps, report.findings))
}

fn refuse_obstacle(root: &Root, path: &HostPath) -> Result<(), NodeError> {
    obstacle(root, path).map_or(Ok(()), |finding| Err(finding.into()))
}

/// Refuses steps whose directories cannot be written, before the first of them.
fn refuse_obstacles(root: &Root, steps: &[BootStep]) -> Result<(), NodeError> {
    let places: BTreeSet<_> = steps.iter().filter_map(|step| step.path().parent()).collect();
    let findings: Vec<_> = places.iter().filter_map(|path| obstacle(root, path)).collect();
    if findings.is_empty() { Ok(()) } else { Err(findings.into()) }
}

fn disable(arguments: &DisableArguments) -> Result<(Vec<BootStep>, Vec<Finding>), NodeError> {
    let root = arguments.node.root()?;
    let state = State::open(&root, &arguments.node.state_dir).map_err(NodeError::before_changes)?;
    if state.is_some() {
        refuse_obstacle(&root, &arguments.node.state_dir)?;
    }
    if arguments.dry_run {
        let steps = boot::disable(&root)?;
        refuse_obstacles(&root, &steps)?;
        return Ok((steps, Vec::new()));
    }
    let writing = state.map(|state| state.write(arguments.node.patience())).transpose();
    let _writing = writing.map_err(NodeError::before_changes)?;
    let steps = boot::disable(&root)?;
    refuse_obstacles(&root, &steps)?;
    boot::carry_out(&root, &steps)?;
    Ok((steps, Vec::new()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        report::findings(f, &self.findings)?;
        f.write_str(match (self.outcome, self.steps.is_empty()) {
            (Outcome::Enabled, false) => {
                "enabled; takes effect at the next boot, or now with: systemctl daemon-reload\n"
            }
            (Outcome::Enabled, true) => "already enabled; no file changed\n",
            (Outcome::Disabled, false) => {
                "disabled; takes effect at the next boot, or now with: systemctl daemon-reload\n"
            }
            (Outcome::Disabled, true) => "already disabled; no file changed\n",
            (Outcome::Planned, _) => "planned; nothing was done\n",
            (Outcome::Refused, _) => "refused; nothing was changed\n",
        })
    }
}
