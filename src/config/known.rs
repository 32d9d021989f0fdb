//! What later sections may refer to, filled section by section.

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::issues::{Issue, KeyPath, Severity};
use super::item::Item;
use super::reader::Table;
use super::suggest::{Names, no_such};
use super::token::Token;
use crate::dialect::{Dialect, ErrorForm, RawDialect};

/// Names of everything that was read so far.
pub(super) struct Known {
    pub(super) token: Token,
    pub(super) users: Names,
    pub(super) issuers: Names,
    pub(super) dialects: Dialects,
    pub(super) logins: Names,
    pub(super) upstreams: Names,
    pub(super) routes: Names,
    /// The form of routes that name none: one for all of them, it is large.
    pub(super) problem: Arc<ErrorForm>,
}

impl Known {
    pub(super) fn new(token: Token, dialects: Dialects) -> Self {
        Self {
            token,
            users: Names::new("user source"),
            issuers: Names::new("issuer"),
            dialects,
            logins: Names::new("login"),
            upstreams: Names::new("upstream"),
            routes: Names::new("route"),
            problem: ErrorForm::problem(),
        }
    }
}

/// A `[[dialect]]` of the configuration.
#[derive(Clone, Debug)]
pub struct OwnDialect {
    pub dialect: Arc<Dialect>,
    /// Its table, for printing.
    pub table: toml::Table,
}

/// The dialects a configuration may name: its own, then the built-in ones.
#[derive(Default)]
pub(super) struct Dialects {
    pub(super) own: Vec<OwnDialect>,
    /// Names of those with problems, so that references to them are not reported as well.
    broken: Vec<String>,
}

impl Dialects {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let mut dialects = Self::default();
        let Some(item) = root.get("dialect") else { return dialects };
        if item.is_table() {
            item.issue("may stand several times: write [[dialect]]");
            return dialects;
        }
        for item in item.list().unwrap_or_default() {
            let name = name_of(&item);
            match read_one(&item) {
                Some(own)
                    if dialects.own.iter().any(|other| other.dialect.name == own.dialect.name) =>
                {
                    item.issue(format!("\"{}\" is the name of another dialect", own.dialect.name));
                }
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

    /// The dialect that `item` names.
    pub(super) fn refer(&self, item: &Item<'_>) -> Option<Arc<Dialect>> {
        let name = item.text()?;
        if let Some(own) = self.own.iter().find(|own| own.dialect.name == name) {
            return Some(Arc::clone(&own.dialect));
        }
        let found = Dialect::builtin(name);
        if found.is_none() && !self.broken.iter().any(|broken| broken == name) {
            let own = self.own.iter().map(|own| own.dialect.name.as_str());
            let own = own.chain(self.broken.iter().map(String::as_str));
            let names = own.chain(Dialect::builtin_names().iter().copied());
            item.issue(no_such("dialect", name, names));
        }
        found
    }
}

fn name_of(item: &Item<'_>) -> Option<String> {
    let name = item.value().get_ref().get("name")?;
    name.get_ref().as_str().map(str::to_owned)
}

fn read_one(item: &Item<'_>) -> Option<OwnDialect> {
    let reading = item.reading();
    let raw = match RawDialect::deserialize(item.deserializer()) {
        Ok(raw) => raw,
        Err(error) => {
            let span = error.span().unwrap_or_else(|| item.value().span());
            let (path, value) = (deepest(item, &span), String::new());
            let (line, remedy) = (Some(reading.line(&span)), error.message().to_owned());
            reading.add(Issue { line, path, value, remedy, severity: Severity::Error });
            return None;
        }
    };
    match Dialect::check(raw) {
        Ok(dialect) => {
            // Invariant: what became a `RawDialect` becomes a table too.
            let table = toml::Table::deserialize(item.deserializer()).unwrap_or_default();
            Some(OwnDialect { dialect: Arc::new(dialect), table })
        }
        Err(problems) => {
            for problem in problems {
                let path = item.at().below(&problem.path);
                let found = nearest(item, &path);
                // As it stands in the file, where that is what the problem is about.
                let value = if *found.at() == path && !problem.value.is_empty() {
                    found.shown()
                } else {
                    problem.value
                };
                let (line, remedy) = (Some(found.line()), problem.message);
                reading.add(Issue { line, path, value, remedy, severity: Severity::Error });
            }
            None
        }
    }
}

/// The innermost key or value around a place, by its key path.
fn deepest(item: &Item<'_>, span: &Range<usize>) -> KeyPath {
    let mut found = (usize::MAX, item.at().clone());
    let mut left = vec![item.clone()];
    while let Some(item) = left.pop() {
        let spans = keys(&item).map(|(key, at)| (key.span(), at));
        let value = std::iter::once((item.value().span(), item.at().clone()));
        for (outer, at) in value.chain(spans) {
            if outer.start <= span.start && span.end <= outer.end && outer.len() < found.0 {
                found = (outer.len(), at);
            }
        }
        left.extend(children(&item));
    }
    found.1
}

fn keys<'a>(item: &Item<'a>) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, KeyPath)> {
    let at = item.at().clone();
    let keys = item.value().get_ref().as_table().into_iter().flat_map(|entries| entries.keys());
    keys.map(move |key| (key, at.key(key.get_ref())))
}

/// The value at a key path below `item`, or the last one on the way to it that is there.
fn nearest<'a>(item: &Item<'a>, wanted: &KeyPath) -> Item<'a> {
    let mut found = item.clone();
    let leads = |item: &Item<'_>| {
        let rest = wanted.as_str().strip_prefix(item.at().as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    while let Some(inner) = children(&found).into_iter().find(leads) {
        found = inner;
    }
    found
}

fn children<'a>(item: &Item<'a>) -> Vec<Item<'a>> {
    let (reading, at) = (item.reading(), item.at());
    match item.value().get_ref() {
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| Item::new(reading, at.key(key.get_ref()), value))
            .collect(),
        DeValue::Array(list) => list
            .iter()
            .enumerate()
            .map(|(number, value)| Item::new(reading, at.index(number), value))
            .collect(),
        _ => Vec::new(),
    }
}
