//! The JSON Schema of a configuration or a dialect.
//!
//! It is of draft 7, the newest that the libraries behind TOML editors understand: Taplo, which is
//! in Even Better TOML, knows the drafts 4 to 7 and silently ignores newer keywords. What depends
//! on several keys, on other sections or on files is not in it; `tollhouse check` reports that.

use serde_json::{Map, Value, json};

use super::explained::{ExplainedKey, Explainer};
use super::words::bounds;
use crate::config::{KeyGroup, TableSchema, TextForm, ValueSchema, VariantSchema, WarningName};

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of `gateway.toml`. `dialect` is that of its `[[dialect]]` tables.
pub(super) fn gateway(schema: &TableSchema, dialect: &TableSchema, explainer: &Explainer) -> Value {
    let warnings: Vec<&str> = WarningName::ALL.iter().map(|(name, _)| *name).collect();
    let mut root = head("gateway.toml of Tollhouse", "The configuration of a Tollhouse gateway.");
    root.extend(table(schema, "", explainer));
    let definitions = json!({
        "accept": {
            "description": "Warnings about this table, and about those in it, that are accepted: \
                            `tollhouse check` does not give them.",
            "type": "array",
            "items": { "enum": warnings },
        },
        "secret": {
            "description": "Where the secret is: an environment variable or a file.",
            "type": "object",
            "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        },
        "dialect": table(dialect, "", &Explainer::default()),
    });
    root.insert("definitions".to_owned(), definitions);
    Value::Object(root)
}

/// The schema of a file with one dialect.
pub(super) fn dialect(schema: &TableSchema) -> Value {
    let mut root = head("A dialect of Tollhouse", "A login wire format.");
    root.extend(table(schema, "", &Explainer::default()));
    Value::Object(root)
}

fn head(title: &str, description: &str) -> Map<String, Value> {
    let texts = [("$schema", DRAFT), ("title", title), ("description", description)];
    texts.map(|(key, text)| (key.to_owned(), text.into())).into_iter().collect()
}

/// The keywords for a table at the key path `at`.
fn table(schema: &TableSchema, at: &str, explainer: &Explainer) -> Map<String, Value> {
    let keys = explainer.keys(schema, at);
    let mut properties: Map<String, Value> = Map::new();
    for key in &keys {
        properties.insert(key.name.clone(), property(key, explainer));
        if let Some(old) = key.old_name {
            let about = format!("The old name of `{}`.", key.name);
            let mut property = any_of(&key.values, &key.path, explainer);
            property.insert("description".to_owned(), about.into());
            properties.insert(old.to_owned(), Value::Object(property));
        }
    }
    if schema.accepts_warnings {
        properties.insert("accept".to_owned(), json!({ "$ref": "#/definitions/accept" }));
    }
    let mut schema_of_all: Vec<Value> = schema.groups.iter().map(group).collect();
    schema_of_all.extend(schema.variants.iter().map(|form| variant(form, schema, at, explainer)));
    let mut keywords = object(properties, keys.iter().filter(|key| key.is_required));
    if !schema_of_all.is_empty() {
        keywords.insert("allOf".to_owned(), schema_of_all.into());
    }
    keywords
}

fn object<'k>(
    properties: Map<String, Value>,
    required: impl Iterator<Item = &'k ExplainedKey>,
) -> Map<String, Value> {
    let required: Vec<&str> = required.map(|key| key.name.as_str()).collect();
    let mut keywords = Map::new();
    keywords.insert("type".to_owned(), "object".into());
    keywords.insert("properties".to_owned(), Value::Object(properties));
    keywords.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        keywords.insert("required".to_owned(), required.into());
    }
    keywords
}

/// The condition of a form of a table, and its keys. The table itself has the keys of all forms, so
/// that editors complete them; this narrows them where the form is known. An error is then reported
/// at the key, which libraries cannot do with a list of alternatives.
fn variant(form: &VariantSchema, whole: &TableSchema, at: &str, explainer: &Explainer) -> Value {
    let keys = explainer.keys(&form.table, at);
    let present = |form: &&VariantSchema| form.value.is_none();
    let mut condition = Map::new();
    let decides = keys.iter().find(|key| key.name == form.key);
    if form.value.is_none() || decides.is_some_and(|key| key.is_required) {
        condition.insert("required".to_owned(), json!([form.key]));
    }
    if let Some(value) = form.value {
        let is_value = json!({ (form.key): { "const": value } });
        condition.insert("properties".to_owned(), is_value);
        let others = whole.variants.iter().filter(present).map(|other| other.key);
        let others: Vec<Value> = others.map(|key| json!({ "required": [key] })).collect();
        if !others.is_empty() {
            condition.insert("not".to_owned(), json!({ "anyOf": others }));
        }
    }
    let mut properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.clone(), bare(key, explainer))).collect();
    properties.insert("accept".to_owned(), true.into());
    let mut then = object(properties, keys.iter().filter(|key| key.is_required));
    then.remove("type");
    let groups: Vec<Value> = form.table.groups.iter().map(group).collect();
    if !groups.is_empty() {
        then.insert("allOf".to_owned(), groups.into());
    }
    json!({ "if": condition, "then": then })
}

