//! Dialects of the operator's own, through whole gateways.

use std::path::Path;

use http::Response;
use serde_json::{Value, json};
use tollhouse::config;
use tollhouse::dialect::Dialect;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

/// Members inside others, and a name with a dot in it.
const NESTED: &str = r#"
[[dialect]]
name = "acme"
[[dialect.endpoint]]
step = "login"
request = "POST /in"
credential = [{ json = { username = "user.name", password = ["user", "secret", "pass.word"] } }]
reply = { json = { token = "$access.token", again = "$refresh.token", who = "$user.name" } }
[[dialect.endpoint]]
step = "refresh"
request = "POST /again"
credential = [{ json_refresh = "session.token" }]
reply = { json = { token = "$access.token" } }
"#;

#[tokio::test]
async fn dotted_names_in_a_credential_are_paths_into_the_body() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(NESTED).login("acme").route_to(&upstream, "").start().await;
    let post = async |path: &str, body: Value| gateway.client().post(path).json(body).send().await;
    let login = |name: Value, secret: Value| json!({ "user": { "name": name, "secret": secret } });
    let password = json!({ "pass.word": PASSWORD });

    let session = post("/in", login("alice".into(), password.clone())).await;
    session.assert_status(200);
    let again = json!({ "session": { "token": session.member("again") } });
    post("/again", again).await.assert_status(200);
    for (body, status, why) in [
        (json!({ "user.name": "alice", "user": { "secret": password } }), 400, "a literal name"),
        (login("alice".into(), json!({ "pass": { "word": PASSWORD } })), 400, "a dot in a list"),
        (login("alice".into(), json!("x")), 400, "a text where an object should be"),
        (login(json!({ "name": "alice" }), password.clone()), 400, "an object that is no name"),
        (login(Value::Null, password.clone()), 400, "null is missing"),
        (json!({ "user": null }), 400, "null on the way is missing"),
        (login("alice".into(), json!({ "pass.word": "wrong" })), 401, "a wrong password"),
    ] {
        let reply = post("/in", body).await;
        assert_eq!(reply.status, status, "{why}: {}", reply.text());
    }
    let again = json!({ "session.token": session.member("again") });
    assert!(post("/again", again).await.status.is_client_error());
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_delegated_login_writes_members_where_the_dialect_has_them() {
    let legacy = Upstream::answering(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let is_right = body == json!({ "user": { "name": "zoe", "secret": { "pass.word": "p" } } });
        let status = if is_right { 200 } else { 401 };
        let body = r#"{"token":"t","again":"r","who":"zoe"}"#;
        Response::builder().status(status).body(body.into()).unwrap()
    })
    .await;
    let users = super::delegated::http(&legacy.url(), "acme", "");
    let gateway = super::delegated::front(&users).config(NESTED).start().await;

    super::delegated::log_in(&gateway, "zoe", "p").await.assert_status(200);
    assert_eq!(
        legacy.only().body,
        r#"{"user":{"name":"zoe","secret":{"pass.word":"p"}}}"#,
        "and nothing else"
    );
}

/// The text of a built-in dialect as a `[[dialect]]` called `name`.
fn as_own(text: &str, builtin: &str, name: &str) -> String {
    let line = |line: &str| match (line.strip_prefix("[["), line.strip_prefix('[')) {
        (Some(rest), _) => format!("[[dialect.{rest}"),
        (None, Some(rest)) => format!("[dialect.{rest}"),
        (None, None) => {
            line.replace(&format!("name = \"{builtin}\""), &format!("name = \"{name}\""))
        }
    };
    let lines: Vec<_> = text.lines().map(line).collect();
    format!("[[dialect]]\n{}\n", lines.join("\n"))
}

#[test]
fn every_built_in_dialect_may_be_copied_as_one_of_ones_own() {
    for builtin in Dialect::builtin_names() {
        let own = as_own(Dialect::builtin_text(builtin).unwrap(), builtin, "own");
        let text = format!(
            "listener = [{{ address = \"127.0.0.1:0\" }}]\n\
             users = [{{ name = \"staff\", kind = \"file\", path = \"u\", bootstrap = true }}]\n\
             login = [{{ dialect = \"own\" }}]\n[mail]\nserver = \"127.0.0.1:25\"\ntls = \"none\"\n\
             from = \"a@example.com\"\n[token]\nissuer = \"https://gateway.example\"\n{own}"
        );

        let read = config::parse(&text, Path::new("gateway.toml"), &|_| None);

        assert!(read.is_ok(), "{builtin}: {}", read.unwrap_err());
    }
}
