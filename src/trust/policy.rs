//! Policies: which images a node accepts, and whose signature they need, as the node's owner wrote
//! it.
//!
//! Rules are read from the top, the first whose `images` match decides, and what no rule matches is
//! refused. Field names are those of sigstore's ClusterImagePolicy, the order of rules is that of
//! Talos. Nothing here judges an image: that is `evaluate.rs`, with the conditions of
//! `condition.rs`.
//!
//! A policy has one text and one digest. Key files that it names are written into the text, so that
//! the digest covers them, and a node can verify again without them.

mod error;
mod keys;
mod raw;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use error::PolicyError;
pub(super) use keys::Authority;
use keys::KeyFiles;
use raw::RawPolicy;
pub use rule::{Mode, Rollback, Rule};

use super::evidence::Needs;
use super::signature::{Key, KeyError};
use crate::model::yaml::YamlError;
use crate::model::{Digest, Repository};

/// A policy whose keys are parsed, and whose text contains every key file.
#[derive(Debug)]
pub struct Policy {
    text: String,
    digest: Digest,
    standalone: bool,
    rules: Vec<Rule>,
    denied: BTreeSet<Digest>,
}

impl Policy {
    /// The longest policy, in bytes.
    pub const LIMIT: usize = 1024 * 1024;

    /// Parses a policy. `read` returns the text of a key file that the policy names and does not
    /// contain; `file` is the policy's name in errors.
    pub fn parse(
        file: &str,
        text: &str,
        read: &mut dyn FnMut(&str) -> io::Result<String>,
    ) -> Result<Self, PolicyError> {
        let raw = RawPolicy::parse(file, text)?;
        let mut keys = KeyFiles { file, held: raw.files, read, fetched: BTreeMap::new() };
        let mut rules: Vec<Rule> = Vec::new();
        for rule in raw.rules {
            rules.push(rule.parse(&mut keys)?);
        }
        let mut seen = BTreeSet::new();
        if let Some(rule) = rules.iter().find(|rule| !seen.insert(rule.name())) {
            return Err(keys.rule_error(rule.name(), "the name appears twice"));
        }
        let standalone = keys.fetched.is_empty();
        let text = if standalone { text.to_owned() } else { whole(file, text, &keys.fetched)? };
        let digest = Digest::of(text.as_bytes());
        Ok(Self { text, digest, standalone, rules, denied: raw.deny.into_iter().collect() })
    }

    /// The policy of `--key`: it accepts any image that this key signed.
    pub fn of_key(name: &str, pem: &str) -> Result<Self, PolicyError> {
        // The text below is ours; what can be wrong with it is the key.
        let wrong = |source| PolicyError::KeyFile { file: name.to_owned(), source };
        Key::parse(pem).map_err(wrong)?;
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: key\n    images: [\"**\"]\n    authorities:\n      - name: key\n        key:\n          data: |\n{}",
            indented(pem, 12)
        );
        match Self::parse(name, &text, &mut |_| Err(io::ErrorKind::NotFound.into())) {
            Err(PolicyError::Yaml(_)) => {
                Err(wrong(KeyError::Unsupported("it is not PEM text".to_owned())))
            }
            Err(PolicyError::Key { source, .. }) => Err(wrong(source)),
            other => other,
        }
    }

    /// The policy's text with every key file in it: what is stored on a node, and what
    /// [`Policy::digest`] covers.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest of [`Policy::text`]. For a [standalone](Policy::is_standalone) policy it is the
    /// digest of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether the policy contained all its keys as it was read.
    pub fn is_standalone(&self) -> bool {
        self.standalone
    }

    /// The first rule that matches an image of this name; without a name only `**` matches.
    pub(super) fn rule(&self, name: Option<&Repository>) -> Option<&Rule> {
        let name = name.map(ToString::to_string);
        self.rules.iter().find(|rule| rule.images.iter().any(|glob| glob.matches(name.as_deref())))
    }

    /// Whether the policy denies this digest, regardless of signatures.
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

