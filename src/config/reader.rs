//! Walks the tables of a document and records every problem in them.
//!
//! A `TableReader` hands out `SpannedValue`s by key and reports, when it is dropped, the keys that
//! no reader asked for. A `SpannedValue` converts itself into a typed value or reports why it
//! cannot. After a problem a reader goes on with a stand-in, so that one reading finds all
//! problems. Invariant: a configuration with an error is never handed out, so no stand-in is ever
//! used at run time.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::accepted::AcceptedWarning;
use super::document::Document;
use super::issues::{Issue, IssueSeverity};
use super::item::SpannedValue;
use super::key_path::{FilePosition, KeyPath};
use super::recorder::{CHOSEN_KEY, Recorder};
use super::schema::KeyGroup;
use super::suggest::{did_you_mean, no_such};
use super::warnings::WarningName;
use crate::settings::{duration, size};

/// A table of the document. A table that is not in the document is represented by an empty one, so
/// that a reader need not distinguish the two. Its keys all have their defaults, and nothing in it
/// is unknown.
pub(super) struct TableReader<'a> {
    reading: &'a Document<'a>,
    at: KeyPath,
    position: Option<FilePosition>,
    entries: Option<&'a DeTable<'a>>,
    /// Keys that the reader asked for: all others are unknown.
    read_keys: Vec<&'static str>,
    /// Unknown keys that were reported already, so that they are not reported twice.
    reported: Vec<&'static str>,
    /// Required keys that are not there, with the remedy. They are reported when the table is
    /// dropped, unless a misspelt key explains why they are missing. The order of the reports is
    /// that of the reader.
    missing: Vec<(&'static str, String)>,
    /// The table is missing because its own name is misspelt. Its required keys are not reported
    /// then.
    is_misspelt: bool,
    /// Records the questions of the reader, in a table that is not there and has every key.
    recorder: Option<&'a Recorder>,
}

impl<'a> SpannedValue<'a> {
    pub(super) fn table(&self) -> Option<TableReader<'a>> {
        let Some(value) = self.written() else {
            self.reading().recorder()?.table(self.at());
            return Some(TableReader::probe(self.reading(), self.at().clone()));
        };
        match value.get_ref() {
            DeValue::Table(entries) => Some(TableReader::of(self, entries)),
            _ => self.wrong_type("a table"),
        }
    }
}

impl<'a> TableReader<'a> {
    pub(super) fn root(reading: &'a Document<'a>, entries: &'a DeTable<'a>) -> Self {
        Self::new(reading, KeyPath::default(), None, Some(entries))
    }

    fn new(
        reading: &'a Document<'a>,
        at: KeyPath,
        position: Option<FilePosition>,
        entries: Option<&'a DeTable<'a>>,
    ) -> Self {
        Self {
            reading,
            at,
            position,
            entries,
            read_keys: Vec::new(),
            reported: Vec::new(),
            missing: Vec::new(),
            is_misspelt: false,
            recorder: None,
        }
    }

    /// A table that is not there. It has every key that is asked for, with a probe for its value.
    pub(super) fn probe(reading: &'a Document<'a>, at: KeyPath) -> Self {
        let mut table = Self::new(reading, at, None, None);
        table.recorder = reading.recorder();
        table
    }

    pub(super) fn of(item: &SpannedValue<'a>, entries: &'a DeTable<'a>) -> Self {
        let position = Some(item.position());
        Self::new(item.reading(), item.at().clone(), position, Some(entries))
    }

    pub(super) fn reading(&self) -> &'a Document<'a> {
        self.reading
    }

    pub(super) fn at(&self) -> &KeyPath {
        &self.at
    }

    pub(super) fn position(&self) -> Option<FilePosition> {
        self.position
    }

    /// Reports an error at the table, or at a key of the table that is not there.
    pub(super) fn issue(&self, path: &str, remedy: impl Into<String>) {
        self.add(IssueSeverity::Error, path, remedy.into());
    }

    fn add(&self, severity: IssueSeverity, path: &str, remedy: String) {
        let path = self.at.below(path);
        let value = String::new();
        self.reading.add(Issue { position: self.position, path, value, remedy, severity });
    }

    /// The value of a key, if the file has it. The key counts as known from now on.
    pub(super) fn get(&mut self, key: &'static str) -> Option<SpannedValue<'a>> {
        let at = self.at.key(key);
        if self.recorder.is_some() {
            return Some(SpannedValue::probe(self.reading, at));
        }
        self.read_keys.push(key);
        let value = self.entries?.get(key)?;
        let item = SpannedValue::new(self.reading, at, value);
        self.reading.note_place(item.at(), item.position());
        Some(item)
    }

    /// True if the file has the key. The key still has to be read: `has` does not make it known.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.get(key).is_some())
    }

