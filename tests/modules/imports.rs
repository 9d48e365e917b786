//! Who imports whom, read from the sources: each import is an edge from a file to the file that
//! defines the item, whatever facades it passes through.
//!
//! Only what the project's own layout uses is understood: `use` trees, `pub use` in facades, and
//! paths in code. Macros and generated code are not expanded.

use std::collections::{BTreeMap, BTreeSet};

/// A source file: its module path below the crate, and its text without comments and tests.
pub(crate) struct Source {
    /// Such as `node/host/root.rs`.
    pub(crate) path: String,
    /// Such as `["node", "host", "root"]`.
    pub(crate) module: Vec<String>,
    pub(crate) code: String,
}

/// The imports of a set of files.
pub(crate) struct Imports<'a> {
    sources: &'a [Source],
    /// The number of the file of each module.
    modules: BTreeMap<Vec<String>, usize>,
    /// The items that each file defines.
    defined: Vec<BTreeSet<String>>,
    /// What each file passes on: a name, and the path that it comes from.
    passed_on: Vec<BTreeMap<String, Vec<String>>>,
}

/// One leaf of a `use` tree.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    path: Vec<String>,
    name: String,
    is_passed_on: bool,
}

impl<'a> Imports<'a> {
    pub(crate) fn of(sources: &'a [Source]) -> Self {
        let modules = sources
            .iter()
            .enumerate()
            .map(|(number, source)| (source.module.clone(), number))
            .collect();
        let defined = sources.iter().map(|source| items(&source.code)).collect();
        let passed_on = sources
            .iter()
            .map(|source| {
                let leaves = leaves(&source.code).into_iter().filter(|leaf| leaf.is_passed_on);
                leaves.map(|leaf| (leaf.name, absolute(&leaf.path, &source.module))).collect()
            })
            .collect();
        Self { sources, modules, defined, passed_on }
    }

    /// The files that a file imports items from.
    pub(crate) fn of_file(&self, number: usize) -> BTreeSet<usize> {
        let source = &self.sources[number];
        let imported = leaves(&source.code).into_iter().filter(|leaf| !leaf.is_passed_on);
        let imported = imported.map(|leaf| leaf.path).filter(|path| {
            let child = source.module.iter().chain(path.first()).cloned().collect::<Vec<_>>();
            ["crate", "self", "super"].contains(&path[0].as_str())
                || self.modules.contains_key(&child)
        });
        let mut found = BTreeSet::new();
        // `super` alone is the beginning of a group, and the group was read.
        let inline = inline(&source.code).into_iter().filter(|path| {
            path.iter().any(|part| !["crate", "self", "super"].contains(&part.as_str()))
        });
        for path in imported.chain(inline) {
            found.extend(self.definition(&absolute(&path, &source.module), 0));
        }
        let code = without_uses(&source.code);
        for (name, module) in self.modules_in_scope(source) {
            for rest in after(&code, &name) {
                let path: Vec<_> = module.iter().cloned().chain(rest).collect();
                found.extend(self.definition(&path, 0));
            }
        }
        found.remove(&number);
        found
    }

    /// The modules that a file names without a path: its children, and those that it imports.
    fn modules_in_scope(&self, source: &Source) -> BTreeMap<String, Vec<String>> {
        let children = self.modules.keys().filter(|module| {
            module.len() == source.module.len() + 1 && module.starts_with(&source.module)
        });
        let children = children.filter_map(|module| Some((module.last()?.clone(), module.clone())));
        let imported = leaves(&source.code).into_iter().filter_map(|leaf| {
            let path = absolute(&leaf.path, &source.module);
            self.modules.contains_key(&path).then_some((leaf.name, path))
        });
        children.chain(imported).collect()
    }

