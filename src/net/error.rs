//! Why a request got no usable answer, and what servers say about it.

use std::error::Error as StdError;
use std::{fmt, io};

use serde::Deserialize;

use super::Url;
use crate::model::visible;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The system has no certificates of authorities (an image with nothing in it, for example).
    #[error("this machine has no CA certificates to check `{host}` with")]
    NoRoots {
        /// The server.
        host: String,
    },
    /// The client or the request could not be set up.
    #[error("cannot set up a request to `{host}`")]
    Setup {
        /// The server.
        host: String,
        /// Why not.
        source: TransportError,
    },
    /// Not a URL, or not one of a web server.
    #[error("`{0}` is not an http or https URL")]
    Url(String),
    /// Plain HTTP to another machine, where anybody on the way could read and change it.
    #[error("`{url}` is plain HTTP to another machine, expected https")]
    Insecure {
        /// The URL.
        url: String,
    },
    /// No connection: refused, no such name, a certificate that nobody vouches for.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The server.
        host: String,
        /// Why not.
        source: TransportError,
    },
    /// The server took the connection and then sent nothing for too long, or took an upload too
    /// slowly.
    #[error("`{url}` did not answer in time")]
    Silent {
        /// The URL.
        url: String,
    },
    /// The connection broke.
    #[error("the connection broke while talking to `{url}`")]
    Interrupted {
        /// The URL.
        url: String,
        /// How it broke.
        source: TransportError,
    },
    /// The server did not take the whole body. It may have said why, but an answer that comes
    /// before the end of a body in a file is lost in the HTTP library (reqwest 0.13,
    /// blocking/client.rs).
    #[error("`{url}` ended an upload of {size} bytes early")]
    Upload {
        /// The URL.
        url: String,
        /// The length of the body.
        size: u64,
        /// How it ended.
        source: TransportError,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects to `{target}`, {reason}")]
    Redirect {
        /// The URL that answered.
        url: String,
        /// Where it points.
        target: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// An answer that should point somewhere and does not.
    #[error("`{url}` answered {status} without a `Location`")]
    NoLocation {
        /// The URL that answered.
        url: String,
        /// The status of the answer.
        status: u16,
    },
    /// An answer that says no.
    #[error("{method} `{url}` was answered with status {status}{detail}")]
    Status {
        /// What was asked.
        method: &'static str,
        /// The URL.
        url: String,
        /// The status.
        status: u16,
        /// What the server says about it, with `: ` before it; empty where it says nothing.
        detail: String,
    },
    /// A body longer than what was asked for can be.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLong {
        /// The URL.
        url: String,
        /// The most that is read.
        limit: u64,
    },
}

impl HttpError {
    /// What the reader can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoRoots { .. } => {
                Some("set SSL_CERT_FILE to a file with the CA certificates in PEM form")
            }
            Self::Connect { source, .. } if source.to_string().ends_with("UnknownIssuer") => Some(
                "set SSL_CERT_FILE to a file with the CA certificate of the server in PEM form",
            ),
            Self::Upload { .. } => {
                Some("look whether the registry, or a proxy before it, limits the size of uploads")
            }
            Self::Insecure { .. } => Some(
                "plain HTTP is for registries on this machine; give the registry a certificate",
            ),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !source.is_tls(),
            Self::Interrupted { .. } | Self::Upload { .. } => true,
            _ => false,
        }
    }

    /// Tells the kinds of failure apart that reqwest has before an answer.
    pub(super) fn of_send(error: reqwest::Error, url: &Url, size: u64) -> Self {
        if error.is_builder() {
            return Self::Setup {
                host: host(url),
                source: TransportError::new(error.without_url()),
            };
        }
        if error.is_connect() {
            return Self::Connect {
                host: host(url),
                source: TransportError::new(error.without_url()),
            };
        }
        if error.is_timeout() {
            return Self::Silent { url: shown(url) };
        }
        if error.is_body() && size > 0 {
            return Self::Upload {
                url: shown(url),
                size,
                source: TransportError::new(error.without_url()),
            };
        }
        Self::Interrupted { url: shown(url), source: TransportError::new(error.without_url()) }
    }

    /// Tells the kinds of failure apart that reqwest has when there is no client yet.
    pub(super) fn of_setup(error: reqwest::Error, url: &Url) -> Self {
        let source = TransportError::new(error);
        // The verifier's error has no kind of its own (rustls-platform-verifier 0.7,
        // verification/others.rs).
        if source.to_string().contains("No CA certificates were loaded") {
            return Self::NoRoots { host: host(url) };
        }
        Self::Setup { host: host(url), source }
    }
}

/// What went wrong below HTTP. It prints its innermost cause, which is the one that says something.
#[derive(Debug)]
pub struct TransportError(Box<dyn StdError + Send + Sync>);

