//! The text of a page while it is written, and the only place where text becomes HTML.

use std::fmt::{Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::style::STYLE;
use crate::model::visible;

/// A page that is being written.
pub(super) struct Page {
    html: String,
}

impl Page {
    /// Begins a page with this title.
    pub(super) fn open(title: &str) -> Self {
        // CSP level 3, 2.3.1: a style sheet is allowed by the digest of its text.
        let digest = STANDARD.encode(Sha256::digest(STYLE));
        let mut page = Self { html: String::new() };
        page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
        page.raw("style-src 'sha256-");
        page.text(&digest);
        page.raw("'; base-uri 'none'; form-action 'none'\">\n<title>");
        page.text(title);
        page.raw("</title>\n<style>");
        page.raw(STYLE);
        page.raw("</style>\n</head>\n<body>\n<main>\n");
        page
    }

    /// Ends the page.
    pub(super) fn close(mut self) -> String {
        self.raw("</main>\n</body>\n</html>\n");
        self.html
    }

    /// Adds markup of this program.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.html.push_str(markup);
    }

    /// Adds a number, as text or in an attribute.
    pub(super) fn number(&mut self, number: impl Into<f64>) {
        // Writing to a String does not fail.
        let _ = write!(self.html, "{:.1}", number.into());
    }

    /// Adds text from anywhere, in an element or between double quotes: nothing in it is markup.
    pub(super) fn text(&mut self, text: impl Display) {
        for character in visible(&text.to_string()).chars() {
            match character {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                '`' => self.html.push_str("&#96;"),
                other => self.html.push(other),
            }
        }
    }

    /// Adds an element with a text, such as a cell.
    pub(super) fn element(&mut self, open: &'static str, text: impl Display, close: &'static str) {
        self.raw(open);
        self.text(text);
        self.raw(close);
    }

    /// Begins a section with a heading.
    pub(super) fn section(&mut self, heading: &'static str) {
        self.element("<section>\n<h2>", heading, "</h2>\n");
    }

    /// Begins a table with these columns, which scrolls on a narrow screen.
    pub(super) fn table(&mut self, columns: &[&'static str]) {
        self.raw("<div class=\"scroll\"><table>\n<thead><tr>");
        for column in columns {
            self.element("<th scope=\"col\">", column, "</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
    }

    /// Ends a table.
    pub(super) fn end_table(&mut self) {
        self.raw("</tbody></table></div>\n");
    }
}
