//! The records that a session store keeps: sessions, refresh-token generations, one-time codes,
//! users of remote sources, and secrets of second steps.
//!
//! The types are plain data. Most of them are written to the store as JSON, so a new field needs
//! `#[serde(default)]` for rows of earlier versions. `login` makes them, `embedded` stores them.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SealedCredential;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{Claims, SessionId, Subject, UserId, UserProfile};
use tollhouse_core::secret::{Digest, Secret};

/// A session: a login that has not ended. Invariant: `access_until` is never earlier than the `exp`
/// of any access token issued for the session, because revocations are kept until then. The user's
/// data are a copy from the login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    /// The user's permanent id, as tokens and upstreams see it.
    pub subject: Subject,
    /// The scope within which `subject` means one person: the name of the user source, or empty
    /// where all sources share their users. The same person may then log in through any of them.
    pub realm: String,
    pub username: String,
    pub email: Option<String>,
    /// Name of the user source that authenticated the user.
    pub source: String,
    /// The user's id in that source.
    pub user_id: UserId,
    /// Name of the `[[login]]` section where the session began; it is `client_id` in its tokens.
    pub login: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
    /// Digest of the user's roles, scopes, claims and password at login. When the user's digest in
    /// the source changes (a new password, another role), the session ends.
    pub user_version: Digest,
    pub created: Timestamp,
    /// The absolute end, counted from the login. Refreshing does not move it.
    pub expires: Timestamp,
    /// The session ends early if it is not refreshed for this long; `None` means never.
    pub idle: Option<Duration>,
    pub last_used: Timestamp,
    /// The latest `exp` of all access tokens issued for this session.
    pub access_until: Timestamp,
    /// State of the refresh tokens; `None` where the dialect has no refresh tokens.
    pub refresh: Option<RefreshGeneration>,
    /// SHA-256 of the session key that the dialect pairs with the session id; `None` where the
    /// dialect has no such pair. A token of the session is then accepted only together with the
    /// key.
    pub key_hash: Option<Digest>,
    /// Digest of the foreign token that was exchanged for this session. Revoking that token ends
    /// the session. `None` for a session that began with a password.
    #[serde(default)]
    pub traded: Option<Digest>,
    /// The opaque access tokens that were issued last, newest last. Empty where access tokens are
    /// signed: those need no record. Changed by `add_token` and `move_token` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<OpaqueToken>,
    /// What another system gave the user at the login, where it is kept. It is sealed for this
    /// session, and gone with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<SealedCredential>,
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
}

/// An opaque access token of a session: a random text that says nothing. The token itself is stored
/// nowhere, so whoever reads the store can use none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueToken {
    /// SHA-256 of the token. The token is random, so the digest needs no salt.
    pub digest: Digest,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

/// How many opaque tokens of one session are remembered: the current one, and those of refreshes
/// that ran at the same time or whose answers were lost. An older one is refused, although it has
/// not expired; otherwise a client that refreshes in a loop would make its session's record grow.
const TOKENS: usize = 4;

impl Session {
    /// Remembers an opaque access token, and returns the tokens that are forgotten for it.
    pub fn add_token(&mut self, token: OpaqueToken) -> Vec<OpaqueToken> {
        self.tokens.retain(|known| known.digest != token.digest);
        self.tokens.push(token);
        let excess = self.tokens.len().saturating_sub(TOKENS);
        self.tokens.drain(..excess).collect()
    }

    /// Moves the end of a token that the session lists; false if it lists it no more. An end never
    /// moves back, nor beyond that of the session.
    pub fn move_token(&mut self, digest: &Digest, until: Timestamp, now: Timestamp) -> bool {
        let latest = self.expires;
        let Some(token) = self.tokens.iter_mut().find(|token| token.digest == *digest) else {
            return false;
        };
        token.expires = token.expires.max(until.min(latest));
        self.last_used = self.last_used.max(now);
        true
    }

    /// The opaque access token of this session with this digest, expired or not.
    pub fn token(&self, digest: &Digest) -> Option<&OpaqueToken> {
        self.tokens.iter().find(|token| token.digest == *digest)
    }

    /// The user as the session remembers them. The row keeps these fields beside its own: their
    /// names and their order are those of every store that was written so far.
    pub fn profile(&self) -> UserProfile {
        UserProfile {
            name: self.username.clone(),
            email: self.email.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            claims: self.claims.clone(),
        }
    }

