//! What several reports have in common.

use std::fmt;

use crate::model::Finding;

/// Writes findings one below the other, refusals first.
pub(super) fn findings(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for finding in findings {
        writeln!(f, "{}: {finding}", finding.severity.label())?;
    }
    Ok(())
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