    /// What has to be collected about an image of this name, so that any of the rules can decide.
    pub fn needs(&self, name: Option<&Repository>) -> Needs {
        let types = |rule: &Rule| -> Vec<_> {
            rule.attestations.iter().map(|attestation| attestation.predicate_type.clone()).collect()
        };
        let mut needs = Needs::signatures();
        needs.predicate_types.extend(self.rules.iter().flat_map(types));
        needs.required.extend(self.rule(name).into_iter().flat_map(types));
        needs
    }

    /// The names of the rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(Rule::name)
    }
}

/// The owner's text, unchanged, with the key files that it names appended.
///
/// The result is parsed once more before it is used: not every text can be continued this way (one
/// in braces cannot), and what a node stores must mean the same as what its owner wrote.
fn whole(
    file: &str,
    text: &str,
    fetched: &BTreeMap<String, String>,
) -> Result<String, PolicyError> {
    let whole = with_files(text, fetched);
    if RawPolicy::parse(file, &whole).is_ok_and(|again| again.files.as_ref() == Some(fetched)) {
        return Ok(whole);
    }
    let message = "the key files that it names cannot be appended to it; put the keys into the policy as `data:`";
    Err(PolicyError::Yaml(YamlError::of_file(file, message)))
}

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
    use crate::trust::COSIGN_SIGN;

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
                .map(|rule| rule.name().to_owned())
        };
        assert_eq!(rule(Some("ghcr.io/a/b")).as_deref(), Some("r"));
        assert_eq!(rule(Some("quay.io/a/b")).as_deref(), Some("s"));
        assert_eq!(rule(None).as_deref(), Some("s"));
        assert!(parse(&with_rule(KEYED)).unwrap().rule(None).is_none());
    }

    #[test]
    fn a_policy_with_its_keys_inside_is_standalone_and_says_the_same() {
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
            (with_rule(KEYED) + "    maxAge: 6m\n", "p.yaml:7:13: `6m` is not a valid age: expected 1 to 99999 days or hours"),
            (with_rule(KEYED) + "    maxAge: 180\n", "p.yaml:7:13: `180` is not a valid age"),
            (with_rule(KEYED) + "    rollback: never\n", "p.yaml:7:15: unknown value `never`, expected `allowed` or `monotonic`"),
            (with_rule(""), "rule `r`: `authorities` is empty"),
            (with_rule(KEYED) + "    deny: true\n", "rule `r`: a rule with `deny: true` cannot have `authorities` or `attestations`"),
            (with_rule(&KEYED.replace("cosign.pub", "gone.pub")), "cannot read key `gone.pub`"),
            (with_rule(&KEYED.replace("cosign.pub", "private.pem")), "key `private.pem`: this is a private key"),
            (with_rule(&KEYED.replace("cosign.pub", "two.pub")), "key `two.pub`: the file contains more than one PEM block"),
            (with_rule(&KEYED.replace("file: cosign.pub", "data: nonsense")), "p.yaml: authority `k`: not a supported PEM public key"),
            (with_rule(&KEYED.replace("file: cosign.pub", "")), "`key` must have either `file` or `data`"),
            (with_rule(KEYED).replace("ghcr.io/**", "ghcr.io/a@b"), "contains `@`"),
            (with_rule(KEYED) + "files: {other.pub: x}\n", "cannot read key `cosign.pub`"),
            (with_rule(KEYED) + "files: {}\n", "cannot read key `cosign.pub`"),
            (
                r#"{apiVersion: cnister.dev/v1, kind: Policy, rules: [{name: r, images: ["**"], authorities: [{name: k, key: {file: cosign.pub}}]}]}"#.to_owned(),
                "cannot be appended to it",
            ),
            (with_rule(KEYED) + "...\n", "cannot be appended to it"),
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
        let policy = parse(&text).unwrap();
        let signature = BTreeSet::from([COSIGN_SIGN.to_owned()]);
        let both = BTreeSet::from([COSIGN_SIGN.to_owned(), "https://spdx.dev/Document".to_owned()]);
        for (name, required) in
            [(Some("ghcr.io/acme/cni"), &both), (Some("quay.io/b"), &signature), (None, &signature)]
        {
            let name = name.map(|name| name.parse().unwrap());
            let needs = policy.needs(name.as_ref());
            assert_eq!((&needs.predicate_types, &needs.required), (&both, required), "{name:?}");
        }
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
