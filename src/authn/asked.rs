//! Remote verification: credentials that only their issuer can judge (opaque tokens, Webitel
//! pairs).
//!
//! Workers use remembered verdicts (`verdicts`). The background runtime asks the issuer, with
//! single flight per token (`flights`). If the issuer does not answer, the result is 503 and is not
//! remembered. A token that names us or another issuer is never sent to this issuer.
//!
//! Anybody can invent tokens. Therefore calls are shared out round-robin by client (`Turns`), and
//! invented tokens count against the client's address (`Attempts`); beyond the limit they are
//! refused without a call. A good verdict is renewed before it ends, outside any client's share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::credential::Credential;
use super::flights::Flights;
use super::foreign::{Foreign, IssuerError};
use super::inquiry::{Inquiry, Unproved};
use super::introspect::Introspect;
use super::named::Named;
use super::remote::RemoteIssuer;
use super::verdicts::{GRACE, Verdict, Verdicts};
use super::verified::{Refusal, Verified};
use super::verifier::Verifier;
use super::webitel::Sessions;
use crate::admission::{AttemptLimit, Attempts, Turns};
use crate::clock::Timestamp;
use crate::config::{Issuer, IssuerKeys};
use crate::dialect::Reason;
use crate::outbound;
use crate::secret::Digest;

/// How long a refusal is remembered.
const REFUSED: Duration = Duration::from_secs(5);

/// Upper bound of tokens of one issuer that are asked about or wait for their turn at once.
const FLIGHTS: usize = 1000;

const UNKNOWN: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "the issuer could not be asked about the token" };

const BUSY: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "too many tokens are being asked about" };

/// The answer to a new token from an address that is over the limit of unknown tokens.
const UNASKED: Refusal = Refusal {
    reason: Reason::TokenInvalid,
    cause: "the address has presented too many unknown tokens",
};

/// A good verdict is renewed in the last quarter of its life.
const LAST_PART: u32 = 4;

/// The client on whose behalf an issuer is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The client's address. `None` for an address that many clients share, and for renewals.
    pub(super) origin: Option<IpAddr>,
    /// How many unknown tokens one address may present.
    pub(super) refusals: AttemptLimit,
}

/// An issuer that is asked about each of its tokens.
#[derive(Debug)]
pub(super) struct Asked {
    name: Arc<str>,
    rules: Issuer,
    whom: Whom,
    cache: Duration,
    verdicts: Verdicts,
    flights: Flights,
    /// Permits for calls to the issuer.
    turns: Turns,
    /// Unknown tokens, counted by address.
    refused: Attempts,
    heard: Mutex<Heard>,
}

/// Counters and the last outcome of the calls, for operators.
#[derive(Debug, Default)]
struct Heard {
    answered: u64,
    failed: u64,
    /// The time of the last answer.
    at: Option<Timestamp>,
    /// The error of the last call, if that call failed.
    problem: Option<String>,
}

/// The interface through which the issuer is asked.
#[derive(Debug)]
enum Whom {
    Issuer(Introspect),
    Webitel(Sessions),
}

/// An issuer's positive answer about a token.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) verified: Verified,
    /// True if the token has an expiry of its own. Otherwise it is valid for as long as its verdict
    /// is remembered.
    pub(super) ends: bool,
}

/// A question about one token, for the issuers that could know it. They are asked in order until
/// one accepts the token.
#[derive(Clone, Debug)]
pub struct TokenInquiry {
    candidates: Vec<Arc<Asked>>,
    credential: Credential,
}

impl TokenInquiry {
    // One issuer that cannot be reached must not turn another's acceptance into 503. It does turn a
    // refusal into 503, because the unreached issuer might have accepted.
    pub(super) async fn ask(self, asker: Asker, now: Timestamp) -> Result<(), Refusal> {
        let mut unknown = Ok(());
        for asked in &self.candidates {
            match asked.ask(&self.credential, asker, now).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(refusal) => unknown = Err(refusal),
            }
        }
        unknown
    }
}

