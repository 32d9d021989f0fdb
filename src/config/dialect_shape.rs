//! Checks the keys of a `[[dialect]]` and the types of their values.
//!
//! The table of keys is in `dialect_keys`. A dialect is read as a whole by `crate::dialect`, which knows the meaning of the values but not
//! their position in the file. Here every key that is unknown, missing or of the wrong type is
//! reported first, with line and path. The rest of the dialect can then still be checked for its
//! meaning, so that one reading finds all problems. `ShapedDialect::excuses` tells which of the
//! later findings would only be consequences of the first ones.

use toml::Spanned;
use toml::de::{DeString, DeTable};
use toml::{Table, Value};

use super::dialect_keys::{DIALECT, ENDPOINT};
use super::issues::{Issue, IssueSeverity};
use super::item::SpannedValue;
use super::key_path::KeyPath;
use super::key_shape::{KeyShape, ValueShape};
use super::suggest::did_you_mean;
use crate::dialect::MemberPath;

/// A dialect without the parts whose type is wrong.
pub(super) struct ShapedDialect {
    /// The remaining keys and values.
    pub(super) table: Table,
    /// Key paths that were reported, or whose absence would be a consequence of a report.
    reported: Vec<KeyPath>,
}

impl ShapedDialect {
    /// Reports every key of the dialect `item` that is unknown, missing or of the wrong type.
    pub(super) fn read(item: &SpannedValue<'_>) -> Self {
        let mut shaped = Self { table: Table::new(), reported: Vec::new() };
        let Some(entries) = shaped.entries(item) else { return shaped };
        let (mut table, _) = shaped.keys(item, entries, DIALECT);
        // Without a name the dialect could not be checked further; the stand-in keeps the other
        // findings. They are reported beside the missing name, so that one run shows them all.
        table.entry("name").or_insert_with(|| Value::String("unnamed".to_owned()));
        shaped.table = table;
        shaped
    }

    /// True if nothing was reported.
    pub(super) fn is_whole(&self) -> bool {
        self.reported.is_empty()
    }

    /// True if a finding at `path` is a consequence of something that was reported already.
    pub(super) fn excuses(&self, path: &KeyPath) -> bool {
        let path = path.as_str();
        self.reported.iter().map(KeyPath::as_str).any(|reported| {
            let rest = path.strip_prefix(reported);
            let is_within =
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            // A finding about all endpoints together, such as a missing step, may be caused by the
            // faulty one. The faulty endpoint may be the one with that step, but its step could not
            // be read.
            is_within || (path.ends_with(".endpoint") && reported.starts_with(path))
        })
    }

    /// The value without its faulty parts; `None` if nothing usable is left.
    fn prune(&mut self, item: &SpannedValue<'_>, shape: &ValueShape) -> Option<Value> {
        let value = match shape {
            ValueShape::Text | ValueShape::Duration => {
                item.string().map(|text| Value::String(text.to_owned()))
            }
            ValueShape::Flag => item.bool().map(Value::Boolean),
            ValueShape::Number(least, most) => item.number(*least..=*most).and_then(|number| {
                let number = i64::try_from(number).ok()?;
                Some(Value::Integer(number))
            }),
            ValueShape::Free => item.deserialize(),
            ValueShape::Member => member(item),
            ValueShape::Choice(names) => {
                let choices: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
                item.choice(&choices).map(|name| Value::String(name.to_owned()))
            }
            ValueShape::Choices(names) => {
                let inner = ValueShape::Choice(names);
                return if item.is_text() {
                    self.prune(item, &inner)
                } else {
                    self.list(item, &inner)
                };
            }
            ValueShape::List(inner) => return self.list(item, inner),
            ValueShape::Endpoints => return self.endpoints(item),
            ValueShape::TextOr(_) if !item.is_table() => {
                return self.prune(item, &ValueShape::Text);
            }
            ValueShape::MemberOr(_) if !item.is_table() => {
                return self.prune(item, &ValueShape::Member);
            }
            ValueShape::ChoiceOr(words, _) if !item.is_table() => {
                return self.prune(item, &ValueShape::Choice(words));
            }
            ValueShape::Keys(keys)
            | ValueShape::TextOr(keys)
            | ValueShape::ChoiceOr(_, keys)
            | ValueShape::MemberOr(keys) => {
                let entries = self.entries(item)?;
                let (table, is_complete) = self.keys(item, entries, keys);
                return is_complete.then_some(Value::Table(table));
            }
            ValueShape::Map(inner) => return self.map(item, inner),
            ValueShape::OneOf(keys) => return self.one_of(item, keys),
        };
        if value.is_none() {
            self.reported.push(item.at().clone());
        }
        value
    }

    fn list(&mut self, item: &SpannedValue<'_>, shape: &ValueShape) -> Option<Value> {
        let Some(items) = item.list() else {
            self.reported.push(item.at().clone());
            return None;
        };
        let values: Vec<_> = items.iter().map(|item| self.prune(item, shape)).collect();
        let whole: Option<Vec<_>> = values.into_iter().collect();
        if whole.is_none() {
            // Removing one element would change the numbers of the others, so the whole list is
            // left out. A finding about a later element would otherwise point to the wrong line.
            self.reported.push(item.at().clone());
        }
        whole.map(Value::Array)
    }

