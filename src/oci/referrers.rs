//! Lists of referrers: how they continue over pages, and how one that clients maintain is changed.
//!
//! Registries without the referrers API leave the list to their clients: an index under the tag
//! `sha256-…` (distribution-spec, "Referrers Tag Schema"). Other clients write it as well, so
//! whatever is unknown in it is preserved. Pure: the registry's client sends the requests.

use oci_spec::image::Descriptor;
use serde::Deserialize;
use serde::de::IgnoredAny;
#[cfg(feature = "publish")]
use serde_json::{Value, json};

use crate::model::json::Limits;
use crate::model::media_type::{INDEX, MANIFEST_LIMIT};
use crate::model::{Document, DocumentError, image_fields, json};
#[cfg(feature = "publish")]
use {
    super::{OciError, layout::referrer_descriptor},
    crate::model::{Digest, document::sha256},
};

/// The most referrers of one subject that are read. A bundle has a handful; the limit keeps a
/// registry, or anyone who may push to it, from keeping a verifier busy.
pub(super) const ENTRIES: usize = 256;
/// The most pages of a list of referrers, against a list that never ends.
pub(super) const PAGES: usize = 32;

/// The fields that tell a list from other documents.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// The descriptors of a page or of a whole list; `None` if it is a list without `manifests`, as
/// registries written in Go answer where there is nothing to list, or nothing at all.
pub(super) fn entries(document: &Document) -> Result<Option<Vec<Descriptor>>, DocumentError> {
    if matches!(document.bytes.trim_ascii(), b"" | b"null") {
        return Ok(None);
    }
    let what = format!("list of referrers {}", document.digest);
    let limits = Limits::typed(MANIFEST_LIMIT);
    let shape: Shape = json::parse_as(&what, &document.bytes, limits, image_fields::DOCUMENT)?;
    let fields = [shape.manifests, shape.config, shape.layers];
    let is_index = shape.media_type.is_none_or(|declared| declared == INDEX);
    if fields.iter().all(Option::is_none) && is_index && document.is_index() {
        return Ok(None);
    }
    Ok(Some(document.index()?.manifests().clone()))
}

/// Returns the link to the next page from a `Link` header (RFC 8288; distribution-spec, "Listing
/// Referrers").
pub(super) fn next_page(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, from) = rest.split_once('<')?;
        let (link, from) = from.split_once('>')?;
        // Parameters end at the comma before the next link; no registry sends one that contains a
        // comma.
        let (parameters, further) = from.split_once(',').unwrap_or((from, ""));
        let is_next = |parameter: &str| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        };
        if parameters.split(';').any(is_next) {
            return Some(link);
        }
        rest = further;
    }
}

/// Returns the list entry of a referrer of `subject`; `origin` names the place in errors.
#[cfg(feature = "publish")]
pub(super) fn entry(
    origin: &str,
    subject: &Digest,
    referrer: &Document,
) -> Result<Value, OciError> {
    let invalid = |source| OciError::Document { origin: origin.to_owned(), source };
    let manifest = referrer.manifest().map_err(invalid)?;
    if manifest.subject().as_ref().and_then(sha256) != Some(*subject) {
        return Err(OciError::NotAReferrer { digest: referrer.digest, subject: *subject });
    }
    let entry = referrer_descriptor(referrer).map_err(invalid)?;
    Ok(serde_json::to_value(entry).expect("a descriptor has string keys and finite numbers"))
}

/// What has to be done so that a list contains all our entries.
#[cfg(feature = "publish")]
#[derive(Debug, PartialEq)]
pub(super) enum Merged {
    /// Nothing: they are listed.
    Complete,
    /// The list with our entries, to be written.
    Changed(Vec<u8>),
    /// The document is not a list.
    Malformed,
    /// The list would exceed the limit of readers.
    TooMany,
}

