//! One value of the document: converted into the type that a setting needs, or reported.
//!
//! Each conversion returns `None` after it has reported a problem, and the caller goes on with a
//! stand-in. Values are shown in messages, except those that may be secrets. The readers of all
//! sections call this file; it knows no setting itself.
//!
//! A value may also be a *probe*, which stands for a value of any type while the readers are
//! recorded (`recorder`). A conversion of a probe records its type and yields nothing.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::document::Document;
use super::issues::{Issue, IssueSeverity};
use super::key_path::{FilePosition, KeyPath};
use super::schema::{TextForm, ValueSchema};
use super::suggest::no_such;
use super::warnings::WarningName;
use crate::settings::{duration, size};

/// A value with its key path and its position in the file.
#[derive(Clone)]
pub(super) struct SpannedValue<'a> {
    reading: &'a Document<'a>,
    at: KeyPath,
    /// `None` for a probe.
    value: Option<&'a Spanned<DeValue<'a>>>,
}

impl<'a> SpannedValue<'a> {
    pub(super) fn new(
        reading: &'a Document<'a>,
        at: KeyPath,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self { reading, at, value: Some(value) }
    }

    pub(super) fn probe(reading: &'a Document<'a>, at: KeyPath) -> Self {
        Self { reading, at, value: None }
    }

    pub(super) fn reading(&self) -> &'a Document<'a> {
        self.reading
    }

    pub(super) fn at(&self) -> &KeyPath {
        &self.at
    }

    /// The value as it is written. `None` for a probe.
    pub(super) fn written(&self) -> Option<&'a Spanned<DeValue<'a>>> {
        self.value
    }

    fn raw(&self) -> Option<&'a DeValue<'a>> {
        Some(self.value?.get_ref())
    }

    pub(super) fn is_probe(&self) -> bool {
        self.value.is_none()
    }

    /// The value as it is written. A probe yields `None`, after `schema` was recorded as a type
    /// that the value may have.
    fn read_as(&self, schema: impl FnOnce() -> ValueSchema) -> Option<&'a DeValue<'a>> {
        if self.is_probe() {
            self.record(schema());
        }
        self.raw()
    }

    /// Records a type that the value may have, if this is a probe.
    pub(super) fn record(&self, schema: ValueSchema) {
        if let (true, Some(recorder)) = (self.is_probe(), self.reading.recorder()) {
            recorder.value(&self.at, schema);
        }
    }

    /// The answer of a probe to a question with this number of answers; `None` if this is no probe.
    pub(super) fn decide(&self, question: &str, answers: usize) -> Option<usize> {
        let recorder = self.reading.recorder().filter(|_| self.is_probe())?;
        Some(recorder.decide(&self.at, question, answers))
    }

    /// True if the value fits. A probe says yes and no in turns.
    fn is(&self, question: &str, fits: impl FnOnce(&DeValue<'a>) -> bool) -> bool {
        match self.raw() {
            Some(value) => fits(value),
            None => self.decide(question, 2) == Some(0),
        }
    }

    pub(super) fn position(&self) -> FilePosition {
        let span = self.value.map(Spanned::span).unwrap_or_default();
        self.reading.position(&span)
    }

    /// The value in the form in which messages show it: shortened, and without the contents of
    /// lists and tables. Whoever reads the message has the file, so a glimpse is enough. Numbers
    /// and dates are shown as they were written.
    pub(super) fn shown(&self) -> String {
        self.raw().map(show).unwrap_or_default()
    }

    /// Reports an error and shows the value.
    pub(super) fn issue(&self, remedy: impl Into<String>) {
        self.add(IssueSeverity::Error, self.shown(), remedy.into());
    }

    /// Reports an error about a value that may be a secret; the message shows `***` instead.
    pub(super) fn hidden_issue(&self, remedy: impl Into<String>) {
        self.add(IssueSeverity::Error, "***".to_owned(), remedy.into());
    }

    /// Reports a warning and shows the value. `name` is the name by which an operator accepts it.
    pub(super) fn warn(&self, name: WarningName, remedy: impl Into<String>) {
        self.add(IssueSeverity::Warning(name), self.shown(), remedy.into());
    }

    fn add(&self, severity: IssueSeverity, value: String, remedy: String) {
        let position = Some(self.position());
        let path = self.at.clone();
        self.reading.add(Issue { position, path, value, remedy, severity });
    }

    /// Reports a value of the wrong TOML type, and always returns `None`.
    pub(super) fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.issue(format!("must be {wanted}, not {}", self.raw().map(kind).unwrap_or_default()));
        None
    }

