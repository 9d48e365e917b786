//! Downloads a large file: capped, retried, and resumed where that is sound.
//!
//! A lost connection is resumed in two cases. If the caller knows the digest and checks it
//! afterwards, any server may send the rest. If not, only the same strong entity tag is the same
//! content (RFC 9110 8.8.1, 13.1.5): a release asset may be replaced between two requests, and half
//! of each would be neither. Nothing is checked or kept here; that is the caller's job.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::response::{Head, Response};
use super::{Client, HttpError, Method, Request, Url, retry, shown};

/// What is to be downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// The most bytes that are accepted.
    pub limit: u64,
    /// What is known of it.
    pub content: Content,
}

/// What is known of a content before it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Unknown,
    /// Its digest, which the caller checks. It may come over plain HTTP: who changes it on the way
    /// is noticed.
    Pinned,
}

/// Why nothing was downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No complete response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The file could not be written.
    #[error("cannot write what was downloaded")]
    Write(#[source] io::Error),
}

/// How much has to arrive for a failure to count as the first again: a large file over a bad
/// connection fails more often than a small one.
const PROGRESS: u64 = 4 * 1024 * 1024;
/// How much is read at a time.
const BUFFER: usize = 64 * 1024;

/// Downloads into an empty file; returns the length.
pub fn download(
    client: &Client,
    download: &Download<'_>,
    file: &mut File,
) -> Result<u64, DownloadError> {
    let mut partial = Partial { file, length: 0, etag: None, total: None, ranges: true };
    let (mut failures, mut counted) = (0, 0);
    loop {
        let failed = match partial.attempt(client, download) {
            Ok(()) => return Ok(partial.length),
            Err(failed) => failed,
        };
        if partial.length >= counted + PROGRESS {
            failures = 0;
        }
        counted = partial.length;
        failures += 1;
        if !failed.again || failures >= retry::TRIES {
            return Err(failed.error);
        }
        client.wait(retry::wait(failures, failed.retry_after.as_deref(), retry::random()));
    }
}

/// What has arrived.
struct Partial<'a> {
    file: &'a mut File,
    length: u64,
    /// The strong entity tag of the response that it is from.
    etag: Option<String>,
    /// The length of the whole, if the server said so.
    total: Option<u64>,
    /// Whether the server understands ranges.
    ranges: bool,
}

/// A failed attempt.
struct Failed {
    error: DownloadError,
    /// Whether the next one may succeed.
    again: bool,
    retry_after: Option<String>,
}

impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        let again = error.is_transient();
        Self { error: error.into(), again, retry_after: None }
    }
}

impl Failed {
    fn write(error: io::Error) -> Self {
        Self { error: DownloadError::Write(error), again: false, retry_after: None }
    }
}

impl Partial<'_> {
    /// Asks once for what is missing, and appends it.
    fn attempt(&mut self, client: &Client, download: &Download<'_>) -> Result<(), Failed> {
        let pinned = download.content == Content::Pinned;
        if !(self.ranges && (pinned || self.etag.is_some())) {
            self.restart().map_err(Failed::write)?;
        }
        let mut request = Request::new(Method::GET, download.url.clone());
        if pinned {
            request = request.allow_plain();
        }
        if self.length > 0 {
            request = request.header("Range", format!("bytes={}-", self.length));
            if let Some(etag) = self.etag.as_ref().filter(|_| !pinned) {
                request = request.header("If-Range", etag.clone());
            }
        }
        let response = client.once(&request)?;
        match response.head().status() {
            200 => {
                self.restart().map_err(Failed::write)?;
                self.etag = strong_etag(response.head());
                self.total = length_of(response.head());
            }
            206 if self.length > 0 && self.continues(response.head(), pinned) => {}
            // Another part than was asked for, or one of another content.
            206 | 416 => {
                self.ranges = false;
                let error = another_part(response.head()).into();
                return Err(Failed { error, again: true, retry_after: None });
            }
            _ => {
                let answer = response.fetch(0)?;
                let retry_after = answer.head.header("retry-after").map(str::to_owned);
                let (again, error) = (answer.is_transient(), answer.refusal().into());
                return Err(Failed { error, again, retry_after });
            }
        }
        self.append(response, download)
    }

    fn restart(&mut self) -> io::Result<()> {
        (self.length, self.etag, self.total) = (0, None, None);
        self.file.set_len(0)
    }

    /// Whether a partial response is the rest of what has arrived.
    fn continues(&self, head: &Head, pinned: bool) -> bool {
        let Some((start, end, total)) = head.header("content-range").and_then(range) else {
            return false;
        };
        let same = pinned || strong_etag(head).is_none_or(|etag| Some(etag) == self.etag);
        same && start == self.length
            && end.checked_add(1) == Some(total)
            && self.total.is_none_or(|known| known == total)
    }

    fn append(&mut self, mut response: Response, download: &Download<'_>) -> Result<(), Failed> {
        let too_long =
            || Failed::from(HttpError::TooLong { url: shown(download.url), limit: download.limit });
        let left = download.limit.saturating_sub(self.length);
        if length_of(response.head()).is_some_and(|length| length > left) {
            return Err(too_long());
        }
        self.file.seek(SeekFrom::Start(self.length)).map_err(Failed::write)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match response.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(lost(error, download.url)),
            };
            if self.length + count as u64 > download.limit {
                return Err(too_long());
            }
            let read = buffer.get(..count).unwrap_or_default();
            self.file.write_all(read).map_err(Failed::write)?;
            self.length += count as u64;
        }
    }
}

/// The error of a body that broke off, which is [`HttpError`] inside [`io::Error`].
fn lost(error: io::Error, url: &Url) -> Failed {
    let error = error.downcast::<HttpError>();
    error
        .unwrap_or_else(|error| HttpError::Interrupted {
            url: shown(url),
            source: super::TransportError::new(error),
        })
        .into()
}

fn another_part(head: &Head) -> HttpError {
    HttpError::Status {
        method: head.method(),
        url: shown(head.url()),
        status: head.status(),
        detail: ": another part than was asked for".to_owned(),
    }
}

/// The length that a response announces.
fn length_of(head: &Head) -> Option<u64> {
    head.header("content-length")?.trim().parse().ok()
}

/// The entity tag, if the server promises the same bytes for it (RFC 9110 8.8.1).
fn strong_etag(head: &Head) -> Option<String> {
    let etag = head.header("etag")?.trim();
    (etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"')).then(|| etag.to_owned())
}

/// First and last byte and length of the whole, from `bytes 10-19/20` (RFC 9110 14.4).
fn range(text: &str) -> Option<(u64, u64, u64)> {
    let (part, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = part.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
