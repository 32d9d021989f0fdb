//! `[token]`: what our own tokens look like.

use std::path::PathBuf;
use std::time::Duration;

use crate::algorithm::Algorithm;

/// Our own tokens, unless a `[[login]]` or its dialect says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub issuer: String,
    pub audience: Vec<String>,
    pub algorithm: Algorithm,
    pub access_ttl: Duration,
    /// Absolute life of a session, from its login.
    pub refresh_ttl: Duration,
    pub refresh_grace: Duration,
    /// Difference of clocks that is forgiven.
    pub leeway: Duration,
    /// A folder of keys that the operator manages; `None`: made in the state folder and rotated.
    pub keys: Option<PathBuf>,
    /// How long a key of our own making signs.
    pub rotate_every: Duration,
    pub jwks_path: Option<String>,
    /// How many verified tokens are remembered.
    pub cache_size: usize,
}
