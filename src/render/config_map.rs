//! Files for pods, as ConfigMaps with a single text.

use super::{NAME, Namespace, RenderError, yaml};

/// The longest text of a ConfigMap, in bytes, as `kubectl apply` copies it into an annotation. All
/// annotations of an object may have 256 KiB (`TotalAnnotationSizeLimitB`), and the object around
/// the text counts as well.
pub(super) const LIMIT: usize = 250 * 1024;

/// Renders the ConfigMap `cnister-KIND` with a text under a key.
pub(super) fn config_map(
    namespace: &Namespace,
    kind: &'static str,
    key: &str,
    text: &str,
) -> Result<String, RenderError> {
    let found = applied_length(text);
    if found > LIMIT {
        return Err(RenderError::TooLong { what: kind, found, limit: LIMIT });
    }
    // The text is not at the end of its document: tools that split at `---` (Helm, Kubernetes' own
    // stream decoder) take the last line feed as part of the separator, which would change the
    // digest.
    Ok(format!(
        "\
apiVersion: v1
kind: ConfigMap
data:
  {key}: {text}
metadata:
  name: {NAME}-{kind}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: {NAME}
",
        namespace = yaml::quoted(&namespace.to_string()),
        key = yaml::quoted(key),
        text = yaml::block(text, 4),
    ))
}

/// Returns the length of a text in the annotation of `kubectl apply`: a JSON string as Go writes
/// it, with `<`, `>`, `&` and the Unicode line separators escaped.
fn applied_length(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        c if u32::from(c) < 0x20 => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_kubectl_could_not_apply() {
        let namespace = "cnister".parse().unwrap();
        // Each `<` takes six bytes in Go's JSON.
        for (count, expected) in [
            (LIMIT / 6, None),
            (
                LIMIT / 6 + 1,
                Some(RenderError::TooLong {
                    what: "policy",
                    found: LIMIT / 6 * 6 + 6,
                    limit: LIMIT,
                }),
            ),
        ] {
            let text = "<".repeat(count);
            assert_eq!(config_map(&namespace, "policy", "policy.yaml", &text).err(), expected);
        }
    }

    #[test]
    fn counts_what_go_escapes() {
        for (text, expected) in
            [("", 0), ("aé", 3), ("\"\\\n", 6), ("<>&", 18), ("\u{2028}\u{1}", 12)]
        {
            assert_eq!(applied_length(text), expected, "{text:?}");
        }
    }
}
