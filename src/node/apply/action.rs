//! The actions of a run, and how a caller hears of them.
//!
//! An action is announced before it begins. Tests stop a run between two actions; a run that is
//! killed there leaves the same files.

use std::ops::ControlFlow;

use crate::model::{HostPath, PluginName};
use crate::node::error::NodeError;

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A plugin directory is created.
    CreateDirectory(HostPath),
    /// A plugin is written to the staging directory.
    Stage(PluginName),
    /// A foreign file that will be adopted is copied to the state directory.
    KeepOriginal(PluginName),
    /// An installed file is copied to the local store.
    KeepCopy(PluginName),
    /// The original of a plugin is written to the staging directory.
    StageOriginal(PluginName),
    /// The evidence of the release is written to the state directory.
    WriteEvidence,
    /// The journal is written.
    WriteJournal,
    /// A plugin gets its name.
    Publish(HostPath, PluginName),
    /// A plugin is removed, or its original takes its place.
    Remove(HostPath, PluginName),
    /// The names in a plugin directory are made durable.
    Sync(HostPath),
    /// The receipt of the previous generation is put aside.
    WriteGeneration,
    /// The releases that were rolled back are written down.
    WriteUnwanted,
    /// The newest version of the bundle is written down.
    WriteFloor,
    /// The receipt is written.
    WriteReceipt,
    /// The policy is written if it changed.
    WritePolicy,
    /// The journal and an earlier refusal are removed.
    Forget,
    /// The staging directory is removed.
    CleanUp(HostPath),
    /// Files that no kept generation needs are removed from the state directory.
    Collect,
    /// The run is complete.
    Done,
}

/// Hears of every action before it begins, and may stop the run there.
#[derive(Clone, Copy)]
pub struct Progress<'a>(&'a dyn Fn(&Action) -> ControlFlow<()>);

impl<'a> Progress<'a> {
    /// Calls `observer` before each action; if it breaks, the run stops.
    pub fn new(observer: &'a dyn Fn(&Action) -> ControlFlow<()>) -> Self {
        Self(observer)
    }

    /// Announces no action.
    pub fn silent() -> Self {
        Self(&|_| ControlFlow::Continue(()))
    }

    pub(super) fn announce(self, action: Action) -> Result<(), NodeError> {
        match (self.0)(&action) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(NodeError::Stopped),
        }
    }
}
