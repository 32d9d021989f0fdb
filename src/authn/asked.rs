//! Tokens and pairs about which only somebody else knows whose they are.
//!
//! A worker judges by what was said before (`verdicts`); the back room asks, one question for a
//! token however many wait for its answer. No answer is no verdict: that is 503 and not
//! remembered. What says that it is ours, or another issuer's, never goes to anybody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::credential::Credential;
use super::flights::Flights;
use super::foreign::{Foreign, IssuerError};
use super::inquiry::{Inquiry, Unproved};
use super::introspect::Introspect;
use super::json;
use super::remote::RemoteIssuer;
use super::verdicts::{Verdict, Verdicts};
use super::verified::{Refusal, Verified};
use super::verifier::Verifier;
use super::webitel::Sessions;
use crate::clock::Timestamp;
use crate::config::{Issuer, IssuerKeys};
use crate::dialect::Reason;
use crate::secret::Digest;

/// How long a refused token is refused without asking again.
const REFUSED: Duration = Duration::from_secs(5);

/// Tokens of one issuer that are asked about at once.
const FLIGHTS: usize = 1000;

const UNKNOWN: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "who knows about the token could not be asked" };

const BUSY: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "too many tokens are being asked about" };

/// An issuer that is asked about every token.
#[derive(Debug)]
pub(super) struct Asked {
    name: Arc<str>,
    rules: Issuer,
    whom: Whom,
    cache: Duration,
    verdicts: Verdicts,
    flights: Flights,
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
    pub(super) async fn ask(self, now: Timestamp) -> Result<(), Refusal> {
        let mut unknown = Ok(());
        for asked in &self.candidates {
            match asked.ask(&self.credential, now).await {
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
    async fn ask(&self, credential: &Credential, now: Timestamp) -> Result<bool, Refusal> {
        let digest = digest(credential);
        if let Some(verdict) = self.find(&digest, now) {
            return Ok(verdict.is_ok());
        }
        let asking = self.inquire(credential, digest, now);
        let is_known = self.flights.join(digest, Box::pin(asking)).await.ok_or(BUSY)?;
        let known = if is_known { self.find(&digest, now) } else { None };
        known.map(|verdict| verdict.is_ok()).ok_or(UNKNOWN)
    }

    async fn inquire(&self, credential: &Credential, digest: Digest, now: Timestamp) -> bool {
        // The question before this one may have landed just now.
        if self.find(&digest, now).is_some() {
            return true;
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
                verified.expires = until;
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
                Ok(verified) => return Some(Ok(verified)),
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

/// What a token says of its issuer, read as generously as possible: what might be somebody's
/// signed token must not be shown to another because it is damaged or of a form we do not take.
#[derive(Debug, PartialEq)]
enum Named {
    /// It has no parts that could be read.
    Opaque,
    By(String),
    /// It has parts, none of which names an issuer.
    Nobody,
}

impl Named {
    fn of(token: &str) -> Self {
        if !token.contains('.') {
            return Self::Opaque;
        }
        let objects: Vec<_> = token.split('.').filter_map(object).collect();
        let issuer = objects.iter().find_map(|object| object.get("iss"));
        match issuer {
            Some(Value::String(issuer)) => Self::By(issuer.clone()),
            Some(_) => Self::Nobody,
            None if objects.is_empty() => Self::Opaque,
            // RFC 7516 §4.1.2: encrypted, so that only its issuer can read it.
            None if objects.len() == 1 && objects.iter().any(|one| one.contains_key("enc")) => {
                Self::Opaque
            }
            None => Self::Nobody,
        }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).or_else(|_| URL_SAFE.decode(part)).ok()?;
    json::object(&bytes).or_else(|| serde_json::from_slice(&bytes).ok())
}
