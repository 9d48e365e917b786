//! Why a policy cannot be used. Every message starts with the policy's name.

use std::io;

use crate::model::yaml::YamlError;
use crate::trust::signature::KeyError;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not valid YAML, an unknown field, or a value that a field cannot have.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The document is of another kind or version.
    #[error("{file}: `{field}` is `{found}`, expected `{expected}`")]
    Kind {
        /// The policy's file name.
        file: String,
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// Its value.
        found: String,
        /// The only value that is supported.
        expected: &'static str,
    },
    /// A rule that contradicts itself, or that nothing can satisfy.
    #[error("{file}: rule `{rule}`: {reason}")]
    Rule {
        /// The policy's file name.
        file: String,
        /// The rule's name.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// A key file cannot be read.
    #[error("{file}: cannot read key `{key}`")]
    ReadKey {
        /// The policy's file name.
        file: String,
        /// The name of the key file, as in the policy.
        key: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The key file given instead of a policy is not a valid key.
    #[error("`{file}`: {source}")]
    KeyFile {
        /// The name of the key file.
        file: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A text that is not a public key.
    #[error("{file}: {holder}: {source}")]
    Key {
        /// The policy's file name.
        file: String,
        /// Where the key is from: a key file, or the authority that contains it.
        holder: String,
        /// What is wrong with it.
        source: KeyError,
    },
}
