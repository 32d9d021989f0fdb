//! Sessions that one gateway began and another resumes, by tickets that their seal opens.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind::{self, Full, Resumed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tollhouse::clock::{Clock, TestClock};
use tollhouse::listener::TicketKeys;
use tollhouse::secret::Secret;
use tollhouse::session::shared::{SEAL_LEN, Seal};
use tollhouse::settings::{ClientAuth, ListenerSettings};

use crate::harness::certs::CertificateAuthority;
use crate::harness::listener::{
    ListenerFolder, RunningListener, TlsClient, ask, connect, echo_path, read_to_end, secure,
    within,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The certificates of several gateways, and their clients.
struct Nodes {
    authority: CertificateAuthority,
    clock: TestClock,
    folder: tempfile::TempDir,
}

impl Nodes {
    fn new() -> Self {
        let clock = TestClock::new(Clock::system().now());
        let folder = tempfile::tempdir().unwrap();
        Self { authority: CertificateAuthority::new(), clock, folder }
    }

    /// A gateway with this seal. Each has a certificate and a port of its own.
    fn start(&self, seal: u8, change: impl Fn(&mut ListenerSettings)) -> RunningListener {
        let mut place = ListenerFolder::new();
        place.options.clock = Clock::test(self.clock.clone());
        place.options.tickets =
            TicketKeys::Sealed(Arc::new(Seal::new(&Secret::new([seal; SEAL_LEN]))));
        let certificate = self.authority.write(place.dir.path(), "a", &["localhost", "b.test"]);
        let mut listener = secure(vec![certificate]);
        change(&mut listener);
        RunningListener::start_at(place, &listener, echo_path)
    }

    /// Has clients verified against the certificates of `authority`, in a file of the name.
    fn verify_clients<'a>(
        &'a self,
        policy: ClientAuth,
        name: &str,
        authority: &CertificateAuthority,
    ) -> impl Fn(&mut ListenerSettings) + use<'a> {
        let path = self.folder.path().join(name);
        fs::write(&path, authority.pem()).unwrap();
        move |listener| {
            let tls = listener.tls.as_mut().unwrap();
            (tls.client_auth, tls.client_ca) = (policy, Some(path.clone()));
        }
    }

    fn client(&self) -> TlsClient {
        TlsClient::trusting(self.authority.der())
    }
}

fn as_it_is(_: &mut ListenerSettings) {}

/// One request; the kind of its handshake.
async fn call(
    connector: &TlsConnector,
    node: &RunningListener,
    name: &'static str,
) -> HandshakeKind {
    let mut stream = connect(connector, node, name).await.unwrap();
    assert!(ask(&mut stream, "/").await.ends_with('/'));
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn a_session_resumes_on_every_gateway_with_the_seal() {
    let nodes = Nodes::new();
    let (first, second) = (nodes.start(1, as_it_is), nodes.start(1, as_it_is));
    let stranger = nodes.start(2, as_it_is);
    for version in rustls::ALL_VERSIONS {
        let mut client = nodes.client();
        client.versions = vec![*version];
        let connector = client.connector();
        for (node, expected, why) in [
            (&first, Full, "the first time"),
            (&second, Resumed, "another gateway"),
            (&first, Resumed, "back again"),
            (&stranger, Full, "another seal"),
        ] {
            let kind = call(&connector, node, "localhost").await;
            assert_eq!(kind, expected, "{why}, {version:?}");
        }
    }
}

#[tokio::test]
async fn a_session_resumes_after_a_restart_and_not_after_two_days() {
    let nodes = Nodes::new();
    let connector = nodes.client().connector();
    let first = nodes.start(1, as_it_is);
    assert_eq!(call(&connector, &first, "localhost").await, Full);
    drop(first);

    let again = nodes.start(1, as_it_is);
    assert_eq!(call(&connector, &again, "localhost").await, Resumed);
    nodes.clock.advance(DAY / 3);
    assert_eq!(call(&connector, &again, "localhost").await, Resumed, "some hours later");

    // The client has tickets of eight hours ago and of now; all of them are used up.
    nodes.clock.advance(DAY * 2);
    assert_eq!(call(&connector, &again, "localhost").await, Full);
    assert_eq!(call(&connector, &again, "localhost").await, Resumed, "by a new ticket");
}

#[tokio::test]
async fn a_session_belongs_to_the_name_that_it_was_begun_for() {
    let nodes = Nodes::new();
    let (first, second) = (nodes.start(1, as_it_is), nodes.start(1, as_it_is));
    let connector = nodes.client().connector();

    assert_eq!(call(&connector, &first, "localhost").await, Full);
    assert_eq!(call(&connector, &second, "b.test").await, Full);
    assert_eq!(call(&connector, &first, "b.test").await, Resumed);
}

#[tokio::test]
async fn a_ticket_is_no_way_around_another_policy_for_client_certificates() {
    let nodes = Nodes::new();
    let (ours, others) = (CertificateAuthority::new(), CertificateAuthority::new());
    let open = nodes.start(1, as_it_is);
    let start =
        |policy, name, authority| nodes.start(1, nodes.verify_clients(policy, name, authority));
    let demanding = start(ClientAuth::Required, "ours", &ours);
    let same = start(ClientAuth::Required, "ours again", &ours);
    let optional = start(ClientAuth::Optional, "optional", &ours);
    let foreign = start(ClientAuth::Required, "others", &others);

    let mut client = nodes.client();
    let anonymous = client.connector();
    assert_eq!(call(&anonymous, &open, "localhost").await, Full);
    let (chain, key) = ours.issue(&["client"]);
    client.identity = Some((
        vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
    ));
    let known = client.connector();
    for (node, expected, why) in [
        (&demanding, Full, "the first time"),
        (&same, Resumed, "the same authority on another gateway"),
        (&optional, Full, "another policy"),
    ] {
        assert_eq!(call(&known, node, "localhost").await, expected, "{why}");
    }
    assert_eq!(call(&known, &demanding, "localhost").await, Full, "a ticket of another policy");

    for (connector, node, why) in [
        (&anonymous, &demanding, "a ticket from where no certificate is asked for"),
        (&known, &foreign, "a ticket for a certificate of another authority"),
    ] {
        let refused = connect(connector, node, "localhost").await;
        if let Ok(mut stream) = refused {
            let _ = within(stream.write_all(b"GET / HTTP/1.0\r\n\r\n")).await;
            assert_eq!(read_to_end(&mut stream).await, "", "{why}");
        }
    }
}
