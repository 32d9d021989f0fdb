//! Client certificates (mutual TLS): maps the certificate of a connection to a configured identity.
//!
//! The TLS handshake has already verified the certificate; here an entry of the configuration names
//! its holder. A certificate without an entry is not a credential. The validity period is checked
//! at the time of each request, because the handshake of the connection may be long ago. The
//! pipeline calls this when a route accepts certificates and no other credential is presented.

use std::collections::HashMap;
use std::sync::Arc;

use super::verified::{TokenError, VerifiedCredential};
use crate::client::ClientCertificate;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{CERTIFICATE_ISSUER, Identity, Subject};
use crate::secret::Digest;
use crate::settings::{self, CertificateName};

/// The configured certificates by their names.
#[derive(Debug)]
pub struct CertificateVerifier(HashMap<CertificateName, CertificateUser>);

/// The identity that one entry of the configuration gives to a certificate.
#[derive(Debug)]
struct CertificateUser {
    /// The position in the configuration. If several entries match, the first one decides.
    number: usize,
    identity: Identity,
    digest: Digest,
}

impl CertificateVerifier {
    /// Prepares the configured entries.
    pub fn new(config: &[settings::CertificateHolder]) -> Self {
        let holders = config.iter().enumerate();
        Self(
            holders
                .map(|(number, one)| (one.by.clone(), CertificateUser::new(number, one)))
                .collect(),
        )
    }

    /// The identity of the certificate's holder; `None` if no entry matches the certificate.
    ///
    /// # Errors
    /// `TokenExpired` if the certificate is not valid at `now`.
    pub fn verify(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Option<Arc<VerifiedCredential>>, TokenError> {
        let names = certificate.names.iter().cloned().map(CertificateName::San);
        let subject = certificate.subject.clone().map(CertificateName::Subject);
        let all = [CertificateName::Fingerprint(certificate.fingerprint)];
        let fitting = all.into_iter().chain(subject).chain(names);
        let fitting = fitting.filter_map(|name| self.0.get(&name));
        let Some(holder) = fitting.min_by_key(|holder| holder.number) else { return Ok(None) };
        if !certificate.holds(now) {
            let cause = "the client's certificate does not hold now";
            return Err(TokenError { reason: Reason::TokenExpired, cause });
        }
        let identity = holder.identity.clone();
        let until = certificate.not_after;
        Ok(Some(Arc::new(VerifiedCredential::without_token(identity, holder.digest, until))))
    }

    /// The digests by which streams of the holders are tracked, so that a reload can end them. The
    /// digest covers the entry's name and its condition: if one of them changes, then the streams
    /// of the old entry end.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.0.values().map(|holder| holder.digest)
    }
}

impl CertificateUser {
    fn new(number: usize, config: &settings::CertificateHolder) -> Self {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let subject = Subject::foreign(CERTIFICATE_ISSUER, &config.name);
        let identity = Identity {
            roles: names(&config.roles),
            scopes: names(&config.scopes),
            ..Identity::new(CERTIFICATE_ISSUER, subject, &config.name)
        };
        let (key, text) = config.by.written();
        let parts = [CERTIFICATE_ISSUER, &config.name, key, &text];
        let digest = Digest::of_list(&parts.map(str::as_bytes));
        Self { number, identity, digest }
    }
}
