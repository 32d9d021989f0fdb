//! `[mail]`: how one-time codes reach people.

use std::time::Duration;

use crate::secret::SecretString;

/// The SMTP server and what the mail says.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub from: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM of a CA to trust instead of the public ones.
    pub ca: Option<String>,
    pub subject: String,
    /// Plain text with `$code`, `$user.name` and `$minutes`.
    pub text: String,
    /// How long a code lives.
    pub code_ttl: Duration,
    /// How long the login waits for the server's acceptance.
    pub timeout: Duration,
    /// Mails to one account in an hour.
    pub per_hour: u32,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS is asked for after the greeting, and required (RFC 3207).
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None; to loopback, or on the operator's word.
    None,
}
