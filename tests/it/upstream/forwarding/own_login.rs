//! The gateway as a client of real logins: another gateway is the legacy system.

use std::time::Duration;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

/// A system that takes what its login in this dialect gives, and a gateway that logs in there as
/// `alice`. What comes through both is seen by the upstream.
struct Chain {
    upstream: Upstream,
    legacy: Gateway,
    front: Gateway,
    _secret: tempfile::TempDir,
}

impl Chain {
    async fn start(dialect: &str) -> Self {
        let (upstream, dir) = (Upstream::start().await, tempfile::tempdir().unwrap());
        let legacy = Gateway::builder().moving().login(dialect).route_to(&upstream, "");
        let legacy = legacy.start().await;
        let secret = dir.path().join("password");
        std::fs::write(&secret, PASSWORD).unwrap();
        let section = format!(
            "[[upstream]]\nname = \"legacy\"\nservers = [\"http://{}\"]\n\
             credential = {{ login = {{ dialect = \"{dialect}\", username = \"alice\",\n\
             password = {{ file = {secret:?} }} }} }}\n\
             [[route]]\npath = \"/\"\nupstream = \"legacy\"\nauth = []\n",
            legacy.address()
        );
        let front = Gateway::builder().moving().config(&section).start().await;
        Self { upstream, legacy, front, _secret: dir }
    }

    async fn call(&self) {
        self.front.client().get("/x").send().await.assert_status(200);
        assert_eq!(self.upstream.last().header("x-auth-username"), Some("alice"));
    }

    fn advance(&self, by: Duration) {
        self.front.advance(by);
        self.legacy.advance(by);
    }

    /// How often this was written down there.
    fn audited(&self, event: &str) -> usize {
        let audit = self.legacy.audit_log();
        audit.iter().filter(|line| line["event"] == event).count()
    }
}

#[tokio::test]
async fn a_login_is_refreshed_shortly_before_it_ends() {
    let chain = Chain::start("datarhei").await;
    chain.call().await;
    chain.advance(Duration::from_secs(580));
    chain.call().await;
    assert_eq!((chain.audited("logged_in"), chain.audited("refreshed")), (1, 0));

    for refreshed in 1..4 {
        chain.advance(Duration::from_secs(11));
        chain.call().await;
        assert_eq!((chain.audited("logged_in"), chain.audited("refreshed")), (1, refreshed));
        chain.call().await;
        chain.advance(Duration::from_secs(580));
    }
}

#[tokio::test]
async fn where_the_refresh_is_refused_too_it_logs_in_again() {
    let chain = Chain::start("datarhei").await;
    chain.call().await;
    let socket = chain.legacy.running().admin_socket();
    let ended =
        tollhouse::admin::client::call(socket, http::Method::DELETE, "/sessions?all=true", None);
    assert_eq!(ended.await.unwrap().0, 200);

    chain.advance(Duration::from_secs(595));
    chain.call().await;

    assert_eq!(chain.audited("logged_in"), 2);
}

#[tokio::test]
async fn a_pair_is_sent_as_a_pair() {
    let chain = Chain::start("webitel").await;

    chain.call().await;
    chain.call().await;

    assert_eq!(chain.audited("logged_in"), 1);
    let seen = chain.upstream.last();
    assert_eq!(seen.header("x-access-token"), None, "it is the gateway's own, and ends there");
    assert_eq!(seen.header("x-key"), None);
}
