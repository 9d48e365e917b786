//! One TOML file of a runtime's configuration, and the few values that are needed. The others are
//! parsed and ignored.

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
    if text.bytes().filter(|byte| b"=[{,.".contains(byte)).count() > MARKS {
        return Err(RuntimeConfigError::Long);
    }
    let table = DeTable::parse(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        RuntimeConfigError::Toml {
            line: before.matches('\n').count() + 1,
            message: visible(error.message()).into_owned(),
        }
    })?;
    read(&Table { table: table.get_ref(), path: String::new() })
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

    /// The text of this name; an empty one says as little as none.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, RuntimeConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(DeValue::String(text)) => {
                Ok(Some(text.to_string()).filter(|text| !text.is_empty()))
            }
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
