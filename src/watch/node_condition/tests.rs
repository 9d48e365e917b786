//! What is written, when it is written again, and a server with faults, over TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::check::Installed;
use crate::model::{Code, Digest, Finding};
use crate::trust::Strength;

fn name() -> ConditionName {
    "CniPluginsVerified".parse().unwrap()
}

fn report(findings: Vec<Finding>) -> Report {
    let installed = Installed {
        bundle: "acme".parse().unwrap(),
        version: "1.2.3".parse().unwrap(),
        index: Digest::of(b""),
        strength: Some(Strength::Proven),
        rule: None,
    };
    Report { installed: Some(installed), findings, ..Report::default() }
}

#[test]
fn reports_what_was_found() {
    let good = format!("acme 1.2.3 is installed, {}", Digest::of(b""));
    let cases = [
        (report(vec![]), "True", "Proven", good.as_str()),
        (
            report(vec![Finding::refusal(Code::DigestDrift, "altered")]),
            "False",
            "DigestDrift",
            "altered",
        ),
        (
            report(vec![Finding::refusal(Code::WantedNotInstalled, "no")]),
            "True",
            "WantedNotInstalled",
            "no",
        ),
        (
            report(vec![Finding::warning(Code::ForeignUnproven, "1 of 3")]),
            "False",
            "ForeignUnproven",
            "1 of 3",
        ),
        (
            report(vec![
                Finding::refusal(Code::WantedNotInstalled, "no"),
                Finding::warning(Code::ForeignUnproven, "1 of 3"),
            ]),
            "False",
            "ForeignUnproven",
            "1 of 3",
        ),
        (
            report(vec![
                Finding::refusal(Code::DigestDrift, "altered"),
                Finding::warning(Code::ForeignUnproven, "1 of 3"),
            ]),
            "False",
            "DigestDrift",
            "altered",
        ),
        (
            Report::no(vec![Finding::refusal(Code::RecordsLost, "gone")]),
            "False",
            "RecordsLost",
            "gone",
        ),
        (
            report(vec![Finding::warning(Code::Unproven, "it warns")]),
            "False",
            "Unproven",
            good.as_str(),
        ),
        (
            Report::no(vec![Finding::refusal(Code::NotInstalled, "none")]),
            "False",
            "NotInstalled",
            "none",
        ),
        (Report::no(vec![]), "False", "NotInstalled", "nothing is installed"),
    ];
    for (report, status, reason, message) in cases {
        assert_eq!(
            ConditionStatus::of(Ok(&report)),
            ConditionStatus::new(status, reason, message),
            "{report:?}"
        );
    }
    let error: NodeError = Finding::refusal(Code::InTheWay, "something").into();
    assert_eq!(ConditionStatus::of(Err(&error)).status, "Unknown");
    let long = ConditionStatus::new("True", "a", &"\u{e4}".repeat(1000));
    assert_eq!(
        (long.message.len(), ConditionStatus::new("True", "a", "b\nc").message.as_str()),
        (512, "b\\u{a}c")
    );
}

#[test]
fn writes_again_when_the_status_is_new_or_five_minutes_old() {
    let (start, yes, no) = (
        Instant::now(),
        ConditionStatus::new("True", "a", "b"),
        ConditionStatus::new("False", "a", "b"),
    );
    let other = ConditionStatus::new("True", "a", "c");
    let mut written = Written::default();
    assert!(written.is_due(&yes, start), "nothing was written yet");
    assert_eq!(written.since(&yes, 100), 100);
    written = Written { last: Some((yes.clone(), start)), since: 100 };
    for (status, after, due, since) in [
        (&yes, 299, false, 100),
        (&yes, 300, true, 100),
        (&other, 1, true, 100),
        (&no, 1, true, 200),
    ] {
        assert_eq!(
            written.is_due(status, start + Duration::from_secs(after)),
            due,
            "{status:?} {after}"
        );
        assert_eq!(written.since(status, 200), since, "{status:?}");
    }
}

