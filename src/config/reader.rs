//! Walking over a parsed TOML document while every problem is noted.
//!
//! A `Table` hands out `Item`s by key and, when it is dropped, reports the keys that nobody
//! asked for; an `Item` turns itself into a typed value or reports why it cannot. A reader that
//! reported a problem goes on with a stand-in, so that one reading finds everything; a
//! configuration with an error is never handed out, so no stand-in ever runs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::issues::{Issue, KeyPath, Severity};
use super::item::Item;
use super::suggest::did_you_mean;

/// What all readers of one file share.
pub(super) struct Reading<'a> {
    text: &'a str,
    folder: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    issues: RefCell<Vec<Issue>>,
    /// Every key that was asked for, without the numbers of elements.
    known: RefCell<BTreeSet<String>>,
    /// Every file that was named, by key path.
    files: RefCell<BTreeMap<String, PathBuf>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        text: &'a str,
        folder: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let (issues, known, files) = Default::default();
        Self { text, folder, environment, issues, known, files }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(super) fn add(&self, issue: Issue) {
        self.issues.borrow_mut().push(issue);
    }

    /// An error about the file as a whole: nothing stands there.
    pub(super) fn missing(&self, path: &str, remedy: impl Into<String>) {
        self.add(Issue {
            line: None,
            path: KeyPath::default().below(path),
            value: String::new(),
            remedy: remedy.into(),
            severity: Severity::Error,
        });
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// A path relative to the configuration's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn note_file(&self, at: &KeyPath, path: PathBuf) {
        self.files.borrow_mut().insert(at.as_str().to_owned(), path);
    }

    fn note_key(&self, at: &KeyPath) {
        let mut shape = String::new();
        let mut inside = false;
        for letter in at.as_str().chars() {
            match letter {
                '[' => inside = true,
                ']' => inside = false,
                _ if inside => {}
                _ => shape.push(letter),
            }
        }
        self.known.borrow_mut().insert(shape);
    }

    /// What was found, known and read.
    pub(super) fn into_parts(self) -> (Vec<Issue>, BTreeSet<String>, BTreeMap<String, PathBuf>) {
        (self.issues.into_inner(), self.known.into_inner(), self.files.into_inner())
    }
}

/// A table of the document, or one that is not there and therefore empty.
pub(super) struct Table<'a> {
    reading: &'a Reading<'a>,
    at: KeyPath,
    line: Option<usize>,
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    /// Keys that were reported already.
    reported: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn root(reading: &'a Reading<'a>, entries: &'a DeTable<'a>) -> Self {
        let at = KeyPath::default();
        Self {
            reading,
            at,
            line: None,
            entries: Some(entries),
            asked: Vec::new(),
            reported: Vec::new(),
        }
    }

    pub(super) fn of(item: &Item<'a>, entries: &'a DeTable<'a>) -> Self {
        let (reading, at) = (item.reading(), item.at().clone());
        Self {
            reading,
            at,
            line: Some(item.line()),
            entries: Some(entries),
            asked: Vec::new(),
            reported: Vec::new(),
        }
    }

    pub(super) fn reading(&self) -> &'a Reading<'a> {
        self.reading
    }

    pub(super) fn at(&self) -> &KeyPath {
        &self.at
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    /// An error at the table, or at a key of it that is not there.
    pub(super) fn issue(&self, path: &str, remedy: impl Into<String>) {
        self.add(Severity::Error, path, remedy.into());
    }

    fn add(&self, severity: Severity, path: &str, remedy: String) {
        let (path, value) = (self.at.below(path), String::new());
        self.reading.add(Issue { line: self.line, path, value, remedy, severity });
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        let at = self.at.key(key);
        self.reading.note_key(&at);
        self.asked.push(key);
        let value = self.entries?.get(key)?;
        Some(Item::new(self.reading, at, value))
    }

    /// Whether a key is there; it is still to be read, or it is unknown.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.get(key).is_some())
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str, remedy: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            self.issue(key, format!("is missing: {remedy}"));
        }
        item
    }

    /// A key of the design that this version does not have yet: never silently ignored, and not
    /// among the keys that are suggested.
    pub(super) fn unavailable(&mut self, key: &'static str, instead: &str) {
        let Some(value) = self.entries.and_then(|entries| entries.get(key)) else { return };
        self.reported.push(key);
        let item = Item::new(self.reading, self.at.key(key), value);
        let remedy = format!("is not available in this version: {instead}");
        // Text may hold a password; what a table holds is not shown anyway.
        if item.is_text() { item.hidden_issue(remedy) } else { item.issue(remedy) }
    }

    /// The table of this key; an empty one if there is none.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        let at = self.at.key(key);
        self.get(key).and_then(|item| item.table()).unwrap_or(Self {
            reading: self.reading,
            at,
            line: self.line,
            entries: None,
            asked: Vec::new(),
            reported: Vec::new(),
        })
    }

    /// The `[[tables]]` of this key.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if item.is_table() {
            item.issue(format!("may stand several times: write [[{key}]]"));
            return Vec::new();
        }
        item.list().into_iter().flatten().filter_map(|item| item.table()).collect()
    }

    pub(super) fn bool_or(&mut self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|item| item.bool()).unwrap_or(default)
    }

    pub(super) fn number_or(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.get(key).and_then(|item| item.number(range)).unwrap_or(default)
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
        self.duration(key, range).unwrap_or(default)
    }

    pub(super) fn size_or(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.get(key).and_then(|item| item.size(range)).unwrap_or(default)
    }

    /// The elements of a list; none if there is no such key.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'a>> {
        self.get(key).and_then(|item| item.list()).unwrap_or_default()
    }

    /// A list of words that are not empty.
    pub(super) fn words(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.get(key)?.list()?;
        Some(list.iter().filter_map(Item::word).collect())
    }

    /// All entries in the order of the file, for tables whose keys are free.
    pub(super) fn entries(&mut self) -> Vec<(String, Item<'a>)> {
        let Some(entries) = self.entries.take() else { return Vec::new() };
        let mut found: Vec<_> = entries.iter().collect();
        found.sort_by_key(|(key, _)| key.span().start);
        let item = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            (name.to_string(), Item::new(self.reading, self.at.key(name), value))
        };
        found.into_iter().map(item).collect()
    }
}

/// Unknown keys are reported when a table has been read, so that no reader can forget to.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref();
            let mut done = self.asked.iter().chain(&self.reported);
            if done.any(|done| *done == name.as_ref()) {
                continue;
            }
            let mut asked = self.asked.clone();
            asked.sort_unstable();
            let path = self.at.key(name);
            let remedy = match did_you_mean(name, asked.iter().copied()) {
                Some(meant) => format!("no such key; did you mean `{meant}`?"),
                None => format!("no such key; there are {}", asked.join(", ")),
            };
            // The value stays hidden: a misspelt key may hold a password.
            self.reading.add(Issue {
                line: Some(self.reading.line(&key.span())),
                path,
                value: String::new(),
                remedy,
                severity: Severity::Error,
            });
        }
    }
}
