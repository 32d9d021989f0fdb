//! API keys on routes.

use std::time::Duration;

use http::Method;
use tokio_tungstenite::tungstenite::Message;
use tollhouse::config;

use super::{ask, assert_refused, key};
use crate::harness::{Gateway, Upstream};
use crate::protocol::streams::{EchoWebSocket, assert_closed, assert_echo, open_with};

const DAY: Duration = Duration::from_secs(24 * 3600);
const TAKES: &str = "auth = [\"api_key\"]";

#[tokio::test]
async fn a_key_opens_its_route_as_whom_it_is() {
    let upstream = Upstream::start().await;
    let lines = "name = \"nightly export\"\nroles = [\"reader\", \"writer\"]\nscopes = [\"a\"]";
    let (key, section) = key("robot_1", lines);
    let require = "require = { roles = [\"reader\"], scopes = [\"a\"] }";
    let gateway = Gateway::builder()
        .config(&section)
        .route_to(&upstream, &format!("{TAKES}\n{require}"))
        .start()
        .await;

    gateway.client().get("/x").header("x-api-key", &key).send().await.assert_status(200);

    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-username"), Some("nightly export"));
    assert_eq!(seen.header("x-auth-roles"), Some("reader,writer"));
    assert_eq!(seen.header("x-auth-scopes"), Some("a"));
    assert!(uuid::Uuid::try_parse(seen.header("x-auth-subject").unwrap()).is_ok());
    assert_eq!(seen.header("x-api-key"), None, "the key stays here");
    assert!(!gateway.running().access_lines().contains(&key), "and is in no log");
}

#[tokio::test]
async fn whatever_is_no_good_key_is_refused() {
    let upstream = Upstream::start().await;
    let (good, section) = key("robot", "");
    let (other, _) = key("robot", "");
    let (stranger, _) = key("stranger", "");
    let (elsewhere, narrow) = key("narrow", "networks = [\"10.0.0.0/8\", \"2001:db8::/32\"]");
    let gateway = Gateway::builder()
        .config(&section)
        .config(&narrow)
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = gateway.client();

    assert_refused(&client.get("/").send().await, 401, "credential_missing", "nothing");
    for (value, why) in [
        (other.as_str(), "another secret"),
        (&stranger, "an id that nobody has"),
        (&elsewhere, "from another network"),
        ("", "empty"),
        ("robot", "an id alone"),
        (&good[..good.len() - 1], "cut short"),
        (&format!("{good}0"), "too long"),
        (&good.to_uppercase(), "in other letters"),
        (&good.replace("th_", ""), "without its beginning"),
        (&format!("Bearer {good}"), "with a scheme"),
        (&format!("{good},{good}"), "a list"),
        (&"x".repeat(9000), "very long"),
    ] {
        let reply = client.get("/").header("x-api-key", value).send().await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    let twice = client.get("/").header("x-api-key", &good).header("X-API-Key", &good).send().await;
    assert_refused(&twice, 400, "ambiguous_credential", "given twice");
    for name in ["x_api_key", "X.API.Key", "authorization", "api-key"] {
        let reply = client.get("/").header(name, &good).send().await;
        assert_refused(&reply, 401, "credential_missing", name);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_key_is_taken_from_its_networks() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "networks = [\"10.0.0.0/8\", \"127.0.0.0/8\"]");
    let gateway = Gateway::builder().config(&section).route_to(&upstream, TAKES).start().await;

    let client = gateway.client();
    client.get("/").header("x-api-key", &key).send().await.assert_status(200);
    // Nobody here is believed about where a request comes from.
    let claimed = client.get("/").header("x-api-key", &key);
    claimed.header("x-forwarded-for", "192.0.2.1").send().await.assert_status(200);
}

#[tokio::test]
async fn a_key_ends_with_its_last_day_and_takes_its_streams_along() {
    let parrot = EchoWebSocket::start().await;
    let (key, section) = key("robot", "expires = \"2026-11-23\"");
    let gateway =
        Gateway::builder().moving().config(&section).config(&parrot.config(TAKES)).start().await;
    let field = Some(("x-api-key", key.as_str()));
    let mut socket = open_with(&gateway.client(), field).await.unwrap();

    // 2026-11-22T09:30 and a day.
    gateway.advance(DAY);
    assert_echo(&mut socket, Message::text("its last day")).await;
    gateway.advance(DAY);

    assert_closed(socket, "the key has ended").await;
    let reply = gateway.client().get("/").header("x-api-key", &key).send().await;
    assert_refused(&reply, 401, "token_expired", "its last day is over");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_after_a_restart() {
    let parrot = EchoWebSocket::start().await;
    let (key, section) = key("robot", "");
    let (other, second) = super::key("other", "");
    let builder = || {
        let builder = Gateway::builder().config(&section).config(&second);
        builder.config(&parrot.config(TAKES))
    };
    let gateway = builder().start().await;
    let open = async |gateway: &Gateway, key: &str| {
        open_with(&gateway.client(), Some(("x-api-key", key))).await
    };
    let socket = open(&gateway, &key).await.unwrap();
    let mut stays = open(&gateway, &other).await.unwrap();

    let (status, answer) = ask(&gateway, Method::DELETE, "/api-keys/robot", None).await;

    assert_eq!(status, 200, "{answer}");
    assert_closed(socket, "the key was revoked").await;
    assert_echo(&mut stays, Message::text("still here")).await;
    let reply = gateway.client().get("/").header("x-api-key", &key).send().await;
    assert_refused(&reply, 401, "token_revoked", "at once");
    let (_, listed) = ask(&gateway, Method::GET, "/api-keys", None).await;
    assert_eq!(
        (&listed["keys"][0]["revoked"], &listed["keys"][1]["revoked"]),
        (&true.into(), &false.into())
    );
    assert_eq!(ask(&gateway, Method::DELETE, "/api-keys/nobody", None).await.0, 404);

    let gateway = builder().on(gateway.stop().await).start().await;
    let reply = gateway.client().get("/").header("x-api-key", &key).send().await;
    assert_refused(&reply, 401, "token_revoked", "after a restart");

    let (again, renewed) = super::key("robot", "");
    let builder = Gateway::builder().config(&renewed).config(&parrot.config(TAKES));
    let gateway = builder.on(gateway.stop().await).start().await;
    let mut socket = open(&gateway, &again).await.unwrap();
    assert_echo(&mut socket, Message::text("another secret is another key")).await;
}

#[tokio::test]
async fn the_field_of_keys_never_goes_on_unless_it_was_the_one_verified() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let gateway = Gateway::builder()
        .login("native")
        .config(&section)
        .route(&upstream, "/keys/", "auth = [\"api_key\"]\nforward_credential = true")
        .route(&upstream, "/tokens/", "forward_credential = true")
        .route(&upstream, "/open/", "auth = []")
        .start()
        .await;
    let token = gateway.token("alice").await;
    let client = gateway.client();
    let both = |path| client.get(path).header("x-api-key", &key).bearer(&token);
    let spelt = |path| both(path).header("x_api_key", &key).header("x-api.key", &key);

    // Kinds that a route does not list are not counted, only removed.
    for (path, kept, why) in [
        ("/keys/", Some("x-api-key"), "it was verified here"),
        ("/tokens/", Some("authorization"), "the token was"),
        ("/open/", None, "nobody asked"),
    ] {
        spelt(path).send().await.assert_status(200);

        let seen = upstream.last();
        for name in ["x-api-key", "authorization", "x_api_key", "x-api.key"] {
            assert_eq!(seen.header(name).is_some(), kept == Some(name), "{why}: {name}");
        }
    }
}

#[tokio::test]
async fn without_keys_the_field_is_the_upstreams_own() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route(&upstream, "/", "").start().await;
    let token = gateway.token("alice").await;

    let client = gateway.client();
    let call = client.get("/").bearer(&token).header("x-api-key", "legacy");
    call.send().await.assert_status(200);

    assert_eq!(upstream.only().header("x-api-key"), Some("legacy"));
}

