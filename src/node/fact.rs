//! What each fact about a node means: what it means to an installation, to a check of a
//! running node, and to the check that a boot waits for.
//!
//! This table decides whether a node comes up. It is keyed by what was found, not by the finding's
//! code: `digest-drift` refuses a boot for an altered file, and warns for one that an interrupted
//! installation left. Finding the facts is the job of `host` and of `check`.
//!
//! Facts that weigh the same whenever they are seen have no row: that nothing is installed, files
//! that are not of the bundle, what a plugin answers, what another mount namespace shows.

use Moment::{Boot, Install, Running};

use crate::model::{Code, Finding, Severity};

/// Who is waiting for an answer about a node.
///
/// `check` can be asked on the last two only, so that nothing can ask it for an installation's view
/// of a set that the installation does not judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// An installation, before it changes anything.
    Install,
    /// A person, or the watch.
    Running,
    /// The kubelet: only what is altered, missing or denied holds it up.
    Boot,
}

/// Something about a node that is not taken alike at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The policy denies what is installed. A denial is meant to stop nodes, at boot as well.
    Denied,
    /// The evidence of what is installed is missing, or proves something else. No policy ever
    /// accepted that, so something changed it.
    Unsound,
    /// The policy of the installation does not accept what is installed: it was never trusted.
    NeverTrusted,
    /// Another policy than that of the installation does not accept what is installed. Keys are
    /// retired while nodes are switched off; such a node has to come up to be given a new release.
    Retired,
    /// A rule with `mode: warn` admitted what is installed.
    Unproven,
    /// A plugin is gone: pods that need it fail.
    FileMissing,
    /// A plugin's name is taken by something that is not a regular file.
    FileInTheWay,
    /// A plugin cannot be read, so it is unknown what a runtime would execute.
    FileUnreadable,
    /// A plugin has other bytes or another mode, or others may alter it.
    FileAltered,
    /// A plugin is from an interrupted installation that today's policy does not accept. As with
    /// [`Fact::Retired`], a retired key does not keep a node down.
    FileInterrupted,
    /// The receipt lists a plugin that the bundle does not have; no installation writes that.
    FileNotInBundle,
    /// An installation was interrupted. Every file of it is judged by itself, and the next
    /// installation, which finishes it, may come only after the boot.
    Interrupted,
    /// Another release was wanted and refused. The installed one still works.
    WantedRefused,
    /// A runtime calls another file than the installed one. A running node then executes what was
    /// not signed. At boot it only warns, and at an installation: what installed the other file, or
    /// configured the runtime, may change it back only after the boot.
    Shadowed,
    /// The file system of a plugin directory executes nothing. As with [`Fact::Shadowed`], it may
    /// be mounted again later.
    NotExecutable,
    /// The same of a directory that an installation writes to: it would install what cannot run.
    WrittenNotExecutable,
    /// Others may change what runtimes execute, or what this program decides by: a plugin
    /// directory, the policy, a key, the unit of the boot, or a directory on the way. It is not
    /// known whether they did, so a boot is not held up.
    OthersMayWrite,
    /// The check at boot pins something else than what is installed, so the next boot would be
    /// held up. Told in time, before that boot.
    BootOutdated,
    /// The unit of the boot, a link to it or its program is altered or gone, or a drop-in changes
    /// what the boot executes, or whether. It may be intended, so it is only a warning.
    BootAltered,
    /// A configuration in a usual directory lacks a plugin. At boot it holds up the pods that use
    /// the network, not the node.
    UsualNetworkUnmet,
    /// A configuration that the owner named lacks a plugin: that was the question.
    NamedNetworkUnmet,
}

const NO: Option<Severity> = Some(Severity::Refusal);
const WARN: Option<Severity> = Some(Severity::Warning);
/// Does not occur, or is not said, at this moment.
const NEVER: Option<Severity> = None;

