//! Network configurations (CNI specification 1.1.0, section 1; libcni's `conf.go`) and the plugins
//! they need. Fields that belong to a plugin are not interpreted.

mod kinds;
mod lookup;
mod text;
mod version;

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::catalogue;
use super::fields;
use crate::model::json::{Limits, Outline};
use crate::model::{HostPath, JsonError, ParsePluginNameError, PluginName, json, visible};
use kinds::wrong_kinds;
use lookup::truth;
pub(crate) use lookup::{field, text};
use text::replace_invalid;
pub use version::{OLDEST, is_older};
use version::{overriding_version, version_of_list, version_of_plugin};

/// The longest configuration that is read, in bytes; real ones have a few hundred.
pub const CONFIG_LIMIT: usize = 1024 * 1024;
/// The most plugins that one configuration may name. Multus with twenty delegates names about
/// forty.
const PLUGIN_LIMIT: usize = 1024;

/// What a message calls the configuration as a whole.
const WHOLE: &str = "it";

/// A parsed network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its `name`, if it has one that is not empty.
    pub name: Option<String>,
    /// The CNI version of the configuration itself; 0.1.0 if it has none.
    pub version: String,
    /// The plugins it needs, in order of appearance; a plugin may occur twice.
    pub needs: Vec<Need>,
    /// Why libcni or a runtime refuses it, and places where a plugin should be named, but is not.
    pub problems: Vec<Problem>,
    /// The key that appears more than once, in the parser's words; of its values the last one
    /// counts, as for Go's reader.
    pub repeated: Option<String>,
    /// Whether libcni also loads plugins from the directory with the network's name (CNI 1.1.0,
    /// `loadOnlyInlinedPlugins`).
    pub loads_more: bool,
    /// Where Multus looks, if this is its configuration.
    pub multus: Option<MultusDirectories>,
}

/// The directories that a configuration of Multus names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MultusDirectories {
    /// `confDir`: where it looks for the networks that definitions only name.
    pub configurations: Option<HostPath>,
    /// `binDir`: where it looks for plugins besides the runtime's directories.
    pub plugins: Option<HostPath>,
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

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No `name`, or an empty one (libcni, `NetworkConfFromBytes` and `ValidateNetworkName`).
    #[error("{place} has no `name`")]
    NoName {
        /// Where, such as `` `delegates[0]` ``.
        place: String,
        /// Whether libcni loads it and refuses it only when a pod starts: a list needs the key.
        is_loaded: bool,
    },
    /// A `name` that libcni refuses when a pod starts (`ValidateNetworkName`).
    #[error(
        "{place} has the `name` `{name}`, which is not a valid network name: expected letters, digits, `.`, \
         `_` and `-`, starting with a letter or digit"
    )]
    BadName {
        /// Where, such as `` `delegates[0]` ``.
        place: String,
        /// The name, or its beginning.
        name: String,
    },
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

impl Problem {
    /// Whether it is a network's name.
    pub fn is_about_name(&self) -> bool {
        matches!(self, Self::NoName { .. } | Self::BadName { .. })
    }

    /// Whether libcni loads the configuration anyway, and a pod that starts finds out.
    pub fn is_found_late(&self) -> bool {
        matches!(self, Self::NoName { is_loaded: true, .. } | Self::BadName { .. } | Self::Type(_))
    }
}

impl Network {
    /// Gives a network without a name that of its file, as CRI-O does (ocicni, `loadNetworks`).
    pub fn name_after(&mut self, file: &str) {
        let is_nameless = |problem: &Problem| match problem {
            Problem::NoName { place, is_loaded } => *is_loaded && place == WHOLE,
            _ => false,
        };
        if self.name.is_none() && is_network_name(file) {
            self.problems.retain(|problem| !is_nameless(problem));
            self.name = Some(file.to_owned());
        }
    }
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
    /// A network of a single plugin: `*.conf` and `*.json`.
    Single,
    /// A plugin of a list; it has neither a name nor a version of its own.
    Plugin,
    /// Either; an object with a `type` is a single plugin, as in Multus.
    Either,
}

/// Parses a configuration; `what` names it in errors. Of a repeated key the last value counts, as
/// for libcni, and [`Network::repeated`] tells of it; invalid UTF-8 and lone surrogates are
/// replaced, as in Go.
pub fn parse_config(what: &str, bytes: &[u8], form: Form) -> Result<Network, ConfigError> {
    parse(what, bytes, form, None)
}

/// Parses a plugin that a list keeps in a file of its own; `version` is that of the list, which
/// libcni calls the plugin with. The rest is as in [`parse_config`].
pub fn parse_plugin(what: &str, bytes: &[u8], version: &str) -> Result<Network, ConfigError> {
    parse(what, bytes, Form::Plugin, Some(version.to_owned()))
}

