//! The verifier: from a presented credential to a proved identity, or a refusal.
//!
//! `verify` is synchronous and without I/O: keys, rules and revocations are in memory. Where they
//! are not, it hands out a question, which `prove` asks. A token that verified
//! before is remembered (see `cache`); whether it may be used now is asked every time.
//!
//! Invariant: `verify` answers the same with and without the memory.

use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::claims;
use super::credential::Credential;
use super::foreign::Foreign;
use super::inquiry::Unproved;
use super::jws::{Cause, Compact, MAX_TOKEN};
use super::own::{Kind, Own};
use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::config::{Issuer, Login};
use crate::dialect::Reason;
use crate::identity::{Claims, SessionId, Subject};
use crate::secret::Digest;
use crate::session::Revocations;
use crate::token::{BadKey, KeyRing};

/// What a verifier is made of.
#[derive(Debug)]
pub struct VerifierOptions<'a> {
    pub ring: Arc<KeyRing>,
    pub logins: &'a [Login],
    pub issuers: &'a [Issuer],
    /// When the session store was made: own tokens issued earlier are refused.
    pub made: Timestamp,
    pub revocations: Arc<Revocations>,
    /// Difference of clocks that is forgiven for our own tokens.
    pub leeway: Duration,
    /// How many verified tokens are remembered.
    pub cache_size: usize,
}

/// An issuer whose tokens could never be verified.
#[derive(Debug, thiserror::Error)]
#[error("issuer `{issuer}` has no usable key")]
pub struct VerifierError {
    pub issuer: String,
    #[source]
    pub source: BadKey,
}

/// Proves tokens.
#[derive(Debug)]
pub struct Verifier {
    ring: Arc<KeyRing>,
    own: Own,
    pub(super) foreign: Vec<Foreign>,
    revocations: Arc<Revocations>,
    cache: Cache,
    warnings: Vec<String>,
}

