//! Where keys come from, and from whom they are not taken.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{admin, call, knowing, notes, refreshed, token, trusting};
use crate::harness::gateway::START;
use crate::harness::issuer::{DISCOVERY, IssuerKey, JWKS};
use crate::harness::{Gateway, OpenIdProvider, Upstream};

#[tokio::test]
async fn keys_are_found_by_discovery_and_fetched_once() {
    let (provider, upstream) = (OpenIdProvider::start().await, Upstream::start().await);
    let gateway = trusting(&provider, &upstream, "roles_claim = \"permissions\"").await;

    for _ in 0..3 {
        call(&gateway, &token(&provider).auth0().text()).await.assert_status(200);
    }

    let seen = upstream.last();
    assert_eq!(seen.header("x-auth-roles"), Some("read:stats,write:stats"));
    assert_eq!(seen.header("x-auth-scopes"), Some("openid,read:stats"));
    assert_eq!(seen.header("x-auth-username"), Some("auth0|123"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (1, 1));
    assert!(!notes(&gateway).await.contains("idp"), "all is well");
    let metrics = admin(&gateway).get("/metrics").send().await.text();
    let at =
        format!("tollhouse_jwks_last_success_timestamp_seconds{{issuer=\"idp\"}} {}", START.secs());
    assert!(metrics.contains(&at), "{metrics}");
}

#[tokio::test]
async fn a_key_sets_own_address_is_asked_without_discovery() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let jwks = format!("jwks = \"{}\"", provider.jwks_url());
    let gateway = trusting(&provider, &upstream, &jwks).await;

    call(&gateway, &token(&provider).text()).await.assert_status(200);

    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (0, 1));
}

/// A gateway that takes the provider's tokens could not find out about one of them.
async fn assert_not_believed(provider: &OpenIdProvider, upstream: &Upstream, why: &str) {
    let gateway = trusting(provider, upstream, "").await;

    let reply = call(&gateway, &token(provider).text()).await;

    assert_eq!(reply.status, 503, "{why}: {}", reply.text());
    assert!(reply.header("www-authenticate").is_none(), "{why}: nothing is known of the token");
    upstream.assert_untouched();
    let notes = notes(&gateway).await;
    assert!(notes.contains("issuer `idp`: its keys were never fetched: "), "{why}: {notes}");
}

#[tokio::test]
async fn a_document_that_is_not_exactly_the_issuers_is_not_believed() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let issuer = provider.issuer();
    let truth = provider.discovery();
    let changed = |name: &str, value: Value| {
        let mut document = truth.clone();
        document[name] = value;
        document.to_string()
    };
    for (document, why) in [
        (changed("issuer", json!(issuer.trim_end_matches('/'))), "without its slash"),
        (changed("issuer", json!(issuer.to_uppercase())), "in capitals"),
        (changed("issuer", json!("https://other.example/")), "another's"),
        (changed("issuer", Value::Null), "nobody's"),
        (changed("issuer", json!([issuer])), "a list"),
        (format!("{{\"issuer\":\"x\",{}", &truth.to_string()[1..]), "two issuers"),
        (changed("jwks_uri", Value::Null), "without keys"),
        (changed("jwks_uri", json!(JWKS)), "a path for an address"),
        (changed("jwks_uri", json!("file:///etc/passwd")), "a file for an address"),
        (
            changed("jwks_uri", json!(provider.jwks_url().replace("://", "://user@"))),
            "an address with a user",
        ),
        ("[]".to_owned(), "a list"),
        (String::new(), "nothing"),
    ] {
        provider.tell(DISCOVERY, Response::new(Bytes::from(document)));

        assert_not_believed(&provider, &upstream, why).await;
    }
    assert_eq!(provider.fetches(JWKS), 0, "the keys were not even fetched");
}

