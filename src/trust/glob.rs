//! The patterns of a policy's `images`: `*` within a path component, `**` across components.
//!
//! A pattern is matched with a repository's name, never with a tag or a digest: a tag can be moved,
//! and a digest is what a signature is for. Matching takes `pattern × text` steps at worst, so that
//! no pattern can stall a node.

use crate::model::{Repository, normal_host};

/// A pattern over `host/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    /// Parses a pattern; a plain repository name is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*./:[]_-".contains(c);
        if text.is_empty() || text.len() > 512 {
            return Err("an image pattern has 1 to 512 characters".to_owned());
        }
        if let Some(c) = text.chars().find(|c| !allowed(*c)) {
            let shown = crate::model::visible(text);
            return Err(format!(
                "image pattern `{shown}` contains `{}`; tags and digests are not matched",
                c.escape_default()
            ));
        }
        if text.split('/').any(|part| part.contains("**") && part != "**") {
            return Err(format!("image pattern `{text}`: `**` must be a whole path component"));
        }
        Ok(Self(normal(text)))
    }

    /// Whether `name` matches; without a name only `**` does.
    pub(super) fn matches(&self, name: Option<&str>) -> bool {
        let Some(name) = name else { return self.0 == "**" };
        let (pattern, name): (Vec<_>, Vec<_>) =
            (self.0.split('/').collect(), name.split('/').collect());
        wildcard(&pattern, &name, |part| *part == "**", component)
    }
}

/// The pattern in the form that names are compared in; a wildcard in the host stays as it is.
fn normal(text: &str) -> String {
    if let Ok(repository) = text.parse::<Repository>() {
        return repository.to_string();
    }
    let Some((host, path)) = text.split_once('/') else { return text.to_owned() };
    match normal_host(host) {
        Some(host) => format!("{host}/{path}"),
        None => format!("{}/{path}", host.to_ascii_lowercase()),
    }
}

/// Whether one component matches: `*` matches any characters.
fn component(pattern: &&str, text: &&str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    wildcard(&pattern, &text, |c| *c == '*', |a, b| a == b)
}

/// Matches a sequence against a pattern with wildcards, in time `pattern × text` at worst: after a
/// mismatch only the last wildcard takes one item more.
fn wildcard<T>(
    pattern: &[T],
    text: &[T],
    is_wildcard: impl Fn(&T) -> bool,
    equal: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(item) = text.get(at_text) {
        match pattern.get(at_pattern) {
            Some(part) if is_wildcard(part) => {
                retry = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(part) if equal(part, item) => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((wildcard_at, taken)) = retry else { return false };
                retry = Some((wildcard_at, taken + 1));
                at_pattern = wildcard_at + 1;
                at_text = taken + 1;
            }
        }
    }
    pattern.get(at_pattern..).is_some_and(|rest| rest.iter().all(is_wildcard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_image_policies_do() {
        let cases = [
            ("**", "ghcr.io/acme/cni", true),
            ("ghcr.io/**", "ghcr.io/acme/cni", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/cni", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/cni/plugins", false),
            ("ghcr.io/*/cni", "ghcr.io/acme/cni", true),
            ("ghcr.io/acme/cni", "ghcr.io/acme/cni", true),
            ("ghcr.io/acme/cni", "ghcr.io/acme/cni2", false),
            ("ghcr.io/acme/cni-*", "ghcr.io/acme/cni-debian", true),
            ("*/cni", "ghcr.io/acme/cni", false),
            ("**/cni", "ghcr.io/acme/cni", true),
            ("**/a/**/b", "x/a/a/c/b", true),
            ("**/a/**/b", "x/a/a/c", false),
            ("ghcr.io/acme/**", "ghcr.io/acmeevil/cni", false),
            ("ghcr.io/acme/**", "evil.io/ghcr.io/acme/cni", false),
            ("GHCR.IO:443/acme/**", "ghcr.io/acme/cni", true),
            ("index.docker.io/**", "docker.io/acme/cni", true),
            ("docker.io/cni", "docker.io/library/cni", true),
            ("*.GCR.io/**", "eu.gcr.io/acme/cni", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(Some(name)),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn without_a_name_only_everything_matches() {
        assert!(Glob::parse("**").unwrap().matches(None));
        assert!(!Glob::parse("*").unwrap().matches(None));
        assert!(!Glob::parse("**/**").unwrap().matches(None));
    }

    #[test]
    fn refuses_tags_digests_and_glued_wildcards() {
        for (pattern, expected) in [
            ("", "1 to 512"),
            ("ghcr.io/a@sha256:00", "contains `@`"),
            ("ghcr.io/a**", "must be a whole path component"),
            ("ghcr.io/a b", "contains ` `"),
        ] {
            let error = Glob::parse(pattern).expect_err(pattern);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = Glob::parse(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(Some(&"a".repeat(200).replace('a', "ab"))));
    }
}