    /// The value of a required key. If it is not there, that is reported when the table is dropped.
    pub(super) fn required(&mut self, key: &'static str, remedy: &str) -> Option<SpannedValue<'a>> {
        self.is_required(key);
        let item = self.get(key);
        if item.is_none() {
            self.missing.push((key, format!("is missing: {remedy}")));
        }
        item
    }

    /// The values of keys of which one has to be there and the others not. The caller reports
    /// everything else.
    pub(super) fn one_of<const N: usize>(
        &mut self,
        keys: [&'static str; N],
    ) -> [Option<SpannedValue<'a>>; N] {
        self.alternatives(keys, true)
    }

    /// The values of keys that exclude each other. The caller reports two of them.
    pub(super) fn at_most_one_of<const N: usize>(
        &mut self,
        keys: [&'static str; N],
    ) -> [Option<SpannedValue<'a>>; N] {
        self.alternatives(keys, false)
    }

    /// In a recorded reading one of the keys is there, a different one each time.
    fn alternatives<const N: usize>(
        &mut self,
        keys: [&'static str; N],
        is_required: bool,
    ) -> [Option<SpannedValue<'a>>; N] {
        let Some(recorder) = self.recorder else { return keys.map(|key| self.get(key)) };
        recorder.group(&self.at, KeyGroup { keys: keys.to_vec(), is_required });
        let chosen = recorder.decide(&self.at, &keys.concat(), N);
        let chosen = keys.get(chosen).copied();
        keys.map(|key| if Some(key) == chosen { self.get(key) } else { None })
    }

    /// The value of a key whose presence decides which other keys the table may have. With the key,
    /// the table has a form of its own in the schema.
    pub(super) fn deciding(&mut self, key: &'static str) -> Option<SpannedValue<'a>> {
        let Some(recorder) = self.recorder else { return self.get(key) };
        if recorder.decide(&self.at, key, 2) == 0 {
            return None;
        }
        recorder.variant(&self.at, key, None);
        self.is_required(key);
        self.get(key)
    }

    /// States that the table has the form in which `key` is `value`; the schema keeps the forms
    /// apart.
    pub(super) fn has_form(&self, key: &'static str, value: &'static str) {
        if let Some(recorder) = self.recorder {
            recorder.variant(&self.at, key, Some(value));
        }
    }

    /// States that a key has to be there, for the schema. The caller reports it itself.
    pub(super) fn is_required(&self, key: &'static str) {
        if let Some(recorder) = self.recorder {
            recorder.required(&self.at.key(key));
        }
    }

    /// States the default of a key, for the schema. Readers of other types than those below call
    /// it.
    pub(super) fn default_is(&self, key: &'static str, default: impl Into<Value>) {
        if let Some(recorder) = self.recorder {
            recorder.default_value(&self.at.key(key), default.into());
        }
    }

    /// True if the table has an unknown key that is probably a misspelt `key`. `known` lists the
    /// keys that the table may have, `key` among them. The misspelt key is reported when the table
    /// is dropped.
    pub(super) fn misspells(&self, key: &str, known: &[&str]) -> bool {
        let names = self.entries.into_iter().flatten().map(|(name, _)| name.get_ref().as_ref());
        let mut unknown = names.filter(|name: &&str| !known.contains(name));
        unknown.any(|name| did_you_mean(name, known.iter().copied()) == Some(key))
    }

    /// Reports each of these keys that the table has. They have a meaning in other forms of it.
    pub(super) fn refuse(&mut self, keys: &[&'static str], remedy: &str) {
        if let Some(recorder) = self.recorder {
            keys.iter().for_each(|key| recorder.refused(&self.at.key(key)));
            return;
        }
        for item in keys.iter().filter_map(|key| self.get(key)) {
            // The value is hidden, because it may be a secret in the wrong place.
            item.hidden_issue(remedy);
        }
    }

    /// The value of a key that was called `old` in earlier versions. The old name still works, and
    /// is warned of. It is not among the known keys, so it is neither documented nor suggested.
    pub(super) fn renamed(
        &mut self,
        key: &'static str,
        old: &'static str,
    ) -> Option<SpannedValue<'a>> {
        let current = self.get(key);
        if let Some(recorder) = self.recorder {
            recorder.old_name(&self.at.key(key), old);
        }
        let Some(value) = self.entries.and_then(|entries| entries.get(old)) else { return current };
        self.reported.push(old);
        let item = SpannedValue::new(self.reading, self.at.key(old), value);
        // With both names there are two values, and which of them was meant is not ours to say.
        if current.is_some() {
            item.issue(format!("is the old name of `{key}`, which is here too: leave one out"));
            return current;
        }
        item.warn(
            WarningName::RenamedKey,
            format!("is called `{key}` now; the old name still works"),
        );
        Some(item)
    }

    /// The table of this key. If the file has none, an empty table at the same key path.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        if let Some(recorder) = self.recorder {
            recorder.always_read(&self.at.key(key));
        }
        if let Some(table) = self.get(key).and_then(|item| item.table()) {
            return table;
        }
        let mut empty = Self::new(self.reading, self.at.key(key), self.position, None);
        empty.is_misspelt = self.misspells(key, &[key]);
        empty
    }

    /// The `[[tables]]` of this key, in the order of the file. A single `[table]` is reported with
    /// the way to write it. Elements that are no table are reported and left out.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if !item.is_probe() && item.is_table() {
            item.issue(format!("may stand several times: write [[{key}]]"));
            return Vec::new();
        }
        item.list().into_iter().flatten().filter_map(|item| item.table()).collect()
    }

    pub(super) fn bool_or(&mut self, key: &'static str, default: bool) -> bool {
        self.default_is(key, default);
        self.get(key).and_then(|item| item.bool()).unwrap_or(default)
    }

    pub(super) fn number_or(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.default_is(key, default);
        self.number(key, range).unwrap_or(default)
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.get(key)?.number(range)
    }

    pub(super) fn count_or(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> usize {
        let number = self.number_or(key, u64::try_from(default).unwrap_or(u64::MAX), range);
        usize::try_from(number).unwrap_or(default)
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.get(key)?.duration(range)
    }

    pub(super) fn duration_or(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.default_is(key, duration::render(default));
        self.duration(key, range).unwrap_or(default)
    }

    pub(super) fn size_or(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.default_is(key, size::render(default));
        self.get(key).and_then(|item| item.size(range)).unwrap_or(default)
    }

    /// The value of one of a few words.
    pub(super) fn choice_or<T: Clone + PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        if let Some((word, _)) = choices.iter().find(|(_, value)| *value == default) {
            self.default_is(key, *word);
        }
        self.get(key).and_then(|item| item.choice(choices)).unwrap_or(default)
    }

    /// The elements of a list; empty if the file has no such key.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<SpannedValue<'a>> {
        self.get(key).and_then(|item| item.list()).unwrap_or_default()
    }

