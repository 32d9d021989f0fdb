//! The audit log: who logged in, whose session ended, what an operator did.
//!
//! Every event is written, one JSON object a line. Accounts appear as the short form of their
//! digest, sessions by their id; no token, password or code is ever a field. A failed login's
//! name may be a password typed into the wrong field, so an unlikely name is left out.

use std::net::IpAddr;

use super::json::{Object, capped};
use super::sink::Sink;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;

/// Longer text is cut.
const LONGEST_TEXT: usize = 256;
/// A name must be shorter than this to be written for a failed login.
const UNLIKELY_NAME: usize = 128;

/// Where audit events go.
#[derive(Clone, Debug)]
pub struct AuditLog {
    sink: Sink,
}

/// From where, and by which request and login, something was done.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    pub address: Option<IpAddr>,
    pub request_id: &'a str,
    pub login: &'a str,
    /// The system's user who gave the command, where it came by the admin socket.
    pub operator: Option<u32>,
}

/// Something that an auditor asks about.
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
    /// `None` where the address alone was enough to refuse, before anybody looked whose the name is.
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
    /// Logged out with a token of another issuer.
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
    /// Lines that were lost because they came faster than they could be written.
    pub fn dropped(&self) -> u64 {
        self.sink.dropped()
    }

    /// Writes to `sink`.
    pub fn new(sink: Sink) -> Self {
        Self { sink }
    }

    /// Writes one event.
    pub fn write(&self, now: Timestamp, actor: &Actor<'_>, event: &AuditEvent<'_>) {
        let mut line = Vec::with_capacity(256);
        let mut object = Object::begin(&mut line);
        object.plain_text("timestamp", now);
        object.text("event", event.name());
        if let Some(address) = actor.address {
            object.plain_text("client.address", address);
        }
        if let Some(operator) = actor.operator {
            object.number("operator.uid", operator);
        }
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
    /// The value of the field `event`.
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

    fn fields(&self, object: &mut Object<'_>) {
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

fn text(object: &mut Object<'_>, key: &'static str, value: &str) {
    object.text(key, capped(value, LONGEST_TEXT));
}

fn texts(object: &mut Object<'_>, fields: &[(&'static str, &str)]) {
    for (key, value) in fields {
        text(object, key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &AuditEvent<'_>) -> serde_json::Value {
        let (sink, captured) = Sink::captured();
        let actor = Actor { address: None, request_id: "r-1", login: "main", operator: None };
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
