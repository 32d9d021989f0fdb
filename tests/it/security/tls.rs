//! TLS, and listeners without it.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::client::PATIENCE;
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Upstream, certs, raw_exchange};

/// A TLS gateway with further keys of `[listener.tls]`, and a client that trusts it.
async fn tls(upstream: &Upstream, keys: &str) -> (Result<Gateway, String>, certs::Certificate) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certs::Certificate::make(dir.path(), "a", &["localhost"]);
    let builder = Gateway::builder().process("drain_timeout = \"1s\"");
    let builder = builder.listener("[listener.timeouts]\nhandshake = \"300ms\"");
    let builder = builder.tls(&certificate, keys).login("native");
    let gateway = builder.route_to(upstream, "auth = []");
    (gateway.try_start().await, certificate)
}

/// The first bytes that a ClientHello is answered with.
async fn greeted(gateway: &Gateway, hello: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it is closed in time");
    answer
}

/// A ClientHello of `version` with its usual suites and no extensions.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1, length[1], length[2], length[3]], &body[..]].concat();
    let length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[22, 3, 1, length[0], length[1]], &handshake[..]].concat()
}

#[tokio::test]
async fn old_versions_and_suites_without_forward_secrecy_are_refused() {
    let upstream = Upstream::start().await;
    let (gateway, _) = tls(&upstream, "").await;
    let gateway = gateway.unwrap();
    for (version, suites, why) in [
        (0x0300, &[0xc013][..], "SSL 3"),
        (0x0301, &[0xc013], "TLS 1.0"),
        (0x0302, &[0xc013], "TLS 1.1"),
        (0x0303, &[0x009c, 0x009d, 0x002f], "TLS 1.2 with RSA key exchange"),
        (0x0303, &[0xc011, 0x0005], "TLS 1.2 with RC4"),
    ] {
        let answer = greeted(&gateway, &hello(version, suites)).await;
        assert!(answer.is_empty() || answer[0] == 21, "{why}: an alert, not {answer:?}");
    }
    let client = Client::plain(gateway.address());
    let plain = raw_exchange(&client, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1 200"), "no plain HTTP on a TLS port");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_credential_that_was_plain_before_the_proxy_is_refused_by_a_tls_listener_too() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let certificate = certs::Certificate::make(dir.path(), "a", &["localhost"]);
    for (allowed, refused) in [("", Some(403)), ("allow_plain_http = true\n", None)] {
        let proxied = format!("trusted_proxies = [\"127.0.0.1\"]\n{allowed}");
        let builder = Gateway::builder().listener(&proxied).tls(&certificate, "").login("native");
        let gateway = builder.route_to(&upstream, "").start().await;
        let client = Client::trusting(gateway.address(), &certificate, false);
        let login = json!({ "username": "alice", "password": PASSWORD });
        let call = || client.post("/auth/login").json(login.clone());
        let reply = call().header("x-forwarded-proto", "https").send().await;
        let token = reply.assert_status(200).member("access_token");
        let (before, protected) = (upstream.received().len(), || client.get("/").bearer(&token));
        protected().header("x-forwarded-proto", "https").send().await.assert_status(200);

        let login = call().header("x-forwarded-proto", "http").send().await;
        let route = protected().header("x-forwarded-proto", "http").send().await;

        for reply in [&login, &route] {
            reply.assert_status(refused.unwrap_or(200));
            if refused.is_some() {
                reply.assert_code("tls_required");
            }
        }
        let forwarded = if refused.is_some() { 1 } else { 2 };
        assert_eq!(upstream.received().len(), before + forwarded);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::start().await;
    let (gateway, _) = tls(&upstream, "").await;
    let gateway = gateway.unwrap();

    let whole = hello(0x0303, &[0xc02b]);

    assert!(greeted(&gateway, b"").await.len() < 16, "silence");
    assert!(greeted(&gateway, &whole[..20]).await.len() < 16, "half a hello");
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_least_version_is_held() {
    let upstream = Upstream::start().await;
    let (gateway, certificate) = tls(&upstream, "min_version = \"1.3\"").await;
    let gateway = gateway.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let tcp = TcpStream::connect(gateway.address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let old = TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await;

    assert!(old.is_err(), "TLS 1.2 was spoken");
    let config = certs::trusting(&[certificate.der], &[b"http/1.1"]);
    let client = Client {
        address: gateway.address(),
        tls: Some((config, "localhost".into())),
        http2: false,
    };
    client.get("/").send().await.assert_status(200);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_no_leave_to_do_without() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    for (text, why) in [(None, "missing"), (Some(""), "empty"), (Some("nonsense"), "no PEM")] {
        let path = dir.path().join("ca.pem");
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let (started, _) = tls(&upstream, &format!("client_ca = {path:?}")).await;
        let error = started.err().expect(why);
        assert!(error.contains("client_ca"), "{why}: {error}");
    }
}

#[tokio::test]
async fn without_the_required_certificate_nothing_is_said() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let authority = certs::Certificate::make(dir.path(), "ca", &["ca"]);
    let (gateway, certificate) =
        tls(&upstream, &format!("client_ca = {:?}", authority.chain)).await;
    let gateway = gateway.unwrap();

    let client = Client::trusting(gateway.address(), &certificate, false);
    let answer = client.try_handshake().await;

    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_redirecting_listener_sends_on_only_what_is_harmless() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .listener("redirect_to_https = true")
        .config("[[login]]\ndialect = \"native\"\nhosts = [\"api.example\"]")
        .route_to(&upstream, "hosts = [\"api.example\"]")
        .start()
        .await;
    let client = gateway.client();

    let reply = client.get("/a?b=c").host("api.example").send().await;
    reply.assert_status(308).assert_header("location", "https://api.example/a?b=c");
    for (call, why) in [
        (client.post("/auth/login").host("api.example").body("{}"), "a login"),
        (client.get("/").host("api.example").bearer("x"), "a Bearer"),
        (client.get("/").host("api.example").pair("x", "y"), "a pair"),
        (client.get("/").host("api.example").header("cookie", "a=b"), "a cookie"),
        (client.get("/?access_token=x").host("api.example"), "a token in the query"),
        (client.get("/?a=1&x%5Fkey=x").host("api.example"), "a key in the query, disguised"),
        (client.get("/").host("evil.example"), "a host of somebody else"),
    ] {
        let reply = call.send().await;
        assert_eq!(reply.status, 403, "{why}");
        reply.assert_code("tls_required");
        assert_eq!(reply.header("location"), None, "{why}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_plain_listener_that_others_can_reach_does_not_start() {
    let upstream = Upstream::start().await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        let listener = format!("[[listener]]\naddress = \"{address}\"");
        let gateway =
            Gateway::builder().listeners(&listener).login("native").route_to(&upstream, "");

        let error = gateway.try_start().await.err().expect("refused");

        assert!(error.contains("allow_plain_http"), "{error}");
    }
}
