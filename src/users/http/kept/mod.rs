//! The sessions that users have at a legacy system beside those that they have here.
//!
//! A login there gives tokens; with `keep = true` they are kept with the session here, sealed. An
//! upstream with `credential = "session"` is called with them. They are renewed before they end, or
//! when the upstream refuses them: one renewal a session, all requests of the session wait for it. If
//! they cannot be renewed, the session here ends too, so that its client logs in anew.
//!
//! Nothing here is shared by two sessions: whatever is read, renewed or sent belongs to the session
//! that asked. `login` seals what a login gave and ends sessions there, `upstream` asks for it.

mod cell;
mod encoding;
mod seal_key;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::cell::KeptSession;
use self::cell::SessionCell;
pub use self::seal_key::{SealKeyError, kept_seal};
use super::legacy_login::LegacySystem;
use crate::bounded_cache::BoundedCache;
use crate::clock::Timestamp;
use crate::dialect::client::{self, CallRefusal, LoginOutcome, SessionTokens};
use crate::identity::SessionId;
use crate::runtime::BackgroundRuntime;
use crate::session::shared::Seal;
use crate::session::{
    CredentialPlace, LONGEST_CREDENTIAL, OpenStreams, RevocationTarget, SealedCredential, Session,
    Store, StoreError,
};
use crate::settings::{Config, SourceKind};
use crate::tls_roots::TrustError;

/// Most sessions whose tokens are in memory; those of others are read from the store when needed.
const MOST_SESSIONS: usize = 20_000;
/// For so long tokens stay in memory. Afterwards they are read again.
const IN_MEMORY: Duration = Duration::from_secs(3_600);
/// Pause after a renewal that failed for technical reasons.
const PAUSE: Duration = Duration::from_secs(2);
/// Most logouts at legacy systems that are under way.
const MOST_LOGOUTS: usize = 64;
/// Most sessions of one user that are logged out there together.
const MOST_OF_A_USER: usize = 1_000;

/// The users' sessions at all legacy systems whose credentials are kept.
#[derive(Debug)]
pub struct LegacySessions {
    parts: LegacySessionParts,
    /// By the name of the user source.
    systems: HashMap<String, LegacySystem>,
    memory: Arc<SessionMemory>,
}

/// The parts of the gateway that legacy sessions need.
#[derive(Clone, Debug)]
pub struct LegacySessionParts {
    pub seal: Seal,
    pub store: Arc<dyn Store>,
    pub streams: OpenStreams,
    pub background: BackgroundRuntime,
}

/// The part that a reload hands on, so that no session is renewed twice at a time.
#[derive(Debug)]
struct SessionMemory {
    cells: BoundedCache<SessionId, Arc<SessionCell>>,
    /// Held while a cell is looked for and made, so that a session never has two.
    making: Mutex<()>,
    logouts: Arc<Semaphore>,
}

/// The reasons why a request cannot be sent with its session's credential.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LegacySessionError {
    /// The client must log in anew.
    #[error("the session at the legacy system is over: {0}")]
    Ended(&'static str),

    /// The caller's users are not of the legacy system whose credentials the upstream takes, so that
    /// a login would not help.
    #[error("the caller has no session at the legacy system")]
    Foreign,

    #[error("the legacy system cannot renew the session now: {0}")]
    Unavailable(Arc<str>),
}

/// A session at a legacy system that is about to be logged out there.
#[derive(Debug)]
pub struct LeavingSession {
    source: String,
    tokens: SessionTokens,
}

/// True if the tokens are short enough to be kept.
pub(super) fn fits(tokens: &SessionTokens) -> bool {
    encoding::encode(tokens).expose().len() <= LONGEST_CREDENTIAL
}

