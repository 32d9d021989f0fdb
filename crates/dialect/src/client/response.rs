//! Reading an answer: what another system said to a request that `client` made.
//!
//! An answer is a refusal if it is what the dialect itself would answer. With status 401 it is
//! enough that it has the same structure: servers word their errors differently, and 401 has one
//! meaning. A 404 with other words, however, is a wrong address and not an unknown user.
//!
//! An answer is a success if the token, or whatever else proves success in the dialect, is in it.

use serde_json::Value;

use super::match_template::{ExtractedValues, is_shaped};
use super::values::{ResponseValues, is_token};
use crate::Reason;
use crate::body_template::{BodyTemplate, FixedKind};
use crate::definition::{Dialect, Endpoint};
use crate::endpoint_kinds::EndpointStep;
use crate::placeholders::{Placeholder, PlaceholderName};
use crate::reply::EndpointReply;
use crate::template::TemplateNode;
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

/// Reads the answer to a request that was made for `endpoint`.
pub fn parse_response(
    dialect: &Dialect,
    endpoint: &Endpoint,
    status: u16,
    body: &[u8],
) -> LoginOutcome {
    if body.len() > LONGEST_ANSWER {
        return LoginOutcome::Unexpected(format!("an answer of more than {LONGEST_ANSWER} bytes"));
    }
    match status {
        429 => LoginOutcome::Throttled,
        200..=299 => success(dialect, endpoint, status, body),
        400..=499 => refusal(endpoint, status, body),
        // A redirect is not followed: it would send the user's password to an address that the
        // operator did not configure. Such an answer is an error of configuration.
        300..=399 => {
            LoginOutcome::Unexpected(format!("status {status}: a redirect is never followed"))
        }
        _ => LoginOutcome::Unexpected(format!("status {status}")),
    }
}

/// True if the endpoint's answer contains something that only a success has.
pub(super) fn proves(endpoint: &Endpoint) -> bool {
    let gives =
        |json: &TemplateNode| PROOFS.iter().any(|name| json.names(&Placeholder::Named(*name)));
    endpoint.reply.json().is_some_and(gives)
}

fn success(dialect: &Dialect, endpoint: &Endpoint, status: u16, body: &[u8]) -> LoginOutcome {
    // Steps that give tokens must prove their success. For the others the matching answer is
    // enough, because nobody is let in by it.
    let gives_tokens = matches!(
        endpoint.step,
        EndpointStep::Login | EndpointStep::VerifyCode | EndpointStep::Refresh
    );
    let answer = if body.is_empty() { Some(Value::Null) } else { strict_json::value(body) };
    let Some(answer) = answer else {
        return LoginOutcome::Unexpected(format!("status {status} without JSON"));
    };
    if (proves(endpoint) || !gives_tokens)
        && let Some(found) = read(&endpoint.reply, status, &answer)
    {
        return LoginOutcome::Accepted(Box::new(ResponseValues::of(dialect, found, answer)));
    }
    let pending = endpoint.pending_reply.as_ref();
    if let Some(found) = pending.and_then(|pending| read(pending, status, &answer)) {
        return LoginOutcome::Pending(ResponseValues::of(dialect, found, answer).ticket);
    }
    LoginOutcome::Unexpected(format!(
        "status {status}, but not the answer of dialect `{}`",
        dialect.name
    ))
}

