//! The audit log: who logged in, whose session ended, and what an operator did.
//!
//! Every event is written as one JSON object on a line of its own. Accounts appear as the short
//! form of their digest, sessions by their id. No token, password or code is ever a field. The name
//! of a failed login may be a password that was typed into the wrong field, so a name that is
//! unlikely to be one is left out.

use std::net::IpAddr;

use super::json::{JsonObject, capped};
use super::line_writer::LineWriter;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;

/// Upper bound on a text field, in characters. Longer text is cut, because clients choose some of
/// it. The cut is at a character, so the line stays valid UTF-8 and valid JSON.
const LONGEST_TEXT: usize = 256;
/// The name of a failed login is written only if it is shorter than this, in bytes. Such a length
/// is rare for names, and usual for tokens that were pasted into the wrong field.
const UNLIKELY_NAME: usize = 128;

/// The audit log of a gateway. It is written by logins, by the review of sessions, by operators and
/// by reloads; a full buffer drops lines and counts them. Clones are not needed: it is shared as a
/// part of `gateway::SharedState`.
#[derive(Clone, Debug)]
pub struct AuditLog {
    sink: LineWriter,
}

/// The origin of an event: the address, the request and the login by which something was done. An
/// event of the gateway itself, such as a reload by a signal, has neither an address nor an
/// operator.
#[derive(Clone, Copy, Debug)]
pub struct AuditActor<'a> {
    pub address: Option<IpAddr>,
    pub request_id: &'a str,
    pub login: &'a str,
    /// The system user who gave the command, if it came through the admin socket.
    pub operator: Option<u32>,
}

/// An event that an auditor asks about. The fields are borrowed, because each event is written at
/// once. `name` is the value under which each event is found in the log. The identity of the person
/// who acts is in `AuditActor`.
#[derive(Clone, Copy, Debug)]
pub enum AuditEvent<'a> {
    LoggedIn {
        subject: &'a Subject,
        name: &'a str,
        session: SessionId,
    },
    Exchanged {
        subject: &'a Subject,
        name: &'a str,
        issuer: &'a str,
        session: SessionId,
    },
    LoginFailed {
        name: &'a str,
        cause: &'a str,
    },
    CodeSent {
        subject: &'a Subject,
    },
    CodeAwaited {
        subject: &'a Subject,
    },
    CodeRefused {
        account: &'a Digest,
        cause: &'a str,
    },
    /// An attempt that was refused by a limit. `account` is `None` if the address alone was over
    /// its limit; the name was not looked up then. `by_account` tells which of the two limits it
    /// was.
    Lockout {
        account: Option<&'a Digest>,
        by_account: bool,
    },
    Refreshed {
        session: SessionId,
    },
    ReuseDetected {
        subject: &'a Subject,
        session: SessionId,
    },
    LoggedOut {
        subject: &'a Subject,
        session: SessionId,
        sessions: usize,
    },
    /// A logout with a token of another issuer, which is refused from now on.
    Outlawed {
        subject: &'a Subject,
        issuer: &'a str,
    },
    Revoked {
        session: SessionId,
        cause: &'a str,
    },
    Admin {
        action: &'a str,
        target: &'a str,
    },
    Key {
        action: &'a str,
        kid: &'a str,
        algorithm: &'a str,
    },
    Reload {
        ok: bool,
        cause: &'a str,
    },
}

impl AuditLog {
    /// The number of lines that were lost, because they came faster than they could be written.
    pub fn dropped(&self) -> u64 {
        self.sink.dropped()
    }

    /// An audit log that writes to `sink`.
    pub fn new(sink: LineWriter) -> Self {
        Self { sink }
    }

    /// Writes one event with its time. The call does not wait for the disk. The order of the lines
    /// is the order of the calls.
    pub fn write(&self, now: Timestamp, actor: &AuditActor<'_>, event: &AuditEvent<'_>) {
        let mut line = Vec::with_capacity(256);
        let mut object = JsonObject::begin(&mut line);
        object.plain_text("timestamp", now);
        object.text("event", event.name());
        if let Some(address) = actor.address {
            object.plain_text("client.address", address);
        }
        if let Some(operator) = actor.operator {
            object.number("operator.uid", operator);
        }
        // A request id from a trusted proxy is text of somebody else, so it is cut and escaped like
        // one.
        for (key, value) in [("request_id", actor.request_id), ("login", actor.login)] {
            if !value.is_empty() {
                object.text(key, capped(value, LONGEST_TEXT));
            }
        }
        event.fields(&mut object);
        object.end();
        self.sink.write(&line);
    }
}