/// What a fact means at a moment; `None` if it is not said then.
///
/// An installation does not judge what is installed: it is about to replace it, and every file that
/// it keeps is compared with the signed one.
pub(crate) fn severity(fact: Fact, moment: impl Into<Moment>) -> Option<Severity> {
    let (install, running, boot) = match fact {
        Fact::Denied => (NEVER, NO, NO),
        Fact::Unsound => (NEVER, NO, NO),
        Fact::NeverTrusted => (NEVER, NO, NO),
        Fact::Retired => (NEVER, NO, WARN),
        Fact::Unproven => (NEVER, WARN, WARN),
        Fact::FileMissing => (NEVER, NO, NO),
        Fact::FileInTheWay => (NEVER, NO, NO),
        Fact::FileUnreadable => (NEVER, NO, NO),
        Fact::FileAltered => (NEVER, NO, NO),
        Fact::FileInterrupted => (NEVER, NO, WARN),
        Fact::FileNotInBundle => (NEVER, NO, NO),
        Fact::Interrupted => (NEVER, NO, WARN),
        Fact::WantedRefused => (NEVER, NO, WARN),
        Fact::Shadowed => (WARN, NO, WARN),
        Fact::NotExecutable => (WARN, NO, WARN),
        Fact::WrittenNotExecutable => (NO, NEVER, NEVER),
        Fact::OthersMayWrite => (WARN, NO, WARN),
        Fact::BootOutdated => (WARN, WARN, NEVER),
        Fact::BootAltered => (WARN, WARN, WARN),
        Fact::UsualNetworkUnmet => (NEVER, NO, WARN),
        Fact::NamedNetworkUnmet => (NEVER, NO, NO),
    };
    match moment.into() {
        Install => install,
        Running => running,
        Boot => boot,
    }
}

impl Fact {
    /// The finding for this fact, if it is said at this moment.
    pub(crate) fn finding(
        self,
        moment: impl Into<Moment>,
        code: Code,
        message: impl Into<String>,
    ) -> Option<Finding> {
        severity(self, moment).map(|severity| Finding::new(code, severity, message))
    }

    /// A finding about this fact with the severity that it has at this moment.
    pub(crate) fn weigh(self, moment: impl Into<Moment>, finding: Finding) -> Option<Finding> {
        severity(self, moment).map(|severity| Finding { severity, ..finding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said at each moment, written down a second time and in another order: by what stops
    /// what.
    #[test]
    fn only_what_is_listed_here_stops_an_installation_a_check_or_a_boot() {
        use Fact::*;
        let all = [
            Denied,
            Unsound,
            NeverTrusted,
            Retired,
            Unproven,
            FileMissing,
            FileInTheWay,
            FileUnreadable,
            FileAltered,
            FileInterrupted,
            FileNotInBundle,
            Interrupted,
            WantedRefused,
            Shadowed,
            NotExecutable,
            WrittenNotExecutable,
            OthersMayWrite,
            BootOutdated,
            BootAltered,
            UsualNetworkUnmet,
            NamedNetworkUnmet,
        ];
        assert_eq!(all.len(), NamedNetworkUnmet as usize + 1, "a fact has no place in this test");
        let with = |moment: Moment, wanted: Option<Severity>| -> Vec<Fact> {
            all.into_iter().filter(|fact| severity(*fact, moment) == wanted).collect()
        };
        assert_eq!(with(Install, NO), [WrittenNotExecutable]);
        assert_eq!(
            with(Install, WARN),
            [Shadowed, NotExecutable, OthersMayWrite, BootOutdated, BootAltered]
        );
        assert_eq!(with(Running, WARN), [Unproven, BootOutdated, BootAltered]);
        assert_eq!(with(Running, NEVER), [WrittenNotExecutable]);
        assert_eq!(
            with(Boot, NO),
            [
                Denied,
                Unsound,
                NeverTrusted,
                FileMissing,
                FileInTheWay,
                FileUnreadable,
                FileAltered,
                FileNotInBundle,
                NamedNetworkUnmet
            ]
        );
        assert_eq!(with(Boot, NEVER), [WrittenNotExecutable, BootOutdated]);
        // Whatever a boot refuses, a running node refuses as well.
        for fact in with(Boot, NO) {
            assert_eq!(severity(fact, Running), NO, "{fact:?}");
        }
    }
}
