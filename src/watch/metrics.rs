//! The metrics of a check for Prometheus (text format, version 0.0.4). Pure: the report and the
//! time come in.
//!
//! Label values come from receipts and refusals and are escaped, so that none can add a line. Who
//! serves or writes the text is `health`'s and the command line's business.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::check::{FileState, Report};

/// Everything that is exported about one node.
#[derive(Debug, Clone, Copy)]
pub struct Metrics<'a> {
    /// The last check; `None` if it failed.
    pub report: Option<&'a Report>,
    /// When a check last came to an answer.
    pub checked: Option<SystemTime>,
    /// How many times a file was found altered or missing; `None` if that is not counted.
    pub drift: Option<u64>,
    /// How many times a file was restored; `None` if files are not repaired.
    pub repairs: Option<u64>,
}

impl Metrics<'_> {
    /// The media type of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Renders the text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(Labels, u64)]| {
            if !samples.is_empty() {
                text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            }
            for (labels, value) in samples {
                text.push_str(&format!("{name}{} {value}\n", written(labels)));
            }
        };
        let installed = self.report.and_then(|report| report.installed.as_ref()).map(|installed| {
            let (bundle, version) = (installed.bundle.to_string(), installed.version.to_string());
            (
                vec![
                    ("bundle", bundle),
                    ("digest", installed.index.to_string()),
                    ("version", version),
                ],
                1,
            )
        });
        let help = "The installed bundle, whether or not its proof is valid.";
        family("cnister_bundle_info", "gauge", help, installed.as_slice());

        let help =
            "1 if every installed plugin is the one that was signed, under the current policy.";
        let proof = self.report.is_some_and(Report::proves_itself);
        family("cnister_proof_ok", "gauge", help, &[(vec![], proof.into())]);

        let help = "How many times an installed plugin was found altered or missing.";
        let drift: Vec<_> = self.drift.into_iter().map(|drift| (vec![], drift)).collect();
        family("cnister_drift_total", "counter", help, &drift);

        let help = "How many times an installed plugin was restored.";
        let repairs: Vec<_> = self.repairs.into_iter().map(|repairs| (vec![], repairs)).collect();
        family("cnister_repairs_total", "counter", help, &repairs);

        let help = "When the last check completed.";
        let seconds =
            self.checked.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        let checked: Vec<_> = seconds.into_iter().map(|seconds| (vec![], seconds)).collect();
        family("cnister_last_check_timestamp_seconds", "gauge", help, &checked);

        let mut foreign = BTreeMap::new();
        let plugins = self.report.into_iter().flat_map(|report| &report.plugins);
        for plugin in plugins.filter(|plugin| plugin.state == FileState::Kept) {
            *foreign.entry(plugin.name.to_string()).or_default() += 1;
        }
        let help = "In how many plugin directories this plugin belongs to another installer.";
        family("cnister_foreign", "gauge", help, &each("plugin", foreign));

        let refused = self.report.into_iter().flat_map(|report| &report.refused);
        let refused = refused.map(|code| (code.clone(), 1)).collect();
        let help = "Why the wanted release is not installed, by finding code.";
        family("cnister_install_refused", "gauge", help, &each("code", refused));
        text
    }
}

type Labels = Vec<(&'static str, String)>;

fn each(label: &'static str, values: BTreeMap<String, u64>) -> Vec<(Labels, u64)> {
    values.into_iter().map(|(key, value)| (vec![(label, key)], value)).collect()
}

fn written(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// A value between quotation marks (Prometheus, "Text-based format").
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            // Allowed by the format, but a terminal should not receive it.
            c if c.is_control() => {
                text.push_str(&c.escape_unicode().to_string().replace('\\', "\\\\"));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests;
