//! The licence of a source, from its own files: `LICENSE`, `COPYING` and `NOTICE`.
//!
//! A text is recognised by sentences that only its licence has, whatever its line breaks. What is
//! not recognised, or holds several licences, is of unknown licence: an SBOM must not guess. The
//! GPL is never recognised, since its text does not say whether a later version may be used.
//! Texts come from archives that nobody signed, and are cut and made visible.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Digest, Licence, excerpt};

/// The licence that the files of a source state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FoundLicense {
    /// The licence, as an SPDX expression.
    pub expression: String,
    /// The copyright notices, a line each; none if the files have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copyright: Vec<String>,
    /// The path of the file with the licence.
    pub file: String,
    /// The digest of that file.
    pub digest: Digest,
}

/// The files of a source that may say something of its licence, as they are met.
#[derive(Debug, Default)]
pub struct LicenseFiles {
    files: BTreeMap<String, Vec<u8>>,
}

/// The most bytes of one file; the text of Apache-2.0 has 11 KiB.
pub const LONGEST_LICENSE: u64 = 64 * 1024;
/// The most files that are looked at.
const MOST_FILES: usize = 8;
/// The most copyright notices that are kept.
const MOST_NOTICES: usize = 16;
/// How names of such files start.
const NAMES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];
/// Endings of names that are texts.
const ENDINGS: [&str; 3] = ["", ".txt", ".md"];

impl LicenseFiles {
    /// Whether a file may say something: its name does, and it is at the top of the source or in
    /// one directory, where its plugins are.
    pub fn is_one(&self, path: &str) -> bool {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_name = NAMES
            .iter()
            .any(|start| name.strip_prefix(start).is_some_and(|ending| ENDINGS.contains(&ending)));
        is_name && !directory.contains('/') && self.files.len() < MOST_FILES
    }

    /// Takes such a file.
    pub fn add(&mut self, path: &str, content: Vec<u8>) {
        self.files.insert(path.to_owned(), content);
    }

    /// Their common licence; `None` if that is not one known licence.
    pub fn finish(self) -> Option<FoundLicense> {
        let mut found = None;
        let mut copyright = BTreeSet::new();
        for (path, content) in &self.files {
            let text = String::from_utf8_lossy(content);
            copyright.extend(notices(&text));
            let name = path.rsplit('/').next().unwrap_or(path);
            if name.starts_with("NOTICE") {
                continue;
            }
            let expression = identify(&text)?.to_string();
            let (file, digest) = (excerpt(path), Digest::of(content));
            match &found {
                Some((other, _, _)) if *other != expression => return None,
                Some(_) => {}
                None => found = Some((expression, file, digest)),
            }
        }
        let (expression, file, digest) = found?;
        let copyright = copyright.into_iter().take(MOST_NOTICES).collect();
        Some(FoundLicense { expression, copyright, file, digest })
    }
}

/// Sentences of licences, each with those that it must not have. In small letters.
const TEXTS: [(&str, &[&str], &[&str]); 6] = [
    (
        "Apache-2.0",
        &["apache license version 2.0, january 2004", "terms and conditions for use, reproduction"],
        &[],
    ),
    (
        "MIT",
        &[
            "permission is hereby granted, free of charge, to any person obtaining a copy",
            "the above copyright notice and this permission notice",
        ],
        &[],
    ),
    (
        "ISC",
        &["permission to use, copy, modify, and/or distribute this software for any purpose with"],
        &[],
    ),
    (
        "BSD-3-Clause",
        &[
            "redistributions of source code must retain the above copyright",
            "redistributions in binary form must reproduce the above copyright",
            "neither the name",
        ],
        &["all advertising materials"],
    ),
    (
        "BSD-2-Clause",
        &[
            "redistributions of source code must retain the above copyright",
            "redistributions in binary form must reproduce the above copyright",
        ],
        &["neither the name", "all advertising materials"],
    ),
    ("MPL-2.0", &["mozilla public license version 2.0", "incompatible with secondary"], &[]),
];

