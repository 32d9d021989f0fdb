//! A provider that is not there: what goes on, for how long, and how it comes back.

use std::time::Duration;

use super::{call, knowing, notes, refreshed, token, trusting};
use crate::harness::gateway::START;
use crate::harness::issuer::{DISCOVERY, IssuerKey, JWKS};
use crate::harness::{Gateway, OpenIdProvider, Upstream};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_costs_only_its_own_tokens() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    provider.stop().await;
    let gateway = trusting(&provider, &upstream, "").await;
    refreshed(&gateway, "failed", 1).await;

    let foreign = token(&provider).text();
    let reply = call(&gateway, &foreign).await;
    reply.assert_status(503).assert_code("unavailable");
    call(&gateway, "made.up.token").await.assert_status(401);
    upstream.assert_untouched();
    let own = gateway.token("alice").await;
    call(&gateway, &own).await.assert_status(200);
    let said = notes(&gateway).await;
    assert!(said.contains("note: issuer `idp`: its keys were never fetched: `https://"), "{said}");

    provider.resume();
    gateway.advance(Duration::from_secs(2));
    refreshed(&gateway, "succeeded", 1).await;
    call(&gateway, &foreign).await.assert_status(200);
    let said = notes(&gateway).await;
    assert!(!said.contains("idp"), "{said}");
}

#[tokio::test]
async fn known_keys_are_used_until_they_are_too_old() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let long = |provider: &OpenIdProvider| {
        token(provider).claim("exp", serde_json::json!(START.secs() + 7 * 86_400))
    };
    let remembered = long(&provider).text();
    call(&gateway, &remembered).await.assert_status(200);

    provider.stop().await;
    provider.rotate(IssuerKey::es256("second"));
    gateway.advance(DAY);
    call(&gateway, &remembered).await.assert_status(200);
    call(&gateway, &long(&provider).signed_by(&IssuerKey::es256("first")).text())
        .await
        .assert_status(401);
    let unknown = long(&provider).text();
    call(&gateway, &unknown).await.assert_status(503);
    let seen = upstream.received().len();

    // Remembered or not: a second later nobody knows any more.
    gateway.advance(Duration::from_secs(1));
    call(&gateway, &remembered).await.assert_status(503);
    call(&gateway, &unknown).await.assert_status(503);
    let said = notes(&gateway).await;
    assert!(said.contains("its keys of 2026-11-22T09:30:00.000Z are too old to be used"), "{said}");
    assert_eq!(upstream.received().len(), seen);

    provider.resume();
    gateway.advance(MINUTE);
    refreshed(&gateway, "succeeded", 2).await;
    call(&gateway, &unknown).await.assert_status(200);
    call(&gateway, &remembered).await.assert_status(200);
}

#[tokio::test]
async fn max_stale_is_the_issuers_own() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "max_stale = \"10m\"").await;
    let token = token(&provider).text();

    provider.stop().await;
    gateway.advance(10 * MINUTE);
    call(&gateway, &token).await.assert_status(200);
    gateway.advance(Duration::from_millis(1));
    call(&gateway, &token).await.assert_status(503);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_given_up_and_holds_up_nobody_else() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let other = OpenIdProvider::es256().await;
    provider.hold();
    let gateway = Gateway::builder()
        .moving()
        .config(&provider.section("idp", ""))
        .config(&other.section("other", ""))
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let unknown = token(&provider).text();

    let waits = async { call(&gateway, &unknown).await.assert_status(503).clone() };
    let others = async {
        provider.fetched(DISCOVERY, 1).await;
        call(&gateway, &token(&other).text()).await.assert_status(200);
        call(&gateway, &gateway.token("alice").await).await.assert_status(200);
    };
    tokio::join!(waits, others);

    // Asked a moment ago: the next one need not wait.
    call(&gateway, &unknown).await.assert_status(503);
    assert_eq!(provider.fetches(DISCOVERY), 1);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a_rotation_during_an_outage_is_caught_up_with() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    provider.stop().await;
    provider.rotate(IssuerKey::es256("second"));
    let new = token(&provider).text();

    // Nobody knows whether the key is made up, so the answer is no refusal.
    call(&gateway, &new).await.assert_status(503);
    call(&gateway, &new).await.assert_status(503);
    upstream.assert_untouched();

    // Without the background: within half a minute a token has the keys fetched again.
    provider.resume();
    gateway.advance(Duration::from_secs(30));
    call(&gateway, &new).await.assert_status(200);
    assert!(provider.fetches(JWKS) >= 2);
}
