//! Ten thousand generated requests: each is explained, then sent over a real socket, and the
//! explanation must agree with what the client was answered, with the access line, and with what the
//! upstream saw.

mod requests;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tollhouse::authn::new_key;
use tollhouse::server::ExplainError;

use self::requests::{Numbers, parts};
use self::wire::Connections;
use super::text;
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Gateway, Upstream};

const REQUESTS: usize = 10_000;
const SEED: u64 = 12;
const SECRET: &[u8] = b"a shared secret of 32 bytes, ok!";

/// Fields that are new with every request.
const ITS_OWN: [&str; 2] = ["x-request-id", "traceparent"];

const ROUTES: &str = r#"
[[route]]
name = "orders"
path = "/orders"
upstream = "api"
request_headers = { set = { x-set = "$username", x-tenant = "$claims.tenant" } }
[[route]]
name = "chiefs"
path = "/chiefs"
upstream = "api"
require = { roles = ["admin"], scopes = ["read"] }
[[route]]
name = "open"
path = "/open"
upstream = "api"
auth = []
accept = ["open_above"]
[[route]]
name = "posts"
path = "/posts"
methods = ["POST", "PUT"]
body_limit = "4B"
upstream = "api"
[[route]]
name = "few"
path = "/few"
rate_limit = [{ requests = 60, per = "1h", by = "client" }, { requests = 15, per = "1h" }]
upstream = "api"
[[route]]
name = "keys"
path = "/keys/{id}"
auth = ["api_key"]
upstream = "api"
[[route]]
name = "pairs"
path = "=/pairs"
auth = ["token_key"]
query_credentials = true
upstream = "api"
[[route]]
name = "either"
path = "/either"
auth = ["bearer", "api_key"]
issuers = ["self"]
forward_credential = true
upstream = "api"
[[route]]
name = "watched"
path = "/watched"
enforce = false
require = { claims = { tenant = "acme" } }
allow_path = ["semicolon", "double_slash"]
cors = { origins = ["https://app.example"] }
upstream = "api"
[[route]]
name = "strip"
path = "/strip/me"
strip_prefix = "/strip/me"
allow_method_override = true
cors = "upstream"
upstream = "api"
[[route]]
name = "moved"
path = "/moved"
redirect = { to = "https://new.example/" }
[[route]]
name = "fixed"
path = "=/fixed"
auth = []
respond = { status = 200, body = "hello" }
[[route]]
name = "wild"
path = "/"
hosts = ["*.wild.example"]
logins = ["native"]
upstream = "api"
[[route]]
name = "api"
path = "/orders"
hosts = ["api.example"]
upstream = "api"
"#;

/// What the upstream saw, in order.
type Journal = Arc<Mutex<Vec<ReceivedRequest>>>;

async fn recording() -> (Upstream, Journal) {
    let journal = Journal::default();
    let seen = journal.clone();
    let upstream = Upstream::answering(move |request| {
        seen.lock().unwrap().push(request.clone());
        Response::new(Bytes::from_static(b"ok"))
    });
    (upstream.await, journal)
}

async fn start(upstream: &Upstream, api_key: &str, secret: &Path) -> Gateway {
    Gateway::builder()
        .moving()
        .listener("trusted_proxies = [\"127.0.0.2/32\"]\nshared_addresses = [\"127.0.0.9/32\"]")
        .login("native")
        .config("[[login]]\nname = \"old\"\ndialect = \"webitel\"\nprefix = \"/old\"")
        .config(api_key)
        .config(&format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
             algorithms = [\"HS256\"]\naudience = [\"legacy\"]\nsecret = {{ file = {secret:?} }}"
        ))
        .config(&format!("[[upstream]]\nname = \"api\"\nservers = [\"{}\"]", upstream.url()))
        .config(ROUTES)
        .start()
        .await
}

