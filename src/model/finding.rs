//! Findings: what is wrong with an image or a node, each with a code that scripts may rely on.

use std::fmt;

use serde::{Serialize, Serializer};

use super::visible;

/// One thing that was found, with both sides of the mismatch where there are two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind of finding.
    pub code: Code,
    /// Whether it decides.
    pub severity: Severity,
    /// What it is about, and what is wrong with it: one sentence, lower case, no full stop.
    pub message: String,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What the reader can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether a finding decides.
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

    fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
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

    /// The same, as something that does not decide here.
    #[must_use]
    pub fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Whether it decides.
    pub fn is_refusal(&self) -> bool {
        self.severity == Severity::Refusal
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line feed from outside would make a line that looks like ours.
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

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// One line of meaning.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    NoRuleMatches "no-rule-matches" "No rule of the policy names this image; what no rule names is refused."
    DeniedByRule "denied-by-rule" "A rule of the policy denies this image."
    NoSignature "no-signature" "Neither the index nor the platform manifest has a signature."
    SignerNotAllowed "signer-not-allowed" "There are signatures, and none is by a key that the rule allows."
    OtherSubject "other-subject" "A signature is good and speaks of another digest."
    NotASignature "not-a-signature" "An attestation (an SBOM, say) stands where a signature is required."
    MalformedSignature "malformed-signature" "A signature document cannot be read or has an unsupported form."
    ManifestNotSigned "manifest-not-signed" "The platform's manifest is neither signed nor listed by a signed index."
    IndexNotSigned "index-not-signed" "The policy denies digests, and only the platform's manifest is signed: the index may be a denied one in another wrapping."
    NotABundle "not-a-bundle" "The image is not a cnister bundle."
    NotTheManifest "not-the-manifest" "A document is an index and a manifest at once, or not the kind its media type says."
    NestedIndex "nested-index" "The index lists another index."
    DuplicatePlatform "duplicate-platform" "The index lists two manifests for one platform."
    PlatformMissing "platform-missing" "The index has no manifest for the platform."
    PlatformMismatch "platform-mismatch" "Index, configuration, bundle.json, file and node do not name one platform."
    WrongLayers "wrong-layers" "The manifest does not have exactly the plugin layer and the tool layer."
    DiffIdMismatch "diff-id-mismatch" "The plugin layer is not the one that bundle.json describes."
    BrokenChain "broken-chain" "A document of the chain is missing, altered or cannot be read."
    BundleNotAllowed "bundle-not-allowed" "The policy does not accept bundles of this name."
    VersionBelowFloor "version-below-floor" "The bundle is older than the policy's minVersion."
    SignatureTooOld "signature-too-old" "The youngest signature by an allowed key is older than the policy's maxAge."
    SignatureTimeUnknown "signature-time-unknown" "The policy has a maxAge, and no signature by an allowed key says when it was made."
    ClockSuspect "clock-suspect" "The policy has a maxAge, and this machine's clock cannot be right, so no age can be told."
    OtherRelease "other-release" "The image is not the release that was asked for with --expect."
    OtherBundle "other-bundle" "The installed bundle is not the one that was asked for with --expect-bundle."
    PolicyDigest "policy-digest" "The policy is not the one that was asked for with --policy-sha256."
    NoEvidence "no-evidence" "No evidence ends in the bundle.json at hand."
    Unproven "unproven" "Admitted by a rule with mode warn; nothing was proven."
    ExtraEntry "extra-entry" "The staged directory holds something that bundle.json does not list."
    MissingEntry "missing-entry" "The staged directory lacks something that bundle.json lists."
    NotAPlainFile "not-a-plain-file" "A staged file is a link, FIFO, socket, device or directory, or has two names."
    FileAltered "file-altered" "A staged file is not the one that bundle.json lists."
    ForeignFile "foreign-file" "Another installer's file has a wanted name and other bytes, or the signed ones in a way that others may alter."
    InTheWay "in-the-way" "Something that is not a regular file has a wanted name."
    PathEscapes "path-escapes" "A symbolic link on the way leads out of --root."
    StateNotPrivate "state-not-private" "Others may write the state directory, or a file in it."
    StateDamaged "state-damaged" "A file of the state directory is not what this program writes."
    NotInstalled "not-installed" "There is no receipt: nothing was installed here, or the receipt was deleted."
    DigestDrift "digest-drift" "An installed plugin was altered, or others may alter it: another owner, or a mode that gives rights away."
    PluginMissing "plugin-missing" "An installed plugin is gone."
    NoLongerTrusted "no-longer-trusted" "The evidence that was accepted at install does not satisfy the policy any more."
    ProbeFailed "probe-failed" "A proven plugin does not answer VERSION."
    ProbeSkipped "probe-skipped" "A proven plugin could not be asked for its VERSION here."
    ForeignKept "foreign-kept" "A foreign file with a wanted name was left as it is."
    InterruptedInstall "interrupted-install" "An installation was interrupted; the next install finishes it."
    WantedNotInstalled "wanted-not-installed" "The wanted bundle was refused; the proven one before it was kept."
    NotConfined "not-confined" "The process could not confine itself to the files that it needs: the kernel has no Landlock."
    Mixed "mixed" "A plugin on the node belongs to another bundle than the one that is installed."
    NoCopy "no-copy" "The local store has no copy of a file: it cannot be repaired without the bundle."
    NotRepaired "not-repaired" "The node was not repaired: something else failed on the way."
    RepairPaused "repair-paused" "A plugin that somebody alters again after each repair is left alone for some time."
    NoGeneration "no-generation" "The generation to go back to is not kept."
    RolledBack "rolled-back" "The node's owner went back from this release; it is not installed again by itself."
    FloorMissing "floor-missing" "The rule forbids to go back, and the record of what the node had is gone."
    InUse "in-use" "A plugin is still needed to take down attachments of pods."
    OriginalLost "original-lost" "The copy of somebody else's file that was replaced is gone or altered."
    PluginNeeded "plugin-needed" "A CNI configuration needs a plugin that is not on the node."
    PluginUnusable "plugin-unusable" "A CNI configuration needs a plugin that is there and that no runtime can execute."
    IncompatibleVersion "incompatible-version" "A CNI configuration calls a plugin with a version of CNI that it does not speak."
    NotAPluginName "not-a-plugin-name" "A CNI configuration names a plugin by something that is no file name."
    ConfigUnreadable "config-unreadable" "A CNI configuration or a NetworkAttachmentDefinition cannot be read."
    ConfigMissing "config-missing" "A NetworkAttachmentDefinition leaves its network to a configuration that the node does not have."
    ViewDiffers "view-differs" "Another mount namespace does not show the plugins that the node has."
    AttachmentUnknown "attachment-unknown" "A runtime remembers an attachment in a way that does not say which plugins it needs."
    RuntimeConfigUnreadable "runtime-config-unreadable" "A container runtime's configuration could not be read or understood."
    RuntimeLooksElsewhere "runtime-looks-elsewhere" "No container runtime of the node looks for plugins where they are installed."
    Shadowed "shadowed" "A runtime finds another file of a plugin's name before the installed one."
    ReadOnly "read-only" "A directory that has to be written is on a read-only file system."
    NotExecutable "not-executable" "The plugin directory's file system executes nothing (noexec)."
    NoSpace "no-space" "A file system has no room for what would be written."
    NotPermitted "not-permitted" "This process may not write a directory."
    WritableByOthers "writable-by-others" "Others may replace what lies in a directory, or the directory itself."
    LinkedDirectory "linked-directory" "A directory is reached through a symbolic link."
    InterpreterMissing "interpreter-missing" "A dynamically linked plugin's interpreter is not on the node."
    SetuidDropped "setuid-dropped" "An adopted file had set-user-ID or set-group-ID bits, which the plugin in its place does not get."
    OtherLabel "other-label" "An installed plugin has another SELinux label than its directory."
    ToolNotStatic "tool-not-static" "This program needs libraries, so it cannot be the one that runs at boot."
    ToolPlace "tool-place" "The program or a directory of the check at boot cannot be where it shall: read-only, noexec, taken, or hidden from the unit."
    BootAltered "boot-altered" "The unit of the check at boot, its program or a link to it is not what `boot enable` wrote."
    BootOutdated "boot-outdated" "The check at boot pins something else than what is installed: the next boot would say no."
    NoSystemd "no-systemd" "The node has no directory for systemd units."
    NotInBundle "not-in-bundle" "A plugin was asked for by name, and the bundle does not have it."
    NothingWanted "nothing-wanted" "Every plugin of the bundle is left out, so nothing would be installed that could be checked."
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
