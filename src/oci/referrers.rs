//! Lists of referrers: how they are continued, and how the one that is kept by hand is changed.
//!
//! Registries without the referrers API leave the list to their clients: an index under the tag `sha256-…`
//! (distribution-spec, "Referrers Tag Schema"). Others write it too, so it is edited as it is: what we do not know
//! stays. Pure; who asks and writes is the registry's client.

use oci_spec::image::Descriptor;

use crate::model::{Document, DocumentError};

/// The most referrers of one subject that are read. A bundle has a handful; the limit is against a registry, or
/// somebody who may write to it, that keeps a verifier busy.
pub(super) const ENTRIES: usize = 256;
/// The most pages that a list of referrers is read from, against a list that never ends.
pub(super) const PAGES: usize = 32;

/// The descriptors of one page or of the whole list.
pub(super) fn entries(document: &Document) -> Result<Vec<Descriptor>, DocumentError> {
    Ok(document.index()?.manifests().clone())
}

/// The link to the next page in a `Link` header (RFC 8288; distribution-spec, "Listing Referrers").
pub(super) fn next_page(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, from) = rest.split_once('<')?;
        let (link, from) = from.split_once('>')?;
        // Parameters end at the comma before the next link; none that registries send contains one.
        let (parameters, further) = from.split_once(',').unwrap_or((from, ""));
        let is_next = |parameter: &str| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        };
        if parameters.split(';').any(is_next) {
            return Some(link);
        }
        rest = further;
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
}
