//! `docs/runbook.md` explains every message at `warn` or above, every metric and every reason of a
//! refusal, and `docs/warnings.md` every warning of `check`. They are read from the sources: one that
//! is new, changed or gone fails here until the page says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tollhouse::dialect::Reason;

use crate::harness::process::root;

/// Messages that are nothing but a text made elsewhere. The page explains them together, so a new
/// place is added here by whoever has described its texts there.
const MADE_ELSEWHERE: [&str; 4] = [
    "crates/store/src/embedded/file.rs", // a store that was restored
    "src/cli/run.rs",                    // warnings of the configuration
    "src/gateway/generation.rs",         // an issuer's key that is not used
    "src/server/keys.rs",                // a key file that is not used
];

/// The level and the text of a message, with `…` for what differs.
type Message = (&'static str, String);

#[test]
fn every_message_of_a_warning_or_an_error_is_explained_in_the_runbook() {
    let mut told = BTreeSet::new();
    let mut made_elsewhere = BTreeSet::new();
    for (file, text) in sources() {
        for (level, message) in messages(&text) {
            if !message.chars().any(char::is_alphabetic) {
                made_elsewhere.insert(file.clone());
            }
            told.insert((level, message));
        }
    }
    let explained: BTreeSet<Message> =
        rows(&page("runbook")).filter_map(|row| level_of(&row)).collect();

    assert!(told.len() > 50, "{told:?}");
    assert_same("messages", &told, &explained);
    let known = BTreeSet::from(MADE_ELSEWHERE.map(str::to_owned));
    assert_same("places of texts that are made elsewhere", &made_elsewhere, &known);
}

#[test]
fn every_metric_is_explained_in_the_runbook() {
    let telemetry = sources().into_iter().filter(|(file, _)| file.starts_with("src/telemetry/"));
    let counted: BTreeSet<String> = telemetry.flat_map(|(_, text)| metrics(&text)).collect();
    let explained: BTreeSet<String> = rows(&page("runbook"))
        .filter_map(|row| row.first().and_then(|cell| code(cell)).map(ToOwned::to_owned))
        .filter(|name| name.starts_with("tollhouse_") || name.starts_with("http_server_"))
        .map(|name| base(&name).to_owned())
        .collect();

    assert!(counted.len() > 30, "{counted:?}");
    assert_same("metrics", &counted, &explained);
}

#[test]
fn every_reason_of_a_refusal_is_explained_in_the_runbook() {
    let ours = Reason::ALL
        .iter()
        .map(|reason| (reason.code().to_owned(), reason.status().as_u16().to_string()));
    let page = page("runbook");
    let (_, refusals) = page.split_once("\n### Refusals\n").unwrap();
    let (refusals, _) = refusals.split_once("\n## ").unwrap();
    let explained =
        rows(refusals).filter_map(|row| Some((code(&row[0])?.to_owned(), row[1].clone())));

    assert_same("reasons", &ours.collect(), &explained.collect());
}

#[test]
fn every_warning_of_check_is_explained_in_the_book() {
    let names = std::fs::read_to_string(root().join("src/config/warnings.rs")).unwrap();
    let (_, names) = names.split_once("\nwarning_names! {\n").unwrap();
    let (names, _) = names.split_once("\n}\n").unwrap();
    let names = names.lines().map(|line| line.split('"').nth(1).unwrap().to_owned());
    let page = page("warnings");
    let explained = rows(&page).filter_map(|row| code(&row[0]).map(ToOwned::to_owned));

    assert_same("warnings", &names.collect(), &explained.collect());
}

#[track_caller]
fn assert_same<T: Ord + std::fmt::Debug>(what: &str, ours: &BTreeSet<T>, page: &BTreeSet<T>) {
    let missing: Vec<_> = ours.difference(page).collect();
    let gone: Vec<_> = page.difference(ours).collect();
    assert!(missing.is_empty(), "{what} that the page does not explain: {missing:#?}");
    assert!(gone.is_empty(), "{what} on the page that are not in the sources: {gone:#?}");
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(format!("docs/{name}.md"))).unwrap()
}

/// The cells of every row of a table.
fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect())
}

/// The text of a cell that is code from end to end.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn level_of(row: &[String]) -> Option<Message> {
    let level = ["WARN", "ERROR"]
        .into_iter()
        .find(|level| row.first().is_some_and(|cell| cell == level))?;
    let message = row.get(1).and_then(|cell| code(cell));
    Some((level, message.unwrap_or_else(|| panic!("no message: {row:?}")).to_owned()))
}

/// Every source of the program and its libraries, by its path in the repository, without its tests.
fn sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in ["src", "crates"] {
        collect(&root().join(folder), &mut paths);
    }
    let named = paths.into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let tested = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        (file, text[..tested].to_owned())
    });
    named.filter(|(file, _)| !file.contains("tests")).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") {
            paths.push(path);
        }
    }
}

/// Every message at `warn` and `error` in a source: the last text of the macro that is no argument
/// of another.
fn messages(source: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    for (level, start) in [("WARN", "warn!("), ("ERROR", "error!(")] {
        for (at, _) in source.match_indices(start) {
            let before = source[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let (_, after) = source.split_at(at + start.len());
            let text = message(after).unwrap_or_else(|| panic!("a {start} without a text"));
            messages.push((level, text));
        }
    }
    messages
}

/// The message of a macro, of which `rest` is what follows its parenthesis.
fn message(rest: &str) -> Option<String> {
    let mut depth = 1;
    let mut chars = rest.chars();
    let mut last = None;
    while depth > 0 {
        match chars.next()? {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            '"' => {
                let text = literal(&mut chars)?;
                if depth == 1 {
                    last = Some(text);
                }
            }
            _ => {}
        }
    }
    last.map(|text| without_values(&text))
}

/// A string literal, of which the opening quote has been read.
fn literal(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                // A line that goes on in the next one.
                '\n' => *chars = chars.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
}

/// The text with `…` for every `{placeholder}`.
fn without_values(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push('…');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// The names under which metrics are registered, without prefix and unit.
fn metrics(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |text: &str| {
        let name = text.trim_start().strip_prefix('"').and_then(|text| text.split_once('"'));
        names.extend(name.map(|(name, _)| name.to_owned()));
    };
    for start in [".register(", ".register_with_unit("] {
        for (at, _) in source.match_indices(start) {
            add(&source[at + start.len()..]);
        }
    }
    // Rows of a list: a name, then a help that begins with a capital letter.
    for line in source.lines() {
        let row = line.trim_start().strip_prefix('(');
        let is_metric = row
            .and_then(|row| row.split("\", \"").nth(1))
            .is_some_and(|help| help.starts_with(|c: char| c.is_ascii_uppercase()));
        if let Some(row) = row.filter(|_| is_metric) {
            add(row);
        }
    }
    names
}

/// The name of a metric as it is registered: what comes with its type, unit and prefix is left out.
fn base(exposed: &str) -> &str {
    let name = exposed.strip_prefix("tollhouse_").unwrap_or(exposed);
    ["_total", "_seconds", "_info"]
        .into_iter()
        .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name))
}
