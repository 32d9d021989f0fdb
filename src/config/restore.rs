//! The parts of `check --print` that the checked values do not contain: the places that secrets
//! come from, and the accepted warnings.
//!
//! Both are recorded by key path while the configuration is read. This file walks the printed table
//! and puts each at its path. Secrets stay hidden: only the name of a variable or a file is
//! inserted.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::accepted::AcceptedWarning;
use super::document::SecretPlace;
use super::key_path::KeyPath;
use super::out::{HIDDEN, TableWriter};
use super::warnings::WarningName;

/// Replaces each `***` by the place that the secret comes from. A `***` without a known place stays
/// as it is; it is then refused when the output is read again, which is better than a wrong value.
/// No secret is read for this: the place was recorded when the configuration was read.
pub(super) fn secrets(table: &mut Table, places: &BTreeMap<String, SecretPlace>) {
    walk(table, &KeyPath::default(), &mut |value, at| {
        // Every value of the table is visited here. Only the placeholder is replaced, so that other
        // values are printed as they are, whatever their key path.
        if value.as_str() != Some(HIDDEN) {
            return;
        }
        let place = match places.get(at.as_str()) {
            Some(SecretPlace::Env(name)) => TableWriter::default().string("env", name),
            Some(SecretPlace::File(path)) => TableWriter::default().string("file", path),
            None => return,
        };
        *value = Value::Table(place.table());
    });
}

/// Inserts each `accept` into the table that it was written in.
pub(super) fn acceptances(table: &mut Table, accepted: &[AcceptedWarning]) {
    let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // Keys are printed by their present names, so there is no old name whose warning to accept.
    let accepted = accepted.iter().filter(|one| one.name != WarningName::RenamedKey);
    for AcceptedWarning { at, name, .. } in accepted {
        lists.entry(at.as_str()).or_default().push(name.as_str());
    }
    let list = |names: &[&str]| Value::from(names.to_vec());
    // The root table has no key path of its own and is not visited by `walk`.
    if let Some(names) = lists.get("") {
        table.insert("accept".to_owned(), list(names));
    }
    walk(table, &KeyPath::default(), &mut |value, at| {
        if let (Some(names), Some(table)) = (lists.get(at.as_str()), value.as_table_mut()) {
            table.insert("accept".to_owned(), list(names));
        }
    });
}

/// Calls `see` for every value below `table`, with the value's key path. A table is seen before its
/// contents, so `see` may replace it. Elements of lists have their number in the path. It runs
/// once, for a command of an operator.
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
