//! `tollhouse schema`: the schema, the commented sample and the reader name the same keys, and the
//! files in `docs` are what the program prints.
//!
//! `TOLLHOUSE_BLESS=1` writes those files. Editors' own libraries use them in `tests/editors`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use tollhouse::{config, schema};

use crate::harness::process::run_in;

fn gateway() -> Value {
    serde_json::from_str(&schema::gateway_json()).unwrap()
}

/// The tables that a value may be, with what stands around them resolved.
fn tables(value: &Value) -> Vec<&Value> {
    let alternatives = value["anyOf"].as_array().into_iter().flatten();
    let items = value.get("items").into_iter();
    let is_map = value["additionalProperties"].is_object();
    let map = value.get("additionalProperties").filter(|_| is_map).into_iter();
    let mut found: Vec<&Value> = alternatives.chain(items).chain(map).flat_map(tables).collect();
    if value["properties"].is_object() {
        found.push(value);
    }
    found
}

/// Calls `see` with the path of each key and what the schema says about it.
fn walk<'v>(table: &'v Value, at: &str, see: &mut dyn FnMut(&str, &'v Value)) {
    for (name, key) in table["properties"].as_object().unwrap() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        see(&path, key);
        for inner in tables(key) {
            walk(inner, &path, see);
        }
    }
}

fn keys_of_the_schema() -> BTreeMap<String, Value> {
    let schema = gateway();
    let mut keys = BTreeMap::new();
    walk(&schema, "", &mut |path, key| {
        keys.insert(path.to_owned(), key.clone());
    });
    keys
}

#[test]
fn the_files_in_docs_are_what_the_program_prints() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let dir = tempfile::tempdir().unwrap();
    let mut stale = Vec::new();
    for (file, arguments) in [
        ("gateway.schema.json", &["schema"] as &[&str]),
        ("dialect.schema.json", &["schema", "dialect"]),
        ("reference/configuration.md", &["schema", "--format", "markdown"]),
    ] {
        let printed = run_in(dir.path(), arguments, "").ok();
        let path = docs.join(file);
        if std::env::var_os("TOLLHOUSE_BLESS").is_some() {
            fs::write(&path, &printed).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != printed {
            stale.push(file);
        }
    }

    assert!(stale.is_empty(), "not current, write them with TOLLHOUSE_BLESS=1: {stale:?}");
}

#[test]
fn the_schema_has_the_keys_of_the_reader_and_no_others() {
    let old_name = |key: &Value| {
        key["description"].as_str().is_some_and(|text| text.starts_with("The old name"))
    };
    let found: BTreeSet<String> = keys_of_the_schema()
        .into_iter()
        .filter(|(path, key)| !path.ends_with("accept") && !old_name(key))
        .map(|(path, _)| path)
        .collect();

    assert_eq!(found, config::keys().into_iter().collect());
    assert!(found.len() > 300, "{}", found.len());
}

#[test]
fn every_table_takes_accept_and_no_key_that_nobody_knows() {
    let schema = gateway();
    let mut open = Vec::new();
    let mut see = |path: &str, key: &Value| {
        for table in tables(key) {
            if table["additionalProperties"] != false || table["properties"]["accept"].is_null() {
                open.push(path.to_owned());
            }
        }
    };
    walk(&schema, "", &mut |path, key| see(path, key));

    assert!(open.is_empty(), "{open:?}");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_sample_sets_only_keys_that_there_are_and_explains_each_of_them() {
    let keys: BTreeSet<String> = config::keys().into_iter().collect();

    let unknown = schema::sample_keys().into_iter().filter(|key| !keys.contains(key));
    let unknown: Vec<String> = unknown.filter(|key| !key.ends_with(".accept")).collect();

    assert!(unknown.is_empty(), "no such keys: {unknown:?}");
    assert!(schema::sample_keys().len() > 150);
    assert_eq!(schema::unexplained_keys(), Vec::<String>::new(), "no text in gateway.toml");
    assert_eq!(schema::unexplained_dialect_keys(), Vec::<String>::new());
}

/// As little as a configuration can have, of each section that has defaults.
const LEAST: &str = r#"
[[listener]]
address = "127.0.0.1:8443"
tls = { self_signed = ["localhost"], hsts = {} }
[token]
issuer = "https://gw.example"
[[users]]
name = "staff"
kind = "file"
path = "users.toml"
bootstrap = true
[[users]]
name = "old"
kind = "http"
dialect = "native"
url = "https://old.example"
[[issuer]]
name = "idp"
issuer = "https://idp.example"
audience = ["legacy"]
algorithms = ["RS256"]
[[login]]
dialect = "native"
[mail]
server = "mail.example:25"
from = "login@example.com"
[[upstream]]
name = "orders"
servers = [{ url = "http://10.0.0.5:8080" }]
health = { path = "/ping" }
max_connections = 5
[[route]]
path = "/"
upstream = "orders"
require = { roles = ["admin"] }
rate_limit = { requests = 5, per = "1s" }
mirror = { upstream = "shadow" }
maintenance = {}
cors = { origins = ["https://app.example"] }
[[route]]
path = "/gone"
redirect = { to = "https://new.example" }
[[route]]
path = "/fixed"
respond = { body = "ok" }
[[upstream]]
name = "shadow"
servers = [{ url = "http://10.0.0.6:8080" }]
"#;

/// Every value of a table that is no table itself, with its path. Elements of lists of tables have
/// the same path.
fn values(table: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match table {
        Value::Object(entries) => {
            for (name, value) in entries {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                values(value, &path, found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().for_each(|value| values(value, at, found));
        }
        value => found.push((at.to_owned(), value.clone())),
    }
}

fn values_of(text: &str) -> Vec<(String, Value)> {
    let table: toml::Table = text.parse().unwrap();
    let mut found = Vec::new();
    values(&serde_json::to_value(table).unwrap(), "", &mut found);
    found
}

#[test]
fn the_defaults_of_the_schema_are_those_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let read = config::parse(LEAST, &dir.path().join("gateway.toml"), &|_| None);
    let printed = read.unwrap_or_else(|issues| panic!("{issues}")).print();
    let written: BTreeSet<String> = values_of(LEAST).into_iter().map(|(path, _)| path).collect();
    let keys = keys_of_the_schema();

    // What depends on something else has no default of its own: on another key, on the dialect, on
    // the kind of a source, on the machine.
    let depends = [
        "process.workers",
        "users.parallel",
        "route.respond.content_type",
        "login_limits.hashing.parallel",
        "token.audience",
        "login.name",
        "login.users",
        "login.algorithm",
        "login.issuer",
        "login.audience",
        "login.access_ttl",
        "login.refresh_ttl",
        "login.refresh_idle",
        "login.refresh_grace",
        "login.reveal_unknown_user",
        "issuer.leeway",
        "issuer.required",
        "issuer.type_optional",
        "route.name",
        "route.rate_limit.burst",
        "route.rate_limit.by",
    ];
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, value) in values_of(&printed) {
        if written.contains(&path)
            || depends.contains(&path.as_str())
            || path.starts_with("login.cors")
        {
            continue;
        }
        checked += 1;
        // An empty list or text is the same as nothing.
        let is_nothing = value == serde_json::json!([]) || value == "";
        match keys.get(&path).map(|key| &key["default"]) {
            Some(default) if *default == value || (default.is_null() && is_nothing) => {}
            stated => wrong.push(format!("{path} is {value}, stated is {stated:?}")),
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 80, "{checked}");
}
