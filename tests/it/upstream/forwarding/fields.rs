//! Header fields on their way through a whole gateway.

use std::time::Duration;

use http::{Method, Response};
use serde_json::json;

use crate::harness::gateway::PASSWORD;
use crate::harness::tls_gateway::route_to;
use crate::harness::{Gateway, Upstream};

async fn native(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::builder().login("native").route_to(upstream, keys).start().await
}

#[tokio::test]
async fn rules_fill_in_what_is_known_and_beat_what_the_client_says() {
    let upstream = Upstream::answering(|_| {
        let response = Response::builder().header("server", "legacy/1").header("x-keep", "1");
        response.body("ok".into()).unwrap()
    })
    .await;
    let keys = r#"request_headers = { set = { X-Features = "$claims.features", X-Who = "$username@$host", X-From = "$client.address", X-Rid = "$request.id", X-Roles = "$roles" }, remove = ["Cookie"] }
response_headers = { set = { X-Frame-Options = "DENY", X-Rid = "$request.id" }, remove = ["Server"] }"#;
    let gateway = Gateway::builder().login("aviate").route_to(&upstream, keys).start().await;
    let client = gateway.client();
    let log_in = |name| client.post("/plugins/aviate-plugin/v1/auth").basic(name, PASSWORD).send();
    let alice = log_in("alice@example.com").await.member("token");
    let bob = log_in("bob@example.com").await.member("token");
    let ask = |token| {
        let call = gateway.client();
        async move {
            let call = call.get("/").bearer(token).header("x-features", "evil");
            call.header("x_features", "evil").header("cookie", "a=1").send().await
        }
    };

    let reply = ask(&alice).await;
    let received = upstream.last();
    ask(&bob).await;
    let without = upstream.last();

    let id = reply.header("x-request-id").unwrap();
    assert_eq!(received.header("x-features"), Some("paid-plans,app-bi"));
    assert_eq!(received.header("x_features"), None);
    assert_eq!(received.header("x-who"), Some("alice@localhost"));
    assert_eq!(received.header("x-from"), Some("127.0.0.1"));
    assert_eq!(received.header("x-rid"), Some(id));
    assert_eq!(received.header("x-roles"), Some("admin"));
    assert_eq!(received.header("cookie"), None);
    reply.assert_header("x-frame-options", "DENY").assert_header("x-rid", id);
    assert_eq!((reply.header("server"), reply.header("x-keep")), (None, Some("1")));
    assert_eq!(without.header("x-features"), None, "no value is no field, not the client's");
}

#[tokio::test]
async fn a_location_that_names_the_upstream_leads_back_through_the_gateway() {
    let upstream = Upstream::answering(|received| {
        let host = received.header("x-self").unwrap_or("elsewhere.example").to_owned();
        let response = Response::builder().status(302).header("location", host);
        response.body("".into()).unwrap()
    })
    .await;
    let keys = "auth = []\nstrip_prefix = \"/api\"";
    let gateway = Gateway::builder().route(&upstream, "/api/", keys).start().await;
    let client = gateway.client();

    for (said, expected) in [
        (format!("{}/a/b?c=d", upstream.url()), "http://localhost/api/a/b?c=d"),
        ("https://elsewhere.example/a".into(), "https://elsewhere.example/a"),
    ] {
        let reply = client.get("/api/x").header("x-self", &said).send().await;
        reply.assert_status(302).assert_header("location", expected);
    }
    assert_eq!(upstream.last().target, "/x");
    assert_eq!(upstream.last().header("x-forwarded-prefix"), Some("/api"));
}

