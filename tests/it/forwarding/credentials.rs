//! As whom the gateway calls an upstream, and how it vouches there for its callers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

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
    gateway.advance(std::time::Duration::from_secs(31));
    let later = call(&alice).await;

    assert_eq!(first, second);
    assert_ne!(first, of_bob);
    assert_ne!(first, later);
}
