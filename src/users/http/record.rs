//! The records of users that the legacy system let in, in the gateway's own store.
//!
//! A user's version is made of roles, scopes, claims and address, and of the version before. It
//! changes when one of these changes, or when the user logs in with another password than the
//! imported one. Two logins at the same time that find the same change compute the same version, so
//! neither ends the session of the other.

use std::net::IpAddr;

use super::map::{MappedUser, distinct_name, unnamed_id};
use super::{HttpSource, imported, user_of};
use crate::identity::UserProfile;
use crate::secret::{Digest, SecretString};
use crate::session::KnownAccount;
use crate::settings::PasswordImport;
use crate::users::canonical::canonical_name;
use crate::users::source::{PasswordCheck, SourceError};

/// An imported hash, and when the first hash was imported.
type ImportedHash = (String, crate::clock::Timestamp);

impl HttpSource {
    /// Records a user that the system has just let in when it was asked for the name `typed`, and
    /// decides which remembered account it is.
    pub(super) async fn admit(
        &self,
        mut who: MappedUser,
        typed: &str,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let known = self.remembered_by(typed).await?;
        let before = self.account_of(&who, typed, known.as_ref()).await?;
        // Without ids from the system, two people could get one id here because their names look
        // alike. If it is not certain that this is the remembered person, the login is refused.
        if !who.has_id
            && let Some(before) = &before
        {
            if !self.is_one_person(before, &who, typed) {
                let source = self.name.as_str();
                let id = &before.subject;
                tracing::warn!(source, user.id = %id, "a login was refused: the legacy system accepted another name that would get the id of this user");
                return Ok(PasswordCheck::Wrong { id: before.subject.clone(), disabled: false });
            }
            who.id = before.subject.clone();
        }
        let (hash, is_new_password) = match self.config.import {
            PasswordImport::Off => (None, false),
            PasswordImport::On | PasswordImport::Final => {
                self.import(before.clone(), password, origin).await?
            }
        };
        let version = match &before {
            // An unchanged user keeps the version, so that a login does not end the user's other
            // sessions.
            Some(before) if !is_new_password && is_same(before, &who) => before.version,
            before => version(&who, before.as_ref().map(|before| before.version)),
        };
        let changed = before.is_some_and(|before| before.version != version);
        let account = KnownAccount {
            source: self.name.clone(),
            subject: who.id,
            name: who.profile.name,
            key: canonical_name(typed),
            email: who.profile.email,
            roles: who.profile.roles,
            scopes: who.profile.scopes,
            claims: who.profile.claims,
            version,
            imported: hash.as_ref().map(|(_, imported)| *imported),
            hash: hash.map(|(hash, _)| hash),
            origin: Some(digest_of(typed)),
            spelling: Some(typed.to_owned()),
            seen: self.context.clock.now(),
        };
        // The namesake is removed before the new record is stored, because both have the same
        // canonical name.
        let replaced = self.replace_namesake(known, &account).await?;
        let user = user_of(&account);
        self.keep(account).await?;
        if changed || replaced {
            self.log_imports();
        }
        Ok(PasswordCheck::correct(user))
    }

    /// The remembered account of a user that was let in, if there is one: by id. Where the system
    /// has no ids, it is found by the name that was asked, or by an id that earlier versions made
    /// of the canonical name.
    async fn account_of(
        &self,
        who: &MappedUser,
        typed: &str,
        known: Option<&KnownAccount>,
    ) -> Result<Option<KnownAccount>, SourceError> {
        if !who.has_id
            && let Some(known) = known.filter(|known| self.is_one_person(known, who, typed))
        {
            return Ok(Some(known.clone()));
        }
        let found = self.remembered(&who.id).await?;
        if found.is_some() || who.has_id {
            return Ok(found);
        }
        let earlier =
            self.remembered(&unnamed_id(&self.name, &canonical_name(&who.profile.name))).await?;
        Ok(earlier.filter(|earlier| earlier.name == who.profile.name))
    }

    /// True if a user without an id is the person of `account`: the system was asked in that
    /// account's own spelling, or its answer contains that account's name.
    fn is_one_person(&self, account: &KnownAccount, who: &MappedUser, typed: &str) -> bool {
        let names = self.config.names;
        let is_name =
            distinct_name(names, &account.name) == distinct_name(names, &who.profile.name);
        let was_asked = first_spelling(account, typed).is_some_and(|spelling| spelling == typed);
        let looks_alike = canonical_name(&account.name) == canonical_name(&who.profile.name);
        is_name || (was_asked && looks_alike)
    }

