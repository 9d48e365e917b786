//! One page about an image for an auditor: contents, sizes, toolchains, linked modules and attached
//! documents. Pure.
//!
//! The page needs no script and no network, and says so to the browser: `default-src 'none'`, with
//! the digest of its one style sheet. Every text comes from a program, a lock, a registry or a
//! certificate and may be hostile: [`Page::text`] is the only way in, and escapes it. Whether a
//! signature counts is not decided here: without a judgement, the page says that there is none.

mod audit;
mod page;
mod sections;
mod style;

pub use audit::{AttachedReferrer, Audit, Judgement};
use page::Page;

/// The page, as HTML.
pub fn html(audit: &Audit) -> String {
    let side = &audit.contents.side;
    let version = side.version.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
    let mut page = Page::open(&format!("{}{version}", side.name));
    sections::head(&mut page, audit);
    sections::plugins(&mut page, &audit.contents);
    sections::sizes(&mut page, &audit.contents);
    sections::toolchains(&mut page, &audit.contents);
    sections::modules(&mut page, &audit.contents);
    sections::evidence(&mut page, audit);
    page.close()
}

#[cfg(test)]
mod tests;
