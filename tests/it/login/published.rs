//! The published logins of docs/dialects/published.md: each is exercised with requests and answers as
//! its page has them.
//!
//! The table names for each system a built-in dialect or a file in `tests/cases/dialect/published`, and
//! beside it is what is exchanged: requests after `>>>` and answers after `<<<`. `${name}` stands for
//! whatever comes there the first time, and for the same from then on; `${_}` for anything. A call
//! that reaches the upstream is answered `{"upstream": true}`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollhouse::dialect::Dialect;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Upstream};

/// At least so many of the systems are served.
const SERVED: usize = 26;
const SYSTEMS: usize = 28;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/dialect/published")
}

/// A row of the table: the system, its page, and its dialect if there is one.
#[derive(Debug)]
struct PublishedLogin {
    system: String,
    page: String,
    dialect: Option<String>,
}

fn table() -> Vec<PublishedLogin> {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/dialects/published.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("]("));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [system, dialect, _] = cells[..] else { panic!("three cells: {line}") };
        let (system, page) = system.trim_start_matches('[').split_once("](").unwrap();
        let name = dialect.split('`').nth(1).map(str::to_owned);
        PublishedLogin {
            system: system.to_owned(),
            page: page.trim_end_matches(')').to_owned(),
            dialect: name,
        }
    };
    rows.map(row).collect()
}

#[test]
fn the_table_has_every_file_and_each_system_has_its_page() {
    let table = table();
    assert_eq!(table.len(), SYSTEMS);
    let served: Vec<&String> = table.iter().filter_map(|row| row.dialect.as_ref()).collect();
    assert!(served.len() >= SERVED, "{} are served", served.len());
    for row in &table {
        assert!(row.page.starts_with("https://"), "{row:?}");
    }
    for name in &served {
        let is_own = folder().join(format!("{name}.toml")).exists();
        assert!(is_own != Dialect::builtin(name).is_some(), "{name} is built in, or has a file");
        assert!(folder().join(format!("{name}.http")).exists(), "{name} is exercised");
    }
    for file in std::fs::read_dir(folder()).unwrap().flatten() {
        let name = file.path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(served.contains(&&name) || name == "README", "{name} is in the table");
    }
}

