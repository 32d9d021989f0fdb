//! Client certificates that a balancer in front of the gateway received, and tells in a header field.
//!
//! The balancer has seen in its handshake that the client has the certificate's key. Whether the
//! certificate is trusted, is verified here as in a handshake of the gateway's own: the chain to an
//! authority of the listener, the time, and that it is for clients. The pipeline calls this for
//! requests of trusted proxies alone, and removes the field from everybody's.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::HeaderName;
use percent_encoding::percent_decode;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bounded_cache::BoundedCache;
use crate::client::{ClientCertificate, ForwardedFault};
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::settings::{CertificateForm, ForwardedCertificate};

/// The chain beside `Client-Cert` (RFC 9440, section 2.3).
const CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
/// More than any chain of authorities has.
const MOST_AUTHORITIES: usize = 8;
/// Certificates whose chains were verified, so that this is done once for a client and not for each
/// request.
const REMEMBERED: usize = 4096;
/// How long. An authority of the chain may end meanwhile, as during a connection.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The certificates that the trusted proxies of one listener tell.
#[derive(Debug)]
pub struct ForwardedCertificates {
    settings: ForwardedCertificate,
    verifier: Arc<dyn ClientCertVerifier>,
    verified: BoundedCache<Digest, Arc<ClientCertificate>>,
}

/// The reasons for which the authorities of a listener cannot verify anything.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the CA has a certificate that cannot be used")]
    Unusable(#[source] rustls::Error),
    #[error("the CA has no certificate")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl ForwardedCertificates {
    /// Prepares the authorities.
    ///
    /// # Errors
    /// A certificate among them that cannot be used. If it were left out, clients would be refused for
    /// a reason that nobody sees.
    pub fn new(settings: &ForwardedCertificate) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(settings.ca.as_bytes()).flatten() {
            roots.add(authority).map_err(AuthorityError::Unusable)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            settings: settings.clone(),
            verifier: verifier.build()?,
            verified: BoundedCache::new(REMEMBERED, REMEMBERED_FOR),
        })
    }

    /// True if these are the certificates of a listener with the same settings.
    pub fn is_for(&self, settings: &ForwardedCertificate) -> bool {
        self.settings == *settings
    }

    /// The certificate that the fields of a trusted proxy tell; `None` if the client showed none.
    ///
    /// # Errors
    /// Fields that cannot be read in one way, and a certificate that a handshake would not accept.
    pub fn read(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Option<Arc<ClientCertificate>>, ForwardedFault> {
        let mut values = headers.get_all(&self.settings.field).iter();
        let chain = self.chain(headers)?;
        let leaf = match (values.next(), values.next()) {
            // Proxies that always send the field leave it empty if the client showed nothing.
            (None, _) => None,
            (Some(value), None) if value.is_empty() => None,
            (Some(value), None) => Some(self.decode(value.as_bytes())?),
            (Some(_), Some(_)) => return Err(ForwardedFault::Repeated),
        };
        match leaf {
            Some(leaf) => self.verify(leaf, &chain, now).map(Some),
            None if chain.is_empty() => Ok(None),
            None => Err(ForwardedFault::Malformed("a chain without a certificate")),
        }
    }

    fn verify(
        &self,
        leaf: CertificateDer<'static>,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Arc<ClientCertificate>, ForwardedFault> {
        let parts: Vec<&[u8]> = std::iter::once(&leaf).chain(chain).map(AsRef::as_ref).collect();
        let digest = Digest::of_list(&parts);
        if let Some(known) = self.verified.get(&digest, now) {
            return Ok(known);
        }
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.secs()));
        self.verifier.verify_client_cert(&leaf, chain, time).map_err(|error| match error {
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => ForwardedFault::Expired,
            _ => ForwardedFault::Untrusted,
        })?;
        let certificate = ClientCertificate::from_der(&leaf)
            .map_err(|_| ForwardedFault::Malformed("a certificate that names nobody"))?;
        let certificate = Arc::new(certificate);
        let until = certificate.not_after.min(now.plus(REMEMBERED_FOR));
        self.verified.insert(digest, certificate.clone(), until);
        Ok(certificate)
    }

    fn decode(&self, value: &[u8]) -> Result<CertificateDer<'static>, ForwardedFault> {
        match self.settings.form {
            CertificateForm::Rfc9440 => byte_sequence(value),
            CertificateForm::Pem => escaped_pem(value),
            CertificateForm::Der => base64(value),
        }
    }

    /// The certificates between the client's and an authority, of a proxy that speaks RFC 9440. The
    /// list may be spread over several lines (RFC 8941, section 3.1).
    fn chain(&self, headers: &HeaderMap) -> Result<Vec<CertificateDer<'static>>, ForwardedFault> {
        if self.settings.form != CertificateForm::Rfc9440 {
            return Ok(Vec::new());
        }
        let lines = headers.get_all(&CHAIN).iter().map(http::HeaderValue::as_bytes);
        let listed = lines.filter(|line| !line.is_empty());
        let listed = listed.flat_map(|line| line.split(|byte| *byte == b','));
        let chain: Vec<&[u8]> = listed.map(<[u8]>::trim_ascii).take(MOST_AUTHORITIES + 1).collect();
        if chain.len() > MOST_AUTHORITIES {
            return Err(ForwardedFault::Malformed("a chain of too many certificates"));
        }
        chain.into_iter().map(byte_sequence).collect()
    }
}

