//! The seam: what a store of sessions promises.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Account, Code, CodeVerdict, Revocations, Session, TokenOwner, Totp};
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject, UserId};
use crate::secret::Digest;

/// The store could not carry an operation out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It may work later: disk full, database being re-opened, queue full.
    #[error("the session store is unavailable: {0}")]
    Unavailable(Arc<str>),
}

/// Where sessions live.
///
/// Contract: each operation is one atomic step, and what it answered is durable before it
/// answers. `put` is visible to the next `find`; `revoke` is final, even for a session that is
/// being refreshed (after it, `rotate` and `renew` are `Gone`); an ended or expired session is
/// never returned. A store that cannot answer says `StoreError::Unavailable` and does not guess.
#[async_trait]
pub trait SessionStore: Send + Sync + std::fmt::Debug {
    /// Keeps a new session. Where the subject then has more than `most`, its oldest are ended
    /// and named in the answer.
    async fn put(
        &self,
        session: Session,
        most: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// The session, if it has not ended.
    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError>;

    /// Live sessions, oldest first: of one subject in whatever realm, or all; at most `most`.
    async fn list(
        &self,
        subject: Option<&Subject>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError>;

    /// Some live sessions, in the order of their ids, from the one after `after` on, and where to
    /// go on; one step of many, so that a large store keeps nobody waiting.
    async fn page(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError>;

    /// Retires the presented refresh token and makes its successor the working one.
    async fn rotate(
        &self,
        id: SessionId,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<Rotated, StoreError>;

    /// The atomic step of a refresh that does not rotate: notes that the session was used and
    /// that an access token until `access_until` was issued. `presented` is the digest of the
    /// refresh token's `jti` where there is one. `None` if the session is gone or the token is
    /// not its current one.
    async fn renew(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError>;

    /// Ends sessions or outlaws a single token. Answers which sessions ended. Their revocations
    /// are in `revocations()` before this returns, even if it fails: then the effect is in
    /// memory at once and written when the disk allows.
    async fn revoke(&self, what: Revoke, now: Timestamp) -> Result<Vec<SessionId>, StoreError>;

    /// Keeps a code, replacing an earlier one of the same key.
    async fn put_code(
        &self,
        code: Code,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError>;

    /// The code of this key, if it has not expired: whose login is waiting.
    async fn find_code(&self, key: Digest, now: Timestamp) -> Result<Option<Code>, StoreError>;

    /// Tries a guess at a code; a right one is used up, and each wrong one is counted.
    async fn use_code(&self, guess: CodeGuess, now: Timestamp) -> Result<CodeVerdict, StoreError>;

    /// Reserves an attempt before the password is looked at, counting it as failed.
    async fn count_attempt(
        &self,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<Admission, StoreError>;

    /// The reserved attempt succeeded: it is refunded, and what the pair (account, address) failed
    /// at attempts of its kind is taken back. After the last step of the user the account is known
    /// from the address from now on.
    async fn attempt_succeeded(
        &self,
        attempt: Attempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The reserved attempt was not decided (source down, queue full): it is refunded.
    async fn attempt_undecided(&self, attempt: Attempt, now: Timestamp) -> Result<(), StoreError>;

    /// Forgets all counts of an account.
    async fn lift_limits(&self, account: Digest, now: Timestamp) -> Result<bool, StoreError>;

    /// Remembers that the password hash of a user was rewritten by us: sessions made under
    /// version `old` now count as made under `new`.
    async fn rehashed(&self, user: UserRef<'_>, old: Digest, new: Digest)
    -> Result<(), StoreError>;

    /// Keeps what is known of a user, replacing what was known of the same one.
    async fn put_account(&self, account: Account) -> Result<(), StoreError>;

    /// What is known of the user of `source` with this id, or with this canonical name.
    async fn find_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<Account>, StoreError>;

    /// Forgets a user of `source`; nothing if he is not known.
    async fn remove_account(&self, source: &str, subject: &UserId) -> Result<(), StoreError>;

    /// How many users of `source` are known, and how many of them by a hash of ours.
    async fn account_counts(&self, source: &str) -> Result<AccountCounts, StoreError>;

    /// Keeps the secret of the second step of a user of `source`, replacing an earlier one; `None`
    /// takes it away.
    async fn put_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<Totp>,
    ) -> Result<(), StoreError>;

    /// The secret of his second step, if he has one.
    async fn find_totp(&self, source: &str, id: &UserId) -> Result<Option<Totp>, StoreError>;

    /// Uses up the codes of all time steps up to `step`: false if this or a later one was used
    /// before.
    async fn use_totp_step(&self, source: &str, id: &UserId, step: u64)
    -> Result<bool, StoreError>;

    /// What is revoked; loaded before this store was handed out, and kept current by it.
    fn revocations(&self) -> &Arc<Revocations>;

    /// When the store was made: own tokens issued earlier are refused.
    fn made(&self) -> Timestamp;

    /// 32 random bytes made with the store, for deriving what must survive a restart without
    /// being stored (successor `jti`s, code hashes).
    fn secret(&self) -> &[u8; 32];

    /// Whether the last operation could be carried out, for readiness.
    fn healthy(&self) -> Result<(), StoreError>;

    /// Returns once everything accepted so far is durable and the store has let go of its files.
    async fn close(&self);
}

/// A user as a source knows them, and as everybody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRef<'a> {
    pub source: &'a str,
    pub id: &'a UserId,
    pub subject: &'a Subject,
}

/// By what a known user is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKey<'a> {
    Subject(&'a UserId),
    /// The name in its canonical spelling.
    Name(&'a str),
}

/// How far the users of a source are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountCounts {
    /// All that have logged in.
    pub known: u64,
    /// Those of them whose hash is kept here.
    pub imported: u64,
    /// When the first and the latest hash were taken.
    pub first: Option<Timestamp>,
    pub latest: Option<Timestamp>,
}

/// Some of all sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// The last one that was looked at; `None` where these were the last of all.
    pub next: Option<SessionId>,
}

/// One step of a refresh that rotates.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Digest of the presented token's `jti`.
    pub presented: Digest,
    /// Which of its session's refresh tokens it says it is; tokens of earlier versions do not.
    pub generation: Option<u32>,
    /// Digest of its successor's `jti`.
    pub successor: Digest,
    /// `exp` of the successor, where it becomes the working token.
    pub expires: Timestamp,
    /// `exp` of the access token that will be issued with it.
    pub access_until: Timestamp,
    /// How long a retired token still gets its successor's answer.
    pub grace: Duration,
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq)]
pub enum Rotated {
    /// The successor is the working token now; the session as it is after that.
    Rotated(Box<Session>),
    /// The presented token was retired just now: answer with the same successor again (whose
    /// `exp` is the session's `refresh.expires`).
    Grace(Box<Session>),
    /// The presented token works, and was made by a rotation so short a time ago that it is to
    /// work on: whoever refreshes all the time costs no more than whoever does not.
    Fresh(Box<Session>),
    /// A token that was retired earlier: the session has been ended.
    Reuse(Box<Session>),
    /// This session never had such a token.
    Unknown,
    /// The session has ended.
    Gone,
}

/// What to revoke.
#[derive(Clone, Debug, PartialEq)]
pub enum Revoke {
    Session(SessionId),
    /// Every session of the user whose session this is.
    Siblings(SessionId),
    /// The sessions of a subject in this realm, or in all of them.
    Subject {
        subject: Subject,
        realm: Option<String>,
    },
    All,
    /// One token that is not ours, by digest, until it would end anyway; and the sessions that it
    /// was traded for.
    Token {
        digest: Digest,
        until: Timestamp,
    },
    /// Tokens that are not ours and were issued to any of these until now.
    Tokens {
        of: Vec<TokenOwner>,
    },
}

/// Whether a code was kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PutCode {
    Kept,
    /// The account had all the codes of this hour.
    TooMany {
        retry_after: Duration,
    },
}

/// What an attempt is at. Each kind has a count of its own: otherwise whoever knows the password
/// takes guesses at codes back by logging in where no code is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    Password,
    Code,
}

/// How far a success brings its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginProgress {
    /// The user has another step, due here or elsewhere.
    Step,
    /// It was the last of all that the user has.
    Login,
}

/// A guess at a code.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeGuess {
    pub key: Digest,
    pub code: Digest,
    /// Address (group) it comes from: the one that passed the password step has 5 guesses, all
    /// others together have 15. One that nobody knows is never the same as another.
    pub address: Option<IpAddr>,
    /// Digest of the ticket that comes with it: whoever has it passed the password step.
    pub ticket: Option<Digest>,
}

/// One try at a password or a code.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Digest of the canonical account.
    pub account: Digest,
    pub kind: AttemptKind,
    /// Address group; `None` where addresses are not counted.
    pub address: Option<IpAddr>,
    pub per_account: (u32, Duration),
    pub per_address: (u32, Duration),
}

/// Whether a try may go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    Admitted,
    /// Over a limit; `locked` where it is the account's.
    Limited {
        retry_after: Duration,
        account: bool,
    },
}
