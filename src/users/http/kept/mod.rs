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
mod leaving;
mod seal_key;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::cell::KeptSession;
use self::cell::{RenewalFlight, SessionCell};
pub use self::leaving::LeavingSession;
pub use self::seal_key::{SealKeyError, kept_seal};
use super::legacy_login::LegacySystem;
use crate::bounded_cache::BoundedCache;
use crate::clock::{Clock, Timestamp};
use crate::dialect::client::{self, CallRefusal, LoginOutcome, RemoteTokens};
use crate::identity::SessionId;
use crate::runtime::BackgroundRuntime;
use crate::session::shared::Seal;
use crate::session::{
    CredentialPlace, LONGEST_CREDENTIAL, OpenStreams, RevocationTarget, SealedCredential, Store,
};
use crate::settings::{Config, SourceKind};
use crate::tls_roots::TrustError;

/// Most sessions whose tokens are in memory; those of others are read from the store when needed.
const MOST_SESSIONS: usize = 20_000;
/// How long tokens stay in memory. Afterwards they are read from the store again.
const IN_MEMORY: Duration = Duration::from_secs(3_600);
/// Pause after a renewal that failed for technical reasons.
const PAUSE: Duration = Duration::from_secs(2);
/// Most requests that wait for one legacy system. All upstreams share the places for such work, and
/// one system that is slow must not use them up.
const MOST_WAITING: usize = 1_024;
/// Most logouts at legacy systems that are under way.
const MOST_LOGOUTS: usize = 64;

/// The users' sessions at all legacy systems whose credentials are kept.
#[derive(Debug)]
pub struct LegacySessions {
    parts: LegacySessionParts,
    /// By the name of the user source.
    systems: HashMap<String, KeptSystem>,
    memory: Arc<SessionMemory>,
}

/// A legacy system, and the places of requests that wait for it.
#[derive(Debug)]
struct KeptSystem {
    legacy: LegacySystem,
    waiting: Arc<Semaphore>,
}

