//! The check at boot: installing the program and its unit on a node, and removing exactly these.
//!
//! The steps are data, made before anything is changed. There is no systemd to talk to from
//! a Job, so the links are made here that `systemctl enable` would make.

mod intact;
pub mod unit;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use serde::Serialize;

use super::error::NodeError;
use crate::binary::{Elf, Linkage};
use crate::disk::{Directory, DiskError, FileKind};
use crate::model::{Code, Digest, Finding, HostPath, with_causes};
use crate::node::host::{Root, hash};
use crate::node::state::Receipt;
pub(crate) use intact::exposed;
use unit::{OnFailure, RUNTIMES, Recorded, UNIT, UNITS, Unit, UnitError, WANTED_BY, recorded};

/// The largest program, in bytes; a static one has some seven million.
const PROGRAM_LIMIT: u64 = 256 * 1024 * 1024;
/// The longest unit that is read, in bytes.
const UNIT_LIMIT: usize = 64 * 1024;
const PROGRAM_MODE: u32 = 0o755;
const UNIT_MODE: u32 = 0o644;
/// A place for the program on nodes whose `/usr` cannot be changed.
const ELSEWHERE: &str = "choose another path with --tool, for example /opt/cnister/bin/cnister";

/// What is wanted at boot.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// This program's bytes.
    pub program: &'a [u8],
    /// Where it is copied to.
    pub tool: &'a HostPath,
    /// The state directory, as a path on the node.
    pub state: &'a HostPath,
    /// The file with the policy, and its digest.
    pub policy: (&'a HostPath, Digest),
    /// What is installed, and was checked.
    pub receipt: &'a Receipt,
    /// What a "no" means.
    pub on_failure: OnFailure,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum BootStep {
    /// Put a file there, or replace the one that was ours.
    Write {
        /// The path of the file on the node.
        path: HostPath,
        /// The complete content.
        #[serde(skip)]
        content: Vec<u8>,
        /// Its permission bits.
        #[serde(skip)]
        mode: u32,
    },
    /// Make a link to the unit.
    Link {
        /// The path of the link on the node.
        path: HostPath,
    },
    /// Remove a file or a link that is ours.
    Remove {
        /// The path of the file or link that is removed.
        path: HostPath,
    },
}

impl BootStep {
    /// What is written, made or removed.
    pub fn path(&self) -> &HostPath {
        match self {
            Self::Write { path, .. } | Self::Link { path } | Self::Remove { path } => path,
        }
    }
}

/// Reads this program, which has to run alone: before the runtime starts, and wherever the unit
/// allows nothing else.
pub fn this_program() -> Result<Vec<u8>, NodeError> {
    let path = "/proc/self/exe";
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(PROGRAM_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| DiskError::Io {
        action: "read".to_owned(),
        path: path.to_owned(),
        source,
    })?;
    match Elf::parse(&bytes).map(|elf| elf.linkage().clone()) {
        Ok(Linkage::Static) => Ok(bytes),
        Ok(Linkage::Dynamic { interpreter }) => {
            let finding = Finding::refusal(
                Code::ToolNotStatic,
                "this program is dynamically linked, and a node may not have its libraries",
            );
            let finding = finding
                .mismatch("a static program", format_args!("a program that needs `{interpreter}`"));
            Err(finding
                .hint("use a static build: a release, the tool image, or `make static`")
                .into())
        }
        Err(error) => {
            Err(Finding::refusal(Code::ToolNotStatic, format!("this program {error}")).into())
        }
    }
}

/// The steps that enable the check at boot; none if it is enabled already.
///
/// # Errors
/// Refused if a foreign file has a name that is needed, or if the program cannot be placed where it
/// is needed.
pub fn enable(root: &Root, wanted: &Wanted<'_>) -> Result<Vec<BootStep>, NodeError> {
    let before = Enabled::look(root)?;
    let tool_digest = Digest::of(wanted.program);
    let unit = Unit {
        tool: wanted.tool,
        tool_digest,
        state: wanted.state,
        policy: wanted.policy.0,
        policy_digest: wanted.policy.1,
        bundle: &wanted.receipt.bundle,
        repository: wanted.receipt.repository.as_ref(),
        directories: wanted.receipt.directories.keys().collect(),
        on_failure: wanted.on_failure,
    };
    let text = unit.to_text().map_err(Finding::from)?;
    let mut steps = Vec::new();
    check_place(root, wanted)?;
    let old = before.recorded.as_ref();
    match look_at_tool(root, wanted.tool)? {
        Tool::Absent => steps.push(write(wanted.tool, wanted.program, PROGRAM_MODE)),
        Tool::Program(digest, PROGRAM_MODE) if digest == tool_digest => {}
        Tool::Program(digest, _)
            if digest == tool_digest
                || old.is_some_and(|old| old.tool == *wanted.tool && old.digest == digest) =>
        {
            steps.push(write(wanted.tool, wanted.program, PROGRAM_MODE));
        }
        Tool::Program(digest, _) => {
            let message = format!("`{}` is a different program", wanted.tool);
            return Err(Finding::refusal(Code::ToolPlace, message)
                .mismatch(tool_digest, digest)
                .hint(ELSEWHERE)
                .into());
        }
        Tool::Other(kind) => {
            let message = format!("`{}` is {kind}", wanted.tool);
            return Err(Finding::refusal(Code::ToolPlace, message).hint(ELSEWHERE).into());
        }
    }
    if before.text.as_deref() != Some(&*text) {
        steps.push(write(&before.unit, text.as_bytes(), UNIT_MODE));
    }
    let links = wanted_links(wanted.on_failure);
    steps.extend(
        links
            .iter()
            .filter(|link| !before.links.contains(link))
            .cloned()
            .map(|path| BootStep::Link { path }),
    );
    steps.extend(
        before
            .links
            .iter()
            .filter(|link| !links.contains(link))
            .cloned()
            .map(|path| BootStep::Remove { path }),
    );
    if let Some(old) = old.filter(|old| old.tool != *wanted.tool) {
        steps.extend(remove_tool(root, old)?);
    }
    Ok(steps)
}

/// The steps that disable the check at boot; none if it is not enabled.
///
/// # Errors
/// Refused where the unit or the program is not what [`enable`] wrote.
pub fn disable(root: &Root) -> Result<Vec<BootStep>, NodeError> {
    let before = Enabled::look(root)?;
    let mut steps: Vec<_> =
        before.links.into_iter().map(|path| BootStep::Remove { path }).collect();
    if let Some(old) = &before.recorded {
        steps.extend(remove_tool(root, old)?);
        // Last: it says what the others were, should this be interrupted.
        steps.push(BootStep::Remove { path: before.unit });
    }
    Ok(steps)
}

/// Says that the next boot would say no although nothing is altered: the unit pins what was
/// installed when it was enabled. `None` if there is no unit, or if it was changed by hand, which
/// [`exposed`] says.
pub fn outdated(root: &Root, receipt: &Receipt) -> Option<Finding> {
    let pinned = Enabled::look(root).ok()?.recorded?;
    let policy = receipt.policy.hex();
    let directories: BTreeSet<_> = receipt.directories.keys().map(ToString::to_string).collect();
    let list =
        |paths: &BTreeSet<String>| paths.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let (what, expected, found) = if pinned.policy != policy {
        ("a different policy", pinned.policy, policy)
    } else if pinned.bundle != receipt.bundle.as_str() {
        ("a different bundle", pinned.bundle, receipt.bundle.to_string())
    } else if pinned.directories != directories {
        ("different directories", list(&pinned.directories), list(&directories))
    } else {
        return None;
    };
    let message = format!("the check at boot pins {what} than what is installed");
    Some(
        Finding::warning(Code::BootOutdated, message)
            .mismatch(expected, found)
            .hint("run `cnister boot enable` again"),
    )
}

/// Whether there is a unit that [`enable`] wrote.
pub(crate) fn is_enabled(root: &Root) -> bool {
    Enabled::look(root).is_ok_and(|enabled| enabled.recorded.is_some())
}

/// Says that the check at boot is still enabled on a node where nothing is installed any more, or
/// that this is not known.
pub fn left_over(root: &Root) -> Option<Finding> {
    let (message, hint) = match Enabled::look(root) {
        Ok(enabled) => {
            enabled.recorded?;
            let message = "the check at boot is still enabled, but has nothing to check".to_owned();
            (message, "run `cnister boot disable`")
        }
        Err(NodeError::Refused(reasons))
            if reasons.iter().any(|reason| reason.code == Code::NoSystemd) =>
        {
            return None;
        }
        Err(error) => {
            let reason = with_causes(&error);
            let message =
                format!("whether the check at boot is still enabled is unknown: {reason}");
            (message, "look at it, and remove what is left of it by hand")
        }
    };
    Some(Finding::warning(Code::BootOutdated, message).hint(hint))
}

/// Does what was planned; the caller holds the lock of the state directory.
pub fn carry_out(root: &Root, steps: &[BootStep]) -> Result<(), NodeError> {
    for step in steps {
        match step {
            BootStep::Write { path, content, mode } => {
                let (parent, name) = place(path);
                let (directory, _) = root.directory_or_create(&parent, 0o755)?;
                directory.remove_temporaries()?;
                directory.write_atomic(name, content, *mode)?;
            }
            BootStep::Link { path } => {
                let (parent, name) = place(path);
                root.directory_or_create(&parent, 0o755)?.0.create_link(name, LINK)?;
            }
            BootStep::Remove { path } => {
                let (parent, name) = place(path);
                let Some(directory) = root.directory(&parent)? else { continue };
                directory.remove(name)?;
                directory.sync()?;
                // As `systemctl disable` leaves it: a directory of links goes with its last one.
                if parent.as_str().ends_with(".wants") || parent.as_str().ends_with(".requires") {
                    let (above, name) = place(&parent);
                    // It stays if other units have links in it.
                    let _ =
                        root.directory_of(&above).and_then(|above| above.remove_directory(name));
                }
            }
        }
    }
    Ok(())
}

/// What a link says: it stays right in an image that is not mounted as `/`.
const LINK: &str = "../cnister-verify.service";

/// What is on a node of an earlier `enable`.
struct Enabled {
    /// The path of the unit.
    unit: HostPath,
    /// Its text, if it exists.
    text: Option<String>,
    /// What the unit records, if it is unchanged.
    recorded: Option<Recorded>,
    /// The links that lead to it.
    links: Vec<HostPath>,
}

impl Enabled {
    fn look(root: &Root) -> Result<Self, NodeError> {
        let units = host_path(UNITS);
        let unit = host_path(&format!("{UNITS}/{UNIT}"));
        let Some(directory) = root.directory(&units)? else {
            let finding = Finding::refusal(Code::NoSystemd, format!("there is no `{units}`"));
            return Err(finding
                .hint("start `cnister check --at-boot` in the way that this node starts services")
                .into());
        };
        let text = read_unit(&directory, &unit)?;
        let (text, recorded) = text.unzip();
        let mut links = Vec::new();
        for path in possible_links() {
            if is_linked(root, &path, &unit)? {
                links.push(path);
            }
        }
        Ok(Self { unit, text, recorded, links })
    }
}

/// Reads the unit, and what it records; `None` if there is none.
///
/// # Errors
/// Refused if it is not what [`enable`] wrote.
fn read_unit(
    directory: &Directory,
    unit: &HostPath,
) -> Result<Option<(String, Recorded)>, NodeError> {
    let changed = |found: &str| {
        let message = format!("`{unit}` is not what `boot enable` wrote");
        Finding::refusal(Code::BootAltered, message)
            .mismatch("the text with its digest in the last line", found)
            .hint("inspect it, then remove it by hand")
    };
    let bytes = match directory.read(UNIT, UNIT_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(DiskError::NotRegular { kind, .. }) => return Err(changed(&kind.to_string()).into()),
        Err(DiskError::TooLong { .. }) => return Err(changed("a longer text").into()),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8(bytes).map_err(|_| changed("something that is not text"))?;
    let recorded = recorded(&text).ok_or_else(|| changed("another text"))?;
    Ok(Some((text, recorded)))
}

/// Whether there is a link to the unit.
///
/// # Errors
/// Refused if something else has its name.
fn is_linked(root: &Root, path: &HostPath, unit: &HostPath) -> Result<bool, NodeError> {
    let (parent, name) = place(path);
    let Some(directory) = root.directory(&parent)? else { return Ok(false) };
    match directory.link_target(name)? {
        Some(target) if target == LINK || target == unit.as_str() => Ok(true),
        None if directory.kind_of(name)?.is_none() => Ok(false),
        _ => {
            let message = format!("`{path}` is not a link to `{unit}`");
            Err(Finding::refusal(Code::BootAltered, message).hint("remove it by hand").into())
        }
    }
}

/// The links that `systemctl enable` makes for the section `[Install]` of the unit.
fn wanted_links(on_failure: OnFailure) -> Vec<HostPath> {
    let mut links = possible_links();
    if on_failure == OnFailure::Start {
        links.truncate(1);
    }
    links
}

fn possible_links() -> Vec<HostPath> {
    let wanted = format!("{UNITS}/{WANTED_BY}.wants/{UNIT}");
    let required = RUNTIMES.iter().map(|runtime| format!("{UNITS}/{runtime}.requires/{UNIT}"));
    [wanted].into_iter().chain(required).map(|path| host_path(&path)).collect()
}

fn host_path(path: &str) -> HostPath {
    path.parse().expect("a path made of constants is absolute and plain")
}

/// The directory and the name of a path.
fn place(path: &HostPath) -> (HostPath, &str) {
    let name = path.as_str().rsplit_once('/').map_or("", |(_, name)| name);
    (path.parent().unwrap_or_else(|| path.clone()), name)
}

fn write(path: &HostPath, content: &[u8], mode: u32) -> BootStep {
    BootStep::Write { path: path.clone(), content: content.to_vec(), mode }
}

/// What has the name of the program.
enum Tool {
    Absent,
    Program(Digest, u32),
    Other(FileKind),
}

fn look_at_tool(root: &Root, path: &HostPath) -> Result<Tool, NodeError> {
    let (parent, name) = place(path);
    let Some(directory) = root.directory(&parent)? else { return Ok(Tool::Absent) };
    let opened = match directory.open_file(name) {
        Ok(opened) => opened,
        Err(error) if error.is_not_found() => return Ok(Tool::Absent),
        Err(DiskError::NotRegular { kind, .. }) => return Ok(Tool::Other(kind)),
        Err(error) => return Err(error.into()),
    };
    let failed =
        |source| DiskError::Io { action: "read".to_owned(), path: opened.shown.clone(), source };
    let (digest, _) = hash(&mut (&opened.file).take(PROGRAM_LIMIT)).map_err(failed)?;
    Ok(Tool::Program(digest, opened.mode))
}

/// The step that removes the program, if it is the one that was written.
fn remove_tool(root: &Root, old: &Recorded) -> Result<Option<BootStep>, NodeError> {
    let found = match look_at_tool(root, &old.tool)? {
        Tool::Absent => return Ok(None),
        Tool::Program(digest, _) if digest == old.digest => {
            return Ok(Some(BootStep::Remove { path: old.tool.clone() }));
        }
        Tool::Program(digest, _) => digest.to_string(),
        Tool::Other(kind) => kind.to_string(),
    };
    let finding = Finding::refusal(
        Code::BootAltered,
        format!("`{}` is not what `boot enable` wrote", old.tool),
    );
    Err(finding.mismatch(old.digest, found).hint("inspect it, then remove it by hand").into())
}

/// Whether the program can be placed at its path, and executed there.
fn check_place(root: &Root, wanted: &Wanted<'_>) -> Result<(), NodeError> {
    let tool = wanted.tool;
    let no = |message: String| {
        NodeError::from(Finding::refusal(Code::ToolPlace, message).hint(ELSEWHERE))
    };
    let plugins = HostPath::default_bin_directory();
    for bin in wanted.receipt.directories.keys().chain([&plugins]) {
        if bin.holds(tool) {
            return Err(no(format!(
                "`{tool}` is inside the plugin directory `{bin}`, where a runtime calls any file"
            )));
        }
    }
    if wanted.state.holds(tool) || tool.parent().is_none() {
        return Err(no(format!("`{tool}` is not a valid path for a program")));
    }
    let Some(nearest) = tool.parent().and_then(|parent| root.nearest_directory(&parent)) else {
        return Err(no(format!(
            "the path to `{tool}` leads out of the root, or not to a directory"
        )));
    };
    let mount = nearest.file_system()?;
    if mount.read_only
        && !matches!(look_at_tool(root, tool)?, Tool::Program(digest, _) if digest == Digest::of(wanted.program))
    {
        return Err(no(format!("`{tool}` is on a file system that is mounted read-only")));
    }
    if mount.no_execute {
        return Err(no(format!(
            "`{tool}` is on a file system where nothing can be executed (noexec)"
        )));
    }
    Ok(())
}

impl std::fmt::Display for BootStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write { path, content, .. } => {
                write!(f, "write    {path} ({} bytes)", content.len())
            }
            Self::Link { path } => write!(f, "link     {path}"),
            Self::Remove { path } => write!(f, "remove   {path}"),
        }
    }
}

impl From<UnitError> for Finding {
    fn from(error: UnitError) -> Self {
        Finding::refusal(Code::ToolPlace, error.to_string())
    }
}

#[cfg(test)]
mod tests;
