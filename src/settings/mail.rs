//! `[mail]`: how one-time codes are sent to users. `login` sends them.

use std::time::Duration;

use serde::Serialize;

use super::written;
use crate::secret::SecretString;

/// The SMTP server, and the text of the mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MailSettings {
    #[serde(rename = "server")]
    pub host: String,
    #[serde(skip)]
    pub port: u16,
    pub tls: MailTls,
    pub from: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM text of the CA to trust instead of the public CAs.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<String>,
    pub subject: String,
    /// Plain text with the placeholders `$code`, `$user.name` and `$minutes`.
    pub text: String,
    /// How long a code is valid.
    #[serde(serialize_with = "written::duration")]
    pub code_ttl: Duration,
    /// How long a login waits for the server to accept the mail.
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
    /// Upper bound on mails to one account in an hour.
    pub per_hour: u32,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// TLS is negotiated after the greeting, and required (STARTTLS, RFC 3207): a server or an
    /// attacker that does not offer it gets no mail. Otherwise anybody on the way could switch the
    /// encryption off.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// No TLS: only to loopback, or if the operator allows it.
    None,
}
