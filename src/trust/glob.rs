//! The patterns of a policy's `images`: `*` within a path component, `**` across components.
//!
//! A pattern is matched with a repository's name, never with a tag or a digest: a tag can be moved,
//! and a digest is what a signature is for. Matching takes `pattern × text` steps at worst, so that
//! no pattern can stall a node.

use crate::model::{HTTPS, Repository, other_names, parse_port, visible};

/// A pattern over `host/path`, in the form that names are compared in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    /// Parses a pattern; a plain repository name is one. A pattern that no name can match is
    /// refused: in a rule that denies, it would let pass what it was written against.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*./:[]_-".contains(c);
        if text.is_empty() || text.len() > 512 {
            return Err("an image pattern must have 1 to 512 characters".to_owned());
        }
        if let Some(c) = text.chars().find(|c| !allowed(*c)) {
            let shown = visible(text);
            return Err(format!(
                "image pattern `{shown}` contains `{}`; tags and digests are not matched",
                c.escape_default()
            ));
        }
        if text.split('/').any(|part| part.contains("**") && part != "**") {
            return Err(format!("image pattern `{text}`: `**` must be a whole path component"));
        }
        normal(text).map(Self).map_err(|reason| format!("image pattern `{text}`: {reason}"))
    }

    /// Whether `name` matches, or another name of the same repository; without a name only `**`
    /// does.
    pub(super) fn matches(&self, name: Option<&str>) -> bool {
        let Some(name) = name else { return self.0 == "**" };
        let Some((host, path)) = name.split_once('/') else { return self.0 == "**" };
        let mut others = other_names(host, path).into_iter();
        self.is(host, path) || others.any(|(host, path)| self.is(host, &path))
    }

    fn is(&self, host: &str, path: &str) -> bool {
        let pattern: Vec<_> = self.0.split('/').collect();
        let name: Vec<_> = std::iter::once(host).chain(path.split('/')).collect();
        wildcard(&pattern, &name, |part| *part == "**", component)
    }
}

/// The pattern in the form that names are compared in, or why no name matches it.
fn normal(text: &str) -> Result<String, String> {
    if !text.contains('*') {
        let repository = text.parse::<Repository>().map_err(|error| error.to_string())?;
        return Ok(repository.to_string());
    }
    let Some((host, path)) = text.split_once('/') else {
        return match text {
            "**" => Ok(text.to_owned()),
            _ => Err(format!("a name is `HOST/PATH`; write `{text}/**`")),
        };
    };
    let in_a_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "*._-".contains(c);
    if path.split('/').any(|part| part.is_empty() || !part.chars().all(in_a_path)) {
        return Err(format!(
            "`{path}` is not a valid repository path: expected lower-case letters, digits, `.`, `_` and `-`"
        ));
    }
    let host = match host {
        "**" => host.to_owned(),
        _ if host.contains('*') => normal_host_pattern(&host.to_ascii_lowercase())?,
        _ => {
            let name = format!("{host}/a").parse::<Repository>();
            let no_host = |_| format!("`{host}` is not a registry, such as `docker.io`");
            name.map_err(no_host)?.host().to_owned()
        }
    };
    Ok(format!("{host}/{path}"))
}

/// The same of a host with a wildcard: the port of HTTPS and a dot at the end are in no name.
fn normal_host_pattern(host: &str) -> Result<String, String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && !port.contains('*') => {
            let port = parse_port(port).ok_or_else(|| format!("`{port}` is not a port"))?;
            (name, Some(port).filter(|port| *port != HTTPS))
        }
        Some((name, "*")) => return Ok(format!("{}:*", without_dot(name))),
        _ => (host, None),
    };
    let name = without_dot(name);
    // What a wildcard at the end takes may be a port.
    if port.is_none() && name != host && name.ends_with('*') {
        return Err(format!(
            "a name has no port 443 and no dot after its host; write the host as `{name}`"
        ));
    }
    Ok(port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
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
            ("*.gcr.io:443/**", "eu.gcr.io/acme/cni", true),
            ("*.gcr.io./**", "eu.gcr.io/acme/cni", true),
            ("*.gcr.io.:0443/**", "eu.gcr.io/acme/cni", true),
            ("*.gcr.io:05000/**", "eu.gcr.io:5000/acme/cni", true),
            ("*.gcr.io:5000/**", "eu.gcr.io/acme/cni", false),
            ("*.gcr.io:*/**", "eu.gcr.io:5000/acme/cni", true),
            ("*.gcr.io/**", "eu.gcr.io:5000/acme/cni", false),
            ("*egistry:443/**", "registry:443/acme/cni", true),
            ("*egistry./**", "registry:443/acme/cni", true),
            ("registry./**", "registry:443/acme/cni", true),
            ("*egistry:5000/**", "registry:443/acme/cni", false),
            ("docker.io/cni-*", "docker.io/library/cni-debian", true),
            ("docker.io/*", "docker.io/library/cni", true),
            ("docker.io/*", "docker.io/acme/cni", false),
            ("docker.io/library/*", "docker.io/library/cni", true),
            ("index.docker.io/cni-*", "docker.io/library/cni-debian", true),
            ("*.docker.io/**", "docker.io/acme/cni", true),
            ("registry-*.docker.io/**", "docker.io/acme/cni", true),
            ("registry.hub.docker.com/**", "docker.io/acme/cni", true),
            ("[::ffff:10.0.0.1]:5000/**", "10.0.0.1:5000/a", true),
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
        assert!(!Glob::parse("*/**").unwrap().matches(None));
        assert!(!Glob::parse("**/**").unwrap().matches(None));
    }

    #[test]
    fn refuses_tags_digests_and_glued_wildcards() {
        for (pattern, expected) in [
            ("", "1 to 512"),
            ("ghcr.io/a@sha256:00", "contains `@`"),
            ("ghcr.io/a**", "must be a whole path component"),
            ("ghcr.io/a b", "contains ` `"),
            // No name matches these.
            ("*", "write `*/**`"),
            ("ghcr.io", "does not name a registry"),
            ("ghcr.*", "write `ghcr.*/**`"),
            ("acme/cni-*", "`acme` is not a registry"),
            ("acme/cni", "does not name a registry"),
            ("ghcr.io/Acme/*", "`Acme/*` is not a valid repository path"),
            ("ghcr.io/acme//*", "is not a valid repository path"),
            ("ghcr.io/*/", "is not a valid repository path"),
            ("ghcr.io/*:5000", "is not a valid repository path"),
            ("ghcr.*:443/**", "write the host as `ghcr.*`"),
            ("*.:443/**", "write the host as `*`"),
            ("*.gcr.io:99999/**", "`99999` is not a port"),
            ("127.1/**", "`127.1` is not a registry"),
        ] {
            let error = Glob::parse(pattern).expect_err(pattern);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = Glob::parse(&format!("a.b/{}", "*a".repeat(200))).unwrap();
        assert!(!pattern.matches(Some(&format!("a.b/{}", "ab".repeat(200)))));
    }
}
