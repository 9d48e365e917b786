//! Policies: who may sign what, as the node's owner wrote it down.
//!
//! Rules are read from the top, the first whose `images` match decides, and what no rule matches is
//! refused. Field names are those of sigstore's ClusterImagePolicy, the order of rules is that of
//! Talos.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use semver::Version;
use serde::Deserialize;

use super::age::MaxAge;
use super::glob::Glob;
use super::signature::{Key, KeyError};
use super::statement::COSIGN_SIGN;
use crate::model::yaml::{self, YamlError};
use crate::model::{BundleName, Digest, Repository, visible};

/// A policy that was read whole: its keys are parsed, its text stands alone.
#[derive(Debug)]
pub struct Policy {
    text: String,
    digest: Digest,
    standalone: bool,
    rules: Vec<Rule>,
    denied: BTreeSet<Digest>,
}

/// One rule of a policy.
#[derive(Debug)]
pub struct Rule {
    name: String,
    images: Vec<Glob>,
    pub(super) deny: bool,
    pub(super) authorities: Vec<Authority>,
    pub(super) bundles: Vec<BundleName>,
    pub(super) min_version: Option<Version>,
    pub(super) max_age: Option<MaxAge>,
    pub(super) rollback: Rollback,
    pub(super) attestations: Vec<Attestation>,
    pub(super) mode: Mode,
}

/// One key that a rule trusts.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) name: String,
    pub(super) key: Key,
}

/// One kind of attestation that a rule requires.
#[derive(Debug)]
pub(super) struct Attestation {
    pub(super) name: String,
    pub(super) predicate_type: String,
}

/// What a rule does with an image that nobody signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is admitted, and called unproven for ever after.
    Warn,
}

/// Whether a node that had a newer version of a bundle takes an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// It does, down to the rule's `minVersion`.
    #[default]
    Allowed,
    /// It does not: the newest version that it ever took is its floor.
    Monotonic,
}

