//! What goes on without a request: files are watched, keys rotate, what expired is forgotten.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::first_user::forget_first_password;
use crate::admin::Operations;
use crate::login::{Reviewed, review_sessions};
use crate::session::StreamOrigin;
use crate::users::UserSource;

/// Keys have a day of overlap; a minute late is nothing.
const KEY_MAINTENANCE: Duration = Duration::from_secs(60);
/// While the store cannot be asked.
const REVIEW_AGAIN: Duration = Duration::from_secs(5);
/// While a source of users cannot be asked.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// A reload may bring issuers whose keys are due at once.
const NEW_ISSUERS: Duration = Duration::from_secs(5);
/// Downloads go on until then after their session has idled out.
const IDLED_OUT: Duration = Duration::from_secs(60);
/// Memory of what expired, idle upstream connections.
const SWEEP: Duration = Duration::from_secs(10);

/// Starts the tasks; they end when the store is given up. `reviewed` says which sessions could not be
/// compared with their users yet.
pub(super) fn start(operations: &Arc<Operations>, reviewed: Reviewed) {
    let stop = &operations.given_up;
    let due = Arc::new(Due::default());
    spawn(operations, stop, watch_users(operations.clone(), due.clone()));
    spawn(operations, stop, review(operations.clone(), due.clone(), reviewed));
    spawn(operations, stop, review_basic(operations.clone(), due.clone()));
    spawn(operations, stop, forget_passwords(operations.clone(), due));
    spawn(operations, stop, maintain_keys(operations.clone()));
    spawn(operations, stop, refresh_issuers(operations.clone()));
    spawn(operations, stop, renew_verdicts(operations.clone(), stop.clone()));
    spawn(operations, stop, sweep(operations.clone()));
    spawn(operations, stop, end_streams(operations.clone()));
}

