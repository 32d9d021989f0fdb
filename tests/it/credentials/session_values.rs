//! What requests repeat beside a token: the session's value against forged requests, and a fact about
//! the session.

use http::Method;
use serde_json::json;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Upstream};

const DIALECTS: &str = r#"
[[dialect]]
name = "guarded"
[[dialect.endpoint]]
step = "login"
request = "POST /login"
credential = [{ json = { username = "name", password = "password" } }]
[dialect.endpoint.reply]
json = { csrf = "$session.csrf", id = "$user.id", session = "$session.id" }
cookies = [{ name = "SID", value = "$access.token" }]
[[dialect.endpoint]]
step = "session"
request = "GET /me"
credential = [{ token = { cookie = "SID" }, use = "access" }]
reply = { json = { csrf = "$session.csrf" } }
[[dialect.endpoint]]
step = "login"
request = "POST /again"
credential = [{ token = { cookie = "SID" }, use = "renew" }]
reply = { cookies = [{ name = "SID", value = "$access.token" }] }
[[dialect.endpoint]]
step = "logout"
request = "POST /logout"
credential = [{ token = { cookie = "SID" }, use = "access" }, { bearer = "access" }]
reply = { json = {} }
[dialect.call]
carriers = [{ cookie = "SID" }, { scheme = "Bearer" }]
csrf = { field = "X-CSRF-Token" }
[[login]]
dialect = "guarded"

[[dialect]]
name = "twofold"
[[dialect.endpoint]]
step = "login"
request = "POST /two/login"
credential = [{ json = { username = "name", password = "password" } }]
reply = { json = { token = "$access.token", id = "$user.id" } }
[[dialect.endpoint]]
step = "logout"
request = "POST /two/logout"
credential = [{ token = { pair = { token = { field = "X-Token" }, key = { field = "X-User-Id" }, key_is = "$user.id" } }, use = "access" }]
reply = { json = {} }
[dialect.call]
carriers = [{ pair = { token = { field = "X-Token" }, key = { field = "X-User-Id" }, key_is = "$user.id" } }]
[[login]]
dialect = "twofold"
"#;

async fn serve(upstream: &Upstream) -> Gateway {
    let builder = Gateway::builder().config(DIALECTS);
    builder.route(upstream, "/api/", "auth = [\"login\"]").start().await
}

async fn log_in(gateway: &Gateway, path: &str, name: &str) -> Reply {
    let body = json!({ "name": name, "password": PASSWORD });
    let reply = gateway.client().post(path).json(body).send().await;
    reply.assert_status(200);
    reply
}

fn cookie_of(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").expect("a cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}

/// A request by cookie, with these further fields.
async fn send(
    gateway: &Gateway,
    method: Method,
    path: &str,
    cookie: &str,
    fields: &[(&str, &str)],
) -> Reply {
    let client = gateway.client();
    let call = client.call(method, path).header("cookie", cookie);
    fields.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

#[tokio::test]
async fn a_request_by_cookie_that_changes_something_repeats_the_sessions_value() {
    let upstream = Upstream::start().await;
    let gateway = serve(&upstream).await;
    let (own, other) =
        (log_in(&gateway, "/login", "alice").await, log_in(&gateway, "/login", "alice").await);
    let (cookie, csrf) = (cookie_of(&own), own.member("csrf"));
    let (foreign, session) = (other.member("csrf"), own.member("session"));
    assert_ne!(csrf, foreign, "each session has its own");

    let refused: &[(&str, &[(&str, &str)])] = &[
        ("none", &[]),
        ("an empty one", &[("X-CSRF-Token", "")]),
        ("another session's", &[("X-CSRF-Token", &foreign)]),
        ("the session's id", &[("X-CSRF-Token", &session)]),
        ("twice", &[("X-CSRF-Token", &csrf), ("X-CSRF-Token", &csrf)]),
        (
            "the right one, from another site",
            &[("X-CSRF-Token", &csrf), ("Sec-Fetch-Site", "cross-site")],
        ),
    ];
    for (why, fields) in refused {
        for (method, path) in [
            (Method::POST, "/api/x"),
            (Method::DELETE, "/api/x"),
            (Method::POST, "/again"),
            (Method::POST, "/logout"),
        ] {
            let reply = send(&gateway, method.clone(), path, &cookie, fields).await;
            reply.assert_status(403).assert_code("not_permitted");
            assert!(!reply.text().contains(&csrf), "{why}: {method} {path}");
        }
    }
    upstream.assert_untouched();
    let right = [("X-CSRF-Token", csrf.as_str())];
    send(&gateway, Method::GET, "/api/x", &cookie, &[]).await.assert_status(200);
    send(&gateway, Method::POST, "/api/x", &cookie, &right).await.assert_status(200);
    let seen = send(&gateway, Method::GET, "/me", &cookie, &[]).await;
    assert_eq!(seen.assert_status(200).member("csrf"), csrf, "a page can ask for it");
    // A token that the browser does not send by itself needs no such value.
    let token = cookie.split_once('=').expect("a pair").1;
    gateway.client().post("/api/x").bearer(token).send().await.assert_status(200);
    let renewed = send(&gateway, Method::POST, "/again", &cookie, &right).await;
    let renewed = cookie_of(renewed.assert_status(200));
    assert_ne!(renewed, cookie);
    // It is the session's, so it outlives the token.
    send(&gateway, Method::POST, "/api/x", &renewed, &right).await.assert_status(200);
    send(&gateway, Method::POST, "/logout", &renewed, &right).await.assert_status(200);
    send(&gateway, Method::GET, "/api/x", &renewed, &[]).await.assert_status(401);
}

#[tokio::test]
async fn a_fact_beside_the_token_has_to_agree_with_it() {
    let upstream = Upstream::start().await;
    let gateway = serve(&upstream).await;
    let (alice, bob) = (
        log_in(&gateway, "/two/login", "alice").await,
        log_in(&gateway, "/two/login", "bob").await,
    );
    let (token, id) = (alice.member("token"), alice.member("id"));
    let call = async |path: &str, fields: &[(&str, &str)]| {
        let client = gateway.client();
        let call = client.post(path);
        fields.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
    };

    let (other, upper) = (bob.member("id"), id.to_uppercase());
    for (why, fields) in [
        ("no fact", vec![("X-Token", token.as_str())]),
        ("no token", vec![("X-User-Id", id.as_str())]),
        ("another user's", vec![("X-Token", &token), ("X-User-Id", &other)]),
        ("another spelling", vec![("X-Token", &token), ("X-User-Id", &upper)]),
        ("empty", vec![("X-Token", &token), ("X-User-Id", "")]),
        ("twice", vec![("X-Token", &token), ("X-User-Id", &id), ("X-User-Id", &id)]),
    ] {
        for path in ["/api/x", "/two/logout"] {
            let reply = call(path, &fields).await;
            assert!(reply.status.is_client_error(), "{why} at {path}: {}", reply.status);
        }
    }
    upstream.assert_untouched();
    let right = [("X-Token", token.as_str()), ("X-User-Id", id.as_str())];
    call("/api/x", &right).await.assert_status(200);
    let seen = upstream.only();
    assert_eq!((seen.header("x-token"), seen.header("x-user-id")), (None, None));
    call("/two/logout", &right).await.assert_status(200);
    call("/api/x", &right).await.assert_status(401);
}
