//! TLS settings: one cryptographic provider, TLS 1.2 and 1.3, `h2` and `http/1.1`, no early data.
//!
//! The `ServerConfig` stays while certificates change, because its resolver reads the set that is
//! served at the moment; session tickets therefore survive a renewal. Tickets belong to a listener, or
//! to its policy for client certificates (`tickets`), so that no session crosses from the policy of one
//! listener to that of another.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ProducesTickets, ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};

use crate::client::ClientCertificate;
use crate::settings;

use super::certificate_file::CertError;
use super::resolver::CertificateResolver;

/// The name of HTTP/2 in ALPN (RFC 9113, section 3.1).
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// For TLS 1.2 clients that resume by session id instead of by ticket.
const SESSIONS: usize = 10_240;

/// The TLS settings of a listener. Client certificates are verified against `authorities`. The
/// error says which file or setting is at fault. Nothing is read from disk here.
pub(super) fn server_config(
    config: &settings::ListenerTls,
    provider: &Arc<CryptoProvider>,
    resolver: Arc<CertificateResolver>,
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, CertError> {
    let versions = match config.min_version {
        settings::TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        settings::TlsVersion::Tls13 => &[&TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(CertError::Setup)?
        .with_client_cert_verifier(client_verifier(config.client_auth, provider, authorities)?)
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    server.ticketer = ticketer;
    server.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    // Early data can be replayed (RFC 8446, section 8), and neither a login nor a refresh may be
    // carried out twice.
    server.max_early_data_size = 0;
    Ok(server)
}

/// The verifier of client certificates, according to the listener's policy.
pub(super) fn client_verifier(
    policy: settings::ClientAuth,
    provider: &Arc<CryptoProvider>,
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
) -> Result<Arc<dyn ClientCertVerifier>, CertError> {
    if policy == settings::ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for (path, authority) in authorities {
        // A certificate that cannot be used is an error. If it were left out, clients would be
        // refused for a reason that nobody sees. The operator sees the file's name in the error.
        roots.add(authority).map_err(|source| CertError::Authority { path, source })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match policy {
        settings::ClientAuth::Required => verifier,
        settings::ClientAuth::None | settings::ClientAuth::Optional => {
            verifier.allow_unauthenticated()
        }
    };
    Ok(verifier.build()?)
}

/// The certificate of the client, whose key the client has proved to have in the handshake. `None`
/// if there is none, or if it cannot be read. A certificate that cannot be read is logged; the
/// client then has no identity.
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
