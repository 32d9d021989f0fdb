//! The seam: what a source of users promises.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::pool::PoolError;
use crate::admission::NoPlace;
use crate::clock::Clock;
use crate::identity::{Claims, UserId};
use crate::secret::{Digest, SecretString};

/// A user as a source knows him.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Lasting id in its source.
    pub id: UserId,
    pub name: String,
    pub email: Option<String>,
    /// Name of the source.
    pub source: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
    /// Digest of roles, scopes, claims and password: a change ends the user's sessions.
    pub version: Digest,
}

/// Who a user is, for good: sources may give the same ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    pub source: String,
    pub id: UserId,
}

/// What a login calls the user by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Username(String),
    Email(String),
}

impl Name {
    /// Longer than any name or address (RFC 5321 §4.5.3.1.3 allows 254 bytes). What is longer is
    /// nobody's, and is refused before it is folded, which costs more the longer it is.
    pub const LONGEST: usize = 254;

    /// Whether it can be somebody's at all.
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

/// What a source says to a name and a password.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    Right {
        user: Box<User>,
        /// The stored hash was replaced by a stronger one; this was the version before.
        rehashed_from: Option<Digest>,
    },
    /// Known, but the password is wrong or the account disabled: the same to everyone outside.
    Wrong { id: UserId, disabled: bool },
    /// Not known here, after as much work as a wrong password costs.
    Unknown,
}

/// A source could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    #[error("user source `{name}` is unavailable: {cause}")]
    Unavailable { name: String, cause: String },

    #[error("{waiting} passwords are already waiting to be hashed")]
    Busy { waiting: usize },

    /// It is asked as much as it may be: says nothing of whether it is well.
    #[error("user source `{name}`: {none}")]
    NoPlace { name: String, none: NoPlace },
}

impl SourceError {
    /// What the pool could not do for the source called `name`.
    pub(super) fn from_pool(name: &str, error: PoolError) -> Self {
        match error {
            PoolError::Busy { waiting } => Self::Busy { waiting },
            other => Self::Unavailable { name: name.to_owned(), cause: other.to_string() },
        }
    }
}

/// What looking for a name has found, to be given back with the password.
#[derive(Clone, Debug, Default)]
pub struct NameLookup {
    pub id: Option<UserId>,
    /// The source's own: what it has read, so that it need not be asked again.
    pub(super) memo: Option<Arc<dyn Any + Send + Sync>>,
}

/// Where users live.
///
/// Contract: `check` costs the same for an unknown name as for a wrong password; a source that
/// cannot answer says so and never "wrong"; `find` never answers a disabled user.
#[async_trait]
pub trait UserSource: Send + Sync + std::fmt::Debug {
    /// The source's name in the configuration.
    fn name(&self) -> &str;

    /// The lasting id behind a name, without a password: for counting attempts.
    async fn resolve(&self, name: &Name) -> Result<Option<UserId>, SourceError>;

    /// `resolve` for a check that is to follow: a source that has to ask for what it finds keeps it.
    async fn look_for(&self, name: &Name) -> Result<NameLookup, SourceError> {
        Ok(NameLookup { id: self.resolve(name).await?, memo: None })
    }

    /// `check` of a name that was looked for a moment ago.
    async fn check_found(
        &self,
        _found: &NameLookup,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        self.check(name, password, origin).await
    }

    /// How many questions somebody elsewhere is asked at once for this source; `None` where a login
    /// asks nobody.
    fn parallel(&self) -> Option<usize> {
        None
    }

    /// Checks a password. `origin` is the client's address group, for the queue's fairness.
    async fn check(
        &self,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError>;

    /// As much work as `check` does for a name that is unknown here: for a login that another
    /// source has refused already, so that it takes as long as one that no source knows.
    async fn spend(
        &self,
        _name: &Name,
        _password: &SecretString,
        _origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        Ok(())
    }

    /// The user of this id as he is now; `None` if removed or disabled. `name` is what he was
    /// called at login, for sources that can only look for names.
    async fn find(&self, id: &UserId, name: &str) -> Result<Option<User>, SourceError>;

    /// Returns when users may have changed since the last call, so that their sessions are
    /// looked at again. Pending for ever where nobody tells.
    async fn changed(&self) {
        std::future::pending().await
    }

    /// Looks after what the source has open (files that change, connections that break). Runs in
    /// the back room until that is drained.
    async fn watch(&self, _clock: &Clock) {}

    /// Reads again now, for an operator who asks.
    async fn reread(&self) {}

    /// Whether `find` answers without asking anybody elsewhere.
    fn is_local(&self) -> bool {
        false
    }

    /// Whether its users' passwords are taken over into the gateway's own store.
    fn imports(&self) -> bool {
        false
    }

    /// How many users there are to be taken over, done or not; `None` where nobody can say.
    async fn total(&self) -> Option<u64> {
        None
    }

    /// Why the source is not in use as it should be, for the operator; `None` if it is.
    fn problem(&self) -> Option<String> {
        None
    }
}
