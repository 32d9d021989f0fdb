//! The names that later sections may refer to, collected section by section.
//!
//! A reference is resolved as soon as it is read, so each section is read after those that it
//! refers to (the order is in `config::read`). Sections whose names could not be read are marked,
//! and references to them are not reported: the first fault is enough. `[[dialect]]` tables are
//! read here too.

use std::sync::Arc;

use serde::Deserialize;
use toml::de::DeValue;

use super::dialect_shape::ShapedDialect;
use super::issues::{Issue, IssueSeverity};
use super::item::SpannedValue;
use super::key_path::KeyPath;
use super::names::SectionNames;
use super::reader::TableReader;
use super::schema::ValueSchema;
use super::suggest::no_such;
use crate::dialect::{Dialect, DialectProblem, ErrorFormat, RawDialect};
use crate::settings::TokenSettings;

/// Every section of a configuration, for recognising a misspelt one.
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
    "reload",
    "route",
    "signature",
    "state",
    "store",
    "throttle",
    "token",
    "upstream",
    "users",
];

/// The names of everything that has been read so far.
pub(super) struct References {
    pub(super) token: TokenSettings,
    pub(super) users: SectionNames,
    pub(super) issuers: SectionNames,
    pub(super) signatures: SectionNames,
    pub(super) dialects: KnownDialects,
    pub(super) logins: SectionNames,
    pub(super) upstreams: SectionNames,
    pub(super) routes: SectionNames,
    /// The error form of routes that name none. It is large, so all of those routes share one.
    pub(super) problem: Arc<ErrorFormat>,
}

impl References {
    pub(super) fn new(token: TokenSettings, dialects: KnownDialects) -> Self {
        Self {
            token,
            users: SectionNames::new("user source"),
            issuers: SectionNames::new("issuer"),
            signatures: SectionNames::new("signature"),
            dialects,
            logins: SectionNames::new("login"),
            upstreams: SectionNames::new("upstream"),
            routes: SectionNames::new("route"),
            problem: ErrorFormat::problem(),
        }
    }

    /// Marks the sections that are written under a misspelt name, so that references to them are
    /// not reported as unknown. The misspelt section itself is reported by the root table, with a
    /// suggestion.
    pub(super) fn excuse(&mut self, is_misspelt: impl Fn(&str) -> bool) {
        for (section, names) in [
            ("users", &mut self.users),
            ("issuer", &mut self.issuers),
            ("signature", &mut self.signatures),
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
    is_incomplete: bool,
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
            let name = name_of(&item);
            match read_one(&item) {
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

fn name_of(item: &SpannedValue<'_>) -> Option<String> {
    let name = item.written()?.get_ref().get("name")?;
    name.get_ref().as_str().map(str::to_owned)
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
fn nearest<'a>(item: &SpannedValue<'a>, wanted: &KeyPath) -> SpannedValue<'a> {
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
    match item.written().map(toml::Spanned::get_ref) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SECTIONS;
    use crate::config;

    #[test]
    fn every_section_is_known_where_misspelt_ones_are_told() {
        let keys = config::keys();
        let found: BTreeSet<&str> =
            keys.iter().map(|key| key.split('.').next().unwrap_or_default()).collect();

        assert_eq!(found, SECTIONS.iter().copied().collect());
    }
}
