//! The causes that can be named, each with a stable name. How one is told from another is in
//! `judge`.

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

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line of meaning.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

causes! {
    PluginAbsent "plugin-absent" "The plugin is in none of the directories."
    LinkDangling "link-dangling" "The plugin is a symbolic link that leads nowhere; a runtime says the same as of nothing."
    LinkUnseen "link-unseen" "The plugin is a symbolic link that leads to a file, and who looked did not get there: absolute links lead elsewhere in a pod."
    PluginIsDirectory "plugin-is-directory" "A directory has the plugin's name; a runtime says the same as of nothing."
    PluginNotAFile "plugin-not-a-file" "A FIFO, socket or device has the plugin's name, or a link leads to something that is no file."
    PluginElsewhere "plugin-elsewhere" "The plugin is there, in a directory that the runtime does not search."
    PluginNotFound "plugin-not-found" "The runtime did not find the plugin in directories that were not looked at here: it is absent, a link to nothing, or a directory."
    PluginNameInvalid "plugin-name-invalid" "The configuration's `type` is a path and no plugin name; runtimes refuse it."
    NotExecutable "not-executable" "The plugin's mode lets nobody execute it."
    MountNoexec "mount-noexec" "The file system that holds the plugin is mounted noexec."
    PermissionDenied "permission-denied" "The kernel did not let the runtime execute the plugin, and mode and mount are not why, or were not looked at."
    PluginEmpty "plugin-empty" "The plugin is an empty file."
    WrongMachine "wrong-machine" "The plugin is a program for another kind of machine."
    PluginTruncated "plugin-truncated" "The plugin is a program that is cut short."
    NotAProgram "not-a-program" "The plugin is neither a program nor a script."
    ExecFormat "exec-format" "The kernel did not take the plugin for a program, and it was not looked at here."
    InterpreterMissing "interpreter-missing" "The plugin is there, and the interpreter or dynamic linker that starts it is not."
    ExecNoSuchFile "exec-no-such-file" "The plugin or its interpreter was gone when it was started, and it was not looked at here."
    PluginAltered "plugin-altered" "The plugin is not the one that was signed and installed."
    PluginCrashed "plugin-crashed" "The plugin, or one that it called, ended with a segmentation fault; a truncated file does that."
    StillBeingWritten "still-being-written" "Somebody had the plugin open for writing when it was started."
    SilentPlugin "silent-plugin" "The plugin ended well and printed nothing: it was open for writing, or it is no plugin."
    NotAPlugin "not-a-plugin" "A script has the plugin's name and answers nothing."
    IncompatibleVersions "incompatible-versions" "The configuration's cniVersion is none that the plugin speaks."
    DriverMissing "driver-missing" "The kernel has no driver for this kind of interface."
    LinkNotFound "link-not-found" "The network interface that the configuration names is not on the node."
    NoConfiguration "no-configuration" "The runtime has no network configuration that it can use."
    NoLongerSo "no-longer-so" "The node does not show what the text says: it was mended since, or who said it sees other files."
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
