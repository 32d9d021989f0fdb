//! Imports: Argon2id hashes in the gateway's own store, which stand in for weaker hashes in a
//! source that cannot be changed.
//!
//! After a correct password the store gets an Argon2id hash of it, with a digest of the source's
//! hash. While the source still has that hash, ours decides. If the source has another hash, the
//! password was changed there, and the source's own hash decides again. Sessions are not affected:
//! a user's version is made of the source's hash.
//!
//! The time for a wrong password must not tell whether a user was imported. Therefore every check
//! in such a source costs both: one hash of the source's kind and one of ours.

use std::net::IpAddr;
use std::sync::Arc;

use super::canonical::canonical_name;
use super::context::SourceContext;
use super::source::{SourceError, UserRecord, verify};
use super::user_table::UserEntry;
use crate::clock::Clock;
use crate::identity::{UserId, UserProfile};
use crate::passwords::HashPool;
use crate::passwords::{HashCost, StoredHash};
use crate::secret::{Digest, SecretString};
use crate::session::{AccountKey, KnownAccount, Store, StoreError};

/// The imported hashes of one source, in the session store.
#[derive(Debug)]
pub struct ImportedHashes {
    source: String,
    store: Arc<dyn Store>,
    pool: Arc<HashPool>,
    clock: Clock,
}

impl ImportedHashes {
    /// The imported hashes of the source with the name `source`.
    pub fn new(source: impl Into<String>, context: &SourceContext) -> Self {
        let SourceContext { hashing, store, clock } = context;
        let pool = hashing.clone();
        let store = store.clone();
        let clock = clock.clone();
        Self { source: source.into(), store, pool, clock }
    }

    /// Verifies a password for a user as the source has them now. A correct password of a user who
    /// is not disabled is imported, if the source's hash is weaker than ours.
    ///
    /// # Errors
    ///
    /// If the store or the pool could not answer.
    pub async fn check(
        &self,
        entry: &UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        let stored = &entry.password;
        let stand_in = self.imported_hash(&entry.user.id, stored).await?;
        // One of the two hashes decides. The other one is computed as well if the password is
        // wrong, so that both cases take the same time. After a correct password no such care is
        // needed, because the answer tells it anyway.
        let (decides, other) = match stand_in.clone() {
            Some(stand_in) => (Arc::new(stand_in), stored.cost()),
            None => (stored.clone(), HashCost::default()),
        };
        let right = self.verify(password, decides, origin).await?;
        if !right || entry.disabled {
            // An error of the second computation is ignored: the password has been judged, and the
            // attempt must count.
            let _ = self.verify(password, Arc::new(other.dummy()), origin).await;
        } else if stand_in.is_none() && stored.needs_rehash() {
            self.keep(&entry.user, stored, password, origin).await;
        }
        Ok(right)
    }

    /// Spends as much work as `check` does for a user whose hash in the source has the cost `cost`.
    ///
    /// # Errors
    ///
    /// If the pool is full.
    pub async fn burn_equal_time(
        &self,
        cost: HashCost,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        for cost in [cost, HashCost::default()] {
            self.verify(password, Arc::new(cost.dummy()), origin).await?;
        }
        Ok(())
    }

    /// The imported hash that decides instead of `stored`, if one was imported for exactly this
    /// hash.
    ///
    /// # Errors
    ///
    /// If the store could not answer.
    pub async fn imported_hash(
        &self,
        subject: &UserId,
        stored: &StoredHash,
    ) -> Result<Option<StoredHash>, SourceError> {
        let account = self.store.find_account(&self.source, AccountKey::Subject(subject)).await;
        let account = account.map_err(|error| self.unavailable(&error))?;
        // The origin is compared, not only the user: an import that belongs to an older hash of the
        // source would accept the user's old password.
        let ours = account.filter(|account| account.origin == Some(origin_of(subject, stored)));
        let Some(hash) = ours.and_then(|account| account.hash) else { return Ok(None) };
        Ok(StoredHash::parse(&hash).ok())
    }

    /// Imports a password that was just verified against `stored`. A login never fails because of
    /// this; the next login tries again.
    pub async fn keep(
        &self,
        user: &UserRecord,
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
        let UserProfile { name, email, roles, scopes, claims } = user.profile.clone();
        let account = KnownAccount {
            source: source.clone(),
            subject: user.id.clone(),
            key: canonical_name(&name),
            name,
            email,
            roles,
            scopes,
            claims,
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
        verify(&self.pool, &self.source, stored, password, origin).await
    }

    fn unavailable(&self, error: &StoreError) -> SourceError {
        SourceError::Unavailable { name: self.source.clone(), cause: error.to_string() }
    }
}

/// The digest that tells which hash of the source an import stands for. It contains the id, so
/// equal hashes of two users differ.
fn origin_of(subject: &UserId, stored: &StoredHash) -> Digest {
    Digest::of_list(&[b"import", subject.as_str().as_bytes(), stored.as_str().as_bytes()])
}