/// The licence whose text this is, if it is one and no other.
fn identify(text: &str) -> Option<Licence> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ").to_lowercase();
    let mut found = TEXTS.iter().filter(|(_, has, has_not)| {
        has.iter().all(|it| text.contains(it)) && !has_not.iter().any(|it| text.contains(it))
    });
    match (found.next(), found.next()) {
        (Some((expression, ..)), None) => expression.parse().ok(),
        _ => None,
    }
}

/// The lines that name a year and who holds the copyright.
fn notices(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '*'));
    let notices = lines.filter(|line| {
        let rest = line.strip_prefix("Copyright").or_else(|| line.strip_prefix('\u{a9}'));
        rest.is_some_and(|rest| {
            let rest = rest.trim_start_matches(|c: char| " :()cC\u{a9}".contains(c));
            rest.starts_with(|c: char| c.is_ascii_digit())
        })
    });
    notices.map(excerpt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APACHE: &str = "                                 Apache License\n\
        \x20                          Version 2.0, January 2004\n\n\
        \x20  TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION\n\n\
        \x20  Copyright [yyyy] [name of copyright owner]\n";
    const MIT: &str = "MIT License\n\nCopyright (c) 2020 Josh Snyder\n\nPermission is hereby \
        granted,\nfree of charge, to any person obtaining a copy of this software ...\nThe above \
        copyright notice and this permission\nnotice shall be included\n";
    const BSD: &str = "Copyright 2009 The Go Authors.\n\n   * Redistributions of source code must \
        retain the above copyright\nnotice\n   * Redistributions in binary form must reproduce the \
        above\ncopyright notice\n";

    fn of(files: &[(&str, &str)]) -> Option<FoundLicense> {
        let mut found = LicenseFiles::default();
        for (path, text) in files {
            if found.is_one(path) {
                found.add(path, text.as_bytes().to_vec());
            }
        }
        found.finish()
    }

    #[test]
    fn knows_a_licence_by_its_text() {
        let three = format!("{BSD}   * Neither the name of Google\n");
        let four = format!("{BSD} All advertising materials\n");
        for (text, expected) in [
            (APACHE, Some("Apache-2.0")),
            (MIT, Some("MIT")),
            (BSD, Some("BSD-2-Clause")),
            (three.as_str(), Some("BSD-3-Clause")),
            (four.as_str(), None),
            (&format!("{MIT}{APACHE}"), None),
            ("GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", None),
            ("All rights reserved.", None),
            ("", None),
        ] {
            let found = of(&[("LICENSE", text)]).map(|it| it.expression);
            assert_eq!(found.as_deref(), expected, "{text:.40}");
        }
    }

    #[test]
    fn reads_the_files_that_are_beside_the_plugins() {
        for (path, expected) in [
            ("LICENSE", true),
            ("./LICENSE.txt".trim_start_matches("./"), true),
            ("cni-v1/COPYING.md", true),
            ("NOTICE", true),
            ("vendor/a/LICENSE", false),
            ("LICENSES", false),
            ("license", false),
            ("README.md", false),
        ] {
            assert_eq!(LicenseFiles::default().is_one(path), expected, "{path}");
        }
    }

    #[test]
    fn several_files_have_to_agree() {
        let notice = ("NOTICE", "Copyright 2014-2026 CNI authors\nCopyright 2014 A \u{1b}[2J\n");
        let found = of(&[("LICENSE", APACHE), notice]).unwrap();
        let notices = ["Copyright 2014 A \\u{1b}[2J", "Copyright 2014-2026 CNI authors"];
        assert_eq!((found.expression.as_str(), found.file.as_str()), ("Apache-2.0", "LICENSE"));
        assert_eq!(found.copyright, notices);
        assert_eq!(found.digest, Digest::of(APACHE.as_bytes()));
        assert_eq!(of(&[("a/LICENSE", MIT), ("a/COPYING", MIT)]).unwrap().expression, "MIT");
        assert_eq!(of(&[("LICENSE", MIT), ("COPYING", APACHE)]), None);
        assert_eq!(of(&[("LICENSE", MIT), ("COPYING", "as you like")]), None);
        assert_eq!(of(&[notice]), None);
        assert_eq!(of(&[]), None);
    }
}