/// What has to be collected beside an image so that a policy can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The predicate types of the statements that some rule looks for.
    pub predicate_types: BTreeSet<String>,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not the YAML that a policy is.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Another kind of document.
    #[error("{file}: `{field}` is `{found}`, expected `{expected}`")]
    Kind {
        /// The policy.
        file: String,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The only value that is understood.
        expected: &'static str,
    },
    /// A rule that says nothing, or too much.
    #[error("{file}: rule `{rule}`: {reason}")]
    Rule {
        /// The policy.
        file: String,
        /// The rule.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// A key file that cannot be read.
    #[error("{file}: cannot read key `{key}`")]
    ReadKey {
        /// The policy.
        file: String,
        /// The key file.
        key: String,
        /// Why not.
        source: io::Error,
    },
    /// A key that is none.
    #[error("{file}: key `{key}`: {source}")]
    Key {
        /// The policy.
        file: String,
        /// The key file or the authority that holds the key.
        key: String,
        /// What is wrong with it.
        source: KeyError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    api_version: String,
    kind: String,
    rules: Vec<RawRule>,
    #[serde(default)]
    deny: Vec<Digest>,
    files: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
    name: String,
    images: Vec<String>,
    #[serde(default)]
    deny: bool,
    #[serde(default)]
    authorities: Vec<RawAuthority>,
    #[serde(default)]
    bundles: Vec<BundleName>,
    #[serde(default)]
    min_version: Option<Version>,
    #[serde(default)]
    max_age: Option<MaxAge>,
    #[serde(default)]
    rollback: Rollback,
    #[serde(default)]
    attestations: Vec<RawAttestation>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAuthority {
    name: String,
    key: RawKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawKey {
    file: Option<String>,
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAttestation {
    name: String,
    predicate_type: String,
}

/// The words that cosign's `--type` knows for predicate types.
const PREDICATE_TYPES: [(&str, &str); 7] = [
    ("spdxjson", "https://spdx.dev/Document"),
    ("spdx", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
];

impl Policy {
    /// The longest policy, in bytes.
    pub const LIMIT: usize = 1024 * 1024;

    /// Parses a policy. `read` gives the text of a key file that the policy names and does not hold
    /// itself; `file` names the policy in errors.
    pub fn parse(
        file: &str,
        text: &str,
        read: &mut dyn FnMut(&str) -> io::Result<String>,
    ) -> Result<Self, PolicyError> {
        let raw: RawPolicy = yaml::parse(file, text)?;
        for (field, found, expected) in
            [("apiVersion", &raw.api_version, "cnister.dev/v1"), ("kind", &raw.kind, "Policy")]
        {
            if found != expected {
                let (file, found) = (file.to_owned(), visible(found).into_owned());
                return Err(PolicyError::Kind { file, field, found, expected });
            }
        }
        let mut keys = KeyFiles { file, held: raw.files, read, fetched: BTreeMap::new() };
        let rules =
            raw.rules.into_iter().map(|rule| keys.rule(rule)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        if let Some(rule) = rules.iter().find(|rule| !seen.insert(rule.name.as_str())) {
            return Err(keys.error(&rule.name, "the name appears twice"));
        }
        let standalone = keys.fetched.is_empty();
        let text = if standalone { text.to_owned() } else { keys.whole(text)? };
        let digest = Digest::of(text.as_bytes());
        Ok(Self { text, digest, standalone, rules, denied: raw.deny.into_iter().collect() })
    }

    /// The policy of somebody who has only a key: any image that it signed.
    pub fn of_key(name: &str, pem: &str) -> Result<Self, PolicyError> {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: key\n    images: [\"**\"]\n    authorities:\n      - name: key\n        key:\n          data: |\n{}",
            indented(pem, 12)
        );
        match Self::parse(name, &text, &mut |_| Err(io::ErrorKind::NotFound.into())) {
            // The text above is ours; what can be wrong with it is the key.
            Err(PolicyError::Yaml(_)) => {
                let source = KeyError::Unsupported("it is not a PEM text".to_owned());
                Err(PolicyError::Key { file: name.to_owned(), key: name.to_owned(), source })
            }
            other => other,
        }
    }

    /// The policy's text with every key file in it: what is stored on a node, and what
    /// [`Policy::digest`] covers.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest of [`Policy::text`]; where the policy [stands alone](Policy::is_standalone), that
    /// of its file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether the policy as it was read held all its keys itself.
    pub fn is_standalone(&self) -> bool {
        self.standalone
    }

    /// The first rule that matches an image of this name; without a name only `**` matches.
    pub(super) fn rule(&self, name: Option<&Repository>) -> Option<&Rule> {
        let name = name.map(ToString::to_string);
        self.rules.iter().find(|rule| rule.images.iter().any(|glob| glob.matches(name.as_deref())))
    }

    /// Whether the policy denies this digest, whoever signed it.
    pub(super) fn denies(&self, digest: &Digest) -> bool {
        self.denied.contains(digest)
    }

    /// Whether the policy denies any digest.
    pub(super) fn denies_digests(&self) -> bool {
        !self.denied.is_empty()
    }

    /// Every key that some rule trusts.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.rules.iter().flat_map(|rule| &rule.authorities).map(|authority| &authority.key)
    }

    /// What has to be collected so that any of the rules can decide.
    pub fn needs(&self) -> Needs {
        let attestations = self.rules.iter().flat_map(|rule| &rule.attestations);
        let types = attestations.map(|attestation| attestation.predicate_type.clone());
        Needs { predicate_types: types.chain([COSIGN_SIGN.to_owned()]).collect() }
    }

    /// The names of the rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }
}

impl Rule {
    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The key files of a policy being read.
struct KeyFiles<'a> {
    file: &'a str,
    held: Option<BTreeMap<String, String>>,
    read: &'a mut dyn FnMut(&str) -> io::Result<String>,
    fetched: BTreeMap<String, String>,
}

impl KeyFiles<'_> {
    fn error(&self, rule: &str, reason: impl Into<String>) -> PolicyError {
        PolicyError::Rule {
            file: self.file.to_owned(),
            rule: visible(rule).into_owned(),
            reason: reason.into(),
        }
    }

    fn rule(&mut self, raw: RawRule) -> Result<Rule, PolicyError> {
        if raw.name.is_empty() || raw.name.contains(char::is_control) {
            return Err(self.error(&raw.name, "a rule needs a printable name"));
        }
        let error = |reason: &str| self.error(&raw.name, reason);
        if raw.images.is_empty() {
            return Err(error(
                "`images` is empty, so it matches nothing; write [\"**\"] to match every image",
            ));
        }
        if raw.deny && !(raw.authorities.is_empty() && raw.attestations.is_empty()) {
            return Err(error("a rule either denies or names `authorities`"));
        }
        if !raw.deny && raw.authorities.is_empty() && raw.mode == Mode::Enforce {
            return Err(error(
                "`authorities` is empty, so nobody could satisfy it; write `deny: true` to refuse",
            ));
        }
        let images =
            raw.images.iter().map(|text| Glob::parse(text).map_err(|reason| error(&reason)));
        let images = images.collect::<Result<_, _>>()?;
        let authorities =
            raw.authorities.into_iter().map(|authority| self.authority(&raw.name, authority));
        Ok(Rule {
            authorities: authorities.collect::<Result<_, _>>()?,
            images,
            deny: raw.deny,
            bundles: raw.bundles,
            min_version: raw.min_version,
            max_age: raw.max_age,
            rollback: raw.rollback,
            attestations: raw.attestations.into_iter().map(attestation).collect(),
            mode: raw.mode,
            name: raw.name,
        })
    }

    fn authority(&mut self, rule: &str, raw: RawAuthority) -> Result<Authority, PolicyError> {
        let (key, pem) = match (raw.key.file, raw.key.data) {
            (None, Some(data)) => (format!("of authority {}", raw.name), data),
            (Some(file), None) => {
                let pem = self.key_file(&file)?;
                (file, pem)
            }
            _ => {
                return Err(self.error(
                    rule,
                    format!("authority `{}`: `key` takes `file` or `data`", visible(&raw.name)),
                ));
            }
        };
        let error = |source| PolicyError::Key {
            file: self.file.to_owned(),
            key: visible(&key).into_owned(),
            source,
        };
        Ok(Authority { key: Key::parse(&pem).map_err(error)?, name: raw.name })
    }

    /// The owner's text, untouched, with the key files it names written below it.
    ///
    /// Read once more before it is taken: not every text can be continued this way (one in braces
    /// cannot), and what a node keeps must say the same as what its owner wrote.
    fn whole(&self, text: &str) -> Result<String, PolicyError> {
        let whole = with_files(text, &self.fetched);
        let again: Result<RawPolicy, _> = yaml::parse(self.file, &whole);
        if again.is_ok_and(|again| again.files.as_ref() == Some(&self.fetched)) {
            return Ok(whole);
        }
        let message = "the key files it names cannot be written below it; put the keys into the policy as `data:`";
        Err(PolicyError::Yaml(YamlError::of_file(self.file, message)))
    }

    fn key_file(&mut self, name: &str) -> Result<String, PolicyError> {
        let held = self.held.as_ref().and_then(|held| held.get(name));
        if let Some(pem) = held.or_else(|| self.fetched.get(name)) {
            return Ok(pem.clone());
        }
        if self.held.is_some() {
            // Half of the keys inside and half beside would make two texts of one policy.
            return Err(PolicyError::ReadKey {
                file: self.file.to_owned(),
                key: visible(name).into_owned(),
                source: io::Error::other("`files` of the policy does not hold it"),
            });
        }
        let pem = (self.read)(name).map_err(|source| PolicyError::ReadKey {
            file: self.file.to_owned(),
            key: visible(name).into_owned(),
            source,
        })?;
        // As it will be read again from the whole text: a block's lines, one line feed at the end.
        let pem = pem.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
        self.fetched.insert(name.to_owned(), pem.clone());
        Ok(pem)
    }
}

fn attestation(raw: RawAttestation) -> Attestation {
    let known = PREDICATE_TYPES.iter().find(|(word, _)| *word == raw.predicate_type);
    let predicate_type = known.map_or(raw.predicate_type, |(_, uri)| (*uri).to_owned());
    Attestation { name: raw.name, predicate_type }
}

/// The owner's text, untouched, with the key files it names written below it.
fn with_files(text: &str, fetched: &BTreeMap<String, String>) -> String {
    let mut whole = format!("{}\nfiles:", text.trim_end());
    for (name, pem) in fetched {
        let name = serde_json::to_string(name).expect("a string is JSON, and JSON is YAML");
        whole.push_str(&format!("\n  {name}: |\n{}", indented(pem, 4).trim_end()));
    }
    whole.push('\n');
    whole
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{}\n", "", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        let mut read = |name: &str| match name {
            "cosign.pub" => Ok(test_key()),
            "two.pub" => Ok(test_key().repeat(2)),
            "private.pem" => Ok("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Policy::parse("p.yaml", text, &mut read)
    }

    fn test_key() -> String {
        crate::trust::test_support::public_pem()
    }

    fn with_rule(rule: &str) -> String {
        format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: r\n    images: [\"ghcr.io/**\"]\n{rule}"
        )
    }

    const KEYED: &str = "    authorities: [{name: k, key: {file: cosign.pub}}]\n";

    #[test]
    fn the_first_rule_that_matches_decides() {
        let text = with_rule("    deny: true\n")
            + "  - name: s\n    images: [\"**\"]\n    authorities: [{name: k, key: {file: cosign.pub}}]\n";
        let policy = parse(&text).unwrap();
        let rule = |name: Option<&str>| {
            policy
                .rule(name.map(|name| name.parse().unwrap()).as_ref())
                .map(|rule| rule.name.clone())
        };
        assert_eq!(rule(Some("ghcr.io/a/b")).as_deref(), Some("r"));
        assert_eq!(rule(Some("quay.io/a/b")).as_deref(), Some("s"));
        assert_eq!(rule(None).as_deref(), Some("s"));
        assert!(parse(&with_rule(KEYED)).unwrap().rule(None).is_none());
    }

    #[test]
    fn a_policy_with_its_keys_inside_stands_alone_and_says_the_same() {
        let outside = parse(&with_rule(KEYED)).unwrap();
        assert!(!outside.is_standalone());
        assert!(outside.text().starts_with(with_rule(KEYED).trim_end()), "the owner's words stay");
        let inside =
            Policy::parse("p", outside.text(), &mut |_| panic!("nothing to read")).unwrap();
        assert!(inside.is_standalone());
        assert_eq!(inside.digest(), outside.digest());
        assert_eq!(inside.text(), outside.text());
        let of_key = Policy::of_key("cosign.pub", &test_key()).unwrap();
        assert!(of_key.is_standalone() && of_key.rule(None).is_some());
    }

    #[test]
    fn refuses_what_is_not_a_policy_and_says_where() {
        let cases = [
            (with_rule(KEYED).replace("kind: Policy", "kind: Bundle"), "p.yaml: `kind` is `Bundle`, expected `Policy`"),
            (with_rule(KEYED).replace("images", "image"), "p.yaml:5:5: unknown field `image`"),
            (with_rule(KEYED) + "    mode: off\n", "p.yaml:7:11: unknown value `off`, expected `enforce` or `warn`"),
            (with_rule(KEYED) + "    mode: warn\n    mode: enforce\n", "p.yaml:8:5"),
            (with_rule(KEYED) + "    minVersion: one\n", "p.yaml:7:17"),
            (with_rule(KEYED) + "    maxAge: 6m\n", "p.yaml:7:13: `6m` is not an age, expected 1 to 99999 days or hours"),
            (with_rule(KEYED) + "    maxAge: 180\n", "p.yaml:7:13: `180` is not an age"),
            (with_rule(KEYED) + "    rollback: never\n", "p.yaml:7:15: unknown value `never`, expected `allowed` or `monotonic`"),
            (with_rule(""), "rule `r`: `authorities` is empty"),
            (with_rule(KEYED) + "    deny: true\n", "rule `r`: a rule either denies or names `authorities`"),
            (with_rule(&KEYED.replace("cosign.pub", "gone.pub")), "cannot read key `gone.pub`"),
            (with_rule(&KEYED.replace("cosign.pub", "private.pem")), "key `private.pem`: this is a private key"),
            (with_rule(&KEYED.replace("cosign.pub", "two.pub")), "key `two.pub`: the file holds more than one PEM block"),
            (with_rule(&KEYED.replace("file: cosign.pub", "data: nonsense")), "not a PEM public key"),
            (with_rule(&KEYED.replace("file: cosign.pub", "")), "`key` takes `file` or `data`"),
            (with_rule(KEYED).replace("ghcr.io/**", "ghcr.io/a@b"), "contains `@`"),
            (with_rule(KEYED) + "files: {other.pub: x}\n", "cannot read key `cosign.pub`"),
            (with_rule(KEYED) + "files: {}\n", "cannot read key `cosign.pub`"),
            (
                r#"{apiVersion: cnister.dev/v1, kind: Policy, rules: [{name: r, images: ["**"], authorities: [{name: k, key: {file: cosign.pub}}]}]}"#.to_owned(),
                "cannot be written below it",
            ),
            (with_rule(KEYED) + "...\n", "cannot be written below it"),
            (with_rule(KEYED) + &with_rule(KEYED)[with_rule(KEYED).find("  - name").unwrap()..], "appears twice"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}:\n{error}\n{text}");
        }
    }

    #[test]
    fn says_what_has_to_be_collected() {
        let text = with_rule(KEYED) + "    attestations: [{name: sbom, predicateType: spdxjson}]\n";
        let needs = parse(&text).unwrap().needs();
        assert_eq!(
            needs.predicate_types,
            BTreeSet::from([COSIGN_SIGN.to_owned(), "https://spdx.dev/Document".to_owned()])
        );
    }

    #[test]
    fn the_schema_has_the_fields_and_values_of_the_parser() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/policy.schema.json");
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let sorted = |mut texts: Vec<String>| {
            texts.sort();
            texts
        };
        // What the parser itself says is allowed, from its complaint about something else.
        let allowed = |text: String| {
            let error = parse(&text).expect_err(&text).to_string();
            let (_, allowed) = error.split_once("expected ").unwrap();
            sorted(allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        let fields = |at: &serde_json::Value| {
            sorted(at["properties"].as_object().unwrap().keys().cloned().collect())
        };
        let keyed = |from: &str, to: &str| with_rule(&KEYED.replace(from, to));
        let rule = &schema["properties"]["rules"]["items"];
        let authority = &rule["properties"]["authorities"]["items"];
        assert_eq!(
            fields(&schema),
            allowed(with_rule(KEYED).replace("rules:", "unknown: a\nrules:"))
        );
        assert_eq!(fields(rule), allowed(with_rule(KEYED) + "    unknown: a\n"));
        assert_eq!(fields(authority), allowed(keyed("name: k", "unknown: k")));
        assert_eq!(fields(&authority["properties"]["key"]), allowed(keyed("file:", "unknown:")));
        let attestation = &rule["properties"]["attestations"]["items"];
        assert_eq!(
            fields(attestation),
            allowed(with_rule(KEYED) + "    attestations: [{unknown: a}]\n")
        );
        for field in ["mode", "rollback"] {
            let words = rule["properties"][field]["enum"].as_array().unwrap();
            let words =
                sorted(words.iter().map(|word| word.as_str().unwrap().to_owned()).collect());
            assert_eq!(
                words,
                allowed(with_rule(KEYED) + &format!("    {field}: unknown\n")),
                "{field}"
            );
        }
    }
}
