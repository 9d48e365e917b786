//! The client against a server that misbehaves.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::net::test_server::{Received, Reply, TestServer};

/// A client that records its waits instead of waiting.
fn client() -> (Client, Arc<Mutex<Vec<Duration>>>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let notebook = Arc::clone(&waits);
    let settings = Settings {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        pause: Arc::new(move |wait| notebook.lock().unwrap().push(wait)),
        ..Settings::default()
    };
    (Client::new(settings), waits)
}

/// A server that gives these responses in turn and repeats the last one.
fn in_turn(replies: Vec<Reply>) -> TestServer {
    let turn = AtomicUsize::new(0);
    TestServer::start(move |_: &Received| {
        let turn = turn.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[turn].clone()
    })
}

fn get(server: &TestServer) -> Request {
    Request::new(Method::GET, server.url("/x"))
}

#[test]
fn retries_after_a_server_error() {
    let fault = || Reply::new(503, "");
    let cases = [
        (vec![fault(), fault(), Reply::new(200, "good")], 200, 3),
        (vec![fault(), fault(), fault(), Reply::new(200, "good")], 200, 4),
        (vec![fault(), fault(), fault(), fault(), Reply::new(200, "too late")], 503, 4),
        (vec![Reply::HangUp, Reply::new(200, "good")], 200, 2),
        (vec![Reply::CutOff { body: b"bad bad".to_vec() }, Reply::new(200, "good")], 200, 2),
        (vec![Reply::new(404, ""), Reply::new(200, "never asked")], 404, 1),
    ];
    for (replies, status, requests) in cases {
        let name = format!("{replies:?}");
        let server = in_turn(replies);
        let (client, waits) = client();
        let fetched = client.fetch(&get(&server), 100).unwrap();
        assert_eq!((fetched.head.status(), server.received().len()), (status, requests), "{name}");
        assert_eq!(waits.lock().unwrap().len(), requests - 1, "{name}");
        assert!(status != 200 || fetched.body == b"good", "{name}");
    }
}

#[test]
fn waits_as_long_as_the_server_asks() {
    let server = in_turn(vec![Reply::new(429, "").with("Retry-After", "7"), Reply::new(200, "")]);
    let (client, waits) = client();
    client.fetch(&get(&server), 0).unwrap();
    assert_eq!(*waits.lock().unwrap(), [Duration::from_secs(7)]);
}

#[test]
fn sends_once_what_must_not_be_repeated() {
    let server = in_turn(vec![Reply::new(503, ""), Reply::new(202, "")]);
    let (client, waits) = client();
    let request = Request::new(Method::POST, server.url("/x"));
    assert_eq!(client.fetch_once(&request, 0).unwrap().head.status(), 503);
    assert_eq!((server.received().len(), waits.lock().unwrap().len()), (1, 0));
}

#[test]
fn reads_no_body_past_its_limit() {
    let (client, _) = client();
    let server = in_turn(vec![Reply::new(200, "12345")]);
    assert_eq!(client.fetch(&get(&server), 5).unwrap().body, b"12345");
    let error = client.fetch(&get(&server), 4).expect_err("five bytes").to_string();
    assert_eq!(error, format!("the response from `{}` is longer than 4 bytes", server.url("/x")));
    // An explanation is truncated, not refused.
    let server = in_turn(vec![Reply::new(403, vec![b'a'; 100_000])]);
    assert_eq!(client.fetch(&get(&server), 4).unwrap().body.len(), 16 * 1024);
}

#[test]
fn sends_credentials_to_one_host_only() {
    let elsewhere = in_turn(vec![Reply::new(200, "blob")]);
    let target = elsewhere.url("/store?token=secret").to_string();
    let here = TestServer::start(move |request| match request.target.as_str() {
        "/away" => Reply::new(307, "").with("Location", &target),
        "/within" => Reply::new(307, "").with("Location", "/end"),
        _ => Reply::new(200, "blob"),
    });
    let (client, _) = client();
    for path in ["/away", "/within"] {
        let request = Request::new(Method::GET, here.url(path))
            .authorization("Bearer secret")
            .header("Accept", "a/b");
        let mut body = String::new();
        client.open(&request).unwrap().read_to_string(&mut body).unwrap();
        assert_eq!(body, "blob", "{path}");
    }
    let seen = |server: &TestServer| -> Vec<(String, Option<String>, Option<String>)> {
        let header = |it: &Received, name| it.header(name).map(str::to_owned);
        server
            .received()
            .iter()
            .map(|it| (it.line(), header(it, "authorization"), header(it, "accept")))
            .collect()
    };
    let (bearer, accept) = (Some("Bearer secret".to_owned()), Some("a/b".to_owned()));
    assert_eq!(
        seen(&here),
        [
            ("GET /away".to_owned(), bearer.clone(), accept.clone()),
            ("GET /within".to_owned(), bearer.clone(), accept.clone()),
            ("GET /end".to_owned(), bearer, accept.clone()),
        ]
    );
    assert_eq!(seen(&elsewhere), [("GET /store?token=secret".to_owned(), None, accept)]);
}

