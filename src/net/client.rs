//! Sends requests over the right transport, follows redirects, and retries where that can help.
//!
//! Credentials are sent only to the origin of the request's URL, so that a redirect cannot carry
//! them to another host. What a status means is left to the caller.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking;
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;

use super::budget::Budget;
use super::error::HttpError;
use super::response::Pace;
use super::{Body, Fetched, Head, Method, Response, Url, retry, shown};

/// The most redirects that are followed.
const REDIRECTS: usize = 10;
/// The slowest upload that is still waited for, in bytes per second. The HTTP library can only
/// limit an upload as a whole, not the silence within it; the kernel notices a dead peer
/// (`TCP_USER_TIMEOUT`).
const SLOWEST_UPLOAD: u64 = 32 * 1024;
/// The factor by which a response to an upload may exceed the idle timeout: a server moves the blob
/// to its final place first.
const UPLOAD_PATIENCE: u32 = 4;

/// What a client takes from its environment: timeouts, sleeping, and a directory for large bodies.
#[derive(Clone)]
pub struct Settings {
    /// Timeout for establishing a connection.
    pub connect_timeout: Duration,
    /// The longest silence of a server.
    pub idle_timeout: Duration,
    /// How long all requests of this client may take together; large bodies may take longer.
    pub overall_timeout: Duration,
    /// Waits between attempts: sleeps, or records the wait in tests.
    pub pause: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Where bodies that are too large for memory are spooled until they are sent.
    pub temporary: PathBuf,
    /// CA certificates in PEM form that are trusted exclusively, without a proxy; otherwise the
    /// system's certificates are used.
    pub authorities: Option<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            overall_timeout: Duration::from_secs(600),
            pause: Arc::new(std::thread::sleep),
            temporary: std::env::temp_dir(),
            authorities: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect_timeout, idle_timeout, overall_timeout, temporary, .. } = self;
        let mut text = f.debug_struct("Settings");
        text.field("connect_timeout", connect_timeout).field("idle_timeout", idle_timeout);
        text.field("overall_timeout", overall_timeout).field("temporary", temporary);
        text.finish_non_exhaustive()
    }
}

/// A request to be sent.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    authorization: Option<String>,
    body: Option<Body>,
    plain: bool,
}

impl Request {
    /// Creates a request without headers or body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), authorization: None, body: None, plain: false }
    }

    /// Adds a header, which is also sent to the target of a redirect.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the `Authorization` header, which is sent only to the host of the request's URL.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Lets it go over plain HTTP to another machine: only for content whose digest the caller
    /// knows and checks.
    #[must_use]
    pub fn allow_plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }
}

/// Shows everything but credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.method, shown(&self.url), self.headers)
    }
}

/// An HTTP client. Clones share its connections and its time.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>, Arc<Budget>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    plain: Mutex<Option<blocking::Client>>,
    tls: Mutex<Option<blocking::Client>>,
}

/// The transport to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Plain HTTP: to this machine, or for content whose digest is known.
    Plain,
    /// HTTPS, with the system's certificates.
    Tls,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