/// The fields of a request with their values in order, without those that are its own. A credential
/// is compared by its presence.
fn comparable<'f>(
    fields: impl Iterator<Item = (&'f str, &'f str)>,
    hidden: &[String],
) -> BTreeMap<String, Vec<String>> {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in fields.filter(|(name, _)| !ITS_OWN.contains(name)) {
        let value = if hidden.iter().any(|one| one == name) { "…" } else { value };
        sorted.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    sorted
}

/// Differences between the upstream's request as it was explained and as it was seen.
fn differences(explained: &Value, seen: &ReceivedRequest) -> Vec<String> {
    let sent = &explained["upstream"];
    let mut found = Vec::new();
    if text(sent, "method") != seen.method.as_str() {
        found.push(format!("method {} and {}", text(sent, "method"), seen.method));
    }
    let target = text(sent, "target");
    if !target.contains('…') && target != seen.target {
        found.push(format!("target {target} and {}", seen.target));
    }
    let told = sent["fields"].as_array().into_iter().flatten();
    let told: Vec<(&str, &str)> =
        told.map(|field| (field[0].as_str().unwrap(), field[1].as_str().unwrap())).collect();
    let hidden: Vec<String> = told
        .iter()
        .filter(|(_, value)| value.contains('…'))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let told = comparable(told.into_iter(), &hidden);
    let seen = seen.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let seen = comparable(seen, &hidden);
    if told != seen {
        found.push(format!("fields {told:?} and {seen:?}"));
    }
    found
}

/// Differences between what an explanation says and what came of the request.
fn disagreements(explained: &Value, status: u16, seen: &[ReceivedRequest]) -> Vec<String> {
    match (explained["verdict"]["status"].as_u64(), seen) {
        (Some(told), []) if told == u64::from(status) => Vec::new(),
        (None, [seen]) if status == 200 => differences(explained, seen),
        (told, seen) => vec![format!("{told:?} and {status}, of which the upstream saw {seen:?}")],
    }
}

/// What an explanation says that the access line must say as well.
struct Expected {
    request_id: Option<String>,
    verdict: Value,
    route: Option<String>,
    why: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_agrees_with_the_gateway_on_ten_thousand_requests() {
    let (upstream, journal) = recording().await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let (key, hash) = new_key("robot");
    let section = format!("[[api_key]]\nid = \"robot\"\nhash = \"{}\"", hash.hex());
    let gateway = start(&upstream, &section, &secret).await;
    let parts = parts(&gateway, key.expose()).await;
    let mut numbers = Numbers(SEED);
    let mut connections = Connections { to: gateway.address(), open: HashMap::new() };
    let mut expected = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();

    let mut faults = Vec::new();
    for number in 0..REQUESTS {
        let generated = parts.generate(&mut numbers);
        let why = format!("request {number}: {}", String::from_utf8_lossy(&generated.bytes()));
        let explained = gateway.running().explain(&generated.asked).await;
        let answer = connections.exchange(&generated).await;
        let seen: Vec<ReceivedRequest> = std::mem::take(&mut journal.lock().unwrap());

        let explained = match explained {
            Ok(explained) => explained,
            // What is no request for us is none for the gateway.
            Err(ExplainError::Request(_)) => {
                assert_eq!((answer.status, seen.len()), (400, 0), "{why}");
                *counts.entry("unwritable".to_owned()).or_default() += 1;
                continue;
            }
            Err(error) => panic!("{error}: {why}"),
        };
        let verdict = &explained["verdict"];
        let found = disagreements(&explained, answer.status, &seen);
        faults.extend(found.into_iter().map(|fault| format!("{fault}\n{verdict}\n{why}")));
        let outcome = format!("{} {}", text(verdict, "outcome"), text(verdict, "reason"));
        *counts.entry(outcome).or_default() += 1;
        let mut routes = explained["routes"].as_array().unwrap().iter();
        let route = routes.find(|route| route["is_taken"] == true);
        expected.push(Expected {
            request_id: answer.fields.get("x-request-id").cloned(),
            verdict: verdict.clone(),
            route: route.map(|route| text(route, "name").to_owned()),
            why,
        });
    }

    faults.extend(faults_of_lines(&gateway, &expected));
    let shown = &faults[..faults.len().min(10)];
    assert!(faults.is_empty(), "{} faults, {counts:?}:\n{}", faults.len(), shown.join("\n"));
    assert!(counts.len() > 12, "{counts:?}");
    for (outcome, number) in [
        ("answered -", 50),
        ("forwarded -", 1000),
        ("observed not_permitted", 5),
        ("refused not_permitted", 10),
        ("refused token_expired", 50),
        ("refused malformed_request", 500),
        ("refused rate_limited", 20),
    ] {
        let count = counts.get(outcome).copied().unwrap_or_default();
        assert!(count > number, "{outcome}: {counts:?}");
    }
}

/// Differences between the explanations and the access lines: outcome, reason, cause and route.
fn faults_of_lines(gateway: &Gateway, expected: &[Expected]) -> Vec<String> {
    let lines = gateway.access_log();
    let by_id: HashMap<&str, &Value> =
        lines.iter().map(|line| (text(line, "request_id"), line)).collect();
    let mut faults = Vec::new();
    for Expected { request_id, verdict, route, why } in expected {
        // An id of the client's own may be there twice, so such a line tells nothing.
        let Some(id) = request_id.as_deref().filter(|id| *id != "mine") else { continue };
        let line = by_id.get(id).unwrap_or_else(|| panic!("no line: {why}"));
        for name in ["outcome", "reason", "cause"] {
            if text(verdict, name) != text(line, name) {
                faults.push(format!("{name} {verdict} and {line}\n{why}"));
            }
        }
        if route.as_deref().is_some_and(|route| text(line, "http.route") != route) {
            faults.push(format!("route {route:?} and {line}\n{why}"));
        }
    }
    faults
}
