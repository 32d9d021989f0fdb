//! Listeners behind a proxy that passes bytes on.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tollhouse::body::{Body, Response};
use tollhouse::client::Client;
use tollhouse::listener::{ConnectionEvent, HandshakeFailure};
use tollhouse::runtime::Worker;
use tollhouse::settings::{BindAddress, ListenerSettings};

use super::{padded, raw_v2, v1, v2};
use crate::harness::certs::CertificateAuthority;
use crate::harness::gateway::PASSWORD;
use crate::harness::listener::{
    ListenerFolder, RunningListener, TlsClient, ask, eventually, plain, read_answer, read_to_end,
    secure, within,
};
use crate::harness::{Gateway, Upstream};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Says who it takes the client for.
async fn describe(_: Arc<Worker>, client: Arc<Client>, _: http::Request<Incoming>) -> Response {
    let address = client.address.map_or("nobody".to_owned(), |address| address.to_string());
    let port = client.peer.map_or(0, |peer| peer.port());
    let trusted = if client.trusted_proxy { " trusted" } else { "" };
    let health = if client.only_health { " health" } else { "" };
    Response::new(Body::full(format!("{address} {port}{trusted}{health}")))
}

/// Every peer of the tests owes a header.
fn behind_a_proxy(listener: ListenerSettings) -> ListenerSettings {
    ListenerSettings { proxy_protocol: vec!["127.0.0.0/8".parse().unwrap()], ..listener }
}

