//! The schema of `gateway.toml` and of dialects, for editors and for people.
//!
//! Keys, types, bounds and defaults come from the readers themselves (`config::schema`), and the
//! explanations from the commented sample. Nothing is stated here a second time. `cli` prints both
//! forms, a JSON Schema and a page of the book.

mod explained;
mod json;
mod markdown;
mod sample;
mod words;

use self::explained::Explainer;
pub(crate) use self::sample::{SAMPLE, SampleLine};
use crate::config;

/// The JSON Schema of `gateway.toml`.
pub fn gateway_json() -> String {
    pretty(&json::gateway(&config::schema(), &config::dialect_schema(), &explainer()))
}

/// The JSON Schema of a dialect.
pub fn dialect_json() -> String {
    pretty(&json::dialect(&config::dialect_schema()))
}

/// The reference of `gateway.toml` in Markdown.
pub fn gateway_markdown() -> String {
    markdown::gateway(&config::schema(), &config::dialect_schema(), &explainer())
}

/// The reference of a dialect in Markdown.
pub fn dialect_markdown() -> String {
    markdown::dialect(&config::dialect_schema())
}

/// The paths of keys that nothing in the sample explains, not even the table around them.
pub fn unexplained_keys() -> Vec<String> {
    explained::unexplained(&config::schema(), "", &explainer())
}

/// The paths of keys of a dialect that have no explanation.
pub fn unexplained_dialect_keys() -> Vec<String> {
    explained::unexplained(&config::dialect_schema(), "", &Explainer::default())
}

/// The paths of all keys that the sample sets or shows, without those inside of tables in one line.
pub fn sample_keys() -> Vec<String> {
    sample::Explanations::read(SAMPLE).keys()
}

fn explainer() -> Explainer {
    Explainer::new(sample::Explanations::read(SAMPLE))
}

fn pretty(schema: &serde_json::Value) -> String {
    // `{:#}` is the indented form, and cannot fail.
    format!("{schema:#}\n")
}
