//! `session revoke --user` for users of other issuers: what these gave out before is refused.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::{SOCKET, client};
use tollhouse::identity::Subject;
use tollhouse::session::InjectedFaults;

use super::foreign::{token, trusting};
use crate::harness::gateway::START;
use crate::harness::{Gateway, Upstream};

/// Revokes a user, by name or id, as an operator does.
async fn revoke(gateway: &Gateway, user: &str) -> (u16, Value) {
    let socket = gateway.dir().join("state").join(SOCKET);
    let path = format!("/sessions?user={user}");
    let (status, answer) = client::call(&socket, Method::DELETE, &path, None).await.unwrap();
    (status.as_u16(), answer)
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    let reply = gateway.client().get("/").bearer(token).send().await;
    if reply.status == 401 {
        reply.assert_code("token_revoked");
    }
    reply.status.as_u16()
}

#[tokio::test]
async fn a_revoked_users_foreign_tokens_are_refused_and_new_ones_are_not() {
    let subject = Subject::foreign("https://legacy.example/", "7").to_string();
    for (user, why) in
        [("7", "`sub`"), ("Zoe", "name, in any spelling"), (subject.as_str(), "id of the logs")]
    {
        let upstream = Upstream::start().await;
        let gateway = trusting(&upstream, "username_claim = \"name\"").await;
        let old = token(json!({ "name": "zoe" }));
        let others = token(json!({ "sub": "8", "name": "ann" }));
        assert_eq!((status(&gateway, &old).await, status(&gateway, &others).await), (200, 200));
        gateway.advance(Duration::from_secs(5));

        let revoked = revoke(&gateway, user).await;

        assert_eq!(revoked, (200, json!({ "ended": 0, "tokens_refused": true })), "{why}");
        let calls = upstream.received().len();
        let unseen = token(json!({ "name": "zoe", "jti": "never seen here" }));
        for token in [&old, &old, &unseen] {
            assert_eq!(status(&gateway, token).await, 401, "{why}");
        }
        assert_eq!(upstream.received().len(), calls, "{why}: refused calls go nowhere");
        assert_eq!(status(&gateway, &others).await, 200, "{why}: not another's");
        gateway.advance(Duration::from_secs(5));
        let new = token(json!({ "name": "zoe", "iat": START.secs() + 6 }));
        assert_eq!(status(&gateway, &new).await, 200, "{why}: issued since");

        assert_eq!(status(&gateway, &token(json!({ "name": "zoe", "iat": null }))).await, 401);
    }
}

#[tokio::test]
async fn a_revoked_users_foreign_tokens_are_refused_after_a_restart_and_on_a_failing_disk() {
    let upstream = Upstream::start().await;
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), "a shared secret of 32 bytes, ok!").unwrap();
    let section = format!(
        "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
         audience = [\"legacy\"]\nalgorithms = [\"HS256\"]\nsecret = {{ file = {:?} }}\n",
        secret.path().join("secret")
    );
    let builder = || {
        let builder = Gateway::builder().moving().config(&section).login("native");
        builder.route_to(&upstream, "")
    };
    let faults = std::sync::Arc::new(InjectedFaults::default());
    let gateway = builder().faults(&faults).start().await;
    let (written, unwritten) = (token(json!({})), token(json!({ "sub": "8" })));
    assert_eq!(revoke(&gateway, "7").await.0, 200);

    faults.fail_writes(true);
    assert_eq!(revoke(&gateway, "8").await.0, 503, "not durable yet");
    assert_eq!(status(&gateway, &unwritten).await, 401, "in force all the same");
    faults.fail_writes(false);
    assert_eq!(status(&gateway, &written).await, 401);

    let gateway = builder().on(gateway.stop().await).start().await;
    for token in [&written, &unwritten] {
        assert_eq!(status(&gateway, token).await, 401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_name_that_nobody_has_is_an_error_where_there_is_no_issuer() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route_to(&upstream, "").start().await;
    assert_eq!(revoke(&gateway, "nobody").await.0, 404);
    assert_eq!(
        revoke(&gateway, "alice").await,
        (200, json!({ "ended": 0, "tokens_refused": false }))
    );
}

#[tokio::test]
async fn the_sessions_that_a_users_tokens_were_traded_for_end_with_them() {
    let upstream = Upstream::start().await;
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), "a shared secret of 32 bytes, ok!").unwrap();
    let section = format!(
        "[[login]]\ndialect = \"native\"\nexchange = [\"legacy\"]\n\
         [[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
         audience = [\"legacy\"]\nalgorithms = [\"HS256\"]\nsecret = {{ file = {:?} }}\n",
        secret.path().join("secret")
    );
    let builder = Gateway::builder().moving().config(&section).route_to(&upstream, "");
    let gateway = builder.start().await;
    let foreign = token(json!({}));
    let traded = gateway.client().post("/auth/exchange").bearer(&foreign).send().await;
    let ours = traded.assert_status(200).member("access_token");
    assert_eq!(status(&gateway, &ours).await, 200);

    assert_eq!(revoke(&gateway, "7").await.1, json!({ "ended": 1, "tokens_refused": true }));

    assert_eq!(status(&gateway, &ours).await, 401);
    let again = gateway.client().post("/auth/exchange").bearer(&foreign).send().await;
    again.assert_status(401).assert_code("token_revoked");
    assert_eq!(upstream.received().len(), 1);
}
