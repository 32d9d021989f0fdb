//! Tokens of other issuers traded for ours: datarhei's login with Auth0, and native's exchange.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::client;
use tollhouse::config;
use tollhouse::identity::Subject;

use crate::harness::gateway::START;
use crate::harness::issuer::IssuerKey;
use crate::harness::tenant::AUTH0;
use crate::harness::{Gateway, OpenIdProvider, Reply, Tenant, Upstream};
use crate::security::claims;

const DATARHEI: &str = "[[login]]\ndialect = \"datarhei\"\nexchange = [\"auth0\"]";

/// A gateway that serves `login` and knows the tenant.
async fn trading(tenant: &Tenant, keys: &str, login: &str, upstream: &Upstream) -> Gateway {
    let builder = Gateway::builder().moving().config(&tenant.issuer(keys)).config(login);
    builder.route_to(upstream, "").start().await
}

/// A datarhei client's login: an empty body and the tenant's token.
async fn trade(gateway: &Gateway, token: &str) -> Reply {
    let client = gateway.client();
    let call = client.post("/api/login").header("content-type", "application/json");
    call.bearer(token).send().await
}

async fn refresh(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().get("/api/login/refresh").bearer(token).send().await
}

async fn sessions(gateway: &Gateway) -> Vec<Value> {
    let socket = gateway.running().admin_socket();
    let (_, answer) = client::call(socket, Method::GET, "/sessions", None).await.unwrap();
    answer["sessions"].as_array().unwrap().clone()
}

/// Refused with these words, and nothing came of it.
async fn refused(gateway: &Gateway, upstream: &Upstream, reply: &Reply, (code, text): (u16, &str)) {
    let message = http::StatusCode::from_u16(code).unwrap().canonical_reason();
    let body = json!({ "code": code, "message": message, "details": [text] });
    assert_eq!((reply.status.as_u16(), reply.json()), (code, body));
    assert_eq!(sessions(gateway).await, Vec::<Value>::new(), "a session was left");
    upstream.assert_untouched();
}

const MISSING: (u16, &str) = (400, "Missing authorization credentials");
const INVALID: (u16, &str) = (401, "Invalid authorization credentials: invalid token");
const EXPIRED: (u16, &str) = (401, "Invalid authorization credentials: token is expired");
const STRANGER: (u16, &str) = (401, "Invalid authorization credentials: user not allowed");

/// Puts the configuration to work again, with `from` replaced by `to`.
pub(crate) fn reload(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let read = || match config::load(&path, &|_| None) {
        Ok(loaded) => Ok(loaded.config),
        Err(issues) => Err(issues.to_string()),
    };
    gateway.running().reload(read).unwrap();
}

#[tokio::test]
async fn a_token_of_the_tenant_becomes_a_session_of_ours() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let keys = "roles_claim = \"permissions\"\nsubjects = [\"auth0|123\"]";
    let gateway = trading(&tenant, keys, DATARHEI, &upstream).await;

    let reply = trade(&gateway, &tenant.token(json!({}))).await;

    let members: Vec<_> =
        reply.assert_status(200).json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["access_token", "refresh_token"]);
    let (access, renewal) = (reply.member("access_token"), reply.member("refresh_token"));
    let held = claims(&access);
    let uid = Subject::foreign(AUTH0, "auth0|123").to_string();
    for (name, value) in [
        ("sub", json!("auth0|123")),
        ("preferred_username", json!("auth0|123")),
        ("uid", json!(uid)),
        ("src", json!("issuer:auth0")),
        ("iss", json!("https://gateway.example")),
        ("usefor", json!("access")),
        ("exi", json!(600)),
        ("roles", json!(["process:read"])),
        ("scope", json!("openid profile")),
    ] {
        assert_eq!(held[name], value, "{name}");
    }
    assert_eq!(claims(&renewal)["sub"], "auth0|123");

    gateway.client().get("/x").bearer(&access).send().await.assert_status(200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-auth-subject"), Some(uid.as_str()));
    assert_eq!(seen.header("x-auth-roles"), Some("process:read"));
    assert_eq!(seen.header("x-auth-source"), Some("issuer:auth0"));
    let renewed = refresh(&gateway, &renewal).await.assert_status(200).member("access_token");
    assert_eq!(claims(&renewed)["sub"], "auth0|123");
    let told = gateway.audit_log();
    let told = told.iter().find(|line| line["event"] == "exchanged").unwrap();
    assert_eq!((&told["issuer"], &told["user.id"]), (&json!("auth0"), &json!(uid)));
}

