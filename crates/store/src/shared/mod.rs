//! The store that several gateways share: the same operations as the embedded one, on a database
//! that all nodes reach.
//!
//! `SharedDatabase` is what a database must offer; `postgres` and `redis` implement it. Everything
//! else is here, once: `records` replaces records by compare and swap, `sessions`, `codes`,
//! `attempts` and `accounts` are the operations, `feed` and `follow` carry revocations to all
//! nodes, and `seal` encrypts every value on its way.
//!
//! Verifying a token never asks the database: it reads the revocations in memory, as with the
//! embedded store.

mod accounts;
mod attempts;
mod birth;
mod codes;
mod database;
mod documents;
mod export;
mod feed;
mod follow;
mod import;
mod inspection;
mod maintain;
mod memory;
mod opaque_tokens;
mod operations;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
#[cfg(feature = "redis")]
mod redis;
mod seal;
mod second_steps;
mod session_ends;
mod session_record;
mod sessions;
mod versions;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::birth::BirthMark;
pub use self::database::{
    DatabaseError, DatabaseResult, FeedEntry, Follower, NewRecord, News, Reading, Record,
    RecordKey, RecordKind, RecordVersion, SharedDatabase, Swap,
};
pub use self::documents::{NODE_SEEN_FOR, NodeNote, SIGNING_KEYS};
use self::feed::Message;
pub use self::feed::RemoteEnds;
use self::follow::FollowTask;
pub use self::inspection::{Finding, SharedOpenError, Verdict};
pub use self::memory::MemoryDatabase;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresDatabase, PostgresOptions, TlsPolicy};
use self::records::Records;
pub use self::records::TimeSource;
#[cfg(feature = "redis")]
pub use self::redis::{RedisDatabase, RedisOptions};
pub use self::seal::{SEAL_LEN, Seal, UnsealError};
use crate::{RevocationTarget, Revocations, StoreError};
use tollhouse_core::clock::{Clock, Timestamp};
use tollhouse_core::identity::SessionId;

/// The settings of a shared store, whatever its database is.
#[derive(Clone, Debug)]
pub struct SharedOptions {
    pub clock: Clock,
    /// How much clocks may differ. Revocations and ended sessions are kept longer by this time.
    pub leeway: Duration,
    /// The longest lifetime of an access token.
    pub longest_access: Duration,
    /// Seals every value.
    pub seal: Seal,
    /// How long credentials are accepted while the database cannot be reached.
    pub stale_limit: Duration,
    pub time: TimeSource,
}

/// Called with what ended on other nodes, from the task that follows the feed. It must not wait.
pub type EndsListener = Box<dyn Fn(RemoteEnds) + Send + Sync>;

/// A revocation that is not written yet, and the time at which it was requested.
type DeferredRevocation = (RevocationTarget, Timestamp);

/// A session store in a database that several gateways share.
pub struct SharedStore {
    records: Records,
    clock: Clock,
    /// In milliseconds. A reload of the configuration may change them.
    leeway: AtomicU64,
    longest_access: AtomicU64,
    stale_limit: Duration,
    revocations: Arc<Revocations>,
    birth: Mutex<BirthMark>,
    deferred: Mutex<Vec<DeferredRevocation>>,
    /// Sessions that may have ended in the database without all nodes being notified.
    doubtful: Mutex<Vec<SessionId>>,
    /// When the last look at the feed that succeeded began.
    as_of: Mutex<Timestamp>,
    /// The log says that the revocations are stale.
    is_logged_stale: AtomicBool,
    /// Since when the database is away, by the wall clock.
    degraded: Mutex<Option<Timestamp>>,
    listener: OnceLock<EndsListener>,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// How a shared store is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStatus {
    /// Why the database is not reached, and since when; `None` while it answers.
    pub degraded: Option<(Timestamp, String)>,
    /// This node knows every revocation that was made until then.
    pub revocations_as_of: Timestamp,
    /// True if that is so long ago that no credential is accepted.
    pub is_stale: bool,
    /// Number of revocations that wait to be written.
    pub deferred: usize,
}

