//! The keys of a table together with their explanations.

use serde_json::Value;

use super::sample::Explanations;
use crate::config::{KeySchema, TableSchema, ValueSchema};

/// The key that decides the form of a table, and its value in this form.
pub(super) type TableForm<'f> = (&'f str, Option<&'f str>);

/// Finds the explanation of each key: in the commented sample, or in the schema itself.
#[derive(Debug, Default)]
pub(super) struct Explainer {
    explanations: Explanations,
}

/// A key of a table, of all forms of the table together.
pub(super) struct ExplainedKey {
    pub(super) name: String,
    /// The path from the top, without numbers: `listener.limits.connections`.
    pub(super) path: String,
    pub(super) values: Vec<ValueSchema>,
    pub(super) is_required: bool,
    pub(super) default: Option<Value>,
    pub(super) old_name: Option<&'static str>,
    pub(super) text: String,
    /// False if the text is that of the table around the key, which explains its keys as well.
    pub(super) is_own_text: bool,
}

impl Explainer {
    pub(super) fn new(explanations: Explanations) -> Self {
        Self { explanations }
    }

    /// The place of a section in the sample.
    pub(super) fn place(&self, section: &str) -> usize {
        self.explanations.place(section)
    }

    /// The text about a table; empty if there is none.
    pub(super) fn table(&self, at: &str, form: Option<TableForm<'_>>) -> &str {
        self.explanations.of(at, form).unwrap_or_default()
    }

    /// The keys of a table at `at`, each once. A key that several forms of the table have may have
    /// the types of all of them, and is required if each of them requires it.
    pub(super) fn keys(&self, table: &TableSchema, at: &str) -> Vec<ExplainedKey> {
        let mut keys = self.keys_of_form(table, at, None);
        let forms = table.variants.iter().map(|variant| {
            let form = (variant.key, variant.value);
            (form, self.keys_of_form(&variant.table, at, Some(form)))
        });
        let forms: Vec<_> = forms.collect();
        let everywhere = |name: &str| {
            forms.iter().all(|(_, keys)| keys.iter().any(|key| key.name == name && key.is_required))
        };
        for (form, own) in &forms {
            for key in own {
                match keys.iter_mut().find(|known| known.name == key.name) {
                    Some(known) => known.join(key, *form),
                    None => {
                        keys.push(ExplainedKey { is_required: everywhere(&key.name), ..key.copy() })
                    }
                }
            }
        }
        for key in &mut keys {
            let of_form =
                |own: &ExplainedKey| (own.name == key.name).then(|| own.default.clone())?;
            let mut defaults = forms.iter().flat_map(|(_, own)| own.iter().filter_map(of_form));
            let Some(default) = defaults.next() else { continue };
            // Different defaults are those of the forms, and not of the key.
            key.default = defaults.all(|other| other == default).then_some(default);
        }
        keys
    }

    /// The keys of a table in one form.
    pub(super) fn keys_of_form(
        &self,
        table: &TableSchema,
        at: &str,
        form: Option<TableForm<'_>>,
    ) -> Vec<ExplainedKey> {
        table.keys.iter().map(|key| self.key(key, at, form)).collect()
    }

    fn key(&self, key: &KeySchema, at: &str, form: Option<TableForm<'_>>) -> ExplainedKey {
        let path = match at {
            "" => key.name.clone(),
            at => format!("{at}.{}", key.name),
        };
        let own = match key.description.as_str() {
            "" => self.explanations.of(&path, form),
            stated => Some(stated),
        };
        // A table in one line is explained as a whole. In a section each key has a line of its own.
        let outer = || match self.explanations.has_line(&path) {
            true => None,
            false => self.inherited(at, form),
        };
        ExplainedKey {
            name: key.name.clone(),
            values: key.values.clone(),
            is_required: key.is_required,
            default: key.default.clone(),
            old_name: key.old_name,
            text: sentence(own.or_else(outer).unwrap_or_default()),
            is_own_text: own.is_some(),
            path,
        }
    }

    fn inherited(&self, at: &str, form: Option<TableForm<'_>>) -> Option<&str> {
        let mut at = at;
        while at.contains('.') {
            if let Some(text) = self.explanations.of(at, form) {
                return Some(text);
            }
            at = at.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
        None
    }
}

impl ExplainedKey {
    fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            values: self.values.clone(),
            default: self.default.clone(),
            text: self.text.clone(),
            ..*self
        }
    }

    /// Adds the same key of another form of the table.
    fn join(&mut self, other: &Self, form: TableForm<'_>) {
        for value in &other.values {
            if self.values.contains(value) {
                continue;
            }
            // Words are put together, so that editors have one list of them.
            let words = self.values.iter_mut().find_map(|known| match known {
                ValueSchema::Choice(words) => Some(words),
                _ => None,
            });
            match (words, value) {
                (Some(words), ValueSchema::Choice(more)) => {
                    let new = more.iter().filter(|word| !words.contains(word));
                    let new: Vec<String> = new.cloned().collect();
                    words.extend(new);
                }
                _ => self.values.push(value.clone()),
            }
        }
        if !other.text.is_empty() && !self.text.contains(&other.text) {
            let form = form_in_words(form);
            self.text = format!("{}\n\nWith {form}: {}", self.text, other.text);
        }
    }
}

/// The text as a sentence: comments behind a setting begin with a small letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// A form of a table as it is written: `kind = "sql"`, or the key that makes it.
pub(super) fn form_in_words((key, value): TableForm<'_>) -> String {
    match value {
        Some(value) => format!("`{key} = {value:?}`"),
        None => format!("`{key}`"),
    }
}

/// The paths of keys without a text, in a table and in those inside it. The sections of
/// `gateway.toml` need none.
pub(super) fn unexplained(table: &TableSchema, at: &str, explainer: &Explainer) -> Vec<String> {
    let mut missing = Vec::new();
    for key in explainer.keys(table, at) {
        let is_section = at.is_empty() && table.accepts_warnings;
        if key.text.is_empty() && !is_section {
            missing.push(key.path.clone());
        }
        for inner in tables(&key.values) {
            missing.extend(unexplained(inner, &key.path, explainer));
        }
    }
    missing
}

/// The tables that a value may be, or that the elements of a list may be.
fn tables(values: &[ValueSchema]) -> Vec<&TableSchema> {
    let mut found = Vec::new();
    for value in values {
        match value {
            ValueSchema::Table(table) => found.push(table),
            ValueSchema::List { elements: inner, .. } | ValueSchema::Map(inner) => {
                found.extend(tables(inner));
            }
            _ => {}
        }
    }
    found
}
