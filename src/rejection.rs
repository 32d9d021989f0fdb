//! Every early end of a request, turned into HTTP in one place.
//!
//! A `Rejection` says why (`Reason`), with the facts that its answer needs; the error form of
//! the endpoint or route gives it its shape. The client sees the reason and a request id, the
//! log sees the cause. Challenges follow RFC 6750 §3. A call by gRPC is refused as gRPC does it.

pub(crate) mod grpc;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::admission::{NoPlace, OverBudget};
use crate::authn::Refusal;
use crate::body::{Body, BodyError, Response};
use crate::clock::Timestamp;
use crate::dialect::{Answer, ErrorFacts, ErrorForm, Reason};
use crate::routing::TargetError;
use crate::throttle::Told;

/// Why the gateway answers by itself.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    /// For the log: which check failed, which server; never shown to the client.
    pub(crate) cause: Option<Cow<'static, str>>,
    pub(crate) retry_after: Option<Duration>,
    /// What people are told, where the form has room for it.
    pub(crate) detail: Option<Box<str>>,
    /// What the target takes, where the method was wrong (RFC 9110 §10.2.1).
    pub(crate) allow: Vec<Method>,
    /// Scopes the route wants, where they were missing (RFC 6750 §3.1).
    pub(crate) scope: Option<Box<str>>,
    /// What the route's rate limits say, where one of them is the reason.
    pub(crate) limits: Option<Box<Told>>,
    /// A form closer than the route's: an endpoint's own.
    pub(crate) form: Option<Arc<ErrorForm>>,
    /// The connection cannot be read on.
    pub(crate) close: bool,
}

impl Rejection {
    /// A rejection with nothing to add.
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

    /// Adds what the log should say.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds when trying again makes sense.
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

    /// Wrong method for a target that takes `allow`.
    pub(crate) fn method_not_allowed(allow: Vec<Method>) -> Self {
        Self { allow, ..Self::new(Reason::MethodNotAllowed) }
    }

    /// The answer, in the closest form there is.
    pub(crate) fn into_response(self, context: &RejectionContext<'_>) -> Response {
        let mut response = match context.grpc {
            Some(kind) => grpc::answer(self.reason, kind),
            None => self.in_form(context),
        };
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Rounded up: a client that comes back early is refused again.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, number(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if let Some(limits) = &self.limits {
            limits.tell(headers);
        }
        if self.close && context.http1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// In the shape of the endpoint or route, with what HTTP has to say.
    fn in_form(&self, context: &RejectionContext<'_>) -> Response {
        let form = self.form.as_ref().unwrap_or(context.form);
        let answer = form.render(&ErrorFacts {
            reason: self.reason,
            path: context.path,
            request_id: context.request_id,
            detail: self.detail.as_deref(),
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

    /// `WWW-Authenticate` (RFC 6750 §3): on every 401; on the 400 and 403 that it names.
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
            // Nothing was presented, or a password: no error code (RFC 6750 §3.1).
            _ => {}
        }
        HeaderValue::from_str(&challenge).ok()
    }
}

/// What an answer needs to know of the request it refuses.
#[derive(Debug)]
pub(crate) struct RejectionContext<'a> {
    pub(crate) form: &'a Arc<ErrorForm>,
    /// How the client writes, where it calls a route by gRPC.
    pub(crate) grpc: Option<&'a HeaderValue>,
    pub(crate) realm: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) http1: bool,
}

/// An answer of ours as a response.
pub(crate) fn respond(answer: Answer) -> Response {
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

/// Appends `value` as a quoted-string (RFC 9110 §5.6.4); what cannot be in one is left out.
fn quote(challenge: &mut String, before: &str, value: &str) {
    challenge.push_str(before);
    challenge.push('"');
    challenge.extend(value.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')));
    challenge.push('"');
}

impl From<TargetError> for Rejection {
    fn from(error: TargetError) -> Self {
        let rejection = Self::new(error.reason).because(error.cause);
        // Where a request ends is in doubt: the next one must not be looked for.
        if error.reason == Reason::AmbiguousCredential { rejection } else { rejection.closing() }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
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
        // What is left of the body is not read, so the next request could not be found.
        let rejection = Self::new(reason).because(error.to_string()).closing();
        if is_crowded { rejection.retry_after(Duration::from_secs(1)) } else { rejection }
    }
}

impl From<NoPlace> for Rejection {
    /// Whoever has had their share is told so; where all places are taken it is nobody's fault.
    fn from(none: NoPlace) -> Self {
        let reason = match none {
            NoPlace::Share { .. } => Reason::TooManyAttempts,
            NoPlace::Full { .. } => Reason::Unavailable,
        };
        Self::new(reason).because(none.to_string()).retry_after(Duration::from_secs(1))
    }
}