#[test]
fn sets_only_conditions_that_kubernetes_does_not() {
    for text in ["CniPluginsVerified", "a", "A1"] {
        assert_eq!(text.parse(), Ok(ConditionName(text.to_owned())));
    }
    for text in ["Ready", "DiskPressure", "NetworkUnavailable"] {
        assert_eq!(
            text.parse::<ConditionName>(),
            Err(ParseConditionNameError::Taken(text.to_owned()))
        );
    }
    for text in ["", "1a", "a b", "a\"", "acme.dev/Cni", &"a".repeat(64)] {
        let shown = text.chars().take(63).collect::<String>();
        assert_eq!(
            text.parse::<ConditionName>(),
            Err(ParseConditionNameError::Form(shown)),
            "{text}"
        );
    }
    for text in ["node-1", "ip-10-0-0-1.eu-west-1.compute.internal", "a"] {
        assert_eq!(text.parse(), Ok(NodeName(text.to_owned())));
    }
    for text in ["", "Node", "a/b", "..", "a..b", "-a", "a-", "a?b", "a%2f", &"a".repeat(254)] {
        let shown = text.chars().take(253).collect::<String>();
        assert_eq!(text.parse::<NodeName>(), Err(ParseNodeNameError(shown)), "{text}");
    }
}

/// An authority, and a certificate of it for this machine.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (issuer.pem(), config)
}

/// A server that answers each connection with these bytes in turn; if they are empty, it is silent.
fn server(config: ServerConfig, answers: Vec<&'static [u8]>) -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::channel();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut tls =
                StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            // If the client does not trust the certificate, there is no request.
            let Some(request) = request(&mut tls) else { continue };
            sender.send(request).unwrap();
            if answer.is_empty() {
                silent.push(tls);
                continue;
            }
            tls.write_all(answer).unwrap();
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
        // Held until the client has given up: it closes its end then.
        for mut tls in silent {
            let _ = tls.read(&mut [0]);
        }
    });
    (port, requests)
}

fn request(tls: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<(String, String)> {
    let mut reader = BufReader::new(tls);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

fn account(authority: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), authority).unwrap();
    fs::write(folder.path().join("token"), "first\n").unwrap();
    folder
}

fn condition(account: &Path, port: u16) -> NodeCondition {
    let node = "node-1".parse().unwrap();
    NodeCondition::new(name(), &node, ("127.0.0.1", &port.to_string()), account).unwrap()
}

