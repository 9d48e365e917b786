//! Downloads from a server that breaks off, changes its mind, or sends too much.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::net::Settings;
use crate::net::test_server::{Received, Reply, TestServer};

/// A client that records its waits instead of waiting.
fn client() -> (Client, Arc<Mutex<Vec<Duration>>>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let notebook = Arc::clone(&waits);
    let pause = Arc::new(move |wait| notebook.lock().unwrap().push(wait));
    (Client::new(Settings { pause, ..Settings::default() }), waits)
}

/// A server that gives these responses in turn and repeats the last one.
fn in_turn(replies: Vec<Reply>) -> TestServer {
    let turn = AtomicUsize::new(0);
    TestServer::start(move |_: &Received| {
        let turn = turn.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[turn].clone()
    })
}

/// What arrives, or the words of the failure.
fn fetched(server: &TestServer, content: Content, limit: u64) -> Result<String, String> {
    let (client, _) = client();
    let mut file = tempfile::tempfile().unwrap();
    let url = server.url("/x");
    let wanted = Download { url: &url, limit, content };
    let length = download(&client, &wanted, &mut file).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text.len() as u64, length);
    Ok(text)
}

fn cut(body: &str, sent: usize) -> Reply {
    Reply::Cut { status: 200, headers: Vec::new(), body: body.into(), sent }
}

/// The rest of `whole` from this byte on.
fn part(whole: &str, from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
    Reply::new(206, &whole.as_bytes()[from..]).with("Content-Range", range)
}

/// The `Range` and `If-Range` of each request.
fn ranges(server: &TestServer) -> Vec<(Option<String>, Option<String>)> {
    let header = |it: &Received, name| it.header(name).map(str::to_owned);
    server.received().iter().map(|it| (header(it, "range"), header(it, "if-range"))).collect()
}

fn asked(range: &str, if_range: &str) -> (Option<String>, Option<String>) {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (given(range), given(if_range))
}

#[test]
fn what_has_a_digest_is_resumed_and_what_has_none_only_under_the_same_strong_tag() {
    let (whole, tag) = ("0123456789", "\"one\"");
    let start = asked("", "");
    let cases = [
        // Nothing is known: from the start again.
        (Content::Unknown, vec![cut(whole, 4), Reply::new(200, whole)], vec![start.clone()]),
        // A weak tag is for another encoding of the same, perhaps.
        (
            Content::Unknown,
            vec![cut(whole, 4).with("ETag", "W/\"one\""), Reply::new(200, whole)],
            vec![start.clone()],
        ),
        (
            Content::Unknown,
            vec![cut(whole, 4).with("ETag", tag), part(whole, 4).with("ETag", tag)],
            vec![asked("bytes=4-", tag)],
        ),
        // It was replaced, and the server says so by sending the new one.
        (
            Content::Unknown,
            vec![cut("abcdefghij", 4).with("ETag", "\"old\""), Reply::new(200, whole)],
            vec![asked("bytes=4-", "\"old\"")],
        ),
        // It was replaced, and the server ignores `If-Range`.
        (
            Content::Unknown,
            vec![
                cut("abcdefghij", 4).with("ETag", "\"old\""),
                part(whole, 4).with("ETag", tag),
                Reply::new(200, whole),
            ],
            vec![asked("bytes=4-", "\"old\""), start.clone()],
        ),
        (Content::Pinned, vec![cut(whole, 4), part(whole, 4)], vec![asked("bytes=4-", "")]),
        // Another part than was asked for, another length, or none.
        (
            Content::Pinned,
            vec![cut(whole, 4), part(whole, 5), Reply::new(200, whole)],
            vec![asked("bytes=4-", ""), start.clone()],
        ),
        (
            Content::Pinned,
            vec![cut(whole, 4), part("0123456789ab", 4), Reply::new(200, whole)],
            vec![asked("bytes=4-", ""), start.clone()],
        ),
        (
            Content::Pinned,
            vec![cut(whole, 4), Reply::new(416, ""), Reply::new(200, whole)],
            vec![asked("bytes=4-", ""), start.clone()],
        ),
    ];
    for (content, replies, then) in cases {
        let name = format!("{content:?} {replies:?}");
        let server = in_turn(replies);
        assert_eq!(fetched(&server, content, 10), Ok(whole.to_owned()), "{name}");
        assert_eq!(ranges(&server), [vec![start.clone()], then].concat(), "{name}");
    }
}