/// A response, with or without its body.
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
    /// Creates a client without connecting to anything.
    pub fn new(settings: Settings) -> Self {
        let budget = Budget::new(settings.overall_timeout);
        let inner = Inner { settings, plain: Mutex::default(), tls: Mutex::default() };
        Self(Arc::new(inner), Arc::new(budget))
    }

    /// Returns a client with the same connections that has spent no time yet: for a process that
    /// sends a request now and then.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::new(self.1.renewed()))
    }

    /// Returns the settings it was created with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Sends the request until there is a response, whatever its status; the body can then be read
    /// once.
    ///
    /// Only for requests that may be repeated (idempotent methods, RFC 9110 9.2.2).
    pub fn open(&self, request: &Request) -> Result<Response, HttpError> {
        self.repeat(|| self.follow(request))
    }

    /// Sends the request and reads the body, until both succeed.
    ///
    /// Only for requests that may be repeated.
    pub fn fetch(&self, request: &Request, limit: u64) -> Result<Fetched, HttpError> {
        self.repeat(|| self.fetch_once(request, limit))
    }

    /// Sends the request once and reads the body.
    pub fn fetch_once(&self, request: &Request, limit: u64) -> Result<Fetched, HttpError> {
        self.follow(request)?.fetch(limit)
    }

    /// Sends the request once; the body can then be read once.
    #[cfg(any(feature = "publish", test))]
    pub(super) fn once(&self, request: &Request) -> Result<Response, HttpError> {
        self.follow(request)
    }

    /// Repeats an exchange of several requests while its last response is one that may change.
    pub fn converse(
        &self,
        conversation: impl FnMut() -> Result<Fetched, HttpError>,
    ) -> Result<Fetched, HttpError> {
        self.repeat(conversation)
    }

    /// Sleeps for a random time between `least` and `most`.
    pub fn pause(&self, least: Duration, most: Duration) {
        self.wait(retry::between(least, most, retry::random()));
    }

    pub(super) fn wait(&self, duration: Duration) {
        (self.0.settings.pause)(duration);
        self.1.spend(duration, 0);
    }

    /// Refuses to wait any longer if all requests together took too long.
    fn check_time(&self, url: &Url) -> Result<(), HttpError> {
        match self.1.exceeded() {
            Some(waited) => Err(HttpError::overdue(url, waited)),
            None => Ok(()),
        }
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
            self.wait(retry::wait(failures, retry_after, retry::random()));
            failures += 1;
        }
    }

    /// Sends the request and, if it only reads, follows redirects.
    fn follow(&self, request: &Request) -> Result<Response, HttpError> {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let mut url = request.url.clone();
        let pace = Pace::begin(Instant::now());
        for _ in 0..=REDIRECTS {
            let response = self.send(request, &url)?;
            if !reads {
                return Ok(response);
            }
            if !matches!(response.head.status, 301 | 302 | 303 | 307 | 308) {
                // What redirects took counts.
                return Ok(Response { pace, ..response });
            }
            pace.check(Instant::now(), &url)?;
            url = response.head.location()?;
        }
        let reason = "past the limit of 10 redirects";
        Err(HttpError::Redirect { url: shown(&request.url), target: shown(&url), reason })
    }

    fn send(&self, request: &Request, url: &Url) -> Result<Response, HttpError> {
        self.check_time(url)?;
        let client = self.client(url, request.plain)?;
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
        let started = Instant::now();
        let sent = builder.send();
        self.1.spend(started.elapsed(), size);
        let body = sent.map_err(|error| HttpError::of_send(error, url, size))?;
        let head = Head {
            status: body.status().as_u16(),
            method: name(&request.method),
            url: url.clone(),
            headers: body.headers().clone(),
        };
        let (budget, pace) = (Arc::clone(&self.1), Pace::begin(Instant::now()));
        Ok(Response { head, body, budget, pace })
    }

    /// Returns the client for a URL, created on first use: a machine without CA certificates can
    /// still use a registry of its own.
    fn client(&self, url: &Url, plain: bool) -> Result<blocking::Client, HttpError> {
        let transport = transport(url, plain)?;
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
            // In this library: the time until a response begins, and between two parts of its body.
            .timeout(settings.idle_timeout)
            .tcp_user_timeout(settings.idle_timeout);
        let builder = match transport {
            // Explicitly no roots: loading the system's fails where there are none, even for
            // http://.
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

/// Decides which transport a URL's host is reached by; `plain` is [`Request::allow_plain`].
fn transport(url: &Url, plain: bool) -> Result<Transport, HttpError> {
    match url.scheme() {
        "https" => Ok(Transport::Tls),
        "http" if plain || is_loopback(url) => Ok(Transport::Plain),
        "http" => Err(HttpError::Insecure { url: shown(url) }),
        _ => Err(HttpError::Url(shown(url))),
    }
}

/// Returns whether the host is this machine, by the rule of
/// [`Repository::is_loopback`](crate::model::Repository::is_loopback).
pub(crate) fn is_loopback(url: &Url) -> bool {
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
