//! TLS to an upstream: whom we believe, and what we speak.

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollhouse::clock::Clock;
use tollhouse::settings::{ServerAddress, ServerSettings};
use tollhouse::upstream::{
    ConnectError, ForwardError, PoolBuildError, ServerCondition, UpstreamPool,
};

use crate::harness::certs::CertificateAuthority;
use crate::harness::scripted_upstream::{
    GET, OK, ScriptedUpstream, UpstreamConnection, eventually, health, server, settings_to,
};

fn https(fake: &ScriptedUpstream) -> ServerSettings {
    let port = fake.address().port();
    server(ServerAddress::Tcp { host: "localhost".to_owned(), port, tls: true })
}

#[tokio::test]
async fn a_check_goes_over_tls_too() {
    for (host, expected) in
        [("localhost", ServerCondition::Up), ("elsewhere.example", ServerCondition::FailsChecks)]
    {
        let (fake, authority) = (ScriptedUpstream::start().await, CertificateAuthority::new());
        let mut settings = settings_to(vec![https(&fake)]);
        settings.upstream.tls.ca = Some(authority.pem());
        settings.upstream.care.health = Some(health("/ping"));
        let gate = settings.start().await;

        let acceptor = authority.speaking(host, &[b"http/1.1"]);
        if let Ok(stream) = acceptor.accept(fake.accept_raw().await).await {
            let mut upstream = UpstreamConnection::new(stream);
            assert!(upstream.head().await.starts_with("get /ping http/1.1\r\n"));
            upstream.send(OK).await;
        }

        gate.pool.checked_once().await;
        eventually(|| gate.pool.snapshot().servers[0].condition == expected).await;
    }
}

#[tokio::test]
async fn a_server_of_our_own_authority_is_believed() {
    let (fake, authority) = (ScriptedUpstream::start().await, CertificateAuthority::new());
    let mut settings = settings_to(vec![https(&fake)]);
    settings.upstream.tls.ca = Some(authority.pem());
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let acceptor = authority.speaking("localhost", &[b"http/1.1"]);
    let mut upstream =
        UpstreamConnection::new(acceptor.accept(fake.accept_raw().await).await.unwrap());
    upstream.head().await;
    upstream.send(OK).await;

    assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_certificate_that_is_not_the_servers_is_refused() {
    let trusted = CertificateAuthority::new();
    let stranger = CertificateAuthority::new();
    for (signer, name, why) in [
        (&stranger, "localhost", "signed by someone else"),
        (&trusted, "other.example", "made for another name"),
    ] {
        let fake = ScriptedUpstream::start().await;
        let mut settings = settings_to(vec![https(&fake)]);
        settings.upstream.tls.ca = Some(trusted.pem());
        settings.upstream.calls.retries = 0;
        let gate = settings.start().await;

        let mut client = gate.ask(GET).await;
        let acceptor = signer.speaking(name, &[b"http/1.1"]);
        let refused = acceptor.accept(fake.accept_raw().await).await.is_err();

        assert!(client.head().await.starts_with("http/1.1 502"), "{why}");
        assert!(refused, "{why}");
        let errors = gate.errors.lock().unwrap();
        let ForwardError::Connect { source, .. } = &errors[0] else { panic!("{errors:?}") };
        assert!(matches!(source, ConnectError::Tls(_)), "{why}: {source:?}");
    }
}

#[tokio::test]
async fn our_certificate_is_shown_and_the_configured_name_asked_for() {
    let (fake, authority) = (ScriptedUpstream::start().await, CertificateAuthority::new());
    let (certificate, key) = authority.sign(&["tollhouse"]);
    let dir = tempfile::tempdir().unwrap();
    let (chain, secret) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let mut settings = settings_to(vec![https(&fake)]);
    settings.upstream.tls.ca = Some(authority.pem());
    settings.upstream.tls.server_name = Some("app.internal".to_owned());
    settings.upstream.tls.certificate = Some((chain, secret));
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let acceptor = authority.demanding("app.internal", &[b"http/1.1"]);
    let stream = acceptor.accept(fake.accept_raw().await).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().is_some_and(|shown| shown.len() == 1);
    let asked = stream.get_ref().1.server_name().map(str::to_owned);
    let mut upstream = UpstreamConnection::new(stream);
    upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;

    assert!(shown);
    assert_eq!(asked.as_deref(), Some("app.internal"));
}

#[tokio::test]
async fn http2_is_spoken_where_both_want_it() {
    let (fake, authority) = (ScriptedUpstream::start().await, CertificateAuthority::new());
    for tls in [true, false] {
        let target = if tls { https(&fake) } else { fake.server() };
        let mut settings = settings_to(vec![target]);
        settings.upstream.http2 = true;
        settings.upstream.tls.ca = Some(authority.pem());
        let gate = settings.start().await;

        let mut client =
            gate.ask("POST /a?b HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi").await;
        let acceptor = authority.speaking("localhost", &[b"h2"]);
        let raw = fake.accept_raw().await;
        let stream = if tls {
            UpstreamConnection::new(acceptor.accept(raw).await.unwrap())
        } else {
            UpstreamConnection::new(raw)
        };
        let answered = tokio::select! {
            _ = serve_http2(stream) => panic!("the connection ended"),
            answered = client.until("end") => answered,
        };

        let scheme = if tls { "https" } else { "http" };
        let expected = format!("HTTP/2.0 {scheme}://gateway/a?b 2 hi end");
        assert!(answered.ends_with(&expected), "{answered}");
    }
}

async fn serve_http2(stream: UpstreamConnection) {
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
        let (head, body) = request.into_parts();
        let length = head.headers["content-length"].to_str().unwrap().to_owned();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        let text = format!("{:?} {} {length} {body} end", head.version, head.uri);
        Ok::<_, hyper::Error>(http::Response::new(Full::new(bytes::Bytes::from(text))))
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let https =
        |host: &str| server(ServerAddress::Tcp { host: host.to_owned(), port: 443, tls: true });
    let mut no_ca = settings_to(vec![https("app")]).upstream;
    no_ca.tls.ca = Some("no PEM".to_owned());
    let mut no_key = settings_to(vec![https("app")]).upstream;
    no_key.tls.certificate = Some(("/nowhere.pem".into(), "/nowhere.key".into()));
    let no_name = settings_to(vec![https("not a name")]).upstream;
    let no_server = settings_to(vec![]).upstream;

    assert!(matches!(
        UpstreamPool::build(&no_ca, 1, &Clock::system()),
        Err(PoolBuildError::Trust { .. })
    ));
    assert!(matches!(
        UpstreamPool::build(&no_key, 1, &Clock::system()),
        Err(PoolBuildError::Pem { .. })
    ));
    assert!(matches!(
        UpstreamPool::build(&no_name, 1, &Clock::system()),
        Err(PoolBuildError::ServerName { .. })
    ));
    assert!(matches!(
        UpstreamPool::build(&no_server, 1, &Clock::system()),
        Err(PoolBuildError::NoServer { .. })
    ));
}