    /// The instant from which the session is over if it is not used again: its absolute end, or the
    /// idle limit where that comes first. Whether it was revoked is not part of this: the store
    /// knows that.
    pub fn ends(&self) -> Timestamp {
        match self.idle {
            Some(idle) => self.expires.min(self.last_used.plus(idle)),
            None => self.expires,
        }
    }
}

/// The refresh tokens of a session under rotation: the working token and the one that was retired
/// last. Older ones need no record: their generation number is lower than `number`. The number lets
/// a stolen old token be recognised with two digests in the row instead of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshGeneration {
    pub number: u32,
    /// True if the working token carries its generation number. Tokens issued before schema 4 do
    /// not.
    #[serde(default)]
    pub is_named: bool,
    /// Digest of the working token's `jti`.
    pub current: Digest,
    /// `exp` of the working token.
    pub expires: Timestamp,
    /// Digest of the `jti` that was retired last, and when it was retired. A client that lost the
    /// answer may present it again within the grace period.
    pub retired: Option<(Digest, Timestamp)>,
    /// When the working token was last given out again, in answer to the retired one. It counts as
    /// just made then; see `rotation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Timestamp>,
}

/// A one-time code that was sent to a user and has not been entered yet. A login that waits for an
/// authenticator's code is stored in the same form, with a keyed hash of the authenticator's secret
/// in `code`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneTimeCode {
    /// The look-up key: login name and account, hashed together.
    pub key: Digest,
    /// Keyed hash of the code. The code itself is not stored anywhere.
    pub code: Digest,
    /// The user's id in `source`.
    #[serde(rename = "subject")]
    pub user_id: UserId,
    /// The username; empty in codes of earlier versions.
    #[serde(default)]
    pub username: String,
    pub source: String,
    pub user_version: Digest,
    pub expires: Timestamp,
    /// Address group from which the password step was passed.
    pub address: Option<IpAddr>,
    /// Digest of the ticket that the client got for the password step. Where it is set, a guess
    /// without the ticket is refused, so a stranger who only knows a login name cannot guess.
    #[serde(default)]
    pub ticket: Option<Digest>,
    /// What another system gave the user for the password, sealed for this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<SealedCredential>,
}

/// The result of a guess at a one-time code.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeVerdict {
    /// The guess is right; the code is used up.
    Right(Box<OneTimeCode>),
    Wrong,
    /// There is no such code: none was sent, it has expired, or it was guessed at too often.
    Gone,
}

/// The gateway's own record of a user of a remote source. It is needed for a source that can only
/// be queried together with the user's password, and where the gateway keeps a stronger hash than
/// the source has.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownAccount {
    pub source: String,
    /// The user's id in that source.
    pub subject: UserId,
    /// The username as the source spells it.
    pub name: String,
    /// The canonical spelling of the name that the user logs in with.
    pub key: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
    /// The same digest as `Session::user_version`.
    pub version: Digest,
    /// Argon2id hash of the user's password, where it was imported.
    pub hash: Option<String>,
    /// Digest of the source's own hash when `hash` was made: if the source's hash changes, the
    /// password has changed. Where the source shows no hash, it is the digest of the name with
    /// which the source last accepted the user.
    pub origin: Option<Digest>,
    /// The exact name with which the source first accepted this user. The source is not queried
    /// under any other spelling. `None` in accounts of earlier versions, and where the source need
    /// not be queried.
    #[serde(default)]
    pub spelling: Option<String>,
    /// When the password was first hashed and stored here.
    pub imported: Option<Timestamp>,
    /// When the user's password was last verified.
    pub seen: Timestamp,
}

impl KnownAccount {
    /// The user as the gateway remembers them; see `Session::profile`.
    pub fn profile(&self) -> UserProfile {
        UserProfile {
            name: self.name.clone(),
            email: self.email.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            claims: self.claims.clone(),
        }
    }
}

// Written by hand: the derived form would print the password hash and the user's claims into logs.
impl std::fmt::Debug for KnownAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("source", &self.source)
            .field("subject", &self.subject)
            .field("name", &self.name)
            .field("imported", &self.imported)
            .finish_non_exhaustive()
    }
}

/// The shared secret of a user's second step, a time-based one-time password (RFC 6238).
#[derive(Clone, PartialEq)]
pub struct TotpSecret {
    /// The key shared with the user's authenticator app.
    pub secret: Secret<Vec<u8>>,
    pub made: Timestamp,
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp").field("made", &self.made).finish_non_exhaustive()
    }
}
