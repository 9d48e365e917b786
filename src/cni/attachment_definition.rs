//! NetworkAttachmentDefinitions, as `kubectl get net-attach-def -A -o json` prints them
//! (k8s.cni.cncf.io/v1; Network Plumbing Working Group's "Multiple Networks" 1.3, section 3).

use serde_json::{Map, Value};

use super::config::{ConfigError, Form, Network, field, parse_config, parse_json, text};
use crate::model::visible;

/// The longest document that is read, in bytes: `kubectl` prints each configuration twice, among
/// other fields.
pub const DEFINITIONS_LIMIT: usize = 16 * 1024 * 1024;
/// The most definitions in one document.
const DEFINITION_LIMIT: usize = 16 * 1024;
const KIND: &str = "NetworkAttachmentDefinition";

/// One NetworkAttachmentDefinition.
#[derive(Debug)]
pub struct AttachmentDefinition {
    /// Its `metadata.name`; not a path.
    pub name: String,
    /// Namespace and name, for messages.
    pub shown: String,
    /// What its `spec.config` needs; `None` if it refers to a configuration on the node with its
    /// name.
    pub network: Result<Option<Network>, ConfigError>,
}

/// Parses one definition or a list of them; `what` names the document in errors.
///
/// # Errors
/// If the document is neither. An invalid definition in a list is one of the results.
pub fn parse_definitions(
    what: &str,
    bytes: &[u8],
) -> Result<Vec<AttachmentDefinition>, ConfigError> {
    let shape = |reason| ConfigError::Shape { what: what.to_owned(), reason };
    let none = "is neither a NetworkAttachmentDefinition nor a list of them, as printed by \
        `kubectl get net-attach-def -A -o json`";
    let (value, _) = parse_json(what, bytes, DEFINITIONS_LIMIT)?;
    let object = value.as_object().ok_or_else(|| shape(none))?;
    let kind = text(object.get("kind")).unwrap_or_default();
    match object.get("items").and_then(Value::as_array) {
        Some(items) if items.len() > DEFINITION_LIMIT => {
            Err(shape("has more than 16384 definitions"))
        }
        Some(items) if kind.ends_with("List") => items
            .iter()
            .map(|item| item.as_object().map(definition).ok_or_else(|| shape(none)))
            .collect(),
        None if kind == KIND => Ok(vec![definition(object)]),
        _ => Err(shape(none)),
    }
}

