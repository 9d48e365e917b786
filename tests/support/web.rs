//! A web server for files, on loopback: it serves ranges, and it can stop in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What it serves, by path, with how it does.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes that the first response of each file has, if not all.
    cut: Option<usize>,
    /// Whether a cut response stays open instead of being closed.
    hangs: AtomicBool,
    requests: Mutex<Vec<String>>,
}

impl Web {
    pub fn serve(files: &[(&str, Vec<u8>)], cut: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.clone()));
        let shared = Arc::new(Shared {
            files: files.collect(),
            cut,
            hangs: AtomicBool::new(false),
            requests: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets responses that are cut stay open from now on.
    pub fn hang(&self) {
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    /// The path of each request, with the range that it asked for.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no panic").clone()
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let from: Option<usize> = headers.iter().find_map(|header| {
            let (name, value) = header.split_once(':')?;
            let range = name.eq_ignore_ascii_case("range").then_some(value.trim())?;
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
        });
        let first_of_it = {
            let mut requests = self.requests.lock().expect("no panic");
            let first = !requests.iter().any(|it| it.starts_with(&path));
            requests.push(from.map_or_else(|| path.clone(), |from| format!("{path} from {from}")));
            first
        };
        let Some(content) = self.files.get(&path) else {
            let _ = stream
                .write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        };
        let start = from.unwrap_or_default().min(content.len());
        let status = if from.is_some() { 206 } else { 200 };
        let head = format!(
            "HTTP/1.1 {status} Test\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\
             ETag: \"{}\"\r\nConnection: close\r\n\r\n",
            content.len() - start,
            content.len().saturating_sub(1),
            content.len(),
            content.len(),
        );
        let rest = &content[start..];
        let cut = self.cut.filter(|_| first_of_it).map_or(rest.len(), |cut| cut.min(rest.len()));
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&rest[..cut]);
        if cut < rest.len() && self.hangs.load(Ordering::SeqCst) {
            let _ = stream.flush();
            // Until the client goes away.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    }
}
