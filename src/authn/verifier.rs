//! The verifier: from a presented token to a verified identity or a refusal.
//!
//! `verify_from` is synchronous and does no I/O: keys, rules and revocations are in memory. If
//! something is missing, it returns a `RemoteLookup`, which `verify_from_with_lookup` runs on the
//! background runtime. Verified tokens are cached (`verified_cache`), but whether they may be used now is
//! checked on every request. The pipeline and `login` are the callers.
//!
//! Invariant: `verify_from` gives the same answer with and without the cache.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::claimed_issuer::ClaimedIssuer;
use super::claims;
use super::credential::TokenCredential;
use super::external_issuer::ExternalIssuer;
use super::issuer_rules::IssuerError;
use super::jwks_cache::{JwksCache, RemoteIssuer};
use super::jws::{CompactJws, MAX_TOKEN};
use super::local_issuer::{LocalIssuer, TokenType};
use super::opaque::{self, LookupClient, OpaqueIssuer, TokenLookup};
use super::remote_lookup::{RemoteLookup, VerifyError};
use super::renewals::{DueRenewals, TokenRenewal};
use super::session_tokens::{NO_SESSION, SessionTokens};
use super::token_place::AcceptedIssuers;
use super::token_uses::{TokenExtension, TokenUses};
use super::verified::{TokenError, VerifiedCredential};
use super::verified_cache::VerifiedCache;
use crate::admission::AttemptLimit;
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::secret::Digest;
use crate::session::{Revocations, Session, Store};
use crate::settings::{IssuerSettings, LoginSettings};
use crate::token::KeyRing;

/// The parts from which a verifier is made.
#[derive(Debug)]
pub struct VerifierOptions<'a> {
    pub ring: Arc<KeyRing>,
    pub logins: &'a [LoginSettings],
    pub issuers: &'a [IssuerSettings],
    pub revocations: Arc<Revocations>,
    /// Knows the sessions of opaque tokens.
    pub store: Arc<dyn Store>,
    /// Tolerated difference of clocks for our own tokens.
    pub leeway: Duration,
    /// Upper bound of cached tokens; 0 disables the cache.
    pub cache_size: usize,
    /// How many unknown tokens one address may present.
    pub refusals: AttemptLimit,
    /// The verifier of the previous generation. Its fetched keys and verdicts are kept for issuers
    /// that did not change.
    pub last: Option<&'a Verifier>,
}

/// A configured issuer whose tokens could never be verified.
#[derive(Debug, thiserror::Error)]
#[error("issuer `{issuer}` has no usable key")]
pub struct VerifierError {
    pub issuer: String,
    #[source]
    pub source: IssuerError,
}

/// Verifies tokens for one generation of the configuration.
#[derive(Debug)]
pub struct Verifier {
    pub(super) ring: Arc<KeyRing>,
    pub(super) local: LocalIssuer,
    pub(super) foreign: Vec<ExternalIssuer>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) sessions: Arc<SessionTokens>,
    pub(super) cache: VerifiedCache,
    renewals: Arc<DueRenewals>,
    /// Opaque tokens of ours whose end their use has moved.
    uses: Arc<TokenUses>,
    refusals: AttemptLimit,
    warnings: Vec<String>,
}

/// The client that presents a credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestClient<'a> {
    /// SHA-256 of the client certificate of this connection. A token that is bound to a certificate
    /// is refused without it (RFC 8705 §3).
    pub certificate: Option<&'a Digest>,
    /// The client's group of addresses; `None` for an address that many clients share.
    pub origin: Option<IpAddr>,
}

impl Verifier {
    /// Creates a verifier for these logins and issuers.
    ///
    /// # Errors
    /// An issuer without a single usable key: its tokens would be refused for ever.
    pub fn new(options: VerifierOptions<'_>) -> Result<Self, VerifierError> {
        let mut foreign = Vec::new();
        let mut warnings = Vec::new();
        for issuer in options.issuers {
            let known = options.last.map(|last| last.foreign.as_slice()).unwrap_or_default();
            let made = ExternalIssuer::new(issuer, known)
                .map_err(|source| VerifierError { issuer: issuer.name.clone(), source })?;
            let (ready, remarks) = made;
            for remark in remarks {
                let name = &issuer.name;
                let key = remark.key;
                warnings.push(format!("issuer `{name}`, key `{key}`: {}", remark.remark));
            }
            foreign.push(ready);
        }
        Ok(Self {
            ring: options.ring,
            local: LocalIssuer::new(options.logins, options.leeway),
            foreign,
            revocations: options.revocations,
            sessions: Arc::new(SessionTokens::new(
                options.logins,
                options.store,
                options.leeway,
                options.last.map(|last| &*last.sessions),
            )),
            cache: VerifiedCache::new(options.cache_size),
            renewals: options.last.map(|last| last.renewals.clone()).unwrap_or_default(),
            uses: options.last.map(|last| last.uses.clone()).unwrap_or_default(),
            refusals: options.refusals,
            warnings,
        })
    }

