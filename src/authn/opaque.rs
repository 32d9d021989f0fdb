//! Remote verification: credentials that only their issuer can judge (opaque tokens, and tokens and
//! pairs of a legacy system).
//!
//! Workers use remembered verdicts (`lookup_cache`). The background runtime asks the issuer, with
//! single flight per token. If the issuer does not answer, the result is 503 and is not remembered.
//! A token that names us or another issuer is never sent to this issuer.
//!
//! Anybody can invent tokens. Therefore calls are shared out round-robin by client (`FairQueue`),
//! and invented tokens count against the client's address (`FailedAttempts`); beyond the limit they
//! are refused without a call. A good verdict is renewed before it ends, outside any client's
//! share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::claimed_issuer::ClaimedIssuer;
use super::credential::TokenCredential;
use super::introspect::IntrospectionClient;
use super::issuer_rules::IssuerError;
use super::jwks_cache::RemoteIssuer;
use super::legacy_sessions::SessionClient;
use super::lookup_cache::{GRACE, LookupAnswer, LookupCache, LookupVerdict};
use super::token_place::TokenPlace;
use super::verified::TokenError;
use crate::admission::{AttemptLimit, FailedAttempts, FairQueue};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::outbound;
use crate::secret::Digest;
use crate::settings::{IssuerKeys, IssuerSettings};
use crate::single_flight::SingleFlight;

/// How long a refusal is remembered.
const REFUSED: Duration = Duration::from_secs(5);

/// Upper bound of tokens of one issuer that are asked about or wait for their turn at once.
const FLIGHTS: usize = 1000;

/// Upper bound of requests that wait for one lookup. Each of them occupies a place in the
/// background runtime; one token that many clients present could otherwise occupy all places.
const WAITING: usize = 512;

const UNKNOWN: TokenError = TokenError {
    reason: Reason::Unavailable,
    cause: "the issuer could not be asked about the token",
};

const BUSY: TokenError =
    TokenError { reason: Reason::Unavailable, cause: "too many tokens are being looked up" };

/// The answer to a new token from an address that is over the limit of unknown tokens.
const TOO_MANY_UNKNOWN: TokenError = TokenError {
    reason: Reason::TokenInvalid,
    cause: "the address has presented too many unknown tokens",
};

/// A good verdict is renewed in the last quarter of its life.
const LAST_PART: u32 = 4;

/// The client on whose behalf an issuer is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookupClient {
    /// The client's address. `None` for an address that many clients share, and for renewals.
    pub(super) origin: Option<IpAddr>,
    /// How many unknown tokens one address may present.
    pub(super) refusals: AttemptLimit,
}

/// An issuer that is asked about each of its tokens.
#[derive(Debug)]
pub(super) struct OpaqueIssuer {
    name: Arc<str>,
    rules: IssuerSettings,
    backend: LookupBackend,
    cache: Duration,
    verdicts: LookupCache,
    /// The lookups under way, by digest. The result says whether the issuer answered; the answer
    /// itself is with the verdicts.
    flights: SingleFlight<Digest, bool>,
    /// Permits for calls to the issuer.
    queue: FairQueue,
    /// Unknown tokens, counted by address.
    refused: FailedAttempts,
    history: Mutex<LookupHistory>,
}

/// Counters and the last outcome of the calls, for operators.
#[derive(Debug, Default)]
struct LookupHistory {
    answered: u64,
    failed: u64,
    /// The time of the last answer.
    at: Option<Timestamp>,
    /// The error of the last call, if that call failed.
    problem: Option<String>,
}

/// The interface through which the issuer is asked.
#[derive(Debug)]
enum LookupBackend {
    Issuer(IntrospectionClient),
    Sessions(SessionClient),
}

/// A question about one token, for the issuers that could know it. They are asked in order until
/// one accepts the token.
#[derive(Clone, Debug)]
pub struct TokenLookup {
    candidates: Vec<Arc<OpaqueIssuer>>,
    credential: TokenCredential,
}

impl TokenLookup {
    /// A lookup at these issuers, in their order.
    pub(super) fn new(candidates: Vec<Arc<OpaqueIssuer>>, credential: TokenCredential) -> Self {
        Self { candidates, credential }
    }

    pub(super) fn issuers(&self) -> Vec<Arc<str>> {
        self.candidates.iter().map(|issuer| issuer.name.clone()).collect()
    }

    // One issuer that cannot be reached must not turn another's acceptance into 503. It does turn a
    // refusal into 503, because the unreached issuer might have accepted.
    pub(super) async fn run(self, asker: LookupClient, now: Timestamp) -> Result<(), TokenError> {
        let mut unknown = Ok(());
        for issuer in &self.candidates {
            match issuer.look_up(&self.credential, asker, now).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(refusal) => unknown = Err(refusal),
            }
        }
        unknown
    }
}

