//! YAML files that people write, definitions and policies: strict reading, with the position of
//! every mistake.
//!
//! A file contains one document without anchors, aliases, merge keys or tags: a reviewer of a
//! policy must not have to expand it, and two parsers must not disagree about it. Unknown fields
//! are errors in every type that is read here (`deny_unknown_fields`).

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{
    DuplicateKeyPolicy, Error, MergeKeyPolicy, MessageFormatter, Options, UserMessageFormatter,
};

pub use serde_saphyr::Spanned;

use super::visible;

/// The longest file that is read, in bytes.
pub const LIMIT: usize = 1024 * 1024;

/// The deepest nesting that is read; definitions and policies have five levels. The parser recurses
/// with the input, so without a limit a file could exhaust the stack.
const DEPTH: usize = 32;

/// The most keys, texts, lists and maps of a file. Each takes a hundred times its text in memory; a
/// rule of a policy has about ten.
const NODES: usize = 10_000;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.place())]
pub struct YamlError {
    /// The file as the caller named it.
    pub file: String,
    /// The line, from 1; 0 if the mistake has no position (a file that is too long).
    pub line: u64,
    /// The column, from 1; 0 if the mistake has no position.
    pub column: u64,
    /// What is wrong, and what is allowed instead.
    pub message: String,
}

impl YamlError {
    /// A mistake of the file as a whole.
    pub fn of_file(name: &str, message: impl Into<String>) -> Self {
        Self { file: visible(name).into_owned(), line: 0, column: 0, message: message.into() }
    }

    /// A mistake in a value that was read with its position.
    pub fn at<T>(name: &str, value: &Spanned<T>, message: impl Into<String>) -> Self {
        let place = value.referenced;
        Self { line: place.line(), column: place.column(), ..Self::of_file(name, message) }
    }

    fn place(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        }
    }
}

/// Parses the one YAML document of a file; `name` is the file's name in errors.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, YamlError> {
    if text.len() > LIMIT {
        let message = format!("the file is {} bytes long, the limit is {LIMIT}", text.len());
        return Err(YamlError::of_file(name, message));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location();
        YamlError {
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            ..YamlError::of_file(name, visible(&message(error.without_snippet())))
        }
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH, flow_nesting_limit: DEPTH, max_anchors: 0, max_aliases: 0, max_nodes: NODES },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 0,
            max_replay_stack_depth: 0,
            max_alias_expansions_per_anchor: 0,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// The parser's messages are for programmers; these are for the author of the file.
