//! A directory (LDAP) as a source of users.
//!
//! Search, then bind: the name is searched for with the gateway's own account, exactly one entry
//! must match, and the password is proved by a bind as that entry, on a connection that is used for
//! nothing else. An empty password is never sent. Everything that is not a clear answer is
//! `Unavailable`, never "wrong password".
//!
//! Equal cost is best effort only: an unknown name costs a search and a failing bind, but how long
//! a bind takes is decided by the directory.

mod connection;
mod entry;
mod filter;
mod groups;
mod pool;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ldap3::{LdapResult, Scope};
use parking_lot::Mutex;
use tokio::time::timeout;

use self::connection::{DirectoryEntry, DirectoryError, SearchQuery, SendablePassword};
use self::groups::GroupMapping;
use self::pool::{DirectoryServers, LdapPool};
use super::source::{LoginName, NameLookup, PasswordCheck, SourceError, UserRecord, UserSource};
use crate::clock::Clock;
use crate::identity::{UserId, UserProfile};
use crate::secret::{self, Digest, SecretString};
use crate::settings::LdapUsers;
use crate::tls_roots::{self, TrustError};

/// How often unused connections are closed, and how often a directory that failed is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A source of users in a directory. The connections are opened when they are first needed.
#[derive(Debug)]
pub struct LdapSource {
    name: String,
    config: LdapUsers,
    /// The attributes that searches ask for.
    wanted: Vec<String>,
    groups: Option<GroupMapping>,
    /// Connections that are bound as the gateway, for searches.
    searching: LdapPool,
    /// Connections for verifying passwords. They are bound as the user who logged in last, so
    /// nothing else may use them.
    proving: LdapPool,
    problem: Mutex<Option<String>>,
}

/// An entry that a search has found, with the user's id in it.
struct FoundEntry {
    id: UserId,
    entry: DirectoryEntry,
}

impl LdapSource {
    /// Makes the source with the name `name`; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If no certificate authority could be loaded.
    pub fn open(name: impl Into<String>, config: &LdapUsers) -> Result<Arc<Self>, TrustError> {
        let tls = tls_roots::client_config(config.ca.as_ref().map(|(_, pem)| pem.as_str()))?;
        let servers = Arc::new(DirectoryServers::new(config, tls));
        Ok(Arc::new(Self {
            name: name.into(),
            wanted: entry::wanted(&config.attributes),
            groups: config
                .groups
                .clone()
                .map(|groups| GroupMapping::new(groups, &config.attributes)),
            searching: LdapPool::new(&servers, config.bind.clone(), config.parallel),
            proving: LdapPool::new(&servers, None, config.parallel),
            config: config.clone(),
            problem: Mutex::new(None),
        }))
    }

    /// Connects and binds as for a search.
    ///
    /// # Errors
    /// Why that is not possible.
    pub async fn reach(&self) -> Result<(), String> {
        self.searching.probe().await.map_err(|fault| fault.to_string())
    }

    /// Searches for the user that a login means; `None` if there is none.
    async fn look_up(&self, name: &LoginName) -> Result<Option<FoundEntry>, DirectoryError> {
        let filter = match name {
            LoginName::Username(_) => Some(&self.config.filter),
            LoginName::Email(_) => self.config.email_filter.as_ref(),
        };
        let text = name.as_str();
        let Some(filter) = filter.filter(|_| !text.is_empty() && name.is_possible()) else {
            return Ok(None);
        };
        self.look_for("the filter for a name", &filter::fill(filter, text, "")).await
    }

    async fn look_for(
        &self,
        what: &'static str,
        filter: &str,
    ) -> Result<Option<FoundEntry>, DirectoryError> {
        let attributes: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        // The limit is one entry. Two matches are a fault and not a choice: the password of one
        // person must not open the account of another.
        let query = SearchQuery {
            what,
            base: self.config.base.as_str(),
            scope: Scope::Subtree,
            filter,
            attributes: &attributes,
            most: 1,
            limit: self.config.timeout,
        };
        let Some(entry) = self.searching.search(&query).await?.pop() else { return Ok(None) };
        let entry = entry.whole()?;
        Ok(Some(FoundEntry { id: entry.id(&self.config.attributes.id)?, entry }))
    }

    async fn is_disabled(&self, found: &FoundEntry) -> Result<bool, DirectoryError> {
        let Some(filter) = &self.config.disabled_filter else { return Ok(false) };
        let query = SearchQuery {
            what: "disabled_filter",
            base: &found.entry.dn,
            scope: Scope::Base,
            filter,
            attributes: &["1.1"],
            most: 1,
            limit: self.config.timeout,
        };
        Ok(!self.searching.search(&query).await?.is_empty())
    }

