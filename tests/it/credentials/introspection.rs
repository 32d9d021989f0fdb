//! What services ask about our tokens: RFC 7662 and RFC 7009.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tollhouse::session::InjectedFaults;

use super::{key, log_in};
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};
use crate::protocol::streams::{EchoWebSocket, assert_closed, assert_echo, open_with};

/// A gateway with the native login and another dialect's, and a key for each question.
struct Asked {
    gateway: Gateway,
    asker: String,
    ender: String,
}

impl Asked {
    async fn start(edit: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let (asker, first) = key("asker", "scopes = [\"introspect\"]");
        let (ender, second) = key("ender", "scopes = [\"revoke\"]");
        let builder = Gateway::builder().login("native").config(&first).config(&second);
        Self { gateway: edit(builder).start().await, asker, ender }
    }

    async fn ask(&self, path: &str, key: &str, token: &str) -> Reply {
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
        let client = self.gateway.client();
        let call = client.post(path).header("x-api-key", key);
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        call.header("content-type", kind).body(form).send().await
    }

    async fn introspect(&self, token: &str) -> Value {
        let reply = self.ask("/auth/introspect", &self.asker, token).await;
        reply.assert_status(200).assert_header("cache-control", "no-store");
        reply.json()
    }

    async fn revoke(&self, token: &str) -> u16 {
        self.ask("/auth/revoke", &self.ender, token).await.status.as_u16()
    }
}

const INACTIVE: &str = r#"{"active":false}"#;

#[tokio::test]
async fn a_token_of_any_login_is_told_of_and_a_pairs_without_its_key() {
    let upstream = Upstream::start().await;
    let asked = Asked::start(|builder| {
        let pair = "[[login]]\ndialect = \"webitel\"\nreveal_unknown_user = false";
        builder.config(pair).route_to(&upstream, "")
    })
    .await;
    let pair = log_in(&asked.gateway, "/login", "alice").await;

    let told = asked.introspect(&pair.member("token")).await;

    assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!("webitel")));
    assert_eq!((&told["token_type"], &told["username"]), (&json!("token_key"), &json!("alice")));
    assert!(told["kh"].is_string(), "by which a service can hold the key against it: {told}");
    let token = pair.member("token");
    let alone = asked.gateway.client().get("/").bearer(&token).send().await;
    alone.assert_status(401);
    assert_eq!(asked.revoke(&token).await, 200);
    assert_eq!(asked.introspect(&token).await.to_string(), INACTIVE);
    let both = asked.gateway.client().get("/").pair(&token, &pair.member("key")).send().await;
    both.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn whatever_is_not_in_use_is_told_of_alike() {
    let upstream = Upstream::start().await;
    let secret = "0123456789abcdef0123456789abcdef";
    let issuer = "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example\"\n\
                  audience = [\"legacy\"]\nalgorithms = [\"HS256\"]\nsecret = { file = \"secret\" }";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), secret).unwrap();
    std::fs::write(dir.path().join("users.toml"), crate::harness::gateway::users()).unwrap();
    let asked = Asked::start(|builder| {
        let route = "identity = \"jwt\"";
        builder.moving().on(dir).config(issuer).route_to(&upstream, route)
    })
    .await;
    let client = asked.gateway.client();
    let first = log_in(&asked.gateway, "/auth/login", "alice").await;
    let (access, refresh) = (first.member("access_token"), first.member("refresh_token"));
    client.get("/").bearer(&access).send().await.assert_status(200);
    let vouched = upstream.only().header("authorization").unwrap().replace("Bearer ", "");
    let now = asked.gateway.clock.as_ref().unwrap().now().secs();
    let claims = json!({
        "iss": "https://legacy.example", "sub": "a", "aud": "legacy", "exp": now + 600
    });
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let foreign = crate::security::signed(&header, &claims, secret.as_bytes());
    client.get("/").bearer(&foreign).send().await.assert_status(200);
    let body = json!({ "refresh_token": refresh });
    let next = client.post("/auth/refresh").json(body).send().await;
    let next = next.assert_status(200).member("refresh_token");

    for (token, why) in [
        (vouched.as_str(), "made for an upstream"),
        (&foreign, "another issuer's, though routes take it"),
        (&refresh, "a refresh token that was followed by another"),
        ("a.b.c", "garbage"),
        (&"x".repeat(20_000), "longer than any token"),
        (&format!("{access}x"), "another signature"),
        (&format!(" {access}"), "a space"),
    ] {
        assert_eq!(asked.introspect(token).await.to_string(), INACTIVE, "{why}");
    }
    assert_eq!(asked.introspect(&access).await["active"], true);
    assert_eq!(asked.introspect(&next).await["active"], true);
    client.post("/auth/logout").bearer(&access).send().await.assert_status(204);
    for token in [&access, &next] {
        assert_eq!(asked.introspect(token).await.to_string(), INACTIVE, "logged out");
    }
    asked.gateway.advance(Duration::from_secs(3600));
    let second = log_in(&asked.gateway, "/auth/login", "alice").await.member("access_token");
    assert_eq!(asked.introspect(&second).await["active"], true);
    asked.gateway.advance(Duration::from_secs(3600));
    assert_eq!(asked.introspect(&second).await.to_string(), INACTIVE, "expired");
}

