//! Checking a node: every installed file against what was signed, and what was signed against the
//! current policy.
//!
//! The receipt says where files were installed. What they must contain is decided by evidence,
//! which is verified again, so a forged receipt cannot make other content pass. Nothing is changed
//! here; configurations are read in `requirements`, and files that are not the bundle's are judged
//! in `others`.

use std::collections::BTreeMap;
use std::path::Path;

use super::others::{exposed, judge_others, judge_unlisted, of_earlier, unlisted};
use super::probe::{ProbeResult, Prober};
use super::report::{FileState, Installed, Occasion, PluginReport, Report};
use crate::model::{BundleName, Code, Digest, Finding, HostPath, PluginName, and_others, visible};
use crate::node::boot::{self, outdated};
use crate::node::{
    Claim, Earlier, EarlierBundles, Fact, Floors, Found, Installation, InstalledDirectory,
    InstalledFile, Journal, JournalEntry, NodeError, PLUGIN_MODE, PlacedPlugin, PlacedPlugins,
    Receipt, Refusal, Root, Sizes, State, look_around, observe_directory, severity,
    without_receipt,
};
use crate::trust::{Bundle, Rejection, RejectionKind, Strength, Verified};

/// A question about a node, with everything that its answer depends on.
#[derive(Debug)]
pub struct Question<'a> {
    /// The state directory, and the policy that judges it.
    pub installation: Installation<'a>,
    /// The bundle that must be installed; `None` if any may be.
    pub bundle: Option<&'a BundleName>,
    /// Where installations leave the policy.
    pub policy_directory: &'a HostPath,
    /// Plugin directories that must be among those installed.
    pub directories: &'a [HostPath],
    /// What the answer is for.
    pub occasion: Occasion,
    /// Asks proven plugins for their versions; if `None`, no plugin is executed.
    pub prober: Option<&'a Prober>,
}

/// Checks a node. It changes nothing.
pub fn check(root: &Root, question: &Question<'_>) -> Result<Report, NodeError> {
    // A state that others may write, or that is damaged, is an answer.
    look(root, question).or_else(|error| error.into_findings().map(Report::no))
}

