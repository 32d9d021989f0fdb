//! Sessions and what ends them.

use std::time::Duration;

use serde_json::json;
use tollhouse::algorithm::Algorithm;
use tollhouse::clock::Timestamp;
use tollhouse::token::{KeyPlace, KeyRing, KeyRingOptions};

use super::{attempt, claims, log_in, refresh, two_logins};
use crate::harness::gateway::{PASSWORD, START, hash_of, users};
use crate::harness::{Gateway, Upstream};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn moving(upstream: &Upstream) -> Gateway {
    Gateway::builder().moving().login("native").route_to(upstream, "").start().await
}

#[tokio::test]
async fn no_step_takes_a_token_of_another_login() {
    let upstream = Upstream::start().await;
    let gateway = two_logins(&upstream).await;
    let one = log_in(&gateway, "/one/auth/login", "alice").await;
    let (access, renewal) = (one.member("access_token"), one.member("refresh_token"));
    let client = gateway.client();

    let reply = refresh(&gateway, "/two/auth/refresh", &renewal).await;
    reply.assert_status(401).assert_code("token_invalid");
    for (method, path) in [
        ("POST", "/two/auth/logout"),
        ("POST", "/two/auth/logout-all"),
        ("GET", "/two/auth/session"),
    ] {
        let call = client.call(method.parse().unwrap(), path).bearer(&access);
        let reply = call.send().await;
        reply.assert_status(401).assert_code("token_invalid");
    }
    upstream.assert_untouched();

    // Nothing of it ended the session or used the refresh token up.
    client.get("/").bearer(&access).send().await.assert_status(200);
    refresh(&gateway, "/one/auth/refresh", &renewal).await.assert_status(200);
}

#[tokio::test]
async fn a_renewal_by_bearer_takes_only_its_own_logins_tokens_and_ends_with_the_session() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .login("nomic")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let other = gateway.token("alice").await;
    let client = gateway.client();
    let reply = client.post("/api/auth/token").bearer(&other).send().await;
    reply.assert_status(403);
    assert!(reply.body.is_empty());

    let reply = client.post("/api/auth/token").basic("alice", PASSWORD).send().await;
    let mut token = reply.assert_status(200).member("token");
    let session = claims(&token)["sid"].clone();
    let mut renewals = 0;
    loop {
        gateway.advance(Duration::from_secs(3600));
        let reply = client.post("/api/auth/token").bearer(&token).send().await;
        if reply.status != 200 {
            break;
        }
        token = reply.member("token");
        assert_eq!(claims(&token)["sid"], session, "the same session");
        renewals += 1;
        assert!(renewals < 30, "a chain that never ends");
    }
    assert!(renewals >= 20, "it lasts for its day: {renewals}");
    // Clocks may be half a minute apart; then the last token is over with its session.
    gateway.advance(Duration::from_secs(31));
    client.get("/").bearer(&token).send().await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn tokens_from_before_the_store_was_made_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let login = log_in(&gateway, "/auth/login", "alice").await;
    let (access, renewal) = (login.member("access_token"), login.member("refresh_token"));
    let before = claims(&access)["iat"].as_u64().unwrap();
    let dir = gateway.stop().await;
    std::fs::remove_file(dir.path().join("state/store.redb")).unwrap();
    // A token carries whole seconds: the store is made in a later one.
    while Timestamp::from_secs(before + 1) > tollhouse::clock::Clock::system().now() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let gateway = Gateway::builder()
        .on(dir)
        .new_state()
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;

    gateway.client().get("/").bearer(&access).send().await.assert_status(401);
    refresh(&gateway, "/auth/refresh", &renewal).await.assert_status(401);
    gateway.client().post("/auth/logout").bearer(&access).send().await.assert_status(401);
    upstream.assert_untouched();
    let again = gateway.token("alice").await;
    gateway.client().get("/").bearer(&again).send().await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_that_nobody_gave_out_is_invalid_and_no_reuse() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let login = log_in(&gateway, "/auth/login", "alice").await;
    let (access, renewal) = (login.member("access_token"), login.member("refresh_token"));
    let ring = KeyRing::open(KeyRingOptions {
        place: KeyPlace::ManagedFolder(gateway.dir().join("state/keys")),
        algorithms: vec![Algorithm::ES256],
        rotate_every: DAY * 90,
        publish_before: DAY,
        keep_for: DAY * 30,
        now: tollhouse::clock::Clock::system().now(),
    })
    .unwrap();
    let mut forged = claims(&renewal);
    forged["jti"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    let forged = forged.as_object().unwrap().clone();
    let forged = ring.sign(Algorithm::ES256, "rt+jwt", &forged).unwrap();

    let reply = refresh(&gateway, "/auth/refresh", forged.expose()).await;

    reply.assert_status(401).assert_code("token_invalid");
    assert!(!gateway.running().audit_lines().contains("reuse"));
    upstream.assert_untouched();
    gateway.client().get("/").bearer(&access).send().await.assert_status(200);
    refresh(&gateway, "/auth/refresh", &renewal).await.assert_status(200);
}

