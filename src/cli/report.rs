//! Rendering that several reports share: findings and sizes.

use std::collections::BTreeMap;
use std::fmt;

use crate::bundle::PluginOrigin;
use crate::model::{Finding, PluginName, size_in_words};
use crate::node::Step;

/// Writes one finding per line.
pub(super) fn findings(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for finding in findings {
        writeln!(f, "{}: {finding}", finding.severity.label())?;
    }
    Ok(())
}

/// Writes where plugins came from, one line for those with the same origin.
pub(super) fn origins<'a>(
    f: &mut fmt::Formatter<'_>,
    indent: &str,
    origins: impl Iterator<Item = (&'a PluginName, &'a PluginOrigin)>,
) -> fmt::Result {
    let mut lines = BTreeMap::<String, Vec<&str>>::new();
    for (name, origin) in origins {
        lines.entry(origin.to_string()).or_default().push(name.as_str());
    }
    for (origin, names) in lines {
        writeln!(f, "{indent}from {origin}: {}", names.join(", "))?;
    }
    Ok(())
}

/// Renders a number of things: `1 plugin`, `2 plugins`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What steps do to plugins, in words: `3 plugins written, 2 removed`; `None` if they leave all as
/// they are.
pub(super) fn changed(steps: &[Step]) -> Option<String> {
    let number = |is: fn(&Step) -> bool| steps.iter().filter(|step| is(step)).count();
    let counts = [
        (number(|step| matches!(step, Step::Write { .. })), "written"),
        (number(|step| matches!(step, Step::Remove { restores: false, .. })), "removed"),
        (number(|step| matches!(step, Step::Remove { restores: true, .. })), "restored"),
    ];
    let mut counts = counts.into_iter().filter(|(number, _)| *number > 0);
    let (first, done) = counts.next()?;
    let others: String = counts.map(|(number, done)| format!(", {number} {done}")).collect();
    Some(format!("{} {done}{others}", count(first, "plugin")))
}

/// Renders a number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    size_in_words(count, 1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostPath;
    use crate::node::{Change, Found, Owner};

    #[test]
    fn says_what_steps_do_to_plugins() {
        let place = || (HostPath::default_bin_directory(), "bridge".parse().unwrap());
        let write = || {
            let (directory, name) = place();
            let (change, before, owner) = (Change::New, Found::Absent, Owner::Ours);
            Step::Write { directory, name, change, size: 1, before, owner }
        };
        let remove = |restores| {
            let (directory, name) = place();
            Step::Remove { directory, name, restores, before: Found::Absent, original: None }
        };
        let same = || {
            let (directory, name) = place();
            Step::Satisfied { directory, name, owner: Owner::Ours }
        };
        for (steps, expected) in [
            (vec![], None),
            (vec![same(), Step::CleanUp { directory: place().0 }], None),
            (vec![write(), same()], Some("1 plugin written")),
            (vec![remove(false), remove(false)], Some("2 plugins removed")),
            (vec![remove(true)], Some("1 plugin restored")),
            (
                vec![write(), remove(true), write(), remove(false), write()],
                Some("3 plugins written, 1 removed, 1 restored"),
            ),
        ] {
            assert_eq!(changed(&steps).as_deref(), expected, "{steps:?}");
        }
    }
}
