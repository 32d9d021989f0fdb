//! Tokens and pairs about which only somebody else knows whose they are.
//!
//! A worker judges by what was said before (`verdicts`); the back room asks, one question for a
//! token however many wait for its answer. No answer is no verdict: that is 503 and not
//! remembered. What says that it is ours, or another issuer's, never goes to anybody.
//!
//! Anybody can make tokens up. So calls go round by client, of whom one has an eighth of them; what a
//! client made up counts against its address, and over the limit is refused unasked. A token that was
//! good is asked about before its verdict ends, by itself and for nobody's share.

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

/// How long a refused token is refused without asking again.
const REFUSED: Duration = Duration::from_secs(5);

/// Tokens of one issuer that are asked about at once.
const FLIGHTS: usize = 1000;

const UNKNOWN: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "who knows about the token could not be asked" };

const BUSY: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "too many tokens are being asked about" };

/// Over the limit of made-up tokens.
const UNASKED: Refusal = Refusal {
    reason: Reason::TokenInvalid,
    cause: "the address has brought too many tokens that nobody knows",
};

/// The last part of a verdict's life, in which it is asked about again.
const LAST_PART: u32 = 4;

/// For whom others are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The client's address; `None` where many share it, and for nobody in particular.
    pub(super) origin: Option<IpAddr>,
    /// How many tokens that nobody knows an address may bring.
    pub(super) refusals: AttemptLimit,
}

/// An issuer that is asked about every token.
#[derive(Debug)]
pub(super) struct Asked {
    name: Arc<str>,
    rules: Issuer,
    whom: Whom,
    cache: Duration,
    verdicts: Verdicts,
    flights: Flights,
    /// Calls to whoever is asked.
    turns: Turns,
    /// What addresses have brought that nobody knows.
    refused: Attempts,
    heard: Mutex<Heard>,
}

/// How asking went so far.
#[derive(Debug, Default)]
struct Heard {
    answered: u64,
    failed: u64,
    /// When it last answered.
    at: Option<Timestamp>,
    /// Why it did not the last time.
    problem: Option<String>,
}

#[derive(Debug)]
enum Whom {
    Issuer(Introspect),
    Webitel(Sessions),
}

/// What was said about a token.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) verified: Verified,
    /// Whether it has an end of its own; otherwise it is good for as long as it is remembered.
    pub(super) ends: bool,
}

/// Whose is this token? To be asked of these, in this order, until one knows.
#[derive(Clone, Debug)]
pub struct TokenInquiry {
    candidates: Vec<Arc<Asked>>,
    credential: Credential,
}

impl TokenInquiry {
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
    /// Knows nothing yet.
    pub(super) fn new(issuer: &Issuer) -> Result<Self, IssuerError> {
        let (whom, cache) = match &issuer.keys {
            IssuerKeys::WebitelSessions(sessions) => {
                (Whom::Webitel(Sessions::new(issuer, sessions)?), sessions.cache)
            }
            IssuerKeys::Introspection(options) => {
                (Whom::Issuer(Introspect::new(issuer, options)?), options.cache)
            }
            // Invariant: nobody asks an issuer whose keys verify its tokens.
            _ => return Err(crate::token::BadKey("nobody is asked about its tokens").into()),
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

    /// Whether what was said here would be said of this issuer's tokens too.
    pub(super) fn serves(&self, issuer: &Issuer) -> bool {
        self.rules == *issuer
    }

    /// Whether a credential of this kind, that names this issuer, may be asked about here.
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

    /// Whether the issuer's takeover has ended.
    fn is_over(&self, now: Timestamp) -> bool {
        self.rules.until.is_some_and(|until| until <= now)
    }

    /// Whether the token is good; asks if that is not known.
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
            // The question before this one may have landed just now.
            self.find(&digest, now).is_some() || self.inquire(credential, digest, asker, now).await
        };
        let is_known = self.flights.join(digest, Box::pin(asking)).await.ok_or(BUSY)?;
        match self.find(&digest, now).filter(|_| is_known) {
            Some(verdict) => Ok(verdict.is_ok()),
            // Those before it in the line were refused meanwhile.
            None if is_over() => Err(UNASKED),
            None => Err(UNKNOWN),
        }
    }

    /// Whether the asker's address has brought as many tokens that nobody knows as it may.
    fn is_flooded_by(&self, asker: Asker, now: Timestamp) -> bool {
        self.refused.wait(asker.origin, asker.refusals, now).is_some()
    }

    /// Forgets what is over.
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
        // No turn is nothing that the issuer did wrong.
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
                // One that was good, or was counted before, is a client's that is late.
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

    /// What operators want to know.
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

    /// A verdict, and how long it holds.
    fn verdict(&self, told: Result<Answer, Refusal>, now: Timestamp) -> (Verdict, Timestamp) {
        let until = now.plus(self.cache);
        match told {
            Ok(Answer { mut verified, ends: false }) => {
                // It holds a little longer where it is asked about again.
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
    /// How much it is asked at once.
    fn parallel(&self) -> usize {
        match self {
            Self::Issuer(_) => outbound::PARALLEL,
            Self::Webitel(sessions) => sessions.parallel(),
        }
    }
}

impl Verifier {
    /// Those `among` these issuers (none: all) who may be asked about a credential.
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

    /// Has those asked again whose good verdicts are about to end.
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

    /// The verdict of those who alone can tell whose a credential is; `None` where it is for us
    /// to judge.
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

/// Every part of what was presented, so that a verdict is about all of it.
fn digest(credential: &Credential) -> Digest {
    let token = credential.token().expose().as_bytes();
    match credential.key() {
        None => Digest::of_list(&[token]),
        Some(key) => Digest::of_list(&[token, key.expose().as_bytes()]),
    }
}