#[tokio::test]
async fn what_is_no_plain_answer_is_not_believed() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let elsewhere = OpenIdProvider::es256().await;
    let redirect = |status: u16, to: String| {
        Response::builder().status(status).header("location", to).body(Bytes::new()).unwrap()
    };
    let status = |status: u16| {
        Response::builder().status(status).body(Bytes::from(provider.jwks().to_string())).unwrap()
    };
    let huge = format!("{}{}", provider.jwks(), " ".repeat(1 << 20));
    for (path, answer, why) in [
        (DISCOVERY, redirect(301, format!("{}x", elsewhere.issuer())), "moved"),
        (JWKS, redirect(302, elsewhere.jwks_url()), "found elsewhere"),
        (JWKS, redirect(307, provider.jwks_url()), "found here"),
        (JWKS, status(201), "made"),
        (JWKS, status(404), "missing"),
        (JWKS, status(500), "broken"),
        (JWKS, Response::new(Bytes::from(huge)), "too much"),
        (JWKS, Response::new(Bytes::from_static(b"\xff\xfe")), "no text"),
        (JWKS, Response::new(Bytes::from_static(b"{\"keys\":{}}")), "no list"),
        (JWKS, Response::new(Bytes::from_static(b"{\"keys\":[]}")), "no key"),
    ] {
        provider.be_honest();
        provider.tell(path, answer);

        assert_not_believed(&provider, &upstream, why).await;
    }
    assert_eq!((elsewhere.fetches("/x"), elsewhere.fetches(JWKS)), (0, 0));
}

#[tokio::test]
async fn only_the_configured_ca_is_believed() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let other = OpenIdProvider::es256().await;
    let [own, others] = [&provider, &other].map(|one| format!("{:?}", one.ca()));
    for section in [
        provider.section("idp", "").replace(&own, &others),
        provider.section("idp", "").replace(&format!("ca = {own}\n"), ""),
    ] {
        let builder = Gateway::builder().moving().config(&section).login("native");
        let gateway = builder.route_to(&upstream, "").start().await;

        call(&gateway, &token(&provider).text()).await.assert_status(503);
    }

    upstream.assert_untouched();
    assert_eq!(provider.fetches(DISCOVERY), 0);
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_the_risk_is_accepted() {
    let (plain, upstream) = (OpenIdProvider::plain().await, Upstream::start().await);
    let refused = Gateway::builder().config(&plain.section("idp", "")).try_start().await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert!(refused.contains("must be https: allow_http = true"), "{refused}");

    // An honest provider over TLS that sends us where TLS ends.
    let encrypted = OpenIdProvider::es256().await;
    let mut document = encrypted.discovery();
    document["jwks_uri"] = json!(plain.jwks_url());
    encrypted.tell_json(DISCOVERY, &document);
    assert_not_believed(&encrypted, &upstream, "keys without TLS").await;
    assert_eq!(plain.fetches(JWKS), 0);

    let gateway = trusting(&plain, &upstream, "allow_http = true").await;
    call(&gateway, &token(&plain).text()).await.assert_status(200);
}

#[tokio::test]
async fn one_bad_key_does_not_spoil_a_set_and_none_of_them_verifies() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let [private, encrypting, wrapping, small] =
        ["private", "encrypting", "wrapping", "small"].map(IssuerKey::es256);
    let with = |key: &IssuerKey, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let secret = b"a published secret of 32 bytes!!";
    let oct = json!({
        "kty": "oct", "kid": "oct", "use": "sig",
        "k": base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret),
    });
    provider.tell_json(
        JWKS,
        &json!({ "keys": [
            7,
            with(&private, "d", json!("AAAA")),
            with(&encrypting, "use", json!("enc")),
            with(&wrapping, "key_ops", json!(["wrapKey"])),
            json!({ "kty": "RSA", "kid": "small", "n": "wAAAAAAAAAAB", "e": "AQAB" }),
            oct,
            provider.key().jwk(),
        ] }),
    );
    let gateway = knowing(&provider, &upstream, "").await;

    for key in [&private, &encrypting, &wrapping, &small] {
        let forged = token(&provider).signed_by(key).text();
        call(&gateway, &forged).await.assert_status(401);
    }
    let header = json!({ "alg": "HS256", "kid": "oct" });
    let claims = serde_json::from_str(&token(&provider).payload()).unwrap();
    let forged = crate::security::signed(&header, &claims, secret);
    call(&gateway, &forged).await.assert_status(401);
    upstream.assert_untouched();
    call(&gateway, &token(&provider).text()).await.assert_status(200);
}

#[tokio::test]
async fn a_set_without_a_usable_key_does_not_replace_the_last_good_one() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;

    provider.tell_json(JWKS, &json!({ "keys": [] }));
    gateway.advance(std::time::Duration::from_secs(600));
    refreshed(&gateway, "failed", 1).await;

    let still = provider.token().at(START).text();
    call(&gateway, &still).await.assert_status(200);
    let notes = notes(&gateway).await;
    assert!(notes.contains("its keys are those of 2026-11-22T09:30:00"), "{notes}");
}