fn look(root: &Root, question: &Question<'_>) -> Result<Report, NodeError> {
    let Installation { state, patience, verifier } = question.installation;
    let Some(state) = State::open(root, state)? else {
        let finding = without_receipt(root, None, question.policy_directory)?;
        return Ok(Report::no(vec![finding]));
    };
    let reading = state.read(patience)?;
    let (journal, refusal) = (reading.journal()?, reading.refusal()?);
    let floors = reading.floors()?;
    let Some(receipt) = reading.receipt()? else {
        let mut findings = vec![without_receipt(root, Some(&reading), question.policy_directory)?];
        findings.extend(pending(journal.as_ref(), refusal.as_ref(), question.occasion));
        return Ok(Report { refused: codes(refusal.as_ref()), ..Report::no(findings) });
    };
    let verdict = Claim::of(&receipt).verdict(&reading, &verifier)?;
    let unfinished = match &journal {
        Some(journal) => Claim::of_journal(journal).verdict(&reading, &verifier)?.ok(),
        None => None,
    };
    let memory = Memory {
        receipt: &receipt,
        policy_is_the_same: receipt.policy == verifier.policy.digest(),
        journal: journal.as_ref(),
        unfinished: unfinished.as_ref(),
        refusal: refusal.as_ref(),
        floors: floors.as_ref(),
        earlier: &reading.earlier(&receipt, &verifier)?,
    };
    let mut report =
        examine(root, &memory, &verdict, question.directories, question.occasion, question.prober)?;
    report.interrupted = journal.as_ref().map(|journal| journal.index);
    report.findings.extend(around(root, question, &receipt, verdict.as_ref().ok()));
    report.findings.extend(boot::exposed(root, question.occasion.into()));
    if severity(Fact::BootOutdated, question.occasion).is_some() {
        let outdated = outdated(root, &receipt);
        report.findings.extend(
            outdated.and_then(|finding| Fact::BootOutdated.weigh(question.occasion, finding)),
        );
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let other = question
        .bundle
        .and_then(|expected| other_bundle(expected, &receipt, verdict.as_ref().ok()));
    report.findings.splice(0..0, other);
    Ok(report)
}

/// Compares the installed bundle with the expected one. If its evidence is no longer trusted, only
/// the receipt says its name.
fn other_bundle(
    expected: &BundleName,
    receipt: &Receipt,
    verified: Option<&Verified<Bundle>>,
) -> Option<Finding> {
    let found =
        verified.map(|verified| &verified.value().files.name).into_iter().chain([&receipt.bundle]);
    let other = found.into_iter().find(|name| *name != expected)?;
    let finding =
        Finding::refusal(Code::OtherBundle, "the installed bundle is not the expected one");
    Some(finding.mismatch(expected, other))
}

/// What is around the installed files.
fn around(
    root: &Root,
    question: &Question<'_>,
    receipt: &Receipt,
    verified: Option<&Verified<Bundle>>,
) -> Vec<Finding> {
    let mut installed = PlacedPlugins::new();
    for (path, directory) in &receipt.directories {
        let placed = |name, file: &InstalledFile| {
            let (digest, size) = signed(name, file, verified);
            PlacedPlugin { digest, size }
        };
        let files = directory.files.iter().map(|(name, file)| (name.clone(), placed(name, file)));
        installed.insert(path.clone(), files.collect());
    }
    look_around(root, question.installation.state, &installed, question.occasion.into())
}

/// The digest and the size that a file has to have: those of the bundle, or of the receipt if no
/// bundle is trusted.
fn signed(
    name: &PluginName,
    recorded: &InstalledFile,
    verified: Option<&Verified<Bundle>>,
) -> (Digest, u64) {
    let plugin = verified.and_then(|verified| verified.value().files.plugin(name));
    plugin.map_or((recorded.digest, recorded.size), |plugin| (plugin.digest, plugin.size))
}

/// The sizes for which a file is read: those of the bundle, the receipt and the journal. So a check
/// reads no more bytes than these say, whatever is in the directory.
fn sizes(
    directory: &InstalledDirectory,
    entries: &[JournalEntry],
    verified: Option<&Verified<Bundle>>,
) -> BTreeMap<PluginName, Sizes> {
    let mut names = BTreeMap::<PluginName, Sizes>::new();
    for (name, file) in &directory.files {
        let sizes = names.entry(name.clone()).or_default();
        sizes.add(signed(name, file, verified).1);
        let journaled = entries.iter().filter(|entry| entry.name == *name);
        journaled.for_each(|entry| sizes.add(entry.size));
    }
    for (name, file) in &directory.leftovers {
        names.entry(name.clone()).or_default().add(file.size);
    }
    for name in &directory.kept {
        names.entry(name.clone()).or_default();
    }
    for plugin in unlisted(directory, verified) {
        names.entry(plugin.name.clone()).or_default().add(plugin.size);
    }
    names
}

/// What the state directory of a node says.
struct Memory<'a> {
    receipt: &'a Receipt,
    /// Whether the current policy is the one of the installation.
    policy_is_the_same: bool,
    journal: Option<&'a Journal>,
    /// The bundle of the journal, if the current policy accepts it.
    unfinished: Option<&'a Verified<Bundle>>,
    refusal: Option<&'a Refusal>,
    floors: Option<&'a Floors>,
    /// What proves plugins of earlier bundles.
    earlier: &'a EarlierBundles,
}

