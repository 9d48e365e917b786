//! Whether the check at boot is still what was enabled: who else may change what a boot relies on,
//! and what switches the check off without a word, so that a node would come up unchecked.
//!
//! The unit says what was enabled. Where it is gone, a link to it is the record that there was one.

use std::collections::BTreeSet;

use super::unit::{OnFailure, Recorded, UNIT, UNITS};
use super::{Tool, host_path, is_linked, look_at_tool, possible_links, read_unit, wanted_links};
use crate::disk::{DropIn, DropIns, UNIT_PLACES};
use crate::model::{Code, Finding, HostPath, and_others, with_causes};
use crate::node::error::NodeError;
use crate::node::fact::{Fact, Moment};
use crate::node::host::{Root, exposed_directory, exposed_file};

const AGAIN: &str = "run `cnister boot enable` again";

/// Who else may change what a boot relies on, drop-ins of the unit included, and what keeps the
/// check from being what its unit said: the unit, a link to it or the program is altered or gone,
/// or a drop-in overrides it. Nothing if it is not enabled.
pub(crate) fn exposed(root: &Root, moment: Moment) -> Vec<Finding> {
    let Some(Parts { files, directories, altered }) = Parts::find(root) else {
        return Vec::new();
    };
    let drop_ins = DropIns::find(root, UNIT);
    let of_files = files.iter().chain(drop_ins.files.keys());
    let mut findings: Vec<_> =
        of_files.flat_map(|path| exposed_file(root, path.as_str(), moment)).collect();
    let of_drop_ins = drop_ins.directories.iter();
    findings.extend(of_drop_ins.flat_map(|path| exposed_directory(root, path, moment)));
    for finding in directories.iter().flat_map(|path| exposed_directory(root, path, moment)) {
        // Who can replace a file in it was told, with the same remedy.
        if !findings.iter().any(|told| told.hint == finding.hint) {
            findings.push(finding);
        }
    }
    let altered = altered.into_iter().chain(replaced(root)).chain(overriding(&drop_ins));
    findings.extend(altered.filter_map(|finding| Fact::BootAltered.weigh(moment, finding)));
    let mut seen = BTreeSet::new();
    findings.retain(|finding| seen.insert(finding.message.clone()));
    findings
}

/// The units of this name that systemd finds before the one that was enabled.
fn replaced(root: &Root) -> Vec<Finding> {
    let stronger = UNIT_PLACES.into_iter().take_while(|place| *place != UNITS).map(host_path);
    let is_there = |place: &HostPath| {
        let directory = root.directory(place).ok().flatten();
        directory.is_some_and(|directory| !matches!(directory.kind_of(UNIT), Ok(None)))
    };
    let replaced = stronger.filter(is_there).map(|place| {
        let path = format!("{place}/{UNIT}");
        let message = format!(
            "unit `{path}` takes the place of `{UNITS}/{UNIT}`: the check at boot does not do what that one says"
        );
        let hint = format!("inspect it; if it is not wanted, run: rm {path} && systemctl daemon-reload");
        Finding::warning(Code::BootAltered, message).hint(hint)
    });
    replaced.collect()
}

/// The drop-ins that override the check, and those that may.
fn overriding(drop_ins: &DropIns) -> Vec<Finding> {
    let of_file = |(path, drop_in): (&HostPath, &DropIn)| match drop_in {
        DropIn::Harmless => None,
        DropIn::Deciding(setting) => {
            let message = format!(
                "drop-in `{path}` overrides the check at boot, which then does not do what its unit says"
            );
            let hint = format!(
                "inspect it; if it is not wanted, run: rm {path} && systemctl daemon-reload"
            );
            let finding = Finding::warning(Code::BootAltered, message).hint(hint);
            let expected = "no setting that decides what is executed";
            Some(finding.mismatch(expected, format_args!("{setting}=")))
        }
        DropIn::Unreadable(reason) => Some(unknown(path, reason)),
    };
    let of_files = drop_ins.files.iter().filter_map(of_file);
    of_files.chain(drop_ins.unknown.iter().map(|(path, reason)| unknown(path, reason))).collect()
}

fn unknown(path: &HostPath, reason: &str) -> Finding {
    let message =
        format!("cannot determine whether `{path}` overrides the check at boot: {reason}");
    Finding::warning(Code::BootAltered, message)
        .hint(format!("inspect it, and move away what is not wanted there: {path}"))
}

