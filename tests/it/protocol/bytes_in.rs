//! How much of a request's body was read, as its access line says.

use serde_json::Value;

use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client, Gateway, Upstream};

const BODY: [u8; 1000] = [b' '; 1000];

/// A gateway over TLS, and clients of it by HTTP/1.1 and by HTTP/2.
async fn start(upstream: &Upstream) -> (Gateway, [Client; 2]) {
    let secure = TlsGateway::new();
    let builder = secure.builder().login("native");
    let gateway = builder.route_to(upstream, "auth = []").start().await;
    let clients = [false, true].map(|http2| secure.client(&gateway, http2));
    (gateway, clients)
}

/// The access line of the only request to `path` by `protocol`.
async fn line(gateway: &Gateway, path: &str, protocol: &str) -> Value {
    let since = std::time::Instant::now();
    loop {
        let log = gateway.access_log();
        let found = log
            .into_iter()
            .find(|line| line["url.path"] == path && line["network.protocol.version"] == protocol);
        if let Some(line) = found {
            return line;
        }
        assert!(since.elapsed() < crate::harness::client::PATIENCE, "no line for {path}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bytes_in_was_0_in_every_line() {
    let upstream = Upstream::start().await;
    let (gateway, clients) = start(&upstream).await;

    for (client, protocol) in clients.iter().zip(["1.1", "2"]) {
        client.post("/forwarded").body(BODY.to_vec()).send().await.assert_status(200);
        let login = client.post("/auth/login").header("content-type", "application/json");
        login.body(BODY.to_vec()).send().await.assert_status(400);
        client.get("/nothing").send().await.assert_status(200);

        for (path, bytes) in [("/forwarded", 1000), ("/auth/login", 1000), ("/nothing", 0)] {
            let line = line(&gateway, path, protocol).await;
            assert_eq!(line["bytes_in"], bytes, "{protocol} {line}");
        }
    }
}
