//! Reading an answer: what another system said to a request that `client` made.
//!
//! An answer is a refusal if it is what the dialect itself would answer. With status 401 it is
//! enough that it has the same structure: servers word their errors differently, and 401 has one
//! meaning. A 404 with other words, however, is a wrong address and not an unknown user.
//!
//! An answer is a success if the token, or whatever else proves success in the dialect, is in it:
//! in its body, a header field or a cookie.

use std::fmt;

use http::header::HeaderMap;
use serde_json::Value;

use super::answer_head::leads_alike;
use super::body_pattern::{BodyPattern, ReadBody};
use super::match_template::is_shaped;
use super::values::{ResponseValues, is_token};
use crate::Reason;
use crate::body_template::{BodyTemplate, FixedKind};
use crate::definition::{Dialect, Endpoint};
use crate::endpoint_kinds::EndpointStep;
use crate::placeholders::{Placeholder, PlaceholderName};
use crate::reply::EndpointReply;
use tollhouse_core::secret::SecretString;
use tollhouse_core::strict_json;

/// Longest answer that is read, in bytes. A login's answer is never longer.
pub const LONGEST_ANSWER: usize = 256 * 1024;

/// The meaning of an answer.
#[derive(Clone, Debug)]
pub enum LoginOutcome {
    Accepted(Box<ResponseValues>),
    /// The credential is right so far, but the system asks for a further step, perhaps with a
    /// ticket. The caller decides whether it can take that step.
    Pending(Option<SecretString>),
    /// The system verified the credential and refuses it: `InvalidCredentials`, `UnknownUser`,
    /// `CodeInvalid`, `TokenInvalid` and similar reasons. Only such an answer may be counted as a
    /// failed attempt of the user.
    Refused(Reason),
    /// The system refuses to verify the credential now, because there were too many attempts.
    Throttled,
    /// Neither success nor refusal: an outage, another system at this address, or an error in the
    /// request. The text is for the log and quotes nothing of the answer, which may contain
    /// secrets.
    Unexpected(String),
}

/// The placeholders that give access; their presence in an answer therefore proves success.
const PROOFS: [PlaceholderName; 2] = [PlaceholderName::AccessToken, PlaceholderName::SessionKey];

/// An answer as it arrived. It cannot be printed: it has tokens.
#[derive(Clone, Copy)]
pub struct ReceivedAnswer<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl fmt::Debug for ReceivedAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Reads the answer to a request that was made for `endpoint`.
pub fn parse_response(
    dialect: &Dialect,
    endpoint: &Endpoint,
    answer: &ReceivedAnswer<'_>,
) -> LoginOutcome {
    let ReceivedAnswer { status, headers, body } = *answer;
    if body.len() > LONGEST_ANSWER {
        return LoginOutcome::Unexpected(format!("an answer of more than {LONGEST_ANSWER} bytes"));
    }
    if status == 429 {
        return LoginOutcome::Throttled;
    }
    // What the dialect says outright about answers counts first. A page that says "wrong password"
    // may set a cookie all the same.
    let mut seen = endpoint.errors.seen().iter();
    if let Some((reason, _)) = seen.find(|(_, seen)| seen.is(status, headers, body)) {
        return meaning(endpoint, status, *reason);
    }
    if let Some(outcome) = success(dialect, endpoint, answer).or_else(|| refusal(endpoint, answer))
    {
        return outcome;
    }
    LoginOutcome::Unexpected(match status {
        200..=299 => {
            format!("status {status}, but not the answer of dialect `{}`", dialect.name)
        }
        // A redirect is not followed: it would send the user's password to an address that the
        // operator did not configure. Such an answer is an error of configuration.
        300..=399 => format!("status {status}: a redirect is never followed"),
        400..=499 => format!("status {status}, but no error of the dialect"),
        _ => format!("status {status}"),
    })
}

/// True if the endpoint's answer contains something that only a success has.
pub(super) fn proves(endpoint: &Endpoint) -> bool {
    PROOFS.iter().any(|name| is_given(&endpoint.reply, *name))
}

/// True if this value can be read from the answer.
fn is_given(reply: &EndpointReply, name: PlaceholderName) -> bool {
    let place = Placeholder::Named(name);
    let mut head = Vec::new();
    reply.fields.places(&mut head);
    head.contains(&&place) || BodyPattern::of(reply.body.as_ref()).names(&place)
}

fn success(
    dialect: &Dialect,
    endpoint: &Endpoint,
    answer: &ReceivedAnswer<'_>,
) -> Option<LoginOutcome> {
    // Steps that give tokens must prove their success. For the others the matching answer is
    // enough, because nobody is let in by it.
    let gives_tokens = matches!(
        endpoint.step,
        EndpointStep::Login | EndpointStep::VerifyCode | EndpointStep::Refresh
    );
    if (proves(endpoint) || !gives_tokens)
        && let Some(read) = read(&endpoint.reply, answer)
    {
        let values = ResponseValues::of(dialect, read.found, read.tree);
        return Some(LoginOutcome::Accepted(Box::new(values)));
    }
    let read = read(endpoint.pending_reply.as_ref()?, answer)?;
    Some(LoginOutcome::Pending(ResponseValues::of(dialect, read.found, read.tree).ticket))
}