/// A byte sequence of RFC 8941, section 3.3.5: base64 between colons.
fn byte_sequence(value: &[u8]) -> Result<CertificateDer<'static>, ForwardedFault> {
    let inner = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    inner.map_or(Err(ForwardedFault::Malformed("no byte sequence")), base64)
}

fn base64(value: &[u8]) -> Result<CertificateDer<'static>, ForwardedFault> {
    let der = STANDARD.decode(value).ok().filter(|der| !der.is_empty());
    der.map(CertificateDer::from).ok_or(ForwardedFault::Malformed("no base64"))
}

/// PEM with escapes as in a URL. It has to be one certificate and nothing else: another reader could
/// take another part of it.
fn escaped_pem(value: &[u8]) -> Result<CertificateDer<'static>, ForwardedFault> {
    let malformed = ForwardedFault::Malformed("no escaped certificate in PEM form");
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
    let mut escapes = value.split(|byte| *byte == b'%').skip(1);
    if !escapes.all(|rest| rest.get(..2).is_some_and(|digits| digits.iter().all(is_digit))) {
        return Err(malformed);
    }
    let pem: Vec<u8> = percent_decode(value).collect();
    let pem = pem.trim_ascii_end();
    let dashes = pem.windows(5).filter(|window| window == b"-----").count();
    let is_one = pem.starts_with(BEGIN) && pem.ends_with(END) && dashes == 4;
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    match (certificates.next(), certificates.next()) {
        (Some(Ok(certificate)), None) if is_one => Ok(certificate),
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_one_spelling_in_each_form() {
        let bytes = |read: Result<CertificateDer<'static>, ForwardedFault>| {
            read.ok().map(|certificate| certificate.as_ref().to_vec())
        };
        for (value, expected, why) in [
            (":AQID:", Some(vec![1, 2, 3]), "a byte sequence"),
            ("AQID", None, "no colons"),
            (":AQID", None, "half of them"),
            (":AQID:;a=1", None, "a parameter"),
            (":AQI:", None, "no padding"),
            (":AQ_-:", None, "another alphabet"),
            ("::", None, "nothing"),
            (":", None, "one colon"),
        ] {
            assert_eq!(bytes(byte_sequence(value.as_bytes())), expected, "{why}");
        }
        let pem = "-----BEGIN%20CERTIFICATE-----%0AAQID%0A-----END%20CERTIFICATE-----%0A";
        for (value, expected, why) in [
            (pem.to_owned(), Some(vec![1, 2, 3]), "nginx"),
            (format!("x{pem}"), None, "text before it"),
            (format!("{pem}x"), None, "text after it"),
            (format!("{pem}{pem}"), None, "two"),
            (pem.replace("%0A", "%0"), None, "half an escape"),
            (pem.replace("%0A", "%zz"), None, "no digits"),
            (pem.replace("CERTIFICATE", "PUBLIC%20KEY"), None, "something else"),
            (String::new(), None, "nothing"),
        ] {
            assert_eq!(bytes(escaped_pem(value.as_bytes())), expected, "{why}");
        }
    }
}
