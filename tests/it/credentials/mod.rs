//! Credentials that are no tokens, through a whole gateway; and what programs with an API key ask
//! about tokens.

mod api_keys;
mod basic;
mod bound;
mod carriers;
mod certificates;
mod commands;
pub(crate) mod exchange; // tokens of other issuers, traded for ours
mod forwarded_certificates; // told by a balancer, and told to the upstream
mod introspection;
pub(crate) mod issuers; // tokens of others whose keys are fetched: discovery, rotation, outages
mod kinds;
mod legacy_sessions; // tokens of a legacy system in any carrier
pub(crate) mod opaque; // tokens that only their issuer understands
mod passed;
mod session_values;
mod signatures; // requests signed with a key
pub(crate) mod tokens; // keys, verification, the pair, other issuers, the memory of verified tokens
pub(crate) mod webitel_sessions; // pairs that an older Webitel gave out
pub(crate) mod wycheproof; // the signature vectors of Project Wycheproof

use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::{SOCKET, client};
use tollhouse::authn::new_key;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply};

/// A key of this id, and the section that lets it in, with further lines.
pub(crate) fn key(id: &str, lines: &str) -> (String, String) {
    let (key, hash) = new_key(id);
    let section = format!("[[api_key]]\nid = \"{id}\"\nhash = \"{}\"\n{lines}\n", hash.hex());
    (key.expose().clone(), section)
}

/// Asks the admin socket.
async fn ask(gateway: &Gateway, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let socket = gateway.dir().join("state").join(SOCKET);
    let (status, answer) = client::call(&socket, method, path, body).await.unwrap();
    (status.as_u16(), answer)
}

/// A refusal as every route says it: never an invitation to type a password.
#[track_caller]
fn assert_refused(reply: &Reply, status: u16, code: &str, why: &str) {
    assert_eq!(reply.status.as_u16(), status, "{why}: {}", reply.text());
    assert_eq!(reply.json()["code"], code, "{why}");
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    if status == 401 {
        assert!(challenge.starts_with("Bearer realm="), "{why}: {challenge}");
    }
    assert!(!challenge.to_ascii_lowercase().contains("basic"), "{why}: {challenge}");
}

async fn log_in(gateway: &Gateway, path: &str, name: &str) -> Reply {
    let login = json!({ "username": name, "password": PASSWORD });
    let reply = gateway.client().post(path).json(login).send().await;
    reply.assert_status(200);
    reply
}

/// The value of a metric with these labels.
pub(crate) async fn metric(gateway: &Gateway, start: &str) -> u64 {
    let admin = gateway.running().admin_address().unwrap();
    let text = crate::harness::Client::plain(admin).get("/metrics").send().await.text();
    let line = text.lines().find(|line| line.starts_with(start));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}
