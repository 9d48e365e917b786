//! The privileges that a plugin's file gives to the process that executes it: set-ID bits and file
//! capabilities.
//!
//! A bundle never carries them: the installer decides the permissions of a file. A file that has
//! them in its source was not meant to be executed by a container runtime as root, and a gate can
//! refuse it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A privilege that a file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// The rights of its owner: the set-user-ID bit.
    SetUserId,
    /// The rights of its group: the set-group-ID bit.
    SetGroupId,
    /// Capabilities (capabilities(7), "File capabilities").
    FileCapabilities,
}

impl Privilege {
    const SET_USER_ID: u32 = 0o4000;
    const SET_GROUP_ID: u32 = 0o2000;

    /// The privileges of a file with this mode, with or without file capabilities.
    pub fn of(mode: u32, capabilities: bool) -> BTreeSet<Self> {
        let all = [
            (mode & Self::SET_USER_ID != 0, Self::SetUserId),
            (mode & Self::SET_GROUP_ID != 0, Self::SetGroupId),
            (capabilities, Self::FileCapabilities),
        ];
        all.into_iter().filter_map(|(is_there, it)| is_there.then_some(it)).collect()
    }

    /// "the set-user-ID bit, file capabilities"
    pub fn words(privileges: &BTreeSet<Self>) -> String {
        privileges.iter().map(Self::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SetUserId => "the set-user-ID bit",
            Self::SetGroupId => "the set-group-ID bit",
            Self::FileCapabilities => "file capabilities",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_a_mode_are_told_apart() {
        for (mode, capabilities, expected) in [
            (0o755, false, &[][..]),
            (0o1755, false, &[]),
            (0o4755, false, &[Privilege::SetUserId]),
            (0o102_755, true, &[Privilege::SetGroupId, Privilege::FileCapabilities]),
        ] {
            let found: Vec<_> = Privilege::of(mode, capabilities).into_iter().collect();
            assert_eq!(found, expected, "{mode:o}");
        }
    }
}
