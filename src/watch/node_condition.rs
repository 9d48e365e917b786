//! A condition of the cluster's node object that reports the last check, written with the pod's own
//! token.
//!
//! One right is needed: `patch` on `nodes/status`. The token is sent only to a server whose
//! certificate the cluster's authority signed, and never to where a redirect leads. A condition
//! that is no longer refreshed has an old heartbeat; nothing is written when the watch ends, since
//! a rollout would then change every node twice. When to try again is the caller's decision.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

use serde_json::json;

use crate::check::Report;
use crate::model::{rfc3339, visible};
use crate::net::{Body, Client, HttpError, Method, Request, Settings, Url};
use crate::node::NodeError;

/// How often an unchanged condition is written again; the kubelet uses the same interval.
const HEARTBEAT: Duration = Duration::from_secs(5 * 60);
/// How long connecting may take, and how long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// The answer that is requested: metadata only, since a node object can have a megabyte.
const ACCEPT: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
/// The most that is read of the answer, in bytes; etcd takes no larger object.
const ANSWER_LIMIT: u64 = 2 * 1024 * 1024;
/// The longest message, in bytes; each change of a node object is sent to everyone who watches it.
const MESSAGE_LIMIT: usize = 512;
/// The most that is read of a token or a certificate, in bytes.
const FILE_LIMIT: u64 = 64 * 1024;

/// A condition type that cnister may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionName(String);

impl fmt::Display for ConditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a condition type that cnister may set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConditionNameError {
    /// It has other characters, or is too long.
    #[error(
        "`{0}` is not a valid condition type: expected up to 63 letters and digits, starting with a letter"
    )]
    Form(String),
    /// Kubernetes sets it, and other components act on it.
    #[error("the condition `{0}` belongs to Kubernetes itself")]
    Taken(String),
}

impl FromStr for ConditionName {
    type Err = ParseConditionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.len() <= 63
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let shown = visible(&text.chars().take(63).collect::<String>()).into_owned();
        // k8s.io/api core/v1, NodeConditionType.
        let taken =
            ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
        match (form, taken.contains(&text)) {
            (false, _) => Err(ParseConditionNameError::Form(shown)),
            (true, true) => Err(ParseConditionNameError::Taken(shown)),
            (true, false) => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a node object: a DNS subdomain (RFC 1123), so that it is one segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

/// Why a text is not the name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid node name: expected up to 253 lower-case letters, digits, `-` and `.`"
)]
pub struct ParseNodeNameError(String);

impl FromStr for NodeName {
    type Err = ParseNodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseNodeNameError(visible(&text.chars().take(253).collect::<String>()).into_owned()))
    }
}

/// Whether this is a label of a DNS name (RFC 1123), lower case.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Status, reason and message of the condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionStatus {
    status: &'static str,
    reason: String,
    message: String,
}

impl ConditionStatus {
    /// Derives them from a check: whether the installed set proves itself, and if not, why.
    pub fn of(checked: Result<&Report, &NodeError>) -> Self {
        let report = match checked {
            Ok(report) => report,
            Err(error) => return Self::new("Unknown", "CheckFailed", &error.to_string()),
        };
        let proven = report.proves_itself();
        let status = if proven && report.foreign().is_none() { "True" } else { "False" };
        // What was wanted and refused says nothing about a set that proves itself.
        let refusal = report.findings.iter().find(|finding| finding.is_refusal());
        let foreign = report.foreign().filter(|_| proven);
        match (foreign.or(refusal), &report.installed) {
            (Some(finding), _) => {
                Self::new(status, &camel_case(finding.code.as_str()), &finding.message)
            }
            (None, Some(installed)) => {
                let message = format!(
                    "{} {} is installed, {}",
                    installed.bundle, installed.version, installed.index
                );
                let reason = if proven { "Proven" } else { "Unproven" };
                Self::new(status, reason, &message)
            }
            (None, None) => Self::new(status, "NotInstalled", "nothing is installed"),
        }
    }

    /// Why the status is what it is, in one word.
    #[cfg(test)]
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    fn new(status: &'static str, reason: &str, message: &str) -> Self {
        let message = visible(message);
        let end = message.floor_char_boundary(MESSAGE_LIMIT);
        Self {
            status,
            reason: reason.to_owned(),
            message: message.get(..end).unwrap_or_default().to_owned(),
        }
    }
}