/// Compares every installed file with what was signed.
fn examine(
    root: &Root,
    memory: &Memory<'_>,
    verdict: &Result<Verified<Bundle>, Rejection>,
    directories: &[HostPath],
    occasion: Occasion,
    prober: Option<&Prober>,
) -> Result<Report, NodeError> {
    let receipt = memory.receipt;
    let mut findings = trust_findings(verdict, memory.policy_is_the_same, occasion);
    findings.extend(
        verdict
            .as_ref()
            .ok()
            .and_then(|verified| Floors::against_installed(memory.floors, verified)),
    );
    findings.extend(pending(memory.journal, memory.refusal, occasion));
    findings.extend(receipt.foreign());
    findings.extend(memory.earlier.unknown.iter().cloned());
    for path in directories.iter().filter(|path| !receipt.directories.contains_key(*path)) {
        findings.push(Finding::refusal(
            Code::NotInstalled,
            format!("nothing was installed in `{path}`"),
        ));
    }
    let mut plugins = Vec::new();
    for (path, directory) in &receipt.directories {
        let unlisted = unlisted(directory, verdict.as_ref().ok());
        let journal = memory.journal.into_iter();
        let entries: Vec<_> =
            journal.flat_map(|journal| journal.entries_of(path)).cloned().collect();
        let names = sizes(directory, &entries, verdict.as_ref().ok());
        let observed = match observe_directory(root, path, names) {
            Ok(observed) => observed,
            Err(error) => {
                let (state, told) = not_observed(path, error, occasion)?;
                plugins.extend(directory.files.keys().map(|name| report(path, name, state)));
                findings.extend(told);
                continue;
            }
        };
        for (name, file) in &directory.files {
            let judged = judge(
                path,
                name,
                file,
                observed.found(name),
                verdict.as_ref().ok(),
                memory,
                occasion,
            );
            plugins.push(report(path, name, judged.0));
            findings.extend(judged.1);
        }
        for (name, file) in &directory.leftovers {
            let Some(bundle) = Earlier::of(&memory.earlier.proven, path, name) else { continue };
            let found = observed.found(name);
            let judged = judge(path, name, file, found, Some(bundle), memory, occasion);
            let (state, finding) = of_earlier(path, name, judged);
            plugins.push(report(path, name, state));
            findings.extend(finding);
        }
        let others = judge_others(directory, &observed, verdict.as_ref().ok(), memory.earlier);
        for (name, state, finding) in others {
            plugins.extend(state.map(|state| report(path, name, state)));
            findings.push(finding);
        }
        for (name, finding) in judge_unlisted(&unlisted, &observed) {
            plugins.push(report(path, name, FileState::Kept));
            findings.push(finding);
        }
    }
    if receipt.directories.values().all(InstalledDirectory::is_empty) {
        let message = "the receipt lists no plugins, but every installation has at least one";
        findings.push(Finding::refusal(Code::NotInstalled, message).hint("install it again"));
    }
    if let (Some(prober), Ok(verified)) = (prober, verdict) {
        findings.extend(ask_all(root, prober, verified, &mut plugins)?);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let proof = verdict.as_ref().ok().map(Verified::proof);
    let installed = Installed {
        bundle: receipt.bundle.clone(),
        version: receipt.version.clone(),
        index: receipt.index,
        strength: proof.map(|proof| proof.strength),
        rule: proof.map(|proof| visible(&proof.rule).into_owned()),
    };
    let refused = codes(memory.refusal);
    Ok(Report { installed: Some(installed), plugins, findings, refused, ..Report::default() })
}

/// Judges a plugin directory that cannot be read: something else has its name, or reading it
/// failed. Other directories are judged as usual.
fn not_observed(
    path: &HostPath,
    error: NodeError,
    occasion: Occasion,
) -> Result<(FileState, Vec<Finding>), NodeError> {
    let findings = match error {
        NodeError::Disk(error) if error.finding().is_none() => {
            let Some(reason) = error.of_one_file() else { return Err(error.into()) };
            let message = format!("`{path}` cannot be read: {reason}");
            let finding = Fact::FileUnreadable.finding(occasion, Code::Unreadable, message);
            let hint = "find out why it cannot be read, then check again";
            let finding = finding.map(|finding| finding.hint(hint));
            return Ok((FileState::Unreadable, finding.into_iter().collect()));
        }
        error => error.into_findings()?,
    };
    let weigh = |finding| Fact::FileInTheWay.weigh(occasion, finding);
    Ok((FileState::InTheWay, findings.into_iter().filter_map(weigh).collect()))
}

fn codes(refusal: Option<&Refusal>) -> Vec<String> {
    refusal
        .iter()
        .flat_map(|refusal| &refusal.reasons)
        .map(|reason| visible(&reason.code).into_owned())
        .collect()
}

fn report(directory: &HostPath, name: &PluginName, state: FileState) -> PluginReport {
    PluginReport { directory: directory.clone(), name: name.clone(), state, versions: None }
}

/// What the current policy says about the installed bundle.
fn trust_findings(
    verdict: &Result<Verified<Bundle>, Rejection>,
    policy_is_the_same: bool,
    occasion: Occasion,
) -> Vec<Finding> {
    let rejection = match verdict {
        Ok(verified) => {
            let rule = visible(&verified.proof().rule);
            let message = format!("no file is proven: rule `{rule}` only warns");
            let unproven = (verified.proof().strength == Strength::Admitted)
                .then(|| Fact::Unproven.finding(occasion, Code::Unproven, message))
                .flatten();
            return unproven.into_iter().chain(verified.warnings().iter().cloned()).collect();
        }
        Err(rejection) => rejection,
    };
    let fact = match (rejection.kind, policy_is_the_same) {
        (RejectionKind::Denied, _) => Fact::Denied,
        (RejectionKind::Unsound, _) => Fact::Unsound,
        (RejectionKind::Untrusted, true) => Fact::NeverTrusted,
        (RejectionKind::Untrusted, false) => Fact::Retired,
    };
    let summary = match policy_is_the_same {
        true => {
            "the policy does not accept the evidence of the installed bundle, although it is the policy of the installation"
        }
        false => "the policy no longer accepts the evidence of the installed bundle",
    };
    let findings = [Finding::refusal(Code::NoLongerTrusted, summary)];
    let findings = findings.into_iter().chain(rejection.findings.iter().cloned());
    findings.filter_map(|finding| fact.weigh(occasion, finding)).collect()
}

/// What only the next installation can resolve.
fn pending(
    journal: Option<&Journal>,
    refusal: Option<&Refusal>,
    occasion: Occasion,
) -> Vec<Finding> {
    let interrupted = journal.and_then(|journal| {
        let message = format!("the installation of {} was interrupted", journal.index);
        let finding = Fact::Interrupted.finding(occasion, Code::InterruptedInstall, message)?;
        Some(finding.hint("run the same install again"))
    });
    let refused = refusal.and_then(|refusal| {
        let reasons = codes(Some(refusal)).join(", ");
        let message =
            format!("the wanted release `{}` was refused ({reasons})", visible(&refusal.wanted));
        Fact::WantedRefused.finding(occasion, Code::WantedNotInstalled, message)
    });
    interrupted.into_iter().chain(refused).collect()
}

/// What its owner can do about a plugin that the node has a copy of.
const RESTORE: &str = "restore it: run `cnister check --repair`, or the same install again";

/// Judges one file of the bundle.
fn judge(
    path: &HostPath,
    name: &PluginName,
    recorded: &InstalledFile,
    found: Found,
    verified: Option<&Verified<Bundle>>,
    memory: &Memory<'_>,
    occasion: Occasion,
) -> (FileState, Option<Finding>) {
    let plugin = verified.and_then(|verified| verified.value().files.plugin(name));
    let (expected, size) = signed(name, recorded, verified);
    let altered = || match recorded.owner.is_ours() {
        true => format!("`{path}/{name}` was altered"),
        false => format!("`{path}/{name}` was changed by its own installer"),
    };
    let (digest, mode) = match &found {
        Found::Absent => {
            let message = format!("`{path}/{name}` is gone");
            let finding = Fact::FileMissing.finding(occasion, Code::PluginMissing, message);
            return (FileState::Missing, finding.map(|finding| finding.hint("install it again")));
        }
        Found::Other(obstacle) => {
            let message = format!("`{path}/{name}` is {obstacle}");
            let finding = Fact::FileInTheWay.finding(occasion, Code::InTheWay, message);
            let hint = match recorded.owner.is_ours() && obstacle.gives_way() {
                true => RESTORE,
                false => "move it away, then install again",
            };
            let tell = |finding: Finding| finding.mismatch("a regular file", obstacle).hint(hint);
            return (FileState::InTheWay, finding.map(tell));
        }
        Found::Unreadable(reason) => {
            let message = format!("`{path}/{name}` cannot be read: {reason}");
            let finding = Fact::FileUnreadable.finding(occasion, Code::Unreadable, message);
            let hint = match recorded.owner.is_ours() {
                true => RESTORE,
                false => "find out why it cannot be read, then check again",
            };
            return (FileState::Unreadable, finding.map(|finding| finding.hint(hint)));
        }
        Found::OtherSize(found) => {
            let finding = Fact::FileAltered.finding(occasion, Code::DigestDrift, altered());
            let tell = |finding: Finding| {
                finding.mismatch(format_args!("{size} bytes"), format_args!("{found} bytes"))
            };
            return (FileState::Altered, finding.map(tell));
        }
        Found::Regular { digest, mode, .. } => (*digest, *mode),
    };
    let exposed = |hint: &str| {
        let finding = exposed(path, name, &found, hint);
        finding.and_then(|finding| Fact::FileAltered.weigh(occasion, finding))
    };
    if digest != expected {
        let mut entries = memory.journal.into_iter().flat_map(|journal| journal.entries_of(path));
        if entries.any(|entry| entry.name == *name && entry.digest == digest) {
            let plugin = memory.unfinished.and_then(|bundle| bundle.value().files.plugin(name));
            if plugin.is_some_and(|plugin| plugin.digest == digest) {
                let exposed = exposed("run the same install again");
                return (
                    exposed.as_ref().map_or(FileState::Interrupted, |_| FileState::Altered),
                    exposed,
                );
            }
            let message = format!(
                "`{path}/{name}` is from an interrupted installation that the current policy does not accept"
            );
            let finding = Fact::FileInterrupted.finding(occasion, Code::DigestDrift, message);
            return (
                FileState::Unverified,
                finding.map(|finding| {
                    finding.mismatch(expected, digest).hint("run the same install again")
                }),
            );
        }
        let finding = Fact::FileAltered.finding(occasion, Code::DigestDrift, altered());
        return (FileState::Altered, finding.map(|finding| finding.mismatch(expected, digest)));
    }
    let hint = match recorded.owner.is_ours() {
        true => RESTORE.to_owned(),
        false => format!("replace it (a copy is kept): install with --foreign adopt={name}"),
    };
    if let Some(finding) = exposed(&hint) {
        return (FileState::Altered, Some(finding));
    }
    // Another installer's file may have any mode that can be executed.
    if (recorded.owner.is_ours() && mode != PLUGIN_MODE) || mode & 0o111 == 0 {
        let message = format!("`{path}/{name}` has a different mode");
        let finding = Fact::FileAltered.finding(occasion, Code::DigestDrift, message);
        return (
            FileState::Altered,
            finding.map(|finding| finding.mismatch("mode 0755", format_args!("mode {mode:04o}"))),
        );
    }
    match (verified, plugin) {
        (Some(verified), Some(_)) if verified.proof().strength == Strength::Proven => {
            (FileState::Proven, None)
        }
        (Some(_), Some(_)) => (FileState::Unproven, None),
        (None, _) => (FileState::Unverified, None),
        (Some(_), None) => {
            let message = format!(
                "the receipt lists `{path}/{name}` as a plugin of the bundle, which does not contain it"
            );
            let finding = Fact::FileNotInBundle.finding(occasion, Code::Mixed, message);
            (FileState::Mixed, finding.map(|finding| finding.hint("install it again")))
        }
    }
}

/// Asks every proven plugin for its versions. The prober remembers answers, so the same bytes are
/// executed once.
fn ask_all(
    root: &Root,
    prober: &Prober,
    verified: &Verified<Bundle>,
    plugins: &mut [PluginReport],
) -> Result<Vec<Finding>, NodeError> {
    let mut findings = Vec::new();
    let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for report in plugins.iter_mut().filter(|report| report.state == FileState::Proven) {
        let Some(file) = verified.value().files.plugin(&report.name) else { continue };
        if let Some(versions) = prober.answer(&file.digest) {
            report.versions = Some(versions);
            continue;
        }
        let path =
            Path::new(report.directory.as_str()).join(report.name.as_str()).display().to_string();
        let Some(directory) = root.directory(&report.directory)? else { continue };
        let mut opened = match directory.open_file(report.name.as_str()) {
            Ok(opened) => opened,
            Err(error) => {
                // It could be read a moment ago.
                let Some(reason) = error.of_one_file() else { return Err(error.into()) };
                report.state = FileState::Unreadable;
                let message = format!("`{path}` cannot be read: {reason}");
                findings.push(Finding::refusal(Code::Unreadable, message).hint(RESTORE));
                continue;
            }
        };
        match prober.ask(file, &format!("`{}`", report.directory), &mut opened.file)? {
            ProbeResult::Answer(versions) => {
                prober.remember(file.digest, versions.clone());
                report.versions = Some(versions);
            }
            ProbeResult::Failed(reason) => {
                findings.push(Finding::refusal(Code::ProbeFailed, format!("`{path}` {reason}")));
            }
            ProbeResult::Skipped(reason) => skipped.entry(reason).or_default().push(path),
            ProbeResult::Altered(finding) => {
                report.state = FileState::Altered;
                findings.push(Finding { code: Code::DigestDrift, ..finding });
            }
        }
    }
    prober.retain(&verified.value().files.plugins.iter().map(|file| file.digest).collect());
    findings.extend(skipped.into_iter().map(|(reason, paths)| {
        let message = match paths.as_slice() {
            [path] => format!("`{path}` {reason}"),
            [first, others @ ..] => format!("`{first}`{}: each {reason}", and_others(others.len())),
            [] => reason,
        };
        Finding::note(Code::ProbeSkipped, message)
    }));
    Ok(findings)
}

#[cfg(test)]
mod tests;