#[tokio::test]
async fn a_revoked_token_takes_its_session_and_what_that_has_open_along() {
    let parrot = EchoWebSocket::start().await;
    let asked = Asked::start(|builder| builder.moving().config(&parrot.config(""))).await;
    let tokens = log_in(&asked.gateway, "/auth/login", "alice").await;
    let other = log_in(&asked.gateway, "/auth/login", "alice").await.member("access_token");
    let open = async |token: &str| {
        let value = format!("Bearer {token}");
        open_with(&asked.gateway.client(), Some(("authorization", value.as_str()))).await.unwrap()
    };
    let (socket, mut stays) = (open(&tokens.member("access_token")).await, open(&other).await);

    assert_eq!(asked.revoke(&tokens.member("refresh_token")).await, 200);

    assert_closed(socket, "its session was revoked").await;
    assert_echo(&mut stays, Message::text("still here")).await;
    let access = tokens.member("access_token");
    asked.gateway.client().get("/").bearer(&access).send().await.assert_status(401);
    // An expired access token still says which session is meant.
    asked.gateway.advance(Duration::from_secs(20 * 60));
    assert_eq!(asked.revoke(&other).await, 200);
    let audit = asked.gateway.audit_log();
    let revoked: Vec<_> = audit.iter().filter(|line| line["event"] == "revoked").collect();
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    assert_eq!(revoked[0]["cause"], "by API key ender");
}

#[tokio::test]
async fn a_revocation_that_cannot_be_written_is_503_and_in_force() {
    let upstream = Upstream::start().await;
    let faults = Arc::new(InjectedFaults::default());
    let asked = Asked::start(|builder| builder.faults(&faults).route_to(&upstream, "")).await;
    let tokens = log_in(&asked.gateway, "/auth/login", "alice").await;
    let (access, refresh) = (tokens.member("access_token"), tokens.member("refresh_token"));

    faults.fail_writes(true);

    assert_eq!(asked.revoke(&access).await, 503);
    asked.gateway.client().get("/").bearer(&access).send().await.assert_status(401);
    assert_eq!(asked.introspect(&access).await.to_string(), INACTIVE);
    faults.fail_writes(false);
    let patience = Instant::now();
    while asked.revoke(&refresh).await != 200 {
        assert!(patience.elapsed() < Duration::from_secs(15), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn only_a_key_of_the_right_scope_may_ask_and_a_token_may_not() {
    let upstream = Upstream::start().await;
    let asked = Asked::start(|builder| builder.moving().route_to(&upstream, "")).await;
    let token = asked.gateway.token("alice").await;
    let client = asked.gateway.client();
    for path in ["/auth/introspect", "/auth/revoke"] {
        let wrong = if path == "/auth/revoke" { &asked.asker } else { &asked.ender };
        asked.ask(path, wrong, &token).await.assert_status(401);
        asked.ask(path, "nonsense", &token).await.assert_status(401);
        // What is wrong with the token is not looked at before.
        asked.ask(path, wrong, "").await.assert_status(401);
        let form = format!("token={token}");
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let call = client.post(path).header(kind.0, kind.1).body(form.clone());
        call.bearer(&token).send().await.assert_status(401);
        let call = client.post(path).header(kind.0, kind.1).body(form);
        call.basic("alice", crate::harness::gateway::PASSWORD).send().await.assert_status(401);
    }
    client.get("/").bearer(&token).send().await.assert_status(200);
    for key in [&asked.asker, &asked.ender] {
        assert!(!asked.gateway.running().access_lines().contains(key));
    }
    assert!(!asked.gateway.running().access_lines().contains(&token), "tokens are in no log");
}
