//! The sections of the page, in their order.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Audit;
use super::page::Page;
use crate::attest::{ContainedPlugin, Contents};
use crate::binary::Linkage;
use crate::model::{PluginName, size_in_words};

/// The name of the image, the verdict, and the numbers.
pub(super) fn head(page: &mut Page, audit: &Audit) {
    let side = &audit.contents.side;
    page.element("<h1>", &side.name, "");
    if let Some(version) = &side.version {
        page.element(" ", version, "");
    }
    page.element("</h1>\n<p class=\"soft\">", &side.from, "</p>\n");
    if let Some(digest) = &side.digest {
        page.element("<p><code>", digest, "</code></p>\n");
    }
    verdict(page, audit);
    let plugins = &audit.contents.plugins;
    let names: BTreeSet<_> = plugins.keys().map(|(name, _)| name).collect();
    let platforms: BTreeSet<_> = plugins.keys().map(|(_, platform)| platform).collect();
    let size = plugins.values().fold(0_u64, |sum, it| sum.saturating_add(it.size));
    page.raw("<dl class=\"facts\">\n");
    for (what, value) in [
        ("Plugins", names.len().to_string()),
        ("Platforms", platforms.len().to_string()),
        ("Files", plugins.len().to_string()),
        ("Size of all files", megabytes(size)),
    ] {
        page.element("<div><dt>", what, "</dt>");
        page.element("<dd>", value, "</dd></div>\n");
    }
    page.raw("</dl>\n");
}

fn verdict(page: &mut Page, audit: &Audit) {
    let Some(judgement) = &audit.judgement else {
        page.raw("<div class=\"verdict\"><strong>Not judged</strong>No policy or key was given, ");
        page.raw("so this page does not say who made or signed this image.</div>\n");
        return;
    };
    match judgement.is_yes() {
        true => page.element(
            "<div class=\"verdict yes\"><strong>Allowed</strong>by <span class=\"code\">",
            &judgement.by,
            "</span>",
        ),
        false => page.element(
            "<div class=\"verdict no\"><strong>Refused</strong>by <span class=\"code\">",
            &judgement.by,
            "</span>",
        ),
    }
    for (platform, proof) in &judgement.platforms {
        page.element("<p>", platform, ": ");
        match proof {
            Ok(words) => page.text(words),
            Err(findings) => page.text(findings.join("; ")),
        }
        page.raw("</p>\n");
    }
    page.raw("</div>\n");
}

/// Every file.
pub(super) fn plugins(page: &mut Page, contents: &Contents) {
    page.section("Plugins");
    page.raw("<p class=\"soft\">Origins and their levels are what the image says of itself.</p>\n");
    page.table(&[
        "plugin",
        "platform",
        "version",
        "from",
        "toolchain",
        "linked",
        "size",
        "SHA-256",
    ]);
    for ((name, platform), plugin) in &contents.plugins {
        let go = plugin.go.as_ref();
        page.element("<tr><td><strong>", name, "</strong>");
        if let Some(go) = go {
            page.element("<br><span class=\"soft code\">", &go.path, "</span>");
        }
        page.element("</td><td>", platform, "</td>");
        page.element("<td>", version(plugin), "</td>");
        from(page, plugin);
        page.element("<td>", go.map_or("unknown", |go| go.go.as_str()), "</td>");
        match &plugin.linkage {
            Linkage::Static => page.raw("<td>static</td>"),
            Linkage::Dynamic { interpreter } => {
                page.element(
                    "<td>dynamic<br><span class=\"soft code\">",
                    interpreter,
                    "</span></td>",
                );
            }
        }
        page.element("<td class=\"number\">", megabytes(plugin.size), "</td>");
        page.element("<td><code>", plugin.digest.hex(), "</code></td></tr>\n");
    }
    page.end_table();
    page.raw("</section>\n");
}

/// The origin of a plugin, its level when it was built, the CNI versions that it supports, and its
/// licence.
fn from(page: &mut Page, plugin: &ContainedPlugin) {
    page.raw("<td>");
    match &plugin.facts.origin {
        Some(origin) => {
            let location = origin.location.as_ref().unwrap_or(&origin.kind);
            page.element("<span class=\"code\">", location, "</span>");
            page.element("<br><span class=\"soft\">level ", &origin.level, "</span>");
        }
        None => page.raw("unknown"),
    }
    let versions = &plugin.facts.cni_versions;
    if !versions.is_empty() {
        page.element("<br><span class=\"soft\">CNI ", versions.join(", "), "</span>");
    }
    if let Some(licence) = &plugin.facts.license {
        page.element("<br><span class=\"soft\">licence ", licence, "</span>");
    }
    page.raw("</td>");
}

