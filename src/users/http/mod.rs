//! A legacy system as a source of users: the gateway logs in there with the user's name and
//! password, in the system's dialect.
//!
//! The system cannot be asked about users without their password. A user that it let in is
//! therefore remembered in the gateway's store (`record`); refreshes find the user there, and later
//! logins ask the system in the same spelling of the name. With `import = true` the store also gets
//! an Argon2id hash of the password, and that hash decides alone once the import is declared final.
//!
//! The system is believed only where it speaks its dialect. If it is down or answers anything else,
//! it is unavailable; that is never "wrong password". If the dialect has one answer for an unknown
//! user and a wrong password, users that were let in before are known here, and others are not:
//! then the login's next source is asked.

mod kept;
mod legacy_login;
mod map;
mod record;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tokio::sync::Notify;

pub use self::kept::{
    KeptSession, LeavingSession, LegacySessionError, LegacySessionParts, LegacySessions,
    SealKeyError, kept_seal,
};
use self::legacy_login::{LegacySystem, LegacyVerdict};
use super::canonical::canonical_name;
use super::context::SourceContext;
use super::source::{LoginName, PasswordCheck, SourceError, UserRecord, UserSource, verify};
use crate::dialect::client::{RemoteTokens, ResponseValues};
use crate::identity::UserId;
use crate::passwords::{HashCost, StoredHash};
use crate::secret::SecretString;
use crate::session::{AccountKey, KnownAccount, StoreError};
use crate::settings::{HttpUsers, LegacyNames, PasswordImport};
use crate::tls_roots::TrustError;

/// A source of users in a legacy system.
#[derive(Debug)]
pub struct HttpSource {
    name: String,
    config: HttpUsers,
    /// `None` if only imported hashes decide.
    legacy: Option<LegacySystem>,
    context: SourceContext,
    /// The last mistake of the system; `None` after an answer that was right.
    problem: ArcSwapOption<String>,
    changed: Notify,
}

