//! Whom the gateway believes to be its upstream, and how loudly it says that it believes anybody.

use crate::harness::certs::CertificateAuthority;
use crate::harness::client::{PATIENCE, Stream};
use crate::harness::scripted_upstream::UpstreamConnection;
use crate::harness::tls_gateway::route_to;
use crate::harness::{Client, Gateway, Service, ServiceProtocol};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn answer(stream: Box<dyn Stream>, _: bool) {
    let mut peer = UpstreamConnection::new(stream);
    peer.head().await;
    peer.send(OK).await;
    peer.rest().await;
}

/// A route to `server`, whose certificate is for `localhost`, with these keys of `tls`.
async fn before(server: &str, tls: &str) -> Gateway {
    let config = route_to("lab", server, "/", "auth = []");
    let config = config.replace("\n[[route]]", &format!("\ntls = {{ {tls} }}\n[[route]]"));
    Gateway::builder().config(&config).start().await
}

async fn told(gateway: &Gateway, path: &str) -> String {
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    admin.get(path).send().await.text()
}

#[tokio::test]
async fn a_server_that_cannot_be_believed_is_502_and_sees_no_request() {
    let service =
        Service::start(ServiceProtocol::Http1, |_, _| async { panic!("a handshake") }).await;
    let port = service.address().port();
    let stranger = service.ca().with_file_name("stranger.pem");
    std::fs::write(&stranger, CertificateAuthority::new().pem()).unwrap();
    let own = format!("ca = {:?}", service.ca());

    for (server, tls, why) in [
        (format!("https://localhost:{port}"), format!("ca = {stranger:?}"), "another's signature"),
        (
            format!("https://localhost:{port}"),
            "server_name = \"localhost\"".to_owned(),
            "not public",
        ),
        (format!("https://127.0.0.1:{port}"), own.clone(), "another name"),
        (
            format!("https://localhost:{port}"),
            format!("{own}, server_name = \"app\""),
            "as asked for",
        ),
    ] {
        let gateway = before(&server, &tls).await;

        let reply = gateway.client().get("/").send().await;

        assert_eq!(reply.status, 502, "{why}");
    }
}

#[tokio::test]
async fn anybody_is_believed_only_where_that_is_spelled_out_and_everything_says_so() {
    let service = Service::start(ServiceProtocol::Http1, answer).await;
    let port = service.address().port();
    let server = format!("https://127.0.0.1:{port}");
    let loud = before(&server, "insecure_skip_verify = true").await;
    let quiet = before(&server, "insecure_skip_verify = false").await;

    loud.client().get("/").send().await.assert_status(200);
    quiet.client().get("/").send().await.assert_status(502);

    let gauge = "tollhouse_upstream_tls_unverified{upstream=\"lab\"} 1";
    let note = "note: upstream lab may be anybody: insecure_skip_verify\n";
    assert!(told(&loud, "/metrics").await.contains(gauge));
    assert!(told(&loud, "/readyz?verbose").await.contains(note));
    assert!(!told(&quiet, "/metrics").await.contains("tollhouse_upstream_tls_unverified{"));
    assert!(!told(&quiet, "/readyz?verbose").await.contains("insecure_skip_verify"));
}

#[tokio::test]
async fn an_upstream_without_http2_is_spoken_to_in_http1() {
    for over in [ServiceProtocol::Http1, ServiceProtocol::Http2] {
        let service = Service::start(over, move |stream, http2| async move {
            assert_eq!(http2, over == ServiceProtocol::Http2);
            match http2 {
                false => answer(stream, http2).await,
                // The preface of HTTP/2 is enough here: others read on.
                true => {
                    drop(UpstreamConnection::new(stream).until("PRI * HTTP/2.0\r\n\r\nSM").await)
                }
            }
        })
        .await;
        let config = service.config("retries = 0", "auth = []");
        let config = config.replace("http2 = false", "http2 = true");
        let gateway = Gateway::builder().config(&config).start().await;

        let reply = tokio::time::timeout(PATIENCE, gateway.client().get("/").send()).await.unwrap();

        assert_eq!(
            reply.status,
            if over == ServiceProtocol::Http1 { 200 } else { 502 },
            "{over:?}"
        );
    }
}
