//! A strict reader of the format reads the text back.

use std::time::Duration;

use super::*;
use crate::check::{Installed, PluginReport};
use crate::model::{Code, Digest, Finding};
use crate::trust::Strength;

type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text format 0.0.4 and rejects what a reader must not accept: no line feed at the end,
/// samples without or before their type, a family in two places, the same series twice, an unknown
/// escape.
fn read(text: &str) -> Result<BTreeMap<String, (String, Vec<Sample>)>, String> {
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let (mut helped, mut current) = (Vec::new(), String::new());
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("no line feed at the end".to_owned());
    }
    for line in text.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or(wrong("no help"))?;
            if helped.contains(&name.to_owned()) {
                return Err(wrong("two helps"));
            }
            helped.push(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or(wrong("no type"))?;
            if !["counter", "gauge"].contains(&kind) || families.contains_key(name) {
                return Err(wrong("no such type, or the second"));
            }
            families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
            current = name.to_owned();
        } else {
            let sample = sample(line).ok_or(wrong("no sample"))?;
            if sample.0 != current {
                return Err(wrong("apart from its family"));
            }
            let (_, samples) = families.get_mut(&current).ok_or(wrong("no family"))?;
            if samples.iter().any(|known| known.1 == sample.1) {
                return Err(wrong("the same series twice"));
            }
            samples.push(sample);
        }
    }
    Ok(families)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return None;
            }
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let closed = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        _ => return None,
                    }),
                    (_, c) => value.push(c),
                }
            };
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after.get(closed + 1..)?;
            match rest.split_at_checked(1)? {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => return None,
            }
        }
    }
    Some((name.to_owned(), labels, rest.strip_prefix(' ')?.parse().ok()?))
}

fn plugin(directory: &str, name: &str, state: FileState) -> PluginReport {
    let (directory, name) = (directory.parse().unwrap(), name.parse().unwrap());
    PluginReport { directory, name, state, versions: None }
}

fn installed() -> Installed {
    Installed {
        bundle: "acme".parse().unwrap(),
        version: "1.2.3+build".parse().unwrap(),
        index: Digest::of(b""),
        strength: Some(Strength::Proven),
        rule: None,
    }
}

fn good() -> Report {
    let plugins = vec![plugin("/opt/cni/bin", "bridge", FileState::Proven)];
    Report { installed: Some(installed()), plugins, ..Report::default() }
}

#[test]
fn writes_every_number_in_a_form_that_a_strict_reader_accepts() {
    let mut report = good();
    report.plugins.extend([
        plugin("/opt/cni/bin", "loopback", FileState::Kept),
        plugin("/usr/lib/cni", "loopback", FileState::Kept),
        plugin("/usr/lib/cni", "tap", FileState::Kept),
    ]);
    report.findings.push(Finding::refusal(Code::WantedNotInstalled, "it was refused"));
    report.refused =
        ["no-signature", "no-signature", "a\"b\\c\nd\u{1b}"].map(str::to_owned).to_vec();
    let checked = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_900));
    let text = Metrics { report: Some(&report), checked, drift: Some(7), repairs: Some(3) }.text();
    let read = read(&text).unwrap();
    let seen: Vec<_> = read
        .iter()
        .flat_map(|(name, (kind, samples))| {
            samples.iter().map(move |(of, labels, value)| {
                assert_eq!(of, name);
                let labels: Vec<_> =
                    labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
                (name.trim_start_matches("cnister_"), kind.as_str(), labels.join(" "), *value)
            })
        })
        .collect();
    let info = format!("bundle=acme digest={} version=1.2.3+build", Digest::of(b""));
    let expected = [
        ("bundle_info", "gauge", info, 1.0),
        ("drift_total", "counter", String::new(), 7.0),
        ("foreign", "gauge", "plugin=loopback".to_owned(), 2.0),
        ("foreign", "gauge", "plugin=tap".to_owned(), 1.0),
        ("install_refused", "gauge", "code=a\"b\\c\nd\\u{1b}".to_owned(), 1.0),
        ("install_refused", "gauge", "code=no-signature".to_owned(), 1.0),
        ("last_check_timestamp_seconds", "gauge", String::new(), 1_700_000_000.0),
        ("proof_ok", "gauge", String::new(), 1.0),
        ("repairs_total", "counter", String::new(), 3.0),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_proof_is_good_only_if_the_installed_set_proves_itself() {
    let with =
        |finding: Option<Finding>| Report { findings: finding.into_iter().collect(), ..good() };
    let nothing = Report { installed: None, plugins: vec![], ..good() };
    let cases = [
        (Some(with(None)), 1),
        (Some(with(Some(Finding::refusal(Code::WantedNotInstalled, "another")))), 1),
        (Some(with(Some(Finding::note(Code::ForeignKept, "left alone")))), 1),
        // `cnister_foreign` says which.
        (Some(with(Some(Finding::warning(Code::ForeignUnproven, "1 of 3")))), 1),
        (Some(with(Some(Finding::refusal(Code::DigestDrift, "altered")))), 0),
        (Some(with(Some(Finding::warning(Code::Unproven, "only warns")))), 0),
        (Some(nothing), 0),
        (None, 0),
    ];
    for (report, expected) in cases {
        let text =
            Metrics { report: report.as_ref(), checked: None, drift: None, repairs: None }.text();
        assert!(text.contains(&format!("\ncnister_proof_ok {expected}\n")), "{report:?}: {text}");
        read(&text).unwrap();
    }
    let unknown = Metrics { report: None, checked: None, drift: None, repairs: None }.text();
    assert_eq!(read(&unknown).unwrap().keys().collect::<Vec<_>>(), ["cnister_proof_ok"]);
}

#[test]
fn the_reader_is_strict() {
    let head = "# HELP a h\n# TYPE a gauge\n";
    for (lines, expected) in [
        ("a 1\n", None),
        ("a{b=\"c\"} 1\na{b=\"d\"} 1\n", None),
        ("a 1", Some("no line feed at the end")),
        ("a{b=\"c\"} 1\na{b=\"c\"} 2\n", Some("the same series twice: a{b=\"c\"} 2")),
        ("a{b=\"\\u\"} 1\n", Some("no sample: a{b=\"\\u\"} 1")),
        ("a{b=\"c\"\n", Some("no sample: a{b=\"c\"")),
        ("b 1\n", Some("apart from its family: b 1")),
        ("a x\n", Some("no sample: a x")),
        ("# TYPE a gauge\n", Some("no such type, or the second: # TYPE a gauge")),
    ] {
        assert_eq!(read(&format!("{head}{lines}")).err().as_deref(), expected, "{lines}");
    }
}
