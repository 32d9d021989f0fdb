//! A verified credential, and the check whether it may be used at this moment.
//!
//! The facts (`VerifiedCredential`) never change for a token and its keys, so they can be cached.
//! The second part (`check_usable`) is checked on every request, cached or not, by one function: a
//! cached token therefore cannot outlive its expiry or its revocation. The verifiers here, API keys
//! and certificates create the values; the pipeline and `login` use them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::jws::RefusalCause;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{Identity, IdentityField, RESERVED_ISSUERS};
use crate::secret::{Digest, equal};
use crate::session::{ForeignToken, Revocations, SessionMark};

/// A refusal of a credential: the reason is for the client, the cause for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenError {
    pub reason: Reason,
    pub cause: RefusalCause,
}

impl TokenError {
    /// The one answer to everything that a forger could cause. If the answers differed, they would
    /// tell the forger which check failed.
    pub(super) const fn invalid(cause: RefusalCause) -> Self {
        Self { reason: Reason::TokenInvalid, cause }
    }
}

/// A verified credential. For a token, signature and claims have been checked.
#[derive(Clone, Debug)]
pub struct VerifiedCredential {
    pub identity: Identity,
    /// Names the token in the revocations. It is the digest of the signed part and not of the whole
    /// token: a second valid signature of the same claims does not make another token.
    pub digest: Digest,
    /// The `jti` claim, if there is one.
    pub token_id: Option<Arc<str>>,
    /// The `iat` claim; 1970 if a foreign token has none.
    pub issued: Timestamp,
    /// The `nbf` claim; 1970 if there is none.
    pub not_before: Timestamp,
    pub expires: Timestamp,
    /// The digest of the key that must accompany the token (`kh`).
    pub key_hash: Option<Digest>,
    /// SHA-256 of the client certificate that must accompany the token (`cnf`, RFC 8705 §3.1).
    pub certificate: Option<Digest>,
    /// True for tokens of the gateway, false for those of other issuers.
    pub is_local: bool,
    /// The creation of the session store, for own tokens: an older token is refused. 1970 for
    /// others.
    pub(super) store_made: Timestamp,
    /// The end of the issuer's takeover, after which its tokens are refused.
    pub until: Option<Timestamp>,
    pub(super) leeway: Duration,
    /// The identity as header fields for upstreams, built on first use.
    pub(super) identity_fields: OnceLock<Vec<IdentityField>>,
}

