//! Every early end of a request, turned into an HTTP answer in one place.
//!
//! A `Rejection` has a `Reason` and the facts that its answer needs; the error form of the endpoint
//! or route gives the answer its shape. The client gets the reason and a request id, and the log
//! gets the cause. Challenges follow RFC 6750, section 3. A gRPC call is refused in the way of
//! gRPC.

pub(crate) mod grpc;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::admission::{OverBudget, WorkLimitError};
use crate::authn::TokenError;
use crate::body::{Body, BodyError, Response};
use crate::clock::Timestamp;
use crate::dialect::{ErrorFormat, ErrorValues, LocalResponse, Reason, RequestValues};
use crate::routing::TargetError;
use crate::throttle::RateLimitHeaders;

/// The reason why the gateway answers itself, with all that the answer needs. Handlers return it as
/// their error, so that every early end takes the same way out.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    /// For the log: which check failed, which server. The client is never shown it.
    pub(crate) cause: Option<Cow<'static, str>>,
    pub(crate) retry_after: Option<Duration>,
    /// A message for people, if the form has a place for it.
    pub(crate) detail: Option<Box<str>>,
    /// The methods of the target, if the method was wrong (RFC 9110, section 10.2.1).
    pub(crate) allow: Vec<Method>,
    /// The scopes that the route requires, if they were missing (RFC 6750, section 3.1).
    pub(crate) scope: Option<Box<str>>,
    /// The state of the route's rate limits, if one of them is the reason.
    pub(crate) limits: Option<Box<RateLimitHeaders>>,
    /// A form that goes before the route's: that of an endpoint. Endpoints of a login have their
    /// own errors.
    pub(crate) form: Option<Arc<ErrorFormat>>,
    /// The connection cannot be used for further requests.
    pub(crate) close: bool,
}

impl Rejection {
    /// A rejection without additions.
    pub(crate) fn new(reason: Reason) -> Self {
        Self {
            reason,
            cause: None,
            retry_after: None,
            detail: None,
            allow: Vec::new(),
            scope: None,
            limits: None,
            form: None,
            close: false,
        }
    }

    /// Adds the cause for the log.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the time after which trying again makes sense.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Closes the connection after the answer.
    #[must_use]
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The rejection of a method, for a target that accepts `allow`.
    pub(crate) fn method_not_allowed(allow: Vec<Method>) -> Self {
        Self { allow, ..Self::new(Reason::MethodNotAllowed) }
    }

