//! What a verified token says, and whether it may be used at this moment.
//!
//! The first part never changes for a token and its keys, so it is remembered; the second is
//! asked again on every request, remembered or not: by one function, so that a remembered token
//! cannot outlive itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::jws::Cause;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{Identity, IdentityField, RESERVED_ISSUERS};
use crate::secret::{Digest, equal};
use crate::session::{ForeignToken, Revocations, SessionMark};

/// Why a credential is refused: the reason for the client, the cause for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub cause: Cause,
}

impl Refusal {
    /// The answer to everything that a forger could cause: one for all, so that no answer helps
    /// him on (RFC 8725 §3.2).
    pub(super) const fn invalid(cause: Cause) -> Self {
        Self { reason: Reason::TokenInvalid, cause }
    }
}

/// A credential that holds: of a token, its signature and claims.
#[derive(Clone, Debug)]
pub struct Verified {
    pub identity: Identity,
    /// Names this token in the revocations. Made from what is signed and not from the whole
    /// token: a second valid signature of the same claims does not make it another token.
    pub digest: Digest,
    /// `jti`, if there is one.
    pub token_id: Option<Arc<str>>,
    /// `iat`; 1970 if a foreign token has none.
    pub issued: Timestamp,
    /// `nbf`; 1970 if there is none.
    pub not_before: Timestamp,
    pub expires: Timestamp,
    /// The digest of the key without which the token is refused (`kh`).
    pub key_hash: Option<Digest>,
    /// SHA-256 of the client certificate without which the token is refused (`cnf`).
    pub certificate: Option<Digest>,
    /// Ours, not another issuer's.
    pub own: bool,
    /// A token of ours that is older than the store of its session is refused; 1970 for others.
    pub(super) store_made: Timestamp,
    /// From when its issuer is not accepted any more.
    pub until: Option<Timestamp>,
    pub(super) leeway: Duration,
    /// The identity as upstreams are told, made when it is first needed.
    pub(super) told: OnceLock<Vec<IdentityField>>,
}

impl Verified {
    /// Of a caller without a token, until `expires`; `digest` names what he called with.
    pub fn without_token(identity: Identity, digest: Digest, expires: Timestamp) -> Self {
        Self {
            identity,
            digest,
            token_id: None,
            issued: Timestamp::default(),
            not_before: Timestamp::default(),
            expires,
            key_hash: None,
            certificate: None,
            own: false,
            store_made: Timestamp::default(),
            until: None,
            leeway: Duration::ZERO,
            told: OnceLock::new(),
        }
    }

    /// The identity in the fields that `make` makes of it; made once.
    pub fn told(&self, make: impl FnOnce() -> Vec<IdentityField>) -> &[IdentityField] {
        self.told.get_or_init(make)
    }

    /// Whether the token may be used now, with this `X-Key` or without one, by a client that showed
    /// the certificate with this print or none.
    ///
    /// Key and certificate come first: expiry and revocation are told only to a client that has
    /// all of them.
    pub(super) fn admit(
        &self,
        key: Option<&str>,
        certificate: Option<&Digest>,
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<(), Refusal> {
        self.check_key(key)?;
        if self.certificate.is_some() && self.certificate.as_ref() != certificate {
            return Err(Refusal::invalid("the client did not show the token's certificate"));
        }
        self.admit_now(now, revocations)
    }

    /// Whether the token is good now, apart from its key.
    pub(super) fn admit_now(
        &self,
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<(), Refusal> {
        if self.until.is_some_and(|until| until <= now) {
            return Err(Refusal::invalid("the issuer is not accepted any more"));
        }
        let tolerant = now.plus(self.leeway);
        if self.not_before > tolerant {
            return Err(Refusal::invalid("the token is not valid yet"));
        }
        if self.issued > tolerant {
            return Err(Refusal::invalid("the token was issued in the future"));
        }
        // A store that is still to be made was made by a wrong clock, or is looked at by one. No
        // token could be as new as that, so nothing can be said by it.
        if self.issued < self.store_made && self.store_made <= tolerant {
            return Err(Refusal::invalid("the token is older than the session store"));
        }
        if self.expires.plus(self.leeway) <= now {
            let cause = "the token has expired";
            return Err(Refusal { reason: Reason::TokenExpired, cause });
        }
        self.check_ended(revocations, now)
    }

    /// Whether the token, its session or all tokens of its user have been revoked.
    ///
    /// # Errors
    /// If so.
    pub fn check_ended(&self, revocations: &Revocations, now: Timestamp) -> Result<(), Refusal> {
        self.check_revoked(revocations)?;
        // In this order our own tokens cost nothing, and a gateway where no user's tokens are refused
        // copies nothing.
        if !self.own
            && !revocations.cutoffs.is_empty()
            && let Some(token) = self.foreign_token()
            && revocations.cutoffs.refuse(&token, now)
        {
            let cause = "the tokens that other issuers gave this user before were revoked";
            return Err(Refusal { reason: Reason::TokenRevoked, cause });
        }
        Ok(())
    }

    /// The token as a revocation of its user's tokens sees it; `None` of our own, and of callers
    /// without a token.
    pub fn foreign_token(&self) -> Option<ForeignToken> {
        let identity = &self.identity;
        if self.own || RESERVED_ISSUERS.contains(&&*identity.issuer) {
            return None;
        }
        Some(ForeignToken {
            subject: identity.subject.clone(),
            username: identity.username.clone(),
            issued: Some(self.issued).filter(|issued| *issued != Timestamp::default()),
            is_takeover: self.until.is_some(),
        })
    }

    pub(super) fn check_revoked(&self, revocations: &Revocations) -> Result<(), Refusal> {
        let session = self.identity.session.as_ref();
        match session.and_then(|id| revocations.session(id)) {
            Some(SessionMark::Revoked(_)) => {
                let cause = "the token's session has ended";
                return Err(Refusal { reason: Reason::TokenRevoked, cause });
            }
            Some(SessionMark::Unreviewed(_)) => {
                let cause = "the session's user has not been looked at since the start";
                return Err(Refusal { reason: Reason::Unavailable, cause });
            }
            None => {}
        }
        if revocations.token_revoked(&self.digest) {
            let cause = "the token was revoked";
            return Err(Refusal { reason: Reason::TokenRevoked, cause });
        }
        Ok(())
    }

    /// The pair: a token that names a key needs it, however it is presented; a key beside a token
    /// that names none proves nothing.
    fn check_key(&self, key: Option<&str>) -> Result<(), Refusal> {
        match (&self.key_hash, key) {
            (None, None) => Ok(()),
            (Some(hash), Some(key)) if equal(&hash.0, &Digest::of(key.as_bytes()).0) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::invalid("the key is not the token's")),
            (Some(_), None) => Err(Refusal::invalid("the token needs its key")),
            (None, Some(_)) => Err(Refusal::invalid("the token of the pair names no key")),
        }
    }
}
