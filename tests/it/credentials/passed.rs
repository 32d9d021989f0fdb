//! Credentials that the upstream verifies by itself, beside ours on one route.

use http::Response;
use serde_json::json;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

const PASS: &str = "pass = [{ header = \"X-API-Signature\" }, { scheme = \"Basic\" }]";

#[tokio::test]
async fn a_credential_of_the_upstreams_own_passes_beside_ours_without_identity() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route_to(&upstream, PASS).start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    client.get("/").send().await.assert_status(401);
    client.get("/").header("authorization", "Digest x").send().await.assert_status(401);
    client.get("/").header("authorization", "Basic-ish x").send().await.assert_status(401);
    upstream.assert_untouched();

    let signed =
        client.get("/a?b=%20c").header("X-API-Key", "key-1").header("X-API-Signature", "s");
    let signed = signed.header("X-API-Timestamp", "1").header("x-auth-subject", "root");
    signed.header("x-access-token", "half").send().await.assert_status(400);
    upstream.assert_untouched();
    let signed =
        client.get("/a?b=%20c").header("X-API-Key", "key-1").header("X-API-Signature", "s");
    let signed = signed.header("X-API-Timestamp", "1").header("x-auth-subject", "root");
    signed.send().await.assert_status(200).assert_header("cache-control", "private");
    let received = upstream.last();
    assert_eq!(received.target, "/a?b=%20c");
    for (name, value) in
        [("x-api-key", "key-1"), ("x-api-signature", "s"), ("x-api-timestamp", "1")]
    {
        assert_eq!(received.header(name), Some(value));
    }
    assert_eq!(received.header("x-auth-subject"), None);

    client.get("/").basic("admin", "password").send().await.assert_status(200);
    let received = upstream.last();
    assert_eq!(received.header("authorization"), Some("Basic YWRtaW46cGFzc3dvcmQ="));
    assert_eq!(received.header("x-auth-subject"), None);

    client.get("/").bearer(&token).send().await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-username"), Some("alice"));
    assert_eq!(upstream.last().header("authorization"), None);

    let outcomes: Vec<_> =
        gateway.access_log().iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "passed").count(), 2, "{outcomes:?}");
}

#[tokio::test]
async fn ours_beside_one_that_is_passed_on_is_ambiguous() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route_to(&upstream, PASS).start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    for call in [
        client.get("/").bearer(&token).header("x-api-signature", "s"),
        client.get("/").bearer("made-up").header("x-api-signature", "s"),
        client.get("/").pair(&token, "key").basic("admin", "password"),
        client.get("/").header("x-key", "key").basic("admin", "password"),
    ] {
        call.send().await.assert_status(400).assert_code("ambiguous_credential");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn what_the_gateway_gave_out_is_never_passed_on_unproved() {
    let upstream = Upstream::start().await;
    let keys = "auth = [\"token_key\"]\n\
                pass = [{ header = \"X-Token\" }, { scheme = \"Bearer\" }]";
    let gateway = Gateway::builder().login("native").route_to(&upstream, keys).start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    client.get("/").bearer(&token).send().await.assert_status(401);
    client.get("/").header("x-token", &token).send().await.assert_status(401);
    upstream.assert_untouched();

    client.get("/").bearer("legacy").send().await.assert_status(200);
    assert_eq!(upstream.last().header("authorization"), Some("Bearer legacy"));
    client.get("/").header("x-token", "legacy").bearer(&token).send().await.assert_status(200);
    assert_eq!(upstream.last().header("authorization"), None, "of a kind that is not taken");
}

#[tokio::test]
async fn an_answer_to_a_credential_that_caches_do_not_know_is_private() {
    let upstream = Upstream::answering(|received| {
        let said = received.header("x-say").unwrap_or_default();
        let response = Response::builder();
        let response =
            if said.is_empty() { response } else { response.header("cache-control", said) };
        response.body("ok".into()).unwrap()
    })
    .await;
    let keys = "auth = [\"bearer\", \"token_key\", \"api_key\"]";
    let (robot, section) = super::key("robot", "");
    let config = format!("{section}[[login]]\ndialect = \"webitel\"");
    let gateway =
        Gateway::builder().login("native").config(&config).route_to(&upstream, keys).start().await;
    let bearer = gateway.token("alice").await;
    let client = gateway.client();
    let login = json!({ "username": "alice", "password": PASSWORD });
    let pair = client.post("/login").json(login).send().await;
    let (token, key) = (pair.member("token"), pair.member("key"));

    for (said, expected) in [
        ("", vec!["private"]),
        ("max-age=60", vec!["max-age=60", "private"]),
        ("public, max-age=60", vec!["public, max-age=60"]),
        ("s-maxage=60", vec!["s-maxage=60"]),
        ("no-store", vec!["no-store"]),
    ] {
        let by_pair = client.get("/").pair(&token, &key).header("x-say", said).send().await;
        let by_key = client.get("/").header("x-api-key", &robot).header("x-say", said);
        for reply in [by_pair, by_key.send().await] {
            reply.assert_status(200);
            let lines = reply.headers.get_all("cache-control").iter();
            let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap()).collect();
            assert_eq!(lines, expected);
        }
    }
    let by_bearer = client.get("/").bearer(&bearer).header("x-say", "max-age=60").send().await;
    by_bearer.assert_status(200).assert_header("cache-control", "max-age=60");
}
