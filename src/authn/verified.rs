//! A verified credential, and the check whether it may be used at this moment.
//!
//! The facts (`VerifiedCredential`) never change for a token and its keys, so they can be cached.
//! The second part (`check_usable`) is checked on every request, cached or not, by one function: a
//! cached token therefore cannot outlive its expiry or its revocation. The verifiers here, API keys
//! and certificates create the values; the pipeline and `login` use them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::claims::TokenDates;
use super::jws::RefusalCause;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{Identity, IdentityField, RESERVED_ISSUERS};
use crate::secret::{Digest, equal};
use crate::session::{ForeignToken, Revocations, SessionMark};
use crate::settings::IssuerSettings;

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

/// A thing that must accompany a token, so that the token alone is worth nothing to a thief.
#[derive(Clone, Debug)]
pub enum TokenBinding {
    /// Nothing: whoever bears the token may use it.
    Nothing,
    /// The key of a pair, by its digest (`kh`).
    Key(Digest),
    /// A client certificate, by its SHA-256 (`cnf`, RFC 8705 §3.1).
    Certificate(Digest),
}

/// The terms on which an issuer's tokens are accepted, beside the dates in the token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IssuerTerms {
    /// True for tokens of the gateway.
    is_local: bool,
    /// The end of the issuer's takeover, after which its tokens are refused.
    until: Option<Timestamp>,
    leeway: Duration,
    /// How the end of an opaque token of ours can move; `None` for every other token.
    movable: Option<MovableEnd>,
}

/// The end of an opaque token of ours, which the session store can move.
#[derive(Clone, Copy, Debug)]
pub(super) struct MovableEnd {
    /// Each use moves the end to so long from then; `None` if only its client moves it.
    pub(super) idle: Option<Duration>,
    /// The end of the session, beyond which it never moves.
    pub(super) latest: Timestamp,
}

impl IssuerTerms {
    /// The terms of our own tokens.
    pub(super) fn local(leeway: Duration) -> Self {
        Self { is_local: true, leeway, ..Self::default() }
    }

    /// The terms of an opaque token of ours.
    pub(super) fn movable(self, movable: MovableEnd) -> Self {
        Self { movable: Some(movable), ..self }
    }

    /// The terms of another issuer's tokens.
    pub(super) fn external(rules: &IssuerSettings) -> Self {
        Self { until: rules.until, leeway: rules.leeway, ..Self::default() }
    }
}

/// A verified credential. For a token, signature and claims have been checked.
///
/// Invariant: it is made by `token` or `without_token` alone, so a verifier cannot leave out what
/// `check_usable` must check later.
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
    pub binding: TokenBinding,
    terms: IssuerTerms,
    /// The identity as header fields for upstreams, built on first use.
    identity_fields: OnceLock<Vec<IdentityField>>,
}

impl VerifiedCredential {
    /// A token whose signature and claims have been verified. `digest` names it in the revocations,
    /// `token_id` is its `jti`.
    pub(super) fn token(
        identity: Identity,
        digest: Digest,
        token_id: Option<Arc<str>>,
        dates: TokenDates,
        binding: TokenBinding,
        terms: IssuerTerms,
    ) -> Self {
        Self {
            identity,
            digest,
            token_id,
            issued: dates.issued.unwrap_or_default(),
            not_before: dates.not_before.unwrap_or_default(),
            expires: dates.expires.unwrap_or_default(),
            binding,
            terms,
            identity_fields: OnceLock::new(),
        }
    }

    /// The credential of a caller without a token, valid until `expires`. `digest` names the
    /// credential in the revocations and among streams.
    pub fn without_token(identity: Identity, digest: Digest, expires: Timestamp) -> Self {
        let dates = TokenDates { expires: Some(expires), ..TokenDates::default() };
        let terms = IssuerTerms::default();
        Self::token(identity, digest, None, dates, TokenBinding::Nothing, terms)
    }

    /// True for tokens of the gateway, false for those of other issuers.
    pub fn is_local(&self) -> bool {
        self.terms.is_local
    }

    /// The end of the issuer's takeover, after which its tokens are refused.
    pub fn until(&self) -> Option<Timestamp> {
        self.terms.until
    }

    /// True if the token has expired at `now`, by any clock that differs by the leeway at most.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.plus(self.terms.leeway) <= now
    }

    /// True if the end in memory is past, and may have been moved meanwhile: the store knows.
    pub(super) fn may_have_moved(&self, now: Timestamp) -> bool {
        self.terms.movable.is_some() && self.has_expired(now)
    }

    /// The end to which a use at `now` moves that of the token; `None` if it stays. Each token is
    /// written once in a tenth of its idle time, so the time from its last use to its end is shorter
    /// by a tenth at most.
    pub(super) fn end_by_use(&self, now: Timestamp) -> Option<Timestamp> {
        let MovableEnd { idle, latest } = self.terms.movable?;
        let idle = idle?;
        let end = now.plus(idle).whole_secs().min(latest);
        (end > self.expires.plus(idle / 10) || end == latest && end > self.expires).then_some(end)
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
        self.check_binding(key, certificate)?;
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
        if self.until().is_some_and(|until| until <= now) {
            return Err(TokenError::invalid("the issuer is not accepted any more"));
        }
        let tolerant = now.plus(self.terms.leeway);
        let is_dated_by_store = self.is_local() && self.issued <= revocations.earliest_issue();
        if self.not_before > tolerant && !is_dated_by_store {
            return Err(TokenError::invalid("the token is not valid yet"));
        }
        // Our own tokens are never dated before the shared store, whose clock may be ahead of ours.
        if self.issued > tolerant && !is_dated_by_store {
            return Err(TokenError::invalid("the token was issued in the future"));
        }
        // A token older than the session store has no session there, so nobody could revoke it.
        if self.is_local() && revocations.is_older_than_store(self.issued, tolerant) {
            return Err(TokenError::invalid("the token is older than the session store"));
        }
        if self.has_expired(now) {
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
        if !self.is_local()
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
        if self.is_local() || RESERVED_ISSUERS.contains(&&*identity.issuer) {
            return None;
        }
        Some(ForeignToken {
            subject: identity.subject.clone(),
            username: identity.username.clone(),
            issued: Some(self.issued).filter(|issued| *issued != Timestamp::default()),
            is_takeover: self.until().is_some(),
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

    /// Checks what must accompany the token. A token that names a key is refused without it,
    /// however it is presented. A key beside a token that names none proves nothing and is refused.
    fn check_binding(
        &self,
        key: Option<&str>,
        certificate: Option<&Digest>,
    ) -> Result<(), TokenError> {
        let cause = match (&self.binding, key) {
            (TokenBinding::Key(hash), Some(key))
                if equal(&hash.0, &Digest::of(key.as_bytes()).0) =>
            {
                return Ok(());
            }
            (TokenBinding::Key(_), Some(_)) => "the key is not the token's",
            (TokenBinding::Key(_), None) => "the token needs its key",
            (_, Some(_)) => "the token of the pair names no key",
            (TokenBinding::Certificate(bound), None) if Some(bound) != certificate => {
                "the client did not show the token's certificate"
            }
            (_, None) => return Ok(()),
        };
        Err(TokenError::invalid(cause))
    }
}
