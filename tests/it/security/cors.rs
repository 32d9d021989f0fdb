//! DECISIONS 26: a preflight opens nothing, and marks are ours where the policy is.

use http::{Method, Response};

use super::log_in;
use crate::harness::client::Call;
use crate::harness::{Gateway, Upstream};

fn preflight<'a>(call: Call<'a>) -> Call<'a> {
    call.header("origin", "https://evil.example").header("access-control-request-method", "PUT")
}

#[tokio::test]
async fn without_a_policy_a_preflight_is_a_request_like_any_other() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;

    let reply = preflight(gateway.client().call(Method::OPTIONS, "/orders")).send().await;

    reply.assert_status(401);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_preflight_for_the_upstream_goes_there_bare_and_nothing_else_does() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "cors = \"upstream\"").start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    client.call(Method::OPTIONS, "/").send().await.assert_status(401);
    let call = client.call(Method::OPTIONS, "/").header("origin", "https://evil.example");
    call.send().await.assert_status(401);
    preflight(client.get("/")).send().await.assert_status(401);
    upstream.assert_untouched();

    let call = preflight(client.call(Method::OPTIONS, "/")).bearer(&token);
    call.header("x-auth-subject", "forged").send().await.assert_status(200);
    let received = upstream.only();
    for name in ["authorization", "x-auth-subject", "x-auth-username"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_policy_of_ours_replaces_the_upstreams_and_answers_strangers_without_leave() {
    let upstream = Upstream::answering(|_| {
        Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-credentials", "true")
            .body(bytes::Bytes::new())
            .unwrap()
    })
    .await;
    let keys = "cors = { origins = [\"https://app.example\"], methods = [\"GET\"], headers = [] }";
    let gateway = Gateway::builder().login("native").route_to(&upstream, keys).start().await;
    let token = log_in(&gateway, "/auth/login", "alice").await.member("access_token");
    let client = gateway.client();

    let call = client.get("/").bearer(&token).header("origin", "https://evil.example");
    let stranger = call.send().await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    assert_eq!(stranger.header("access-control-allow-credentials"), None);
    let call = client.get("/").bearer(&token).header("origin", "https://app.example");
    let known = call.send().await;
    known.assert_header("access-control-allow-origin", "https://app.example");
    known.assert_header("vary", "Origin");
    assert_eq!(known.header("access-control-allow-credentials"), None);

    let before = upstream.received().len();
    let reply = preflight(client.call(Method::OPTIONS, "/")).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(upstream.received().len(), before, "answered here");
}
