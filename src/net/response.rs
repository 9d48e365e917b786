//! HTTP responses: status and headers, and a body that is read with a limit.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

use super::budget::Budget;
use super::error::{self, HttpError, TransportError};
use super::{Url, retry, shown};

/// The least time that any body is given, however slowly it arrives.
const GRACE: Duration = Duration::from_secs(60);
/// The slowest pace accepted after that, in bytes per second. Silence has a timeout of its own;
/// without this limit, a server that sends a byte before each timeout could block an installation
/// forever.
const SLOWEST: u64 = 4 * 1024;

/// The most that is read of an error response, in bytes; it is only shown.
const COMPLAINT_LIMIT: u64 = 16 * 1024;

/// Status and headers of a response.
#[derive(Debug)]
pub struct Head {
    pub(super) status: u16,
    pub(super) method: &'static str,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub(super) head: Head,
    pub(super) body: reqwest::blocking::Response,
    pub(super) budget: Arc<Budget>,
    pub(super) pace: Pace,
}

/// Measures how fast a body arrives, with the redirects before it.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    read: u64,
}

/// A response with its body.
#[derive(Debug)]
pub struct Fetched {
    /// Of the last response, after redirects.
    pub head: Head,
    /// The body; of an error response, only its beginning.
    pub body: Vec<u8>,
}

impl Head {
    /// Returns the HTTP status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the method of the request.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Returns the URL that responded, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the host that responded, with the port if one is given.
    pub fn host(&self) -> String {
        error::host(&self.url)
    }

    /// Returns a header, if it is present and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the media type in lower case, without parameters; empty if there is none.
    pub fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Resolves the `Location` header, which may be relative (RFC 9110 10.2.2).
    pub fn location(&self) -> Result<Url, HttpError> {
        let location = self
            .header("location")
            .ok_or_else(|| HttpError::NoLocation { url: shown(&self.url), status: self.status })?;
        resolve(&self.url, location)
    }
}

/// Resolves a link in a response from `from`, and refuses one that downgrades HTTPS to HTTP.
pub fn resolve(from: &Url, link: &str) -> Result<Url, HttpError> {
    let target =
        from.join(link).map_err(|_| HttpError::Url(crate::model::visible(link).into_owned()))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") => Ok(target),
        ("http", "http") => Ok(target),
        (_, scheme) => Err(HttpError::Redirect {
            url: shown(from),
            target: shown(&target),
            reason: if scheme == "http" {
                "which is not HTTPS"
            } else {
                "which is neither HTTPS nor HTTP"
            },
        }),
    }
}

impl Response {
    /// Returns status and headers.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the body. More than `limit` bytes are an error, except in an error response, which is
    /// truncated.
    pub fn fetch(mut self, limit: u64) -> Result<Fetched, HttpError> {
        let mut body = Vec::new();
        if !(200..300).contains(&self.head.status) {
            // The status is the result; whether its explanation arrives completely does not matter.
            let _ = (&mut self).take(COMPLAINT_LIMIT).read_to_end(&mut body);
            return Ok(Fetched { head: self.head, body });
        }
        // One byte past the limit, so that "exactly at the limit" and "truncated by us" differ.
        let read = (&mut self).take(limit.saturating_add(1)).read_to_end(&mut body);
        read.map_err(|error| {
            error.downcast().unwrap_or_else(|error| broken(error, &self.head.url))
        })?;
        if body.len() as u64 > limit {
            return Err(HttpError::TooLong { url: shown(&self.head.url), limit });
        }
        Ok(Fetched { head: self.head, body })
    }
}

/// Reads the body as it arrives. Errors are [`HttpError`] inside [`io::Error`].
impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let read = self.body.read(buffer);
        let (now, count) = (Instant::now(), read.as_ref().map_or(0, |count| *count as u64));
        self.budget.spend(now.saturating_duration_since(started), count);
        self.pace.read += count;
        let count = read.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(broken(error, &self.head.url)),
        })?;
        if count > 0 {
            self.pace.check(now, &self.head.url).map_err(io::Error::other)?;
            if let Some(waited) = self.budget.exceeded() {
                return Err(io::Error::other(HttpError::overdue(&self.head.url, waited)));
            }
        }
        Ok(count)
    }
}