#[tokio::test]
async fn only_the_verified_credential_is_forwarded_and_only_if_told_to() {
    let upstream = Upstream::start().await;
    for (keys, expected) in [
        ("auth = [\"bearer\"]\nforward_credential = true", true),
        ("auth = [\"bearer\"]", false),
        ("auth = []", false),
    ] {
        let gateway = native(&upstream, keys).await;
        let token = gateway.token("alice").await;

        let reply = gateway.client().get("/").bearer(&token).pair("other", "key").send().await;

        reply.assert_status(200);
        let received = upstream.last();
        let bearer = format!("Bearer {token}");
        assert_eq!(received.header("authorization"), expected.then_some(&*bearer), "{keys}");
        assert_eq!(received.header("x-access-token"), None, "{keys}");
        assert_eq!(received.header("x-key"), None, "{keys}");
    }
}

#[tokio::test]
async fn of_all_that_a_client_sends_only_what_was_verified_is_forwarded() {
    let upstream = Upstream::start().await;
    let keys = "forward_credential = true\nquery_credentials = true";
    let gateway =
        Gateway::builder().login("webitel").login("native").route_to(&upstream, keys).start().await;
    let client = gateway.client();
    let login = json!({ "username": "alice", "password": PASSWORD });
    let pair = client.post("/login").json(login).send().await;
    let (token, key) = (pair.member("token"), pair.member("key"));
    let query = format!("/?access_token={token}&x_key={key}");
    let basic = || client.get("/").basic("root", "unverified");

    basic().pair(&token, &key).send().await.assert_status(200);
    let by_pair = upstream.last();
    client.get(&query).basic("root", "unverified").send().await.assert_status(200);
    let by_query = upstream.last();
    basic().send().await.assert_status(401);

    assert_eq!(by_pair.header("authorization"), None, "nobody verified it");
    assert_eq!(by_pair.header("x-access-token"), Some(&*token));
    assert_eq!(by_pair.header("x-key"), Some(&*key));
    assert_eq!(by_query.header("authorization"), None, "nobody verified it");
    assert_eq!(by_query.target, query);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a_route_that_only_observes_keeps_to_itself_what_is_known_to_be_over() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .login("native")
        .route_to(&upstream, "enforce = false")
        .start()
        .await;
    let client = gateway.client();
    let (ended, old) = (gateway.token("alice").await, gateway.token("bob").await);
    client.post("/auth/logout").bearer(&ended).send().await.assert_status(204);

    client.get("/").bearer(&ended).send().await.assert_status(200);
    assert_eq!(upstream.last().header("authorization"), None, "revoked");
    gateway.advance(Duration::from_secs(3600));
    client.get("/").bearer(&old).send().await.assert_status(200);
    assert_eq!(upstream.last().header("authorization"), None, "expired");
    client.get("/").bearer("legacy").send().await.assert_status(200);
    assert_eq!(upstream.last().header("authorization"), Some("Bearer legacy"), "not ours");
}

#[tokio::test]
async fn a_pair_in_the_query_is_taken_off_and_written_nowhere() {
    let upstream = Upstream::start().await;
    let keys = "query_credentials = true\nerrors = \"webitel\"";
    let gateway = Gateway::builder().login("webitel").route_to(&upstream, keys).start().await;
    let login = json!({ "username": "alice", "password": PASSWORD });
    let reply = gateway.client().post("/login").json(login).send().await;
    let (token, key) = (reply.member("token"), reply.member("key"));
    let query = |token: &str| format!("/file?a=%20b&access_token={token}&x_key={key}&c");

    gateway.client().get(&query(&token)).send().await.assert_status(200);
    gateway.client().get(&query("x.y.z")).send().await.assert_status(401);

    let received = upstream.only();
    assert_eq!(received.target, "/file?a=%20b&c");
    assert_eq!(received.header("x-auth-username"), Some("alice"));
    let text = gateway.running().access_lines() + &gateway.running().audit_lines();
    assert!(!text.contains(&token) && !text.contains(&key), "{text}");
}

