//! The statement of a lock that a program was built again with the same bytes.
//!
//! It is the word of whoever made the lock: a build and `lock --check` compile nothing. They
//! compare as much as they can see: that the recipe is the one of the definition, and that the
//! statement is about the bytes that the entry pins. An edited digest therefore loses the level.

use serde::{Deserialize, Serialize};

use super::{KeptEvidence, Level, LockError, LockedPlugin};
use crate::bundle::ModuleSum;
use crate::bundle::definition::source::RecipeRequest;
use crate::model::Digest;

/// That a program was built again with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reproduced {
    /// How it was built.
    pub recipe: RecipeRequest,
    /// The sum of the Go module that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_sum: Option<ModuleSum>,
    /// The digest of the result.
    pub digest: Digest,
}

impl Reproduced {
    /// The level that the statement gives an entry, or why it is not about that entry.
    pub(super) fn level_of(&self, entry: &LockedPlugin) -> Result<Level, String> {
        if entry.artefact.is_none() {
            return Err("a plugin that is not taken from an asset is not reproduced".to_owned());
        }
        if self.digest != entry.digest {
            return Err(format!(
                "it was reproduced as {}, and the lock pins {}",
                self.digest, entry.digest
            ));
        }
        let (module_sum, recipe) = (self.module_sum, &self.recipe);
        let is_pinned = match recipe.version {
            // A module; the checksum database has compared the sum, unless it was not asked.
            Some(_) => {
                module_sum.is_some()
                    && recipe.sum.is_none_or(|pinned| module_sum == Some(pinned))
                    && (recipe.sum.is_some() || !recipe.build.without_sumdb)
            }
            None => recipe.sha256.is_some(),
        };
        match is_pinned {
            true => Ok(Level::Reproduced),
            false => Err("it was reproduced from a source that is not pinned".to_owned()),
        }
    }
}

impl LockedPlugin {
    /// The same with the statement of an entry for the same bytes, if the recipe is the same.
    #[must_use]
    pub fn with_statement_of(
        mut self,
        old: Option<&Self>,
        recipe: Option<&RecipeRequest>,
        kept: &KeptEvidence,
    ) -> Self {
        let statement = old.and_then(|old| old.reproduced.as_ref());
        let holds = |it: &&Reproduced| it.digest == self.digest && Some(&it.recipe) == recipe;
        self.reproduced = statement.filter(holds).cloned();
        self.with_level(kept)
    }

    /// That it was reproduced by another recipe than that of the definition, if it was.
    pub(super) fn reproduced_otherwise(&self, recipe: Option<&RecipeRequest>) -> Option<LockError> {
        let reproduced = self.reproduced.as_ref()?;
        if recipe == Some(&reproduced.recipe) {
            return None;
        }
        Some(LockError::Recipe {
            name: self.name.clone(),
            platform: self.platform.clone(),
            recipes: Box::new((recipe.cloned(), reproduced.recipe.clone())),
        })
    }
}
