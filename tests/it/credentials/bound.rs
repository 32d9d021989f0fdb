//! Foreign tokens that are bound to a key of the caller's: `cnf` (RFC 7800).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde_json::{Value, json};
use tollhouse::secret::Digest;

use super::assert_refused;
use super::certificates::Mutual;
use crate::harness::certs::ClientIdentity;
use crate::harness::{OpenIdProvider, Upstream};

/// Bound to this certificate (RFC 8705 §3.1).
fn bound_to(identity: &ClientIdentity) -> Value {
    json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(Digest::of(&identity.der).0) })
}

/// Bound to a key that would be proved in every request (RFC 9449 §6.1).
fn dpop() -> Value {
    json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
}

#[tokio::test]
async fn a_foreign_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let provider = OpenIdProvider::es256().await;
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(&provider.section("idp", ""))
        .config("[[login]]\ndialect = \"native\"\nexchange = [\"idp\"]")
        .route_to(&upstream, "")
        .start()
        .await;
    let (owner, thief) = (mutual.named("owner"), mutual.named("thief"));
    let token = |cnf: Value| provider.token().claim("cnf", cnf).text();
    let call = async |shown: Option<&ClientIdentity>, token: &str| {
        let client = mutual.client(&gateway, shown, false);
        client.get("/").bearer(token).send().await
    };
    call(None, &token(Value::Null)).await.assert_status(200);
    let bound = token(bound_to(&owner));
    let (calls, exchange) = (upstream.received().len(), "/auth/exchange");

    for (shown, token, why) in [
        (None, &bound, "no certificate"),
        (Some(&thief), &bound, "another certificate"),
        (None, &token(dpop()), "a key of DPoP"),
        (Some(&owner), &token(dpop()), "a key of DPoP"),
        (Some(&owner), &token(json!({})), "a key of no kind"),
        (Some(&owner), &token(json!({ "jwk": {} })), "a key of another kind"),
    ] {
        assert_refused(&call(shown, token).await, 401, "token_invalid", why);
        let client = mutual.client(&gateway, shown, false);
        let traded = client.post(exchange).bearer(token).send().await;
        assert_refused(&traded, 401, "token_invalid", why);
    }
    assert_eq!(upstream.received().len(), calls);

    call(Some(&owner), &bound).await.assert_status(200);
    let client = mutual.client(&gateway, Some(&owner), false);
    client.post(exchange).bearer(&bound).send().await.assert_status(200);
    assert_refused(&call(None, &bound).await, 401, "token_invalid", "it is remembered now");
    assert_refused(&call(Some(&thief), &bound).await, 401, "token_invalid", "and not a thief's");
    assert_eq!(upstream.received().len(), calls + 1);
}

#[tokio::test]
async fn an_opaque_token_that_its_issuer_calls_bound_is_no_bearer_token() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let (owner, thief) = (mutual.named("owner"), mutual.named("thief"));
    let bound = bound_to(&owner);
    let issuer = Upstream::answering(move |request| {
        let asked = String::from_utf8_lossy(&request.body);
        let mut answer = json!({ "active": true, "sub": "7", "aud": "legacy" });
        if asked.contains("token=bound") {
            answer["cnf"] = bound.clone();
        } else if asked.contains("token=dpop") {
            answer["cnf"] = dpop();
        }
        Response::new(answer.to_string().into())
    })
    .await;
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"secret").unwrap();
    let section = format!(
        "[[issuer]]\nname = \"hydra\"\nissuer = \"https://hydra.example/\"\nallow_http = true\n\
         audience = [\"legacy\"]\nintrospection = {{ url = \"{}/introspect\", client_id = \"g\",\n\
         client_secret = {{ file = {:?} }} }}\n",
        issuer.url(),
        secret.path()
    );
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(&section)
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let call = async |shown: Option<&ClientIdentity>, token: &str| {
        let client = mutual.client(&gateway, shown, false);
        client.get("/").bearer(token).send().await
    };

    for (shown, token, why) in [
        (None, "bound", "no certificate"),
        (Some(&thief), "bound", "another certificate"),
        (Some(&owner), "dpop", "a key of DPoP"),
        (None, "dpop", "a key of DPoP"),
    ] {
        assert_refused(&call(shown, token).await, 401, "token_invalid", why);
    }
    upstream.assert_untouched();
    call(Some(&owner), "bound").await.assert_status(200);
    call(None, "plain").await.assert_status(200);
    assert_refused(&call(None, "bound").await, 401, "token_invalid", "it is remembered now");
    assert_eq!(upstream.received().len(), 2);
}
