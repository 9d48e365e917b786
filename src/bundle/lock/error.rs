//! Why a lock does not hold.

use super::Level;
use crate::bundle::ModuleSum;
use crate::bundle::definition::source::{RecipeRequest, Request};
use crate::model::{BundleName, Digest, JsonError, Platform, PluginName};

/// Why a lock does not hold. Each names the plugin and the platform.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not the JSON that a lock is.
    #[error(transparent)]
    Json(JsonError),
    /// Two entries for the same file.
    #[error("the lock has two entries for `{name}` on {platform}")]
    Repeated {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
    },
    /// The lock of another definition.
    #[error("the lock is of the bundle `{found}`, the definition is of `{expected}`")]
    OtherBundle {
        /// The name in the definition.
        expected: BundleName,
        /// The name in the lock.
        found: BundleName,
    },
    /// A plugin that the lock does not pin.
    #[error("the lock has no entry for `{name}` on {platform}")]
    Missing {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
    },
    /// An entry of a plugin that the definition does not have.
    #[error("the lock has an entry for `{name}` on {platform}, the definition does not")]
    Unknown {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
    },
    /// An entry that answers another request than that of the definition.
    #[error(
        "`{name}` on {platform} was locked for {}, the definition asks for {}",
        .requests.1, .requests.0
    )]
    Stale {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// The request of the definition, and the one of the lock.
        requests: Box<(Request, Request)>,
    },
    /// A program that was reproduced by another recipe than that of the definition.
    #[error(
        "`{name}` on {platform} was reproduced from {}, the definition has {}",
        .recipes.1, .recipes.0.as_ref().map_or("no recipe".to_owned(), ToString::to_string)
    )]
    Recipe {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// The recipe of the definition, if it has one, and the one of the lock.
        recipes: Box<(Option<RecipeRequest>, RecipeRequest)>,
    },
    /// An asset with another digest than the definition fixes.
    #[error(
        "the definition pins {} for the asset of `{name}` on {platform}, the lock has {}",
        .digests.0, .digests.1
    )]
    Pinned {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// The digest in the definition, and the one in the lock.
        digests: Box<(Digest, Digest)>,
    },
    /// One asset with two digests.
    #[error(
        "the lock has the asset of `{}` and `{}` on {platform} with two digests, {} and {}",
        .names.0, .names.1, .digests.0, .digests.1
    )]
    TwoDigests {
        /// The two plugins.
        names: (PluginName, PluginName),
        /// The platform of the second.
        platform: Platform,
        /// The digest of each.
        digests: Box<(Digest, Digest)>,
    },
    /// One version of a module with two sums.
    #[error(
        "the lock has the module of `{}` and `{}` on {platform} with two sums, {} and {}",
        .names.0, .names.1, .sums.0, .sums.1
    )]
    TwoSums {
        /// The two plugins.
        names: (PluginName, PluginName),
        /// The platform of the second.
        platform: Platform,
        /// The sum of each.
        sums: Box<(ModuleSum, ModuleSum)>,
    },
    /// A level that the kept evidence does not give.
    #[error(
        "the lock says `{said}` of `{name}` on {platform}, the kept evidence gives `{computed}`"
    )]
    Level {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// The level in the lock.
        said: Level,
        /// The level that was computed.
        computed: Level,
    },
    /// Evidence that is gone, or says something else.
    #[error("the evidence of `{name}` on {platform} does not hold: {reason}")]
    Evidence {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that are not the locked ones.
    #[error("`{name}` on {platform} is not what is locked: {what}")]
    Differs {
        /// The plugin.
        name: PluginName,
        /// Its platform.
        platform: Platform,
        /// What differs, with both values.
        what: String,
    },
}