fn definition(object: &Map<String, Value>) -> AttachmentDefinition {
    let metadata = object.get("metadata").and_then(Value::as_object);
    let named = |key| metadata.and_then(|metadata| text(metadata.get(key))).unwrap_or_default();
    let name = named("name").to_owned();
    // Names in Kubernetes have at most 253 bytes; a handwritten file may contain longer ones.
    let short = |text: &str| visible(&text.chars().take(253).collect::<String>()).into_owned();
    let shown = match named("namespace") {
        "" => short(&name),
        namespace => format!("{}/{}", short(namespace), short(&name)),
    };
    let shape = |reason| ConfigError::Shape { what: format!("`{shown}`"), reason };
    let network = match object
        .get("spec")
        .and_then(|spec| spec.as_object())
        .and_then(|spec| field(spec, "config"))
    {
        _ if text(object.get("kind")) != Some(KIND) => {
            Err(shape("is not a NetworkAttachmentDefinition"))
        }
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(config)) if config.is_empty() => Ok(None),
        Some(Value::String(config)) => parse_config(
            &format!("the configuration of `{shown}`"),
            config.as_bytes(),
            Form::Either,
        )
        .map(Some),
        Some(_) => Err(shape("has a `spec.config` that is not a string")),
    };
    AttachmentDefinition { name, shown, network }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(namespace: &str, name: &str, config: &Value) -> Value {
        json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": KIND,
            "metadata": {"name": name, "namespace": namespace, "annotations": {"x": "y"}},
            "spec": {"config": config},
        })
    }

    fn described(value: &Value) -> Result<Vec<String>, String> {
        let all = parse_definitions("it", value.to_string().as_bytes())
            .map_err(|error| error.to_string())?;
        let tell = |definition: AttachmentDefinition| {
            let described = match definition.network {
                Ok(None) => format!("on the node as {}", definition.name),
                Ok(Some(network)) => {
                    let problems = network.problems.iter().map(ToString::to_string);
                    let needs = network.needs.iter().map(|need| need.plugin.to_string());
                    needs.chain(problems).collect::<Vec<_>>().join(" ")
                }
                Err(error) => error.to_string(),
            };
            format!("{}: {described}", definition.shown)
        };
        Ok(all.into_iter().map(tell).collect())
    }

    #[test]
    fn reads_one_definition_and_a_list_of_them() {
        let config =
            json!(r#"{"cniVersion":"0.3.1","type":"macvlan","ipam":{"type":"whereabouts"}}"#);
        let one = item("default", "mv", &config);
        assert_eq!(described(&one), Ok(vec!["default/mv: macvlan whereabouts".to_owned()]));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            one, item("demo", "node", &json!("")), item("", "none", &Value::Null),
            item("demo", "list", &json!(r#"{"plugins":[{"type":"ptp"},{"type":"sbr"}]}"#)),
        ]});
        let expected = [
            "default/mv: macvlan whereabouts",
            "demo/node: on the node as node",
            "none: on the node as none",
            "demo/list: ptp sbr",
        ];
        assert_eq!(described(&list), Ok(expected.map(str::to_owned).to_vec()));
        assert_eq!(
            described(&json!({"kind": "NetworkAttachmentDefinitionList", "items": []})),
            Ok(vec![])
        );
    }

    #[test]
    fn an_invalid_definition_does_not_hide_the_others() {
        let list = json!({"kind": "List", "items": [
            item("a", "b\n", &json!("{")), item("a", "number", &json!(7)),
            item("a", "path", &json!(r#"{"type":"../../../../tmp/x"}"#)),
            json!({"kind": "Pod", "metadata": {"name": "p"}}), item("a", "good", &json!(r#"{"type":"vlan"}"#)),
        ]});
        let expected = [
            "a/b\\u{a}: the configuration of `a/b\\u{a}` is not valid: EOF while parsing an object \
             at line 1 column 1",
            "a/number: `a/number` has a `spec.config` that is not a string",
            "a/path: invalid `type`: plugin name `../../../../tmp/x` contains `/`; letters, \
             digits, `-`, `_` and `.` are allowed",
            "p: `p` is not a NetworkAttachmentDefinition",
            "a/good: vlan",
        ];
        assert_eq!(described(&list), Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn refuses_other_documents() {
        let none =
            Err("it is neither a NetworkAttachmentDefinition nor a list of them, as printed \
            by `kubectl get net-attach-def -A -o json`"
                .to_owned());
        for value in [
            json!([]),
            json!({}),
            json!({"kind": "Pod"}),
            json!({"kind": "List"}),
            json!({"items": []}),
            json!({"kind": "List", "items": [7]}),
        ] {
            assert_eq!(described(&value), none, "{value}");
        }
        let many = json!({"kind": "List", "items": vec![json!({}); DEFINITION_LIMIT + 1]});
        assert_eq!(described(&many), Err("it has more than 16384 definitions".to_owned()));
    }

    #[test]
    fn ten_thousand_nested_delegates_and_a_line_of_a_megabyte_are_harmless() {
        let nested =
            format!("{}{}", r#"{"type":"m","delegates":["#.repeat(10_000), "]}".repeat(10_000));
        let long = format!(r#"{{"type":"bridge","x":"{}"}}"#, "y".repeat(1024 * 1024 - 28));
        let list = json!({"kind": "List", "items": [item("a", "deep", &json!(nested)), item("a", "long", &json!(long))]});
        assert_eq!(
            described(&list),
            Ok(vec![
                "a/deep: the configuration of `a/deep` is nested more than 127 levels deep"
                    .to_owned(),
                "a/long: bridge".to_owned()
            ])
        );
    }
}
