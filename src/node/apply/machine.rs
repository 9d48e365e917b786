//! What machine a staged program is for.

use crate::binary::{Elf, ElfError};
use crate::model::{Code, Finding, Platform, PluginName};
use crate::node::error::NodeError;

/// Refuses a program of another machine: whoever signed it signed a mistake, and the kernel would
/// only say "exec format error" when a pod needs it.
pub(crate) fn check_machine(
    name: &PluginName,
    expected: &Platform,
    start: &[u8],
) -> Result<(), NodeError> {
    let found = match Elf::platform_in(start) {
        Ok(found) if found == *expected => return Ok(()),
        Ok(found) => found.to_string(),
        Err(error @ ElfError::Machine { .. }) => error.to_string(),
        // No program at all: the probe says so, and nothing executes it before.
        Err(_) => return Ok(()),
    };
    let message = format!("`{name}` is a program for another machine");
    let finding = Finding::refusal(Code::PlatformMismatch, message).mismatch(expected, found);
    Err(finding.hint("build the bundle again from plugins of this platform").into())
}
