//! Keys that come and go, and how often that makes us ask.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::{call, knowing, refreshed, token, trusting};
use crate::harness::issuer::{DISCOVERY, IssuerKey, JWKS};
use crate::harness::{OpenIdProvider, Upstream};

/// Longer than any set is good that says nothing.
const REFRESH: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_new_key_is_fetched_with_its_first_token_and_a_withdrawn_one_is_over() {
    let (provider, upstream) = (OpenIdProvider::start().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let old = token(&provider).text();
    call(&gateway, &old).await.assert_status(200);

    provider.rotate(IssuerKey::rs256("second"));
    let new = token(&provider).text();
    call(&gateway, &new).await.assert_status(200);
    call(&gateway, &old).await.assert_status(200);
    assert_eq!(provider.fetches(JWKS), 2);

    // The token is remembered, but not for longer than its key.
    provider.retire("first");
    gateway.advance(REFRESH);
    refreshed(&gateway, "succeeded", 3).await;
    let seen = upstream.received().len();
    call(&gateway, &old).await.assert_status(401);
    assert_eq!(upstream.received().len(), seen);
    call(&gateway, &new).await.assert_status(200);
}

#[tokio::test]
async fn keys_are_fetched_anew_when_their_provider_says() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let keys = Response::builder().header("cache-control", "public, max-age=120");
    provider.tell(JWKS, keys.body(Bytes::from(provider.jwks().to_string())).unwrap());
    let gateway = knowing(&provider, &upstream, "").await;

    gateway.advance(Duration::from_secs(120));

    refreshed(&gateway, "succeeded", 2).await;
    assert_eq!(provider.fetches(JWKS), 2);
    upstream.assert_untouched();
}

#[tokio::test]
async fn another_key_under_the_same_name_refuses_what_the_last_one_signed() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let old = token(&provider).text();
    call(&gateway, &old).await.assert_status(200);

    provider.retire("first");
    provider.rotate(IssuerKey::es256("first"));
    gateway.advance(REFRESH);
    refreshed(&gateway, "succeeded", 2).await;

    call(&gateway, &old).await.assert_status(401);
    call(&gateway, &token(&provider).text()).await.assert_status(200);
}

#[tokio::test]
async fn made_up_key_names_cause_one_fetch_in_half_a_minute() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let flood = |round: usize| {
        let (gateway, provider) = (&gateway, &provider);
        async move {
            let tries = (0..100).map(|number| {
                let kid = format!("made-up-{round}-{number}");
                let forged = token(provider).kid(Some(&kid)).text();
                async move { call(gateway, &forged).await.assert_status(401).json() }
            });
            futures_util::future::join_all(tries).await
        }
    };

    flood(1).await;
    flood(2).await;
    assert_eq!(provider.fetches(JWKS), 2, "the first one's and one for all of these");

    gateway.advance(Duration::from_secs(29));
    flood(3).await;
    assert_eq!(provider.fetches(JWKS), 2, "not yet again");

    gateway.advance(Duration::from_secs(1));
    flood(4).await;
    assert_eq!((provider.fetches(JWKS), provider.fetches(DISCOVERY)), (3, 3));
    upstream.assert_untouched();
}

#[tokio::test]
async fn everybody_with_a_new_key_waits_for_the_same_fetch() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let known = token(&provider).text();
    provider.rotate(IssuerKey::es256("second"));
    provider.hold();

    let waiting = (0..50).map(|number| {
        let new = token(&provider).sub(&number.to_string()).text();
        let gateway = &gateway;
        async move { call(gateway, &new).await.assert_status(200).status }
    });
    let released = async {
        provider.fetched(DISCOVERY, 2).await;
        // Who needs nobody's answer gets his own meanwhile.
        call(&gateway, &known).await.assert_status(200);
        assert_eq!(upstream.received().len(), 1);
        provider.release();
    };
    tokio::join!(futures_util::future::join_all(waiting), released);

    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (2, 2));
    assert_eq!(upstream.received().len(), 51);
}

#[tokio::test]
async fn tokens_that_come_before_the_keys_wait_for_them() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    provider.hold();
    let gateway = trusting(&provider, &upstream, "").await;

    let early = (0..20).map(|number| {
        let early = token(&provider).sub(&number.to_string()).text();
        let gateway = &gateway;
        async move { call(gateway, &early).await.assert_status(200).status }
    });
    let released = async {
        provider.fetched(DISCOVERY, 1).await;
        provider.release();
    };
    tokio::join!(futures_util::future::join_all(early), released);

    assert_eq!(provider.fetches(JWKS), 1);
}

#[tokio::test]
async fn an_algorithm_that_is_not_the_issuers_asks_nobody() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;

    for header in [
        r#"{"alg":"PS256","kid":"made-up"}"#,
        r#"{"alg":"HS256","kid":"made-up"}"#,
        r#"{"alg":"none","kid":"made-up"}"#,
        r#"{"alg":"ES256"}"#,
    ] {
        let forged = IssuerKey::es256("made-up").sign(header, &token(&provider).payload());
        call(&gateway, &forged).await.assert_status(401);
    }

    assert_eq!(provider.fetches(JWKS), 1);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_key_without_a_name_can_be_exchanged() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let nameless = |key: &IssuerKey| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        serde_json::json!({ "keys": [jwk] })
    };
    provider.tell_json(JWKS, &nameless(&provider.key()));
    let gateway = knowing(&provider, &upstream, "").await;
    let old = token(&provider).kid(None).text();
    call(&gateway, &old).await.assert_status(200);

    provider.rotate(IssuerKey::es256("second"));
    provider.tell_json(JWKS, &nameless(&provider.key()));

    call(&gateway, &token(&provider).kid(None).text()).await.assert_status(200);
    call(&gateway, &old).await.assert_status(401);
    assert_eq!(provider.fetches(JWKS), 2);
}
