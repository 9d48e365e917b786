//! What the node's owner wants of an installation besides the bundle, and which plugins that makes
//! wanted.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::owner::known_owner;
use crate::bundle::PluginFile;
use crate::model::{HostPath, ParsePluginNameError, PluginName};
use crate::node::host::{ForeignFiles, Found, Observed, ObservedDirectory};

/// What the node's owner wants besides the bundle.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// What happens to a foreign file with a wanted name but different content.
    pub foreign: ForeignRule,
    /// The only plugins that are wanted; `None` means all of the bundle.
    pub only: Option<BTreeSet<PluginName>>,
    /// What each directory had and should have again; `None` means that every directory gets the
    /// same plugins.
    pub recorded: Option<BTreeMap<HostPath, BTreeSet<PluginName>>>,
    /// Plugins that are not wanted, whether the bundle has them or not.
    pub skip: BTreeSet<PluginName>,
    /// What happens to any file with a wanted name but different content.
    pub existing: ExistingFiles,
    /// What happens to plugins of an earlier bundle.
    pub leftovers: Leftovers,
}

impl InstallOptions {
    /// Whether another installer's file has to be read: one that stays in any case has not.
    pub(crate) fn foreign_files(&self) -> ForeignFiles {
        let stays = matches!(self.foreign, ForeignRule::Keep | ForeignRule::Stay)
            || self.existing == ExistingFiles::Leave;
        if stays { ForeignFiles::Leave } else { ForeignFiles::Read }
    }
}

/// What happens to a file with a wanted name that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExistingFiles {
    /// It gets the signed content if this program installed it.
    #[default]
    Update,
    /// It stays, whatever it is (`UPDATE_CNI_BINARIES=false`).
    Leave,
}

/// What happens to plugins of an earlier bundle that this one lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// They stay, and are reported as mixed.
    #[default]
    Keep,
    /// They are removed unless an attachment needs them, and their originals come back.
    Prune,
    /// Those that only an unfinished run brought are removed, and the others stay.
    Undo,
}

/// What happens to a foreign file with a wanted name but different content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ForeignRule {
    /// The installation is refused.
    #[default]
    Refuse,
    /// It stays, and its name is not installed.
    Keep,
    /// It is replaced and kept in the state directory.
    Adopt,
    /// These are adopted; any other refuses.
    AdoptNamed(BTreeSet<PluginName>),
    /// It stays, and so does what the receipt says of its name: a repair that cannot bring a plugin
    /// back must not forget that it belongs there.
    Stay,
}

/// Why a text is not a rule for other installers' files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseForeignRuleError {
    /// None of the three forms.
    #[error("expected `keep`, `adopt` or `adopt=NAME,...`")]
    Form,
    /// A name that is not a plugin's.
    #[error(transparent)]
    Name(#[from] ParsePluginNameError),
}

impl FromStr for ForeignRule {
    type Err = ParseForeignRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "keep" => Ok(Self::Keep),
            None if text == "adopt" => Ok(Self::Adopt),
            Some(("adopt", names)) => {
                let names = names.split(',').map(str::parse).collect::<Result<_, _>>()?;
                Ok(Self::AdoptNamed(names))
            }
            _ => Err(ParseForeignRuleError::Form),
        }
    }
}

/// Whether this plugin is to be brought to a directory. A plugin of this program that is left as it
/// is counts as one of an earlier bundle.
pub(super) fn wants(
    options: &InstallOptions,
    directory: &ObservedDirectory,
    file: &PluginFile,
    observed: &Observed,
) -> bool {
    let name = &file.name;
    let recorded = options.recorded.as_ref().map(|recorded| recorded.get(&directory.path));
    if recorded.is_some_and(|names| names.is_none_or(|names| !names.contains(name))) {
        return false;
    }
    let requested = options.only.as_ref().is_none_or(|only| only.contains(name))
        && !options.skip.contains(name);
    let left = options.existing == ExistingFiles::Leave && is_other(directory.found(name), file);
    requested
        && !(left
            && known_owner(observed, &directory.path, name, None)
                .is_some_and(|owner| owner.is_ours()))
}

/// Whether a file is there, and not the signed one.
fn is_other(found: Found, file: &PluginFile) -> bool {
    match found {
        Found::Regular { digest, .. } => digest != file.digest,
        Found::OtherSize(_) | Found::Unreadable(_) => true,
        Found::Absent | Found::Other(_) => false,
    }
}
