//! Network configurations (CNI specification 1.1.0, section 1; libcni's `conf.go`) and the plugins
//! they need. Fields that belong to a plugin are not interpreted.

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::catalogue;
use super::fields;
use crate::model::json::{Limits, Outline};
use crate::model::{HostPath, JsonError, ParsePluginNameError, PluginName, json, visible};

/// The longest configuration that is read, in bytes; real ones have a few hundred.
pub const CONFIG_LIMIT: usize = 1024 * 1024;
/// The most plugins that one configuration may name. Multus with twenty delegates names about
/// forty.
const PLUGIN_LIMIT: usize = 1024;
/// The newest CNI version that a runtime chooses from a list of versions.
const NEWEST: [u64; 3] = [1, 1, 0];
/// The version of a configuration whose `cniVersion` is missing or empty (libcni, `validatePlugin`;
/// the plugins' `ConfigDecoder`).
const OLDEST: &str = "0.1.0";

/// A parsed network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its `name`, if it has one.
    pub name: Option<String>,
    /// The CNI version of the configuration itself; 0.1.0 if it has none.
    pub version: String,
    /// The plugins it needs, in order of appearance; a plugin may occur twice.
    pub needs: Vec<Need>,
    /// Places where a plugin should be named, but is not.
    pub problems: Vec<Problem>,
    /// The key that appears more than once, in the parser's words; of its values the last one
    /// counts, as for Go's reader.
    pub repeated: Option<String>,
    /// Whether libcni also loads plugins from the directory with the network's name (CNI 1.1.0,
    /// `loadOnlyInlinedPlugins`).
    pub loads_more: bool,
}

/// A plugin that a configuration needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The value of a `type` field.
    pub plugin: PluginName,
    /// What it is needed for.
    pub role: Role,
    /// The CNI version that it is called with; 0.1.0 if the configuration has none.
    pub version: String,
    /// Where a delegating plugin looks before the runtime's directories (Multus' `binDir`).
    pub looks_first_in: Option<HostPath>,
}

/// What a plugin is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Creates the network: the first plugin of a list.
    Main,
    /// Any later plugin of a list.
    Chained,
    /// Assigns addresses; called by another plugin.
    Ipam,
    /// Creates a network on behalf of another plugin (Multus, flannel).
    Delegate,
}

/// What is wrong where a plugin should be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A `type` that is not a file name, such as `../../bin/sh` (CVE-2021-20206).
    #[error("invalid `type`: {0}")]
    Type(#[from] ParsePluginNameError),
    /// No `type`, or one that is not a string.
    #[error("{place} has no `type`{}", near.as_ref().map_or_else(String::new, |key| format!("; it has `{key}`")))]
    NoType {
        /// Where, such as `` `plugins[1]` ``.
        place: String,
        /// A key that only looks like `type`.
        near: Option<String>,
    },
    /// A value of another kind than the specification requires.
    #[error("{place} {reason}")]
    Shape {
        /// Where, such as `` `plugins[1]` ``.
        place: String,
        /// A predicate.
        reason: &'static str,
    },
    /// More plugins than any network has.
    #[error("it names more than {PLUGIN_LIMIT} plugins")]
    TooMany,
}

/// Why bytes are not a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or too long.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Nested deeper than this program or Go's parser follows.
    #[error("{what} is nested more than 127 levels deep")]
    TooDeep {
        /// Name of the document.
        what: String,
    },
    /// Valid JSON, but not what was expected.
    #[error("{what} {reason}")]
    Shape {
        /// Name of the document.
        what: String,
        /// A predicate that follows the name, such as `is not a JSON object`.
        reason: &'static str,
    },
}

/// The form of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A list of plugins: `*.conflist`.
    List,
    /// A single plugin: `*.conf` and `*.json`.
    Single,
    /// Either; an object with a `type` is a single plugin, as in Multus.
    Either,
}

/// Parses a configuration; `what` names it in errors. Of a repeated key the last value counts, as
/// for libcni, and [`Network::repeated`] tells of it.
pub fn parse_config(what: &str, bytes: &[u8], form: Form) -> Result<Network, ConfigError> {
    let (value, repeated) = parse_json(what, bytes, CONFIG_LIMIT, fields::CONFIG)?;
    Ok(Network { repeated, ..network(what, &value, form)? })
}

/// Parses untrusted JSON that Go programs read into a tree; also returns which key appears twice.
pub(crate) fn parse_json(
    what: &str,
    bytes: &[u8],
    limit: usize,
    outline: Outline,
) -> Result<(Value, Option<String>), ConfigError> {
    // No signature covers these documents, and encoding/json takes the last of several values.
    let parsed = json::parse_last(what, bytes, Limits::tree(limit), outline);
    parsed.map_err(|error| config_error(what, error))
}