impl Pace {
    /// Starts measuring a body that begins to arrive now.
    pub(super) fn begin(now: Instant) -> Self {
        Self { started: now, read: 0 }
    }

    /// Refuses to wait any longer for what arrives too slowly.
    pub(super) fn check(&self, now: Instant, url: &Url) -> Result<(), HttpError> {
        if !self.is_too_slow(now) {
            return Ok(());
        }
        let seconds = now.saturating_duration_since(self.started).as_secs();
        Err(HttpError::Slow { url: shown(url), seconds, read: self.read })
    }

    /// Returns whether less arrived until `now` than at the slowest accepted pace.
    fn is_too_slow(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started)
            > GRACE + Duration::from_secs(self.read / SLOWEST)
    }
}

/// Tells a timeout from a lost connection.
fn broken(error: io::Error, url: &Url) -> HttpError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    if inner.is_some_and(reqwest::Error::is_timeout) {
        return HttpError::Silent { url: shown(url) };
    }
    HttpError::Interrupted { url: shown(url), source: TransportError::new(error) }
}

impl Fetched {
    /// Turns a response with an unexpected status into an error.
    pub fn refusal(&self) -> HttpError {
        HttpError::Status {
            method: self.head.method,
            url: shown(&self.head.url),
            status: self.head.status,
            detail: error::detail(&self.head.content_type(), &self.body),
        }
    }

    /// Returns whether the same request may soon get another response.
    pub fn is_transient(&self) -> bool {
        retry::is_transient(self.head.status)
    }

    /// Returns whether the body is a page for browsers.
    pub fn is_html(&self) -> bool {
        error::is_html(&self.head.content_type(), &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_slow_body_and_not_for_one_that_never_ends() {
        let started = Instant::now();
        // Bytes, seconds, and whether that is too slow.
        for (read, seconds, expected) in [
            (1, 60, false),
            (1, 61, true),
            (40, 80, true),
            (4096 * 20, 80, false),
            (4096 * 20, 81, true),
            (15 << 20, 3900, false),
        ] {
            let pace = Pace { started, read };
            assert_eq!(
                pace.is_too_slow(started + Duration::from_secs(seconds)),
                expected,
                "{read} {seconds}"
            );
        }
        let pace = Pace { started, read: 40 };
        let url = "https://a.example/v2/x/blobs/y?token=secret".parse().unwrap();
        let error = pace.check(started + Duration::from_secs(80), &url).expect_err("too slow");
        let expected = "`https://a.example/v2/x/blobs/y` sent 40 bytes in 80 s, which is too slow";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn follows_links_but_not_out_of_https() {
        let cases = [
            ("https://a.example/v2/x", "/v2/y?n=1", Ok("https://a.example/v2/y?n=1")),
            ("https://a.example/v2/x", "https://b.example/z", Ok("https://b.example/z")),
            ("http://127.0.0.1:5000/v2/x", "y", Ok("http://127.0.0.1:5000/v2/y")),
            ("http://127.0.0.1:5000/v2/x", "https://b.example/z", Ok("https://b.example/z")),
            (
                "https://a.example/v2/x",
                "http://a.example/z?token=secret",
                Err("`https://a.example/v2/x` redirects to `http://a.example/z`, which is not \
                     HTTPS"),
            ),
            (
                "http://127.0.0.1/x",
                "file:///etc/passwd",
                Err("`http://127.0.0.1/x` redirects to `file:///etc/passwd`, which is neither \
                     HTTPS nor HTTP"),
            ),
            ("https://a.example/", "https://[/", Err("`https://[/` is not an http or https URL")),
        ];
        for (from, link, expected) in cases {
            let result = resolve(&from.parse().unwrap(), link);
            let result = result.as_ref().map(Url::as_str).map_err(ToString::to_string);
            assert_eq!(result, expected.map_err(str::to_owned), "{from} {link}");
        }
    }
}
