//! A certificate that an authority has issued, as it is in its file: checked before it is served
//! and before it is trusted to need no order.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use crate::clock::Timestamp;

/// The reason why a file holds no certificate that can be served for the names.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateFault {
    #[error("it is no chain and key in PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),

    #[error("it holds no certificate")]
    Empty,

    #[error("the certificate is damaged")]
    Malformed,

    #[error("the key does not belong to the certificate, or cannot be used")]
    Key(#[from] rustls::Error),

    #[error("the certificate is not for {0}")]
    Names(String),
}

/// The first certificate of a chain, and the facts that decide when it is renewed.
#[derive(Clone, Debug)]
pub(super) struct IssuedCertificate {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl IssuedCertificate {
    /// Reads a chain and its key, and checks that they belong together and cover `domains`. The
    /// times are not compared with a clock.
    pub(super) fn parse(pem: &[u8], domains: &[String]) -> Result<Self, CertificateFault> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
        let leaf = chain.first().ok_or(CertificateFault::Empty)?.clone();
        let key = PrivateKeyDer::from_pem_slice(pem)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider)?;
        let (not_before, not_after) = {
            let (_, parsed) = x509_parser::parse_x509_certificate(&leaf)
                .map_err(|_| CertificateFault::Malformed)?;
            let names = match parsed.subject_alternative_name() {
                Ok(Some(extension)) => extension.value.general_names.as_slice(),
                _ => &[],
            };
            let has = |domain: &String| {
                let is_it = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(domain));
                names.iter().any(is_it)
            };
            if let Some(missing) = domains.iter().find(|domain| !has(domain)) {
                return Err(CertificateFault::Names(missing.clone()));
            }
            let instant = |time: x509_parser::time::ASN1Time| {
                Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
            };
            let validity = parsed.validity();
            (instant(validity.not_before), instant(validity.not_after))
        };
        Ok(Self { leaf, not_before, not_after })
    }

    /// How long the certificate is valid, from its beginning to its end.
    pub(super) fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }
}