impl AuditEvent<'_> {
    /// The value of the field `event`. Operators search for these names, so none of them changes.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LoggedIn { .. } => "logged_in",
            Self::Exchanged { .. } => "exchanged",
            Self::LoginFailed { .. } => "login_failed",
            Self::CodeSent { .. } => "code_sent",
            Self::CodeAwaited { .. } => "code_awaited",
            Self::CodeRefused { .. } => "code_refused",
            Self::Lockout { .. } => "lockout",
            Self::Refreshed { .. } => "refreshed",
            Self::ReuseDetected { .. } => "reuse_detected",
            Self::LoggedOut { .. } | Self::Outlawed { .. } => "logged_out",
            Self::Revoked { .. } => "revoked",
            Self::Admin { .. } => "admin",
            Self::Key { .. } => "key",
            Self::Reload { .. } => "reload",
        }
    }

    fn fields(&self, object: &mut JsonObject<'_>) {
        match *self {
            Self::LoggedIn { subject, name, session } => {
                object.text("user.id", subject.as_str());
                text(object, "user.name", name);
                object.plain_text("session.id", session.0);
            }
            Self::Exchanged { subject, name, issuer, session } => {
                object.text("user.id", subject.as_str());
                text(object, "user.name", name);
                text(object, "issuer", issuer);
                object.plain_text("session.id", session.0);
            }
            Self::LoginFailed { name, cause } => {
                // Passwords are often longer than names. Such a name is replaced, so that a
                // password that was typed into the wrong field is not kept in a log for years. The
                // length alone decides, because nothing else tells the two apart.
                object.text("user.name", if name.len() < UNLIKELY_NAME { name } else { "-" });
                text(object, "cause", cause);
            }
            Self::CodeSent { subject } | Self::CodeAwaited { subject } => {
                object.text("user.id", subject.as_str());
            }
            Self::CodeRefused { account, cause } => {
                object.text("account", &account.short());
                text(object, "cause", cause);
            }
            Self::Lockout { account, by_account } => {
                let account = account.map(Digest::short);
                object.text("account", account.as_deref().unwrap_or("-"));
                object.text("counted_by", if by_account { "account" } else { "address" });
            }
            Self::Refreshed { session } => object.plain_text("session.id", session.0),
            Self::ReuseDetected { subject, session } => {
                object.text("user.id", subject.as_str());
                object.plain_text("session.id", session.0);
            }
            Self::LoggedOut { subject, session, sessions } => {
                object.text("user.id", subject.as_str());
                object.plain_text("session.id", session.0);
                object.number("sessions", sessions);
            }
            Self::Outlawed { subject, issuer } => {
                texts(object, &[("user.id", subject.as_str()), ("issuer", issuer)]);
            }
            Self::Revoked { session, cause } => {
                object.plain_text("session.id", session.0);
                text(object, "cause", cause);
            }
            Self::Admin { action, target } => {
                texts(object, &[("action", action), ("target", target)]);
            }
            Self::Key { action, kid, algorithm } => {
                texts(object, &[("action", action), ("kid", kid), ("algorithm", algorithm)]);
            }
            Self::Reload { ok, cause } => {
                object.number("ok", ok);
                text(object, "cause", cause);
            }
        }
    }
}

/// Writes a text that may be long.
fn text(object: &mut JsonObject<'_>, key: &'static str, value: &str) {
    object.text(key, capped(value, LONGEST_TEXT));
}

fn texts(object: &mut JsonObject<'_>, fields: &[(&'static str, &str)]) {
    for (key, value) in fields {
        text(object, key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &AuditEvent<'_>) -> serde_json::Value {
        let (sink, captured) = LineWriter::captured();
        let actor = AuditActor { address: None, request_id: "r-1", login: "main", operator: None };
        AuditLog::new(sink).write(Timestamp::from_secs(0), &actor, event);
        serde_json::from_str(&captured.text()).unwrap()
    }

    #[test]
    fn a_failed_login_keeps_a_likely_name_only() {
        let likely = written(&AuditEvent::LoginFailed { name: "ann\"\n", cause: "password" });
        let unlikely = "x".repeat(UNLIKELY_NAME);
        let unlikely = written(&AuditEvent::LoginFailed { name: &unlikely, cause: "password" });

        assert_eq!(likely["event"], "login_failed");
        assert_eq!(likely["user.name"], "ann\"\n");
        assert_eq!(unlikely["user.name"], "-");
    }

    #[test]
    fn an_account_is_written_as_eight_digits() {
        let account = Digest::of(b"ann");

        let line = written(&AuditEvent::Lockout { account: Some(&account), by_account: true });

        assert_eq!(line["account"], account.short());
        assert_eq!(line["counted_by"], "account");
    }
}