#[tokio::test]
async fn a_token_may_be_traded_again_each_time_for_a_session_of_its_own() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;
    let token = tenant.token(json!({}));

    let first = trade(&gateway, &token).await.assert_status(200).member("refresh_token");
    let second = trade(&gateway, &token).await.assert_status(200).member("refresh_token");

    assert_ne!(claims(&first)["sid"], claims(&second)["sid"]);
    assert_eq!(sessions(&gateway).await.len(), 2);
}

#[tokio::test]
async fn an_empty_name_and_password_beside_the_token_are_none() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;
    let (token, client) = (tenant.token(json!({})), gateway.client());
    let login = |name: &str, password: &str| {
        let body = json!({ "username": name, "password": password });
        client.post("/api/login").bearer(&token).json(body)
    };

    let wrong = login("alice", "wrong").send().await;
    let words = "Invalid authorization credentials: invalid username or password";
    refused(&gateway, &upstream, &wrong, (401, words)).await;
    login("", "").send().await.assert_status(200);
}

#[tokio::test]
async fn what_the_tenants_rules_do_not_let_through_leaves_nothing_behind() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "subjects = [\"auth0|123\"]", DATARHEI, &upstream).await;
    let start = START.secs();
    for (changes, answer, why) in [
        (json!({ "aud": "https://other.example/api" }), INVALID, "for others"),
        (json!({ "aud": null }), INVALID, "for nobody"),
        (json!({ "sub": "auth0|666" }), STRANGER, "about somebody else"),
        (json!({ "sub": "auth0|123 " }), STRANGER, "about almost the same"),
        (json!({ "sub": null }), INVALID, "about nobody"),
        (json!({ "exp": start - 31 }), EXPIRED, "expired"),
        (json!({ "exp": null }), INVALID, "for ever"),
        (json!({ "nbf": start + 3600 }), INVALID, "not yet"),
        (json!({ "nonce": "n" }), INVALID, "an ID token"),
        (json!({ "iss": "https://gateway.example" }), MISSING, "in our name"),
        (json!({ "iss": "https://other.eu.auth0.com/" }), MISSING, "of another tenant"),
        (json!({ "iss": "https://tenant.eu.auth0.com" }), MISSING, "without its slash"),
        (json!({ "iss": null }), MISSING, "of nobody"),
    ] {
        let reply = trade(&gateway, &tenant.token(changes)).await;
        assert_eq!(reply.status, answer.0, "{why}: {}", reply.text());
        refused(&gateway, &upstream, &reply, answer).await;
    }
    let failed = gateway.audit_log();
    let failed = failed.iter().filter(|line| line["event"] == "login_failed").count();
    assert_eq!(failed, 9, "what was refused is audited");
}

#[tokio::test]
async fn a_forged_token_is_not_told_whether_its_subject_would_do() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "subjects = [\"auth0|123\"]", DATARHEI, &upstream).await;
    let forger = Tenant::new();

    for sub in ["auth0|123", "auth0|666"] {
        let forged = forger.token(json!({ "sub": sub }));
        refused(&gateway, &upstream, &trade(&gateway, &forged).await, INVALID).await;
    }
    let token = tenant.token(json!({}));
    let (signed, _) = token.rsplit_once('.').unwrap();
    for token in [format!("{signed}."), format!("{signed}.AAAA"), signed.to_owned()] {
        let reply = trade(&gateway, &token).await;
        assert!(matches!(reply.status.as_u16(), 400 | 401), "{token}");
    }
    assert!(sessions(&gateway).await.is_empty());
}

