//! Whom we believe as a TLS server: one's own CA where it is configured, else the public ones
//! together with the system's; anybody only where an operator insists.

use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Why nobody could be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA holds no usable certificate")]
    Ca,

    #[error("no public certificate authorities could be loaded")]
    NoRoots,

    #[error("TLS cannot be spoken")]
    Tls(#[from] rustls::Error),
}

/// The certificate authorities of `ca` (PEM) and no others; without one, the public ones.
///
/// # Errors
/// When none could be read: nothing would ever be believed.
pub fn roots(ca: Option<&str>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let (added, _) = roots.add_parsable_certificates(certificates);
        return if added > 0 { Ok(roots) } else { Err(TrustError::Ca) };
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoRoots) } else { Ok(roots) }
}

/// Believes whoever answers, as long as it has the key of the certificate that it shows: for an
/// operator who has said in so many words that he wants that.
pub fn anybody() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anybody(aws_lc_rs::default_provider().signature_verification_algorithms))
}

#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
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

/// How a server is spoken to over TLS by whom shows no certificate; no protocol is negotiated.
///
/// # Errors
/// As `roots`.
pub fn client_config(ca: Option<&str>) -> Result<ClientConfig, TrustError> {
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth())
}