    async fn user(&self, found: &FoundEntry) -> Result<UserRecord, DirectoryError> {
        let entry = &found.entry;
        let from = &self.config.attributes;
        let name = entry.name(&from.name)?;
        let mut roles = entry.words(from.roles.as_deref());
        if let Some(groups) = &self.groups {
            roles.extend(self.roles_of(groups, &name, entry).await?);
        }
        roles.sort_unstable();
        roles.dedup();
        // The version contains the times of password changes, because a directory never shows the
        // password itself. Where it has no such attribute, a new password does not end sessions.
        let scopes = entry.scopes(from.scopes.as_deref());
        let claims = entry.claims(&from.claims);
        let email = entry.email(&from.email);
        let version = Digest::of_list(&[
            &Digest::of_texts(&roles).0,
            &Digest::of_texts(&scopes).0,
            serde_json::Value::Object(claims.clone()).to_string().as_bytes(),
            &Digest::of_texts(email.as_slice()).0,
            &entry.password_times(),
        ]);
        let id = found.id.clone();
        let source = self.name.clone();
        let profile = UserProfile { name, email, roles, scopes, claims };
        Ok(UserRecord { id, source, profile, version })
    }

    async fn roles_of(
        &self,
        groups: &GroupMapping,
        name: &str,
        entry: &DirectoryEntry,
    ) -> Result<Vec<String>, DirectoryError> {
        if groups.are_listed() {
            return Ok(groups.roles_listed(entry));
        }
        let filter = filter::fill(groups.filter(), name, &entry.dn);
        let attributes = [groups.attribute()];
        let query = SearchQuery {
            what: "groups.filter",
            base: groups.base(),
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &attributes,
            most: groups::MOST_GROUPS,
            limit: self.config.timeout,
        };
        let found = self.searching.search(&query).await?;
        Ok(found.iter().flat_map(|group| groups.roles_of(group)).collect())
    }

    async fn check_password(
        &self,
        found: Option<&FoundEntry>,
        password: &SecretString,
    ) -> Result<PasswordCheck, DirectoryError> {
        let provable = SendablePassword::new(password);
        let Some(found) = found else {
            if provable.is_some() {
                self.bind_as_nobody().await?;
            }
            return Ok(PasswordCheck::UnknownUser);
        };
        // Even a wrong password gets the id of the user, so that the attempt is counted for the
        // right account, whichever of the user's names was typed.
        let wrong = |disabled| PasswordCheck::Wrong { id: found.id.clone(), disabled };
        let Some(provable) = provable else { return Ok(wrong(false)) };
        match proof(self.proving.bind(&found.entry.dn, provable).await?)? {
            BindResult::Wrong => Ok(wrong(false)),
            BindResult::Disabled => Ok(wrong(true)),
            // The account is checked after the bind. In the other order, the time of the answer
            // would tell strangers which accounts are disabled.
            BindResult::Right if self.is_disabled(found).await? => Ok(wrong(true)),
            BindResult::Right => {
                let user = Box::new(self.user(found).await?);
                Ok(PasswordCheck::Correct { user, rehashed_from: None, legacy: None })
            }
        }
    }

    /// Spends about as much time as a wrong password. The typed password is not sent: it may be the
    /// right one of a user in another source, and must not reach this directory's log.
    async fn bind_as_nobody(&self) -> Result<(), DirectoryError> {
        let password = SecretString::new(Digest(secret::random()).base64url());
        let dn = format!("cn=nobody,{}", self.config.base);
        let Some(provable) = SendablePassword::new(&password) else { return Ok(()) };
        self.proving.bind(&dn, provable).await.map(drop)
    }

