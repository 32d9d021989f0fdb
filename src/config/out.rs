//! Writes TOML tables key by key, for `check --print`.
//!
//! The printers of the sections use it so that each key takes one line. An empty `Option` leaves
//! its key out. A secret is written as `HIDDEN`; where it comes from is filled in later by
//! `restore`.

use std::path::Path;
use std::time::Duration;

use crate::settings::duration;
use toml::{Table, Value};

/// Printed in the place of a secret's value.
pub(super) const HIDDEN: &str = "***";

/// A table that is being written.
#[derive(Default)]
pub(super) struct TableWriter(Table);

impl TableWriter {
    /// Sets a key. Every other method ends here.
    fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn string(self, key: &str, text: impl Into<String>) -> Self {
        self.put(key, text.into())
    }

    pub(super) fn texts(self, key: &str, texts: Vec<String>) -> Self {
        self.put(key, texts)
    }

    /// Writes the key if there is a value.
    pub(super) fn maybe(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.put(key, value.to_string()),
            None => self,
        }
    }

    pub(super) fn maybe_texts(self, key: &str, texts: Option<Vec<String>>) -> Self {
        match texts {
            Some(texts) => self.put(key, texts),
            None => self,
        }
    }

    pub(super) fn path(self, key: &str, path: &Path) -> Self {
        self.put(key, path.display().to_string())
    }

    /// Writes a number. TOML has 64-bit signed integers; a larger number is written as their
    /// maximum.
    pub(super) fn int(self, key: &str, number: impl TryInto<i64>) -> Self {
        self.put(key, number.try_into().unwrap_or(i64::MAX))
    }

    pub(super) fn flag(self, key: &str, value: bool) -> Self {
        self.put(key, value)
    }

    pub(super) fn time(self, key: &str, value: Duration) -> Self {
        self.put(key, duration::render(value))
    }

    pub(super) fn maybe_time(self, key: &str, value: Option<Duration>) -> Self {
        match value {
            Some(value) => self.time(key, value),
            None => self,
        }
    }

    pub(super) fn sub(self, key: &str, table: Table) -> Self {
        self.put(key, table)
    }

    pub(super) fn maybe_table(self, key: &str, table: Option<Table>) -> Self {
        match table {
            Some(table) => self.put(key, table),
            None => self,
        }
    }

    /// Writes a list of tables; no key at all if the list is empty.
    pub(super) fn all(self, key: &str, tables: impl IntoIterator<Item = Table>) -> Self {
        let tables: Vec<Value> = tables.into_iter().map(Value::Table).collect();
        if tables.is_empty() { self } else { self.put(key, tables) }
    }

    pub(super) fn table(self) -> Table {
        self.0
    }
}
