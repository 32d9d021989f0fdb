//! `SessionStore`: the contract between the gateway and a store of sessions.
//!
//! A store keeps sessions, one-time codes, counts of failed attempts, users of remote sources, and
//! second steps. `login`, `authn`, `users` and `admin` call it; `embedded` implements it, and one
//! contract test runs against every implementation. The trait says nothing about files or
//! transactions.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    CodeVerdict, KnownAccount, OneTimeCode, OpaqueToken, Revocations, SealedCredential, Session,
    TokenOwner, TotpSecret,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;

/// The store could not carry out an operation. The caller must treat that as "not known", never as
/// a refusal: a request then gets 503. Only `revoke` takes effect all the same, in memory.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operation may work later: the disk is full, the database is being re-opened or cannot be
    /// reached, or the queue is full. It may be repeated. Where other nodes share the store, it may
    /// have been carried out although the answer was lost.
    #[error("the session store is unavailable: {0}")]
    Unavailable(Arc<str>),
}

/// The store of sessions and of everything that belongs to logging in.
///
/// Contract:
/// - Each operation is one atomic step, and its result is durable before the operation answers.
/// - A session that was `put` is visible to the next `find`.
/// - `revoke` is final, even for a session that is being refreshed: after it, `rotate` and `renew`
///   answer that the session is gone.
/// - A session that ended or expired is never returned.
/// - A store that cannot answer returns `StoreError::Unavailable`; it never guesses.
#[async_trait]
pub trait Store: SessionStore + CodeStore + AttemptStore + AccountStore + std::fmt::Debug {
    /// The revocations in memory. They are loaded before the store is handed out, and the store
    /// keeps them current.
    fn revocations(&self) -> &Arc<Revocations>;

    /// When the store was made; see `Revocations::store_made`.
    fn created_at(&self) -> Timestamp {
        self.revocations().store_made()
    }

    /// 32 random bytes that were made with the store. Values that must be the same after a restart,
    /// but should not be stored, are derived from them: `jti`s of successors, hashes of codes. The
    /// bytes stay in the store: whoever reads them could compute these values.
    fn secret(&self) -> [u8; 32];

    /// Tells whether the last operation could be carried out; used by the readiness check. It asks
    /// the store nothing, so it never waits: a store that failed without being used since is still
    /// reported as failed.
    fn healthy(&self) -> Result<(), StoreError>;

    /// True if the revocations are too old to be relied on; see `Revocations::is_stale`. A file of
    /// this machine is never.
    fn is_stale(&self) -> bool {
        false
    }

    /// True if this session was ended, and its end holds in memory alone because it could not be
    /// written yet. It is lost if this process ends before it is written.
    fn has_unwritten_end(&self, session: SessionId) -> bool;

    /// Notes about the store for an operator, one sentence each.
    fn notes(&self) -> Vec<String>;

    /// Takes over the lifetimes of a changed configuration. How long revocations are kept depends
    /// on them.
    fn set_lifetimes(&self, leeway: Duration, longest_access: Duration);

    /// Returns when everything accepted so far is durable and the store has closed its files.
    /// Operations that are started afterwards fail.
    async fn close(&self);
}

