//! What routes do besides forwarding: redirects, fixed answers, maintenance, rewritten paths, HSTS.

mod answers;
mod limits;
mod maintenance;
mod paths;

use bytes::Bytes;
use http::{Method, Response};

use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Gateway, Upstream};

/// A gateway with the native login and these routes in place of one to an upstream.
async fn serving(routes: &str) -> Gateway {
    Gateway::builder().login("native").config(routes).start().await
}

#[tokio::test]
async fn a_redirect_sends_the_client_on_with_path_and_query_as_they_came() {
    let gateway = serving(
        r#"
[[route]]
path = "/old/"
auth = []
redirect = { to = "https://new.example/" }
[[route]]
path = "/moved/"
auth = []
redirect = { to = "/now/here", status = 302 }
[[route]]
path = "/gone/"
auth = []
redirect = { to = "https://new.example/?from=us", status = 303, keep_path = false }
"#,
    )
    .await;
    let client = gateway.client();
    for (path, status, location) in [
        ("/old/a%20b?q=%2F", 308, "https://new.example/old/a%20b?q=%2F"),
        ("/moved/x", 302, "/now/here/moved/x"),
        ("/gone/x?y", 303, "https://new.example/?from=us"),
    ] {
        let reply = client.get(path).send().await;
        reply.assert_status(status).assert_header("location", location);
    }
    client.get("//evil.example/old/").send().await.assert_status(400);
    assert_eq!(gateway.access_log()[0]["outcome"], "answered");
}

#[tokio::test]
async fn a_fixed_answer_is_given_whole_and_needs_what_its_route_asks_for() {
    let gateway = serving(
        r#"
[[route]]
path = "=/robots.txt"
auth = []
respond = { body = "User-agent: *\nDisallow: /\n", headers = { Cache-Control = "max-age=60" } }
[[route]]
path = "/v1/"
respond = { status = 410, content_type = "application/json", body = "{\"gone\":true}" }
[[route]]
path = "=/empty"
auth = []
respond = { status = 204 }
"#,
    )
    .await;
    let client = gateway.client();

    let robots = client.get("/robots.txt").send().await;
    robots.assert_status(200).assert_header("content-type", "text/plain; charset=utf-8");
    robots.assert_header("cache-control", "max-age=60");
    assert_eq!(robots.text(), "User-agent: *\nDisallow: /\n");
    let head = client.call(Method::HEAD, "/robots.txt").send().await;
    head.assert_status(200).assert_header("content-length", "26");
    assert_eq!(head.text(), "");
    client.get("/empty").send().await.assert_status(204);

    client.get("/v1/x").send().await.assert_status(401);
    let token = gateway.token("alice").await;
    let gone = client.get("/v1/x").bearer(&token).send().await;
    gone.assert_status(410).assert_header("content-type", "application/json");
    assert_eq!(gone.text(), "{\"gone\":true}");
}

#[tokio::test]
async fn in_maintenance_everybody_is_told_when_to_come_back_but_for_those_who_work_on_it() {
    let upstream = Upstream::start().await;
    let closed = r#"maintenance = { retry_after = "5m", message = "Back at noon." }"#;
    let watched = r#"maintenance = { networks = ["127.0.0.0/8"] }"#;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/closed/", closed)
        .route(&upstream, "/plain/", "maintenance = true")
        .route(&upstream, "/watched/", &format!("auth = []\n{watched}"))
        .route(&upstream, "/open/", "auth = []\nmaintenance = false")
        .start()
        .await;
    let client = gateway.client();

    let token = gateway.token("alice").await;
    let reply = client.get("/closed/x").bearer(&token).send().await;
    reply.assert_status(503).assert_header("retry-after", "300").assert_code("unavailable");
    assert_eq!(reply.json()["detail"], "Back at noon.");
    client.get("/plain/").send().await.assert_status(503).assert_header("retry-after", "600");
    assert!(upstream.received().is_empty(), "nothing arrives");

    client.get("/watched/x").send().await.assert_status(200);
    client.get("/open/x").send().await.assert_status(200);
}

#[tokio::test]
async fn a_replaced_prefix_is_the_upstreams_on_the_way_there_and_the_clients_on_the_way_back() {
    let upstream = Upstream::answering(|received| {
        let host = received.header("x-upstream").unwrap_or("app").to_owned();
        let to = received.target.strip_prefix("/v2/to").unwrap_or("/elsewhere");
        Response::builder()
            .status(302)
            .header("location", format!("http://{host}{to}"))
            .body(Bytes::new())
            .unwrap()
    })
    .await;
    let keys = "auth = []\nreplace_prefix = \"/v2\"";
    let root = "auth = []\nreplace_prefix = \"/\"";
    let gateway = Gateway::builder()
        .route(&upstream, "/api/", keys)
        .route(&upstream, "/bare/", root)
        .start()
        .await;
    let (client, own) = (gateway.client(), upstream.address.to_string());
    for (asked, arrives) in [
        ("/api/a%20b?q=%2F", "/v2/a%20b?q=%2F"),
        ("/api", "/v2"),
        ("/api/", "/v2/"),
        ("/bare/x", "/x"),
        ("/bare", "/"),
    ] {
        client.get(asked).send().await.assert_status(302);
        let received = upstream.received();
        let last = &received[received.len() - 1];
        assert_eq!(last.target, arrives, "{asked}");
        assert!(last.header("x-forwarded-prefix").is_some(), "{asked}");
    }
    let seen = upstream.received().len();
    for odd in ["/api/../x", "/api//x", "/api/%2e%2e/x", "/api/%2fx"] {
        client.get(odd).send().await.assert_status(400);
    }
    assert_eq!(upstream.received().len(), seen, "nothing of these arrives");

    let here = format!("http://{}", gateway.address());
    for (to, location) in [
        ("/v2/next?x", format!("{here}/api/next?x")),
        ("/v2", format!("{here}/api")),
        ("/v22/x", format!("{here}/v22/x")),
    ] {
        let call = client.get(&format!("/api/to{to}")).header("x-upstream", &own);
        let host = gateway.address().to_string();
        call.host(&host).send().await.assert_header("location", &location);
    }
}

#[tokio::test]
async fn hsts_is_said_with_every_answer_of_a_tls_listener_and_replaces_the_upstreams() {
    let upstream = Upstream::answering(|_| {
        let answer = Response::builder().header("strict-transport-security", "max-age=1");
        answer.body(Bytes::new()).unwrap()
    })
    .await;
    let secure = TlsGateway::new();
    let gateway = secure
        .builder_with_tls(
            "hsts = { max_age = \"365d\", include_subdomains = true, preload = true }",
        )
        .route(&upstream, "/open/", "auth = []")
        .route(&upstream, "/closed/", "")
        .start()
        .await;
    for http2 in [false, true] {
        let client = secure.client(&gateway, http2);
        for (path, status) in [("/open/", 200), ("/closed/", 401), ("/healthz", 200), ("/x", 404)] {
            let reply = client.get(path).send().await;
            let value = "max-age=31536000; includeSubDomains; preload";
            reply.assert_status(status).assert_header("strict-transport-security", value);
        }
    }
    let plain = Gateway::builder().route(&upstream, "/", "auth = []").start().await;
    let reply = plain.client().get("/").send().await;
    assert_eq!(reply.header("strict-transport-security"), Some("max-age=1"), "not ours to say");
}
