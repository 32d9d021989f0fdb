//! The verifier: from a presented credential to a proved identity, or a refusal.
//!
//! `verify` is synchronous and without I/O: keys, rules and revocations are in memory. Where they
//! are not, it hands out a question, which `prove` asks. A token that verified before is
//! remembered (see `cache`); whether it may be used now is asked every time.
//!
//! Invariant: `verify` answers the same with and without the memory.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::asked::Asker;
use super::cache::Cache;
use super::claims;
use super::credential::Credential;
use super::foreign::{Foreign, IssuerError};
use super::inquiry::Unproved;
use super::jws::{Compact, MAX_TOKEN};
use super::own::{Kind, Own};
use super::remote::{Remote, RemoteIssuer};
use super::renewals::{Renewal, Renewals};
use super::verified::{Refusal, Verified};
use crate::admission::AttemptLimit;
use crate::clock::Timestamp;
use crate::config::{Issuer, Login};
use crate::dialect::Reason;
use crate::identity::{Claims, SessionId, Subject};
use crate::secret::Digest;
use crate::session::Revocations;
use crate::token::{GENERATION_CLAIM, KeyRing};

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
    /// How many tokens that nobody knows an address may bring.
    pub refusals: AttemptLimit,
    /// Whose fetched keys are taken over, where the issuer is still the same.
    pub last: Option<&'a Verifier>,
}

/// An issuer whose tokens could never be verified.
#[derive(Debug, thiserror::Error)]
#[error("issuer `{issuer}` has no usable key")]
pub struct VerifierError {
    pub issuer: String,
    #[source]
    pub source: IssuerError,
}

/// Proves tokens.
#[derive(Debug)]
pub struct Verifier {
    pub(super) ring: Arc<KeyRing>,
    pub(super) own: Own,
    pub(super) foreign: Vec<Foreign>,
    pub(super) revocations: Arc<Revocations>,
    cache: Cache,
    pub(super) renewals: Arc<Renewals>,
    refusals: AttemptLimit,
    warnings: Vec<String>,
}

/// Who presents a credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presenter<'a> {
    /// The print of the certificate that the client showed on this connection: a token that is bound
    /// to a certificate is refused without it.
    pub certificate: Option<&'a Digest>,
    /// The client's group of addresses, unless many share it.
    pub origin: Option<IpAddr>,
}

/// What a refresh token of ours says, once it is proved.
#[derive(Clone, Debug)]
pub struct RefreshFacts {
    pub session: SessionId,
    pub subject: Subject,
    pub jti: String,
    /// Which of its session's refresh tokens it is; tokens of earlier versions do not say.
    pub generation: Option<u32>,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl Verifier {
    /// A verifier for these logins and issuers. Fails where an issuer's keys are all unusable:
    /// its tokens would be refused for ever.
    pub fn new(options: VerifierOptions<'_>) -> Result<Self, VerifierError> {
        let (mut foreign, mut warnings) = (Vec::new(), Vec::new());
        for issuer in options.issuers {
            let known = options.last.map(|last| last.foreign.as_slice()).unwrap_or_default();
            let made = Foreign::new(issuer, known)
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
            renewals: options.last.map(|last| last.renewals.clone()).unwrap_or_default(),
            refusals: options.refusals,
            warnings,
        })
    }

    /// Keys of issuers that are not used, as sentences for the operator.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Proves a credential, asking others where that is needed: only these issuers (none: all)
    /// see a token that does not say whose it is. Waits: for the back room.
    pub async fn prove_among(
        &self,
        credential: &Credential,
        issuers: &[String],
        presenter: Presenter<'_>,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refusal> {
        let Presenter { certificate, origin } = presenter;
        let inquiry = match self.verify_among(credential, issuers, certificate, now) {
            Ok(verified) => return Ok(verified),
            Err(Unproved::Refused(refusal)) => return Err(refusal),
            Err(Unproved::Ask(inquiry)) => inquiry,
        };
        inquiry.ask(Asker { origin, refusals: self.refusals }, now).await?;
        self.verify_among(credential, issuers, certificate, now).map_err(Unproved::unasked)
    }

    /// Waits for tokens whose good verdicts are about to end, to be asked about in the back room.
    pub async fn renewals(&self) -> Vec<Renewal> {
        self.renewals.next(Asker { origin: None, refusals: self.refusals }).await
    }

