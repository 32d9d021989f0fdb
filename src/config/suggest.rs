//! "Did you mean": names that are nearly right, and names that are taken.

use super::issues::{KeyPath, Position};
use super::item::Item;
use super::reader::{Reading, Table};
use super::warnings::WarningName;

/// Below this similarity (0 to 1) a suggestion would be a guess.
const SIMILAR: f64 = 0.75;

/// The candidate that is most like `name`, if one is like it at all.
pub(super) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Of numbers any is like any other.
    if !name.contains(char::is_alphabetic) {
        return None;
    }
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// What to say of a name that nothing has.
pub(super) fn no_such<'a>(
    what: &str,
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(meant) = did_you_mean(name, candidates.clone()) {
        return format!("no such {what}; did you mean \"{meant}\"?");
    }
    let known: Vec<&str> = candidates.into_iter().collect();
    if known.is_empty() {
        format!("no such {what}; there is none")
    } else {
        format!("no such {what}; there are {}", known.join(", "))
    }
}

/// The names of one kind of thing, each with the line that gave it.
pub(super) struct Names {
    /// What the things are called in messages.
    what: &'static str,
    names: Vec<(String, Option<Position>)>,
    /// A name could not be read, so nothing can be said of references.
    incomplete: bool,
}

impl Names {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, names: Vec::new(), incomplete: false }
    }

    /// Reads the name of `table`, which must be plain and unique; a stand-in after a problem.
    pub(super) fn read(&mut self, table: &mut Table<'_>, default: Option<&str>) -> String {
        self.read_key(table, "name", default)
    }

    /// The same where the key is called otherwise.
    pub(super) fn read_key(
        &mut self,
        table: &mut Table<'_>,
        key: &'static str,
        default: Option<&str>,
    ) -> String {
        let item = match default {
            Some(_) => table.get(key),
            None => table.required(key, &format!("each {} has its own {key}", self.what)),
        };
        let given = item.as_ref().map(|item| item.text().unwrap_or_default());
        let name = given.or(default).unwrap_or_default();
        if let Some(item) = item.as_ref().filter(|item| item.is_text() && !is_plain_name(name)) {
            item.issue("must be of letters, digits, `-`, `_` and `.`, at most 64");
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
        // Kept even when wrong, so that references to it are not reported as well.
        if name.is_empty() {
            self.incomplete = true;
        } else {
            self.names.push((name.to_owned(), table.position()));
        }
        name.to_owned()
    }

    /// Some names cannot be read.
    pub(super) fn excuse(&mut self) {
        self.incomplete = true;
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The name that `item` refers to, if there is such a thing.
    pub(super) fn refer(&self, item: &Item<'_>) -> Option<String> {
        let name = item.text()?;
        if !self.iter().any(|known| known == name) {
            if self.incomplete {
                return None;
            }
            item.issue(no_such(self.what, name, self.iter()));
            return None;
        }
        Some(name.to_owned())
    }

    /// The names that the elements of a list refer to, none of them twice.
    pub(super) fn refer_all(&self, list: &[Item<'_>]) -> Vec<String> {
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

/// Whether sections may be called so.
pub fn is_plain_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

impl Table<'_> {
    /// An error at `item`, or at the key of this name where nothing stands.
    pub(super) fn report(&self, key: &str, item: Option<&Item<'_>>, remedy: String) {
        match item {
            Some(item) => item.issue(remedy),
            None => self.issue(key, remedy),
        }
    }
}

/// Where something was said, for messages about it that come later.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) at: KeyPath,
    pub(super) position: Option<Position>,
}

impl Place {
    pub(super) fn of(table: &Table<'_>) -> Self {
        Self { at: table.at().clone(), position: table.position() }
    }

    /// The key of this name below, with the table's position in case nothing stands there.
    pub(super) fn at(&self, key: &str) -> Self {
        Self { at: self.at.below(key), position: self.position }
    }

    /// `line 12`, or nothing where the line is not known.
    pub(super) fn named(&self) -> String {
        self.position.map(|at| format!(" (line {})", at.line)).unwrap_or_default()
    }

    pub(super) fn issue(&self, reading: &Reading<'_>, value: String, remedy: String) {
        self.add(reading, value, remedy, super::Severity::Error);
    }

    pub(super) fn warn(
        &self,
        reading: &Reading<'_>,
        name: WarningName,
        value: String,
        remedy: String,
    ) {
        self.add(reading, value, remedy, super::Severity::Warning(name));
    }

    fn add(&self, reading: &Reading<'_>, value: String, remedy: String, severity: super::Severity) {
        let (path, position) = (self.at.clone(), reading.place(&self.at).or(self.position));
        reading.add(super::Issue { position, path, value, remedy, severity });
    }
}
