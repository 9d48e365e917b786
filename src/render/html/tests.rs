use std::collections::BTreeMap;

use super::*;
use crate::attest::{ContainedPlugin, Contents, Side};
use crate::binary::{GoBuild, Linkage};
use crate::bundle::{Facts, PluginOrigin};
use crate::model::Digest;

/// What a program, a registry or a certificate could say.
const HOSTILE: [&str; 12] = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "`onmouseover=alert(1)",
    "</text></svg><script>",
    "<!-- ",
    "]]>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\u{1b}[2J\u{202e}\u{0}",
];

fn audit(text: &str, judgement: Option<Judgement>) -> Audit {
    let side = Side {
        from: text.to_owned(),
        name: "base".parse().unwrap(),
        version: Some("1.0.0".parse().unwrap()),
        digest: Some(Digest::of(b"")),
    };
    let mut contents = Contents::new(side);
    for (name, size) in [("bridge", 0), ("macvlan", 4_000_000), ("vlan", u64::MAX)] {
        let plugin = ContainedPlugin {
            digest: Digest::of(name.as_bytes()),
            size,
            linkage: Linkage::Dynamic { interpreter: text.to_owned() },
            go: Some(GoBuild { go: text.into(), path: text.into(), version: Some(text.into()) }),
            facts: Facts {
                origin: Some(PluginOrigin {
                    kind: text.to_owned(),
                    source: Some(text.to_owned()),
                    location: Some(text.to_owned()),
                    member: Some(text.to_owned()),
                    version: Some(text.to_owned()),
                    level: text.to_owned(),
                }),
                cni_versions: vec![text.to_owned()],
                vcs: None,
                license: Some(text.to_owned()),
            },
            modules: Some(BTreeMap::from([(text.to_owned(), text.to_owned())])),
        };
        let key = (name.parse().unwrap(), "linux/amd64".parse().unwrap());
        contents.plugins.insert(key, plugin);
    }
    let attached = AttachedReferrer {
        kind: text.to_owned(),
        digest: Digest::of(b"a"),
        subject: Digest::of(b"b"),
    };
    Audit { contents, attached: vec![attached], judgement }
}

fn judged(text: &str, is_yes: bool) -> Judgement {
    let proof = if is_yes { Ok(text.to_owned()) } else { Err(vec![text.to_owned()]) };
    Judgement { by: text.to_owned(), platforms: vec![("linux/amd64".parse().unwrap(), proof)] }
}

/// The elements of a page, with their attributes: what is between `<` and `>`.
fn markup(html: &str) -> Vec<&str> {
    html.split('<').skip(1).map(|it| it.split('>').next().unwrap()).collect()
}

#[test]
fn no_text_becomes_markup() {
    let plain = html(&audit("text", Some(judged("text", true))));
    for text in HOSTILE {
        let page = html(&audit(text, Some(judged(text, true))));
        // The same elements, except for the widths and numbers, which no text decides.
        assert_eq!(markup(&page), markup(&plain), "{text:?}");
        assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{0}']), "{text:?}");
        for quoted in ["onmouseover=\"", "onmouseover='", "<script", "<img", "href"] {
            assert!(!page.contains(quoted), "{text:?}: {quoted}");
        }
    }
}

#[test]
fn who_signed_is_said_only_if_it_was_judged() {
    let page = html(&audit("text", None));
    assert!(page.contains("<strong>Not judged</strong>") && !page.contains("Allowed"), "{page}");
    assert!(!page.to_lowercase().contains("signed by"), "{page}");
    // What a document claims to be is in the list that says so, and nowhere else.
    let mut claims = audit("text", None);
    claims.attached[0].kind = "index signed by `key`".to_owned();
    let page = html(&claims);
    let (before, list) = page.split_once("Nothing in this list was verified").unwrap();
    assert!(!before.contains("signed by") && list.contains("index signed by"), "{page}");
    let page = html(&audit("text", Some(judged("index signed by `key`", true))));
    assert!(page.contains("Allowed") && page.contains("index signed by &#96;key&#96;"), "{page}");
    let page = html(&audit("text", Some(judged("no-signature", false))));
    assert!(page.contains("<strong>Refused</strong>") && page.contains("no-signature"), "{page}");
    // A judgement about nothing allows nothing.
    let nothing = Judgement { by: "policy.yaml".to_owned(), platforms: Vec::new() };
    assert!(html(&audit("text", Some(nothing))).contains("<strong>Refused</strong>"));
}

#[test]
fn the_style_sheet_is_the_one_that_the_page_allows() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let page = html(&audit("text", None));
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    assert!(page.contains(&format!("default-src 'none'; style-src 'sha256-{digest}'")), "{page}");
    assert!(!page.contains(" style=") && !page.contains("url("), "{page}");
}