#[tokio::test]
async fn the_field_can_be_called_otherwise_and_an_upstream_can_want_its_own() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let set = "request_headers = { set = { Api-Key = \"the upstream's\" } }";
    let gateway = Gateway::builder()
        .config("[api_keys]\nheader = \"Api-Key\"")
        .config(&section)
        .route_to(&upstream, &format!("{TAKES}\n{set}"))
        .start()
        .await;

    gateway.client().get("/").header("api-key", &key).send().await.assert_status(200);
    assert_eq!(upstream.only().header("api-key"), Some("the upstream's"));
    let reply = gateway.client().get("/").header("x-api-key", &key).send().await;
    assert_refused(&reply, 401, "credential_missing", "another field");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_route_that_observes_keeps_our_keys_and_lets_others_through() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let (forged, _) = super::key("robot", "");
    let rule = "auth = [\"api_key\"]\nenforce = false\nrequire = { roles = [\"none\"] }";
    let gateway = Gateway::builder().config(&section).route_to(&upstream, rule).start().await;
    for (value, goes_on, why) in [
        (key.as_str(), false, "proved, but not permitted"),
        (&forged, false, "the form of ours"),
        ("legacy-key", true, "what the upstream may still know"),
    ] {
        gateway.client().get("/").header("x-api-key", value).send().await.assert_status(200);

        let seen = upstream.last();
        assert_eq!(seen.header("x-api-key").is_some(), goes_on, "{why}");
        assert_eq!(seen.header("x-auth-username").is_some(), value == key, "{why}");
    }
}

#[tokio::test]
async fn what_a_reload_takes_away_ends_with_what_it_has_open() {
    let parrot = EchoWebSocket::start().await;
    let (kept, first) = key("kept", "");
    let (gone, second) = key("gone", "");
    let routes = parrot.config(TAKES);
    let gateway = Gateway::builder().config(&routes).config(&first).config(&second).start().await;
    let mut stays = open_with(&gateway.client(), Some(("x-api-key", &kept))).await.unwrap();
    let socket = open_with(&gateway.client(), Some(("x-api-key", &gone))).await.unwrap();

    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&second, "")).unwrap();
    let read = || config::load(&path, &|_| None).map(|loaded| loaded.config);
    gateway.running().reload(|| read().map_err(|issues| issues.to_string())).unwrap();

    assert_closed(socket, "its key is no more").await;
    assert_echo(&mut stays, Message::text("still here")).await;
    let reply = gateway.client().get("/").header("x-api-key", &gone).send().await;
    assert_refused(&reply, 401, "token_invalid", "it is nobody's");
}