impl OpaqueIssuer {
    /// Creates the state for an issuer, with no verdicts.
    pub(super) fn new(issuer: &IssuerSettings) -> Result<Self, IssuerError> {
        let (backend, cache) = match &issuer.keys {
            IssuerKeys::Sessions(sessions) => {
                (LookupBackend::Sessions(SessionClient::new(issuer, sessions)?), sessions.cache)
            }
            IssuerKeys::Introspection(options) => {
                (LookupBackend::Issuer(IntrospectionClient::new(issuer, options)?), options.cache)
            }
            // Invariant: an issuer with keys verifies its tokens locally and is never asked.
            _ => return Err(crate::token::BadKey("its tokens are not verified remotely").into()),
        };
        Ok(Self {
            name: issuer.name.as_str().into(),
            rules: issuer.clone(),
            queue: FairQueue::new(backend.parallel(), FLIGHTS),
            refused: FailedAttempts::default(),
            backend,
            cache,
            verdicts: LookupCache::default(),
            flights: SingleFlight::new(FLIGHTS, WAITING),
            history: Mutex::default(),
        })
    }

    /// True if the verdicts are still valid for `issuer`, so that a reload can keep them.
    pub(super) fn serves(&self, issuer: &IssuerSettings) -> bool {
        self.rules == *issuer
    }

    /// True if this issuer may be asked about a credential of this kind and place that names this
    /// issuer or none.
    pub(super) fn may_know(
        &self,
        credential: &TokenCredential,
        place: TokenPlace<'_>,
        named: &ClaimedIssuer,
    ) -> bool {
        match &self.backend {
            LookupBackend::Issuer(_) => {
                let is_usual = matches!(place, TokenPlace::Usual);
                is_usual
                    && credential.key().is_none()
                    && match named {
                        ClaimedIssuer::Opaque => true,
                        ClaimedIssuer::By(iss) => *iss == self.rules.issuer,
                        _ => false,
                    }
            }
            LookupBackend::Sessions(sessions) => {
                matches!(named, ClaimedIssuer::Opaque | ClaimedIssuer::Nobody)
                    && sessions.has_tokens_at(place, credential)
            }
        }
    }

    fn find(&self, digest: &Digest, now: Timestamp) -> Option<LookupVerdict> {
        self.verdicts.find(digest, now)
    }

