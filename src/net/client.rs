//! Sends requests: by the right transport, through redirects, again where that can help.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking;
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;

use super::error::HttpError;
use super::response::Pace;
use super::{Body, Fetched, Head, Method, Response, Url, retry, shown};

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// The slowest upload that is not given up, in bytes a second. The HTTP library limits an upload as
/// a whole, so a limit for silence alone cannot be had; a dead peer is noticed by the kernel
/// (`TCP_USER_TIMEOUT`).
const SLOWEST_UPLOAD: u64 = 32 * 1024;
/// How much longer than for a silence a server may take to answer an upload: it moves the blob to
/// where it stays.
const UPLOAD_PATIENCE: u32 = 4;

/// What a client takes from its surroundings: time and a place for what is large.
#[derive(Clone)]
pub struct Settings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a server may send nothing. There is no limit for a whole download.
    pub idle_timeout: Duration,
    /// Waits between tries: the thread's sleep, or a test's notebook.
    pub pause: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Where bodies that are too large for memory wait until they are sent.
    pub temporary: PathBuf,
    /// The certificates, as PEM, that alone vouch for servers, which are then reached without a
    /// proxy; without them, the system's do.
    pub authorities: Option<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            pause: Arc::new(std::thread::sleep),
            temporary: std::env::temp_dir(),
            authorities: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect_timeout, idle_timeout, pause: _, temporary, authorities: _ } = self;
        let mut text = f.debug_struct("Settings");
        text.field("connect_timeout", connect_timeout).field("idle_timeout", idle_timeout);
        text.field("temporary", temporary).finish_non_exhaustive()
    }
}

/// What is sent.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    authorization: Option<String>,
    body: Option<Body>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), authorization: None, body: None }
    }

    /// Adds a header; after a redirect it is sent to the new host too.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the `Authorization` header. It goes to the host of the request's URL and to no other.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }
}

/// Shows everything but the credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.method, shown(&self.url), self.headers)
    }
}

/// An HTTP client. A copy shares its connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    plain: Mutex<Option<blocking::Client>>,
    tls: Mutex<Option<blocking::Client>>,
}

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Plain HTTP, to this machine.
    Plain,
    /// HTTPS, with the system's certificates.
    Tls,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

/// An answer, in whatever state its body is.
trait Answer {
    fn head(&self) -> &Head;
}

impl Answer for Response {
    fn head(&self) -> &Head {
        &self.head
    }
}

impl Answer for Fetched {
    fn head(&self) -> &Head {
        &self.head
    }
}

impl Client {
    /// A client that has not connected to anything yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner { settings, plain: Mutex::default(), tls: Mutex::default() }))
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Sends the request until there is an answer, whatever it says; its body can then be read
    /// once.
    ///
    /// Only for requests that may be sent twice (RFC 9110 9.2.2).
    pub fn open(&self, request: &Request) -> Result<Response, HttpError> {
        self.repeat(|| self.follow(request))
    }

    /// Sends the request and reads the body, until both worked.
    ///
    /// Only for requests that may be sent twice.
    pub fn fetch(&self, request: &Request, limit: u64) -> Result<Fetched, HttpError> {
        self.repeat(|| self.fetch_once(request, limit))
    }

    /// Sends the request once and reads the body.
    pub fn fetch_once(&self, request: &Request, limit: u64) -> Result<Fetched, HttpError> {
        self.follow(request)?.fetch(limit)
    }

    /// Repeats a conversation of several requests while its last answer is one that may change.
    pub fn converse(
        &self,
        conversation: impl FnMut() -> Result<Fetched, HttpError>,
    ) -> Result<Fetched, HttpError> {
        self.repeat(conversation)
    }

    /// Waits a random time from `least` to `most`.
    pub fn pause(&self, least: Duration, most: Duration) {
        (self.0.settings.pause)(retry::between(least, most, retry::random()));
    }

