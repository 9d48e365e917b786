//! The kinds of values that libcni expects in the fields of a configuration. It refuses a whole
//! configuration that has another kind in one of them, whether or not a plugin needs the field.

use serde_json::{Map, Value};

use super::lookup::field;
use super::version::is_version;

/// What a field of a plugin holds. `null` is as good as none everywhere.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// An object; the fields that are named have these kinds.
    Object(&'static [(&'static str, Kind)]),
    /// An object whose keys are data, and whose values are true or false.
    Truths,
    List(&'static Kind),
}

use Kind::{List, Object, Text, Truths};

/// The fields of a plugin (`PluginConf` in libcni's `pkg/types`), besides `type` and `ipam.type`,
/// without which no plugin is named.
const PLUGIN: &[(&str, Kind)] = &[
    ("cniVersion", Text),
    ("name", Text),
    ("capabilities", Truths),
    ("ipam", Object(&[])),
    (
        "dns",
        Object(&[
            ("nameservers", List(&Text)),
            ("domain", Text),
            ("search", List(&Text)),
            ("options", List(&Text)),
        ]),
    ),
    ("prevResult", Object(&[])),
    ("cni.dev/valid-attachments", List(&Object(&[("containerID", Text), ("ifname", Text)]))),
];

/// Returns the fields of a list or of a plugin that have another kind, as path and predicate.
pub(super) fn wrong_kinds(
    object: &Map<String, Value>,
    is_list: bool,
) -> Vec<(String, &'static str)> {
    if is_list {
        let wrong =
            |(key, check): &(&str, Check)| Some(((*key).to_owned(), check(object.get(*key)?)?));
        return LIST.iter().filter_map(wrong).collect();
    }
    let wrong = |(key, kind): &(&str, Kind)| {
        let (path, reason) = kind.wrong(field(object, key)?)?;
        Some((format!("{key}{path}"), reason))
    };
    PLUGIN.iter().filter_map(wrong).collect()
}

/// A check of one value: the reason why it is wrong.
type Check = fn(&Value) -> Option<&'static str>;

/// The fields of a list (libcni, `NetworkConfFromBytes`), in which `null` is wrong.
const LIST: [(&str, Check); 6] = [
    ("name", text),
    ("cniVersion", text),
    ("cniVersions", versions),
    ("disableCheck", truth),
    ("disableGC", truth),
    ("loadOnlyInlinedPlugins", truth),
];

fn text(value: &Value) -> Option<&'static str> {
    (!value.is_string()).then_some("is not a string")
}

fn versions(value: &Value) -> Option<&'static str> {
    let Value::Array(versions) = value else { return Some("is not a list") };
    let is_one = |version: &Value| version.as_str().is_some_and(is_version);
    (!versions.iter().all(is_one)).then_some("has an entry that is not a version")
}

fn truth(value: &Value) -> Option<&'static str> {
    let is_truth = match value {
        Value::Bool(_) => true,
        Value::String(text) => ["true", "false"].iter().any(|it| text.eq_ignore_ascii_case(it)),
        _ => false,
    };
    (!is_truth).then_some("is neither true nor false")
}

impl Kind {
    /// Returns where in the value another kind is, and what is wrong there.
    fn wrong(self, value: &Value) -> Option<(String, &'static str)> {
        let here = |reason| Some((String::new(), reason));
        match (self, value) {
            (_, Value::Null) | (Text, Value::String(_)) => None,
            (Text, _) => here("is not a string"),
            (Object(fields), Value::Object(object)) => fields.iter().find_map(|(key, kind)| {
                let (path, reason) = kind.wrong(field(object, key)?)?;
                Some((format!(".{key}{path}"), reason))
            }),
            (Truths, Value::Object(object)) => {
                let mut values = object.values();
                match values.all(|value| value.is_boolean() || value.is_null()) {
                    true => None,
                    false => here("has a value that is neither true nor false"),
                }
            }
            (Object(_) | Truths, _) => here("is not a JSON object"),
            (List(kind), Value::Array(values)) => {
                values.iter().enumerate().find_map(|(index, value)| {
                    let (path, reason) = kind.wrong(value)?;
                    Some((format!("[{index}]{path}"), reason))
                })
            }
            (List(_), _) => here("is not a list"),
        }
    }
}
