//! What libcni and Multus remember about attachments.
//!
//! Each record holds the configuration that an attachment was made with, which names the plugins
//! that are needed to remove it. Pure: `node` finds and reads the files, and `node/plan` decides by
//! them which plugins must stay.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::config::{ConfigError, Form, Network, field, parse_config, parse_json, text};
use super::fields;

/// The longest record that is read, in bytes; real ones have a few kilobytes.
pub const CACHE_LIMIT: usize = 1024 * 1024;
/// The longest name in a record, in bytes: libcni joins three of them in a file name.
const NAME_LIMIT: usize = 1024;

/// The most plugins in the delegates of one container.
const DELEGATE_LIMIT: usize = 4096;

/// One attachment of a container to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The container ID.
    pub container: String,
    /// The name of the network.
    pub network: String,
    /// The interface in the container, if the record names it.
    pub interface: Option<String>,
    /// The container's network namespace, if the record names it.
    pub namespace: Option<String>,
    /// Namespace and name of the pod, as `namespace/name`, if the record names them.
    pub pod: Option<String>,
    /// The plugins that the network needs.
    pub needs: Network,
}

/// Parses a file of libcni's result cache (`/var/lib/cni/results`; `cachedInfo` in libcni's
/// `api.go`).
///
/// Before CNI 0.8 such a file was the bare result, which does not contain the configuration: that
/// is an error.
pub fn parse_result_cache(what: &str, bytes: &[u8]) -> Result<CacheEntry, ConfigError> {
    let shape = |reason| ConfigError::Shape { what: what.to_owned(), reason };
    let (value, _) = parse_json(what, bytes, CACHE_LIMIT, fields::RECORD)?;
    let object = value.as_object().ok_or_else(|| shape("is not a JSON object"))?;
    if text(field(object, "kind")) != Some("cniCacheV1") {
        return Err(shape("is not a cache entry of kind `cniCacheV1`"));
    }
    let config =
        decode(object, "config").ok_or_else(|| shape("has no valid base64 in `config`"))?;
    let needs = recorded(&format!("the configuration in {what}"), &config)?;
    let named = |name| short_text(object, name);
    Ok(CacheEntry {
        container: named("containerId").ok_or_else(|| shape("has no `containerId`"))?,
        network: named("networkName").ok_or_else(|| shape("has no `networkName`"))?,
        interface: named("ifName"),
        namespace: named("netns"),
        pod: pod(object),
        needs,
    })
}

/// Parses a file of Multus' cache (`/var/lib/cni/multus/CONTAINER`): the delegates of a container,
/// as Multus writes its `DelegateNetConf`.
pub fn parse_multus_cache(
    what: &str,
    container: &str,
    bytes: &[u8],
) -> Result<Vec<CacheEntry>, ConfigError> {
    let shape = |reason| ConfigError::Shape { what: what.to_owned(), reason };
    let (value, _) = parse_json(what, bytes, CACHE_LIMIT, fields::DELEGATES)?;
    let delegates = value.as_array().ok_or_else(|| shape("is not a list of delegates"))?;
    let mut found = Vec::new();
    let mut count = 0;
    for delegate in delegates {
        let object = delegate
            .as_object()
            .ok_or_else(|| shape("has a delegate that is not a JSON object"))?;
        let config = decode(object, "Bytes")
            .ok_or_else(|| shape("has a delegate without valid base64 in `Bytes`"))?;
        let needs = recorded(&format!("a delegate in {what}"), &config)?;
        count += needs.needs.len() + needs.problems.len();
        if count > DELEGATE_LIMIT {
            return Err(shape("names more than 4096 plugins"));
        }
        let own = needs.name.clone().filter(|name| name.len() <= NAME_LIMIT);
        found.push(CacheEntry {
            container: container.to_owned(),
            network: short_text(object, "Name").or(own).unwrap_or_default(),
            interface: short_text(object, "ifnameRequest"),
            namespace: None,
            pod: None,
            needs,
        });
    }
    Ok(found)
}

/// Parses the configuration of an attachment that was made: whatever its name is, it hides no
/// plugin.
fn recorded(what: &str, config: &[u8]) -> Result<Network, ConfigError> {
    let mut network = parse_config(what, config, Form::Either)?;
    network.problems.retain(|problem| !problem.is_about_name());
    Ok(network)
}

/// The pod that a kubelet's runtime names in the arguments of the attachment
/// (`K8S_POD_NAMESPACE` and `K8S_POD_NAME` in `cniArgs`, a list of pairs).
fn pod(object: &Map<String, Value>) -> Option<String> {
    let pairs = field(object, "cniArgs")?.as_array()?;
    let argument = |name: &str| {
        let mut pairs = pairs.iter().filter_map(Value::as_array).map(Vec::as_slice);
        pairs.find_map(|pair| match pair {
            [key, Value::String(value)] if key == name => Some(value),
            _ => None,
        })
    };
    let (namespace, name) = (argument("K8S_POD_NAMESPACE")?, argument("K8S_POD_NAME")?);
    let is_name = |text: &String| (1..=NAME_LIMIT).contains(&text.len());
    (is_name(namespace) && is_name(name)).then(|| format!("{namespace}/{name}"))
}

/// Returns a string that is neither empty nor longer than any name.
fn short_text(object: &Map<String, Value>, name: &str) -> Option<String> {
    text(field(object, name))
        .filter(|text| (1..=NAME_LIMIT).contains(&text.len()))
        .map(str::to_owned)
}

