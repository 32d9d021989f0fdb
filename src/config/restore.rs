//! `check --print`, what the checked values do not hold: where secrets come from, and which
//! warnings are accepted.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::issues::KeyPath;
use super::out::{HIDDEN, Out};
use super::reader::SecretPlace;
use super::warnings::Acceptance;

/// Puts the place of each secret where `***` stands.
pub(super) fn secrets(table: &mut Table, places: &BTreeMap<String, SecretPlace>) {
    walk(table, &KeyPath::default(), &mut |value, at| {
        if value.as_str() != Some(HIDDEN) {
            return;
        }
        let place = match places.get(at.as_str()) {
            Some(SecretPlace::Env(name)) => Out::default().text("env", name),
            Some(SecretPlace::File(path)) => Out::default().text("file", path),
            None => return,
        };
        *value = Value::Table(place.table());
    });
}

/// Puts each `accept` into its table.
pub(super) fn acceptances(table: &mut Table, accepted: &[Acceptance]) {
    let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Acceptance { at, name, .. } in accepted {
        lists.entry(at.as_str()).or_default().push(name.as_str());
    }
    let list = |names: &[&str]| Value::from(names.to_vec());
    if let Some(names) = lists.get("") {
        table.insert("accept".to_owned(), list(names));
    }
    walk(table, &KeyPath::default(), &mut |value, at| {
        if let (Some(names), Some(table)) = (lists.get(at.as_str()), value.as_table_mut()) {
            table.insert("accept".to_owned(), list(names));
        }
    });
}

/// Shows every value with its key path.
fn walk(table: &mut Table, at: &KeyPath, see: &mut dyn FnMut(&mut Value, &KeyPath)) {
    for (key, value) in table.iter_mut() {
        walk_value(value, &at.key(key), see);
    }
}

fn walk_value(value: &mut Value, at: &KeyPath, see: &mut dyn FnMut(&mut Value, &KeyPath)) {
    see(value, at);
    match value {
        Value::Table(table) => walk(table, at, see),
        Value::Array(list) => {
            for (number, value) in list.iter_mut().enumerate() {
                walk_value(value, &at.index(number), see);
            }
        }
        _ => {}
    }
}
