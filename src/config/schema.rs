//! The keys of a configuration as the readers take them: types, bounds, choices and defaults.
//!
//! There is no table of keys beside the readers. `recorder` makes these types from what the readers
//! ask for, and `dialect_shape` from the table that it checks dialects by. `crate::schema` turns
//! them into a JSON Schema and into the reference.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

/// A table of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableSchema {
    /// In the order in which the reader asks for them. Keys that only some variants have are in
    /// `variants` alone.
    pub keys: Vec<KeySchema>,
    /// Keys that exclude each other.
    pub groups: Vec<KeyGroup>,
    /// The forms of a table whose other keys depend on one of them. Empty for most tables.
    pub variants: Vec<VariantSchema>,
    /// True if the table may have `accept`, which silences warnings about it.
    pub accepts_warnings: bool,
}

/// One form of a table, such as `kind = "sql"` of `[[users]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantSchema {
    /// The key that decides the form.
    pub key: &'static str,
    /// Its value in this form. `None` if the key need only be there.
    pub value: Option<&'static str>,
    /// All keys of the form.
    pub table: TableSchema,
}

/// A key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct KeySchema {
    pub name: String,
    /// The types of which the value may be one.
    pub values: Vec<ValueSchema>,
    pub is_required: bool,
    /// The value that holds without the key. `None` if there is none, or if it depends on something
    /// else, such as another key or the number of processors.
    pub default: Option<Value>,
    /// The name that the key had in earlier versions.
    pub old_name: Option<&'static str>,
    /// The meaning, if the reader itself states it. Keys of `gateway.toml` are explained in the
    /// commented sample.
    pub description: String,
}

/// Keys of a table of which at most one may be present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroup {
    pub keys: Vec<&'static str>,
    /// True if one of them has to be present.
    pub is_required: bool,
}

/// A type that a value may have, with its bounds.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueSchema {
    Text(TextForm),
    Flag,
    Number(RangeInclusive<u64>),
    /// A text such as `"30s"`.
    Duration(RangeInclusive<Duration>),
    /// A text such as `"64KiB"`.
    Size(RangeInclusive<u64>),
    /// One of these words.
    Choice(Vec<String>),
    /// The name of something that the file defines, or that is built in.
    Reference {
        what: &'static str,
        builtin: Vec<String>,
    },
    /// `{ env = "NAME" }` or `{ file = "path" }`.
    Secret,
    List {
        elements: Vec<Self>,
        /// True if the list must have an element.
        is_filled: bool,
    },
    Table(TableSchema),
    /// A table whose keys are chosen by the operator; all values have one of these types.
    Map(Vec<Self>),
    /// A value of any type.
    Any,
    /// A dialect, whose keys are those of `dialect`.
    Dialect,
}

/// A restriction on a text that can be stated in general. Whatever else a reader refuses is not
/// part of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    Free,
    /// Not empty, without spaces at its ends.
    Plain,
    /// The name of a section: 1 to 64 letters, digits, `-`, `_` and `.`.
    SectionName,
    /// The path of a file or folder, relative to the folder of the configuration.
    Path,
    /// An IP address with a port.
    SocketAddress,
    /// A day: `2027-03-31`.
    Day,
}

/// Every key path of a table without variants and numbers: `listener.address`. Keys of dialects and
/// those that an operator chooses are not included.
pub(super) fn key_paths(table: &TableSchema) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    collect(table, "", &mut paths);
    paths
}

fn collect(table: &TableSchema, at: &str, paths: &mut BTreeSet<String>) {
    for key in &table.keys {
        let path = if at.is_empty() { key.name.clone() } else { format!("{at}.{}", key.name) };
        collect_values(&key.values, &path, paths);
        paths.insert(path);
    }
    for variant in &table.variants {
        collect(&variant.table, at, paths);
    }
}

fn collect_values(values: &[ValueSchema], at: &str, paths: &mut BTreeSet<String>) {
    for value in values {
        match value {
            ValueSchema::Table(table) => collect(table, at, paths),
            ValueSchema::List { elements, .. } => collect_values(elements, at, paths),
            _ => {}
        }
    }
}
