//! The names of sections, and references to them.
//!
//! `SectionNames` collects the names of one kind of section and resolves references to them. A
//! misspelt reference is reported with the most similar known name. Where a section could not be
//! read, unknown references are not reported, because they follow from the first fault.

use super::item::SpannedValue;
use super::key_path::FilePosition;
use super::reader::TableReader;
use super::schema::{TextForm, ValueSchema};
use super::suggest::no_such;

/// The names of one kind of section, each with the line that defines it.
pub(super) struct SectionNames {
    /// The kind in the words of messages, for example `user source`.
    what: &'static str,
    names: Vec<(String, Option<FilePosition>)>,
    /// At least one name could not be read, so an unknown reference may be right.
    incomplete: bool,
}

impl SectionNames {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, names: Vec::new(), incomplete: false }
    }

    /// Reads the key `name` of `table`. A name must be plain and unique. After a problem the result
    /// is a stand-in. `default` is the name of a section that has none. The name is recorded
    /// together with the line of the table.
    pub(super) fn read(&mut self, table: &mut TableReader<'_>, default: Option<&str>) -> String {
        self.read_key(table, "name", default)
    }

    /// Reads the name from another key than `name`.
    pub(super) fn read_key(
        &mut self,
        table: &mut TableReader<'_>,
        key: &'static str,
        default: Option<&str>,
    ) -> String {
        let item = match default {
            Some(_) => table.get(key),
            None => table.required(key, &format!("each {} has its own {key}", self.what)),
        };
        let given = item.as_ref().map(|item| item.text(TextForm::SectionName).unwrap_or_default());
        let name = given.or(default).unwrap_or_default();
        if let Some(item) = item.as_ref().filter(|item| item.is_text() && !is_plain_name(name)) {
            item.issue("must be of letters, digits, `-`, `_` and `.`, at most 64");
        // Two sections of one name would make every reference to it ambiguous.
        } else if let Some((_, position)) = self.names.iter().find(|(known, _)| known == name) {
            let first = position.map(|at| format!(" in line {}", at.line)).unwrap_or_default();
            let remedy = match item.is_some() {
                true => format!("is the name of another {}{first}", self.what),
                false => {
                    format!("is missing: \"{name}\" is the name of another {}{first}", self.what)
                }
            };
            table.report(key, item.as_ref(), remedy);
        }
        // A faulty name is recorded as well, so that references to it are not reported in addition.
        if name.is_empty() {
            self.incomplete = true;
        } else {
            self.names.push((name.to_owned(), table.position()));
        }
        name.to_owned()
    }

    /// Declares that some names of this kind cannot be read.
    pub(super) fn excuse(&mut self) {
        self.incomplete = true;
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The name that `item` refers to. `None` if there is no such name, which is reported unless
    /// the names are incomplete. They are incomplete if a section of this kind could not be read.
    /// Then the name may be that of the faulty section.
    pub(super) fn refer(&self, item: &SpannedValue<'_>) -> Option<String> {
        if item.is_probe() {
            item.record(ValueSchema::Reference { what: self.what, builtin: Vec::new() });
            return None;
        }
        let name = item.string()?;
        if !self.iter().any(|known| known == name) {
            if self.incomplete {
                return None;
            }
            item.issue(no_such(self.what, name, self.iter()));
            return None;
        }
        Some(name.to_owned())
    }

    /// The names that the elements of a list refer to. A name that is listed twice is reported.
    pub(super) fn refer_all(&self, list: &[SpannedValue<'_>]) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(list.len());
        for item in list {
            let Some(name) = self.refer(item) else { continue };
            if names.contains(&name) {
                item.issue("stands here twice");
            } else {
                names.push(name);
            }
        }
        names
    }
}

/// True if a section may have this name: 1 to 64 ASCII letters, digits, `-`, `_` and `.`. Names
/// occur in metrics, logs and tokens, where other characters would have to be escaped. The bound on
/// the length keeps metrics and log lines short.
pub fn is_plain_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

impl TableReader<'_> {
    /// Reports an error at `item`, or at the key `key` if the file does not have it.
    pub(super) fn report(&self, key: &str, item: Option<&SpannedValue<'_>>, remedy: String) {
        match item {
            Some(item) => item.issue(remedy),
            None => self.issue(key, remedy),
        }
    }
}
