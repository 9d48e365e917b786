//! Copyright notices, of which "there is none" and "not inspected" are different answers.

use serde::{Serialize, Serializer};

use crate::model::visible;

/// What is known of a copyright notice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Copyright {
    /// No one looked for one.
    #[default]
    Unknown,
    /// The source was searched and has none.
    NoNotice,
    /// The notice, as the source has it.
    Notice(String),
}

impl Copyright {
    /// The text of SPDX, which has a word for each answer.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Unknown => "NOASSERTION",
            Self::NoNotice => "NONE",
            Self::Notice(text) => text,
        }
    }

    /// The same without characters that would write over a terminal: a notice is a foreign text.
    pub(super) fn shown(&self) -> Self {
        match self {
            Self::Notice(text) => {
                let lines: Vec<_> = text.lines().map(visible).collect();
                Self::Notice(lines.join("\n"))
            }
            other => other.clone(),
        }
    }

    /// The notices of a whole, of which every part is known.
    pub(super) fn of_all<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut notices: Vec<&str> = Vec::new();
        for part in parts {
            match part {
                Self::Unknown => return Self::Unknown,
                Self::NoNotice => {}
                Self::Notice(text) => notices.extend(text.lines()),
            }
        }
        notices.sort_unstable();
        notices.dedup();
        if notices.is_empty() { Self::NoNotice } else { Self::Notice(notices.join("\n")) }
    }
}

impl Serialize for Copyright {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_shown_as_text() {
        let notice = Copyright::Notice("\u{a9} A\r\n\u{1b}[2J".to_owned());
        assert_eq!(notice.shown(), Copyright::Notice("\u{a9} A\n\\u{1b}[2J".to_owned()));
        assert_eq!(Copyright::NoNotice.shown().text(), "NONE");
    }

    #[test]
    fn a_whole_is_known_if_its_parts_are() {
        let notice = |text: &str| Copyright::Notice(text.to_owned());
        for (parts, expected) in [
            (vec![], Copyright::NoNotice),
            (vec![Copyright::NoNotice], Copyright::NoNotice),
            (vec![notice("b\na"), Copyright::NoNotice, notice("a")], notice("a\nb")),
            (vec![notice("a"), Copyright::Unknown], Copyright::Unknown),
        ] {
            assert_eq!(Copyright::of_all(&parts), expected, "{parts:?}");
        }
    }
}