    /// The same verifier, which causes no renewal of a verdict and moves the end of no token. For a
    /// dry run.
    #[must_use]
    pub fn without_renewals(self) -> Self {
        let renewals = Arc::new(DueRenewals::closed());
        Self { renewals, uses: Arc::new(TokenUses::closed()), ..self }
    }

    /// Sentences for the operator about issuers' keys that are not used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Verifies a credential; asks remote issuers if that is needed. A token that does not name its
    /// issuer is shown only to `issuers`. Runs on the background runtime.
    ///
    /// # Errors
    /// The refusal of the credential, or `Unavailable` if its validity could not be found out.
    pub async fn verify_from_with_lookup(
        &self,
        credential: &TokenCredential,
        issuers: AcceptedIssuers<'_>,
        presenter: RequestClient<'_>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let RequestClient { certificate, origin } = presenter;
        let attempt = || self.verify_from(credential, issuers, certificate, now);
        let mut inquiry = match needed_lookup(attempt()) {
            Ok(inquiry) => inquiry,
            Err(judged) => return judged,
        };
        let asker = LookupClient { origin, refusals: self.refusals };
        if let RemoteLookup::Session(lookup) = &inquiry {
            if let Some(verified) = lookup.run(origin, now).await? {
                let key = credential.key().map(|key| key.expose().as_str());
                verified.check_usable(key, certificate, now, &self.revocations)?;
                self.remember_session(&verified, now);
                self.uses.add_due(&verified, now);
                return Ok(verified);
            }
            // None of ours, and that is remembered: another issuer may have tokens of this form.
            inquiry = match needed_lookup(attempt()) {
                Ok(inquiry) => inquiry,
                Err(judged) => return judged,
            };
        }
        // One lookup, then one more attempt from memory. A second `NeedsLookup` becomes 503: a loop
        // could keep a request busy for as long as its issuer keeps changing.
        inquiry.run(asker, now).await?;
        self.verify_from(credential, issuers, certificate, now).map_err(VerifyError::without_lookup)
    }

    /// Waits for tokens whose good verdicts are about to end. The caller, on the background
    /// runtime, asks about them.
    pub async fn renewals(&self) -> Vec<TokenRenewal> {
        self.renewals.next(LookupClient { origin: None, refusals: self.refusals }).await
    }

    /// Waits for tokens whose end their use has moved. The caller, on the background runtime, writes
    /// them with `extend`.
    pub async fn extensions(&self) -> Vec<TokenExtension> {
        self.uses.next().await
    }

    /// Remembers a token of ours with the end that it has now in its session.
    pub fn note_moved(&self, session: &Session, token: &Digest, now: Timestamp) {
        if let Some(moved) = self.sessions.credential(session, token) {
            self.remember_session(&Arc::new(moved), now);
        }
    }

    /// Moves the end of a token that was used, in the store and in memory.
    pub async fn extend(&self, extension: TokenExtension, now: Timestamp) {
        let TokenExtension { verified, until } = extension;
        if let Some(session) = self.sessions.move_end(&verified, until, now).await {
            self.note_moved(&session, &verified.digest, now);
        }
        self.uses.written(&verified.digest);
    }

