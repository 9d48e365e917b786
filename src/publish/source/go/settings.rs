//! Settings of the command line for compiling: where `go` is searched, and the proxies that modules
//! come from.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use crate::model::excerpt;
use crate::net::{Url, is_loopback};

/// Settings for compiling Go sources.
#[derive(Debug, Clone, Default)]
pub struct GoSettings {
    /// The directories in which `go` is looked for, as PATH lists them.
    pub path: Option<OsString>,
    /// The proxies of modules; `None` for the default of the Go release.
    pub proxy: Option<GoProxy>,
}

/// A list of module proxies, as GOPROXY has it, without `direct`: that would start programs for
/// version control, with addresses that a module's publisher chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoProxy(String);

/// Why a text is not a [`GoProxy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ParseProxyError {
    #[error("`direct` would fetch modules with version control programs; name a module proxy")]
    Direct,
    #[error(
        "`{0}` is not a module proxy: expected an https URL, a file URL, or `off` for no network"
    )]
    Form(String),
    #[error("`{0}` is not encrypted; plain HTTP is only accepted from this machine")]
    Plain(String),
}

impl GoProxy {
    /// The default of a release of Go, as `go env GOPROXY` prints it, without `direct`; `None` if
    /// nothing is left.
    pub(super) fn of_release(text: &str) -> Option<Self> {
        let entries: Vec<_> = text.trim().split([',', '|']).filter(|it| *it != "direct").collect();
        entries.join(",").parse().ok()
    }

    /// Whether modules are only taken from the cache.
    pub(super) fn is_off(&self) -> bool {
        self.0.split([',', '|']).next() == Some("off")
    }
}

impl FromStr for GoProxy {
    type Err = ParseProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for entry in text.split([',', '|']) {
            if entry == "off" {
                continue;
            }
            if entry == "direct" {
                return Err(ParseProxyError::Direct);
            }
            let url: Option<Url> = entry.parse().ok();
            match url.as_ref().map(Url::scheme) {
                Some("https" | "file") => {}
                Some("http") if url.as_ref().is_some_and(is_loopback) => {}
                Some("http") => return Err(ParseProxyError::Plain(excerpt(entry))),
                _ => return Err(ParseProxyError::Form(excerpt(entry))),
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for GoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_a_release_is_taken_without_direct() {
        for (text, expected) in [
            ("https://proxy.example,direct\n", Some("https://proxy.example")),
            (
                "https://one.example|https://two.example",
                Some("https://one.example,https://two.example"),
            ),
            ("off\n", Some("off")),
            ("direct", None),
            ("", None),
        ] {
            let proxy = GoProxy::of_release(text).map(|proxy| proxy.to_string());
            assert_eq!(proxy.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_never_direct() {
        for text in [
            "off",
            "https://proxy.example",
            "https://one.example|https://two.example/go,off",
            "http://127.0.0.1:3000/goproxy",
            "http://localhost:3000",
            "file:///var/cache/modules",
        ] {
            assert_eq!(text.parse::<GoProxy>().unwrap().to_string(), text);
        }
        let direct = "`direct` would fetch modules with version control programs; name a module \
                      proxy";
        for (text, expected) in [
            ("direct", direct),
            ("https://proxy.example,direct", direct),
            ("off|direct", direct),
            (
                "http://proxy.example",
                "`http://proxy.example` is not encrypted; plain HTTP is only accepted from this machine",
            ),
            (
                "",
                "`` is not a module proxy: expected an https URL, a file URL, or `off` for no network",
            ),
            (
                "/tmp",
                "`/tmp` is not a module proxy: expected an https URL, a file URL, or `off` for no network",
            ),
            (
                "ssh://a.example",
                "`ssh://a.example` is not a module proxy: expected an https URL, a file URL, or `off` for no network",
            ),
        ] {
            assert_eq!(text.parse::<GoProxy>().expect_err(text).to_string(), expected);
        }
    }
}
