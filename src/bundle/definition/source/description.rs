//! The description of a source's plugins, for the SBOM: facts that no program records.
//!
//! It changes nothing about which bytes are taken, and is no part of what a lock compares.

use serde_json::{Value, json};

use crate::model::uri::{encoded, has_scheme};
use crate::model::{Licence, Party, excerpt, visible};

/// The description of all plugins of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceDescription {
    /// The licence of their source.
    pub license: Option<Licence>,
    /// Its copyright notice.
    pub copyright: Option<String>,
    /// Who supplies them.
    pub supplier: Option<Party>,
    /// The URL of their source.
    pub repository: Option<String>,
    /// The URL of what a directory was unpacked from.
    pub download: Option<String>,
}

/// The longest copyright notice, in bytes.
const LONGEST_NOTICE: usize = 4096;

impl SourceDescription {
    /// Refuses a notice or an address that no document could hold.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(text) = &self.copyright {
            let is_notice = !text.trim().is_empty()
                && text.len() <= LONGEST_NOTICE
                && text.lines().all(|line| visible(line) == line);
            if !is_notice {
                return Err(format!(
                    "`copyright` must have 1 to {LONGEST_NOTICE} bytes and nothing invisible"
                ));
            }
        }
        check_url("repository", self.repository.as_ref())?;
        check_url("download", self.download.as_ref())
    }

    /// The schema of the fields, by their keys.
    pub(in crate::bundle::definition) fn schema() -> [(&'static str, Value); 5] {
        let text = |description: &str| json!({ "description": description, "type": "string", "minLength": 1 });
        [
            (
                "license",
                text("The licence of the plugins' source, as an SPDX expression, for SBOMs."),
            ),
            ("copyright", text("The copyright notice of the plugins' source, for SBOMs.")),
            (
                "supplier",
                text(
                    "Who supplies the plugins, for SBOMs: `NAME`, `NAME <EMAIL>` or `NAME <URL>`.",
                ),
            ),
            ("repository", text("The URL of the plugins' source, for SBOMs.")),
            ("download", text("The URL of what a directory was unpacked from, for SBOMs.")),
        ]
    }
}

/// Refuses a text that no document could hold as an address.
pub(in crate::bundle::definition) fn check_url(
    key: &str,
    url: Option<&String>,
) -> Result<(), String> {
    match url {
        Some(url) if !has_scheme(url) || encoded(url) != *url => {
            Err(format!("`{key}` is not a URL: `{}`", excerpt(url)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_documents_can_hold() {
        let check = |copyright: Option<&str>, repository: Option<&str>| {
            let (copyright, repository) =
                (copyright.map(str::to_owned), repository.map(str::to_owned));
            SourceDescription { copyright, repository, ..SourceDescription::default() }.check()
        };
        assert_eq!(check(Some("\u{a9} 2014 A\n2015 B"), Some("https://example.com/a?b")), Ok(()));
        assert_eq!(check(None, Some("git+ssh://example.com/a")), Ok(()));
        for (copyright, repository) in [
            (Some(" "), None),
            (Some("a\u{1b}[2J"), None),
            (Some("a".repeat(4097).as_str()), None),
            (None, Some("example.com/a")),
            (None, Some("https://a b")),
        ] {
            let expected = match copyright {
                Some(_) => "`copyright` must have 1 to 4096 bytes and nothing invisible",
                None => "`repository` is not a URL: `",
            };
            let error = check(copyright, repository).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
