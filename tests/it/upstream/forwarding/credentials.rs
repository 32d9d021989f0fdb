//! As whom the gateway calls an upstream, and how it vouches there for its callers.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

fn upstream(upstream: &Upstream, keys: &str) -> String {
    format!("[[upstream]]\nname = \"legacy\"\nservers = [\"{}\"]\n{keys}\n", upstream.url())
}

const ROUTE: &str = "[[route]]\npath = \"/\"\nupstream = \"legacy\"\n";

/// A secret in a file of the gateway's folder.
fn secret_file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    let toml = format!("{{ file = {:?} }}", path.display().to_string());
    (dir, toml)
}

async fn gateway(sections: &str) -> Gateway {
    Gateway::builder().login("native").config(sections).start().await
}

#[tokio::test]
async fn an_upstream_is_called_with_the_gateways_own_credential_and_never_the_clients() {
    let (_dir, password) = secret_file("password", "s3cret\n");
    for (credential, name, value) in [
        (
            format!("{{ basic = {{ username = \"gw\", password = {password} }} }}"),
            "authorization",
            "Basic Z3c6czNjcmV0",
        ),
        (format!("{{ bearer = {password} }}"), "authorization", "Bearer s3cret"),
        (format!("{{ headers = {{ X-Api-Key = {password} }} }}"), "x-api-key", "s3cret"),
    ] {
        let legacy = Upstream::start().await;
        let upstream = upstream(&legacy, &format!("credential = {credential}"));
        let gateway = gateway(&format!("{upstream}{ROUTE}")).await;
        let token = gateway.token("alice").await;

        let client = gateway.client();
        let spelt = if name == "x-api-key" { "X_Api.Key" } else { "x-other" };
        let call = client.get("/x").bearer(&token).header(spelt, "forged");
        call.send().await.assert_status(200);

        let seen = legacy.only();
        assert_eq!(seen.headers.get_all(name).iter().count(), 1, "{credential}");
        assert_eq!(seen.header(name), Some(value), "{credential}");
        assert!(!format!("{seen:?}").contains(&token), "the client's own stays here");
        assert_eq!(seen.header("x_api.key"), None, "another spelling is the same field");
    }
}

#[tokio::test]
async fn a_caller_who_is_refused_never_uses_the_gateways_credential() {
    let (_dir, password) = secret_file("password", "s3cret");
    let legacy = Upstream::start().await;
    let upstream = upstream(&legacy, &format!("credential = {{ bearer = {password} }}"));
    let gateway = gateway(&format!("{upstream}{ROUTE}")).await;

    gateway.client().get("/x").send().await.assert_status(401);
    gateway.client().get("/x").bearer("s3cret").send().await.assert_status(401);

    legacy.assert_untouched();
}

/// Header and claims of a token, unverified.
fn parts(token: &str) -> (Value, Value) {
    let part = |number| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (part(0), part(1))
}

#[tokio::test]
async fn an_upstream_is_told_who_calls_by_a_token_that_our_key_set_verifies() {
    let legacy = Upstream::start().await;
    let route = format!("{ROUTE}identity = \"jwt\"");
    let gateway = gateway(&format!("{}{route}", upstream(&legacy, ""))).await;
    let token = gateway.token("alice").await;

    gateway.client().get("/x").bearer(&token).send().await.assert_status(200);

    let seen = legacy.only();
    let sent = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    assert_ne!(sent, token);
    let (head, claims) = parts(&sent);
    let jwks = gateway.client().get("/.well-known/jwks.json").send().await.json();
    let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert!(kids.contains(&&head["kid"]), "{jwks}");
    assert_eq!(head["typ"], "up+jwt");
    assert_eq!(claims["aud"], "legacy");
    assert_eq!(claims["sub"], "0192f0c1-0000-7000-8000-00000000000a");
    assert_eq!(claims["preferred_username"], "alice");
    assert_eq!(claims["roles"], serde_json::json!(["admin"]));
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 60);
    assert_eq!(seen.header("x-auth-subject"), None, "a token instead of fields");
}

#[tokio::test]
async fn a_token_for_an_upstream_opens_nothing_here() {
    let legacy = Upstream::start().await;
    let route = format!("{ROUTE}identity = \"jwt\"\nidentity_header = \"X-Caller\"");
    let gateway = gateway(&format!("{}{route}", upstream(&legacy, ""))).await;
    let client = gateway.client();
    let token = gateway.token("alice").await;
    let call = client.get("/x").bearer(&token).header("x-caller", "Bearer forged");
    call.send().await.assert_status(200);
    let seen = legacy.only();
    assert_eq!(seen.headers.get_all("x-caller").iter().count(), 1, "the client's is gone");
    let sent = seen.header("x-caller").unwrap().strip_prefix("Bearer ").unwrap().to_owned();

    client.get("/x").bearer(&sent).send().await.assert_status(401);
    client.get("/auth/session").bearer(&sent).send().await.assert_status(401);
    client.post("/auth/logout").bearer(&sent).send().await.assert_status(401);

    assert_eq!(legacy.received().len(), 1);
}