    async fn find_user(&self, id: &UserId) -> Result<Option<UserRecord>, DirectoryError> {
        let attribute = &self.config.attributes.id;
        let Some(value) = entry::escaped_id(attribute, id) else { return Ok(None) };
        let filters: Vec<&str> = std::iter::once(&self.config.filter)
            .chain(&self.config.email_filter)
            .map(String::as_str)
            .collect();
        let filter = filter::by_id(&filters, attribute, &value);
        match self.look_for("the id of a user", &filter).await? {
            Some(found) if !self.is_disabled(&found).await? => self.user(&found).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Bounds the time of everything that one call does, and records whether the directory works.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, SourceError> {
        let LdapUsers { timeout: limit, parallel, .. } = self.config;
        let done = timeout(limit, work).await;
        let done = done.unwrap_or(Err(DirectoryError::Slow { limit, parallel }));
        match &done {
            Ok(_) => self.note(None),
            Err(fault) if fault.is_outage() => self.note(Some(fault.to_string())),
            Err(_) => {}
        }
        done.map_err(|fault| SourceError::Unavailable {
            name: self.name.clone(),
            cause: fault.to_string(),
        })
    }

    fn note(&self, problem: Option<String>) {
        let mut noted = self.problem.lock();
        match (&*noted, &problem) {
            (None, Some(cause)) => {
                tracing::warn!(source = %self.name, cause, "the directory does not answer, so its users cannot log in")
            }
            (Some(_), None) => tracing::info!(source = %self.name, "the directory answers again"),
            _ => {}
        }
        *noted = problem;
    }

    async fn probe(&self) {
        // The result is recorded by `in_time`.
        let _ = self.in_time(self.searching.probe()).await;
    }
}

/// The meaning of a bind's result for the password.
enum BindResult {
    Right,
    Wrong,
    /// The account must not be used, whether the password was right or not.
    Disabled,
}

/// The meaning of a bind's result. Only success and `invalidCredentials` (RFC 4511, section 4.1.9)
/// are answers; any other code says nothing about the password.
fn proof(result: LdapResult) -> Result<BindResult, DirectoryError> {
    match result.rc {
        0 => Ok(BindResult::Right),
        49 if is_disabled(&result.text) => Ok(BindResult::Disabled),
        49 => Ok(BindResult::Wrong),
        _ => Err(DirectoryError::Undecided(Box::new(result))),
    }
}

/// True if Active Directory says more than "wrong password". It does so in the text: `…
/// AcceptSecurityContext error, data 533, v4563`.
fn is_disabled(text: &str) -> bool {
    /// In order: not allowed at this time, not from this computer, password expired, account
    /// disabled, account expired, password must be changed first, account locked.
    const CODES: &[&str] = &["530", "531", "532", "533", "701", "773", "775"];
    let data = text.split_once(", data ").map(|(_, rest)| rest);
    let code = data.and_then(|rest| rest.split(',').next());
    code.is_some_and(|code| CODES.contains(&code.trim()))
}

#[async_trait]
impl UserSource for LdapSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(&self, name: &LoginName) -> Result<Option<UserId>, SourceError> {
        let found = self.in_time(self.look_up(name)).await?;
        Ok(found.map(|found| found.id))
    }

    async fn check(
        &self,
        name: &LoginName,
        password: &SecretString,
        _origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        self.in_time(async {
            let found = self.look_up(name).await?;
            self.check_password(found.as_ref(), password).await
        })
        .await
    }

    async fn look_for(&self, name: &LoginName) -> Result<NameLookup, SourceError> {
        let found = self.in_time(self.look_up(name)).await?;
        let id = found.as_ref().map(|found| found.id.clone());
        Ok(NameLookup::with_memo(id, found))
    }

    async fn check_found(
        &self,
        found: &NameLookup,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        match found.memo::<Option<FoundEntry>>() {
            Some(found) => self.in_time(self.check_password(found.as_ref(), password)).await,
            None => self.check(name, password, origin).await,
        }
    }

    fn parallel(&self) -> Option<usize> {
        Some(self.config.parallel)
    }

    async fn burn_equal_time(
        &self,
        name: &LoginName,
        _password: &SecretString,
        _origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        self.in_time(async {
            self.look_up(name).await?;
            self.bind_as_nobody().await
        })
        .await
    }

    async fn find(&self, id: &UserId, _name: &str) -> Result<Option<UserRecord>, SourceError> {
        self.in_time(self.find_user(id)).await
    }

    async fn watch(&self, clock: &Clock) {
        self.probe().await;
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.searching.sweep();
            self.proving.sweep();
            if self.problem().is_some() {
                self.probe().await;
            }
        }
    }

    async fn reload(&self) {
        self.probe().await;
    }

    fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.as_ref().map(|cause| format!("`{}`: {cause}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_active_directory_says_of_an_account_is_told_from_a_wrong_password() {
        for (code, disabled) in [
            ("52e", false),
            ("525", false),
            ("530", true),
            ("533", true),
            ("532", true),
            ("701", true),
            ("773", true),
            ("775", true),
        ] {
            let text = format!(
                "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data {code}, v3839"
            );
            assert_eq!(is_disabled(&text), disabled, "{code}");
        }
        assert!(!is_disabled(""), "OpenLDAP says nothing");
    }
}