/// What the gateway says of a connection that begins so.
async fn said(running: &RunningListener, opening: &[u8]) -> String {
    let mut stream = running.connect().await;
    stream.write_all(opening).await.unwrap();
    let answer = read_answer(&mut stream).await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_listed_peers_header_says_who_the_client_is() {
    let running = RunningListener::start(&behind_a_proxy(plain()), describe);
    let unix = [[0; 216].as_slice(), b"\x04\0\0"].concat();
    for (header, expected, why) in [
        (v1("203.0.113.7:4711"), "203.0.113.7 4711", "v1, IPv4"),
        (v1("[2001:db8::7]:4711"), "2001:db8::7 4711", "v1, IPv6"),
        (v2("203.0.113.7:4711"), "203.0.113.7 4711", "v2, IPv4"),
        (v2("[2001:db8::7]:4711"), "2001:db8::7 4711", "v2, IPv6"),
        (v2("[::ffff:203.0.113.7]:4711"), "203.0.113.7 4711", "IPv4 in the clothes of IPv6"),
        (padded("203.0.113.7:1", 0), "203.0.113.7 1", "with TLVs"),
        (padded("203.0.113.7:1", 4000), "203.0.113.7 1", "with as many as there may be"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", "v1 that does not know"),
        (b"PROXY UNKNOWN a b 1 2\r\n".to_vec(), "127.0.0.1", "what follows UNKNOWN means nothing"),
        (raw_v2(0x20, 0, b""), "127.0.0.1", "v2, LOCAL"),
        (raw_v2(0x20, 0x11, &[9; 12]), "127.0.0.1", "LOCAL with an address means nothing"),
        (raw_v2(0x21, 0, b""), "127.0.0.1", "of no family"),
        (raw_v2(0x21, 0x31, &unix), "127.0.0.1", "of a unix socket"),
    ] {
        let said = said(&running, &[&header, ASK].concat()).await;

        assert!(said.starts_with(expected), "{why}: {said}");
    }
    assert_eq!(running.stats().handshake_failures(HandshakeFailure::ProxyHeader), 0);
}

#[tokio::test]
async fn a_header_may_arrive_in_pieces_and_the_request_after_it_stays_whole() {
    let running = RunningListener::start(&behind_a_proxy(plain()), describe);
    for header in [v1("203.0.113.7:4711"), v2("203.0.113.7:4711"), padded("203.0.113.7:4711", 300)]
    {
        let mut stream = running.connect().await;
        stream.set_nodelay(true).unwrap();

        for piece in [header.as_slice(), ASK].concat().chunks(7) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }

        assert!(read_answer(&mut stream).await.ends_with("203.0.113.7 4711"));
        assert!(ask(&mut stream, "/again").await.ends_with("203.0.113.7 4711"), "for all requests");
    }
}

#[tokio::test]
async fn a_malformed_header_closes_the_connection_unheard() {
    let running = RunningListener::start(&behind_a_proxy(plain()), describe);
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let mut counted = 0;
    for (opening, why) in [
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n".to_vec(), "a port is missing"),
        (b"PROXY TCP4 203.0.113.777 198.51.100.1 1 2\r\n".to_vec(), "no address"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "another family's"),
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 1 70000\r\n".to_vec(), "no port"),
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 1 2\n".to_vec(), "no CR"),
        (b"PROXY UDP4 203.0.113.7 198.51.100.1 1 2\r\n".to_vec(), "no TCP"),
        (endless, "a line without an end"),
        (padded("203.0.113.7:1", 5000), "more TLVs than anybody needs"),
        (raw_v2(0x21, 0x11, &[1; 11]), "shorter than its addresses"),
        (raw_v2(0x21, 0x12, &[1; 12]), "datagrams"),
        (raw_v2(0x21, 0x41, &[1; 12]), "no such family"),
        (raw_v2(0x22, 0x11, &[1; 12]), "no such command"),
        (raw_v2(0x31, 0x11, &[1; 12]), "no such version"),
    ] {
        let mut stream = running.connect().await;
        let _ = stream.write_all(&[&opening, ASK].concat()).await;

        assert_eq!(read_to_end(&mut stream).await, "", "{why}");
        counted += 1;
        let failures = || running.stats().handshake_failures(HandshakeFailure::ProxyHeader);
        assert_eq!(failures(), counted, "{why}");
    }
    eventually("all are closed", || running.stats().open() == 0).await;
}

#[tokio::test]
async fn a_header_that_does_not_arrive_is_not_waited_for() {
    let mut listener = behind_a_proxy(plain());
    listener.timeouts.handshake = Duration::from_millis(100);
    let running = RunningListener::start(&listener, describe);
    let whole = v2("203.0.113.7:4711");
    for part in [&b""[..], b"PROXY TCP4 ", &whole[..14], &whole[..20]] {
        let mut stream = running.connect().await;
        stream.write_all(part).await.unwrap();

        assert_eq!(read_to_end(&mut stream).await, "", "{part:?}");
    }
    assert_eq!(running.stats().handshake_failures(HandshakeFailure::Timeout), 4);

    let mut stream = running.connect().await;
    stream.write_all(&whole[..20]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "", "cut short");
    assert_eq!(running.stats().handshake_failures(HandshakeFailure::Closed), 1);
}

#[tokio::test]
async fn nobody_elses_header_is_understood() {
    let place = ListenerFolder::new();
    let authority = CertificateAuthority::new();
    let certificate = authority.write(place.dir.path(), "a", &["localhost"]);
    let elsewhere = |listener| ListenerSettings {
        proxy_protocol: vec!["10.0.0.0/8".parse().unwrap()],
        trusted_proxies: vec!["203.0.113.7/32".parse().unwrap()],
        ..listener
    };
    let http = RunningListener::start(&elsewhere(plain()), describe);
    let tls = RunningListener::start_at(place, &elsewhere(secure(vec![certificate])), describe);

    for header in [v1("203.0.113.7:4711"), v2("203.0.113.7:4711")] {
        let mut stream = http.connect().await;
        stream.write_all(&[&header, ASK].concat()).await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 400 "), "{header:?}");
        let mut stream = tls.connect().await;
        let _ = stream.write_all(&header).await;
        assert!(!read_to_end(&mut stream).await.contains("HTTP"), "{header:?}");
    }
    assert!(said(&http, ASK).await.starts_with("127.0.0.1"), "and none is asked for");
    let failures = |why| tls.stats().handshake_failures(why);
    assert_eq!(failures(HandshakeFailure::NotTls) + failures(HandshakeFailure::Protocol), 2);
}

#[tokio::test]
async fn the_header_comes_before_tls_or_there_is_no_handshake() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificate = authority.write(place.dir.path(), "a", &["localhost"]);
    let listener = behind_a_proxy(secure(vec![certificate]));
    let running = RunningListener::start_at(place, &listener, describe);
    let client = TlsClient::trusting(authority.der());

    for header in [v1("203.0.113.7:4711"), v2("203.0.113.7:4711")] {
        let mut stream = running.connect().await;
        stream.write_all(&header).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = within(client.connector().connect(name, stream)).await.unwrap();

        assert!(ask(&mut stream, "/").await.ends_with("203.0.113.7 4711"));
    }
    assert!(client.connect(&running, "localhost").await.is_err());
    let mut stream = running.connect().await;
    let _ = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(running.stats().handshake_failures(HandshakeFailure::ProxyHeader), 2);
}