impl VerifiedCredential {
    /// The credential of a caller without a token, valid until `expires`. `digest` names the
    /// credential in the revocations and among streams.
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
            is_local: false,
            store_made: Timestamp::default(),
            until: None,
            leeway: Duration::ZERO,
            identity_fields: OnceLock::new(),
        }
    }

    /// The identity as header fields. `make` builds them at the first call only. A cached token
    /// keeps the built fields, so a usual request only copies them.
    pub fn identity_headers(&self, make: impl FnOnce() -> Vec<IdentityField>) -> &[IdentityField] {
        self.identity_fields.get_or_init(make)
    }

    /// Checks whether the token may be used now, with the presented `X-Key` and the digest of the
    /// client certificate, if any.
    ///
    /// Key and certificate are checked first: only a client that has both learns that the token is
    /// expired or revoked.
    pub(super) fn check_usable(
        &self,
        key: Option<&str>,
        certificate: Option<&Digest>,
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<(), TokenError> {
        self.check_key(key)?;
        if self.certificate.is_some() && self.certificate.as_ref() != certificate {
            return Err(TokenError::invalid("the client did not show the token's certificate"));
        }
        self.check_usable_now(now, revocations)
    }

    /// Checks times and revocations at `now`, without the key and the certificate.
    ///
    /// # Errors
    /// `TokenInvalid` after the issuer's takeover and before the token's times, `TokenExpired`,
    /// `TokenRevoked`, and `Unavailable` as in `check_ended`.
    pub(super) fn check_usable_now(
        &self,
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<(), TokenError> {
        if self.until.is_some_and(|until| until <= now) {
            return Err(TokenError::invalid("the issuer is not accepted any more"));
        }
        let tolerant = now.plus(self.leeway);
        if self.not_before > tolerant {
            return Err(TokenError::invalid("the token is not valid yet"));
        }
        if self.issued > tolerant {
            return Err(TokenError::invalid("the token was issued in the future"));
        }
        // A token older than the session store has no session there, so nobody could revoke it. The
        // rule is skipped if the store's creation lies in the future: then a clock was wrong when
        // the store was created or is wrong now, and the comparison would refuse every token.
        if self.issued < self.store_made && self.store_made <= tolerant {
            return Err(TokenError::invalid("the token is older than the session store"));
        }
        if self.expires.plus(self.leeway) <= now {
            let cause = "the token has expired";
            return Err(TokenError { reason: Reason::TokenExpired, cause });
        }
        self.check_ended(revocations, now)
    }

    /// Checks that neither the token, nor its session, nor all tokens of its user have been
    /// revoked.
    ///
    /// # Errors
    /// `TokenRevoked`; `Unavailable` if the session's user was not reviewed since the start.
    pub fn check_ended(&self, revocations: &Revocations, now: Timestamp) -> Result<(), TokenError> {
        self.check_revoked(revocations)?;
        // The cheap conditions come first. Own tokens stop at the first one. Without any user-wide
        // revocation, the second one avoids copying the token's names. This runs on every request
        // with a foreign token.
        if !self.is_local
            && !revocations.cutoffs.is_empty()
            && let Some(token) = self.foreign_token()
            && revocations.cutoffs.refuse(&token, now)
        {
            let cause = "the tokens that other issuers gave this user before were revoked";
            return Err(TokenError { reason: Reason::TokenRevoked, cause });
        }
        Ok(())
    }

    /// The token as a user-wide revocation sees it; `None` for own tokens and for callers without a
    /// token.
    pub fn foreign_token(&self) -> Option<ForeignToken> {
        let identity = &self.identity;
        if self.is_local || RESERVED_ISSUERS.contains(&&*identity.issuer) {
            return None;
        }
        Some(ForeignToken {
            subject: identity.subject.clone(),
            username: identity.username.clone(),
            issued: Some(self.issued).filter(|issued| *issued != Timestamp::default()),
            is_takeover: self.until.is_some(),
        })
    }

    /// Checks the revocation of the session and of the token itself.
    ///
    /// # Errors
    /// `TokenRevoked`, or `Unavailable` for a session whose user was not reviewed since the start.
    pub(super) fn check_revoked(&self, revocations: &Revocations) -> Result<(), TokenError> {
        let session = self.identity.session.as_ref();
        match session.and_then(|id| revocations.session(id)) {
            Some(SessionMark::Revoked(_)) => {
                let cause = "the token's session has ended";
                return Err(TokenError { reason: Reason::TokenRevoked, cause });
            }
            // The user of this session may have been disabled while the gateway was down. Until the
            // review after the start has looked at the user, the answer is 503 and not a guess.
            Some(SessionMark::Unreviewed(_)) => {
                let cause = "the session's user was not reviewed since the start";
                return Err(TokenError { reason: Reason::Unavailable, cause });
            }
            None => {}
        }
        if revocations.token_revoked(&self.digest) {
            let cause = "the token was revoked";
            return Err(TokenError { reason: Reason::TokenRevoked, cause });
        }
        Ok(())
    }

    /// Checks the key of a pair. A token that names a key is refused without it, however it is
    /// presented. A key beside a token that names none proves nothing and is refused.
    fn check_key(&self, key: Option<&str>) -> Result<(), TokenError> {
        match (&self.key_hash, key) {
            (None, None) => Ok(()),
            (Some(hash), Some(key)) if equal(&hash.0, &Digest::of(key.as_bytes()).0) => Ok(()),
            (Some(_), Some(_)) => Err(TokenError::invalid("the key is not the token's")),
            (Some(_), None) => Err(TokenError::invalid("the token needs its key")),
            (None, Some(_)) => Err(TokenError::invalid("the token of the pair names no key")),
        }
    }
}