/// A bar for each plugin: the largest of its files.
pub(super) fn sizes(page: &mut Page, contents: &Contents) {
    const ROW: u32 = 22;
    const LABELS: u32 = 150;
    const BARS: f64 = 420.0;
    let mut largest: BTreeMap<&PluginName, u64> = BTreeMap::new();
    for ((name, _), plugin) in &contents.plugins {
        let size = largest.entry(name).or_default();
        *size = plugin.size.max(*size);
    }
    let mut bars: Vec<_> = largest.into_iter().collect();
    bars.sort_by(|(a, a_size), (b, b_size)| b_size.cmp(a_size).then(a.cmp(b)));
    let Some(most) = bars.first().map(|(_, size)| *size) else { return };
    page.section("Sizes");
    page.raw("<svg role=\"img\" aria-label=\"Sizes of the plugins\" viewBox=\"0 0 660 ");
    let rows = u32::try_from(bars.len()).unwrap_or(u32::MAX);
    page.number(rows.saturating_mul(ROW));
    page.raw("\">\n");
    for (row, (name, size)) in (0_u32..).zip(&bars) {
        let top = row.saturating_mul(ROW);
        page.raw("<text x=\"0\" y=\"");
        page.number(top.saturating_add(16));
        page.element("\">", name, "</text><rect x=\"");
        page.number(LABELS);
        page.raw("\" y=\"");
        page.number(top.saturating_add(4));
        page.raw("\" height=\"14\" rx=\"2\" width=\"");
        // At least a line that can be seen.
        let width = (*size as f64 / most.max(1) as f64 * BARS).max(1.0);
        page.number(width);
        page.raw("\"/><text class=\"soft\" x=\"");
        page.number(f64::from(LABELS) + width + 8.0);
        page.raw("\" y=\"");
        page.number(top.saturating_add(16));
        page.element("\">", megabytes(*size), "</text>\n");
    }
    page.raw("</svg>\n</section>\n");
}

/// Each toolchain, and when its minor release came out.
pub(super) fn toolchains(page: &mut Page, contents: &Contents) {
    let mut used: BTreeMap<&str, BTreeSet<&PluginName>> = BTreeMap::new();
    for ((name, _), plugin) in &contents.plugins {
        let toolchain = plugin.go.as_ref().map_or("unknown", |go| go.go.as_str());
        used.entry(toolchain).or_default().insert(name);
    }
    page.section("Toolchains");
    page.table(&["toolchain", "its series began", "plugins"]);
    for (toolchain, names) in used {
        page.element("<tr><td>", toolchain, "</td>");
        page.element("<td>", series(toolchain).unwrap_or("unknown"), "</td>");
        page.element("<td>", list(&names), "</td></tr>\n");
    }
    page.end_table();
    page.raw("</section>\n");
}

/// When a series of Go releases began (go.dev/doc/devel/release). Two series are supported at a
/// time, for a year each.
fn series(toolchain: &str) -> Option<&'static str> {
    const SERIES: [(&str, &str); 10] = [
        ("1.17", "August 2021"),
        ("1.18", "March 2022"),
        ("1.19", "August 2022"),
        ("1.20", "February 2023"),
        ("1.21", "August 2023"),
        ("1.22", "February 2024"),
        ("1.23", "August 2024"),
        ("1.24", "February 2025"),
        ("1.25", "August 2025"),
        ("1.26", "February 2026"),
    ];
    let version = toolchain.strip_prefix("go")?;
    let of = |(series, _): &&(&str, &str)| {
        let rest = version.strip_prefix(series);
        rest.is_some_and(|rest| !rest.starts_with(|it: char| it.is_ascii_digit()))
    };
    SERIES.iter().find(of).map(|(_, began)| *began)
}

/// Each version of each module that a program links.
pub(super) fn modules(page: &mut Page, contents: &Contents) {
    let mut linked: BTreeMap<(&str, &str), BTreeSet<&PluginName>> = BTreeMap::new();
    let mut unread: BTreeSet<&PluginName> = BTreeSet::new();
    for ((name, _), plugin) in &contents.plugins {
        let Some(modules) = &plugin.modules else {
            unread.insert(name);
            continue;
        };
        for (path, version) in modules {
            linked.entry((path, version)).or_default().insert(name);
        }
    }
    page.section("Linked modules");
    if !unread.is_empty() {
        page.element("<p class=\"soft\">Unknown for ", list(&unread), ".</p>\n");
    }
    if !linked.is_empty() {
        page.table(&["module", "version", "plugins"]);
        for ((path, version), names) in linked {
            page.element("<tr><td class=\"code\">", path, "</td>");
            page.element("<td class=\"code\">", version, "</td>");
            page.element("<td>", list(&names), "</td></tr>\n");
        }
        page.end_table();
    }
    page.raw("</section>\n");
}

/// The attached documents, as they describe themselves.
pub(super) fn evidence(page: &mut Page, audit: &Audit) {
    page.section("Attached documents");
    if audit.attached.is_empty() {
        page.raw("<p class=\"soft\">None.</p>\n</section>\n");
        return;
    }
    page.raw("<p class=\"soft\">The documents as they describe themselves. Nothing in this list was verified.</p>\n");
    page.table(&["claimed kind", "digest", "refers to"]);
    for document in &audit.attached {
        page.element("<tr><td class=\"code\">", &document.kind, "</td>");
        page.element("<td><code>", document.digest, "</code></td>");
        page.element("<td><code>", document.subject, "</code></td></tr>\n");
    }
    page.end_table();
    page.raw("</section>\n");
}

fn version(plugin: &ContainedPlugin) -> &str {
    let own = plugin.go.as_ref().and_then(|go| go.version.as_deref());
    own.or(plugin.release()).unwrap_or("unknown")
}

fn list(names: &BTreeSet<&PluginName>) -> String {
    PluginName::list(names.iter().copied(), 6)
}

fn megabytes(bytes: u64) -> String {
    size_in_words(bytes, 2)
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn a_series_is_known_by_its_whole_number() {
        for (toolchain, expected) in [
            ("go1.19.8", Some("August 2022")),
            ("go1.26", Some("February 2026")),
            ("go1.26rc1", Some("February 2026")),
            ("go1.260.1", None),
            ("go1.2.3", None),
            ("devel go1.26-1234", None),
            ("", None),
        ] {
            assert_eq!(series(toolchain), expected, "{toolchain}");
        }
    }
}
