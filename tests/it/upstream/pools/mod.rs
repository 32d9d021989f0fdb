//! Which server of a pool is asked: the balance, checks, servers that fail, and those that are
//! back.

mod balance;
mod checks;
mod ejection;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::harness::client::PATIENCE;
use crate::harness::{Client, Gateway, Reply, Upstream};

/// A server that answers requests and checks as it is told.
struct Member {
    upstream: Upstream,
    /// What it answers requests with.
    status: Arc<AtomicU16>,
    /// What it answers `/ping` with.
    ping: Arc<AtomicU16>,
}

impl Member {
    async fn start() -> Self {
        let [status, ping] = [(); 2].map(|()| Arc::new(AtomicU16::new(200)));
        let (asked, pinged) = (status.clone(), ping.clone());
        let upstream = Upstream::answering(move |received| {
            let status = if received.target == "/ping" { &pinged } else { &asked };
            let status = status.load(Ordering::SeqCst);
            Response::builder().status(status).body(Bytes::new()).unwrap()
        })
        .await;
        Self { upstream, status, ping }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn is_healthy(&self, healthy: bool) {
        self.ping.store(if healthy { 200 } else { 500 }, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        self.upstream.url()
    }

    /// Requests other than checks.
    fn requests(&self) -> usize {
        self.upstream.received().iter().filter(|one| one.target != "/ping").count()
    }

    fn checks(&self) -> usize {
        self.upstream.received().iter().filter(|one| one.target == "/ping").count()
    }
}

/// The URLs as TOML.
fn urls(members: &[&Member]) -> String {
    let urls: Vec<String> = members.iter().map(|member| format!("{:?}", member.url())).collect();
    urls.join(", ")
}

/// On a test clock: an open route `/` to a pool of `servers` with further keys.
async fn serving(servers: &str, keys: &str) -> Gateway {
    Gateway::builder().moving().config(&sections(servers, keys)).start().await
}

fn sections(servers: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"pool\"\nservers = [{servers}]\n{keys}\n\
         [[route]]\npath = \"/\"\nupstream = \"pool\"\nauth = []\n"
    )
}

async fn ask(gateway: &Gateway) -> Reply {
    gateway.client().get("/").send().await
}

/// Statuses of so many requests, one after the other.
async fn ask_times(gateway: &Gateway, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(ask(gateway).await.status.as_u16());
    }
    statuses
}

fn admin(gateway: &Gateway) -> Client {
    Client::plain(gateway.running().admin_address().unwrap())
}

async fn has_state(gateway: &Gateway, url: &str, state: &str) -> bool {
    let labels = format!("{{upstream=\"pool\",server=\"{url}\",state=\"{state}\"}}");
    let line = format!("tollhouse_upstream_state{labels} 1");
    admin(gateway).get("/metrics").send().await.text().lines().any(|one| one == line)
}

/// Moves the clock from check to check until the server is in that state.
async fn until(gateway: &Gateway, url: &str, state: &str) {
    let reached = async {
        while !has_state(gateway, url, state).await {
            gateway.advance(Duration::from_secs(6));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, reached).await;
    waited.unwrap_or_else(|_| panic!("{url} never was {state}"));
}
