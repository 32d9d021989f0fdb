//! `UserSource`: the contract between the gateway and a source of users.
//!
//! `UserSources` calls it; `file`, `sql`, `ldap` and `http` implement it, and one contract test
//! runs against each implementation. The trait says nothing about attempts, sessions or tokens:
//! `login` does.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::admission::WorkLimitError;
use crate::clock::Clock;
use crate::dialect::client::RemoteTokens;
use crate::identity::{UserId, UserProfile};
use crate::passwords::{HashPool, HashPoolError, StoredHash};
use crate::secret::{Digest, SecretString};

/// A user as the source knows them at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRecord {
    /// The permanent id of the user within the source.
    pub id: UserId,
    /// The name of the source.
    pub source: String,
    pub profile: UserProfile,
    /// Digest of roles, scopes, claims and password. When it changes, the user's sessions end.
    pub version: Digest,
}

/// The permanent key of a user. It contains the source, because two sources may use the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    pub source: String,
    pub id: UserId,
}

/// The kind of name that a login uses for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginName {
    Username(String),
    Email(String),
}

impl LoginName {
    /// Longest name or address in bytes (RFC 5321, section 4.5.3.1.3, allows 254). No user has a
    /// longer one. It is refused before it is brought into canonical form, because that costs more
    /// the longer the name is.
    pub const LONGEST: usize = 254;

    /// True if a user can have this name at all, judged by its length.
    pub fn is_possible(&self) -> bool {
        self.as_str().len() <= Self::LONGEST
    }

    /// The name as it was typed.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Username(name) | Self::Email(name) => name,
        }
    }
}

/// The result of verifying a name and a password.
#[derive(Clone, Debug, PartialEq)]
pub enum PasswordCheck {
    Correct {
        user: Box<UserRecord>,
        /// If the stored hash was replaced by a stronger one: the user's version before that.
        rehashed_from: Option<Digest>,
        /// The tokens that the system gave for the password, if the source keeps them.
        legacy: Option<Box<RemoteTokens>>,
    },
    /// The name is known, but the password is wrong or the account disabled. Both must look the
    /// same to a client; the difference is for the log.
    Wrong { id: UserId, disabled: bool },
    /// The name is not known here. Finding that out took as much work as a wrong password takes.
    UnknownUser,
}

impl PasswordCheck {
    /// The password is right, and nothing else is to be told.
    pub(super) fn correct(user: UserRecord) -> Self {
        Self::Correct { user: Box::new(user), rehashed_from: None, legacy: None }
    }
}

/// The reasons why a source could not answer. None of them says anything about the password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    #[error("user source `{name}` is unavailable: {cause}")]
    Unavailable { name: String, cause: String },

    #[error("{waiting} passwords are already waiting to be hashed")]
    Busy { waiting: usize },

    /// All places for questions to this source are taken. Whether the source works is not known.
    #[error("user source `{name}`: {none}")]
    NoPlace { name: String, none: WorkLimitError },
}

impl SourceError {
    /// The error of the source `name` for an error of the password pool.
    pub(super) fn from_pool(name: &str, error: HashPoolError) -> Self {
        match error {
            HashPoolError::Busy { waiting } => Self::Busy { waiting },
            other => Self::Unavailable { name: name.to_owned(), cause: other.to_string() },
        }
    }
}

/// Compares a password with one hash, for the source with the name `source`.
///
/// # Errors
///
/// If the pool has no time for it.
pub(super) async fn verify(
    pool: &HashPool,
    source: &str,
    stored: Arc<StoredHash>,
    password: &SecretString,
    origin: Option<IpAddr>,
) -> Result<bool, SourceError> {
    let right = pool.verify(password.clone(), stored, origin).await;
    right.map_err(|error| SourceError::from_pool(source, error))
}

/// The result of looking a name up, to be given back to the source together with the password.
#[derive(Clone, Debug, Default)]
pub struct NameLookup {
    pub id: Option<UserId>,
    /// Private data of the source: what it has read, so that it need not ask again.
    memo: Option<Arc<dyn Any + Send + Sync>>,
}

impl NameLookup {
    /// A look-up with what the source has read.
    pub(super) fn with_memo(id: Option<UserId>, memo: impl Any + Send + Sync) -> Self {
        Self { id, memo: Some(Arc::new(memo)) }
    }

    /// The memo of the look-up, if the source kept it as a `T`.
    pub(super) fn memo<T: Any>(&self) -> Option<&T> {
        self.memo.as_ref()?.downcast_ref()
    }
}

/// A source of users.
///
/// Contract:
/// - `check` costs the same for an unknown name as for a wrong password.
/// - A source that cannot answer returns an error, and never "wrong password".
/// - `find` never returns a disabled user.
#[async_trait]
pub trait UserSource: Send + Sync + std::fmt::Debug {
    /// The name of the source in the configuration.
    fn name(&self) -> &str;

    /// The permanent id of the user with this name, without a password. Used for counting attempts.
    async fn resolve(&self, name: &LoginName) -> Result<Option<UserId>, SourceError>;

    /// Like `resolve`, for a `check` that will follow: a remote source keeps what it has read.
    async fn look_for(&self, name: &LoginName) -> Result<NameLookup, SourceError> {
        Ok(NameLookup { id: self.resolve(name).await?, ..NameLookup::default() })
    }

    /// Like `check`, for a name that was looked up a moment ago.
    async fn check_found(
        &self,
        _found: &NameLookup,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        self.check(name, password, origin).await
    }

    /// How many questions a remote system is asked at the same time for this source; `None` if a
    /// login asks no remote system.
    fn parallel(&self) -> Option<usize> {
        None
    }

    /// Verifies a password. `origin` is the client's address group, for its share of the queue.
    async fn check(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError>;

    /// Spends as much work as `check` does for an unknown name. It is called when another source
    /// has already refused the login, so that such a login takes as long as one whose name no
    /// source knows.
    async fn burn_equal_time(
        &self,
        _name: &LoginName,
        _password: &SecretString,
        _origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        Ok(())
    }

    /// The present state of the user with this id; `None` if the user was removed or disabled.
    /// `name` is the user's name at login, for sources that can only search by name.
    async fn find(&self, id: &UserId, name: &str) -> Result<Option<UserRecord>, SourceError>;

    /// Resolves when users may have changed since the last call, so that their sessions are
    /// reviewed. Never resolves for a source that does not notice changes.
    async fn changed(&self) {
        std::future::pending().await
    }

    /// Looks after what the source has open: files that change, connections that break. Runs on the
    /// background runtime until the gateway stops.
    async fn watch(&self, _clock: &Clock) {}

    /// Reads the users again now, because an operator has requested it.
    async fn reload(&self) {}

    /// True if `find` answers without asking a remote system.
    fn is_local(&self) -> bool {
        false
    }

    /// True if passwords of this source's users are imported into the gateway's own store.
    fn imports(&self) -> bool {
        false
    }

    /// How many users could be imported, including those that have been; `None` if that is not
    /// known.
    async fn total(&self) -> Option<u64> {
        None
    }

    /// A message for the operator if the source does not work as it should; `None` if it does.
    fn problem(&self) -> Option<String> {
        None
    }
}
