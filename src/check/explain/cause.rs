//! The causes that can be named, each with a stable name. `judge` decides which of them applies.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! causes {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// Why a runtime could not do what it wanted. Its text is a promise: causes are added,
        /// never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $(#[doc = $meaning] $variant,)*
        }

        impl Cause {
            /// Every cause, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that JSON and docs/explain.md use; names are added but never renamed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence, as in docs/explain.md.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

causes! {
    PluginAbsent "plugin-absent" "The plugin is in none of the directories."
    LinkDangling "link-dangling" "The plugin is a dangling symbolic link; a runtime reports it as missing."
    LinkUnseen "link-unseen" "The plugin is a symbolic link to an existing file that the runtime did not reach: in a pod, an absolute link can point somewhere else."
    PluginIsDirectory "plugin-is-directory" "A directory has the plugin's name; a runtime reports the plugin as missing."
    PluginNotAFile "plugin-not-a-file" "A FIFO, socket or device has the plugin's name, or a link points to something that is not a file."
    PluginElsewhere "plugin-elsewhere" "The plugin exists, but in a directory that the runtime does not search."
    PluginNotFound "plugin-not-found" "The runtime did not find the plugin in directories that were not inspected here: it is missing, a dangling link or a directory."
    PluginNameInvalid "plugin-name-invalid" "The configuration's `type` is a path instead of a plugin name; runtimes reject it."
    NotExecutable "not-executable" "The plugin's mode does not allow anyone to execute it."
    MountNoexec "mount-noexec" "The plugin is on a file system that is mounted noexec."
    PermissionDenied "permission-denied" "The kernel did not allow the runtime to execute the plugin, and the reason is neither mode nor mount, or these were not inspected."
    PluginEmpty "plugin-empty" "The plugin is an empty file."
    WrongMachine "wrong-machine" "The plugin is a program for another architecture."
    PluginTruncated "plugin-truncated" "The plugin is a truncated program."
    NotAProgram "not-a-program" "The plugin is neither a program nor a script."
    ExecFormat "exec-format" "The kernel did not recognise the plugin as a program, and the plugin was not inspected here."
    InterpreterMissing "interpreter-missing" "The plugin exists, but the interpreter or dynamic linker that starts it does not."
    ExecNoSuchFile "exec-no-such-file" "The plugin or its interpreter was missing when the plugin was started, and the plugin was not inspected here."
    PluginAltered "plugin-altered" "The plugin is not the one that was signed and installed."
    PluginCrashed "plugin-crashed" "The plugin, or one that it called, crashed, panicked or was killed; a truncated file can crash."
    StillBeingWritten "still-being-written" "The plugin was open for writing when it was started."
    SilentPlugin "silent-plugin" "The plugin exited successfully but printed nothing: it was open for writing, or it is not a plugin."
    NotAPlugin "not-a-plugin" "A script has the plugin's name and prints no answer."
    IncompatibleVersions "incompatible-versions" "The plugin does not support the configuration's cniVersion."
    DriverMissing "driver-missing" "The kernel has no driver for this kind of interface."
    LinkNotFound "link-not-found" "A network interface that the plugin looked for is not on the node, or not in the pod."
    NoConfiguration "no-configuration" "The runtime has no network configuration that it can use."
    ConfigurationInvalid "configuration-invalid" "The runtime cannot load a network configuration."
    LibraryMissing "library-missing" "The plugin needs a library, or a version of it, that this system lacks."
    NoLongerSo "no-longer-so" "The node does not show what the error says: it was fixed since, or the error comes from a process that sees other files."
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