/// Adds `ours` to a list, or starts one. Our entries that lack type or annotations get them: old
/// clients wrote such entries, and readers that filter by type do not see them (cosign#4641).
#[cfg(feature = "publish")]
pub(super) fn merge(list: Option<Value>, ours: &[Value]) -> Merged {
    let mut list =
        list.unwrap_or_else(|| json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    let Some(Value::Array(entries)) = list.get_mut("manifests") else { return Merged::Malformed };
    let mut changed = false;
    for our in ours {
        let Some(entry) = entries.iter_mut().find(|entry| entry.get("digest") == our.get("digest"))
        else {
            entries.push(our.clone());
            changed = true;
            continue;
        };
        let Value::Object(entry) = entry else { return Merged::Malformed };
        for field in ["artifactType", "annotations"] {
            if let (None | Some(Value::Null), Some(value)) = (entry.get(field), our.get(field)) {
                entry.insert(field.to_owned(), value.clone());
                changed = true;
            }
        }
    }
    let count = entries.len();
    match changed {
        true if count > ENTRIES => Merged::TooMany,
        true => Merged::Changed(json::canonical(&list)),
        false => Merged::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page() {
        let cases = [
            (r#"</v2/a/referrers/sha256:1?n=2>; rel="next""#, Some("/v2/a/referrers/sha256:1?n=2")),
            ("<https://a.example/x?a=1,2>;rel=next", Some("https://a.example/x?a=1,2")),
            (r#"<x>; title="n"; REL = "Next""#, Some("x")),
            (r#"</first>; rel="first", </next>; rel="next""#, Some("/next")),
            (r#"</prev>; rel="prev""#, None),
            ("</x>; relation=next", None),
            ("</x", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(next_page(header), expected, "{header}");
        }
    }

    #[cfg(feature = "publish")]
    mod publish {
        use super::*;
        use crate::model::media_type::MANIFEST;

        fn subject() -> Digest {
            Digest::of(b"subject")
        }

        fn referrer(fields: Value) -> Document {
            let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2 });
            let subject = json!({ "mediaType": INDEX, "digest": subject(), "size": 9 });
            let mut manifest = json!({ "schemaVersion": 2, "config": empty, "layers": [empty], "subject": subject });
            manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            Document::new(MANIFEST, json::canonical(&manifest))
        }

        #[test]
        fn describes_a_referrer_by_effective_type_and_all_annotations() {
            let cases = [
                (json!({}), json!({ "artifactType": "application/vnd.oci.empty.v1+json" })),
                (
                    json!({ "artifactType": "a/b", "annotations": { "x": "1", "y": "2" } }),
                    json!({ "artifactType": "a/b", "annotations": { "x": "1", "y": "2" } }),
                ),
            ];
            for (fields, mut expected) in cases {
                let document = referrer(fields);
                expected["mediaType"] = MANIFEST.into();
                expected["digest"] = document.digest.to_string().into();
                expected["size"] = document.bytes.len().into();
                assert_eq!(entry("here", &subject(), &document).unwrap(), expected);
            }
        }

        #[test]
        fn refuses_to_list_what_has_another_subject() {
            let other = json!({ "mediaType": INDEX, "digest": Digest::of(b"other"), "size": 9 });
            for fields in [json!({ "subject": other }), json!({ "subject": null })] {
                let document = referrer(fields);
                let error =
                    entry("here", &subject(), &document).expect_err("another subject").to_string();
                let expected = format!(
                    "manifest {} does not have {} as its subject",
                    document.digest,
                    subject()
                );
                assert_eq!(error, expected);
            }
        }

        #[test]
        fn keeps_what_it_does_not_know() {
            let ours = json!({ "digest": "sha256:1", "size": 1, "artifactType": "a/b", "annotations": { "x": "1" } });
            let theirs = json!({ "digest": "blake3:9", "platform": { "os": "plan9" }, "new": [1, 2.5, null] });
            let list = |manifests: Value| json!({ "schemaVersion": 2, "annotations": { "k": "v" }, "manifests": manifests });
            let repaired = json!({ "digest": "sha256:1", "size": 7, "new": 1, "artifactType": "a/b", "annotations": { "x": "1" } });
            let other_type =
                json!({ "digest": "sha256:1", "artifactType": "c/d", "annotations": {} });
            let first = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [ours] });
            let cases = [
                ("the first", None, Some(first)),
                ("an empty list", Some(list(json!([]))), Some(list(json!([ours])))),
                (
                    "added after theirs",
                    Some(list(json!([theirs]))),
                    Some(list(json!([theirs, ours]))),
                ),
                ("there already", Some(list(json!([ours, theirs]))), None),
                ("there, described otherwise", Some(list(json!([other_type]))), None),
                (
                    "there, without type and annotations",
                    Some(list(json!([{ "digest": "sha256:1", "size": 7, "new": 1 }, theirs]))),
                    Some(list(json!([repaired, theirs]))),
                ),
            ];
            for (name, before, after) in cases {
                let expected =
                    after.map_or(Merged::Complete, |list| Merged::Changed(json::canonical(&list)));
                assert_eq!(merge(before, std::slice::from_ref(&ours)), expected, "{name}");
            }
            let full: Value =
                (0..ENTRIES).map(|n| json!({ "digest": format!("sha256:f{n}") })).collect();
            assert_eq!(merge(Some(list(full)), &[ours]), Merged::TooMany);
            for malformed in [json!([]), json!({}), json!({ "manifests": null })] {
                assert_eq!(merge(Some(malformed.clone()), &[]), Merged::Malformed, "{malformed}");
            }
        }
    }
}
