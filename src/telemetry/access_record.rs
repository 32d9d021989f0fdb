//! The line of one request in the access log.
//!
//! It is filled while the request is handled, and written once, at the end, with the field names of
//! OpenTelemetry. The query is not part of `path`, and no header field but the user agent is kept,
//! so that no credential can get into a line.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};

use super::json::{FieldLine, capped};
use super::metrics::RouteMetrics;
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::format;
use crate::identity::{SessionId, Subject};

/// Upper bound in characters. A longer user agent is noise or an attack. The field is chosen by the
/// client, and every request writes it, so a long one would fill the disk.
const LONGEST_USER_AGENT: usize = 256;

/// How a request ended, as an operator distinguishes it. A refusal and a failure of an upstream are
/// both answers of the gateway; the field `reason` tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestOutcome {
    /// An upstream answered.
    Forwarded,
    /// An upstream answered, which has to verify the credential itself.
    Passed,
    /// The gateway itself gave the answer that was asked for.
    Answered,
    /// The gateway refused the request.
    Refused,
    /// The gateway would have refused the request, but the route only observes.
    Observed,
    /// The connection was closed before the end of the answer.
    #[default]
    Aborted,
}

impl RequestOutcome {
    /// The value of the field `outcome`. Operators filter their logs by these words, so none of
    /// them changes its meaning. New words may be added.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Passed => "passed",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::Aborted => "aborted",
        }
    }
}

/// The facts about one request. A field that is `None` is not written. They are collected by
/// `pipeline`. The time at which the line is written is passed separately, so that it is that of
/// the end of the request.
#[derive(Clone, Debug, Default)]
pub struct AccessRecord {
    pub method: Method,
    /// Only its path is written, without the query, which may contain credentials.
    pub uri: Uri,
    pub host: Option<Authority>,
    /// `1.0`, `1.1` or `2`.
    pub protocol: &'static str,
    pub client_address: Option<HeaderValue>,
    /// Written if it is text, up to 256 characters.
    pub user_agent: Option<HeaderValue>,
    pub request_id: Option<HeaderValue>,
    /// The route under whose name the request is written and counted.
    pub route: Option<Arc<RouteMetrics>>,
    pub subject: Option<Subject>,
    pub session: Option<SessionId>,
    pub upstream: Option<Arc<str>>,
    pub outcome: RequestOutcome,
    /// The stable code of the refusal, which the client has seen.
    pub reason: Option<&'static str>,
    /// The details of the refusal that the client did not get.
    pub cause: Option<String>,
    pub trace_id: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub status: u16,
    pub duration: Duration,
    pub upstream_duration: Option<Duration>,
}

impl AccessRecord {
    /// Appends every field that there is. Those of the client are escaped.
    #[inline(always)]
    pub(super) fn write_fields<const LOGFMT: bool>(
        &self,
        now: Timestamp,
        mut object: FieldLine<'_, LOGFMT>,
    ) {
        // The fields have the order in which people read them: the request, then the client and the
        // user, then the upstream, and last the outcome. Programs find them by name, so the order
        // is free.
        object.written("timestamp", |line| format::timestamp(line, now));
        object.text("request_id", shown(self.request_id.as_ref()).unwrap_or_default());
        object.text("http.request.method", self.method.as_str());
        object.text("url.path", self.uri.path());
        object.text_if("http.route", self.route.as_ref().map(|route| route.name()));
        object.count("http.response.status_code", self.status.into());
        object.text_if("client.address", self.client_text());
        object.own_text("network.protocol.version", self.protocol);
        object.text_if("server.address", self.host.as_ref().map(Authority::host));
        object.text_if("user_agent.original", self.user_agent_text());
        object.text_if("user.id", self.subject.as_ref().map(Subject::as_str));
        if let Some(session) = self.session {
            object.plain_text("session.id", session);
        }
        object.text_if("upstream.address", self.upstream.as_deref());
        if let Some(duration) = self.upstream_duration {
            object.millis("upstream.duration_ms", duration);
        }
        object.millis("duration_ms", self.duration);
        object.own_text("outcome", self.outcome.as_str());
        object.text_if("reason", self.reason);
        object.text_if("cause", self.cause.as_deref());
        object.text_if("trace_id", self.trace_id.as_deref());
        object.count("bytes_in", self.bytes_in);
        object.count("bytes_out", self.bytes_out);
        object.end();
    }

    /// The address of the client.
    pub(super) fn client_text(&self) -> Option<&str> {
        shown(self.client_address.as_ref())
    }

    /// The user agent, up to 256 characters.
    pub(super) fn user_agent_text(&self) -> Option<&str> {
        shown(self.user_agent.as_ref()).map(|it| capped(it, LONGEST_USER_AGENT))
    }
}

/// The value of a header field, if it is visible ASCII; other bytes are never written.
fn shown(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}