/// The parts of the gateway that legacy sessions need.
#[derive(Clone, Debug)]
pub struct LegacySessionParts {
    pub seal: Seal,
    pub store: Arc<dyn Store>,
    pub streams: OpenStreams,
    pub clock: Clock,
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

/// The places of a request that waits. They are free again when it has its answer.
#[derive(Debug)]
struct WaitingPlaces {
    _session: OwnedSemaphorePermit,
    _system: OwnedSemaphorePermit,
}

/// The reasons why a request cannot be sent with its session's credential.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LegacySessionError {
    /// The client must log in anew.
    #[error("the session at the legacy system is over: {0}")]
    Ended(&'static str),

    /// The client's session with the gateway has ended, whatever the legacy system says of its own.
    #[error("the session has ended")]
    Gone,

    /// The caller's users are not of the legacy system whose credentials the upstream takes, so that
    /// a login would not help.
    #[error("the caller has no session at the legacy system")]
    Foreign,

    #[error("the legacy system cannot renew the session now: {0}")]
    Unavailable(Arc<str>),
}

/// True if the tokens are short enough to be kept.
pub(super) fn fits(tokens: &RemoteTokens) -> bool {
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
                let waiting = Arc::new(Semaphore::new(MOST_WAITING));
                let legacy = LegacySystem::new(url, users)?;
                systems.insert(source.name.clone(), KeptSystem { legacy, waiting });
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
    pub fn keep(&self, place: CredentialPlace, tokens: &RemoteTokens) -> Option<SealedCredential> {
        SealedCredential::seal(&self.parts.seal, place, encoding::encode(tokens).expose())
    }

    /// Tokens that were sealed for this place; `None` if they were not, or with another key.
    pub fn open(&self, place: CredentialPlace, kept: &SealedCredential) -> Option<RemoteTokens> {
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
    /// There is none, it cannot be renewed, or that is not known. The session here has ended if
    /// `Ended` is returned.
    pub async fn obtain(
        &self,
        id: SessionId,
        source: &str,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let obtained = self.found_or_renewed(id, source).await;
        self.ended(id, obtained).await
    }

    async fn found_or_renewed(
        &self,
        id: SessionId,
        source: &str,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let cell = self.cell(id, self.parts.clock.now());
        let _places = self.wait(&cell, source)?;
        let mut flight = cell.flight.lock().await;
        // Others may have held it for long.
        let now = self.parts.clock.now();
        // Another request may have done it while this one waited.
        if let Some(kept) = self.good(&cell, source, now) {
            return Ok(kept);
        }
        let kept = self.newest(id, source, &cell, now).await?;
        if kept.is_good(now) {
            return Ok(kept);
        }
        // It is about to end. While it can be used, a renewal that fails is no reason to refuse.
        match self.renewed(id, &cell, &mut flight, &kept, now).await {
            Err(LegacySessionError::Unavailable(_) | LegacySessionError::Ended(_))
                if !kept.has_ended(now) =>
            {
                Ok(kept)
            }
            other => other,
        }
    }

    /// Renews the credential that an upstream has refused, unless that was done meanwhile.
    ///
    /// # Errors
    /// As `obtain`. If it is unclear what was refused, the session here goes on.
    pub async fn renew(
        &self,
        id: SessionId,
        refused: &KeptSession,
        refusal: CallRefusal,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let renewed = self.replaced(id, refused).await;
        match refusal {
            CallRefusal::Ended => self.ended(id, renewed).await,
            CallRefusal::Unclear => renewed,
        }
    }

    async fn replaced(
        &self,
        id: SessionId,
        refused: &KeptSession,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let source = refused.source();
        let cell = self.cell(id, self.parts.clock.now());
        let _places = self.wait(&cell, source)?;
        let mut flight = cell.flight.lock().await;
        let now = self.parts.clock.now();
        if let Some(kept) = self.good(&cell, source, now)
            && !kept.is_same(refused)
        {
            return Ok(kept);
        }
        // Another node may have renewed it.
        let kept = self.newest(id, source, &cell, now).await?;
        if !kept.is_same(refused) && kept.is_good(now) {
            return Ok(kept);
        }
        self.renewed(id, &cell, &mut flight, &kept, now).await
    }

    /// Places among the requests that wait for a session and for its system.
    fn wait(&self, cell: &SessionCell, source: &str) -> Result<WaitingPlaces, LegacySessionError> {
        let system = self.systems.get(source).ok_or(LegacySessionError::Foreign)?;
        let full = |_| LegacySessionError::Unavailable("too many requests wait for it".into());
        let session = cell.waiting.clone().try_acquire_owned().map_err(full)?;
        let system = system.waiting.clone().try_acquire_owned().map_err(full)?;
        Ok(WaitingPlaces { _session: session, _system: system })
    }

    /// Ends the session here if `result` says that the one at the legacy system is over.
    async fn ended<T>(
        &self,
        id: SessionId,
        result: Result<T, LegacySessionError>,
    ) -> Result<T, LegacySessionError> {
        if let Err(LegacySessionError::Ended(why)) = &result {
            self.end(id, why, self.parts.clock.now()).await;
        }
        result
    }

    /// What the head of an answer says about the credential. Where the same status may mean that
    /// the user is not allowed to do this, only a credential that can be renewed counts; else the
    /// answer is for the client. A refusal of tokens of this moment has another reason.
    pub fn refusal(
        &self,
        kept: &KeptSession,
        status: StatusCode,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<CallRefusal> {
        let system = &self.systems.get(kept.source())?.legacy;
        let refusal = CallRefusal::of(system.dialect(), status, headers)?;
        let counts = match refusal {
            CallRefusal::Ended => true,
            CallRefusal::Unclear => client::refresh(system.speaker(), kept.tokens()).is_ok(),
        };
        (counts && kept.may_have_ended(now)).then_some(refusal)
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
        cell.usable(now).filter(|kept| kept.is_of(source, system.legacy.dialect()))
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
    ) -> Result<RemoteTokens, LegacySessionError> {
        let found = self.parts.store.find(id, now).await;
        let found =
            found.map_err(|error| LegacySessionError::Unavailable(error.to_string().into()))?;
        let session = found.ok_or(LegacySessionError::Gone)?;
        if session.source != source {
            return Err(LegacySessionError::Foreign);
        }
        let place = CredentialPlace::Session(id);
        let kept = session.kept.as_ref();
        let kept = kept.ok_or(LegacySessionError::Ended("the session began without it"))?;
        let tokens = self.open(place, kept);
        tokens.ok_or(LegacySessionError::Ended("it was sealed with another key"))
    }

    /// Puts tokens into the cell. Those that are there already stay the same value.
    fn kept(
        &self,
        cell: &SessionCell,
        source: &str,
        tokens: RemoteTokens,
        is_stored: bool,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let dialect = self.systems.get(source).map(|system| system.legacy.dialect());
        let dialect = dialect.ok_or(LegacySessionError::Foreign)?;
        cell.put(dialect, source, tokens, is_stored, now)
            .ok_or(LegacySessionError::Ended("no call can carry its token"))
    }

    /// Renews the tokens, unless that has just failed.
    async fn renewed(
        &self,
        id: SessionId,
        cell: &SessionCell,
        flight: &mut RenewalFlight,
        kept: &KeptSession,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        if let Some(last) = flight.last_failure(now) {
            return Err(last);
        }
        let renewed = self.exchanged(id, cell, kept, now).await;
        if let Err(error) = &renewed {
            // The pause begins now: the system may have taken longer than it to fail.
            flight.pause(error.clone(), self.parts.clock.now().plus(PAUSE));
            let source = kept.source();
            tracing::warn!(source, "a session could not be renewed at the legacy system: {error}");
        }
        renewed
    }

    /// Renews the tokens at the legacy system and keeps the new ones. The caller holds the cell's
    /// flight.
    async fn exchanged(
        &self,
        id: SessionId,
        cell: &SessionCell,
        kept: &KeptSession,
        now: Timestamp,
    ) -> Result<Arc<KeptSession>, LegacySessionError> {
        let source = kept.source();
        let system = &self.systems.get(source).ok_or(LegacySessionError::Foreign)?.legacy;
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
        tokens: &RemoteTokens,
        now: Timestamp,
    ) -> Result<bool, LegacySessionError> {
        let place = CredentialPlace::Session(id);
        let sealed =
            self.keep(place, tokens).ok_or(LegacySessionError::Ended("its tokens are too long"))?;
        match self.parts.store.keep_credential(id, sealed, now).await {
            Ok(true) => Ok(true),
            Ok(false) => Err(LegacySessionError::Gone),
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
    async fn end(&self, id: SessionId, why: &'static str, now: Timestamp) {
        self.memory.cells.remove(&id);
        tracing::info!(session = %id, "a session has ended, because it is over at the legacy system: {why}");
        match self.parts.store.revoke(RevocationTarget::Session(id), now).await {
            Ok(ended) => ended.iter().for_each(|id| self.parts.streams.end(*id)),
            Err(error) => {
                tracing::warn!(session = %id, %error, "the end of a session waits to be written")
            }
        }
    }
}
