//! The reference of the configuration, as a page of the book.
//!
//! Sections have the order of the commented sample, from which the explanations come; keys have the
//! order of their readers.

use std::fmt::Write as _;

use super::explained::{ExplainedKey, Explainer, TableForm, form_in_words};
use super::words;
use crate::config::{KeyGroup, TableSchema, ValueSchema};

const HEAD: &str = "\
# Configuration reference

Every key of `gateway.toml`, with its type, its bounds and its default. The commented sample, which `tollhouse init`
writes, shows them in use; `tollhouse check` reports whatever is wrong in a file, with the line, and `tollhouse check
--print` shows what is in effect.

A duration is a number and a unit, `\"500ms\"`, `\"30s\"`, `\"15m\"`, `\"12h\"` or `\"7d\"`; a size is one of `\"512B\"`,
`\"64KiB\"`, `\"10MiB\"` and `\"1GiB\"`. A secret is never written in the file: it is `{ env = \"NAME\" }` or
`{ file = \"path\" }`. Paths are relative to the folder of the file. In every table `accept = [\"name\"]` accepts a
warning about it.

`tollhouse schema --format markdown` prints this page, and `tollhouse schema` the same as a JSON Schema. With
`tollhouse schema > gateway.schema.json` beside the file, and the line `#:schema gateway.schema.json` at its head,
editors that know schemas of TOML (Even Better TOML, Taplo) complete the keys, explain them and mark mistakes.
";

/// The section of dialects, whose keys are stated apart.
const DIALECT: &str = "dialect";
const ABOUT_DIALECTS: &str = "\
A login wire format of your own. `tollhouse dialect show NAME` prints a built-in one as an example.";

/// The page for `gateway.toml`. `dialect` has the keys of its `[[dialect]]` tables.
pub(super) fn gateway(
    schema: &TableSchema,
    dialect: &TableSchema,
    explainer: &Explainer,
) -> String {
    let mut page = Page { text: HEAD.to_owned(), explainer };
    let mut sections = explainer.keys(schema, "");
    sections.sort_by_key(|section| explainer.place(&section.name));
    for section in sections.iter().filter(|section| section.name != DIALECT) {
        page.section(section);
    }
    page.line(format_args!("\n## `[[{DIALECT}]]`\n\n{ABOUT_DIALECTS}"));
    page.table(dialect, DIALECT, None);
    page.text
}

/// The page for a dialect.
pub(super) fn dialect(schema: &TableSchema) -> String {
    let text = format!("# Keys of a dialect\n\n{ABOUT_DIALECTS}\n");
    let mut page = Page { text, explainer: &Explainer::default() };
    page.table(schema, "", None);
    page.text
}

struct Page<'e> {
    text: String,
    explainer: &'e Explainer,
}

impl Page<'_> {
    /// A table of the top level.
    fn section(&mut self, section: &ExplainedKey) {
        let is_list = section.values.iter().any(|value| matches!(value, ValueSchema::List { .. }));
        let name = &section.name;
        let header = if is_list { format!("[[{name}]]") } else { format!("[{name}]") };
        self.line(format_args!("\n## `{header}`"));
        let Some(table) = inner_table(&section.values) else { return };
        if table.variants.is_empty() {
            self.paragraph(self.explainer.table(name, None));
            self.table(table, name, None);
            return;
        }
        for variant in &table.variants {
            let form = (variant.key, variant.value);
            self.line(format_args!("\n### `{header}` with {}", form_in_words(form)));
            self.paragraph(self.explainer.table(name, Some(form)));
            self.table(&variant.table, name, Some(form));
        }
    }

    /// The keys of a table, and then the tables in it.
    fn table(&mut self, table: &TableSchema, at: &str, form: Option<TableForm<'_>>) {
        let keys = self.explainer.keys_of_form(table, at, form);
        self.line("");
        for key in &keys {
            self.key(key);
        }
        for group in &table.groups {
            self.group(group);
        }
        for key in &keys {
            let Some(inner) = inner_table(&key.values) else { continue };
            self.line(format_args!("\n#### `{}`", key.path));
            self.table(inner, &key.path, None);
        }
    }

    fn key(&mut self, key: &ExplainedKey) {
        let mut facts = vec![words::types(&key.values)];
        if key.is_required {
            facts.push("required".to_owned());
        }
        if let Some(default) = &key.default {
            facts.push(format!("default `{}`", words::default(default)));
        }
        self.line(format_args!("- **`{}`** ({})", key.name, facts.join("; ")));
        if key.is_own_text {
            let text = escaped(&key.text);
            for line in text.lines() {
                let line = if line.is_empty() { "" } else { &format!("  {line}") };
                self.line(line);
            }
        }
    }

    fn group(&mut self, group: &KeyGroup) {
        let keys: Vec<String> = group.keys.iter().map(|key| format!("`{key}`")).collect();
        let how_many = if group.is_required { "Exactly one" } else { "At most one" };
        self.line(format_args!("\n{how_many} of {}.", keys.join(", ")));
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.line(format_args!("\n{}", escaped(text)));
        }
    }

    fn line(&mut self, line: impl std::fmt::Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// The table that a value is, or that the elements of a list are.
fn inner_table(values: &[ValueSchema]) -> Option<&TableSchema> {
    values.iter().find_map(|value| match value {
        ValueSchema::Table(table) => Some(table),
        ValueSchema::List { elements, .. } => inner_table(elements),
        ValueSchema::Map(values) => inner_table(values),
        _ => None,
    })
}

/// Text in Markdown. Only what is between backticks stays as it is.
fn escaped(text: &str) -> String {
    let mut is_code = false;
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '`' => is_code = !is_code,
            '*' | '<' | '[' | '_' if !is_code => escaped.push('\\'),
            _ => {}
        }
        escaped.push(letter);
    }
    escaped
}