/// Checks that untrusted JSON is valid, without keeping anything of it.
pub(crate) fn check_json(what: &str, bytes: &[u8], limit: usize) -> Result<(), ConfigError> {
    let limits = Limits::tree(limit);
    let checked = json::parse_as::<IgnoredAny>(what, bytes, limits, Outline::Ignored);
    checked.map(|_| ()).map_err(|error| config_error(what, error))
}

fn config_error(what: &str, error: JsonError) -> ConfigError {
    match error {
        JsonError::Invalid { reason, .. } if reason.starts_with("recursion limit exceeded") => {
            ConfigError::TooDeep { what: what.to_owned() }
        }
        error => error.into(),
    }
}

fn network(what: &str, value: &Value, form: Form) -> Result<Network, ConfigError> {
    let Some(object) = value.as_object() else {
        return Err(ConfigError::Shape { what: what.to_owned(), reason: "is not a JSON object" });
    };
    let is_list = form.is_list(object);
    let loads_more = is_list && !truth(field(object, "loadOnlyInlinedPlugins"));
    let name = text(field(object, "name")).map(str::to_owned);
    let mut found = Network {
        name,
        version: version(object),
        needs: Vec::new(),
        problems: Vec::new(),
        repeated: None,
        loads_more,
    };
    if field(object, "cniVersion").is_some_and(|value| !value.is_string() && !value.is_null()) {
        found.problems.push(shape("`cniVersion`", "is not a string"));
    }
    found.walk(Pending {
        value,
        place: String::new(),
        form,
        role: Role::Main,
        version: None,
        looks_first_in: None,
    });
    Ok(found)
}

impl Form {
    fn is_list(self, object: &Map<String, Value>) -> bool {
        match self {
            Self::List => true,
            Self::Single => false,
            Self::Either => text(field(object, "type")).is_none_or(str::is_empty),
        }
    }
}

/// A configuration that has not been visited yet.
struct Pending<'a> {
    value: &'a Value,
    /// Where it is in the document, such as `delegates[0].plugins[1]`; empty for the whole.
    place: String,
    form: Form,
    role: Role,
    /// The version of the enclosing list, which libcni sets in each of its plugins.
    version: Option<String>,
    looks_first_in: Option<HostPath>,
}

impl Pending<'_> {
    /// What a message calls this place, or the one at `key` beneath it.
    fn shown(&self, key: &str) -> String {
        match (self.place.as_str(), key) {
            ("", "") => "it".to_owned(),
            ("", key) => format!("`{key}`"),
            (place, "") => format!("`{place}`"),
            (place, key) => format!("`{place}.{key}`"),
        }
    }

    /// The place of an element of the list `key`.
    fn element(&self, key: &str, index: usize) -> String {
        let dot = if self.place.is_empty() { "" } else { "." };
        format!("{}{dot}{key}[{index}]", self.place)
    }
}

impl Network {
    fn walk(&mut self, first: Pending<'_>) {
        let mut pending = vec![first];
        while let Some(next) = pending.pop() {
            if self.needs.len() + self.problems.len() >= PLUGIN_LIMIT {
                self.problems.push(Problem::TooMany);
                return;
            }
            let Some(object) = next.value.as_object() else {
                self.problems.push(shape(&next.shown(""), "is not a JSON object"));
                continue;
            };
            let mut found = Vec::new();
            match next.form.is_list(object) {
                true => self.list(object, &next, &mut found),
                false => self.plugin(object, &next, &mut found),
            }
            // Last in, first out: the order of the document.
            pending.extend(found.into_iter().rev());
        }
    }

