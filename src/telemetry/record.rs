//! One request's line in the access log.
//!
//! Filled as the request moves along and written once, at its end, with the field names of
//! OpenTelemetry. The query is not part of `path` and no header but the user agent is kept, so
//! that no credential can be in a line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::json::{Object, capped};
use crate::clock::Timestamp;

/// A user agent longer than this is noise or an attack.
const LONGEST_USER_AGENT: usize = 256;

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// An upstream answered.
    Forwarded,
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
    /// The path without its query.
    pub path: String,
    pub host: Option<String>,
    /// `1.0`, `1.1` or `2`.
    pub protocol: &'static str,
    pub client_address: Option<IpAddr>,
    /// Written up to 256 characters.
    pub user_agent: Option<String>,
    pub request_id: String,
    pub route: Option<Arc<str>>,
    pub subject: Option<String>,
    pub session: Option<String>,
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
        object.plain_text("timestamp", now);
        object.text("request_id", &self.request_id);
        object.text("http.request.method", self.method.as_str());
        object.text("url.path", &self.path);
        object.text_if("http.route", self.route.as_deref());
        object.number("http.response.status_code", self.status);
        if let Some(address) = self.client_address {
            object.plain_text("client.address", address);
        }
        object.text("network.protocol.version", self.protocol);
        object.text_if("server.address", self.host.as_deref());
        let user_agent = self.user_agent.as_deref().map(|name| capped(name, LONGEST_USER_AGENT));
        object.text_if("user_agent.original", user_agent);
        object.text_if("user.id", self.subject.as_deref());
        object.text_if("session.id", self.session.as_deref());
        object.text_if("upstream.address", self.upstream.as_deref());
        if let Some(duration) = self.upstream_duration {
            object.number("upstream.duration_ms", millis(duration));
        }
        object.number("duration_ms", millis(self.duration));
        object.text("outcome", self.outcome.as_str());
        object.text_if("reason", self.reason);
        object.text_if("cause", self.cause.as_deref());
        object.text_if("trace_id", self.trace_id.as_deref());
        object.number("bytes_in", self.bytes_in);
        object.number("bytes_out", self.bytes_out);
        object.end();
    }
}

/// Milliseconds to the microsecond, because most answers take less than one.
fn millis(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_forge_a_line_or_a_field() {
        let forged = "x\"}\n{\"outcome\":\"forwarded\",\"user.id\":\"root";
        let record = Record {
            path: forged.to_owned(),
            host: Some(forged.to_owned()),
            user_agent: Some(forged.repeat(20)),
            outcome: Outcome::Refused,
            cause: Some(forged.to_owned()),
            duration: Duration::from_micros(1_250),
            ..Record::default()
        };

        let mut line = Vec::new();
        record.write(Timestamp::from_millis(1), &mut line);

        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(parsed["url.path"], forged);
        assert_eq!(parsed["outcome"], "refused");
        assert_eq!(parsed["duration_ms"], 1.25);
        assert_eq!(parsed["timestamp"], "1970-01-01T00:00:00.001Z");
        assert!(parsed.get("user.id").is_none());
        assert_eq!(parsed["user_agent.original"].as_str().unwrap().chars().count(), 256);
    }
}