    /// True if the period in which the issuer is accepted (its takeover) has ended.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.rules.until.is_some_and(|until| until <= now)
    }

    /// Returns whether the token is good; asks the issuer if no verdict is remembered.
    async fn look_up(
        &self,
        credential: &TokenCredential,
        asker: LookupClient,
        now: Timestamp,
    ) -> Result<bool, TokenError> {
        let digest = verdict_digest(credential);
        if let Some(verdict) = self.find(&digest, now) {
            return Ok(verdict.is_ok());
        }
        let is_over = || !self.verdicts.knows(&digest) && self.is_flooded_by(asker, now);
        if is_over() {
            return Err(TOO_MANY_UNKNOWN);
        }
        let asking = async {
            // Another question may have been answered between the search above and joining the
            // flight. Without a second search, this token would be asked about twice. Every call
            // costs the client one of its turns.
            self.find(&digest, now).is_some()
                || self.query_backend(credential, digest, asker, now).await
        };
        let is_known = self.flights.run(digest, Box::pin(asking)).await.ok_or(BUSY)?;
        match self.find(&digest, now).filter(|_| is_known) {
            Some(verdict) => Ok(verdict.is_ok()),
            // Earlier tokens of the same address were refused while this one waited for its turn,
            // and the address has now reached its limit.
            None if is_over() => Err(TOO_MANY_UNKNOWN),
            None => Err(UNKNOWN),
        }
    }

    /// True if the asker's address has presented as many unknown tokens as it may.
    fn is_flooded_by(&self, asker: LookupClient, now: Timestamp) -> bool {
        self.refused.wait(asker.origin, asker.refusals, now).is_some()
    }

    /// Forgets counts that no longer matter.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.refused.sweep(now);
    }

    /// The name of the issuer in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// True if a good verdict is about to end and its renewal should start. It returns true once;
    /// later calls return false until the renewal has ended or `was_not_renewed` was called.
    pub(super) fn is_renewal_due(&self, digest: &Digest, now: Timestamp) -> bool {
        self.verdicts.is_due(digest, self.cache / LAST_PART, now)
    }

    /// Records that a renewal that was due is not done.
    pub(super) fn was_not_renewed(&self, digest: &Digest) {
        self.verdicts.was_not_answered(digest);
    }

    /// Asks again about a token whose good verdict is about to end.
    pub(super) async fn renew(
        &self,
        credential: &TokenCredential,
        asker: LookupClient,
        now: Timestamp,
    ) {
        let digest = verdict_digest(credential);
        let asking = self.query_backend(credential, digest, asker, now);
        if self.flights.run(digest, Box::pin(asking)).await != Some(true) {
            self.was_not_renewed(&digest);
        }
    }

    async fn query_backend(
        &self,
        credential: &TokenCredential,
        digest: Digest,
        asker: LookupClient,
        now: Timestamp,
    ) -> bool {
        let turn = tokio::time::timeout(outbound::TIMEOUT, self.queue.take(asker.origin)).await;
        // The time limit ended in the queue. The issuer did nothing wrong, so no failure is
        // recorded.
        let Ok(Ok(_turn)) = turn else { return false };
        let is_new = !self.verdicts.knows(&digest);
        if is_new && self.is_flooded_by(asker, now) {
            return false;
        }
        let found = match &self.backend {
            LookupBackend::Issuer(issuer) => {
                issuer.ask(&self.name, &self.rules, credential.token(), now).await
            }
            LookupBackend::Sessions(sessions) => {
                sessions.ask(&self.name, &self.rules, credential).await
            }
        };
        self.note(found.as_ref().err(), now);
        match found {
            Ok(answer) => {
                let (verdict, until) = self.verdict(answer, now);
                // Only the first refusal of a token counts as an invented one. A token that was
                // good before belongs to a client that is late, and one refused before is counted
                // already.
                if is_new && verdict.is_err() {
                    self.refused.count(asker.origin, asker.refusals, now);
                }
                self.verdicts.keep(digest, verdict, until);
                true
            }
            Err(problem) => {
                tracing::warn!(issuer = %self.name, problem, "a token could not be asked about");
                false
            }
        }
    }

    fn note(&self, problem: Option<&String>, now: Timestamp) {
        let mut history = self.history.lock();
        history.problem = problem.cloned();
        match problem {
            Some(_) => history.failed += 1,
            None => (history.answered, history.at) = (history.answered + 1, Some(now)),
        }
    }

    /// The state of the issuer for operators.
    pub(super) fn status(&self) -> RemoteIssuer {
        let history = self.history.lock();
        let problem = history.problem.as_ref();
        RemoteIssuer {
            name: self.name.clone(),
            is_opaque: true,
            succeeded: history.answered,
            failed: history.failed,
            fetched: history.at,
            problem: problem.map(|why| format!("issuer `{}` could not be asked: {why}", self.name)),
        }
    }

    /// Turns an answer into a verdict and the time until which it is remembered.
    fn verdict(
        &self,
        answer: Result<LookupAnswer, TokenError>,
        now: Timestamp,
    ) -> (LookupVerdict, Timestamp) {
        let until = now.plus(self.cache);
        match answer {
            Ok(LookupAnswer { mut verified, ends: false }) => {
                // During a renewal the verdict is used for `GRACE` longer, so the token must be
                // valid that long.
                verified.expires = until.plus(GRACE);
                (Ok(Arc::new(verified)), until)
            }
            Ok(LookupAnswer { verified, .. }) if verified.expires > now => {
                let until = until.min(verified.expires);
                (Ok(Arc::new(verified)), until)
            }
            Ok(_) => {
                let cause = "the token has expired";
                (Err(TokenError { reason: Reason::TokenExpired, cause }), now.plus(REFUSED))
            }
            Err(refusal) => (Err(refusal), now.plus(REFUSED)),
        }
    }
}

impl LookupBackend {
    /// How many calls may be under way at once.
    fn parallel(&self) -> usize {
        match self {
            Self::Issuer(_) => outbound::PARALLEL,
            Self::Sessions(sessions) => sessions.parallel(),
        }
    }
}

/// The verdict on a token that these issuers' remembered verdicts make together. One acceptance is
/// enough; a refusal counts only if every issuer has a verdict. `None` if an issuer must be asked.
pub(super) fn remembered_verdict(
    candidates: &[Arc<OpaqueIssuer>],
    digest: &Digest,
    now: Timestamp,
) -> Option<LookupVerdict> {
    let verdicts: Vec<_> = candidates.iter().map(|issuer| issuer.find(digest, now)).collect();
    let is_unknown = verdicts.iter().any(Option::is_none);
    let mut refusal = None;
    for verdict in verdicts.into_iter().flatten() {
        match verdict {
            Ok(verified) => return Some(Ok(verified)),
            Err(refused) => refusal = refusal.or(Some(refused)),
        }
    }
    refusal.filter(|_| !is_unknown).map(Err)
}

/// The digest that names a verdict. It covers the token and its key, so a verdict for a pair is
/// never applied to another key.
pub(super) fn verdict_digest(credential: &TokenCredential) -> Digest {
    let token = credential.token().expose().as_bytes();
    match credential.key() {
        None => Digest::of_list(&[token]),
        Some(key) => Digest::of_list(&[token, key.expose().as_bytes()]),
    }
}
