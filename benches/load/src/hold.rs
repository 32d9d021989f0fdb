//! Many TLS connections that have made one request each and are idle since.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::{Result, wire};

/// Handshakes at once.
const THREADS: usize = 4;

type Held = StreamOwned<ClientConnection, TcpStream>;

/// Opens them, says how many there are, and holds them until standard input ends.
pub fn run(address: SocketAddr, request: &[u8], count: usize) -> Result<()> {
    let config = Arc::new(config()?);
    let held: Vec<Vec<Held>> = thread::scope(|scope| {
        let some = |number| {
            let config = config.clone();
            let share = (count + number) / THREADS;
            scope
                .spawn(move || (0..share).map(|_| open(address, config.clone(), request)).collect())
        };
        let threads: Vec<_> = (0..THREADS).map(some).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
            .collect::<Result<_>>()
    })?;
    println!("{}", held.iter().map(Vec::len).sum::<usize>());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn open(address: SocketAddr, config: Arc<ClientConfig>, request: &[u8]) -> Result<Held> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let session = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(session, socket);
    wire::exchange(&mut stream, request, &mut Vec::new())?;
    Ok(stream)
}

/// TLS 1.3 without resumption: every connection is a new client's.
fn config() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Takes any certificate: the servers are our own, on this machine, for minutes.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