fn decode(object: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text(field(object, name))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a record as libcni does.
    fn entry(config: &str) -> String {
        let config = STANDARD.encode(config);
        format!(
            r#"{{"kind":"cniCacheV1","containerId":"c1","config":"{config}","ifName":"net1","networkName":"n",
                "netns":"/run/netns/c1","cniArgs":[["IgnoreUnknown","1"]],"result":{{"cniVersion":"1.0.0"}}}}"#
        )
    }

    fn plugins(entry: &CacheEntry) -> Vec<&str> {
        entry.needs.needs.iter().map(|need| need.plugin.as_str()).collect()
    }

    #[test]
    fn reads_what_an_attachment_was_made_with() {
        let list = r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"bridge","ipam":{"type":"static"}},{"type":"tuning"}]}"#;
        let parsed = parse_result_cache("it", entry(list).as_bytes()).unwrap();
        let CacheEntry { container, network, interface, namespace, .. } = &parsed;
        assert_eq!((container.as_str(), network.as_str()), ("c1", "n"));
        assert_eq!(
            (interface.as_deref(), namespace.as_deref()),
            (Some("net1"), Some("/run/netns/c1"))
        );
        assert_eq!(plugins(&parsed), ["bridge", "static", "tuning"]);
        // A runtime that adds a single plugin rather than a list, as Multus does.
        let single = parse_result_cache(
            "it",
            entry(r#"{"type":"macvlan","ipam":{"type":"dhcp"}}"#).as_bytes(),
        )
        .unwrap();
        assert_eq!(plugins(&single), ["macvlan", "dhcp"]);
    }

    #[test]
    fn a_record_names_its_pod_if_both_arguments_do() {
        let entry = entry(r#"{"type":"a"}"#);
        let none = r#"[["IgnoreUnknown","1"]]"#;
        for (arguments, expected) in [
            (r#"[["K8S_POD_NAMESPACE","demo"],["K8S_POD_NAME","web-0"]]"#, Some("demo/web-0")),
            (
                r#"[["K8S_POD_NAME","a"],["K8S_POD_NAMESPACE","b"],["K8S_POD_NAME","c"]]"#,
                Some("b/a"),
            ),
            (r#"[["K8S_POD_NAMESPACE","demo"]]"#, None),
            (r#"[["K8S_POD_NAMESPACE","demo"],["K8S_POD_NAME",""]]"#, None),
            (r#"[["K8S_POD_NAMESPACE","demo"],["K8S_POD_NAME",7],["K8S_POD_NAME"]]"#, None),
            (r#"{"K8S_POD_NAME":"web-0"}"#, None),
            ("null", None),
        ] {
            let parsed = parse_result_cache("it", entry.replace(none, arguments).as_bytes());
            assert_eq!(parsed.unwrap().pod.as_deref(), expected, "{arguments}");
        }
    }

    #[test]
    fn a_record_without_a_configuration_is_an_error() {
        let good = entry(r#"{"type":"a"}"#);
        let cases = [
            // The bare result of CNI 0.7 and older.
            (
                r#"{"cniVersion":"0.3.1","ips":[],"dns":{}}"#.to_owned(),
                "it is not a cache entry of kind `cniCacheV1`",
            ),
            (
                good.replace("cniCacheV1", "cniCacheV2"),
                "it is not a cache entry of kind `cniCacheV1`",
            ),
            (good.replace("\"config\"", "\"configuration\""), "it has no valid base64 in `config`"),
            (good.replace("\"config\":\"", "\"config\":\"!"), "it has no valid base64 in `config`"),
            (good.replace("\"c1\"", "\"\""), "it has no `containerId`"),
            (good.replace("networkName", "network"), "it has no `networkName`"),
            (entry("[]"), "the configuration in it is not a JSON object"),
            (
                entry("{"),
                "the configuration in it is not valid: EOF while parsing an object at line 1 \
                 column 1",
            ),
            ("[]".to_owned(), "it is not a JSON object"),
        ];
        for (text, expected) in cases {
            let error = parse_result_cache("it", text.as_bytes()).expect_err(&text);
            assert_eq!(error.to_string(), expected, "{text}");
        }
        assert!(parse_result_cache("it", good.as_bytes()).is_ok());
    }

    #[test]
    fn reads_the_delegates_that_multus_remembers() {
        let bytes = |config: &str| STANDARD.encode(config);
        let list = bytes(
            r#"{"name":"default","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}"#,
        );
        let single = bytes(r#"{"type":"macvlan","name":"mv"}"#);
        let text = format!(
            r#"[{{"Conf":{{}},"Name":"","Bytes":"{list}"}},{{"Name":"demo/mv","ifnameRequest":"x","Bytes":"{single}"}}]"#
        );
        let entries = parse_multus_cache("it", "c1", text.as_bytes()).unwrap();
        let described: Vec<_> =
            entries.iter().map(|entry| (entry.network.as_str(), plugins(entry))).collect();
        assert_eq!(
            described,
            [("default", vec!["bridge", "host-local"]), ("demo/mv", vec!["macvlan"])]
        );
        assert_eq!(
            (entries[1].container.as_str(), entries[1].interface.as_deref()),
            ("c1", Some("x"))
        );
        for (text, expected) in [
            ("{}", "it is not a list of delegates"),
            ("[7]", "it has a delegate that is not a JSON object"),
            (r#"[{"Name":"n"}]"#, "it has a delegate without valid base64 in `Bytes`"),
            (r#"[{"Bytes":"W10="}]"#, "a delegate in it is not a JSON object"),
        ] {
            assert_eq!(
                parse_multus_cache("it", "c1", text.as_bytes()).expect_err(text).to_string(),
                expected
            );
        }
    }
}
