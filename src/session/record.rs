//! What a store keeps.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::{Claims, SessionId, Subject};
use crate::secret::Digest;

/// A login that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    /// The user's lasting id.
    pub subject: Subject,
    pub username: String,
    pub email: Option<String>,
    /// The user source that knew the name.
    pub source: String,
    /// The `[[login]]` it began at: `client_id` of its tokens.
    pub login: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
    /// Digest of what the user was at login (roles, scopes, claims, password): when it changes,
    /// the session ends.
    pub user_version: Digest,
    pub created: Timestamp,
    /// Its absolute end, from its login.
    pub expires: Timestamp,
    /// Ends when not refreshed for so long.
    pub idle: Option<Duration>,
    pub last_used: Timestamp,
    /// The latest `exp` of any access token issued to it.
    pub access_until: Timestamp,
    /// What its refresh tokens are at; `None` where the dialect has no refresh tokens.
    pub refresh: Option<Generation>,
    /// SHA-256 of the pair's key; `None` where the dialect has no pair.
    pub key_hash: Option<Digest>,
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
}

impl Session {
    /// The instant from which the session is over if nothing else happens: its absolute end, or
    /// earlier by idleness.
    pub fn ends(&self) -> Timestamp {
        match self.idle {
            Some(idle) => self.expires.min(self.last_used.plus(idle)),
            None => self.expires,
        }
    }
}

/// The refresh tokens of a session: the one that works, and the one just retired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub number: u32,
    /// Digest of the working token's `jti`.
    pub current: Digest,
    /// `exp` of the working token.
    pub expires: Timestamp,
    /// Digest of the `jti` retired last, and when it was.
    pub retired: Option<(Digest, Timestamp)>,
}

/// A one-time code on its way to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Code {
    /// What it is looked up by: login name and account, hashed together.
    pub key: Digest,
    /// Keyed hash of the code; the code itself is kept nowhere.
    pub code: Digest,
    pub subject: Subject,
    pub source: String,
    pub user_version: Digest,
    pub expires: Timestamp,
    /// The address (group) that passed the password step.
    pub address: Option<IpAddr>,
}

/// What became of a guess at a code.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeVerdict {
    /// Right; the code is used up.
    Right(Box<Code>),
    Wrong,
    /// There is none, it has expired, or it was guessed at too often.
    Gone,
}
