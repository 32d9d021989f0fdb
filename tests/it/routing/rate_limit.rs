//! Rate limits of routes: whose requests are counted together, what clients are told, and what
//! survives a reload.

use std::time::Duration;

use tollhouse::config;
use tollhouse::secret::Digest;

use crate::credentials::metric;
use crate::harness::{Gateway, Reply, Upstream};

/// Keys of a listener whose peers may say for whom they speak.
const PROXIED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// A gateway on a clock that stands still, with one route.
async fn limited(upstream: &Upstream, keys: &str) -> Gateway {
    let builder = Gateway::builder().listener(PROXIED).moving().login("native");
    builder.route_to(upstream, keys).start().await
}

async fn get(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().get("/x").bearer(token).send().await
}

async fn get_from(gateway: &Gateway, address: &str) -> Reply {
    gateway.client().get("/x").header("x-forwarded-for", address).send().await
}

fn reload(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    std::fs::write(&path, text.replace(from, to)).unwrap();
    let read = || {
        let loaded = config::load(&path, &|_| None);
        loaded.map(|loaded| loaded.config).map_err(|issues| issues.to_string())
    };
    tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();
}

#[tokio::test]
async fn a_subject_has_one_budget_for_all_its_sessions() {
    let upstream = Upstream::start().await;
    let gateway = limited(&upstream, "rate_limit = { requests = 2, per = \"10s\" }").await;
    let (first, second) = (gateway.token("alice").await, gateway.token("alice").await);
    let bob = gateway.token("bob").await;
    get(&gateway, &first).await.assert_status(200);
    get(&gateway, &second).await.assert_status(200);

    let refused = get(&gateway, &first).await;
    let other = get(&gateway, &bob).await;
    gateway.advance(Duration::from_secs(5));
    let later = get(&gateway, &second).await;

    refused.assert_status(429).assert_code("rate_limited");
    other.assert_status(200);
    later.assert_status(200);
    assert_eq!(upstream.received().len(), 4, "what is refused does not arrive");
}

