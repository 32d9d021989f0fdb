//! Verifying passwords for the users of one source, by its own hashes or by imported ones.
//!
//! A file and a database take these steps alike. An unknown name costs what a wrong password costs,
//! with imports and without. The users themselves are the source's: nothing here looks them up.

use std::net::IpAddr;
use std::sync::Arc;

use super::import::ImportedHashes;
use super::source::{SourceError, verify};
use super::user_table::UserEntry;
use crate::passwords::{HashCost, HashPool, StoredHash};
use crate::secret::SecretString;

/// The verifier of one source.
#[derive(Debug)]
pub(super) struct PasswordVerifier {
    source: String,
    pool: Arc<HashPool>,
    /// Stronger hashes than the source's own, kept in the store, where the configuration asks for
    /// it.
    imports: Option<ImportedHashes>,
}

impl PasswordVerifier {
    /// The verifier of the source with the name `source`.
    pub(super) fn new(source: &str, pool: Arc<HashPool>, imports: Option<ImportedHashes>) -> Self {
        Self { source: source.to_owned(), pool, imports }
    }

    /// True if this is the password of the user, whether the user is disabled or not.
    pub(super) async fn matches_user(
        &self,
        entry: &UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        match &self.imports {
            Some(imports) => imports.check(entry, password, origin).await,
            None => self.verify(entry.password.clone(), password, origin).await,
        }
    }

    /// Spends as much work as a wrong password does for a user whose hash has the cost `cost`.
    pub(super) async fn burn_equal_time(
        &self,
        cost: HashCost,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        match &self.imports {
            Some(imports) => imports.burn_equal_time(cost, password, origin).await,
            None => self.verify(Arc::new(cost.dummy()), password, origin).await.map(drop),
        }
    }

    /// The threads that hash, for a new hash of a password.
    pub(super) fn pool(&self) -> &HashPool {
        &self.pool
    }

    pub(super) fn imports(&self) -> bool {
        self.imports.is_some()
    }

    /// True if this is the password of the source's own hash `stored`.
    pub(super) async fn verify(
        &self,
        stored: Arc<StoredHash>,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        verify(&self.pool, &self.source, stored, password, origin).await
    }
}
