//! References: where an image is stored and which one is meant.
//!
//! Every command takes the same three forms: a layout directory `oci:DIR[:TAG]`, an archive
//! `oci-archive:FILE[:TAG]`, or a registry reference `HOST/PATH[:TAG]`. Each may end in
//! `@sha256:…`, and then only the digest selects the image.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use super::{Digest, visible};

/// An image, named the way a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is stored.
    pub location: Location,
    /// Which image of that location.
    pub selector: Selector,
}

/// Where images are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An OCI image layout directory (image-spec, image-layout.md).
    Layout(PathBuf),
    /// A tar file of such a directory.
    Archive(PathBuf),
    /// A repository of a registry.
    Registry(Repository),
}

/// Which image of a location: by tag, by digest, or the only one there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// The tag; beside a digest it is information for people and update bots.
    pub tag: Option<String>,
    /// The digest of the index or manifest; it decides when both are given.
    pub digest: Option<Digest>,
}

/// A repository of a registry: the name that policy rules are matched against.
///
/// One repository has one name: letters of the host are lower-case, the port of HTTPS, a trailing
/// dot and the aliases of Docker Hub are gone. Otherwise a rule that denies `ghcr.io/a` would not
/// match `GHCR.IO/a`, which is the same place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

/// A reference to an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReference {
    /// The host and the path.
    pub repository: Repository,
    /// Which image of it.
    pub selector: Selector,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// None of the three forms.
    #[error(
        "`{0}` does not name a registry; write `HOST/PATH:TAG`, `oci:DIR:TAG` or `oci-archive:FILE`"
    )]
    NoHost(String),
    /// A layout or archive without a path.
    #[error("`{0}` has no path")]
    NoPath(String),
    /// A host with a character that hosts cannot have.
    #[error("`{0}` is not a valid host name with an optional port")]
    Host(String),
    /// A host whose name, with a port, is the prefix of a layout or an archive.
    #[error("`{0}` cannot be the name of a registry: with a port, it would be read as a layout")]
    Prefix(String),
    /// A repository with a longer name than registries accept.
    #[error("`{0}` is too long for a repository: host and path are at most {LONGEST} bytes")]
    TooLong(String),
    /// A repository path that registries refuse (distribution-spec, "Pulling manifests").
    #[error(
        "`{0}` is not a valid repository path: expected lower-case letters, digits, and single `.`, `_`, `-` or `/` between them"
    )]
    Path(String),
    /// A tag that registries refuse.
    #[error(
        "`{0}` is not a valid tag: expected up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`"
    )]
    Tag(String),
    /// What follows `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] super::ParseDigestError),
}

impl Reference {
    /// The repository, if the reference names one: what a policy's rules are matched against.
    pub fn repository(&self) -> Option<&Repository> {
        match &self.location {
            Location::Registry(repository) => Some(repository),
            Location::Layout(_) | Location::Archive(_) => None,
        }
    }

    /// The reference as one of a registry; `None` if it names a layout or an archive.
    pub fn as_registry(&self) -> Option<RegistryReference> {
        self.repository().map(|repository| RegistryReference {
            repository: repository.clone(),
            selector: self.selector.clone(),
        })
    }

    /// The same location with this digest (and the tag, for people).
    pub fn pinned(&self, digest: Digest) -> Self {
        let selector = Selector { tag: self.selector.tag.clone(), digest: Some(digest) };
        Self { location: self.location.clone(), selector }
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (layout, archive) = (name.strip_prefix(LAYOUT), name.strip_prefix(ARCHIVE));
        if let Some(rest) = layout.or(archive) {
            let (path, tag) = split_tag(rest);
            if path.is_empty() {
                return Err(ParseReferenceError::NoPath(visible(text).into_owned()));
            }
            let path = PathBuf::from(path);
            let location =
                if layout.is_some() { Location::Layout(path) } else { Location::Archive(path) };
            return Ok(Self { location, selector: Selector { tag: parse_tag(tag)?, digest } });
        }
        let (name, tag) = split_tag(name);
        let location = Location::Registry(name.parse()?);
        let tag = parse_tag(tag)?;
        // As in every registry client, the default tag is `latest`.
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { location, selector: Selector { tag, digest } })
    }
}

