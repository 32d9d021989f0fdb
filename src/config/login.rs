//! `[[login]]` and `[login_limits]`: dialects served to clients, and brute force.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::dialect::{Cors, Dialect};

/// A dialect served to clients.
#[derive(Clone, Debug)]
pub struct Login {
    /// `client_id` of its tokens; unique.
    pub name: String,
    pub dialect: Arc<Dialect>,
    /// Put before the dialect's paths; "" or "/something" without a slash at its end.
    pub prefix: String,
    /// Lower-cased host names; `*` for all.
    pub hosts: Vec<String>,
    /// Names of user sources, in the order they are asked.
    pub users: Vec<String>,
    /// Names of issuers whose tokens may be traded for ours.
    pub exchange: Vec<String>,
    /// This login's own over the dialect's over `[token]`, resolved.
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
    pub refresh_idle: Option<Duration>,
    pub refresh_grace: Duration,
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: Vec<String>,
    pub cors: Option<Arc<Cors>>,
    /// Whether an unknown user is told from a wrong password, where the dialect has two answers.
    pub reveal_unknown_user: bool,
    /// Tenant headers that must match one pair, where the login lists tenants (aviate).
    pub tenants: Vec<Tenant>,
    /// Values for the dialect's `$config.…` placeholders.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// Largest body of a login request in bytes.
    pub body_limit: u64,
}

/// A pair of tenant headers that a login accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    pub api_key: String,
    pub api_secret: crate::secret::SecretString,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub attempts: u32,
    pub per: Duration,
}

/// How brute force is held back.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginLimits {
    pub per_account: Rate,
    pub per_address: Rate,
    pub hashing: Hashing,
    /// Sessions one user may have at once; the oldest is ended.
    pub sessions_per_user: NonZeroUsize,
}

/// The password pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashing {
    /// Threads that hash.
    pub parallel: usize,
    /// Logins that may wait for one.
    pub queue: usize,
}