impl HttpSource {
    /// A source with the name `name`. The system need not be reachable now.
    ///
    /// # Errors
    ///
    /// If no certificate authority could be loaded, so that no TLS connection could ever be
    /// trusted.
    pub fn open(
        name: &str,
        config: &HttpUsers,
        context: &SourceContext,
    ) -> Result<Arc<Self>, TrustError> {
        let legacy = config.url.as_ref().map(|url| LegacySystem::new(url, config)).transpose()?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            config: config.clone(),
            legacy,
            context: context.clone(),
            problem: ArcSwapOption::empty(),
            changed: Notify::new(),
        }))
    }

    /// The user that the store remembers under this name, in any spelling.
    async fn known(&self, name: &LoginName) -> Result<Option<KnownAccount>, SourceError> {
        self.remembered_by(name.as_str()).await
    }

    async fn remembered_by(&self, name: &str) -> Result<Option<KnownAccount>, SourceError> {
        let key = canonical_name(name);
        let found = self.context.store.find_account(&self.name, AccountKey::Name(&key)).await;
        found.map_err(|error| self.lost(&error))
    }

    async fn remembered(&self, id: &UserId) -> Result<Option<KnownAccount>, SourceError> {
        let found = self.context.store.find_account(&self.name, AccountKey::Subject(id)).await;
        found.map_err(|error| self.lost(&error))
    }

    /// The system's decision on a login.
    ///
    /// For a remembered user the system is asked in the spelling in which it first let the user in,
    /// whatever was typed now. If the system knows the typed spelling as another person, that
    /// person's password is compared with the remembered account and refused. Two people whose
    /// names look alike can therefore never become one user here.
    async fn delegate(
        &self,
        legacy: &LegacySystem,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let known = self.known(name).await?;
        let typed = self.spelling_to_ask(known.as_ref(), name.as_str());
        let verdict = legacy.ask(&typed, password).await;
        // An accepted answer is noted below, after it was understood; a login that was not sent
        // says nothing about the system.
        if !matches!(verdict, Ok(LegacyVerdict::Accepted(_) | LegacyVerdict::Unwritable)) {
            self.note(verdict.as_ref().err());
        }
        match verdict.map_err(|cause| self.unavailable(cause))? {
            LegacyVerdict::Accepted(facts) => {
                let who = map::user(&self.config, &self.name, &typed, &facts);
                let who = who.and_then(|user| Ok((user, self.kept_tokens(&facts)?)));
                self.note(who.as_ref().err());
                let (user, tokens) = who.map_err(|cause| self.unavailable(cause))?;
                let mut checked = self.admit(user, &typed, password, origin).await?;
                if let PasswordCheck::Correct { legacy, .. } = &mut checked {
                    *legacy = tokens;
                }
                Ok(checked)
            }
            LegacyVerdict::Wrong | LegacyVerdict::Unwritable => {
                if typed != name.as_str() {
                    let source = self.name.as_str();
                    tracing::info!(
                        source,
                        "a login was refused: the name was typed in another spelling than at the user's first login"
                    );
                }
                Ok(self.refused(name, known))
            }
            // The system says that the user does not exist any more. Their record goes, and their
            // sessions end with the next review.
            LegacyVerdict::Unknown => {
                self.forget(&typed).await?;
                Ok(PasswordCheck::UnknownUser)
            }
        }
    }

    /// The tokens of the answer, if they are kept.
    ///
    /// # Errors
    /// A text for the log: no later request could carry them.
    fn kept_tokens(&self, facts: &ResponseValues) -> Result<Option<Box<RemoteTokens>>, String> {
        if !self.config.keep {
            return Ok(None);
        }
        let tokens = RemoteTokens::of(facts, self.context.clock.now());
        let is_sent = |tokens: &RemoteTokens| tokens.call(&self.config.dialect).is_some();
        let tokens = tokens.filter(is_sent).ok_or("it gave no token that calls can carry")?;
        kept::fits(&tokens)
            .then(|| Some(Box::new(tokens)))
            .ok_or_else(|| "it gave tokens that are too long to be kept".to_owned())
    }

    /// The spelling in which the system is asked for a name. If the answers contain ids, those
    /// distinguish people, and the typed spelling is used.
    fn spelling_to_ask(&self, known: Option<&KnownAccount>, typed: &str) -> String {
        let by_id = self.config.map.id.is_some() && self.config.names == LegacyNames::Exact;
        let first = known.filter(|_| !by_id).and_then(|known| record::first_spelling(known, typed));
        first.unwrap_or_else(|| typed.to_owned())
    }

    /// The result for a refusal that may mean "unknown" or "wrong". A user who was let in before is
    /// known here. For others, only a dialect with two answers shows that they exist.
    fn refused(&self, name: &LoginName, known: Option<KnownAccount>) -> PasswordCheck {
        let id = match known {
            Some(account) => Some(account.subject),
            None if self.config.dialect.hears_unknown_user() => {
                Some(map::unnamed_id(&self.name, &canonical_name(name.as_str())))
            }
            None => None,
        };
        id.map_or(PasswordCheck::UnknownUser, |id| PasswordCheck::Wrong { id, disabled: false })
    }

    /// Verifies a password against an imported hash, without asking the system.
    async fn check_imported(
        &self,
        account: KnownAccount,
        hash: StoredHash,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        if !self.verify(hash, password, origin).await? || password.expose().is_empty() {
            return Ok(PasswordCheck::Wrong { id: account.subject, disabled: false });
        }
        let user = user_of(&account);
        let seen = self.context.clock.now();
        // The time of this login is stored before the login succeeds, so the operator sees which
        // accounts are still used. If the store fails, so does the login.
        self.keep(KnownAccount { seen, ..account }).await?;
        Ok(PasswordCheck::correct(user))
    }

    async fn verify(
        &self,
        hash: StoredHash,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        verify(&self.context.hashing, &self.name, Arc::new(hash), password, origin).await
    }

    /// Logs a problem once, and once that it is over.
    fn note(&self, problem: Option<&String>) {
        let before = self.problem.load();
        match (problem, before.as_deref()) {
            (Some(now), before) if before != Some(now) => {
                tracing::warn!(source = %self.name, "logins are answered 503: {now}");
                self.problem.store(Some(Arc::new(now.clone())));
            }
            (None, Some(_)) => {
                tracing::info!(source = %self.name, "the legacy system answers again");
                self.problem.store(None);
            }
            _ => {}
        }
    }

    fn unavailable(&self, cause: String) -> SourceError {
        SourceError::Unavailable { name: self.name.clone(), cause }
    }

    fn lost(&self, error: &StoreError) -> SourceError {
        self.unavailable(error.to_string())
    }

    /// Wakes every task that waits in `changed`, and remembers the change for the next one.
    fn log_imports(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

/// Whether the legacy system is there, for an operator who asks before a start.
pub(super) async fn reach(config: &HttpUsers) -> Result<(), String> {
    let Some(url) = &config.url else { return Ok(()) };
    LegacySystem::new(url, config).map_err(|error| error.to_string())?.reach().await
}

#[async_trait]
impl UserSource for HttpSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(&self, name: &LoginName) -> Result<Option<UserId>, SourceError> {
        Ok(self.known(name).await?.map(|account| account.subject))
    }

    async fn check(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        // After the final import the hash decides, even if the system is reachable: the password
        // may have been changed here.
        if self.config.import == PasswordImport::Final
            && let Some((account, hash)) = self.known(name).await?.and_then(imported)
        {
            return self.check_imported(account, hash, password, origin).await;
        }
        match &self.legacy {
            Some(legacy) => self.delegate(legacy, name, password, origin).await,
            None => {
                self.burn_equal_time(name, password, origin).await?;
                Ok(PasswordCheck::UnknownUser)
            }
        }
    }

    async fn burn_equal_time(
        &self,
        _name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        // A login at the system just to spend time would count as a failed attempt there and could
        // lock the user out.
        if self.legacy.is_some() {
            return Ok(());
        }
        self.verify(HashCost::default().dummy(), password, origin).await.map(drop)
    }

    async fn find(&self, id: &UserId, _name: &str) -> Result<Option<UserRecord>, SourceError> {
        Ok(self.remembered(id).await?.map(|account| user_of(&account)))
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    /// `find` reads the gateway's own store, so no remote system is asked about a session's user.
    fn is_local(&self) -> bool {
        true
    }

    fn parallel(&self) -> Option<usize> {
        self.legacy.as_ref().map(|_| self.config.parallel)
    }

    fn imports(&self) -> bool {
        self.config.import != PasswordImport::Off
    }

    fn problem(&self) -> Option<String> {
        self.problem.load().as_deref().map(|problem| format!("{}: {problem}", self.name))
    }
}

/// The account with its imported hash; `None` if no hash was imported or it cannot be read.
fn imported(account: KnownAccount) -> Option<(KnownAccount, StoredHash)> {
    let hash = StoredHash::parse(account.hash.as_deref()?).ok()?;
    Some((account, hash))
}

/// The user as the store remembers them.
fn user_of(account: &KnownAccount) -> UserRecord {
    UserRecord {
        id: account.subject.clone(),
        source: account.source.clone(),
        profile: account.profile(),
        version: account.version,
    }
}
