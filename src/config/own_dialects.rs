//! `[[dialect]]`: the dialects that a configuration defines, in `gateway.toml` or in files of their own.
//!
//! `dialect_shape` checks the keys and types, and the library `crate::dialect` the meaning. Problems
//! of both are reported together, each at its position. `references` reads all dialects before the
//! logins and routes that name them.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::dialect_keys::FILE;
use super::dialect_shape::ShapedDialect;
use super::document::Document;
use super::files::FilePrivacy;
use super::issues::{Issue, IssueSeverity};
use super::item::SpannedValue;
use super::key_path::KeyPath;
use super::reader::TableReader;
use super::schema::ValueSchema;
use super::suggest::no_such;
use crate::dialect::{Dialect, DialectProblem, RawDialect};

/// A dialect that the configuration defines, in `[[dialect]]`.
#[derive(Clone, Debug)]
pub(super) struct OwnDialect {
    dialect: Arc<Dialect>,
    /// The table as written, for `check --print`.
    pub(super) table: toml::Table,
}

/// The dialects that a configuration may name: those it defines, then the built-in ones.
#[derive(Default)]
pub(super) struct KnownDialects {
    pub(super) own: Vec<OwnDialect>,
    /// Names of dialects with problems, so that references to them are not reported in addition.
    broken: Vec<String>,
    /// Some dialects are written under a misspelt section name.
    pub(super) is_incomplete: bool,
}

impl KnownDialects {
    pub(super) fn read(root: &mut TableReader<'_>) -> Self {
        let mut dialects = Self::default();
        let Some(item) = root.get("dialect") else { return dialects };
        // A recorded reading does not go into a dialect: its keys are in a table of their own.
        if item.is_probe() {
            for item in item.list().unwrap_or_default() {
                item.record(ValueSchema::Dialect);
            }
            return dialects;
        }
        if item.is_table() {
            item.issue("may stand several times: write [[dialect]]");
            return dialects;
        }
        for item in item.list().unwrap_or_default() {
            // The name is read apart from the dialect: if the dialect is faulty, its name is still
            // needed to excuse references to it. Otherwise one fault in a dialect would be followed
            // by one message for each login that uses it.
            let (name, read) = match file_of(&item) {
                Some(file) => read_file(&item, &file),
                None => (name_of(&item), read_one(&item)),
            };
            match read {
                Some(own)
                    if dialects.own.iter().any(|other| other.dialect.name == own.dialect.name) =>
                {
                    item.issue(format!("\"{}\" is the name of another dialect", own.dialect.name));
                }
                // An own dialect must not replace a built-in one: a reader of the file would take
                // it for the documented one. Two logins named `native` in two files should always
                // speak the same dialect.
                Some(own) if Dialect::builtin(&own.dialect.name).is_some() => {
                    item.issue(format!(
                        "\"{}\" is built in: choose another name",
                        own.dialect.name
                    ));
                }
                Some(own) => dialects.own.push(own),
                None => dialects.broken.extend(name),
            }
        }
        dialects
    }

    /// The dialect that `item` names. An unknown name is reported, unless the dialect of that name
    /// is faulty or the dialects are incomplete. Own dialects are searched first; their names never
    /// equal those of built-in ones.
    /// A probe is each of the built-in dialects in turn.
    pub(super) fn refer(&self, item: &SpannedValue<'_>) -> Option<Arc<Dialect>> {
        let builtin: Vec<&str> = Dialect::builtin_names().collect();
        if let Some(answer) = item.decide("which dialect?", builtin.len()) {
            let names = builtin.iter().map(|name| (*name).to_owned()).collect();
            item.record(ValueSchema::Reference { what: "dialect", builtin: names });
            return builtin.get(answer).and_then(|name| Dialect::builtin(name));
        }
        let name = item.string()?;
        if let Some(own) = self.own.iter().find(|own| own.dialect.name == name) {
            return Some(Arc::clone(&own.dialect));
        }
        let found = Dialect::builtin(name);
        if found.is_none()
            && !self.is_incomplete
            && !self.broken.iter().any(|broken| broken == name)
        {
            let own = self.own.iter().map(|own| own.dialect.name.as_str());
            let own = own.chain(self.broken.iter().map(String::as_str));
            let builtin: Vec<&str> = Dialect::builtin_names().collect();
            let names = own.chain(builtin.iter().copied());
            item.issue(no_such("dialect", name, names));
        }
        found
    }
}

/// The key `file` of a dialect that is in a file of its own.
fn file_of<'a>(item: &SpannedValue<'a>) -> Option<SpannedValue<'a>> {
    children(item).into_iter().find(|child| *child.at() == item.at().key(FILE.name))
}