#[test]
fn credentials_do_not_show_in_debug_output() {
    let url = "https://a.example/x?token=secret".parse().unwrap();
    let request = Request::new(Method::GET, url).authorization("Bearer secret");
    assert_eq!(format!("{request:?}"), "GET https://a.example/x []");
}

#[test]
fn follows_ten_redirects_and_no_more() {
    for (hops, expected) in [(10, Ok(200)), (11, Err(()))] {
        let server = TestServer::start(move |request| {
            let hop: usize = request.target[1..].parse().unwrap();
            if hop == hops {
                Reply::new(200, "")
            } else {
                Reply::new(302, "").with("Location", format!("{}", hop + 1))
            }
        });
        let (client, _) = client();
        let result = client.fetch(&Request::new(Method::GET, server.url("/0")), 0);
        match (result, expected) {
            (Ok(fetched), Ok(status)) => assert_eq!(fetched.head.status(), status),
            (Err(error), Err(())) => assert_eq!(
                error.to_string(),
                format!(
                    "`{}` redirects to `{}`, past the limit of 10 redirects",
                    server.url("/0"),
                    server.url("/11")
                )
            ),
            (result, _) => panic!("{hops}: {result:?}"),
        }
    }
}

#[test]
fn does_not_follow_the_redirect_of_a_write() {
    let server = in_turn(vec![Reply::new(307, "").with("Location", "/y")]);
    let (client, _) = client();
    let request =
        Request::new(Method::PUT, server.url("/x")).body(Body::bytes(b"content".to_vec()));
    let fetched = client.fetch(&request, 0).unwrap();
    assert_eq!(
        fetched.refusal().to_string(),
        format!("PUT `{}` returned status 307", server.url("/x"))
    );
    assert_eq!(server.lines(), ["PUT /x"]);
}

#[test]
fn sends_a_body_again_from_its_start() {
    let directory = tempfile::tempdir().unwrap();
    for size in [3, 2_000_000_usize] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        let server = in_turn(vec![Reply::new(500, ""), Reply::new(201, "")]);
        let (client, _) = client();
        let body = Body::spool(&mut bytes.as_slice(), directory.path()).unwrap();
        let request = Request::new(Method::PUT, server.url("/x")).body(body);
        assert_eq!(client.fetch(&request, 0).unwrap().head.status(), 201);
        let received = server.received();
        assert_eq!(received.len(), 2);
        for request in received {
            assert_eq!(request.header("content-length"), Some(size.to_string().as_str()));
            assert!(request.body == bytes, "{size}");
        }
    }
}

#[test]
fn gives_up_on_a_silent_server() {
    let settings = Settings {
        idle_timeout: Duration::from_millis(100),
        pause: Arc::new(|wait| panic!("no second try, no wait of {wait:?}")),
        ..Settings::default()
    };
    let client = Client::new(settings);
    let server = in_turn(vec![Reply::Silence]);
    let error = client.fetch(&get(&server), 10).expect_err("silence");
    assert_eq!(error.to_string(), format!("`{}` did not answer in time", server.url("/x")));
}

/// A client with this much time for all requests, that does not really wait between two.
fn hurried(overall_timeout: Duration) -> Client {
    Client::new(Settings { overall_timeout, pause: Arc::new(|_| ()), ..Settings::default() })
}

#[test]
fn gives_up_on_a_server_that_sends_a_byte_before_each_timeout() {
    let client = hurried(Duration::from_millis(300));
    let server = in_turn(vec![Reply::Drip(Duration::from_millis(5))]);
    let expected = format!(
        "gave up on `{}` after waiting 0 s in all; the last request was `{}`",
        server.host(),
        server.url("/x")
    );
    let error = client.fetch(&get(&server), 1_000_000).expect_err("a body without end");
    assert_eq!(error.to_string(), expected);
    // Nothing is sent any more, whatever it is; a new budget is a new try.
    let put = Request::new(Method::PUT, server.url("/x"));
    let error = client.fetch(&put, 0).expect_err("the time is over");
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.lines(), ["GET /x"]);
    let mut response = client.renewed().open(&get(&server)).unwrap();
    assert_eq!(response.read(&mut [0; 1]).unwrap(), 1);
    // A reader that takes one part at a time gets the error as well.
    let error = response.read_to_end(&mut Vec::new()).expect_err("a body without end");
    assert_eq!(error.downcast::<HttpError>().unwrap().to_string(), expected);
}

#[test]
fn waits_between_attempts_are_part_of_the_time() {
    let server = in_turn(vec![Reply::new(429, "").with("Retry-After", "86400")]);
    let client = hurried(Duration::from_secs(200));
    // Three waits of half a minute each: two requests have time for all of them.
    for _ in 0..2 {
        assert_eq!(client.fetch(&get(&server), 0).unwrap().head.status(), 429);
    }
    let error = client.fetch(&get(&server), 0).expect_err("the time is over");
    let error = error.to_string();
    let expected = format!("gave up on `{}` after waiting 21", server.host());
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(server.received().len(), 9);
}

