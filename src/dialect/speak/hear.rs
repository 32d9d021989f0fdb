//! An answer heard: what a system said to what it was asked.
//!
//! A refusal is believed where it is what the dialect itself would have answered, or, with 401, is
//! built like it: servers word their errors differently, and 401 says the same in any words. A 404
//! in other words is a wrong address, not an unknown user. A success is believed where the
//! token, or whatever the dialect proves it by, is there.

use serde_json::Value;

use super::backwards::{Found, is_shaped};
use super::facts::{HeardFacts, is_token};
use crate::dialect::Reason;
use crate::dialect::form::ErrorBody;
use crate::dialect::places::{Name, Place};
use crate::dialect::spec::{Dialect, Endpoint, Reply, Step};
use crate::dialect::template::Node;
use crate::json;
use crate::secret::SecretString;

/// No answer to a login is longer.
pub const LONGEST_ANSWER: usize = 256 * 1024;

/// What an answer means.
#[derive(Clone, Debug)]
pub enum Heard {
    Accepted(Box<HeardFacts>),
    /// Right so far, but a further step is asked for, perhaps with a ticket.
    Pending(Option<SecretString>),
    /// The system looked at it and refuses: `InvalidCredentials`, `UnknownUser`, `CodeInvalid`,
    /// `TokenInvalid` and their like.
    Refused(Reason),
    /// The system does not look at it now.
    Throttled,
    /// Neither: an outage, another system, an error in the asking. Says why, for the log; quotes
    /// nothing.
    Nonsense(String),
}

/// What gives access, and therefore proves success.
const PROOFS: [Name; 2] = [Name::AccessToken, Name::SessionKey];

/// Reads the answer to what was asked at `endpoint`.
pub fn hear(dialect: &Dialect, endpoint: &Endpoint, status: u16, body: &[u8]) -> Heard {
    if body.len() > LONGEST_ANSWER {
        return Heard::Nonsense(format!("an answer of more than {LONGEST_ANSWER} bytes"));
    }
    match status {
        429 => Heard::Throttled,
        200..=299 => success(dialect, endpoint, status, body),
        400..=499 => refusal(endpoint, status, body),
        300..=399 => Heard::Nonsense(format!("status {status}: a redirect is never followed")),
        _ => Heard::Nonsense(format!("status {status}")),
    }
}

/// True if the endpoint's answer has something that only a success has.
pub(super) fn proves(endpoint: &Endpoint) -> bool {
    let gives = |json: &crate::dialect::Template| {
        PROOFS.iter().any(|name| json.names(&Place::Named(*name)))
    };
    endpoint.reply.json.as_ref().is_some_and(gives)
}

fn success(dialect: &Dialect, endpoint: &Endpoint, status: u16, body: &[u8]) -> Heard {
    let gives_tokens = matches!(endpoint.step, Step::Login | Step::VerifyCode | Step::Refresh);
    let answer = if body.is_empty() { Some(Value::Null) } else { json::value(body) };
    let Some(answer) = answer else {
        return Heard::Nonsense(format!("status {status} without JSON"));
    };
    if (proves(endpoint) || !gives_tokens)
        && let Some(found) = read(&endpoint.reply, status, &answer)
    {
        return Heard::Accepted(Box::new(HeardFacts::of(dialect, found, answer)));
    }
    let pending = endpoint.pending_reply.as_ref();
    if let Some(found) = pending.and_then(|pending| read(pending, status, &answer)) {
        return Heard::Pending(HeardFacts::of(dialect, found, answer).ticket);
    }
    Heard::Nonsense(format!("status {status}, but not the answer of dialect `{}`", dialect.name))
}