fn spawn<F>(operations: &Operations, stop: &CancellationToken, task: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    operations.gateway.shared.back_room.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// What has to be looked at because users changed. Neither waits for the other: each may be held
/// up by a source that does not answer.
#[derive(Debug, Default)]
struct Due {
    sessions: Notify,
    basic: Notify,
    first_password: Notify,
}

/// Waits for a change of users: in a source, or by a configuration that has other sources. Passwords
/// are forgotten at once, however long a review takes.
async fn watch_users(operations: Arc<Operations>, due: Arc<Due>) {
    let shared = &operations.gateway.shared;
    let mut watched = Vec::new();
    loop {
        let users = operations.gateway.generation().services.users.clone();
        watched = watch_sources(&operations, users.sources(), watched);
        tokio::select! {
            () = users.changed() => {}
            () = operations.gateway.reloaded() => {}
        }
        shared.proofs.forget();
        due.sessions.notify_one();
        due.basic.notify_one();
        due.first_password.notify_one();
    }
}

/// A source that a task watches; the task ends with this.
struct WatchedSource {
    source: Arc<dyn UserSource>,
    _ends: DropGuard,
}

/// Watches those of `sources` that are not `watched` yet, and no other source any more.
fn watch_sources(
    operations: &Operations,
    sources: &[Arc<dyn UserSource>],
    mut watched: Vec<WatchedSource>,
) -> Vec<WatchedSource> {
    watched.retain(|one| sources.iter().any(|source| Arc::ptr_eq(source, &one.source)));
    for source in sources {
        if watched.iter().any(|one| Arc::ptr_eq(source, &one.source)) {
            continue;
        }
        let end = CancellationToken::new();
        let (watching, clock) = (source.clone(), operations.gateway.shared.clock.clone());
        spawn(operations, &end, async move { watching.watch(&clock).await });
        watched.push(WatchedSource { source: source.clone(), _ends: end.drop_guard() });
    }
    watched
}

/// Ends the sessions of users who changed.
async fn review(operations: Arc<Operations>, due: Arc<Due>, reviewed: Reviewed) {
    let shared = &operations.gateway.shared;
    // What there was no time for is refused until it has been looked at: its users wait.
    let Reviewed { mut left, late, .. } = reviewed;
    let mut is_urgent = !late.is_empty();
    left.extend(late);
    loop {
        let only = tokio::select! {
            biased;
            () = due.sessions.notified() => None,
            () = std::future::ready(()), if is_urgent => Some(&left),
            () = shared.clock.sleep(ASK_AGAIN), if !left.is_empty() => Some(&left),
        };
        let services = operations.gateway.generation().services.clone();
        match review_sessions(&services, only, None, shared.clock.now()).await {
            Ok(reviewed) => {
                tell(&reviewed);
                left = reviewed.left;
                is_urgent = false;
            }
            Err(error) => {
                tracing::warn!(%error, "sessions could not be compared with their users");
                tokio::time::sleep(REVIEW_AGAIN).await;
                // Nobody says a second time that users changed.
                due.sessions.notify_one();
            }
        }
    }
}

/// Says what came of a review.
pub(super) fn tell(reviewed: &Reviewed) {
    let Reviewed { ended, left, late } = reviewed;
    if *ended > 0 {
        tracing::info!(ended, "sessions ended because their users changed");
    }
    if !left.is_empty() {
        let left = left.len();
        tracing::warn!(left, "sessions could not be compared with their users yet");
    }
    if !late.is_empty() {
        let late = late.len();
        tracing::warn!(late, "sessions are answered 503 until their users have been looked at");
    }
}

/// Ends what users who changed have open by their passwords.
async fn review_basic(operations: Arc<Operations>, due: Arc<Due>) {
    let shared = &operations.gateway.shared;
    let mut is_done = true;
    loop {
        tokio::select! {
            () = due.basic.notified() => {}
            () = shared.clock.sleep(ASK_AGAIN), if !is_done => {}
        }
        let services = operations.gateway.generation().services.clone();
        is_done = services.review_basic(shared.clock.now()).await;
    }
}

/// Removes the first password's file when it is of no use: looked at from the start on, since
/// users may have changed while no gateway ran.
async fn forget_passwords(operations: Arc<Operations>, due: Arc<Due>) {
    loop {
        forget_first_password(&operations).await;
        due.first_password.notified().await;
    }
}

async fn maintain_keys(operations: Arc<Operations>) {
    let shared = &operations.gateway.shared;
    loop {
        let (ring, now) = (shared.ring.clone(), shared.clock.now());
        let events = shared.back_room.block_on_thread(move || ring.maintain(now)).await;
        for event in events.unwrap_or_default() {
            operations.audit_key(&event);
        }
        shared.clock.sleep(KEY_MAINTENANCE).await;
    }
}

/// Fetches other issuers' keys before they are needed, first as soon as the gateway serves.
async fn refresh_issuers(operations: Arc<Operations>) {
    let clock = &operations.gateway.shared.clock;
    loop {
        let verifier = operations.gateway.generation().verifier.clone();
        let due = verifier.refresh(clock.now()).await;
        drop(verifier);
        let due = async {
            match due {
                Some(due) => clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(NEW_ISSUERS, due).await;
    }
}

/// Asks again about tokens whose good verdicts are about to end, each by itself: one issuer that is
/// slow keeps no other's waiting.
async fn renew_verdicts(operations: Arc<Operations>, stop: CancellationToken) {
    loop {
        let verifier = operations.gateway.generation().verifier.clone();
        // A reload hands the questions on, but may change who is asked.
        let due = tokio::time::timeout(NEW_ISSUERS, verifier.renewals()).await;
        for renewal in due.unwrap_or_default() {
            let now = operations.gateway.shared.clock.now();
            spawn(&operations, &stop, renewal.ask(now));
        }
    }
}

/// Ends what sessions have open that are over without anybody's doing: nobody refreshed them.
async fn end_streams(operations: Arc<Operations>) {
    let shared = &operations.gateway.shared;
    loop {
        shared.clock.sleep(IDLED_OUT).await;
        for session in shared.ends.streams.sessions() {
            // A store that cannot say leaves them as they are.
            if let Ok(None) = shared.store.find(session, shared.clock.now()).await {
                shared.ends.streams.end(session);
            }
        }
    }
}

async fn sweep(operations: Arc<Operations>) {
    let shared = &operations.gateway.shared;
    loop {
        tokio::time::sleep(SWEEP).await;
        let (generation, now) = (operations.gateway.generation(), shared.clock.now());
        generation.verifier.sweep(now);
        generation.upstream_tokens.sweep(now);
        let streams = &shared.ends.streams;
        shared.proofs.sweep(now, |digest| streams.has(StreamOrigin::Credential(*digest)));
        generation.throttle.sweep(now);
        generation.services.begun.sweep(now);
        for pool in generation.pools.values() {
            pool.sweep(&shared.back_room);
        }
    }
}
