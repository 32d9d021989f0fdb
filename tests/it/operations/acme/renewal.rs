//! Certificates that replace others: when, and what becomes of the old one if that fails.

use std::time::Duration;

use super::{DAY, DOMAIN, counted, gateway, issued, orders, replaced, served, today, told};
use crate::harness::{AcmeRelay, Pebble};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let pebble = Pebble::start();
    let acme = pebble.acme(&[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;
    let first = issued(&gateway, &pebble).await;
    counted(&gateway, "succeeded", 1).await;

    gateway.advance(DAY * 59);
    assert_eq!(orders(&gateway, "succeeded").await, 1, "not yet");
    gateway.advance(DAY * 5);

    replaced(&gateway, &first).await;
    counted(&gateway, "succeeded", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_keeps_the_old_certificate_is_told_and_tried_again() {
    let mut pebble = Pebble::start();
    let acme = pebble.acme(&[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;
    let first = issued(&gateway, &pebble).await;
    counted(&gateway, "succeeded", 1).await;

    pebble.kill();
    gateway.advance(DAY * 64);
    counted(&gateway, "failed", 1).await;

    assert_eq!(served(&gateway).await, first);
    let ready = told(&gateway, "/readyz?verbose").await;
    let note = format!("acme: the certificate of {DOMAIN} was not renewed and ends at 2");
    assert!(ready.contains(&note) && ready.ends_with("\nready\n"), "{ready}");

    gateway.advance(MINUTE * 2);
    counted(&gateway, "failed", 2).await;
    assert_eq!(served(&gateway).await, first);

    // It comes back without its accounts, as a new one: another account is made.
    pebble.run();
    gateway.advance(MINUTE * 3);
    replaced(&gateway, &first).await;
    assert!(!told(&gateway, "/readyz?verbose").await.contains("acme:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_says_when_to_renew_and_is_told_what_is_replaced() {
    let pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    relay.suggest("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z");
    let acme = pebble.acme_at(relay.port, &[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;
    let first = issued(&gateway, &pebble).await;
    relay.questioned(1).await;
    assert!(relay.orders()[0]["replaces"].is_null());

    // Something is wrong with the certificate: it is to be replaced at once.
    relay.suggest("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    gateway.advance(MINUTE * 60 * 7);

    replaced(&gateway, &first).await;
    let orders = relay.orders();
    let id = orders[1]["replaces"].as_str().unwrap_or_else(|| panic!("no predecessor: {orders:?}"));
    assert_eq!(id.split('.').count(), 2, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_always_says_now_gets_no_flood_of_orders() {
    let pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    relay.suggest("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let acme = pebble.acme_at(relay.port, &[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;
    issued(&gateway, &pebble).await;
    relay.questioned(1).await;

    gateway.advance(MINUTE * 30);
    tokio::time::timeout(Duration::from_millis(300), relay.ordered(2))
        .await
        .expect_err("the new certificate rests");
    gateway.advance(MINUTE * 31);
    relay.ordered(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_asks_to_wait_is_not_asked_before() {
    let pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    relay.refuse(Some((429, "7200")));
    let acme = pebble.acme_at(relay.port, &[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;
    counted(&gateway, "failed", 1).await;
    assert_eq!(relay.orders().len(), 1);
    let ready = told(&gateway, "/readyz?verbose").await;
    assert!(ready.contains("too many certificates"), "{ready}");

    relay.refuse(None);
    gateway.advance(MINUTE * 119);
    tokio::time::timeout(Duration::from_millis(300), relay.ordered(2))
        .await
        .expect_err("an order before its time");
    gateway.advance(MINUTE * 2);
    issued(&gateway, &pebble).await;
}
