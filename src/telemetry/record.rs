//! One request's line in the access log.
//!
//! Filled as the request moves along and written once, at its end, with the field names of
//! OpenTelemetry. The query is not part of `path` and no header but the user agent is kept, so
//! that no credential can be in a line.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};

use super::json::{Object, capped};
use super::metrics::RouteMetrics;
use crate::clock::Timestamp;
use crate::host::Authority;
use crate::identity::{SessionId, Subject};
use crate::text;

/// A user agent longer than this is noise or an attack.
const LONGEST_USER_AGENT: usize = 256;

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// An upstream answered.
    Forwarded,
    /// An upstream answered, which has to verify the credential by itself.
    Passed,
    /// The gateway answered by itself, as asked.
    Answered,
    /// The gateway said no.
    Refused,
    /// The gateway would have said no, but only watches.
    Observed,
    /// Somebody left before the end.
    #[default]
    Aborted,
}

impl Outcome {
    /// The value of the field `outcome`.
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

/// What is told about one request.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub method: Method,
    /// Its path is written, without the query.
    pub uri: Uri,
    pub host: Option<Authority>,
    /// `1.0`, `1.1` or `2`.
    pub protocol: &'static str,
    pub client_address: Option<HeaderValue>,
    /// Written up to 256 characters, where it is text.
    pub user_agent: Option<HeaderValue>,
    pub request_id: Option<HeaderValue>,
    /// Where it is counted, under the name that is written.
    pub route: Option<Arc<RouteMetrics>>,
    pub subject: Option<Subject>,
    pub session: Option<SessionId>,
    pub upstream: Option<Arc<str>>,
    pub outcome: Outcome,
    /// The stable code that the client saw.
    pub reason: Option<&'static str>,
    /// What the client was not told.
    pub cause: Option<String>,
    pub trace_id: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub status: u16,
    pub duration: Duration,
    pub upstream_duration: Option<Duration>,
}

impl Record {
    /// Appends the line, newline included.
    pub fn write(&self, now: Timestamp, line: &mut Vec<u8>) {
        let mut object = Object::begin(line);
        object.written("timestamp", |line| text::timestamp(line, now));
        object.text("request_id", shown(self.request_id.as_ref()).unwrap_or_default());
        object.text("http.request.method", self.method.as_str());
        object.text("url.path", self.uri.path());
        object.text_if("http.route", self.route.as_ref().map(|route| route.name()));
        object.count("http.response.status_code", self.status.into());
        object.text_if("client.address", shown(self.client_address.as_ref()));
        object.own_text("network.protocol.version", self.protocol);
        object.text_if("server.address", self.host.as_ref().map(Authority::host));
        let user_agent = shown(self.user_agent.as_ref());
        object.text_if("user_agent.original", user_agent.map(|it| capped(it, LONGEST_USER_AGENT)));
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
}

/// A field's value, if it is text.
fn shown(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    #[test]
    fn a_client_cannot_forge_a_line_or_a_field() {
        let forged = "x\"}\n{\"outcome\":\"forwarded\",\"user.id\":\"root";
        let record = Record {
            route: Some(Metrics::new().route(forged)),
            user_agent: HeaderValue::from_str(&forged.replace('\n', " ").repeat(20)).ok(),
            outcome: Outcome::Refused,
            cause: Some(forged.to_owned()),
            duration: Duration::from_micros(1_250),
            ..Record::default()
        };

        let mut line = Vec::new();
        record.write(Timestamp::from_millis(1), &mut line);

        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(parsed["http.route"], forged);
        assert_eq!(parsed["outcome"], "refused");
        assert_eq!(parsed["duration_ms"], 1.25);
        assert_eq!(parsed["timestamp"], "1970-01-01T00:00:00.001Z");
        assert!(parsed.get("user.id").is_none());
        assert_eq!(parsed["user_agent.original"].as_str().unwrap().chars().count(), 256);
    }
}
