//! Certificates from a real authority, Debian's Pebble: the first one, by either challenge, and
//! those that replace it. What Pebble 2.4 does not have, information about renewals, is added by
//! `AcmeRelay` in front of it.

mod first;
mod online;
mod pending;
mod renewal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tollhouse::clock::{Clock, Timestamp};

use crate::harness::{Client, Gateway, GatewayBuilder, Pebble, Upstream};

const DOMAIN: &str = "api.example.org";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A TLS listener with `acme` at the port that the authority comes to, and a redirect at the other.
fn listeners(pebble: &Pebble, acme: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n{acme}\n\
         [[listener]]\naddress = \"127.0.0.1:{}\"\nredirect_to_https = true\n",
        pebble.tls, pebble.http
    )
}

fn gateway(pebble: &Pebble, acme: &str) -> GatewayBuilder {
    Gateway::builder().listeners(&listeners(pebble, acme))
}

/// The time of the authority, which has no clock to be moved.
fn today() -> Timestamp {
    Clock::system().now()
}

/// A handshake that believes every certificate and offers `alpn`.
async fn handshake(
    address: SocketAddr,
    name: &'static str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Looks at no certificate, not even at its extensions: that of a challenge has one that nobody
/// else knows.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that a client of `DOMAIN` gets at present.
async fn served(gateway: &Gateway) -> CertificateDer<'static> {
    let stream = handshake(gateway.address(), DOMAIN, &[b"http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Waits until another certificate than `last` is served, and answers with it.
async fn replaced(gateway: &Gateway, last: &CertificateDer<'static>) -> CertificateDer<'static> {
    let waiting = async {
        loop {
            let now = served(gateway).await;
            if now != *last {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    match waited {
        Ok(certificate) => certificate,
        Err(_) => panic!("no other certificate: {}", told(gateway, "/readyz?verbose").await),
    }
}

/// Waits until the certificate for `DOMAIN` is one that the authority has issued.
async fn issued(gateway: &Gateway, pebble: &Pebble) -> CertificateDer<'static> {
    let waiting = async {
        loop {
            let leaf = served(gateway).await;
            if !names_of(&leaf).issuer.contains("Tollhouse") {
                return leaf;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    match waited {
        Ok(certificate) => certificate,
        Err(_) => {
            panic!("none was issued: {}\n{}", told(gateway, "/readyz?verbose").await, pebble.log())
        }
    }
}

struct CertificateNames {
    issuer: String,
    subjects: Vec<String>,
}

fn names_of(leaf: &CertificateDer<'_>) -> CertificateNames {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).unwrap();
    let extension = leaf.subject_alternative_name().unwrap().unwrap();
    let subjects = extension.value.general_names.iter().map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other}"),
    });
    CertificateNames { issuer: leaf.issuer().to_string(), subjects: subjects.collect() }
}

/// What operators are told at a path.
async fn told(gateway: &Gateway, path: &str) -> String {
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    admin.get(path).send().await.text()
}

/// The count of orders of `DOMAIN` that ended so.
async fn orders(gateway: &Gateway, result: &str) -> u64 {
    let line = format!("tollhouse_acme_orders_total{{domain=\"{DOMAIN}\",result=\"{result}\"}} ");
    let metrics = told(gateway, "/metrics").await;
    let count = metrics.lines().find_map(|found| found.strip_prefix(&line));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Waits until so many orders of `DOMAIN` have ended so.
async fn counted(gateway: &Gateway, result: &str, count: u64) {
    let waiting = async {
        while orders(gateway, result).await < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "{result}: {}", orders(gateway, result).await);
}

/// The files with certificates in the state folder.
fn certificate_files(gateway: &Gateway) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(gateway.dir().join("state/acme")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "pem")).collect()
}

/// An upstream that must hear nothing, and the route to it.
async fn untouched() -> (Upstream, String) {
    let upstream = Upstream::start().await;
    let route = format!(
        "[[upstream]]\nname = \"api\"\nservers = [\"{}\"]\n\
         [[route]]\nhosts = [\"{DOMAIN}\"]\npath = \"/\"\nupstream = \"api\"\nauth = [\"bearer\"]\n",
        upstream.url()
    );
    (upstream, route)
}