/// What `reply` rendered the answer from; `None` if it did not.
fn read(reply: &Reply, status: u16, answer: &Value) -> Option<Found> {
    if reply.status.as_u16() != status {
        return None;
    }
    let Some(template) = &reply.json else { return answer.is_null().then(Found::default) };
    let is_proof = |place: &Place| PROOFS.iter().any(|name| *place == Place::Named(*name));
    let found = Found::read(template.root(), answer, &is_proof)?;
    let has = |name: &Name| {
        let mut values = found.0.iter().filter(|(place, _)| *place == Place::Named(*name));
        values.any(|(_, value)| value.as_str().is_some_and(is_token))
    };
    let mut named = PROOFS.iter().filter(|name| template.names(&Place::Named(**name)));
    named.all(has).then_some(found)
}

/// What a system may say of the credential itself at this step, the likeliest first.
fn judgements(step: Step) -> &'static [Reason] {
    match step {
        Step::Login => &[Reason::InvalidCredentials, Reason::UnknownUser],
        Step::VerifyCode => &[Reason::CodeInvalid, Reason::CodeExpired],
        Step::Refresh | Step::Logout | Step::LogoutAll | Step::Session => {
            &[Reason::TokenInvalid, Reason::TokenExpired, Reason::TokenRevoked]
        }
        Step::Introspect | Step::Revoke | Step::Answer => &[],
    }
}

fn refusal(endpoint: &Endpoint, status: u16, body: &[u8]) -> Heard {
    let answer = if body.is_empty() { None } else { json::value(body) };
    let said = Said { endpoint, status, answer, is_empty: body.is_empty() };
    let judgements = judgements(endpoint.step);
    if let Some(reason) = judgements.iter().find(|reason| said.is(**reason)) {
        return Heard::Refused(*reason);
    }
    let held_off = [Reason::AccountLocked, Reason::TooManyAttempts, Reason::RateLimited];
    if held_off.iter().any(|reason| said.is(*reason)) {
        return Heard::Throttled;
    }
    if let Some(reason) = Reason::ALL.iter().find(|reason| said.is(**reason)) {
        return Heard::Nonsense(format!("status {status}, which says `{}`", reason.code()));
    }
    match judgements.first() {
        Some(reason) if status == 401 && said.is_shaped_like(*reason) => Heard::Refused(*reason),
        _ => Heard::Nonsense(format!("status {status}, but no error of the dialect")),
    }
}

/// An error answer.
struct Said<'a> {
    endpoint: &'a Endpoint,
    status: u16,
    /// `None`: no JSON.
    answer: Option<Value>,
    is_empty: bool,
}

impl Said<'_> {
    /// True if it is what the dialect answers for this reason.
    fn is(&self, reason: Reason) -> bool {
        let errors = &self.endpoint.errors;
        if errors.status(reason).as_u16() != self.status {
            return false;
        }
        let reads = |node: &Node, answer: &Value| Found::read(node, answer, &|_| true).is_some();
        match (errors.body(reason), &self.answer) {
            (ErrorBody::Empty, _) => self.is_empty,
            (ErrorBody::Fixed(bytes), Some(answer)) => {
                json::value(bytes).is_some_and(|fixed| reads(&Node::Fixed(fixed), answer))
            }
            (ErrorBody::Template(node), Some(answer)) => reads(node, answer),
            (ErrorBody::Fixed(_) | ErrorBody::Template(_), None) => false,
        }
    }

    /// True if it is built like the dialect's answer for this reason.
    fn is_shaped_like(&self, reason: Reason) -> bool {
        let errors = &self.endpoint.errors;
        let Some(answer) = &self.answer else { return false };
        errors.status(reason).as_u16() == self.status
            && match errors.body(reason) {
                ErrorBody::Empty => false,
                ErrorBody::Fixed(bytes) => {
                    json::value(bytes).is_some_and(|fixed| is_shaped(&fixed, answer))
                }
                // What changes with each request may be anything of its kind.
                ErrorBody::Template(node) => {
                    let kind = |place: &Place| match place {
                        Place::Named(Name::TimestampMs) => Some(Value::from(0)),
                        _ => Some(Value::from("")),
                    };
                    node.render(&kind, false).is_some_and(|fixed| is_shaped(&fixed, answer))
                }
            }
    }
}
