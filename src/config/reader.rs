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

use super::issues::{Issue, KeyPath, Position, Severity};
use super::item::Item;
use super::suggest::did_you_mean;
use super::warnings::Acceptance;

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
    /// Where every secret comes from, by key path.
    secrets: RefCell<BTreeMap<String, SecretPlace>>,
    accepted: RefCell<Vec<Acceptance>>,
    /// Where every key that was asked for stands.
    places: RefCell<BTreeMap<String, Position>>,
}

/// What was found while reading, beside the configuration itself.
pub(super) struct Findings {
    pub(super) issues: Vec<Issue>,
    pub(super) known: BTreeSet<String>,
    pub(super) files: BTreeMap<String, PathBuf>,
    pub(super) secrets: BTreeMap<String, SecretPlace>,
    pub(super) accepted: Vec<Acceptance>,
    pub(super) places: BTreeMap<String, Position>,
}

/// Where a secret is kept, as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    Env(String),
    File(String),
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        text: &'a str,
        folder: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            text,
            folder,
            environment,
            issues: RefCell::default(),
            known: RefCell::default(),
            files: RefCell::default(),
            secrets: RefCell::default(),
            accepted: RefCell::default(),
            places: RefCell::default(),
        }
    }

    /// Where a span begins.
    pub(super) fn position(&self, span: &Range<usize>) -> Position {
        let before = self.text.get(..span.start).unwrap_or_default();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Position { line, column: last.chars().count() + 1 }
    }

    pub(super) fn add(&self, issue: Issue) {
        self.issues.borrow_mut().push(issue);
    }

    /// An error about the file as a whole: nothing stands there.
    pub(super) fn missing(&self, path: &str, remedy: impl Into<String>) {
        self.add(Issue {
            position: None,
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

    pub(super) fn note_secret(&self, at: &KeyPath, place: SecretPlace) {
        self.secrets.borrow_mut().insert(at.as_str().to_owned(), place);
    }

    /// Where a key that was asked for stands.
    pub(super) fn place(&self, at: &KeyPath) -> Option<Position> {
        self.places.borrow().get(at.as_str()).copied()
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

    pub(super) fn into_findings(self) -> Findings {
        Findings {
            issues: self.issues.into_inner(),
            known: self.known.into_inner(),
            files: self.files.into_inner(),
            secrets: self.secrets.into_inner(),
            accepted: self.accepted.into_inner(),
            places: self.places.into_inner(),
        }
    }
}

/// A table of the document, or one that is not there and therefore empty.
pub(super) struct Table<'a> {
    reading: &'a Reading<'a>,
    at: KeyPath,
    position: Option<Position>,
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    /// Keys that were reported already.
    reported: Vec<&'static str>,
    /// Keys that must be there and are not. They are reported at the end, unless a misspelt key
    /// shows why.
    missing: Vec<(&'static str, String)>,
    /// Not there because its own name is misspelt: nothing is missing in it.
    is_misspelt: bool,
}

impl<'a> Table<'a> {
    pub(super) fn root(reading: &'a Reading<'a>, entries: &'a DeTable<'a>) -> Self {
        Self::new(reading, KeyPath::default(), None, Some(entries))
    }

    fn new(
        reading: &'a Reading<'a>,
        at: KeyPath,
        position: Option<Position>,
        entries: Option<&'a DeTable<'a>>,
    ) -> Self {
        let (asked, reported, missing) = Default::default();
        Self { reading, at, position, entries, asked, reported, missing, is_misspelt: false }
    }

    pub(super) fn of(item: &Item<'a>, entries: &'a DeTable<'a>) -> Self {
        let position = Some(item.position());
        Self::new(item.reading(), item.at().clone(), position, Some(entries))
    }

    pub(super) fn reading(&self) -> &'a Reading<'a> {
        self.reading
    }

    pub(super) fn at(&self) -> &KeyPath {
        &self.at
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// An error at the table, or at a key of it that is not there.
    pub(super) fn issue(&self, path: &str, remedy: impl Into<String>) {
        self.add(Severity::Error, path, remedy.into());
    }

    fn add(&self, severity: Severity, path: &str, remedy: String) {
        let (path, value) = (self.at.below(path), String::new());
        self.reading.add(Issue { position: self.position, path, value, remedy, severity });
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        let at = self.at.key(key);
        self.reading.note_key(&at);
        self.asked.push(key);
        let value = self.entries?.get(key)?;
        let item = Item::new(self.reading, at, value);
        self.reading.places.borrow_mut().insert(item.at().as_str().to_owned(), item.position());
        Some(item)
    }

    /// Whether a key is there; it is still to be read, or it is unknown.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.get(key).is_some())
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str, remedy: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            self.missing.push((key, format!("is missing: {remedy}")));
        }
        item
    }

    /// Whether a key that nobody knows stands here in the place of `key`, one of `known`.
    pub(super) fn misspells(&self, key: &str, known: &[&str]) -> bool {
        let names = self.entries.into_iter().flatten().map(|(name, _)| name.get_ref().as_ref());
        let mut unknown = names.filter(|name: &&str| !known.contains(name));
        unknown.any(|name| did_you_mean(name, known.iter().copied()) == Some(key))
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
        if let Some(table) = self.get(key).and_then(|item| item.table()) {
            return table;
        }
        let mut empty = Self::new(self.reading, self.at.key(key), self.position, None);
        empty.is_misspelt = self.misspells(key, &[key]);
        empty
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

/// The key that may stand in every table.
const ACCEPT: &str = "accept";

/// Unknown keys are reported when a table has been read, so that no reader can forget to.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let mut asked = self.asked.clone();
        asked.sort_unstable();
        asked.dedup();
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref();
            let mut done = self.asked.iter().chain(&self.reported);
            if done.any(|done| *done == name.as_ref()) {
                continue;
            }
            let path = self.at.key(name);
            if name == ACCEPT {
                let item = Item::new(self.reading, path, value);
                let read = Acceptance::read(&item, &self.at);
                self.reading.accepted.borrow_mut().extend(read);
                continue;
            }
            let candidates = asked.iter().copied().chain([ACCEPT]);
            let remedy = match did_you_mean(name, candidates) {
                Some(meant) => {
                    self.missing.retain(|(missing, _)| *missing != meant);
                    format!("no such key; did you mean `{meant}`?")
                }
                None => format!("no such key; there are {}", asked.join(", ")),
            };
            // The value stays hidden: a misspelt key may hold a password.
            self.reading.add(Issue {
                position: Some(self.reading.position(&key.span())),
                path,
                value: String::new(),
                remedy,
                severity: Severity::Error,
            });
        }
        for (key, remedy) in std::mem::take(&mut self.missing) {
            if !self.is_misspelt {
                self.issue(key, remedy);
            }
        }
    }
}