fn group(group: &KeyGroup) -> Value {
    if group.is_required {
        let keys = group.keys.iter().map(|key| json!({ "required": [key] }));
        return json!({ "oneOf": keys.collect::<Vec<_>>() });
    }
    let pairs = group.keys.iter().enumerate().flat_map(|(place, key)| {
        let others = group.keys.iter().skip(place + 1);
        others.map(move |other| json!({ "required": [key, other] }))
    });
    json!({ "not": { "anyOf": pairs.collect::<Vec<_>>() } })
}

/// The values that a key may have, with its default.
fn bare(key: &ExplainedKey, explainer: &Explainer) -> Value {
    let mut keywords = any_of(&key.values, &key.path, explainer);
    if let Some(default) = &key.default {
        keywords.insert("default".to_owned(), default.clone());
    }
    Value::Object(keywords)
}

fn property(key: &ExplainedKey, explainer: &Explainer) -> Value {
    let mut keywords = any_of(&key.values, &key.path, explainer);
    // Beside `$ref` every other keyword is ignored in this draft.
    if keywords.contains_key("$ref") {
        let reference = std::mem::take(&mut keywords);
        keywords.insert("allOf".to_owned(), json!([reference]));
    }
    let text = [key.text.clone(), bounds(&key.values)].into_iter().filter(|text| !text.is_empty());
    let text = text.collect::<Vec<_>>().join("\n\n");
    if !text.is_empty() {
        keywords.insert("description".to_owned(), text.into());
    }
    if let Some(default) = &key.default {
        keywords.insert("default".to_owned(), default.clone());
    }
    Value::Object(keywords)
}

/// The keywords for a value that may have one of several types.
fn any_of(values: &[ValueSchema], at: &str, explainer: &Explainer) -> Map<String, Value> {
    match values {
        [value] => one(value, at, explainer),
        values => {
            let all = values.iter().map(|value| Value::Object(one(value, at, explainer)));
            Map::from_iter([("anyOf".to_owned(), all.collect())])
        }
    }
}

fn one(value: &ValueSchema, at: &str, explainer: &Explainer) -> Map<String, Value> {
    let keywords = match value {
        ValueSchema::Text(form) => text(*form),
        ValueSchema::Flag => json!({ "type": "boolean" }),
        ValueSchema::Number(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        ValueSchema::Duration(_) => {
            json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
        }
        ValueSchema::Size(_) => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }),
        ValueSchema::Choice(words) => json!({ "enum": words }),
        // Editors complete the words of the list; any other name is as good.
        ValueSchema::Reference { builtin, .. } if !builtin.is_empty() => {
            json!({ "anyOf": [{ "enum": builtin }, { "type": "string" }] })
        }
        ValueSchema::Reference { .. } => json!({ "type": "string" }),
        ValueSchema::Secret => json!({ "$ref": "#/definitions/secret" }),
        ValueSchema::List { elements, is_filled } => {
            let items = any_of(elements, at, explainer);
            match is_filled {
                true => json!({ "type": "array", "items": items, "minItems": 1 }),
                false => json!({ "type": "array", "items": items }),
            }
        }
        ValueSchema::Table(schema) => return table(schema, at, explainer),
        ValueSchema::Map(values) => {
            let values = any_of(values, at, explainer);
            json!({ "type": "object", "additionalProperties": values })
        }
        ValueSchema::Any => json!({}),
        ValueSchema::Dialect => json!({ "$ref": "#/definitions/dialect" }),
    };
    // Invariant: each of them is an object.
    if let Value::Object(keywords) = keywords { keywords } else { Map::new() }
}

fn text(form: TextForm) -> Value {
    let pattern = match form {
        TextForm::Free => return json!({ "type": "string" }),
        TextForm::Plain | TextForm::Path => return json!({ "type": "string", "minLength": 1 }),
        TextForm::SectionName => "^[A-Za-z0-9._-]{1,64}$",
        TextForm::SocketAddress => "^.+:[0-9]+$",
        TextForm::Day => "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    };
    json!({ "type": "string", "pattern": pattern })
}