    /// A list of non-empty words. Elements that are no word are reported and left out.
    pub(super) fn plain_names(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.get(key)?.list()?;
        Some(list.iter().filter_map(SpannedValue::plain_name).collect())
    }

    /// All entries in the order of the file, for tables whose keys are chosen by the operator.
    /// Taking them out of the table keeps them from being reported as unknown. They therefore are
    /// not checked against any list of names.
    pub(super) fn entries(&mut self) -> Vec<(String, SpannedValue<'a>)> {
        if let Some(recorder) = self.recorder {
            recorder.map(&self.at);
            let probe = SpannedValue::probe(self.reading, self.at.key(CHOSEN_KEY));
            return vec![(CHOSEN_KEY.to_owned(), probe)];
        }
        let Some(entries) = self.entries.take() else { return Vec::new() };
        let mut found: Vec<_> = entries.iter().collect();
        found.sort_by_key(|(key, _)| key.span().start);
        let item = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            (name.to_string(), SpannedValue::new(self.reading, self.at.key(name), value))
        };
        found.into_iter().map(item).collect()
    }
}

/// The key that is allowed in every table: it accepts warnings about that table.
const ACCEPT: &str = "accept";

/// Reports unknown keys when a table has been read. Doing it on drop means that no reader can
/// forget it. It also means that a table must be dropped before the findings are looked at.
impl Drop for TableReader<'_> {
    fn drop(&mut self) {
        let mut read_keys = self.read_keys.clone();
        read_keys.sort_unstable();
        read_keys.dedup();
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref();
            let mut done = self.read_keys.iter().chain(&self.reported);
            if done.any(|done| *done == name.as_ref()) {
                continue;
            }
            let path = self.at.key(name);
            // `accept` is read here and not by the readers, so that it works in every table alike.
            if name == ACCEPT {
                let item = SpannedValue::new(self.reading, path, value);
                self.reading.note_accepted(read_accepted(&item, &self.at));
                continue;
            }
            let candidates = read_keys.iter().copied().chain([ACCEPT]);
            let remedy = match did_you_mean(name, candidates) {
                Some(meant) => {
                    // The misspelt key explains the missing one. Reporting both would make one
                    // mistake look like two.
                    self.missing.retain(|(missing, _)| *missing != meant);
                    format!("no such key; did you mean `{meant}`?")
                }
                None => format!("no such key; there are {}", read_keys.join(", ")),
            };
            // The value stays hidden, because a misspelt key may hold a password.
            self.reading.add(Issue {
                position: Some(self.reading.position(&key.span())),
                path,
                value: String::new(),
                remedy,
                severity: IssueSeverity::Error,
            });
        }
        for (key, remedy) in std::mem::take(&mut self.missing) {
            if !self.is_misspelt {
                self.issue(key, remedy);
            }
        }
    }
}

/// Reads the `accept` of the table at `at`. An unknown name is reported with the most similar one.
fn read_accepted(item: &SpannedValue<'_>, at: &KeyPath) -> Vec<AcceptedWarning> {
    let read = |element: &SpannedValue<'_>| {
        let name = element.string()?;
        let known = WarningName::ALL.iter().find(|(known, _)| *known == name);
        if known.is_none() {
            let names = WarningName::ALL.iter().map(|(name, _)| *name);
            element.issue(no_such("warning", name, names));
        }
        let element = (element.at().clone(), element.position());
        known.map(|(_, name)| AcceptedWarning { at: at.clone(), name: *name, element })
    };
    item.list().unwrap_or_default().iter().filter_map(read).collect()
}