#[tokio::test]
async fn nothing_to_go_on_is_a_missing_credential() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;

    let bare = gateway.client().post("/api/login").send().await;
    refused(&gateway, &upstream, &bare, MISSING).await;
    refused(&gateway, &upstream, &trade(&gateway, "nonsense").await, MISSING).await;
    let basic = gateway.client().post("/api/login").basic("alice", "x").send().await;
    refused(&gateway, &upstream, &basic, MISSING).await;
}

#[tokio::test]
async fn our_own_tokens_are_not_traded_and_foreign_ones_only_where_it_says_so() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let login = format!(
        "{DATARHEI}\n[[login]]\ndialect = \"datarhei\"\nname = \"plain\"\nprefix = \"/plain\""
    );
    let gateway = trading(&tenant, "", &login, &upstream).await;
    let token = tenant.token(json!({}));

    let plain = gateway.client().post("/plain/api/login").bearer(&token).send().await;
    refused(&gateway, &upstream, &plain, MISSING).await;
    for path in ["/api/login/refresh", "/plain/api/login/refresh"] {
        gateway.client().get(path).bearer(&token).send().await.assert_status(401);
    }

    let reply = trade(&gateway, &token).await;
    for ours in ["access_token", "refresh_token"] {
        let again = trade(&gateway, &reply.member(ours)).await;
        assert_eq!(again.json()["details"][0], MISSING.1, "{ours}");
    }
    assert_eq!(sessions(&gateway).await.len(), 1);
    upstream.assert_untouched();
}

#[tokio::test]
async fn clients_are_told_where_they_can_log_in() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let ours = "localjwt";
    let theirs =
        "auth0 domain=tenant.eu.auth0.com audience=https://core.example/api clientid=k2Yx0";
    let turned = format!("{DATARHEI}\nabout = {{ auths = [\"{theirs}\", \"{ours}\"] }}");
    let none = DATARHEI.replace("exchange = [\"auth0\"]", "");
    for (login, auths) in [
        (DATARHEI, json!([ours, theirs])),
        (&turned, json!([theirs, ours])),
        (&none, json!([ours])),
    ] {
        let gateway = trading(&tenant, "", login, &upstream).await;
        for path in ["/api", "/api/"] {
            let about = gateway.client().get(path).send().await;
            assert_eq!(about.assert_status(200).json()["auths"], auths, "{login}");
        }
        if login != none {
            trade(&gateway, &tenant.token(json!({}))).await.assert_status(200);
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn no_session_outlives_the_day_until_which_the_issuer_is_taken() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "until = \"2026-11-22\"", DATARHEI, &upstream).await;
    // From 09:30 to the end of the day.
    let left = 14 * 3600 + 30 * 60;
    let token = tenant.token(json!({}));

    let renewal = trade(&gateway, &token).await.assert_status(200).member("refresh_token");
    assert_eq!(claims(&renewal)["exp"], START.secs() + left);
    gateway.advance(Duration::from_secs(left - 60));
    let access = refresh(&gateway, &renewal).await.assert_status(200).member("access_token");
    assert_eq!(claims(&access)["exp"], START.secs() + left);
    gateway.advance(Duration::from_secs(60));

    refresh(&gateway, &renewal).await.assert_status(401);
    refused(&gateway, &upstream, &trade(&gateway, &token).await, INVALID).await;
}

