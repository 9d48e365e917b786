//! A server that refuses every request, and says so at length.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{LazyLock, Mutex};

use cnister::net::{Client, HttpError, Method, Request, Settings};

/// A client, the address of the server, and where it gets its bodies.
struct Exchange {
    client: Client,
    address: String,
    bodies: Mutex<SyncSender<Vec<u8>>>,
}

static EXCHANGE: LazyLock<Exchange> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let (bodies, waiting) = mpsc::sync_channel(1);
    std::thread::spawn(move || listener.incoming().for_each(|it| refuse(it.unwrap(), &waiting)));
    Exchange { client: Client::new(Settings::default()), address, bodies: Mutex::new(bodies) }
});

/// Starts it, so that what a first request needs is not counted.
pub(crate) fn start() {
    assert!(explains(b"{\"message\": \"no\"}"));
}

/// Returns whether an error with this body says more than its status.
pub(crate) fn explains(body: &[u8]) -> bool {
    let Exchange { client, address, bodies } = &*EXCHANGE;
    bodies.lock().unwrap().send(body.to_vec()).unwrap();
    let request = Request::new(Method::GET, address.parse().unwrap());
    let answer = client.fetch(&request, 1024).unwrap();
    matches!(answer.refusal(), HttpError::Status { detail, .. } if !detail.is_empty())
}

fn refuse(mut stream: TcpStream, bodies: &Receiver<Vec<u8>>) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        asked.extend(byte);
    }
    let body = bodies.recv().unwrap();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    // The client reads the beginning of a long one, and closes.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
}