#[tokio::test]
async fn a_token_for_an_upstream_is_made_once_for_a_while_and_each_caller_has_his_own() {
    let legacy = Upstream::start().await;
    let route = format!("{ROUTE}identity = \"jwt\"");
    let builder = Gateway::builder().login("native").moving();
    let gateway = builder.config(&format!("{}{route}", upstream(&legacy, ""))).start().await;
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);
    let client = gateway.client();
    let call = async |token: &str| {
        client.get("/x").bearer(token).send().await.assert_status(200);
        legacy.last().header("authorization").unwrap().to_owned()
    };

    let (first, second, of_bob) = (call(&alice).await, call(&alice).await, call(&bob).await);
    gateway.advance(Duration::from_secs(31));
    let later = call(&alice).await;

    assert_eq!(first, second);
    assert_ne!(first, of_bob);
    assert_ne!(first, later);
}

#[tokio::test]
async fn a_key_that_is_revoked_signs_nothing_that_is_sent_on() {
    let legacy = Upstream::start().await;
    let route = format!("{ROUTE}identity = \"jwt\"\nauth = [\"basic\"]");
    let gateway = gateway(&format!("{}{route}", upstream(&legacy, ""))).await;
    let kid = async || {
        let client = gateway.client();
        client.get("/x").basic("alice", PASSWORD).send().await.assert_status(200);
        let sent = legacy.last().header("authorization").unwrap().to_owned();
        parts(sent.strip_prefix("Bearer ").unwrap()).0["kid"].as_str().unwrap().to_owned()
    };
    let first = kid().await;
    assert_eq!(kid().await, first);

    let (socket, path) = (gateway.running().admin_socket(), format!("/keys/{first}"));
    let revoked = tollhouse::admin::client::call(socket, http::Method::DELETE, &path, None).await;
    assert_eq!(revoked.unwrap().0, 200);

    assert_ne!(kid().await, first, "though a token of it was at hand");
}

/// A legacy system with a login of its own: it takes only the tokens that it gave last, counts
/// logins, and answers `status` to them.
struct Legacy {
    upstream: Upstream,
    logins: Arc<AtomicUsize>,
    /// Of the login; anything but 200 is an outage or a refusal.
    status: Arc<AtomicUsize>,
    /// How many logins before the current one are forgotten.
    forgotten: Arc<AtomicUsize>,
}

impl Legacy {
    async fn start() -> Self {
        let (logins, forgotten) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let status = Arc::new(AtomicUsize::new(200));
        let held = (logins.clone(), status.clone(), forgotten.clone());
        let upstream = Upstream::answering(move |request| {
            let (logins, status, forgotten) = &held;
            if request.target == "/api/login" {
                let status = u16::try_from(status.load(SeqCst)).unwrap();
                let number = logins.fetch_add(1, SeqCst) + 1;
                let answer = match status {
                    200 => format!(
                        "{{\"access_token\":\"token-{number}\",\"refresh_token\":\"refresh-{number}\"}}"
                    ),
                    _ => "{\"code\":401,\"message\":\"Unauthorized\",\"details\":[\"no\"]}".to_owned(),
                };
                return answered(status, &answer);
            }
            if request.target == "/never" {
                return answered(401, "{}");
            }
            let number = request.header("authorization");
            let number = number.and_then(|value| value.strip_prefix("Bearer token-")?.parse().ok());
            let known = number.is_some_and(|number: usize| number > forgotten.load(SeqCst));
            answered(if known { 200 } else { 401 }, "{}")
        })
        .await;
        Self { upstream, logins, status, forgotten }
    }

    /// A gateway that logs in there, on a clock that moves.
    async fn gateway(&self, keys: &str) -> (tempfile::TempDir, Gateway) {
        let (dir, password) = secret_file("password", "s3cret");
        let login = format!(
            "credential = {{ login = {{ dialect = \"datarhei\", username = \"gw\", password = {password} }} }}"
        );
        let sections = format!("{}{ROUTE}{keys}", upstream(&self.upstream, &login));
        let builder = Gateway::builder().login("native").moving();
        (dir, builder.config(&sections).start().await)
    }

    fn logins(&self) -> usize {
        self.logins.load(SeqCst)
    }
}

