//! NetworkAttachmentDefinitions, as `kubectl get net-attach-def -A -o json` prints them
//! (k8s.cni.cncf.io/v1; Network Plumbing Working Group's "Multiple Networks" 1.3, section 3).

use serde_json::{Map, Value};

use super::config::{
    ConfigError, Form, Network, check_json, field, parse_config, parse_json, text,
};
use crate::model::json::Outline;
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
    let mut definitions = Vec::new();
    each_definition(what, bytes, |definition| definitions.push(definition))?;
    Ok(definitions)
}

/// Parses one definition or a list of them, one after the other: what all of a cluster need may
/// take many times as much memory as the document. `what` names the document in errors.
///
/// # Errors
/// If the document is neither; nothing was visited then. An invalid definition in a list is
/// visited.
pub fn each_definition(
    what: &str,
    bytes: &[u8],
    mut visit: impl FnMut(AttachmentDefinition),
) -> Result<(), ConfigError> {
    let shape = |reason| ConfigError::Shape { what: what.to_owned(), reason };
    let none = || {
        shape(
            "is neither a NetworkAttachmentDefinition nor a list of them, as printed by \
             `kubectl get net-attach-def -A -o json`",
        )
    };
    check_json(what, bytes, DEFINITIONS_LIMIT)?;
    // What was checked is JSON, so its values can be told apart by commas and brackets.
    let document = std::str::from_utf8(bytes).map_err(|_| none())?;
    let (mut kind, mut items) = (String::new(), None);
    for (key, value) in members(document).ok_or_else(none)? {
        match key.as_str() {
            "kind" => kind = serde_json::from_str(value).unwrap_or_default(),
            "items" => items = entries(value),
            _ => {}
        }
    }
    let Some(items) = items else {
        if kind != KIND {
            return Err(none());
        }
        let (value, _) = parse_json(what, bytes, DEFINITIONS_LIMIT, Outline::Any)?;
        visit(definition(value.as_object()));
        return Ok(());
    };
    if items.clone().count() > DEFINITION_LIMIT {
        return Err(shape("has more than 16384 definitions"));
    }
    if !kind.ends_with("List") || items.clone().any(|item| !item.starts_with('{')) {
        return Err(none());
    }
    for (index, item) in items.enumerate() {
        let name = format!("item {} of {what}", index + 1);
        match parse_json(&name, item.as_bytes(), DEFINITIONS_LIMIT, Outline::Any) {
            Ok((value, _)) => visit(definition(value.as_object())),
            Err(error) => visit(AttachmentDefinition {
                name: String::new(),
                shown: name,
                network: Err(error),
            }),
        }
    }
    Ok(())
}

/// The keys of an object and the texts of their values; `None` if it is something else.
fn members(text: &str) -> Option<impl Iterator<Item = (String, &str)>> {
    let inner = text.trim_ascii().strip_prefix('{')?.strip_suffix('}')?;
    Some(Parts(inner).filter_map(|member| {
        let end = member.len() - Parts::after(member, b':')?.len();
        let (key, value) = member.split_at_checked(end)?;
        let key = serde_json::from_str(key.strip_suffix(':')?).ok()?;
        Some((key, value.trim_ascii()))
    }))
}

/// The texts of the entries of a list; `None` if it is something else.
fn entries(text: &str) -> Option<Parts<'_>> {
    Some(Parts(text.trim_ascii().strip_prefix('[')?.strip_suffix(']')?.trim_ascii()))
}

/// The parts between the commas of a list or an object in valid JSON.
#[derive(Clone)]
struct Parts<'a>(&'a str);

impl<'a> Parts<'a> {
    /// What follows the first such character outside of texts, lists and objects.
    fn after(text: &'a str, separator: u8) -> Option<&'a str> {
        let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                byte if byte == separator && depth == 0 => return text.get(at + 1..),
                _ => {}
            }
        }
        None
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let rest = Self::after(self.0, b',').unwrap_or_default();
        let part = self.0.get(..self.0.len() - rest.len()).unwrap_or_default();
        self.0 = rest;
        Some(part.strip_suffix(',').unwrap_or(part).trim_ascii())
    }
}

/// What an object says; nothing else was passed.
fn definition(object: Option<&Map<String, Value>>) -> AttachmentDefinition {
    let get = |key| object.and_then(|object| object.get(key));
    let metadata = get("metadata").and_then(Value::as_object);
    let named = |key| metadata.and_then(|metadata| text(metadata.get(key))).unwrap_or_default();
    let name = named("name").to_owned();
    // Names in Kubernetes have at most 253 bytes; a handwritten file may contain longer ones.
    let short = |text: &str| visible(&text.chars().take(253).collect::<String>()).into_owned();
    let shown = match named("namespace") {
        "" => short(&name),
        namespace => format!("{}/{}", short(namespace), short(&name)),
    };
    let shape = |reason| ConfigError::Shape { what: format!("`{shown}`"), reason };
    let spec = get("spec").and_then(Value::as_object);
    let network = match spec.and_then(|spec| field(spec, "config")) {
        _ if text(get("kind")) != Some(KIND) => Err(shape("is not a NetworkAttachmentDefinition")),
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
    fn items_are_told_apart_whatever_they_contain() {
        let config = json!(r#"{"type":"vlan","x":"],}[{\\\" , "}"#);
        let mut odd = item("a]", "b,\"}", &config);
        odd["metadata"]["annotations"] = json!({"[\"": "}\\", "\\\"": ["{", {"a": []}]});
        let list = json!({"items": [odd, odd], "a:\",": [1], "kind": "List"});
        let text = serde_json::to_string_pretty(&list).unwrap();
        for text in [list.to_string(), text.clone(), format!("\n {text} \n")] {
            let found = parse_definitions("it", text.as_bytes()).unwrap();
            let found: Vec<_> = found.into_iter().map(|it| it.network.unwrap().unwrap()).collect();
            assert_eq!(found.len(), 2);
            assert!(found.iter().all(|network| network.needs[0].plugin.as_str() == "vlan"));
        }
    }

    #[test]
    fn an_item_with_more_values_than_any_definition_is_a_problem_of_its_own() {
        let mut large = item("a", "large", &json!(""));
        large["metadata"]["managedFields"] = json!(vec![0; 5000]);
        let list = json!({"kind": "List", "items": [large, item("a", "good", &json!(r#"{"type":"vlan"}"#))]});
        let found = described(&list).unwrap();
        assert_eq!(found[1], "a/good: vlan");
        assert!(
            found[0].contains("item 1 of it is not valid: more than 3072 values"),
            "{}",
            found[0]
        );
        // Few values each, and many in all.
        let many = json!({"kind": "List", "items": vec![item("a", "b", &json!("")); 2000]});
        assert_eq!(described(&many).unwrap().len(), 2000);
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
