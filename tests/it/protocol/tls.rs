//! Handshakes and certificates, over real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollhouse::body::{Body, Response};
use tollhouse::client::{Client, Scheme};
use tollhouse::clock::{Clock, TestClock, Timestamp};
use tollhouse::listener::{BindError, CertError, HandshakeFailure};
use tollhouse::settings::{ClientAuth, ListenerSettings, TlsVersion};

use crate::harness::certs::CertificateAuthority;
use crate::harness::listener::{
    ListenerFolder, RunningListener, TlsClient, ask, connect, echo_path, eventually, get, http2,
    read_to_end, secure, text, within,
};

/// A listener with one certificate for `localhost`, and a client that trusts it.
fn one_certificate() -> (RunningListener, TlsClient) {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificate = authority.write(place.dir.path(), "a", &["localhost"]);
    let running = RunningListener::start_at(place, &secure(vec![certificate]), echo_path);
    (running, TlsClient::trusting(authority.der()))
}

fn self_signed(names: &[&str]) -> ListenerSettings {
    let mut listener = secure(Vec::new());
    let tls = listener.tls.as_mut().unwrap();
    tls.self_signed = names.iter().map(|name| (*name).to_owned()).collect();
    listener
}

#[tokio::test]
async fn alpn_chooses_between_http_2_and_http_1() {
    let (running, client) = one_certificate();

    let client = client.alpn(&["h2", "http/1.1"]);
    let stream = client.connect(&running, "localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let response = within(http2(stream).await.send_request(get("/two"))).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(text(response).await, "/two");

    for alpn in [&["http/1.1"][..], &[]] {
        let client = TlsClient {
            alpn,
            roots: client.roots.clone(),
            ..TlsClient::trusting(client.roots[0].clone())
        };
        let mut stream = client.connect(&running, "localhost").await.unwrap();
        assert!(ask(&mut stream, "/one").await.ends_with("/one"));
    }
}

#[tokio::test]
async fn a_client_without_a_common_protocol_is_refused() {
    let (running, client) = one_certificate();

    assert!(client.alpn(&["spdy/1"]).connect(&running, "localhost").await.is_err());

    let stats = running.stats();
    eventually("counted", || stats.handshake_failures(HandshakeFailure::Incompatible) == 1).await;
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificates =
        [("first", &["first.test"][..]), ("wild", &["*.wild.test"]), ("exact", &["one.wild.test"])]
            .map(|(file, names)| authority.write(place.dir.path(), file, names));
    let leaf = |index: usize| CertificateDer::from_pem_file(&certificates[index].chain).unwrap();
    let leaves = [leaf(0), leaf(1), leaf(2)];
    let running = RunningListener::start_at(place, &secure(certificates.to_vec()), echo_path);
    let client = TlsClient::trusting(authority.der());

    for (name, expected, why) in [
        ("first.test", 0, "its own"),
        ("two.wild.test", 1, "a wildcard stands for one label"),
        ("ONE.wild.test", 2, "an exact name wins over a wildcard, in any case"),
    ] {
        let stream = client.connect(&running, name).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], leaves[expected], "{why}");
    }
    let error = client.connect(&running, "a.b.wild.test").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "two labels get the default: {error}");
}

