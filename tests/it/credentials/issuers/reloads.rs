//! A reload: who is still the same issuer keeps his keys.

use tollhouse::config;

use super::{call, knowing, token};
use crate::harness::issuer::{DISCOVERY, JWKS};
use crate::harness::{Gateway, OpenIdProvider, Upstream};

/// Changes the configuration of a running gateway.
async fn change(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let read = || {
        let loaded = config::load(&path, &|_| None).map_err(|issues| issues.to_string());
        loaded.map(|loaded| loaded.config)
    };
    tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_did_not_change_keeps_its_keys_even_while_it_is_down() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "subjects = [\"7\"]").await;
    let (listed, other) = (token(&provider).text(), token(&provider).sub("8").text());
    call(&gateway, &listed).await.assert_status(200);
    call(&gateway, &other).await.assert_status(401);

    provider.stop().await;
    change(&gateway, "subjects = [\"7\"]", "subjects = [\"8\"]").await;

    // The rules are the new ones, for what was remembered too; the keys are the old ones.
    call(&gateway, &listed).await.assert_status(401);
    call(&gateway, &other).await.assert_status(200);
    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_asked_in_another_way_is_asked_anew() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = knowing(&provider, &upstream, "").await;
    let known = token(&provider).text();
    call(&gateway, &known).await.assert_status(200);

    let jwks = format!("name = \"idp\"\njwks = \"{}\"", provider.jwks_url());
    change(&gateway, "name = \"idp\"", &jwks).await;

    call(&gateway, &known).await.assert_status(200);
    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_a_reload_brings_is_asked_without_a_token() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let later = OpenIdProvider::es256().await;
    let gateway = knowing(&provider, &upstream, "").await;
    call(&gateway, &token(&later).text()).await.assert_status(401);
    upstream.assert_untouched();

    let both = format!("{}\n[[issuer]]\nname = \"idp\"", later.section("later", ""));
    change(&gateway, "[[issuer]]\nname = \"idp\"", &both).await;

    later.fetched(JWKS, 1).await;
    call(&gateway, &token(&later).text()).await.assert_status(200);
}
