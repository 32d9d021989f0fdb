//! `tollhouse dialect test`, and the examples of every built-in dialect.

use std::collections::BTreeMap;

use serde_json::Value;
use tollhouse::dialect::{Dialect, EndpointPath, Reason};

use crate::harness::process::run_in;

/// Refusals that no example can show, each with why.
const UNSHOWN: &[(&str, &str, &str)] = &[
    ("aviate", "404", "every path of a story has a route"),
    ("aviate", "500", "nothing a client does is answered so"),
    ("datarhei: POST /api/login", "token_invalid", EXCHANGE),
    ("datarhei: POST /api/login", "token_revoked", EXCHANGE),
    ("datarhei: POST /api/login", "token_expired", EXCHANGE),
    ("datarhei: POST /api/login", "not_permitted", EXCHANGE),
    ("native: POST /auth/exchange", "no success", EXCHANGE),
    ("native: POST /auth/introspect", "no success", "it takes an [[api_key]]"),
    ("native: POST /auth/revoke", "no success", "it takes an [[api_key]]"),
    ("django_token", "token_expired", FORGOTTEN),
    ("django_token", "token_revoked", NO_LOGOUT),
    ("simplejwt", "token_revoked", NO_LOGOUT),
    ("wordpress_jwt", "token_revoked", NO_LOGOUT),
    ("datarhei", "token_revoked", NO_LOGOUT),
    ("webitel: POST /logout", "403", "a logout is permitted to whoever is logged in"),
];

const FORGOTTEN: &str = "an opaque token is forgotten with its session";
const NO_LOGOUT: &str = "its clients cannot log out; an operator can end a session";
const EXCHANGE: &str = "it takes an [[issuer]]";

/// What became of an example, as `--json` tells it.
struct Told {
    method: String,
    path: String,
    reason: Option<Reason>,
}

fn told(name: &str) -> Vec<Told> {
    let dir = tempfile::tempdir().unwrap();
    let text = run_in(dir.path(), &["dialect", "test", name, "--json"], "").ok();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let (method, target) = line["request"].as_str().unwrap().split_once(' ').unwrap();
        let path = target.split('?').next().unwrap();
        Told {
            method: method.to_owned(),
            path: path.to_owned(),
            reason: line["reason"].as_str().map(|code| Reason::from_code(code).unwrap()),
        }
    };
    text.lines().map(line).collect()
}

/// The keys of an error table that no refusal is an example of.
fn unshown<'k>(table: Option<&'k toml::Value>, refusals: &[Reason]) -> Vec<&'k str> {
    let keys = table.and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    let is_shown = |key: &&String| {
        refusals.iter().any(|reason| match key.parse::<u16>() {
            Ok(status) => reason.status().as_u16() == status,
            Err(_) => reason.code() == key.as_str(),
        })
    };
    keys.filter(|key| *key != "default" && !is_shown(key)).map(String::as_str).collect()
}

fn is_at(told: &Told, method: &http::Method, path: &EndpointPath) -> bool {
    let path = path.to_string();
    let (path, told_path) = (path.split('/'), told.path.split('/'));
    let is_same = |(segment, told): (&str, &str)| segment.starts_with('{') || segment == told;
    told.method == method.as_str()
        && path.clone().count() == told_path.clone().count()
        && path.zip(told_path).all(is_same)
}

