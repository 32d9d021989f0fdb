//! Argon2id hashes in the gateway's own store, in the stead of weaker ones where these live.
//!
//! After a right password the store keeps an argon2id hash of it, together with the digest of
//! the hash it stands for. As long as the source still has that hash, ours decides; when it has
//! another, the password was changed there and the source's own decides again. Sessions know
//! nothing of it: a user's version is made of the source's hash.
//!
//! Whether a user has been imported must not show in the time that a wrong password takes, so
//! every check of such a source costs both: a hash of the source's kind and one of ours.

use std::net::IpAddr;
use std::sync::Arc;

use super::canonical::canonical_name;
use super::open::Means;
use super::password::{Cost, StoredHash};
use super::pool::PasswordPool;
use super::source::{SourceError, User};
use super::table::Entry;
use crate::clock::Clock;
use crate::identity::UserId;
use crate::secret::{Digest, SecretString};
use crate::session::{Account, AccountKey, SessionStore, StoreError};

/// The imported hashes of one source.
#[derive(Debug)]
pub struct Imports {
    source: String,
    store: Arc<dyn SessionStore>,
    pool: Arc<PasswordPool>,
    clock: Clock,
}

impl Imports {
    /// Those of the source called `source`.
    pub fn new(source: impl Into<String>, means: &Means) -> Self {
        let Means { hashing, store, clock } = means;
        let (pool, store, clock) = (hashing.clone(), store.clone(), clock.clone());
        Self { source: source.into(), store, pool, clock }
    }

    /// Whether `password` is right for a user as his source has him now. A right one of a user
    /// who is not disabled is imported where the source's hash is weaker than ours.
    ///
    /// # Errors
    /// When the store or the pool could not say.
    pub async fn check(
        &self,
        entry: &Entry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        let stored = &entry.password;
        let stand_in = self.stand_in(&entry.user.id, stored).await?;
        let (decides, other) = match stand_in.clone() {
            Some(stand_in) => (Arc::new(stand_in), stored.cost()),
            None => (stored.clone(), Cost::default()),
        };
        let right = self.verify(password, decides, origin).await?;
        if !right || entry.disabled {
            // A full queue is not told here: the guess has been made and has to count.
            let _ = self.verify(password, Arc::new(other.dummy()), origin).await;
        } else if stand_in.is_none() && stored.needs_rehash() {
            self.keep(&entry.user, stored, password, origin).await;
        }
        Ok(right)
    }

    /// As much work as `check` does for a user whose hash in the source costs `cost`.
    ///
    /// # Errors
    /// When the pool is full.
    pub async fn spend(
        &self,
        cost: Cost,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        for cost in [cost, Cost::default()] {
            self.verify(password, Arc::new(cost.dummy()), origin).await?;
        }
        Ok(())
    }

    /// The hash that decides in the stead of `stored`, if one was imported for exactly that.
    ///
    /// # Errors
    /// When the store could not say.
    pub async fn stand_in(
        &self,
        subject: &UserId,
        stored: &StoredHash,
    ) -> Result<Option<StoredHash>, SourceError> {
        let account = self.store.find_account(&self.source, AccountKey::Subject(subject)).await;
        let account = account.map_err(|error| self.unavailable(&error))?;
        let ours = account.filter(|account| account.origin == Some(origin_of(subject, stored)));
        let Some(hash) = ours.and_then(|account| account.hash) else { return Ok(None) };
        Ok(StoredHash::parse(&hash).ok())
    }

    /// Imports a password that has just been found right for `stored`. A login never fails by
    /// this: the next one tries again.
    pub async fn keep(
        &self,
        user: &User,
        stored: &StoredHash,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) {
        let source = &self.source;
        let hash = match self.pool.hash(password.clone(), origin, |hash| hash).await {
            Ok(hash) => hash,
            Err(error) => {
                tracing::debug!(%source, %error, "a hash was not imported");
                return;
            }
        };
        let now = self.clock.now();
        let account = Account {
            source: source.clone(),
            subject: user.id.clone(),
            name: user.name.clone(),
            key: canonical_name(&user.name),
            email: user.email.clone(),
            roles: user.roles.clone(),
            scopes: user.scopes.clone(),
            claims: user.claims.clone(),
            version: user.version,
            hash: Some(hash.as_str().to_owned()),
            origin: Some(origin_of(&user.id, stored)),
            spelling: None,
            imported: Some(now),
            seen: now,
        };
        if let Err(error) = self.store.put_account(account).await {
            tracing::warn!(%source, %error, "a hash was not imported");
        }
    }

    async fn verify(
        &self,
        password: &SecretString,
        stored: Arc<StoredHash>,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        let right = self.pool.verify(password.clone(), stored, origin).await;
        right.map_err(|error| SourceError::from_pool(&self.source, error))
    }

    fn unavailable(&self, error: &StoreError) -> SourceError {
        SourceError::Unavailable { name: self.source.clone(), cause: error.to_string() }
    }
}

/// What tells the source's hash from another one.
fn origin_of(subject: &UserId, stored: &StoredHash) -> Digest {
    Digest::of_list(&[b"import", subject.as_str().as_bytes(), stored.as_str().as_bytes()])
}
