//! `[[login]]` and `[login_limits]`: the logins that are served, and the limits on attempts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::written;
use crate::algorithm::Algorithm;
use crate::dialect::{CorsPolicy, Dialect};

/// A dialect that is served to clients.
#[derive(Clone, Debug, Serialize)]
pub struct LoginSettings {
    /// The claim `client_id` of its tokens. Invariant: unique among logins.
    pub name: String,
    #[serde(serialize_with = "written::dialect")]
    pub dialect: Arc<Dialect>,
    /// Prepended to the dialect's paths: empty, or `/something` without a slash at the end.
    pub prefix: String,
    /// Host names in lower case; `*` for all.
    pub hosts: Vec<String>,
    /// Names of user sources, in the order in which they are asked.
    pub users: Vec<String>,
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: Vec<String>,
    /// From the login, else from its dialect, else from `[token]`; the same for the following
    /// values.
    #[serde(serialize_with = "written::duration")]
    pub access_ttl: Duration,
    #[serde(serialize_with = "written::duration")]
    pub refresh_grace: Duration,
    /// Whether the answer distinguishes an unknown user from a wrong password. Possible only if the
    /// dialect has two answers. Distinguishing them tells a guesser which names exist, so it is
    /// warned of.
    pub reveal_unknown_user: bool,
    /// Whether a user who has an authenticator is asked for its code.
    pub totp: bool,
    /// Upper bound on the body of a login request, in bytes.
    #[serde(serialize_with = "written::size")]
    pub body_limit: u64,
    /// Pairs of tenant header fields (aviate). If there are any, a request must match one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantPair>,
    /// Names of the issuers whose tokens may be exchanged for tokens of this gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exchange: Vec<String>,
    /// The longest life of a session that began with such an exchange.
    #[serde(serialize_with = "written::duration")]
    pub exchange_ttl: Duration,
    #[serde(serialize_with = "written::duration")]
    pub refresh_ttl: Duration,
    #[serde(serialize_with = "written::maybe_duration")]
    pub refresh_idle: Option<Duration>,
    #[serde(serialize_with = "written::maybe_cors")]
    pub cors: Option<Arc<CorsPolicy>>,
    /// The programs that may call the endpoints at which the dialect looks for one. If there are
    /// none, programs are not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<LoginClient>,
    /// The URL by which clients reach the login, for `$login.url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Values for the placeholders `$config.…` of the dialect.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub about: serde_json::Map<String, serde_json::Value>,
}

/// A pair of tenant header fields that a login accepts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantPair {
    pub api_key: String,
    pub api_secret: crate::secret::SecretString,
}

/// A program that may ask for its users' tokens (a client in the words of RFC 6749).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoginClient {
    pub id: String,
    /// `None` for a public program, which can keep no secret.
    #[serde(flatten, serialize_with = "written::program_secret")]
    pub secret: Option<crate::secret::SecretString>,
}

/// A limit: so many attempts in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AttemptRate {
    pub attempts: u32,
    #[serde(serialize_with = "written::duration")]
    pub per: Duration,
}

/// The limits that hold back guessing of passwords, and the load that logins may cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoginLimits {
    /// Upper bound on sessions of one user at the same time. A further login ends the oldest one.
    pub sessions_per_user: NonZeroUsize,
    /// Upper bound on sessions that one user may begin in a time, ended ones included.
    pub new_sessions_per_user: AttemptRate,
    pub per_account: AttemptRate,
    pub per_address: AttemptRate,
    pub hashing: HashingSettings,
}

/// The pool of threads that hash passwords.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HashingSettings {
    /// Number of threads that hash.
    pub parallel: usize,
    /// Upper bound on logins that wait for a thread; further ones are refused.
    pub queue: usize,
}
