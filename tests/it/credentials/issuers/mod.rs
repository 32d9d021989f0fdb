//! Tokens of issuers that are asked for their keys, through a whole gateway and against a
//! provider over TLS.

mod discovery;
mod forged;
mod outages;
mod reloads;
mod rotation;
mod rules;

use std::time::Duration;

use crate::harness::client::PATIENCE;
use crate::harness::gateway::START;
use crate::harness::issuer::TokenMint;
use crate::harness::{Client, Gateway, OpenIdProvider, Reply, Upstream};

/// A gateway on a test clock that takes the provider's tokens as `idp`, with further keys of the
/// section, and its own.
async fn trusting(provider: &OpenIdProvider, upstream: &Upstream, keys: &str) -> Gateway {
    let issuer = provider.section("idp", keys);
    let builder = Gateway::builder().moving().config(&issuer).login("native");
    builder.route_to(upstream, "").start().await
}

/// As `trusting`, when it has the keys.
async fn knowing(provider: &OpenIdProvider, upstream: &Upstream, keys: &str) -> Gateway {
    let gateway = trusting(provider, upstream, keys).await;
    refreshed(&gateway, "succeeded", 1).await;
    gateway
}

/// A token of the provider at the time when gateways start.
fn token(provider: &OpenIdProvider) -> TokenMint {
    provider.token().at(START)
}

async fn call(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().get("/").bearer(token).send().await
}

fn admin(gateway: &Gateway) -> Client {
    Client::plain(gateway.running().admin_address().unwrap())
}

/// Waits until so many fetches of `idp`'s keys have ended so.
async fn refreshed(gateway: &Gateway, result: &str, times: usize) {
    let line =
        format!("tollhouse_jwks_refresh_total{{issuer=\"idp\",result=\"{result}\"}} {times}");
    let counted = async {
        while !admin(gateway).get("/metrics").send().await.text().lines().any(|one| one == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, counted).await;
    waited.unwrap_or_else(|_| panic!("{line} was never true"));
}

/// What readiness says, which is always ready.
async fn notes(gateway: &Gateway) -> String {
    let reply = admin(gateway).get("/readyz?verbose").send().await;
    reply.assert_status(200).text()
}