/// The parts of a check at boot that was enabled here.
struct Parts {
    /// What a boot reads and executes.
    files: Vec<HostPath>,
    /// Where the unit and the links to it are.
    directories: Vec<HostPath>,
    /// What is not as it was enabled.
    altered: Vec<Finding>,
}

impl Parts {
    /// `None` if nothing says that it was ever enabled.
    fn find(root: &Root) -> Option<Self> {
        let (units, unit) = (host_path(UNITS), host_path(&format!("{UNITS}/{UNIT}")));
        let directory = root.directory(&units).ok().flatten()?;
        let read = read_unit(&directory, &unit);
        let links = possible_links().into_iter().map(|path| {
            let linked = is_linked(root, &path, &unit);
            (path, linked)
        });
        let links: Vec<(HostPath, Result<bool, NodeError>)> = links.collect();
        let is_one = |(_, linked): &&(_, Result<bool, NodeError>)| matches!(linked, Ok(true));
        let mut found =
            Self { files: vec![unit.clone()], directories: vec![units], altered: Vec::new() };
        let mut on_failure = OnFailure::Start;
        match read {
            Ok(None) => {
                let (link, _) = links.iter().find(is_one)?;
                found.altered.push(unit_gone(&unit, link));
            }
            Ok(Some((_, recorded))) => {
                on_failure = recorded.on_failure;
                let wanted = wanted_links(on_failure).into_iter();
                let is_missing = |path: &HostPath| {
                    links.iter().any(|(link, linked)| link == path && matches!(linked, Ok(false)))
                };
                found.altered.extend(links_missing(&unit, wanted.filter(is_missing).collect()));
                found.altered.extend(program_altered(root, &recorded));
                found.files.push(recorded.tool);
            }
            Err(error) => found.altered.push(not_ours(&unit, error)),
        }
        let parents = wanted_links(on_failure).into_iter().filter_map(|link| link.parent());
        found.directories.extend(parents);
        let strange = links.into_iter().filter_map(|(path, linked)| Some((linked.err()?, path)));
        found.altered.extend(strange.map(|(error, path)| not_ours(&path, error)));
        Some(found)
    }
}

fn unit_gone(unit: &HostPath, link: &HostPath) -> Finding {
    let message = "the check at boot was enabled, and its unit is gone: no boot is checked";
    let finding = Finding::warning(Code::BootAltered, message);
    finding
        .mismatch(format_args!("`{unit}`"), format_args!("only a link to it, `{link}`"))
        .hint(AGAIN)
}

fn links_missing(unit: &HostPath, missing: Vec<HostPath>) -> Option<Finding> {
    let (first, others) = missing.split_first()?;
    let message = format!(
        "`{first}`{} is missing: the check at boot is not started",
        and_others(others.len())
    );
    let finding = Finding::warning(Code::BootAltered, message);
    Some(finding.mismatch(format_args!("a link to `{unit}`"), "nothing").hint(AGAIN))
}

fn program_altered(root: &Root, recorded: &Recorded) -> Option<Finding> {
    let Recorded { tool, digest, .. } = recorded;
    let replace =
        format!("inspect it; to enable the check again, run: rm {tool} && cnister boot enable");
    let (found, hint) = match look_at_tool(root, tool) {
        Ok(Tool::Program(found, mode)) if found == *digest && mode & 0o100 != 0 => return None,
        Ok(Tool::Program(found, mode)) if found == *digest => {
            (format!("mode {mode:04o}, with which no one can execute it"), AGAIN.to_owned())
        }
        Ok(Tool::Program(found, _)) => (found.to_string(), replace),
        Ok(Tool::Other(kind)) => (kind.to_string(), replace),
        Ok(Tool::Absent) => ("nothing".to_owned(), AGAIN.to_owned()),
        Err(error) => return Some(not_ours(tool, error)),
    };
    let message =
        format!("the program of the check at boot, `{tool}`, is not what `boot enable` wrote");
    Some(Finding::warning(Code::BootAltered, message).mismatch(digest, found).hint(hint))
}

/// What has the name of the unit, of a link or of the program, and is not what was enabled.
fn not_ours(path: &HostPath, error: NodeError) -> Finding {
    match error.into_findings().map(|mut findings| findings.pop()) {
        Ok(Some(finding)) => finding.hint(format!(
            "inspect it; to enable the check again, run: rm {path} && cnister boot enable"
        )),
        Ok(None) => unknown(path, "refused"),
        Err(error) => unknown(path, &with_causes(&error)),
    }
}
