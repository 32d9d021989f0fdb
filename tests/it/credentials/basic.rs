//! A name and a password with every request (`auth = ["basic"]`).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{ask, assert_refused, metric};
use crate::harness::gateway::{PASSWORD, hash_of, users};
use crate::harness::{Gateway, Upstream};
use crate::protocol::streams::{EchoWebSocket, assert_closed, assert_echo, basic, open_with};

const TAKES: &str = "auth = [\"basic\"]";
const RIGHT: &str = "tollhouse_logins_total{login=\"basic\",result=\"succeeded\"}";
const OTHER: &str = "an entirely other password";

async fn gateway(upstream: &Upstream, keys: &str) -> Gateway {
    let keys = format!("{TAKES}\n{keys}");
    Gateway::builder().moving().login("native").route_to(upstream, &keys).start().await
}

#[tokio::test]
async fn a_user_calls_with_his_password_and_stays_who_he_is() {
    let upstream = Upstream::start().await;
    let require = "require = { roles = [\"admin\"], claims = { tenant = \"acme\" } }";
    let gateway = gateway(&upstream, require).await;

    gateway.client().get("/x").basic("alice", PASSWORD).send().await.assert_status(200);

    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-subject"), Some("0192f0c1-0000-7000-8000-00000000000a"));
    assert_eq!(seen.header("x-auth-username"), Some("alice"));
    assert_eq!(seen.header("x-auth-source"), Some("staff"));
    assert_eq!(seen.header("x-auth-roles"), Some("admin"));
    assert_eq!(seen.header("x-auth-scopes"), Some("read,write"));
    assert_eq!(seen.header("x-auth-session"), None);
    assert_eq!(seen.header("authorization"), None, "the password stays here");
    let reply = gateway.client().get("/x").basic("bob", PASSWORD).send().await;
    assert_refused(&reply, 403, "not_permitted", "his password is right, his roles are not");
    assert_eq!(upstream.received().len(), 1);
    assert!(!gateway.running().access_lines().contains(PASSWORD));
}

#[tokio::test]
async fn whatever_is_no_right_password_is_one_refusal() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let client = gateway.client();

    assert_refused(&client.get("/").send().await, 401, "credential_missing", "nothing");
    for (value, why) in [
        (basic("alice", "wrong"), "a wrong password"),
        (basic("nobody", PASSWORD), "an unknown user"),
        (basic("dora", PASSWORD), "a disabled user"),
        (basic("alice", ""), "an empty password"),
        (basic("", PASSWORD), "an empty name"),
        ("Basic".to_owned(), "nothing behind the scheme"),
        ("Basic !!!".to_owned(), "no base64"),
        ("Basic YWxpY2U=".to_owned(), "no colon"),
        (format!("Basic  {}", &basic("alice", PASSWORD)[6..]), "two spaces"),
        (basic("alice\n", PASSWORD), "a control character"),
    ] {
        let reply = client.get("/").header("authorization", &value).send().await;
        assert_refused(&reply, 401, "invalid_credentials", why);
    }
    let token = gateway.token("alice").await;
    let reply = client.get("/").bearer(&token).send().await;
    assert_refused(&reply, 401, "credential_missing", "a kind that is not taken");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_password_is_looked_at_once_a_minute() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let call = async || gateway.client().get("/").basic("alice", PASSWORD).send().await;

    for _ in 0..20 {
        call().await.assert_status(200);
    }
    assert_eq!(metric(&gateway, RIGHT).await, 1);
    gateway.advance(Duration::from_secs(59));
    call().await.assert_status(200);
    assert_eq!(metric(&gateway, RIGHT).await, 1);
    gateway.advance(Duration::from_secs(1));
    call().await.assert_status(200);
    assert_eq!(metric(&gateway, RIGHT).await, 2);
}

