//! What a running watch answers over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! Answers repeat the last check; no request starts one, so a client cannot make the node do work.
//! The server itself is in `net`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use super::ready::lifetime;
use crate::net::Answer;

/// The state after the last check, which every answer repeats.
#[derive(Debug)]
pub struct Health {
    interval: Duration,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    metrics: String,
    ready: bool,
}

impl Health {
    /// Creates the state of a watch that begins now and checks at least every `interval`.
    pub fn new(interval: Duration, now: Instant) -> Self {
        let metrics = Metrics { report: None, checked: None, drift: Some(0), repairs: None }.text();
        Self { interval, last: Mutex::new(Last { at: now, metrics, ready: false }) }
    }

    /// Records the end of a check, whether it found an answer or failed.
    pub fn checked(&self, metrics: String, ready: bool, now: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Last { at: now, metrics, ready };
    }

    /// Answers a request for `path`.
    pub fn answer(&self, path: &str, now: Instant) -> Answer {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = now.saturating_duration_since(last.at) > lifetime(self.interval);
        match path {
            "/metrics" => Answer {
                status: 200,
                content_type: Metrics::CONTENT_TYPE,
                body: last.metrics.clone(),
            },
            "/healthz" | "/readyz" if overdue => {
                Answer::text(503, "no check has completed recently")
            }
            "/healthz" => Answer::text(200, "ok"),
            "/readyz" if last.ready => Answer::text(200, "ok"),
            "/readyz" => Answer::text(503, "the last check failed"),
            _ => Answer::text(404, "try /metrics, /healthz or /readyz"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_the_last_check_until_the_next_is_overdue() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let health = Health::new(minute, start);
        let answers = |seconds| {
            let status = |path| health.answer(path, start + Duration::from_secs(seconds)).status;
            ["/metrics", "/healthz", "/readyz", "/", "/metrics/"].map(status)
        };
        assert_eq!(answers(0), [200, 200, 503, 404, 404], "it has just begun");
        assert_eq!(answers(150), [200, 200, 503, 404, 404]);
        assert_eq!(answers(151), [200, 503, 503, 404, 404], "the first check never ended");
        health.checked("a 1\n".to_owned(), true, start + Duration::from_secs(200));
        assert_eq!(answers(350), [200, 200, 200, 404, 404]);
        assert_eq!(answers(351), [200, 503, 503, 404, 404]);
        let expected =
            Answer { status: 200, content_type: Metrics::CONTENT_TYPE, body: "a 1\n".to_owned() };
        assert_eq!(health.answer("/metrics", start), expected);
        health.checked(String::new(), false, start + Duration::from_secs(400));
        assert_eq!(answers(400), [200, 200, 503, 404, 404]);
    }
}
