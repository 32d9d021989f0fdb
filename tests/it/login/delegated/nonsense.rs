//! A legacy system that answers anything but its dialect is down, whatever it says.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::{front, http, log_in};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Upstream};

async fn answering(status: u16, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Upstream {
    let body = body.into();
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Upstream::answering(move |_| {
        let mut response = Response::builder().status(status);
        for (name, value) in &fields {
            response = response.header(name, value);
        }
        response.body(body.clone()).unwrap()
    })
    .await
}

#[tokio::test]
async fn nonsense_is_503_and_never_a_wrong_password() {
    let upstream = Upstream::start().await;
    let elsewhere = answering(200, &[], r#"{"token":"t","key":"k"}"#).await;
    let target = format!("{}/login", elsewhere.url());
    let huge = format!(r#"{{"token":"t","key":"{}"}}"#, "k".repeat(2 << 20));
    let json = ("content-type", "application/json");
    for (what, legacy) in [
        (
            "500",
            answering(500, &[json], r#"{"status":"error","info":"Invalid credentials"}"#).await,
        ),
        ("502 of a proxy", answering(502, &[], "<html>Bad Gateway</html>").await),
        ("429", answering(429, &[("retry-after", "30")], "").await),
        (
            "200 with an error",
            answering(200, &[json], r#"{"status":"error","info":"Invalid credentials"}"#).await,
        ),
        ("a page", answering(200, &[("content-type", "text/html")], "<html>Log in</html>").await),
        ("a page of 401", answering(401, &[("www-authenticate", "Basic")], "<html>").await),
        ("a wrong address", answering(404, &[], "Not Found").await),
        ("too much", answering(200, &[json], huge).await),
        ("a redirect", answering(307, &[("location", &target)], "").await),
        ("another redirect", answering(302, &[("location", &target)], "").await),
        ("half a pair", answering(200, &[json], r#"{"token":"t"}"#).await),
        ("a token twice", answering(200, &[json], r#"{"token":"t","token":"u","key":"k"}"#).await),
    ] {
        let gateway =
            front(&http(&legacy.url(), "webitel", "")).route_to(&upstream, "").start().await;

        // More often than wrong passwords are let through.
        for _ in 0..11 {
            let reply = log_in(&gateway, "alice", PASSWORD).await;
            assert_eq!(reply.status.as_u16(), 503, "{what}: {}", reply.text());
        }

        assert_eq!(legacy.received().len(), 11, "{what}: asked once each");
        let told = gateway.running().audit_lines() + &gateway.running().access_lines();
        assert!(!told.contains(PASSWORD), "{what}");
    }
    elsewhere.assert_untouched();
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_slow_legacy_system_holds_a_login_no_longer_than_its_timeout() {
    // Accepts, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = front(&http(&url, "webitel", "timeout = \"200ms\"\nparallel = 1")).start().await;
    let begun = std::time::Instant::now();

    let (one, two) =
        tokio::join!(log_in(&gateway, "alice", PASSWORD), log_in(&gateway, "bob", PASSWORD));

    one.assert_status(503);
    two.assert_status(503);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let ready = admin.get("/readyz?verbose").send().await;
    assert!(ready.text().contains("did not answer within 200ms"), "{}", ready.text());
}
