//! What is known while a message is read.

use super::complaint::Phase;
use crate::cni::is_multus;

/// What a message said before its actual error.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) blamed: Option<String>,
    pub(super) phase: Option<Phase>,
    pub(super) network: Option<String>,
    /// A plugin ended with an error.
    pub(super) failed: bool,
}

pub(super) enum Change {
    Plugin(String, Option<Phase>),
    Phase(Phase),
    Network(String),
    Failed,
}

impl Context {
    pub(super) fn is_empty(&self) -> bool {
        self.blamed.is_none() && self.phase.is_none() && self.network.is_none() && !self.failed
    }

    /// Goes one message deeper; returns the plugin that was blamed before, unless that is a
    /// wrapper.
    pub(super) fn change(&mut self, change: Change) -> Option<String> {
        match change {
            // Multus reports its delegates as a runtime reports Multus: the innermost plugin is
            // meant.
            Change::Plugin(plugin, phase) => {
                let before = self.blamed.replace(plugin);
                self.phase = phase.or(self.phase);
                return before
                    .filter(|before| !is_multus(before) && self.blamed.as_ref() != Some(before));
            }
            Change::Phase(phase) => self.phase = Some(phase),
            Change::Network(network) => {
                self.network = Some(network);
                // What follows is about one of the delegates.
                self.blamed = self.blamed.take().filter(|blamed| !is_multus(blamed));
            }
            Change::Failed => self.failed = true,
        }
        None
    }
}
