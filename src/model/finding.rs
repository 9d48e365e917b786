//! Findings: what is wrong with an image or a node, each with a code that scripts may rely on.

use std::fmt;

use serde::{Serialize, Serializer};

use super::visible;

/// One thing that was found, with both sides of a mismatch if there are two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind of finding.
    pub code: Code,
    /// Whether it makes the answer a no.
    pub severity: Severity,
    /// What it is about, and what is wrong: one sentence, lower case, no full stop.
    pub message: String,
    /// The side of the mismatch that was expected, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What the reader can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether a finding makes the answer a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; changes nothing.
    Note,
    /// Worth acting on; changes nothing.
    Warning,
    /// The answer is no.
    Refusal,
}

impl Severity {
    /// The word that a line of a report begins with.
    pub fn label(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Refusal => "no",
        }
    }
}

impl Finding {
    /// A refusal; `message` names the object.
    pub fn refusal(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Refusal, message)
    }

    /// A warning; `message` names the object.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    /// A note; `message` names the object.
    pub fn note(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Note, message)
    }

    /// A finding of this severity; `message` names the object.
    pub fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Self { code, severity, message: message.into(), expected: None, found: None, hint: None }
    }

    /// Adds both sides of a mismatch.
    #[must_use]
    pub fn mismatch(mut self, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self.found = Some(found.to_string());
        self
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same finding as a warning.
    #[must_use]
    pub fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The same as a refusal.
    #[must_use]
    pub fn into_refusal(self) -> Self {
        Self { severity: Severity::Refusal, ..self }
    }

    /// Whether it makes the answer a no.
    pub fn is_refusal(&self) -> bool {
        self.severity == Severity::Refusal
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line feed in foreign text could forge a line of output.
        write!(f, "{}: {}", self.code, visible(&self.message))?;
        if let Some(expected) = &self.expected {
            write!(f, "\n  expected: {}", visible(expected))?;
        }
        if let Some(found) = &self.found {
            write!(f, "\n  found:    {}", visible(found))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", visible(hint))?;
        }
        Ok(())
    }
}

