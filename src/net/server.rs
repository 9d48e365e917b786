//! A small HTTP server: short responses to GET and HEAD, at one address, on one thread.
//!
//! The number of connections, the length of a request and its duration are limited, and each
//! connection serves one request, so that a slow or hostile reader cannot exhaust memory. None can
//! hold a place either: a new connection takes that of the oldest one that has not sent its
//! request. The caller decides what a path returns.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The most connections at a time. Each takes less than 20 KiB.
const CONNECTIONS: usize = 32;
/// The most headers in a request. A scraper sends five.
const HEADERS: usize = 32;
/// The longest request, in bytes; the smallest limit that the library accepts.
const REQUEST: usize = 8192;
/// Time limits for readers.
const PATIENCE: Patience =
    Patience { arrival: Duration::from_secs(5), connection: Duration::from_secs(10) };

#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the request to arrive.
    arrival: Duration,
    /// For the whole connection.
    connection: Duration,
}

/// A response to a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// An HTTP status code.
    pub status: u16,
    /// Value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The complete body, UTF-8 text.
    pub body: String,
}

impl Answer {
    /// Creates a response with one line of text.
    pub fn text(status: u16, line: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }
}

/// Serves every path at this address by `answer`, on a thread of its own until the process ends.
/// Returns the address with the actual port, if port 0 was requested.
pub fn serve(
    address: SocketAddr,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    serve_with(address, PATIENCE, answer)
}

fn serve_with(
    address: SocketAddr,
    patience: Patience,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let serve = move || runtime.block_on(accept(listener, patience, Arc::new(answer)));
    thread::Builder::new().name("serve".to_owned()).spawn(serve)?;
    Ok(address)
}

async fn accept<F: Fn(&str) -> Answer + Send + Sync + 'static>(
    listener: TcpListener,
    patience: Patience,
    answer: Arc<F>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.make_room();
                connections.add(stream, patience, Arc::clone(&answer));
                // A request that is here already is answered before another connection is accepted,
                // which might take the place.
                tokio::task::yield_now().await;
            }
            // Out of descriptors, or the reader went away: there is no one to tell, and retrying at
            // once would not help.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<Connection>);

struct Connection {
    task: JoinHandle<()>,
    /// Whether its request has arrived.
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    /// Closes one if all places are taken: the oldest that has not sent its request, or the oldest
    /// of all, which reads its answer slowly. Waiting for a deadline instead would let a client
    /// that opens connections and sends nothing delay all others.
    fn make_room(&mut self) {
        self.0.retain(|connection| !connection.task.is_finished());
        if self.0.len() < CONNECTIONS {
            return;
        }
        let has_asked = |it: &Connection| it.has_asked.load(Ordering::Relaxed);
        let oldest = self.0.iter().position(|it| !has_asked(it)).unwrap_or(0);
        if let Some(connection) = self.0.remove(oldest) {
            connection.task.abort();
        }
    }

    fn add<F: Fn(&str) -> Answer + Send + Sync + 'static>(
        &mut self,
        stream: TcpStream,
        patience: Patience,
        answer: Arc<F>,
    ) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let conversation = converse(stream, patience, answer, Arc::clone(&has_asked));
        let task = tokio::spawn(async move {
            // Errors of a reader are ignored.
            let _ = tokio::time::timeout(patience.connection, conversation).await;
        });
        self.0.push_back(Connection { task, has_asked });
    }
}

async fn converse<F: Fn(&str) -> Answer>(
    stream: TcpStream,
    patience: Patience,
    answer: Arc<F>,
    has_asked: Arc<AtomicBool>,
) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let response = respond(request.method(), request.uri().path(), answer.as_ref());
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.arrival)
        .keep_alive(false)
        // A reader may close its side as soon as it has asked.
        .half_close(true)
        .max_headers(HEADERS)
        .max_buf_size(REQUEST)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// Responds to a request; the library omits the body for HEAD.
