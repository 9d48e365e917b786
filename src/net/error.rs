//! Why a request got no usable response, and what servers say about it. Text from a server is
//! escaped and cut to length before it reaches a terminal.

use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};

use serde::Deserialize;

use super::Url;
use crate::model::visible;

/// Why a request got no usable response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The system has no CA certificates (as in an empty container image).
    #[error("cannot verify `{host}`: this machine has no CA certificates")]
    NoRoots {
        /// Name and port of the server.
        host: String,
    },
    /// The client or the request could not be set up.
    #[error("cannot set up a request to `{host}`")]
    Setup {
        /// Name and port of the server.
        host: String,
        /// The library's reason.
        source: TransportError,
    },
    /// Not a URL, or not an http or https one.
    #[error("`{0}` is not an http or https URL")]
    Url(String),
    /// Plain HTTP to another machine, which anyone on the network could read and change.
    #[error("`{url}` is plain HTTP to another machine, expected https")]
    Insecure {
        /// As [`shown`] renders it.
        url: String,
    },
    /// No connection: refused, unknown host name, or a certificate of an unknown authority.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// Name and port of the server.
        host: String,
        /// The error of the transport, without those around it.
        source: TransportError,
    },
    /// The server accepted the connection and then sent nothing for too long, or read an upload too
    /// slowly.
    #[error("`{url}` did not answer in time")]
    Silent {
        /// As [`shown`] renders it.
        url: String,
    },
    /// A response that arrives too slowly to wait for it.
    #[error("`{url}` sent {read} bytes in {seconds} s, which is too slow")]
    Slow {
        /// As [`shown`] renders it.
        url: String,
        /// How long was waited, in seconds.
        seconds: u64,
        /// How many bytes of the body came.
        read: u64,
    },
    /// All requests together took too long.
    #[error("gave up on `{host}` after waiting {seconds} s in all; the last request was `{url}`")]
    Overdue {
        /// Name and port of the server.
        host: String,
        /// As [`shown`] renders it.
        url: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// The connection was lost during a request.
    #[error("lost the connection to `{url}`")]
    Interrupted {
        /// As [`shown`] renders it.
        url: String,
        /// The error of the transport, without those around it.
        source: TransportError,
    },
    /// The server did not read the whole body. It may have said why, but the HTTP library loses a
    /// response that arrives before the end of a body from a file (reqwest 0.13,
    /// blocking/client.rs).
    #[error("`{url}` closed the connection during an upload of {size} bytes")]
    Upload {
        /// As [`shown`] renders it.
        url: String,
        /// Length of the body in bytes.
        size: u64,
        /// The error of the transport, without those around it.
        source: TransportError,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects to `{target}`, {reason}")]
    Redirect {
        /// The URL that responded.
        url: String,
        /// Its `Location`, as [`shown`] renders it.
        target: String,
        /// Why it is not followed, as a relative clause.
        reason: &'static str,
    },
    /// A response that requires a `Location` header and has none.
    #[error("`{url}` returned status {status} without a `Location` header")]
    NoLocation {
        /// The URL that responded.
        url: String,
        /// The HTTP status code.
        status: u16,
    },
    /// A response with an unexpected status.
    #[error("{method} `{url}` returned status {status}{detail}")]
    Status {
        /// The HTTP method.
        method: &'static str,
        /// As [`shown`] renders it.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// What the server says about it, starting with `: `; empty if it says nothing.
        detail: String,
    },
    /// A body longer than the requested content can be.
    #[error("the response from `{url}` is longer than {limit} bytes")]
    TooLong {
        /// As [`shown`] renders it.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
}

impl HttpError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoRoots { .. } => Some("set SSL_CERT_FILE to a PEM file of CA certificates"),
            Self::Connect { source, .. } if source.to_string().ends_with("UnknownIssuer") => {
                Some("set SSL_CERT_FILE to a PEM file with the CA certificate of the server")
            }
            Self::Upload { .. } => Some(
                "check whether the registry, or a proxy in front of it, limits the size of uploads",
            ),
            Self::Slow { .. } | Self::Overdue { .. } => Some(
                "try again later, or copy the image to a registry that is nearer (cnister pull, push)",
            ),
            Self::Insecure { .. } => {
                Some("use a registry with TLS; plain HTTP is only allowed on this machine")
            }
            _ => None,
        }
    }

    /// Returns whether the same request may soon succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !source.is_tls(),
            Self::Interrupted { .. } | Self::Upload { .. } => true,
            _ => false,
        }
    }

    /// All requests together took too long, this one included.
    pub(super) fn overdue(url: &Url, waited: Duration) -> Self {
        Self::Overdue { host: host(url), url: shown(url), seconds: waited.as_secs() }
    }

    /// Tells apart the failures that reqwest reports before a response.
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

    /// Tells apart the failures that reqwest reports when it cannot create a client.
    pub(super) fn of_setup(error: reqwest::Error, url: &Url) -> Self {
        let source = TransportError::new(error);
        // The verifier's error has no distinct kind (rustls-platform-verifier 0.7,
        // verification/others.rs).
        if source.to_string().contains("No CA certificates were loaded") {
            return Self::NoRoots { host: host(url) };
        }
        Self::Setup { host: host(url), source }
    }
}

/// A failure below HTTP. Prints its innermost cause, which is the informative one.
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

    /// Returns whether TLS failed, in which case retrying is pointless: rustls reports it as
    /// invalid data, inside I/O errors that hide each other from [`StdError::source`].
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

/// Returns the host of a URL, with the port if one is given.
pub(super) fn host(url: &Url) -> String {
    let host = visible(url.host_str().unwrap_or_default()).into_owned();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Renders a URL for errors, without what may be secret or long: the query (presigned URLs carry
/// credentials), the fragment and the user.
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

/// An error of a Kubernetes API server (k8s.io/apimachinery meta/v1, Status).
#[derive(Deserialize)]
struct Status {
    message: String,
}

/// How many errors of a server are repeated, and how many characters of each.
const COMPLAINTS: usize = 3;
const COMPLAINT_LENGTH: usize = 200;

/// Returns what the body of an error response says, to be appended to the status.
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

/// Returns whether the body is a page for browsers, whatever its content type says.
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
