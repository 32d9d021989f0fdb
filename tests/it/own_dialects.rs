//! Dialects of the operator's own, through whole gateways.

use http::Response;
use serde_json::{Value, json};

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