impl TransportError {
    pub(super) fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let first: &(dyn StdError + 'static) = &*self.0;
        std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| (*error).source())
    }

    /// Whether TLS failed, which it will again: rustls reports that as invalid data, within I/O
    /// errors that hide each other from [`StdError::source`].
    fn is_tls(&self) -> bool {
        fn inner<'a>(error: &&'a io::Error) -> Option<&'a io::Error> {
            (*error).get_ref()?.downcast_ref()
        }
        self.causes().any(|error| {
            let mut nested = std::iter::successors(error.downcast_ref::<io::Error>(), inner);
            nested.any(|error| error.kind() == io::ErrorKind::InvalidData)
        })
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.causes().last() {
            Some(cause) => f.write_str(&visible(&cause.to_string())),
            None => Ok(()),
        }
    }
}

impl StdError for TransportError {}

/// The host of a URL, with its port where one is given.
pub(super) fn host(url: &Url) -> String {
    let host = visible(url.host_str().unwrap_or_default()).into_owned();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A URL as errors show it: without what may be secret or long, the query (presigned links are
/// passwords), the fragment and the user.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host(url), visible(url.path()))
}

/// The errors of a registry (distribution-spec, "Error Codes").
#[derive(Deserialize)]
struct Complaints {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error of a Kubernetes API server (k8s.io/apimachinery meta/v1, Status).
#[derive(Deserialize)]
struct Status {
    message: String,
}

/// How many of a server's errors are repeated, and how much of each.
const COMPLAINTS: usize = 3;
const COMPLAINT_LENGTH: usize = 200;

/// What the body of an unwelcome answer says, ready to follow the status.
pub(super) fn detail(content_type: &str, body: &[u8]) -> String {
    let cut =
        |text: &str| visible(&text.chars().take(COMPLAINT_LENGTH).collect::<String>()).into_owned();
    if let Ok(Complaints { errors }) = serde_json::from_slice(body) {
        let complaint = |it: &Complaint| match (it.code.as_str(), it.message.as_str()) {
            (code, "") => cut(code),
            ("", message) => cut(message),
            (code, message) => format!("{} ({})", cut(message), cut(code)),
        };
        let complaints: Vec<String> = errors.iter().take(COMPLAINTS).map(complaint).collect();
        return if complaints.is_empty() {
            String::new()
        } else {
            format!(": {}", complaints.join("; "))
        };
    }
    if let Ok(Status { message }) = serde_json::from_slice(body) {
        return format!(": {}", cut(&message));
    }
    if is_html(content_type, body) {
        return ": an HTML page".to_owned();
    }
    match String::from_utf8_lossy(body).lines().find(|line| !line.trim().is_empty()) {
        Some(line) if content_type == "text/plain" => format!(": {}", cut(line.trim())),
        _ => String::new(),
    }
}

/// Whether the body is a page for a browser, whatever its content type says.
pub(super) fn is_html(content_type: &str, body: &[u8]) -> bool {
    content_type == "text/html" || body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret_part_of_a_url() {
        let url: Url = "https://user:pass@bucket.example.com:8443/a%1bb/c?X-Amz-Signature=secret#x"
            .parse()
            .unwrap();
        assert_eq!(shown(&url), "https://bucket.example.com:8443/a%1bb/c");
    }

    #[test]
    fn repeats_what_the_server_says() {
        let long = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "a".repeat(900));
        let cases = [
            (
                "application/json",
                r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
                ": no (DENIED)".to_owned(),
            ),
            (
                "application/json",
                r#"{"errors":[{"code":"DENIED"},{"message":"b"}]}"#,
                ": DENIED; b".to_owned(),
            ),
            (
                "application/json",
                r#"{"errors":[{"message":"\u001b[2J"}]}"#,
                ": \\u{1b}[2J".to_owned(),
            ),
            ("application/json", &long, format!(": {} (X)", "a".repeat(200))),
            ("application/json", r#"{"errors":[]}"#, String::new()),
            (
                "application/json",
                r#"{"kind":"Status","message":"forbidden\n","code":403}"#,
                ": forbidden\\u{a}".to_owned(),
            ),
            ("application/json", r#"{"kind":"Status","message":7}"#, String::new()),
            ("application/json", "{", String::new()),
            ("text/plain", "\n404 page not found\nmore", ": 404 page not found".to_owned()),
            ("text/plain", "", String::new()),
            ("application/octet-stream", "\u{1}\u{2}", String::new()),
            ("text/html", "x", ": an HTML page".to_owned()),
            ("text/plain", "  <!doctype html>", ": an HTML page".to_owned()),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(detail(content_type, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn prints_the_innermost_cause_and_knows_tls_by_it() {
        let nested = |kind: io::ErrorKind| {
            TransportError::new(io::Error::other(io::Error::other(io::Error::from(kind))))
        };
        let refused = nested(io::ErrorKind::ConnectionRefused);
        assert_eq!((refused.to_string().as_str(), refused.is_tls()), ("connection refused", false));
        assert!(nested(io::ErrorKind::InvalidData).is_tls());
    }
}