/// Writes a finding code as a reason: `digest-drift` becomes `DigestDrift`.
fn camel_case(code: &str) -> String {
    let word = |word: &str| {
        word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect()
    };
    code.split('-').map(word).collect::<Vec<String>>().concat()
}

/// What was written last, which decides when to write again. Pure: the time comes in.
#[derive(Debug, Clone, Default)]
struct Written {
    last: Option<(ConditionStatus, Instant)>,
    /// Since when the status is what it is, in seconds since 1970.
    since: u64,
}

impl Written {
    /// Whether this has to be written now: it is new, or the last write is too long ago.
    fn is_due(&self, status: &ConditionStatus, now: Instant) -> bool {
        self.last.as_ref().is_none_or(|(last, at)| {
            last != status || now.saturating_duration_since(*at) >= HEARTBEAT
        })
    }

    /// Since when the status is this one. After a start that is now, since the time before is not
    /// known.
    fn since(&self, status: &ConditionStatus, seconds: u64) -> u64 {
        let same = self.last.as_ref().is_some_and(|(last, _)| last.status == status.status);
        if same { self.since } else { seconds }
    }
}

/// The patch of the node object (a strategic merge patch: conditions are merged by type).
fn patch(name: &ConditionName, status: &ConditionStatus, since: u64, seconds: u64) -> String {
    json!({ "status": { "conditions": [{
        "type": name.0,
        "status": status.status,
        "reason": status.reason,
        "message": status.message,
        "lastHeartbeatTime": rfc3339(seconds),
        "lastTransitionTime": rfc3339(since),
    }] } })
    .to_string()
}

/// Why a condition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    /// This is not a pod, or it has no token.
    #[error("cannot read `{path}`")]
    File {
        /// The path of the file.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The address of the server cannot be part of a URL.
    #[error("`{0}` is not a valid address of the cluster's API server")]
    Address(String),
    /// The server did not answer, or refused.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Writes one condition of one node.
#[derive(Debug)]
pub struct NodeCondition {
    url: Url,
    token: PathBuf,
    name: ConditionName,
    client: Client,
    written: Written,
}

impl NodeCondition {
    /// A condition of the node `node`, by way of the server at `host` and `port`
    /// (`KUBERNETES_SERVICE_HOST` and `_PORT`), with what the kubelet puts into `account`: `token`
    /// and `ca.crt`.
    pub fn new(
        name: ConditionName,
        node: &NodeName,
        (host, port): (&str, &str),
        account: &Path,
    ) -> Result<Self, ConditionError> {
        // An IPv6 address comes without brackets.
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let text = format!("https://{host}:{port}/api/v1/nodes/{}/status", node.0);
        let url = text.parse().map_err(|_| {
            ConditionError::Address(visible(&format!("{host}:{port}")).into_owned())
        })?;
        let authorities = read(&account.join("ca.crt"))?.into_bytes();
        let settings = Settings {
            connect_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            overall_timeout: 2 * PATIENCE,
            authorities: Some(authorities),
            ..Settings::default()
        };
        let client = Client::new(settings);
        Ok(Self { url, token: account.join("token"), name, client, written: Written::default() })
    }

    /// Writes the status if that is due. It does not retry: the next check does.
    pub fn write(
        &mut self,
        status: &ConditionStatus,
        now: SystemTime,
        instant: Instant,
    ) -> Result<(), ConditionError> {
        if !self.written.is_due(status, instant) {
            return Ok(());
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let since = self.written.since(status, seconds);
        // The kubelet rotates the token while the pod runs.
        let token = read(&self.token)?;
        let request = Request::new(Method::PATCH, self.url.clone())
            .authorization(format!("Bearer {}", token.trim()))
            .header("content-type", "application/strategic-merge-patch+json")
            .header("accept", ACCEPT)
            .body(Body::bytes(patch(&self.name, status, since, seconds).into_bytes()));
        let answer = self.client.renewed().fetch_once(&request, ANSWER_LIMIT)?;
        if answer.head.status() != 200 {
            return Err(answer.refusal().into());
        }
        self.written = Written { last: Some((status.clone(), instant)), since };
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, ConditionError> {
    let failed = |source| ConditionError::File {
        path: visible(&path.to_string_lossy()).into_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    io::Read::read_to_string(&mut io::Read::take(file, FILE_LIMIT), &mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