    fn endpoints(&mut self, item: &SpannedValue<'_>) -> Option<Value> {
        let items = if item.is_table() {
            item.issue("may stand several times: write [[dialect.endpoint]]");
            None
        } else {
            item.list()
        };
        let Some(items) = items else {
            self.reported.push(item.at().clone());
            return None;
        };
        let shape = ValueShape::Keys(ENDPOINT);
        // Faulty endpoints are replaced by a stand-in, because findings name endpoints by their
        // number.
        let mut values = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            values.push(self.prune(item, &shape).unwrap_or_else(|| {
                self.reported.push(item.at().clone());
                stand_in(number)
            }));
        }
        Some(Value::Array(values))
    }

    fn map(&mut self, item: &SpannedValue<'_>, shape: &ValueShape) -> Option<Value> {
        let entries = self.entries(item)?;
        let mut table = Table::new();
        for (key, value) in entries {
            let item = SpannedValue::new(item.reading(), item.at().key(key.get_ref()), value);
            let value = self.prune(&item, shape);
            table.extend(value.map(|value| (key.get_ref().to_string(), value)));
        }
        Some(Value::Table(table))
    }

    /// Reads a table with exactly one of these keys.
    fn one_of(&mut self, item: &SpannedValue<'_>, keys: &'static [KeyShape]) -> Option<Value> {
        let known = || keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        let entries = item.written().and_then(|value| value.get_ref().as_table());
        let entries = entries.filter(|entries| entries.len() == 1);
        let Some(entries) = entries else {
            item.issue(format!("must be a table with one of {}", known()));
            self.reported.push(item.at().clone());
            return None;
        };
        let (table, _) = self.keys(item, entries, keys);
        (!table.is_empty()).then_some(Value::Table(table))
    }

    /// Reads the keys of a table. The second part is true if no required key is missing.
    fn keys(
        &mut self,
        item: &SpannedValue<'_>,
        entries: &DeTable<'_>,
        keys: &'static [KeyShape],
    ) -> (Table, bool) {
        let mut table = Table::new();
        for (name, value) in entries {
            let Some(key) = keys.iter().find(|key| key.name == name.get_ref()) else {
                self.unknown(item, name, keys);
                continue;
            };
            let item = SpannedValue::new(item.reading(), item.at().key(key.name), value);
            let value = self.prune(&item, &key.shape);
            table.extend(value.map(|value| (key.name.to_owned(), value)));
        }
        let needed = keys.iter().filter(|key| key.is_needed && !table.contains_key(key.name));
        let mut is_complete = true;
        for key in needed {
            is_complete = false;
            let at = item.at().key(key.name);
            if !self.excuses(&at) {
                let position = Some(item.position());
                let remedy = "is missing".to_owned();
                self.report(item, Issue { position, remedy, ..nothing(at) });
            }
        }
        (table, is_complete)
    }

    fn unknown(
        &mut self,
        item: &SpannedValue<'_>,
        name: &Spanned<DeString<'_>>,
        keys: &'static [KeyShape],
    ) {
        let names = || keys.iter().map(|key| key.name);
        let meant = did_you_mean(name.get_ref(), names());
        let remedy = match meant {
            Some(meant) => format!("no such key; did you mean `{meant}`?"),
            None if keys.is_empty() => "no such key: there is none in this table".to_owned(),
            None => format!("no such key; there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let position = Some(item.reading().position(&name.span()));
        self.report(item, Issue { position, remedy, ..nothing(item.at().key(name.get_ref())) });
        // The misspelt key explains why the key that was meant is missing.
        self.reported.extend(meant.map(|meant| item.at().key(meant)));
    }

    fn entries<'i>(&mut self, item: &SpannedValue<'i>) -> Option<&'i DeTable<'i>> {
        let entries = item.written().and_then(|value| value.get_ref().as_table());
        if entries.is_none() {
            item.table();
            self.reported.push(item.at().clone());
        }
        entries
    }

    fn report(&mut self, item: &SpannedValue<'_>, issue: Issue) {
        self.reported.push(issue.path.clone());
        item.reading().add(issue);
    }
}

/// A template for an issue about a key that is not in the file.
fn nothing(path: KeyPath) -> Issue {
    let value = String::new();
    let remedy = String::new();
    Issue { position: None, path, value, remedy, severity: IssueSeverity::Error }
}

fn member(item: &SpannedValue<'_>) -> Option<Value> {
    let names: Vec<String> = if item.is_text() {
        let path = MemberPath::parse(item.string()?);
        path.map_or_else(Vec::new, |path| path.names().to_vec())
    } else {
        item.list()?.iter().map(|name| name.string().map(str::to_owned)).collect::<Option<_>>()?
    };
    if MemberPath::new(names.clone()).is_none() {
        item.issue(
            "must be the name of a member, a path to it, \"user.name\", or a list where names have \
             dots, [\"user\", \"a.b\"]; none may be empty",
        );
        return None;
    }
    Some(names.into())
}

/// A stand-in for a faulty endpoint. It needs no credential, and its path is unlikely to collide
/// with another endpoint's. It exists only while the dialect is checked: a dialect with a faulty
/// endpoint is never used.
fn stand_in(number: usize) -> Value {
    let texts = [("step", "answer".to_owned()), ("request", format!("GET /endpoint/{number}"))];
    let texts = texts.map(|(key, text)| (key.to_owned(), Value::String(text)));
    let reply = ("reply".to_owned(), Value::Table(Table::new()));
    Value::Table(texts.into_iter().chain([reply]).collect())
}