fn name_of(item: &SpannedValue<'_>) -> Option<String> {
    let name = item.written()?.get_ref().get("name")?;
    name.get_ref().as_str().map(str::to_owned)
}

/// Reads a dialect that is in a file of its own. Problems in there are reported at `file`, each with
/// its own line and key path.
fn read_file(
    item: &SpannedValue<'_>,
    file: &SpannedValue<'_>,
) -> (Option<String>, Option<OwnDialect>) {
    let others = children(item).into_iter().filter(|child| child.at() != file.at());
    for other in others {
        other.issue("cannot stand beside `file`, which has the whole dialect");
    }
    let Some((path, text)) = file.read_text(FilePrivacy::Public) else { return (None, None) };
    let root = match DeTable::parse(&text) {
        Ok(root) => root,
        Err(error) => {
            file.issue(format!("is no TOML: {}", error.message()));
            return (None, None);
        }
    };
    let span = root.span();
    let root = Spanned::new(span, DeValue::Table(root.into_inner()));
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let reading = Document::new(&text, folder, &|_| None);
    let dialect = SpannedValue::new(&reading, KeyPath::default(), &root);
    let name = name_of(&dialect);
    let read = read_one(&dialect);
    for issue in reading.into_findings().issues {
        let line = issue.position.map_or(1, |position| position.line);
        let value =
            if issue.value.is_empty() { String::new() } else { format!(" {}", issue.value) };
        file.issue(format!("line {line}: {}{value}: {}", issue.path, issue.remedy));
    }
    (name, read)
}

fn read_one(item: &SpannedValue<'_>) -> Option<OwnDialect> {
    let shaped = ShapedDialect::read(item);
    let raw = match RawDialect::deserialize(shaped.table.clone()) {
        Ok(raw) => raw,
        // Invariant: a table that passed `ShapedDialect` has the types of a `RawDialect`. This
        // branch is therefore not reached by a configuration, and reports rather than panics. If
        // the two ever disagree, the operator sees the library's message at the line of the
        // dialect.
        Err(error) => {
            item.issue(error.message().to_owned());
            return None;
        }
    };
    match Dialect::check(raw) {
        Ok(dialect) if shaped.is_whole() => {
            // Invariant: a value that was read as a `RawDialect` can be read as a TOML table too.
            let table: toml::Table = item.deserialize().unwrap_or_default();
            Some(OwnDialect { dialect: Arc::new(dialect), table })
        }
        Ok(_) => None,
        Err(problems) => {
            report(item, &shaped, problems);
            None
        }
    }
}

/// Reports the problems of a dialect at their positions in the file.
fn report(item: &SpannedValue<'_>, shaped: &ShapedDialect, problems: Vec<DialectProblem>) {
    let paths = problems.into_iter().map(|problem| (item.at().below(&problem.path), problem));
    for (path, problem) in paths.filter(|(path, _)| !shaped.excuses(path)) {
        let found = nearest(item, &path);
        // The value is quoted as it is in the file, if the problem is about exactly this key.
        let value = if *found.at() == path && !problem.value.is_empty() {
            found.shown()
        } else {
            problem.value
        };
        let position = Some(found.position());
        let remedy = problem.message;
        item.reading().add(Issue { position, path, value, remedy, severity: IssueSeverity::Error });
    }
}

/// The item at a key path below `item`. If the path does not exist, the last item on the way to it,
/// so that a message about a missing key still has a line. Such a message then points to the table
/// in which the key should be.
pub(super) fn nearest<'a>(item: &SpannedValue<'a>, wanted: &KeyPath) -> SpannedValue<'a> {
    let mut found = item.clone();
    let leads = |item: &SpannedValue<'_>| {
        // The rest of the path has to begin with a separator: `reply` is no part of the way to
        // `replies`.
        let rest = wanted.as_str().strip_prefix(item.at().as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    while let Some(inner) = children(&found).into_iter().find(leads) {
        found = inner;
    }
    found
}

fn children<'a>(item: &SpannedValue<'a>) -> Vec<SpannedValue<'a>> {
    let reading = item.reading();
    let at = item.at();
    match item.written().map(Spanned::get_ref) {
        Some(DeValue::Table(entries)) => entries
            .iter()
            .map(|(key, value)| SpannedValue::new(reading, at.key(key.get_ref()), value))
            .collect(),
        Some(DeValue::Array(list)) => list
            .iter()
            .enumerate()
            .map(|(number, value)| SpannedValue::new(reading, at.index(number), value))
            .collect(),
        _ => Vec::new(),
    }
}
