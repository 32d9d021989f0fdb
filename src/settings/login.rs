//! `[[login]]` and `[login_limits]`: the logins that are served, and the limits on attempts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::dialect::{CorsPolicy, Dialect};

/// A dialect that is served to clients.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// The claim `client_id` of its tokens. Invariant: unique among logins.
    pub name: String,
    pub dialect: Arc<Dialect>,
    /// Prepended to the dialect's paths: empty, or `/something` without a slash at the end.
    pub prefix: String,
    /// Host names in lower case; `*` for all.
    pub hosts: Vec<String>,
    /// Names of user sources, in the order in which they are asked.
    pub users: Vec<String>,
    /// Names of the issuers whose tokens may be exchanged for tokens of this gateway.
    pub exchange: Vec<String>,
    /// The longest life of a session that began with such an exchange.
    pub exchange_ttl: Duration,
    /// From the login, else from its dialect, else from `[token]`; the same for the following
    /// values.
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
    pub refresh_idle: Option<Duration>,
    pub refresh_grace: Duration,
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: Vec<String>,
    pub cors: Option<Arc<CorsPolicy>>,
    /// Whether the answer distinguishes an unknown user from a wrong password. Possible only if the
    /// dialect has two answers. Distinguishing them tells a guesser which names exist, so it is
    /// warned of.
    pub reveal_unknown_user: bool,
    /// Whether a user who has an authenticator is asked for its code.
    pub totp: bool,
    /// Pairs of tenant header fields (aviate). If there are any, a request must match one of them.
    pub tenants: Vec<TenantPair>,
    /// Values for the placeholders `$config.…` of the dialect.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// Upper bound on the body of a login request, in bytes.
    pub body_limit: u64,
}

/// A pair of tenant header fields that a login accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantPair {
    pub api_key: String,
    pub api_secret: crate::secret::SecretString,
}

/// A limit: so many attempts in so much time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttemptRate {
    pub attempts: u32,
    pub per: Duration,
}

/// The limits that hold back guessing of passwords, and the load that logins may cause.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginLimits {
    pub per_account: AttemptRate,
    pub per_address: AttemptRate,
    pub hashing: HashingSettings,
    /// Upper bound on sessions of one user at the same time. A further login ends the oldest one.
    pub sessions_per_user: NonZeroUsize,
    /// Upper bound on sessions that one user may begin in a time, ended ones included.
    pub new_sessions_per_user: AttemptRate,
}

/// The pool of threads that hash passwords.
#[derive(Clone, Debug, PartialEq)]
pub struct HashingSettings {
    /// Number of threads that hash.
    pub parallel: usize,
    /// Upper bound on logins that wait for a thread; further ones are refused.
    pub queue: usize,
}
