//! The walls of the house: who may import whom, who writes a status, how long a file may get.
//!
//! The table of tiers is the one in the crate doc, so that the doc cannot lie.

mod circles;
mod cited_paths;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file that is longer is about more than one thing. Comments count: they are a third of a file
/// that explains itself.
const MOST_LINES: usize = 480;

/// Who writes a status of our own; everybody else says a reason.
const WRITES_A_STATUS: [&str; 4] = ["rejection", "answer", "dialect", "admin"];

/// Who reads one: the upstream's, or whether a connection has become a tunnel.
const READS_A_STATUS: [&str; 2] = ["upstream", "listener"];

#[test]
fn imports_point_down_only() {
    let tiers = tiers();
    let ground = tiers.values().max().copied().unwrap();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = module_of(&path);
        // The two roots only name modules.
        if matches!(from.as_str(), "lib" | "main") {
            continue;
        }
        for to in imports(&text) {
            let tier = |name: &String| {
                *tiers.get(name).unwrap_or_else(|| panic!("`{name}` is in no tier of src/lib.rs"))
            };
            let (own, other) = (tier(&from), tier(&to));
            let down = other > own || (own == ground && other == ground);
            if to != from && !down {
                faults.push(format!("{}: `{from}` imports `{to}`", path.display()));
            }
        }
    }

    assert!(faults.is_empty(), "imports that do not point down:\n{}", faults.join("\n"));
}

#[test]
fn every_module_is_in_the_map() {
    let tiers = tiers();
    for (path, _) in sources() {
        let module = module_of(&path);

        let known = matches!(module.as_str(), "lib" | "main") || tiers.contains_key(&module);

        assert!(known, "`{module}` is missing in the table of src/lib.rs");
    }
}

#[test]
fn no_file_is_about_everything() {
    for (path, text) in sources() {
        let lines = text.lines().count();

        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn a_status_is_written_in_few_places() {
    for (path, text) in sources() {
        let module = module_of(&path);
        if WRITES_A_STATUS.contains(&module.as_str()) {
            continue;
        }
        let code: Vec<&str> = code(&text).collect();
        for line in &code {
            assert!(
                !line.contains("status_mut()") && !line.contains(".status(StatusCode"),
                "{} writes a status: {line}",
                path.display()
            );
        }
        let names_one = code.iter().any(|line| line.contains("StatusCode::"));
        assert!(
            !names_one || READS_A_STATUS.contains(&module.as_str()),
            "{} knows status codes: say a reason",
            path.display()
        );
    }
}

#[test]
fn only_the_command_line_prints() {
    for (path, text) in sources() {
        if matches!(module_of(&path).as_str(), "cli" | "main") {
            continue;
        }
        for word in ["println!", "eprintln!", "anyhow"] {
            let found = code(&text).find(|line| line.contains(word));
            assert_eq!(found, None, "{}: {word}", path.display());
        }
    }
}

/// Every module with the number of its row in the crate doc.
fn tiers() -> BTreeMap<String, usize> {
    let doc = std::fs::read_to_string(root().join("lib.rs")).unwrap();
    let rows = doc.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows = rows.filter(|row| row.contains('`'));
    let mut tiers = BTreeMap::new();
    for (number, row) in rows.enumerate() {
        let modules = row.split_once("| ").unwrap().1;
        // What modules do comes after their names and a colon.
        let names = modules.split(':').next().unwrap();
        for name in quoted(names) {
            tiers.insert(name, number);
        }
    }
    assert!(tiers.len() > 20, "the table was found: {tiers:?}");
    tiers
}

fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The modules behind every `crate::`, inside a `use crate::{…}` too.
fn imports(text: &str) -> Vec<String> {
    let code: String = code(text).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code.get(at + "crate::".len()..).unwrap();
        assert!(!rest.starts_with('{'), "write one `use crate::module` a line");
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        found.push(name);
    }
    found
}

/// Lines without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap())
}

/// The module of the crate that a file belongs to.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of the program and of its libraries, as if they were one crate: a library's files have
/// the path of the module that the program knows them by, and its paths begin at the program.
fn sources() -> Vec<(PathBuf, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut found = files_below(&root());
    for (path, text) in files_below(&crates.join("core/src")) {
        found.push((root().join(path.strip_prefix(crates.join("core/src")).unwrap()), text));
    }
    for (library, module) in [("dialect", "dialect"), ("store", "session")] {
        let folder = crates.join(library).join("src");
        for (path, text) in files_below(&folder) {
            let below = path.strip_prefix(&folder).unwrap();
            let below = if below == Path::new("lib.rs") { Path::new("mod.rs") } else { below };
            let text = text.replace("crate::", &format!("crate::{module}::"));
            let text = text.replace("tollhouse_core::", "crate::");
            found.push((root().join(module).join(below), text));
        }
    }
    found
}

fn files_below(root: &Path) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}