#[tokio::test]
async fn forwarded_fields_are_believed_from_a_trusted_proxy_only() {
    let upstream = Upstream::start().await;
    for (trusted, address, chain, proto) in [
        (true, "203.0.113.9", "6.6.6.6, 203.0.113.9, 127.0.0.1", "https"),
        (false, "127.0.0.1", "127.0.0.1", "http"),
    ] {
        let listener = if trusted { "trusted_proxies = [\"127.0.0.0/8\"]" } else { "" };
        let builder = Gateway::builder().listener(listener);
        let gateway = builder.route_to(&upstream, "auth = []").start().await;

        let call = gateway.client();
        let call = call.get("/").header("x-forwarded-for", "6.6.6.6, 203.0.113.9");
        let call = call.header("x-forwarded-proto", "https").header("x-request-id", "theirs-1");
        let reply = call.header("x-real-ip", "6.6.6.6").send().await;

        let received = upstream.last();
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(received.header("x-forwarded-for"), Some(chain));
        assert_eq!(received.header("x-real-ip"), Some(address));
        assert_eq!(received.header("x-forwarded-proto"), Some(proto));
        assert_eq!(received.header("x-request-id"), Some(id));
        assert_eq!(id == "theirs-1", trusted);
        assert_eq!(gateway.access_log()[0]["client.address"], address);
        assert_eq!(gateway.access_log()[0]["request_id"], id);
    }
}

#[tokio::test]
async fn cross_origin_calls_are_ours_the_upstreams_or_nobodys() {
    let upstream = Upstream::answering(|_| {
        Response::builder()
            .header("access-control-allow-origin", "https://upstreams.example")
            .body("ok".into())
            .unwrap()
    })
    .await;
    let own = "cors = { origins = [\"https://app.example\"], credentials = true }";
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/own/", own)
        .route(&upstream, "/upstream/", "cors = \"upstream\"")
        .route(&upstream, "/none/", "")
        .start()
        .await;
    let client = gateway.client();
    let preflight = |path| {
        let call = client.call(Method::OPTIONS, path).header("origin", "https://app.example");
        call.header("access-control-request-method", "PUT").header("x-auth-subject", "root").send()
    };
    let allow = "access-control-allow-origin";

    preflight("/none/").await.assert_status(401);
    let reply = preflight("/own/").await;
    reply.assert_status(204).assert_header(allow, "https://app.example");
    reply.assert_header("access-control-allow-credentials", "true");
    upstream.assert_untouched();
    preflight("/upstream/").await.assert_status(200);
    assert_eq!(upstream.only().method, Method::OPTIONS);
    assert_eq!(upstream.only().header("x-auth-subject"), None);

    let token = gateway.token("alice").await;
    for (path, origin, expected) in [
        ("/own/", "https://app.example", Some("https://app.example")),
        ("/own/", "https://evil.example", None),
        ("/upstream/", "https://evil.example", Some("https://upstreams.example")),
        ("/none/", "https://evil.example", Some("https://upstreams.example")),
    ] {
        let reply = client.get(path).bearer(&token).header("origin", origin).send().await;
        reply.assert_status(200);
        assert_eq!(reply.header(allow), expected, "{path} from {origin}");
    }
    let refused = client.get("/own/").header("origin", "https://app.example").send().await;
    refused.assert_status(401).assert_header(allow, "https://app.example");
    assert_eq!(refused.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn echo_shows_what_an_upstream_is_told() {
    let config = route_to("echo", "builtin:echo", "/", "");
    let gateway = Gateway::builder().login("native").config(&config).start().await;
    let token = gateway.token("alice").await;

    let reply = gateway.client().post("/a%20b?c=d").bearer(&token).body("hello").send().await;
    let head = gateway.client().call(Method::HEAD, "/").bearer(&token).send().await;

    let told = reply.assert_status(200).json();
    assert_eq!(told["method"], "POST");
    assert_eq!((&told["path"], &told["query"]), (&json!("/a%20b"), &json!("c=d")));
    assert_eq!(told["body"], "hello");
    let headers = told["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-auth-username", "alice"])), "{told}");
    assert!(!reply.text().contains(&token), "{told}");
    assert!(head.assert_status(200).body.is_empty());
}