#[tokio::test]
async fn connections_are_counted_by_the_clients_address_not_the_proxys() {
    let mut listener = behind_a_proxy(plain());
    listener.limits.connections_per_address = 1;
    let running = RunningListener::start(&listener, describe);
    let open = async |source: &str| {
        let mut stream = running.connect().await;
        stream.write_all(&[&v2(source), ASK].concat()).await.unwrap();
        stream
    };

    let mut first = open("203.0.113.7:1").await;
    assert!(read_answer(&mut first).await.ends_with("203.0.113.7 1"));
    let mut other = open("203.0.113.8:1").await;
    assert!(read_answer(&mut other).await.ends_with("203.0.113.8 1"));
    let mut second = open("203.0.113.7:2").await;
    assert_eq!(read_to_end(&mut second).await, "", "its share is used up");
    assert_eq!(running.stats().count(ConnectionEvent::RefusedAddress), 1);

    drop(first);
    eventually("the place is free", || running.stats().open() == 1).await;
    let mut again = open("203.0.113.7:3").await;
    assert!(read_answer(&mut again).await.ends_with("203.0.113.7 3"));
}

#[tokio::test]
async fn trusted_proxies_are_looked_for_at_the_address_in_the_header() {
    let mut listener = behind_a_proxy(plain());
    listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    let running = RunningListener::start(&listener, describe);
    for (header, expected) in
        [(v2("10.1.2.3:1"), "10.1.2.3 1 trusted"), (v2("203.0.113.7:1"), "203.0.113.7 1")]
    {
        assert_eq!(said(&running, &[&header, ASK].concat()).await, expected);
    }
    assert!(said(&running, &[b"PROXY UNKNOWN\r\n", ASK].concat()).await.ends_with("trusted"));
}

#[tokio::test]
async fn any_list_means_the_peers_of_a_unix_socket() {
    let place = ListenerFolder::new();
    let path = place.path("gateway.sock");
    let listener =
        behind_a_proxy(ListenerSettings { bind: BindAddress::Unix(path.clone()), ..plain() });
    let running = RunningListener::start_at(place, &listener, describe);

    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&[&v2("203.0.113.7:4711"), ASK].concat()).await.unwrap();
    assert!(read_answer(&mut stream).await.ends_with("203.0.113.7 4711"));

    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    assert!(read_answer(&mut stream).await.ends_with("nobody 0 health"));
    assert_eq!(running.stats().count(ConnectionEvent::WithoutProxy), 1);
}

async fn gateway(upstream: &Upstream) -> Gateway {
    let listener = "proxy_protocol = [\"127.0.0.0/8\"]";
    let builder = Gateway::builder().listener(listener).login("native");
    builder.route_to(upstream, "auth = []").start().await
}

async fn answer(gateway: &Gateway, opening: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(opening).await.unwrap();
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn without_a_header_only_our_health_is_told() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let login = format!("{{\"username\":\"alice\",\"password\":\"{PASSWORD}\"}}");
    let post = |path: &str| {
        let length = login.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{login}"
        )
    };

    for probe in ["GET /healthz HTTP/1.0\r\n\r\n", "HEAD /healthz HTTP/1.0\r\n\r\n"] {
        assert!(answer(&gateway, probe.as_bytes()).await.starts_with("HTTP/1.0 200 "), "{probe}");
    }
    for asked in [
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "GET /healthz/x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        post("/healthz"),
        post("/auth/login"),
    ] {
        assert!(answer(&gateway, asked.as_bytes()).await.contains(" 400 "), "{asked}");
    }
    upstream.assert_untouched();
    assert!(gateway.audit_log().iter().all(|line| !line.to_string().contains("alice")));
}

#[tokio::test]
async fn the_address_in_the_header_is_the_clients_upstream_and_in_the_log() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let asked = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.66\r\n\
                  Connection: close\r\n\r\n";

    let answered = answer(&gateway, &[&v2("203.0.113.7:4711")[..], asked].concat()).await;

    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(upstream.only().header("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(gateway.access_log()[0]["client.address"], "203.0.113.7");
}
