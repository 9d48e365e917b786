//! What an installation or an uninstallation does next, told to whoever watches it.
//!
//! Tests stop a run between two of these actions; a run that is killed there leaves the same.

use std::ops::ControlFlow;

use crate::model::{HostPath, PluginName};

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A plugin directory is created.
    CreateDirectory(HostPath),
    /// A plugin is written to the staging directory.
    Stage(PluginName),
    /// Somebody else's file is copied to the state directory.
    KeepOriginal(PluginName),
    /// An installed file is copied to the local store.
    KeepCopy(PluginName),
    /// What was there before a plugin is written to the staging directory.
    StageOriginal(PluginName),
    /// Evidence is written.
    WriteEvidence,
    /// The journal is written.
    WriteJournal,
    /// A plugin gets its name.
    Publish(HostPath, PluginName),
    /// A plugin of an earlier bundle is removed, or what was there before takes its place.
    Remove(HostPath, PluginName),
    /// The names in a plugin directory are made durable.
    Sync(HostPath),
    /// The receipt of the generation before is put aside.
    WriteGeneration,
    /// What its owner does not want any more is written down.
    WriteUnwanted,
    /// A version is written down that is newer than all before it.
    WriteFloor,
    /// The receipt is written.
    WriteReceipt,
    /// The policy is written, where it changed.
    WritePolicy,
    /// The journal and an earlier refusal are forgotten.
    Forget,
    /// The staging directory is removed.
    CleanUp(HostPath),
    /// What no kept generation needs is removed from the state directory.
    Collect,
    /// Everything is done.
    Done,
}

/// Is told what is done next, and may stop it there.
pub type Progress<'a> = dyn FnMut(&Action) -> ControlFlow<()> + 'a;
