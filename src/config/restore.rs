//! The parts of `check --print` that the settings do not contain: the names of files as they were
//! written, the places that secrets come from, and the accepted warnings.
//!
//! All are recorded by key path while the configuration is read. This file walks the printed table
//! and puts each at its path. Secrets stay hidden: only the name of a variable or a file is
//! inserted.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::accepted::AcceptedWarning;
use super::key_path::KeyPath;
use super::warnings::WarningName;

/// Puts the names of files and the places of secrets back as they were written. A `***` without a
/// known place stays as it is; it is then refused when the output is read again, which is better
/// than a wrong value.
pub(super) fn written(table: &mut Table, written: &BTreeMap<String, Value>) {
    // Names of header fields are printed in lower case, whatever they were written in.
    let folded = |at: &KeyPath| {
        let mut paths = written.iter();
        paths.find(|(path, _)| path.eq_ignore_ascii_case(at.as_str())).map(|(_, place)| place)
    };
    walk(table, &KeyPath::default(), &mut |value, at| {
        if let Some(written) = written.get(at.as_str()).or_else(|| folded(at)) {
            value.clone_from(written);
        }
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
