//! Floods of one client on 20 HTTP/2 connections and on 512 of HTTP/1.1: what the others still get.
//!
//! How long it takes them is measured by `benches/attack`: a time here would be that of the machine.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Sender, guess, live_a_session, metric};
use crate::harness::{Gateway, Slapd, Upstream, certs};

const PER_ADDRESS: usize = 20;
const MEMORY: u64 = 8 << 20;

/// A gateway with a plain and a TLS listener, and with two logins: `/file` of the users in a file,
/// `/dir` of those in a directory.
async fn gateway(slapd: &Slapd, upstream: &Upstream) -> (Gateway, Arc<rustls::ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certs::Certificate::make(dir.path(), "a", &["localhost"]);
    let limits =
        format!("[login_limits]\nper_address = {{ attempts = {PER_ADDRESS}, per = \"10m\" }}");
    let directory =
        slapd.section_at(&format!("ldap://127.0.0.1:{}", slapd.plain), "tls = \"none\"");
    let gateway = Gateway::builder()
        .process("body_memory = \"8MiB\"\ndrain_timeout = \"0s\"")
        .listener("[[listener]]\naddress = \"127.0.0.2:0\"")
        .tls(&certificate, "")
        .config(&limits)
        .config(&directory)
        .config(super::TWO_LOGINS)
        .route_to(upstream, "")
        .start()
        .await;
    (gateway, certs::trusting(&[certificate.der], &[b"h2"]))
}

/// Everything that a login takes, over and over until told to stop: guesses, long names, large
/// bodies, refresh tokens that are none. Answers how many requests that was.
fn attack(mut sender: Sender, number: usize, stop: CancellationToken) -> JoinHandle<usize> {
    tokio::task::spawn(async move {
        let mut sent = 0;
        let large = "x".repeat(50_000);
        let long = "\u{fdfa}".repeat(4000);
        while !stop.is_cancelled() {
            let name = format!("ghost-{number}-{sent}");
            let (path, body) = match (number + sent) % 5 {
                0 => ("/file/auth/login", guess(&name)),
                1 => ("/dir/auth/login", guess("alice")),
                2 => ("/dir/auth/login", guess(&name)),
                3 => ("/dir/auth/login", guess(&long)),
                _ => ("/file/auth/refresh", json!({ "refresh_token": large })),
            };
            let Some(status) = sender.post(path, &body).await else { break };
            assert!(status.is_client_error() || status.is_server_error(), "{path}: {status}");
            sent += 1;
            // The others have this processor, too.
            tokio::task::yield_now().await;
        }
        sent
    })
}

/// What everybody else does meanwhile, and what the client may have at most.
async fn others_are_served(gateway: &Gateway, slapd: &Slapd, attacks: Vec<Sender>) {
    let stop = CancellationToken::new();
    let attacks: Vec<_> = attacks
        .into_iter()
        .enumerate()
        .map(|(number, sender)| attack(sender, number, stop.clone()))
        .collect();
    let client = gateway.client();
    for _ in 0..5 {
        live_a_session(&client, "/file", "bob").await;
        live_a_session(&client, "/dir", "bob").await;
        let held = metric(gateway, "tollhouse_body_memory_bytes").await;
        assert!(held <= MEMORY / 8 + (1 << 20), "one client's share, and the others': {held}");
    }
    let searches = slapd
        .log()
        .lines()
        .filter(|line| line.contains("SRCH base=\"ou=people") && !line.contains("(uid=bob)"))
        .filter(|line| !line.contains("entryUUID"))
        .count();
    stop.cancel();
    let sent: usize = join_all(attacks).await.into_iter().map(Result::unwrap).sum();
    assert!(sent > 100, "it was a flood: {sent} requests");
    assert!(searches <= PER_ADDRESS, "{searches} searches for that client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_20_http2_connections_costs_others_nothing() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let (gateway, tls) = gateway(&slapd, &upstream).await;
    let to = gateway.running().addresses()[1];

    let mut attacks = Vec::new();
    for _ in 0..20 {
        let connection = Sender::http2(to, tls.clone()).await;
        attacks.extend((0..20).map(|_| connection.again()));
    }
    others_are_served(&gateway, &slapd, attacks).await;

    upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_512_http1_connections_costs_others_nothing() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let (gateway, _) = gateway(&slapd, &upstream).await;

    let mut attacks = Vec::new();
    for _ in 0..512 {
        attacks.push(Sender::http1(gateway.address()).await);
    }
    others_are_served(&gateway, &slapd, attacks).await;

    upstream.assert_untouched();
}

/// The account's limit refuses these guesses, so the address never fails often enough for its own.
#[tokio::test]
async fn a_flood_at_one_account_waits_for_its_refusals() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config("[login_limits]\nper_account = { attempts = 2, per = \"10m\" }\n[[login]]\ndialect = \"native\"\n")
        .route_to(&upstream, "")
        .start()
        .await;
    let mut sender = Sender::http1(gateway.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..102 {
        statuses.push(sender.post("/auth/login", &guess("alice")).await.unwrap().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 2);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 100);

    let body = guess("alice");
    let mut next = Box::pin(sender.post("/auth/login", &body));
    let early = tokio::time::timeout(Duration::from_millis(900), &mut next).await;

    assert!(early.is_err(), "answered at once: {early:?}");
    live_a_session(&gateway.client(), "", "bob").await;
    assert_eq!(next.await, Some(http::StatusCode::TOO_MANY_REQUESTS));
    upstream.assert_untouched();
}