fn respond(method: &Method, path: &str, answer: &impl Fn(&str) -> Answer) -> Response<String> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let Answer { status, content_type, body } = match reads {
        true => answer(path),
        false => Answer::text(405, "only GET and HEAD are supported"),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !reads {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    use super::*;

    fn start() -> SocketAddr {
        start_with(PATIENCE)
    }

    fn start_with(patience: Patience) -> SocketAddr {
        let answer = |path: &str| match path {
            "/here" => Answer::text(200, "it is"),
            _ => Answer::text(404, "it is not"),
        };
        serve_with("127.0.0.1:0".parse().unwrap(), patience, answer).unwrap()
    }

    fn send(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A request that is refused early may not be read to its end.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// The status line and the body.
    fn ends(answer: &str) -> (&str, &str) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        (head.lines().next().unwrap_or(""), body)
    }

    #[test]
    fn answers_get_and_head_and_nothing_else() {
        let address = start();
        let many = "a: b\r\n".repeat(HEADERS + 1);
        let fits = "a: b\r\n".repeat(HEADERS - 1);
        let long = format!("a: {}\r\n", "b".repeat(2 * REQUEST));
        let cases = [
            ("GET /here HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), ("HTTP/1.1 200 OK", "it is\n")),
            ("GET /here?what HTTP/1.0\r\n\r\n".to_owned(), ("HTTP/1.0 200 OK", "it is\n")),
            ("HEAD /here HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), ("HTTP/1.1 200 OK", "")),
            (
                "GET /there HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
                ("HTTP/1.1 404 Not Found", "it is not\n"),
            ),
            (
                "POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
                ("HTTP/1.1 405 Method Not Allowed", "only GET and HEAD are supported\n"),
            ),
            (
                "DELETE /here HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
                ("HTTP/1.1 405 Method Not Allowed", "only GET and HEAD are supported\n"),
            ),
            (
                format!("GET /here HTTP/1.1\r\nHost: x\r\n{fits}\r\n"),
                ("HTTP/1.1 200 OK", "it is\n"),
            ),
            (
                format!("GET /here HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
                ("HTTP/1.1 431 Request Header Fields Too Large", ""),
            ),
            (
                format!("GET /here HTTP/1.1\r\nHost: x\r\n{long}\r\n"),
                ("HTTP/1.1 431 Request Header Fields Too Large", ""),
            ),
            ("SSH-2.0-x\r\n\r\n".to_owned(), ("HTTP/1.1 400 Bad Request", "")),
        ];
        for (request, expected) in cases {
            let shown = &request[..request.len().min(60)];
            assert_eq!(ends(&send(address, &request)), expected, "{shown}");
        }
        let answer = send(address, "PUT /here HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }

    #[test]
    fn serves_one_request_per_connection() {
        let request = "GET /here HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = send(start(), &request.repeat(3));
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }

    const REQUESTED: &str = "GET /here HTTP/1.1\r\nHost: x\r\n\r\n";
    /// No client is disconnected for being slow.
    const ENDLESS: Patience =
        Patience { arrival: Duration::from_secs(600), connection: Duration::from_secs(600) };

    #[test]
    fn clients_that_send_no_request_do_not_keep_another_waiting() {
        let cases: [(&str, &[&str]); 4] = [
            ("silent", &[]),
            ("slow", &["GET /here HTTP/1.1\r\n", "Host: "]),
            ("one byte", &["G"]),
            ("endless", &["GET /here HTTP/1.1\r\na: b\r\n", "c: d\r\n", "e: f\r\n"]),
        ];
        for half_closed in [false, true] {
            for (name, parts) in cases {
                let address = start_with(ENDLESS);
                let open: Vec<_> = (0..3 * CONNECTIONS)
                    .map(|_| {
                        let mut stream = TcpStream::connect(address).unwrap();
                        for part in parts {
                            // It may have been disconnected by one that came later.
                            let _ = stream.write_all(part.as_bytes());
                        }
                        if half_closed {
                            let _ = stream.shutdown(Shutdown::Write);
                        }
                        stream
                    })
                    .collect();
                let answer = send(address, REQUESTED);
                assert_eq!(ends(&answer).1, "it is\n", "{name}, half closed: {half_closed}");
                drop(open);
            }
        }
    }

    #[test]
    fn clients_that_do_not_read_their_answer_do_not_keep_another_waiting() {
        // More than the kernel buffers.
        let long = |_: &str| Answer::text(200, &"a".repeat(4 << 20));
        let address = serve_with("127.0.0.1:0".parse().unwrap(), ENDLESS, long).unwrap();
        let open: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(REQUESTED.as_bytes()).unwrap();
                // The beginning of the answer: it has asked.
                stream.read_exact(&mut [0; 15]).unwrap();
                stream
            })
            .collect();
        assert!(send(address, "GET /here HTTP/1.0\r\n\r\n").len() > 4 << 20);
        drop(open);
    }

    #[test]
    fn the_oldest_that_has_not_asked_makes_room() {
        let address = start_with(ENDLESS);
        let open = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        };
        let mut silent: VecDeque<_> = (0..CONNECTIONS).map(|_| open()).collect();
        let mut newest = open();
        // The first is disconnected, and those after it and the newest are served.
        assert_eq!(silent.pop_front().unwrap().read(&mut [0; 10]).unwrap(), 0);
        for stream in silent.iter_mut().chain([&mut newest]) {
            stream.write_all(REQUESTED.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(ends(&answer).1, "it is\n");
        }
    }

    #[test]
    fn answers_a_client_that_has_closed_its_side() {
        let mut stream = TcpStream::connect(start()).unwrap();
        stream.write_all(REQUESTED.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(ends(&answer).1, "it is\n");
    }

    #[test]
    fn disconnects_a_slow_client() {
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(60));
        for (arrival, connection) in [(short, long), (long, short)] {
            let mut stream =
                TcpStream::connect(start_with(Patience { arrival, connection })).unwrap();
            stream.write_all(b"GET /here HTTP/1.1\r\nHost: ").unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "", "{arrival:?} {connection:?}");
        }
    }
}