    pub(super) fn is_table(&self) -> bool {
        self.is("is a table?", |value| value.is_table())
    }

    pub(super) fn is_text(&self) -> bool {
        self.is("is a text?", |value| value.is_str())
    }

    pub(super) fn is_bool(&self) -> bool {
        self.is("is true or false?", |value| value.is_bool())
    }

    /// True if the value is the text `word`, which means something else than other values do.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.record(ValueSchema::Choice(vec![word.to_owned()]));
        self.is(word, |value| value.as_str() == Some(word))
    }

    pub(super) fn is_empty_list(&self) -> bool {
        self.raw().and_then(DeValue::as_array).is_some_and(|list| list.is_empty())
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        self.text(TextForm::Free)
    }

    /// A text whose form the caller checks. `form` is what the schema says about it.
    pub(super) fn text(&self, form: TextForm) -> Option<&'a str> {
        match self.read_as(|| ValueSchema::Text(form))? {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("a string"),
        }
    }

    /// A text that the caller compares with `words` itself, because it has its own message for
    /// some of the others. A probe is one of the words.
    pub(super) fn text_among<'w>(&self, words: &[&'w str]) -> Option<&'w str>
    where
        'a: 'w,
    {
        if let Some(answer) = self.decide("which word?", words.len()) {
            self.record(choice_of(words.iter().copied()));
            return words.get(answer).copied();
        }
        self.string()
    }

    /// A string that is not empty, has no control characters, and no space at either end. Stray
    /// spaces come from copying, and control characters could forge lines of a log. Such a string
    /// is used for names, claims and addresses.
    pub(super) fn plain_name(&self) -> Option<String> {
        let text = self.text(TextForm::Plain)?;
        if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
            self.issue("must not be empty or begin or end with a space");
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.read_as(|| ValueSchema::Flag)? {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A whole number within `range`. TOML's other radixes (`0x10`) are accepted.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(number) = self.read_as(|| ValueSchema::Number(range.clone()))? else {
            return self.wrong_type("a whole number");
        };
        let number = integer(number).and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.issue(format!("must be between {} and {}", range.start(), range.end()));
        }
        number
    }

    /// A duration within `range`, as text with a unit (`"30s"`). A bare number is refused with the
    /// text that was probably meant, because it does not say which unit it has. A value outside the
    /// range is reported with both bounds.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let read = match self.read_as(|| ValueSchema::Duration(range.clone()))? {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(number) => Err(duration::bare(number.as_str())),
            _ => return self.wrong_type("a duration, for example \"30s\""),
        };
        let checked = read.and_then(|value| match range.contains(&value) {
            true => Ok(value),
            false => Err(format!(
                "must be between {} and {}",
                duration::render(*range.start()),
                duration::render(*range.end())
            )),
        });
        checked.map_err(|remedy| self.issue(remedy)).ok()
    }

    /// A size in bytes within `range`, as text with a unit (`"1MiB"`). A bare number is refused,
    /// with the text that was probably meant. A value outside the range is reported with both
    /// bounds.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let read = match self.read_as(|| ValueSchema::Size(range.clone()))? {
            DeValue::String(text) => size::parse(text),
            DeValue::Integer(number) => Err(size::bare(number.as_str())),
            _ => return self.wrong_type("a size, for example \"1MiB\""),
        };
        let checked = read.and_then(|value| match range.contains(&value) {
            true => Ok(value),
            false => Err(format!(
                "must be between {} and {}",
                size::render(*range.start()),
                size::render(*range.end())
            )),
        });
        checked.map_err(|remedy| self.issue(remedy)).ok()
    }

    /// The value of one of a few allowed words. Another word is reported with the most similar one.
    /// A probe is each of the words in turn.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let text = self.text_among(&words)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.issue(no_such("choice", text, words));
        }
        found.map(|(_, value)| value.clone())
    }

    /// The elements of a list. A single string is reported together with the list to write instead.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        self.elements(false)
    }

    /// The elements of a list that must have at least one; an empty one is reported with `remedy`,
    /// and is returned all the same.
    pub(super) fn filled_list(&self, remedy: &str) -> Option<Vec<Self>> {
        let list = self.elements(true)?;
        if list.is_empty() {
            self.issue(remedy);
        }
        Some(list)
    }

    fn elements(&self, is_filled: bool) -> Option<Vec<Self>> {
        let Some(value) = self.raw() else {
            let recorder = self.reading.recorder()?;
            recorder.list(&self.at, is_filled);
            return Some(vec![Self::probe(self.reading, self.at.index(0))]);
        };
        let DeValue::Array(array) = value else {
            if let DeValue::String(text) = value {
                self.issue(format!("must be a list: write [{text:?}]"));
                return None;
            }
            return self.wrong_type("a list");
        };
        let item = |(number, value)| {
            let item = Self::new(self.reading, self.at.index(number), value);
            self.reading.note_place(item.at(), item.position());
            item
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A path, made relative to the configuration's folder and recorded as a file of this
    /// configuration. Whether the file exists is checked by the callers that read it. Files are
    /// recorded so that `check --print` can name them.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text(TextForm::Path)?;
        if text.is_empty() || text.contains('\0') {
            self.issue("must be the path of a file");
            return None;
        }
        self.reading.note_written(&self.at, text);
        let path = self.reading.resolve(text);
        self.reading.note_file(&path);
        Some(path)
    }

    /// An IP address and port, both as numbers. A host name is refused: it would be resolved once
    /// at the start, and may stand for several addresses. The usual mistakes (`:8443`, `*:8443`,
    /// `localhost:8443`) are answered with the text to write.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        let text = self.text(TextForm::SocketAddress)?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let port = if port.parse::<u16>().is_ok() { port } else { "8443" };
        // The remedy keeps the port that was written, and falls back to an example port.
        let remedy = match host {
            "" | "*" => format!("needs an IP address: write \"0.0.0.0:{port}\" or \"[::]:{port}\""),
            "localhost" => format!("needs an IP address: write \"127.0.0.1:{port}\""),
            _ => "must be an IP address with a port, for example \"127.0.0.1:8443\"".to_owned(),
        };
        self.issue(remedy);
        None
    }

    /// The value as JSON, for claims and facts whose structure is free.
    pub(super) fn json(&self) -> serde_json::Value {
        self.record(ValueSchema::Any);
        self.deserialize().unwrap_or_default()
    }

    /// The value as a type of another library. `None` after a problem was reported, and for a
    /// probe.
    pub(super) fn deserialize<T: for<'d> Deserialize<'d>>(&self) -> Option<T> {
        let read = T::deserialize(toml::de::ValueDeserializer::from(self.value?.clone()));
        read.map_err(|error| self.issue(error.message().to_owned())).ok()
    }
}

/// A choice of words, for a schema.
pub(super) fn choice_of<'w>(words: impl IntoIterator<Item = &'w str>) -> ValueSchema {
    ValueSchema::Choice(words.into_iter().map(str::to_owned).collect())
}

/// The value of a TOML integer in any radix; `None` if it does not fit into 64 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The TOML type in the words of messages.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Upper bound on the characters of a shown value. Line and key path already say where to look.
const SHOWN: usize = 60;

fn show(value: &DeValue<'_>) -> String {
    let text: Cow<'_, str> = match value {
        DeValue::String(text) => format!("{text:?}").into(),
        DeValue::Integer(number) => number.to_string().into(),
        DeValue::Float(number) => number.as_str().to_owned().into(),
        DeValue::Boolean(value) => value.to_string().into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(array) if array.is_empty() => "[]".into(),
        // An element may be a secret that was written in the wrong place.
        DeValue::Array(_) => "[…]".into(),
        DeValue::Table(_) => "{…}".into(),
    };
    if text.chars().count() <= SHOWN {
        return text.into_owned();
    }
    text.chars().take(SHOWN).chain(std::iter::once('…')).collect()
}