/// The values that `reply` rendered the answer from; `None` if the answer was not rendered from it.
fn read(reply: &EndpointReply, status: u16, answer: &Value) -> Option<ExtractedValues> {
    if reply.status.as_u16() != status {
        return None;
    }
    let Some(template) = reply.json() else {
        return answer.is_null().then(ExtractedValues::default);
    };
    let is_proof =
        |place: &Placeholder| PROOFS.iter().any(|name| *place == Placeholder::Named(*name));
    let found = ExtractedValues::read(template, answer, &is_proof)?;
    let has = |name: &PlaceholderName| {
        let mut values = found.0.iter().filter(|(place, _)| *place == Placeholder::Named(*name));
        values.any(|(_, value)| value.as_str().is_some_and(is_token))
    };
    // Every proof that the template has must be in the answer, with a value that can be sent as a
    // token.
    let mut named = PROOFS.iter().filter(|name| template.names(&Placeholder::Named(**name)));
    named.all(has).then_some(found)
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

fn refusal(endpoint: &Endpoint, status: u16, body: &[u8]) -> LoginOutcome {
    let answer = if body.is_empty() { None } else { strict_json::value(body) };
    let said = ErrorResponse { endpoint, status, answer, body, is_empty: body.is_empty() };
    // The order matters. Some dialects answer several reasons alike: a judgement of the credential
    // is then assumed before a limit, and a limit before any other error.
    let judgements = judgements(endpoint.step);
    if let Some(reason) = judgements.iter().find(|reason| said.is(**reason)) {
        return LoginOutcome::Refused(*reason);
    }
    let held_off = [Reason::AccountLocked, Reason::TooManyAttempts, Reason::RateLimited];
    if held_off.iter().any(|reason| said.is(*reason)) {
        return LoginOutcome::Throttled;
    }
    if let Some(reason) = Reason::ALL.iter().find(|reason| said.is(**reason)) {
        return LoginOutcome::Unexpected(format!(
            "status {status}, which says `{}`",
            reason.code()
        ));
    }
    match judgements.first() {
        Some(reason) if status == 401 && said.is_shaped_like(*reason) => {
            LoginOutcome::Refused(*reason)
        }
        _ => LoginOutcome::Unexpected(format!("status {status}, but no error of the dialect")),
    }
}

/// An error answer of another system.
struct ErrorResponse<'a> {
    endpoint: &'a Endpoint,
    status: u16,
    /// `None` if the body is not JSON.
    answer: Option<Value>,
    body: &'a [u8],
    is_empty: bool,
}

impl ErrorResponse<'_> {
    /// True if the answer is what the dialect would answer for this reason.
    fn is(&self, reason: Reason) -> bool {
        let errors = &self.endpoint.errors;
        if errors.status(reason).as_u16() != self.status {
            return false;
        }
        let reads = |node: &TemplateNode, answer: &Value| {
            ExtractedValues::read(node, answer, &|_| true).is_some()
        };
        match (errors.body(reason), &self.answer) {
            (None, _) => self.is_empty,
            (Some(BodyTemplate::Fixed(bytes, FixedKind::Json)), Some(answer)) => {
                strict_json::value(bytes)
                    .is_some_and(|fixed| reads(&TemplateNode::Fixed(fixed), answer))
            }
            (Some(BodyTemplate::Json(node)), Some(answer)) => reads(node, answer),
            (Some(BodyTemplate::Fixed(bytes, FixedKind::Other)), _) => bytes == self.body,
            (Some(_), _) => false,
        }
    }

    /// True if the answer has the same structure as the dialect's answer for this reason.
    fn is_shaped_like(&self, reason: Reason) -> bool {
        let errors = &self.endpoint.errors;
        let Some(answer) = &self.answer else { return false };
        errors.status(reason).as_u16() == self.status
            && match errors.body(reason) {
                Some(BodyTemplate::Fixed(bytes, FixedKind::Json)) => {
                    strict_json::value(bytes).is_some_and(|fixed| is_shaped(&fixed, answer))
                }
                // Values that differ between requests may be anything of their kind, so only their
                // type is compared.
                Some(BodyTemplate::Json(node)) => {
                    let kind = |place: &Placeholder| match place {
                        Placeholder::Named(PlaceholderName::TimestampMs) => Some(Value::from(0)),
                        _ => Some(Value::from("")),
                    };
                    node.render(&kind, false).is_some_and(|fixed| is_shaped(&fixed, answer))
                }
                _ => false,
            }
    }
}