#[tokio::test]
async fn requests_that_come_together_are_one_try() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let client = gateway.client();

    // More than the ten tries that an account has.
    let right = (0..40).map(|_| client.get("/").basic("alice", PASSWORD).send());
    for reply in join_all(right).await {
        reply.assert_status(200);
    }

    assert_eq!(metric(&gateway, RIGHT).await, 1);
    assert_eq!(upstream.received().len(), 40);
}

#[tokio::test]
async fn a_wrong_password_is_counted_with_those_of_logins_and_never_remembered() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let client = gateway.client();

    client.get("/").basic("alice", "wrong").send().await.assert_status(401);
    client.get("/").basic("alice", PASSWORD).send().await.assert_status(200);
    client.get("/").basic("alice", "wrong").send().await.assert_status(401);
    for _ in 0..9 {
        client.get("/").basic("bob", "wrong").send().await.assert_status(401);
    }
    let login = json!({ "username": "bob", "password": "wrong" });
    client.post("/auth/login").json(login).send().await.assert_status(401);

    let reply = client.get("/").basic("bob", PASSWORD).send().await;
    assert_refused(&reply, 429, "too_many_attempts", "ten tries are all there are");
    assert!(reply.header("retry-after").is_some());
    let login = json!({ "username": "bob", "password": PASSWORD });
    client.post("/auth/login").json(login).send().await.assert_status(429);
    assert_eq!(upstream.received().len(), 1);
    let audit = gateway.audit_log();
    let failed = audit.iter().filter(|line| line["event"] == "login_failed");
    assert_eq!(failed.filter(|line| line["login"] == "basic").count(), 11);
}

#[tokio::test]
async fn routes_with_other_users_or_rules_share_no_verdict() {
    let upstream = Upstream::start().await;
    let partners = users().replace(&hash_of(PASSWORD), &hash_of(OTHER)).replace("00000a", "00001a");
    let section = "[[users]]\nname = \"partners\"\nkind = \"file\"\npath = \"partners.toml\"";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users.toml"), users()).unwrap();
    std::fs::write(dir.path().join("partners.toml"), partners).unwrap();
    let gateway = Gateway::builder()
        .on(dir)
        .config(section)
        .route(&upstream, "/staff/", &format!("{TAKES}\nusers = [\"staff\"]"))
        .route(&upstream, "/partners/", &format!("{TAKES}\nusers = [\"partners\"]"))
        .route(&upstream, "/both/", &format!("{TAKES}\nusers = [\"partners\", \"staff\"]"))
        .route(
            &upstream,
            "/scoped/",
            &format!("{TAKES}\nusers = [\"staff\"]\nrequire = {{ scopes = [\"none\"] }}"),
        )
        .start()
        .await;
    let call = async |path: &str, password: &str| {
        let reply = gateway.client().get(path).basic("alice", password).send().await;
        (reply.status.as_u16(), upstream.received().last().cloned())
    };
    let source = |seen: Option<crate::harness::upstream::ReceivedRequest>| {
        seen.unwrap().header("x-auth-source").unwrap().to_owned()
    };

    for _ in 0..2 {
        let (status, seen) = call("/staff/", PASSWORD).await;
        assert_eq!((status, source(seen)), (200, "staff".to_owned()));
        assert_eq!(call("/partners/", PASSWORD).await.0, 401, "known to other users only");
        assert_eq!(call("/both/", PASSWORD).await.0, 401, "the first who knows the name decides");
        assert_eq!(call("/scoped/", PASSWORD).await.0, 403, "another rule");
        let (status, seen) = call("/partners/", OTHER).await;
        assert_eq!((status, source(seen)), (200, "partners".to_owned()));
        assert_eq!(call("/staff/", OTHER).await.0, 401);
        let (status, seen) = call("/both/", OTHER).await;
        assert_eq!((status, source(seen)), (200, "partners".to_owned()));
    }
    // No letter moves from the name to the password.
    let (name, password) = ("alic", format!("e{PASSWORD}"));
    let reply = gateway.client().get("/staff/").basic(name, &password).send().await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_changed_user_is_forgotten_and_loses_what_he_has_open() {
    let parrot = EchoWebSocket::start().await;
    let gateway = Gateway::builder().moving().config(&parrot.config(TAKES)).start().await;
    let open = async |name: &str, password: &str| {
        let value = basic(name, password);
        open_with(&gateway.client(), Some(("authorization", value.as_str()))).await
    };
    let socket = open("alice", PASSWORD).await.unwrap();
    let mut stays = open("bob", PASSWORD).await.unwrap();

    let changed = users().replacen(&hash_of(PASSWORD), &hash_of(OTHER), 1);
    std::fs::write(gateway.dir().join("users.toml"), changed).unwrap();
    // The file is looked at by the gateway's clock, some seconds apart; a minute is not needed.
    let looks = async {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gateway.advance(Duration::from_secs(1));
        }
    };
    let closed = assert_closed(socket, "his password is another");
    let ((), ()) = tokio::join!(closed, looks);

    assert!(open("alice", PASSWORD).await.is_err(), "the old password is forgotten");
    assert!(open("alice", OTHER).await.is_ok());
    assert_echo(&mut stays, Message::text("still here")).await;
}