#[tokio::test]
async fn the_handler_learns_of_the_connection() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificate = authority.write(place.dir.path(), "a", &["localhost", "other.test"]);
    let describe = |_, client: std::sync::Arc<Client>, _| async move {
        let names = client.names.as_ref().unwrap();
        assert_eq!(client.scheme, Scheme::Https);
        assert_eq!(client.local.unwrap().ip(), client.peer.unwrap().ip());
        Response::new(Body::full(format!("{:?} {:?}", client.sni, names.names)))
    };
    let running = RunningListener::start_at(place, &secure(vec![certificate]), describe);

    let client = TlsClient::trusting(authority.der());
    let mut stream = client.connect(&running, "LocalHost").await.unwrap();

    let answer = ask(&mut stream, "/").await;
    let expected = r#"Some("localhost") [("localhost", 0), ("other.test", 0)]"#;
    assert!(answer.ends_with(expected), "{answer}");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_the_key_exchange_is_post_quantum() {
    let (running, mut client) = one_certificate();

    let stream = client.connect(&running, "localhost").await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);

    client.versions = vec![&rustls::version::TLS12];
    let mut stream = client.connect(&running, "localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn min_version_1_3_refuses_1_2() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificate = authority.write(place.dir.path(), "a", &["localhost"]);
    let mut listener = secure(vec![certificate]);
    listener.tls.as_mut().unwrap().min_version = TlsVersion::Tls13;
    let running = RunningListener::start_at(place, &listener, echo_path);

    let mut client = TlsClient::trusting(authority.der());
    assert!(client.connect(&running, "localhost").await.is_ok());
    client.versions = vec![&rustls::version::TLS12];
    assert!(client.connect(&running, "localhost").await.is_err());
}

/// A ClientHello without extensions for versions: what it offers is TLS 1.`minor`.
fn hello_of_tls_1(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor + 1];
    body.extend([7; 32]);
    body.push(0);
    // ECDHE-ECDSA with AES-128-GCM, and with AES-128-CBC-SHA as in the days of TLS 1.1.
    body.extend([0, 4, 0xC0, 0x2B, 0xC0, 0x09]);
    body.extend([1, 0]);
    // supported_groups: secp256r1; ec_point_formats: uncompressed; signature_algorithms:
    // ecdsa_secp256r1_sha256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[tokio::test]
