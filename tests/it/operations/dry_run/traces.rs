//! An explanation leaves no trace: no line, no count, no session, nothing at an upstream.

use serde_json::json;

use super::{explain, request};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Upstream};

/// Every metric in order, without those that change by themselves.
async fn metrics(gateway: &Gateway) -> Vec<String> {
    let address = gateway.running().admin_address().unwrap();
    let text = Client::plain(address).get("/metrics").send().await.text();
    let by_itself = ["process_", "uptime", "_connections", "_bytes"];
    let lines = text.lines().filter(|line| !by_itself.iter().any(|part| line.contains(part)));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_dry_run_is_in_no_log_no_metric_no_count_and_at_no_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .login("native")
        .config("[login_limits]\nper_address = { attempts = 3, per = \"1h\" }")
        .route(
            &upstream,
            "/",
            "rate_limit = [{ requests = 2, per = \"1h\", by = \"client\" },\n\
             { requests = 2, per = \"1h\" }]",
        )
        .route(&upstream, "/passwords", "auth = [\"basic\"]")
        .route(&upstream, "/watched", "enforce = false\nrequire = { roles = [\"chief\"] }")
        .start()
        .await;
    let token = gateway.token("alice").await;
    let good = format!("Bearer {token}");
    let wrong = "Basic YWxpY2U6d3Jvbmc=";
    let before = metrics(&gateway).await;
    let access = gateway.running().access_lines();
    let audit = gateway.running().audit_lines();

    for _ in 0..5 {
        for (method, path, fields) in [
            ("GET", "/x", &[("authorization", good.as_str())][..]),
            ("GET", "/x", &[("authorization", "Bearer forged")]),
            ("GET", "/passwords", &[("authorization", wrong)]),
            ("GET", "/watched", &[("authorization", good.as_str())]),
            ("POST", "/auth/login", &[("content-type", "application/json")]),
            ("GET", "/nowhere;x", &[]),
        ] {
            explain(&gateway, &request(method, path, fields)).await;
        }
        let mut as_user = request("GET", "/x", &[]);
        as_user.as_user = Some("bob".to_owned());
        explain(&gateway, &as_user).await;
    }

    upstream.assert_untouched();
    assert_eq!(metrics(&gateway).await, before);
    assert_eq!(gateway.running().access_lines(), access);
    assert_eq!(gateway.running().audit_lines(), audit);
    // No budget became less: two requests pass, as the rule says. No attempt was counted either.
    let client = gateway.client();
    for status in [200, 200, 429] {
        client.get("/x").bearer(&token).send().await.assert_status(status);
    }
    let login = json!({ "username": "bob", "password": PASSWORD });
    client.post("/auth/login").json(login).send().await.assert_status(200);
    assert_eq!(upstream.received().len(), 2);
}
