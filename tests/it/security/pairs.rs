//! The pair `X-Access-Token` and `X-Key`, end to end.

use std::time::Duration;

use super::log_in;
use crate::harness::{Gateway, Upstream};

async fn webitel(upstream: &Upstream) -> (Gateway, String, String) {
    let gateway = Gateway::builder()
        .moving()
        .login("webitel")
        .login("native")
        .route_to(upstream, "errors = \"webitel\"")
        .start()
        .await;
    let login = log_in(&gateway, "/login", "alice").await;
    let (token, key) = (login.member("token"), login.member("key"));
    (gateway, token, key)
}

const OTHER_KEY: &str = "3f0c3c1e-0000-4000-8000-000000000001";

#[tokio::test]
async fn a_token_that_names_a_key_is_worth_nothing_without_it() {
    let upstream = Upstream::start().await;
    let (gateway, token, key) = webitel(&upstream).await;
    let client = gateway.client();

    for (call, why) in [
        (client.get("/").bearer(&token), "as a Bearer"),
        (client.get("/").header("x-access-token", &token), "without its key"),
        (client.get("/").header("x-key", &key), "the key alone"),
        (client.get("/").pair(&token, OTHER_KEY), "another key"),
        (client.get("/").pair(&token, &key.to_uppercase()), "the key in upper case"),
        (client.get("/").pair(&token, ""), "an empty key"),
    ] {
        let reply = call.send().await;
        assert_eq!(reply.status, 401, "{why}");
        assert_eq!(reply.member("info"), "Invalid Token or Key", "{why}");
    }
    upstream.assert_untouched();
    client.get("/").pair(&token, &key).send().await.assert_status(200);
    assert_eq!(upstream.only().header("x-key"), None);
}

#[tokio::test]
async fn a_pair_whose_token_names_no_key_is_refused() {
    let upstream = Upstream::start().await;
    let (gateway, _, key) = webitel(&upstream).await;
    let bearer = gateway.token("alice").await;

    let reply = gateway.client().get("/").pair(&bearer, &key).send().await;

    reply.assert_status(401);
    upstream.assert_untouched();
    gateway.client().get("/").bearer(&bearer).send().await.assert_status(200);
}

#[tokio::test]
async fn expiry_and_logout_are_told_only_to_who_holds_token_and_key() {
    let upstream = Upstream::start().await;
    let (gateway, token, key) = webitel(&upstream).await;
    let ended = log_in(&gateway, "/login", "alice").await;
    let (ended_token, ended_key) = (ended.member("token"), ended.member("key"));
    let client = gateway.client();
    client.post("/logout").pair(&ended_token, OTHER_KEY).send().await.assert_status(401);
    client.post("/logout").pair(&ended_token, &ended_key).send().await.assert_status(200);

    let told = async |token: &str, key: &str| {
        let reply = client.get("/").pair(token, key).send().await;
        reply.assert_status(401).member("info")
    };
    assert_eq!(told(&ended_token, &ended_key).await, "Invalid User");
    assert_eq!(told(&ended_token, OTHER_KEY).await, "Invalid Token or Key");
    let again = client.post("/logout").pair(&ended_token, &ended_key).send().await;
    assert_eq!(again.assert_status(401).member("info"), "Bad caller", "a second logout");

    gateway.advance(Duration::from_secs(25 * 3600));
    assert_eq!(told(&token, &key).await, "Token Expired");
    assert_eq!(told(&token, OTHER_KEY).await, "Invalid Token or Key");
    let cut = &token[..token.len() - 4];
    assert_eq!(told(cut, &key).await, "Invalid Token or Key");
    upstream.assert_untouched();
}
