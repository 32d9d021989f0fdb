//! Files of one room that import each other in a circle.
//!
//! A circle cannot be read from one end: to understand one of its files, a reader needs all of
//! them. Imports by `crate::`, `self::` and `super::` are read, and a name that a module re-exports
//! is followed to the file that defines it. A room's root file may be imported by its files: it
//! holds what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, root, sources};

/// A module as the names on its path.
type ModulePath = Vec<String>;

#[test]
fn files_of_a_room_import_each_other_in_one_direction() {
    let imports = Imports::read();
    let edges = imports.edges();

    let mut circles = BTreeSet::new();
    for module in edges.keys() {
        let reached = reachable(&edges, module);
        if reached.contains(module) {
            let circle = reached.iter().filter(|other| reachable(&edges, other).contains(module));
            let names: Vec<String> = circle.map(|path| path.join("::")).collect();
            circles.insert(names.join(", "));
        }
    }

    let circles: Vec<String> = circles.into_iter().collect();
    assert!(circles.is_empty(), "files that import each other:\n{}", circles.join("\n"));
}

fn reachable<'e>(
    edges: &'e BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    from: &ModulePath,
) -> BTreeSet<&'e ModulePath> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&ModulePath> = edges.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(edges.get(module).into_iter().flatten());
        }
    }
    found
}

/// The modules of the crate, and what each brings into scope.
struct Imports {
    texts: BTreeMap<ModulePath, String>,
    /// By module and name: where the name comes from.
    names: BTreeMap<(ModulePath, String), ModulePath>,
}

/// One path of a `use`, and whether others may use it from here.
struct UsedPath {
    path: ModulePath,
    name: String,
    is_public: bool,
}

impl Imports {
    fn read() -> Self {
        let mut texts = BTreeMap::new();
        for (path, text) in sources() {
            let module = module_path(&path);
            if ["lib", "main"].contains(&module[0].as_str()) {
                continue;
            }
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            texts.insert(module, code(&text[..end]).collect::<Vec<_>>().join("\n"));
        }
        let mut imports = Self { texts, names: BTreeMap::new() };
        let mut names = BTreeMap::new();
        for module in imports.texts.keys() {
            for used in imports.uses(module) {
                names.insert((module.clone(), used.name), used.path);
            }
        }
        imports.names = names;
        imports
    }

    /// For each module the modules of its room that it needs.
    fn edges(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let mut edges: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (module, text) in &self.texts {
            let uses = self.uses(module).into_iter().filter(|used| !used.is_public);
            let mut needed: Vec<ModulePath> = uses.map(|used| used.path).collect();
            needed.extend(
                paths_in(&without_uses(text)).filter_map(|path| self.absolute(module, &path)),
            );
            for path in needed {
                let Some(target) = self.defined_in(path, 0) else { continue };
                let is_shared = module.starts_with(&target);
                if target[0] == module[0] && !is_shared {
                    edges.entry(module.clone()).or_default().insert(target);
                }
            }
        }
        edges
    }

    fn uses(&self, module: &ModulePath) -> Vec<UsedPath> {
        let mut used = Vec::new();
        for (is_public, tree) in use_trees(&self.texts[module]) {
            for path in flatten(&tree) {
                let (path, name) = match path.split_once(" as ") {
                    Some((path, name)) => (path.to_owned(), name.trim().to_owned()),
                    None => (path.clone(), path.rsplit("::").next().unwrap().to_owned()),
                };
                if let Some(path) = self.absolute(module, &path) {
                    used.push(UsedPath { path, name, is_public });
                }
            }
        }
        used
    }

    /// The path from the crate's root, of a path that is about this crate.
    fn absolute(&self, module: &ModulePath, path: &str) -> Option<ModulePath> {
        let mut parts: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
        let mut base = module.clone();
        match parts[0].as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                while parts.get(1).is_some_and(|part| part == "super") {
                    parts.remove(0);
                    base.pop();
                }
                base.pop();
            }
            first => {
                let child: ModulePath = base.iter().cloned().chain([first.to_owned()]).collect();
                self.texts.get(&child)?;
                base = child;
            }
        }
        base.extend(parts.into_iter().skip(1));
        Some(base)
    }

    /// The module that defines what `path` names, through re-exports.
    fn defined_in(&self, path: ModulePath, depth: usize) -> Option<ModulePath> {
        let length =
            (1..=path.len()).rev().find(|length| self.texts.contains_key(&path[..*length]))?;
        let module = path[..length].to_vec();
        let Some(name) = path.get(length) else { return Some(module) };
        match self.names.get(&(module.clone(), name.clone())) {
            Some(origin) if depth < 8 && *origin != path => {
                let rest = path[length + 1..].iter().cloned();
                self.defined_in(origin.iter().cloned().chain(rest).collect(), depth + 1)
            }
            _ => Some(module),
        }
    }
}

fn module_path(path: &Path) -> ModulePath {
    let below = path.strip_prefix(root()).unwrap().with_extension("");
    let parts = below.components().map(|part| part.as_os_str().to_str().unwrap().to_owned());
    let mut parts: ModulePath = parts.collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The text between `use` and `;` of every import, and whether it is re-exported.
fn use_trees(text: &str) -> Vec<(bool, String)> {
    let mut trees = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rsplit('\n').next().unwrap().trim();
        let is_public = line.starts_with("pub");
        let starts_line = line.is_empty() || (is_public && !line.contains(' '));
        let after = &rest[at + "use ".len()..];
        let end = after.find(';').unwrap_or(after.len());
        if starts_line {
            trees.push((is_public, after[..end].split_whitespace().collect::<Vec<_>>().join(" ")));
            rest = &after[end..];
        } else {
            rest = after;
        }
    }
    trees
}

fn without_uses(text: &str) -> String {
    let mut kept = String::new();
    let mut is_use = false;
    for line in text.lines() {
        let start = line.trim_start();
        is_use |=
            start.starts_with("use ") || (start.starts_with("pub") && start.contains(" use "));
        if !is_use {
            kept.push_str(line);
            kept.push('\n');
        }
        is_use &= !line.contains(';');
    }
    kept
}

/// Every path of a tree like `super::{a, b::{C, D}}`.
fn flatten(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = inner.rsplit_once('}').unwrap().0;
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(|part| flatten(&format!("{}{part}", prefix.trim()))).collect()
}

/// Paths that begin at the crate, at this module or above it.
fn paths_in(text: &str) -> impl Iterator<Item = String> {
    let is_path = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    text.split(move |letter| !is_path(letter))
        .filter(|word| ["crate::", "self::", "super::"].iter().any(|start| word.starts_with(start)))
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect::<Vec<_>>()
        .into_iter()
}