/// Sessions, their refresh tokens, and how they end.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a new session. If the subject then has more than `limit` sessions, the oldest are
    /// ended; the answer names those that ended. The new session itself is never among them, and
    /// neither are sessions that ended before.
    async fn put(
        &self,
        session: Session,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// The session, if it exists and has not ended.
    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError>;

    /// The session that has not ended and lists the opaque access token with this digest. Whether
    /// the token itself has expired is for the caller to see: `Session::token`.
    async fn find_by_token(
        &self,
        token: Digest,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError>;

    /// Live sessions, oldest first, at most `limit`: those of one subject in every realm, or those
    /// of all subjects.
    async fn list(
        &self,
        subject: Option<&Subject>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError>;

    /// The next live sessions after `after`, in the order of their ids, and where to go on. A walk
    /// over all sessions is cut into such pages, so that a large store blocks no other operation
    /// for long.
    async fn page(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError>;

    /// Refresh-token rotation: retires the presented refresh token and makes its successor the
    /// working one. The answer tells a fresh, a repeated and a stolen token apart. See
    /// `RotationOutcome` for each case; a stolen token ends the session.
    async fn rotate(
        &self,
        id: SessionId,
        rotation: RefreshRotation,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError>;

    /// The atomic step of a refresh without rotation: notes that the session was used, and that an
    /// access token valid until `access_until` was issued. `presented` is the digest of the refresh
    /// token's `jti`, where there is one; `issued` is the access token, where it is opaque. `None`
    /// if the session is gone or the token is not its current one.
    async fn renew(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        issued: Option<OpaqueToken>,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError>;

    /// Moves the end of an opaque access token to `until`, and notes that the session was used. The end
    /// never moves back, nor beyond that of the session. The session as it is then; `None` if it is
    /// gone, or does not list the token any more: what is forgotten does not come back by its use.
    async fn move_token(
        &self,
        id: SessionId,
        token: Digest,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError>;

    /// Replaces the credential of another system that is kept with the session. `false` if the
    /// session is gone; nothing is kept then.
    async fn keep_credential(
        &self,
        id: SessionId,
        credential: SealedCredential,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Ends sessions or refuses a single token; answers which sessions ended.
    ///
    /// Invariant: the revocations are in `revocations()` before this call returns, even if it
    /// returns an error. Then they take effect in memory at once and are written when the store
    /// allows. While a database that other nodes share cannot be reached, only the sessions and
    /// tokens that `what` names are known; the others of a user end once it is reached.
    async fn revoke(
        &self,
        what: RevocationTarget,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Records that the gateway re-hashed a user's password. The user's version changes although
    /// the password is the same, so sessions made under `old` count as made under `new` and do not
    /// end.
    async fn rehashed(&self, user: UserRef<'_>, old: Digest, new: Digest)
    -> Result<(), StoreError>;
}

/// One-time codes that wait for their guess.
#[async_trait]
pub trait CodeStore: Send + Sync {
    /// Stores a one-time code and replaces an earlier one with the same key. `per_hour` bounds the
    /// codes sent to one account, because each is a message to the user. The answer says when the
    /// next code may be sent, if this one may not.
    async fn put_code(
        &self,
        code: OneTimeCode,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError>;

    /// The code with this key, if it has not expired. The second step reads it to learn which login
    /// is waiting. It does not count as a guess.
    async fn find_code(
        &self,
        key: Digest,
        now: Timestamp,
    ) -> Result<Option<OneTimeCode>, StoreError>;

    /// Compares a guess with the stored code. A right guess uses the code up; each wrong guess is
    /// counted, and too many wrong guesses remove the code. The comparison and the count are one
    /// step, so guesses in parallel gain nothing.
    async fn use_code(&self, guess: CodeGuess, now: Timestamp) -> Result<CodeVerdict, StoreError>;
}

/// Attempts at passwords and codes: reserved before the work, refunded after a success.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Reserves an attempt and counts it as failed, before the password is checked. Counting first
    /// makes a thousand attempts in parallel a thousand counted attempts; counting afterwards would
    /// let all of them pass the limit.
    async fn count_attempt(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<AttemptAdmission, StoreError>;

    /// The reserved attempt succeeded: it is refunded, and the failures of this account from this
    /// address, of the same kind, are taken back. After the user's last step the address counts as
    /// known for the account.
    async fn attempt_succeeded(
        &self,
        attempt: LoginAttempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The reserved attempt could not be decided (user source down, queue full): it is refunded.
    async fn attempt_undecided(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes all counts of failed attempts at an account. True if there were any whose window has
    /// not ended.
    async fn lift_limits(&self, account: Digest, now: Timestamp) -> Result<bool, StoreError>;
}

/// Users that the gateway itself remembers: imports from legacy systems, and second steps.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Stores what is known of a user; an earlier record of the same user is replaced.
    async fn put_account(&self, account: KnownAccount) -> Result<(), StoreError>;

    /// The record of the user of `source` with this id or this canonical name.
    async fn find_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<KnownAccount>, StoreError>;

    /// Removes the record of a user of `source`; does nothing if there is none.
    async fn remove_account(&self, source: &str, subject: &UserId) -> Result<(), StoreError>;

    /// Number of known users of `source`, and number of those with a hash that the gateway made.
    async fn account_counts(&self, source: &str) -> Result<AccountCounts, StoreError>;

    /// Stores the secret of a user's second step and replaces an earlier one; `None` removes it.
    async fn put_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<TotpSecret>,
    ) -> Result<(), StoreError>;

    /// The secret of the user's second step, if the user has one.
    async fn find_totp(&self, source: &str, id: &UserId) -> Result<Option<TotpSecret>, StoreError>;

    /// Marks the codes of all time steps up to `step` as used. False if this step or a later one
    /// was used before: then the code is a replay (RFC 6238, section 5.2). The check and the
    /// marking are one atomic step, so of two logins with the same code one fails.
    async fn use_totp_step(&self, source: &str, id: &UserId, step: u64)
    -> Result<bool, StoreError>;
}

/// A user, by the id in the user source and by the subject that everything outside the source sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRef<'a> {
    pub source: &'a str,
    pub id: &'a UserId,
    pub subject: &'a Subject,
}

/// The key for looking up the record of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKey<'a> {
    Subject(&'a UserId),
    /// The name in its canonical spelling.
    Name(&'a str),
}

/// Counts of the users of one source that are known here. They tell an operator how far the import
/// of password hashes has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountCounts {
    /// Number of users that have logged in at least once.
    pub known: u64,
    /// Number of those users whose password hash is kept here.
    pub imported: u64,
    /// When the earliest and the latest of those hashes were made.
    pub first: Option<Timestamp>,
    pub latest: Option<Timestamp>,
}

/// One page of a walk over all sessions. The walk sees every session that exists from its beginning
/// to its end; one that is added meanwhile may be missed.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// The last session that was looked at, to go on from; `None` if there are no more.
    pub next: Option<SessionId>,
}

/// The input of one refresh-token rotation (RFC 9700, section 4.14.2).
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshRotation {
    /// Digest of the `jti` of the presented token.
    pub presented: Digest,
    /// The generation number in the presented token; `None` in tokens of earlier versions.
    pub generation: Option<u32>,
    /// Digest of the `jti` of the successor.
    pub successor: Digest,
    /// `exp` of the successor, if it becomes the working token.
    pub expires: Timestamp,
    /// `exp` of the access token that is issued together with the successor.
    pub access_until: Timestamp,
    /// That access token, where it is opaque. It is added to the session by the same step.
    pub issued: Option<OpaqueToken>,
    /// For how long after its retirement a token still gets the same successor as answer.
    pub grace: Duration,
}

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq)]
pub enum RotationOutcome {
    /// The successor is the working token now. The session is returned as it is after the rotation.
    Rotated(Box<Session>),
    /// The presented token was retired within the grace period, so the client probably lost the
    /// answer. The caller answers with the same successor again; its `exp` is the session's
    /// `refresh.expires`.
    Grace(Box<Session>),
    /// The presented token works and is less than a second old, so it stays the working token. A
    /// client that refreshes without pause therefore does not cause one rotation after another.
    Fresh(Box<Session>),
    /// The presented token was retired before the grace period: it was probably stolen. The session
    /// has been ended.
    Reuse(Box<Session>),
    /// The session never had this token.
    Unknown,
    /// The session has ended.
    Gone,
}

/// The target of a revocation.
#[derive(Clone, Debug, PartialEq)]
pub enum RevocationTarget {
    Session(SessionId),
    /// Every session of the user that this session belongs to.
    Siblings(SessionId),
    /// The sessions of a subject in this realm, or in all realms.
    Subject {
        subject: Subject,
        realm: Option<String>,
    },
    All,
    /// One foreign token, by digest, until its own expiry; also the sessions that it was exchanged
    /// for. Revoking the same token twice is no error.
    Token {
        digest: Digest,
        until: Timestamp,
    },
    /// All foreign tokens that were issued to any of these owners until now.
    Tokens {
        of: Vec<TokenOwner>,
    },
}

impl RevocationTarget {
    /// True if it names this session.
    pub(crate) fn names(&self, session: SessionId) -> bool {
        matches!(self, Self::Session(id) | Self::Siblings(id) if *id == session)
    }
}

/// The result of storing a one-time code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PutCode {
    Kept,
    /// The account has had all the codes of this hour.
    TooMany {
        retry_after: Duration,
    },
}

/// The kind of secret that an attempt guesses at. Each kind has its own count. With one count, a
/// client that knows the password could log in where no code is needed, and each such success
/// would take back its failed guesses at codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    Password,
    Code,
}

/// How far a successful step brings the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginProgress {
    /// The user has a further step, here or elsewhere.
    Step,
    /// This was the user's last step; the login is complete.
    Login,
}

/// A guess at a one-time code. The code is passed as a keyed hash, so the store never sees a code
/// in clear text.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeGuess {
    pub key: Digest,
    pub code: Digest,
    /// Address group of the guess. The address that passed the password step has 5 guesses, all
    /// others together have 15. An address that is not known (`None`) is never equal to another.
    /// Addresses are grouped (see `client`), so that one IPv6 network counts as one.
    pub address: Option<IpAddr>,
    /// Digest of the ticket sent with the guess; the ticket proves that the client passed the
    /// password step. Dialects without a field for it rely on the address.
    pub ticket: Option<Digest>,
}

/// One attempt at a password or a code, with the limits that apply to it. The limits come from the
/// `[[login]]` section, so the store needs no configuration. One value is made per request and
/// passed again to report the result.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginAttempt {
    /// Digest of the canonical account.
    pub account: Digest,
    pub kind: AttemptKind,
    /// Address group; `None` where attempts are not counted by address.
    pub address: Option<IpAddr>,
    pub per_account: (u32, Duration),
    pub per_address: (u32, Duration),
}

/// Whether an attempt may go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttemptAdmission {
    Admitted,
    /// A limit is reached; `account` is true if it is the limit of the account.
    Limited {
        retry_after: Duration,
        account: bool,
    },
}
