//! Which credential counts, where several kinds are taken.

use super::{assert_refused, key, log_in};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

#[tokio::test]
async fn two_kinds_that_a_route_takes_are_ambiguous_whichever_is_good() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let gateway = Gateway::builder()
        .config("[[login]]\ndialect = \"native\"")
        .config("[[login]]\ndialect = \"webitel\"\nreveal_unknown_user = false")
        .config(&section)
        .route_to(&upstream, "auth = [\"bearer\", \"token_key\", \"api_key\", \"basic\"]")
        .start()
        .await;
    let token = gateway.token("alice").await;
    let pair = log_in(&gateway, "/login", "alice").await;
    let (access, secret) = (pair.member("token"), pair.member("key"));
    let client = gateway.client();
    let get = || client.get("/");

    for (call, why) in [
        (get().bearer(&token).header("x-api-key", &key), "a token and a key"),
        (get().bearer("nonsense").header("x-api-key", &key), "a bad token and a key"),
        (get().bearer(&token).header("x-api-key", "nonsense"), "a token and a bad key"),
        (get().pair(&access, &secret).header("x-api-key", &key), "a pair and a key"),
        (get().header("x-key", &secret).header("x-api-key", &key), "half a pair and a key"),
        (get().basic("alice", PASSWORD).header("x-api-key", &key), "a password and a key"),
        (get().basic("alice", PASSWORD).pair(&access, &secret), "a password and a pair"),
        (get().basic("alice", PASSWORD).bearer(&token), "a password and a token"),
    ] {
        assert_refused(&call.send().await, 400, "ambiguous_credential", why);
    }
    upstream.assert_untouched();
    for call in [
        get().bearer(&token),
        get().pair(&access, &secret),
        get().header("x-api-key", &key),
        get().basic("alice", PASSWORD),
    ] {
        call.send().await.assert_status(200);
    }
}

#[tokio::test]
async fn kinds_that_a_route_does_not_take_are_removed_and_not_counted() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let gateway = Gateway::builder()
        .login("native")
        .config(&section)
        .route(&upstream, "/token/", "")
        .route(&upstream, "/key/", "auth = [\"api_key\"]")
        .route(&upstream, "/password/", "auth = [\"basic\"]")
        .start()
        .await;
    let token = gateway.token("alice").await;
    let client = gateway.client();
    let get = |path| client.get(path);

    for (call, who, why) in [
        (get("/token/").bearer(&token).header("x-api-key", &key), "alice", "a token"),
        (get("/key/").bearer(&token).header("x-api-key", &key), "robot", "a key"),
        (get("/key/").basic("bob", "wrong").header("x-api-key", &key), "robot", "a key"),
        (get("/password/").basic("bob", PASSWORD).header("x-api-key", &key), "bob", "a password"),
    ] {
        call.send().await.assert_status(200);

        let seen = upstream.last();
        assert_eq!(seen.header("x-auth-username"), Some(who), "{why}");
        assert_eq!(seen.header("x-api-key").or(seen.header("authorization")), None, "{why}");
    }
    let arrived = upstream.received().len();
    for (call, why) in [
        (get("/token/").header("x-api-key", &key), "a key where tokens are taken"),
        (get("/token/").basic("alice", PASSWORD), "a password where tokens are taken"),
        (get("/password/").bearer(&token), "a token where passwords are taken"),
    ] {
        assert_refused(&call.send().await, 401, "credential_missing", why);
    }
    assert_eq!(upstream.received().len(), arrived);
}

#[tokio::test]
async fn issuers_and_logins_are_asked_of_tokens_only() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    let gateway = Gateway::builder()
        .config("[[login]]\ndialect = \"native\"\nname = \"one\"\nprefix = \"/one\"")
        .config("[[login]]\ndialect = \"native\"\nname = \"two\"\nprefix = \"/two\"")
        .config(&section)
        .route_to(
            &upstream,
            "auth = [\"bearer\", \"api_key\", \"basic\"]\nissuers = [\"self\"]\nlogins = [\"two\"]",
        )
        .start()
        .await;
    let wrong = log_in(&gateway, "/one/auth/login", "alice").await.member("access_token");

    let reply = gateway.client().get("/").bearer(&wrong).send().await;
    assert_refused(&reply, 401, "token_invalid", "another login's token");
    upstream.assert_untouched();
    gateway.client().get("/").header("x-api-key", &key).send().await.assert_status(200);
    gateway.client().get("/").basic("alice", PASSWORD).send().await.assert_status(200);
}

#[tokio::test]
async fn no_kind_travels_without_tls_where_others_could_read_along() {
    let upstream = Upstream::start().await;
    let (key, section) = key("robot", "");
    // A proxy that is believed says that its client came without TLS.
    let gateway = Gateway::builder()
        .listeners("[[listener]]\naddress = \"0.0.0.0:0\"\nredirect_to_https = true")
        .config(&section)
        .route_to(&upstream, "hosts = [\"api.example\"]\nauth = [\"api_key\", \"basic\"]")
        .start()
        .await;
    let mut client = gateway.client();
    client.address.set_ip([127, 0, 0, 1].into());

    let get = || client.get("/").host("api.example");
    assert_refused(&get().header("x-api-key", &key).send().await, 403, "tls_required", "a key");
    assert_refused(&get().basic("bob", PASSWORD).send().await, 403, "tls_required", "a password");
    get().send().await.assert_status(308);
    upstream.assert_untouched();
}