    fn list<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        list: &Pending<'a>,
        found: &mut Vec<Pending<'a>>,
    ) {
        let plugins = match field(object, "plugins") {
            Some(Value::Array(plugins)) if !plugins.is_empty() => plugins,
            // libcni takes them from the directory with the network's name.
            None if list.form == Form::List => return,
            None => return self.problems.push(no_type(list.shown(""), object)),
            Some(_) => {
                let problem = shape(&list.shown("plugins"), "must be a non-empty list");
                return self.problems.push(problem);
            }
        };
        let version = version(object);
        // One past the limit is enough to pass it.
        for (index, value) in plugins.iter().enumerate().take(PLUGIN_LIMIT + 1) {
            let role = if index == 0 { list.role } else { Role::Chained };
            let looks_first_in = list.looks_first_in.clone();
            found.push(Pending {
                value,
                place: list.element("plugins", index),
                form: Form::Single,
                role,
                version: Some(version.clone()),
                looks_first_in,
            });
        }
    }

    fn plugin<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        plugin: &Pending<'a>,
        found: &mut Vec<Pending<'a>>,
    ) {
        let version = plugin.version.clone().unwrap_or_else(|| version(object));
        let mut need = |missing: Problem, name: Option<&str>, role| {
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                return self.problems.push(missing);
            };
            match name.parse() {
                Ok(plugin_name) => {
                    let (version, looks_first_in) =
                        (version.clone(), plugin.looks_first_in.clone());
                    self.needs.push(Need { plugin: plugin_name, role, version, looks_first_in });
                }
                Err(error) => self.problems.push(error.into()),
            }
        };
        let name = text(field(object, "type"));
        need(no_type(plugin.shown(""), object), name, plugin.role);
        let ipam = field(object, "ipam").and_then(Value::as_object);
        let kind = ipam.and_then(|ipam| field(ipam, "type"));
        let unnamed = || no_type(plugin.shown("ipam"), ipam.unwrap_or(object));
        if name == Some("flannel") {
            // The plugin that flannel calls by default (flannel-io/cni-plugin, `doCmdAdd`).
            let delegate = field(object, "delegate").and_then(Value::as_object);
            let delegate =
                delegate.and_then(|delegate| text(field(delegate, "type"))).unwrap_or("bridge");
            need(no_type(plugin.shown("delegate"), object), Some(delegate), Role::Delegate);
            need(unnamed(), Some(text(kind).unwrap_or("host-local")), Role::Ipam);
        } else if let Some(kind) = kind.filter(|kind| kind.as_str() != Some(""))
            && catalogue::calls_ipam(name.unwrap_or_default(), kind.as_str().unwrap_or_default())
        {
            need(unnamed(), text(Some(kind)), Role::Ipam);
        }
        match field(object, "delegates") {
            None | Some(Value::Null) => {}
            Some(Value::Array(delegates)) => {
                let own = text(field(object, "binDir")).and_then(|path| path.parse().ok());
                let looks_first_in = own.or_else(|| plugin.looks_first_in.clone());
                let delegates = delegates.iter().enumerate().take(PLUGIN_LIMIT + 1);
                found.extend(delegates.map(|(index, value)| Pending {
                    value,
                    place: plugin.element("delegates", index),
                    form: Form::Either,
                    role: Role::Delegate,
                    version: None,
                    looks_first_in: looks_first_in.clone(),
                }));
            }
            Some(_) => self.problems.push(shape(&plugin.shown("delegates"), "must be a list")),
        }
    }
}

fn shape(place: &str, reason: &'static str) -> Problem {
    Problem::Shape { place: place.to_owned(), reason }
}

/// The problem of an object without `type`. A key such as `type:` or ` type` is a slip of the pen
/// that is hard to see.
fn no_type(place: String, object: &Map<String, Value>) -> Problem {
    let letters = |key: &str| key.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let near = object.keys().filter(|key| key.len() < 16 && !key.eq_ignore_ascii_case("type"));
    let near = near.map(String::as_str).find(|key| letters(key).eq_ignore_ascii_case("type"));
    Problem::NoType { place, near: near.map(|key| visible(key).into_owned()) }
}

/// Returns the version that libcni calls the plugins of a configuration with: the newest supported
/// one of those listed.
fn version(object: &Map<String, Value>) -> String {
    let listed = field(object, "cniVersions").and_then(Value::as_array).into_iter().flatten();
    let single = text(field(object, "cniVersion")).filter(|text| !text.is_empty());
    let numbered = |text: &str| Some((numbers(text)?, text.to_owned()));
    let known = listed.filter_map(Value::as_str).chain(single).filter_map(numbered);
    let newest = known.filter(|(version, _)| *version <= NEWEST).max().map(|(_, text)| text);
    // A version that is still unknown is passed to the plugins if it is the only one.
    newest
        .or_else(|| {
            single.map(|text| visible(&text.chars().take(32).collect::<String>()).into_owned())
        })
        .unwrap_or_else(|| OLDEST.to_owned())
}

/// Parses a version such as `0.3.1`, or `1.0` as libcni reads it.
fn numbers(text: &str) -> Option<[u64; 3]> {
    // Leading zeros could make a version a megabyte long, and each plugin of a list would get a
    // copy.
    if text.len() > 32 {
        return None;
    }
    let mut parts = text.split('.');
    let mut number = |missing: Option<u64>| parts.next().map_or(missing, |part| part.parse().ok());
    let version = [number(None)?, number(Some(0))?, number(Some(0))?];
    parts.next().is_none().then_some(version)
}

/// Whether a CNI version comes before another; no version that is not a number does.
pub fn is_older(version: &str, other: &str) -> bool {
    numbers(version).zip(numbers(other)).is_some_and(|(version, other)| version < other)
}

/// Looks up a field as Go does: by its exact name, or else ignoring case.
pub(crate) fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

pub(crate) fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

fn truth(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(truth)) => *truth,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