/// Splits `NAME:TAG`; a colon before the last slash belongs to a port or a path.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !tag.ends_with(']') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn parse_tag(tag: Option<&str>) -> Result<Option<String>, ParseReferenceError> {
    let Some(tag) = tag else { return Ok(None) };
    let good = (1..=128).contains(&tag.len())
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        && !tag.starts_with(['.', '-']);
    if good {
        Ok(Some(tag.to_owned()))
    } else {
        Err(ParseReferenceError::Tag(visible(tag).into_owned()))
    }
}

impl Repository {
    /// The registry's host, with its port if one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the registry is on this machine, where no one else can read plain HTTP.
    pub fn is_loopback(&self) -> bool {
        let port = self.host.rfind(':').filter(|_| !self.host.ends_with(']'));
        is_loopback(port.and_then(|port| self.host.get(..port)).unwrap_or(&self.host))
    }
}

impl FromStr for Repository {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || visible(text).into_owned();
        let (host, path) =
            text.split_once('/').ok_or_else(|| ParseReferenceError::NoHost(shown()))?;
        if !is_registry(&host.to_ascii_lowercase()) || host.starts_with('.') {
            return Err(ParseReferenceError::NoHost(shown()));
        }
        let host = normal_host(host)
            .ok_or_else(|| ParseReferenceError::Host(visible(host).into_owned()))?;
        if [LAYOUT, ARCHIVE].iter().any(|prefix| host.starts_with(prefix)) {
            return Err(ParseReferenceError::Prefix(host));
        }
        let component = |part: &str| {
            let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.chars().all(|c| alphanumeric(c) || matches!(c, '.' | '_' | '-'))
                && part.starts_with(alphanumeric)
                && part.ends_with(alphanumeric)
                && !part.contains("..")
        };
        if !path.split('/').all(component) {
            return Err(ParseReferenceError::Path(visible(path).into_owned()));
        }
        // Docker Hub's own images have no organization in their name.
        let path = match host == DOCKER_HUB && !path.contains('/') {
            true => format!("{LIBRARY}{path}"),
            false => path.to_owned(),
        };
        // Of its one form, which may be longer than the text: it has to be read again.
        if host.len() + 1 + path.len() > LONGEST {
            return Err(ParseReferenceError::TooLong(visible(text).into_owned()));
        }
        Ok(Self { host, path })
    }
}

/// The longest name of a repository, with its host, in bytes: what other registry clients accept.
const LONGEST: usize = 255;
/// What a reference to a layout starts with.
const LAYOUT: &str = "oci:";
/// What a reference to an archive starts with.
const ARCHIVE: &str = "oci-archive:";
/// The name of Docker Hub in references, and other names of the same registry.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIASES: [&str; 3] =
    ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// The organization of Docker Hub's own images, whose names leave it out.
const LIBRARY: &str = "library/";
/// The port that a registry has without one.
pub(crate) const HTTPS: u16 = 443;

/// The other names of a repository, given in its one form: those with the aliases of Docker Hub,
/// and without `library/`; and of a host of a single label without its port 443.
pub(crate) fn other_names<'a>(host: &'a str, path: &str) -> Vec<(&'a str, String)> {
    if host != DOCKER_HUB {
        let label = host.split_once(':').filter(|(name, port)| {
            *port == HTTPS.to_string() && !is_registry(name) && !is_loopback(name)
        });
        return label.map(|(name, _)| (name, path.to_owned())).into_iter().collect();
    }
    let paths: Vec<_> = std::iter::once(path).chain(path.strip_prefix(LIBRARY)).collect();
    let hosts = std::iter::once(DOCKER_HUB).chain(DOCKER_HUB_ALIASES);
    hosts.flat_map(|host| paths.iter().map(move |path| (host, (*path).to_owned()))).collect()
}

