//! TLS settings: one provider, TLS 1.2 and 1.3, h2 and http/1.1, no early data.
//!
//! The `ServerConfig` stays while certificates change, because the resolver in it reads the set
//! that is served now; session tickets therefore survive a renewal. Each listener has its own
//! tickets, so no session crosses from one listener's client policy to another's.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::client::ClientCertificate;
use crate::config;

use super::certs::Set;
use super::pair::CertError;

/// ALPN's name of HTTP/2.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// For TLS 1.2 clients that resume by id instead of by ticket.
const SESSIONS: usize = 10_240;

/// Chooses the certificate for a handshake from the set that is served now.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) set: ArcSwap<Set>,
}

impl Resolver {
    pub(super) fn new(set: Set) -> Self {
        Self { set: ArcSwap::from_pointee(set) }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.set.load();
        let name = hello.server_name().map(asked_name);
        set.keys.get(set.names.chosen(name.as_deref())).cloned()
    }
}

/// An SNI as certificates and hosts are compared: lower case, without the root's dot.
pub(super) fn asked_name(sni: &str) -> String {
    sni.strip_suffix('.').unwrap_or(sni).to_ascii_lowercase()
}

/// A listener's TLS settings with client certificates judged by `authorities`.
pub(super) fn server_config(
    config: &config::Tls,
    provider: &Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
) -> Result<ServerConfig, CertError> {
    let versions = match config.min_version {
        config::TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        config::TlsVersion::Tls13 => &[&TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(CertError::Setup)?
        .with_client_cert_verifier(client_verifier(config.client_auth, provider, authorities)?)
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    server.ticketer = Ticketer::new().map_err(CertError::Setup)?;
    server.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    // Early data could be replayed, and a login or a refresh is not idempotent.
    server.max_early_data_size = 0;
    Ok(server)
}

pub(super) fn client_verifier(
    policy: config::ClientAuth,
    provider: &Arc<CryptoProvider>,
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
) -> Result<Arc<dyn ClientCertVerifier>, CertError> {
    if policy == config::ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for (path, authority) in authorities {
        // One that cannot be used is an error: to leave it out would be to guess.
        roots.add(authority).map_err(|source| CertError::Authority { path, source })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match policy {
        config::ClientAuth::Required => verifier,
        config::ClientAuth::None | config::ClientAuth::Optional => verifier.allow_unauthenticated(),
    };
    Ok(verifier.build()?)
}

/// The certificate that the client proved to have the key of.
pub(super) fn client_certificate(
    session: &rustls::ServerConnection,
) -> Option<Arc<ClientCertificate>> {
    let leaf = session.peer_certificates()?.first()?;
    match ClientCertificate::from_der(leaf) {
        Ok(certificate) => Some(Arc::new(certificate)),
        Err(fault) => {
            tracing::warn!(%fault, "a client's certificate names nobody");
            None
        }
    }
}
