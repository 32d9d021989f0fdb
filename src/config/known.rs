//! What later sections may refer to, filled section by section.

use std::sync::Arc;

use serde::Deserialize;
use toml::de::DeValue;

use super::dialect_shape::ShapedDialect;
use super::issues::{Issue, KeyPath, Severity};
use super::item::Item;
use super::reader::Table;
use super::suggest::{Names, no_such};
use super::token::Token;
use crate::dialect::{Dialect, ErrorForm, Problem, RawDialect};

/// Every section, to tell a misspelt one from another.
pub(super) const SECTIONS: &[&str] = &[
    "admin",
    "api_key",
    "api_keys",
    "client_certificate",
    "dialect",
    "health",
    "issuer",
    "listener",
    "log",
    "login",
    "login_limits",
    "mail",
    "process",
    "route",
    "state",
    "store",
    "throttle",
    "token",
    "upstream",
    "users",
];

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

    /// Nothing is said of references into a section that stands under a misspelt name.
    pub(super) fn excuse(&mut self, is_misspelt: impl Fn(&str) -> bool) {
        for (section, names) in [
            ("users", &mut self.users),
            ("issuer", &mut self.issuers),
            ("login", &mut self.logins),
            ("upstream", &mut self.upstreams),
            ("route", &mut self.routes),
        ] {
            if is_misspelt(section) {
                names.excuse();
            }
        }
        self.dialects.is_incomplete = is_misspelt("dialect");
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
    /// Some stand under a misspelt name.
    is_incomplete: bool,
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
        if found.is_none()
            && !self.is_incomplete
            && !self.broken.iter().any(|broken| broken == name)
        {
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
    let shaped = ShapedDialect::read(item);
    let raw = match RawDialect::deserialize(shaped.table.clone()) {
        Ok(raw) => raw,
        // Invariant: what has the shape of a dialect is one as written.
        Err(error) => {
            item.issue(error.message().to_owned());
            return None;
        }
    };
    match Dialect::check(raw) {
        Ok(dialect) if shaped.is_whole() => {
            // Invariant: what became a `RawDialect` becomes a table too.
            let table = toml::Table::deserialize(item.deserializer()).unwrap_or_default();
            Some(OwnDialect { dialect: Arc::new(dialect), table })
        }
        Ok(_) => None,
        Err(problems) => {
            report(item, &shaped, problems);
            None
        }
    }
}

fn report(item: &Item<'_>, shaped: &ShapedDialect, problems: Vec<Problem>) {
    let paths = problems.into_iter().map(|problem| (item.at().below(&problem.path), problem));
    for (path, problem) in paths.filter(|(path, _)| !shaped.excuses(path)) {
        let found = nearest(item, &path);
        // As it stands in the file, where that is what the problem is about.
        let value = if *found.at() == path && !problem.value.is_empty() {
            found.shown()
        } else {
            problem.value
        };
        let (position, remedy) = (Some(found.position()), problem.message);
        item.reading().add(Issue { position, path, value, remedy, severity: Severity::Error });
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SECTIONS;
    use crate::config::Config;

    #[test]
    fn every_section_is_known_where_misspelt_ones_are_told() {
        let keys = Config::keys();
        let found: BTreeSet<&str> =
            keys.iter().map(|key| key.split('.').next().unwrap_or_default()).collect();

        assert_eq!(found, SECTIONS.iter().copied().collect());
    }
}
