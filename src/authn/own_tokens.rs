//! The gateway's own tokens as the endpoints of a login take them: access tokens, signed or opaque,
//! and refresh tokens. Each login acts on its own tokens alone. `login` is the caller.

use std::sync::Arc;

use serde_json::Value;

use super::credential::TokenCredential;
use super::jws::CompactJws;
use super::local_issuer::TokenType;
use super::session_tokens::NO_SESSION;
use super::verified::{TokenError, VerifiedCredential};
use super::verifier::{RequestClient, Verifier};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;
use crate::token::{GENERATION_CLAIM, PROGRAM_CLAIM};

const OTHER_LOGIN: TokenError = TokenError::invalid("the token was issued by another login");

/// The endpoint of a login at which a token is presented, and the client that presents it.
#[derive(Clone, Copy, Debug)]
pub struct OwnEndpoint<'a> {
    pub login: &'a str,
    pub presenter: RequestClient<'a>,
}

/// The facts in a verified refresh token of ours.
#[derive(Clone, Debug)]
pub struct RefreshFacts {
    pub session: SessionId,
    pub subject: Subject,
    pub jti: String,
    /// The position of the token in its session's series of refresh tokens. Tokens of earlier
    /// versions do not have it.
    pub generation: Option<u32>,
    /// The id of the program that the token was issued to, where the login knows programs.
    pub program: Option<String>,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl Verifier {
    /// Verifies a refresh token that `login` issued. Whether it is the current token of its session
    /// is known to the session store only.
    ///
    /// # Errors
    /// `TokenInvalid` for everything wrong with the token; expiry and revocation as in
    /// `VerifiedCredential::check_usable`.
    pub fn verify_refresh(
        &self,
        token: &str,
        login: &str,
        now: Timestamp,
    ) -> Result<RefreshFacts, TokenError> {
        let verified = self.own_of(token, login, TokenType::Refresh)?;
        verified.check_usable(None, None, now, &self.revocations)?;
        let (Some(session), Some(jti)) = (verified.identity.session, verified.token_id) else {
            return Err(TokenError::invalid("the token names no session"));
        };
        let generation = verified.identity.claims.get(GENERATION_CLAIM);
        let generation = generation.and_then(|number| u32::try_from(number.as_u64()?).ok());
        let program = verified.identity.claims.get(PROGRAM_CLAIM);
        let program = program.and_then(Value::as_str).map(str::to_owned);
        let subject = verified.identity.subject;
        let jti = jti.to_string();
        let issued = verified.issued;
        let expires = verified.expires;
        Ok(RefreshFacts { session, subject, jti, generation, program, issued, expires })
    }

    /// Verifies an access token that a login issued, for an endpoint of that login. An opaque one is
    /// looked up, so this runs on the background runtime. With `allow_expired` an expired token is
    /// accepted, because some clients log out late; nothing else is forgiven.
    ///
    /// # Errors
    /// The refusal of `VerifiedCredential::check_usable`, `TokenInvalid` for a token of another
    /// login, or `Unavailable` if the store cannot be asked about an opaque one.
    pub async fn verify_own_access(
        &self,
        credential: &TokenCredential,
        at: OwnEndpoint<'_>,
        now: Timestamp,
        allow_expired: bool,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let token = credential.token().expose();
        let verified = match self.own_session(token, at.presenter, now).await? {
            Some(verified) if *verified.identity.login == *at.login => verified,
            Some(_) => return Err(OTHER_LOGIN),
            None if self.sessions.fits(token) => return Err(NO_SESSION),
            None => Arc::new(self.own_of(token, at.login, TokenType::Access)?),
        };
        let key = credential.key().map(|key| key.expose().as_str());
        match verified.check_usable(key, None, now, &self.revocations) {
            Err(refusal) if refusal.reason == Reason::TokenExpired && allow_expired => {
                // `check_usable` stops at the expiry, before it looks at revocations. They are checked
                // here, or a revoked token would be accepted once it has expired.
                verified.check_revoked(&self.revocations)?;
            }
            other => other?,
        }
        Ok(verified)
    }

    /// Verifies an own token of this kind that `login` issued.
    ///
    /// # Errors
    /// An invalid token, or one of another login: the endpoints of one login must not act on
    /// sessions of another.
    fn own_of(
        &self,
        token: &str,
        login: &str,
        kind: TokenType,
    ) -> Result<VerifiedCredential, TokenError> {
        let own = || {
            let token = CompactJws::parse(token)?;
            self.local.verify(&token, token.claims()?, &self.ring.public(), kind)
        };
        let verified = own().map_err(TokenError::invalid)?;
        if verified.identity.login.as_ref() != login {
            return Err(OTHER_LOGIN);
        }
        Ok(verified)
    }

    /// The credential of an opaque token of ours, from memory or from the session store. It may have
    /// expired or been revoked. `None` if it is none of ours. Runs on the background runtime.
    ///
    /// # Errors
    /// As `SessionLookup::run`.
    pub async fn own_session(
        &self,
        token: &str,
        presenter: RequestClient<'_>,
        now: Timestamp,
    ) -> Result<Option<Arc<VerifiedCredential>>, TokenError> {
        let remembered = self.remembered_session(token, now);
        if let Some(verified) = remembered.filter(|verified| !verified.may_have_moved(now)) {
            return Ok(Some(verified));
        }
        let Some(lookup) = self.sessions.lookup(token, now) else { return Ok(None) };
        let found = lookup.run(presenter.origin, now).await?;
        if let Some(verified) = &found
            && verified.check_usable_now(now, &self.revocations).is_ok()
        {
            self.remember_session(verified, now);
        }
        Ok(found)
    }

    /// The credential of an opaque token of ours that was verified before.
    pub fn remembered_session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Arc<VerifiedCredential>> {
        if !self.sessions.fits(token) {
            return None;
        }
        let (verified, _) = self.cache.find(&Digest::of(token.as_bytes()), now)?;
        verified.is_local().then_some(verified)
    }

    /// True if the store said a moment ago that an opaque token is none of ours, so that others may
    /// see it.
    pub fn is_known_foreign(&self, token: &str, now: Timestamp) -> bool {
        self.sessions.is_unknown(token, now)
    }

    /// Remembers an opaque token that may be used now, like a signed one. Invariant: its digest is
    /// that of the whole token.
    pub(super) fn remember_session(&self, verified: &Arc<VerifiedCredential>, now: Timestamp) {
        self.cache.keep(verified.digest, self.ring.epoch(), verified.clone(), now);
    }
}