#[tokio::test]
async fn a_reload_ends_the_sessions_that_the_configuration_does_not_take_any_more() {
    let upstream = Upstream::start().await;
    for (from, to, why) in [
        ("exchange = [\"auth0\"]", "", "traded no more"),
        ("subjects = [\"auth0|123\"]", "subjects = [\"auth0|5\"]", "another subject"),
        ("issuer = \"https://tenant.eu.", "issuer = \"https://tenant.us.", "another tenant"),
        ("audience = [\"https", "until = \"2026-11-21\"\naudience = [\"https", "over"),
    ] {
        let tenant = Tenant::new();
        let keys = "subjects = [\"auth0|123\"]";
        let gateway = trading(&tenant, keys, DATARHEI, &upstream).await;
        let reply = trade(&gateway, &tenant.token(json!({}))).await;
        let (access, renewal) = (reply.member("access_token"), reply.member("refresh_token"));
        assert_eq!(sessions(&gateway).await.len(), 1);

        reload(&gateway, from, to);

        refresh(&gateway, &renewal).await.assert_status(401);
        let left = sessions(&gateway).await;
        assert!(left.is_empty(), "{why}: {left:?}");
        let reply = gateway.client().get("/x").bearer(&access).send().await;
        assert_eq!(reply.status, 401, "{why}: the access token too");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_reload_ends_them_even_if_nobody_refreshes() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;
    let reply = trade(&gateway, &tenant.token(json!({}))).await;
    let local = json!({ "username": "alice", "password": crate::harness::gateway::PASSWORD });
    let local = gateway.client().post("/api/login").json(local).send().await;

    reload(&gateway, "exchange = [\"auth0\"]", "");

    let since = std::time::Instant::now();
    while sessions(&gateway).await.len() > 1 {
        assert!(since.elapsed() < crate::harness::client::PATIENCE, "the session stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let client = gateway.client();
    client.get("/x").bearer(&reply.member("access_token")).send().await.assert_status(401);
    upstream.assert_untouched();
    client.get("/x").bearer(&local.member("access_token")).send().await.assert_status(200);
}

#[tokio::test]
async fn sessions_of_the_tenant_outlast_a_restart_and_a_new_key() {
    let (mut tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;
    let old = tenant.token(json!({}));
    let renewal = trade(&gateway, &old).await.assert_status(200).member("refresh_token");
    let dir = gateway.stop().await;
    tenant.rotate();

    let builder = Gateway::builder().on(dir).moving().config(&tenant.issuer(""));
    let gateway = builder.config(DATARHEI).route_to(&upstream, "").start().await;

    let kept = refresh(&gateway, &renewal).await.assert_status(200).member("access_token");
    gateway.client().get("/x").bearer(&kept).send().await.assert_status(200);
    let unknown_key = trade(&gateway, &old).await;
    assert_eq!(unknown_key.json()["details"][0], INVALID.1);
    trade(&gateway, &tenant.token(json!({}))).await.assert_status(200);
}

#[tokio::test]
async fn native_trades_too_and_its_refresh_tokens_rotate() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let login = "[[login]]\ndialect = \"native\"\nexchange = [\"auth0\"]";
    let gateway = trading(&tenant, "", login, &upstream).await;
    let client = gateway.client();
    let exchange = |token: String| client.post("/auth/exchange").bearer(&token).send();

    for (changes, code) in [
        (json!({ "aud": "others" }), "token_invalid"),
        (json!({ "exp": START.secs() - 31 }), "token_expired"),
        (json!({ "iss": "https://others.example/" }), "credential_missing"),
    ] {
        exchange(tenant.token(changes)).await.assert_status(401).assert_code(code);
    }
    client.post("/auth/exchange").send().await.assert_status(401).assert_code("credential_missing");
    assert!(sessions(&gateway).await.is_empty());
    upstream.assert_untouched();

    let reply = exchange(tenant.token(json!({}))).await;
    let token = reply.assert_status(200).member("access_token");
    let session = client.get("/auth/session").bearer(&token).send().await;
    assert_eq!(session.assert_status(200).member("username"), "auth0|123");
    let body = json!({ "refresh_token": reply.member("refresh_token") });
    let renewed = client.post("/auth/refresh").json(body).send().await;
    assert_ne!(renewed.assert_status(200).member("refresh_token"), reply.member("refresh_token"));
    client.post("/auth/logout").bearer(&token).send().await.assert_status(204);
    assert!(sessions(&gateway).await.is_empty());
}

#[tokio::test]
async fn who_was_sent_away_by_an_operator_stays_away_until_he_trades_again() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let gateway = trading(&tenant, "", DATARHEI, &upstream).await;
    let reply = trade(&gateway, &tenant.token(json!({}))).await;
    let uid = Subject::foreign(AUTH0, "auth0|123");

    let (socket, path) = (gateway.running().admin_socket(), format!("/sessions?user={uid}"));
    let (status, answer) = client::call(socket, Method::DELETE, &path, None).await.unwrap();

    assert_eq!((status.as_u16(), &answer["ended"]), (200, &json!(1)));
    refresh(&gateway, &reply.member("refresh_token")).await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn no_source_of_users_can_be_called_like_an_issuers() {
    let users = "[[users]]\nname = \"issuer:auth0\"\nkind = \"file\"\npath = \"users.toml\"";

    let refused = Gateway::builder().config(users).login("native").try_start().await;

    let problem = refused.err().expect("it does not start");
    assert!(problem.contains("must be of letters, digits"), "{problem}");
}

#[tokio::test]
async fn a_tenants_new_key_is_fetched_for_a_trade_and_a_tenant_that_is_down_is_503() {
    let (tenant, upstream) = (OpenIdProvider::start().await, Upstream::start().await);
    let builder = Gateway::builder().moving().config(&tenant.section("auth0", "")).config(DATARHEI);
    // Down from the start: nobody can tell whether the token is good.
    tenant.stop().await;
    let gateway = builder.route_to(&upstream, "").start().await;
    let token = || tenant.token().at(START).auth0().text();
    trade(&gateway, &token()).await.assert_status(503);
    assert_eq!(sessions(&gateway).await, Vec::<Value>::new());
    tenant.resume();
    gateway.advance(Duration::from_secs(60));
    trade(&gateway, &token()).await.assert_status(200);

    // A key that nobody here has seen.
    tenant.rotate(IssuerKey::rs256("second"));
    gateway.advance(Duration::from_secs(60));
    trade(&gateway, &token()).await.assert_status(200);
    assert_eq!(sessions(&gateway).await.len(), 2);
}

#[tokio::test]
async fn what_was_traded_ends_with_the_token_that_it_was_traded_for() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    let native = "[[login]]\ndialect = \"native\"\nexchange = [\"auth0\"]";
    let gateway = trading(&tenant, "", native, &upstream).await;
    let client = gateway.client();
    let (token, other) = (tenant.token(json!({})), tenant.token(json!({ "jti": "another" })));
    let traded = client.post("/auth/exchange").bearer(&token).send().await;
    let kept = client.post("/auth/exchange").bearer(&other).send().await;
    let access = traded.assert_status(200).member("access_token");
    client.get("/").bearer(&access).send().await.assert_status(200);
    let seen = upstream.received().len();

    client.post("/auth/logout").bearer(&token).send().await.assert_status(204);

    client.get("/").bearer(&token).send().await.assert_status(401);
    client.get("/").bearer(&access).send().await.assert_status(401);
    let body = json!({ "refresh_token": traded.member("refresh_token") });
    client.post("/auth/refresh").json(body).send().await.assert_status(401);
    client.post("/auth/exchange").bearer(&token).send().await.assert_status(401);
    assert_eq!(upstream.received().len(), seen);
    let kept = kept.assert_status(200).member("access_token");
    client.get("/").bearer(&kept).send().await.assert_status(200);
    assert_eq!(sessions(&gateway).await.len(), 1);
}

#[tokio::test]
async fn what_was_traded_lives_a_day_however_often_it_is_refreshed() {
    let (tenant, upstream) = (Tenant::new(), Upstream::start().await);
    for (keys, hours) in [("", 24), ("exchange_ttl = \"3h\"", 3)] {
        let login = format!("[[login]]\ndialect = \"native\"\nexchange = [\"auth0\"]\n{keys}");
        let gateway = trading(&tenant, "", &login, &upstream).await;
        let client = gateway.client();
        let traded = client.post("/auth/exchange").bearer(&tenant.token(json!({}))).send().await;
        let mut token = traded.assert_status(200).member("refresh_token");

        for _ in 1..hours {
            gateway.advance(Duration::from_secs(3600));
            let body = json!({ "refresh_token": token });
            let reply = client.post("/auth/refresh").json(body).send().await;
            token = reply.assert_status(200).member("refresh_token");
        }
        gateway.advance(Duration::from_secs(3600));

        let body = json!({ "refresh_token": token });
        client.post("/auth/refresh").json(body).send().await.assert_status(401);
        assert!(sessions(&gateway).await.is_empty());
    }
    upstream.assert_untouched();
}