#[tokio::test]
async fn identifiers_are_random_and_new_at_every_login() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let mut seen = std::collections::BTreeSet::new();

    for _ in 0..3 {
        let login = log_in(&gateway, "/auth/login", "alice").await;
        let (access, renewal) =
            (claims(&login.member("access_token")), claims(&login.member("refresh_token")));
        for id in [&access["sid"], &access["jti"], &renewal["jti"]] {
            assert!(seen.insert(id.as_str().unwrap().to_owned()), "{id} twice");
        }
        for jti in [&access["jti"], &renewal["jti"]] {
            assert!(jti.as_str().unwrap().len() >= 22, "128 bits in base64url: {jti}");
        }
    }
}

#[tokio::test]
async fn the_store_holds_no_secret_that_a_client_holds() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").login("webitel").route_to(&upstream, "").start().await;
    let login = log_in(&gateway, "/auth/login", "alice").await;
    let pair = log_in(&gateway, "/login", "alice").await;
    let jti = claims(&login.member("refresh_token"))["jti"].as_str().unwrap().to_owned();
    let secrets = [login.member("refresh_token"), jti, pair.member("key"), PASSWORD.to_owned()];
    let dir = gateway.stop().await;

    let store = std::fs::read(dir.path().join("state/store.redb")).unwrap();

    for secret in secrets {
        let found = store.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        assert!(!found, "{secret} is in the store as it is");
    }
}