macro_rules! codes {
    ($($variant:ident $code:literal $meaning:literal)*) => {
        /// The kind of a finding. Its text is a promise: codes are added, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code in kebab case, as in JSON and docs/findings.md.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// One sentence, as in docs/findings.md.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    NoRuleMatches "no-rule-matches" "No rule of the policy matches the image; an unmatched image is refused."
    DeniedByRule "denied-by-rule" "The policy denies the image, by a rule or by its list of denied digests."
    NoSignature "no-signature" "Neither the index nor the platform's manifest is signed, or a required attestation is missing."
    SignerNotAllowed "signer-not-allowed" "A signature was made with a key that the rule does not list."
    OtherSubject "other-subject" "A signature is valid, but for another digest."
    NotASignature "not-a-signature" "An attestation, such as an SBOM, was found where a signature is required."
    MalformedSignature "malformed-signature" "A signature document cannot be parsed or has an unsupported format."
    ManifestNotSigned "manifest-not-signed" "Only another platform's manifest is signed, not the index or this platform's manifest."
    IndexNotSigned "index-not-signed" "The policy denies digests, and only the platform's manifest is signed: an unsigned index could re-list a denied release."
    NotABundle "not-a-bundle" "The image is not a cnister bundle."
    NotTheManifest "not-the-manifest" "A document is both an index and a manifest, or is not what its media type says."
    NestedIndex "nested-index" "The index lists another index."
    DuplicatePlatform "duplicate-platform" "The index lists two manifests for one platform."
    PlatformMissing "platform-missing" "The index has no manifest for the platform."
    PlatformMismatch "platform-mismatch" "Index, config, bundle.json, plugin file and node do not agree on the platform."
    WrongLayers "wrong-layers" "The manifest does not have exactly two supported layers: the plugin layer and the tool layer."
    DiffIdMismatch "diff-id-mismatch" "The plugin layer is not the one that bundle.json describes."
    BrokenChain "broken-chain" "A document between the index and bundle.json is missing, altered or unreadable."
    BundleNotAllowed "bundle-not-allowed" "The rule does not accept a bundle of this name."
    PluginNotAllowed "plugin-not-allowed" "The rule does not accept a bundle with a plugin of this name."
    VersionBelowFloor "version-below-floor" "The bundle is older than the rule's minVersion, or is a downgrade that the rule forbids."
    SignatureTooOld "signature-too-old" "The most recent signature by an allowed key is older than the rule's maxAge."
    SignatureTimeUnknown "signature-time-unknown" "The rule has a maxAge, and no signature by an allowed key says when it was made."
    ClockSuspect "clock-suspect" "The rule has a maxAge, and this machine's clock cannot be right, so no age can be determined."
    OtherRelease "other-release" "The image is not the release pinned with --expect."
    OtherBundle "other-bundle" "The bundle that is installed, or whose installation was interrupted, has a different name than the one to be installed, or than --expect-bundle requires."
    OtherOrigin "other-origin" "The bundle of this name that is installed, or whose installation was interrupted, is from another repository."
    PolicyDigest "policy-digest" "The policy is not the one pinned with --policy-sha256, or reads key files, which a pin does not cover."
    NoEvidence "no-evidence" "The evidence for a bundle is missing, unreadable or for another bundle."
    Unproven "unproven" "The bundle was admitted by a rule with `mode: warn`; nothing was proven."
    ExtraEntry "extra-entry" "The staged directory or the plugin layer contains something that bundle.json does not list."
    MissingEntry "missing-entry" "The staged directory or the plugin layer lacks a file that bundle.json lists."
    NotAPlainFile "not-a-plain-file" "A staged file or a layer entry is not a regular file, or has a second name."
    FileAltered "file-altered" "A file to be installed is not the one that bundle.json lists."
    ForeignFile "foreign-file" "Another installer's file has the name of a wanted plugin, and its content, owner or mode is not what is wanted."
    InTheWay "in-the-way" "Something else is in the place of a wanted plugin, of a directory or of a file that is needed, or two of the directories are the same."
    PathEscapes "path-escapes" "A symbolic link in a path leads out of --root."
    StateNotPrivate "state-not-private" "Other users can write the state directory or a file in it."
    StateDamaged "state-damaged" "Something in the state directory is not of the right kind or cannot be parsed."
    NotInstalled "not-installed" "Nothing is installed here, or the record of it was deleted."
    RecordsLost "records-lost" "A bundle was installed here, but its records are gone."
    Unreadable "unreadable" "A plugin, a record, or what is to be installed, cannot be read, so its content is unknown."
    DigestDrift "digest-drift" "The content, mode or capabilities of an installed plugin were changed, or other users can change it."
    PluginMissing "plugin-missing" "An installed plugin is missing."
    NoLongerTrusted "no-longer-trusted" "The policy does not accept, or no longer accepts, the evidence of the installed bundle."
    ProbeFailed "probe-failed" "A proven plugin does not answer the CNI command VERSION."
    ProbeSkipped "probe-skipped" "A proven plugin could not be asked for its VERSION here."
    ForeignKept "foreign-kept" "Another installer's file with the name of a wanted plugin was left as it is."
    ForeignUnproven "foreign-unproven" "Wanted plugins are files of another installer, so nothing proves them."
    InterruptedInstall "interrupted-install" "An installation was interrupted; the next install finishes it."
    WantedNotInstalled "wanted-not-installed" "The wanted bundle was refused; the proven one that was installed before was kept."
    NotConfined "not-confined" "The process could not confine itself, because Landlock is missing or too old in this kernel."
    Mixed "mixed" "A plugin on the node belongs to a different bundle than the installed one."
    NoCopy "no-copy" "The node has no copy of a file, so the file cannot be restored without the bundle."
    NotRepaired "not-repaired" "The node was not repaired because something else failed."
    RepairPaused "repair-paused" "A plugin was altered again after every repair, so its repairs are paused for some time."
    NoGeneration "no-generation" "The node does not keep the generation to roll back to."
    RolledBack "rolled-back" "The release was rolled back on this node; it is not installed again unless requested."
    FloorMissing "floor-missing" "The rule forbids downgrades, and the record of the newest version that the node had is missing."
    InUse "in-use" "A plugin is still needed to delete pods."
    OriginalLost "original-lost" "The copy of a replaced file of another installer is missing or altered."
    PluginNeeded "plugin-needed" "A CNI configuration needs a plugin that is not on the node."
    PluginUnusable "plugin-unusable" "A CNI configuration needs a plugin that exists but that no runtime can execute."
    IncompatibleVersion "incompatible-version" "A CNI configuration calls a plugin with a CNI version that the plugin does not support."
    NotAPluginName "not-a-plugin-name" "A CNI configuration has a plugin type that is not a valid file name."
    ConfigUnreadable "config-unreadable" "A CNI configuration or a NetworkAttachmentDefinition cannot be read or parsed."
    RepeatedKey "repeated-key" "A CNI configuration has a key twice; the last value counts, as for runtimes."
    ConfigMissing "config-missing" "A NetworkAttachmentDefinition refers to a CNI configuration that the node does not have."
    ViewDiffers "view-differs" "Another mount namespace does not show the plugins that the node has."
    AttachmentUnknown "attachment-unknown" "A runtime's record of an attachment cannot be seen, or does not say which plugins the attachment needs."
    AttachmentStale "attachment-stale" "A record belongs to an attachment whose pod is gone, and is ignored."
    RuntimeConfigUnreadable "runtime-config-unreadable" "A container runtime's configuration cannot be read or parsed."
    RuntimeLooksElsewhere "runtime-looks-elsewhere" "No container runtime of the node searches the directory in which plugins are installed."
    Shadowed "shadowed" "A container runtime finds another file with a plugin's name before the installed one."
    ReadOnly "read-only" "A directory that has to be written is on a read-only file system."
    NotExecutable "not-executable" "The plugin directory is on a file system that is mounted noexec."
    NoSpace "no-space" "A file system does not have enough space for what would be written."
    NotPermitted "not-permitted" "This process is not allowed to write to a directory, or a file is immutable."
    WritableByOthers "writable-by-others" "Other users can change a plugin directory, the policy, a key, the unit of the boot check, or a directory that leads to one of them."
    LinkedDirectory "linked-directory" "A directory is reached through a symbolic link."
    InterpreterMissing "interpreter-missing" "The interpreter of a dynamically linked plugin is not on the node."
    SetuidDropped "setuid-dropped" "An adopted file had set-user-ID or set-group-ID bits or capabilities, which the plugin that replaces it does not get."
    OtherLabel "other-label" "An installed plugin's SELinux label differs from the label of its directory."
    ToolNotStatic "tool-not-static" "This program is dynamically linked, so it cannot be the one that runs at boot."
    ToolPlace "tool-place" "The program or a directory of the boot check cannot be placed where it is needed: read-only, noexec, taken, or hidden from the unit."
    BootAltered "boot-altered" "The unit of the boot check, its program or a link to it is not what `boot enable` wrote, or a drop-in changes what the unit does, or cannot be read."
    BootOutdated "boot-outdated" "The boot check was enabled for something other than what is installed now, so it would fail at the next boot."
    NoSystemd "no-systemd" "The node has no directory for systemd units."
    NotInBundle "not-in-bundle" "A plugin was requested by name, and the bundle does not contain it."
    NothingWanted "nothing-wanted" "Every plugin of the bundle is excluded, so nothing would be installed that could be checked."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} twice");
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{text}");
            assert!(code.meaning().ends_with('.'), "{text}");
        }
    }

    #[test]
    fn prints_both_sides_and_what_to_do() {
        let finding = Finding::refusal(Code::DigestDrift, "`bridge` was altered")
            .mismatch("a", "b")
            .hint("run install");
        assert_eq!(
            finding.to_string(),
            "digest-drift: `bridge` was altered\n  expected: a\n  found:    b\n  hint: run install"
        );
        let hostile =
            Finding::refusal(Code::NotABundle, "a\nb").mismatch("c\rd", "e\u{202e}\n  hint: f");
        assert_eq!(
            hostile.to_string(),
            "not-a-bundle: a\\u{a}b\n  expected: c\\u{d}d\n  found:    e\\u{202e}\\u{a}  hint: f"
        );
    }
}
