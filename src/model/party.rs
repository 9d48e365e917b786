//! Who made, supplied or described something.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::uri::encoded;
use super::{excerpt, visible};

/// A person or organisation, with at least a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Party {
    name: String,
    url: Option<String>,
    email: Option<String>,
}

/// Why something names no party.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartyError {
    /// A name that the formats cannot hold: SPDX 2.3 writes it before an address in parentheses.
    #[error(
        "`{0}` is not a name: expected 1 to 256 characters, no parentheses and nothing invisible"
    )]
    Name(String),
    /// Neither `https` nor `http`, or not a URL.
    #[error("`{0}` is not a web address: expected https://...")]
    Url(String),
    /// Not an address.
    #[error("`{0}` is not an e-mail address")]
    Email(String),
}

impl Party {
    /// A party; checkers of the BSI's guideline want a web or e-mail address beside the name.
    pub fn new(name: &str, url: Option<&str>, email: Option<&str>) -> Result<Self, PartyError> {
        let is_name = !name.trim().is_empty()
            && name.chars().count() <= 256
            && !name.contains(['(', ')'])
            && visible(name) == name;
        if !is_name {
            return Err(PartyError::Name(excerpt(name)));
        }
        if let Some(url) = url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if host.is_none_or(str::is_empty) || encoded(url) != url {
                return Err(PartyError::Url(excerpt(url)));
            }
        }
        if let Some(email) = email {
            let parts = email.split_once('@');
            let is_email = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
                && email.len() <= 254
                && email.chars().all(|c| c.is_ascii_graphic() && !"()<>\",;:\\[]".contains(c));
            if !is_email {
                return Err(PartyError::Email(excerpt(email)));
            }
        }
        let (url, email) = (url.map(str::to_owned), email.map(str::to_owned));
        Ok(Self { name: name.to_owned(), url, email })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The web address.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The e-mail address.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

impl FromStr for Party {
    type Err = PartyError;

    /// Parses `NAME`, `NAME <EMAIL>` or `NAME <URL>`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
        let Some((name, address)) = split else { return Self::new(text, None, None) };
        match address.contains("://") {
            true => Self::new(name.trim(), Some(address), None),
            false => Self::new(name.trim(), None, Some(address)),
        }
    }
}

/// As it is parsed; with both addresses, the web address.
impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.url.as_ref().or(self.email.as_ref()) {
            Some(address) => write!(f, " <{address}>"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_name_with_an_address() {
        let party = |url, email| Party::new("Acme Networks", url, email);
        for (text, expected) in [
            ("Acme Networks", party(None, None)),
            ("Acme Networks <cni@example.com>", party(None, Some("cni@example.com"))),
            ("Acme Networks<https://example.com>", party(Some("https://example.com"), None)),
            ("Acme Networks <>", Err(PartyError::Email(String::new()))),
            ("<cni@example.com>", Err(PartyError::Name(String::new()))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
            if let Ok(party) = expected {
                assert_eq!(party.to_string().parse(), Ok(party), "{text}");
            }
        }
    }

    #[test]
    fn takes_what_the_formats_can_hold() {
        let long = "n".repeat(257);
        for (name, url, email, expected) in [
            ("The Go Authors", Some("https://go.dev"), None, Ok(())),
            ("Ä & B", None, Some("cni@example.com"), Ok(())),
            ("", None, None, Err(PartyError::Name(String::new()))),
            (" ", None, None, Err(PartyError::Name(" ".to_owned()))),
            ("A (b)", None, None, Err(PartyError::Name("A (b)".to_owned()))),
            ("A\n", None, None, Err(PartyError::Name("A\\u{a}".to_owned()))),
            (&long, None, None, Err(PartyError::Name(format!("{}…", "n".repeat(256))))),
            ("A", Some("ftp://a"), None, Err(PartyError::Url("ftp://a".to_owned()))),
            ("A", Some("https://"), None, Err(PartyError::Url("https://".to_owned()))),
            ("A", Some("https://a b"), None, Err(PartyError::Url("https://a b".to_owned()))),
            ("A", None, Some("a@"), Err(PartyError::Email("a@".to_owned()))),
            ("A", None, Some("a b@c"), Err(PartyError::Email("a b@c".to_owned()))),
            ("A", None, Some("a@b)"), Err(PartyError::Email("a@b)".to_owned()))),
        ] {
            assert_eq!(Party::new(name, url, email).map(|_| ()), expected, "{name} {url:?}");
        }
    }
}