    /// `verify_among` all issuers, for a client that showed no certificate.
    pub fn verify(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Unproved> {
        self.verify_among(credential, &[], None, now)
    }

    /// Proves a credential by what is known already. Where that is not enough, only these issuers
    /// (none: all) are to be asked whose it is. `certificate` as for `prove_among`.
    pub fn verify_among(
        &self,
        credential: &Credential,
        issuers: &[String],
        certificate: Option<&Digest>,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Unproved> {
        let token = credential.token().expose();
        let key = credential.key().map(|key| key.expose().as_str());
        if token.len() > MAX_TOKEN {
            return Err(Refusal::invalid("the token is too long").into());
        }
        let digest = Digest::of(token.as_bytes());
        if let Some((verified, epoch)) = self.cache.find(&digest, now)
            && self.epoch(&verified, now) == Some(epoch)
        {
            verified.admit(key, certificate, now, &self.revocations)?;
            return Ok(verified);
        }
        if let Some(judged) = self.judged_elsewhere(credential, issuers, now) {
            let verified = judged?;
            verified.admit(key, certificate, now, &self.revocations)?;
            return Ok(verified);
        }
        let (verified, epoch) = self.examine(token, now)?;
        verified.admit(key, certificate, now, &self.revocations)?;
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
        verified.admit(None, None, now, &self.revocations)?;
        let (Some(session), Some(jti)) = (verified.identity.session, verified.token_id) else {
            return Err(Refusal::invalid("the token names no session"));
        };
        let generation = verified.identity.claims.get(GENERATION_CLAIM);
        let generation = generation.and_then(|number| u32::try_from(number.as_u64()?).ok());
        let (subject, jti) = (verified.identity.subject, jti.to_string());
        let (issued, expires) = (verified.issued, verified.expires);
        Ok(RefreshFacts { session, subject, jti, generation, issued, expires })
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
        match verified.admit(key, None, now, &self.revocations) {
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

    /// Forgets remembered tokens that have expired, and failures that do not count any more; called by the back room.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.sweep(now);
        for asked in self.foreign.iter().filter_map(Foreign::asked) {
            asked.sweep(now);
        }
    }

    /// How many tokens are remembered, for a gauge.
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// Fetches the keys that are due; returns when the next are. Waits: for the back room.
    pub async fn refresh(&self, now: Timestamp) -> Option<Timestamp> {
        let mut fetches: Vec<_> =
            self.remotes(now).map(|remote| Box::pin(remote.refresh(now))).collect();
        // All at once: a slow issuer keeps nobody else's keys waiting.
        let all = std::future::poll_fn(|context| {
            fetches.retain_mut(|fetch| fetch.as_mut().poll(context).is_pending());
            if fetches.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        all.await;
        self.remotes(now).map(|remote| remote.due()).min()
    }

    /// The issuers that are asked for their keys or about their tokens, and how that went.
    pub fn remote_issuers(&self, now: Timestamp) -> Vec<RemoteIssuer> {
        let asked = self.foreign.iter().filter(|one| !one.is_over(now)).filter_map(Foreign::asked);
        let remotes = self.remotes(now).map(|remote| remote.told(now));
        remotes.chain(asked.map(|asked| asked.told())).collect()
    }

    fn remotes(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Remote>> {
        self.foreign.iter().filter(move |one| !one.is_over(now)).filter_map(Foreign::remote)
    }

    /// The epoch of the keys that a token like this would be verified by now.
    fn epoch(&self, verified: &Verified, now: Timestamp) -> Option<u64> {
        if verified.own {
            return Some(self.ring.epoch());
        }
        let issuer = self.foreign.iter().find(|one| *one.name() == verified.identity.issuer);
        issuer.and_then(|issuer| issuer.epoch(now))
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
    fn examine(&self, token: &str, now: Timestamp) -> Result<(Verified, u64), Unproved> {
        let token = Compact::parse(token).map_err(Refusal::invalid)?;
        let claims = token.claims().map_err(Refusal::invalid)?;
        let issuer = claims::text(&claims, "iss").map_err(Refusal::invalid)?;
        if issuer.is_some_and(|issuer| self.own.issues_as(issuer)) {
            let keys = self.ring.public();
            let verified = self.own.verify(&token, claims, &keys, Kind::Access);
            return Ok((verified.map_err(Refusal::invalid)?, keys.epoch()));
        }
        self.examine_foreign(&token, claims, now)
    }

    fn examine_foreign(
        &self,
        token: &Compact<'_>,
        claims: Claims,
        now: Timestamp,
    ) -> Result<(Verified, u64), Unproved> {
        let nobody = Refusal::invalid("no issuer that is accepted here issued the token");
        let mut unproved = Unproved::from(nobody);
        let issuer = claims::text(&claims, "iss").map_err(Refusal::invalid)?;
        for foreign in self.foreign.iter().filter(|foreign| foreign.may_issue(issuer)) {
            match foreign.verify(token, &claims, now) {
                Ok((mut verified, epoch)) => {
                    verified.identity.claims = claims;
                    return Ok((verified, epoch));
                }
                // What one issuer does not know is no refusal by another.
                Err(other) if unproved.is_refused() => unproved = other,
                Err(_) => {}
            }
        }
        Err(unproved)
    }
}