#[tokio::test]
async fn a_stream_does_not_outlive_the_token_that_he_could_have_had() {
    let parrot = EchoWebSocket::start().await;
    let gateway = Gateway::builder().moving().config(&parrot.config(TAKES)).start().await;
    let value = basic("alice", PASSWORD);
    let field = Some(("authorization", value.as_str()));
    let mut socket = open_with(&gateway.client(), field).await.unwrap();

    gateway.advance(Duration::from_secs(14 * 60));
    assert_echo(&mut socket, Message::text("a quarter of an hour")).await;
    gateway.advance(Duration::from_secs(60));

    assert_closed(socket, "a token would have ended").await;
}

#[tokio::test]
async fn a_password_alone_does_not_let_in_who_has_a_second_step() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let call = async || gateway.client().get("/").basic("alice", PASSWORD).send().await;
    call().await.assert_status(200);

    let body = Some(json!({ "user": "alice" }));
    assert_eq!(ask(&gateway, Method::POST, "/totp", body).await.0, 200);

    assert_refused(&call().await, 401, "invalid_credentials", "though it was right just now");
    assert_refused(&call().await, 401, "invalid_credentials", "and is looked at again");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_source_that_is_down_is_503_and_says_nothing_of_the_password() {
    let upstream = Upstream::start().await;
    let section = "[[users]]\nname = \"directory\"\nkind = \"ldap\"\nurl = \"ldap://127.0.0.1:9\"\n\
                   tls = \"none\"\nbase = \"dc=example\"\nfilter = \"(uid={name})\"\n\
                   timeout = \"1s\"";
    let gateway = Gateway::builder()
        .config(section)
        .route(&upstream, "/", &format!("{TAKES}\nusers = [\"directory\"]"))
        .start()
        .await;

    for _ in 0..12 {
        let reply = gateway.client().get("/").basic("alice", PASSWORD).send().await;
        assert_refused(&reply, 503, "unavailable", "nobody could be asked");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_store_that_is_down_is_503_but_what_is_known_goes_on() {
    let upstream = Upstream::start().await;
    let faults = std::sync::Arc::new(tollhouse::session::InjectedFaults::default());
    let gateway =
        Gateway::builder().faults(&faults).login("native").route_to(&upstream, TAKES).start().await;
    let call = async |name: &str| gateway.client().get("/").basic(name, PASSWORD).send().await;
    call("alice").await.assert_status(200);

    faults.fail_writes(true);

    call("alice").await.assert_status(200);
    assert_refused(&call("bob").await, 503, "unavailable", "no try can be counted");
    assert_eq!(upstream.received().len(), 2);
    faults.fail_writes(false);
    let patience = Instant::now();
    while call("bob").await.status != 200 {
        assert!(patience.elapsed() < Duration::from_secs(15), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
