//! Network configurations (CNI specification 1.1.0, section 1; libcni's `conf.go`) and the plugins
//! they need. Fields that belong to a plugin are not interpreted.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{HostPath, JsonError, ParsePluginNameError, PluginName, json, visible};

/// The longest configuration that is read, in bytes; real ones have a few hundred.
pub const CONFIG_LIMIT: usize = 1024 * 1024;
/// The most plugins that one configuration may name. Multus with twenty delegates names about
/// forty.
const PLUGIN_LIMIT: usize = 1024;
/// The newest CNI version that a runtime chooses from a list of versions.
const NEWEST: [u64; 3] = [1, 1, 0];

/// A parsed network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its `name`, if it has one.
    pub name: Option<String>,
    /// The plugins it needs, in order of appearance; a plugin may occur twice.
    pub needs: Vec<Need>,
    /// Places where a plugin should be named, but is not.
    pub problems: Vec<Problem>,
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
    /// The CNI version that it is called with, if the configuration has one.
    pub version: Option<String>,
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
    #[error("missing `type` in {0}")]
    NoType(&'static str),
    /// A value of another kind than the specification requires.
    #[error("{0}")]
    Shape(&'static str),
    /// More plugins than any network has.
    #[error("it names more than {PLUGIN_LIMIT} plugins")]
    TooMany,
}

/// Why bytes are not a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, too long, or with a duplicate key.
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

/// Parses a configuration; `what` names it in errors.
pub fn parse_config(what: &str, bytes: &[u8], form: Form) -> Result<Network, ConfigError> {
    network(what, &parse_json(what, bytes, CONFIG_LIMIT)?, form)
}

/// Parses untrusted JSON.
pub(crate) fn parse_json(what: &str, bytes: &[u8], limit: usize) -> Result<Value, ConfigError> {
    json::parse(what, bytes, limit).map_err(|error| match error {
        JsonError::Invalid { reason, .. } if reason.starts_with("recursion limit exceeded") => {
            ConfigError::TooDeep { what: what.to_owned() }
        }
        error => error.into(),
    })
}

fn network(what: &str, value: &Value, form: Form) -> Result<Network, ConfigError> {
    let Some(object) = value.as_object() else {
        return Err(ConfigError::Shape { what: what.to_owned(), reason: "is not a JSON object" });
    };
    let is_list = form.is_list(object);
    let loads_more = is_list && !truth(field(object, "loadOnlyInlinedPlugins"));
    let name = text(field(object, "name")).map(str::to_owned);
    let mut found = Network { name, needs: Vec::new(), problems: Vec::new(), loads_more };
    let first = Pending { value, form, role: Role::Main, version: None, looks_first_in: None };
    found.walk(first);
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
    form: Form,
    role: Role,
    /// The version of the enclosing list, which libcni sets in each of its plugins.
    version: Option<Option<String>>,
    looks_first_in: Option<HostPath>,
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
                self.problems.push(Problem::Shape("a plugin's configuration is not a JSON object"));
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
            None => return self.problems.push(Problem::NoType("a plugin's configuration")),
            Some(_) => {
                return self.problems.push(Problem::Shape("`plugins` must be a non-empty list"));
            }
        };
        let version = version(object);
        for (index, value) in plugins.iter().enumerate() {
            let role = if index == 0 { list.role } else { Role::Chained };
            let looks_first_in = list.looks_first_in.clone();
            found.push(Pending {
                value,
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
        let mut need = |kind: &'static str, name: Option<&str>, role| {
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                return self.problems.push(Problem::NoType(kind));
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
        need("a plugin's configuration", name, plugin.role);
        let ipam =
            field(object, "ipam").and_then(Value::as_object).and_then(|ipam| field(ipam, "type"));
        if name == Some("flannel") {
            // The plugin that flannel calls by default (flannel-io/cni-plugin, `doCmdAdd`).
            let delegate = field(object, "delegate").and_then(Value::as_object);
            let delegate =
                delegate.and_then(|delegate| text(field(delegate, "type"))).unwrap_or("bridge");
            need("a delegate", Some(delegate), Role::Delegate);
            need("`ipam`", Some(text(ipam).unwrap_or("host-local")), Role::Ipam);
        } else if let Some(kind) = ipam.filter(|kind| kind.as_str() != Some("")) {
            need("`ipam`", text(Some(kind)), Role::Ipam);
        }
        match field(object, "delegates") {
            None | Some(Value::Null) => {}
            Some(Value::Array(delegates)) => {
                let own = text(field(object, "binDir")).and_then(|path| path.parse().ok());
                let looks_first_in = own.or_else(|| plugin.looks_first_in.clone());
                found.extend(delegates.iter().map(|value| Pending {
                    value,
                    form: Form::Either,
                    role: Role::Delegate,
                    version: None,
                    looks_first_in: looks_first_in.clone(),
                }));
            }
            Some(_) => self.problems.push(Problem::Shape("`delegates` must be a list")),
        }
    }
}

/// Returns the version that libcni calls the plugins of a configuration with: the newest supported
/// one of those listed.
fn version(object: &Map<String, Value>) -> Option<String> {
    let listed = field(object, "cniVersions").and_then(Value::as_array).into_iter().flatten();
    let single = text(field(object, "cniVersion"));
    let numbered = |text: &str| Some((numbers(text)?, text.to_owned()));
    let known = listed.filter_map(Value::as_str).chain(single).filter_map(numbered);
    let newest = known.filter(|(version, _)| *version <= NEWEST).max().map(|(_, text)| text);
    // A version that is still unknown is passed to the plugins if it is the only one.
    newest.or_else(|| {
        single.map(|text| visible(&text.chars().take(32).collect::<String>()).into_owned())
    })
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
mod tests {
    use super::*;

    /// Renders the needs of a configuration as `role plugin version`, and its problems.
    fn described(text: &str, form: Form) -> Result<(Vec<String>, Vec<String>), String> {
        let network =
            parse_config("it", text.as_bytes(), form).map_err(|error| error.to_string())?;
        let need = |need: &Need| {
            let first =
                need.looks_first_in.as_ref().map_or_else(String::new, |path| format!(" in {path}"));
            format!(
                "{:?} {} {}{first}",
                need.role,
                need.plugin,
                need.version.as_deref().unwrap_or("-")
            )
        };
        let problems = network.problems.iter().map(ToString::to_string).collect();
        Ok((network.needs.iter().map(need).collect(), problems))
    }

    #[test]
    fn knows_main_chained_ipam_and_delegates() {
        let cases: [(Form, &str, &[&str]); 12] = [
            (Form::Single, r#"{"type":"macvlan","cniVersion":"0.4.0"}"#, &["Main macvlan 0.4.0"]),
            (
                Form::Single,
                r#"{"type":"bridge","ipam":{"type":"host-local"}}"#,
                &["Main bridge -", "Ipam host-local -"],
            ),
            (Form::Single, r#"{"type":"bridge","ipam":{}}"#, &["Main bridge -"]),
            (Form::Single, r#"{"type":"bridge","ipam":{"type":""}}"#, &["Main bridge -"]),
            (
                Form::List,
                r#"{"cniVersion":"1.0.0","plugins":[{"type":"ptp","cniVersion":"0.1.0","ipam":{"type":"static"}},{"type":"portmap"},{"type":"tuning"}]}"#,
                &[
                    "Main ptp 1.0.0",
                    "Ipam static 1.0.0",
                    "Chained portmap 1.0.0",
                    "Chained tuning 1.0.0",
                ],
            ),
            // What libcni 1.3 picks from a list: the newest version that it knows.
            (
                Form::List,
                r#"{"cniVersion":"0.4.0","cniVersions":["1.0.0","1.1.0","1.2.0"],"plugins":[{"type":"a"}]}"#,
                &["Main a 1.1.0"],
            ),
            (Form::List, r#"{"cniVersion":"2.0.0","plugins":[{"type":"a"}]}"#, &["Main a 2.0.0"]),
            (
                Form::Single,
                r#"{"cniVersion":"000000000000000000000000000000000001.0.0","type":"a"}"#,
                &["Main a 00000000000000000000000000000000"],
            ),
            // Go ignores the case of field names.
            (
                Form::Single,
                r#"{"Type":"bridge","IPAM":{"TYPE":"static"}}"#,
                &["Main bridge -", "Ipam static -"],
            ),
            (
                Form::Single,
                r#"{"type":"flannel"}"#,
                &["Main flannel -", "Delegate bridge -", "Ipam host-local -"],
            ),
            (
                Form::Single,
                r#"{"type":"flannel","ipam":{"type":"dhcp"},"delegate":{"type":"ipvlan"}}"#,
                &["Main flannel -", "Delegate ipvlan -", "Ipam dhcp -"],
            ),
            (
                Form::Single,
                r#"{"type":"multus","cniVersion":"1.0.0","binDir":"/var/lib/rancher/k3s/data/cni","clusterNetwork":"x",
                  "defaultNetworks":["y"],"delegates":[
                  {"cniVersion":"0.3.1","plugins":[{"type":"bridge","ipam":{"type":"whereabouts"}},{"type":"sbr"}]},
                  {"type":"multus","delegates":[{"type":"macvlan"}]}]}"#,
                &[
                    "Main multus 1.0.0",
                    "Delegate bridge 0.3.1 in /var/lib/rancher/k3s/data/cni",
                    "Ipam whereabouts 0.3.1 in /var/lib/rancher/k3s/data/cni",
                    "Chained sbr 0.3.1 in /var/lib/rancher/k3s/data/cni",
                    "Delegate multus - in /var/lib/rancher/k3s/data/cni",
                    "Delegate macvlan - in /var/lib/rancher/k3s/data/cni",
                ],
            ),
        ];
        for (form, text, expected) in cases {
            let (needs, problems) = described(text, form).unwrap();
            assert_eq!(
                (needs, problems),
                (expected.iter().map(ToString::to_string).collect(), vec![]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_type_that_is_not_a_file_name_is_a_problem_and_not_a_need() {
        let slash = "letters, digits, `-`, `_` and `.` are allowed";
        let cases = [
            (
                Form::Single,
                r#"{"type":"../../../bin/sh"}"#,
                format!("invalid `type`: plugin name `../../../bin/sh` contains `/`; {slash}"),
            ),
            (
                Form::Single,
                r#"{"type":"a\u001b[2J"}"#,
                format!(
                    "invalid `type`: plugin name `a\\u{{1b}}[2J` contains `\\u{{1b}}`; {slash}"
                ),
            ),
            (
                Form::Single,
                r#"{"type":".."}"#,
                "invalid `type`: plugin name `..` starts with `.` or `-`".to_owned(),
            ),
            (
                Form::Single,
                r#"{"type":""}"#,
                "missing `type` in a plugin's configuration".to_owned(),
            ),
            (
                Form::Single,
                r#"{"plugins":[{"type":"a"}]}"#,
                "missing `type` in a plugin's configuration".to_owned(),
            ),
            (Form::Either, "{}", "missing `type` in a plugin's configuration".to_owned()),
            (
                Form::Single,
                r#"{"type":7}"#,
                "missing `type` in a plugin's configuration".to_owned(),
            ),
            (Form::List, r#"{"plugins":[]}"#, "`plugins` must be a non-empty list".to_owned()),
            (Form::List, r#"{"plugins":{}}"#, "`plugins` must be a non-empty list".to_owned()),
            (
                Form::List,
                r#"{"plugins":["a"]}"#,
                "a plugin's configuration is not a JSON object".to_owned(),
            ),
        ];
        for (form, text, expected) in cases {
            assert_eq!(described(text, form), Ok((vec![], vec![expected])), "{text}");
        }
        // Valid entries beside an invalid one are still needed.
        let (needs, problems) =
            described(r#"{"type":"bridge","ipam":{"type":"x/y"},"delegates":7}"#, Form::Single)
                .unwrap();
        assert_eq!((needs, problems.len()), (vec!["Main bridge -".to_owned()], 2));
        let (needs, problems) =
            described(r#"{"type":"bridge","ipam":{"type":7}}"#, Form::Single).unwrap();
        assert_eq!(
            (needs, problems),
            (vec!["Main bridge -".to_owned()], vec!["missing `type` in `ipam`".to_owned()])
        );
    }

    #[test]
    fn says_whether_libcni_looks_for_more_plugins() {
        for (form, text, expected) in [
            (Form::List, r#"{"name":"n","plugins":[{"type":"a"}]}"#, true),
            (Form::List, r#"{"name":"n"}"#, true),
            (Form::List, r#"{"loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}"#, false),
            (Form::List, r#"{"loadOnlyInlinedPlugins":"True","plugins":[{"type":"a"}]}"#, false),
            (Form::Single, r#"{"type":"a"}"#, false),
        ] {
            assert_eq!(
                parse_config("it", text.as_bytes(), form).unwrap().loads_more,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn hostile_input_is_refused_or_bounded() {
        let nested = |depth: usize| {
            let open = r#"{"type":"m","delegates":["#.repeat(depth);
            format!(r#"{open}{{"type":"end"}}{}"#, "]}".repeat(depth))
        };
        let (needs, _) = described(&nested(60), Form::Single).unwrap();
        assert_eq!((needs.len(), needs[60].as_str()), (61, "Delegate end -"));
        let deep = Err("it is nested more than 127 levels deep".to_owned());
        assert_eq!(described(&nested(64), Form::Single), deep);
        assert_eq!(described(&nested(10_000), Form::Single), deep);
        assert_eq!(described(&"[".repeat(CONFIG_LIMIT), Form::Either), deep);

        let plugins = |count: usize| {
            format!(r#"{{"plugins":[{}]}}"#, vec![r#"{"type":"a"}"#; count].join(","))
        };
        assert_eq!(described(&plugins(1023), Form::List).unwrap().0.len(), 1023);
        let (needs, problems) = described(&plugins(10_000), Form::List).unwrap();
        assert_eq!(
            (needs.len(), problems),
            (1024, vec!["it names more than 1024 plugins".to_owned()])
        );

        // One long line is just a long string.
        let line =
            |length: usize| format!(r#"{{"type":"bridge","name":"{}"}}"#, "x".repeat(length));
        assert_eq!(described(&line(CONFIG_LIMIT - 27), Form::Single).unwrap().0, ["Main bridge -"]);
        let error =
            described(&line(CONFIG_LIMIT - 26), Form::Single).expect_err("one byte too long");
        assert_eq!(error, "it is 1048577 bytes long, the limit is 1048576");
        let twice =
            described(r#"{"type":"a","type":"b"}"#, Form::Single).expect_err("a repeated key");
        assert_eq!(twice, "it is not valid: the key `type` appears twice at line 1 column 18");
        assert_eq!(described("[]", Form::Either), Err("it is not a JSON object".to_owned()));
        assert!(
            described("", Form::Either).expect_err("nothing").starts_with("it is not valid: EOF")
        );
    }
}
