//! What a store keeps.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::{Claims, SessionId, Subject, UserId};
use crate::secret::{Digest, Secret};

/// A login that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    /// The user's lasting id.
    pub subject: Subject,
    /// Within what `subject` is one person: the source, or nothing where sources share their users.
    pub realm: String,
    pub username: String,
    pub email: Option<String>,
    /// The user source that knew the name.
    pub source: String,
    /// The user's id in that source.
    pub user_id: UserId,
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
    /// The token of another issuer that was traded for this session: its end is the session's.
    #[serde(default)]
    pub traded: Option<Digest>,
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
    /// Whether the working token says its number; those of earlier versions do not.
    #[serde(default)]
    pub is_named: bool,
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
    /// The user's id in `source`.
    #[serde(rename = "subject")]
    pub user_id: UserId,
    /// What the user is called; empty in codes of earlier versions.
    #[serde(default)]
    pub username: String,
    pub source: String,
    pub user_version: Digest,
    pub expires: Timestamp,
    /// The address (group) that passed the password step.
    pub address: Option<IpAddr>,
    /// Digest of what whoever passed the password step was given: without it nobody may guess.
    #[serde(default)]
    pub ticket: Option<Digest>,
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

/// What is known of a user whose source cannot be asked without his password, or whose hash is
/// kept here in the stead of a weaker one there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub source: String,
    /// The user's id in that source.
    pub subject: UserId,
    /// As the source spells it.
    pub name: String,
    /// The canonical spelling of what he logs in with.
    pub key: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
    /// As `Session::user_version`.
    pub version: Digest,
    /// Argon2id hash of his password, where it was imported.
    pub hash: Option<String>,
    /// Digest of the source's own hash that `hash` stands for: another one there is another
    /// password. Where the source shows no hash, digest of the name as he was last let in by it.
    pub origin: Option<Digest>,
    /// The name to the letter, as the source was asked for it when it first let this user in: the
    /// source is asked in no other spelling. `None` in accounts of earlier versions, and where the
    /// source need not be asked.
    #[serde(default)]
    pub spelling: Option<String>,
    /// When the hash was taken first.
    pub imported: Option<Timestamp>,
    /// When his password was last found right.
    pub seen: Timestamp,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("source", &self.source)
            .field("subject", &self.subject)
            .field("name", &self.name)
            .field("imported", &self.imported)
            .finish_non_exhaustive()
    }
}

/// The secret of a user's second step (RFC 6238).
#[derive(Clone, PartialEq)]
pub struct Totp {
    /// Shared with his authenticator.
    pub secret: Secret<Vec<u8>>,
    pub made: Timestamp,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp").field("made", &self.made).finish_non_exhaustive()
    }
}