impl Asked {
    /// Creates the state for an issuer, with no verdicts.
    pub(super) fn new(issuer: &Issuer) -> Result<Self, IssuerError> {
        let (whom, cache) = match &issuer.keys {
            IssuerKeys::WebitelSessions(sessions) => {
                (Whom::Webitel(Sessions::new(issuer, sessions)?), sessions.cache)
            }
            IssuerKeys::Introspection(options) => {
                (Whom::Issuer(Introspect::new(issuer, options)?), options.cache)
            }
            // Invariant: an issuer with keys verifies its tokens locally and is never asked.
            _ => return Err(crate::token::BadKey("its tokens are not verified remotely").into()),
        };
        Ok(Self {
            name: issuer.name.as_str().into(),
            rules: issuer.clone(),
            turns: Turns::new(whom.parallel(), FLIGHTS),
            refused: Attempts::default(),
            whom,
            cache,
            verdicts: Verdicts::default(),
            flights: Flights::new(FLIGHTS),
            heard: Mutex::default(),
        })
    }

    /// True if the verdicts are still valid for `issuer`, so that a reload can keep them.
    pub(super) fn serves(&self, issuer: &Issuer) -> bool {
        self.rules == *issuer
    }

    /// True if this issuer may be asked about a credential of this kind that names this issuer or
    /// none.
    fn may_know(&self, credential: &Credential, named: &Named) -> bool {
        match (&self.whom, credential, named) {
            (Whom::Issuer(_), Credential::Bearer(_), Named::Opaque) => true,
            (Whom::Issuer(_), Credential::Bearer(_), Named::By(iss)) => *iss == self.rules.issuer,
            (Whom::Webitel(_), Credential::Pair { .. }, Named::Opaque | Named::Nobody) => true,
            _ => false,
        }
    }

    fn find(&self, digest: &Digest, now: Timestamp) -> Option<Verdict> {
        self.verdicts.find(digest, now)
    }

    /// True if the period in which the issuer is accepted (its takeover) has ended.
    fn is_over(&self, now: Timestamp) -> bool {
        self.rules.until.is_some_and(|until| until <= now)
    }

    /// Returns whether the token is good; asks the issuer if no verdict is remembered.
    async fn ask(
        &self,
        credential: &Credential,
        asker: Asker,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let digest = digest(credential);
        if let Some(verdict) = self.find(&digest, now) {
            return Ok(verdict.is_ok());
        }
        let is_over = || !self.verdicts.knows(&digest) && self.is_flooded_by(asker, now);
        if is_over() {
            return Err(UNASKED);
        }
        let asking = async {
            // Another question may have been answered between the search above and joining the
            // flight. Without a second search, this token would be asked about twice. Every call
            // costs the client one of its turns.
            self.find(&digest, now).is_some() || self.inquire(credential, digest, asker, now).await
        };
        let is_known = self.flights.join(digest, Box::pin(asking)).await.ok_or(BUSY)?;
        match self.find(&digest, now).filter(|_| is_known) {
            Some(verdict) => Ok(verdict.is_ok()),
            // Earlier tokens of the same address were refused while this one waited for its turn,
            // and the address has now reached its limit.
            None if is_over() => Err(UNASKED),
            None => Err(UNKNOWN),
        }
    }

    /// True if the asker's address has presented as many unknown tokens as it may.
    fn is_flooded_by(&self, asker: Asker, now: Timestamp) -> bool {
        self.refused.wait(asker.origin, asker.refusals, now).is_some()
    }