#[test]
fn the_time_of_redirects_and_pauses_counts() {
    let server = TestServer::start(|_| Reply::new(302, "").with("Location", "/x"));
    let client = hurried(Duration::from_secs(10));
    client.pause(Duration::from_secs(11), Duration::from_secs(11));
    let error = client.fetch(&get(&server), 0).expect_err("the time is over").to_string();
    assert!(error.contains("after waiting 11 s in all"), "{error}");
    assert_eq!(server.received().len(), 0);
}

#[test]
fn names_the_unreachable_host() {
    let server = in_turn(vec![Reply::HangUp]);
    let request = get(&server);
    let (client, waits) = client();
    let chain = |error: HttpError| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let error = client.fetch(&request, 10).expect_err("it hangs up");
    let expected = format!("lost the connection to `{}`: ", server.url("/x"));
    let text = chain(error);
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(waits.lock().unwrap().len(), 3);
    let host = server.host();
    drop(server);
    let text = chain(client.fetch(&request, 10).expect_err("no one listens"));
    assert_eq!(text, format!("cannot connect to `{host}`: Connection refused (os error 111)"));
    assert_eq!(waits.lock().unwrap().len(), 6);
}

#[test]
fn a_body_that_ends_early_is_an_error() {
    let server = in_turn(vec![Reply::CutOff { body: b"0123456789".to_vec() }]);
    let (client, _) = client();
    let mut body = Vec::new();
    let error =
        client.open(&get(&server)).unwrap().read_to_end(&mut body).expect_err("five of ten bytes");
    let error = error.downcast::<HttpError>().expect("readers give our errors");
    assert_eq!(error.to_string(), format!("lost the connection to `{}`", server.url("/x")));
    assert_eq!(body, b"01234");
}

#[test]
fn names_the_url_of_an_upload_that_was_cut_off() {
    const SIZE: u64 = 32 * 1024 * 1024;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    // Accepts the beginning, refuses, and closes.
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 413 Test\r\nContent-Length: 0\r\n\r\n",
            )
            .unwrap();
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let body = Body::spool(&mut std::io::repeat(0).take(SIZE), directory.path()).unwrap();
    let (client, waits) = client();
    let error = client
        .fetch(&Request::new(Method::PUT, url.clone()).body(body), 0)
        .expect_err("it is refused");
    assert_eq!(
        error.to_string(),
        format!("`{url}` closed the connection during an upload of {SIZE} bytes")
    );
    assert_eq!(waits.lock().unwrap().len(), 3);
    server.join().unwrap();
}

#[test]
fn uses_plain_http_only_on_this_machine() {
    let cases = [
        ("http://127.0.0.1:5000/", Ok(Transport::Plain)),
        ("http://[::1]:5000/", Ok(Transport::Plain)),
        ("http://localhost/", Ok(Transport::Plain)),
        ("https://localhost/", Ok(Transport::Tls)),
        ("https://registry.example/", Ok(Transport::Tls)),
        (
            "http://localhost.registry.example/",
            Err("`http://localhost.registry.example/` is plain HTTP to another machine, expected \
                 https"),
        ),
        (
            "http://10.0.0.1/",
            Err("`http://10.0.0.1/` is plain HTTP to another machine, expected https"),
        ),
        ("ftp://127.0.0.1/", Err("`ftp://127.0.0.1/` is not an http or https URL")),
    ];
    for (url, expected) in cases {
        let result = transport(&url.parse().unwrap(), false).map_err(|error| error.to_string());
        assert_eq!(result, expected.map_err(str::to_owned), "{url}");
    }
    // Content whose digest is known.
    let transport = |url: &str| transport(&url.parse().unwrap(), true).ok();
    assert_eq!(transport("http://10.0.0.1/"), Some(Transport::Plain));
    assert_eq!(transport("https://localhost/"), Some(Transport::Tls));
    assert_eq!(transport("ftp://127.0.0.1/"), None);
}

/// Reads the environment of a process of its own: without CA certificates, servers on this machine
/// are still reachable.
#[test]
fn says_what_to_do_without_ca_certificates() {
    const CHILD: &str = "CNISTER_TEST_WITHOUT_CERTIFICATES";
    if std::env::var_os(CHILD).is_none() {
        let directory = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "net::client::tests::says_what_to_do_without_ca_certificates"])
            .env(CHILD, "1")
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let (client, _) = client();
    let request = Request::new(Method::GET, "https://registry.invalid/v2/".parse().unwrap());
    let error = client.fetch(&request, 10).expect_err("no certificates");
    assert_eq!(
        error.to_string(),
        "cannot verify `registry.invalid`: this machine has no CA certificates"
    );
    assert_eq!(error.hint(), Some("set SSL_CERT_FILE to a PEM file of CA certificates"));
    let server = in_turn(vec![Reply::new(200, "here")]);
    assert_eq!(client.fetch(&get(&server), 10).unwrap().body, b"here");
}