#[tokio::test]
async fn sessions_are_counted_apart_and_who_has_none_by_subject() {
    let upstream = Upstream::start().await;
    let keys = "auth = [\"bearer\", \"api_key\"]\n\
                rate_limit = { requests = 1, per = \"10s\", by = \"session\" }";
    let (key, hash) = tollhouse::authn::new_key("robot");
    let section = format!("[[api_key]]\nid = \"robot\"\nhash = \"{}\"", Digest::hex(&hash));
    let gateway = Gateway::builder()
        .moving()
        .login("native")
        .config(&section)
        .route_to(&upstream, keys)
        .start()
        .await;
    let (first, second) = (gateway.token("alice").await, gateway.token("alice").await);
    let client = gateway.client();
    let call = || client.get("/x").header("x-api-key", key.expose()).send();

    get(&gateway, &first).await.assert_status(200);
    get(&gateway, &second).await.assert_status(200);
    get(&gateway, &first).await.assert_status(429);
    call().await.assert_status(200);
    call().await.assert_status(429);

    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn clients_are_counted_by_address_and_those_of_one_network_together() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nrate_limit = { requests = 1, per = \"10s\", by = \"client\" }";
    let gateway = limited(&upstream, keys).await;

    for (address, status, why) in [
        ("203.0.113.7", 200, "the first"),
        ("203.0.113.7", 429, "the same again"),
        ("::ffff:203.0.113.7", 429, "the same in another form"),
        ("203.0.113.8", 200, "the next house"),
        ("2001:db8:0:1::1", 200, "IPv6"),
        ("2001:db8:0:1:ffff::2", 429, "the same /64"),
        ("2001:db8:0:2::1", 200, "another /64"),
    ] {
        let reply = get_from(&gateway, address).await;

        assert_eq!(reply.status, status, "{address}: {why}");
    }
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn a_route_has_one_budget_for_all() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nrate_limit = { requests = 2, per = \"10s\", by = \"route\" }";
    let gateway = limited(&upstream, keys).await;
    get_from(&gateway, "203.0.113.7").await.assert_status(200);
    get_from(&gateway, "203.0.113.8").await.assert_status(200);

    let reply = get_from(&gateway, "203.0.113.9").await;

    reply.assert_status(429);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn an_open_route_counts_by_client_whatever_it_says() {
    let upstream = Upstream::start().await;
    for by in ["", ", by = \"subject\"", ", by = \"session\""] {
        let keys = format!("auth = []\nrate_limit = {{ requests = 1, per = \"10s\"{by} }}");
        let gateway = limited(&upstream, &keys).await;

        get_from(&gateway, "203.0.113.7").await.assert_status(200);
        get_from(&gateway, "203.0.113.7").await.assert_status(429);
        get_from(&gateway, "203.0.113.8").await.assert_status(200);
    }
}

#[tokio::test]
async fn addresses_that_many_share_are_not_counted() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nrate_limit = { requests = 1, per = \"10s\", by = \"client\" }";
    let shared = "shared_addresses = [\"127.0.0.0/8\"]";
    let gateway =
        Gateway::builder().listener(shared).moving().route_to(&upstream, keys).start().await;

    for _ in 0..3 {
        let reply = gateway.client().get("/x").send().await;

        reply.assert_status(200);
        assert_eq!(reply.header("ratelimit"), None, "there is nothing to say");
    }
}

#[tokio::test]
async fn clients_are_told_what_is_left_to_the_byte() {
    let upstream = Upstream::start().await;
    let keys = "rate_limit = [{ requests = 3, per = \"9s\" }, \
                { requests = 10, per = \"500ms\", burst = 20, by = \"client\" }, \
                { requests = 7, per = \"1m\" }]";
    let gateway = limited(&upstream, keys).await;
    let token = gateway.token("alice").await;
    let policy = "\"client\";q=10;w=1, \"subject\";q=3;w=9, \"subject-2\";q=7;w=60";

    let mut first = get(&gateway, &token).await;
    first.assert_status(200).assert_header("ratelimit-policy", policy);
    first.assert_header(
        "ratelimit",
        "\"client\";r=19;t=1, \"subject\";r=2;t=3, \"subject-2\";r=6;t=9",
    );
    first = get(&gateway, &token).await;
    first.assert_header(
        "ratelimit",
        "\"client\";r=18;t=1, \"subject\";r=1;t=6, \"subject-2\";r=5;t=18",
    );
    get(&gateway, &token).await.assert_status(200);
    gateway.advance(Duration::from_millis(1500));
    let refused = get(&gateway, &token).await;

    refused.assert_status(429).assert_header("retry-after", "2");
    refused.assert_header("ratelimit-policy", "\"client\";q=10;w=1, \"subject\";q=3;w=9");
    refused.assert_header("ratelimit", "\"client\";r=19;t=1, \"subject\";r=0;t=2");
    refused.assert_header("content-type", "application/problem+json");
    assert_eq!(refused.header("www-authenticate"), None, "no other credential would help");
    assert_eq!(upstream.received().len(), 3);
    assert_eq!(upstream.last().header("ratelimit"), None, "the upstream is not told");
}

#[tokio::test]
async fn what_an_upstream_says_of_its_own_limits_stays() {
    let upstream = Upstream::answering(|_| {
        let answer = http::Response::builder().header("ratelimit", "\"own\";r=5;t=1");
        answer.body(bytes::Bytes::new()).unwrap()
    })
    .await;
    let keys = "auth = []\nrate_limit = { requests = 2, per = \"10s\" }";
    let gateway = limited(&upstream, keys).await;

    let reply = gateway.client().get("/x").send().await;

    let told: Vec<_> = reply.headers.get_all("ratelimit").iter().collect();
    assert_eq!(told, ["\"own\";r=5;t=1", "\"client\";r=1;t=5"]);
}

#[tokio::test]
async fn a_flood_is_refused_before_anything_is_verified_and_subjects_before_they_are_permitted() {
    let upstream = Upstream::start().await;
    let keys = "require = { roles = [\"admin\"] }\n\
                rate_limit = [{ requests = 3, per = \"10s\" }, \
                { requests = 5, per = \"10s\", by = \"client\" }]";
    let gateway = limited(&upstream, keys).await;
    let bob = gateway.token("bob").await;

    for (status, why) in [(403, "first"), (403, "second"), (403, "third"), (429, "his budget")] {
        assert_eq!(get(&gateway, &bob).await.status, status, "{why}");
    }
    get(&gateway, "nonsense").await.assert_status(401);
    for token in ["nonsense", &bob] {
        let reply = get(&gateway, token).await;
        reply.assert_status(429);
        let told = reply.header("ratelimit").unwrap();
        assert!(told.starts_with("\"client\";r=0") && !told.contains("subject"), "{told}");
    }

    upstream.assert_untouched();
    let counted =
        |rule: &str| format!("tollhouse_rate_limited_total{{route=\"/\",rule=\"{rule}\"}}");
    assert_eq!(metric(&gateway, &counted("subject")).await, 1);
    assert_eq!(metric(&gateway, &counted("client")).await, 2);
    assert!(metric(&gateway, "tollhouse_rate_limit_keys").await >= 2);
}

#[tokio::test]
async fn a_route_that_observes_lets_it_through_and_writes_it_down_once() {
    let upstream = Upstream::start().await;
    let keys = "name = \"api\"\nenforce = false\nrate_limit = \
                [{ requests = 1, per = \"10s\" }, { requests = 1, per = \"10s\", by = \"route\" }]";
    let gateway = limited(&upstream, keys).await;
    let token = gateway.token("alice").await;
    get(&gateway, &token).await.assert_status(200);

    let reply = get(&gateway, &token).await;

    reply.assert_status(200);
    reply.assert_header("ratelimit", "\"route\";r=0;t=10, \"subject\";r=0;t=10");
    assert_eq!(upstream.received().len(), 2);
    let log = gateway.access_log();
    let line = log.last().unwrap();
    assert_eq!((&line["outcome"], &line["reason"]), (&"observed".into(), &"rate_limited".into()));
    assert_eq!(metric(&gateway, "tollhouse_rate_limited_total{route=\"api\"").await, 1);
    let socket = gateway.dir().join("state").join(tollhouse::admin::SOCKET);
    let told = tollhouse::admin::client::call(&socket, http::Method::GET, "/observed", None).await;
    let route = &told.unwrap().1["routes"][0];
    assert_eq!((&route["permitted"], &route["refused"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_refusal_has_the_form_of_the_route() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nerrors = \"datarhei\"\nrate_limit = { requests = 1, per = \"10s\" }";
    let gateway = limited(&upstream, keys).await;
    gateway.client().get("/x").send().await.assert_status(200);

    let refused = gateway.client().get("/x").send().await;

    refused.assert_status(429).assert_header("content-type", "application/json");
    assert_eq!(refused.json()["code"], 429, "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_counts_where_the_rule_stays() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nrate_limit = { requests = 1, per = \"10s\" }";
    let gateway = limited(&upstream, keys).await;
    gateway.client().get("/x").send().await.assert_status(200);

    reload(&gateway, "auth = []\n", "auth = []\nbody_limit = \"1MiB\"\n");
    gateway.client().get("/x").send().await.assert_status(429);
    reload(&gateway, "requests = 1,", "requests = 2,");
    gateway.client().get("/x").send().await.assert_status(200);
    gateway.client().get("/x").send().await.assert_status(200);
    gateway.client().get("/x").send().await.assert_status(429);

    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn connections_at_once_pass_together_no_more_than_one_would() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nrate_limit = { requests = 20, per = \"1h\", by = \"client\" }";
    let gateway = limited(&upstream, keys).await;
    let client = gateway.client();

    let calls = (0..60).map(|_| client.get("/x").send());
    let replies = futures_util::future::join_all(calls).await;

    let passed = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(passed, 20);
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.status == 429));
    assert_eq!(upstream.received().len(), 20);
}

#[tokio::test]
async fn preflights_are_not_counted_where_they_are_answered_and_by_address_where_they_pass() {
    let upstream = Upstream::start().await;
    let preflight = async |gateway: &Gateway| {
        let client = gateway.client();
        let call = client.call(http::Method::OPTIONS, "/x");
        let call = call.header("origin", "https://app.example");
        call.header("access-control-request-method", "GET").send().await
    };
    let rule = "rate_limit = { requests = 1, per = \"10s\" }";
    let own = format!("cors = {{ origins = [\"https://app.example\"] }}\n{rule}");
    let own = limited(&upstream, &own).await;
    let passed = limited(&upstream, &format!("cors = \"upstream\"\n{rule}")).await;

    for _ in 0..3 {
        preflight(&own).await.assert_status(204);
    }
    upstream.assert_untouched();
    preflight(&passed).await.assert_status(200);
    preflight(&passed).await.assert_status(429);

    assert_eq!(upstream.received().len(), 1);
}
