//! The condition of the node object that a watch maintains, in a thread of its own, so that a slow
//! API server delays no check.
//!
//! `watch::NodeCondition` decides what it says and when it is written.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Instant, SystemTime};

use clap::Args;

use super::terminal::{Failure, Terminal};
use crate::model::with_causes;
use crate::watch::{ConditionError, ConditionName, ConditionStatus, NodeCondition, NodeName};

/// Where the kubelet puts a pod's token and the cluster's certificate.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Which condition of which node.
#[derive(Args)]
pub(super) struct NodeConditionArguments {
    /// Maintains a condition of this type in the cluster's node object, such as CniPluginsVerified;
    /// the pod's service account must be allowed to patch nodes/status.
    #[arg(long, value_name = "TYPE")]
    node_condition: Option<ConditionName>,
    /// The name of the node object [default: the environment variable NODE_NAME].
    #[arg(long, value_name = "NAME", requires = "node_condition")]
    node: Option<NodeName>,
}

impl NodeConditionArguments {
    /// Whether a condition is maintained.
    pub(super) fn is_asked_for(&self) -> bool {
        self.node_condition.is_some()
    }

    /// Starts the thread that writes each status it receives; `None` if no condition is asked for.
    pub(super) fn start(
        &self,
        terminal: Terminal,
    ) -> Result<Option<Sender<ConditionStatus>>, Failure> {
        let Some(name) = &self.node_condition else { return Ok(None) };
        let node = match &self.node {
            Some(node) => node.clone(),
            None => variable("NODE_NAME")
                .map_err(|failure| {
                    failure.hint("use --node NAME, or set NODE_NAME from `spec.nodeName`")
                })?
                .parse()
                .map_err(|error: crate::watch::ParseNodeNameError| Failure::request(error))?,
        };
        let no_pod = |failure: Failure| failure.hint("run it in a pod of the cluster");
        let host = variable("KUBERNETES_SERVICE_HOST").map_err(no_pod)?;
        let port = variable("KUBERNETES_SERVICE_PORT").map_err(no_pod)?;
        let condition =
            match NodeCondition::new(name.clone(), &node, (&host, &port), Path::new(ACCOUNT)) {
                Ok(condition) => condition,
                Err(error) => {
                    warn(&terminal, &error);
                    return Ok(None);
                }
            };
        let (sender, statuses) = mpsc::channel();
        thread::Builder::new()
            .name("condition".to_owned())
            .spawn(move || write(condition, &statuses, &terminal))?;
        Ok(Some(sender))
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|error| Failure::request(format!("cannot use {name}: {error}")))
}

fn write(mut condition: NodeCondition, statuses: &Receiver<ConditionStatus>, terminal: &Terminal) {
    let mut warned = None;
    while let Ok(status) = statuses.recv() {
        // Only the latest counts.
        let status = statuses.try_iter().last().unwrap_or(status);
        match condition.write(&status, SystemTime::now(), Instant::now()) {
            Ok(()) => warned = None,
            Err(error) => {
                let text = with_causes(&error);
                // A server that is unreachable for a day is one line.
                if warned.as_ref() != Some(&text) {
                    warn(terminal, &error);
                }
                warned = Some(text);
            }
        }
    }
}

fn warn(terminal: &Terminal, error: &ConditionError) {
    terminal.remark(&format!("warning: cannot write the node condition: {}", with_causes(error)));
}