#[test]
fn gives_up_after_four_tries_without_progress() {
    let server = in_turn(vec![Reply::new(503, "")]);
    let error = fetched(&server, Content::Unknown, 10).expect_err("503");
    assert_eq!(error, format!("GET `{}` returned status 503", server.url("/x")));
    assert_eq!(server.received().len(), 4);
    // Each sends a little more; together they do not make a try worth repeating.
    let server = in_turn(vec![cut("0123456789", 4), part("0123456789", 4)]);
    assert!(fetched(&server, Content::Pinned, 10).is_ok());
    let server = in_turn(vec![cut("0123456789", 4)]);
    let error = fetched(&server, Content::Pinned, 10).expect_err("cut off");
    assert!(error.starts_with("lost the connection to"), "{error}");
    assert_eq!(server.received().len(), 4);
}

#[test]
fn a_large_file_may_be_cut_off_more_often() {
    let step = usize::try_from(PROGRESS).unwrap();
    let whole = "x".repeat(step * 6);
    let body = whole.clone();
    let server = TestServer::start(move |request: &Received| {
        let from = request.header("range").map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
        });
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let status = if from == 0 { 200 } else { 206 };
        let headers = vec![("Content-Range".to_owned(), range)];
        let rest = body.as_bytes()[from..].to_vec();
        let sent = step.min(rest.len());
        Reply::Cut { status, headers, body: rest, sent }
    });
    assert_eq!(
        fetched(&server, Content::Pinned, whole.len() as u64).map(|it| it == whole),
        Ok(true)
    );
    assert_eq!(server.received().len(), 6);
}

#[test]
fn nothing_longer_than_the_limit_is_accepted() {
    let server = in_turn(vec![Reply::new(200, "12345")]);
    assert_eq!(fetched(&server, Content::Unknown, 5), Ok("12345".to_owned()));
    let too_long = format!("the response from `{}` is longer than 4 bytes", server.url("/x"));
    assert_eq!(fetched(&server, Content::Unknown, 4), Err(too_long));
    // Without an announcement, and as the rest of what has arrived.
    let chunked = Reply::new(200, "5\r\n12345\r\n0\r\n\r\n").with("Transfer-Encoding", "chunked");
    let server = in_turn(vec![chunked]);
    let too_long = |server: &TestServer| {
        Err(format!("the response from `{}` is longer than 4 bytes", server.url("/x")))
    };
    assert_eq!(fetched(&server, Content::Unknown, 4), too_long(&server));
    let begun = Reply::new(200, "2\r\n12\r\n").with("Transfer-Encoding", "chunked");
    let server = in_turn(vec![begun, part("12345", 2)]);
    assert_eq!(fetched(&server, Content::Pinned, 4), too_long(&server));
}

#[test]
fn a_status_that_will_not_change_is_not_asked_for_again() {
    for status in [403, 404, 410] {
        let server = in_turn(vec![Reply::new(status, "no")]);
        let error = fetched(&server, Content::Unknown, 10).expect_err("no file");
        assert_eq!(error, format!("GET `{}` returned status {status}", server.url("/x")));
        assert_eq!(server.received().len(), 1);
    }
}

#[test]
fn plain_http_to_another_machine_needs_a_digest() {
    let (client, _) = client();
    let mut file = tempfile::tempfile().unwrap();
    // An address for documentation (RFC 5737): nothing is sent, or there is no answer.
    let url = "http://192.0.2.1:9/x".parse().unwrap();
    let wanted = Download { url: &url, limit: 10, content: Content::Unknown };
    let error = download(&client, &wanted, &mut file).expect_err("plain HTTP");
    let expected = "`http://192.0.2.1:9/x` is plain HTTP to another machine, expected https";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn reads_what_a_range_says() {
    for (text, expected) in [
        ("bytes 4-9/10", Some((4, 9, 10))),
        (" bytes 0-0/1", Some((0, 0, 1))),
        ("bytes 4-9/*", None),
        ("bytes */10", None),
        ("bytes 4-9", None),
        ("items 4-9/10", None),
    ] {
        assert_eq!(range(text), expected, "{text}");
    }
}