    /// The answer, in the closest form that there is. Limits, retry times and the end of the
    /// connection are added to every form.
    pub(crate) fn into_response(self, context: &RejectionContext<'_>) -> Response {
        // A gRPC client understands neither JSON nor challenges, so the form of the route does not
        // apply to it.
        let mut response = match context.grpc {
            Some(kind) => grpc::answer(self.reason, kind),
            None => self.in_form(context),
        };
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Rounded up: a client that comes back too early would be refused again.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, number(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if let Some(limits) = &self.limits {
            limits.write_to(headers);
        }
        // HTTP/2 has no such field (RFC 9113, section 8.2.2), and there a faulty request ends its
        // stream only.
        if self.close && context.http1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The answer in the form of the endpoint or route, with the fields that HTTP demands. A form
    /// may have a challenge of its own; else the one of RFC 6750 is added where it belongs.
    fn in_form(&self, context: &RejectionContext<'_>) -> Response {
        let form = self.form.as_ref().unwrap_or(context.form);
        let answer = form.render(&ErrorValues {
            reason: self.reason,
            path: context.path,
            request_id: context.request_id,
            detail: self.detail.as_deref(),
            request: context.shown,
            now: context.now,
        });
        let challenge =
            form.challenge(self.reason).then(|| self.challenge(answer.status, context.realm));
        let mut response = respond(answer);
        let headers = response.headers_mut();
        if let Some(challenge) = challenge.flatten() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if !self.allow.is_empty() {
            let allow = self.allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            insert(headers, header::ALLOW, &allow);
        }
        response
    }

    /// The field `WWW-Authenticate` (RFC 6750, section 3): on every 401, and on those answers with
    /// 400 or 403 that the RFC names. `None` for all other answers.
    fn challenge(&self, status: StatusCode, realm: &str) -> Option<HeaderValue> {
        let mut challenge = String::with_capacity(96);
        quote(&mut challenge, "Bearer realm=", realm);
        match self.reason {
            Reason::AmbiguousCredential => challenge.push_str(", error=\"invalid_request\""),
            Reason::NotPermitted if status == StatusCode::FORBIDDEN => {
                challenge.push_str(", error=\"insufficient_scope\"");
                if let Some(scope) = &self.scope {
                    quote(&mut challenge, ", scope=", scope);
                }
            }
            _ if status != StatusCode::UNAUTHORIZED => return None,
            Reason::TokenInvalid | Reason::TokenExpired | Reason::TokenRevoked => {
                challenge.push_str(", error=\"invalid_token\"");
            }
            // Nothing was presented, or a password was; then there is no error code (RFC 6750,
            // section 3.1).
            _ => {}
        }
        HeaderValue::from_str(&challenge).ok()
    }
}

/// The facts about the refused request that its answer depends on. They are borrowed, because the
/// answer is made at once.
#[derive(Debug)]
pub(crate) struct RejectionContext<'a> {
    pub(crate) form: &'a Arc<ErrorFormat>,
    /// The content type of the client's messages, if it calls a route by gRPC.
    pub(crate) grpc: Option<&'a HeaderValue>,
    pub(crate) realm: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    /// The values of the request for `$request.…` in an error of an endpoint.
    pub(crate) shown: &'a RequestValues,
    pub(crate) now: Timestamp,
    pub(crate) http1: bool,
}

/// Turns an answer of the gateway into a response.
pub(crate) fn respond(answer: LocalResponse) -> Response {
    let mut response = Response::new(Body::full(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    response
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

/// Appends `value` as a quoted string (RFC 9110, section 5.6.4). Characters that would need
/// escaping are left out, so that no value can end the string. Realms and scopes come from the
/// configuration, but one of them may still contain a quote.
fn quote(challenge: &mut String, before: &str, value: &str) {
    challenge.push_str(before);
    challenge.push('"');
    challenge.extend(value.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')));
    challenge.push('"');
}

impl From<TargetError> for Rejection {
    fn from(error: TargetError) -> Self {
        let rejection = Self::new(error.reason).because(error.cause);
        // It is unclear where the request ends. If the connection went on, the rest of this request
        // could be read as the next one (request smuggling). An ambiguous credential is no such
        // doubt, so the connection stays open then.
        if error.reason == Reason::AmbiguousCredential { rejection } else { rejection.closing() }
    }
}

impl From<TokenError> for Rejection {
    fn from(refusal: TokenError) -> Self {
        Self::new(refusal.reason).because(refusal.cause)
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        let reason = match &error {
            BodyError::TooLarge { .. } => Reason::BodyTooLarge,
            BodyError::Stalled { .. } | BodyError::Slow { .. } | BodyError::Overdue { .. } => {
                Reason::RequestTimeout
            }
            BodyError::OverBudget(OverBudget::Share { .. }) => Reason::TooManyAttempts,
            BodyError::OverBudget(OverBudget::All { .. }) => Reason::Unavailable,
            BodyError::Connection(_) => Reason::MalformedRequest,
            BodyError::SessionEnded | BodyError::Internal => Reason::Internal,
        };
        let is_crowded = matches!(error, BodyError::OverBudget(_));
        // The rest of the body is not read, so the next request could not be found.
        let rejection = Self::new(reason).because(error.to_string()).closing();
        if is_crowded { rejection.retry_after(Duration::from_secs(1)) } else { rejection }
    }
}

impl From<WorkLimitError> for Rejection {
    /// If the client has used up its own share, the answer says so. If all places are taken, it is
    /// not the client's fault. Both answers ask the client to come back in a second.
    fn from(none: WorkLimitError) -> Self {
        let reason = match none {
            WorkLimitError::Share { .. } => Reason::TooManyAttempts,
            WorkLimitError::Full { .. } => Reason::Unavailable,
        };
        Self::new(reason).because(none.to_string()).retry_after(Duration::from_secs(1))
    }
}
