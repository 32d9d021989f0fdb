//! Opaque tokens whose end moves: with each use (`idle`), or when their client asks (`extend`).

use std::time::Duration;

use http::Method;
use serde_json::json;
use tollhouse::admin::{SOCKET, client};

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Upstream};
use crate::nodes::cluster::eventually;

fn dialect(tokens: &str) -> String {
    format!(
        r#"
[[dialect]]
name = "panel"
[[dialect.endpoint]]
step = "login"
request = "POST /in"
credential = [{{ json = {{ username = "user", password = "key" }} }}]
reply = {{ json = {{ token = "$access.token" }} }}
[[dialect.endpoint]]
step = "login"
request = "POST /stay"
credential = [{{ bearer = "extend" }}]
reply = {{ json = {{ token = "$access.token", ttl = "$access.ttl" }} }}
[[dialect.endpoint]]
step = "session"
request = "GET /me"
credential = [{{ bearer = "access" }}]
reply = {{ json = {{ expires = "$access.expires" }} }}
[[dialect.endpoint]]
step = "logout"
request = "POST /out"
credential = [{{ bearer = "access" }}]
reply = {{ json = {{}} }}
[dialect.tokens]
format = "opaque"
shape = "hex:40"
refresh_ttl = "1h"
{tokens}
[[login]]
dialect = "panel"
"#
    )
}

async fn start(upstream: &Upstream, tokens: &str) -> Gateway {
    let builder = Gateway::builder().moving().config(&dialect(tokens));
    builder.route(upstream, "/api/", "auth = [\"login\"]").start().await
}

async fn log_in(gateway: &Gateway) -> String {
    let login = json!({ "user": "alice", "key": PASSWORD });
    let reply = gateway.client().post("/in").json(login).send().await;
    reply.assert_status(200).member("token")
}

async fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.client().get("/api/x").bearer(token).send().await.status.as_u16()
}

async fn stay(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().post("/stay").bearer(token).send().await
}

/// The end of the token in the store, in seconds since 1970.
async fn end(gateway: &Gateway, token: &str) -> u64 {
    let reply = gateway.client().get("/me").bearer(token).send().await;
    reply.assert_status(200).json()["expires"].as_u64().expect("a time")
}

fn now(gateway: &Gateway) -> u64 {
    gateway.clock.as_ref().expect("a test clock").now().secs()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_use_moves_the_end_of_an_idle_token_up_to_that_of_its_session() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "idle = \"10m\"").await;
    let token = log_in(&gateway).await;
    let session_end = now(&gateway) + 3600;

    // Nine minutes between two uses are no idleness, up to the end of the session.
    for _ in 0..6 {
        gateway.advance(9 * MINUTE);
        assert_eq!(call(&gateway, &token).await, 200);
        let moved = (now(&gateway) + 600).min(session_end);
        eventually("the use is written", async || end(&gateway, &token).await == moved).await;
    }
    gateway.advance(7 * MINUTE);
    assert_eq!(call(&gateway, &token).await, 401, "the session's own end");
}

#[tokio::test]
async fn a_token_that_is_not_used_ends_and_does_not_come_back() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "idle = \"10m\"").await;
    let (used, unused) = (log_in(&gateway).await, log_in(&gateway).await);
    assert_eq!(call(&gateway, &unused).await, 200);

    gateway.advance(9 * MINUTE);
    assert_eq!(call(&gateway, &used).await, 200);
    let moved = now(&gateway) + 600;
    eventually("the use is written", async || end(&gateway, &used).await == moved).await;
    gateway.advance(2 * MINUTE);
    let seen = upstream.received().len();

    for _ in 0..3 {
        assert_eq!(call(&gateway, &unused).await, 401);
        stay(&gateway, &unused).await.assert_status(401);
    }
    assert_eq!(upstream.received().len(), seen);
    assert_eq!(call(&gateway, &used).await, 200);
    gateway.client().post("/out").bearer(&used).send().await.assert_status(200);
    assert_eq!(call(&gateway, &used).await, 401, "a use brings no ended session back");
}

#[tokio::test]
async fn uses_are_written_once_in_a_tenth_of_the_idle_time() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "idle = \"10m\"").await;
    let token = log_in(&gateway).await;
    let begun = end(&gateway, &token).await;

    gateway.advance(Duration::from_secs(50));
    for _ in 0..20 {
        assert_eq!(call(&gateway, &token).await, 200);
    }

    assert_eq!(end(&gateway, &token).await, begun);
    gateway.advance(Duration::from_secs(20));
    assert_eq!(call(&gateway, &token).await, 200);
    eventually("the use is written", async || end(&gateway, &token).await == begun + 70).await;
}

#[tokio::test]
async fn a_client_extends_its_token_and_keeps_it() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "access_ttl = \"10m\"").await;
    let token = log_in(&gateway).await;
    let session_end = now(&gateway) + 3600;

    gateway.advance(9 * MINUTE);
    assert_eq!(call(&gateway, &token).await, 200);
    let stayed = stay(&gateway, &token).await;
    assert_eq!(stayed.assert_status(200).member("token"), token);
    assert_eq!(end(&gateway, &token).await, now(&gateway) + 600);
    gateway.advance(9 * MINUTE);
    assert_eq!(call(&gateway, &token).await, 200, "what is in memory is not the last word");
    for _ in 0..5 {
        stay(&gateway, &token).await.assert_status(200);
        gateway.advance(9 * MINUTE);
    }
    assert!(now(&gateway) > session_end);
    assert_eq!(call(&gateway, &token).await, 401, "no longer than the session");
    stay(&gateway, &token).await.assert_status(401);
    let made_up = "0".repeat(40);
    stay(&gateway, &made_up).await.assert_status(401);
}

#[tokio::test]
async fn the_end_of_a_session_is_final_for_tokens_that_move() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "idle = \"10m\"").await;
    let token = log_in(&gateway).await;
    gateway.advance(9 * MINUTE);

    let socket = gateway.dir().join("state").join(SOCKET);
    let revoked = client::call(&socket, Method::DELETE, "/sessions?all=true", None).await;
    let (status, answer) = revoked.expect("an answer");

    assert_eq!(status.as_u16(), 200, "{answer}");
    for _ in 0..3 {
        assert_eq!(call(&gateway, &token).await, 401);
        stay(&gateway, &token).await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_secret_in_a_path_is_not_logged_whatever_the_method() {
    let upstream = Upstream::start().await;
    let dialect = r#"
[[dialect]]
name = "linked"
[[dialect.endpoint]]
step = "login"
request = "POST /in"
credential = [{ json = { username = "user", password = "key" } }]
reply = { json = { token = "$access.token" } }
[[dialect.endpoint]]
step = "logout"
request = "DELETE /tokens/{token}"
credential = [{ token = { path = "token" }, use = "access" }]
reply = { json = {} }
[[login]]
dialect = "linked"
"#;
    let gateway = Gateway::builder().config(dialect).route(&upstream, "/api/", "").start().await;
    let token = log_in(&gateway).await;
    let path = format!("/tokens/{token}");

    for method in [Method::GET, Method::OPTIONS, Method::PATCH, Method::DELETE] {
        gateway.client().call(method, &path).send().await;
    }

    let lines = gateway.access_log();
    assert_eq!(
        lines.iter().filter(|line| line["url.path"] == "/tokens/***").count(),
        4,
        "{lines:?}"
    );
    assert!(!format!("{lines:?}").contains(&token));
    upstream.assert_untouched();
}