#[test]
fn writes_the_condition_with_the_token_of_the_moment() {
    let (authority, config) = authority();
    let (port, requests) = server(config, vec![OK, OK]);
    let account = account(&authority);
    let mut condition = condition(account.path(), port);
    let (start, at) = (Instant::now(), |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    let (yes, no) = (
        ConditionStatus::new("True", "Proven", "it is"),
        ConditionStatus::new("False", "DigestDrift", "it is not"),
    );
    condition.write(&yes, at(0), start).unwrap();
    let (head, body) = requests.recv().unwrap();
    assert!(head.starts_with("PATCH /api/v1/nodes/node-1/status HTTP/1.1\r\n"), "{head}");
    for line in [
        "authorization: Bearer first\r\n",
        "content-type: application/strategic-merge-patch+json\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let expected = r#"{"status":{"conditions":[{"lastHeartbeatTime":"1970-01-01T00:00:00Z","lastTransitionTime":"1970-01-01T00:00:00Z","message":"it is","reason":"Proven","status":"True","type":"CniPluginsVerified"}]}}"#;
    assert_eq!(body, expected);
    // The same again is not written, and needs no server.
    condition.write(&yes, at(60), start + Duration::from_secs(60)).unwrap();
    fs::write(account.path().join("token"), "second").unwrap();
    condition.write(&no, at(61), start + Duration::from_secs(61)).unwrap();
    let (head, body) = requests.recv().unwrap();
    assert!(head.contains("authorization: Bearer second\r\n"), "{head}");
    assert!(body.contains(r#""lastTransitionTime":"1970-01-01T00:01:01Z""#), "{body}");
    assert!(requests.try_recv().is_err(), "two in all");
}

#[test]
fn a_failure_is_reported_and_tried_again() {
    const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 56\r\nConnection: close\r\n\r\n{\"kind\":\"Status\",\"message\":\"nodes \\\"node-1\\\" forbidden\"}";
    const FAULT: &[u8] =
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const ELSEWHERE: &[u8] =
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (authority, config) = authority();
    let (port, requests) = server(config, vec![FORBIDDEN, FAULT, ELSEWHERE, OK]);
    let account = account(&authority);
    let mut condition = condition(account.path(), port);
    let status = ConditionStatus::new("True", "Proven", "it is");
    let mut write = || {
        let written = condition.write(&status, UNIX_EPOCH, Instant::now());
        written.map_err(|error| error.to_string().replace(&port.to_string(), "PORT"))
    };
    let answered = "PATCH `https://127.0.0.1:PORT/api/v1/nodes/node-1/status` returned status";
    assert_eq!(write(), Err(format!("{answered} 403: nodes \"node-1\" forbidden")));
    assert_eq!(write(), Err(format!("{answered} 500")), "without a retry");
    assert_eq!(write(), Err(format!("{answered} 307")), "a token goes to one server");
    assert_eq!(write(), Ok(()));
    assert_eq!(requests.iter().count(), 4);
}

#[test]
fn the_token_is_sent_only_to_a_server_that_the_cluster_vouches_for() {
    let ((_, config), (other, _)) = (authority(), authority());
    let (port, requests) = server(config, vec![OK]);
    let account = account(&other);
    let mut condition = condition(account.path(), port);
    let error = condition
        .write(&ConditionStatus::new("True", "a", "b"), UNIX_EPOCH, Instant::now())
        .expect_err("another CA");
    assert_eq!(error.to_string(), format!("cannot connect to `127.0.0.1:{port}`"));
    assert!(requests.iter().next().is_none(), "nothing was sent");
}

#[test]
fn a_silent_server_is_given_up() {
    let (authority, config) = authority();
    let (port, _requests) = server(config, vec![b""]);
    let account = account(&authority);
    let mut condition = condition(account.path(), port);
    let settings = Settings {
        idle_timeout: Duration::from_millis(20),
        authorities: Some(authority.into_bytes()),
        ..Settings::default()
    };
    condition.client = Client::new(settings);
    let error = condition
        .write(&ConditionStatus::new("True", "a", "b"), UNIX_EPOCH, Instant::now())
        .expect_err("silence");
    let expected =
        format!("`https://127.0.0.1:{port}/api/v1/nodes/node-1/status` did not answer in time");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_process_outside_of_a_pod_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let node = "node-1".parse().unwrap();
    let error = NodeCondition::new(name(), &node, ("10.96.0.1", "443"), folder.path())
        .expect_err("no files");
    assert_eq!(error.to_string(), format!("cannot read `{}/ca.crt`", folder.path().display()));
    fs::write(folder.path().join("ca.crt"), "").unwrap();
    let error =
        NodeCondition::new(name(), &node, ("a b", "443"), folder.path()).expect_err("no address");
    assert_eq!(error.to_string(), "`a b:443` is not a valid address of the cluster's API server");
    let condition = NodeCondition::new(name(), &node, ("fd00::1", "443"), folder.path()).unwrap();
    assert_eq!(condition.url.as_str(), "https://[fd00::1]/api/v1/nodes/node-1/status");
    let mut condition = condition;
    let error = condition
        .write(&ConditionStatus::new("True", "a", "b"), UNIX_EPOCH, Instant::now())
        .expect_err("no token");
    assert_eq!(error.to_string(), format!("cannot read `{}/token`", folder.path().display()));
}