async fn tls_1_1_gets_an_alert_and_nothing_else() {
    let (running, _) = one_certificate();

    let mut stream = running.connect().await;
    stream.write_all(&hello_of_tls_1(2)).await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), 22, "the same hello is good for TLS 1.2");

    let mut stream = running.connect().await;
    stream.write_all(&hello_of_tls_1(1)).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;

    // Alert, fatal, protocol_version (RFC 8446 §6.2).
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]));
    let stats = running.stats();
    eventually("counted", || stats.handshake_failures(HandshakeFailure::Incompatible) == 1).await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let certificate = authority.write(place.dir.path(), "a", &["localhost"]);
    let mut listener = secure(vec![certificate]);
    listener.timeouts.handshake = Duration::from_millis(150);
    let running = RunningListener::start_at(place, &listener, echo_path);

    let mut silent = running.connect().await;
    let mut halfway = running.connect().await;
    halfway.write_all(&hello_of_tls_1(2)[..20]).await.unwrap();

    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut halfway).await, "");
    let stats = running.stats();
    eventually("counted", || stats.handshake_failures(HandshakeFailure::Timeout) == 2).await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_no_handshake() {
    let (running, _) = one_certificate();

    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();

    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    let stats = running.stats();
    eventually("counted", || stats.handshake_failures(HandshakeFailure::NotTls) == 1).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_garbage_is_not() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let files = authority.write(place.dir.path(), "a", &["localhost"]);
    let running = RunningListener::start_at(place, &secure(vec![files.clone()]), echo_path);
    let client = TlsClient::trusting(authority.der());
    let certificates = running.listening.certificates()[0].clone();
    let served = || CertificateDer::from_pem_file(&files.chain).unwrap();
    let mut old = client.connect(&running, "localhost").await.unwrap();
    assert!(!certificates.reload().unwrap(), "nothing has changed");

    authority.write(running.place.dir.path(), "a", &["localhost"]);
    let renewed = served();
    assert!(certificates.reload().unwrap());

    assert!(ask(&mut old, "/old").await.ends_with("/old"), "the old connection lives");
    let new = client.connect(&running, "localhost").await.unwrap();
    assert_eq!(new.get_ref().1.peer_certificates().unwrap()[0], renewed);

    let (_, other_key) = authority.issue(&["localhost"]);
    let kept_key = fs::read(&files.key).unwrap();
    for (chain, key, why) in [
        (&b"garbage"[..], kept_key.as_slice(), "no certificate"),
        (&fs::read(&files.chain).unwrap(), other_key.as_bytes(), "somebody else's key"),
        (&fs::read(&files.chain).unwrap(), b"", "no key"),
    ] {
        fs::write(&files.chain, chain).unwrap();
        fs::write(&files.key, key).unwrap();
        assert!(certificates.reload().is_err(), "{why}");
        assert_eq!(certificates.failure(), None, "the other file may be on its way: {why}");
        let told = certificates.reload().unwrap_err().to_string();
        assert!(certificates.failure().unwrap().starts_with(&told), "{why}");
        let stream = client.connect(&running, "localhost").await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], renewed, "{why}");
        fs::write(&files.chain, pem_of(&renewed)).unwrap();
        fs::write(&files.key, &kept_key).unwrap();
        certificates.reload().unwrap();
        assert_eq!(certificates.failure(), None, "{why}");
    }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn sessions_resume_also_after_a_renewal() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let files = authority.write(place.dir.path(), "a", &["localhost"]);
    let running = RunningListener::start_at(place, &secure(vec![files]), echo_path);
    let connector = TlsClient::trusting(authority.der()).connector();

    for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut stream = connect(&connector, &running, "localhost").await.unwrap();
        ask(&mut stream, "/").await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
        authority.write(running.place.dir.path(), "a", &["localhost"]);
        running.listening.certificates()[0].reload().unwrap();
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_kept_until_it_no_longer_fits() {
    let mut place = ListenerFolder::new();
    let clock = TestClock::new(Timestamp::from_secs(1_795_339_800));
    place.options.clock = Clock::test(clock.clone());
    let listener = self_signed(&["localhost", "127.0.0.1", "::1"]);
    let chain = place.path("tls/localhost+127.0.0.1+__1.crt");
    let start = |place: &ListenerFolder| {
        drop(place.bind(&listener).unwrap());
        fs::read_to_string(&chain).unwrap()
    };

    let first = start(&place);
    let key_mode = fs::metadata(chain.with_extension("key")).unwrap().permissions().mode();
    assert_eq!(key_mode & 0o777, 0o600);
    assert_eq!(start(&place), first, "kept across restarts");

    drop(place.bind(&self_signed(&["other.test"])).unwrap());
    assert_eq!(start(&place), first, "another list of names has files of its own");

    fs::write(&chain, fs::read(place.path("tls/other.test.crt")).unwrap()).unwrap();
    let second = start(&place);
    assert_ne!(second, first, "made anew when the names are not those asked for");

    clock.advance(Duration::from_secs(370 * 24 * 3600));
    let third = start(&place);
    assert_ne!(third, second, "the next one is made a month before it ends");
    assert_eq!(start(&place), third);
}

#[tokio::test]
async fn a_self_signed_certificate_serves_whoever_was_told_to_trust_it() {
    let place = ListenerFolder::new();
    let chain = place.path("tls/localhost+127.0.0.1.crt");
    let running =
        RunningListener::start_at(place, &self_signed(&["localhost", "127.0.0.1"]), echo_path);
    let client = TlsClient::trusting(CertificateDer::from_pem_file(&chain).unwrap());

    for name in ["localhost", "127.0.0.1"] {
        let mut stream = client.connect(&running, name).await.unwrap();
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    let facts = running.listening.certificates()[0].facts();
    let now = Clock::system().now();
    let days = facts[0].not_after.since(now).as_secs() / (24 * 3600);
    assert!((390..=397).contains(&days), "{days} days");
    assert_eq!(facts[0].names, ["localhost"]);
    assert!(!facts[0].ends_within(Duration::from_secs(14 * 24 * 3600), now));
}

#[test]
fn certificates_that_cannot_be_served_are_refused_at_bind() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let good = authority.write(place.dir.path(), "good", &["localhost"]);
    let other = authority.write(place.dir.path(), "other", &["localhost"]);
    let refused = |listener: &ListenerSettings| match place.bind(listener) {
        Err(BindError::Certificates { source, .. }) => source,
        other => panic!("{other:?}"),
    };

    let mut mixed = good.clone();
    mixed.key = other.key;
    assert!(matches!(refused(&secure(vec![good.clone(), mixed])), CertError::Mismatch { .. }));

    let mut absent = good.clone();
    absent.chain = place.path("absent");
    assert!(matches!(refused(&secure(vec![absent])), CertError::Read { .. }));

    let mut swapped = good.clone();
    std::mem::swap(&mut swapped.chain, &mut swapped.key);
    assert!(matches!(refused(&secure(vec![swapped])), CertError::NoCertificate { .. }));

    assert!(matches!(refused(&secure(Vec::new())), CertError::None));

    // Fail closed: without its authorities the listener would let anybody in, or nobody.
    for (client_ca, why) in [
        (None, "none"),
        (Some(place.path("absent")), "unreadable"),
        (Some(good.key.clone()), "empty"),
    ] {
        let mut listener = secure(vec![good.clone()]);
        let tls = listener.tls.as_mut().unwrap();
        (tls.client_auth, tls.client_ca) = (ClientAuth::Optional, client_ca);
        assert!(place.bind(&listener).is_err(), "{why}");
    }
}