fn message(error: &Error) -> String {
    let no_anchors = || "anchors and aliases are not accepted; write the value out".to_owned();
    match error {
        Error::AliasError { error, .. } => message(error),
        Error::Eof { .. } => "the file is empty".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document starts here; a file contains one".to_owned()
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field `{field}`, {}", allowed(expected, "no field is allowed here"))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`, {}", allowed(expected, "no value is allowed here"))
        }
        Error::SerdeMissingField { field, .. } => format!("field `{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` appears twice")
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key appears twice".to_owned(),
        Error::MergeKeyNotAllowed { .. } => {
            "merge keys (`<<`) are not accepted; write the fields out".to_owned()
        }
        Error::Unexpected { expected: "sequence start", .. } => "expected a list".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => {
            "expected fields, as `name: value`".to_owned()
        }
        Error::Unexpected { expected: "string scalar", .. } => "expected text".to_owned(),
        Error::NullIntoString { .. } => "the value is missing, expected text".to_owned(),
        Error::InvalidBooleanStrict { .. } => "expected `true` or `false`".to_owned(),
        Error::Budget {
            breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. },
            ..
        }
        | Error::UnknownAnchor { .. } => no_anchors(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested deeper than {DEPTH} levels")
        }
        Error::Budget { breach: BudgetBreach::Nodes { .. }, .. } => {
            format!("more than {NODES} values")
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn allowed(expected: &[&str], nothing: &'static str) -> Cow<'static, str> {
    match expected {
        [] => Cow::Borrowed(nothing),
        names => Cow::Owned(format!("expected {}", alternatives(names))),
    }
}

/// Names of which one is to be written: "`a`, `b` or `c`".
pub fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        few => few.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::model::Digest;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct File {
        name: String,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<String>,
    }

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        One,
        Two,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        digest: Digest,
        #[serde(default)]
        exact: bool,
    }

    fn error(text: &str) -> String {
        parse::<File>("it.yaml", text).expect_err(text).to_string()
    }

    #[test]
    fn reads_one_document() {
        let text = "---\n# a comment\nname: a # another\nkind: two\nlist: [b, \"c\"]\n";
        let expected = File {
            name: "a".into(),
            kind: Kind::Two,
            inner: None,
            list: vec!["b".into(), "c".into()],
        };
        assert_eq!(parse::<File>("it.yaml", text), Ok(expected));
    }

    #[test]
    fn names_the_place_of_a_mistake_and_what_is_allowed() {
        let cases = [
            (
                "name: a\nnmae: b\n",
                "it.yaml:2:1: unknown field `nmae`, expected `name`, `kind`, `inner` or `list`",
            ),
            (
                "name: a\nkind: three\n",
                "it.yaml:2:7: unknown value `three`, expected `one` or `two`",
            ),
            ("kind: one\n", "it.yaml:1:1: field `name` is missing"),
            ("name: a\nname: b\n", "it.yaml:2:1: the key `name` appears twice"),
            ("name: a\nlist: b\n", "it.yaml:2:7: expected a list"),
            ("name: [a]\n", "it.yaml:1:7: expected text"),
            ("name: a\ninner: b\n", "it.yaml:2:8: expected fields, as `name: value`"),
            ("- a\n", "it.yaml:1:1: expected fields, as `name: value`"),
            ("name: a\n b: c\n", "it.yaml:2:3: mapping values are not allowed in this context"),
            ("name:\n", "it.yaml:1:5: the value is missing, expected text"),
            (
                "name: a\ninner:\n  digest: sha256:00\n",
                "it.yaml:3:11: digest `00` has 2 hex digits, expected 64",
            ),
            ("name: a\ninner: {exact: yes}\n", "it.yaml:2:16: expected `true` or `false`"),
            ("", "it.yaml:1:1: the file is empty"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    #[test]
    fn refuses_what_would_have_to_be_expanded() {
        let cases = [
            (
                "name: &a b\n",
                "it.yaml:1:10: anchors and aliases are not accepted; write the value out",
            ),
            (
                "name: *a\n",
                "it.yaml:1:7: anchors and aliases are not accepted; write the value out",
            ),
            (
                "<<: {name: a}\n",
                "it.yaml:1:1: merge keys (`<<`) are not accepted; write the fields out",
            ),
            (
                "name: a\n---\nname: b\n",
                "it.yaml:3:1: a second document starts here; a file contains one",
            ),
            ("name: a\n---\n", "it.yaml:2:4: a second document starts here; a file contains one"),
            (
                "name: a\n...\nname: b\n",
                "it.yaml:3:1: a second document starts here; a file contains one",
            ),
            ("name: !secret a\n", "it.yaml:1:15: unsupported tag `!secret`"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    #[test]
    fn refuses_a_file_that_is_too_long_or_too_deep() {
        let long = format!("name: {}\n", "a".repeat(LIMIT));
        assert_eq!(error(&long), "it.yaml: the file is 1048583 bytes long, the limit is 1048576");
        assert!(parse::<File>("it.yaml", &format!("name: {}", "a".repeat(LIMIT - 6))).is_ok());
        for deep in
            [format!("name: {}", "[".repeat(100_000)), format!("name: {}", "- ".repeat(100_000))]
        {
            parse::<serde::de::IgnoredAny>("it.yaml", &deep).expect_err("deep");
        }
    }

    #[test]
    fn refuses_more_values_than_any_file_has() {
        let file = |count: usize| format!("name: a\nlist: [{}]\n", "a,".repeat(count));
        assert!(parse::<File>("it.yaml", &file(NODES - 10)).is_ok());
        let error = error(&file(NODES));
        assert!(error.ends_with(": more than 10000 values"), "{error}");
    }

    #[test]
    fn does_not_repeat_control_characters() {
        assert_eq!(error("\"na\\e[2Jme\": a\n").find('\u{1b}'), None);
    }
}
