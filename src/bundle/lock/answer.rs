//! The CNI versions that a plugin answered with when the lock was made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer of a plugin to VERSION (CNI specification 1.1.0, section 4, "VERSION"), which `lock`
/// asks for once: a build executes no plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CniAnswer {
    /// The versions of the specification that it supports.
    pub supported: Vec<String>,
    /// How it was executed.
    pub asked: HowAsked,
}

/// How a plugin was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HowAsked {
    /// By the processor that it was built for.
    Native,
    /// By an emulator, qemu-user.
    Qemu,
}

/// "0.4.0, 1.0.0 (native)"
impl fmt::Display for CniAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = match self.asked {
            HowAsked::Native => "native",
            HowAsked::Qemu => "qemu",
        };
        write!(f, "{} ({asked})", self.supported.join(", "))
    }
}
