//! While a challenge is pending, and when none is: what clients can reach by its protocol and path.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DOMAIN, gateway, handshake, issued, today, untouched};
use crate::harness::{AcmeRelay, Client, Gateway, Pebble};

const CHALLENGE: &[u8] = b"acme-tls/1";

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_of_the_challenge_leads_nowhere_else() {
    let pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    relay.hold();
    let (upstream, route) = untouched().await;
    let acme = pebble.acme_at(relay.port, &[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).config(&route).moving_from(today()).start().await;
    relay.challenged().await;
    let address = gateway.address();

    // The authority's own handshake: the certificate, and then nothing.
    let mut stream = handshake(address, DOMAIN, &[CHALLENGE]).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(CHALLENGE));
    let leaf = session.peer_certificates().unwrap()[0].clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let oid = x509_parser::der_parser::oid!(1.3.6.1.5.5.7.1.31);
    let extension = parsed.get_extension_unique(&oid).unwrap().expect("the digest");
    assert!(extension.critical);
    assert_eq!(extension.value.len(), 34, "an octet string of a SHA-256");
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: api.example.org\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(String::from_utf8_lossy(&answer), "");

    // A name that nobody verifies, and no name.
    for name in ["other.example.org", "127.0.0.1"] {
        assert!(handshake(address, name, &[CHALLENGE]).await.is_err(), "{name}");
    }
    // A client that wants to send requests gets what it always gets.
    for alpn in [&[&b"h2"[..]][..], &[b"http/1.1"], &[CHALLENGE, b"http/1.1"], &[]] {
        let stream = handshake(address, DOMAIN, alpn).await.unwrap();
        let session = stream.get_ref().1;
        assert_ne!(session.alpn_protocol(), Some(CHALLENGE), "{alpn:?}");
        let leaf = &session.peer_certificates().unwrap()[0];
        assert!(super::names_of(leaf).issuer.contains("self-signed"), "{alpn:?}");
    }
    upstream.assert_untouched();

    relay.release();
    issued(&gateway, &pebble).await;
    for alpn in [&[CHALLENGE][..], &[CHALLENGE, b"spdy/1"]] {
        assert!(handshake(address, DOMAIN, alpn).await.is_err(), "none is pending: {alpn:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_listener_answers_the_pending_token_and_routes_every_other() {
    let mut pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    // TLS does not get through, so that the second order is proved over HTTP.
    pebble.tls = crate::harness::process::free_port();
    let (upstream, route) = untouched().await;
    let acme = pebble.acme_at(relay.port, &[DOMAIN], "");
    let listeners = format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n{acme}\n\
         [[listener]]\naddress = \"127.0.0.1:{}\"\nallow_plain_http = true\n",
        pebble.tls, pebble.http
    );
    let gateway = Gateway::builder().listeners(&listeners).config(&route).start().await;
    issued(&gateway, &pebble).await;

    let plain = Client::plain(([127, 0, 0, 1], pebble.http).into());
    for path in ["/.well-known/acme-challenge/made-up", "/.well-known/acme-challenge/"] {
        // As any request without a credential.
        plain.get(path).host(DOMAIN).send().await.assert_status(401);
    }
    upstream.assert_untouched();
    let lines = gateway.access_log();
    let asked = lines.iter().find(|line| line["http.response.status_code"] == 200);
    let path = asked.expect("the authority was answered")["url.path"].as_str().unwrap();
    let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap();
    assert!(token.len() > 20, "{token}");
    // It is over: the same token is not known any more.
    plain.get(path).host(DOMAIN).send().await.assert_status(401);
    upstream.assert_untouched();
}
