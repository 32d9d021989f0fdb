//! Notifications of PostgreSQL (LISTEN) that wake a follower before its next look is due.
//!
//! They are an accelerator and nothing depends on them: CockroachDB has none. A connection that wakes
//! nobody although there is news is given up, and a new one is made later.
//!
//! A pooler in transaction mode (PgBouncer) would not only swallow notifications: its connection to
//! the server would go on listening, and deliver them in the middle of other clients' answers.
//! Therefore nothing listens before the connection has proven to be one to the server itself.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::Row;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener};
use tokio::time::Instant;

/// How long a listening connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a connection broke or could not be made.
const PAUSE: Duration = Duration::from_secs(5);
/// The pause after a connection that brings no notifications, or may not listen.
const LONG_PAUSE: Duration = Duration::from_secs(120);
/// A setting that means nothing to the server. It comes with the start of a connection, and a pooler
/// refuses or ignores it.
const MARK: &str = "tollhouse.listener";
/// How often in a row news may be found without a notification. The look may come just before the
/// notification; that happens, but not so often in a row.
const MOST_MISSED: u32 = 5;

pub(super) struct Wakeup {
    connect: PgConnectOptions,
    channel: String,
    state: ListenState,
    missed: u32,
}

enum ListenState {
    /// Not listening, until the time.
    Paused(Instant),
    Connecting(BoxFuture<'static, Result<PgListener, Duration>>),
    Listening(Box<PgListener>),
}

impl fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeup").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Wakeup {
    pub(super) fn new(connect: PgConnectOptions, channel: String) -> Self {
        Self { connect, channel, state: ListenState::Paused(Instant::now()), missed: 0 }
    }

    /// Returns after a notification, otherwise never. May be dropped and called again at any time:
    /// the connection is kept, or goes on being made, in `self`.
    pub(super) async fn woken(&mut self) {
        loop {
            match &mut self.state {
                ListenState::Paused(until) => {
                    tokio::time::sleep_until(*until).await;
                    let listening = listen(self.connect.clone(), self.channel.clone());
                    self.state = ListenState::Connecting(listening.boxed());
                }
                ListenState::Connecting(listening) => match listening.await {
                    Ok(listener) => self.state = ListenState::Listening(Box::new(listener)),
                    Err(pause) => self.pause(pause),
                },
                ListenState::Listening(listener) => match listener.try_recv().await {
                    Ok(Some(_)) => {
                        // One look serves all notifications that have come.
                        while listener.next_buffered().is_some() {}
                        self.missed = 0;
                        return;
                    }
                    Ok(None) | Err(_) => self.pause(PAUSE),
                },
            }
        }
    }

    /// Takes note of news that were found by a look that no notification had caused.
    pub(super) fn record_missed(&mut self) {
        if matches!(self.state, ListenState::Listening(_)) {
            self.missed += 1;
            if self.missed >= MOST_MISSED {
                tracing::debug!(channel = self.channel, "no notifications arrive");
                self.pause(LONG_PAUSE);
            }
        }
    }

    fn pause(&mut self, pause: Duration) {
        self.missed = 0;
        self.replace(ListenState::Paused(Instant::now() + pause));
    }

    fn replace(&mut self, state: ListenState) {
        let old = std::mem::replace(&mut self.state, state);
        // The library ends a listener in a task, and panics where no task can be spawned. That is
        // only so when the process ends.
        if matches!(old, ListenState::Listening(_))
            && tokio::runtime::Handle::try_current().is_err()
        {
            std::mem::forget(old);
        }
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        self.replace(ListenState::Paused(Instant::now()));
    }
}

/// A connection that listens; otherwise for how long to pause.
async fn listen(connect: PgConnectOptions, channel: String) -> Result<PgListener, Duration> {
    let mark: String =
        tollhouse_core::secret::random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    let listening = async {
        let pool = PoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(connect.options([(MARK, &mark)]));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        let find_mark = sqlx::raw_sql("SELECT current_setting('tollhouse.listener', true)");
        let row = find_mark.fetch_one(&mut listener).await?;
        if row.try_get::<Option<&str>, _>(0)? != Some(&mark) {
            return Ok(None);
        }
        listener.listen(&channel).await?;
        Ok(Some(listener))
    };
    match tokio::time::timeout(CONNECT_LIMIT, listening).await {
        Ok(Ok(Some(listener))) => Ok(listener),
        // Refused by a pooler, or by a server that only speaks like PostgreSQL.
        Ok(Ok(None) | Err(sqlx::Error::Database(_))) => Err(LONG_PAUSE),
        Ok(Err(_)) | Err(_) => Err(PAUSE),
    }
}
