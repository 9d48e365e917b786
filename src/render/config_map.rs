//! Files for pods, as ConfigMaps with a single text.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zstd::stream::write::Encoder;

use super::{NAME, Namespace, RenderError, yaml};
use crate::trust::Evidence;

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

/// Renders the ConfigMap `cnister-KIND` with a text that is too long for [`config_map`],
/// compressed. The key says so; what reads it goes by its first bytes.
pub(super) fn compressed_config_map(
    namespace: &Namespace,
    kind: &'static str,
    key: &str,
    text: &str,
) -> Result<String, RenderError> {
    let compressed = compress(text.as_bytes())
        .map_err(|error| RenderError::Compression { what: kind, reason: error.to_string() })?;
    let content = STANDARD.encode(compressed);
    if content.len() > LIMIT {
        let found = content.len();
        return Err(RenderError::TooLong { what: kind, found, limit: LIMIT });
    }
    Ok(format!(
        "\
apiVersion: v1
kind: ConfigMap
binaryData:
  {key}: {content}
metadata:
  name: {NAME}-{kind}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: {NAME}
",
        namespace = yaml::quoted(&namespace.to_string()),
        key = yaml::quoted(&format!("{key}.zst")),
    ))
}

/// One frame, with a window that nodes accept.
fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(Evidence::WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The level of zstd: a text of a megabyte takes a second.
const LEVEL: i32 = 19;

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
    use crate::model::Digest;

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
    fn compresses_what_is_too_long_and_refuses_what_still_is() {
        let namespace = "cnister".parse().unwrap();
        let text = "<".repeat(LIMIT);
        let rendered = compressed_config_map(&namespace, "evidence", "a.json", &text).unwrap();
        let line = rendered.lines().find_map(|line| line.strip_prefix("  \"a.json.zst\": "));
        let compressed = STANDARD.decode(line.unwrap()).unwrap();
        assert_eq!(zstd::bulk::decompress(&compressed, LIMIT).unwrap(), text.as_bytes());
        let random: String = (0..LIMIT as u64)
            .map(|number| Digest::of(&number.to_be_bytes()).hex())
            .take(16 * 1024)
            .collect();
        let error = compressed_config_map(&namespace, "evidence", "a.json", &random);
        assert!(matches!(error, Err(RenderError::TooLong { found, .. }) if found > LIMIT));
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
