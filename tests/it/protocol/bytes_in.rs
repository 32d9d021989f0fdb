//! How much of a request's body was read, as its access line says.

use serde_json::Value;

use crate::harness::{Client, Gateway, Upstream, certs};

const BODY: [u8; 1000] = [b' '; 1000];

/// A gateway over TLS, and clients of it by HTTP/1.1 and by HTTP/2.
async fn start(upstream: &Upstream) -> (Gateway, [Client; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certs::Certificate::make(dir.path(), "a", &["localhost"]);
    let head = format!(
        "[process]\nworkers = 2\nbackground_threads = 1\ndrain_delay = \"0s\"\ndrain_timeout = \"1s\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [listener.tls]\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n\
         [token]\nissuer = \"https://gateway.example\"\n\
         [[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"",
        certificate.chain, certificate.key
    );
    let gateway = Gateway::builder()
        .head(&head)
        .login("native")
        .route_to(upstream, "auth = []")
        .start()
        .await;
    let client = |protocol: &'static [u8], http2| {
        let config = certs::trusting(std::slice::from_ref(&certificate.der), &[protocol]);
        Client { address: gateway.address(), tls: Some((config, "localhost".into())), http2 }
    };
    let clients = [client(b"http/1.1", false), client(b"h2", true)];
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