    /// The file that defines what has this path; `None` if it is of another crate, or a module as a
    /// whole.
    fn definition(&self, path: &[String], depth: usize) -> Option<usize> {
        assert!(depth < 16, "`{}` is passed on in a circle", path.join("::"));
        // The longest part of the path that is a file; what follows is an item, or something of it.
        // A function may have the name of a module beside it, so the last part counts as an item.
        let (number, name) = (1..path.len())
            .rev()
            .find_map(|length| Some((*self.modules.get(&path[..length])?, &path[length])))?;
        if self.defined[number].contains(name) {
            return Some(number);
        }
        self.definition(self.passed_on[number].get(name)?, depth + 1)
    }

    /// The circles of files that import from each other, each as a way that ends where it began; of
    /// circles that share a file one is enough.
    pub(crate) fn circles(&self) -> Vec<Vec<&'a str>> {
        let edges: Vec<BTreeSet<usize>> =
            (0..self.sources.len()).map(|number| self.of_file(number)).collect();
        let mut left: BTreeSet<usize> = (0..self.sources.len()).collect();
        let mut circles = Vec::new();
        loop {
            // Files that import nothing of what is left are in no circle.
            while let Some(end) = left.iter().copied().find(|file| edges[*file].is_disjoint(&left))
            {
                left.remove(&end);
            }
            let Some(first) = left.first() else { return circles };
            let mut way = vec![*first];
            let start = loop {
                let next =
                    edges[way[way.len() - 1]].intersection(&left).next().expect("not an end");
                if let Some(start) = way.iter().position(|file| file == next) {
                    break start;
                }
                way.push(*next);
            };
            way.push(way[start]);
            circles
                .push(way[start..].iter().map(|file| self.sources[*file].path.as_str()).collect());
            left.remove(&way[start]);
        }
    }
}

/// The paths that a file imports, groups expanded.
pub(crate) fn paths(code: &str) -> Vec<String> {
    leaves(code).into_iter().map(|leaf| leaf.path.join("::")).collect()
}

/// The names that a file imports for itself.
pub(crate) fn names(code: &str) -> Vec<String> {
    let own = leaves(code).into_iter().filter(|leaf| !leaf.is_passed_on);
    own.filter_map(|leaf| leaf.path.into_iter().next_back()).collect()
}

/// The names that a file defines at its outermost level, macros included.
fn items(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.lines() {
        let line = match line.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ").map_or("", |(_, item)| item),
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "macro_rules"];
        let Some(kind) = words.next().filter(|kind| kinds.contains(kind)) else { continue };
        let mut names = words.filter(|word| !word.is_empty() && *word != "fn");
        let _ = kind;
        found.extend(names.next().map(str::to_owned));
    }
    found
}

/// The leaves of every `use` of a file.
fn leaves(code: &str) -> Vec<Leaf> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("use ") {
        let before = rest[..start].lines().last().unwrap_or_default();
        let start_of_line = rest[..start].rfind('\n').map_or(0, |end| end + 1);
        let before = if start_of_line == start { "" } else { before };
        rest = &rest[start + 4..];
        let is_use = ["", "pub "].contains(&before.trim_start())
            || before.trim_start().starts_with("pub(") && before.ends_with(") ");
        if !is_use {
            continue;
        }
        let Some((tree, after)) = rest.split_once(';') else { break };
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = found.len();
        grow(&tree, &[], &mut found);
        for leaf in &mut found[first..] {
            leaf.is_passed_on = before.trim_start().starts_with("pub");
        }
        rest = after;
    }
    found
}

/// Adds the leaves of a `use` tree below a path.
fn grow(tree: &str, above: &[String], found: &mut Vec<Leaf>) {
    let tree = tree.trim();
    if let Some((path, group)) = tree.split_once('{').filter(|_| tree.ends_with('}')) {
        let below: Vec<String> = above.iter().cloned().chain(split(path)).collect();
        let group = &group[..group.len() - 1];
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !group[start..at].trim().is_empty() {
                        grow(&group[start..at], &below, found);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.to_owned())),
        None => (tree, None),
    };
    let path: Vec<String> = above.iter().cloned().chain(split(path)).collect();
    let path: Vec<String> = path
        .iter()
        .enumerate()
        .filter(|(at, part)| *at == 0 || *part != "self")
        .map(|(_, part)| part.clone())
        .collect();
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    found.push(Leaf { path, name, is_passed_on: false });
}

