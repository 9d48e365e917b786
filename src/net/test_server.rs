//! A web server for tests: it runs in this process, on loopback, and responds as the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Url;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// The path and query of the request, as they were sent.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Method and target, for comparing.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// How the server responds to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Full {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Announces the whole body and closes half-way.
    CutOff {
        body: Vec<u8>,
    },
    /// Announces the whole body and closes after some bytes of it.
    Cut {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        sent: usize,
    },
    /// Closes without a response.
    HangUp,
    /// Keeps the connection open and sends nothing.
    Silence,
    /// Sends one byte of a body without end after another, with this pause between two.
    Drip(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Full { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Full { headers, .. } | Self::Cut { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

/// The server; it stops when it is dropped.
pub(crate) struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    stopped: AtomicBool,
    received: Mutex<Vec<Received>>,
    silent: Mutex<Vec<TcpStream>>,
}

impl TestServer {
    pub(crate) fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stopped: AtomicBool::new(false),
            received: Mutex::default(),
            silent: Mutex::default(),
        });
        let accept = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accept.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&accept));
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Host and port, as in references.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// Returns the requests that have arrived so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Returns the request lines that have arrived so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received().iter().map(Received::line).collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        self.shared.silent.lock().unwrap().clear();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    /// Serves one request per connection, so that nothing has to be kept in step.
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&stream) else { return };
        let reply = (self.handler)(&request);
        let head_only = request.method == "HEAD";
        self.received.lock().unwrap().push(request);
        // A client that went away is ignored.
        let _ = match reply {
            Reply::Full { status, headers, body } => {
                let head = head_of(status, &headers, body.len());
                let body = if head_only { &[] } else { body.as_slice() };
                stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())
            }
            Reply::CutOff { body } => {
                let head = format!("HTTP/1.1 200 Test\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat())
            }
            Reply::Cut { status, headers, body, sent } => {
                let head = head_of(status, &headers, body.len());
                stream.write_all(&[head.as_bytes(), b"\r\n", &body[..sent]].concat())
            }
            Reply::HangUp => Ok(()),
            Reply::Drip(pause) => drip(stream, pause),
            Reply::Silence => {
                self.silent.lock().unwrap().push(stream);
                return;
            }
        };
    }
}

/// The head of a response without its empty line.
fn head_of(status: u16, headers: &[(String, String)], length: usize) -> String {
    let mut head = format!("HTTP/1.1 {status} Test\r\nConnection: close\r\n");
    let framing = ["content-length", "transfer-encoding"];
    if !headers.iter().any(|(name, _)| framing.iter().any(|it| name.eq_ignore_ascii_case(it))) {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head
}

/// Ends when the client goes away.
fn drip(mut stream: TcpStream, pause: Duration) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 Test\r\nContent-Length: 1000000\r\n\r\n")?;
    loop {
        stream.write_all(b" ")?;
        std::thread::sleep(pause);
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        reader.read_line(&mut text).ok().filter(|count| *count > 0)?;
        Some(text.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Received { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}
