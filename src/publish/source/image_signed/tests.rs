//! Images that cosign 3.1.3 and 2.6.5 signed, and what was made of them.

use std::path::Path;

use super::*;
use crate::bundle::definition::source::KeyContent;
use crate::model::document::{platform, sha256};
use crate::model::{Selector, media_type};
use crate::oci::Layout;
use crate::trust::Key;

/// A layout, the tag of the image in it, and whether its publisher signed the index, the manifest
/// for linux/amd64, or either of them.
const FIXTURES: [(&str, &str, bool); 21] = [
    ("v2-key-sign-index-legacy", "v1", true),
    ("v2-key-annot-sign-index-legacy", "v1", true),
    ("v2-key-sign-plat-legacy28", "v1", true),
    ("v2-key-sign-index-bundle-fbtag", "v1", true),
    ("v3-key-sign-plat-legacy", "v1", true),
    ("v3-key-sign-index-fbtag", "v1", true),
    ("v3-key-sign-index-ref", "v1", true),
    ("v3-key-sign-recursive-ref", "v1", true),
    ("n-otherkey-plus-good", "v1", true),
    ("x-no-annotations", "v1", true),
    ("n-legacy-moved", "v1", false),
    ("n-legacy-tampered", "v1", false),
    ("n-garbage-only", "v1", false),
    ("n-moved-keyless", "v1", false),
    ("n-tampered-payload-key", "v1", false),
    ("n-unrelated-referrer", "v1", false),
    ("v2-key-attest-index-legacy", "v1", false),
    ("v2-keyless1-sign-plat-legacy", "v1", false),
    ("v3-key-attest-index-ref", "v1", false),
    ("v3-keyless2-sign-index-fbtag", "v1", false),
    ("x-message-signature", "v1", false),
];

#[test]
fn agrees_with_images_that_cosign_signed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/cosign");
    let Ok(pem) = std::fs::read_to_string(folder.join("keys/cosign.pub")) else {
        eprintln!("skipped: the fixtures made by cosign are not here");
        return;
    };
    let key = |pem: &str| {
        let fingerprint = Key::parse(pem).unwrap().fingerprint();
        let content = Some(KeyContent { pem: pem.to_owned(), fingerprint });
        PublicKey { path: "it.pub".to_owned(), content }
    };
    let other = std::fs::read_to_string(folder.join("keys/other.pub")).unwrap();
    for (fixture, tag, expected) in FIXTURES {
        let layout = Layout::open(&folder.join(fixture), media_type::MANIFEST_LIMIT).unwrap();
        let document = |tag: Option<&str>, digest| {
            layout.manifest(&Selector { tag: tag.map(str::to_owned), digest }).unwrap()
        };
        let index = document(Some(tag), None);
        let listed = index.index().unwrap();
        let entry = listed.manifests().iter().find(|it| platform(it) == "linux/amd64".parse().ok());
        let manifest = document(None, sha256(entry.unwrap()));
        let signed = |pem: &str| {
            signed_image(&layout, &key(pem), &manifest, Some(&index)).map_err(|it| it.to_string())
        };
        match signed(&pem) {
            Ok(found) => {
                assert!(expected, "{fixture}");
                assert!(found.signature.is_some() && found.provenance.is_none(), "{fixture}");
            }
            Err(error) => {
                assert!(!expected, "{fixture}: {error}");
                assert!(error.starts_with("nothing of it is signed by the key"), "{error}");
            }
        }
        assert_eq!(signed(&other).is_ok(), fixture == "n-otherkey-plus-good", "{fixture}");
    }
    let unread = PublicKey { path: "it.pub".to_owned(), content: None };
    let layout = Layout::open(&folder.join(FIXTURES[0].0), media_type::MANIFEST_LIMIT).unwrap();
    let root = layout.manifest(&Selector { tag: Some("v1".to_owned()), digest: None }).unwrap();
    let error = signed_image(&layout, &unread, &root, None).unwrap_err();
    assert_eq!(error.to_string(), "the key `it.pub` was not read");
}