    /// The hash to be stored for a password that is right, and whether the password is another one
    /// than before. Without an earlier hash it counts as the same.
    async fn import(
        &self,
        before: Option<KnownAccount>,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(Option<ImportedHash>, bool), SourceError> {
        let before = before.and_then(imported);
        let first = before.as_ref().and_then(|(account, _)| account.imported);
        let first = first.unwrap_or(self.context.clock.now());
        let is_new_password = match before {
            None => false,
            Some((_, hash)) => {
                let text = hash.as_str().to_owned();
                let is_weak = hash.needs_rehash();
                let is_same = self.verify(hash, password, origin).await?;
                // The right password matches the stored hash: nothing has to be hashed anew, unless
                // the hash is of an outdated strength. Then the same password gets a new hash, and
                // nobody's session ends.
                if is_same && !is_weak {
                    return Ok((Some((text, first)), false));
                }
                !is_same
            }
        };
        let hash = self.context.hashing.hash(password.clone(), origin, |hash| hash).await;
        let hash = hash.map_err(|error| SourceError::from_pool(&self.name, error))?;
        Ok((Some((hash.as_str().to_owned(), first)), is_new_password))
    }

    /// Removes another user that was let in under exactly this name: the name belongs to somebody
    /// else now.
    async fn replace_namesake(
        &self,
        known: Option<KnownAccount>,
        now: &KnownAccount,
    ) -> Result<bool, SourceError> {
        match known {
            Some(other) if other.subject != now.subject && other.origin == now.origin => {
                self.remove(&other).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Removes the record of a user that the system no longer knows.
    ///
    /// Nothing is removed if the system was asked in another spelling than the recorded one,
    /// because it may still know the user in that one. Otherwise anybody could end the sessions of
    /// others by typing their names in capitals.
    pub(super) async fn forget(&self, typed: &str) -> Result<(), SourceError> {
        let is_asked = |account: &KnownAccount| {
            account.origin == Some(digest_of(typed)) || account.spelling.as_deref() == Some(typed)
        };
        if let Some(account) = self.remembered_by(typed).await?.filter(is_asked) {
            tracing::info!(source = %self.name, user.id = %account.subject, "the legacy system no longer knows this user, whose record is removed");
            self.remove(&account).await?;
            self.log_imports();
        }
        Ok(())
    }

    pub(super) async fn keep(&self, account: KnownAccount) -> Result<(), SourceError> {
        self.context.store.put_account(account).await.map_err(|error| self.lost(&error))
    }

    async fn remove(&self, account: &KnownAccount) -> Result<(), SourceError> {
        let removed = self.context.store.remove_account(&self.name, &account.subject).await;
        removed.map_err(|error| self.lost(&error))
    }
}

/// The spelling in which the system first let the user of `account` in. Earlier versions stored
/// only its digest, which shows whether it is the typed one. The name in the system's answer may be
/// another kind of name than the one that users type.
pub(super) fn first_spelling(account: &KnownAccount, typed: &str) -> Option<String> {
    let is_typed = || account.origin == Some(digest_of(typed));
    let is_name = || canonical_name(&account.name) == account.key;
    account
        .spelling
        .clone()
        .or_else(|| is_typed().then(|| typed.to_owned()))
        .or_else(|| is_name().then(|| account.name.clone()))
}

/// The digest of a name exactly as it is spelled.
fn digest_of(name: &str) -> Digest {
    Digest::of_list(&[b"spelling", name.as_bytes()])
}

fn is_same(before: &KnownAccount, who: &MappedUser) -> bool {
    let name = who.profile.name.clone();
    UserProfile { name, ..before.profile() } == who.profile
}

fn version(who: &MappedUser, before: Option<Digest>) -> Digest {
    let UserProfile { email, roles, scopes, claims, .. } = &who.profile;
    let claims = serde_json::Value::Object(claims.clone()).to_string();
    Digest::of_list(&[
        &Digest::of_texts(roles).0,
        &Digest::of_texts(scopes).0,
        claims.as_bytes(),
        &Digest::of_texts(email.as_slice()).0,
        before.as_ref().map_or(&[], |before| before.0.as_slice()),
    ])
}