/// The one form of `HOST` or `HOST:PORT` that references are compared in; `None` if it is neither.
fn normal_host(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (name, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(parse_port(port)?)),
        _ => (text.as_str(), None),
    };
    let name = match name.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
            // An IPv4-mapped address (RFC 4291, 2.5.5.2) is the IPv4 address.
            let mapped = address.to_ipv4_mapped().map(|address| address.to_string());
            mapped.unwrap_or_else(|| format!("[{address}]"))
        }
        None => domain(name.strip_suffix('.').unwrap_or(name))?.to_owned(),
    };
    if DOCKER_HUB_ALIASES.contains(&name.as_str()) && port.is_none_or(|port| port == HTTPS) {
        return Some(DOCKER_HUB.to_owned());
    }
    // A registry on this machine is asked by plain HTTP, whatever its port.
    Some(match port.filter(|port| *port != HTTPS || is_loopback(&name)) {
        Some(port) => format!("{name}:{port}"),
        None if is_registry(&name) => name,
        // A single label, given with this port or a dot at the end.
        None => format!("{name}:{HTTPS}"),
    })
}

/// Docker's rule: a first component without dot or port is part of a path, unless it is
/// `localhost`.
fn is_registry(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost"
}

pub(crate) fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.chars().all(|c| c.is_ascii_digit()))
}