/// The values that `reply` rendered the answer from; `None` if the answer was not rendered from it.
fn read(reply: &EndpointReply, answer: &ReceivedAnswer<'_>) -> Option<ReadBody> {
    if reply.status.as_u16() != answer.status {
        return None;
    }
    let is_redirect = reply.status.is_redirection();
    if is_redirect && !leads_alike(&reply.fields, answer.headers) {
        return None;
    }
    let is_proof =
        |place: &Placeholder| PROOFS.iter().any(|name| *place == Placeholder::Named(*name));
    let pattern = BodyPattern::of(reply.body.as_ref());
    let mut read = match pattern {
        // The body of a redirect is a page for people, if there is one.
        BodyPattern::Empty if is_redirect => ReadBody::default(),
        pattern => pattern.read(answer.body, &is_proof)?,
    };
    read.found.head(&reply.fields, answer.headers);
    // Every proof that the template has must be in the answer, with a value that can be sent as a
    // token, and with one value wherever it is.
    let values = |name: PlaceholderName| {
        let values = read.found.0.iter().filter(move |(it, _)| *it == Placeholder::Named(name));
        values.map(|(_, value)| value)
    };
    let is_proven = |name: &PlaceholderName| {
        let first = values(*name).next();
        first.and_then(Value::as_str).is_some_and(is_token)
            && values(*name).all(|other| Some(other) == first)
    };
    let mut wanted = PROOFS.iter().filter(|name| is_given(reply, **name));
    wanted.all(is_proven).then_some(read)
}

/// The reasons by which a system may judge the credential itself at this step, the most likely
/// first. Only these count as a refusal. Steps that need an API key have none: their callers are
/// not users.
fn judgements(step: EndpointStep) -> &'static [Reason] {
    match step {
        EndpointStep::Login => &[Reason::InvalidCredentials, Reason::UnknownUser],
        EndpointStep::VerifyCode => &[Reason::CodeInvalid, Reason::CodeExpired],
        EndpointStep::Refresh
        | EndpointStep::Logout
        | EndpointStep::LogoutAll
        | EndpointStep::Session => {
            &[Reason::TokenInvalid, Reason::TokenExpired, Reason::TokenRevoked]
        }
        EndpointStep::Introspect | EndpointStep::Revoke | EndpointStep::Answer => &[],
    }
}

/// The meaning of an answer that stands for a reason.
fn meaning(endpoint: &Endpoint, status: u16, reason: Reason) -> LoginOutcome {
    if judgements(endpoint.step).contains(&reason) {
        LoginOutcome::Refused(reason)
    } else if HELD_OFF.contains(&reason) {
        LoginOutcome::Throttled
    } else {
        let code = reason.code();
        LoginOutcome::Unexpected(format!("status {status}, which says `{code}`"))
    }
}

/// The reasons for which a credential is not judged now.
const HELD_OFF: [Reason; 3] = [Reason::AccountLocked, Reason::TooManyAttempts, Reason::RateLimited];

/// `None` if the answer is no error of the dialect.
fn refusal(endpoint: &Endpoint, answer: &ReceivedAnswer<'_>) -> Option<LoginOutcome> {
    let status = answer.status;
    let is = |reason: &&Reason| is_error(endpoint, **reason, answer);
    // The order matters. Some dialects answer several reasons alike. A failure of the system itself
    // is assumed before anything else where the answer can mean it: an outage must never count as a
    // wrong password. Then a judgement of the credential before a limit, and a limit before any
    // other error.
    let is_failure = |reason: &&Reason| status >= 500 && reason.status().is_server_error();
    let judgements = judgements(endpoint.step);
    let found = Reason::ALL
        .iter()
        .filter(is_failure)
        .find(is)
        .or_else(|| judgements.iter().find(is))
        .or_else(|| HELD_OFF.iter().find(is))
        .or_else(|| Reason::ALL.iter().find(is));
    let by_shape = || {
        let reason = judgements.first().filter(|_| status == 401)?;
        is_shaped_like(endpoint, *reason, answer).then_some(reason)
    };
    found.or_else(by_shape).map(|reason| meaning(endpoint, status, *reason))
}

/// True if the answer is what the dialect would answer for this reason.
fn is_error(endpoint: &Endpoint, reason: Reason, answer: &ReceivedAnswer<'_>) -> bool {
    let errors = &endpoint.errors;
    let status = errors.status(reason);
    if status.as_u16() != answer.status {
        return false;
    }
    let pattern = BodyPattern::of(errors.body(reason));
    if status.is_redirection() {
        let leads = leads_alike(errors.fields(reason), answer.headers);
        return leads && matches!(pattern, BodyPattern::Empty);
    }
    pattern.read(answer.body, &|_| true).is_some()
}

/// True if the answer has the same structure as the dialect's answer for this reason.
fn is_shaped_like(endpoint: &Endpoint, reason: Reason, answer: &ReceivedAnswer<'_>) -> bool {
    let errors = &endpoint.errors;
    let Some(found) = strict_json::value(answer.body) else { return false };
    errors.status(reason).as_u16() == answer.status
        && match errors.body(reason) {
            Some(BodyTemplate::Fixed(bytes, FixedKind::Json)) => {
                strict_json::value(bytes).is_some_and(|fixed| is_shaped(&fixed, &found))
            }
            // Values that differ between requests may be anything of their kind, so only their
            // type is compared.
            Some(BodyTemplate::Json(node)) => {
                let kind = |place: &Placeholder| match place {
                    Placeholder::Named(PlaceholderName::TimestampMs) => Some(Value::from(0)),
                    _ => Some(Value::from("")),
                };
                node.render(&kind, false).is_some_and(|fixed| is_shaped(&fixed, &found))
            }
            _ => false,
        }
}
