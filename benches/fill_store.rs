//! Makes a large session store, as it would be after a long time: `fill_store STORE SESSIONS
//! REVOKED`. For `benches/scale`; a million logins would take days.
//!
//! The store, which no gateway has open, holds one session of a real login. Copies of it are put
//! beside it, by users `user0` to `user9999` of `benches/lib/store.py`, and as many more are revoked.

#![allow(clippy::unwrap_used, clippy::expect_used)] // It may fail loudly.
#![allow(clippy::disallowed_methods)] // It spawns: there is nothing to drain.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::identity::{IdRules, SessionId, Subject};
use tollhouse::secret::Digest;
use tollhouse::session::{
    EmbeddedOptions, EmbeddedStore, RevocationTarget, Session, SessionStore, Store,
};

/// Users whose sessions are made in turn.
const USERS: usize = 10_000;

/// As many as the store carries out in one transaction; it takes four times as many at once.
const AT_ONCE: usize = 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(path) = arguments.next().map(PathBuf::from) else {
        return; // `cargo bench` runs every bench: this one measures nothing.
    };
    let mut number = || arguments.next().expect("a number").parse::<usize>().unwrap();
    let (sessions, revoked) = (number(), number());
    let clock = Clock::system();
    let now = clock.now();
    let options = EmbeddedOptions {
        path,
        clock,
        leeway: Duration::from_secs(30),
        longest_access: Duration::from_secs(600),
        ids: IdRules::default(),
        keys_exist: true,
        new_state: false,
        backend_faults: None,
    };
    let store = EmbeddedStore::open(options).unwrap();
    let found = store.list(None, 1, now).await.unwrap();
    let template = Arc::new(found.into_iter().next().expect("one session, of a login"));

    many(&store, sessions.saturating_sub(1), move |store, number| {
        let session = copy(&template, number, now);
        async move { drop(store.put(session, NonZeroUsize::MAX, now).await.unwrap()) }
    })
    .await;
    many(&store, revoked, move |store, number| {
        let digest = Digest::of(&number.to_be_bytes());
        let until = now.plus(Duration::from_secs(86_400));
        async move { drop(store.revoke(RevocationTarget::Token { digest, until }, now).await.unwrap()) }
    })
    .await;
    store.close().await;
}

/// The session of another user, some time before now.
fn copy(template: &Session, number: usize, now: Timestamp) -> Session {
    let user = number % USERS;
    let created = now.minus(Duration::from_secs(60));
    Session {
        id: SessionId::new(created),
        subject: Subject::new(format!("00000000-0000-4000-8000-{user:012}")),
        username: format!("user{user}"),
        created,
        ..template.clone()
    }
}

/// Carries out `count` operations, as many at once as share a transaction.
async fn many<F>(
    store: &Arc<EmbeddedStore>,
    count: usize,
    operation: impl Fn(Arc<EmbeddedStore>, usize) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    for first in (0..count).step_by(AT_ONCE) {
        let mut batch = JoinSet::new();
        for number in first..count.min(first + AT_ONCE) {
            batch.spawn(operation(store.clone(), number));
        }
        batch.join_all().await;
    }
}
