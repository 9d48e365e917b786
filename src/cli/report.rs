//! Rendering that several reports share: findings and sizes.

use std::fmt;

use crate::model::Finding;

/// Writes one finding per line.
pub(super) fn findings(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for finding in findings {
        writeln!(f, "{}: {finding}", finding.severity.label())?;
    }
    Ok(())
}

/// Renders a number of things: `1 plugin`, `2 plugins`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Renders a number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// Writes a line about what was copied.
#[cfg(feature = "publish")]
pub(super) fn copied(f: &mut fmt::Formatter<'_>, copied: &crate::oci::Copied) -> fmt::Result {
    let crate::oci::Copied { manifests, referrers, blobs, present, bytes: size } = copied;
    writeln!(
        f,
        "{} ({}), {} ({}), {present} already there",
        count(*manifests, "manifest"),
        count(*referrers, "referrer"),
        count(*blobs, "blob"),
        bytes(*size)
    )
}