impl SharedStore {
    /// Opens the store on `database`: reads or makes its birth mark, loads the revocations, and
    /// begins to follow the feed on `runtime`.
    ///
    /// # Errors
    /// When the database cannot be reached, or was sealed with another key.
    pub async fn open(
        database: Arc<dyn SharedDatabase>,
        options: SharedOptions,
        runtime: &Handle,
    ) -> Result<Arc<Self>, StoreError> {
        let records = Records::new(database, options.seal.clone(), options.time);
        let now = options.clock.now();
        let (birth, is_new) = BirthMark::read_or_make(&records, options.leeway, now).await?;
        if is_new {
            tracing::info!("the shared store was empty: a new one was made");
        }
        let store = Arc::new(Self::new(records, birth, options));
        let mut task = FollowTask::new(store.clone());
        task.load().await?;
        let closing = store.closing.clone();
        // Both tasks hold it: the store is closed when both have ended.
        let ended = Arc::new(store.closed.clone().drop_guard());
        let maintenance = maintain::run(store.clone(), closing.clone(), ended.clone());
        runtime.spawn(maintenance);
        runtime.spawn(async move {
            let _ended = ended;
            task.run(closing).await;
        });
        Ok(store)
    }

    /// A store that knows no revocations yet and follows no feed.
    fn new(records: Records, birth: BirthMark, options: SharedOptions) -> Self {
        let revocations = Arc::new(Revocations::default());
        revocations.set_shared_store_made(birth.made);
        Self {
            records,
            leeway: AtomicU64::new(millis(options.leeway)),
            longest_access: AtomicU64::new(millis(options.longest_access)),
            stale_limit: options.stale_limit,
            revocations,
            birth: Mutex::new(birth),
            deferred: Mutex::default(),
            doubtful: Mutex::default(),
            as_of: Mutex::new(options.clock.now()),
            is_logged_stale: AtomicBool::default(),
            clock: options.clock,
            degraded: Mutex::default(),
            listener: OnceLock::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Sets the listener that is notified of ends on other nodes. Only the first call counts.
    pub fn on_remote_ends(&self, listener: EndsListener) {
        let _ = self.listener.set(listener);
    }

    /// How the store is doing.
    pub fn status(&self) -> SharedStatus {
        let trouble = self.records.healthy().err();
        let degraded = *self.degraded.lock();
        SharedStatus {
            degraded: trouble.map(|StoreError::Unavailable(why)| {
                (degraded.unwrap_or_else(|| self.clock.now()), why.to_string())
            }),
            revocations_as_of: *self.as_of.lock(),
            is_stale: self.revocations.is_stale(&self.clock),
            deferred: self.deferred.lock().len(),
        }
    }

    /// Notes that the database was reached by a look that began at `began`.
    fn reached(&self, began: Duration) {
        self.records.reached();
        if self.degraded.lock().take().is_some() {
            tracing::info!("the shared store is reached again");
        }
        let ago = self.clock.monotonic().saturating_sub(began);
        *self.as_of.lock() = self.clock.now().minus(ago);
        self.is_logged_stale.store(false, Ordering::Relaxed);
        self.revocations.set_current_until(began.saturating_add(self.stale_limit));
    }

    /// Notes that the database was not reached.
    fn not_reached(&self) {
        let Err(StoreError::Unavailable(cause)) = self.records.healthy() else { return };
        {
            let mut degraded = self.degraded.lock();
            if degraded.is_none() {
                *degraded = Some(self.clock.now());
                tracing::warn!(
                    %cause,
                    "the shared store cannot be reached: logins are answered 503, tokens are verified on"
                );
            }
        }
        if self.revocations.is_stale(&self.clock)
            && !self.is_logged_stale.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                "the shared store cannot be reached for longer than stale_limit: protected routes \
                 answer 503"
            );
        }
    }

    /// Publishes news to every node, this one included.
    async fn publish(&self, messages: &[Message], now: Timestamp) -> Result<(), StoreError> {
        let mut ends = RemoteEnds::default();
        for message in messages {
            message.clone().apply(&self.revocations, &mut ends);
        }
        // The streams that these messages end are closed now: when an entry comes back by the feed,
        // its end is known already and is not noted again.
        self.tell(ends);
        let entries: Vec<FeedEntry> =
            messages.iter().filter_map(|message| message.entry(&self.records.seal, now)).collect();
        for piece in entries.chunks(PUBLISHED_AT_ONCE) {
            self.records.step(self.records.database.publish(piece)).await?;
        }
        Ok(())
    }

    fn leeway(&self) -> Duration {
        Duration::from_millis(self.leeway.load(Ordering::Relaxed))
    }

    fn longest_access(&self) -> Duration {
        Duration::from_millis(self.longest_access.load(Ordering::Relaxed))
    }
}

/// Number of entries that one step publishes.
const PUBLISHED_AT_ONCE: usize = 200;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedStore")
            .field("database", &self.records.database)
            .finish_non_exhaustive()
    }
}