    /// `verify_from` with all issuers, for a client without a certificate.
    pub fn verify(
        &self,
        credential: &TokenCredential,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, VerifyError> {
        self.verify_from(credential, AcceptedIssuers::ALL, None, now)
    }

    /// Verifies a credential by what is in memory. If that is not enough, the returned inquiry asks
    /// only `issuers`. `certificate` is the digest of the client's
    /// certificate.
    ///
    /// # Errors
    /// A refusal, or an inquiry whose answer is needed first.
    pub fn verify_from(
        &self,
        credential: &TokenCredential,
        issuers: AcceptedIssuers<'_>,
        certificate: Option<&Digest>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, VerifyError> {
        let token = credential.token().expose();
        let key = credential.key().map(|key| key.expose().as_str());
        if token.len() > MAX_TOKEN {
            return Err(TokenError::invalid("the token is too long").into());
        }
        // The digest of the whole token is the key of the cache, so a cached token with an altered
        // signature is never found.
        let digest = Digest::of(token.as_bytes());
        // The issuer's keys may have changed since the token was cached. If the epochs differ, the
        // entry is ignored and the token is verified again. A key that an issuer has withdrawn must
        // not stay accepted through the cache.
        if let Some((verified, epoch)) = self.cache.find(&digest, now)
            && self.epoch(&verified, now) == Some(epoch)
            && !verified.may_have_moved(now)
        {
            verified.check_usable(key, certificate, now, &self.revocations)?;
            self.uses.add_due(&verified, now);
            return Ok(verified);
        }
        let judged = self.lookup_result(credential, issuers, now);
        // A token of this form that another issuer has vouched for is not looked up again.
        if !matches!(judged, Some(Ok(_)))
            && let Some(lookup) = self.sessions.lookup(token, now)
        {
            return Err(VerifyError::NeedsLookup(RemoteLookup::Session(lookup)));
        }
        if let Some(judged) = judged {
            let verified = judged?;
            verified.check_usable(key, certificate, now, &self.revocations)?;
            return Ok(verified);
        }
        if self.sessions.fits(token) {
            return Err(NO_SESSION.into());
        }
        let (verified, epoch) = self.examine(token, now)?;
        // Only an admitted token is cached. A token that is refused now would take the place of a
        // useful one. A token that becomes valid later is verified again then.
        verified.check_usable(key, certificate, now, &self.revocations)?;
        let verified = Arc::new(verified);
        self.cache.keep(digest, epoch, verified.clone(), now);
        Ok(verified)
    }

    /// True if a token names us as its issuer, verified or not, or has the form of our opaque tokens.
    /// Such a token must not be shown to anybody else.
    pub fn claims_local_issuer(&self, token: &str) -> bool {
        if self.sessions.fits(token) {
            return true;
        }
        let claims = CompactJws::parse(token).and_then(|token| token.claims());
        claims.is_ok_and(|claims| {
            claims::text(&claims, "iss").ok().flatten().is_some_and(|iss| self.local.issues_as(iss))
        })
    }

    /// Removes expired tokens from the cache and old counts of unknown tokens. The background
    /// runtime calls it regularly.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.sweep(now);
        self.sessions.sweep(now);
        for opaque in self.foreign.iter().filter_map(ExternalIssuer::opaque) {
            opaque.sweep(now);
        }
    }

    /// The number of cached tokens, for a metric.
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// Fetches all keys that are due; returns the time of the next fetch. Runs on the background
    /// runtime.
    pub async fn refresh(&self, now: Timestamp) -> Option<Timestamp> {
        let mut fetches: Vec<_> =
            self.remotes(now).map(|remote| Box::pin(remote.refresh(now))).collect();
        // All fetches run at once in this task. If they ran in turn, a slow issuer would delay the
        // keys of the others.
        let all = std::future::poll_fn(|context| {
            fetches.retain_mut(|fetch| fetch.as_mut().poll(context).is_pending());
            if fetches.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        all.await;
        self.remotes(now).map(|remote| remote.due()).min()
    }

    /// The state of the issuers that are asked for keys or about tokens, for operators.
    pub fn remote_issuers(&self, now: Timestamp) -> Vec<RemoteIssuer> {
        let opaque = self
            .foreign
            .iter()
            .filter(|one| !one.has_ended(now))
            .filter_map(ExternalIssuer::opaque);
        let remotes = self.remotes(now).map(|remote| remote.status(now));
        remotes.chain(opaque.map(|opaque| opaque.status())).collect()
    }

    /// The issuers with published keys whose takeover has not ended.
    fn remotes(&self, now: Timestamp) -> impl Iterator<Item = &Arc<JwksCache>> {
        self.foreign
            .iter()
            .filter(move |one| !one.has_ended(now))
            .filter_map(ExternalIssuer::remote)
    }

    /// The current epoch of the keys that would verify a token of this issuer now. `None` for an
    /// issuer that is not configured any more or whose keys are too old: its cached tokens are not
    /// used.
    fn epoch(&self, verified: &VerifiedCredential, now: Timestamp) -> Option<u64> {
        if verified.is_local() {
            return Some(self.ring.epoch());
        }
        let issuer = self.foreign.iter().find(|one| *one.name() == verified.identity.issuer);
        issuer.and_then(|issuer| issuer.epoch(now))
    }

    /// The issuers of `among` that may be asked about a credential.
    pub(super) fn possible_issuers(
        &self,
        credential: &TokenCredential,
        among: AcceptedIssuers<'_>,
    ) -> Vec<Arc<OpaqueIssuer>> {
        let is_among = |issuer: &&Arc<OpaqueIssuer>| among.has(issuer.name());
        let issuers: Vec<_> =
            self.foreign.iter().filter_map(ExternalIssuer::opaque).filter(is_among).collect();
        if issuers.is_empty() {
            return Vec::new();
        }
        let named = ClaimedIssuer::of(credential.token().expose());
        let may_know =
            |issuer: &&Arc<OpaqueIssuer>| issuer.may_know(credential, among.place, &named);
        issuers.into_iter().filter(may_know).cloned().collect()
    }

    /// True if one of these issuers would be asked about the credential.
    pub fn asks_about(&self, credential: &TokenCredential, among: AcceptedIssuers<'_>) -> bool {
        !self.possible_issuers(credential, among).is_empty()
    }

    /// The remembered verdict on a credential that only a remote issuer can judge. `None` if no
    /// such issuer is responsible, so that the credential is verified locally.
    fn lookup_result(
        &self,
        credential: &TokenCredential,
        among: AcceptedIssuers<'_>,
        now: Timestamp,
    ) -> Option<Result<Arc<VerifiedCredential>, VerifyError>> {
        let mut candidates = self.possible_issuers(credential, among);
        candidates.retain(|issuer| !issuer.has_ended(now));
        if candidates.is_empty() {
            return None;
        }
        let digest = opaque::verdict_digest(credential);
        let Some(verdict) = opaque::remembered_verdict(&candidates, &digest, now) else {
            let lookup = TokenLookup::new(candidates, credential.clone());
            return Some(Err(VerifyError::NeedsLookup(RemoteLookup::Token(lookup))));
        };
        if verdict.is_ok() {
            self.renewals.add_due(&candidates, credential, &digest, now);
        }
        Some(verdict.map_err(VerifyError::from))
    }

    /// Verifies the signature and all claims that do not change with time. `iss` is read before the
    /// signature is verified, but it only chooses the keys that must verify it.
    fn examine(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(VerifiedCredential, u64), VerifyError> {
        let token = CompactJws::parse(token).map_err(TokenError::invalid)?;
        let claims = token.claims().map_err(TokenError::invalid)?;
        let issuer = claims::text(&claims, "iss").map_err(TokenError::invalid)?;
        if issuer.is_some_and(|issuer| self.local.issues_as(issuer)) {
            let keys = self.ring.public();
            let verified = self.local.verify(&token, claims, &keys, TokenType::Access);
            let verified = verified.map_err(|cause| {
                let refusal = TokenError::invalid(cause);
                let is_unknown = keys.find(token.key_id(), token.algorithm()).is_none();
                let look = self.ring.newer_keys().filter(|_| is_unknown);
                look.map_or(VerifyError::Rejected(refusal), |look| {
                    VerifyError::NeedsLookup(RemoteLookup::OwnKeys(look, refusal))
                })
            });
            return Ok((verified?, keys.epoch()));
        }
        self.examine_foreign(&token, claims, now)
    }

    /// Tries the issuers that could have issued the token, in the order of the configuration.
    /// Several can share one `iss`, and a token without `iss` can belong to each issuer that does
    /// not require it.
    fn examine_foreign(
        &self,
        token: &CompactJws<'_>,
        claims: Claims,
        now: Timestamp,
    ) -> Result<(VerifiedCredential, u64), VerifyError> {
        let nobody = TokenError::invalid("no issuer that is accepted here issued the token");
        let mut unproved = VerifyError::from(nobody);
        let issuer = claims::text(&claims, "iss").map_err(TokenError::invalid)?;
        for foreign in self.foreign.iter().filter(|foreign| foreign.may_issue(issuer)) {
            match foreign.verify(token, &claims, now) {
                Ok((mut verified, epoch)) => {
                    verified.identity.claims = claims;
                    return Ok((verified, epoch));
                }
                // A later issuer's answer replaces a refusal. If one issuer's keys are unknown,
                // that is the answer, because this issuer might have accepted the token.
                Err(other) if unproved.is_rejected() => unproved = other.into(),
                Err(_) => {}
            }
        }
        Err(unproved)
    }
}

/// The lookup that an attempt needs; the other way round if it needs none.
fn needed_lookup(
    attempt: Result<Arc<VerifiedCredential>, VerifyError>,
) -> Result<RemoteLookup, Result<Arc<VerifiedCredential>, TokenError>> {
    match attempt {
        Err(VerifyError::NeedsLookup(lookup)) => Ok(lookup),
        Err(VerifyError::Rejected(refusal)) => Err(Err(refusal)),
        Ok(verified) => Err(Ok(verified)),
    }
}