/// Whether a host without its port is this machine.
fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A domain name or an IPv4 address in its usual form. Other forms of an address, such as `127.1`
/// or `0x7f000001`, reach the same machine under another name.
fn domain(name: &str) -> Option<&str> {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let last = name.rsplit('.').next()?;
    let is_numeric = last.starts_with("0x") || last.chars().all(|c| c.is_ascii_digit());
    let good = name.split('.').all(label) && (!is_numeric || name.parse::<Ipv4Addr>().is_ok());
    good.then_some(name)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(path) => write!(f, "{LAYOUT}{}", visible(&path.to_string_lossy())),
            Self::Archive(path) => write!(f, "{ARCHIVE}{}", visible(&path.to_string_lossy())),
            Self::Registry(repository) => write!(f, "{repository}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.location, self.selector)
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.repository, self.selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed() {
        let digest = Digest::of(b"");
        for text in [
            "oci:target/demo/layout:v1".to_owned(),
            "oci:/a/b".to_owned(),
            "oci-archive:bundle.tar".to_owned(),
            "127.0.0.1:5000/cni/plugins:v1".to_owned(),
            "[::1]:5000/cni/plugins:v1".to_owned(),
            format!("ghcr.io/acme/cni@{digest}"),
            format!("ghcr.io/acme/cni:1.9.1@{digest}"),
            format!("oci:layout@{digest}"),
            format!("oci-archive:/a@b:c/d.tar:v1@{digest}"),
            "oci:a::v1".to_owned(),
            "oci:[a:b]".to_owned(),
            "localhost/a:_.-".to_owned(),
            "a.b:5000/c_d/e.f:v1".to_owned(),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!(
                reference.as_registry().map_or(text.clone(), |registry| registry.to_string()),
                text
            );
            if let Some(repository) = reference.repository() {
                assert_eq!(repository.to_string().parse::<Repository>().as_ref(), Ok(repository));
            }
        }
        assert_eq!(
            "ghcr.io/acme/cni".parse::<Reference>().unwrap().to_string(),
            "ghcr.io/acme/cni:latest"
        );
    }

    #[test]
    fn a_colon_in_a_directory_is_not_a_tag() {
        let reference: Reference = "oci:/tmp/a:b/layout".parse().unwrap();
        assert_eq!(reference.location, Location::Layout("/tmp/a:b/layout".into()));
        assert_eq!(reference.selector.tag, None);
    }

    #[test]
    fn rejects_what_no_registry_has() {
        use ParseReferenceError as E;
        let cases = [
            ("layout", E::NoHost("layout".into())),
            ("./layout", E::NoHost("./layout".into())),
            ("acme/cni", E::NoHost("acme/cni".into())),
            ("oci:", E::NoPath("oci:".into())),
            ("ghcr.io/Acme/cni", E::Path("Acme/cni".into())),
            ("ghcr.io/a//b", E::Path("a//b".into())),
            ("ghcr.io/../b", E::Path("../b".into())),
            ("ghcr.io/a:b c", E::Tag("b c".into())),
            ("gh cr.io/a", E::Host("gh cr.io".into())),
            ("oci./a", E::Prefix("oci:443".into())),
            ("OCI:5000/a", E::Prefix("oci:5000".into())),
            ("oci-archive.:5000/a", E::Prefix("oci-archive:5000".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Reference>(), Err(expected), "{text}");
        }
        assert!(matches!("ghcr.io/a@sha256:12".parse::<Reference>(), Err(E::Digest(_))));
        // The one form counts: `registry./a` is `registry:443/a`.
        for (host, more, is_short) in
            [("ghcr.io", 247, true), ("ghcr.io", 248, false), ("r.", 249, true), ("r.", 250, false)]
        {
            let text = format!("{host}/{}", "a".repeat(more));
            let found = text.parse::<Repository>();
            assert_eq!(found.is_ok(), is_short, "{host} {more}");
            assert!(is_short || matches!(found, Err(E::TooLong(_))), "{host} {more}");
        }
        let longest = format!("docker.io/{}", "a".repeat(245));
        assert!(matches!(longest.parse::<Repository>(), Err(E::TooLong(_))), "`library/` counts");
    }

    #[test]
    fn one_repository_has_one_name() {
        for (text, expected) in [
            ("GHCR.IO/acme/cni", "ghcr.io/acme/cni"),
            ("ghcr.io:443/acme/cni", "ghcr.io/acme/cni"),
            ("ghcr.io:0443/acme/cni", "ghcr.io/acme/cni"),
            ("ghcr.io./acme/cni", "ghcr.io/acme/cni"),
            ("Ghcr.Io.:443/acme/cni", "ghcr.io/acme/cni"),
            ("ghcr.io:05000/acme/cni", "ghcr.io:5000/acme/cni"),
            ("index.docker.io/acme/cni", "docker.io/acme/cni"),
            ("Registry-1.Docker.IO:443/acme/cni", "docker.io/acme/cni"),
            ("docker.io/cni", "docker.io/library/cni"),
            ("index.docker.io/library/cni", "docker.io/library/cni"),
            ("LOCALHOST/a", "localhost/a"),
            ("127.0.0.1:443/a", "127.0.0.1:443/a"),
            // Without port or dot, it would be part of a path.
            ("registry:443/a", "registry:443/a"),
            ("registry./a", "registry:443/a"),
            ("Registry.:0443/a", "registry:443/a"),
            ("registry:5000/a", "registry:5000/a"),
            ("[0:0::0001]:5000/a", "[::1]:5000/a"),
            ("[::ffff:7f00:1]/a", "127.0.0.1/a"),
            ("[::ffff:10.0.0.1]:5000/a", "10.0.0.1:5000/a"),
            ("registry.hub.docker.com/cni", "docker.io/library/cni"),
        ] {
            let repository: Repository = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(repository.to_string(), expected);
            assert_eq!(expected.parse::<Repository>().as_ref(), Ok(&repository), "{text}");
        }
        for text in [
            "127.1:5000/a",
            "127.0.0.01:5000/a",
            "0x7f.0.0.1/a",
            "1.2130706433/a",
            "a..b/c",
            "a.b:/c",
            "a.b:99999/c",
            "a.b:+1/c",
            "a.b:1:2/c",
            "[::1/c",
            "[a.b]/c",
            "ghcr.io../a",
        ] {
            let found = text.parse::<Repository>();
            assert!(matches!(found, Err(ParseReferenceError::Host(_))), "{text}: {found:?}");
        }
    }

    #[test]
    fn knows_loopback() {
        for (text, expected) in [
            ("127.0.0.1:5000/a", true),
            ("localhost/a", true),
            ("[::1]:1/a", true),
            ("127.0.0.1.example.com/a", false),
            ("ghcr.io/a", false),
        ] {
            assert_eq!(text.parse::<Repository>().unwrap().is_loopback(), expected, "{text}");
        }
    }
}