#[test]
fn every_built_in_dialect_shows_each_endpoint_and_each_refusal_that_it_words() {
    let mut faults = Vec::new();
    for name in Dialect::builtin_names() {
        let dialect = Dialect::builtin(name).unwrap();
        let file: toml::Value = toml::from_str(Dialect::builtin_text(name).unwrap()).unwrap();
        let told = told(name);
        // Several endpoints may have one path: that many different examples have to succeed there.
        let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (number, endpoint) in dialect.endpoints.iter().enumerate() {
            let here = |told: &&Told| is_at(told, &endpoint.method, &endpoint.path);
            let succeeded = told.iter().filter(here).filter(|told| told.reason.is_none()).count();
            let place = format!("{name}: {} {}", endpoint.method, endpoint.path);
            let (needed, found) = places.entry(place.clone()).or_default();
            *needed += 1;
            *found = succeeded;
            let refusals: Vec<_> =
                told.iter().filter(here).filter_map(|told| told.reason).collect();
            let table = file["endpoint"][number].get("error");
            faults.extend(unshown(table, &refusals).iter().map(|key| format!("{place}: {key}")));
        }
        let few = places.iter().filter(|(_, (needed, found))| found < needed);
        faults.extend(few.map(|(place, _)| format!("{place}: no success")));
        let refusals: Vec<_> = told.iter().filter_map(|told| told.reason).collect();
        faults.extend(
            unshown(file.get("error"), &refusals).iter().map(|key| format!("{name}: {key}")),
        );
    }
    let unexcused = |fault: &&String| {
        !UNSHOWN.iter().any(|(place, key, _)| **fault == format!("{place}: {key}"))
    };
    let left: Vec<&String> = faults.iter().filter(unexcused).collect();
    assert!(left.is_empty(), "{left:#?}");
    for (place, key, _) in UNSHOWN {
        assert!(faults.contains(&format!("{place}: {key}")), "{place}: {key} is shown");
    }
}

/// A dialect with one endpoint, and these examples.
fn test_file(examples: &str) -> crate::harness::process::CommandOutput {
    let dir = tempfile::tempdir().unwrap();
    let dialect = "name = \"own\"\n[[endpoint]]\nstep = \"login\"\nrequest = \"POST /in\"\n\
                   credential = [{ form = { username = \"u\", password = \"p\" } }]\n\
                   reply = { json = { token = \"$access.token\", user = \"$user.name\" } }\n";
    std::fs::write(dir.path().join("own.toml"), format!("{dialect}{examples}")).unwrap();
    run_in(dir.path(), &["dialect", "test", "own.toml"], "")
}

#[test]
fn what_is_not_as_an_example_says_is_told_and_ends_its_story() {
    let output = test_file(
        r#"
        [[example]]
        user = { name = "bob", password = "hunter2" }
        request = "POST /in\nContent-Type: application/x-www-form-urlencoded\n\nu=bob&p=hunter2"
        reply = "200 OK\nCache-Control: public\n\n{\"token\": \"$token\", \"user\": \"ann\"}"

        [[example]]
        request = "GET /call\nAuthorization: Bearer $token"
        reply = "200"

        [[example]]
        name = "another story"
        state = "new"
        request = "GET /call"
        reply = "401"
        "#,
    );

    let text = output.stdout.replace('\n', "\n  ");
    for part in [
        "FAILED POST /in                             200",
        "`cache-control` is `no-store`, not `public`",
        "the body.user differs: the body is `{\"token\":\"",
        "FAILED GET /call",
        "was not run, because one before it fails",
        "ok     GET /call                            401 another story",
    ] {
        assert!(text.contains(part), "{part} is not in\n  {text}");
    }
    assert_eq!(output.status, Some(1));
    assert_eq!(output.stderr, "tollhouse: 2 of 3 examples of `own` fail\n");
}

#[test]
fn a_dialect_whose_examples_cannot_be_run_is_told_so() {
    for (examples, said) in [
        ("", "dialect `own` has no [[example]]"),
        (
            "[[example]]\nrequest = \"GET /$x\"\nreply = \"200\"\n",
            "example[0].request  has `$x`, which no reply before it in this story has",
        ),
        ("[[example]]\nrequest = \"GET /\"\n", "missing field `reply`"),
    ] {
        let output = test_file(examples);

        assert_eq!(output.status, Some(1), "{}", output.stdout);
        assert!(output.stderr.contains(said), "{said} is not in {}", output.stderr);
    }
    let dir = tempfile::tempdir().unwrap();
    let output = run_in(dir.path(), &["dialect", "test", "webitell"], "");
    assert!(output.stderr.contains("no dialect `webitell`; there are webitel, "));
}