    fn repeat<T: Answer>(
        &self,
        mut attempt: impl FnMut() -> Result<T, HttpError>,
    ) -> Result<T, HttpError> {
        let mut failures = 1;
        loop {
            let result = attempt();
            let retry_after = match &result {
                Ok(answer) if retry::is_transient(answer.head().status) => {
                    answer.head().header("retry-after")
                }
                Err(error) if error.is_transient() => None,
                _ => return result,
            };
            if failures == retry::TRIES {
                return result;
            }
            (self.0.settings.pause)(retry::wait(failures, retry_after, retry::random()));
            failures += 1;
        }
    }

    /// Sends the request, and where it only reads, follows redirects.
    fn follow(&self, request: &Request) -> Result<Response, HttpError> {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(request, &url)?;
            if !(reads && matches!(response.head.status, 301 | 302 | 303 | 307 | 308)) {
                return Ok(response);
            }
            url = response.head.location()?;
        }
        let reason = "and so on, more than 10 times";
        Err(HttpError::Redirect { url: shown(&request.url), target: shown(&url), reason })
    }

    fn send(&self, request: &Request, url: &Url) -> Result<Response, HttpError> {
        let client = self.client(url)?;
        let mut builder = client.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(value) = &request.authorization
            && url.origin() == request.url.origin()
        {
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(body) = &request.body {
            let settings = &self.0.settings;
            let patience = settings.idle_timeout.saturating_mul(UPLOAD_PATIENCE);
            builder = builder
                .timeout(patience.saturating_add(Duration::from_secs(body.size() / SLOWEST_UPLOAD)))
                .body(body.to_request());
        }
        let size = request.body.as_ref().map_or(0, Body::size);
        let body = builder.send().map_err(|error| HttpError::of_send(error, url, size))?;
        let head = Head {
            status: body.status().as_u16(),
            method: name(&request.method),
            url: url.clone(),
            headers: body.headers().clone(),
        };
        Ok(Response { head, body, pace: Pace::begin(Instant::now()) })
    }

    /// The client for a URL, made when it is first needed: a machine without certificates can still
    /// use a registry of its own.
    fn client(&self, url: &Url) -> Result<blocking::Client, HttpError> {
        let transport = transport(url)?;
        let slot = match transport {
            Transport::Plain => &self.0.plain,
            Transport::Tls => &self.0.tls,
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let settings = &self.0.settings;
        let builder = blocking::Client::builder()
            .user_agent(concat!("cnister/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(settings.connect_timeout)
            // For this library: how long an answer may take to begin, and each part of its body to
            // come.
            .timeout(settings.idle_timeout)
            .tcp_user_timeout(settings.idle_timeout);
        let builder = match transport {
            // Explicitly no roots: reading the system's fails where there are none, for http:// as
            // well.
            Transport::Plain => builder.tls_certs_only([]).no_proxy(),
            Transport::Tls => match &settings.authorities {
                None => builder.https_only(true),
                Some(pem) => {
                    let authorities = Certificate::from_pem_bundle(pem)
                        .map_err(|error| HttpError::of_setup(error, url))?;
                    builder.https_only(true).no_proxy().tls_certs_only(authorities)
                }
            },
        };
        let client = builder.build().map_err(|error| HttpError::of_setup(error, url))?;
        Ok(slot.insert(client).clone())
    }
}

/// Decides how the host of a URL is spoken to.
fn transport(url: &Url) -> Result<Transport, HttpError> {
    match url.scheme() {
        "https" => Ok(Transport::Tls),
        "http" if is_loopback(url) => Ok(Transport::Plain),
        "http" => Err(HttpError::Insecure { url: shown(url) }),
        _ => Err(HttpError::Url(shown(url))),
    }
}

/// Whether the host is this machine, by the rule of
/// [`Repository::is_loopback`](crate::model::Repository::is_loopback).
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn name(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "GET",
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
