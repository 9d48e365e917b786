//! The one style sheet: light and dark, for screens, phones and paper.

/// The text between `<style>` and `</style>`.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5d6670; --page: #ffffff; --line: #d9dee3;
  --fill: #f4f6f8; --bar: #3a6ea5; --yes: #1d7a46; --no: #b3261e; --open: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ae; --page: #14171a;
  --line: #30363c; --fill: #1c2125; --bar: #6fa3d8; --yes: #5cc98a; --no: #f2817a; --open: #e0b354; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
code, .code { font: .86em/1.45 ui-monospace, 'SFMono-Regular', Consolas, monospace;
  overflow-wrap: anywhere; }
.verdict { margin: 1.25rem 0; padding: .75rem 1rem; border: 1px solid var(--line);
  border-left: 5px solid var(--open); border-radius: 4px; background: var(--fill); }
.verdict.yes { border-left-color: var(--yes); }
.verdict.no { border-left-color: var(--no); }
.verdict strong { display: block; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 0; }
.facts div { border: 1px solid var(--line); border-radius: 4px; padding: .6rem .8rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; max-width: 46rem; }
svg text { font-size: 13px; fill: var(--ink); }
svg text.soft { fill: var(--soft); }
svg rect { fill: var(--bar); }
@media print { body { font-size: 10pt; } main { max-width: none; padding: 0; }
  .scroll { overflow: visible; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
";
