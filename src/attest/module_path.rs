//! What the path of a Go module says: who publishes it, and where its source is.
//!
//! A path is an address by Go's rules ("Go Modules Reference, Mapping module paths to version
//! control systems"): who controls the host, or the account on a host that many share, publishes
//! the module. Nothing is asked over the network, and a path that is not an address says nothing.

use super::party::Party;

/// Hosts whose first two path elements are an account and a repository.
const SHARED_HOSTS: [&str; 5] =
    ["bitbucket.org", "codeberg.org", "gitea.com", "github.com", "gitlab.com"];

/// Where the source of something is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Source {
    pub(super) uri: String,
    /// Whether it is a repository, as opposed to a page that leads to one.
    pub(super) is_repository: bool,
}

/// Who publishes the module, and where its source is.
pub(super) fn published(module: &str) -> Option<(Party, Source)> {
    if !is_path(module) {
        return None;
    }
    let module = redirected(module).unwrap_or_else(|| module.to_owned());
    let elements: Vec<&str> = module.split('/').collect();
    let host = *elements.first()?;
    if !host.contains('.') || host.contains(['_', '~']) {
        return None;
    }
    let (publisher, uri, is_repository) = match elements.as_slice() {
        [host, account, repository, ..] if SHARED_HOSTS.contains(host) => {
            let publisher = format!("{host}/{account}");
            (publisher.clone(), format!("https://{publisher}/{repository}"), true)
        }
        _ => (host.to_owned(), format!("https://{module}"), false),
    };
    let party = Party::new(&publisher, Some(&format!("https://{publisher}")), None).ok()?;
    Some((party, Source { uri, is_repository }))
}

/// Whether a text has the form of a module path ("Go Modules Reference, Module paths").
fn is_path(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~/".contains(c))
        && text.split('/').all(|element| !["", ".", ".."].contains(&element))
}

/// Where `gopkg.in` leads: `gopkg.in/yaml.v3` and `gopkg.in/user/pkg.v3` are repositories at
/// github.com.
fn redirected(module: &str) -> Option<String> {
    let rest = module.strip_prefix("gopkg.in/")?;
    let (account, package) = rest.split_once('/').map_or((None, rest), |(a, p)| (Some(a), p));
    let (name, version) = package.rsplit_once(".v")?;
    let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit());
    if !is_version || name.is_empty() || package.contains('/') {
        return None;
    }
    Some(match account {
        Some(account) => format!("github.com/{account}/{name}"),
        None => format!("github.com/go-{name}/{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_who_publishes_it_and_where() {
        for (module, publisher, uri, is_repository) in [
            ("github.com/a/b", "github.com/a", "https://github.com/a/b", true),
            ("github.com/A/b/c/v2", "github.com/A", "https://github.com/A/b", true),
            ("golang.org/x/sys", "golang.org", "https://golang.org/x/sys", false),
            ("gopkg.in/yaml.v3", "github.com/go-yaml", "https://github.com/go-yaml/yaml", true),
            ("gopkg.in/a/b.v12", "github.com/a", "https://github.com/a/b", true),
            ("gopkg.in/a/b", "gopkg.in", "https://gopkg.in/a/b", false),
            ("github.com/a", "github.com", "https://github.com/a", false),
        ] {
            let (party, source) = published(module).expect(module);
            assert_eq!((party.name(), source.uri.as_str()), (publisher, uri), "{module}");
            assert_eq!(party.url(), Some(format!("https://{publisher}").as_str()));
            assert_eq!(source.is_repository, is_repository, "{module}");
        }
    }

    #[test]
    fn what_is_no_address_says_nothing() {
        for module in
            ["stdlib", "example/cni", "", "../local", "a.b//c", "a.b/../c", "a_b.c/d", "a.b/c?d"]
        {
            assert_eq!(published(module), None, "{module}");
        }
    }
}
