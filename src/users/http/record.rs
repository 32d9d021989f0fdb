//! Who was let in, as the gateway's own store remembers it.
//!
//! A user's version is made of his roles, scopes, claims and address, and of the version before
//! it: it changes when one of these does, or when he logs in by another password than the one
//! whose hash was imported. Two logins at once that find the same change come to the same version,
//! so that neither ends the other's session.

use std::net::IpAddr;

use super::map::{Who, unnamed_id};
use super::{HttpSource, imported, user_of};
use crate::config::Import;
use crate::secret::{Digest, SecretString};
use crate::session::Account;
use crate::users::canonical::canonical_name;
use crate::users::source::{Checked, Name, SourceError};

/// A hash that was imported, and when first.
type Imported = (String, crate::clock::Timestamp);

impl HttpSource {
    /// Remembers a user whom the system has just let in.
    pub(super) async fn admit(
        &self,
        mut who: Who,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let mut before = self.remembered(&who.id).await?;
        if before.is_none() && !who.has_id {
            before = self.known(name).await?.filter(|known| self.is_spelled(known, &who));
            who.id = before.as_ref().map_or(who.id, |known| known.subject.clone());
        }
        let (hash, is_new_password) = match self.config.import {
            Import::Off => (None, false),
            Import::On | Import::Final => self.import(before.clone(), password, origin).await?,
        };
        let version = match &before {
            Some(before) if !is_new_password && is_same(before, &who) => before.version,
            before => version(&who, before.as_ref().map(|before| before.version)),
        };
        let changed = before.is_some_and(|before| before.version != version);
        let account = Account {
            source: self.name.clone(),
            subject: who.id,
            name: who.name,
            key: canonical_name(name.as_str()),
            email: who.email,
            roles: who.roles,
            scopes: who.scopes,
            claims: who.claims,
            version,
            imported: hash.as_ref().map(|(_, imported)| *imported),
            hash: hash.map(|(hash, _)| hash),
            origin: Some(spelling(name)),
            seen: self.means.clock.now(),
        };
        let replaced = self.replace_namesake(name, &account).await?;
        let user = user_of(&account);
        self.keep(account).await?;
        if changed || replaced {
            self.tell();
        }
        Ok(Checked::Right { user: Box::new(user), rehashed_from: None })
    }

    /// Whether `known` is `who` under an id that an earlier version made of the name to the letter:
    /// it stays his, and with it his second step.
    fn is_spelled(&self, known: &Account, who: &Who) -> bool {
        known.subject == unnamed_id(&self.name, &known.name)
            && canonical_name(&known.name) == canonical_name(&who.name)
    }

    /// The hash of a password that is right, and whether it is another password than before.
    /// Where there was no hash, nothing says that it is.
    async fn import(
        &self,
        before: Option<Account>,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(Option<Imported>, bool), SourceError> {
        let before = before.and_then(imported);
        let first = before.as_ref().and_then(|(account, _)| account.imported);
        let first = first.unwrap_or(self.means.clock.now());
        let is_new_password = match before {
            None => false,
            Some((_, hash)) => {
                let text = hash.as_str().to_owned();
                let is_weak = hash.needs_rehash();
                let is_same = self.verify(hash, password, origin).await?;
                if is_same && !is_weak {
                    return Ok((Some((text, first)), false));
                }
                !is_same
            }
        };
        let hash = self.means.hashing.hash(password.clone(), origin, |hash| hash).await;
        let hash = hash.map_err(|error| SourceError::from_pool(&self.name, error))?;
        Ok((Some((hash.as_str().to_owned(), first)), is_new_password))
    }

    /// Forgets another user who was let in under exactly this name: it is not his any more.
    async fn replace_namesake(&self, name: &Name, now: &Account) -> Result<bool, SourceError> {
        match self.known(name).await? {
            Some(other) if other.subject != now.subject && other.origin == now.origin => {
                self.remove(&other).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Forgets a user of whom the system knows nothing any more. In another spelling it may be
    /// somebody else whom it does not know: then nothing happens, or anybody could end the
    /// sessions of others by writing their names in capitals.
    pub(super) async fn forget(&self, name: &Name) -> Result<(), SourceError> {
        let known = self.known(name).await?;
        if let Some(account) = known.filter(|account| account.origin == Some(spelling(name))) {
            tracing::info!(source = %self.name, user.id = %account.subject, "the legacy system knows him no more");
            self.remove(&account).await?;
            self.tell();
        }
        Ok(())
    }

    pub(super) async fn keep(&self, account: Account) -> Result<(), SourceError> {
        self.means.store.put_account(account).await.map_err(|error| self.lost(&error))
    }

    async fn remove(&self, account: &Account) -> Result<(), SourceError> {
        let removed = self.means.store.remove_account(&self.name, &account.subject).await;
        removed.map_err(|error| self.lost(&error))
    }
}

/// The name to the letter, as it was asked for.
fn spelling(name: &Name) -> Digest {
    Digest::of_list(&[b"spelling", name.as_str().as_bytes()])
}

fn is_same(before: &Account, who: &Who) -> bool {
    before.roles == who.roles
        && before.scopes == who.scopes
        && before.claims == who.claims
        && before.email == who.email
}

fn version(who: &Who, before: Option<Digest>) -> Digest {
    let list =
        |list: &[String]| Digest::of_list(&list.iter().map(String::as_bytes).collect::<Vec<_>>());
    let claims = serde_json::Value::Object(who.claims.clone()).to_string();
    let email = who.email.iter().cloned().collect::<Vec<_>>();
    Digest::of_list(&[
        &list(&who.roles).0,
        &list(&who.scopes).0,
        claims.as_bytes(),
        &list(&email).0,
        before.as_ref().map_or(&[], |before| before.0.as_slice()),
    ])
}