fn answered(status: u16, body: &str) -> http::Response<bytes::Bytes> {
    let answer =
        http::Response::builder().status(status).header("content-type", "application/json");
    answer.body(bytes::Bytes::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn the_gateway_logs_in_at_the_upstream_once_for_all_callers() {
    let legacy = Legacy::start().await;
    let (_dir, gateway) = legacy.gateway("").await;
    let token = gateway.token("alice").await;
    let (one, two) = (gateway.client(), gateway.client());

    let calls = (0..20).map(|number| {
        let client = if number % 2 == 0 { &one } else { &two };
        client.get("/x").bearer(&token).send()
    });
    for reply in futures_util::future::join_all(calls).await {
        reply.assert_status(200);
    }

    assert_eq!(legacy.logins(), 1, "one flight at a time");
    let login = &legacy.upstream.received()[0];
    assert_eq!(login.body, r#"{"username":"gw","password":"s3cret"}"#);
    assert_eq!(legacy.upstream.last().header("authorization"), Some("Bearer token-1"));
}

/// A legacy system where the gateway has been logged in for five seconds, and a token of alice.
async fn logged_in() -> (Legacy, tempfile::TempDir, Gateway, String) {
    let legacy = Legacy::start().await;
    let (dir, gateway) = legacy.gateway("").await;
    let token = gateway.token("alice").await;
    gateway.client().get("/x").bearer(&token).send().await.assert_status(200);
    gateway.advance(Duration::from_secs(5));
    (legacy, dir, gateway, token)
}

#[tokio::test]
async fn a_request_is_repeated_once_where_the_gateways_own_session_has_ended() {
    let (legacy, _dir, gateway, token) = logged_in().await;
    let client = gateway.client();
    legacy.forgotten.store(1, SeqCst);

    let reply = client.call(http::Method::PUT, "/x").bearer(&token).body("once").send().await;

    reply.assert_status(200);
    assert_eq!(legacy.logins(), 2);
    let last = legacy.upstream.last();
    assert_eq!(
        (last.header("authorization"), &last.body[..]),
        (Some("Bearer token-2"), &b"once"[..])
    );
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_sent_once_but_the_next_one_need_not_fail() {
    let (legacy, _dir, gateway, token) = logged_in().await;
    let client = gateway.client();
    legacy.forgotten.store(1, SeqCst);

    client.post("/x").bearer(&token).body("once").send().await.assert_status(401);

    let posts = legacy.upstream.received();
    assert_eq!(posts.iter().filter(|seen| &seen.body[..] == b"once").count(), 1);
    assert_eq!(legacy.logins(), 2);
    client.post("/x").bearer(&token).body("twice").send().await.assert_status(200);
}

#[tokio::test]
async fn a_login_is_kept_until_there_is_another() {
    let (legacy, _dir, gateway, token) = logged_in().await;
    let client = gateway.client();
    legacy.status.store(500, SeqCst);

    client.get("/never").bearer(&token).send().await.assert_status(401);

    assert_eq!(legacy.logins(), 2, "it was tried");
    client.get("/x").bearer(&token).send().await.assert_status(200);
}

#[tokio::test]
async fn an_upstream_that_always_says_401_is_not_logged_in_to_each_time() {
    let legacy = Legacy::start().await;
    let (_dir, gateway) = legacy.gateway("").await;
    let (client, token) = (gateway.client(), gateway.token("alice").await);
    legacy.forgotten.store(usize::MAX, SeqCst);

    for _ in 0..5 {
        client.get("/x").bearer(&token).send().await.assert_status(401);
    }

    assert_eq!(legacy.logins(), 1);
}

#[tokio::test]
async fn an_upstream_whose_login_fails_is_502_and_tried_again_after_a_pause() {
    let legacy = Legacy::start().await;
    let (_dir, gateway) = legacy.gateway("").await;
    let (client, token) = (gateway.client(), gateway.token("alice").await);
    for (status, pause) in [(500, 3), (401, 61)] {
        legacy.status.store(status, SeqCst);
        let before = legacy.logins();

        for _ in 0..3 {
            client.get("/x").bearer(&token).send().await.assert_status(502);
        }
        assert_eq!(legacy.logins(), before + 1, "a pause after {status}");

        legacy.status.store(200, SeqCst);
        gateway.advance(Duration::from_secs(pause));
    }

    let token = gateway.token("alice").await;
    client.get("/x").bearer(&token).send().await.assert_status(200);
    let seen = format!("{:?}", gateway.access_log());
    assert!(seen.contains("could not log in") && !seen.contains("s3cret"), "{seen}");
}
