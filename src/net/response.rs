//! Answers: status and headers, and a body that is read with a limit.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

use super::error::{self, HttpError, TransportError};
use super::{Url, retry, shown};

/// How long a body may take at least, however slowly it comes.
const GRACE: Duration = Duration::from_secs(60);
/// The slowest pace that is waited for after that, in bytes a second. A silence has a limit of its
/// own; without this one, a server that sends a byte before each silence ends would hold an
/// installation for ever.
const SLOWEST: u64 = 4 * 1024;

/// The most that is read of an answer that says no; it is only ever shown.
const COMPLAINT_LIMIT: u64 = 16 * 1024;

/// Status and headers of an answer.
#[derive(Debug)]
pub struct Head {
    pub(super) status: u16,
    pub(super) method: &'static str,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub(super) head: Head,
    pub(super) body: reqwest::blocking::Response,
    pub(super) pace: Pace,
}

/// How fast a body comes.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    read: u64,
}

/// An answer with its body.
#[derive(Debug)]
pub struct Fetched {
    /// Status and headers.
    pub head: Head,
    /// The body. Of an answer that says no, only its beginning.
    pub body: Vec<u8>,
}

impl Head {
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What was asked.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host that answered, with its port where one is given.
    pub fn host(&self) -> String {
        error::host(&self.url)
    }

    /// A header, where it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type, in lower case and without parameters; empty where there is none.
    pub fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Where the answer points: its `Location`, which may be relative (RFC 9110 10.2.2).
    pub fn location(&self) -> Result<Url, HttpError> {
        let location = self
            .header("location")
            .ok_or_else(|| HttpError::NoLocation { url: shown(&self.url), status: self.status })?;
        resolve(&self.url, location)
    }
}

/// Resolves a link found in an answer of `from`, and refuses the ones that leave HTTPS.
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
                "which leaves HTTPS"
            } else {
                "which is neither HTTPS nor HTTP"
            },
        }),
    }
}

impl Response {
    /// Status and headers.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the body. Past `limit` bytes it is an error, unless the answer says no: then it is
    /// cut.
    pub fn fetch(mut self, limit: u64) -> Result<Fetched, HttpError> {
        let mut body = Vec::new();
        if !(200..300).contains(&self.head.status) {
            // The status is the answer; whether its explanation arrives whole does not matter.
            let _ = (&mut self).take(COMPLAINT_LIMIT).read_to_end(&mut body);
            return Ok(Fetched { head: self.head, body });
        }
        // One byte past the limit, so that "exactly at the limit" and "cut by us" differ.
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

/// Reads the body as it comes. Errors are [`HttpError`] within [`io::Error`].
impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(broken(error, &self.head.url)),
        })?;
        self.pace.read += count as u64;
        if count > 0 && self.pace.is_too_slow(Instant::now()) {
            return Err(io::Error::other(HttpError::Silent { url: shown(&self.head.url) }));
        }
        Ok(count)
    }
}

impl Pace {
    /// A body that begins to come now.
    pub(super) fn begin(now: Instant) -> Self {
        Self { started: now, read: 0 }
    }

    /// Whether what came until `now` is less than the slowest pace.
    fn is_too_slow(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started)
            > GRACE + Duration::from_secs(self.read / SLOWEST)
    }
}

/// Tells silence from a broken connection.
fn broken(error: io::Error, url: &Url) -> HttpError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    if inner.is_some_and(reqwest::Error::is_timeout) {
        return HttpError::Silent { url: shown(url) };
    }
    HttpError::Interrupted { url: shown(url), source: TransportError::new(error) }
}

impl Fetched {
    /// The error that an answer is which says no, or says something else than was asked.
    pub fn refusal(&self) -> HttpError {
        HttpError::Status {
            method: self.head.method,
            url: shown(&self.head.url),
            status: self.head.status,
            detail: error::detail(&self.head.content_type(), &self.body),
        }
    }

    /// Whether the same request may be answered differently in a moment.
    pub fn is_transient(&self) -> bool {
        retry::is_transient(self.head.status)
    }

    /// Whether the body is a page for a browser.
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
                Err(
                    "`https://a.example/v2/x` redirects to `http://a.example/z`, which leaves HTTPS",
                ),
            ),
            (
                "http://127.0.0.1/x",
                "file:///etc/passwd",
                Err(
                    "`http://127.0.0.1/x` redirects to `file:///etc/passwd`, which is neither HTTPS nor HTTP",
                ),
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
