//! One TOML file of a runtime's configuration, and the few values that are needed. The others are
//! parsed and ignored.

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

use crate::model::visible;

/// The most `=`, `[`, `{`, `,` and `.` in a file: what becomes a value is between them, and a table
/// takes a kilobyte in memory. containerd 1.6 writes five hundred, in comments and texts too.
const MARKS: usize = 1600;

/// Why a configuration file says nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    Text,
    /// More than any runtime is configured with.
    #[error("it has more than {MARKS} keys, tables and entries")]
    Long,
    /// Not TOML.
    #[error("line {line}: {message}")]
    Toml {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value of another kind than the runtime takes.
    #[error("`{key}` is {found}, expected {expected}")]
    Kind {
        /// The key, with its tables.
        key: String,
        /// The type that the value has, with its article.
        found: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

/// Parses a file and hands it over; the parser has a limit for the depth of tables.
pub(crate) fn parse<T>(
    bytes: &[u8],
    read: impl FnOnce(&Table<'_>) -> Result<T, RuntimeConfigError>,
) -> Result<T, RuntimeConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RuntimeConfigError::Text)?;
    let lines = Lines::of(text);
    if lines.marks(text) > MARKS {
        return Err(RuntimeConfigError::Long);
    }
    let kept = lines.kept(text);
    let table = DeTable::parse(&kept).map_err(|error| {
        let before = error.span().and_then(|span| kept.get(..span.start)).unwrap_or_default();
        RuntimeConfigError::Toml {
            line: lines.number(text, before.matches('\n').count()),
            message: visible(error.message()).into_owned(),
        }
    })?;
    read(&Table { table: table.get_ref(), path: String::new() })
}

/// Which lines of a file the parser gets. It would keep something of every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// All of them: a text of several lines may end in one that looks like a comment.
    All,
    /// Those that are neither empty nor a comment.
    WithContent,
}

impl Lines {
    fn of(text: &str) -> Self {
        let has_long_texts = text.contains("\"\"\"") || text.contains("'''");
        if has_long_texts { Self::All } else { Self::WithContent }
    }

    fn has(self, line: &str) -> bool {
        let line = line.trim_start();
        self == Self::All || !(line.is_empty() || line.starts_with('#'))
    }

    /// Counts what can become a value, at least one for each line.
    fn marks(self, text: &str) -> usize {
        let marks = |line: &str| line.bytes().filter(|byte| b"=[{,.".contains(byte)).count();
        text.lines().filter(|line| self.has(line)).map(|line| marks(line).max(1)).sum()
    }

    fn kept(self, text: &str) -> Cow<'_, str> {
        if text.lines().all(|line| self.has(line)) {
            return Cow::Borrowed(text);
        }
        let mut kept = String::with_capacity(text.len());
        for line in text.lines().filter(|line| self.has(line)) {
            kept.push_str(line);
            kept.push('\n');
        }
        Cow::Owned(kept)
    }

    /// The number, in the file, of the line with this index among those that are kept.
    fn number(self, text: &str, index: usize) -> usize {
        let kept = text.lines().enumerate().filter(|(_, line)| self.has(line));
        kept.map(|(number, _)| number + 1).nth(index).unwrap_or_else(|| text.lines().count())
    }
}

/// A table, and the path that led to it.
pub(crate) struct Table<'a> {
    table: &'a DeTable<'a>,
    path: String,
}

impl<'a> Table<'a> {
    fn get(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, value)| value.get_ref())
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, key: &str, value: &DeValue<'_>, expected: &'static str) -> RuntimeConfigError {
        RuntimeConfigError::Kind { key: self.key(key), found: value.type_str(), expected }
    }

    /// The table of this name.
    pub(crate) fn table(&self, key: &str) -> Result<Option<Table<'a>>, RuntimeConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(DeValue::Table(table)) => Ok(Some(Table { table, path: self.key(key) })),
            Some(other) => Err(self.wrong(key, other, "a table")),
        }
    }

    /// The table at the end of these names.
    pub(crate) fn descend(&self, keys: &[&str]) -> Result<Option<Table<'a>>, RuntimeConfigError> {
        let mut reached = Table { table: self.table, path: self.path.clone() };
        for key in keys {
            match reached.table(key)? {
                Some(table) => reached = table,
                None => return Ok(None),
            }
        }
        Ok(Some(reached))
    }

    /// The text of this name, which may be empty.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, RuntimeConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text.to_string())),
            Some(other) => Err(self.wrong(key, other, "a string")),
        }
    }

    /// The list of texts of this name.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, RuntimeConfigError> {
        let values = match self.get(key) {
            None => return Ok(None),
            Some(DeValue::Array(values)) => values,
            Some(other) => return Err(self.wrong(key, other, "a list of strings")),
        };
        let text = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(self.wrong(key, other, "a string")),
        };
        values.iter().map(|value| text(value.get_ref())).collect::<Result<_, _>>().map(Some)
    }

    /// The count of this name; a negative one is as good as 0.
    pub(crate) fn count(&self, key: &str) -> Result<Option<u32>, RuntimeConfigError> {
        match self.get(key) {
            Some(DeValue::Integer(number)) if number.as_str().starts_with('-') => Ok(Some(0)),
            _ => self.number(key),
        }
    }

    /// The number of this name.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u32>, RuntimeConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ DeValue::Integer(number)) => {
                let parsed = u32::from_str_radix(number.as_str(), number.radix());
                parsed.map(Some).map_err(|_| self.wrong(key, value, "a small number"))
            }
            Some(other) => Err(self.wrong(key, other, "a number")),
        }
    }
}