impl LegacySessions {
    /// The sessions of the sources with `keep = true`; `None` if there are none. `last` hands on
    /// what is in memory.
    ///
    /// # Errors
    /// A certificate authority cannot be loaded.
    pub fn build(
        config: &Config,
        parts: LegacySessionParts,
        last: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, TrustError> {
        let mut systems = HashMap::new();
        for source in &config.users {
            if let SourceKind::Http(users) = &source.kind
                && let (true, Some(url)) = (users.keep, &users.url)
            {
                systems.insert(source.name.clone(), LegacySystem::new(url, users)?);
            }
        }
        let memory = match last {
            Some(last) => last.memory.clone(),
            None => Arc::new(SessionMemory {
                cells: BoundedCache::new(MOST_SESSIONS, IN_MEMORY),
                making: Mutex::new(()),
                logouts: Arc::new(Semaphore::new(MOST_LOGOUTS)),
            }),
        };
        Ok((!systems.is_empty()).then(|| Arc::new(Self { parts, systems, memory })))
    }

    /// The seal, for the next generation.
    pub fn seal(&self) -> &Seal {
        &self.parts.seal
    }

    /// Seals tokens for the place where they are kept; `None` if they are too long for it.
    pub fn keep(&self, place: CredentialPlace, tokens: &SessionTokens) -> Option<SealedCredential> {
        SealedCredential::seal(&self.parts.seal, place, encoding::encode(tokens).expose())
    }

    /// Tokens that were sealed for this place; `None` if they were not, or with another key.
    pub fn open(&self, place: CredentialPlace, kept: &SealedCredential) -> Option<SessionTokens> {
        let plain = kept.open(&self.parts.seal, place).ok()?;
        encoding::decode(plain.expose())
    }

    /// The credential of a session of a user of `source`, if it is in memory and good at `now`.
    pub fn usable(&self, id: SessionId, source: &str, now: Timestamp) -> Option<Arc<KeptSession>> {
        self.good(&*self.memory.cells.get(&id, now)?, source, now)
    }

    /// The credential of a session of a user of `source`: from memory, from the store, or renewed.
    ///
    /// # Errors
    /// There is none, it cannot be renewed, or that is not known.
    pub async fn obtain(
        &self,
        id: SessionId,
        source: &str,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let cell = self.cell(id, now);
        let mut flight = cell.flight.lock().await;
        // Another request may have done it while this one waited.
        if let Some(kept) = self.good(&cell, source, now) {
            return Ok(kept);
        }
        let kept = self.newest(id, source, &cell, now).await?;
        if kept.is_good(now) {
            return Ok(kept);
        }
        // It is about to end. While it can be used, a renewal that fails is no reason to refuse.
        let is_paused = flight.is_paused(now);
        if is_paused && !kept.has_ended(now) {
            return Ok(kept);
        }
        if is_paused {
            return Err(LegacySessionError::Unavailable("a renewal has just failed".into()));
        }
        match self.renewed(id, &cell, &kept, now).await {
            Err(LegacySessionError::Unavailable(cause)) => {
                flight.pause_until(now.plus(PAUSE));
                tracing::warn!(
                    source = kept.source(),
                    "a session could not be renewed at the legacy system: {cause}"
                );
                let usable = (!kept.has_ended(now)).then_some(kept);
                usable.ok_or(LegacySessionError::Unavailable(cause))
            }
            Err(LegacySessionError::Ended(_)) if !kept.has_ended(now) => Ok(kept),
            Err(LegacySessionError::Ended(why)) => Err(self.end(id, why, now).await),
            other => other,
        }
    }

    /// Renews the credential that an upstream has refused, unless that was done meanwhile.
    ///
    /// # Errors
    /// As `obtain`. The session here has ended if `Ended` is returned.
    pub async fn renew(
        &self,
        id: SessionId,
        refused: &KeptSession,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let cell = self.cell(id, now);
        let mut flight = cell.flight.lock().await;
        if let Some(kept) = self.good(&cell, refused.source(), now)
            && !kept.is_same(refused)
        {
            return Ok(kept);
        }
        if flight.is_paused(now) {
            return Err(LegacySessionError::Unavailable("a renewal has just failed".into()));
        }
        // Another node may have renewed it.
        let kept = self.newest(id, refused.source(), &cell, now).await?;
        if !kept.is_same(refused) && kept.is_good(now) {
            return Ok(kept);
        }
        match self.renewed(id, &cell, &kept, now).await {
            Err(LegacySessionError::Unavailable(cause)) => {
                flight.pause_until(now.plus(PAUSE));
                Err(LegacySessionError::Unavailable(cause))
            }
            Err(LegacySessionError::Ended(why)) => Err(self.end(id, why, now).await),
            other => other,
        }
    }

    /// True if the head of an answer means that the credential has ended. Where the same status
    /// may mean that the user is not allowed to do this, only a credential that can be renewed is;
    /// else the answer is for the client. A refusal of tokens of this moment has another reason.
    pub fn may_renew(
        &self,
        kept: &KeptSession,
        status: StatusCode,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> bool {
        let Some(system) = self.systems.get(kept.source()) else { return false };
        let can_renew = || client::refresh(system.speaker(), kept.tokens()).is_ok();
        kept.may_have_ended(now)
            && match CallRefusal::of(system.dialect(), status, headers) {
                Some(CallRefusal::Ended) => true,
                Some(CallRefusal::Unclear) => can_renew(),
                None => false,
            }
    }

    /// The session, and all others of its user where `all` is true, before they end here.
    ///
    /// # Errors
    /// The store failed.
    pub async fn leaving(
        &self,
        id: SessionId,
        all: bool,
        now: Timestamp,
    ) -> Result<Vec<LeavingSession>, StoreError> {
        let Some(session) = self.parts.store.find(id, now).await? else { return Ok(Vec::new()) };
        let sessions = match all {
            true => {
                let found = self.parts.store.list(Some(&session.subject), MOST_OF_A_USER, now);
                let mut found = found.await?;
                found.retain(|other| other.realm == session.realm);
                found
            }
            false => vec![session],
        };
        Ok(sessions.into_iter().filter_map(|session| self.leaving_session(&session)).collect())
    }

    fn leaving_session(&self, session: &Session) -> Option<LeavingSession> {
        let tokens = self.open(CredentialPlace::Session(session.id), session.kept.as_ref()?)?;
        Some(LeavingSession { source: session.source.clone(), tokens })
    }

    /// Logs sessions out at their legacy systems, in the background. Nobody waits for it, and a
    /// failure changes nothing here: the sessions have ended.
    pub fn leave(self: &Arc<Self>, leaving: Vec<LeavingSession>) {
        for session in leaving {
            let Ok(place) = self.memory.logouts.clone().try_acquire_owned() else {
                tracing::warn!(
                    source = session.source,
                    "too many logouts at the legacy system: one is left out"
                );
                continue;
            };
            let sessions = self.clone();
            self.parts.background.spawn(async move {
                if let Err(cause) = sessions.log_out(&session).await {
                    let source = session.source;
                    tracing::warn!(
                        source,
                        "a session was not logged out at the legacy system: {cause}"
                    );
                }
                drop(place);
            });
        }
    }

    async fn log_out(&self, session: &LeavingSession) -> Result<(), String> {
        let Some(system) = self.systems.get(&session.source) else { return Ok(()) };
        // A dialect without a logout has nothing to be asked.
        let Ok(ask) = client::logout(system.speaker(), &session.tokens) else { return Ok(()) };
        match system.exchange(&ask).await? {
            LoginOutcome::Accepted(_) | LoginOutcome::Refused(_) | LoginOutcome::Pending(_) => {
                Ok(())
            }
            LoginOutcome::Throttled => Err("it takes no more requests now".to_owned()),
            LoginOutcome::Unexpected(cause) => Err(cause),
        }
    }

    /// The cell of a session. There is never a second one while the first is in memory.
    fn cell(&self, id: SessionId, now: Timestamp) -> Arc<SessionCell> {
        let _making = self.memory.making.lock();
        let known = self.memory.cells.get(&id, now);
        known.unwrap_or_else(|| {
            let cell = Arc::new(SessionCell::default());
            self.memory.cells.insert(id, cell.clone(), now.plus(IN_MEMORY));
            cell
        })
    }

    /// The credential in the cell, if it is good at `now`, the user is of `source`, and the source
    /// speaks the dialect that it was made for: a reload may have changed it.
    fn good(&self, cell: &SessionCell, source: &str, now: Timestamp) -> Option<Arc<KeptSession>> {
        let system = self.systems.get(source)?;
        cell.usable(now).filter(|kept| kept.is_of(source, system.dialect()))
    }

    /// The newest credential of a session: that in the store, or one that could not be stored.
    async fn newest(
        &self,
        id: SessionId,
        source: &str,
        cell: &SessionCell,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let stored = self.stored(id, source, now).await?;
        match cell.unstored(source) {
            Some(tokens) => self.kept(cell, source, tokens, false, now),
            None => self.kept(cell, source, stored, true, now),
        }
    }

    /// The tokens of a session, from the store.
    async fn stored(
        &self,
        id: SessionId,
        source: &str,
        now: Timestamp,
    ) -> Result<SessionTokens, LegacySessionError> {
        let found = self.parts.store.find(id, now).await;
        let found =
            found.map_err(|error| LegacySessionError::Unavailable(error.to_string().into()))?;
        let session = found.ok_or(LegacySessionError::Ended("so is the session here"))?;
        if session.source != source {
            return Err(LegacySessionError::Foreign);
        }
        let place = CredentialPlace::Session(id);
        let Some(kept) = &session.kept else {
            return Err(self.end(id, "the session began without it", now).await);
        };
        match self.open(place, kept) {
            Some(tokens) => Ok(tokens),
            None => Err(self.end(id, "it was sealed with another key", now).await),
        }
    }

    /// Puts tokens into the cell. Those that are there already stay the same value.
    fn kept(
        &self,
        cell: &SessionCell,
        source: &str,
        tokens: SessionTokens,
        is_stored: bool,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let dialect = self.systems.get(source).map(LegacySystem::dialect);
        let dialect = dialect.ok_or(LegacySessionError::Foreign)?;
        cell.put(dialect, source, tokens, is_stored, now)
            .ok_or(LegacySessionError::Ended("no call can carry its token"))
    }

    /// Renews the tokens at the legacy system and keeps the new ones. The caller holds the cell's
    /// flight.
    async fn renewed(
        &self,
        id: SessionId,
        cell: &SessionCell,
        kept: &KeptSession,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let source = kept.source();
        let system = self.systems.get(source).ok_or(LegacySessionError::Foreign)?;
        let Ok(ask) = client::refresh(system.speaker(), kept.tokens()) else {
            return Err(LegacySessionError::Ended("its tokens cannot be renewed"));
        };
        let outcome = system.exchange(&ask).await;
        let unavailable = |cause: String| LegacySessionError::Unavailable(cause.into());
        match outcome.map_err(unavailable)? {
            LoginOutcome::Accepted(values) => {
                let renewed = kept.tokens().renewed(&values, now);
                let tokens = renewed.ok_or(LegacySessionError::Ended("it gave no new token"))?;
                let is_stored = self.store_renewed(id, source, &tokens, now).await?;
                self.kept(cell, source, tokens, is_stored, now)
            }
            LoginOutcome::Refused(_) => {
                // Another node that shares the store may have renewed it at this moment; then the
                // refresh token that was refused here is not the newest.
                let tokens = self.stored(id, source, now).await?;
                let other = self.kept(cell, source, tokens, true, now)?;
                if !other.is_same(kept) && other.is_good(now) {
                    return Ok(other);
                }
                Err(LegacySessionError::Ended("it refuses to renew it"))
            }
            LoginOutcome::Pending(_) => Err(LegacySessionError::Ended("it asks for a second step")),
            LoginOutcome::Throttled => Err(unavailable("it takes no more requests now".to_owned())),
            LoginOutcome::Unexpected(cause) => Err(unavailable(cause)),
        }
    }

    /// True if they are in the store.
    async fn store_renewed(
        &self,
        id: SessionId,
        source: &str,
        tokens: &SessionTokens,
        now: Timestamp,
    ) -> Result<bool, LegacySessionError> {
        let place = CredentialPlace::Session(id);
        let sealed =
            self.keep(place, tokens).ok_or(LegacySessionError::Ended("its tokens are too long"))?;
        match self.parts.store.keep_credential(id, sealed, now).await {
            Ok(true) => Ok(true),
            Ok(false) => Err(LegacySessionError::Ended("so is the session here")),
            Err(error) => {
                // The new tokens work, and the old ones may not. They serve from memory; after a
                // restart the client has to log in anew.
                tracing::warn!(source, %error, "renewed tokens of a session could not be stored");
                Ok(false)
            }
        }
    }

    /// Ends a session here whose session at the legacy system is over. Otherwise its client would
    /// go on refreshing it here, and never learn that it has to log in.
    async fn end(&self, id: SessionId, why: &'static str, now: Timestamp) -> LegacySessionError {
        self.memory.cells.remove(&id);
        tracing::info!(session = %id, "a session has ended, because it is over at the legacy system: {why}");
        match self.parts.store.revoke(RevocationTarget::Session(id), now).await {
            Ok(ended) => ended.iter().for_each(|id| self.parts.streams.end(*id)),
            Err(error) => {
                tracing::warn!(session = %id, %error, "the end of a session waits to be written")
            }
        }
        LegacySessionError::Ended(why)
    }
}