fn parse(
    what: &str,
    bytes: &[u8],
    form: Form,
    version: Option<String>,
) -> Result<Network, ConfigError> {
    // Before the length is checked, nothing of that length is made.
    let replaced = if bytes.len() <= CONFIG_LIMIT { replace_invalid(bytes) } else { bytes.into() };
    let (value, repeated) = parse_json(what, &replaced, CONFIG_LIMIT, fields::CONFIG)?;
    Ok(Network { repeated, ..network(what, &value, form, version)? })
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

fn network(
    what: &str,
    value: &Value,
    form: Form,
    outer_version: Option<String>,
) -> Result<Network, ConfigError> {
    let Some(object) = value.as_object() else {
        return Err(ConfigError::Shape { what: what.to_owned(), reason: "is not a JSON object" });
    };
    let is_list = form.is_list(object);
    // In a list, libcni reads these by their exact names (`NetworkConfFromBytes`).
    let (name, version) = match is_list {
        true => (object.get("name"), version_of_list(object)),
        false => (field(object, "name"), version_of_plugin(object)),
    };
    let mut found = Network {
        name: text(name).filter(|name| !name.is_empty()).map(str::to_owned),
        version,
        needs: Vec::new(),
        problems: Vec::new(),
        repeated: None,
        loads_more: is_list && !truth(object.get("loadOnlyInlinedPlugins")),
        multus: None,
    };
    found.walk(Pending {
        value,
        place: String::new(),
        form,
        role: Role::Main,
        version: outer_version,
        looks_first_in: None,
    });
    Ok(found)
}

impl Form {
    fn is_list(self, object: &Map<String, Value>) -> bool {
        match self {
            Self::List => true,
            Self::Single | Self::Plugin => false,
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
            ("", "") => WHOLE.to_owned(),
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
            let is_list = next.form.is_list(object);
            let wrong = wrong_kinds(object, is_list).into_iter();
            self.problems.extend(wrong.map(|(key, reason)| shape(&next.shown(&key), reason)));
            self.check_name(&next, object, is_list);
            match is_list {
                true => self.list(object, &next, &mut found),
                false => self.plugin(object, &next, &mut found),
            }
            // Last in, first out: the order of the document.
            pending.extend(found.into_iter().rev());
        }
    }

    /// Checks the name that the runtime adds the network with.
    fn check_name(&mut self, network: &Pending<'_>, object: &Map<String, Value>, is_list: bool) {
        let name = if is_list { object.get("name") } else { field(object, "name") };
        let is_null = name.is_some_and(Value::is_null);
        let is_required = match network.form {
            Form::List | Form::Single => true,
            Form::Plugin => return,
            // Multus gives a definition without a name its own, and a delegate none.
            Form::Either => network.role == Role::Delegate,
        };
        let place = network.shown("");
        match name.map_or(Some(""), Value::as_str) {
            None if is_null && !is_list => {
                self.problems.push(Problem::NoName { place, is_loaded: true });
            }
            Some("") if is_required => {
                let is_loaded = !is_list || name.is_some();
                self.problems.push(Problem::NoName { place, is_loaded });
            }
            Some(name) if !name.is_empty() && !is_network_name(name) => {
                let name = visible(&name.chars().take(64).collect::<String>()).into_owned();
                self.problems.push(Problem::BadName { place, name });
            }
            _ => {}
        }
    }

    fn list<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        list: &Pending<'a>,
        found: &mut Vec<Pending<'a>>,
    ) {
        let plugins = match object.get("plugins") {
            Some(Value::Array(plugins)) if !plugins.is_empty() => plugins,
            // libcni takes them from the directory with the network's name.
            None if list.form == Form::List && !truth(object.get("loadOnlyInlinedPlugins")) => {
                return;
            }
            None if list.form == Form::List => {
                return self.problems.push(shape(&list.shown("plugins"), "is missing"));
            }
            None => return self.problems.push(no_type(list.shown(""), object)),
            Some(_) => {
                let problem = shape(&list.shown("plugins"), "must be a non-empty list");
                return self.problems.push(problem);
            }
        };
        let version = version_of_list(object);
        // One past the limit is enough to pass it.
        for (index, value) in plugins.iter().enumerate().take(PLUGIN_LIMIT + 1) {
            let role = if index == 0 { list.role } else { Role::Chained };
            let looks_first_in = list.looks_first_in.clone();
            found.push(Pending {
                value,
                place: list.element("plugins", index),
                form: Form::Plugin,
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
        let version = match &plugin.version {
            Some(of_list) => overriding_version(object).unwrap_or_else(|| of_list.clone()),
            None => version_of_plugin(object),
        };
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
        let kind = ipam.and_then(|ipam| field(ipam, "type")).filter(|kind| !kind.is_null());
        let unnamed = || no_type(plugin.shown("ipam"), ipam.unwrap_or(object));
        if kind.is_some_and(|kind| !kind.is_string()) {
            need(unnamed(), None, Role::Ipam);
        } else if name == Some("flannel") {
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
        let directory = |key| text(field(object, key)).and_then(|path| path.parse().ok());
        if catalogue::is_multus(name.unwrap_or_default()) {
            let (configurations, plugins) = (directory("confDir"), directory("binDir"));
            // The outer one searches, also for a Multus among its delegates.
            self.multus.get_or_insert(MultusDirectories { configurations, plugins });
        }
        match field(object, "delegates") {
            None | Some(Value::Null) => {}
            Some(Value::Array(delegates)) => {
                let looks_first_in = directory("binDir").or_else(|| plugin.looks_first_in.clone());
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

/// The problem of an object without `type`. A key such as `type:` or ` type` is a typo that
/// is hard to see.
fn no_type(place: String, object: &Map<String, Value>) -> Problem {
    let letters = |key: &str| key.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let near = object.keys().filter(|key| key.len() < 16 && !key.eq_ignore_ascii_case("type"));
    let near = near.map(String::as_str).find(|key| letters(key).eq_ignore_ascii_case("type"));
    Problem::NoType { place, near: near.map(|key| visible(key).into_owned()) }
}

/// Whether libcni adds a network of this name (`ValidateNetworkName`).
fn is_network_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[cfg(test)]
mod tests;
