//! What a registry's responses mean. Pure: they were fetched before.

use serde::Deserialize;

use super::OciError;
use crate::model::json::Limits;
use crate::model::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, MANIFEST_LIMIT};
use crate::model::{Digest, Document, image_fields, json};
use crate::net::{Fetched, Head};

/// The field in which a document declares its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
}

/// Accepts a successful response as a manifest or index, and compares it with the digest that the
/// registry claims for it.
pub(super) fn document(
    fetched: Fetched,
    origin: &str,
    what: &'static str,
) -> Result<Document, OciError> {
    if fetched.is_html() {
        return Err(refusal(&fetched, what));
    }
    let Fetched { head, body } = fetched;
    let mut document = Document::new(head.content_type(), body);
    if let Some(claimed) = claimed_digest(&head).filter(|claimed| *claimed != document.digest) {
        return Err(OciError::ClaimedDigest {
            origin: origin.to_owned(),
            claimed,
            found: document.digest,
        });
    }
    if !is_type_of_document(&document.media_type) {
        // Static file servers and some proxies send only `application/json`; the type declared in
        // the document is as good.
        let what = format!("manifest {}", document.digest);
        let limits = Limits::typed(MANIFEST_LIMIT);
        let typed: Typed =
            json::parse_as(&what, &document.bytes, limits, image_fields::DOCUMENT).map_err(
                |source| OciError::Document { origin: origin.to_owned(), source: source.into() },
            )?;
        document.media_type = typed.media_type.unwrap_or(document.media_type);
    }
    Ok(document)
}

/// Whether a header names a type of document: it is then what [`document`] goes by.
fn is_type_of_document(content_type: &str) -> bool {
    [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].contains(&content_type)
}

/// Whether a response is an image index, by its header or, if that names no type of document, by
/// what the document declares. Some registries and proxies answer any address with 200 and a page
/// or another document.
pub(super) fn is_index(fetched: &Fetched) -> bool {
    let content_type = fetched.head.content_type();
    if fetched.is_html() || is_type_of_document(&content_type) {
        return content_type == INDEX && !fetched.is_html();
    }
    json::parse("list of referrers", &fetched.body, MANIFEST_LIMIT)
        .is_ok_and(|typed: Typed| typed.media_type.is_some_and(|declared| declared == INDEX))
}

/// Refuses a blob whose announced length differs from its descriptor's.
pub(super) fn check_length(
    head: &Head,
    origin: &str,
    digest: Digest,
    expected: u64,
) -> Result<(), OciError> {
    let announced = head.header("content-length").and_then(|text| text.parse().ok());
    match announced {
        Some(found) if found != expected && head.content_type() == "text/html" => {
            Err(OciError::Html { host: head.host(), what: "a blob", status: head.status() })
        }
        Some(found) if found != expected => {
            Err(OciError::Size { origin: origin.to_owned(), digest, expected, found })
        }
        _ => Ok(()),
    }
}

/// Returns the digest in the response's header, if its algorithm is supported.
pub(super) fn claimed_digest(head: &Head) -> Option<Digest> {
    head.header("docker-content-digest")?.parse().ok()
}

/// Turns a response that is not the requested `what` into an error.
pub(super) fn refusal(fetched: &Fetched, what: &'static str) -> OciError {
    let status = fetched.head.status();
    let host = fetched.head.host();
    match status {
        401 => OciError::Credentials { host },
        200..300 if fetched.is_html() => OciError::Html { host, what, status },
        _ => fetched.refusal().into(),
    }
}
