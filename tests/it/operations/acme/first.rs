//! The first certificate: by which challenge, where it is kept, and when none is ordered.

use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    DAY, DOMAIN, certificate_files, counted, gateway, issued, names_of, orders, replaced, served,
    today, told, untouched,
};
use crate::harness::certs::{self, CertificateAuthority};
use crate::harness::pebble::{EAB_KEY, PebbleOptions};
use crate::harness::process::free_port;
use crate::harness::slapd::write_secret;
use crate::harness::{AcmeRelay, Client, Gateway, Pebble};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_certificate_is_ordered_over_tls_and_clients_trust_it() {
    let pebble = Pebble::start();
    let acme = pebble.acme(&[DOMAIN, "www.example.org"], ", email = \"ops@example.org\"");
    let gateway = gateway(&pebble, &acme).start().await;

    let leaf = issued(&gateway, &pebble).await;

    assert_eq!(names_of(&leaf).subjects, [DOMAIN, "www.example.org"]);
    let client = certs::trusting(&[pebble.root()], &[b"http/1.1"]);
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let name = ServerName::try_from(DOMAIN).unwrap();
    TlsConnector::from(client).connect(name, stream).await.unwrap();
    counted(&gateway, "succeeded", 1).await;
    assert!(!told(&gateway, "/readyz?verbose").await.contains("acme:"));
    let file = certificate_files(&gateway).remove(0);
    let folder = file.parent().unwrap();
    let account = folder.join("account.json");
    assert!(std::fs::read_to_string(&account).unwrap().contains("ops@example.org"));
    for path in [file.as_path(), &account, folder] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_requires_client_certificates_is_verified_all_the_same() {
    let pebble = Pebble::start();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("clients.pem");
    std::fs::write(&ca, CertificateAuthority::new().pem()).unwrap();
    // Nothing listens where HTTP-01 is asked.
    let acme = pebble.acme(&[DOMAIN], "");
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n{acme}\n[listener.tls]\nclient_ca = {ca:?}\n",
        pebble.tls
    );
    let gateway = Gateway::builder().listeners(&listener).start().await;

    counted(&gateway, "succeeded", 1).await;

    let client = certs::trusting(&[pebble.root()], &[b"http/1.1"]);
    let client =
        Client { address: gateway.address(), tls: Some((client, DOMAIN.to_owned())), http2: false };
    assert_eq!(client.try_handshake().await, b"", "a client without a certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_does_not_get_through_the_names_are_proved_over_http() {
    let mut pebble = Pebble::start();
    // The authority comes to a port at which nobody listens.
    let reached = std::mem::replace(&mut pebble.tls, free_port());
    let (upstream, route) = untouched().await;
    let acme = pebble.acme(&[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).config(&route).start().await;

    assert_ne!(gateway.address().port(), reached);
    let leaf = issued(&gateway, &pebble).await;

    assert_eq!(names_of(&leaf).subjects, [DOMAIN]);
    let plain = Client::plain(([127, 0, 0, 1], pebble.http).into());
    let unknown = plain.get("/.well-known/acme-challenge/made-up").host(DOMAIN).send().await;
    unknown.assert_status(308);
    let host = plain.get("/.well-known/acme-challenge/made-up").host("other.test").send().await;
    host.assert_status(403);
    upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_no_authority_and_a_failure_is_told_and_tried_again() {
    let mut pebble = Pebble::start();
    pebble.kill();
    let acme = pebble.acme(&[DOMAIN], "");
    let gateway = gateway(&pebble, &acme).moving_from(today()).start().await;

    counted(&gateway, "failed", 1).await;

    let first = served(&gateway).await;
    assert!(names_of(&first).issuer.contains("self-signed"), "{}", names_of(&first).issuer);
    let ready = told(&gateway, "/readyz?verbose").await;
    assert!(ready.ends_with("ready\n") && !ready.contains("not ready"), "{ready}");
    let note = format!("acme: {DOMAIN} has a self-signed certificate, none was issued: ");
    assert!(ready.contains(&note) && ready.contains("the next order is at 2"), "{ready}");

    pebble.run();
    gateway.advance(std::time::Duration::from_secs(75));
    replaced(&gateway, &first).await;
    assert!(!told(&gateway, "/readyz?verbose").await.contains("acme:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_orders_nothing_while_the_certificate_is_good() {
    let pebble = Pebble::start();
    let relay = AcmeRelay::start(&pebble).await;
    relay.suggest("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z");
    let acme = pebble.acme_at(relay.port, &[DOMAIN, "www.example.org"], "");
    let first = gateway(&pebble, &acme).start().await;
    let leaf = issued(&first, &pebble).await;
    let dir = first.stop().await;
    let questions = relay.questions();
    let orders = relay.orders().len();

    // The order of the names is no other certificate.
    let acme = pebble.acme_at(relay.port, &["www.example.org", DOMAIN], "");
    let second = gateway(&pebble, &acme).on(dir).start().await;

    assert_eq!(served(&second).await, leaf, "from the first moment");
    relay.questioned(questions + 1).await;
    // The time of the renewal is known now, and an order would have been placed.
    tokio::time::timeout(std::time::Duration::from_millis(200), relay.ordered(orders + 1))
        .await
        .expect_err("nothing is ordered");
    assert_eq!(served(&second).await, leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_replaced_and_not_served() {
    let pebble = Pebble::start();
    let acme = pebble.acme(&[DOMAIN], "");
    let first = gateway(&pebble, &acme).start().await;
    let leaf = issued(&first, &pebble).await;
    let file = certificate_files(&first).remove(0);
    let dir = first.stop().await;
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();

    let second = gateway(&pebble, &acme).on(dir).start().await;

    let other = issued(&second, &pebble).await;
    assert_ne!(other, leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_one_at_the_authority() {
    let pebble = Pebble::start_with(PebbleOptions { bound: true });
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("eab");
    write_secret(&key, EAB_KEY);

    let eab = format!(", eab = {{ kid = \"kid-1\", key = {{ file = {key:?} }} }}");
    let bound = gateway(&pebble, &pebble.acme(&[DOMAIN], &eab)).start().await;
    issued(&bound, &pebble).await;
    bound.stop().await;

    let unbound = gateway(&pebble, &pebble.acme(&[DOMAIN], "")).start().await;
    counted(&unbound, "failed", 1).await;
    let ready = told(&unbound, "/readyz?verbose").await;
    assert!(ready.contains("xternal account") || ready.contains("xternalAccount"), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_with_the_same_names_share_one_certificate() {
    let pebble = Pebble::start();
    let acme = pebble.acme(&[DOMAIN], "");
    let second = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{acme}\n");
    let listeners = format!("{}{second}", super::listeners(&pebble, &acme));
    let gateway = Gateway::builder().listeners(&listeners).moving_from(today()).start().await;

    let leaf = issued(&gateway, &pebble).await;

    let last = *gateway.running().addresses().last().unwrap();
    let stream = super::handshake(last, DOMAIN, &[b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], leaf);
    assert_eq!(certificate_files(&gateway).len(), 1);
    gateway.advance(DAY);
    assert_eq!(orders(&gateway, "succeeded").await, 1);
}
