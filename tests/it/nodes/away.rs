//! The store is away: what each step is answered, for how long tokens are accepted, and that it heals
//! by itself.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cluster::{Cluster, Node, STALE_LIMIT, log_in, log_out, refresh, tokens};
use crate::harness::Reply;
use crate::harness::gateway::PASSWORD;

/// Sessions that were begun before the store went away, one for each step.
pub(super) struct BeforeOutage {
    kept: (String, String),
    logged_out: (String, String),
}

impl BeforeOutage {
    pub(super) async fn begin(node: &Node) -> Self {
        Self { kept: node.log_in("crowd1").await, logged_out: node.log_in("crowd2").await }
    }

    /// The access token of a session that nobody ends.
    pub(super) fn token(&self) -> &str {
        &self.kept.0
    }

    /// Every step that needs the store is 503 within a second, and says when to come back; a token
    /// is verified on.
    pub(super) async fn assert_away(&self, node: &Node) {
        let client = node.client();
        let code = json!({ "email": "code1@example.com", "emailToken": "123456" });
        let password = json!({ "email": "code1@example.com", "password": PASSWORD });
        let since = Instant::now();
        let (login, refreshed, logout, first_step, code) = tokio::join!(
            timed(log_in(&client, "crowd3")),
            timed(refresh(&client, &self.kept.1)),
            timed(log_out(&client, &self.logged_out.0)),
            timed(client.post("/v2/auth/login").json(password).attempt()),
            timed(client.post("/v2/auth/validate-login").json(code).attempt()),
        );
        for (step, (reply, took)) in [
            ("login", login),
            ("refresh", refreshed),
            ("logout", logout),
            ("login with a code", first_step),
            ("code", code),
        ] {
            let reply = reply.unwrap_or_else(|| panic!("{step}: no answer"));
            reply.assert_status(503);
            let retry = reply.header("retry-after").unwrap_or_else(|| panic!("{step}: no field"));
            assert!(retry.parse::<u64>().is_ok_and(|retry| retry >= 1), "{step}: {retry}");
            assert!(took < Duration::from_secs(1), "{step} took {took:?}");
        }
        if since.elapsed() < STALE_LIMIT {
            assert_eq!(node.call("/verified-on", self.token()).await, 200, "verified on");
        }
        // The logout holds here although the store did not hear of it, and is not said to be done.
        assert_eq!(node.call("/logged-out", &self.logged_out.0).await, 401);
        let again = log_out(&client, &self.logged_out.0).await.unwrap();
        again.assert_status(503);
    }

    /// The store is back: what was done before is there, and the logout that was answered 503 is
    /// made up for.
    pub(super) async fn assert_healed(&self, cluster: &Cluster) {
        for node in &cluster.nodes {
            super::cluster::eventually("the logout is made up for", async || {
                node.call("/logged-out", &self.logged_out.0).await == 401
            })
            .await;
            let refreshed = refresh(&node.client(), &self.logged_out.1).await.unwrap();
            refreshed.assert_status(401);
            let refreshed = refresh(&node.client(), &self.kept.1).await.unwrap();
            assert_eq!(node.call("/kept", &tokens(refreshed.assert_status(200)).0).await, 200);
        }
    }
}

async fn timed(step: impl Future<Output = Option<Reply>>) -> (Option<Reply>, Duration) {
    let since = Instant::now();
    let reply = step.await;
    (reply, since.elapsed())
}

/// A node that has not reached its store for `STALE_LIMIT` accepts no credential any more, and the
/// upstream sees nothing; a route without credentials is served on.
pub(super) async fn assert_stale(cluster: &Cluster, node: &Node, token: &str) {
    super::cluster::eventually("the node is stale", async || {
        node.call("/until-stale", token).await == 503
    })
    .await;
    let client = node.client();
    let before = cluster.arrived("/stale");
    for _ in 0..3 {
        let reply = client.get("/stale").bearer(token).send().await;
        reply.assert_status(503);
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(cluster.arrived("/stale"), before, "the upstream saw nothing");
    client.get("/open/page").send().await.assert_status(200);
    let (status, text) = node.readiness().await;
    assert_eq!(status, 503, "{text}");
}
