//! Types, bounds and defaults in words, for descriptions and for the reference.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::config::{TextForm, ValueSchema};
use crate::settings::{duration, size};

/// The types that a value may have: `whole number from 1 to 5, or true or false`.
pub(super) fn types(values: &[ValueSchema]) -> String {
    let mut words: Vec<String> = values.iter().map(one).collect();
    words.dedup();
    words.join(", or ")
}

/// The bounds that a JSON Schema has no keyword for, as a sentence; empty if there are none.
pub(super) fn bounds(values: &[ValueSchema]) -> String {
    let bounds = values.iter().filter_map(|value| match value {
        ValueSchema::Duration(range) => Some(format!("A duration{}.", durations(range))),
        ValueSchema::Size(range) => Some(format!("A size{}.", sizes(range))),
        _ => None,
    });
    bounds.collect::<Vec<_>>().join(" ")
}

/// A default as it is written in TOML.
pub(super) fn default(value: &Value) -> String {
    // Strings, numbers, truth values and lists of them are written alike in JSON and TOML, but for
    // the spaces in lists.
    match value {
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(default).collect();
            format!("[{}]", list.join(", "))
        }
        value => value.to_string(),
    }
}

fn one(value: &ValueSchema) -> String {
    match value {
        ValueSchema::Text(form) => text(*form).to_owned(),
        ValueSchema::Flag => "`true` or `false`".to_owned(),
        ValueSchema::Number(range) => {
            format!("whole number from {} to {}", range.start(), range.end())
        }
        ValueSchema::Duration(range) => format!("duration{}", durations(range)),
        ValueSchema::Size(range) => format!("size{}", sizes(range)),
        ValueSchema::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word:?}`")).collect();
            words.join(", ")
        }
        ValueSchema::Reference { what, .. } => format!("name of {} {what}", article(what)),
        ValueSchema::Secret => "secret".to_owned(),
        ValueSchema::List { elements, is_filled } => {
            let least = if *is_filled { "at least one " } else { "" };
            format!("list of {least}{}", types(elements))
        }
        ValueSchema::Table(_) => "table".to_owned(),
        ValueSchema::Map(values) => {
            format!("table with keys of your own, for each: {}", types(values))
        }
        ValueSchema::Any => "anything".to_owned(),
        ValueSchema::Dialect => "dialect".to_owned(),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o']) || noun.starts_with("up") { "an" } else { "a" }
}

fn text(form: TextForm) -> &'static str {
    match form {
        TextForm::Free | TextForm::Plain => "text",
        TextForm::SectionName => "name of letters, digits, `-`, `_` and `.`",
        TextForm::Path => "path",
        TextForm::SocketAddress => "IP address and port",
        TextForm::Day => "day such as `\"2027-03-31\"`",
    }
}

fn durations(range: &RangeInclusive<Duration>) -> String {
    let from = duration::render(*range.start());
    match *range.end() {
        Duration::MAX => String::new(),
        end => format!(" from {from} to {}", duration::render(end)),
    }
}

fn sizes(range: &RangeInclusive<u64>) -> String {
    format!(" from {} to {}", size::render(*range.start()), size::render(*range.end()))
}