#[tokio::test]
async fn each_published_login_is_served_as_its_page_has_it() {
    let mut wrong = Vec::new();
    for row in table() {
        let Some(name) = row.dialect else { continue };
        if let Err(cause) = exercise(&name).await {
            wrong.push(format!("{} ({name}): {cause}", row.system));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Serves the dialect, and exchanges what its file has.
async fn exercise(name: &str) -> Result<(), String> {
    let upstream = Upstream::start().await;
    let sections = match std::fs::read_to_string(folder().join(format!("{name}.toml"))) {
        Ok(text) => {
            let dialect: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
            let whole = toml::Table::from_iter([("dialect".to_owned(), vec![dialect].into())]);
            toml::to_string(&whole).unwrap()
        }
        Err(_) => String::new(),
    };
    let gateway = Gateway::builder()
        .config(&sections)
        .login(name)
        .route_to(&upstream, &format!("auth = [\"login\"]\nerrors = \"{name}\""))
        .try_start()
        .await?;
    let text = std::fs::read_to_string(folder().join(format!("{name}.http"))).unwrap();
    let mut values = known_values();
    let mut calls = 0;
    for exchange in text.split(">>> ").skip(1) {
        let (request, expected) = exchange.split_once("<<< ").unwrap();
        let first = request.lines().next().unwrap();
        let reply = send(&gateway, &filled(request, &values)).await;
        compare(expected, &reply, &mut values)
            .map_err(|cause| format!("{first}: {cause}\n{reply:?}"))?;
        calls += usize::from(expected.contains("{\"upstream\": true}"));
    }
    let seen = upstream.received();
    if seen.len() != calls || calls == 0 {
        return Err(format!("the upstream has seen {} calls, not {calls}", seen.len()));
    }
    let secrets = ["token", "second", "refresh"].map(|name| values.get(name).cloned());
    for secret in secrets.into_iter().flatten() {
        if format!("{seen:?}").contains(&secret) {
            return Err("the upstream has seen a token".to_owned());
        }
    }
    Ok(())
}

fn known_values() -> BTreeMap<String, String> {
    let pair = |name: &str, password: &str| STANDARD.encode(format!("{name}:{password}"));
    [
        ("PASSWORD", PASSWORD.to_owned()),
        ("PASSWORD_FORM", PASSWORD.replace(' ', "+")),
        ("BASIC", pair("alice", PASSWORD)),
        ("BASIC_EMAIL", pair("alice@example.com", PASSWORD)),
        ("WRONG_BASIC", pair("alice", "wrong")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    let fill = |text: String, (name, value): (&String, &String)| {
        text.replace(&format!("${{{name}}}"), value)
    };
    values.iter().fold(text.to_owned(), fill)
}

async fn send(gateway: &Gateway, request: &str) -> Reply {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let client = gateway.client();
    let mut call = client.call(method.parse().unwrap(), target);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        call = call.header(name, value);
    }
    call.body(body.trim_end().to_owned()).send().await
}

/// Compares an answer with its status, its fields and its body.
fn compare(
    expected: &str,
    reply: &Reply,
    values: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let mut lines = expected.lines();
    let status = lines.next().unwrap_or_default().trim();
    if reply.status.as_str() != status {
        return Err(format!("status {} is not {status}", reply.status));
    }
    let mut body = String::new();
    for line in lines {
        let field =
            line.split_once(": ").filter(|_| body.is_empty() && !line.starts_with(['{', '"']));
        match field {
            Some((name, pattern)) => {
                let mut found = reply.headers.get_all(name).iter();
                let is_it = |value: &http::HeaderValue| {
                    matches(pattern, value.to_str().unwrap_or_default(), values)
                };
                if !found.any(is_it) {
                    return Err(format!("no field {name}: {pattern}"));
                }
            }
            None => body.push_str(line),
        }
    }
    let text = reply.text();
    let body = body.trim();
    if body.starts_with(['{', '"', '[']) {
        let expected: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let found = serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}"))?;
        return alike(&expected, &found, "", values);
    }
    match matches(body, text.trim_end(), values) {
        true => Ok(()),
        false => Err(format!("the body {text:?} is not {body:?}")),
    }
}

/// Compares JSON; texts may be patterns.
fn alike(
    expected: &Value,
    found: &Value,
    at: &str,
    values: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names = |object: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                object.keys().cloned().collect()
            };
            if names(expected) != names(found) {
                return Err(format!("{at}: {} is not {}", json!(found), json!(expected)));
            }
            expected.iter().try_for_each(|(name, value)| {
                alike(value, &found[name], &format!("{at}.{name}"), values)
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found);
            pairs.try_for_each(|(expected, found)| {
                alike(expected, found, &format!("{at}[]"), values)
            })
        }
        (Value::String(pattern), Value::String(text)) if matches(pattern, text, values) => Ok(()),
        (expected, found) if expected == found => Ok(()),
        _ => Err(format!("{at}: {found} is not {expected}")),
    }
}

/// Matches a text with a pattern of fixed parts and `${names}`; `…` at its end stands for anything.
fn matches(pattern: &str, text: &str, values: &mut BTreeMap<String, String>) -> bool {
    let Some((before, rest)) = pattern.split_once("${") else {
        return match pattern.strip_suffix('…') {
            Some(start) => text.starts_with(start),
            None => pattern == text,
        };
    };
    let Some(text) = text.strip_prefix(before) else { return false };
    let (name, rest) = rest.split_once('}').unwrap();
    if let Some(known) = values.get(name) {
        return text
            .strip_prefix(known.as_str())
            .is_some_and(|text| matches(rest, text, &mut values.clone()));
    }
    let next = rest.split("${").next().unwrap_or_default().trim_end_matches('…');
    let end = if next.is_empty() { text.len() } else { text.find(next).unwrap_or(0) };
    let (value, text) = text.split_at(end);
    if value.is_empty() || !matches(rest, text, values) {
        return false;
    }
    if name != "_" {
        values.insert(name.to_owned(), value.to_owned());
    }
    true
}