fn split(path: &str) -> impl Iterator<Item = String> {
    path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty())
}

/// The paths in code that begin at the crate or climb, `use` declarations included.
fn inline(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let path: String = code[at..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect();
            found.push(split(&path).collect());
        }
    }
    found
}

/// The code without its `use` declarations.
fn without_uses(code: &str) -> String {
    let mut is_use = false;
    let lines = code.split_inclusive('\n').filter(|line| {
        let visible = line.trim_start();
        let after = visible.strip_prefix("pub(").and_then(|rest| rest.split_once(") "));
        let item = after.map_or(visible, |(_, item)| item);
        is_use |= item.strip_prefix("pub ").unwrap_or(item).starts_with("use ");
        let skipped = is_use;
        is_use &= !line.contains(';');
        !skipped
    });
    lines.collect()
}

/// What follows a name in the paths of code that begin with it.
fn after(code: &str, name: &str) -> Vec<Vec<String>> {
    let start = format!("{name}::");
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let places = code.match_indices(&start).filter(|(at, _)| !code[..*at].ends_with(is_part));
    places
        .map(|(at, _)| {
            let rest = &code[at + start.len()..];
            split(rest.split(|c| !is_part(c)).next().unwrap_or_default()).collect()
        })
        .collect()
}

/// A path from the crate's root on.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let climbs = path.iter().take_while(|part| *part == "super").count();
    let rest = path[climbs..].iter().cloned();
    match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("self") => module.iter().cloned().chain(path[1..].iter().cloned()).collect(),
        Some("super") => {
            let above = module.len().saturating_sub(climbs);
            module[..above].iter().cloned().chain(rest).collect()
        }
        // A child of this module, or another crate: only a child is found.
        _ => module.iter().cloned().chain(rest).collect(),
    }
}

#[test]
fn reads_every_form_of_import() {
    let leaf = |path: &str, name: &str, is_passed_on| Leaf {
        path: split(path).collect(),
        name: name.to_owned(),
        is_passed_on,
    };
    let code =
        "use crate::a::{self, B as C, d::{E, F}};\npub(crate) use g::H;\n    use super::I;\n";
    assert_eq!(
        leaves(code),
        [
            leaf("crate::a", "a", false),
            leaf("crate::a::B", "C", false),
            leaf("crate::a::d::E", "E", false),
            leaf("crate::a::d::F", "F", false),
            leaf("g::H", "H", true),
            leaf("super::I", "I", false),
        ]
    );
    let paths: Vec<String> = inline("f(crate::a::B::new(), super::super::c); x::crate::d")
        .iter()
        .map(|p| p.join("::"))
        .collect();
    assert_eq!(paths, ["crate::a::B::new", "super::super::c"]);
    let defined =
        items("pub(crate) struct A;\npub const fn b() {}\nenum C {}\n    fn inner() {}\n");
    assert_eq!(defined.into_iter().collect::<Vec<_>>(), ["A", "C", "b"]);
}

#[test]
fn finds_a_circle_through_a_facade() {
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        module: path
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .split('/')
            .map(str::to_owned)
            .collect(),
        code: code.to_owned(),
    };
    let facade = source("room/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::b;\n");
    let a = source("room/a.rs", "use crate::room::b;\npub struct A;\n");
    let b = source("room/b.rs", "pub fn b() { super::A::new() }\n");
    let sources = [facade, a, b];
    assert_eq!(Imports::of(&sources).circles(), [["room/a.rs", "room/b.rs", "room/a.rs"]]);
    let [facade, a, _] = sources;
    let sources = [facade, a, source("room/b.rs", "pub fn b() {}\n")];
    assert!(Imports::of(&sources).circles().is_empty());
}