    /// Forgets counts that no longer matter.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.refused.sweep(now);
    }

    /// Asks again about a token whose good verdict is about to end.
    pub(super) async fn renew(&self, credential: &Credential, asker: Asker, now: Timestamp) {
        let digest = digest(credential);
        let asking = self.inquire(credential, digest, asker, now);
        if self.flights.join(digest, Box::pin(asking)).await != Some(true) {
            self.verdicts.was_not_answered(&digest);
        }
    }

    async fn inquire(
        &self,
        credential: &Credential,
        digest: Digest,
        asker: Asker,
        now: Timestamp,
    ) -> bool {
        let turn = tokio::time::timeout(outbound::TIMEOUT, self.turns.take(asker.origin)).await;
        // The time limit ended in the queue. The issuer did nothing wrong, so no failure is
        // recorded.
        let Ok(Ok(_turn)) = turn else { return false };
        let is_new = !self.verdicts.knows(&digest);
        if is_new && self.is_flooded_by(asker, now) {
            return false;
        }
        let told = match &self.whom {
            Whom::Issuer(issuer) => {
                issuer.ask(&self.name, &self.rules, credential.token(), now).await
            }
            Whom::Webitel(sessions) => {
                let Some(key) = credential.key() else { return false };
                sessions.ask(&self.name, &self.rules, credential.token(), key).await
            }
        };
        self.note(told.as_ref().err(), now);
        match told {
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
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.problem = problem.cloned();
        match problem {
            Some(_) => heard.failed += 1,
            None => (heard.answered, heard.at) = (heard.answered + 1, Some(now)),
        }
    }

    /// The state of the issuer for operators.
    pub(super) fn told(&self) -> RemoteIssuer {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = heard.problem.as_ref();
        RemoteIssuer {
            name: self.name.clone(),
            is_asked: true,
            succeeded: heard.answered,
            failed: heard.failed,
            fetched: heard.at,
            problem: problem.map(|why| format!("issuer `{}` could not be asked: {why}", self.name)),
        }
    }

    /// Turns an answer into a verdict and the time until which it is remembered.
    fn verdict(&self, told: Result<Answer, Refusal>, now: Timestamp) -> (Verdict, Timestamp) {
        let until = now.plus(self.cache);
        match told {
            Ok(Answer { mut verified, ends: false }) => {
                // During a renewal the verdict is used for `GRACE` longer, so the token must be
                // valid that long.
                verified.expires = until.plus(GRACE);
                (Ok(Arc::new(verified)), until)
            }
            Ok(Answer { verified, .. }) if verified.expires > now => {
                let until = until.min(verified.expires);
                (Ok(Arc::new(verified)), until)
            }
            Ok(_) => {
                let cause = "the token has expired";
                (Err(Refusal { reason: Reason::TokenExpired, cause }), now.plus(REFUSED))
            }
            Err(refusal) => (Err(refusal), now.plus(REFUSED)),
        }
    }
}

impl Whom {
    /// How many calls may be under way at once.
    fn parallel(&self) -> usize {
        match self {
            Self::Issuer(_) => outbound::PARALLEL,
            Self::Webitel(sessions) => sessions.parallel(),
        }
    }
}

impl Verifier {
    /// The issuers in `among` (all if it is empty) that may be asked about a credential.
    pub(super) fn may_know(&self, credential: &Credential, among: &[String]) -> Vec<Arc<Asked>> {
        let is_among = |asked: &&Arc<Asked>| {
            among.is_empty() || among.iter().any(|name| **name == *asked.name)
        };
        let asked: Vec<_> =
            self.foreign.iter().filter_map(Foreign::asked).filter(is_among).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let named = Named::of(credential.token().expose());
        asked.into_iter().filter(|asked| asked.may_know(credential, &named)).cloned().collect()
    }

    /// Queues the renewal of good verdicts that are about to end.
    fn renew_later(
        &self,
        candidates: &[Arc<Asked>],
        (digest, credential): (&Digest, &Credential),
        now: Timestamp,
    ) {
        for asked in candidates {
            let lead = asked.cache / LAST_PART;
            if asked.verdicts.is_due(digest, lead, now)
                && !self.renewals.add(asked.clone(), credential.clone())
            {
                asked.verdicts.was_not_answered(digest);
            }
        }
    }

    /// The remembered verdict on a credential that only a remote issuer can judge. `None` if no
    /// such issuer is responsible, so that the credential is verified locally.
    pub(super) fn judged_elsewhere(
        &self,
        credential: &Credential,
        among: &[String],
        now: Timestamp,
    ) -> Option<Result<Arc<Verified>, Unproved>> {
        let mut candidates = self.may_know(credential, among);
        candidates.retain(|asked| !asked.is_over(now));
        if candidates.is_empty() {
            return None;
        }
        let digest = digest(credential);
        let verdicts: Vec<_> = candidates.iter().map(|asked| asked.find(&digest, now)).collect();
        let is_unknown = verdicts.iter().any(Option::is_none);
        let mut refusal = None;
        for verdict in verdicts.into_iter().flatten() {
            match verdict {
                Ok(verified) => {
                    self.renew_later(&candidates, (&digest, credential), now);
                    return Some(Ok(verified));
                }
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        match refusal {
            Some(refusal) if !is_unknown => Some(Err(refusal.into())),
            _ => {
                let credential = credential.clone();
                let inquiry = TokenInquiry { candidates, credential };
                Some(Err(Unproved::Ask(Inquiry::Token(inquiry))))
            }
        }
    }
}

/// The digest that names a verdict. It covers the token and its key, so a verdict for a pair is
/// never applied to another key.
fn digest(credential: &Credential) -> Digest {
    let token = credential.token().expose().as_bytes();
    match credential.key() {
        None => Digest::of_list(&[token]),
        Some(key) => Digest::of_list(&[token, key.expose().as_bytes()]),
    }
}