#[tokio::test]
async fn client_certificates_are_required_or_at_least_right() {
    let (authority, stranger) = (CertificateAuthority::new(), CertificateAuthority::new());
    for (policy, without, why) in
        [(ClientAuth::Required, false, "required"), (ClientAuth::Optional, true, "optional")]
    {
        let place = ListenerFolder::new();
        let mut listener = secure(vec![authority.write(place.dir.path(), "a", &["localhost"])]);
        let ca = place.path("clients.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let tls = listener.tls.as_mut().unwrap();
        (tls.client_auth, tls.client_ca) = (policy, Some(ca));
        let running = RunningListener::start_at(place, &listener, echo_path);
        // Under TLS 1.3 the client only learns of a refusal when it reads.
        let answered = async |identity: Option<(String, String)>| {
            let mut client = TlsClient::trusting(authority.der());
            client.identity = identity.map(|(chain, key)| {
                let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
                (vec![chain], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            });
            let mut stream = client.connect(&running, "localhost").await.unwrap();
            let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
            read_to_end(&mut stream).await.contains("200 OK")
        };

        assert_eq!(answered(None).await, without, "{why}, without a certificate");
        assert!(answered(Some(authority.issue(&["client"]))).await, "{why}, the right one");
        assert!(!answered(Some(stranger.issue(&["client"]))).await, "{why}, a stranger's");
        let stats = running.stats();
        let failed = if without { 1 } else { 2 };
        eventually("counted", || {
            stats.handshake_failures(HandshakeFailure::ClientCertificate) == failed
        })
        .await;
    }
}

#[tokio::test]
async fn another_client_authority_ends_the_old_ones_sessions() {
    let (old, new) = (CertificateAuthority::new(), CertificateAuthority::new());
    let place = ListenerFolder::new();
    let mut listener = secure(vec![old.write(place.dir.path(), "a", &["localhost"])]);
    let ca = place.path("clients.pem");
    fs::write(&ca, old.pem()).unwrap();
    let tls = listener.tls.as_mut().unwrap();
    (tls.client_auth, tls.client_ca) = (ClientAuth::Required, Some(ca.clone()));
    let running = RunningListener::start_at(place, &listener, echo_path);
    let (chain, key) = old.issue(&["client"]);
    let mut client = TlsClient::trusting(old.der());
    client.identity = Some((
        vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
    ));
    let connector = client.connector();
    let mut stream = connect(&connector, &running, "localhost").await.unwrap();
    ask(&mut stream, "/").await;

    fs::write(&ca, new.pem()).unwrap();
    assert!(running.listening.certificates()[0].reload().unwrap());

    let mut stream = connect(&connector, &running, "localhost").await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(read_to_end(&mut stream).await, "", "a ticket is no way around the new authority");
}
