//! Client certificates: whom the one that a connection showed names.
//!
//! The handshake has proved it; here an entry of the configuration says who that is. One that no
//! entry means is no credential. It must hold at the time of the request and not only at that of
//! the handshake, which may be long ago.

use std::collections::HashMap;
use std::sync::Arc;

use super::verified::{Refusal, Verified};
use crate::client::ClientCertificate;
use crate::clock::Timestamp;
use crate::config::{self, CertificateName};
use crate::dialect::Reason;
use crate::identity::{CERTIFICATE_ISSUER, Claims, Identity, Subject};
use crate::secret::Digest;

/// The certificates that are somebody's.
#[derive(Debug)]
pub struct Certificates(HashMap<CertificateName, UserRef>);

#[derive(Debug)]
struct UserRef {
    /// Place in the configuration: the first entry that fits decides.
    number: usize,
    identity: Identity,
    digest: Digest,
}

impl Certificates {
    /// The holders that are configured.
    pub fn new(config: &[config::ClientCertificate]) -> Self {
        let holders = config.iter().enumerate();
        Self(holders.map(|(number, one)| (one.by.clone(), UserRef::new(number, one))).collect())
    }

    /// Who the holder is; `None` if no entry means his certificate.
    ///
    /// # Errors
    /// When it does not hold now.
    pub fn verify(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Option<Arc<Verified>>, Refusal> {
        let names = certificate.names.iter().cloned().map(CertificateName::San);
        let subject = certificate.subject.clone().map(CertificateName::Subject);
        let all = [CertificateName::Fingerprint(certificate.fingerprint)];
        let fitting = all.into_iter().chain(subject).chain(names);
        let fitting = fitting.filter_map(|name| self.0.get(&name));
        let Some(holder) = fitting.min_by_key(|holder| holder.number) else { return Ok(None) };
        if !certificate.holds(now) {
            let cause = "the client's certificate does not hold now";
            return Err(Refusal { reason: Reason::TokenExpired, cause });
        }
        let (identity, until) = (holder.identity.clone(), certificate.not_after);
        Ok(Some(Arc::new(Verified::without_token(identity, holder.digest, until))))
    }

    /// What each holder's streams are known by.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.0.values().map(|holder| holder.digest)
    }
}

impl UserRef {
    fn new(number: usize, config: &config::ClientCertificate) -> Self {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let identity = Identity {
            subject: Subject::foreign(CERTIFICATE_ISSUER, &config.name),
            username: config.name.as_str().into(),
            source: "".into(),
            issuer: CERTIFICATE_ISSUER.into(),
            login: "".into(),
            session: None,
            roles: names(&config.roles),
            scopes: names(&config.scopes),
            claims: Claims::new(),
        };
        let (key, text) = config.by.written();
        let parts = [CERTIFICATE_ISSUER, &config.name, key, &text];
        let digest = Digest::of_list(&parts.map(str::as_bytes));
        Self { number, identity, digest }
    }
}
