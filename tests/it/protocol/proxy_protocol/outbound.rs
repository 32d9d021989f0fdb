//! Upstreams that are told by a PROXY header who the client is.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollhouse::settings::{ProxyVersion, ServerAddress};

use super::v2;
use crate::harness::Gateway;
use crate::harness::scripted_upstream::{
    GET, OK, ScriptedUpstream, accept_unix, listen_unix, server, settings_to,
};
use crate::harness::tls_gateway::route_to as route;

/// Reads a header of version 2 byte by byte; what it says.
async fn read_v2(stream: &mut TcpStream) -> (SocketAddr, SocketAddr) {
    let mut header = vec![0; 16];
    stream.read_exact(&mut header).await.unwrap();
    let length = u16::from_be_bytes([header[14], header[15]]);
    header.resize(16 + usize::from(length), 0);
    stream.read_exact(&mut header[16..]).await.unwrap();
    let (parsed, _) = ProxyHeader::parse(&header, ParseConfig::default()).unwrap();
    let told = parsed.proxied_address().expect("an address").clone();
    (told.source, told.destination)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn every_connection_begins_with_its_clients_address_and_serves_one_request() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.proxy_protocol = Some(ProxyVersion::V1);
    let gate = settings.start().await;
    let mut client = gate.client().await;

    for _ in 0..2 {
        client.send(GET).await;
        let mut upstream = fake.accept().await;
        let header = upstream.until("\r\n").await;
        assert!(header.starts_with("PROXY TCP4 127.0.0.1 0.0.0.0 "), "{header}");
        assert!(upstream.head().await.starts_with("get /a?b=%20c http/1.1"));
        upstream.send(OK).await;
        client.until("ok").await;
        assert_eq!(upstream.rest().await, b"", "it is nobody else's");
    }
    assert_eq!(gate.pool.snapshot().servers[0].idle, 0);
}

#[tokio::test]
async fn a_unix_upstream_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = listen_unix(&path);
    let mut settings = settings_to(vec![server(ServerAddress::Unix(path))]);
    settings.upstream.proxy_protocol = Some(ProxyVersion::V1);
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let mut upstream = accept_unix(&listener).await;

    assert!(upstream.until("\r\n").await.starts_with("PROXY TCP4 127.0.0.1 "));
    upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;
}

#[tokio::test]
async fn tls_begins_after_the_header() {
    let fake = ScriptedUpstream::start().await;
    let port = fake.address().port();
    let https = ServerAddress::Tcp { host: "localhost".to_owned(), port, tls: true };
    let mut settings = settings_to(vec![server(https)]);
    settings.upstream.proxy_protocol = Some(ProxyVersion::V2);
    let gate = settings.start().await;

    let _client = gate.ask(GET).await;
    let mut upstream = fake.accept_raw().await;
    let (source, _) = read_v2(&mut upstream).await;

    assert_eq!(source.ip().to_string(), "127.0.0.1");
    assert_eq!(upstream.read_u8().await.unwrap(), 0x16, "a ClientHello");
}

#[tokio::test]
async fn what_a_proxy_said_of_the_client_is_said_on() {
    let fake = ScriptedUpstream::start().await;
    let keys = "proxy_protocol = \"v2\"";
    let upstream = route("legacy", &format!("http://{}", fake.address()), "/", "auth = []")
        .replacen("[[route]]", &format!("{keys}\n[[route]]"), 1);
    let listener = "proxy_protocol = [\"127.0.0.0/8\"]\n\
                    trusted_proxies = [\"10.0.0.0/8\"]";
    let gateway = Gateway::builder().listener(listener).config(&upstream).start().await;
    let local = gateway.address();
    for (header, field, expected) in [
        (v2("203.0.113.7:4711"), "", "203.0.113.7:4711"),
        (v2("203.0.113.7:4711"), "X-Forwarded-For: 192.0.2.66\r\n", "203.0.113.7:4711"),
        (v2("10.0.0.9:4711"), "X-Forwarded-For: 192.0.2.66\r\n", "192.0.2.66:0"),
        (v2("[2001:db8::7]:4711"), "", "[2001:db8::7]:4711"),
    ] {
        let mut client = TcpStream::connect(local).await.unwrap();
        client.write_all(&header).await.unwrap();
        let ask = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        client.write_all(ask.as_bytes()).await.unwrap();

        let mut upstream = fake.accept_raw().await;
        let (source, destination) = read_v2(&mut upstream).await;

        assert_eq!(source, expected.parse().unwrap());
        assert_eq!(destination.ip().to_canonical(), local.ip());
        assert!(read_head(&mut upstream).await.starts_with("get / http/1.1"));
    }
    assert!(fake.is_untouched(Duration::from_millis(50)).await, "no connection more than needed");
}