/// What a refresh token of ours says, once it is proved.
#[derive(Clone, Debug)]
pub struct RefreshFacts {
    pub session: SessionId,
    pub subject: Subject,
    pub jti: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl Verifier {
    /// A verifier for these logins and issuers. Fails where an issuer's keys are all unusable:
    /// its tokens would be refused for ever.
    pub fn new(options: VerifierOptions<'_>) -> Result<Self, VerifierError> {
        let (mut foreign, mut warnings) = (Vec::new(), Vec::new());
        for issuer in options.issuers {
            let made = Foreign::new(issuer)
                .map_err(|source| VerifierError { issuer: issuer.name.clone(), source })?;
            let (ready, remarks) = made;
            for remark in remarks {
                let (name, key) = (&issuer.name, remark.key);
                warnings.push(format!("issuer `{name}`, key `{key}`: {}", remark.remark));
            }
            foreign.push(ready);
        }
        Ok(Self {
            ring: options.ring,
            own: Own::new(options.logins, options.made, options.leeway),
            foreign,
            revocations: options.revocations,
            cache: Cache::new(options.cache_size),
            warnings,
        })
    }

    /// Keys of issuers that are not used, as sentences for the operator.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Proves a credential, asking others where that is needed. Waits: for the back room.
    pub async fn prove(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refusal> {
        let inquiry = match self.verify(credential, now) {
            Ok(verified) => return Ok(verified),
            Err(Unproved::Refused(refusal)) => return Err(refusal),
            Err(Unproved::Ask(inquiry)) => inquiry,
        };
        inquiry.ask(now).await?;
        self.verify(credential, now).map_err(Unproved::unasked)
    }

    /// Proves a credential by what is known already.
    pub fn verify(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Unproved> {
        let token = credential.token().expose();
        let key = credential.key().map(|key| key.expose().as_str());
        if token.len() > MAX_TOKEN {
            return Err(Refusal::invalid("the token is too long").into());
        }
        let digest = Digest::of(token.as_bytes());
        if let Some((verified, epoch)) = self.cache.find(&digest, now)
            && epoch == self.epoch(&verified)
        {
            verified.admit(key, now, &self.revocations)?;
            return Ok(verified);
        }
        let (verified, epoch) = self.examine(token).map_err(Refusal::invalid)?;
        verified.admit(key, now, &self.revocations)?;
        let verified = Arc::new(verified);
        self.cache.keep(digest, epoch, verified.clone(), now);
        Ok(verified)
    }

    /// Proves a refresh token of ours, issued by `login`. Whether it is the working one only the
    /// store knows.
    pub fn verify_refresh(
        &self,
        token: &str,
        login: &str,
        now: Timestamp,
    ) -> Result<RefreshFacts, Refusal> {
        let verified = self.own_of(token, login, Kind::Refresh)?;
        verified.admit(None, now, &self.revocations)?;
        let (Some(session), Some(jti)) = (verified.identity.session, verified.token_id) else {
            return Err(Refusal::invalid("the token names no session"));
        };
        let (subject, jti) = (verified.identity.subject, jti.to_string());
        let (issued, expires) = (verified.issued, verified.expires);
        Ok(RefreshFacts { session, subject, jti, issued, expires })
    }

    /// Proves an access token of ours, issued by `login`, at a login's own endpoint. Where
    /// `allow_expired`, its expiry is forgiven and nothing else: some clients log out late.
    pub fn verify_own_access(
        &self,
        credential: &Credential,
        login: &str,
        now: Timestamp,
        allow_expired: bool,
    ) -> Result<Arc<Verified>, Refusal> {
        let verified = self.own_of(credential.token().expose(), login, Kind::Access)?;
        let key = credential.key().map(|key| key.expose().as_str());
        match verified.admit(key, now, &self.revocations) {
            Err(refusal) if refusal.reason == Reason::TokenExpired && allow_expired => {
                verified.check_revoked(&self.revocations)?;
            }
            other => other?,
        }
        Ok(Arc::new(verified))
    }

    /// Whether a token says that we issued it, proved or not: it is nobody else's to see.
    pub fn names_us(&self, token: &str) -> bool {
        let claims = Compact::parse(token).and_then(|token| token.claims());
        claims.is_ok_and(|claims| {
            claims::text(&claims, "iss").ok().flatten().is_some_and(|iss| self.own.issues_as(iss))
        })
    }

    /// Forgets remembered tokens that have expired; called by the back room.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.sweep(now);
    }

    /// How many tokens are remembered, for a gauge.
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// The epoch of the keys that a token like this would be verified by now.
    fn epoch(&self, verified: &Verified) -> u64 {
        if verified.own {
            return self.ring.epoch();
        }
        let issuer = self.foreign.iter().find(|one| *one.name() == verified.identity.issuer);
        issuer.map_or(u64::MAX, Foreign::epoch)
    }

    fn own_of(&self, token: &str, login: &str, kind: Kind) -> Result<Verified, Refusal> {
        let own = || {
            let token = Compact::parse(token)?;
            self.own.verify(&token, token.claims()?, &self.ring.public(), kind)
        };
        let verified = own().map_err(Refusal::invalid)?;
        if verified.identity.login.as_ref() != login {
            return Err(Refusal::invalid("the token was issued by another login"));
        }
        Ok(verified)
    }

    /// Signature and everything about the claims that does not change with time. `iss` is used
    /// before the signature holds, but only to choose whose keys must verify it.
    fn examine(&self, token: &str) -> Result<(Verified, u64), Cause> {
        let token = Compact::parse(token)?;
        let claims = token.claims()?;
        let issuer = claims::text(&claims, "iss")?;
        if issuer.is_some_and(|issuer| self.own.issues_as(issuer)) {
            let keys = self.ring.public();
            let verified = self.own.verify(&token, claims, &keys, Kind::Access)?;
            return Ok((verified, keys.epoch()));
        }
        self.examine_foreign(&token, &claims, issuer)
    }

    fn examine_foreign(
        &self,
        token: &Compact<'_>,
        claims: &Claims,
        issuer: Option<&str>,
    ) -> Result<(Verified, u64), Cause> {
        let mut cause = "no issuer that is accepted here issued the token";
        for foreign in self.foreign.iter().filter(|foreign| foreign.may_issue(issuer)) {
            match foreign.verify(token, claims) {
                Ok(verified) => return Ok((verified, foreign.epoch())),
                Err(refused) => cause = refused,
            }
        }
        Err(cause)
    }
}