#[tokio::test]
async fn a_logout_ends_access_and_refresh_of_one_session_and_logout_all_of_one_user() {
    let upstream = Upstream::start().await;
    let gateway = moving(&upstream).await;
    let (first, second, third) = (
        log_in(&gateway, "/auth/login", "alice").await,
        log_in(&gateway, "/auth/login", "alice").await,
        log_in(&gateway, "/auth/login", "alice").await,
    );
    let bob = gateway.token("bob").await;
    let client = gateway.client();
    let status = async |token: &str| client.get("/").bearer(token).send().await.status.as_u16();

    let access = first.member("access_token");
    client.post("/auth/logout").bearer(&access).send().await.assert_status(204);
    assert_eq!(status(&access).await, 401);
    refresh(&gateway, "/auth/refresh", &first.member("refresh_token")).await.assert_status(401);
    upstream.assert_untouched();
    assert_eq!(status(&second.member("access_token")).await, 200);

    let access = second.member("access_token");
    client.post("/auth/logout-all").bearer(&access).send().await.assert_status(204);
    for login in [&second, &third] {
        assert_eq!(status(&login.member("access_token")).await, 401);
        let renewal = login.member("refresh_token");
        refresh(&gateway, "/auth/refresh", &renewal).await.assert_status(401);
    }
    assert_eq!(status(&bob).await, 200);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn sessions_end_when_idle_and_at_their_absolute_end_however_often_refreshed() {
    let upstream = Upstream::start().await;
    let gateway = moving(&upstream).await;
    let idle = log_in(&gateway, "/auth/login", "bob").await.member("refresh_token");
    let mut renewal = log_in(&gateway, "/auth/login", "alice").await.member("refresh_token");

    let mut days = 0;
    loop {
        gateway.advance(DAY * 5);
        days += 5;
        let reply = refresh(&gateway, "/auth/refresh", &renewal).await;
        if reply.status != 200 {
            break;
        }
        renewal = reply.member("refresh_token");
        assert!(days < 40, "it never ends");
        if days == 10 {
            refresh(&gateway, "/auth/refresh", &idle).await.assert_status(401);
        }
    }

    assert_eq!(days, 30, "its absolute end");
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_access_token_ends_by_itself() {
    let upstream = Upstream::start().await;
    let gateway = moving(&upstream).await;
    let token = gateway.token("alice").await;
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);

    gateway.advance(Duration::from_secs(15 * 60 + 31));

    // It was remembered as good a moment ago.
    let reply = gateway.client().get("/").bearer(&token).send().await;
    reply.assert_status(401).assert_code("token_expired");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn changed_roles_end_sessions_at_the_next_refresh_at_the_latest() {
    for (from, to, why) in [
        ("roles = [\"admin\"]", "roles = [\"reader\"]", "roles"),
        ("scopes = [\"read\", \"write\"]", "scopes = [\"read\"]", "scopes"),
        ("tenant = \"acme\"", "tenant = \"other\"", "claims"),
        ("name = \"alice\"", "name = \"alice\"\ndisabled = true", "disabled"),
    ] {
        let upstream = Upstream::start().await;
        let gateway = Gateway::serving("native", &upstream).await;
        let login = log_in(&gateway, "/auth/login", "alice").await;
        let dir = gateway.stop().await;
        let text = users().replacen(from, to, 1);
        assert_ne!(text, users(), "{why}");
        std::fs::write(dir.path().join("users.toml"), text).unwrap();

        let gateway =
            Gateway::builder().on(dir).login("native").route_to(&upstream, "").start().await;

        let access = login.member("access_token");
        gateway.client().get("/").bearer(&access).send().await.assert_status(401);
        let renewal = login.member("refresh_token");
        let reply = refresh(&gateway, "/auth/refresh", &renewal).await;
        assert_eq!(reply.status, 401, "{why}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_hash_that_we_rewrote_ends_no_session() {
    let upstream = Upstream::start().await;
    let weak = bcrypt::hash(PASSWORD, 4).unwrap();
    let text = users().replacen(&hash_of(PASSWORD), &weak, 1);
    let gateway =
        Gateway::builder().users(&text).login("native").route_to(&upstream, "").start().await;
    let first = log_in(&gateway, "/auth/login", "alice").await;
    let written = std::fs::read_to_string(gateway.dir().join("users.toml")).unwrap();
    assert!(!written.contains(&weak), "it was rewritten");

    refresh(&gateway, "/auth/refresh", &first.member("refresh_token")).await.assert_status(200);
    let dir = gateway.stop().await;
    let gateway = Gateway::builder().on(dir).login("native").route_to(&upstream, "").start().await;

    let access = first.member("access_token");
    gateway.client().get("/").bearer(&access).send().await.assert_status(200);
    attempt(&gateway, "alice", PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_token_of_the_future_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = moving(&upstream).await;
    gateway.advance(DAY);
    let token = gateway.token("alice").await;
    let dir = gateway.stop().await;

    // The clock of this start is a day behind.
    let gateway =
        Gateway::builder().on(dir).moving().login("native").route_to(&upstream, "").start().await;

    assert!(gateway.clock.as_ref().is_some(), "at {START}");
    gateway.client().get("/").bearer(&token).send().await.assert_status(401);
    upstream.assert_untouched();
}
