//! Which TLS servers the gateway trusts: those of a configured CA, else those of the public CAs and
//! of the system; any server only if an operator insists.
//!
//! The clients for upstreams, issuers, databases and mail are built from these roots. No
//! certificate is verified here; rustls does that.

use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// The reason why no server could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA holds no usable certificate")]
    Ca,

    #[error("no public certificate authorities could be loaded")]
    NoRoots,

    #[error("TLS cannot be spoken")]
    Tls(#[from] rustls::Error),
}

/// The certificate authorities of `ca` (PEM) and no others; without `ca`, the public ones and those
/// of the system.
///
/// # Errors
/// If none could be read: every connection would fail.
pub fn roots(ca: Option<&str>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        // Bundles often contain certificates that cannot be used as an authority. They are skipped,
        // as long as one is left.
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let (added, _) = roots.add_parsable_certificates(certificates);
        return if added > 0 { Ok(roots) } else { Err(TrustError::Ca) };
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // The system's authorities are added for companies that have installed one of their own. Those
    // that cannot be loaded are left out.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoRoots) } else { Ok(roots) }
}

/// Trusts every server, as long as it has the key of the certificate that it presents. Only for an
/// operator who has asked for this explicitly (`insecure_skip_verify`). Whoever is on the way to
/// the server can then read and change everything.
pub fn no_verification() -> Arc<dyn ServerCertVerifier> {
    Arc::new(NoVerification(aws_lc_rs::default_provider().signature_verification_algorithms))
}

#[derive(Debug)]
struct NoVerification(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The certificate itself is accepted without a look. The signatures below are still
        // verified, so the handshake fails for a server without the key. It proves that the server
        // has the key of some certificate, and nothing about who the server is.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The TLS settings of a client that presents no certificate. No protocol is negotiated by ALPN.
///
/// # Errors
/// See `roots`.
pub fn client_config(ca: Option<&str>) -> Result<ClientConfig, TrustError> {
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth())
}
